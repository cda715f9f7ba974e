//! Generators of one step, on both executors: held to the whole computation spelled out in f64.

use super::fixtures::{classes, fixture, sizes};
use super::model::{Config, Device, Model};
use super::predict::{MlCache, Predictor, Taylor};
use super::refresh::Refresh;
use super::sampling::Sampling;
use super::session::{Session, Settings, Shape};
use crate::eval::random::{RandomWeights, write_part};
use crate::exec::twins::test_gpu;
use crate::kernels::WeightFormat;
use crate::kernels::philox::{self, Stream, uniform};
use crate::models::maskgit::{self, Maskgit, one_step};
use crate::models::{Batch, Known, part_tensors};
use crate::program::{Formats, Layout, WeightSource, WeightSpec};
use crate::weights::{ConvertOptions, convert};
use pollster::block_on;
use std::path::{Path, PathBuf};

const SEED: u64 = 2;

/// Sizes of which nothing is a multiple of four.
fn small() -> Config {
    let mut family = sizes(&fixture()).clone();
    family.transformer =
        maskgit::Config { grid: 5, hidden: 30, depth: 2, heads: 3, mlp: 61, codebook: 37, classes: 3 };
    family.image_size = 5 * family.tokenizer.factor();
    family.labels = Vec::new();
    family.shortcut = None;
    family.one_step = Some(one_step::Config { mask_ratio: 0.6, noise: 0.3 });
    let sampling = Sampling { steps: 1, guidance: 0.0, choice_temperature: 0.0, ..Sampling::MASKGIT_256 };
    Config { family: Known::Maskgit(family), sampling }
}

fn settings(config: &Config) -> Settings {
    Settings { sampling: config.sampling, refresh: Refresh::Every, predictor: Predictor::Reuse }
}

fn tokens(config: &Config, device: &Device, of: &[Option<u32>], seeds: &[u64]) -> Vec<u32> {
    let shape = Shape::new(Batch::of_classes(seeds.len() as u32, false), None);
    let weights = &mut RandomWeights { seed: SEED };
    let mut session = Session::with_weights(&config.family, shape, device, Formats::F32, weights).unwrap();
    session.configure(&settings(config)).unwrap();
    session.start(&classes(of), seeds).unwrap();
    let before = session.executor().counters();
    session.finish().unwrap();
    assert_eq!(session.executor().counters(), before, "the loop allocates nothing and reads nothing back");
    block_on(session.tokens()).unwrap()
}

fn devices() -> Vec<Device> {
    std::iter::once(Device::Cpu).chain(test_gpu().map(|gpu| Device::Gpu(Box::new(gpu)))).collect()
}

/// A weight in f64.
fn weight(name: &str, shape: &[usize]) -> Vec<f64> {
    let (name, shape) = (format!("maskgit.{name}"), shape.to_vec());
    let spec = WeightSpec { name, shape, layout: Layout::Dense, format: WeightFormat::F32 };
    RandomWeights { seed: SEED }.load(&spec).unwrap().into_iter().map(f64::from).collect()
}

/// `x W^T + b`, a row at a time.
fn linear(x: &[Vec<f64>], name: &str, [outer, inner]: [usize; 2]) -> Vec<Vec<f64>> {
    let end = if name.ends_with("in_proj") { "_" } else { "." };
    let (w, b) = (
        weight(&format!("{name}{end}weight"), &[outer, inner]),
        weight(&format!("{name}{end}bias"), &[outer]),
    );
    let dot = |row: &[f64], o: usize| b[o] + (0..inner).map(|i| row[i] * w[o * inner + i]).sum::<f64>();
    x.iter().map(|row| (0..outer).map(|o| dot(row, o)).collect()).collect()
}

/// Without weight and bias, which are 1 and 0 here.
fn norm(x: &[Vec<f64>], eps: f64) -> Vec<Vec<f64>> {
    let of = |row: &Vec<f64>| {
        let n = row.len() as f64;
        let mean = row.iter().sum::<f64>() / n;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        row.iter().map(|v| (v - mean) / (variance + eps).sqrt()).collect()
    };
    x.iter().map(of).collect()
}

fn gelu(x: &[Vec<f64>]) -> Vec<Vec<f64>> {
    // The error function by its power series, which is enough for what activations are.
    let erf = |x: f64| {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    };
    let of = |v: &f64| 0.5 * v * (1.0 + erf(v / std::f64::consts::SQRT_2));
    x.iter().map(|row| row.iter().map(of).collect()).collect()
}

fn add(x: &mut [Vec<f64>], y: &[Vec<f64>]) {
    x.iter_mut().zip(y).for_each(|(x, y)| x.iter_mut().zip(y).for_each(|(x, y)| *x += y));
}

fn attention(x: &[Vec<f64>], name: &str, t: &maskgit::Config) -> Vec<Vec<f64>> {
    let (hidden, heads) = (t.hidden as usize, t.heads as usize);
    let each = hidden / heads;
    let qkv = linear(x, &format!("{name}.in_proj"), [3 * hidden, hidden]);
    let mut y = vec![vec![0.0; hidden]; x.len()];
    for head in 0..heads {
        let part = |row: &[f64], which: usize| row[which * hidden + head * each..][..each].to_vec();
        for (row, y) in qkv.iter().zip(&mut y) {
            let query = part(row, 0);
            let score = |other: &Vec<f64>| {
                query.iter().zip(part(other, 1)).map(|(q, k)| q * k).sum::<f64>() / (each as f64).sqrt()
            };
            let weights: Vec<f64> = qkv.iter().map(|other| score(other).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for (other, weight) in qkv.iter().zip(&weights) {
                let value = part(other, 2);
                (0..each).for_each(|i| y[head * each + i] += weight / sum * value[i]);
            }
        }
    }
    linear(&y, &format!("{name}.out_proj"), [hidden, hidden])
}

/// What a seed and a class give.
fn reference(family: &Maskgit, class: u32, seed: u64) -> Vec<u32> {
    let t = &family.transformer;
    let one_step = family.one_step.unwrap();
    let (tokens, codebook) = (t.tokens() as usize, t.codebook as usize);
    let (width, vocabulary, mlp) = (t.hidden as usize, t.vocabulary() as usize, t.mlp as usize);
    let key = philox::key(seed);

    // So many of the positions with the least first word are masked, the others take the code of the second.
    let drawn: Vec<[u32; 4]> =
        (0..tokens as u32).map(|position| philox::draw(key, 0, position, Stream::Begin, 0)).collect();
    let mut least: Vec<u32> = drawn.iter().map(|draw| draw[0]).collect();
    least.sort_unstable();
    let masked = (tokens as f64 * one_step.mask_ratio).round_ties_even() as usize;
    let id = |draw: &[u32; 4]| {
        let share = f64::from(draw[1]) / 2_f64.powi(32);
        if draw[0] < least[masked] { codebook } else { (share * codebook as f64) as usize }
    };
    let mut ids: Vec<usize> = drawn.iter().map(id).collect();
    assert_eq!(ids.iter().filter(|&&id| id == codebook).count(), 15, "of 25");
    ids.push(codebook + 1 + class as usize);

    let table = weight("tok_emb.weight", &[vocabulary, width]);
    let places = weight("pos_emb", &[1, tokens + 1, width]);
    let sigma = one_step.noise;
    let normal = |position: usize, column: usize| {
        let bits = philox::draw(key, 0, position as u32, Stream::Embedding, column as u32 / 4);
        let pair = column % 4 / 2 * 2;
        let [radius, angle] = [bits[pair], bits[pair + 1]].map(|bits| f64::from(uniform(bits)));
        let angle = std::f64::consts::TAU * (angle - 0.5);
        (-2.0 * radius.ln()).sqrt() * if column.is_multiple_of(2) { angle.cos() } else { angle.sin() }
    };
    let embedded = |position: usize, column: usize| {
        let e = table[ids[position] * width + column];
        // The class is no token of the image.
        let noisy = sigma * normal(position, column) + (1.0 - sigma * sigma).sqrt() * e;
        (if position < tokens { noisy } else { e }) + places[position * width + column]
    };
    let x: Vec<Vec<f64>> =
        (0..=tokens).map(|position| (0..width).map(|column| embedded(position, column)).collect()).collect();

    let square = [width, width];
    let x = gelu(&linear(&norm(&x, 1e-12), "first_layer.2", square));
    let mut x = linear(&norm(&x, 1e-12), "first_layer.6", square);
    for layer in 0..t.depth {
        let name = format!("transformer.layers.{layer}");
        let y = attention(&norm(&x, 1e-5), &format!("{name}.0.fn.mha"), t);
        add(&mut x, &y);
        let y = gelu(&linear(&norm(&x, 1e-5), &format!("{name}.1.fn.net.0"), [mlp, width]));
        add(&mut x, &linear(&y, &format!("{name}.1.fn.net.3"), [width, mlp]));
    }
    let x = gelu(&linear(&norm(&x, 1e-12), "last_layer.2", square));
    let x = norm(&x, 1e-12);
    let bias = weight("bias", &[tokens + 1, vocabulary]);
    let drawn_at = |position: usize| {
        let noisy = |code: usize| {
            let products = (0..width).map(|i| x[position][i] * table[code * width + i]);
            let bits = philox::draw(key, 0, position as u32, Stream::Token, code as u32 / 4)[code % 4];
            let gumbel = -(-f64::from(uniform(bits)).ln()).ln();
            products.sum::<f64>() + bias[position * vocabulary + code] + gumbel
        };
        (0..codebook).max_by(|&a, &b| noisy(a).total_cmp(&noisy(b))).unwrap() as u32
    };
    (0..tokens).map(drawn_at).collect()
}

#[test]
fn one_pass_gives_every_token_as_the_computation_spelled_out_does() {
    let config = small();
    let Known::Maskgit(family) = &config.family else { panic!("a class model") };
    let pictures = [(0, 5), (2, 6), (1, u64::MAX - 3)];
    let wanted: Vec<u32> =
        pictures.iter().flat_map(|&(class, seed)| reference(family, class, seed)).collect();
    for device in devices() {
        let of = pictures.map(|(class, _)| Some(class));
        let together = tokens(&config, &device, &of, &pictures.map(|(_, seed)| seed));
        assert_eq!(together, wanted, "{}", device.describe());
        for (index, (class, seed)) in pictures.into_iter().enumerate() {
            let alone = tokens(&config, &device, &[Some(class)], &[seed]);
            assert_eq!(alone, wanted[25 * index..][..25], "{}", device.describe());
        }
    }
    // Each of what a picture begins with matters.
    let changed = |change: fn(&mut Maskgit)| {
        let mut family = family.clone();
        change(&mut family);
        let config = Config { family: Known::Maskgit(family), ..config.clone() };
        tokens(&config, &Device::Cpu, &[Some(0)], &[5])
    };
    let noiseless =
        |family: &mut Maskgit| family.one_step = Some(one_step::Config { noise: 0.0, mask_ratio: 0.6 });
    let masked =
        |family: &mut Maskgit| family.one_step = Some(one_step::Config { noise: 0.3, mask_ratio: 1.0 });
    let [noiseless, masked, plain] =
        [changed(noiseless), changed(masked), changed(|family| family.one_step = None)];
    let all = [&wanted[..25], &noiseless, &masked, &plain];
    for (index, one) in all.iter().enumerate() {
        assert!(!all[..index].contains(one), "{index} is as another");
    }
}

#[test]
fn other_steps_and_what_saves_them_are_refused_with_a_sentence() {
    let config = small();
    let plain = settings(&config);
    let sampling = plain.sampling;
    let taylor = Predictor::Taylor(Taylor::LINEAR);
    let weights = &mut RandomWeights { seed: SEED };
    let shape = Shape::new(Batch::of_classes(1, true), Some(Predictor::Reuse));
    let mut session =
        Session::with_weights(&config.family, shape, &Device::Cpu, Formats::F32, weights).unwrap();
    for refused in [
        Settings { sampling: sampling.with_steps(8), ..plain.clone() },
        Settings { sampling: Sampling { guidance: 3.0, ..sampling }, ..plain.clone() },
        Settings { refresh: Refresh::Uniform(4), ..plain.clone() },
        Settings {
            refresh: Refresh::ML_CACHE,
            predictor: Predictor::MlCache(MlCache::OFFICIAL),
            ..plain.clone()
        },
        Settings { predictor: taylor, ..plain.clone() },
    ] {
        let error = session.configure(&refused).unwrap_err().to_string();
        assert!(error.contains("in one full step without guidance"), "{error}");
        assert_eq!(refused.check(&*config.family).unwrap_err().to_string(), error);
        // Others take them.
        assert!(refused.check(fixture().family()).is_ok());
    }
    session.configure(&plain).unwrap();
    session.configure(&Settings { refresh: Refresh::Uniform(1), ..plain }).unwrap();
}

#[test]
fn a_checkpoint_of_one_step_is_converted_opened_and_run() {
    let (config, folder) = (small(), tempfile::tempdir().unwrap());
    let (source, converted) = (folder.path().join("official"), folder.path().join("converted"));
    std::fs::create_dir(&source).unwrap();
    for part in ["maskgit", "vqgan"] {
        let tensors = part_tensors(&*config.family, part).unwrap();
        let path = source.join(format!("{part}.safetensors"));
        write_part(&path, part, &tensors, RandomWeights { seed: SEED }).unwrap();
    }
    let heads = Some(3);
    let with = |one_step, to: &Path| {
        let options = ConvertOptions { one_step, heads, ..ConvertOptions::default() };
        let sources: [PathBuf; 1] = [source.clone()];
        convert(&sources, to, &options, &mut |_| {}).unwrap()
    };
    let report = with(true, &converted);
    assert!(!report.notes.iter().any(|note| note.contains("shortcut")), "{:?}", report.notes);
    let model = Model::open(&converted).unwrap();
    let found = sizes(&model).one_step.unwrap();
    assert_eq!((found, model.family().is_one_step()), (one_step::Config::OFFICIAL, true));
    assert_eq!((model.config.sampling.steps, model.config.sampling.guided()), (1, false));
    let shape = Shape::new(Batch::of_classes(1, false), None);
    let mut session = Session::new(&model, shape, &Device::Cpu).unwrap();
    session.configure(&settings(&model.config)).unwrap();
    session.start(&classes(&[Some(1)]), &[4]).unwrap();
    session.finish().unwrap();
    let ids = block_on(session.tokens()).unwrap();
    assert_eq!(ids, reference(sizes(&model), 1, 4));
    let [height, width] = model.family().size();
    assert_eq!(block_on(session.decode(&ids)).unwrap().len(), (height * width * 3) as usize);
    // Converted again without being told, what the folder says stays.
    with(false, &converted);
    assert!(Model::open(&converted).unwrap().family().is_one_step());
    let plain = folder.path().join("plain");
    with(false, &plain);
    assert!(!Model::open(&plain).unwrap().family().is_one_step());
}

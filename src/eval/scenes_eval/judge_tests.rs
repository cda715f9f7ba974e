//! The judge against the whole network written out plainly in f64, and on both executors.

use super::*;
use crate::eval::random::{RandomWeights, write_part};
use crate::exec::twins::test_gpu;
use crate::kernels::WeightFormat;
use crate::program::WeightSpec;
use crate::weights::WeightError;

fn words(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{prefix} {i}")).collect()
}

fn tiny() -> Config {
    Config {
        architecture: models::judge::ARCHITECTURE.to_owned(),
        size: 12,
        channels: vec![4, 6, 6],
        groups: 2,
        nouns: words("noun", 5),
        places: words("place", 3),
        lights: words("light", 2),
        colours: words("colour", 4),
    }
}

/// Random, with norms and biases that are not 1 and 0.
struct Uneven;

impl WeightSource for Uneven {
    fn load(&mut self, spec: &WeightSpec) -> Result<Vec<f32>, WeightError> {
        let mut data = RandomWeights { seed: 8 }.load(spec)?;
        if spec.shape.len() == 1 {
            data.iter_mut().enumerate().for_each(|(i, v)| *v += ((i * 5 % 7) as f32 - 3.0) * 0.2);
        }
        Ok(data)
    }
}

/// One picture, channels first: `[channels][row][column]`.
type Planes = Vec<Vec<Vec<f64>>>;

fn weight(name: &str, shape: &[usize]) -> Vec<f64> {
    let (name, shape) = (format!("judge.{name}"), shape.to_vec());
    let layout = crate::program::Layout::Dense;
    let spec = WeightSpec { name, shape, layout, format: WeightFormat::F32 };
    Uneven.load(&spec).unwrap().into_iter().map(f64::from).collect()
}

/// A convolution of `taps x taps`, by the definition; `before` is the padding above and to the left.
fn conv(x: &Planes, name: &str, out: usize, taps: usize, stride: usize, before: usize) -> Planes {
    let (inner, size) = (x.len(), x[0].len());
    let w = weight(&format!("{name}.weight"), &[out, inner, taps, taps]);
    let bias = weight(&format!("{name}.bias"), &[out]);
    let new = size / stride;
    let at = |c: usize, row: usize, column: usize| {
        let (Some(row), Some(column)) = (row.checked_sub(before), column.checked_sub(before)) else {
            return 0.0;
        };
        if row < size && column < size { x[c][row][column] } else { 0.0 }
    };
    let value = |o: usize, row: usize, column: usize| {
        let mut sum = bias[o];
        for c in 0..inner {
            for (i, j) in (0..taps * taps).map(|tap| (tap / taps, tap % taps)) {
                sum +=
                    w[((o * inner + c) * taps + i) * taps + j] * at(c, row * stride + i, column * stride + j);
            }
        }
        sum
    };
    (0..out).map(|o| (0..new).map(|r| (0..new).map(|c| value(o, r, c)).collect()).collect()).collect()
}

fn norm_silu(x: &Planes, name: &str, groups: usize) -> Planes {
    let channels = x.len();
    let (weight, bias) =
        (weight(&format!("{name}.weight"), &[channels]), weight(&format!("{name}.bias"), &[channels]));
    let mut y = x.clone();
    for (group, planes) in x.chunks(channels / groups).enumerate() {
        let all: Vec<f64> = planes.iter().flatten().flatten().copied().collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let variance = all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / all.len() as f64;
        for i in 0..planes.len() {
            let channel = group * planes.len() + i;
            for value in y[channel].iter_mut().flatten() {
                let z = (*value - mean) / (variance + 1e-6).sqrt() * weight[channel] + bias[channel];
                *value = z / (1.0 + (-z).exp());
            }
        }
    }
    y
}

/// Features and outputs of one picture `[size, size, 3]`.
fn reference(config: &Config, picture: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let (size, groups) = (config.size as usize, config.groups as usize);
    let pixel = |c: usize, row: usize, column: usize| f64::from(picture[(row * size + column) * 3 + c]);
    let plane = |c: usize| (0..size).map(|r| (0..size).map(|k| pixel(c, r, k)).collect()).collect();
    let mut x = conv(&(0..3).map(plane).collect(), "conv_in", config.channels[0] as usize, 3, 1, 1);
    for (level, &channels) in config.channels.iter().enumerate() {
        let (name, channels) = (format!("blocks.{level}"), channels as usize);
        let h = conv(
            &norm_silu(&x, &format!("{name}.norm1"), groups),
            &format!("{name}.conv1"),
            channels,
            3,
            1,
            1,
        );
        let h = conv(
            &norm_silu(&h, &format!("{name}.norm2"), groups),
            &format!("{name}.conv2"),
            channels,
            3,
            1,
            1,
        );
        let skip = if x.len() == channels {
            x
        } else {
            conv(&x, &format!("{name}.conv_shortcut"), channels, 1, 1, 0)
        };
        x = h;
        for (a, b) in x.iter_mut().flatten().flatten().zip(skip.iter().flatten().flatten()) {
            *a += b;
        }
        if level + 1 < config.channels.len() {
            x = conv(&x, &format!("downs.{level}.conv"), channels, 3, 2, 0);
        }
    }
    let x = norm_silu(&x, "norm_out", groups);
    let mean =
        |plane: &Vec<Vec<f64>>| plane.iter().flatten().sum::<f64>() / (plane.len() * plane.len()) as f64;
    let features: Vec<f64> = x.iter().map(mean).collect();
    let outputs = config.outputs() as usize;
    let (w, bias) = (weight("head.weight", &[outputs, features.len()]), weight("head.bias", &[outputs]));
    let row =
        |o: usize| features.iter().zip(&w[o * features.len()..]).map(|(f, w)| f * w).sum::<f64>() + bias[o];
    (features.clone(), (0..outputs).map(row).collect())
}

#[test]
fn both_executors_read_what_the_network_written_out_reads() {
    let config = tiny();
    let values = (config.size * config.size * 3) as usize;
    let pictures: Vec<f32> = (0..3 * values).map(|i| ((i * i) as f32 * 0.37).sin()).collect();
    let devices = [Some(Device::Cpu), test_gpu().map(|gpu| Device::Gpu(Box::new(gpu)))];
    for device in devices.into_iter().flatten() {
        let mut judge =
            Judge::with_weights("tiny", config.clone(), &device, Formats::F32, &mut Uneven).unwrap();
        // A batch of its own, then a short one among what it left behind.
        judge.batch = 2;
        let all = judge.read(&pictures).unwrap();
        assert_eq!((all.seen.len(), all.features.len()), (3, 3 * 6));
        for (index, picture) in pictures.chunks(values).enumerate() {
            let (features, outputs) = reference(&config, picture);
            for (got, wanted) in all.features[index * 6..][..6].iter().zip(&features) {
                assert!((f64::from(*got) - wanted).abs() < 1e-4, "feature {got}, not {wanted}");
            }
            let outputs: Vec<f32> = outputs.into_iter().map(|v| v as f32).collect();
            assert_eq!(all.seen[index], Seen::new(&config, &outputs), "picture {index}");
        }
        let read =
            block_on(read_f32(judge.executor.as_mut(), states::JUDGE_OUTPUTS, outputs_of(&config))).unwrap();
        let (_, wanted) = reference(&config, &pictures[2 * values..]);
        for (got, wanted) in read.iter().zip(&wanted) {
            assert!((f64::from(*got) - wanted).abs() < 2e-4, "output {got}, not {wanted}");
        }
    }
}

fn outputs_of(config: &Config) -> usize {
    config.outputs() as usize
}

#[test]
fn outputs_are_read_in_the_order_of_the_contract() {
    let config = tiny();
    let readings = config.readings();
    assert_eq!((readings.nouns, readings.colours), ([0..5, 5..10], [10..14, 14..18]));
    assert_eq!((readings.count, readings.place), (18..21, 21..24));
    assert_eq!((readings.light, readings.whole, config.outputs()), (24..26, 26..28, 28));
    let mut outputs = vec![-1.0; 28];
    for index in [3, 5 + 1, 10 + 2, 14, 18 + 1, 21 + 2, 24, 26 + 1] {
        outputs[index] = 2.0;
    }
    let seen = Seen::new(&config, &outputs);
    let wanted = Wanted {
        nouns: vec![1, 3],
        colours: vec![Some(0), Some(2)],
        count: Some(2),
        sides: Some([3, 1]),
        place: Some(2),
        light: Some(0),
    };
    assert_eq!(seen.marks(&wanted), [Some(true); 7]);
    assert!(all_right(&seen.marks(&wanted)));
    // One thing too many or too few is wrong; what is left open is not judged.
    let marks = |change: fn(&mut Wanted)| {
        let mut other = wanted.clone();
        change(&mut other);
        seen.marks(&other)
    };
    assert_eq!(marks(|w| w.nouns = vec![3])[0], Some(false));
    assert_eq!(marks(|w| w.nouns = vec![3, 1])[0], Some(true));
    assert_eq!(marks(|w| w.nouns = vec![3, 4])[0], Some(false));
    assert_eq!(marks(|w| w.colours = vec![Some(2), Some(0)])[1], Some(false));
    assert_eq!(marks(|w| w.colours = vec![None, Some(2)])[1], Some(true));
    assert_eq!(marks(|w| w.colours = vec![None, None])[1], None);
    // The colour of what is not there.
    assert_eq!(marks(|w| w.nouns = vec![4, 3])[1], Some(false));
    assert_eq!(marks(|w| w.count = Some(3))[2], Some(false));
    assert_eq!(marks(|w| w.sides = Some([1, 3]))[3], Some(false));
    assert_eq!(marks(|w| w.sides = None)[3], None);
    assert_eq!(marks(|w| w.place = Some(0))[4], Some(false));
    assert_eq!(marks(|w| w.light = Some(1))[5], Some(false));
    assert!(!all_right(&marks(|w| w.light = Some(1))) && all_right(&marks(|w| w.light = None)));
    // Of several of a kind all have the colour, and what is torn is wrong whatever was asked for.
    let three = Seen { nouns: [3, 3], colours: [2, 1], count: 3, whole: false, ..seen.clone() };
    let asked = Wanted { colours: vec![Some(2)], count: Some(3), ..Wanted::noun(3) };
    let marks = [Some(true), Some(false), Some(true), None, None, None, Some(false)];
    assert_eq!(three.marks(&asked), marks);
    assert_eq!(Seen { colours: [2, 2], ..three }.marks(&asked)[1], Some(true));
}

#[test]
fn a_judge_s_folder_is_checked_before_it_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Judge::open(Some(folder.path()), &Device::Cpu);
    let write = |config: &Config| {
        std::fs::write(folder.path().join("config.json"), serde_json::json!(config).to_string()).unwrap();
    };
    let config = tiny();
    write(&config);
    let error = open().unwrap_err().to_string();
    assert!(error.contains("no judge.safetensors"), "{error}");
    let file = folder.path().join("judge.safetensors");
    write_part(&file, PART, &tensors(&config).unwrap(), RandomWeights { seed: 1 }).unwrap();
    let mut judge = open().unwrap();
    assert_eq!(judge.config, config);
    assert_eq!(judge.read(&vec![0.5; 12 * 12 * 3]).unwrap().seen.len(), 1);
    for (change, words) in [
        ((|c| c.nouns.truncate(4)) as fn(&mut Config), "misshapen"),
        (|c| c.channels.truncate(2), "surplus"),
        (|c| c.architecture = "maskgit".to_owned(), "not a judge's"),
        (|c| c.channels[1] = 7, "multiple of its 2 groups"),
        (|c| c.groups = 0, "groups"),
        (|c| c.channels.clear(), "0 levels"),
        (|c| c.size = 14, "a multiple of 4"),
        (|c| c.lights.clear(), "`lights` has 0 entries"),
    ] {
        let mut other = config.clone();
        change(&mut other);
        write(&other);
        let error = open().unwrap_err().to_string();
        assert!(error.contains(words), "{error:?} lacks {words:?}");
    }
}

//! What a session promises, on a small trained model and on the CPU; the GPU where one is at hand.

use super::fixtures::{FIXTURE, both_families, class_fixture, classes, fixture, prompt, sizes};
use super::model::{Device, Model};
use super::picture::Pixels;
use super::predict::Predictor;
use super::programs::Programs;
use super::refresh::Refresh;
use super::sampling::Sampling;
use super::session::{Session, Settings, Shape, StepKind};
use crate::exec::Memory;
use crate::exec::twins::test_gpu;
use crate::kernels::{ChoiceNoise, Quantization};
use crate::models::{self, Batch, Condition, Known, part_tensors};
use crate::program::Formats;
use pollster::block_on;

fn shape(images: u32, guided: bool) -> Shape {
    Shape::new(Batch::of_classes(images, guided), Some(Predictor::Shortcut))
}

fn settings(model: &Model, refresh: Refresh) -> Settings {
    Settings { sampling: model.config.sampling, refresh, predictor: Predictor::Shortcut }
}

fn tokens(session: &mut Session, settings: &Settings, of: &[Option<u32>], seeds: &[u64]) -> Vec<u32> {
    session.configure(settings).unwrap();
    session.start(&classes(of), seeds).unwrap();
    session.finish().unwrap();
    block_on(session.tokens()).unwrap()
}

#[test]
fn a_seed_gives_the_same_picture_alone_and_in_a_batch() {
    let model = fixture();
    let settings = settings(&model, Refresh::Uniform(4));
    let mut pair = Session::new(&model, shape(2, true), &Device::Cpu).unwrap();
    let both = tokens(&mut pair, &settings, &[Some(2), Some(8)], &[5, 6]);
    let mut single = Session::new(&model, shape(1, true), &Device::Cpu).unwrap();
    assert_eq!(tokens(&mut single, &settings, &[Some(2)], &[5]), both[..64]);
    assert_eq!(tokens(&mut single, &settings, &[Some(8)], &[6]), both[64..]);
    assert_ne!(tokens(&mut single, &settings, &[Some(8)], &[7]), both[64..], "the seed must matter");
    assert_ne!(tokens(&mut single, &settings, &[Some(9)], &[6]), both[64..], "the class must matter");
}

#[test]
fn budget_equal_to_steps_is_vanilla() {
    let model = fixture();
    let mut session = Session::new(&model, shape(1, true), &Device::Cpu).unwrap();
    let every = tokens(&mut session, &settings(&model, Refresh::Every), &[Some(3)], &[1]);
    let all = settings(&model, Refresh::Uniform(model.config.sampling.steps));
    assert_eq!(tokens(&mut session, &all, &[Some(3)], &[1]), every);
    let few = tokens(&mut session, &settings(&model, Refresh::Uniform(3)), &[Some(3)], &[1]);
    assert_ne!(few, every, "a shortcut that changed nothing would not have run");
}

#[test]
fn edge_settings_are_meaningful() {
    let (_folder, model) = class_fixture();
    let mut guided = Session::new(&model, shape(1, true), &Device::Cpu).unwrap();
    let mask = model.family().codebook();
    for (steps, refresh) in [
        (1, Refresh::Every),
        (12, Refresh::Uniform(1)),
        (500, Refresh::Uniform(2)),
        (500, Refresh::Uniform(500)),
        (64, Refresh::List(vec![0, 63])),
    ] {
        for choice_noise in [ChoiceNoise::Linear, ChoiceNoise::WarmUp, ChoiceNoise::Random] {
            let sampling = Sampling { steps, choice_noise, ..model.config.sampling };
            let settings = Settings { sampling, refresh: refresh.clone(), predictor: Predictor::Shortcut };
            let ids = tokens(&mut guided, &settings, &[None], &[9]);
            assert!(ids.iter().all(|&id| id < mask), "{steps} steps, {refresh}: something stayed masked");
        }
    }
    // Without guidance there is no unconditional half; with guidance 0 a guided session computes the same tokens.
    let sampling = Sampling { guidance: 0.0, ..model.config.sampling };
    let unguided = Settings { sampling, refresh: Refresh::Uniform(4), predictor: Predictor::Shortcut };
    let mut plain = Session::new(&model, shape(1, false), &Device::Cpu).unwrap();
    let wanted = tokens(&mut guided, &unguided, &[Some(1)], &[4]);
    assert_eq!(tokens(&mut plain, &unguided, &[Some(1)], &[4]), wanted);
}

#[test]
fn a_session_refuses_what_it_was_not_made_for() {
    let model = fixture();
    let mut session =
        Session::new(&model, Shape { predictor: None, ..shape(1, false) }, &Device::Cpu).unwrap();
    let error = session.configure(&settings(&model, Refresh::Every)).unwrap_err().to_string();
    assert!(error.contains("without guidance"), "{error}");
    let mut unguided = settings(&model, Refresh::Uniform(2));
    unguided.sampling.guidance = 0.0;
    let error = session.configure(&unguided).unwrap_err().to_string();
    assert!(error.contains("predictor"), "{error}");
    unguided.refresh = Refresh::Every;
    session.configure(&unguided).unwrap();
    let error = session.start(&classes(&[Some(1), Some(2)]), &[1]).unwrap_err().to_string();
    assert!(error.contains("batch of 1"), "{error}");
    let error = session.start(&classes(&[Some(999)]), &[1]).unwrap_err().to_string();
    assert!(error.contains("0 to 23"), "{error}");
}

#[test]
fn the_step_loop_allocates_nothing_and_reads_nothing_back() {
    let model = fixture();
    let devices = [Some(Device::Cpu), test_gpu().map(|gpu| Device::Gpu(Box::new(gpu)))];
    for device in devices.into_iter().flatten() {
        let mut session = Session::new(&model, shape(1, true), &device).unwrap();
        let settings = settings(&model, Refresh::Uniform(4));
        session.configure(&settings).unwrap();
        session.start(&classes(&[Some(2)]), &[0]).unwrap();
        let before = session.executor().counters();
        let mut kinds = Vec::new();
        while let Some(step) = session.step().unwrap() {
            kinds.push(step.kind);
        }
        session.executor().wait().unwrap();
        assert_eq!(session.executor().counters(), before, "{}", session.executor().describe());
        assert_eq!(kinds.iter().filter(|kind| **kind == StepKind::Full).count(), 4);
        // The counters do count: this reads.
        block_on(session.tokens()).unwrap();
        assert_ne!(session.executor().counters(), before);
        // A second run of the same plan makes nothing new either.
        let before = session.executor().counters();
        session.configure(&settings).unwrap();
        session.start(&classes(&[Some(3)]), &[1]).unwrap();
        session.finish().unwrap();
        assert_eq!(session.executor().counters(), before);
    }
}

#[test]
fn both_executors_make_the_same_picture() {
    let Some(gpu) = test_gpu() else { return };
    let model = fixture();
    let settings = settings(&model, Refresh::Uniform(4));
    let run = |device: Device| {
        let mut session = Session::new(&model, shape(2, true), &device).unwrap();
        let tokens = tokens(&mut session, &settings, &[Some(2), Some(20)], &[0, 1]);
        let picture = block_on(session.decode(&tokens)).unwrap();
        let times = block_on(session.step_times()).unwrap();
        assert!(times.iter().all(|ms| ms.is_none_or(|ms| ms > 0.0)), "{times:?}");
        (tokens, picture)
    };
    let (cpu_tokens, cpu) = run(Device::Cpu);
    let (gpu_tokens, gpu) = run(Device::Gpu(Box::new(gpu)));
    // The same noise and nearly the same logits: a draw flips only where two codes are within rounding of each other.
    let equal = cpu_tokens.iter().zip(&gpu_tokens).filter(|(a, b)| a == b).count();
    assert_eq!(equal, cpu_tokens.len(), "{equal} of {} tokens are equal", cpu_tokens.len());
    let largest = cpu.iter().zip(&gpu).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest < 2e-3, "pictures differ by {largest}");
}

#[test]
fn states_and_temporaries_are_as_planned() {
    let model = fixture();
    let programs = Programs::new(model.family(), shape(2, true), model.formats()).unwrap().list;
    let planned = Memory::planned(&programs);
    let mut session = Session::new(&model, shape(2, true), &Device::Cpu).unwrap();
    let held = session.memory();
    assert_eq!((held.states, held.temporaries), (planned.states, planned.temporaries));
    if let Some(gpu) = test_gpu() {
        session = Session::new(&model, shape(2, true), &Device::Gpu(Box::new(gpu))).unwrap();
        assert_eq!(session.memory(), planned, "on a GPU weights keep their format");
    }
}

/// Sizes that no model here has: nothing is a multiple of four, the shortcut has no bottleneck, or two blocks and a
/// narrow one.
#[test]
fn odd_sizes_agree_between_executors() {
    use crate::eval::random::RandomWeights;
    use crate::models::maskgit::{self, shortcut};
    use crate::models::tokenizer::Tokenizer;
    use crate::models::tokenizer::{amused, vqgan};
    let Some(gpu) = test_gpu() else { return };
    let base = fixture();
    for (hidden, heads, grid, blocks, ratio, shortcut_heads, images) in
        [(30, 3, 5, 1, 1, 2, 1), (42, 2, 3, 2, 3, 7, 3), (68, 1, 4, 1, 2, 1, 2)]
    {
        let mut config = sizes(&base).clone();
        config.transformer =
            maskgit::Config { grid, hidden, depth: 2, heads, mlp: 2 * hidden + 1, codebook: 37, classes: 3 };
        config.shortcut = Some(shortcut::Config {
            blocks,
            bottleneck_ratio: ratio,
            heads: shortcut_heads,
            parts: Default::default(),
        });
        config.tokenizer = if blocks == 2 {
            let channels = vec![6, 10];
            Tokenizer::Amused(amused::Config { channels, layers: 1, latent: 5, groups: 2, local: false })
        } else {
            let (ch_mult, attn_resolutions) = (vec![1, 2], vec![32]);
            let official = vqgan::Config::official();
            let sizes =
                vqgan::Config { ch: 32, z_channels: 64, embed_dim: 16, num_res_blocks: 1, ..official };
            Tokenizer::Taming(vqgan::Config { ch_mult, attn_resolutions, resolution: 64, ..sizes })
        };
        config.image_size = 2 * grid;
        let sampling = base.config.sampling.with_steps(5);
        let config = Known::Maskgit(config);
        let settings = Settings { sampling, refresh: Refresh::Uniform(2), predictor: Predictor::Shortcut };
        let run = |device: Device| {
            let weights = &mut RandomWeights { seed: 2 };
            let mut session =
                Session::with_weights(&config, shape(images, true), &device, Formats::F32, weights).unwrap();
            let of: Vec<Option<u32>> = (0..images).map(|i| Some(i % 3)).collect();
            let seeds: Vec<u64> = (0..u64::from(images)).collect();
            let ids = tokens(&mut session, &settings, &of, &seeds);
            (ids.clone(), block_on(session.features()).unwrap(), block_on(session.decode(&ids)).unwrap())
        };
        let (cpu, gpu) = (run(Device::Cpu), run(Device::Gpu(Box::new(gpu.clone()))));
        assert_eq!(cpu.0, gpu.0, "hidden {hidden}");
        let largest = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest(&cpu.1, &gpu.1) < 2e-3, "features of hidden {hidden}: {}", largest(&cpu.1, &gpu.1));
        assert!(largest(&cpu.2, &gpu.2) < 5e-3, "pictures of hidden {hidden}: {}", largest(&cpu.2, &gpu.2));
    }
}

/// One tokenizer for both architectures: a class model with aMUSEd's, as a folder.
#[test]
fn a_class_model_with_the_tokenizer_of_text_models_works_from_a_folder() {
    use super::model::Config;
    use crate::eval::random::{RandomWeights, write_part};
    use crate::models::tokenizer::{Tokenizer, amused};
    use crate::weights::{ConvertOptions, convert};
    let (mut family, sampling) = (sizes(&fixture()).clone(), fixture().config.sampling);
    family.transformer.depth = 1;
    let channels = vec![8, 8, 16, 16];
    let sizes = amused::Config { channels, layers: 1, latent: 8, groups: 4, local: true };
    family.tokenizer = Tokenizer::Amused(sizes);
    let folder = tempfile::tempdir().unwrap();
    for part in ["maskgit", "vq", "shortcut"] {
        let tensors = part_tensors(&family, part).unwrap();
        let path = folder.path().join(format!("{part}.safetensors"));
        write_part(&path, part, &tensors, RandomWeights { seed: 4 }).unwrap();
    }
    let config = Config { family: Known::Maskgit(family.clone()), sampling };
    std::fs::write(folder.path().join("config.json"), serde_json::json!(config).to_string()).unwrap();
    let model = Model::open(folder.path()).unwrap();
    assert_eq!(model.config, config);
    let mut session = Session::new(&model, shape(2, true), &Device::Cpu).unwrap();
    let settings = settings(&model, Refresh::Uniform(4));
    let ids = tokens(&mut session, &settings, &[Some(2), Some(5)], &[1, 2]);
    let picture = block_on(session.decode(&ids)).unwrap();
    assert_eq!(picture.len(), 2 * 64 * 64 * 3);
    // The same program elsewhere gives values nominally in [0, 1]; a session's are in [-1, 1].
    let program = models::build("decode", Formats::F32, |b| {
        family.tokenizer.decode(b, family.transformer.codebook, 2, 8, 8);
    });
    let mut executor = Device::Cpu.executor(vec![program.unwrap()], &mut *model.weights().unwrap()).unwrap();
    executor.prepare(&[crate::kernels::StepValues::default()]).unwrap();
    executor.write(models::states::CODES, &ids).unwrap();
    executor.run(&[0], 0, false).unwrap();
    let raw =
        block_on(crate::exec::read_f32(executor.as_mut(), models::states::IMAGE, picture.len())).unwrap();
    let largest = raw.iter().zip(&picture).map(|(raw, v)| (2.0 * raw - 1.0 - v).abs()).fold(0.0, f32::max);
    assert!(largest < 1e-5, "{largest}");

    // Converted whole, and with the tokenizer brought from elsewhere: the config tells the kind, and keeps the groups and that it is local.
    let whole = tempfile::tempdir().unwrap();
    let options = ConvertOptions::default();
    let report = convert(&[folder.path().to_owned()], whole.path(), &options, &mut |_| {}).unwrap();
    assert!(report.missing.is_empty(), "{:?}", report.missing);
    assert_eq!(Model::open(whole.path()).unwrap().config, config);
    std::fs::remove_file(whole.path().join("vq.safetensors")).unwrap();
    let error = Model::open(whole.path()).unwrap_err().to_string();
    assert!(error.contains("no vq.safetensors"), "{error}");
    let vq = folder.path().join("vq.safetensors");
    convert(std::slice::from_ref(&vq), whole.path(), &options, &mut |_| {}).unwrap();
    assert_eq!(Model::open(whole.path()).unwrap().config, config);
    // Two tokenizers are one too many.
    let other = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURE).join("vqgan.safetensors");
    let error = convert(&[vq, other], whole.path(), &options, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("are both tokenizers"), "{error}");
}

/// What stands at the left becomes another at the right: with GroupNorms the latents follow, without they stay as they are.
#[test]
fn latents_of_a_local_encoder_depend_on_what_is_near() {
    use crate::eval::random::RandomWeights;
    use crate::models::tokenizer::amused;
    let latents = |local: bool, left: f32| {
        let config = amused::Config { channels: vec![4, 8], layers: 1, latent: 4, groups: 2, local };
        let (height, width) = (8, 96);
        let program =
            models::build("encode", Formats::F32, |b| config.encode(b, 16, 1, height, width)).unwrap();
        let weights = &mut RandomWeights { seed: 5 };
        let mut executor = Device::Cpu.executor(vec![program], weights).unwrap();
        executor.prepare(&[crate::kernels::StepValues::default()]).unwrap();
        let shade = |x: u32| if x < width / 2 { left } else { 0.5 + 0.4 * (x as f32).sin() };
        let picture: Vec<f32> = (0..height * width * 3).map(|i| shade(i / 3 % width)).collect();
        executor.write(models::states::IMAGE, bytemuck::cast_slice(&picture)).unwrap();
        executor.run(&[0], 0, false).unwrap();
        let count = (height * width * config.latent) as usize / 4;
        block_on(crate::exec::read_f32(executor.as_mut(), models::states::LATENTS, count)).unwrap()
    };
    // 2 pixels a token; convolutions reach 14 tokens far at most.
    let rightmost = |values: Vec<f32>| -> Vec<f32> {
        values.chunks_exact(48 * 4).flat_map(|row| row[40 * 4..].to_vec()).collect()
    };
    for local in [true, false] {
        let [dark, light] = [0.1, 0.9].map(|left| rightmost(latents(local, left)));
        assert_eq!(dark == light, local, "local: {local}");
    }
}

#[test]
fn a_step_that_was_not_prepared_is_an_error() {
    let (_folder, model) = class_fixture();
    let devices = [Some(Device::Cpu), test_gpu().map(|gpu| Device::Gpu(Box::new(gpu)))];
    for device in devices.into_iter().flatten() {
        let mut session = Session::new(&model, shape(1, true), &device).unwrap();
        let codes = vec![0; model.family().tokens() as usize];
        let error = block_on(session.decode(&codes)).unwrap_err().to_string();
        assert!(error.contains("was not prepared"), "{error}");
        session.configure(&settings(&model, Refresh::Every)).unwrap();
        assert_eq!(block_on(session.pictures(&codes, Pixels::Signed)).unwrap().len(), 1);
        let beyond = session.plan().len();
        let error = session.executor().run(&[0], beyond, false).unwrap_err().to_string();
        assert!(error.contains("was not prepared"), "{error}");
        assert!(block_on(session.executor().profile(0, beyond)).is_err());
    }
}

/// Relative L2 distance of the features after a full step on half-masked pictures from those of unquantised weights.
fn features_move(model: &Model, formats: Formats) -> f64 {
    let (of, seeds) = (classes(&[Some(2), Some(8), Some(13), Some(20)]), [1, 2, 3, 4]);
    let every = settings(model, Refresh::Every);
    let mut plain = Session::new(model, shape(4, true), &Device::Cpu).unwrap();
    plain.configure(&every).unwrap();
    plain.start(&of, &seeds).unwrap();
    for _ in 0..every.sampling.steps / 2 {
        plain.step().unwrap();
    }
    let ids = block_on(plain.tokens()).unwrap();
    let mut weights = model.weights().unwrap();
    let mut quantized =
        Session::with_weights(&model.config.family, shape(4, true), &Device::Cpu, formats, &mut *weights)
            .unwrap();
    quantized.configure(&every).unwrap();
    quantized.start(&of, &seeds).unwrap();
    let features = |session: &mut Session| {
        session.executor().write(models::states::IDS, &ids).unwrap();
        session.executor().run(&[0], 0, false).unwrap();
        block_on(session.features()).unwrap()
    };
    let (wanted, got) = (features(&mut plain), features(&mut quantized));
    let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
    let error = squares(&mut wanted.iter().zip(&got).map(|(a, b)| a - b));
    (error / squares(&mut wanted.iter().copied())).sqrt()
}

#[test]
fn quantised_weights_hardly_move_the_features() {
    let model = fixture();
    for (quantize, most) in [
        (Quantization::Int8, 0.01),
        (Quantization::Int4 { group: 32 }, 0.06),
        (Quantization::Int4 { group: 64 }, 0.06),
    ] {
        let moved = features_move(&model, Formats::F16.quantized(Some(quantize)));
        println!("{quantize}: features move by {:.3} %", 100.0 * moved);
        assert!(moved > 1e-5, "{quantize}: nothing was quantised");
        assert!(moved < most, "{quantize}: features move by {:.2} %", 100.0 * moved);
    }
}

#[test]
fn a_device_that_goes_away_is_an_error_with_a_way_on() {
    use crate::exec::gpu::device::{Choice, Gpu};
    let Some(gpu) = test_gpu() else { return };
    // A device of its own: the one of the other tests must live on.
    let choice = Choice { name: Some(gpu.info.name), default_limits: true, ..Choice::default() };
    let gpu = block_on(Gpu::open(&choice)).unwrap();
    let model = fixture();
    let mut session = Session::new(&model, shape(1, true), &Device::Gpu(Box::new(gpu.clone()))).unwrap();
    session.configure(&settings(&model, Refresh::Uniform(4))).unwrap();
    session.start(&classes(&[Some(1)]), &[1]).unwrap();
    session.step().unwrap();
    gpu.device.destroy();
    let error =
        session.finish().and_then(|()| block_on(session.tokens()).map(|_| ())).unwrap_err().to_string();
    assert!(error.contains(&gpu.info.name), "{error}");
    assert!(error.contains("was lost") && error.contains("--backend cpu"), "{error}");
}

#[test]
fn a_batch_that_does_not_fit_is_refused_before_anything_is_loaded() {
    let Some(gpu) = test_gpu() else { return };
    let model = fixture();
    let error = Session::new(&model, shape(2048, true), &Device::Gpu(Box::new(gpu))).unwrap_err().to_string();
    assert!(error.contains("binds at most 134217728") && error.contains("smaller batch"), "{error}");
}

#[test]
fn quantised_weights_are_as_large_as_planned_and_the_same_on_both_executors() {
    let Some(gpu) = test_gpu() else { return };
    let model = fixture();
    let every = settings(&model, Refresh::Uniform(2));
    for quantize in [Quantization::Int8, Quantization::Int4 { group: 64 }] {
        let formats = Formats::F16.quantized(Some(quantize));
        let planned = Memory::planned(&Programs::new(model.family(), shape(1, true), formats).unwrap().list);
        let run = |device: Device| {
            let mut weights = model.weights().unwrap();
            let mut session =
                Session::with_weights(&model.config.family, shape(1, true), &device, formats, &mut *weights)
                    .unwrap();
            let held = session.memory();
            (tokens(&mut session, &every, &[Some(2)], &[3]), held)
        };
        let (on_cpu, _) = run(Device::Cpu);
        let (on_gpu, held) = run(Device::Gpu(Box::new(gpu.clone())));
        assert_eq!(held, planned, "{quantize}");
        assert_eq!(on_gpu, on_cpu, "{quantize}");
    }
}

/// Vanilla has no memory but its tokens: from those of any step it goes on to the same picture.
#[test]
fn a_run_goes_on_from_the_tokens_of_any_step() {
    let (_folder, [class, text]) = both_families();
    let words = prompt(&text, "w5 w17 w9");
    for (model, condition) in [(class, Condition::Class(Some(2))), (text, words)] {
        let conditions = [condition.clone(), condition];
        let devices = std::iter::once(Device::Cpu).chain(test_gpu().map(|gpu| Device::Gpu(Box::new(gpu))));
        for device in devices {
            let batch = Batch::of(&conditions[0], 2, true);
            let mut session =
                Session::new(&model, Shape::new(batch, Some(Predictor::Reuse)), &device).unwrap();
            let sampling = model.config.sampling.with_steps(7);
            let vanilla = Settings { sampling, refresh: Refresh::Every, predictor: Predictor::Reuse };
            session.configure(&vanilla).unwrap();
            session.start(&conditions, &[3, 4]).unwrap();
            let mut after = Vec::new();
            while session.step().unwrap().is_some() {
                after.push(block_on(session.tokens()).unwrap());
            }
            let wanted = after.last().unwrap().clone();
            for step in [1, 4, 6] {
                session.resume(&conditions, &[3, 4], &after[step - 1], step).unwrap();
                session.finish().unwrap();
                assert_eq!(block_on(session.tokens()).unwrap(), wanted, "from step {step}");
            }
            // With another seed from there on, what was known stays.
            session.resume(&conditions, &[30, 40], &after[3], 4).unwrap();
            session.finish().unwrap();
            let other = block_on(session.tokens()).unwrap();
            assert_ne!(other, wanted);
            let mask = model.family().codebook();
            assert!(after[3].iter().zip(&other).all(|(known, now)| *known == mask || known == now));
            // Predicted steps may follow.
            session.configure(&Settings { refresh: Refresh::List(vec![0, 4]), ..vanilla.clone() }).unwrap();
            session.resume(&conditions, &[3, 4], &after[3], 4).unwrap();
            session.finish().unwrap();
            assert!(block_on(session.tokens()).unwrap().iter().all(|code| *code < mask));
            for (step, codes, words) in [
                (5, after[4].clone(), "is predicted"),
                (9, after[3].clone(), "no step 10"),
                (4, after[2].clone(), "masked tokens"),
                (4, after[3][1..].to_vec(), "codes of up to"),
                (4, vec![mask + 1; after[3].len()], "codes of up to"),
            ] {
                let error = session.resume(&conditions, &[3, 4], &codes, step).unwrap_err().to_string();
                assert!(error.contains(words), "{error}");
            }
        }
    }
}

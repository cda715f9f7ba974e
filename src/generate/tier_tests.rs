//! What the bundled models lose on a device's tier, against the CPU executor, which computes what the portable tier does: features from
//! the same tokens, and the tokens of a whole run with the same noise. `cargo xtask tiers` runs this on every tier.

use super::fixtures::prompt;
use super::model::{Device, Model};
use super::predict::Predictor;
use super::refresh::Refresh;
use super::session::{Session, Settings, Shape};
use crate::exec::cpu::multiplies_bf16;
use crate::exec::gpu::tier::Tier;
use crate::exec::twins::test_gpu;
use crate::models::states::IDS;
use crate::models::{Batch, Condition};
use pollster::block_on;
use std::path::Path;

/// How far a tier may come from the portable one: the root mean square of features' errors over their own, and the least share of
/// tokens that a run must have in common. A token that is drawn otherwise is a new token of the next prediction, so that what is
/// rounded early carries on.
fn allowed(tier: Tier) -> (f64, f64) {
    match tier {
        Tier::Portable => (1e-5, 1.0),
        Tier::Subgroup => (1e-5, 0.95),
        Tier::F16 | Tier::Matrix { .. } => (2e-3, 0.9),
    }
}

struct Run {
    codes: Vec<u32>,
    /// Of a full step on tokens of which half are known.
    features: Vec<f32>,
}

/// A run of so many seeds, in the model's steps or in so many, then a full step on every other token of `known`, or of what the run has made.
fn run(
    model: &Model,
    condition: &Condition,
    device: &Device,
    (seeds, steps): (u64, Option<u32>),
    known: Option<&[u32]>,
) -> Run {
    let sampling = model.config.sampling;
    let shape = Shape::new(Batch::of(condition, seeds as u32, true), Some(Predictor::Shortcut));
    let mut session = Session::new(model, shape, device).unwrap();
    let settings = Settings {
        sampling: steps.map_or(sampling, |steps| sampling.with_steps(steps)),
        refresh: Refresh::Uniform(steps.map_or(4, |steps| steps.min(4))),
        predictor: Predictor::Shortcut,
    };
    session.configure(&settings).unwrap();
    let (conditions, seeds): (Vec<_>, Vec<_>) = (7..7 + seeds).map(|seed| (condition.clone(), seed)).unzip();
    session.start(&conditions, &seeds).unwrap();
    session.finish().unwrap();
    let codes = block_on(session.tokens()).unwrap();
    let mask = model.family().codebook();
    let known = known.unwrap_or(&codes);
    let half: Vec<u32> =
        known.iter().enumerate().map(|(i, &id)| if i % 2 == 0 { id } else { mask }).collect();
    session.executor().write(IDS, &half).unwrap();
    session.executor().run(&[0], 0, false).unwrap();
    let features = block_on(session.features()).unwrap();
    Run { codes, features }
}

/// What both bundled models are asked for.
fn each_bundled(mut then: impl FnMut(&str, &Model, &Condition)) {
    for name in ["scenes-text", "scenes-class"] {
        let model =
            Model::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/models").join(name)).unwrap();
        let condition = match name {
            "scenes-text" => prompt(&model, "two foxes in the snow"),
            _ => Condition::Class(Some(3)),
        };
        then(name, &model, &condition);
    }
}

/// How many tokens are equal, and which share of them.
fn equal(ours: &[u32], wanted: &[u32]) -> (usize, f64) {
    let equal = ours.iter().zip(wanted).filter(|(a, b)| a == b).count();
    (equal, equal as f64 / wanted.len() as f64)
}

/// Compares both bundled models on a device with the CPU executor, in pictures of so many seeds.
fn hold_to(device: &Device, called: &str, seeds: u64, (most, least): (f64, f64)) {
    each_bundled(|name, model, condition| {
        let wanted = run(model, condition, &Device::Cpu, (seeds, None), None);
        let got = run(model, condition, device, (seeds, None), Some(&wanted.codes));
        let (equal, share) = equal(&got.codes, &wanted.codes);
        let squares =
            |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
        let error = squares(&mut wanted.features.iter().zip(&got.features).map(|(a, b)| a - b));
        let error = (error / squares(&mut wanted.features.iter().copied())).sqrt();
        println!(
            "{name}, {called}: {equal} of {} tokens equal, features differ by {error:.1e} of their size",
            wanted.codes.len()
        );
        assert!(error <= most, "{name}: features differ by {error:.1e}, at most {most:.0e} is allowed");
        assert!(share >= least, "{name}: {share:.3} of the tokens are equal, at least {least} must be");
    });
}

#[test]
fn a_tier_keeps_features_and_most_tokens_of_the_bundled_models() {
    let Some(gpu) = test_gpu() else { return };
    let tier = gpu.tier;
    hold_to(&Device::Gpu(Box::new(gpu)), &format!("tier {tier}"), 1, allowed(tier));
}

/// Of one picture a few or nearly all tokens can differ, by how early the first one does: so the share is of eight, and its bound is a low one.
/// What rounding does to draws shows in those of one step.
#[test]
fn bf16_keeps_features_and_most_tokens_of_the_bundled_models() {
    if !multiplies_bf16() {
        println!("this processor multiplies no bf16: nothing to compare");
        return;
    }
    hold_to(&Device::CpuBf16, "bf16", 8, (1e-2, 0.75));
}

/// All tokens at once, so that none follows from another.
#[test]
fn bf16_draws_what_f32_does_from_the_same_tokens() {
    if !multiplies_bf16() {
        println!("this processor multiplies no bf16: nothing to compare");
        return;
    }
    each_bundled(|name, model, condition| {
        let draw = |device| run(model, condition, device, (8, Some(1)), None).codes;
        let (wanted, got) = (draw(&Device::Cpu), draw(&Device::CpuBf16));
        let (equal, share) = equal(&got, &wanted);
        println!("{name}, bf16: {equal} of {} draws of one step equal", wanted.len());
        assert!(share >= 0.98, "{name}: {share:.3} of the draws are equal, at least 0.98 must be");
    });
}

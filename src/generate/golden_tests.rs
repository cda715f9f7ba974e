//! Tokens of earlier pictures for their seeds: no change to sessions, programs or kernels may move them unsaid.

use super::fixtures::{fixture, prompt, text_fixture};
use super::model::{Device, Model};
use super::predict::{MlCache, Predictor};
use super::proof::fingerprint;
use super::refresh::Refresh;
use super::session::{Session, Settings, Shape};
use crate::models::{Batch, Condition};
use pollster::block_on;

/// What stands in for the full model, by name; vanilla has none.
const METHODS: [(&str, Option<Predictor>); 4] = [
    ("vanilla", None),
    ("shortcut", Some(Predictor::Shortcut)),
    ("reuse", Some(Predictor::Reuse)),
    ("ml-cache", Some(Predictor::MlCache(MlCache::OFFICIAL))),
];

fn tokens(
    model: &Model,
    condition: impl Fn(u64) -> Condition,
    predictor: Option<Predictor>,
    guided: bool,
    seeds: &[u64],
) -> Vec<u32> {
    let conditions: Vec<Condition> = seeds.iter().map(|&seed| condition(seed)).collect();
    let shape = Shape::new(Batch::of(&conditions[0], seeds.len() as u32, guided), predictor);
    let mut session = Session::new(model, shape, &Device::Cpu).unwrap();
    let mut sampling = model.config.sampling;
    if !guided {
        sampling.guidance = 0.0;
    }
    let refresh = if predictor.is_some() { Refresh::Uniform(4) } else { Refresh::Every };
    session.configure(&Settings { sampling, refresh, predictor: predictor.unwrap_or_default() }).unwrap();
    session.start(&conditions, seeds).unwrap();
    session.finish().unwrap();
    block_on(session.tokens()).unwrap()
}

/// By method, with guidance and without.
type Recorded = [(&'static str, [u64; 2]); 4];

fn holds(recorded: &Recorded, run: impl Fn(Option<Predictor>, bool, &[u64]) -> Vec<u32>) {
    let seeds = [3, 4, 5, 1 << 40];
    let mut found = *recorded;
    for ((name, predictor), (_, hashes)) in METHODS.into_iter().zip(&mut found) {
        for (guided, hashed) in [true, false].into_iter().zip(hashes) {
            let together = run(predictor, guided, &seeds);
            let alone = run(predictor, guided, &seeds[2..3]);
            let each = together.len() / seeds.len();
            assert_eq!(alone, together[2 * each..3 * each], "{name}, guided: {guided}");
            *hashed = fingerprint(together);
        }
    }
    assert_eq!(found, *recorded, "tokens have changed: {found:#x?}");
}

#[test]
fn tokens_of_a_class_model_are_what_they_were() {
    let model = fixture();
    let recorded: Recorded = [
        ("vanilla", [0x44b4_c083_8d22_6445, 0xe163_8a2d_a91e_e646]),
        ("shortcut", [0x2a5e_4db4_d4a8_6d93, 0xeff4_c719_dda1_8a63]),
        ("reuse", [0x8b36_980c_6d8c_05f4, 0x47b6_6f2d_cb73_ef39]),
        ("ml-cache", [0x3ec5_692d_a497_606e, 0x772a_5603_6887_b36d]),
    ];
    let class = |seed| Condition::Class(Some((seed % 24) as u32));
    holds(&recorded, |predictor, guided, seeds| tokens(&model, class, predictor, guided, seeds));
}

#[test]
fn tokens_of_a_text_model_are_what_they_were() {
    let (_folder, model) = text_fixture();
    let recorded: Recorded = [
        ("vanilla", [0xe1eb_f5b5_4dfd_cf91, 0xa1f1_0105_5110_f952]),
        ("shortcut", [0xebd0_e5b8_b9e1_528b, 0xfc49_b7f0_84e1_c369]),
        ("reuse", [0xb76e_41ce_c3a2_ffbe, 0x7fe4_b281_8da0_528e]),
        ("ml-cache", [0x6251_98ff_0312_acdb, 0x7fe4_b281_8da0_528e]),
    ];
    let words = prompt(&model, "w5 w17 w9");
    holds(&recorded, |predictor, guided, seeds| tokens(&model, |_| words.clone(), predictor, guided, seeds));
}

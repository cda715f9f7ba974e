//! Every shader in every permutation that kernels may ask for: what tests translate to all languages, and what the page's test has the
//! browser's own compiler read.

use super::Quantization;
use super::attention::matrix_rows;
use super::shader::{Permutation, SHADERS, SHARED};
use std::collections::BTreeSet;

/// Flags that exclude one another.
const EXCLUSIVE: &[&[&str]] = &[
    &["F16_WEIGHTS", "INT8", "INT4"],
    &["GELU", "SILU"],
    &["UPSAMPLE", "DOWNSAMPLE"],
    &["VALUE_IN_QUERY", "VALUE_IN_KEY"],
    &["F16_TILES", "MATRIX"],
    &["TALL", "MATRIX"],
    &["TALL", "HALF_ROWS"],
];
/// Flags of how a product is cut.
const CUTS: [&str; 4] = ["HALF_ROWS", "QUARTER_ROWS", "TALL", "SPLIT"];
/// Flags of what becomes of its results.
const EPILOGUES: [&str; 4] = ["ACCUMULATE", "BIAS", "GELU", "SILU"];
/// Flags of activations in f16, and those of tiers that have them there.
const HALVES: [&str; 3] = ["F16_X", "F16_Y", "F16_OPERANDS"];
const HALF_TIERS: [&str; 2] = ["F16_TILES", "MATRIX"];
/// Lanes of a subgroup: those of Mesa's software driver, and those of most graphics hardware.
const LANES: [u32; 2] = [8, 32];

/// Values for the constants that a shader takes.
fn constants(shader: &str, flags: &[&str]) -> Vec<Vec<(&'static str, u32)>> {
    let heads: &[u32] = match shader {
        "attention" => &[1, 2, 3, 6, 12, 16],
        "attention_wide" => &[17, 32, 50, 128, 256],
        "attention_matrix" => &[1, 3, 12, 16, 17, 32],
        _ => &[],
    };
    let mut all = vec![Vec::new()];
    let mut each = |name, values: &[u32]| {
        if values.is_empty() {
            return;
        }
        all = all
            .iter()
            .flat_map(|known: &Vec<_>| {
                values.iter().map(move |&value| [known.as_slice(), &[(name, value)]].concat())
            })
            .collect();
    };
    each("GROUP", if flags.contains(&"INT4") { &Quantization::GROUPS } else { &[] });
    let on_matrices = flags.contains(&"MATRIX") || shader == "attention_matrix";
    each("LANES", if on_matrices { &LANES } else { &[] });
    each("HEAD4", heads);
    if shader == "attention_matrix" {
        for constants in &mut all {
            let head4 = constants.iter().find(|(name, _)| *name == "HEAD4").map_or(0, |&(_, value)| value);
            constants.push(("QUERIES", matrix_rows(head4)));
        }
    }
    all
}

/// Flags that a shader and its imports ask for.
fn flags(shader: &'static str) -> Vec<&'static str> {
    fn collect(text: &'static str, flags: &mut BTreeSet<&'static str>) {
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("#ifdef" | "#ifndef"), Some(flag)) => {
                    flags.insert(flag);
                }
                (Some("#import"), Some(name)) => {
                    if let Some((_, text)) = SHARED.iter().find(|(known, _)| *known == name) {
                        collect(text, flags);
                    }
                }
                _ => {}
            }
        }
    }
    let mut found = BTreeSet::new();
    if let Some((_, text)) = SHADERS.iter().find(|(name, _)| *name == shader) {
        collect(text, &mut found);
    }
    found.into_iter().collect()
}

/// Every permutation of every shader that a browser runs: on the portable tier, and if `half` on f16's.
#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "for the page's test"))]
pub(crate) fn of_browsers(half: bool) -> Vec<Permutation> {
    let mut all = all();
    // Nothing is timed there, and only what has been timed takes 128 rows; nothing is split on the portable tier.
    let never = |permutation: &Permutation| {
        let has = |flag| permutation.flags.contains(&flag);
        has("TALL") || (!half && (has("SPLIT") || permutation.shader == "sum_parts"))
    };
    all.retain(|permutation| {
        !permutation.has_subgroups() && (half || !permutation.is_half()) && !never(permutation)
    });
    all
}

/// Every permutation of every shader.
pub(crate) fn all() -> Vec<Permutation> {
    let mut all = Vec::new();
    for (shader, _) in SHADERS {
        let flags = flags(shader);
        for set in 0..1_u32 << flags.len() {
            let on: Vec<&'static str> =
                flags.iter().enumerate().filter(|(i, _)| set >> i & 1 == 1).map(|(_, flag)| *flag).collect();
            let exclusive = |group: &[&str]| group.iter().filter(|flag| on.contains(flag)).count() > 1;
            // Values that share a tensor with the keys, which share one with the queries, share it with the queries.
            let chained = on.contains(&"KEY_IN_QUERY") && on.contains(&"VALUE_IN_KEY");
            // Of larger matrices only where there are any.
            let edge = on.contains(&"EDGE16") && !on.contains(&"MATRIX") && *shader != "attention_matrix";
            let quarter = on.contains(&"QUARTER_ROWS") && !on.contains(&"HALF_ROWS");
            // Cuts and epilogues know nothing of one another: each by itself is enough.
            let both = [CUTS, EPILOGUES].iter().all(|group| group.iter().any(|flag| on.contains(flag)));
            let has = |group: &[&str]| group.iter().any(|flag| on.contains(flag));
            let tiered = flags.contains(&"F16_TILES");
            let halved =
                has(&HALVES) && ((tiered && !has(&HALF_TIERS)) || has(&CUTS) || has(&["INT8", "INT4"]));
            if halved {
                continue;
            }
            if EXCLUSIVE.iter().any(|group| exclusive(group)) || chained || edge || quarter || both {
                continue;
            }
            for constants in constants(shader, &on) {
                all.push(Permutation { shader, flags: on.clone(), constants });
            }
        }
    }
    all
}

//! Generation with Lumina-DiMOO: the programs of a run.

use super::predict::{Network, Predictor, Programs};
use super::{GenerateError, sampling};
use crate::kernels::WeightFormat;
use crate::models::dimoo::{Config, Sequence, Sequences};
use crate::models::{Model as _, dimoo_shortcut};
use crate::program::{Builder, WeightSpec};

/// One sequence of a run, as a network of its own.
struct OneSequence<'a> {
    config: &'a Config,
    shortcut: Option<dimoo_shortcut::Config>,
    sequence: &'a Sequence,
}

impl Network for OneSequence<'_> {
    fn name(&self, program: &str) -> String {
        self.sequence.state(program)
    }

    fn length(&self) -> u32 {
        self.sequence.length
    }

    fn full(&self, b: &mut Builder, keep: bool) {
        if keep {
            self.config.features_and_cache_of(b, self.sequence);
        } else {
            self.config.features_of(b, self.sequence);
        }
    }

    fn choose(&self, b: &mut Builder, count: u32) {
        self.config.choose_rows(b, self.sequence, count);
    }

    fn partial(&self, b: &mut Builder, count: u32) {
        self.config.refresh_rows(b, self.sequence, count);
    }

    fn has_shortcut(&self) -> bool {
        self.shortcut.is_some()
    }

    fn shortcut(&self, b: &mut Builder) {
        if let Some(shortcut) = &self.shortcut {
            shortcut.predict(b, self.config, self.sequence);
        }
    }
}

/// The programs of a run: each sequence's own, and one that samples.
///
/// # Errors
/// There is no such shortcut, or sizes that do not go together.
pub fn programs(
    run: &Sequences,
    predictor: Option<Predictor>,
    shortcut: Option<dimoo_shortcut::Config>,
    recorded_noise: bool,
    formats: fn(&WeightSpec) -> WeightFormat,
) -> Result<Programs, GenerateError> {
    let of = |sequence| OneSequence { config: &run.config, shortcut, sequence };
    let networks: Vec<OneSequence<'_>> = run.sequences.iter().map(of).collect();
    Programs::build(&networks, predictor, formats, |b| {
        sampling::append(b, run, run.batch(), recorded_noise);
    })
}

/// What the states [`IDS`](crate::models::states::IDS) and [`POSITIONS`](crate::models::states::POSITIONS) hold before
/// the first step.
pub fn start(run: &Sequences) -> (Vec<u32>, Vec<u32>) {
    let (images, tokens) = (run.batch().images, run.tokens());
    let positions = (0..images).flat_map(|_| 0..tokens).collect();
    (vec![run.config.mask_code(); (images * tokens) as usize], positions)
}

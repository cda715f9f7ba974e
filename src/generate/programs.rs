//! The programs of a session, and which of them each kind of step runs.

use super::predict::Predictor;
use super::session::{Shape, StepKind};
use super::{GenerateError, sampling};
use crate::models::{self, Family, Keep};
use crate::program::{Builder, Formats, Program, Storage, Tensor};
use std::collections::BTreeMap;

/// The largest activation of a decode, in bytes, up to which images are decoded together.
const DECODE_BYTES: u64 = 64 << 20;

/// What each kind of step runs, by index in the list of programs.
#[derive(Clone, Debug, Default)]
pub struct Routine {
    /// A full step: features of every network, what the predictor observes of them, then the sampling.
    pub full: Vec<usize>,
    /// A predicted step: the predictor for every network, then the sampling.
    pub predicted: Vec<usize>,
}

impl Routine {
    /// What a step runs.
    pub fn of(&self, kind: StepKind) -> &[usize] {
        match kind {
            StepKind::Full => &self.full,
            StepKind::Predicted => &self.predicted,
        }
    }
}

/// The programs of a session, and which of them each kind of step runs.
#[derive(Debug)]
pub struct Programs {
    /// All of them.
    pub list: Vec<Program>,
    /// What steps run.
    pub guided: Routine,
    /// The same of steps without guidance: what is of unconditional sequences alone is left out.
    pub unguided: Routine,
    /// From codes to pictures, where that is asked for.
    pub decode: Option<usize>,
    /// States of the predictor's own, and their sizes.
    pub(super) own: Vec<(String, usize)>,
}

impl Programs {
    /// Builds them.
    ///
    /// # Errors
    /// There is no such shortcut, or a setting or a size makes no program.
    pub fn new(family: &dyn Family, shape: Shape, formats: Formats) -> Result<Self, GenerateError> {
        let Shape { batch, predictor, recorded_noise, decoder } = shape;
        if predictor == Some(Predictor::Shortcut) && !family.has_shortcut() {
            let message = "the model has no shortcut; use --refresh every, or --predictor reuse or ml-cache";
            return Err(GenerateError::Setting(message.to_owned()));
        }
        let mut list = Vec::new();
        let add = |list: &mut Vec<Program>, name: &str, body: &mut dyn FnMut(&mut Builder)| {
            list.push(models::build(name, formats, body)?);
            Ok::<_, GenerateError>(list.len() - 1)
        };
        let networks = family.networks(batch);
        let (mut guided, mut unguided) = (Routine::default(), Routine::default());
        let keep = predictor.map_or(Keep::Nothing, |predictor| predictor.predict().keeps());
        for network in &networks {
            guided.full.push(add(&mut list, &network.name("full"), &mut |b| network.full(b, keep))?);
        }
        let sample = add(&mut list, "sample", &mut |b| sampling::append(b, family, batch, recorded_noise))?;
        let (shared, mut observed) = (list.len(), Vec::new());
        for network in &networks {
            let Some(predictor) = predictor.as_ref().map(Predictor::predict) else { break };
            for (bodies, predicts) in
                [(predictor.observe(network.as_ref())?, false), (predictor.programs(network.as_ref())?, true)]
            {
                for (name, body) in bodies {
                    let mut body = Some(body);
                    let program = add(&mut list, &network.name(name), &mut |b| {
                        body.take().into_iter().for_each(|body| body(b));
                    })?;
                    if !predicts {
                        observed.push(program);
                        continue;
                    }
                    guided.predicted.push(program);
                    if !network.is_unconditional() {
                        unguided.predicted.push(program);
                    }
                }
            }
        }
        // Whoever observes full steps is to see all of them.
        let left_out = |at: usize| observed.is_empty() && networks[at].is_unconditional();
        unguided
            .full
            .extend(guided.full.iter().enumerate().filter(|(at, _)| !left_out(*at)).map(|(_, full)| *full));
        for routine in [&mut guided, &mut unguided] {
            routine.full.extend(&observed);
            routine.full.push(sample);
            routine.predicted.push(sample);
        }
        let own = own_states(&list[..shared], &list[shared..]);
        let decode = if decoder {
            let [rows, columns] = family.grid();
            let images = decode_images(family, batch.images);
            Some(add(&mut list, "decode", &mut |b| {
                family.tokenizer().decode(b, family.codebook(), images, rows, columns);
            })?)
        } else {
            None
        };
        Ok(Self { list, guided, unguided, decode, own })
    }
}

/// The states of a predictor's programs that neither the model nor the sampling has.
fn own_states(shared: &[Program], predictor: &[Program]) -> Vec<(String, usize)> {
    let is_state = |tensor: &&Tensor| tensor.storage == Storage::State;
    let states = |programs: &[Program]| -> BTreeMap<String, usize> {
        let tensors = programs.iter().flat_map(|program| program.tensors().iter().filter(is_state));
        tensors.map(|tensor| (tensor.name.clone(), tensor.elements() as usize)).collect()
    };
    let known = states(shared);
    states(predictor).into_iter().filter(|(name, _)| !known.contains_key(name)).collect()
}

/// Images decoded at once: as many as keep the largest activation within [`DECODE_BYTES`].
pub(super) fn decode_images(family: &dyn Family, images: u32) -> u32 {
    let [height, width] = family.size().map(u64::from);
    let bytes = height * width * u64::from(family.tokenizer().widest()) * 4;
    images.min((DECODE_BYTES / bytes.max(1)) as u32).max(1)
}

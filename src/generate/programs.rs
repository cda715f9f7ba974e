//! The programs of a session, and which of them each kind of step runs.

use super::GenerateError;
use super::drawing::Drawing;
use super::predict::Predictor;
use super::session::{Shape, StepKind};
use crate::models::{self, Family};
use crate::program::{Builder, Formats, Program, Storage, Tensor};
use std::collections::BTreeMap;

/// The largest activation of a decode, in bytes, up to which images are decoded together.
const DECODE_BYTES: u64 = 64 << 20;

/// What a step runs in order, by index in the list of programs.
#[derive(Clone, Debug, Default)]
pub struct Passage {
    list: Vec<usize>,
    /// How many of them make features.
    features: usize,
    /// How many go up to the draw, after which a run that decides looks at what there is.
    drawn: usize,
}

impl Passage {
    fn new(features: Vec<usize>, draw: &[usize], choose: &[usize]) -> Self {
        let (made, drawn) = (features.len(), features.len() + draw.len());
        let list = features.into_iter().chain(draw.iter().chain(choose).copied()).collect();
        Self { list, features: made, drawn }
    }

    /// All of it.
    pub fn all(&self) -> &[usize] {
        &self.list
    }

    /// What makes features.
    pub(super) fn features(&self) -> &[usize] {
        &self.list[..self.features]
    }

    /// What draws, and what then chooses and reveals.
    pub(super) fn sampling(&self) -> [&[usize]; 2] {
        [&self.list[self.features..self.drawn], &self.list[self.drawn..]]
    }
}

/// What each kind of step runs.
#[derive(Clone, Debug, Default)]
pub struct Routine {
    /// A full step: features of every network, what the predictor observes of them, then the sampling.
    pub full: Passage,
    /// A predicted step: the predictor for every network, then the sampling.
    pub predicted: Passage,
}

impl Routine {
    /// What a step runs.
    pub fn of(&self, kind: StepKind) -> &Passage {
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
    /// Compares features with those that were held, in runs that decide.
    pub(super) movement: Option<usize>,
    /// States that are of one run alone, the predictor's among them, and their sizes.
    pub(super) own: Vec<(String, usize)>,
}

impl Programs {
    /// Builds them.
    ///
    /// # Errors
    /// There is no such shortcut, or a setting or a size makes no program.
    pub fn new(family: &dyn Family, shape: Shape, formats: Formats) -> Result<Self, GenerateError> {
        let Shape { batch, predictor, recorded_noise, decoder, decides, corrects } = shape;
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
        let (mut full, mut predicted, mut without) = (Vec::new(), Vec::new(), Vec::new());
        let keep = predictor.is_some_and(|predictor| predictor.predict().keeps());
        for network in &networks {
            full.push(add(&mut list, &network.name("full"), &mut |b| network.full(b, keep))?);
        }
        let steps = Drawing { family, batch, recorded_noise, decides, corrects };
        let draw = [add(&mut list, "sample", &mut |b| steps.sample(b))?];
        // What follows the draw, at full steps and at others.
        let (mut of_full, mut of_others) = (Vec::new(), Vec::new());
        if corrects {
            of_full.push(add(&mut list, "doubt", &mut |b| steps.doubt(b))?);
        }
        if steps.is_split() {
            let choose = add(&mut list, "choose", &mut |b| steps.choose(b))?;
            of_full.push(choose);
            of_others.push(choose);
        }
        if corrects {
            of_full.push(add(&mut list, "remask", &mut |b| steps.remask(b))?);
        }
        let movement = match networks.first() {
            Some(network) if decides => {
                Some(add(&mut list, "movement", &mut |b| steps.movement(b, network.as_ref()))?)
            }
            _ => None,
        };
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
                    predicted.push(program);
                    if !network.is_unconditional() {
                        without.push(program);
                    }
                }
            }
        }
        // Whoever observes full steps is to see all of them.
        let left_out = |at: usize| observed.is_empty() && networks[at].is_unconditional();
        let kept = full.iter().enumerate().filter(|(at, _)| !left_out(*at)).map(|(_, full)| *full);
        let routine = |full: Vec<usize>, predicted: Vec<usize>| {
            let features = full.into_iter().chain(observed.iter().copied()).collect();
            Routine {
                full: Passage::new(features, &draw, &of_full),
                predicted: Passage::new(predicted, &draw, &of_others),
            }
        };
        let unguided = routine(kept.collect(), without);
        let guided = routine(full, predicted);
        let mut own = own_states(&list[..shared], &list[shared..]);
        own.extend(steps.own());
        let decode = if decoder {
            let [rows, columns] = family.grid();
            let images = decode_images(family, batch.images);
            Some(add(&mut list, "decode", &mut |b| {
                family.tokenizer().decode(b, family.codebook(), images, rows, columns);
            })?)
        } else {
            None
        };
        Ok(Self { list, guided, unguided, decode, movement, own })
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

//! The programs of a session, and which of them each kind of step runs.

use super::GenerateError;
use super::drawing::Drawing;
use super::predict::{Body, Predictor};
use super::session::{Shape, StepKind};
use crate::models::{self, Batch, Family, Keep, Network};
use crate::program::{Builder, Formats, Program, Storage, Tensor};
use std::collections::BTreeMap;

/// The largest activation of a decode, in bytes, up to which images are decoded together.
const DECODE_BYTES: u64 = 64 << 20;

/// What the names of programs over conditional sequences alone end in.
const CONDITIONAL: &str = "_conditional";

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
    /// The same of steps without guidance: unconditional sequences are left out.
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
        // What steps without guidance run: networks that hold both kinds of sequences go over the conditional ones alone, which come
        // first in every state, so that theirs is its beginning.
        let conditional = Batch { guided: false, ..batch };
        let halves = family.networks(conditional);
        let half_of = |at: usize| {
            let half: &dyn Network = halves.get(at)?.as_ref();
            (half.sequences() < networks[at].sequences()).then_some(half)
        };
        let (mut full, mut predicted) = (Vec::new(), Vec::new());
        let (mut full_without, mut predicted_without) = (Vec::new(), Vec::new());
        let keep = predictor.map_or(Keep::Nothing, |predictor| predictor.predict().keeps());
        for network in &networks {
            full.push(add(&mut list, &network.name("full"), &mut |b| network.full(b, keep))?);
        }
        let steps = Drawing { family, batch, recorded_noise, decides, corrects };
        let others = Drawing { batch: conditional, ..steps };
        // What draws, and what doubts known tokens: with guidance, and by conditional logits alone.
        let mut drawing = |steps: Drawing<'_>, suffix: &str| {
            let draw = add(&mut list, &format!("sample{suffix}"), &mut |b| steps.sample(b))?;
            let doubt = corrects.then(|| add(&mut list, &format!("doubt{suffix}"), &mut |b| steps.doubt(b)));
            Ok::<_, GenerateError>([Some(draw), doubt.transpose()?])
        };
        let of_guided = drawing(steps, "")?;
        let of_others = if batch.guided { drawing(others, CONDITIONAL)? } else { of_guided };
        let split = steps.is_split();
        let choose = split.then(|| add(&mut list, "choose", &mut |b| steps.choose(b))).transpose()?;
        let remask = corrects.then(|| add(&mut list, "remask", &mut |b| steps.remask(b))).transpose()?;
        let movement = match networks.first() {
            Some(network) if decides => {
                Some(add(&mut list, "movement", &mut |b| steps.movement(b, network.as_ref()))?)
            }
            _ => None,
        };
        let (shared, mut observed) = (list.len(), Vec::new());
        for (at, network) in networks.iter().enumerate() {
            let Some(predictor) = predictor.as_ref().map(Predictor::predict) else { break };
            let mut append = |network: &dyn Network, bodies: Vec<(&str, Body<'_>)>, suffix| {
                let mut programs = Vec::new();
                for (name, body) in bodies {
                    let mut body = Some(body);
                    let name = network.name(name) + suffix;
                    programs.push(add(&mut list, &name, &mut |b| {
                        body.take().into_iter().for_each(|body| body(b));
                    })?);
                }
                Ok::<_, GenerateError>(programs)
            };
            observed.extend(append(network.as_ref(), predictor.observe(network.as_ref())?, "")?);
            let own = append(network.as_ref(), predictor.programs(network.as_ref())?, "")?;
            if let Some(half) = half_of(at) {
                predicted_without.extend(append(half, predictor.programs(half)?, CONDITIONAL)?);
            } else if !network.is_unconditional() {
                predicted_without.extend(&own);
            }
            predicted.extend(own);
        }
        for (at, network) in networks.iter().enumerate() {
            // Whoever observes full steps is to see all of them.
            if !observed.is_empty() {
                full_without.push(full[at]);
            } else if let Some(half) = half_of(at) {
                let name = half.name("full") + CONDITIONAL;
                full_without.push(add(&mut list, &name, &mut |b| half.full(b, keep))?);
            } else if !network.is_unconditional() {
                full_without.push(full[at]);
            }
        }
        let routine = |features: Vec<usize>, predicted: Vec<usize>, [draw, doubt]: [Option<usize>; 2]| {
            let (draw, choose) = (draw.as_slice(), choose.as_slice());
            let of_full = [doubt.as_slice(), choose, remask.as_slice()].concat();
            let features = features.into_iter().chain(observed.iter().copied()).collect();
            Routine {
                full: Passage::new(features, draw, &of_full),
                predicted: Passage::new(predicted, draw, choose),
            }
        };
        let guided = routine(full, predicted, of_guided);
        let unguided = routine(full_without, predicted_without, of_others);
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
        let mut sizes = BTreeMap::new();
        for tensor in tensors {
            // Of those that a program has a part of, the whole.
            let size: &mut usize = sizes.entry(tensor.name.clone()).or_default();
            *size = (*size).max(tensor.elements() as usize);
        }
        sizes
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

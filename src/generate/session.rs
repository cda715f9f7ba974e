//! A session: the state of one batch on a device, and the step loop over it, for every family of models.
//!
//! [`Session::step`] enqueues one step and returns; nothing is read back inside the loop. The host learns what it
//! asks for, through [`Session::tokens`], [`Session::decode`] and [`Session::step_times`].

use super::GenerateError;
use super::deciding::Deciding;
use super::model::{Device, Model};
use super::order::Order;
use super::picture::{Picture, Pixels};
use super::predict::Predictor;
use super::programs::{Programs, Routine, decode_images};
pub(crate) use super::settings::full_steps;
pub use super::settings::{PlannedStep, Settings, StepKind};
use crate::exec::gpu::device::Gpu;
use crate::exec::{Executor, Memory, read_f32};
use crate::kernels::StepValues;
use crate::models::{Batch, Family, Known, states};
use crate::program::{Formats, Program, WeightSource};

/// What a session is built for; fixed for its life, as programs and buffers are made for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Images, guidance, and the length of prompts.
    pub batch: Batch,
    /// The predictor to have at hand, if any.
    pub predictor: Option<Predictor>,
    /// Whether noise is written by the caller instead of drawn.
    pub recorded_noise: bool,
    /// Whether pictures will be decoded.
    pub decoder: bool,
    /// Whether runs decide while they go on: see [`Settings::decides`].
    pub decides: bool,
    /// Whether full steps may mask tokens again.
    pub corrects: bool,
}

impl Shape {
    /// Of a batch with a predictor at hand: noise is drawn, and pictures are decoded.
    pub fn new(batch: Batch, predictor: Option<Predictor>) -> Self {
        let (recorded_noise, decoder) = (false, true);
        Self { batch, predictor, recorded_noise, decoder, decides: false, corrects: false }
    }

    /// The same for runs under settings: with what they decide and correct by.
    #[must_use]
    pub fn of_settings(self, settings: &Settings) -> Self {
        Self { decides: settings.decides(), corrects: settings.sampling.corrector > 0.0, ..self }
    }
}

/// One batch in the making.
pub struct Session {
    pub(super) family: Known,
    pub(super) shape: Shape,
    pub(super) executor: Box<dyn Executor>,
    /// Decodes in the executor's place where a picture's widest map exceeds what the device binds.
    apart: Option<Box<dyn Executor>>,
    pub(super) guided: Routine,
    pub(super) unguided: Routine,
    pub(super) movement: Option<usize>,
    /// States of one run alone.
    pub(super) own: Vec<(String, usize)>,
    decode: Option<usize>,
    decode_images: u32,
    pub(super) order: Order,
    /// Tokens that are to be made, by the present plan.
    pub(super) begun: u32,
    pub(super) plan: Vec<PlannedStep>,
    pub(super) next: usize,
    /// What a run needs that decides.
    pub(super) deciding: Option<Deciding>,
    /// What errors are of accumulated velocities, by tenths of the mask ratio, as the model was calibrated.
    pub(super) prior: Vec<f32>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("shape", &self.shape)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Makes a session of an opened model.
    ///
    /// # Errors
    /// Weights cannot be loaded, or the device cannot hold the programs.
    pub fn new(model: &Model, shape: Shape, device: &Device) -> Result<Self, GenerateError> {
        Self::with_weights(&model.config.family, shape, device, model.formats(), &mut *model.weights()?)
    }

    /// Makes a session with weights from anywhere.
    ///
    /// # Errors
    /// As [`Session::new`].
    pub fn with_weights(
        family: &Known,
        shape: Shape,
        device: &Device,
        formats: Formats,
        weights: &mut dyn WeightSource,
    ) -> Result<Self, GenerateError> {
        let Programs { mut list, guided, unguided, decode, movement, own } =
            Programs::new(&**family, shape, formats)?;
        let too_wide = |gpu: &Gpu, program: &Program| {
            program.tensors().iter().any(|t| t.bytes() > gpu.largest_binding())
        };
        let apart = match (device, list.last()) {
            (Device::Gpu(gpu), Some(last)) if decode.is_some() && too_wide(gpu, last) => {
                let program = list.pop().into_iter().collect();
                let mut executor = Device::Cpu.executor(program, weights)?;
                executor.prepare(&[StepValues::default()])?;
                Some(executor)
            }
            _ => None,
        };
        Ok(Self {
            executor: device.executor(list, weights)?,
            apart,
            guided,
            unguided,
            movement,
            own,
            decode,
            decode_images: decode_images(&**family, shape.batch.images),
            family: family.clone(),
            shape,
            order: Order::default(),
            begun: 0,
            plan: Vec::new(),
            next: 0,
            deciding: None,
            prior: Vec::new(),
        })
    }

    /// Plans a run: fixes every step's numbers. Reuses everything that was loaded and made.
    ///
    /// # Errors
    /// Settings out of range, or other than the session was made for.
    pub fn configure(&mut self, settings: &Settings) -> Result<&[PlannedStep], GenerateError> {
        self.configure_on(settings, self.family.tokens())
    }

    /// The same for canvases of which so many tokens are to be made.
    ///
    /// # Errors
    /// As [`Session::configure`].
    pub fn configure_on(
        &mut self,
        settings: &Settings,
        masked: u32,
    ) -> Result<&[PlannedStep], GenerateError> {
        settings.check(&*self.family)?;
        let tokens = self.family.tokens();
        if masked < tokens && self.family.is_one_step() {
            return Err(GenerateError::Setting(
                "the model makes whole pictures in one step, and no part of one; edit with another model"
                    .to_owned(),
            ));
        }
        let plan = settings.plan_on(tokens, masked)?;
        let predicted = plan.iter().any(|step| step.kind == StepKind::Predicted);
        let refuse = |what: &str| Err(GenerateError::Setting(what.to_owned()));
        if settings.sampling.guided() && !self.shape.batch.guided {
            return refuse("this session was made without guidance; make a new one to use it");
        }
        if predicted && self.shape.predictor != Some(settings.predictor) {
            return refuse("this session was made for another predictor; make a new one to use it");
        }
        let Shape { decides, corrects, batch, .. } = Shape::of_settings(self.shape, settings);
        if (decides && !self.shape.decides) || (corrects && !self.shape.corrects) {
            return refuse(
                "this session was made for runs that neither decide nor correct; make a new one to use it",
            );
        }
        if decides && batch.images > 1 {
            return refuse("a run that decides makes one picture at a time, as each decides for itself");
        }
        (self.plan, self.order, self.begun) = (plan, settings.sampling.order, masked);
        let values: Vec<StepValues> = self.plan.iter().map(|step| step.values).collect();
        self.deciding = None;
        if decides {
            self.deciding = Some(Deciding::new(settings, tokens, masked)?);
            self.executor.prepare_revisable(&values)?;
        } else {
            self.executor.prepare(&values)?;
        }
        self.next = 0;
        Ok(&self.plan)
    }

    /// Enqueues what the predictor makes of the features for the next step, and draws nothing from it. The features of a full
    /// step then take their place: a run is as it would have been, and how far the predictor was off can be measured.
    ///
    /// # Errors
    /// The next step is not full, or the device failed.
    pub fn predict(&mut self) -> Result<(), GenerateError> {
        if self.plan.get(self.next).is_none_or(|next| next.kind != StepKind::Full) {
            let message = "features can be predicted for comparison only where a full step comes next";
            return Err(GenerateError::Setting(message.to_owned()));
        }
        self.move_features(self.next)
    }

    /// Enqueues what the predictor makes of the features at a step of the plan, whatever that step is, and draws nothing.
    ///
    /// # Errors
    /// The device failed.
    pub fn move_features(&mut self, step: usize) -> Result<(), GenerateError> {
        Ok(self.executor.run(self.guided.predicted.features(), step, false)?)
    }

    /// Enqueues the next step: features by the full model or by the predictor, then logits at masked positions, a draw at each,
    /// and the choice of those that are revealed. `None` when every token is.
    ///
    /// # Errors
    /// The device failed, or the run decides while it goes on: [`Session::advance`] takes its steps.
    pub fn step(&mut self) -> Result<Option<PlannedStep>, GenerateError> {
        if self.deciding.is_some() {
            let message = "this run decides while it goes on, and has to be advanced step by step";
            return Err(GenerateError::Setting(message.to_owned()));
        }
        let Some(&step) = self.plan.get(self.next) else { return Ok(None) };
        let routine = if step.values.unguided { &self.unguided } else { &self.guided };
        self.executor.run(routine.of(step.kind).all(), self.next, true)?;
        self.next += 1;
        Ok(Some(step))
    }

    /// What errors are of accumulated velocities, by parts of the mask ratio from 0 on: what an adaptive run begins with.
    pub fn expect(&mut self, prior: Vec<f32>) {
        self.prior = prior;
    }

    /// Runs every step that is left and waits for the last.
    ///
    /// # Errors
    /// The device failed.
    pub fn finish(&mut self) -> Result<(), GenerateError> {
        while self.step()?.is_some() {}
        Ok(self.executor.wait()?)
    }

    /// The steps of the present plan.
    pub fn plan(&self) -> &[PlannedStep] {
        &self.plan
    }

    /// Codes `[images, tokens]`; the number of codes where masked.
    ///
    /// # Errors
    /// The device failed.
    pub async fn tokens(&mut self) -> Result<Vec<u32>, GenerateError> {
        let len = self.token_count();
        Ok(self.executor.read(states::IDS, len).await?)
    }

    /// The latest draw at every position `[images, tokens]`: what a preview shows.
    ///
    /// # Errors
    /// The device failed.
    pub async fn drawn(&mut self) -> Result<Vec<u32>, GenerateError> {
        let len = self.token_count();
        Ok(self.executor.read(states::DRAWN, len).await?)
    }

    /// Last-layer features of the model's first network `[sequences, rows, width]`: conditional sequences come first, those
    /// without a condition after them where they are of the same length.
    ///
    /// # Errors
    /// The device failed.
    pub async fn features(&mut self) -> Result<Vec<f32>, GenerateError> {
        let sequences =
            self.family.networks(self.shape.batch).first().map_or(0, |network| network.sequences());
        let len = sequences as usize * self.feature_len();
        Ok(read_f32(self.executor.as_mut(), states::FEATURES, len).await?)
    }

    /// Numbers in the features of one sequence of the first network.
    pub fn feature_len(&self) -> usize {
        let rows = self.family.networks(self.shape.batch).first().map_or(0, |network| network.length());
        (rows * self.family.width()) as usize
    }

    /// Pictures of codes `[images, tokens]`: channels last, `[images, height, width, 3]`, nominally in [-1, 1].
    ///
    /// # Errors
    /// The session was made without a decoder, or the device failed.
    pub async fn decode(&mut self, codes: &[u32]) -> Result<Vec<f32>, GenerateError> {
        let Some(program) = self.decode else {
            return Err(GenerateError::Setting("this session was made without a decoder".to_owned()));
        };
        let (executor, program) = match &mut self.apart {
            Some(executor) => (executor.as_mut(), 0),
            None => (self.executor.as_mut(), program),
        };
        let tokens = self.family.tokens() as usize;
        let [height, width] = self.family.size();
        let pixels = (height * width * 3) as usize;
        let mut pictures = Vec::with_capacity(codes.len() / tokens * pixels);
        for chunk in codes.chunks(self.decode_images as usize * tokens) {
            executor.write(states::CODES, chunk)?;
            executor.run(&[program], 0, false)?;
            let len = chunk.len() / tokens * pixels;
            pictures.extend(read_f32(executor, states::IMAGE, len).await?);
        }
        self.family.tokenizer().to_signed(&mut pictures);
        Ok(pictures)
    }

    /// Pictures of codes `[images, tokens]`, ready to be shown.
    ///
    /// # Errors
    /// As [`Session::decode`].
    pub async fn pictures(&mut self, codes: &[u32], pixels: Pixels) -> Result<Vec<Picture>, GenerateError> {
        let [height, width] = self.family.size();
        let values = self.decode(codes).await?;
        let each = values.chunks_exact((height * width * 3) as usize);
        Ok(each.map(|values| Picture::of(values, width, height, pixels)).collect())
    }

    /// Whether pictures are decoded on the CPU because the graphics device cannot bind their widest map.
    pub fn decodes_on_the_cpu(&self) -> bool {
        self.apart.is_some()
    }

    /// Runs both halves at every step, guided or not: what steps without guidance are held to.
    #[cfg(test)]
    pub(crate) fn run_both_halves(&mut self) {
        self.unguided = self.guided.clone();
    }

    /// Milliseconds of each step since [`Session::configure`], as the device measured them.
    ///
    /// # Errors
    /// The device failed.
    pub async fn step_times(&mut self) -> Result<Vec<Option<f64>>, GenerateError> {
        if let Some(deciding) = &self.deciding {
            return Ok(deciding.step_times());
        }
        Ok(self.executor.step_times().await?)
    }

    pub(super) fn token_count(&self) -> usize {
        (self.shape.batch.images * self.family.tokens()) as usize
    }

    /// Floating-point operations of the present plan, and of one full step with guidance, in the mean over the same steps; both of
    /// the whole batch, and as kernels count them.
    pub fn flops(&self) -> [f64; 2] {
        let programs = self.executor.programs();
        let of = |indices: &[usize], step: &PlannedStep| -> u64 {
            indices.iter().map(|&index| programs[index].cost(&step.values).flops).sum()
        };
        let routine = |step: &PlannedStep| if step.values.unguided { &self.unguided } else { &self.guided };
        let run: u64 = self.plan.iter().map(|step| of(routine(step).of(step.kind).all(), step)).sum();
        let full: u64 = self.plan.iter().map(|step| of(self.guided.full.all(), step)).sum();
        // An adaptive run holds the predictor against every full step but the first.
        let beside = |step: &&PlannedStep| step.verdict.is_some() && step.kind == StepKind::Full;
        let beside = self.plan.iter().skip(1).filter(beside);
        let run = run + beside.map(|step| of(routine(step).predicted.features(), step)).sum::<u64>();
        [run as f64, full as f64 / self.plan.len().max(1) as f64]
    }

    /// The programs that a step runs, by index among the [executor's](Session::executor).
    pub fn programs_of(&self, kind: StepKind) -> &[usize] {
        self.guided.of(kind).all()
    }

    /// The model's sizes.
    pub fn family(&self) -> &dyn Family {
        &*self.family
    }

    /// What the session was made for.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Memory held on the device of the steps.
    pub fn memory(&self) -> Memory {
        self.executor.memory()
    }

    /// What computes: the adapter's name, or the processor's threads.
    pub fn describe(&mut self) -> String {
        self.executor.describe()
    }

    /// The executor, for profiles and tests.
    pub fn executor(&mut self) -> &mut dyn Executor {
        self.executor.as_mut()
    }
}

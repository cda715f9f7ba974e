//! Whole sampling runs, replayed under the noise that was recorded with them.

use super::{Part, Tolerance, Trace, Verifier, channels_first};
use crate::exec::write_f32;
use crate::generate::GenerateError;
use crate::generate::session::{PlannedStep, Session, Shape, StepKind};
use crate::models::{Batch, Condition, Known, states};
use pollster::block_on;

/// The noise of a run. Recordings of MaskGIT have some for every position; those of Lumina-DiMOO for masked ones in order.
struct Noise {
    token: Vec<f32>,
    choice: Vec<f32>,
    of_masked: bool,
    /// The next row, of noise for masked positions.
    row: usize,
}

impl Noise {
    /// Writes a step's noise, by position.
    fn write(
        &mut self,
        session: &mut Session,
        step: &PlannedStep,
        masked: &[bool],
    ) -> Result<(), GenerateError> {
        let codebook = session.family().codebook() as usize;
        let (cells, executor) = (masked.len(), session.executor());
        if !self.of_masked {
            let index = step.values.step as usize;
            write_f32(
                executor,
                states::NOISE_TOKEN,
                &self.token[index * cells * codebook..][..cells * codebook],
            )?;
            return Ok(write_f32(executor, states::NOISE_CHOICE, &self.choice[index * cells..][..cells])?);
        }
        let (mut token, mut choice) = (vec![0.0; cells * codebook], vec![0.0; cells]);
        let positions = (0..cells).filter(|&position| masked[position]);
        for position in positions.take(step.values.masked as usize) {
            token[position * codebook..][..codebook]
                .copy_from_slice(&self.token[self.row * codebook..][..codebook]);
            choice[position] = self.choice[self.row];
            self.row += 1;
        }
        write_f32(executor, states::NOISE_TOKEN, &token)?;
        Ok(write_f32(executor, states::NOISE_CHOICE, &choice)?)
    }
}

impl Verifier<'_> {
    /// Draws, masks and features of every step where they are recorded, the codes in the end, and the picture.
    pub(super) fn trace(
        &mut self,
        index: usize,
        trace: &Trace,
        has_tokenizer: bool,
    ) -> Result<(), GenerateError> {
        let name = |part: &str| format!("trace.{index}.{part}");
        if !self.recorded.has(&name("gumbel_token")) {
            return Ok(());
        }
        let unsupported = |what: String| GenerateError::Setting(format!("trace {index} {what}"));
        let settings = trace.settings.clone().map_err(unsupported)?;
        let family = self.family.clone();
        let conditions = match &trace.classes {
            Some(classes) => classes.clone(),
            None => {
                let [ids, without] = ["io.prompt_ids", "io.uncond_ids"].map(|name| self.recorded.ids(name));
                vec![Condition::Prompt { ids: ids?, without: without? }]
            }
        };
        let Some(first) = conditions.first() else { return Ok(()) };
        // Recordings of prompts have both sequences whether they are guided or not.
        let guided = settings.sampling.guided() || trace.classes.is_none();
        let images = conditions.len();
        let plan = settings.plan(family.tokens())?;
        let predicted = plan.iter().any(|step| step.kind == StepKind::Predicted);
        let shape = Shape {
            batch: Batch::of(first, images as u32, guided),
            predictor: predicted.then_some(settings.predictor),
            recorded_noise: true,
            decoder: has_tokenizer && self.recorded.has(&name("image")),
            ..Shape::new(Batch::of(first, images as u32, guided), None).of_settings(&settings)
        };
        let mut noise = self.noise(index, &plan, images, trace.classes.is_none())?;
        let mut session =
            Session::with_weights(&family, shape, self.device, self.formats, &mut self.recorded)?;
        session.configure(&settings)?;
        session.start(&conditions, &vec![0; images])?;

        let cells = images * family.tokens() as usize;
        let mut codes = vec![family.codebook(); cells];
        let mut found = Found::default();
        for step in &plan {
            let masked: Vec<bool> = codes.iter().map(|&code| code == family.codebook()).collect();
            found.masked_before.push(masked.iter().filter(|masked| **masked).count() as u32);
            if let (Known::Dimoo(model), StepKind::Full, Condition::Prompt { ids, .. }) =
                (&family, step.kind, first)
            {
                let t = &model.transformer;
                found.full_step_ids.extend(t.ids(&t.template(ids), &codes));
            }
            noise.write(&mut session, step, &masked)?;
            session.step()?;
            found.drawn.extend(block_on(session.drawn())?);
            codes = block_on(session.tokens())?;
            found.was_masked.extend(masked);
            found.masked_after.extend(codes.iter().map(|&code| u32::from(code == family.codebook())));
            if self.recorded.has(&name("features")) {
                found.features.extend(block_on(session.features())?);
            }
        }
        self.compare_trace(&name, &found, &codes)?;
        if shape.decoder {
            let picture = block_on(session.decode(&codes))?;
            self.values(&name("image"), &channels_first(&picture, images, 3))?;
        }
        Ok(())
    }

    fn noise(
        &self,
        index: usize,
        plan: &[PlannedStep],
        images: usize,
        of_masked: bool,
    ) -> Result<Noise, GenerateError> {
        let name = |part: &str| format!("trace.{index}.{part}");
        let token = self.recorded.floats(&name("gumbel_token"))?;
        let choice = name("gumbel_choice");
        let choice: Vec<f32> = if of_masked {
            self.recorded.floats(&choice)?
        } else {
            self.recorded.checkpoint.read_f64(&choice)?.into_iter().map(|v| v as f32).collect()
        };
        let rows: usize = if of_masked {
            plan.iter().map(|step| step.values.masked as usize).sum()
        } else {
            plan.len() * images * self.family.tokens() as usize
        };
        if choice.len() != rows || token.len() != rows * self.family.codebook() as usize {
            let found = choice.len();
            return Err(GenerateError::Setting(format!(
                "trace {index} records {found} rows of noise; its schedule asks for {rows}"
            )));
        }
        Ok(Noise { token, choice, of_masked, row: 0 })
    }

    fn compare_trace(
        &mut self,
        name: &dyn Fn(&str) -> String,
        found: &Found,
        codes: &[u32],
    ) -> Result<(), GenerateError> {
        // Draws count where a token was still masked.
        let drawn = name("pred_codes");
        if self.recorded.has(&drawn) {
            let wanted = self.recorded.ids(&drawn)?;
            let draws = found.was_masked.iter().filter(|masked| **masked).count();
            let compared = found.drawn.iter().zip(&wanted).zip(&found.was_masked);
            let differing = compared.filter(|((got, wanted), masked)| **masked && got != wanted).count();
            self.parts.push(Part::exact(
                &drawn,
                &self.recorded.shape(&drawn),
                differing,
                draws,
                Tolerance::of(self.device),
            ));
        }
        let masked = name("masked_after");
        if self.recorded.has(&masked) {
            let wanted = self.recorded.checkpoint.read_u8(&masked)?;
            let pairs = found.masked_after.iter().zip(&wanted);
            let differing = pairs.filter(|(got, wanted)| (**got != 0) != (**wanted != 0)).count()
                + wanted.len().abs_diff(found.masked_after.len());
            self.parts.push(Part::exact(
                &masked,
                &self.recorded.shape(&masked),
                differing,
                wanted.len(),
                Tolerance::of(self.device),
            ));
        }
        if self.recorded.has(&name("features")) {
            self.values(&name("features"), &found.features)?;
        }
        if self.recorded.has(&name("masked_before")) {
            self.exact(&name("masked_before"), &found.masked_before)?;
        }
        // A recording without them has a single 0 in their place.
        if self.recorded.shape(&name("full_step_ids")).len() == 2 {
            self.exact(&name("full_step_ids"), &found.full_step_ids)?;
        }
        if self.recorded.has(&name("codes")) {
            self.exact(&name("codes"), codes)?;
        }
        Ok(())
    }
}

/// What a replayed run left at every step.
#[derive(Default)]
struct Found {
    masked_before: Vec<u32>,
    /// Ids of the whole sequence before each full step.
    full_step_ids: Vec<u32>,
    drawn: Vec<u32>,
    was_masked: Vec<bool>,
    masked_after: Vec<u32>,
    features: Vec<f32>,
}

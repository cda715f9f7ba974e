//! What can be measured: a session of either kind, seen as a list of steps.

use crate::exec::Executor;
use crate::generate::GenerateError;
use crate::generate::session::{PlannedStep, Session, Settings};
use crate::generate::text::TextSession;
use pollster::block_on;

/// A session that can be run again and again.
pub trait Subject {
    /// Back to everything masked.
    ///
    /// # Errors
    /// The device failed, or the settings are not the session's.
    fn restart(&mut self) -> Result<(), GenerateError>;

    /// Enqueues a step; false when there is none left.
    ///
    /// # Errors
    /// The device failed.
    fn step(&mut self) -> Result<bool, GenerateError>;

    /// The steps.
    fn plan(&self) -> &[PlannedStep];

    /// Turns the tokens into pictures.
    ///
    /// # Errors
    /// The device failed.
    fn decode(&mut self) -> Result<(), GenerateError>;

    /// Images at once.
    fn images(&self) -> u32;

    /// What runs the steps.
    fn executor(&mut self) -> &mut dyn Executor;

    /// Which steps are full, in words.
    fn refresh(&self) -> String;
}

/// A batch of classes, one after the other.
#[derive(Debug)]
pub struct Classes<'a> {
    /// The session.
    pub session: &'a mut Session,
    /// How it is run.
    pub settings: &'a Settings,
}

impl Subject for Classes<'_> {
    fn restart(&mut self) -> Result<(), GenerateError> {
        let images = self.images();
        let known = self.session.config().transformer.classes.max(1);
        let classes: Vec<Option<u32>> = (0..images).map(|image| Some(image % known)).collect();
        let seeds: Vec<u64> = (0..u64::from(images)).collect();
        self.session.configure(self.settings)?;
        self.session.start(&classes, &seeds)
    }

    fn step(&mut self) -> Result<bool, GenerateError> {
        Ok(self.session.step()?.is_some())
    }

    fn plan(&self) -> &[PlannedStep] {
        self.session.plan()
    }

    fn decode(&mut self) -> Result<(), GenerateError> {
        let tokens = block_on(self.session.tokens())?;
        block_on(self.session.decode(&tokens)).map(drop)
    }

    fn images(&self) -> u32 {
        self.session.shape().batch.images
    }

    fn executor(&mut self) -> &mut dyn Executor {
        self.session.executor()
    }

    fn refresh(&self) -> String {
        self.settings.refresh.to_string()
    }
}

/// One prompt.
#[derive(Debug)]
pub struct Prompt<'a> {
    /// The session.
    pub session: &'a mut TextSession,
    /// How it is run.
    pub settings: &'a Settings,
}

impl Subject for Prompt<'_> {
    fn restart(&mut self) -> Result<(), GenerateError> {
        self.session.configure(self.settings)?;
        let seeds: Vec<u64> = (0..self.session.images() as u64).collect();
        self.session.start(&seeds)
    }

    fn step(&mut self) -> Result<bool, GenerateError> {
        Ok(self.session.step()?.is_some())
    }

    fn plan(&self) -> &[PlannedStep] {
        self.session.plan()
    }

    fn decode(&mut self) -> Result<(), GenerateError> {
        let tokens = block_on(self.session.tokens())?;
        block_on(self.session.pictures(&tokens)).map(drop)
    }

    fn images(&self) -> u32 {
        self.session.images() as u32
    }

    fn executor(&mut self) -> &mut dyn Executor {
        self.session.executor()
    }

    fn refresh(&self) -> String {
        self.settings.refresh.to_string()
    }
}

//! The actor: whoever computes while the window stays free. It takes requests and sends small events; previews go through
//! a slot that keeps the latest. A newer request overtakes the run that is under way, within one step.
//!
//! Off the browser it is a thread; in the browser a task of the page that lets the page have its turn after every step.

use super::channel::{Receiver, Sender, Slot, channel};
use super::failure::Failure;
use super::judging::{Judging, Quality};
use super::looking::{Look, Looking, Spot};
use super::model::{Files, ModelInfo};
use crate::exec::Memory;
use crate::exec::gpu::device::{Choice, Gpu};
use crate::generate::GenerateError;
use crate::generate::encode::Encoder;
use crate::generate::engine::Engine;
use crate::generate::model::Device;
use crate::generate::pace::Verdict;
use crate::generate::picture::{Picture, Pixels};
use crate::generate::recipe::Recipe;
use crate::generate::refresh::Refresh;
use crate::generate::session::{PlannedStep, StepKind};
use crate::input::Fit;
use crate::kernels::StepValues;
use crate::models::Batch;
use crate::weights::ModelFolder;
use std::sync::Arc;

/// What a submission may take on a device that also draws the window, in milliseconds: a third of a frame.
const SUBMISSION_MS: f64 = 5.0;

#[path = "actor_run.rs"]
mod run;

/// Names a run of this start of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// What the window asks for.
#[derive(Clone, Debug)]
pub enum Request {
    /// Open a bundled model or a folder.
    Open(String),
    /// Open a model whose files are in memory.
    OpenFiles {
        /// What to call it.
        name: String,
        /// Its files.
        files: Files,
    },
    /// Run a recipe. `trace` keeps what "Why it works" is drawn from, which costs time.
    Run {
        /// Its name.
        id: RunId,
        /// What to run.
        recipe: Box<Recipe>,
        /// Whether features are read at every step.
        trace: bool,
        /// Codes `[images, tokens]` behind the recipe's first steps, where they are known: it goes on from them.
        from: Option<Vec<u32>>,
    },
    /// Make pictures of codes of the model that is open.
    Show {
        /// The run that they are of.
        id: RunId,
        /// The step, for whoever asked; `None` for the finished pictures.
        step: Option<usize>,
        /// What they were made from.
        recipe: Box<Recipe>,
        /// Codes `[images, tokens]`.
        codes: Vec<u32>,
    },
    /// Have a judge at hand: of these files, or the bundled one.
    OpenJudge(Option<Files>),
    /// Say how good a picture is that the open model made.
    Judge {
        /// The run that it is of.
        id: RunId,
        /// What it was made from.
        recipe: Box<Recipe>,
        /// Codes `[tokens]`.
        codes: Vec<u32>,
        /// The picture.
        picture: Picture,
    },
    /// Find the codes of a picture of any size, to edit it.
    Encode(Arc<Picture>),
    /// Say what a token might have become.
    Look {
        /// The token.
        spot: Spot,
        /// What its run was made from.
        recipe: Box<Recipe>,
    },
    /// Stop the run under way.
    Cancel,
    /// Compute on the CPU from now on.
    UseCpu,
    /// Open the graphics device anew, after it was lost.
    RestartDevice,
}

impl Request {
    /// Whether a run that is under way has to give way.
    fn overtakes(&self) -> bool {
        !matches!(self, Self::Show { .. } | Self::OpenJudge(_) | Self::Judge { .. } | Self::Look { .. })
    }
}

/// A step as planned, for the timeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepNote {
    /// Full or not.
    pub kind: StepKind,
    /// Tokens that it reveals, of each picture.
    pub reveal: u32,
    /// Share of tokens masked before it.
    pub mask_ratio: f32,
    /// Tokens that it masks again.
    pub remask: u32,
    /// What was decided of it, where the run decides.
    pub verdict: Option<Verdict>,
}

impl From<&PlannedStep> for StepNote {
    fn from(step: &PlannedStep) -> Self {
        let StepValues { reveal, mask_ratio, remask, .. } = step.values;
        Self { kind: step.kind, reveal, mask_ratio, remask, verdict: step.verdict }
    }
}

/// What a step left behind.
#[derive(Clone, Debug, PartialEq)]
pub struct StepDone {
    /// Which.
    pub step: usize,
    /// What it was, which a run that decides knows no earlier.
    pub note: StepNote,
    /// First picture that it is about.
    pub image: usize,
    /// Codes `[pictures of this round, tokens]`; the number of codes where masked.
    pub codes: Vec<u32>,
    /// The draw at every position.
    pub drawn: Vec<u32>,
    /// Wall time, in milliseconds.
    pub ms: f64,
    /// Features of the first picture, if they are traced.
    pub features: Option<Features>,
    /// Of a full step after predicted ones, if features are traced: how far the predictor would have been off, as a share of
    /// the size of the features.
    pub missed: Option<f64>,
    /// If features are traced, and were at the step before: how far those of each token of the first picture moved, as a share of
    /// their size.
    pub moved: Option<Vec<f32>>,
}

/// Features `[tokens, width]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// The values.
    pub values: Arc<[f32]>,
    /// Their width.
    pub width: usize,
}

/// How far features are from others, as a share of the size of these.
pub fn distance(from: &[f32], to: &[f32]) -> f64 {
    let square =
        |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v) * f64::from(v)).sum::<f64>();
    let apart = square(&mut from.iter().zip(to).map(|(a, b)| a - b));
    (apart / square(&mut to.iter().copied()).max(1e-30)).sqrt()
}

/// What the window is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// Another device computes from now on.
    Device(String),
    /// A model is open.
    Opened(Box<ModelInfo>),
    /// A run begins.
    Began {
        /// Which.
        id: RunId,
        /// Its steps.
        plan: Vec<StepNote>,
        /// Rounds, each over all steps.
        rounds: u32,
        /// Memory held on the device.
        memory: Memory,
        /// What computes.
        device: String,
    },
    /// A step is done.
    Stepped {
        /// The run.
        id: RunId,
        /// What it left.
        done: Box<StepDone>,
    },
    /// A run is complete.
    Finished {
        /// Which.
        id: RunId,
        /// Milliseconds of each step, averaged over rounds, by the device's own clock where it has one.
        step_ms: Vec<f64>,
        /// Codes `[images, tokens]`.
        codes: Vec<u32>,
        /// The pictures.
        pictures: Vec<Picture>,
        /// Milliseconds that decoding took.
        decode_ms: f64,
        /// What a run of one picture decided while it went on: what makes it again, token for token.
        decided: Option<Refresh>,
    },
    /// A run was stopped, or overtaken.
    Stopped {
        /// Which.
        id: RunId,
        /// Steps that had run.
        steps: usize,
    },
    /// Pictures that were asked for.
    Shown {
        /// The run.
        id: RunId,
        /// The step; `None` for the finished pictures.
        step: Option<usize>,
        /// The pictures.
        pictures: Vec<Picture>,
    },
    /// Pictures can be judged from now on: by the judge, or where that could not be opened by the model itself.
    JudgeReady,
    /// How good a picture is.
    Judged {
        /// The run that it is of.
        id: RunId,
        /// What was found.
        quality: Quality,
    },
    /// What a token might have become, and where the shortcut looks from it.
    Looked {
        /// The token.
        spot: Spot,
        /// What was seen; `None` where its run's features are not at hand.
        look: Option<Look>,
    },
    /// The codes of a picture, which was brought to the model's size.
    Encoded {
        /// Codes `[tokens]`.
        codes: Vec<u32>,
        /// The picture at that size.
        picture: Picture,
    },
    /// Something could not be done.
    Failed {
        /// The run that it ended, if it ended one.
        id: Option<RunId>,
        /// What, why, and the way on.
        failure: Failure,
    },
}

/// A preview: pictures in the making.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The run.
    pub id: RunId,
    /// The step that was done last.
    pub step: usize,
    /// The first picture that it shows.
    pub image: usize,
    /// The pictures of this round.
    pub pictures: Vec<Picture>,
}

/// The window's end.
#[derive(Debug)]
pub struct Actor {
    requests: Sender<Request>,
    events: Receiver<Event>,
    preview: Slot<Preview>,
}

/// Called after every event, so that the window looks.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

impl Actor {
    /// Starts an actor over a device.
    pub fn start(device: Device, wake: Wake) -> Self {
        let (requests, inbox) = channel();
        let (outbox, events) = channel();
        let preview = Slot::default();
        let slot = preview.clone();
        let work = move || async move {
            let engine = Engine::new(device).paced(SUBMISSION_MS);
            let (judging, looking) = (Judging::default(), Looking::default());
            let worker = Worker { engine, judging, looking, inbox, outbox, preview: slot, wake };
            worker.run().await;
        };
        #[cfg(not(target_arch = "wasm32"))]
        std::thread::spawn(move || pollster::block_on(work()));
        #[cfg(target_arch = "wasm32")]
        wasm_bindgen_futures::spawn_local(work());
        Self { requests, events, preview }
    }

    /// Asks for something; returns at once.
    pub fn ask(&self, request: Request) {
        self.requests.send(request);
    }

    /// For others that ask.
    pub fn requests(&self) -> Sender<Request> {
        self.requests.clone()
    }

    /// The next thing that happened, if there is one.
    pub fn poll(&self) -> Option<Event> {
        self.events.try_next()
    }

    /// The next thing that happened; `None` when the actor is gone.
    pub async fn next(&self) -> Option<Event> {
        self.events.next().await
    }

    /// The latest preview, once.
    pub fn preview(&self) -> Option<Preview> {
        self.preview.take()
    }
}

/// How a run ended.
enum End {
    Complete,
    Overtaken { steps: usize },
}

struct Worker {
    engine: Engine,
    judging: Judging,
    looking: Looking,
    inbox: Receiver<Request>,
    outbox: Sender<Event>,
    preview: Slot<Preview>,
    wake: Wake,
}

impl Worker {
    fn tell(&self, event: Event) {
        self.outbox.send(event);
        (self.wake)();
    }

    async fn run(mut self) {
        while let Some(request) = self.inbox.next().await {
            match request {
                Request::Open(source) => {
                    let opened = self.engine.open(&source).map(|model| ModelInfo::new(&source, model));
                    self.opened(opened);
                }
                Request::OpenFiles { name, files } => {
                    let folder = ModelFolder::from_files(&name, files).map_err(GenerateError::from);
                    let opened = folder.and_then(|folder| self.engine.open_folder(folder));
                    let opened = opened.map(|model| ModelInfo::new(&name, model));
                    self.opened(opened);
                }
                // Of several runs that wait, only the last is wanted.
                Request::Run { id, .. }
                    if self.inbox.any(|next| matches!(next, Request::Run { .. } | Request::Cancel)) =>
                {
                    self.tell(Event::Stopped { id, steps: 0 });
                }
                Request::Run { id, recipe, trace, from } => match self
                    .generate(id, &recipe, trace, from)
                    .await
                {
                    Ok(End::Complete) => {}
                    Ok(End::Overtaken { steps }) => self.tell(Event::Stopped { id, steps }),
                    Err(error) => self.tell(Event::Failed { id: Some(id), failure: Failure::new(&error) }),
                },
                Request::Show { .. }
                    if self.inbox.any(|next| matches!(next, Request::Show { .. } | Request::Run { .. })) => {}
                Request::Show { id, step, recipe, codes } => match self.show(&recipe, &codes).await {
                    Ok(pictures) => self.tell(Event::Shown { id, step, pictures }),
                    Err(error) => self.tell(Event::Failed { id: None, failure: Failure::new(&error) }),
                },
                Request::OpenJudge(files) => {
                    if let Err(error) = self.judging.open(files) {
                        self.tell(Event::Failed { id: None, failure: Failure::new(&error) });
                    }
                    self.tell(Event::JudgeReady);
                }
                Request::Judge { id, recipe, codes, picture } => {
                    match self.judging.quality(&self.engine, &recipe, &codes, &picture).await {
                        Ok(quality) => self.tell(Event::Judged { id, quality }),
                        Err(error) => self.tell(Event::Failed { id: None, failure: Failure::new(&error) }),
                    }
                }
                Request::Look { spot, recipe } => {
                    match self.looking.look(&self.engine, &recipe, spot).await {
                        Ok(look) => self.tell(Event::Looked { spot, look }),
                        Err(error) => self.tell(Event::Failed { id: None, failure: Failure::new(&error) }),
                    }
                }
                Request::Encode(picture) => match self.encode(&picture).await {
                    Ok((codes, picture)) => self.tell(Event::Encoded { codes, picture }),
                    Err(error) => self.tell(Event::Failed { id: None, failure: Failure::new(&error) }),
                },
                // Nothing is under way.
                Request::Cancel => {}
                Request::UseCpu => self.replace(Device::Cpu),
                Request::RestartDevice => match Gpu::open(&Choice::from_environment()).await {
                    Ok(gpu) => self.replace(Device::Gpu(Box::new(gpu))),
                    Err(error) => {
                        let error = GenerateError::Exec(error.into());
                        self.tell(Event::Failed { id: None, failure: Failure::new(&error) });
                    }
                },
            }
        }
    }

    /// Goes on with the same model on another device.
    fn replace(&mut self, device: Device) {
        self.engine.replace_device(device);
        self.judging.forget();
        self.looking.begin(None);
        let name = self.engine.describe();
        self.tell(Event::Device(name));
    }

    fn opened(&mut self, opened: Result<ModelInfo, GenerateError>) {
        self.judging.forget();
        self.looking.begin(None);
        match opened {
            Ok(info) => self.tell(Event::Opened(Box::new(info))),
            Err(error) => self.tell(Event::Failed { id: None, failure: Failure::new(&error) }),
        }
    }

    /// The codes of a picture, of which the middle is taken where it is of another shape.
    async fn encode(&self, picture: &Picture) -> Result<(Vec<u32>, Picture), GenerateError> {
        let model = self.engine.model()?;
        let (picture, _) = Fit::Crop.bring(picture, model.family().size());
        let mut encoder = Encoder::new(model, self.engine.device())?;
        Ok((encoder.picture(&picture).await?, picture))
    }

    /// Pictures of codes of a run that may be long past, by whichever session is at hand.
    async fn show(&mut self, recipe: &Recipe, codes: &[u32]) -> Result<Vec<Picture>, GenerateError> {
        if self.engine.present().is_err() {
            let condition = self.engine.model()?.condition(&recipe.subject)?;
            let batch = Batch::of(&condition, 1, recipe.draw.guided());
            self.engine.session(&recipe.settings(), batch, recipe.quantize)?;
        }
        self.engine.present()?.pictures(codes, Pixels::Signed).await
    }
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;

//! A model on a device, as the package sees it.

use crate::failure::Failure;
use crate::requests;
use crate::run::{Run, Step, make};
use crate::worker::{State, Worker};
use migm::exec::{read_f32, write_f32};
use migm::generate::edit::Edit;
use migm::generate::encode::{Decoder, Encoder};
use migm::generate::picture::{Picture, Pixels};
use migm::generate::region::Region;
use migm::generate::session::{Session, Shape};
use migm::models::{Batch, states};
use pollster::block_on;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

/// Numbers as bytes that an array can be made over without a copy.
pub(crate) fn array<'py, T: Bytes>(py: Python<'py>, values: &[T]) -> Bound<'py, PyByteArray> {
    PyByteArray::new(py, &T::bytes(values))
}

/// Numbers as bytes in the machine's order.
pub(crate) trait Bytes: Sized {
    /// All of them.
    fn bytes(values: &[Self]) -> std::borrow::Cow<'_, [u8]>;
}

impl Bytes for u8 {
    fn bytes(values: &[Self]) -> std::borrow::Cow<'_, [u8]> {
        values.into()
    }
}

impl Bytes for u32 {
    fn bytes(values: &[Self]) -> std::borrow::Cow<'_, [u8]> {
        values.iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<_>>().into()
    }
}

impl Bytes for f32 {
    fn bytes(values: &[Self]) -> std::borrow::Cow<'_, [u8]> {
        values.iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<_>>().into()
    }
}

fn fours<T>(bytes: &[u8], from: fn([u8; 4]) -> T) -> Vec<T> {
    bytes.chunks_exact(4).map(|four| from([four[0], four[1], four[2], four[3]])).collect()
}

/// The name of each network's features in a session, and its shape: sequences, rows, width.
fn networks(session: &Session) -> Vec<(String, [usize; 3])> {
    let family = session.family();
    let networks = family.networks(session.shape().batch);
    let named = networks.iter().map(|network| {
        let shape = [network.sequences(), network.length(), family.width()];
        (network.name(states::FEATURES), shape.map(|size| size as usize))
    });
    named.collect()
}

/// A picture's features, a network each: bytes and shape.
type Features<'py> = Vec<(Bound<'py, PyByteArray>, [usize; 3])>;

/// A model on a device.
#[pyclass(module = "migm._migm", frozen)]
pub(crate) struct Engine {
    worker: Worker,
    next: AtomicU64,
}

impl Engine {
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

#[pymethods]
impl Engine {
    /// Opens a bundled model by name, or a folder.
    #[staticmethod]
    fn open(py: Python<'_>, source: String, device: String, exact: bool) -> PyResult<Self> {
        Ok(Self { worker: Worker::open(py, source, device, exact)?, next: AtomicU64::new(0) })
    }

    /// What there is, as JSON.
    fn describe(&self, py: Python<'_>) -> PyResult<String> {
        self.worker.call(py, |state| {
            let device = state.engine.describe();
            let model = state.model()?;
            let family = model.family();
            let classes = model.classes().map(|classes| classes.labels.clone());
            let described = serde_json::json!({
                "name": model.name, "architecture": family.architecture(), "grid": family.grid(), "size": family.size(),
                "codebook": family.codebook(), "classes": classes, "things": model.things().collect::<Vec<_>>(),
                "shortcut": family.has_shortcut(), "sampling": model.config.sampling, "device": device,
            });
            Ok(described.to_string())
        })
    }

    /// Words of a prompt that the model has never seen.
    fn unknown_words(&self, py: Python<'_>, prompt: String) -> PyResult<Vec<String>> {
        self.worker.call(py, move |state| {
            Ok(state.model()?.unknown_words(&prompt).into_iter().map(|unknown| unknown.word).collect())
        })
    }

    /// Makes pictures; `edit` is the number of a picture of which they are parts.
    #[pyo3(signature = (jobs, settings, at_once=None, with_codes=false, edit=None))]
    fn run(
        &self,
        py: Python<'_>,
        jobs: String,
        settings: String,
        at_once: Option<u32>,
        with_codes: bool,
        edit: Option<u64>,
    ) -> PyResult<Run> {
        // What is wrong with a request is said where it is made, not at the first event.
        let (jobs, settings) = self.worker.call(py, move |state| {
            let model = state.model()?;
            let settings = requests::settings(model, &settings, None)?;
            Ok((requests::jobs(model, &jobs)?, settings))
        })?;
        let (to, events) = channel();
        self.worker.send(move |state| make(state, jobs, &settings, (at_once, with_codes, edit), &to));
        Ok(Run::new(events))
    }

    /// The codes of pictures of the model's size, RGB one after the other.
    fn encode<'py>(&self, py: Python<'py>, rgb: Vec<u8>) -> PyResult<Bound<'py, PyByteArray>> {
        let codes = self.worker.call(py, move |state| {
            let [height, width] = state.model()?.family().size();
            let each = (height * width * 3) as usize;
            let pictures = rgb.chunks_exact(each);
            let mut codes = Vec::new();
            for pixels in pictures {
                codes.extend(encode(state, pixels)?);
            }
            Ok(codes)
        })?;
        Ok(array(py, &codes))
    }

    /// The pictures of codes.
    fn decode<'py>(&self, py: Python<'py>, codes: Vec<u8>) -> PyResult<Bound<'py, PyByteArray>> {
        let rgb = self.worker.call(py, move |state| {
            let tokens = state.model()?.family().tokens() as usize;
            let codebook = state.model()?.family().codebook();
            let codes = fours(&codes, u32::from_ne_bytes);
            if let Some(code) = codes.iter().find(|&&code| code >= codebook) {
                return Err(Failure::setting(format!("code {code}, where the model has {codebook}")));
            }
            if state.decoder.is_none() {
                state.decoder = Some(Decoder::new(state.engine.model()?, state.engine.device())?);
            }
            let mut rgb = Vec::new();
            if let Some(decoder) = &mut state.decoder {
                for codes in codes.chunks(tokens) {
                    rgb.extend(block_on(decoder.picture(codes))?.rgb);
                }
            }
            Ok(rgb)
        })?;
        Ok(array(py, &rgb))
    }

    /// Begins an edit of a picture of the model's size: a mask with as many numbers as it has pixels, of which the tokens are made
    /// anew that it touches. Gives the edit's number, the codes (the number of codes where masked) and the share that is made.
    fn edit<'py>(
        &self,
        py: Python<'py>,
        rgb: Vec<u8>,
        mask: Vec<u8>,
    ) -> PyResult<(u64, Bound<'py, PyByteArray>, f32)> {
        let id = self.number();
        let (codes, share) = self.worker.call(py, move |state| {
            let family = state.model()?.family();
            let (grid, [height, width], codebook) = (family.grid(), family.size(), family.codebook());
            let mask: Vec<f32> = mask.iter().map(|&byte| f32::from(u8::from(byte > 0))).collect();
            let region = Region::of_mask(grid, [height, width], &mask);
            if region.count() == 0 {
                return Err(Failure::setting("the mask is empty, so there is nothing to make anew"));
            }
            let codes = encode(state, &rgb)?;
            let edit = Edit::new(Picture { width, height, rgb }, &codes, region)?;
            let (codes, canvas) = (edit.canvas.codes(codebook), &edit.canvas);
            let share = canvas.masked() as f32 / canvas.tokens() as f32;
            state.edits.insert(id, edit);
            Ok((codes, share))
        })?;
        Ok((id, array(py, &codes), share))
    }

    /// Forgets an edit.
    fn end_edit(&self, id: u64) {
        self.worker.send(move |state| {
            state.edits.remove(&id);
        });
    }

    /// Settings for so large a share of a picture: fewer steps, as the command line has them. JSON to JSON.
    fn for_share(&self, py: Python<'_>, settings: String, share: f32) -> PyResult<String> {
        self.worker.call(py, move |state| {
            let settings = requests::settings(state.model()?, &settings, Some(share))?;
            let mut given = serde_json::to_value(settings.sampling).unwrap_or_default();
            given["pace"] = settings.refresh.to_string().into();
            given["predictor"] = settings.predictor.to_string().into();
            Ok(given.to_string())
        })
    }

    /// Begins a session of pictures that are made step by step; gives its number.
    fn begin(&self, py: Python<'_>, jobs: String, settings: String) -> PyResult<u64> {
        let id = self.number();
        self.worker.call(py, move |state| {
            let model = state.model()?;
            let (settings, jobs) =
                (requests::settings(model, &settings, None)?, requests::jobs(model, &jobs)?);
            let Some(first) = jobs.first() else { return Err(Failure::setting("a session has pictures")) };
            if jobs.iter().any(|job| job.canvas.is_some()) {
                return Err(Failure::setting("a session begins with pictures of which nothing is there"));
            }
            let lengths = |job: &migm::generate::engine::Job| job.condition.prompt_tokens();
            if jobs.iter().any(|job| lengths(job) != lengths(first)) {
                return Err(Failure::setting(
                    "the prompts of a session have as many tokens each; make others in another",
                ));
            }
            let batch = Batch::of(&first.condition, jobs.len() as u32, settings.sampling.guided());
            let predictor = settings.predicts().then_some(settings.predictor);
            let shape = Shape::new(batch, predictor).of_settings(&settings);
            let mut session = Session::new(model, shape, state.engine.device())?;
            session.configure(&settings)?;
            let conditions: Vec<_> = jobs.iter().map(|job| job.condition.clone()).collect();
            let seeds: Vec<u64> = jobs.iter().map(|job| job.seed).collect();
            session.start(&conditions, &seeds)?;
            state.sessions.insert(id, session);
            Ok(id)
        })
    }

    /// The plan of a session: of each step whether it is full, the masked tokens before it and those that it reveals.
    fn plan<'py>(&self, py: Python<'py>, session: u64) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let steps: Vec<Step> = self
            .worker
            .call(py, move |state| Ok(state.session(session)?.plan().iter().map(Step::of).collect()))?;
        let described = steps.iter().map(|step| {
            let event = PyDict::new(py);
            step.fill(&event)?;
            Ok(event)
        });
        described.collect()
    }

    /// Runs the next step of a session; whether there was one.
    fn step(&self, py: Python<'_>, session: u64) -> PyResult<bool> {
        self.worker.call(py, move |state| Ok(state.session(session)?.step()?.is_some()))
    }

    /// Codes of a session.
    fn tokens<'py>(&self, py: Python<'py>, session: u64) -> PyResult<Bound<'py, PyByteArray>> {
        let codes = self.worker.call(py, move |state| Ok(block_on(state.session(session)?.tokens())?))?;
        Ok(array(py, &codes))
    }

    /// Last-layer features of a session, a network each.
    fn features<'py>(&self, py: Python<'py>, session: u64) -> PyResult<Features<'py>> {
        let features = self.worker.call(py, move |state| {
            let session = state.session(session)?;
            let mut all = Vec::new();
            for (name, shape) in networks(session) {
                let len = shape.iter().product();
                all.push((block_on(read_f32(session.executor(), &name, len))?, shape));
            }
            Ok(all)
        })?;
        Ok(features.into_iter().map(|(values, shape)| (array(py, &values), shape)).collect())
    }

    /// Puts others in their place.
    fn set_features(&self, py: Python<'_>, session: u64, features: Vec<Vec<u8>>) -> PyResult<()> {
        self.worker.call(py, move |state| {
            let session = state.session(session)?;
            let networks = networks(session);
            if networks.len() != features.len() {
                let message = format!(
                    "features of {} networks, where the model has {}",
                    features.len(),
                    networks.len()
                );
                return Err(Failure::setting(message));
            }
            for ((name, shape), bytes) in networks.iter().zip(&features) {
                let values = fours(bytes, f32::from_ne_bytes);
                if values.len() != shape.iter().product::<usize>() {
                    return Err(Failure::setting(format!("{} features, not {shape:?}", values.len())));
                }
                write_f32(session.executor(), name, &values)?;
            }
            Ok(())
        })
    }

    /// Pictures of a session's codes.
    fn pictures<'py>(&self, py: Python<'py>, session: u64) -> PyResult<Bound<'py, PyByteArray>> {
        let rgb = self.worker.call(py, move |state| {
            let session = state.session(session)?;
            let codes = block_on(session.tokens())?;
            let codebook = session.family().codebook();
            if codes.iter().any(|&code| code >= codebook) {
                return Err(Failure::setting("some tokens are masked yet; run all steps first"));
            }
            let pictures = block_on(session.pictures(&codes, Pixels::Signed))?;
            Ok(pictures.into_iter().flat_map(|picture| picture.rgb).collect::<Vec<u8>>())
        })?;
        Ok(array(py, &rgb))
    }

    /// Forgets a session.
    fn end(&self, session: u64) {
        self.worker.send(move |state| {
            state.sessions.remove(&session);
        });
    }
}

/// The codes of one picture.
fn encode(state: &mut State, rgb: &[u8]) -> Result<Vec<u32>, Failure> {
    if state.encoder.is_none() {
        state.encoder = Some(Encoder::new(state.engine.model()?, state.engine.device())?);
    }
    match &mut state.encoder {
        Some(encoder) => Ok(block_on(encoder.encode(rgb))?),
        None => Err(Failure::setting("the model has no encoder")),
    }
}

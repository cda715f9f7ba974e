//! The page in the browser: what its script calls, and the weights that it fetches.

use super::actor::{Actor, Request, Wake};
use super::app::Studio;
use super::link;
use super::model::Files;
use super::panels::status::DeviceNote;
use crate::exec::gpu::device::{Choice, Gpu, Wanted};
use crate::exec::gpu::tier::Tier;
use crate::generate::model::Device;
use eframe::{WebOptions, WebRunner};
use std::sync::Arc;
use wasm_bindgen::prelude::*;
use web_sys::HtmlCanvasElement;

#[wasm_bindgen(raw_module = "./models.js")]
extern "C" {
    #[wasm_bindgen(catch)]
    async fn load(model: &str, told: &Closure<dyn FnMut(f64, f64)>) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(catch)]
    async fn stored() -> Result<JsValue, JsValue>;
    #[wasm_bindgen(catch)]
    async fn clear() -> Result<(), JsValue>;
}

/// The studio on a canvas.
#[wasm_bindgen]
pub struct Page {
    runner: WebRunner,
}

fn words(error: &JsValue) -> String {
    let message = js_sys::Reflect::get(error, &"message".into()).ok().and_then(|message| message.as_string());
    message.or_else(|| error.as_string()).unwrap_or_else(|| format!("{error:?}"))
}

#[wasm_bindgen]
impl Page {
    /// Prepares; a panic from here on can be read by [`Self::panic_message`].
    #[wasm_bindgen(constructor)]
    #[expect(clippy::new_without_default, reason = "JavaScript has constructors, not defaults")]
    pub fn new() -> Self {
        Self { runner: WebRunner::new() }
    }

    /// Starts on a canvas. `query` is the page's own, from its question mark on; `no_webgpu` says why there is no WebGPU, and is
    /// empty where there is. Then the CPU computes. The page is drawn by WebGL in both cases.
    ///
    /// # Errors
    /// The page cannot be drawn at all.
    pub async fn start(
        &self,
        canvas: HtmlCanvasElement,
        query: String,
        no_webgpu: String,
    ) -> Result<(), JsValue> {
        let (device, reason) = device(no_webgpu, link::proof(&query).is_some()).await;
        let mut options = WebOptions::default();
        // Of its own context, so that the page outlives a device that is lost, and says so.
        options.renderer = eframe::Renderer::Glow;
        let note = note(&device, &reason);
        let create: eframe::AppCreator<'_> = Box::new(move |creation| {
            let context = creation.egui_ctx.clone();
            let wake: Wake = Arc::new(move || context.request_repaint());
            let actor = Actor::start(device, wake);
            let mut kept = Studio::kept(creation.storage);
            let asked = link::model(&query);
            if asked.is_some() {
                kept.recipe = None;
            }
            let model = asked.unwrap_or_else(|| super::BUNDLED[0].to_owned());
            let mut studio = Studio::new(&creation.egui_ctx, actor, note, kept, &model, &query);
            studio.is_cleared = true;
            Ok(Box::new(studio))
        });
        self.runner.start(canvas, options, create).await
    }

    /// Takes in a file that was pasted into the page.
    pub fn bring(&self, name: &str, bytes: Vec<u8>) {
        if let Some(studio) = self.runner.app_mut::<Studio>() {
            studio.bring(name, bytes);
        }
    }

    /// What the studio is at, as JSON, for tests of the page.
    pub fn report(&self) -> String {
        self.runner
            .app_mut::<Studio>()
            .map_or_else(|| "null".to_owned(), |studio| studio.report().to_string())
    }

    /// Whether the program has ended by a mistake of its own.
    pub fn has_panicked(&self) -> bool {
        self.runner.has_panicked()
    }

    /// What the mistake was.
    pub fn panic_message(&self) -> String {
        self.runner.panic_summary().map(|summary| summary.message()).unwrap_or_default()
    }
}

/// Every shader in every permutation, a name and its WGSL in turn, for tests: the browser's compiler is another than naga. Those that
/// compute in f16 too, if `half`.
///
/// # Errors
/// A shader's text has a mistake.
#[wasm_bindgen]
pub fn shaders(half: bool) -> Result<Vec<String>, JsValue> {
    let mut found = Vec::new();
    for permutation in crate::kernels::permutations::of_browsers(half) {
        let source = permutation.source().map_err(|error| JsValue::from(error.to_string()))?;
        found.extend([permutation.to_string(), source]);
    }
    Ok(found)
}

/// `exact` is of links that say which tokens there were: the portable tier's.
async fn device(no_webgpu: String, exact: bool) -> (Device, String) {
    if !no_webgpu.is_empty() {
        return (Device::Cpu, no_webgpu);
    }
    let mut choice = Choice::default();
    if exact {
        choice.tier = Wanted::Exactly(Tier::Portable.to_string());
    }
    match Gpu::open(&choice).await {
        Ok(gpu) => {
            let reason = format!("WebGPU; {}; {}", gpu.tier_reason, gpu.plan_reason);
            (Device::Gpu(Box::new(gpu)), reason)
        }
        Err(error) => (Device::Cpu, error.to_string()),
    }
}

fn note(device: &Device, reason: &str) -> DeviceNote {
    let (name, driver, tier) = match device {
        Device::Cpu | Device::CpuBf16 => (
            "CPU in the browser".to_owned(),
            "The CPU executor, in WebAssembly on one thread".to_owned(),
            "cpu".to_owned(),
        ),
        Device::Gpu(gpu) => {
            (gpu.info.name.clone(), format!("WebGPU, {}", gpu.info.driver_info), gpu.tier.to_string())
        }
    };
    DeviceNote { name, driver, tier, reason: reason.to_owned() }
}

/// Fetches a bundled model, or takes it from the browser's storage, and has it opened.
pub(super) async fn fetch(model: String, told: impl FnMut(f64, f64) + 'static) -> Result<Request, String> {
    Ok(Request::OpenFiles { files: files_of(&model, told).await?, name: model })
}

/// The same of the judge.
pub(super) async fn fetch_judge() -> Result<Request, String> {
    Ok(Request::OpenJudge(Some(files_of("scenes-judge", |_, _| ()).await?)))
}

async fn files_of(model: &str, told: impl FnMut(f64, f64) + 'static) -> Result<Files, String> {
    let told: Closure<dyn FnMut(f64, f64)> = Closure::new(told);
    let found = load(model, &told).await.map_err(|error| words(&error))?;
    let mut files = Files::new();
    for entry in js_sys::Array::from(&found).iter() {
        let pair = js_sys::Array::from(&entry);
        let name = pair.get(0).as_string().unwrap_or_default();
        files.push((name, js_sys::Uint8Array::new(&pair.get(1)).to_vec().into()));
    }
    Ok(files)
}

/// Bytes of weights in the browser's storage.
pub(super) async fn stored_bytes() -> u64 {
    stored().await.ok().and_then(|bytes| bytes.as_f64()).unwrap_or(0.0) as u64
}

/// Forgets them.
pub(super) async fn clear_stored() -> Result<(), String> {
    clear().await.map_err(|error| words(&error))
}

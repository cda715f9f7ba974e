//! Models that are not at hand: in the browser the bundled ones are fetched beside the page, and kept in its storage.

use super::actor::Request;
use super::channel::{Sender, Slot};
use eframe::egui::Context;

/// How far a fetch is.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Bytes so far, and of how many.
    Bytes(u64, u64),
    /// All of it is there.
    Done,
    /// It failed, and why.
    Failed(String),
}

/// Fetches, and what the browser stores.
#[derive(Clone, Debug, Default)]
pub struct Fetch {
    /// News of the fetch under way.
    pub progress: Slot<Progress>,
    /// News of how many bytes are stored.
    pub stored: Slot<u64>,
}

impl Fetch {
    /// Has a model opened: off the browser at once.
    pub fn open(&self, source: &str, requests: &Sender<Request>, context: &Context) {
        #[cfg(target_arch = "wasm32")]
        if super::BUNDLED.contains(&source) {
            let (source, context, this) = (source.to_owned(), context.clone(), self.clone());
            let requests = requests.clone();
            wasm_bindgen_futures::spawn_local(async move {
                let (progress, window) = (this.progress.clone(), context.clone());
                let told = move |done: f64, total: f64| {
                    progress.put(Progress::Bytes(done as u64, total as u64));
                    window.request_repaint();
                };
                match super::web::fetch(source, told).await {
                    Ok(request) => {
                        this.progress.put(Progress::Done);
                        requests.send(request);
                    }
                    Err(reason) => this.progress.put(Progress::Failed(reason)),
                }
                this.stored.put(super::web::stored_bytes().await);
                context.request_repaint();
            });
            return;
        }
        let _ = context;
        requests.send(Request::Open(source.to_owned()));
    }

    /// Has the judge opened: the bundled one, or in the browser the one beside the page.
    pub fn judge(&self, requests: &Sender<Request>, context: &Context) {
        #[cfg(target_arch = "wasm32")]
        {
            let (context, this, requests) = (context.clone(), self.clone(), requests.clone());
            wasm_bindgen_futures::spawn_local(async move {
                match super::web::fetch_judge().await {
                    Ok(request) => requests.send(request),
                    Err(reason) => this.progress.put(Progress::Failed(reason)),
                }
                this.stored.put(super::web::stored_bytes().await);
                context.request_repaint();
            });
        }
        #[cfg(not(target_arch = "wasm32"))]
        {
            let _ = context;
            requests.send(Request::OpenJudge(None));
        }
    }

    /// Has the stored weights forgotten.
    pub fn clear(&self, context: &Context) {
        #[cfg(target_arch = "wasm32")]
        {
            let (context, this) = (context.clone(), self.clone());
            wasm_bindgen_futures::spawn_local(async move {
                if let Err(reason) = super::web::clear_stored().await {
                    this.progress.put(Progress::Failed(reason));
                }
                this.stored.put(super::web::stored_bytes().await);
                context.request_repaint();
            });
        }
        let _ = context;
    }
}

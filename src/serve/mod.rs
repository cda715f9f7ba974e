//! `migm serve`: pictures for applications, over HTTP in the form of OpenAI's images interface.
//!
//! A request is read within limits (`bodies`), understood by the library's rules (`asked`) and waits as a `task` in a `queue`, from
//! which the engine's thread (`worker`) takes batches of pictures that are alike. `answers` are JSON, or events while it goes on;
//! `jobs` outlive their connection. `routes` are the addresses and who may ask, `listen` the connections, `metrics` what
//! Prometheus reads. The HTTP is axum's and hyper's.
//!
//! All of the network is on one thread, and nothing there computes for long; all of the engine is on another.

mod answers;
mod asked;
mod bodies;
#[cfg(test)]
mod fixtures;
mod jobs;
mod listen;
mod metrics;
mod queue;
mod refusal;
mod routes;
mod task;
mod worker;

use crate::generate::model::{Device, Model};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between looks at what has waited too long.
const TICK: Duration = Duration::from_millis(250);
/// For answers that say why, when the time for others is up.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Threads that understand requests: decode pictures, read prompts.
const READERS: usize = 2;

/// How the server works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens.
    pub address: SocketAddr,
    /// What clients must show; needed beyond this machine.
    pub token: Option<String>,
    /// Pictures of a batch, at most.
    pub batch: usize,
    /// Pictures that may wait.
    pub waiting: usize,
    /// Until something of a request is begun; then it is refused.
    pub longest_wait: Duration,
    /// From then on until all of it is there.
    pub longest_run: Duration,
    /// How long jobs and pictures with an address are kept.
    pub kept: Duration,
    /// How long a stop waits for what is under way.
    pub grace: Duration,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Anybody could have pictures made.
    #[error(
        "{0} is beyond this machine, so clients need a token: put one into a file and name it with --token-file, or listen on 127.0.0.1"
    )]
    Open(IpAddr),
    /// A name stands for one model.
    #[error("two models are called {0:?}; serve one of them, or rename its folder")]
    SameName(String),
    /// The system does not let it listen.
    #[error(
        "{address}: {source}; another program may listen there: choose another port with --port, or 0 for any"
    )]
    Address {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system starts no threads, or has no events.
    #[error("the system refuses what a server needs: {0}")]
    System(std::io::Error),
}

/// What the server tells those who run it.
pub struct Voice {
    /// It listens here.
    pub listening: Box<dyn Fn(SocketAddr) + Send + Sync>,
    /// Something that is nobody's request's went wrong, or the server stops.
    pub say: Box<dyn Fn(&str) + Send + Sync>,
}

/// Serves models, each with the device that computes it, until the process is told to stop (SIGINT, SIGTERM): then nothing new is taken,
/// what is under way is answered within its time, and the rest is refused.
///
/// # Errors
/// It cannot listen, or may not.
pub fn serve(
    models: Vec<(String, Model, Device)>,
    reopen: Box<dyn Fn() -> Result<Device, String> + Send>,
    options: &Options,
    voice: Voice,
) -> Result<(), ServeError> {
    let Options { address, token, .. } = options;
    if !address.ip().is_loopback() && token.is_none() {
        return Err(ServeError::Open(address.ip()));
    }
    for (at, (name, ..)) in models.iter().enumerate() {
        if models[..at].iter().any(|(known, ..)| known == name) {
            return Err(ServeError::SameName(name.clone()));
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READERS)
        .build()
        .map_err(ServeError::System)?;
    let voice = Arc::new(voice);
    let queue = Arc::new(queue::Queue::new(queue::Limits {
        waiting: options.waiting,
        longest_wait: options.longest_wait,
        longest_run: options.longest_run,
    }));
    let metrics = Arc::new(metrics::Metrics::new());
    let server = Arc::new(routes::Server {
        models: models.iter().map(|(name, model, _)| (name.clone(), model.clone())).collect(),
        queue: Arc::clone(&queue),
        jobs: jobs::Jobs::new(jobs::Kept { time: options.kept, jobs: 256, bytes: 256 << 20 }),
        metrics: Arc::clone(&metrics),
        room: bodies::Room::new(),
        token: token.clone(),
        created: task::now(),
    });
    let worker = worker::Worker {
        queue: Arc::clone(&queue),
        metrics: Arc::clone(&metrics),
        models,
        reopen,
        batch: options.batch,
    };
    let done = runtime.block_on(async {
        let refused = |source| ServeError::Address { address: *address, source };
        let listener = tokio::net::TcpListener::bind(address).await.map_err(refused)?;
        let stop = asked_to_stop().map_err(ServeError::System)?;
        let own = Arc::clone(&voice);
        let engine = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || worker.run(&*own.say))
            .map_err(ServeError::System)?;
        (voice.listening)(listener.local_addr().map_err(refused)?);
        let watched = Arc::clone(&server);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                let now = Instant::now();
                watched.metrics.overdue(watched.queue.expire(now));
                watched.jobs.sweep(now);
            }
        });
        let stopping = Arc::clone(&server);
        let (grace, own) = (options.grace, Arc::clone(&voice));
        let stop = async move {
            stop.await;
            (own.say)("stopping: what is under way is answered, nothing new is taken");
            stopping.queue.close();
            // Nobody will fetch them: the process is about to end.
            for task in stopping.jobs.all().into_iter().filter(|task| !task.is_watched()) {
                task.fail(refusal::Refusal::stopping());
            }
            let late = Arc::clone(&stopping);
            tokio::spawn(async move {
                tokio::time::sleep(grace).await;
                late.queue.clear();
            });
            grace + LAST_WORDS
        };
        let router = routes::router(Arc::clone(&server));
        listen::listen(listener, router, Arc::clone(&metrics), listen::Patience::default(), stop).await;
        queue.clear();
        Ok(engine)
    });
    let engine = done?;
    // A batch under way ends at its next step, as nobody waits for it any more.
    if engine.join().is_err() {
        (voice.say)("the engine's thread ended by a fault");
    }
    // Readers of requests whose connections are gone hold nothing up.
    runtime.shutdown_background();
    Ok(())
}

/// Waits for the system's wish that the process end.
fn asked_to_stop() -> std::io::Result<impl Future<Output = ()> + Send> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
    })
}

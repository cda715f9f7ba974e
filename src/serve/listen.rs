//! Connections: no more than there is room for, and none that keeps its place by doing nothing.

use super::metrics::Metrics;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep, timeout};

/// Connections at once; further ones wait in the system's list.
const MOST: usize = 256;
/// Until all of a request's head is there, also from the end of the last one on.
const HEAD: Duration = Duration::from_secs(30);
/// For so long a client may take none of what is sent to it.
const STALL: Duration = Duration::from_secs(30);
/// Bytes of a connection that are read or written ahead.
const BUFFER: usize = 64 << 10;
/// After the system refused a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// How patient the server is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) head: Duration,
    pub(super) stall: Duration,
    pub(super) connections: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self { head: HEAD, stall: STALL, connections: MOST }
    }
}

/// Answers connections until `stop` is over, and then those that are open, for so long at most. Whether all of them came to their end.
pub(super) async fn listen(
    listener: TcpListener,
    router: Router,
    metrics: Arc<Metrics>,
    patience: Patience,
    stop: impl Future<Output = Duration>,
) -> bool {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(patience.connections));
    let mut stop = std::pin::pin!(stop);
    let grace = loop {
        let accepted = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accepted => accepted,
            grace = &mut stop => break grace,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(_) => {
                sleep(PAUSE).await;
                continue;
            }
        };
        // Small answers are not held back.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(patience.head).max_buf_size(BUFFER);
        let connection =
            builder.serve_connection(TokioIo::new(Patient::new(stream, patience.stall)), service);
        let connection = graceful.watch(connection);
        let metrics = Arc::clone(&metrics);
        tokio::spawn(async move {
            metrics.connected();
            // Clients that break off are none of the server's failures.
            let _ = connection.await;
            metrics.disconnected();
            drop(place);
        });
    };
    drop(listener);
    timeout(grace, graceful.shutdown()).await.is_ok()
}

/// A connection that breaks off when the other side takes nothing for too long.
struct Patient {
    stream: TcpStream,
    stall: Duration,
    /// Since the other side last took something, while there is something to take.
    since: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream, stall: Duration) -> Self {
        Self { stream, stall, since: None }
    }

    /// What came of writing, or that it took too long.
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.since = None;
            return written;
        }
        let stall = self.stall;
        let since = self.since.get_or_insert_with(|| Box::pin(sleep(stall)));
        match since.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, shut)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.watch(context, written)
    }
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;

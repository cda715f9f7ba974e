//! Clients that do not do as they should, over real connections.

use super::*;
use axum::routing::get;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;

const SHORT: Duration = Duration::from_millis(300);

/// Runs `clients` against a server that is about as patient as said, and stops it after them. Whether it came to its end in time.
fn with_server<F: Future<Output = ()>>(
    patience: Patience,
    clients: impl FnOnce(SocketAddr, Arc<Metrics>) -> F,
) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Arc::new(Metrics::new());
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/large", get(async || vec![7_u8; 64 << 20]))
            .route("/never", get(async || std::future::pending::<()>().await));
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async {
            let _ = stopped.await;
            SHORT
        };
        let served = tokio::spawn(listen(listener, router, Arc::clone(&metrics), patience, stopped));
        clients(address, metrics).await;
        stop.send(()).unwrap();
        served.await.unwrap()
    })
}

async fn ask(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ =
        timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await.expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn who_says_nothing_or_half_a_head_loses_its_place() {
    let patience = Patience { head: SHORT, connections: 2, ..Patience::default() };
    let ended = with_server(patience, async |address, _| {
        // All places are taken, and are free again for the third.
        let (mut silent, mut half) = (ask(address, "").await, ask(address, "GET / HTTP/1.1\r\nHos").await);
        let mut third = ask(address, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(rest(&mut third).await.ends_with("hello"));
        assert!(!rest(&mut silent).await.contains("200"));
        assert!(!rest(&mut half).await.contains("200"));
    });
    assert!(ended);
}

#[test]
fn who_takes_nothing_loses_its_answer() {
    let patience = Patience { stall: SHORT, ..Patience::default() };
    let ended = with_server(patience, async |address, metrics| {
        let mut slow = ask(address, "GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await;
        // Others are answered meanwhile.
        let mut other = ask(address, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(rest(&mut other).await.ends_with("hello"));
        let gone = async {
            while !metrics.text().contains("migm_connections 0") {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(20), gone).await.expect("the server gives up");
        assert!(rest(&mut slow).await.len() < 64 << 20, "the answer is not whole");
    });
    assert!(ended);
}

#[test]
fn a_stop_waits_for_answers_but_not_for_ever() {
    assert!(with_server(Patience::default(), async |address, _| {
        // A connection without a request holds nothing up.
        let idle = ask(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        sleep(Duration::from_millis(50)).await;
        std::mem::forget(idle);
    }));
    let ended = with_server(Patience::default(), async |address, _| {
        std::mem::forget(ask(address, "GET /never HTTP/1.1\r\nHost: a\r\n\r\n").await);
        sleep(Duration::from_millis(50)).await;
    });
    assert!(!ended, "somebody was waiting yet");
}

//! The live page on loopback: HTML, styles and script from the binary, changes by server-sent events, pictures from
//! memory by digest. What is shown is decided in `board.rs`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::wrappers::{BroadcastStream, IntervalStream};

use super::board::{Board, Change};
use crate::clock::utc_now;
use crate::mqtt::{LiveStats, Subscriber};

/// Changes a slow page may be behind; then it gets everything anew.
const BEHIND: usize = 512;
/// Counters are sent this often.
const STATS_EVERY: Duration = Duration::from_secs(2);

/// Why the page could not be served.
#[derive(Debug, thiserror::Error)]
pub enum LiveDeskError {
    /// It has no sign-in.
    #[error("the live page has no sign-in, so it listens on 127.0.0.1 or ::1 only, not on {0}")]
    NotLoopback(SocketAddr),
    /// The port is taken or may not be used.
    #[error("the live page cannot listen on {addr}: {source}; choose another port")]
    Listen {
        /// Address asked for.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// A running page; stops when dropped.
#[derive(Debug)]
pub struct LiveDesk {
    addr: SocketAddr,
    subscriber: Arc<Subscriber>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for LiveDesk {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl LiveDesk {
    /// Serves the page on `listen` (port 0 = a free one).
    ///
    /// # Errors
    /// See [`LiveDeskError`].
    pub async fn start(listen: SocketAddr, subscriber: Arc<Subscriber>) -> Result<Self, LiveDeskError> {
        if !listen.ip().is_loopback() {
            return Err(LiveDeskError::NotLoopback(listen));
        }
        let failed = |source| LiveDeskError::Listen { addr: listen, source };
        let socket = tokio::net::TcpListener::bind(listen).await.map_err(failed)?;
        let addr = socket.local_addr().map_err(failed)?;
        let (changes, _) = broadcast::channel(BEHIND);
        let shared = Arc::new(Shared { board: Mutex::default(), changes, subscriber: subscriber.clone() });
        let feed = tokio::spawn(feed(shared.clone()));
        let app = router(shared);
        let serve = tokio::spawn(async move {
            if let Err(error) = axum::serve(socket, app).await {
                tracing::error!(%error, "the live page ended");
            }
        });
        Ok(Self { addr, subscriber, tasks: vec![feed, serve] })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// For a browser.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }

    /// What its independent subscriber counted.
    #[must_use]
    pub fn stats(&self) -> LiveStats {
        self.subscriber.stats()
    }
}

struct Shared {
    board: Mutex<Board>,
    changes: broadcast::Sender<Change>,
    subscriber: Arc<Subscriber>,
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Messages into the board, changes to the pages. Sent under the board's lock, so that a page which takes its
/// snapshot under the same lock misses nothing and gets nothing twice out of order.
async fn feed(shared: Arc<Shared>) {
    let mut messages = shared.subscriber.messages();
    loop {
        match messages.recv().await {
            Ok(message) => {
                let mut board = shared.board();
                for change in board.apply(&message) {
                    // Fails only when no page is open.
                    let _ = shared.changes.send(change);
                }
            }
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                metrics::counter!("gatewatch_desk_messages_lost_total").increment(lost);
                tracing::warn!(lost, "the live page fell behind; the counters still count all");
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    let page =
        |body: &'static str, kind: &'static str| get(move || async move { ([(header::CONTENT_TYPE, kind)], body) });
    Router::new()
        .route("/", page(include_str!("page/index.html"), "text/html; charset=utf-8"))
        .route("/app.css", page(include_str!("page/app.css"), "text/css; charset=utf-8"))
        .route("/app.js", page(include_str!("page/app.js"), "text/javascript; charset=utf-8"))
        .route("/live", get(live))
        .route("/picture/{sha256}", get(picture))
        .route("/api/stats", get(stats))
        .layer(middleware::from_fn(guard))
        .with_state(shared)
}

/// Refuses other host names (a foreign site that resolves its name to loopback could read the page) and forbids
/// everything that does not come from here.
async fn guard(request: Request, next: Next) -> Response {
    if !asks_for_loopback(request.headers()) {
        return (StatusCode::FORBIDDEN, "open this page as http://localhost or http://127.0.0.1").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    response
}

/// Whether a browser was sent here under a name of this machine itself.
pub(crate) fn asks_for_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or("");
    let name = host.rsplit_once(':').filter(|(_, p)| p.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(n, _)| n);
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

async fn stats(State(shared): State<Arc<Shared>>) -> axum::Json<LiveStats> {
    axum::Json(shared.subscriber.stats())
}

async fn picture(State(shared): State<Arc<Shared>>, Path(sha256): Path<String>) -> Response {
    let jpeg = shared.board().jpeg(sha256.trim_end_matches(".jpg"));
    match jpeg {
        // Named by its content, so it never changes.
        Some(jpeg) => {
            let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "max-age=86400, immutable")];
            (headers, jpeg).into_response()
        }
        None => (StatusCode::NOT_FOUND, "this picture is not kept any more").into_response(),
    }
}

async fn live(State(shared): State<Arc<Shared>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (first, rest) = {
        let board = shared.board();
        (whole(&board), shared.changes.subscribe())
    };
    let for_lag = shared.clone();
    let changes = BroadcastStream::new(rest).flat_map(move |change| {
        let events = match change {
            Ok(change) => vec![event("change", &change)],
            Err(BroadcastStreamRecvError::Lagged(_)) => whole(&for_lag.board()),
        };
        stream::iter(events)
    });
    let ticks = IntervalStream::new(tokio::time::interval(STATS_EVERY)).map(move |_| counters(&shared));
    let all = stream::select(stream::iter(first).chain(changes), ticks).map(Ok);
    Sse::new(all).keep_alive(KeepAlive::new().interval(Duration::from_secs(5)))
}

/// A page forgets what it has and shows this.
fn whole(board: &Board) -> Vec<Event> {
    let mut events = vec![event("reset", &serde_json::json!({}))];
    events.extend(board.snapshot().iter().map(|c| event("change", c)));
    events.push(event("shown", &serde_json::json!({})));
    events
}

fn counters(shared: &Shared) -> Event {
    let body = serde_json::json!({
        "now": utc_now(),
        "broker": *shared.subscriber.connected().borrow(),
        "stats": shared.subscriber.stats(),
    });
    event("counters", &body)
}

fn event<T: serde::Serialize>(name: &str, body: &T) -> Event {
    Event::default().event(name).json_data(body).unwrap_or_else(|_| Event::default().comment("unwritable"))
}

//! The line to an S3-compatible store: how fast something is sent on it, evenly, so that messages on the same line need not
//! wait behind a clip; and when it counts as dead.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
};
use reqwest::header::{CONTENT_LENGTH, HeaderValue};
use reqwest::redirect;

use crate::clock::{mono_now, precise_now};

/// Handed to the connection at once.
const CHUNK: usize = 16 * 1024;
/// A store that does not take the connection within this is away.
const CONNECT: Duration = Duration::from_secs(5);
/// A store that takes nothing, or says nothing, for this long is away.
const SILENT: Duration = Duration::from_secs(30);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Lets so many bytes a second pass.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_s: Option<u64>,
    /// When what has passed will be gone at that rate.
    free: Mutex<Duration>,
}

impl Pace {
    /// `None` = no limit.
    pub fn new(bytes_per_s: Option<u64>) -> Self {
        Self { bytes_per_s, free: Mutex::default() }
    }

    /// Waits until `bytes` may go.
    pub async fn take(&self, bytes: usize) {
        let Some(rate) = self.bytes_per_s else { return };
        let now = precise_now();
        let wait = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let at = now.max(*free);
            *free = at + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
            at - now
        };
        tokio::time::sleep(wait).await;
    }
}

/// One store's line. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Line {
    client: reqwest::Client,
    pace: Arc<Pace>,
    /// [`SILENT`], but for tests.
    silent: Duration,
}

impl Line {
    /// # Errors
    /// When the file of the authority cannot be read or is none.
    pub fn new(ca_file: Option<&Path>, pace: Pace) -> Result<Self, String> {
        // No redirects and no proxy: what is signed for the store goes to nobody else.
        let mut client =
            reqwest::Client::builder().connect_timeout(CONNECT).redirect(redirect::Policy::none()).no_proxy();
        if let Some(file) = ca_file {
            let bad = |e: &dyn std::fmt::Display| format!("ca_file {}: {e}", file.display());
            let pem = std::fs::read(file).map_err(|e| bad(&e))?;
            client = client.add_root_certificate(reqwest::Certificate::from_pem(&pem).map_err(|e| bad(&e))?);
        }
        let client = client.build().map_err(|e| e.to_string())?;
        Ok(Self { client, pace: Arc::new(pace), silent: SILENT })
    }

    /// The body in small pieces, each when it may go; `moved` is told the time of each.
    fn paced(
        &self,
        body: object_store::client::HttpRequestBody,
        moved: Arc<AtomicI64>,
    ) -> impl Stream<Item = Result<Bytes, HttpError>> + Send + 'static {
        let pace = Arc::clone(&self.pace);
        let pieces = body.into_data_stream().flat_map(|piece| match piece {
            Ok(bytes) => stream::iter(cut(bytes)).left_stream(),
            Err(error) => stream::once(async { Err(error) }).right_stream(),
        });
        pieces.then(move |piece| {
            let (pace, moved) = (Arc::clone(&pace), Arc::clone(&moved));
            async move {
                pace.take(piece.as_ref().map_or(0, Bytes::len)).await;
                moved.store(mono_now().0, Ordering::Relaxed);
                piece
            }
        })
    }
}

fn cut(bytes: Bytes) -> impl Iterator<Item = Result<Bytes, HttpError>> {
    (0..bytes.len()).step_by(CHUNK).map(move |at| Ok(bytes.slice(at..bytes.len().min(at + CHUNK))))
}

#[async_trait]
impl HttpService for Line {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url = reqwest::Url::parse(&parts.uri.to_string()).map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?;
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        let moved = Arc::new(AtomicI64::new(mono_now().0));
        let length = body.content_length();
        if length > 0 {
            request.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
            *request.body_mut() = Some(reqwest::Body::wrap_stream(self.paced(body, Arc::clone(&moved))));
        }
        let answer = self.client.execute(request);
        tokio::pin!(answer);
        let answer = loop {
            tokio::select! {
                answer = &mut answer => break answer.map_err(told)?,
                () = tokio::time::sleep(LOOK) => {
                    let quiet_ms = mono_now().0 - moved.load(Ordering::Relaxed);
                    if u128::try_from(quiet_ms).is_ok_and(|ms| ms > self.silent.as_millis()) {
                        return Err(silence());
                    }
                }
            }
        };
        let (parts, body) = axum::http::Response::<reqwest::Body>::from(answer).into_parts();
        // Also between the head and the end of an answer.
        let pieces = tokio_stream::StreamExt::timeout(BodyStream::new(body.map_err(told)), self.silent);
        let pieces = pieces.map(|piece| piece.unwrap_or_else(|_| Err(silence())));
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(StreamBody::new(pieces))))
    }
}

fn silence() -> HttpError {
    HttpError::new(HttpErrorKind::Timeout, io::Error::new(io::ErrorKind::TimedOut, "it is silent"))
}

fn told(error: reqwest::Error) -> HttpError {
    let kind = match () {
        () if error.is_timeout() => HttpErrorKind::Timeout,
        () if error.is_connect() => HttpErrorKind::Connect,
        () => HttpErrorKind::Interrupted,
    };
    HttpError::new(kind, error.without_url())
}

impl HttpConnector for Line {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn line(bytes_per_s: Option<u64>, silent: Duration) -> Line {
        Line { client: reqwest::Client::new(), pace: Arc::new(Pace::new(bytes_per_s)), silent }
    }

    #[tokio::test]
    async fn an_answer_that_stops_on_the_way_is_given_up() {
        crate::install_crypto();
        let peer = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}/", peer.local_addr().unwrap());
        let answered = tokio::spawn(async move {
            let (mut stream, _) = peer.accept().await.unwrap();
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
            stream
        });
        let request = axum::http::Request::get(address).body(Bytes::new().into()).unwrap();
        let answer = line(None, Duration::from_millis(100)).call(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let read = tokio::time::timeout(Duration::from_secs(20), answer.into_body().bytes()).await;
        let error = read.expect("it does not wait for ever").unwrap_err();
        assert_eq!(error.kind(), HttpErrorKind::Timeout, "{error}");
        drop(answered.await.unwrap());
    }

    #[tokio::test]
    async fn what_is_sent_is_spread_evenly_over_time() {
        crate::install_crypto();
        let line = line(Some(1 << 20), SILENT);
        let body = Bytes::from(vec![7; 256 * 1024]).into();
        let started = precise_now();
        let pieces: Vec<_> = line.paced(body, Arc::default()).collect().await;
        assert!(pieces.len() == 16 && pieces.iter().all(|p| p.as_ref().is_ok_and(|b| b.len() == CHUNK)));
        let took = precise_now() - started;
        // The first piece goes at once; 15 sixteenths of a quarter of a second for the others.
        assert!(took >= Duration::from_millis(230), "{took:?}");
        Pace::new(None).take(usize::MAX).await;
    }
}

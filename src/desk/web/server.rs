//! Listening, with TLS of our own where a certificate is configured.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use futures_util::future::BoxFuture;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::router;
use crate::desk::config::DeskHttpConfig;
use crate::desk::room::{DeskError, Room};

/// A browser that does not finish its handshake within this is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Finished handshakes that wait to be served; a full queue makes new ones wait.
const WAITING: usize = 64;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub SocketAddr);

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// A running server.
pub(crate) struct Served {
    pub addr: SocketAddr,
    pub tls: bool,
    pub task: BoxFuture<'static, ()>,
}

/// Listens and makes the server.
pub(crate) async fn serve(room: &Arc<Room>) -> Result<Served, DeskError> {
    let http = &room.config.http;
    let tls = tls_of(http)?;
    let failed = |source| DeskError::Listen { addr: http.listen, source };
    let listener = TcpListener::bind(http.listen).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    let service = router(room.clone()).into_make_service_with_connect_info::<Peer>();
    let is_tls = tls.is_some();
    let task: BoxFuture<'static, ()> = match tls {
        None => Box::pin(async move {
            let ended = axum::serve(listener, service).await;
            tracing::error!(?ended, "the pages are not served any more");
        }),
        Some(acceptor) => Box::pin(async move {
            let listener = TlsListener::start(listener, acceptor, addr);
            let ended = axum::serve(listener, service).await;
            tracing::error!(?ended, "the pages are not served any more");
        }),
    };
    Ok(Served { addr, tls: is_tls, task })
}

fn tls_of(http: &DeskHttpConfig) -> Result<Option<TlsAcceptor>, DeskError> {
    let (Some(cert), Some(key)) = (&http.tls_cert_file, &http.tls_key_file) else { return Ok(None) };
    let bad = |key: &str, file: &Path, e: &dyn std::fmt::Display| {
        DeskError::Configuration(format!("http.{key} {} cannot be used: {e}", file.display()))
    };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(cert).map_err(|e| bad("tls_cert_file", cert, &e))?.collect();
    let chain = chain.map_err(|e| bad("tls_cert_file", cert, &e))?;
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|e| bad("tls_key_file", key, &e))?;
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| bad("tls_cert_file", cert, &e))?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .map_err(|e| bad("tls_cert_file", cert, &e))?;
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// Handshakes are done beside each other, so that a slow one keeps nobody waiting.
struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    addr: SocketAddr,
}

impl TlsListener {
    fn start(listener: TcpListener, acceptor: TlsAcceptor, addr: SocketAddr) -> Self {
        let (done, ready) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            while !done.is_closed() {
                let Ok((stream, peer)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let (acceptor, done) = (acceptor.clone(), done.clone());
                tokio::spawn(async move {
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        let _ = done.send((stream, peer)).await;
                    }
                });
            }
        });
        Self { ready, addr }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The accepting task never ends before this listener does.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.addr)
    }
}

//! A store of objects on loopback: an S3 server that checks signatures, behind a door that can be shut.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gatewatch::config::{ObjectsConfig, SecretSource};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::gate::Door;

const BUCKET: &str = "clips";
const KEY: (&str, &str) = ("gatewatch-test", "a secret that stands in a file");

pub struct S3 {
    pub door: Door,
    dir: tempfile::TempDir,
    /// Method and path of every request that came.
    seen: Arc<Mutex<Vec<(String, String)>>>,
    /// What ends so is not taken.
    unwelcome: Arc<Mutex<Option<&'static str>>>,
}

impl S3 {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("store").join(BUCKET)).unwrap();
        let mut service = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path().join("store")).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY.0, KEY.1));
        let service = service.build();
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let unwelcome = Arc::<Mutex<Option<&'static str>>>::default();
        let (log, not_taken) = (Arc::clone(&seen), Arc::clone(&unwelcome));
        let answer = move |request: Request| {
            let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
            let taken = method != "PUT" || not_taken.lock().unwrap().is_none_or(|end| !path.ends_with(end));
            log.lock().unwrap().push((method, path));
            let service = service.clone();
            async move {
                if taken {
                    answered(service.oneshot(request).await)
                } else {
                    StatusCode::INSUFFICIENT_STORAGE.into_response()
                }
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        Self { door: Door::to(port).await, dir, seen, unwelcome }
    }

    /// From now on nothing is taken whose name ends so.
    pub fn takes_not(&self, end: Option<&'static str>) {
        *self.unwelcome.lock().unwrap() = end;
    }

    /// As it stands in a configuration; secrets are files.
    pub fn config(&self) -> ObjectsConfig {
        let secret = |name: &str, value: &str| {
            let file = self.dir.path().join(name);
            std::fs::write(&file, format!("{value}\n")).unwrap();
            SecretSource { file: Some(file), env: None }
        };
        ObjectsConfig {
            url: format!("s3://{BUCKET}/border"),
            endpoint: Some(format!("http://127.0.0.1:{}", self.door.port)),
            region: Some("vn-1".into()),
            access_key: secret("access-key", KEY.0),
            secret_key: secret("secret-key", KEY.1),
            ca_file: None,
            allow_http: true,
        }
    }

    /// Passes on what comes over TLS with the certificate of `dir`; gives the port.
    pub async fn behind_tls(&self, dir: &Path) -> u16 {
        let chain: Vec<_> = CertificateDer::pem_file_iter(dir.join("s.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(dir.join("s.key")).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, to) = (listener.local_addr().unwrap().port(), self.door.port);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let Ok(mut server) = tokio::net::TcpStream::connect(("127.0.0.1", to)).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        port
    }

    /// What lies there, by name below the prefix, sorted.
    pub fn objects(&self) -> Vec<(String, PathBuf)> {
        files(&self.dir.path().join("store").join(BUCKET).join("border"))
    }

    /// How often anything was asked or sent whose name has this in it.
    pub fn asked(&self, part: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|(_, path)| path.contains(part)).count()
    }

    /// How often something that ends so was written.
    pub fn writes(&self, end: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|(m, p)| m == "PUT" && p.ends_with(end)).count()
    }
}

fn answered(answer: Result<axum::http::Response<s3s::Body>, s3s::HttpError>) -> Response {
    match answer {
        Ok(answer) => answer.map(axum::body::Body::new),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")).into_response(),
    }
}

/// Files below a folder by their names from there, sorted.
pub fn files(root: &Path) -> Vec<(String, PathBuf)> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), path));
            }
        }
    }
    found.sort();
    found
}

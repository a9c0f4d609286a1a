//! `gatewatch model fetch` against a server of our own that breaks off, knows parts or does not, and gives wrong files.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gatewatch::cli::model::fetch::fetch;
use reqwest::Url;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server of one file.
#[derive(Clone)]
struct Server {
    file: Arc<Vec<u8>>,
    /// Bytes of the body after which a connection is closed.
    most: usize,
    knows_parts: bool,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn new(file: &[u8]) -> Self {
        Self { file: Arc::new(file.to_vec()), most: usize::MAX, knows_parts: true, asked: Arc::default() }
    }

    async fn start(&self) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/a/model.onnx", listener.local_addr().unwrap());
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                server.asked.fetch_add(1, Ordering::SeqCst);
                let server = server.clone();
                tokio::spawn(async move { server.answer(stream).await });
            }
        });
        url.parse().unwrap()
    }

    async fn answer(&self, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let from = head.split("range: bytes=").nth(1).and_then(|r| r.split('-').next()?.parse::<usize>().ok());
        let from = from.filter(|_| self.knows_parts);
        let all = self.file.len();
        let (status, start) = match from {
            Some(n) if n >= all => ("416 Range Not Satisfiable", all),
            Some(n) => ("206 Partial Content", n),
            None => ("200 OK", 0),
        };
        let range = from.map(|n| format!("content-range: bytes {n}-{}/{all}\r\n", all - 1)).unwrap_or_default();
        let length = all - start;
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{range}connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let end = all.min(start.saturating_add(self.most));
        stream.write_all(&self.file[start..end]).await.unwrap();
        stream.shutdown().await.ok();
    }
}

fn file() -> Vec<u8> {
    (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn sha(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn part(out: &Path) -> std::path::PathBuf {
    out.with_extension("onnx.part")
}

#[tokio::test]
async fn a_transfer_that_breaks_goes_on_where_it_was() {
    let server = Server { most: 70_000, ..Server::new(&file()) };
    let (url, dir) = (server.start().await, tempfile::tempdir().unwrap());
    let out = dir.path().join("new/model.onnx");
    fetch(&url, &sha(&file()), &out).await.unwrap();
    assert_eq!(std::fs::read(&out).unwrap(), file());
    assert!(!part(&out).exists());
    assert_eq!(server.asked.load(Ordering::SeqCst), 5, "four times 70 000 bytes and the rest");
    fetch(&url, &sha(&file()), &out).await.unwrap();
    assert_eq!(server.asked.load(Ordering::SeqCst), 5, "what is there is not fetched again");
}

#[tokio::test]
async fn what_an_earlier_call_left_is_gone_on_with_or_begun_anew() {
    for knows_parts in [true, false] {
        let server = Server { knows_parts, ..Server::new(&file()) };
        let (url, dir) = (server.start().await, tempfile::tempdir().unwrap());
        let out = dir.path().join("model.onnx");
        std::fs::write(part(&out), &file()[..1234]).unwrap();
        fetch(&url, &sha(&file()), &out).await.unwrap();
        assert_eq!(std::fs::read(&out).unwrap(), file(), "parts known: {knows_parts}");
        std::fs::remove_file(&out).unwrap();
        std::fs::write(part(&out), file()).unwrap();
        fetch(&url, &sha(&file()), &out).await.unwrap();
        assert_eq!(std::fs::read(&out).unwrap(), file(), "all of it was there");
    }
}

#[tokio::test]
async fn a_file_with_another_digest_is_refused_and_not_left() {
    let (url, dir) = (Server::new(b"something else").start().await, tempfile::tempdir().unwrap());
    let out = dir.path().join("model.onnx");
    let error = fetch(&url, &sha(&file()), &out).await.unwrap_err().to_string();
    assert!(error.contains(&sha(b"something else")) && error.contains(&sha(&file())), "{error}");
    assert!(!out.exists() && !part(&out).exists());
    std::fs::write(&out, b"an older model").unwrap();
    fetch(&url, &sha(&file()), &out).await.unwrap_err();
    assert_eq!(std::fs::read(&out).unwrap(), b"an older model", "what was there before stays");
}

#[tokio::test]
async fn a_server_that_gives_nothing_more_ends_the_call_and_the_part_stays() {
    let server = Server { most: 0, ..Server::new(&file()) };
    let (url, dir) = (server.start().await, tempfile::tempdir().unwrap());
    let out = dir.path().join("model.onnx");
    std::fs::write(part(&out), &file()[..1000]).unwrap();
    let error = format!("{:#}", fetch(&url, &sha(&file()), &out).await.unwrap_err());
    assert!(error.contains("1000 bytes are kept"), "{error}");
    assert_eq!(std::fs::read(part(&out)).unwrap(), &file()[..1000]);
}

//! How a request gets into the chain. Only one process may write to a store: while the agent runs, a request is a file in the
//! store's folder that the agent takes and answers; while it does not, the command opens the store itself. Whoever may write
//! into that folder may ask, as may whoever can read the key.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::chain::Entry;
use super::request::Request;
use super::signer::{SignError, Signer};
use super::statement::SignedHead;
use crate::clock::mono_now;
use crate::store::{Store, StoreError, StoreOptions, in_use};

const FOLDER: &str = "requests";
const ANSWER: &str = "answer";
/// How often both sides look.
const LOOK: Duration = Duration::from_millis(200);
/// A running agent answers within a second; this is for a machine that is very busy.
const PATIENCE_MS: i64 = 60_000;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one at a time, made once a request")]
pub enum Answer {
    /// It is in the chain.
    Done {
        /// There.
        entry: Entry,
        /// The end of the chain, signed after it.
        head: SignedHead,
    },
    /// It is not.
    Refused(String),
}

/// Takes the requests that wait in the folder of the signer's store and answers them. Returns how many.
pub async fn serve_waiting(signer: &Signer, dir: &Path) -> usize {
    let Ok(waiting) = waiting(&dir.join(FOLDER)) else { return 0 };
    for path in &waiting {
        let answer = match read(path) {
            Ok(request) => match signer.handle(&request).await {
                Ok((entry, head)) => Answer::Done { entry, head },
                // The store may be full for a while: the request waits, as long as somebody does.
                Err(SignError::Store(error)) => {
                    tracing::error!(%error, "a request for evidence cannot be written down now");
                    continue;
                }
                Err(error) => Answer::Refused(error.to_string()),
            },
            Err(why) => Answer::Refused(why),
        };
        if let Err(error) = reply(path, &answer) {
            tracing::error!(file = %path.display(), %error, "a request for evidence could not be answered");
        }
    }
    waiting.len()
}

fn waiting(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "json") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<Request, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("the request cannot be read: {e}"))?;
    serde_json::from_str(&text).map_err(|e| format!("the request is not understood: {e}"))
}

fn reply(path: &Path, answer: &Answer) -> std::io::Result<()> {
    write_whole(&path.with_extension(ANSWER), &serde_json::to_vec(answer)?)?;
    fs::remove_file(path)
}

/// Whole or not at all, and there after a power cut.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let tmp = path.with_extension("tmp");
    let mut file = File::create(&tmp)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&tmp, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Gets a request into the chain, by the running agent or without it.
///
/// # Errors
/// When it is refused, or the store cannot be used, or the agent does not answer.
pub async fn submit(options: &StoreOptions, topic: &str, request: &Request) -> anyhow::Result<(Entry, SignedHead)> {
    request.check().map_err(anyhow::Error::msg)?;
    let dir = &options.config.dir;
    if !dir.join(crate::store::DATABASE).exists() {
        bail!("there is no store in {}; name the configuration of the agent with --config", dir.display());
    }
    let slot = Slot::new(dir, request);
    let since = mono_now();
    loop {
        if !in_use(dir) {
            match alone(options, topic, request).await {
                Ok(done) => return Ok(done),
                Err(SignError::Store(StoreError::Locked { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match slot.exchange().context("cannot put the request into the folder of the running agent")? {
            Some(Answer::Done { entry, head }) => return Ok((entry, head)),
            Some(Answer::Refused(why)) => bail!("the agent refused: {why}"),
            None => {}
        }
        if mono_now().since(since) > PATIENCE_MS {
            bail!("the agent that has {} does not answer; see its log, or stop it and try again", dir.display());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Without an agent: the store is ours for a moment.
async fn alone(options: &StoreOptions, topic: &str, request: &Request) -> Result<(Entry, SignedHead), SignError> {
    let store = Store::open(options.clone()).await?;
    let signer = Signer::start(store.clone(), topic.into()).await?;
    let done = signer.handle(request).await?;
    store.close().await?;
    Ok(done)
}

/// The files of one request; they go away with it.
struct Slot {
    path: PathBuf,
    text: Vec<u8>,
}

impl Slot {
    fn new(dir: &Path, request: &Request) -> Self {
        let text = serde_json::to_vec(request).expect("plain values always serialise");
        Self { path: dir.join(FOLDER).join(format!("{}.json", request.id)), text }
    }

    /// Puts the request there if it is not, and looks for the answer.
    fn exchange(&self) -> std::io::Result<Option<Answer>> {
        let there = self.path.exists();
        // The answer is written before the request is removed: without both, it was never there.
        let answer = self.answer()?;
        if answer.is_none() && !there {
            fs::create_dir_all(self.path.parent().expect("it is in a folder"))?;
            write_whole(&self.path, &self.text)?;
        }
        Ok(answer)
    }

    fn answer(&self) -> std::io::Result<Option<Answer>> {
        match fs::read(self.path.with_extension(ANSWER)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        for path in [self.path.clone(), self.path.with_extension(ANSWER)] {
            // What stays is taken by the agent once more, which is the same request with the same answer.
            let _ = fs::remove_file(path);
        }
    }
}

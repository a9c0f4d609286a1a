//! What one simulated camera shares between the server, its feeding threads and its pad probes: what is wrong with it
//! now, its counters, and the feeds that run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::misbehave::{Faults, Misbehaviour};
use crate::clock::{MonoMillis, mono_now};

/// One camera on stage.
pub(super) struct Stage {
    pub name: String,
    /// Scene time 0.
    pub start: MonoMillis,
    faults: Mutex<Faults>,
    feeds: Mutex<Vec<Feed>>,
    /// Pictures given to the coder or, in a file, units given to the payloader.
    pub pictures: AtomicU64,
    /// Pictures left out because drawing was too slow.
    pub skipped: AtomicU64,
    /// Packets damaged on command.
    pub corrupted: AtomicU64,
    /// A viewer came: the next picture is to be a keyframe.
    pub want_keyframe: AtomicBool,
}

struct Feed {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Stage {
    pub fn new(name: String, start: MonoMillis) -> Self {
        Self {
            name,
            start,
            faults: Mutex::default(),
            feeds: Mutex::default(),
            pictures: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            corrupted: AtomicU64::new(0),
            want_keyframe: AtomicBool::new(false),
        }
    }

    /// What is wrong now: a copy, so that nobody holds the lock while drawing or asking twice.
    pub fn faults(&self) -> Faults {
        lock(&self.faults).clone()
    }

    /// Takes an order from now on.
    pub fn order(&self, what: &Misbehaviour) {
        lock(&self.faults).take(what, mono_now());
    }

    /// Starts a feeding thread; the sender stops it, by a message or by going away.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn spawn_feed(&self, run: impl FnOnce(&Ticker) + Send + 'static) -> std::io::Result<Sender<()>> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name(format!("sim-{}", self.name)).spawn(move || {
            run(&Ticker { stopped });
        })?;
        let mut feeds = lock(&self.feeds);
        feeds.retain(|f| !f.thread.is_finished());
        feeds.push(Feed { stop: stop.clone(), thread });
        Ok(stop)
    }

    /// Ends all feeds of this camera and waits for them: at most one picture long.
    pub fn stop_feeds(&self) {
        let feeds = std::mem::take(&mut *lock(&self.feeds));
        for feed in &feeds {
            // Fails only when the feed is over already.
            let _ = feed.stop.send(());
        }
        for feed in feeds {
            if feed.thread.join().is_err() {
                tracing::error!(camera = %self.name, "a feeding thread panicked");
            }
        }
    }

    pub fn count_picture(&self) {
        self.pictures.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("gatewatch_simulate_pictures_total", "camera" => self.name.clone()).increment(1);
    }

    pub fn count_skipped(&self, pictures: u64) {
        self.skipped.fetch_add(pictures, Ordering::Relaxed);
        metrics::counter!("gatewatch_simulate_pictures_skipped_total", "camera" => self.name.clone())
            .increment(pictures);
    }
}

/// Sleep that ends when the feed is to end.
pub(super) struct Ticker {
    stopped: Receiver<()>,
}

impl Ticker {
    /// `false` when the feed is to end.
    #[must_use]
    pub fn wait(&self, time: Duration) -> bool {
        matches!(self.stopped.recv_timeout(time), Err(RecvTimeoutError::Timeout))
    }
}

/// A panic elsewhere leaves plain values behind, so they can be used on.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

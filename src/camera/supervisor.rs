//! Keeps one camera alive: its own thread, a life after the other, growing waits between them. One bad camera never
//! disturbs another. Does not decide what a camera's state means for anybody else.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::ingest::Ingest;
use super::pump::{Pump, Shared};
use super::report::{Report, Vitals};
use super::retry::{Backoff, RetryPolicy};
use super::{Attention, CameraError, CameraStatus, Frame, FrameSink, UnitSink, elements, shown_url};
use crate::clock::{MonoMillis, mono_now};
use crate::config::CameraConfig;

/// Longest wait for one unit before stop and stall are looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The first unit may take this long, milliseconds.
const CONNECT_MS: u32 = 15_000;
/// Units that give no picture for so long are of no use: a decoder that hangs, keyframes that never arrive whole. Longer
/// than the keyframes of any camera are apart.
const NO_PICTURE_MS: i64 = 90_000;
/// A thread that does not end in this time is left behind; only a driver stuck in the kernel does that.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A running camera. Dropping it asks the camera to stop without waiting; `stop` waits.
pub struct CameraHandle {
    report: Arc<Report>,
    attention: Arc<Attention>,
    stop: Sender<()>,
    ended: Mutex<Receiver<()>>,
    thread: JoinHandle<()>,
}

impl CameraHandle {
    /// What the camera does now; cheap.
    #[must_use]
    pub fn status(&self) -> CameraStatus {
        self.report.status()
    }

    /// What health looks at beside the status; cheap.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        self.report.vitals()
    }

    /// Where to ask that every picture be decoded, where `decode` is adaptive.
    #[must_use]
    pub fn attention(&self) -> &Arc<Attention> {
        &self.attention
    }

    /// Hears of every change of state, reason, coding, size, decoder, time source or reconnects. The counters in the
    /// received value are zero: take them from [`CameraHandle::status`].
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<CameraStatus> {
        self.report.subscribe()
    }

    /// Stops the camera and waits for its threads, at most 5 seconds. Blocking: not for a tokio task.
    pub fn stop(self) {
        // Fails only when the thread is over already.
        let _ = self.stop.send(());
        let ended = self.ended.into_inner().unwrap_or_else(PoisonError::into_inner);
        if matches!(ended.recv_timeout(STOP_LIMIT), Err(RecvTimeoutError::Timeout)) {
            tracing::error!(camera = %self.report.camera(), "the camera thread does not end and is left behind");
        } else if self.thread.join().is_err() {
            tracing::error!(camera = %self.report.camera(), "the camera thread panicked");
        }
    }
}

/// Starts a camera on its own thread. It is tried again forever, whatever happens to it.
///
/// # Errors
/// [`CameraError::Misconfigured`] when it has no RTSP address; [`CameraError::Pipeline`] when GStreamer does not start.
pub fn spawn(camera: CameraConfig, sink: Arc<dyn FrameSink>) -> Result<CameraHandle, CameraError> {
    spawn_with(camera, sink, RetryPolicy::default())
}

/// [`spawn`] with other waits between tries.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_with(
    camera: CameraConfig,
    sink: Arc<dyn FrameSink>,
    retry: RetryPolicy,
) -> Result<CameraHandle, CameraError> {
    start(camera, sink, Outputs { decode: true, units: None }, retry)
}

/// [`spawn`], and every access unit goes to `units` too.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_recorded(
    camera: CameraConfig,
    sink: Arc<dyn FrameSink>,
    units: Option<Arc<dyn UnitSink>>,
) -> Result<CameraHandle, CameraError> {
    start(camera, sink, Outputs { decode: true, units }, RetryPolicy::default())
}

/// Receives a camera only to record it: nothing is decoded.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_recorder(camera: CameraConfig, units: Arc<dyn UnitSink>) -> Result<CameraHandle, CameraError> {
    start(camera, Arc::new(Nobody), Outputs { decode: false, units: Some(units) }, RetryPolicy::default())
}

/// Where what a camera sends goes.
struct Outputs {
    /// To the decoder.
    decode: bool,
    /// To the recorder.
    units: Option<Arc<dyn UnitSink>>,
}

/// Sink of a camera whose pictures nobody looks at.
struct Nobody;

impl FrameSink for Nobody {
    fn frame(&self, _: Frame) {}
}

fn start(
    camera: CameraConfig,
    sink: Arc<dyn FrameSink>,
    outputs: Outputs,
    retry: RetryPolicy,
) -> Result<CameraHandle, CameraError> {
    elements::init()?;
    check(&camera)?;
    let report = Arc::new(Report::new(camera.id.clone()));
    let (stop, stopped) = mpsc::channel();
    let (ending, ended) = mpsc::channel::<()>();
    let attention = Arc::new(Attention::default());
    let (looks, number) = (Arc::clone(&attention), Arc::new(AtomicU64::new(0)));
    let in_turn_until = Arc::new(AtomicI64::new(i64::MIN));
    let shared = Shared { report: Arc::clone(&report), sink, attention: looks, in_turn_until, number };
    let mut life = Supervisor { camera, shared, outputs, stopped, good_since: None };
    let name = format!("cam-{}", report.camera());
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        // Dropped at the very end, also by a panic: that is what `stop` waits for.
        let _ending = ending;
        life.run(Backoff::new(retry));
    });
    let thread = thread.map_err(|e| CameraError::Pipeline(format!("no thread for a camera: {e}")))?;
    Ok(CameraHandle { report, attention, stop, ended: Mutex::new(ended), thread })
}

/// What can be known to be wrong before the first try.
fn check(camera: &CameraConfig) -> Result<(), CameraError> {
    let wrong = |what: String| CameraError::Misconfigured(format!("camera {}: {what}", camera.id));
    let known_scheme = ["rtsp://", "rtsps://"].iter().any(|s| camera.url.starts_with(s));
    if !known_scheme {
        return Err(wrong(format!("{} is not an rtsp:// or rtsps:// address", shown_url(&camera.url))));
    }
    Ok(())
}

struct Supervisor {
    camera: CameraConfig,
    shared: Shared,
    outputs: Outputs,
    stopped: Receiver<()>,
    /// First unit of this life.
    good_since: Option<MonoMillis>,
}

impl Supervisor {
    /// Try, say what happened, wait, again; until stopped.
    fn run(&mut self, mut backoff: Backoff) {
        let report = Arc::clone(&self.shared.report);
        loop {
            self.good_since = None;
            let Err(error) = self.run_once() else { break };
            report.failed(&error);
            let wait = backoff.delay(&error, self.good_for(), rand::random());
            let retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(camera = %report.camera(), cause = error.cause(), %error, retry_ms, "camera lost");
            if !matches!(self.stopped.recv_timeout(wait), Err(RecvTimeoutError::Timeout)) {
                break;
            }
            report.reconnecting(error.cause());
        }
        report.stopped();
        tracing::info!(camera = %report.camera(), "camera stopped");
    }

    /// One life: connect, receive, decode. `Ok` only when stopped.
    fn run_once(&mut self) -> Result<(), CameraError> {
        // Read each time: files may come, and change, while the others are watched.
        let password = self.camera.password.resolve().map_err(|e| self.misconfigured(&e))?;
        if let Some(file) = &self.camera.ca_file {
            let unreadable = |e| self.misconfigured(&format!("cannot read `ca_file` {}: {e}", file.display()));
            std::fs::File::open(file).map_err(unreadable)?;
        }
        let mut ingest = Ingest::open(&self.camera, password.as_ref())?;
        let mut pump = self.outputs.decode.then(|| Pump::new(&self.camera, self.shared.clone()));
        let mut last = mono_now();
        let (mut pictures, mut pictured) = (self.shared.report.pictures(), last);
        while matches!(self.stopped.try_recv(), Err(TryRecvError::Empty)) {
            match ingest.pull(LOOK_EVERY)? {
                Some(received) => {
                    last = mono_now();
                    self.good_since.get_or_insert(last);
                    self.shared.report.received(&received.unit);
                    self.shared.report.clock_offset(received.clock_offset_ms);
                    if let Some(units) = &self.outputs.units {
                        units.unit(&received.unit, received.discontinuity);
                    }
                    match &mut pump {
                        Some(pump) => pump.feed(&received)?,
                        None => {
                            self.shared.report.recorded_only();
                            continue;
                        }
                    }
                    let now_pictures = self.shared.report.pictures();
                    if now_pictures != pictures {
                        (pictures, pictured) = (now_pictures, last);
                    } else if last.since(pictured) >= NO_PICTURE_MS.max(i64::from(self.camera.stall_timeout_ms)) {
                        let (url, ms) = (shown_url(&self.camera.url), last.since(pictured));
                        return Err(CameraError::Stalled { url, ms: u32::try_from(ms).unwrap_or(u32::MAX) });
                    }
                }
                None => {
                    if let Some(pump) = &mut pump {
                        pump.turn()?;
                    }
                    // Connecting takes longer than a picture: DESCRIBE, SETUP, PLAY, and then the next keyframe.
                    let limit = match self.good_since {
                        Some(_) => self.camera.stall_timeout_ms,
                        None => self.camera.stall_timeout_ms.max(CONNECT_MS),
                    };
                    if mono_now().since(last) >= i64::from(limit) {
                        return Err(ingest.silence(limit));
                    }
                }
            }
        }
        Ok(())
    }

    fn misconfigured(&self, what: &str) -> CameraError {
        CameraError::Misconfigured(format!("camera {}: {what}", self.camera.id))
    }

    fn good_for(&self) -> Duration {
        let ms = self.good_since.map_or(0, |since| mono_now().since(since));
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }
}

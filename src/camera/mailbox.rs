//! Where decoders leave frames for an analysis worker: one slot a camera, the newest wins. One mailbox a worker, with
//! the cameras that worker serves.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{CameraId, Frame, FrameSink};

/// One slot per camera; overwritten frames are counted in `gatewatch_frames_dropped_total{reason="overwritten"}`.
pub struct Mailbox {
    cameras: Vec<CameraId>,
    overwritten: Vec<metrics::Counter>,
    inner: Mutex<Inner>,
    filled: Condvar,
    taken: Condvar,
}

struct Inner {
    slots: Vec<Option<Frame>>,
    /// Slot looked at first by the next `take`: a busy camera cannot starve the others.
    next: usize,
    overwritten: u64,
    closed: bool,
}

impl Mailbox {
    /// An empty mailbox for these cameras.
    #[must_use]
    pub fn new(cameras: &[CameraId]) -> Self {
        let counter = |c: &CameraId| metrics::counter!("gatewatch_frames_dropped_total", "camera" => c.0.clone(), "reason" => "overwritten");
        Self {
            cameras: cameras.to_vec(),
            overwritten: cameras.iter().map(counter).collect(),
            inner: Mutex::new(Inner { slots: vec![None; cameras.len()], next: 0, overwritten: 0, closed: false }),
            filled: Condvar::new(),
            taken: Condvar::new(),
        }
    }

    /// Leaves a frame, replacing one not taken yet. Frames of cameras not served here and frames after `close` are
    /// dropped with a debug log: that is a wiring fault or shutdown, not load.
    pub fn put(&self, frame: Frame) {
        let Some(i) = self.cameras.iter().position(|c| *c == frame.camera) else {
            tracing::debug!(camera = %frame.camera, "frame for a mailbox that does not serve this camera");
            return;
        };
        let replaced = {
            let mut inner = self.lock();
            if inner.closed {
                return;
            }
            let replaced = inner.slots[i].replace(frame);
            inner.overwritten += u64::from(replaced.is_some());
            replaced
        };
        self.filled.notify_one();
        if replaced.is_some() {
            self.overwritten[i].increment(1);
        }
    }

    /// Leaves a frame after the one before it was taken, waiting for that up to `limit`. `false` when that was in vain:
    /// then it replaces it.
    pub fn put_in_turn(&self, frame: Frame, limit: Duration) -> bool {
        let Some(i) = self.cameras.iter().position(|c| *c == frame.camera) else { return true };
        let full = |inner: &mut Inner| !inner.closed && inner.slots[i].is_some();
        let waited = self.taken.wait_timeout_while(self.lock(), limit, full).unwrap_or_else(PoisonError::into_inner);
        let in_time = !waited.1.timed_out();
        drop(waited);
        self.put(frame);
        in_time
    }

    /// The next frame, waiting up to `timeout`; `None` when none came or the mailbox is closed.
    pub fn take(&self, timeout: Duration) -> Option<Frame> {
        let waiting = |inner: &mut Inner| !inner.closed && inner.slots.iter().all(Option::is_none);
        let (mut inner, _) =
            self.filled.wait_timeout_while(self.lock(), timeout, waiting).unwrap_or_else(PoisonError::into_inner);
        let frame = inner.pop();
        drop(inner);
        self.taken.notify_all();
        frame
    }

    /// Ends all waits; nothing goes in or out any more.
    pub fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.slots.fill(None);
        drop(inner);
        self.filled.notify_all();
        self.taken.notify_all();
    }

    /// True after `close`.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Frames replaced before anybody took them.
    #[must_use]
    pub fn overwritten(&self) -> u64 {
        self.lock().overwritten
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FrameSink for Mailbox {
    fn frame(&self, frame: Frame) {
        self.put(frame);
    }

    fn frame_in_turn(&self, frame: Frame, limit: Duration) -> bool {
        self.put_in_turn(frame, limit)
    }
}

impl Inner {
    fn pop(&mut self) -> Option<Frame> {
        let n = self.slots.len();
        let i = (0..n).map(|k| (self.next + k) % n).find(|&i| self.slots[i].is_some())?;
        self.next = (i + 1) % n;
        self.slots[i].take()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::camera::OwnedI420;
    use crate::clock::FrameTime;

    const NO_WAIT: Duration = Duration::ZERO;
    const LONG: Duration = Duration::from_secs(20);

    fn id(name: &str) -> CameraId {
        CameraId(name.into())
    }

    fn frame(camera: &str, number: u64) -> Frame {
        let time = FrameTime::arrived(0);
        let planes = Arc::new(OwnedI420::filled(2, 2, 0, 0, 0));
        Frame { number, ..Frame::made(id(camera), time, (2, 2), planes) }
    }

    #[test]
    fn the_newest_wins_and_the_rest_is_counted() {
        let mailbox = Mailbox::new(&[id("a")]);
        for n in 0..5 {
            mailbox.put(frame("a", n));
        }
        assert_eq!(mailbox.take(NO_WAIT).unwrap().number, 4);
        assert_eq!(mailbox.overwritten(), 4);
        assert!(mailbox.take(NO_WAIT).is_none());
    }

    #[test]
    fn frames_in_turn_wait_for_each_other() {
        let mailbox = Arc::new(Mailbox::new(&[id("a")]));
        let camera = std::thread::spawn({
            let mailbox = Arc::clone(&mailbox);
            move || (0..50).all(|n| mailbox.put_in_turn(frame("a", n), LONG))
        });
        let taken: Vec<u64> = (0..50).map(|_| mailbox.take(LONG).unwrap().number).collect();
        assert_eq!(taken, (0..50).collect::<Vec<u64>>());
        assert!(camera.join().unwrap());
        assert_eq!(mailbox.overwritten(), 0);
        mailbox.put(frame("a", 50));
        assert!(!mailbox.put_in_turn(frame("a", 51), NO_WAIT), "nobody takes it");
        assert_eq!(mailbox.take(NO_WAIT).unwrap().number, 51);
    }

    #[test]
    fn a_busy_camera_does_not_starve_the_others() {
        let mailbox = Mailbox::new(&[id("a"), id("b"), id("c")]);
        let mut seen = Vec::new();
        mailbox.put(frame("c", 0));
        mailbox.put(frame("b", 0));
        for n in 0..3 {
            mailbox.put(frame("a", n));
            seen.push(mailbox.take(NO_WAIT).unwrap().camera.0);
        }
        assert_eq!(seen, ["a", "b", "c"]);
    }

    #[test]
    fn put_and_close_wake_the_worker() {
        let mailbox = Arc::new(Mailbox::new(&[id("a")]));
        let worker = {
            let mailbox = Arc::clone(&mailbox);
            std::thread::spawn(move || (mailbox.take(LONG).map(|f| f.number), mailbox.take(LONG).is_none()))
        };
        mailbox.put(frame("a", 7));
        while mailbox.lock().slots[0].is_some() {
            std::thread::yield_now();
        }
        let start = crate::clock::mono_now();
        mailbox.close();
        assert_eq!(worker.join().unwrap(), (Some(7), true));
        assert!(crate::clock::mono_now().since(start) < 20_000);
        mailbox.put(frame("a", 8));
        assert!(mailbox.take(NO_WAIT).is_none());
    }
}

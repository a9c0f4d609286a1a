//! The way from a camera's ingest to its writer: bounded in units and bytes. When it is full, the newest are dropped up
//! to the next keyframe, counted, and the writer hears how many: a slow disk costs footage, never the camera.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use crate::camera::{AccessUnit, UnitSink};

/// Units that wait at most.
const MAX_UNITS: usize = 2048;
/// Bytes that wait at most: 16 s of 8 Mbit/s.
pub(super) const MAX_BYTES: usize = 16 << 20;

/// What the writer gets.
pub(super) struct Queued {
    pub unit: AccessUnit,
    /// Units dropped in front of this one because the queue was full.
    pub dropped: u64,
}

/// Ingest's end.
pub struct Tap {
    sender: SyncSender<Queued>,
    waiting_bytes: Arc<AtomicUsize>,
    waiting_units: Arc<AtomicUsize>,
    skipping: AtomicBool,
    /// Since the last unit that was taken.
    missing: AtomicU64,
    dropped: Arc<AtomicU64>,
    max_bytes: usize,
}

/// The writer's end.
pub(super) struct Outlet {
    receiver: Receiver<Queued>,
    waiting_bytes: Arc<AtomicUsize>,
    waiting_units: Arc<AtomicUsize>,
}

/// A queue, and the count of what it dropped since it was made.
pub(super) fn queue(max_bytes: usize) -> (Tap, Outlet, Arc<AtomicU64>) {
    let (sender, receiver) = sync_channel(MAX_UNITS);
    let (waiting_bytes, waiting_units) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let dropped = Arc::<AtomicU64>::default();
    let tap = Tap {
        sender,
        waiting_bytes: Arc::clone(&waiting_bytes),
        waiting_units: Arc::clone(&waiting_units),
        skipping: AtomicBool::new(false),
        missing: AtomicU64::new(0),
        dropped: Arc::clone(&dropped),
        max_bytes,
    };
    (tap, Outlet { receiver, waiting_bytes, waiting_units }, dropped)
}

impl Tap {
    fn drop_unit(&self) {
        self.missing.fetch_add(1, Ordering::Relaxed);
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes that wait for the writer.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Units that wait for the writer.
    #[must_use]
    pub fn waiting_units(&self) -> usize {
        self.waiting_units.load(Ordering::Relaxed)
    }
}

impl UnitSink for Tap {
    /// Pictures that lack others in front are recorded all the same: what came is worth having.
    fn unit(&self, unit: &AccessUnit, _discontinuity: bool) {
        let waiting = self.waiting_bytes();
        if self.skipping.load(Ordering::Relaxed) && !(unit.keyframe && waiting <= self.max_bytes / 2) {
            return self.drop_unit();
        }
        let length = unit.data.len();
        let fits = waiting + length <= self.max_bytes;
        let missing = self.missing.load(Ordering::Relaxed);
        let queued = Queued { unit: unit.clone(), dropped: missing };
        self.waiting_bytes.fetch_add(length, Ordering::Relaxed);
        self.waiting_units.fetch_add(1, Ordering::Relaxed);
        if fits && self.sender.try_send(queued).is_ok() {
            self.skipping.store(false, Ordering::Relaxed);
            self.missing.fetch_sub(missing, Ordering::Relaxed);
        } else {
            self.waiting_bytes.fetch_sub(length, Ordering::Relaxed);
            self.waiting_units.fetch_sub(1, Ordering::Relaxed);
            self.skipping.store(true, Ordering::Relaxed);
            self.drop_unit();
        }
    }
}

impl Outlet {
    /// The next unit.
    pub fn take(&self, timeout: Duration) -> Result<Queued, RecvTimeoutError> {
        let queued = self.receiver.recv_timeout(timeout)?;
        self.waiting_bytes.fetch_sub(queued.unit.data.len(), Ordering::Relaxed);
        self.waiting_units.fetch_sub(1, Ordering::Relaxed);
        Ok(queued)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::Codec;
    use crate::clock::FrameTime;

    fn unit(keyframe: bool, bytes: usize) -> AccessUnit {
        let time = FrameTime::arrived(0);
        AccessUnit { data: vec![1; bytes].into(), codec: Codec::H264, keyframe, pts_ns: 0, time }
    }

    #[test]
    fn a_full_queue_drops_the_newest_up_to_a_keyframe_and_says_how_many() {
        let (tap, outlet, dropped) = queue(1000);
        tap.unit(&unit(true, 400), false);
        tap.unit(&unit(false, 400), false);
        for keyframe in [false, false, true, false] {
            tap.unit(&unit(keyframe, 400), false);
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 4);
        let take = || outlet.take(Duration::ZERO).map(|q| (q.unit.keyframe, q.dropped));
        assert_eq!(take(), Ok((true, 0)));
        tap.unit(&unit(false, 10), false);
        tap.unit(&unit(true, 10), false);
        assert_eq!((take(), take()), (Ok((false, 0)), Ok((true, 5))));
        assert_eq!(tap.waiting_bytes(), 0);
        assert!(take().is_err());
    }
}

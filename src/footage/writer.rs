//! The writer of one camera, on a thread of its own: units in, segment files out, and word of each segment to the index.
//! It alone waits for the disk. A write error ends the segment and is tried anew at the next keyframe.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::boxes::TICKS_PER_S;
use super::fragment::{Draft, ticks};
use super::params::ParameterSets;
use super::queue::{Outlet, Queued};
use super::segment::SegmentFile;
use super::state::RecordState;
use crate::camera::{AccessUnit, CameraId};
use crate::clock::{TimeSource, UtcMillis};
use crate::store::{GapReason, SegmentClosed, SegmentOpened};

/// A fragment is written when it spans this much, ticks: what a clip of this moment lacks at its end.
const FRAGMENT_TICKS: i64 = TICKS_PER_S as i64;
/// Or holds this much.
const MAX_FRAGMENT_BYTES: usize = 8 << 20;
/// A picture this much later than the one before is a gap, ticks; more where pictures are further apart than that.
const GAP_TICKS: i64 = 3 * TICKS_PER_S as i64 / 2;
/// So many pictures missing are a gap.
const GAP_STEPS: i64 = 3;
/// No unit for so long ends the segment.
const IDLE: Duration = Duration::from_secs(5);
/// Units thrown away after a write error, so that a broken disk is not hammered: the next keyframe this much later.
const RETRY_TICKS: i64 = TICKS_PER_S as i64;

/// Where the index hears of segments.
pub(super) enum Told {
    /// A file was begun.
    Opened(SegmentOpened),
    /// It is complete and durable.
    Closed(SegmentClosed),
    /// It never held a picture and is gone.
    Discarded(String),
}

/// One camera's writer.
pub(super) struct Writer {
    // injected
    pub camera: CameraId,
    pub root: PathBuf,
    pub segment_ticks: i64,
    pub state: Arc<RecordState>,
    // own state
    pub work: Work,
    // in
    pub units: Outlet,
    // out
    pub index: tokio::sync::mpsc::UnboundedSender<Told>,
}

/// What the writer is in the middle of.
#[derive(Default)]
pub(super) struct Work {
    open: Option<SegmentFile>,
    draft: Draft,
    source: Option<TimeSource>,
    session: Option<u64>,
    last_ticks: Option<i64>,
    /// After a write error: nothing is begun earlier, ticks.
    not_before: Option<i64>,
    /// End of what was recorded before, and why it ended.
    ended: Option<UtcMillis>,
    reason: Option<GapReason>,
    dropped: u64,
    /// Pictures of a fragment that could not be written.
    unwritten: u64,
}

impl Work {
    /// The first of a run; footage of an earlier one ends at `ended`.
    pub fn after(ended: Option<UtcMillis>) -> Self {
        Self { ended, ..Self::default() }
    }
}

impl Writer {
    /// Writes until ingest is gone.
    pub fn run(mut self) {
        loop {
            match self.units.take(IDLE) {
                Ok(queued) => self.take(&queued),
                Err(RecvTimeoutError::Timeout) => self.end_session(GapReason::NoPictures),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.end_session(GapReason::Restart);
    }

    fn take(&mut self, queued: &Queued) {
        let unit = &queued.unit;
        if queued.dropped > 0 {
            self.work.dropped += queued.dropped;
            self.state.heard_of_dropped(queued.dropped);
            self.end_session(GapReason::DiskBehind);
        }
        if !self.state.may_record() {
            self.state.lost("no_space", 1);
            return self.end_session(GapReason::NoSpace);
        }
        let at = ticks(unit.pts_ns);
        let gap = GAP_TICKS.max(GAP_STEPS * self.work.open.as_ref().map_or(0, SegmentFile::step_ticks));
        if self.work.last_ticks.is_some_and(|last| (at - last).abs() > gap) {
            self.end_session(GapReason::NoPictures);
        }
        if let Err(error) = self.put(unit, at) {
            self.failed(&error, at);
        }
    }

    fn put(&mut self, unit: &AccessUnit, at: i64) -> std::io::Result<()> {
        if unit.keyframe {
            self.at_keyframe(unit, at)?;
        } else if self.work.open.is_none() {
            // In front of a keyframe nothing can be decoded.
            self.unwritten();
            return Ok(());
        } else if self.fragment_is_full(at) {
            self.flush()?;
        }
        if self.work.open.is_some() {
            self.work.draft.push(unit);
            self.work.last_ticks = Some(self.work.last_ticks.map_or(at, |last| last.max(at)));
        }
        Ok(())
    }

    /// A new fragment, and a new segment where one is due.
    fn at_keyframe(&mut self, unit: &AccessUnit, at: i64) -> std::io::Result<()> {
        self.flush()?;
        let Some(sets) = ParameterSets::of(&unit.data, unit.codec) else {
            if self.work.open.is_none() {
                self.unwritten();
            }
            return Ok(());
        };
        let fits =
            self.work.open.as_ref().is_some_and(|open| open.sets == sets && !open.is_over(at, self.segment_ticks));
        if fits && self.work.source == Some(unit.time.source) {
            return Ok(());
        }
        self.close_segment();
        if self.work.not_before.is_some_and(|t| at < t) {
            self.unwritten();
            return Ok(());
        }
        self.open_segment(unit, sets)
    }

    fn unwritten(&self) {
        let failed = self.work.reason == Some(GapReason::WriteError);
        self.state.lost(if failed { "write_error" } else { "waiting_for_keyframe" }, 1);
    }

    fn open_segment(&mut self, unit: &AccessUnit, sets: ParameterSets) -> std::io::Result<()> {
        let at = unit.time.utc;
        // Within a connection nothing is missing between segments, even where its source of time changes; between two
        // something is, even where the times, which are not exact, leave no room for it.
        let gap_ms = match self.work.session {
            Some(_) => Some(0),
            None => self.work.ended.map(|end| at.since(end).max(1)),
        };
        let session = *self.work.session.get_or_insert_with(rand::random);
        let file = SegmentFile::create(&self.root, &self.camera, at, session, sets)?;
        let reason = self.work.reason.take().unwrap_or(GapReason::Restart);
        let opened = SegmentOpened {
            camera: self.camera.clone(),
            path: file.relative.clone(),
            codec: unit.codec,
            width: file.sets.width,
            height: file.sets.height,
            first: at,
            time: unit.time,
            gap_before_ms: gap_ms,
            gap_reason: gap_ms.filter(|ms| *ms > 0).map(|_| reason),
            dropped: std::mem::take(&mut self.work.dropped),
        };
        self.work.source = Some(unit.time.source);
        self.work.not_before = None;
        self.state.recording(at);
        let _ = self.index.send(Told::Opened(opened));
        self.work.open = Some(file);
        Ok(())
    }

    /// Only in front of a picture that is shown after all before it: the times of two fragments never interleave.
    fn fragment_is_full(&self, at: i64) -> bool {
        let Some((first, last)) = self.work.draft.span() else { return false };
        at > last && (at - first >= FRAGMENT_TICKS || self.work.draft.payload_bytes() >= MAX_FRAGMENT_BYTES)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let draft = std::mem::take(&mut self.work.draft);
        self.work.unwritten = draft.pictures();
        match &mut self.work.open {
            Some(open) if !draft.is_empty() => {
                open.append(draft)?;
                self.work.unwritten = 0;
                self.state.wrote(open.bytes, open.last);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn close_segment(&mut self) {
        let Some(open) = self.work.open.take() else { return };
        self.work.draft = Draft::default();
        self.state.ended();
        let (Some(first), Some(last)) = (open.first, open.last) else {
            open.discard();
            let _ = self.index.send(Told::Discarded(open.relative));
            return;
        };
        let end = last.plus_ms(open.step_ms());
        self.work.ended = Some(end);
        let (path, bytes, pictures) = (open.relative.clone(), open.bytes, open.pictures);
        match open.close() {
            Ok(sha256) => {
                let _ = self.index.send(Told::Closed(SegmentClosed { path, first, end, bytes, pictures, sha256 }));
            }
            // The row stays open; the next start reads the file and says what is whole.
            Err(error) => self.state.failed(&format!("{path} cannot be completed: {error}")),
        }
    }

    /// Nothing more belongs to what was before.
    fn end_session(&mut self, reason: GapReason) {
        if let Err(error) = self.flush() {
            self.state.failed(&error.to_string());
            self.state.lost("write_error", self.work.unwritten);
        }
        self.close_segment();
        if self.work.last_ticks.take().is_some() {
            self.work.reason = Some(reason);
        }
        (self.work.session, self.work.not_before) = (None, None);
    }

    fn failed(&mut self, error: &std::io::Error, at: i64) {
        tracing::warn!(camera = %self.camera, %error, "footage cannot be written; tried again at a later keyframe");
        self.state.failed(&error.to_string());
        // What was being written, and the picture that it was written for.
        self.state.lost("write_error", self.work.unwritten + 1);
        self.close_segment();
        self.work.reason = Some(GapReason::WriteError);
        (self.work.session, self.work.not_before) = (None, Some(at + RETRY_TICKS));
    }
}

//! Drawn pictures into a running stream: each stands for a moment on the stream's clock and is pushed when that moment
//! has come, so that a receiver that reads the sender reports finds the true time. Does not draw and does not code.

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;

use super::stage::{Stage, Ticker, lock};
use crate::camera::OwnedI420;
use crate::clock::{UtcMillis, mono_now, utc_now};

/// Longest sleep before a stream that does not run yet is looked at again.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Draws pictures. A trait because tests serve plain pictures.
pub trait PictureSource: Send {
    /// Size in pixels, both even.
    fn size(&self) -> (u32, u32);

    /// The packed I420 picture (BT.709 matrix above 576 lines, BT.601 up to there) of `seconds` since the server's
    /// start and of `utc`, the wall clock of that moment. `size` differs from [`PictureSource::size`] after
    /// [`ChangeResolution`](super::Misbehaviour::ChangeResolution): scale to it.
    fn picture(&mut self, seconds: f64, utc: UtcMillis, size: (u32, u32)) -> Vec<u8>;
}

/// A source that outlives connections, and the last picture it drew.
pub(super) struct Drawing {
    source: Box<dyn PictureSource>,
    last: Option<((u32, u32), Vec<u8>)>,
}

impl Drawing {
    pub fn new(source: Box<dyn PictureSource>) -> Self {
        Self { source, last: None }
    }

    pub fn size(&self) -> (u32, u32) {
        self.source.size()
    }
}

/// A drawn camera's stream while it is open.
pub(super) struct DrawnFeed {
    pub stage: Arc<Stage>,
    pub drawing: Arc<Mutex<Drawing>>,
    pub fps: u32,
    pub to: AppSrc,
    /// Size of the pictures in the stream, and whether the last one was the first of it.
    pub shown: Cell<(Option<(u32, u32)>, bool)>,
    /// While it is slow: the part of a second that had its picture.
    pub slot: Cell<i64>,
}

impl DrawnFeed {
    /// Says before the stream starts what will come: the format must go in front of everything else.
    pub fn announce(&self) {
        let size = self.stage.faults().size.unwrap_or_else(|| lock(&self.drawing).size());
        self.to.set_caps(Some(&raw_caps(size, self.fps)));
    }

    /// Until stopped, or until the stream takes no more.
    pub fn run(&self, ticker: &Ticker) {
        let period = gst::ClockTime::SECOND / u64::from(self.fps.max(1));
        let Some(mut next) = running_time(&self.to, ticker) else { return };
        loop {
            // Asked anew each time: drawing took a while.
            let Some(mut now) = running_time(&self.to, ticker) else { return };
            while now < next {
                if !ticker.wait(Duration::from_nanos((next - now).nseconds())) {
                    return;
                }
                let Some(time) = running_time(&self.to, ticker) else { return };
                now = time;
            }
            let late = (now - next).nseconds() / period.nseconds();
            if late > 0 {
                self.stage.count_skipped(late);
                next += period * late;
            }
            if !self.push(next, now - next, period) || !ticker.wait(Duration::ZERO) {
                return;
            }
            next += period;
        }
    }

    /// Draws and pushes the picture of `pts`, a moment that lies `ago` back; `false` when the stream is over.
    fn push(&self, pts: gst::ClockTime, ago: gst::ClockTime, period: gst::ClockTime) -> bool {
        let (utc, mono) = (utc_now(), mono_now());
        let back = i64::try_from(ago.mseconds()).unwrap_or(0);
        let faults = self.stage.faults();
        if faults.silent(mono) {
            return true;
        }
        #[allow(clippy::cast_precision_loss, reason = "milliseconds of a server's life fit 53 bits")]
        let seconds = (mono.since(self.stage.start) - back) as f64 / 1000.0;
        if let Some(fps) = faults.slowed(mono) {
            #[allow(clippy::cast_possible_truncation, reason = "seconds of a server's life")]
            let slot = (seconds * f64::from(fps)).floor() as i64;
            if self.slot.replace(slot) == slot {
                return true;
            }
        }
        let (size, picture) = {
            let mut drawing = lock(&self.drawing);
            let size = faults.size.unwrap_or_else(|| drawing.size());
            let kept = drawing.last.take().filter(|(last, _)| *last == size && faults.frozen(mono));
            let picture = kept.map_or_else(|| drawing.source.picture(seconds, utc.plus_ms(-back), size), |(_, p)| p);
            drawing.last = Some((size, picture.clone()));
            (size, picture)
        };
        self.push_picture(picture, size, &faults, pts, period)
    }

    fn push_picture(
        &self,
        mut picture: Vec<u8>,
        size: (u32, u32),
        faults: &super::misbehave::Faults,
        pts: gst::ClockTime,
        period: gst::ClockTime,
    ) -> bool {
        let need = OwnedI420::bytes(size.0 as usize, size.1 as usize);
        if picture.len() != need {
            let (camera, got) = (&self.stage.name, picture.len());
            tracing::error!(%camera, got, need, "the picture source drew another size than asked; the stream ends");
            return false;
        }
        faults.spoil(&mut picture, size, mono_now());
        // The first picture of a stream is a keyframe anyhow, and nothing may come before its caps.
        if self.stage.want_keyframe.swap(false, Ordering::Relaxed)
            && self.to.static_pad("src").is_some_and(|p| p.has_current_caps())
        {
            self.to.send_event(gstreamer_video::DownstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
        // A full input lets go of what waits longest: that must not be the first picture of a size, nor its format.
        let (before, first) = self.shown.get();
        let changes = before != Some(size);
        if (changes || first) && self.to.property::<u64>("current-level-buffers") > 0 {
            self.stage.count_skipped(1);
            return true;
        }
        self.shown.set((Some(size), changes));
        let mut buffer = gst::Buffer::from_mut_slice(picture);
        if let Some(b) = buffer.get_mut() {
            b.set_pts(pts);
            b.set_duration(period);
        }
        let sample = gst::Sample::builder().buffer(&buffer).caps(&raw_caps(size, self.fps)).build();
        let taken = self.to.push_sample(&sample).is_ok();
        if taken {
            self.stage.count_picture();
        }
        taken
    }
}

/// Time on the stream's clock since it started, waiting until it runs; `None` when the feed is to end.
pub(super) fn running_time(to: &AppSrc, ticker: &Ticker) -> Option<gst::ClockTime> {
    loop {
        // Before it plays its clock may be there, and the time at which it started not yet: that gave the time since the
        // machine's start, and the sink waited as long with the first picture.
        if to.current_state() == gst::State::Playing
            && let Some(time) = to.current_running_time()
        {
            return Some(time);
        }
        if !ticker.wait(LOOK_EVERY) {
            return None;
        }
    }
}

fn raw_caps(size: (u32, u32), fps: u32) -> gst::Caps {
    let whole = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", whole(size.0))
        .field("height", whole(size.1))
        .field("framerate", gst::Fraction::new(whole(fps), 1))
        .field("interlace-mode", "progressive")
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .build()
}

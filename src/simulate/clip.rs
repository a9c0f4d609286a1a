//! A person's own recording as a camera: its coded units as they are, paced by their own times, from the start again
//! when it ends. Does not decode and does not code.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};

use super::SimError;
use super::feed::running_time;
use super::stage::{Stage, Ticker};
use crate::camera::{Codec, nal};
use crate::clock::mono_now;

/// Units read ahead.
const MAX_WAITING_UNITS: u32 = 16;
/// Longest wait for one unit before the reader is asked whether it failed.
const LOOK_EVERY: gst::ClockTime = gst::ClockTime::from_mseconds(50);
/// Longest wait for the first unit of a file.
const OPEN_LOOKS: u32 = 200;
/// Units without times: 25 a second.
const DEFAULT_STEP: gst::ClockTime = gst::ClockTime::from_mseconds(40);
/// More units than this waiting in the stream: nobody takes them, so they are left out until the next keyframe.
const MAX_QUEUED_UNITS: u64 = 50;
/// Further behind than this, the clip goes on from now instead of catching up.
const MAX_LATE: gst::ClockTime = gst::ClockTime::from_seconds(1);

/// A recording that can be served.
#[derive(Debug, Clone)]
pub(super) struct Clip {
    pub path: PathBuf,
    pub codec: Codec,
}

impl Clip {
    /// Looks into the file.
    ///
    /// # Errors
    /// [`SimError::Misconfigured`]: no such file, no video, or a coding other than H.264 and H.265.
    pub fn open(path: &Path) -> Result<Self, SimError> {
        std::fs::File::open(path)
            .map_err(|e| SimError::Misconfigured(format!("cannot read the video {}: {e}", path.display())))?;
        let reader = Reader::open(path).map_err(SimError::Pipeline)?;
        for _ in 0..OPEN_LOOKS {
            match reader.pull() {
                Pulled::Unit { caps, .. } => {
                    let codec = codec_of(&caps).ok_or_else(|| SimError::Pipeline("units without a coding".into()))?;
                    return Ok(Self { path: path.to_owned(), codec });
                }
                Pulled::Nothing => {}
                Pulled::End => return Err(unusable(path, "it holds no pictures")),
                Pulled::Failed(why) => return Err(unusable(path, &why)),
            }
        }
        Err(unusable(path, "no picture could be read within 10 s"))
    }
}

fn unusable(path: &Path, why: &str) -> SimError {
    SimError::Misconfigured(format!(
        "cannot serve {}: {why}; give an MP4, MKV or TS file with H.264 or H.265 video",
        path.display()
    ))
}

fn codec_of(caps: &gst::CapsRef) -> Option<Codec> {
    match caps.structure(0)?.name().as_str() {
        "video/x-h264" => Some(Codec::H264),
        "video/x-h265" => Some(Codec::H265),
        _ => None,
    }
}

enum Pulled {
    Unit { buffer: gst::Buffer, caps: gst::Caps },
    Nothing,
    End,
    Failed(String),
}

/// One pass through the file.
struct Reader {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    units: AppSink,
}

impl Reader {
    fn open(path: &Path) -> Result<Self, String> {
        let make = |name: &str| {
            gst::ElementFactory::make(name).build().map_err(|_| format!("the GStreamer element {name} is missing"))
        };
        let text = |e: gst::glib::BoolError| e.to_string();
        let pipeline = gst::Pipeline::new();
        let (source, parse) = (make("filesrc")?, make("parsebin")?);
        source.set_property("location", path);
        let units = AppSink::builder()
            .sync(false)
            .async_(false)
            .max_buffers(MAX_WAITING_UNITS)
            .enable_last_sample(false)
            .caps(&unit_caps())
            .build();
        pipeline.add_many([&source, &parse, units.upcast_ref()]).map_err(text)?;
        source.link(&parse).map_err(text)?;
        link_video(&parse, &units);
        let bus = pipeline.bus().ok_or("no bus")?;
        let reader = Self { pipeline, bus, units };
        reader.pipeline.set_state(gst::State::Playing).map_err(|e| e.to_string())?;
        Ok(reader)
    }

    fn pull(&self) -> Pulled {
        if let Some(sample) = self.units.try_pull_sample(LOOK_EVERY) {
            return match (sample.buffer_owned(), sample.caps_owned()) {
                (Some(buffer), Some(caps)) => Pulled::Unit { buffer, caps },
                _ => Pulled::Nothing,
            };
        }
        if let Some(message) = self.bus.pop_filtered(&[gst::MessageType::Error]) {
            return match message.view() {
                gst::MessageView::Error(e) => Pulled::Failed(e.error().message().to_owned()),
                _ => Pulled::Nothing,
            };
        }
        if self.units.is_eos() { Pulled::End } else { Pulled::Nothing }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn unit_caps() -> gst::Caps {
    [Codec::H264, Codec::H265].into_iter().map(unit_structure).collect()
}

fn unit_structure(codec: Codec) -> gst::Structure {
    let name = match codec {
        Codec::H264 => "video/x-h264",
        Codec::H265 => "video/x-h265",
    };
    gst::Structure::builder(name).field("stream-format", "byte-stream").field("alignment", "au").build()
}

/// The first video that we serve goes to `units`; everything else ends in sinks of its own, so that it holds nothing up.
fn link_video(parse: &gst::Element, units: &AppSink) {
    let sink = units.downgrade();
    parse.connect_pad_added(move |parse, pad| {
        if let Some(sink) = sink.upgrade()
            && let Err(why) = link_pad(parse, pad, &sink)
        {
            gst::element_error!(parse, gst::StreamError::WrongType, ("{}", why));
        }
    });
}

/// Called with the first data of something that we do not serve; by then everything in the file is linked.
fn refuse_without_video(pad: &gst::Pad, units: &gst::glib::WeakRef<AppSink>) {
    let served = units.upgrade().and_then(|u| u.static_pad("sink")).is_none_or(|p| p.is_linked());
    if let Some(parse) = pad.parent_element().filter(|_| !served) {
        let all = parse.src_pads().into_iter().filter_map(|p| p.current_caps());
        let found: Vec<String> = all.filter_map(|c| c.structure(0).map(|s| s.name().to_string())).collect();
        let why = format!("no H.264 or H.265 video in it, only {}", found.join(", "));
        gst::element_error!(parse, gst::StreamError::WrongType, ("{}", why));
    }
}

fn link_pad(parse: &gst::Element, pad: &gst::Pad, units: &AppSink) -> Result<(), String> {
    let pipeline = parse.parent().and_then(|p| p.downcast::<gst::Pipeline>().ok()).ok_or("no pipeline")?;
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let free = units.static_pad("sink").is_some_and(|p| !p.is_linked());
    let name = match codec_of(&caps).filter(|_| free) {
        Some(Codec::H264) => "h264parse",
        Some(Codec::H265) => "h265parse",
        None => "fakesink",
    };
    let head = gst::ElementFactory::make(name).build().map_err(|e| e.to_string())?;
    pipeline.add(&head).map_err(|e| e.to_string())?;
    if name == "fakesink" {
        head.set_property("sync", false);
        head.set_property("async", false);
        let units = units.downgrade();
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, _| {
            refuse_without_video(pad, &units);
            gst::PadProbeReturn::Remove
        });
    } else {
        head.set_property("config-interval", -1i32);
        head.link(units).map_err(|e| e.to_string())?;
    }
    head.sync_state_with_parent().map_err(|e| e.to_string())?;
    let target = head.static_pad("sink").ok_or("element without a pad")?;
    pad.link(&target).map(|_| ()).map_err(|e| e.to_string())
}

/// A recording's stream while it is open.
pub(super) struct ClipFeed {
    pub stage: Arc<Stage>,
    pub clip: Clip,
    pub to: AppSrc,
}

/// Where one pass of the file lies on the stream's clock.
struct Pass {
    /// Stream time of the file's time 0, may be negative; set by the first unit.
    offset_ns: Option<i64>,
    /// Decoding time of the last unit, on the stream's clock.
    last_ns: i64,
    step_ns: i64,
}

impl ClipFeed {
    /// Says before the stream starts what will come: the format must go in front of everything else.
    pub fn announce(&self) {
        self.to.set_caps(Some(&self.caps()));
    }

    /// The same in every pass: other ones would restart the stream's parser at each loop.
    fn caps(&self) -> gst::Caps {
        gst::Caps::builder_full().structure(unit_structure(self.clip.codec)).build()
    }

    /// Until stopped, or until the stream takes no more.
    pub fn run(&self, ticker: &Ticker) {
        let Some(now) = running_time(&self.to, ticker) else { return };
        let step_ns = nanos(DEFAULT_STEP);
        let mut pass = Pass { offset_ns: None, last_ns: nanos(now) - step_ns, step_ns };
        let mut run = Run { waiting_for_key: true, key: None };
        loop {
            let before = self.stage.pictures.load(std::sync::atomic::Ordering::Relaxed);
            pass.offset_ns = None;
            match self.once(ticker, &mut pass, &mut run) {
                Ok(true) => {}
                Ok(false) => return,
                Err(why) => {
                    tracing::error!(camera = %self.stage.name, path = %self.clip.path.display(), why, "the video cannot be read");
                    // The file may be half written or gone: not a loop at full speed.
                    if before == self.stage.pictures.load(std::sync::atomic::Ordering::Relaxed)
                        && !ticker.wait(Duration::from_secs(1))
                    {
                        return;
                    }
                }
            }
        }
    }

    /// One pass; `false` when the feed is to end.
    fn once(&self, ticker: &Ticker, pass: &mut Pass, run: &mut Run) -> Result<bool, String> {
        let reader = Reader::open(&self.clip.path)?;
        let caps = self.caps();
        loop {
            match reader.pull() {
                Pulled::Unit { buffer, .. } => {
                    if !self.unit(ticker, pass, run, buffer, &caps) {
                        return Ok(false);
                    }
                }
                Pulled::Nothing if !ticker.wait(Duration::ZERO) => return Ok(false),
                Pulled::Nothing => {}
                Pulled::End => return Ok(true),
                Pulled::Failed(why) => return Err(why),
            }
        }
    }

    /// Waits for the unit's moment and pushes it; `false` when the feed is to end.
    fn unit(&self, ticker: &Ticker, pass: &mut Pass, run: &mut Run, buffer: gst::Buffer, caps: &gst::Caps) -> bool {
        let Some(mut now) = running_time(&self.to, ticker) else { return false };
        let times = pass.place(&buffer, nanos(now));
        while nanos(now) < times.dts {
            let wait = u64::try_from(times.dts - nanos(now)).unwrap_or(0);
            if !ticker.wait(Duration::from_nanos(wait)) {
                return false;
            }
            let Some(time) = running_time(&self.to, ticker) else { return false };
            now = time;
        }
        let Some(mut unit) = run.choose(&self.stage, buffer, self.to.property::<u64>("current-level-buffers")) else {
            return ticker.wait(Duration::ZERO);
        };
        unit = start_at_delimiter(unit, self.clip.codec);
        let unit_times = unit.make_mut();
        // The stream goes on over the loop: a break would make the payloader send the parameter sets as a picture.
        unit_times.unset_flags(gst::BufferFlags::DISCONT | gst::BufferFlags::HEADER);
        unit_times.set_pts(clock_time(times.pts));
        unit_times.set_dts(clock_time(times.dts));
        let sample = gst::Sample::builder().buffer(&unit).caps(caps).build();
        let taken = self.to.push_sample(&sample).is_ok();
        if taken {
            self.stage.count_picture();
        }
        taken && ticker.wait(Duration::ZERO)
    }
}

/// The file's parser puts the parameter sets of MP4 in front of the first unit's delimiter, and once more behind it;
/// the payloader would take the first ones for a picture.
fn start_at_delimiter(unit: gst::Buffer, codec: Codec) -> gst::Buffer {
    let at = unit.map_readable().ok().and_then(|map| nal::late_delimiter(&map, codec));
    at.and_then(|at| unit.copy_region(gst::BufferCopyFlags::all(), at..).ok()).unwrap_or(unit)
}

/// What is sent in place of the next unit.
struct Run {
    /// Units were left out: nothing can be decoded until the next keyframe.
    waiting_for_key: bool,
    /// The last keyframe, shown again and again while frozen.
    key: Option<gst::Buffer>,
}

impl Run {
    fn choose(&mut self, stage: &Stage, unit: gst::Buffer, queued: u64) -> Option<gst::Buffer> {
        let now = mono_now();
        let faults = stage.faults();
        if faults.silent(now) || queued > MAX_QUEUED_UNITS {
            self.waiting_for_key = true;
            return None;
        }
        if faults.frozen(now) && self.key.is_some() {
            self.waiting_for_key = true;
            return self.key.clone();
        }
        if !unit.flags().contains(gst::BufferFlags::DELTA_UNIT) {
            self.waiting_for_key = false;
            self.key = Some(unit.clone());
        }
        (!self.waiting_for_key).then_some(unit)
    }
}

struct Times {
    pts: i64,
    dts: i64,
}

impl Pass {
    /// Times of a unit on the stream's clock: a pass begins where the one before ended, and never in the past.
    fn place(&mut self, unit: &gst::BufferRef, now_ns: i64) -> Times {
        let own = unit.dts_or_pts().map(nanos);
        let offset = *self.offset_ns.get_or_insert_with(|| self.last_ns + self.step_ns - own.unwrap_or(0));
        let mut dts = own.map_or(self.last_ns + self.step_ns, |t| t + offset).max(self.last_ns);
        if now_ns - dts > nanos(MAX_LATE) {
            self.offset_ns = Some(offset + (now_ns - dts));
            dts = now_ns;
        }
        if dts > self.last_ns {
            self.step_ns = (dts - self.last_ns).min(nanos(gst::ClockTime::SECOND));
        }
        self.last_ns = dts;
        let pts = unit.pts().zip(self.offset_ns).map_or(dts, |(t, offset)| nanos(t) + offset);
        Times { pts, dts }
    }
}

fn nanos(time: gst::ClockTime) -> i64 {
    i64::try_from(time.nseconds()).unwrap_or(i64::MAX)
}

fn clock_time(nanos: i64) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn unit(pts_ms: u64, dts_ms: u64) -> gst::Buffer {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::from_slice([0u8; 4]);
        let b = buffer.get_mut().unwrap();
        b.set_pts(gst::ClockTime::from_mseconds(pts_ms));
        b.set_dts(gst::ClockTime::from_mseconds(dts_ms));
        buffer
    }

    fn pass() -> Pass {
        Pass { offset_ns: None, last_ns: 960 * MS, step_ns: 40 * MS }
    }

    #[test]
    fn reordered_units_keep_their_order_over_the_loop() {
        let mut pass = pass();
        let file = [(80, 0), (200, 40), (120, 80), (160, 120)];
        let mut seen = Vec::new();
        for _ in 0..2 {
            pass.offset_ns = None;
            for (pts, dts) in file {
                let t = pass.place(&unit(pts, dts), 0);
                seen.push((t.pts / MS, t.dts / MS));
            }
        }
        let first = [(1080, 1000), (1200, 1040), (1120, 1080), (1160, 1120)];
        let second = first.map(|(p, d)| (p + 160, d + 160));
        assert_eq!(seen, [first, second].concat());
    }

    #[test]
    fn a_feed_that_was_held_up_goes_on_from_now() {
        let mut pass = pass();
        assert_eq!(pass.place(&unit(0, 0), 1000 * MS).dts, 1000 * MS);
        assert_eq!(pass.place(&unit(40, 40), 1500 * MS).dts, 1040 * MS);
        let late = pass.place(&unit(160, 80), 5000 * MS);
        assert_eq!((late.pts / MS, late.dts / MS), (5080, 5000));
        assert_eq!(pass.place(&unit(120, 120), 5000 * MS).dts, 5040 * MS);
    }

    #[test]
    fn what_cannot_be_served_is_said_with_its_name() {
        gst::init().unwrap();
        let error = Clip::open(Path::new("/nowhere/gate.mp4")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/gate.mp4"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.mp4");
        std::fs::write(&path, "only words; ".repeat(500)).unwrap();
        let error = Clip::open(&path).unwrap_err();
        assert!(matches!(&error, SimError::Misconfigured(m) if m.contains("notes.mp4")), "{error}");
    }
}

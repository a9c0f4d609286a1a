//! RTSP in, access units out: one pipeline, built, started and stopped on the thread that owns it. Does not decode, does
//! not retry; how long to wait for a picture is the supervisor's decision.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gio::TlsFileDatabase;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;

use super::elements::{self, RawUnit, broken, make};
use super::stamp::{ArrivalClock, CaptureClock};
use super::{AccessUnit, CameraError, Codec, shown_url};
use super::{nal, stamp};
use crate::clock::{MonoMillis, mono_now, utc_now};
use crate::config::{CameraConfig, Secret, Transport};

/// Jitter buffer: TCP keeps order, so this only bounds how long a gap is waited for.
const TCP_LATENCY_MS: u32 = 100;
const UDP_LATENCY_MS: u32 = 200;
/// Units kept when the owner is late; some seconds of video.
const MAX_WAITING_UNITS: u32 = 128;

/// A unit, and whether units are missing in front of it.
#[derive(Clone)]
pub(super) struct Received {
    pub unit: AccessUnit,
    pub discontinuity: bool,
    /// Camera clock minus box clock at this very picture, where the camera's clock is known.
    pub clock_offset_ms: Option<i64>,
}

/// What the streaming threads tell the owner, without locks.
#[derive(Default)]
struct Flags {
    /// The camera's certificate failed the check.
    untrusted: AtomicBool,
    /// The camera answered and its video is linked.
    linked: AtomicBool,
    /// The camera described at least one stream.
    described: AtomicBool,
    /// One of them is video.
    video: AtomicBool,
}

/// One connection to a camera.
pub(super) struct Ingest {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    sink: AppSink,
    flags: Arc<Flags>,
    shown: String,
    password: Option<Secret>,
    clock: CaptureClock,
    arrivals: ArrivalClock,
    /// The zero of `arrivals`.
    opened: MonoMillis,
    heads: Heads,
}

impl Ingest {
    /// Builds the pipeline and starts connecting; whether that works shows in `pull`.
    pub fn open(camera: &CameraConfig, password: Option<&Secret>) -> Result<Self, CameraError> {
        elements::init()?;
        let pipeline = gst::Pipeline::new();
        let sink = elements::unit_sink(MAX_WAITING_UNITS, true);
        let source = source(camera, password)?;
        pipeline.add_many([&source, sink.upcast_ref()]).map_err(|e| broken("ingest", e))?;
        let flags = Arc::new(Flags::default());
        watch_certificate(&source, &flags);
        choose_video(&source, &flags);
        link_video(&source, &pipeline, &sink, &flags);
        let bus = pipeline.bus().ok_or_else(|| broken("ingest", "no bus"))?;
        let this = Self {
            pipeline,
            bus,
            sink,
            flags,
            shown: shown_url(&camera.url),
            password: password.cloned(),
            clock: CaptureClock::default(),
            arrivals: ArrivalClock::default(),
            opened: mono_now(),
            heads: Heads::default(),
        };
        if this.pipeline.set_state(gst::State::Playing).is_err() {
            this.check()?;
            return Err(CameraError::Unreachable(this.shown.clone()));
        }
        Ok(this)
    }

    /// The next unit, waiting up to `timeout`; `None` when there is none yet.
    ///
    /// # Errors
    /// When this connection is over; drop it.
    pub fn pull(&mut self, timeout: Duration) -> Result<Option<Received>, CameraError> {
        self.check()?;
        let limit = gst::ClockTime::from_mseconds(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        match self.sink.try_pull_sample(limit) {
            Some(sample) => Ok(self.received(&sample)),
            None => {
                self.check()?;
                if self.sink.is_eos() { Err(CameraError::Ended(self.shown.clone())) } else { Ok(None) }
            }
        }
    }

    /// What it means that nothing came for `ms` milliseconds.
    pub fn silence(&self, ms: u32) -> CameraError {
        if self.without_video() {
            CameraError::Unsupported(self.no_video())
        } else if self.flags.described.load(Ordering::Relaxed) {
            CameraError::Stalled { url: self.shown.clone(), ms }
        } else {
            CameraError::Unreachable(format!("{} (no answer for {ms} ms)", self.shown))
        }
    }

    fn without_video(&self) -> bool {
        self.flags.described.load(Ordering::Relaxed) && !self.flags.video.load(Ordering::Relaxed)
    }

    fn no_video(&self) -> String {
        format!("no video at {}; check the path of the address", self.shown)
    }

    fn connected(&self) -> bool {
        self.flags.linked.load(Ordering::Relaxed)
    }

    fn received(&mut self, sample: &gst::Sample) -> Option<Received> {
        let ntp = ntp_of(sample);
        let raw = elements::read_unit(sample)?;
        let head = self.heads.complete(&raw, ntp)?;
        let running = sample.segment()?.downcast_ref::<gst::ClockTime>()?.to_running_time(head.pts).unwrap_or(head.pts);
        let now = mono_now();
        let mono = self.place(running, raw.keyframe, now);
        let box_utc = utc_now().plus_ms(mono.since(now));
        let time = self.clock.stamp(head.ntp, mono, box_utc);
        let pts_ns = running.nseconds();
        let unit = AccessUnit { data: raw.data, codec: raw.codec, keyframe: raw.keyframe, pts_ns, time };
        let clock_offset_ms = head.ntp.map(|ntp| stamp::offset_ms(ntp, box_utc));
        Some(Received { unit, discontinuity: head.discontinuity, clock_offset_ms })
    }

    /// Arrivals are whole milliseconds, which the least delay bears well; distances stay exact.
    fn place(&mut self, running: gst::ClockTime, keyframe: bool, now: MonoMillis) -> MonoMillis {
        // A step of the camera's time back to before the first picture is a time below zero.
        let running_ns = running.nseconds().cast_signed();
        let placed_ns = self.arrivals.place(running_ns, keyframe, now.since(self.opened) * 1_000_000);
        MonoMillis(self.opened.0 + (placed_ns + 500_000).div_euclid(1_000_000))
    }

    fn check(&self) -> Result<(), CameraError> {
        match self.bus.pop_filtered(&[gst::MessageType::Error, gst::MessageType::Eos]) {
            None => Ok(()),
            Some(message) => Err(match message.view() {
                gst::MessageView::Error(e) => self.classify(&e.error(), e.debug().as_deref()),
                _ => CameraError::Ended(self.shown.clone()),
            }),
        }
    }

    /// From GStreamer's error to what the supervisor does next.
    fn classify(&self, error: &gst::glib::Error, debug: Option<&str>) -> CameraError {
        let shown = self.shown.clone();
        if self.flags.untrusted.load(Ordering::Relaxed) {
            return CameraError::NotTrusted(shown);
        }
        if self.without_video() {
            return CameraError::Unsupported(self.no_video());
        }
        match error.kind::<gst::ResourceError>() {
            Some(gst::ResourceError::NotAuthorized) => return CameraError::Refused(shown),
            Some(_) if self.connected() => return CameraError::Ended(shown),
            Some(gst::ResourceError::Settings) => return CameraError::Unsupported(self.clean(error.message())),
            Some(_) => {
                let said = debug.and_then(answer).unwrap_or_else(|| error.message().to_owned());
                return CameraError::Unreachable(format!("{shown} ({})", self.clean(&said)));
            }
            None => {}
        }
        match error.kind::<gst::StreamError>() {
            Some(gst::StreamError::WrongType | gst::StreamError::CodecNotFound | gst::StreamError::TypeNotFound) => {
                CameraError::Unsupported(self.clean(error.message()))
            }
            Some(_) if self.connected() => CameraError::Ended(shown),
            _ => CameraError::Pipeline(self.clean(error.message())),
        }
    }

    /// Nothing a library says may carry the password further.
    fn clean(&self, text: &str) -> String {
        match &self.password {
            Some(secret) => text.replace(secret.expose(), "***"),
            None => text.to_owned(),
        }
    }
}

/// The camera's own answer, e.g. `it answers: Service Unavailable (503)`, in what GStreamer notes for developers.
fn answer(debug: &str) -> Option<String> {
    let last = debug.lines().last()?.trim();
    let code = last.rsplit_once('(')?.1.strip_suffix(')')?;
    let is_code = code.len() == 3 && code.starts_with(['3', '4', '5']) && code.bytes().all(|b| b.is_ascii_digit());
    is_code.then(|| format!("it answers: {last}"))
}

impl Drop for Ingest {
    fn drop(&mut self) {
        // Runs on the owning thread; interrupts a connection attempt under way.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// What a unit says about itself, completed by the one before: some senders mark parameter sets as a picture of their
/// own, and then the picture that they belong to comes without a time.
#[derive(Default)]
struct Heads {
    /// Of parameter sets that came alone.
    pending: Option<Head>,
    /// Units are missing in front of one that was no picture.
    missing: bool,
}

#[derive(Clone, Copy)]
struct Head {
    pts: gst::ClockTime,
    ntp: Option<u64>,
    discontinuity: bool,
}

impl Heads {
    /// `None` for what is no picture: parameter sets, which the parser repeats in front of each keyframe, and a unit
    /// without any time, which is the rest of a picture that the sender tore apart.
    fn complete(&mut self, raw: &RawUnit, ntp: Option<u64>) -> Option<Head> {
        let before = self.pending.take();
        self.missing |= raw.discontinuity;
        let pts = raw.pts.or(before.map(|b| b.pts))?;
        let head = Head { pts, ntp: ntp.or(before.and_then(|b| b.ntp)), discontinuity: self.missing };
        if nal::has_picture(&raw.data, raw.codec) {
            self.missing = false;
            Some(head)
        } else {
            self.pending = Some(head);
            None
        }
    }
}

/// Camera clock of the picture, nanoseconds since 1900; there is one only after the first RTCP sender report.
fn ntp_of(sample: &gst::Sample) -> Option<u64> {
    sample
        .buffer()?
        .iter_meta::<gst::ReferenceTimestampMeta>()
        .find(|meta| meta.reference().structure(0).is_some_and(|s| s.name() == "timestamp/x-ntp"))
        .map(|meta| meta.timestamp().nseconds())
}

fn source(camera: &CameraConfig, password: Option<&Secret>) -> Result<gst::Element, CameraError> {
    let source = make("rtspsrc")?;
    let (protocol, latency) = match camera.transport {
        Transport::Tcp => ("tcp", TCP_LATENCY_MS),
        Transport::Udp => ("udp", UDP_LATENCY_MS),
    };
    source.set_property("location", &camera.url);
    source.set_property_from_str("protocols", protocol);
    source.set_property("latency", latency);
    source.set_property("add-reference-timestamp-meta", true);
    // Times as the camera counts them. Every other mode bends them by the arrival of each packet, and where pictures
    // come reordered, so much that they change places; `ArrivalClock` finds the box's time for them.
    source.set_property_from_str("buffer-mode", "none");
    source.set_property("do-retransmission", false);
    source.set_property("teardown-timeout", 200_000_000u64);
    // Longer than the supervisor's patience, which names the cause better.
    source.set_property("tcp-timeout", u64::from(camera.stall_timeout_ms) * 1000 + 5_000_000);
    source.set_property("user-agent", concat!("gatewatch/", env!("CARGO_PKG_VERSION")));
    if let Some(user) = &camera.username {
        source.set_property("user-id", user);
    }
    if let Some(secret) = password {
        source.set_property("user-pw", secret.expose());
    }
    if let Some(file) = &camera.ca_file {
        let anchors = TlsFileDatabase::new(file).map_err(|e| {
            CameraError::Misconfigured(format!("`ca_file` {} is not a PEM file of certificates: {e}", file.display()))
        })?;
        source.set_property("tls-database", &anchors);
    }
    Ok(source)
}

/// The signal comes only for certificates that failed the check; they are never accepted.
fn watch_certificate(source: &gst::Element, flags: &Arc<Flags>) {
    let flags = Arc::clone(flags);
    source.connect("accept-certificate", false, move |_| {
        flags.untrusted.store(true, Ordering::Relaxed);
        Some(false.to_value())
    });
}

/// Only the first video stream is set up: audio would cost bandwidth for nothing.
fn choose_video(source: &gst::Element, flags: &Arc<Flags>) {
    let flags = Arc::clone(flags);
    source.connect("select-stream", false, move |args| {
        let caps = args.get(2).and_then(|v| v.get::<gst::Caps>().ok());
        let media = caps.as_ref().and_then(|c| c.structure(0)).and_then(|s| s.get::<&str>("media").ok());
        flags.described.store(true, Ordering::Relaxed);
        let first_video = media == Some("video") && !flags.video.swap(true, Ordering::Relaxed);
        Some(first_video.to_value())
    });
}

fn link_video(source: &gst::Element, pipeline: &gst::Pipeline, sink: &AppSink, flags: &Arc<Flags>) {
    let (pipeline, sink, flags) = (pipeline.downgrade(), sink.downgrade(), Arc::clone(flags));
    source.connect_pad_added(move |source, pad| {
        let (Some(pipeline), Some(sink)) = (pipeline.upgrade(), sink.upgrade()) else { return };
        match link_pad(pad, &pipeline, &sink) {
            Ok(true) => flags.linked.store(true, Ordering::Relaxed),
            Ok(false) => {}
            Err(e) => gst::element_error!(source, gst::StreamError::WrongType, ("{}", e)),
        }
    });
}

/// Links depayloader and parser for the video pad; `false` for other pads.
fn link_pad(pad: &gst::Pad, pipeline: &gst::Pipeline, sink: &AppSink) -> Result<bool, CameraError> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let Some(s) = caps.structure(0) else { return Ok(false) };
    if s.get::<&str>("media").ok() != Some("video") {
        return Ok(false);
    }
    let (codec, depay) = match s.get::<&str>("encoding-name").unwrap_or("unknown") {
        "H264" => (Codec::H264, "rtph264depay"),
        "H265" => (Codec::H265, "rtph265depay"),
        other => {
            let message = format!("the camera sends {other}; set it to H.264 or H.265");
            return Err(CameraError::Unsupported(message));
        }
    };
    let (depay, parser) = (make(depay)?, elements::parser(codec)?);
    pipeline.add_many([&depay, &parser]).map_err(|e| broken("ingest", e))?;
    gst::Element::link_many([&depay, &parser, sink.upcast_ref()]).map_err(|e| broken("ingest", e))?;
    for element in [&parser, &depay] {
        element.sync_state_with_parent().map_err(|e| broken("ingest", e))?;
    }
    let target = depay.static_pad("sink").ok_or_else(|| broken("ingest", "depayloader without a pad"))?;
    pad.link(&target).map_err(|e| broken("ingest", e))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> gst::ClockTime = gst::ClockTime::from_mseconds;

    fn raw(nal: u8, pts: Option<u64>, discontinuity: bool) -> RawUnit {
        let data = bytes::Bytes::from(vec![0, 0, 0, 1, nal, 1, 2, 3]);
        RawUnit { data, codec: Codec::H264, keyframe: nal == 0x65, discontinuity, pts: pts.map(MS) }
    }

    #[test]
    fn a_keyframe_takes_the_time_of_its_parameter_sets() {
        let mut heads = Heads::default();
        assert!(heads.complete(&raw(0x67, Some(120), true), Some(7)).is_none());
        let head = heads.complete(&raw(0x65, None, false), None).unwrap();
        assert_eq!((head.pts, head.ntp, head.discontinuity), (MS(120), Some(7), true));
        let head = heads.complete(&raw(0x41, Some(240), false), None).unwrap();
        assert_eq!((head.pts, head.ntp, head.discontinuity), (MS(240), None, false));
    }

    #[test]
    fn what_is_missing_before_a_unit_without_time_is_missing_before_the_next_picture() {
        let mut heads = Heads::default();
        assert!(heads.complete(&raw(0x41, None, true), None).is_none());
        assert!(heads.complete(&raw(0x41, Some(40), false), None).unwrap().discontinuity);
        assert!(!heads.complete(&raw(0x41, Some(80), false), None).unwrap().discontinuity);
    }

    #[test]
    fn a_unit_without_any_time_is_no_picture() {
        let mut heads = Heads::default();
        assert!(heads.complete(&raw(0x65, None, false), None).is_none());
        heads.complete(&raw(0x65, Some(80), false), None).unwrap();
        assert!(heads.complete(&raw(0x65, None, false), None).is_none());
    }
}

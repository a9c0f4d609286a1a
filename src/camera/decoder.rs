//! One decoder: access units in, frames out, each with the very time its unit had. Built and stopped by the thread that
//! owns it; frames may be pulled on another thread through [`Output`]. Which units it sees is the gate's business.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSrc};
use gstreamer_video as gst_video;

use super::elements::{self, broken, make};
use super::picture::{Picture, read_picture};
use super::{AccessUnit, CameraError, CameraId, Codec, Frame, Idled};
use crate::clock::FrameTime;

/// Units waiting in front of the decoder before we call it too slow.
const MAX_WAITING_UNITS: u64 = 8;
/// Pictures waiting behind it, 3 MB each at 1080p; then it stops, and units pile up.
const MAX_WAITING_PICTURES: u32 = 1;
/// Units remembered; more than any decoder reorders or delays.
const MAX_PENDING_UNITS: usize = 128;
/// A picture that is no keyframe lies at most so far behind one that was sent before it.
const REORDERED_NS: i64 = 10_000_000_000;
/// From the latest picture before a step back of the camera's time to the first one after it, for the decoder.
const AFTER_STEP_NS: i64 = 1_000_000;

/// Where the units come from, and so what counts more: that no picture waits, or that none is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feed {
    /// Pictures come out once those shown before them are in; a stream that reorders may lose one or two while the
    /// decoder learns so.
    Live,
    /// Every picture comes out, after as many others as the standard allows.
    Recording,
}

/// What `push` did with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    Taken,
    /// The decoder is behind; the unit was not taken.
    Full,
}

/// A running decoder pipeline.
pub(super) struct Decoder {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    source: AppSrc,
    output: Output,
    codec: Codec,
    element: String,
}

impl Decoder {
    /// Builds and starts the decoder element `element` for `codec`.
    pub fn start(
        codec: Codec,
        element: &str,
        feed: Feed,
        camera: CameraId,
        number: Arc<AtomicU64>,
    ) -> Result<Self, CameraError> {
        let pipeline = gst::Pipeline::new();
        let source = AppSrc::builder()
            .caps(&elements::unit_caps(codec))
            .format(gst::Format::Time)
            .is_live(false)
            .max_buffers(MAX_WAITING_UNITS)
            .build();
        let libav = element.starts_with("avdec_");
        let sink = picture_sink(!libav)?;
        let mut chain = vec![source.clone().upcast::<gst::Element>()];
        if !libav {
            // Hardware wants profile, level and size in its caps; libavcodec reads them itself.
            chain.push(elements::parser(codec)?);
        }
        let decoder = make(element)?;
        tune(&decoder, feed);
        let convert = make("videoconvert")?;
        chain.extend([decoder, convert, sink.clone().upcast()]);
        pipeline.add_many(&chain).map_err(|e| broken("decoder", e))?;
        gst::Element::link_many(&chain).map_err(|e| broken("decoder", e))?;
        let bus = pipeline.bus().ok_or_else(|| broken("decoder", "no bus"))?;
        let output = Output { sink, given: Arc::default(), camera, number, lost: Arc::default() };
        let this = Self { pipeline, bus, source, output, codec, element: element.to_owned() };
        this.pipeline.set_state(gst::State::Playing).map_err(|_| broken(element, "does not start"))?;
        Ok(this)
    }

    /// Coding it was built for.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Name of the decoder element.
    pub fn element(&self) -> &str {
        &self.element
    }

    /// Where frames come out.
    pub fn output(&self) -> Output {
        self.output.clone()
    }

    /// True when `push` will take a unit.
    pub fn has_room(&self) -> bool {
        self.source.current_level_buffers() < MAX_WAITING_UNITS
    }

    /// True when all units were taken in.
    pub fn is_drained(&self) -> bool {
        self.source.current_level_buffers() == 0
    }

    /// Gives a unit to the decoder, with what idling did to it; never waits.
    pub fn push(&self, unit: &AccessUnit, idled: Idled) -> Result<Pushed, CameraError> {
        if !self.has_room() {
            return Ok(Pushed::Full);
        }
        let pts_ns = self.output.remember(unit, idled);
        let mut buffer = gst::Buffer::from_slice(unit.data.clone());
        if let Some(b) = buffer.get_mut() {
            b.set_pts(gst::ClockTime::from_nseconds(pts_ns));
            if !unit.keyframe {
                b.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
        }
        match self.source.push_buffer(buffer) {
            Ok(_) => Ok(Pushed::Taken),
            Err(e) => Err(self.failure().unwrap_or_else(|| broken(&self.element, e))),
        }
    }

    /// No more units: what the decoder still holds comes out, then `Pulled::Ended`.
    pub fn finish(&self) {
        if let Err(e) = self.source.end_of_stream() {
            tracing::debug!(error = %e, "decoder was not running at the end of the file");
        }
    }

    /// Broken units since the last call.
    ///
    /// # Errors
    /// When the decoder as a whole failed and must be built anew.
    pub fn check(&self) -> Result<u64, CameraError> {
        let mut broken_units = 0;
        while let Some(message) = self.bus.pop_filtered(&[gst::MessageType::Error, gst::MessageType::Warning]) {
            match message.view() {
                gst::MessageView::Error(e) => return Err(broken(&self.element, e.error().message())),
                _ => broken_units += 1,
            }
        }
        Ok(broken_units)
    }

    fn failure(&self) -> Option<CameraError> {
        self.check().err()
    }
}

impl Decoder {
    /// Nothing comes out any more, and who waits for it need not.
    pub fn stop(&self) {
        // Fails only for elements that cannot stop, and then there is nothing left to do.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What came out.
pub(super) enum Pulled {
    Frame(Frame),
    /// A buffer that is not a picture we can read.
    Unreadable,
    /// Nothing within the time limit.
    Nothing,
    /// Stopped, or everything is out.
    Ended,
}

/// The decoder's end for whoever pulls the frames.
#[derive(Clone)]
pub(super) struct Output {
    sink: AppSink,
    given: Arc<Mutex<Given>>,
    camera: CameraId,
    number: Arc<AtomicU64>,
    /// Units that became no picture, since the last look.
    lost: Arc<AtomicU64>,
}

/// What the decoder was given and has not given back.
#[derive(Default)]
struct Given {
    units: VecDeque<GivenUnit>,
    /// Added to the camera's own times: it grows where they step back.
    shift_ns: i64,
    /// The latest time given to the decoder.
    latest_ns: i64,
}

#[derive(Clone, Copy)]
struct GivenUnit {
    pts_ns: u64,
    time: FrameTime,
    idled: Idled,
    keyframe: bool,
}

impl Given {
    /// A time for the decoder that never steps back: from then on it would give all pictures the time before the step,
    /// and none could be told from another. Reordered pictures lie a little behind others, keyframes never.
    fn place(&mut self, unit: &AccessUnit) -> u64 {
        let reordered_ns = if unit.keyframe { 0 } else { REORDERED_NS };
        // A step back to before the first picture is a time below zero.
        let own_ns = unit.pts_ns.cast_signed();
        let mut pts_ns = own_ns.wrapping_add(self.shift_ns);
        if pts_ns < 0 || pts_ns < self.latest_ns - reordered_ns {
            pts_ns = self.latest_ns + AFTER_STEP_NS;
            self.shift_ns = pts_ns.wrapping_sub(own_ns);
        }
        self.latest_ns = self.latest_ns.max(pts_ns);
        pts_ns.cast_unsigned()
    }
}

impl Output {
    /// The next frame, waiting up to `timeout`.
    pub fn pull(&self, timeout: Duration) -> Pulled {
        let limit = gst::ClockTime::from_nseconds(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        match self.sink.try_pull_sample(limit) {
            Some(sample) => match read_picture(&sample).and_then(|p| self.frame(p)) {
                Some(frame) => Pulled::Frame(frame),
                None => Pulled::Unreadable,
            },
            None if self.sink.is_eos() => Pulled::Ended,
            None => Pulled::Nothing,
        }
    }

    /// The time that a unit has in the decoder.
    fn remember(&self, unit: &AccessUnit, idled: Idled) -> u64 {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let pts_ns = given.place(unit);
        if given.units.len() == MAX_PENDING_UNITS {
            given.units.pop_front();
        }
        given.units.push_back(GivenUnit { pts_ns, time: unit.time, idled, keyframe: unit.keyframe });
        pts_ns
    }

    /// How many units became no picture since the last call: broken, or without what they refer to. libavcodec keeps
    /// silent about them.
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    /// The unit with this very pts, the last one should there be several. Pictures come in the order of their pts, so
    /// units before it in both orders will never come; others may still.
    fn recall(&self, pts_ns: u64) -> Option<GivenUnit> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let units = &mut given.units;
        let at = units.iter().rposition(|u| u.pts_ns == pts_ns)?;
        let unit = units.remove(at);
        let (before, mut i) = (units.len(), 0);
        units.retain(|u| {
            i += 1;
            i > at || u.pts_ns > pts_ns
        });
        self.lost.fetch_add((before - units.len()) as u64, Ordering::Relaxed);
        unit
    }

    fn frame(&self, picture: Picture) -> Option<Frame> {
        let GivenUnit { time, idled: Idled { lull, held }, keyframe, .. } = self.recall(picture.pts_ns)?;
        Some(Frame {
            camera: self.camera.clone(),
            number: self.number.fetch_add(1, Ordering::Relaxed),
            time,
            lull,
            width: picture.width,
            height: picture.height,
            layout: picture.layout,
            bt709: picture.bt709,
            full_range: picture.full_range,
            keyframe,
            held,
            planes: picture.planes,
        })
    }
}

/// Sink of I420 or NV12 in system memory. `videoconvert` in front of it passes such pictures through untouched. `any_stride`: a decoder
/// may hand on its own memory, with rows as long as it has them; else it copies each picture.
///
/// Libavcodec may not: what it still refers to, which without B-pictures is every picture, its element would copy all the same, and
/// not into the memory of an earlier one but into new memory of the system.
fn picture_sink(any_stride: bool) -> Result<AppSink, CameraError> {
    let caps = gst_video::VideoCapsBuilder::new()
        .format_list([gst_video::VideoFormat::I420, gst_video::VideoFormat::Nv12])
        .build();
    let sink = AppSink::builder()
        .caps(&caps)
        .sync(false)
        .async_(false)
        .max_buffers(MAX_WAITING_PICTURES)
        .drop(false)
        .enable_last_sample(false)
        .build();
    if any_stride {
        let pad = sink.static_pad("sink").ok_or_else(|| broken("decoder", "appsink without a pad"))?;
        // Without this answer a decoder believes that we cannot read strides.
        pad.add_probe(gst::PadProbeType::QUERY_DOWNSTREAM, |_, info| {
            match info.query_mut().map(gst::QueryRef::view_mut) {
                Some(gst::QueryViewMut::Allocation(query)) => {
                    query.add_allocation_meta::<gst_video::VideoMeta>(None);
                    gst::PadProbeReturn::Handled
                }
                _ => gst::PadProbeReturn::Ok,
            }
        });
    }
    Ok(sink)
}

/// One thread, since frame threads cost memory and latency per camera; broken pictures are withheld, broken units
/// never end the decoder. Cameras that do not say how far they reorder (many do not) would otherwise be held back by as
/// many pictures as their level allows: 13 at 768x432, 1.3 s at 10 pictures a second, 26 s on keyframes alone.
pub(super) fn tune(decoder: &gst::Element, feed: Feed) {
    let compliance = match feed {
        Feed::Live => "normal",
        Feed::Recording => "strict",
    };
    for (name, value) in [
        ("max-threads", "1"),
        ("max-errors", "-1"),
        ("output-corrupt", "false"),
        ("discard-corrupted-frames", "true"),
        ("std-compliance", compliance),
    ] {
        if decoder.has_property(name) {
            decoder.set_property_from_str(name, value);
        }
    }
}

/// Decoder elements for `codec`, best first: the configured one, then hardware by rank, then libavcodec, then the rest
/// by rank. A configured one that is not there (its device may have failed) or decodes another coding is passed over with
/// a warning: a camera that is seen with more load is better than one that is not seen.
///
/// # Errors
/// When the machine has no decoder for this coding.
pub(super) fn candidates(codec: Codec, configured: Option<&str>) -> Result<Vec<String>, CameraError> {
    let caps = elements::unit_caps(codec);
    let first = configured.filter(|name| {
        let usable = find_decoder(name).map(|factory| factory.can_sink_any_caps(&caps));
        match &usable {
            Ok(true) => {}
            Ok(false) => tracing::warn!(decoder = name, ?codec, "the configured decoder does not decode this coding"),
            Err(error) => tracing::warn!(%error, "another decoder is taken"),
        }
        usable == Ok(true)
    });
    let kind = gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_VIDEO;
    let mut found: Vec<_> = gst::ElementFactory::factories_with_type(kind, gst::Rank::MARGINAL)
        .into_iter()
        .filter(|f| f.can_sink_any_caps(&caps))
        .collect();
    found.sort_by_key(|f| (class_order(f), std::cmp::Reverse(f.rank())));
    if found.is_empty() {
        return Err(CameraError::Unsupported(format!("no {codec:?} decoder; install the libav plugin of GStreamer")));
    }
    let found = found.iter().map(|f| f.name().to_string()).filter(|name| Some(name.as_str()) != first);
    Ok(first.map(str::to_owned).into_iter().chain(found).collect())
}

/// Whether this machine has the decoder element `name`.
///
/// # Errors
/// When GStreamer does not start, or has no element of this name.
pub fn look_up_decoder(name: &str) -> Result<(), CameraError> {
    elements::init()?;
    find_decoder(name).map(|_| ())
}

/// Looks up a configured decoder element. GStreamer must be initialised.
///
/// # Errors
/// When GStreamer has no element of this name.
fn find_decoder(name: &str) -> Result<gst::ElementFactory, CameraError> {
    gst::ElementFactory::find(name).ok_or_else(|| {
        CameraError::Misconfigured(format!(
            "`decoder = {name:?}`: GStreamer has no such element here; leave it out, or see `gst-inspect-1.0 | grep dec`"
        ))
    })
}

fn class_order(factory: &gst::ElementFactory) -> u8 {
    if factory.metadata("klass").is_some_and(|k| k.contains("Hardware")) {
        0
    } else if factory.name().starts_with("avdec_") {
        1
    } else {
        2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_decoder_comes_first_and_one_that_does_not_serve_is_passed_over() {
        elements::init().unwrap();
        let automatic = candidates(Codec::H265, None).unwrap();
        for useless in ["nosuchdec", "avdec_h264"] {
            assert_eq!(candidates(Codec::H265, Some(useless)).unwrap(), automatic);
        }
        let last = automatic.last().unwrap();
        let chosen = candidates(Codec::H265, Some(last)).unwrap();
        assert_eq!((&chosen[0], chosen.len()), (last, automatic.len()));
        let error = find_decoder("nosuchdec").unwrap_err();
        assert!(matches!(&error, CameraError::Misconfigured(m) if m.contains("nosuchdec")), "{error}");
    }

    #[test]
    fn times_step_back_for_the_decoder_only_by_reordering() {
        let mut given = Given::default();
        let mut place = |ms: i64, keyframe| {
            let pts_ns = (ms * 1_000_000).cast_unsigned();
            let time = FrameTime::arrived(ms);
            given.place(&AccessUnit { data: bytes::Bytes::new(), codec: Codec::H264, keyframe, pts_ns, time })
                / 1_000_000
        };
        assert_eq!([place(1000, true), place(1080, false), place(1040, false)], [1000, 1080, 1040]);
        assert_eq!(
            [place(900, false), place(1000, true), place(1040, false)],
            [900, 1081, 1121],
            "a step at a keyframe"
        );
        assert_eq!([place(90_000, false), place(50_000, false), place(50_040, false)], [90_081, 90_082, 90_122]);
        assert_eq!([place(-4000, true), place(-3960, false)], [90_123, 90_163], "before the first picture");
        assert_eq!(place(200_000, true), 294_123, "forwards");
    }

    #[test]
    fn without_hardware_libav_comes_first() {
        elements::init().unwrap();
        let names = candidates(Codec::H264, None).unwrap();
        let first_software =
            names.iter().find(|n| find_decoder(n).unwrap().metadata("klass").is_some_and(|k| !k.contains("Hardware")));
        assert_eq!(first_software.map(String::as_str), Some("avdec_h264"));
    }
}

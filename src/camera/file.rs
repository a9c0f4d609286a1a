//! Recorded files as a camera: every frame, as fast as the consumer pulls, the same in every run. For `replay` and tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;

use super::decoder::{Decoder, Feed, Pulled, Pushed, candidates};
use super::elements::{self, RawUnit, broken, make};
use super::{AccessUnit, CameraError, CameraId, Codec, Frame, Idled};
use crate::clock::{FrameTime, MonoMillis, UtcMillis};

/// Longest wait for the next piece before the pipelines are asked whether they failed.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Units read ahead.
const MAX_WAITING_UNITS: u32 = 8;
/// Frame time of a raw stream that does not say its rate: 25 frames a second.
const DEFAULT_STEP_NS: u64 = 40_000_000;

/// Frames of a recorded file (MP4, Matroska, MPEG-TS, raw H.264/H.265), in order of presentation.
pub struct FileSource {
    path: PathBuf,
    camera: CameraId,
    start: UtcMillis,
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    units: AppSink,
    decoder: Option<Decoder>,
    /// Position of the first unit; the file's time starts there.
    first_ns: Option<u64>,
    last_ns: u64,
    input_open: bool,
    over: bool,
    broken_units: u64,
}

impl FileSource {
    /// Opens a file. `start` is the time given to its first picture; `mono` of the frames starts at 0.
    ///
    /// # Errors
    /// [`CameraError::Misconfigured`] when the file cannot be read; [`CameraError::Pipeline`] when a plugin is
    /// missing. Unsupported content shows in the first item.
    pub fn open(path: &Path, camera: CameraId, start: UtcMillis) -> Result<Self, CameraError> {
        elements::init()?;
        std::fs::File::open(path)
            .map_err(|e| CameraError::Misconfigured(format!("cannot read {}: {e}", path.display())))?;
        let pipeline = gst::Pipeline::new();
        let (source, parse) = (make("filesrc")?, make("parsebin")?);
        let units = elements::unit_sink(MAX_WAITING_UNITS, false);
        source.set_property("location", path);
        pipeline.add_many([&source, &parse, units.upcast_ref()]).map_err(|e| broken("file", e))?;
        source.link(&parse).map_err(|e| broken("file", e))?;
        link_video(&parse, &pipeline, &units);
        let bus = pipeline.bus().ok_or_else(|| broken("file", "no bus"))?;
        let this = Self {
            path: path.to_owned(),
            camera,
            start,
            pipeline,
            bus,
            units,
            decoder: None,
            first_ns: None,
            last_ns: 0,
            input_open: true,
            over: false,
            broken_units: 0,
        };
        this.pipeline.set_state(gst::State::Playing).map_err(|_| broken("file", "does not start"))?;
        Ok(this)
    }

    /// Units so far that could not be decoded.
    #[must_use]
    pub fn decode_errors(&self) -> u64 {
        self.broken_units
    }

    fn step(&mut self) -> Result<Option<Frame>, CameraError> {
        loop {
            let reading = self.input_open && self.decoder.as_ref().is_none_or(Decoder::has_room);
            if let Some(decoder) = &self.decoder {
                self.broken_units += decoder.check()?;
                match decoder.output().pull(if reading { Duration::ZERO } else { LOOK_EVERY }) {
                    Pulled::Frame(frame) => return Ok(Some(frame)),
                    Pulled::Unreadable => self.broken_units += 1,
                    Pulled::Nothing => {}
                    Pulled::Ended => return Ok(None),
                }
            }
            if reading && !self.read()? && self.decoder.is_none() {
                return Err(CameraError::Unsupported(format!("{} holds no pictures", self.path.display())));
            }
        }
    }

    /// Moves one unit from the file to the decoder; `false` at the end of the file.
    fn read(&mut self) -> Result<bool, CameraError> {
        self.check()?;
        let limit = gst::ClockTime::from_mseconds(50);
        if let Some(sample) = self.units.try_pull_sample(limit) {
            if let Some(raw) = elements::read_unit(&sample) {
                let unit = self.unit(raw);
                let decoder = match &mut self.decoder {
                    Some(decoder) => decoder,
                    empty => empty.insert(start_decoder(unit.codec, &self.camera)?),
                };
                if decoder.push(&unit, Idled::default())? == Pushed::Full {
                    return Err(broken("file", "the decoder took no unit though it had room"));
                }
            }
        } else if self.units.is_eos() {
            self.input_open = false;
            if let Some(decoder) = &self.decoder {
                decoder.finish();
            }
        }
        Ok(self.input_open)
    }

    fn unit(&mut self, raw: RawUnit) -> AccessUnit {
        let pts_ns = raw.pts.map_or(self.last_ns + DEFAULT_STEP_NS, gst::ClockTime::nseconds);
        self.last_ns = pts_ns;
        let first = *self.first_ns.get_or_insert(pts_ns);
        // Reordered pictures may lie in front of the first keyframe.
        let ms = i64::try_from(pts_ns / 1_000_000).unwrap_or(0) - i64::try_from(first / 1_000_000).unwrap_or(0);
        let time = FrameTime::of_file(self.start.plus_ms(ms), MonoMillis(ms));
        AccessUnit { data: raw.data, codec: raw.codec, keyframe: raw.keyframe, pts_ns, time }
    }

    fn check(&self) -> Result<(), CameraError> {
        let Some(message) = self.bus.pop_filtered(&[gst::MessageType::Error]) else { return Ok(()) };
        let text = match message.view() {
            gst::MessageView::Error(e) => e.error().message().to_owned(),
            _ => String::new(),
        };
        Err(CameraError::Unsupported(format!("{}: {text}", self.path.display())))
    }
}

impl Iterator for FileSource {
    type Item = Result<Frame, CameraError>;

    /// The next frame; after an error or the end, `None`.
    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let item = self.step().transpose();
        self.over = !matches!(item, Some(Ok(_)));
        item
    }
}

impl Drop for FileSource {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

pub(super) fn start_decoder(codec: Codec, camera: &CameraId) -> Result<Decoder, CameraError> {
    let mut names = candidates(codec, None)?;
    // The same pictures on every machine: software first.
    names.sort_by_key(|name| !name.starts_with("avdec_"));
    let name = names.first().map_or("", String::as_str);
    Decoder::start(codec, name, Feed::Recording, camera.clone(), Arc::default())
}

fn link_video(parse: &gst::Element, pipeline: &gst::Pipeline, units: &AppSink) {
    let (pipeline, sink) = (pipeline.downgrade(), units.downgrade());
    parse.connect_pad_added(move |parse, pad| {
        let (Some(pipeline), Some(sink)) = (pipeline.upgrade(), sink.upgrade()) else { return };
        if let Err(e) = link_pad(pad, &pipeline, &sink) {
            gst::element_error!(parse, gst::StreamError::WrongType, ("{}", e));
        }
    });
    let units = units.downgrade();
    parse.connect_no_more_pads(move |parse| {
        let linked = units.upgrade().and_then(|u| u.static_pad("sink")).is_some_and(|p| p.is_linked());
        if !linked {
            gst::element_error!(parse, gst::StreamError::WrongType, ("no H.264 or H.265 video in the file"));
        }
    });
}

/// Links the first video stream that we decode; other streams end in a sink of their own, so that they do not hold
/// up the demuxer.
fn link_pad(pad: &gst::Pad, pipeline: &gst::Pipeline, units: &AppSink) -> Result<(), CameraError> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let free = units.static_pad("sink").is_some_and(|p| !p.is_linked());
    let head = match elements::codec_of(&caps).filter(|_| free) {
        Some(codec) => {
            let parser = elements::parser(codec)?;
            pipeline.add(&parser).map_err(|e| broken("file", e))?;
            parser.link(units).map_err(|e| broken("file", e))?;
            parser
        }
        None => {
            let sink = make("fakesink")?;
            sink.set_property("sync", false);
            sink.set_property("async", false);
            pipeline.add(&sink).map_err(|e| broken("file", e))?;
            sink
        }
    };
    head.sync_state_with_parent().map_err(|e| broken("file", e))?;
    let target = head.static_pad("sink").ok_or_else(|| broken("file", "element without a pad"))?;
    pad.link(&target).map_err(|e| broken("file", e))?;
    Ok(())
}

//! Small GStreamer pieces shared by live ingest and recorded files: making elements, the parser of a coding, the sink
//! that access units are pulled from.

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;

use super::{CameraError, Codec};

/// Starts GStreamer; cheap when done before.
pub(super) fn init() -> Result<(), CameraError> {
    gst::init().map_err(|e| CameraError::Pipeline(format!("GStreamer does not start: {e}")))
}

/// Makes an element, or says which plugin is missing.
pub(super) fn make(name: &str) -> Result<gst::Element, CameraError> {
    gst::ElementFactory::make(name).build().map_err(|_| {
        CameraError::Pipeline(format!(
            "the GStreamer element {name} is missing; install the base, good, bad and libav plugins of GStreamer"
        ))
    })
}

/// Any failure to build or start a pipeline: a fault of the installation, not of the camera.
pub(super) fn broken(what: &str, e: impl std::fmt::Display) -> CameraError {
    CameraError::Pipeline(format!("{what}: {e}"))
}

/// Caps of whole access units in Annex B.
pub(super) fn unit_caps(codec: Codec) -> gst::Caps {
    let name = match codec {
        Codec::H264 => "video/x-h264",
        Codec::H265 => "video/x-h265",
    };
    gst::Caps::builder(name).field("stream-format", "byte-stream").field("alignment", "au").build()
}

/// The coding that caps name.
pub(super) fn codec_of(caps: &gst::CapsRef) -> Option<Codec> {
    match caps.structure(0)?.name().as_str() {
        "video/x-h264" => Some(Codec::H264),
        "video/x-h265" => Some(Codec::H265),
        _ => None,
    }
}

/// Parser that puts parameter sets in front of every keyframe.
pub(super) fn parser(codec: Codec) -> Result<gst::Element, CameraError> {
    let parser = make(match codec {
        Codec::H264 => "h264parse",
        Codec::H265 => "h265parse",
    })?;
    parser.set_property("config-interval", -1i32);
    Ok(parser)
}

/// Sink of access units. Live: the oldest is dropped when nobody pulls; recorded: the file waits.
pub(super) fn unit_sink(max_buffers: u32, drop: bool) -> AppSink {
    let mut caps = unit_caps(Codec::H264);
    caps.merge(unit_caps(Codec::H265));
    AppSink::builder()
        .caps(&caps)
        .sync(false)
        .async_(false)
        .max_buffers(max_buffers)
        .drop(drop)
        .enable_last_sample(false)
        .build()
}

/// What a sample of access units holds, before it has a time.
pub(super) struct RawUnit {
    pub data: Bytes,
    pub codec: Codec,
    pub keyframe: bool,
    pub discontinuity: bool,
    /// Position in the segment, where the stream says so.
    pub pts: Option<gst::ClockTime>,
}

/// Reads a sample without copying it.
pub(super) fn read_unit(sample: &gst::Sample) -> Option<RawUnit> {
    let buffer = sample.buffer_owned()?;
    let codec = codec_of(sample.caps()?)?;
    let flags = buffer.flags();
    let pts = buffer.pts().or(buffer.dts());
    let data = Bytes::from_owner(buffer.into_mapped_buffer_readable().ok()?);
    Some(RawUnit {
        data,
        codec,
        keyframe: !flags.contains(gst::BufferFlags::DELTA_UNIT),
        discontinuity: flags.contains(gst::BufferFlags::DISCONT),
        pts,
    })
}

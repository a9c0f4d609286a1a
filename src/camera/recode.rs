//! Recorded video encoded anew with parts of the picture blackened, for copies that leave the box. Everything runs on the
//! thread that pushes, so that its priority is the caller's choice. Which parts, and what becomes of the result, is
//! decided elsewhere.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

use super::decoder::{Feed, tune};
use super::elements::{self, broken, make};
use super::{CameraError, Codec};

/// The encoder: of `gstreamer1.0-plugins-ugly`.
const ENCODER: &str = "x264enc";
/// The same settings and versions give the same bytes, whatever the machine. Without a limit of the bit rate, which 2 Mbit/s would
/// otherwise be: where it is near, x264 looks at how far its other thread is.
const ENCODER_SETTINGS: [(&str, &str); 8] = [
    ("speed-preset", "veryfast"),
    ("pass", "qual"),
    ("quantizer", "22"),
    ("vbv-buf-capacity", "0"),
    ("key-int-max", "50"),
    ("bframes", "0"),
    ("rc-lookahead", "10"),
    ("threads", "2"),
];
/// Threads of the decoder.
const DECODER_THREADS: &str = "2";
/// Black of video, and no colour.
const BLACK: [u8; 3] = [16, 128, 128];

/// Which luminance samples of a picture of some size are blackened, row by row; `None` when that cannot be said.
pub type Stencil = Arc<dyn Fn(u32, u32) -> Option<Vec<bool>> + Send + Sync>;

/// One picture in H.264, Annex B, parameter sets in front of every keyframe.
#[derive(Debug, Clone)]
pub struct Recoded {
    /// The access unit.
    pub data: Bytes,
    /// Decodable on its own.
    pub keyframe: bool,
    /// The time that its picture was pushed with.
    pub pts_ns: u64,
}

/// Decoder, brush and encoder in a row.
pub struct Recoder {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
    input: gst::Pad,
    output: AppSink,
    failed: Arc<AtomicBool>,
}

/// What encodes, for the record.
#[must_use]
pub fn recoder_name() -> String {
    if let Err(error) = elements::init() {
        return error.to_string();
    }
    let version = gst::ElementFactory::find(ENCODER).and_then(|f| f.plugin()).map(|p| p.version().to_string());
    format!("{ENCODER} {}", version.unwrap_or_else(|| "(not installed)".into()))
}

/// Whether this machine can encode video anew.
#[must_use]
pub fn can_recode() -> bool {
    elements::init().is_ok() && gst::ElementFactory::find(ENCODER).is_some()
}

impl Recoder {
    /// Builds it for video of `codec`.
    ///
    /// # Errors
    /// When a part is not installed or does not start.
    pub fn start(codec: Codec, stencil: Stencil) -> Result<Self, CameraError> {
        elements::init()?;
        let decoder = make(match codec {
            Codec::H264 => "avdec_h264",
            Codec::H265 => "avdec_h265",
        })?;
        tune(&decoder, Feed::Recording);
        decoder.set_property_from_str("max-threads", DECODER_THREADS);
        let planes = gst_video::VideoCapsBuilder::new().format(gst_video::VideoFormat::I420).build();
        let filter = gst::ElementFactory::make("capsfilter").property("caps", planes).build();
        let filter = filter.map_err(|e| broken("capsfilter", e))?;
        let output = elements::unit_sink(0, false);
        // It would wait at the end until its pictures are taken, which is for this same thread to do.
        output.set_property("wait-on-eos", false);
        let chain = [
            elements::parser(codec)?,
            decoder,
            make("videoconvert")?,
            filter.clone(),
            encoder()?,
            elements::parser(Codec::H264)?,
            output.clone().upcast(),
        ];
        let pipeline = gst::Pipeline::new();
        pipeline.add_many(&chain).map_err(|e| broken("recoder", e))?;
        gst::Element::link_many(&chain).map_err(|e| broken("recoder", e))?;
        let failed = Arc::<AtomicBool>::default();
        paint_at(&filter, stencil, &failed)?;
        let input = input(&chain[0])?;
        let bus = pipeline.bus().ok_or_else(|| broken("recoder", "no bus"))?;
        let this = Self { pipeline, bus, input, output, failed };
        this.pipeline.set_state(gst::State::Playing).map_err(|_| broken(ENCODER, "does not start"))?;
        this.open(codec)?;
        Ok(this)
    }

    fn open(&self, codec: Codec) -> Result<(), CameraError> {
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        self.event(gst::event::StreamStart::new("recorded"))?;
        self.event(gst::event::Caps::new(&elements::unit_caps(codec)))?;
        self.event(gst::event::Segment::new(segment.as_ref()))
    }

    fn event(&self, event: gst::Event) -> Result<(), CameraError> {
        if self.input.push_event(event) { Ok(()) } else { Err(self.failure("an event was refused")) }
    }

    /// Gives it the next access unit, in order of decoding; returns what came out meanwhile.
    ///
    /// # Errors
    /// When it failed as a whole.
    pub fn push(&self, data: Vec<u8>, keyframe: bool, pts_ns: u64) -> Result<Vec<Recoded>, CameraError> {
        let mut buffer = gst::Buffer::from_mut_slice(data);
        if let Some(b) = buffer.get_mut() {
            b.set_pts(gst::ClockTime::from_nseconds(pts_ns));
            if !keyframe {
                b.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
        }
        self.input.push(buffer).map_err(|e| self.failure(&e.to_string()))?;
        self.drain()
    }

    /// Nothing more comes; returns the rest.
    ///
    /// # Errors
    /// When it failed as a whole.
    pub fn finish(self) -> Result<Vec<Recoded>, CameraError> {
        self.event(gst::event::Eos::new())?;
        self.drain()
    }

    fn drain(&self) -> Result<Vec<Recoded>, CameraError> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(broken("recoder", "a picture could not be masked"));
        }
        if let Some(message) = self.bus.pop_filtered(&[gst::MessageType::Error])
            && let gst::MessageView::Error(e) = message.view()
        {
            return Err(told(&e.error()));
        }
        let mut out = Vec::new();
        while let Some(sample) = self.output.try_pull_sample(gst::ClockTime::ZERO) {
            let unit = elements::read_unit(&sample).ok_or_else(|| broken(ENCODER, "its output cannot be read"))?;
            // Encoders move the times of a stream and say so in its segment.
            let segment = sample.segment().and_then(|s| s.downcast_ref::<gst::ClockTime>());
            let pts = segment.zip(unit.pts).and_then(|(segment, pts)| segment.to_running_time(pts));
            let pts_ns = pts.ok_or_else(|| broken(ENCODER, "a picture without a time"))?.nseconds();
            out.push(Recoded { data: unit.data, keyframe: unit.keyframe, pts_ns });
        }
        Ok(out)
    }

    fn failure(&self, otherwise: &str) -> CameraError {
        let message = self.bus.pop_filtered(&[gst::MessageType::Error]);
        match message.as_ref().map(|m| m.view()) {
            Some(gst::MessageView::Error(e)) => told(&e.error()),
            _ => broken("recoder", otherwise),
        }
    }
}

/// What GStreamer says: of the video itself, or of anything else, which may be otherwise next time.
fn told(error: &gst::glib::Error) -> CameraError {
    if error.is::<gst::StreamError>() {
        return CameraError::Undecodable(error.message().to_owned());
    }
    broken("recoder", error.message())
}

impl Drop for Recoder {
    fn drop(&mut self) {
        let _ = self.input.set_active(false);
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn encoder() -> Result<gst::Element, CameraError> {
    let missing = |_| {
        let text = "the GStreamer element x264enc is missing, without which no masked video can be made; install \
                    gstreamer1.0-plugins-ugly";
        CameraError::Pipeline(text.to_owned())
    };
    let encoder = gst::ElementFactory::make(ENCODER).build().map_err(missing)?;
    for (name, value) in ENCODER_SETTINGS {
        encoder.set_property_from_str(name, value);
    }
    Ok(encoder)
}

/// A pad of ours in front of the first element: what is pushed there is worked on before the push returns.
fn input(first: &gst::Element) -> Result<gst::Pad, CameraError> {
    let sink = first.static_pad("sink").ok_or_else(|| broken("recoder", "no input"))?;
    let pad = gst::Pad::builder(gst::PadDirection::Src).name("recorded").build();
    pad.set_active(true).map_err(|e| broken("recoder", e))?;
    pad.link(&sink).map_err(|e| broken("recoder", e))?;
    Ok(pad)
}

/// Blackens every picture that leaves `element`; one that cannot be blackened does not leave it.
fn paint_at(element: &gst::Element, stencil: Stencil, failed: &Arc<AtomicBool>) -> Result<(), CameraError> {
    let pad = element.static_pad("src").ok_or_else(|| broken("recoder", "no output"))?;
    let (failed, kept) = (Arc::clone(failed), Mutex::<Option<Brush>>::default());
    pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |pad, info| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if painted(pad, info, &stencil, &mut kept).is_some() {
            return gst::PadProbeReturn::Ok;
        }
        failed.store(true, Ordering::Relaxed);
        gst::PadProbeReturn::Drop
    });
    Ok(())
}

fn painted(pad: &gst::Pad, info: &mut gst::PadProbeInfo, stencil: &Stencil, kept: &mut Option<Brush>) -> Option<()> {
    let caps = pad.current_caps()?;
    if kept.as_ref().is_none_or(|brush| brush.caps != caps) {
        *kept = Some(Brush::new(caps, stencil)?);
    }
    let buffer = info.buffer_mut()?;
    *buffer = kept.as_ref()?.paint(buffer)?;
    Some(())
}

/// What is blackened in pictures of one size.
struct Brush {
    caps: gst::Caps,
    info: gst_video::VideoInfo,
    /// Of each plane.
    covered: [Vec<bool>; 3],
}

impl Brush {
    fn new(caps: gst::Caps, stencil: &Stencil) -> Option<Self> {
        let info = gst_video::VideoInfo::from_caps(&caps).ok()?;
        let (width, height) = (info.width(), info.height());
        let luma = stencil(width, height)?;
        let (w, h) = (width as usize, height as usize);
        if luma.len() != w * h {
            return None;
        }
        let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
        let mut chroma = vec![false; cw * ch];
        for (at, _) in luma.iter().enumerate().filter(|(_, covered)| **covered) {
            chroma[at / w / 2 * cw + at % w / 2] = true;
        }
        Some(Self { caps, info, covered: [luma, chroma.clone(), chroma] })
    }

    /// A blackened copy: the decoder may still need the picture itself, for those that refer to it.
    fn paint(&self, picture: &gst::Buffer) -> Option<gst::Buffer> {
        let mut copy = picture.copy_deep().ok()?;
        {
            let buffer = copy.get_mut()?;
            let mut frame = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer, &self.info).ok()?;
            for (plane, covered) in (0..3).zip(&self.covered) {
                let index = plane as usize;
                let stride = usize::try_from(*frame.plane_stride().get(index)?).ok()?.max(1);
                let width = (frame.comp_width(plane) as usize).max(1);
                let data = frame.plane_data_mut(plane).ok()?;
                for (row, covered) in data.chunks_mut(stride).zip(covered.chunks(width)) {
                    row.iter_mut().zip(covered).filter(|(_, covered)| **covered).for_each(|(v, _)| *v = BLACK[index]);
                }
            }
        }
        Some(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two seconds of noise, which no rate is enough for.
    fn noise() -> Vec<elements::RawUnit> {
        let text =
            "videotestsrc pattern=snow num-buffers=50 ! video/x-raw,format=I420,width=640,height=360,framerate=25/1
            ! x264enc tune=zerolatency speed-preset=ultrafast pass=quant quantizer=20 key-int-max=25 ! h264parse
            ! video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=out sync=false max-buffers=0";
        let pipeline = gst::parse::launch(text).unwrap().downcast::<gst::Pipeline>().unwrap();
        let out = pipeline.by_name("out").unwrap().downcast::<AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let units = std::iter::from_fn(|| out.pull_sample().ok()).map(|s| elements::read_unit(&s).unwrap()).collect();
        pipeline.set_state(gst::State::Null).unwrap();
        units
    }

    #[test]
    fn the_same_video_gives_the_same_bytes_each_time() {
        elements::init().unwrap();
        let units = noise();
        assert_eq!(units.len(), 50);
        let again = || {
            let none: Stencil = Arc::new(|width, height| Some(vec![false; (width * height) as usize]));
            let recoder = Recoder::start(Codec::H264, none).unwrap();
            let push =
                |u: &elements::RawUnit| recoder.push(u.data.to_vec(), u.keyframe, u.pts.unwrap().nseconds()).unwrap();
            let mut out: Vec<Recoded> = units.iter().flat_map(push).collect();
            out.extend(recoder.finish().unwrap());
            assert_eq!(out.len(), 50);
            out.iter().flat_map(|u| u.data.to_vec()).collect::<Vec<u8>>()
        };
        let first = again();
        assert!((0..5).all(|_| again() == first), "a bundle is the same each time that it is made");
    }
}

//! A decoder's output buffer as planes, mapped where it lies: no copy, strides as the decoder chose them.

use std::sync::Arc;

use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

use super::{FramePlanes, PixelLayout};

/// A decoded picture that has no camera and no time yet.
pub(super) struct Picture {
    pub pts_ns: u64,
    pub width: u32,
    pub height: u32,
    pub layout: PixelLayout,
    pub bt709: bool,
    pub full_range: bool,
    pub planes: Arc<dyn FramePlanes>,
}

struct Mapped(gst_video::VideoFrame<gst_video::video_frame::Readable>);

impl FramePlanes for Mapped {
    fn plane(&self, i: usize) -> (&[u8], usize) {
        let data = u32::try_from(i).ok().and_then(|n| self.0.plane_data(n).ok()).unwrap_or_default();
        let stride = self.0.plane_stride().get(i).copied().unwrap_or(0);
        (data, usize::try_from(stride).unwrap_or(0))
    }
}

/// Maps a sample; `None` when it is not a picture we can read, which the caller counts as a decode error.
pub(super) fn read_picture(sample: &gst::Sample) -> Option<Picture> {
    let info = gst_video::VideoInfo::from_caps(sample.caps()?).ok()?;
    let layout = match info.format() {
        gst_video::VideoFormat::I420 => PixelLayout::I420,
        gst_video::VideoFormat::Nv12 => PixelLayout::Nv12,
        _ => return None,
    };
    let buffer = sample.buffer_owned()?;
    let pts_ns = buffer.pts().or(buffer.dts())?.nseconds();
    let frame = gst_video::VideoFrame::from_buffer_readable(buffer, &info).ok()?;
    let (width, height) = (info.width(), info.height());
    let full_range = info.colorimetry().range() == gst_video::VideoColorRange::Range0_255;
    Some(Picture { pts_ns, width, height, layout, bt709: is_bt709(&info), full_range, planes: Arc::new(Mapped(frame)) })
}

fn is_bt709(info: &gst_video::VideoInfo) -> bool {
    match info.colorimetry().matrix() {
        gst_video::VideoColorMatrix::Bt709 => true,
        gst_video::VideoColorMatrix::Bt601 | gst_video::VideoColorMatrix::Fcc => false,
        // The stream does not say: HD is BT.709 by habit.
        _ => info.height() >= 720,
    }
}

//! One decoded picture: planes with strides, shared, never copied to RGB as a whole.

use std::fmt;
use std::sync::Arc;

use super::CameraId;
use crate::clock::{FrameTime, MonoMillis};

/// How the chroma planes are laid out. Both are 4:2:0, 8 bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelLayout {
    /// Three planes: Y, U, V.
    I420,
    /// Two planes: Y, interleaved UV.
    Nv12,
}

/// Memory of a picture. A trait because the decoder's mapped buffers live in `camera/` while tests and the simulator
/// bring plain vectors.
pub trait FramePlanes: Send + Sync {
    /// Bytes of plane `i` (0 = Y, then U and V, or interleaved UV) and its stride: bytes from one row to the next.
    fn plane(&self, i: usize) -> (&[u8], usize);
}

/// Units in front of a picture that were not decoded on purpose: the camera idled, or its mode wants keyframes only.
/// Nothing of the stream is missing in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lull {
    /// Capture time of the unit decoded before.
    pub since: MonoMillis,
    /// Longest time between two units from that one to this picture, milliseconds.
    pub silent_ms: i64,
}

/// What the idling of a camera did to one of its units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Idled {
    /// What was left out in front of it on purpose.
    pub lull: Option<Lull>,
    /// It was held until the camera woke.
    pub held: bool,
}

/// A decoded picture with its times. Cheap to clone: the planes are shared.
#[derive(Clone)]
pub struct Frame {
    /// Camera it came from.
    pub camera: CameraId,
    /// Counts decoded frames of this camera in this process, from 0.
    pub number: u64,
    /// Capture time.
    pub time: FrameTime,
    /// What was left out in front of it on purpose; `None` when nothing was, or when something else is missing there.
    pub lull: Option<Lull>,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Plane layout.
    pub layout: PixelLayout,
    /// BT.709 rather than BT.601 matrix (HD streams).
    pub bt709: bool,
    /// Samples of 0..=255 rather than studio range (16..=235, chroma to 240), as some cameras send.
    pub full_range: bool,
    /// It was coded by itself, without those before it.
    pub keyframe: bool,
    /// An idle camera held it until it woke: it is late for that, and what the camera was woken for.
    pub held: bool,
    /// The pixels.
    pub planes: Arc<dyn FramePlanes>,
}

impl Frame {
    /// The first picture of a camera that was made here instead of decoded: I420 in studio range by BT.601.
    #[must_use]
    pub fn made(camera: CameraId, time: FrameTime, (width, height): (u32, u32), planes: Arc<dyn FramePlanes>) -> Self {
        let (layout, bt709, full_range) = (PixelLayout::I420, false, false);
        let (lull, keyframe, held) = (None, true, false);
        Self { camera, number: 0, time, lull, width, height, layout, bt709, full_range, keyframe, held, planes }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} #{} {}x{} {:?})", self.camera, self.number, self.width, self.height, self.time)
    }
}

/// A packed I420 picture in own memory: rows of `width` bytes, chroma rows of `ceil(width / 2)`.
#[derive(Debug, Clone)]
pub struct OwnedI420 {
    width: usize,
    height: usize,
    data: Vec<u8>,
}

impl OwnedI420 {
    /// Takes Y, U and V planes one after the other.
    ///
    /// # Errors
    /// When `data` has another length than a packed I420 picture of this size.
    pub fn new(width: u32, height: u32, data: Vec<u8>) -> Result<Self, String> {
        let (width, height) = (width as usize, height as usize);
        let need = Self::bytes(width, height);
        if data.len() == need {
            Ok(Self { width, height, data })
        } else {
            Err(format!("I420 picture {width}x{height} needs {need} bytes, got {}", data.len()))
        }
    }

    /// A picture of one colour.
    #[must_use]
    pub fn filled(width: u32, height: u32, y: u8, u: u8, v: u8) -> Self {
        let (w, h) = (width as usize, height as usize);
        let chroma = w.div_ceil(2) * h.div_ceil(2);
        let mut data = vec![y; w * h];
        data.extend(std::iter::repeat_n(u, chroma));
        data.extend(std::iter::repeat_n(v, chroma));
        Self { width: w, height: h, data }
    }

    /// Bytes of a packed picture.
    #[must_use]
    pub fn bytes(width: usize, height: usize) -> usize {
        width * height + 2 * width.div_ceil(2) * height.div_ceil(2)
    }
}

impl FramePlanes for OwnedI420 {
    fn plane(&self, i: usize) -> (&[u8], usize) {
        let (w, h) = (self.width, self.height);
        let (cw, ch) = (w.div_ceil(2), h.div_ceil(2));
        match i {
            0 => (&self.data[..w * h], w),
            1 => (&self.data[w * h..w * h + cw * ch], cw),
            _ => (&self.data[w * h + cw * ch..], cw),
        }
    }
}

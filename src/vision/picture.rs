//! A picture file as a frame, for trying models: studio range, BT.601, chroma at half resolution, as a camera delivers it.

use std::path::Path;
use std::sync::Arc;

use crate::camera::{CameraId, Frame, OwnedI420};
use crate::clock::{FrameTime, mono_now, utc_now};

/// Reads a JPEG or PNG file. An odd last row or column is left out.
///
/// # Errors
/// When the file cannot be read as a picture, or is smaller than two pixels.
pub fn read(path: &Path) -> Result<Frame, String> {
    let said = |e: String| format!("{}: {e}", path.display());
    let rgb = image::open(path).map_err(|e| said(e.to_string()))?.to_rgb8();
    let (width, height) = (rgb.width() / 2 * 2, rgb.height() / 2 * 2);
    if width == 0 || height == 0 {
        return Err(said("the picture has no pixels".into()));
    }
    let planes = OwnedI420::new(width, height, i420(&rgb, width, height)).map_err(said)?;
    let time = FrameTime::of_file(utc_now(), mono_now());
    let camera = CameraId("picture".into());
    let planes = Arc::new(planes);
    Ok(Frame::made(camera, time, (width, height), planes))
}

fn i420(rgb: &image::RgbImage, width: u32, height: u32) -> Vec<u8> {
    let at = |x: u32, y: u32| rgb.get_pixel(x, y).0.map(f32::from);
    let mix = |[r, g, b]: [f32; 3], base: f32, [cr, cg, cb]: [f32; 3]| (base + cr * r + cg * g + cb * b) as u8;
    let mut data = Vec::with_capacity(OwnedI420::bytes(width as usize, height as usize));
    for y in 0..height {
        data.extend((0..width).map(|x| mix(at(x, y), 16.5, [0.256_788, 0.504_129, 0.097_906])));
    }
    // Chroma is that of four pixels together.
    let four = |x: u32, y: u32| {
        let each = [at(x, y), at(x + 1, y), at(x, y + 1), at(x + 1, y + 1)];
        [0, 1, 2].map(|c| each.iter().map(|p| p[c]).sum::<f32>() / 4.0)
    };
    for weights in [[-0.148_223, -0.290_993, 0.439_216], [0.439_216, -0.367_788, -0.071_427]] {
        for y in (0..height).step_by(2) {
            data.extend((0..width).step_by(2).map(|x| mix(four(x, y), 128.5, weights)));
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_planes_and_an_odd_edge_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("red.png");
        image::RgbImage::from_pixel(5, 3, image::Rgb([255, 0, 0])).save(&path).unwrap();
        let frame = read(&path).unwrap();
        assert_eq!((frame.width, frame.height), (4, 2));
        let sample = |plane: usize| frame.planes.plane(plane).0[0];
        assert_eq!((sample(0), sample(1), sample(2)), (81, 90, 240));
        std::fs::write(&path, b"no picture").unwrap();
        assert!(read(&path).unwrap_err().contains("red.png"));
    }
}

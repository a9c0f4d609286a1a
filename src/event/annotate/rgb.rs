//! One conversion of a whole frame to RGB, for the picture that people see. The detector never needs it.

use tiny_skia::Pixmap;

use crate::camera::{Frame, PixelLayout};

/// YUV to full range RGB, 16.16 fixed point.
struct Matrix {
    luma: i32,
    black: i32,
    rv: i32,
    gu: i32,
    gv: i32,
    bu: i32,
}

/// Studio range: 219 steps of luma from 16, 224 of chroma.
const BT601: Matrix = Matrix { luma: 76_309, black: 16, rv: 104_597, gu: 25_675, gv: 53_279, bu: 132_201 };
const BT709: Matrix = Matrix { luma: 76_309, black: 16, rv: 117_489, gu: 13_975, gv: 34_925, bu: 138_438 };

/// The picture in RGBA; `None` when it is empty or its planes are shorter than its size says.
pub(super) fn to_pixmap(frame: &Frame) -> Option<Pixmap> {
    let (w, h) = (frame.width as usize, frame.height as usize);
    let mut pixmap = Pixmap::new(frame.width, frame.height)?;
    let matrix = Matrix::of(frame);
    let (luma, luma_stride) = frame.planes.plane(0);
    for (y, row) in pixmap.data_mut().chunks_exact_mut(4 * w).enumerate().take(h) {
        let ys = luma.get(y * luma_stride..y * luma_stride + w)?;
        let (us, vs, step) = chroma_row(frame, y / 2)?;
        let chroma = us.iter().step_by(step).zip(vs.iter().step_by(step));
        // Two pixels share their colour difference.
        for ((two, ys), (u, v)) in row.chunks_mut(8).zip(ys.chunks(2)).zip(chroma) {
            let difference = matrix.difference(*u, *v);
            for (pixel, y) in two.chunks_exact_mut(4).zip(ys) {
                pixel.copy_from_slice(&matrix.rgba(*y, difference));
            }
        }
    }
    Some(pixmap)
}

/// U and V of one chroma row and the step from one sample to the next.
fn chroma_row(frame: &Frame, row: usize) -> Option<(&[u8], &[u8], usize)> {
    let half = (frame.width as usize).div_ceil(2);
    let (first, stride) = frame.planes.plane(1);
    match frame.layout {
        PixelLayout::I420 => {
            let (second, v_stride) = frame.planes.plane(2);
            let us = first.get(row * stride..row * stride + half)?;
            Some((us, second.get(row * v_stride..row * v_stride + half)?, 1))
        }
        PixelLayout::Nv12 => {
            let both = first.get(row * stride..row * stride + 2 * half)?;
            Some((both, &both[1..], 2))
        }
    }
}

impl Matrix {
    fn of(frame: &Frame) -> Self {
        let studio = if frame.bt709 { BT709 } else { BT601 };
        if !frame.full_range {
            return studio;
        }
        let full = |k: i32| k * 224 / 255;
        let (rv, gu, gv, bu) = (full(studio.rv), full(studio.gu), full(studio.gv), full(studio.bu));
        Self { luma: 1 << 16, black: 0, rv, gu, gv, bu }
    }

    /// What U and V add to red, green and blue.
    fn difference(&self, u: u8, v: u8) -> [i32; 3] {
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        [self.rv * v, -self.gu * u - self.gv * v, self.bu * u]
    }

    /// Opaque, so the same whether multiplied by alpha or not.
    fn rgba(&self, y: u8, [red, green, blue]: [i32; 3]) -> [u8; 4] {
        let luma = (i32::from(y) - self.black) * self.luma + 32_768;
        let byte = |value: i32| (value >> 16).clamp(0, 255) as u8;
        [byte(luma + red), byte(luma + green), byte(luma + blue), 255]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::camera::{CameraId, FramePlanes};
    use crate::clock::{FrameTime, MonoMillis, UtcMillis};

    /// Rows with 3 bytes of padding that must never show.
    struct Padded {
        planes: Vec<(Vec<u8>, usize)>,
    }

    impl FramePlanes for Padded {
        fn plane(&self, i: usize) -> (&[u8], usize) {
            (&self.planes[i].0, self.planes[i].1)
        }
    }

    fn plane(rows: usize, row: &[u8]) -> (Vec<u8>, usize) {
        let padded: Vec<u8> = row.iter().copied().chain([7, 7, 7]).collect();
        (padded.repeat(rows), padded.len())
    }

    fn frame(layout: PixelLayout, bt709: bool, planes: Vec<(Vec<u8>, usize)>) -> Frame {
        let time = FrameTime::of_file(UtcMillis(0), MonoMillis(0));
        let planes = Arc::new(Padded { planes });
        Frame { layout, bt709, ..Frame::made(CameraId("c".into()), time, (3, 3), planes) }
    }

    fn pixels(frame: &Frame) -> Vec<[u8; 3]> {
        let pixmap = to_pixmap(frame).unwrap();
        pixmap.pixels().iter().map(|p| [p.red(), p.green(), p.blue()]).collect()
    }

    #[test]
    fn both_layouts_give_the_same_picture_at_odd_sizes_with_padded_rows() {
        // BT.709 red is Y 63 U 102 V 240, white is Y 235 U 128 V 128.
        let luma = plane(3, &[63, 63, 235]);
        let i420 = vec![luma.clone(), plane(2, &[102, 128]), plane(2, &[240, 128])];
        let nv12 = vec![luma, plane(2, &[102, 240, 128, 128])];
        let found = pixels(&frame(PixelLayout::I420, true, i420));
        assert_eq!(found, pixels(&frame(PixelLayout::Nv12, true, nv12)));
        let near = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 2);
        assert!(near(found[0], [255, 0, 0]) && near(found[2], [255, 255, 255]), "{found:?}");
    }

    #[test]
    fn bt601_red_is_red_in_its_own_matrix() {
        let planes = vec![plane(3, &[81; 3]), plane(2, &[90; 2]), plane(2, &[240; 2])];
        let [r, g, b] = pixels(&frame(PixelLayout::I420, false, planes))[4];
        assert!(r >= 252 && g <= 3 && b <= 3, "{r} {g} {b}");
    }

    #[test]
    fn planes_shorter_than_the_picture_are_refused() {
        let planes = vec![plane(2, &[81; 3]), plane(2, &[90; 2]), plane(2, &[240; 2])];
        assert!(to_pixmap(&frame(PixelLayout::I420, false, planes)).is_none());
    }
}

//! What a picture cost its coder, whatever its bit rate is held to: a coder that fills its rate spends the bits of a still
//! picture on finer steps, so its sizes alone tell nothing of what changes. Pure; reads headers of slices, decodes nothing.

use std::hash::{DefaultHasher, Hash, Hasher};

use h264_reader::Context;
use h264_reader::nal::pps::PicParameterSet;
use h264_reader::nal::slice::{SliceFamily, SliceHeader};
use h264_reader::nal::sps::SeqParameterSet;
use h264_reader::nal::{Nal, RefNal, UnitType};

use super::h265::{self, Slice};
use super::{AccessUnit, Codec, nal};

/// The quantiser at which a byte counts as one; the steps double every six (ITU-T H.264 8.5.9, H.265 8.6.3).
const REFERENCE: i32 = 26;
const DOUBLES: f32 = 6.0;
/// Finer quantisers count as this one: a step of less than a grey level codes the noise of the sensor, and the bits do not
/// double with it any more. A camera that fills its rate gets there in a still picture, and to and fro with every keyframe.
const FINEST: i32 = 4;

/// A slice's header is no longer than this, bytes; what follows is not given to a parser that may keep what it reads.
const HEAD: usize = 2048;

/// Reads the pictures of one connection.
#[derive(Debug, Default)]
pub(super) struct Effort {
    h264: Context,
    h265: h265::Sets,
    /// Of the latest slice that could be read.
    quantiser: Option<i32>,
    /// Some slice of the latest unit refers to pictures; some begins anew (IDR).
    refers: bool,
    idr: bool,
    /// Digest of the latest sequence parameter set.
    coding: Option<u64>,
}

impl Effort {
    /// Bytes that the unit would take at the reference quantiser, by the size of each slice and the quantiser it begins with. What
    /// fills a rate without coding anything is not counted. What cannot be read has
    /// the quantiser before it; before the first, bytes count as they are.
    pub fn of(&mut self, unit: &AccessUnit) -> usize {
        let mut effort = 0.0;
        (self.refers, self.idr) = (false, false);
        for bytes in nal::units(&unit.data) {
            let slice = match unit.codec {
                Codec::H264 => self.read_h264(bytes),
                Codec::H265 => self.h265.read(bytes),
            };
            if nal::is_sequence_set(bytes, unit.codec) {
                let mut digest = DefaultHasher::new();
                bytes.hash(&mut digest);
                self.coding = Some(digest.finish());
            }
            if let Some(slice) = slice {
                self.refers |= slice.refers;
                self.quantiser = slice.quantiser.map(|q| q.clamp(0, 51)).or(self.quantiser);
                let steps = self.quantiser.map_or(0.0, |q| (q.max(FINEST) - REFERENCE) as f32 / DOUBLES);
                effort += bytes.len() as f32 * steps.exp2();
            }
        }
        effort as usize
    }

    /// Whether the latest unit refers to other pictures. A keyframe that does is where a coder without keyframes says that one may
    /// begin: it renews the picture piece by piece, and this one alone does not show it (recovery point, ITU-T H.264 D.2.8,
    /// H.265 D.3.8; parsers take it for a keyframe, and a picture of which one slice refers to nothing).
    pub fn refers(&self) -> bool {
        self.refers && !self.idr
    }

    /// What tells a coding from another one: the same coder with the same settings repeats it.
    pub fn coding(&self) -> Option<u64> {
        self.coding
    }

    /// What the NAL unit says as a slice; keeps what later ones need. The quantiser may differ from block to block, which is not
    /// read.
    fn read_h264(&mut self, bytes: &[u8]) -> Option<Slice> {
        let nal = RefNal::new(bytes, &[], true);
        let header = nal.header().ok()?;
        match header.nal_unit_type() {
            UnitType::SeqParameterSet => {
                if let Ok(set) = SeqParameterSet::from_bits(nal.rbsp_bits()) {
                    self.h264.put_seq_param_set(set);
                }
            }
            UnitType::PicParameterSet => {
                if let Ok(set) = PicParameterSet::from_bits(&self.h264, nal.rbsp_bits()) {
                    self.h264.put_pic_param_set(set);
                }
            }
            UnitType::SliceLayerWithoutPartitioningNonIdr | UnitType::SliceLayerWithoutPartitioningIdr => {
                let head = RefNal::new(&bytes[..bytes.len().min(HEAD)], &[], true);
                let read = SliceHeader::from_bits(&self.h264, &mut head.rbsp_bits(), header, None);
                let sum = |set: i32, slice: i32| set.saturating_add(slice).saturating_add(26);
                let Ok((slice, _, set)) = read else { return Some(Slice::default()) };
                // The second field of an IDR picture may refer to the first, and to nothing else.
                self.idr |= header.nal_unit_type() == UnitType::SliceLayerWithoutPartitioningIdr;
                return Some(Slice {
                    quantiser: Some(sum(set.pic_init_qp_minus26, slice.slice_qp_delta)),
                    refers: !matches!(slice.slice_type.family, SliceFamily::I | SliceFamily::SI),
                });
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
pub(super) mod tests {
    use gstreamer::prelude::*;
    use gstreamer_app::AppSink;

    use super::*;
    use crate::camera::elements;
    use crate::clock::FrameTime;

    /// Two seconds of noise, coded as told.
    pub fn noise(codec: Codec, options: &str) -> Vec<AccessUnit> {
        elements::init().unwrap();
        let (coder, parser, form) = match codec {
            Codec::H264 => ("x264enc threads=1", "h264parse", "video/x-h264"),
            Codec::H265 => ("x265enc log-level=none", "h265parse", "video/x-h265"),
        };
        let text = format!(
            "videotestsrc pattern=snow num-buffers=50 ! video/x-raw,format=I420,width=320,height=180,framerate=25/1
            ! {coder} speed-preset=ultrafast key-int-max=25 {options} ! {parser} config-interval=-1
            ! {form},stream-format=byte-stream,alignment=au ! appsink name=out sync=false max-buffers=0"
        );
        let pipeline = gstreamer::parse::launch(&text).unwrap().downcast::<gstreamer::Pipeline>().unwrap();
        let out = pipeline.by_name("out").unwrap().downcast::<AppSink>().unwrap();
        pipeline.set_state(gstreamer::State::Playing).unwrap();
        let units = std::iter::from_fn(|| out.pull_sample().ok()).map(|s| {
            let raw = elements::read_unit(&s).unwrap();
            let time = FrameTime::arrived(0);
            AccessUnit { data: raw.data, codec: raw.codec, keyframe: raw.keyframe, pts_ns: 0, time }
        });
        let units = units.collect();
        pipeline.set_state(gstreamer::State::Null).unwrap();
        units
    }

    /// Mean bytes and mean effort of the predicted pictures, and the last quantiser.
    fn predicted(units: &[AccessUnit]) -> (usize, usize, Option<i32>) {
        let mut effort = Effort::default();
        let (mut bytes, mut efforts, mut n) = (0, 0, 0);
        for unit in units {
            let cost = effort.of(unit);
            if !unit.keyframe {
                (bytes, efforts, n) = (bytes + unit.data.len(), efforts + cost, n + 1);
            }
        }
        (bytes / n, efforts / n, effort.quantiser)
    }

    #[test]
    fn the_quantiser_of_every_form_of_slice_header_is_read() {
        let forms = [
            (Codec::H264, "tune=zerolatency option-string=no-mbtree"),
            (Codec::H264, "tune=zerolatency sliced-threads=true option-string=slices=4:weightp=2"),
            (Codec::H264, "bframes=2 b-adapt=false cabac=true dct8x8=true option-string=no-mbtree:weightp=2:ref=3"),
            (Codec::H264, "tune=zerolatency interlaced=true"),
            (Codec::H265, "tune=zerolatency"),
            (Codec::H265, "tune=zerolatency option-string=slices=3:ref=4:weightp=1"),
            (Codec::H265, "option-string=bframes=3:b-adapt=0:b-pyramid=1:ref=3:weightb=1:open-gop=1"),
            (Codec::H265, "option-string=wpp=1:sao=1:temporal-mvp=1:ctu=16:max-merge=3:cbqpoffs=2"),
        ];
        for (codec, form) in forms {
            let fixed = match codec {
                Codec::H264 => "pass=quant quantizer=33",
                Codec::H265 => "qp=33",
            };
            let units = noise(codec, &format!("{fixed} {form}"));
            assert_eq!(units.len(), 50, "{form}");
            let mut effort = Effort::default();
            for (n, unit) in units.iter().enumerate() {
                let (cost, bytes) = (effort.of(unit), unit.data.len());
                let last = effort.quantiser.unwrap();
                // Keyframes may be finer, pictures that nothing refers to coarser.
                assert!((30..=36).contains(&last), "{form}: {last} in picture {n}");
                assert!(cost > bytes, "{form}: {cost} of {bytes} bytes in picture {n}");
            }
        }
    }

    #[test]
    fn the_same_picture_costs_far_less_different_than_the_rates_it_is_held_to() {
        let held = |codec: Codec, rate: u32| match codec {
            Codec::H264 => format!("tune=zerolatency pass=cbr bitrate={rate} vbv-buf-capacity=400"),
            Codec::H265 => {
                format!("tune=zerolatency bitrate={rate} option-string=vbv-maxrate={rate}:vbv-bufsize={rate}")
            }
        };
        for codec in [Codec::H264, Codec::H265] {
            let of = |rate: u32| predicted(&noise(codec, &held(codec, rate)));
            let (few, many) = (of(500), of(4000));
            let ratio = |a: usize, b: usize| a as f32 / b as f32;
            // At coarse steps a coder leaves out more than their width says.
            assert!(ratio(many.0, few.0) > 5.0, "{codec:?} {few:?} {many:?}");
            assert!(ratio(many.1, few.1) < ratio(many.0, few.0) / 3.0, "{codec:?} {few:?} {many:?}");
        }
    }

    #[test]
    fn steps_of_less_than_a_grey_level_count_as_one() {
        let factor = |q: i32| {
            let (bytes, effort, last) =
                predicted(&noise(Codec::H264, &format!("tune=zerolatency pass=quant quantizer={q}")));
            assert_eq!(last, Some(q));
            effort as f32 / bytes as f32
        };
        let (finer, finest, coarser) = (factor(1), factor(FINEST), factor(FINEST + 6));
        assert!((finer / finest - 1.0).abs() < 0.01, "{finer} {finest}");
        assert!((coarser / finest - 2.0).abs() < 0.02, "{coarser} {finest}");
    }

    #[test]
    fn what_cannot_be_read_counts_its_bytes_and_what_only_fills_does_not() {
        let unit = |codec: Codec, data: &[u8]| AccessUnit {
            data: data.to_vec().into(),
            codec,
            keyframe: false,
            pts_ns: 0,
            time: FrameTime::arrived(0),
        };
        let mut effort = Effort::default();
        let h264 = [0, 0, 0, 1, 0x41, 0x9a, 1, 2, 3, 0, 0, 1, 12, 255, 255, 255, 128];
        assert_eq!(effort.of(&unit(Codec::H264, &h264)), 5);
        let h265 = [0, 0, 0, 1, 0x02, 0x01, 0xd0, 1, 2, 3, 0, 0, 1, 38 << 1, 1, 255, 255, 255, 128];
        assert_eq!(effort.of(&unit(Codec::H265, &h265)), 6);
        assert_eq!(effort.of(&unit(Codec::H264, &[])), 0);
    }

    #[test]
    fn damaged_units_are_survived() {
        for codec in [Codec::H264, Codec::H265] {
            let units = noise(codec, "");
            let mut effort = Effort::default();
            for round in 0..40_usize {
                for (n, unit) in units.iter().enumerate() {
                    let mut data = unit.data.to_vec();
                    // Heads hold what is read.
                    for k in 0..4 {
                        let at = (round * 7919 + n * 131 + k * 37) % data.len().min(160);
                        data[at] ^= 1 << ((round + k) % 8);
                    }
                    data.truncate(if round % 3 == 0 { 40 + n } else { usize::MAX });
                    effort.of(&AccessUnit {
                        data: data.into(),
                        codec,
                        keyframe: unit.keyframe,
                        pts_ns: 0,
                        time: FrameTime::arrived(0),
                    });
                }
            }
        }
    }
}

//! What a picture cost its coder, whatever its bit rate is held to: a coder that fills its rate spends the bits of a still
//! picture on finer steps, so its sizes alone tell nothing of what changes. Pure; reads headers of slices, decodes nothing.

use h264_reader::Context;
use h264_reader::nal::pps::PicParameterSet;
use h264_reader::nal::slice::SliceHeader;
use h264_reader::nal::sps::SeqParameterSet;
use h264_reader::nal::{Nal, RefNal, UnitType};

use super::{AccessUnit, Codec, nal};

/// The quantiser at which a byte counts as one; the steps double every six (ITU-T H.264 8.5.9).
const REFERENCE: i32 = 26;
const DOUBLES: f32 = 6.0;
/// Finer quantisers count as this one: a step of less than a grey level codes the noise of the sensor, and the bits do not
/// double with it any more. A camera that fills its rate gets there in a still picture, and to and fro with every keyframe.
const FINEST: i32 = 4;

/// Reads the pictures of one connection.
#[derive(Debug, Default)]
pub(super) struct Effort {
    sets: Context,
    /// Of the latest slice that could be read; none before, and for codings that are not read.
    quantiser: Option<i32>,
}

impl Effort {
    /// Bytes that the unit would take at the reference quantiser, by the size of each slice and the quantiser it begins with. What
    /// fills a rate without coding anything is not counted. Of H.265, and where nothing can be read, the bytes it has.
    pub fn of(&mut self, unit: &AccessUnit) -> usize {
        match unit.codec {
            Codec::H265 => unit.data.len(),
            Codec::H264 => self.of_h264(unit),
        }
    }

    fn of_h264(&mut self, unit: &AccessUnit) -> usize {
        let mut effort = 0.0;
        for bytes in nal::units(&unit.data) {
            let nal = RefNal::new(bytes, &[], true);
            match nal.header().map(|h| h.nal_unit_type()) {
                Ok(UnitType::SeqParameterSet) => {
                    if let Ok(set) = SeqParameterSet::from_bits(nal.rbsp_bits()) {
                        self.sets.put_seq_param_set(set);
                    }
                }
                Ok(UnitType::PicParameterSet) => {
                    if let Ok(set) = PicParameterSet::from_bits(&self.sets, nal.rbsp_bits()) {
                        self.sets.put_pic_param_set(set);
                    }
                }
                Ok(UnitType::SliceLayerWithoutPartitioningNonIdr | UnitType::SliceLayerWithoutPartitioningIdr) => {
                    self.quantiser = self.quantiser_of(&nal).or(self.quantiser);
                    let steps = self.quantiser.map_or(0.0, |q| (q.max(FINEST) - REFERENCE) as f32 / DOUBLES);
                    effort += bytes.len() as f32 * steps.exp2();
                }
                _ => {}
            }
        }
        effort as usize
    }

    /// Of the slice; per picture it may differ from block to block, which is not read.
    fn quantiser_of(&self, nal: &RefNal<'_>) -> Option<i32> {
        let header = nal.header().ok()?;
        let (slice, _, set) = SliceHeader::from_bits(&self.sets, &mut nal.rbsp_bits(), header, None).ok()?;
        let quantiser = set.pic_init_qp_minus26.saturating_add(slice.slice_qp_delta).saturating_add(26);
        Some(quantiser.clamp(0, 51))
    }
}

#[cfg(test)]
mod tests {
    use gstreamer::prelude::*;
    use gstreamer_app::AppSink;

    use super::*;
    use crate::camera::elements;
    use crate::clock::FrameTime;

    /// Two seconds of noise, coded as told.
    fn noise(coder: &str) -> Vec<AccessUnit> {
        elements::init().unwrap();
        let text = format!(
            "videotestsrc pattern=snow num-buffers=50 ! video/x-raw,format=I420,width=320,height=180,framerate=25/1
            ! x264enc threads=1 speed-preset=ultrafast key-int-max=25 {coder} ! h264parse config-interval=-1
            ! video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=out sync=false max-buffers=0"
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
            "tune=zerolatency option-string=no-mbtree",
            "tune=zerolatency sliced-threads=true option-string=slices=4:weightp=2",
            "bframes=2 b-adapt=false cabac=true dct8x8=true option-string=no-mbtree:weightp=2:ref=3",
            "tune=zerolatency interlaced=true",
        ];
        for form in forms {
            let units = noise(&format!("pass=quant quantizer=33 {form}"));
            assert_eq!(units.len(), 50, "{form}");
            let last = predicted(&units).2.unwrap();
            // Pictures that nothing refers to may be coarser.
            assert!((33..=35).contains(&last), "{form}: {last}");
        }
    }

    #[test]
    fn the_same_picture_costs_far_less_different_than_the_rates_it_is_held_to() {
        let of =
            |rate: u32| predicted(&noise(&format!("tune=zerolatency pass=cbr bitrate={rate} vbv-buf-capacity=400")));
        let (few, many) = (of(500), of(4000));
        let ratio = |a: usize, b: usize| a as f32 / b as f32;
        // At coarse steps a coder leaves out more than their width says.
        assert!(ratio(many.0, few.0) > 5.0, "{few:?} {many:?}");
        assert!(ratio(many.1, few.1) < ratio(many.0, few.0) / 3.0, "{few:?} {many:?}");
    }

    #[test]
    fn steps_of_less_than_a_grey_level_count_as_one() {
        let factor = |q: i32| {
            let (bytes, effort, last) = predicted(&noise(&format!("tune=zerolatency pass=quant quantizer={q}")));
            assert_eq!(last, Some(q));
            effort as f32 / bytes as f32
        };
        let (finer, finest, coarser) = (factor(1), factor(FINEST), factor(FINEST + 6));
        assert!((finer / finest - 1.0).abs() < 0.01, "{finer} {finest}");
        assert!((coarser / finest - 2.0).abs() < 0.02, "{coarser} {finest}");
    }

    #[test]
    fn what_cannot_be_read_counts_its_bytes_and_what_only_fills_does_not() {
        let unit = |data: &[u8]| AccessUnit {
            data: data.to_vec().into(),
            codec: Codec::H264,
            keyframe: false,
            pts_ns: 0,
            time: FrameTime::arrived(0),
        };
        let mut effort = Effort::default();
        assert_eq!(effort.of(&unit(&[0, 0, 0, 1, 0x41, 0x9a, 1, 2, 3, 0, 0, 1, 12, 255, 255, 255, 128])), 5);
        assert_eq!(effort.of(&unit(&[])), 0);
    }
}

//! `gatewatch mot`: detector and tracker over a MOTChallenge sequence, for `benches/tracking`. A tool for those who change
//! the tracker, so the help does not list it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::camera::{CameraId, FileSource};
use crate::clock::{FrameTime, MonoMillis, UtcMillis};
use crate::config::{DetectorConfig, TrackerConfig};
use crate::geometry::Rect;
use crate::ids::IdSource;
use crate::track::{TrackId, Tracker};
use crate::vision::detector::{Detect, Detector};
use crate::vision::regions::Region;
use crate::vision::{Detection, Label};

/// Arguments of `mot`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Detections of a recording, one line each: frame, -1, left, top, width, height, score.
    Detect {
        /// The recording.
        video: PathBuf,
        /// Detector model; settings beside it as always.
        #[arg(long, value_name = "FILE", default_value = "models/gate.onnx")]
        model: PathBuf,
        /// Class that counts.
        #[arg(long, default_value = "person")]
        class: String,
    },
    /// Tracks of detections, one line a box: frame, id, left, top, width, height, score.
    Track {
        /// Detections, `det.txt` of MOTChallenge.
        detections: PathBuf,
        /// Frames a second of the sequence.
        #[arg(long, default_value_t = 25.0)]
        fps: f32,
        /// Every how many-th frame is tracked, beginning with the first.
        #[arg(long, default_value_t = 1)]
        every: i64,
        /// Scores are divided by this.
        #[arg(long, default_value_t = 1.0)]
        score_scale: f32,
        /// Only tracks that the rules would be shown, from their first box on.
        #[arg(long)]
        confirmed: bool,
    },
}

/// Writes to standard output.
///
/// # Errors
/// When a file or the model cannot be used.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Detect { video, model, class } => detect(video, model, class)?,
        What::Track { detections, fps, every, score_scale, confirmed } => {
            let frames = read(detections, *score_scale)?;
            track(&frames, *fps, (*every).max(1), *confirmed)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn detect(video: &Path, model: &Path, class: &str) -> anyhow::Result<()> {
    let config = DetectorConfig { model: model.to_owned(), ..DetectorConfig::default() };
    crate::vision::runtime::init(config.runtime_library.as_deref())?;
    let mut detector = Detector::load(&config, TrackerConfig::default().low_score)?;
    let mut out = std::io::stdout().lock();
    let source = FileSource::open(video, CameraId("mot".into()), UtcMillis(0))?;
    for (number, frame) in (1..).zip(source) {
        let frame = frame?;
        let found = detector.detect(&frame, &[Region::whole(frame.width, frame.height)])?;
        for d in found.iter().filter(|d| d.label.as_str() == class) {
            line(&mut out, number, "-1", &d.rect, d.score)?;
        }
    }
    Ok(())
}

fn read(path: &Path, score_scale: f32) -> anyhow::Result<BTreeMap<i64, Vec<Detection>>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut frames: BTreeMap<i64, Vec<Detection>> = BTreeMap::new();
    for (row, line) in (1..).zip(text.lines()).filter(|(_, l)| !l.trim().is_empty()) {
        let values: Result<Vec<f32>, _> = line.split(',').map(|v| v.trim().parse()).collect();
        let Ok(&[frame, _, x, y, w, h, score, ..]) = values.as_deref() else {
            anyhow::bail!("{}:{row}: not `frame, id, left, top, width, height, score`", path.display());
        };
        let rect = Rect { x0: x, y0: y, x1: x + w, y1: y + h };
        let score = (score / score_scale).clamp(0.0, 1.0);
        frames.entry(frame as i64).or_default().push(Detection::whole(Label::from("person"), score, rect));
    }
    Ok(frames)
}

fn track(frames: &BTreeMap<i64, Vec<Detection>>, fps: f32, every: i64, confirmed: bool) -> anyhow::Result<()> {
    let mut tracker =
        Tracker::new(TrackerConfig::default(), IdSource::counted(1)).with_minimum(&DetectorConfig::default());
    let mut boxes: Vec<(i64, TrackId, Rect, f32)> = Vec::new();
    let mut believed: Vec<TrackId> = Vec::new();
    let last = frames.keys().last().copied().unwrap_or(0);
    for number in (1..=last).step_by(usize::try_from(every)?) {
        let ms = (number as f32 * 1000.0 / fps).round() as i64;
        let time = FrameTime::of_file(UtcMillis(ms), MonoMillis(ms));
        for t in tracker.update(time, frames.get(&number).map_or(&[], Vec::as_slice)) {
            if t.confirmed && !believed.contains(&t.id) {
                believed.push(t.id);
            }
            if t.matched {
                boxes.push((number, t.id, t.rect, t.score));
            }
        }
    }
    let mut numbers: BTreeMap<TrackId, usize> = BTreeMap::new();
    let mut out = std::io::stdout().lock();
    for (number, id, rect, score) in boxes {
        if !confirmed || believed.contains(&id) {
            let next = numbers.len() + 1;
            let id = *numbers.entry(id).or_insert(next);
            line(&mut out, number, &id.to_string(), &rect, score)?;
        }
    }
    Ok(())
}

fn line(out: &mut impl Write, frame: i64, id: &str, r: &Rect, score: f32) -> std::io::Result<()> {
    let (w, h) = (r.width(), r.height());
    writeln!(out, "{frame},{id},{:.2},{:.2},{w:.2},{h:.2},{score:.4}", r.x0, r.y0)
}

//! `gatewatch replay`: the agent's analysis over a recorded file, as fast as the machine can, for tuning rules. The same
//! file and configuration give the same output.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::agent::lane::{Lane, LaneContext};
use crate::camera::{CameraId, FileSource};
use crate::clock::{UtcMillis, mono_now};
use crate::config::{self, CameraConfig, Config};
use crate::customs::Register;
use crate::customs::feed::read_feed;
use crate::event::{Annotator, Finding};
use crate::ids::IdSource;
use crate::rules::EndReason;
use crate::vision::detector::{Detect, Detector};

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Recorded file: MP4, Matroska, MPEG-TS, raw H.264 or H.265.
    pub file: PathBuf,
    /// Configuration with the areas, rules and model.
    #[arg(long, value_name = "FILE", default_value = "config/gatewatch.toml")]
    pub config: PathBuf,
    /// Camera of the configuration whose areas apply; needed when it has several.
    #[arg(long, value_name = "ID")]
    pub camera: Option<String>,
    /// Time of the first picture, RFC 3339, so that bookings fit.
    #[arg(long, value_name = "TIME", default_value = "2026-01-01T00:00:00Z", value_parser = UtcMillis::parse_rfc3339)]
    pub start: UtcMillis,
    /// Folder for the annotated pictures.
    #[arg(long, value_name = "DIR")]
    pub pictures: Option<PathBuf>,
}

/// Prints one JSON line per event message; figures go to the log.
///
/// # Errors
/// When file, configuration or model cannot be used.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config)?;
    let camera = choose(&config, args.camera.as_deref())?.clone();
    let runtime = crate::vision::runtime::init(config.detector.runtime_library.as_deref())?;
    let mut detector = Detector::load(&config.detector, config.tracker.low_score)?;
    tracing::info!(library = %runtime.display(), "{}", detector.description());
    let register = register(&config, args.start)?;
    let context = LaneContext {
        config_digest: config.digest().chars().take(16).collect(),
        model: detector.model().clone(),
        input: detector.input_size(),
        config: config.clone(),
    };
    let mut lane = Lane::new(&context, &camera, &IdSource::counted(1))?;
    let mut output = Output::new(&config, args.pictures.as_deref())?;
    let (began, mut frames, mut analysed) = (mono_now(), 0_u64, 0_u64);
    let mut last = args.start;
    for frame in FileSource::open(&args.file, camera.id.clone(), args.start)? {
        let frame = frame?;
        frames += 1;
        last = frame.time.utc;
        if lane.is_due(frame.time.mono) {
            analysed += 1;
            output.write(lane.analyse(&frame, &mut detector, &register.snapshot(), frame.time.utc)?)?;
        }
    }
    output.write(lane.close(EndReason::CameraLost, &register.snapshot(), last))?;
    let (took_ms, media_ms) = (mono_now().since(began), last.since(args.start));
    tracing::info!(frames, analysed, events = output.count, media_ms, took_ms, "replay done");
    Ok(ExitCode::SUCCESS)
}

fn choose<'a>(config: &'a Config, id: Option<&str>) -> anyhow::Result<&'a CameraConfig> {
    let ids = || config.cameras.iter().map(|c| c.id.0.as_str()).collect::<Vec<_>>().join(", ");
    match (id, config.cameras.as_slice()) {
        (None, [only]) => Ok(only),
        (None, []) => anyhow::bail!("the configuration has no camera; its areas are what replay judges"),
        (None, _) => anyhow::bail!("the configuration has several cameras ({}); choose one with --camera", ids()),
        (Some(id), all) => all
            .iter()
            .find(|c| c.id == CameraId(id.to_owned()))
            .with_context(|| format!("no camera {id:?} in the configuration; there are: {}", ids())),
    }
}

fn register(config: &Config, now: UtcMillis) -> anyhow::Result<Register> {
    let register = Register::default();
    if let Some(path) = &config.register.file {
        let feed = read_feed(path)?;
        for problem in &feed.problems {
            tracing::warn!(file = %path.display(), "row not taken: {problem}");
        }
        register.apply_all(feed.facts, Some(now));
    }
    Ok(register)
}

struct Output {
    annotator: Annotator,
    pictures: Option<PathBuf>,
    count: u64,
}

impl Output {
    fn new(config: &Config, pictures: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(dir) = pictures {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let annotator = Annotator::new(&config.pictures, &config.site, &config.cameras)?;
        Ok(Self { annotator, pictures: pictures.map(Path::to_owned), count: 0 })
    }

    fn write(&mut self, findings: Vec<Finding>) -> anyhow::Result<()> {
        for mut finding in findings {
            self.count += 1;
            finding.event.data.sequence.seq = i64::try_from(self.count)?;
            if let (Some(dir), Some(frame)) = (&self.pictures, &finding.frame) {
                let drawn = self.annotator.draw(frame, &finding.event)?;
                let path = dir.join(format!("{}-{}.jpg", finding.event.id, finding.event.data.revision));
                std::fs::write(&path, drawn.annotated_jpeg).with_context(|| path.display().to_string())?;
            }
            let mut out = std::io::stdout().lock();
            serde_json::to_writer(&mut out, &finding.event)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

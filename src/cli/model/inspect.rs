//! `gatewatch model inspect`: what was recognised of a model, who said it, and what it sees on a picture.

use std::path::PathBuf;

use anyhow::Context;

use crate::config::{PicturesConfig, SiteConfig};
use crate::event::Annotator;
use crate::vision::detector::{Detect, Detector};
use crate::vision::regions::Region;
use crate::vision::{Detection, picture};

/// Arguments of `model inspect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// ONNX file; a side-car NAME.toml beside it is read.
    pub file: PathBuf,
    /// JPEG or PNG to look at.
    #[arg(long, value_name = "FILE")]
    pub picture: Option<PathBuf>,
    /// JPEG to write, the picture with the boxes on it.
    #[arg(long, value_name = "FILE", requires = "picture")]
    pub out: Option<PathBuf>,
    /// Lowest score that is shown, 0 to 1.
    #[arg(long, default_value_t = 0.4)]
    pub min_score: f32,
    /// Overlap above which the weaker of two boxes of one class is suppressed, 0 to 1.
    #[arg(long, default_value_t = 0.6)]
    pub nms_iou: f32,
    /// ONNX Runtime library.
    #[arg(long, value_name = "FILE")]
    pub runtime_library: Option<PathBuf>,
}

/// Prints what is known of the model, then what it sees.
///
/// # Errors
/// When the model, the picture or the file to write cannot be used.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut config = super::alone(&args.file, args.runtime_library.as_ref());
    config.nms_iou = args.nms_iou;
    let mut detector = Detector::load(&config, args.min_score)?;
    print!("{}", report(&detector));
    let Some(path) = &args.picture else { return Ok(()) };
    let frame = picture::read(path).map_err(anyhow::Error::msg)?;
    let found = detector.detect(&frame, &[Region::whole(frame.width, frame.height)])?;
    println!(
        "\n{}: {}x{}, {} boxes from score {}",
        path.display(),
        frame.width,
        frame.height,
        found.len(),
        args.min_score
    );
    found.iter().for_each(|d| println!("{}", line(d)));
    if let Some(out) = &args.out {
        let annotator = Annotator::new(&PicturesConfig::default(), &SiteConfig::default(), &[])?;
        let boxes: Vec<_> = found.iter().map(|d| (d.rect, format!("{} {:.2}", d.label, d.score))).collect();
        std::fs::write(out, annotator.boxes(&frame, &boxes)?).with_context(|| out.display().to_string())?;
        println!("written to {}", out.display());
    }
    Ok(())
}

/// What is known of a model, one thing a line.
#[must_use]
pub fn report(detector: &Detector) -> String {
    use std::fmt::Write as _;
    let model = detector.model();
    let mut text = format!("{}\nsha256    {}\ncomputes  on {}\n", model.name, model.sha256, detector.provider());
    for declared in detector.declared() {
        let (what, rest) = declared.split_once(' ').unwrap_or((declared, ""));
        let _ = writeln!(text, "{what:9} {rest}");
    }
    for told in detector.told() {
        let _ = writeln!(text, "{:9} {}  ({})", told.what, told.value, told.by);
    }
    text
}

fn line(d: &Detection) -> String {
    let r = &d.rect;
    format!("  {:16} {:.3}  {:7.1} {:7.1} {:7.1} {:7.1}", d.label.as_str(), d.score, r.x0, r.y0, r.x1, r.y1)
}

//! `gatewatch model`: what a detector model is, how fast it is, and getting one.

pub mod bench;
pub mod fetch;
pub mod inspect;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::config::DetectorConfig;

/// Arguments of `model`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What to do with a model.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Say what is recognised of a model and who said it; look at a picture with it.
    Inspect(inspect::Args),
    /// Measure how long one run takes, for some numbers of threads and each provider.
    Bench(bench::Args),
    /// Download a model, check its digest, go on where a broken download stopped.
    Fetch(fetch::Args),
}

/// Runs the subcommand.
///
/// # Errors
/// Says what cannot be used and what to do.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Inspect(args) => inspect::run(args),
        What::Bench(args) => bench::run(args),
        What::Fetch(args) => fetch::run(args),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// The detector part of a configuration for a model alone: its own class names, all else as usual.
fn alone(model: &Path, library: Option<&PathBuf>) -> DetectorConfig {
    let mut config =
        DetectorConfig { model: model.to_owned(), runtime_library: library.cloned(), ..DetectorConfig::default() };
    config.rename.clear();
    config
}

//! `gatewatch simulate`: pictures and files of the simulator. The drawing is in `simulate`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::simulate::dataset;

/// Arguments of `simulate`.
#[derive(Debug, Parser)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Random pictures with COCO boxes, for training.
    Dataset(DatasetArgs),
}

#[derive(Debug, Parser)]
struct DatasetArgs {
    /// Folder to write.
    #[arg(long)]
    out: PathBuf,
    /// Number of pictures.
    #[arg(long, default_value_t = 100)]
    images: u32,
    /// Same seed, same pictures.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Pixels, even.
    #[arg(long, default_value_t = 640)]
    width: u32,
    /// Pixels, even.
    #[arg(long, default_value_t = 360)]
    height: u32,
}

/// Runs the subcommand.
///
/// # Errors
/// When something cannot be drawn or written.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.what {
        What::Dataset(a) => {
            dataset::write(&a.out, dataset::Order { images: a.images, seed: a.seed, size: (a.width, a.height) })
        }
    }
}

//! `gatewatch model bench`: how long one run of a model takes, and preparing its input. A tool for measuring on the machine that will do the work;
//! nothing in the agent depends on its figures.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::camera::{CameraId, Frame, OwnedI420};
use crate::clock::{FrameTime, MonoMillis, UtcMillis, precise_now};
use crate::config::ExecutionProvider;
use crate::vision::detector::{Detect, Detector};
use crate::vision::provider_name;
use crate::vision::regions::Region;

/// Arguments of `model bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// ONNX file.
    pub file: PathBuf,
    /// Numbers of threads to try; without it 1, 2, 4... up to the cores of the machine.
    #[arg(long, value_delimiter = ',', value_name = "N,N")]
    pub threads: Vec<u32>,
    /// Measured runs of each.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(3..))]
    pub runs: u32,
    /// ONNX Runtime library.
    #[arg(long, value_name = "FILE")]
    pub runtime_library: Option<PathBuf>,
}

/// Runs before the measured ones: caches, memory and clocks settle.
const WARM: u32 = 5;
/// Of the picture whose regions are prepared.
const WIDTH: u32 = 1920;
const HEIGHT: u32 = 1080;

/// Prints one line for each provider the library has and each number of threads.
///
/// # Errors
/// When the model cannot be used.
pub fn run(args: &Args) -> anyhow::Result<()> {
    use ExecutionProvider::{Cpu, Cuda, Openvino, Tensorrt};
    let cores = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
    println!("{}: one run of the session, milliseconds, {} runs each, {cores} cores", args.file.display(), args.runs);
    println!("{:9} {:>7} {:>8} {:>8} {:>8} {:>8}", "provider", "threads", "median", "p10", "p90", "least");
    for provider in [Cpu, Openvino, Cuda, Tensorrt] {
        // Threads are the processor's; another provider is measured once.
        let counts = if provider == Cpu { counts(&args.threads, cores) } else { vec![1] };
        for threads in counts {
            let mut config = super::alone(&args.file, args.runtime_library.as_ref());
            config.execution_provider = provider;
            config.intra_threads = threads;
            let mut detector = Detector::load(&config, 0.5)?;
            if detector.provider() != provider_name(provider) {
                println!("{:9} not to be had here", provider_name(provider));
                continue;
            }
            let s = Spread::of(timed(args.runs, || detector.run_once())?);
            let name = provider_name(provider);
            println!("{name:9} {threads:>7} {:8.2} {:8.2} {:8.2} {:8.2}", s.median, s.p10, s.p90, s.least);
        }
    }
    prepare(args)
}

/// Prints what preparing regions of a 1080p picture takes, beside copying their bytes.
fn prepare(args: &Args) -> anyhow::Result<()> {
    let mut detector = Detector::load(&super::alone(&args.file, args.runtime_library.as_ref()), 0.5)?;
    let (side, _) = detector.input_size();
    println!("preparing regions of a {WIDTH}x{HEIGHT} picture, milliseconds, medians, and copying their bytes");
    println!("{:16} {:>8} {:>8} {:>8}", "region", "prepare", "copy", "ratio");
    let frame = noise();
    for (width, height) in [(side.min(WIDTH), side.min(HEIGHT)), (HEIGHT, HEIGHT), (WIDTH, HEIGHT)] {
        let region = Region { x: ((WIDTH - width) / 2) & !1, y: ((HEIGHT - height) / 2) & !1, width, height };
        let prepared = timed(args.runs, || detector.prepare(&frame, region).map(drop))?;
        let mut copied = Vec::with_capacity(OwnedI420::bytes(WIDTH as usize, HEIGHT as usize));
        let copy = timed(args.runs, || {
            copied.clear();
            copy(&frame, region, &mut copied);
            anyhow::Ok(())
        })?;
        let (prepared, copy) = (Spread::of(prepared).median, Spread::of(copy).median);
        let name = format!("region {width}x{height}");
        println!("{name:16} {prepared:8.3} {copy:8.3} {:8.1}", prepared / copy.max(1e-6));
    }
    Ok(())
}

/// A picture in which no two neighbours are alike.
fn noise() -> Frame {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let bytes = OwnedI420::bytes(WIDTH as usize, HEIGHT as usize);
    let planes =
        OwnedI420::new(WIDTH, HEIGHT, (0..bytes).map(|_| next()).collect()).expect("as many bytes as it needs");
    let time = FrameTime::of_file(UtcMillis(0), MonoMillis(0));
    Frame { bt709: true, ..Frame::made(CameraId("bench".into()), time, (WIDTH, HEIGHT), Arc::new(planes)) }
}

/// All bytes of a region, row by row.
fn copy(frame: &Frame, region: Region, into: &mut Vec<u8>) {
    for (i, part) in [1, 2, 2].into_iter().enumerate() {
        let (plane, stride) = frame.planes.plane(i);
        let [x, y, width, height] = [region.x, region.y, region.width, region.height].map(|n| (n / part) as usize);
        for row in y..y + height {
            into.extend_from_slice(&plane[row * stride + x..][..width]);
        }
    }
}

fn timed<E>(runs: u32, mut run: impl FnMut() -> Result<(), E>) -> Result<Vec<Duration>, E> {
    for _ in 0..WARM {
        run()?;
    }
    let once = |_| {
        let start = precise_now();
        run()?;
        Ok(precise_now() - start)
    };
    (0..runs).map(once).collect()
}

fn counts(asked: &[u32], cores: u32) -> Vec<u32> {
    if asked.is_empty() {
        return (0..8).map(|n| 1 << n).take_while(|n| *n <= cores).collect();
    }
    asked.iter().map(|n| (*n).clamp(1, 64)).collect()
}

/// Middle and edges of some times, milliseconds.
#[derive(Debug, PartialEq)]
struct Spread {
    median: f64,
    p10: f64,
    p90: f64,
    least: f64,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |part: f64| {
            let last = times.len().saturating_sub(1) as f64;
            times.get((last * part).round() as usize).map_or(0.0, |t| t.as_secs_f64() * 1000.0)
        };
        Self { median: at(0.5), p10: at(0.1), p90: at(0.9), least: at(0.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_of_sorted_times_and_threads_double_up_to_the_cores() {
        let times = (1..=11).rev().map(Duration::from_millis).collect();
        assert_eq!(Spread::of(times), Spread { median: 6.0, p10: 2.0, p90: 10.0, least: 1.0 });
        assert_eq!(counts(&[], 6), [1, 2, 4]);
        assert_eq!(counts(&[3, 0], 2), [3, 1]);
    }
}

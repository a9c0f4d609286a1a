//! `gatewatch simulate`: scenes served as RTSP cameras, recorded to files, or drawn as pictures for training. The work
//! is in `simulate`.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

use crate::camera::Codec;
use crate::clock::UtcMillis;
use crate::config::Secret;
use crate::simulate::light::Hour;
use crate::simulate::record::{Recording, record};
use crate::simulate::{
    COMMANDS, Renderer, Scenario, SceneSource, ServerOptions, SimCamera, SimKind, SimServer, TruthLog, dataset,
    parse_command,
};

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
    /// A scenario as an MP4 file with truth beside it.
    Render(RenderArgs),
    /// Scenarios and files as RTSP cameras; lines on standard input such as `lane freeze 5s` make them misbehave.
    Serve(ServeArgs),
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

/// How scenes look.
#[derive(Debug, Parser)]
struct Look {
    /// Same seed, same colours and textures.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Time of day.
    #[arg(long, value_enum, default_value = "day")]
    hour: HourArg,
    /// Rain.
    #[arg(long)]
    rain: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum HourArg {
    Day,
    Dusk,
    Night,
}

impl Look {
    fn scene(&self, scenario: Scenario) -> crate::simulate::Scene {
        let hour = match self.hour {
            HourArg::Day => Hour::Day,
            HourArg::Dusk => Hour::Dusk,
            HourArg::Night => Hour::Night,
        };
        scenario.scene(self.seed, hour, self.rain)
    }
}

#[derive(Debug, Parser)]
struct RenderArgs {
    /// Which.
    #[arg(long, value_enum)]
    scenario: Scenario,
    /// Length.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Pictures a second.
    #[arg(long, default_value_t = 10)]
    fps: u32,
    /// Pixels, even.
    #[arg(long, default_value_t = 960)]
    width: u32,
    /// Pixels, even.
    #[arg(long, default_value_t = 540)]
    height: u32,
    /// h264 or h265.
    #[arg(long, default_value = "h264", value_parser = codec)]
    codec: Codec,
    /// Time of the first picture in the truth.
    #[arg(long, default_value = "2026-03-02T03:00:00Z", value_parser = UtcMillis::parse_rfc3339)]
    start: UtcMillis,
    /// Video to write.
    #[arg(long)]
    out: PathBuf,
    /// Truth to write, one JSON line a frame.
    #[arg(long)]
    truth: Option<PathBuf>,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, Parser)]
struct ServeArgs {
    /// NAME=SCENARIO[,codec=h264|h265,width=960,height=540,fps=10,kbit=1500].
    #[arg(long = "camera", value_name = "SPEC")]
    cameras: Vec<String>,
    /// NAME=PATH of a recording with H.264 or H.265, served as it is.
    #[arg(long = "file", value_name = "NAME=PATH")]
    files: Vec<String>,
    /// 0 = a free one.
    #[arg(long, default_value_t = 8554)]
    port: u16,
    /// Folder for truth, NAME.jsonl for each drawn camera.
    #[arg(long)]
    truth: Option<PathBuf>,
    /// User that viewers need.
    #[arg(long, requires = "password_env")]
    user: Option<String>,
    /// Environment variable that holds the user's password.
    #[arg(long, requires = "user")]
    password_env: Option<String>,
    #[command(flatten)]
    look: Look,
}

fn codec(text: &str) -> Result<Codec, String> {
    match text {
        "h264" => Ok(Codec::H264),
        "h265" => Ok(Codec::H265),
        _ => Err(format!("{text:?} is neither h264 nor h265")),
    }
}

/// Runs the subcommand.
///
/// # Errors
/// When something cannot be drawn, written or served.
pub fn run(args: Args) -> anyhow::Result<()> {
    match args.what {
        What::Dataset(a) => {
            dataset::write(&a.out, dataset::Order { images: a.images, seed: a.seed, size: (a.width, a.height) })
        }
        What::Render(a) => {
            let renderer = Renderer::new(a.look.scene(a.scenario), (a.width, a.height)).map_err(anyhow::Error::msg)?;
            let order = Recording { seconds: a.seconds, fps: a.fps, codec: a.codec, start: a.start };
            record(renderer, order, &a.out, a.truth.as_deref())
        }
        What::Serve(a) => serve(&a),
    }
}

/// A drawn camera from its text.
fn drawn(spec: &str, look: &Look) -> anyhow::Result<(SimCamera, TruthLog)> {
    let mut parts = spec.split(',');
    let (name, scenario) = parts
        .next()
        .and_then(|p| p.split_once('='))
        .with_context(|| format!("--camera {spec:?}: write NAME=SCENARIO[,codec=h265,width=960,...]"))?;
    let scenario = Scenario::from_str(scenario, true)
        .map_err(|_| anyhow::anyhow!("--camera {spec:?}: the scenarios are lane, bay, sampling, yard"))?;
    let (mut coding, mut width, mut height, mut fps, mut kbit) = (Codec::H264, 960, 540, 10, 1500);
    for part in parts {
        let (key, value) =
            part.split_once('=').with_context(|| format!("--camera {spec:?}: {part:?} is not KEY=VALUE"))?;
        let number = || value.parse::<u32>().with_context(|| format!("--camera {spec:?}: {value:?} is no number"));
        match key {
            "codec" => coding = codec(value).map_err(anyhow::Error::msg)?,
            "width" => width = number()?,
            "height" => height = number()?,
            "fps" => fps = number()?,
            "kbit" => kbit = number()?,
            _ => anyhow::bail!("--camera {spec:?}: {key:?} is none of codec, width, height, fps, kbit"),
        }
    }
    let (source, truth) = SceneSource::new(look.scene(scenario), (width, height)).map_err(anyhow::Error::msg)?;
    let source = Box::new(source);
    let kind = SimKind::Drawn { source, codec: coding, fps, bitrate_kbit: kbit, gop: (fps * 2).max(1) };
    Ok((SimCamera { name: name.into(), kind }, truth))
}

fn serve(a: &ServeArgs) -> anyhow::Result<()> {
    let (mut cameras, mut logs) = (Vec::new(), Vec::new());
    for spec in &a.cameras {
        let (camera, truth) = drawn(spec, &a.look)?;
        logs.push((camera.name.clone(), truth));
        cameras.push(camera);
    }
    for spec in &a.files {
        let (name, path) = spec.split_once('=').with_context(|| format!("--file {spec:?}: write NAME=PATH"))?;
        cameras.push(SimCamera { name: name.into(), kind: SimKind::File { path: path.into() } });
    }
    anyhow::ensure!(!cameras.is_empty(), "nothing to serve: give --camera NAME=SCENARIO or --file NAME=PATH");
    let server =
        SimServer::start(cameras, ServerOptions { port: a.port, credentials: credentials(a)?, ..Default::default() })?;
    let names: Vec<String> = server.names().map(String::from).collect();
    names.iter().for_each(|n| println!("{}", server.url(n)));
    println!("commands: CAMERA {COMMANDS}");
    if let Some(dir) = a.truth.clone() {
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        std::thread::Builder::new().name("sim-truth".into()).spawn(move || keep_truth(&dir, &logs))?;
    }
    obey(&server);
    Ok(())
}

fn credentials(a: &ServeArgs) -> anyhow::Result<Option<(String, Secret)>> {
    let (Some(user), Some(env)) = (&a.user, &a.password_env) else { return Ok(None) };
    let password = std::env::var(env).with_context(|| format!("--password-env: the variable {env} is not set"))?;
    Ok(Some((user.clone(), Secret::new(password))))
}

/// Does what the lines on standard input say; serves on without an input until the process is ended.
fn obey(server: &SimServer) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok).filter(|l| !l.trim().is_empty()) {
        let done =
            parse_command(&line).and_then(|(name, what)| server.misbehave(&name, &what).map_err(|e| e.to_string()));
        match done {
            Ok(()) => println!("ok: {line}"),
            Err(why) => eprintln!("{why}"),
        }
    }
    loop {
        std::thread::park();
    }
}

/// Writes new truth once a second until the process ends.
fn keep_truth(dir: &Path, logs: &[(String, TruthLog)]) {
    loop {
        for (name, log) in logs {
            if let Err(why) = append(&dir.join(format!("{name}.jsonl")), log) {
                tracing::error!(camera = %name, %why, "truth is not written any more");
                return;
            }
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

fn append(path: &Path, log: &TruthLog) -> anyhow::Result<()> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    let mut out = std::io::BufWriter::new(file);
    for frame in log.take() {
        writeln!(out, "{}", serde_json::to_string(&frame)?)?;
    }
    Ok(out.flush()?)
}

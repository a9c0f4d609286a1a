//! `gatewatch simulate`: scenes served as RTSP cameras, recorded to files, or drawn as pictures for training. The work
//! is in `simulate`.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

use crate::camera::Codec;
use crate::clock::UtcMillis;
use crate::config::{Config, HealthConfig, Secret};
use crate::event::EventMessage;
use crate::simulate::health::{self, Day, Said, Tracked};
use crate::simulate::light::Hour;
use crate::simulate::record::{Recording, record};
use crate::simulate::score::{self, Drill, Live, Spoil};
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
    /// Everything that can go wrong with a camera, everything that only looks like it, and a whole day in compressed time,
    /// played through camera health; prints how well it noticed and how often it cried wolf.
    Health(HealthArgs),
    /// A scenario as an MP4 file with truth beside it.
    Render(RenderArgs),
    /// Plays drills of every rule with their true boxes, whole and spoilt, and prints how well the rules reported what
    /// happened.
    Score(ScoreArgs),
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

#[derive(Debug, Parser)]
struct ScoreArgs {
    /// Same seed, same spoiling.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Repeats of the spoilt conditions, each with the next seed.
    #[arg(long, default_value_t = 5)]
    repeats: u64,
    /// Only the drill of this name.
    #[arg(long)]
    drill: Option<String>,
    /// Also every single event and what happened.
    #[arg(long)]
    events: bool,
    #[command(flatten)]
    live: LiveArgs,
}

/// Drills in real time, through a real camera.
#[derive(Debug, Parser)]
struct LiveArgs {
    /// Draw, code and serve each drill over RTSP and watch it as the agent does: camera, decoder, detector, tracker, rules.
    /// Takes as long as the drills are.
    #[arg(long)]
    pipeline: bool,
    /// With --pipeline: detector model.
    #[arg(long, value_name = "FILE", default_value = "models/gate.onnx")]
    model: PathBuf,
    /// With --pipeline: lowest score that counts and starts a track, instead of the defaults.
    #[arg(long)]
    min_score: Option<f32>,
    /// With --pipeline: boxes from the drawing instead of the model, at the pictures that the pipeline delivers.
    #[arg(long)]
    true_boxes: bool,
    /// With --pipeline: pictures analysed a second.
    #[arg(long, default_value_t = 5.0)]
    analysed_fps: f32,
    /// With --pipeline: pictures a second of the camera.
    #[arg(long, default_value_t = 10)]
    fps: u32,
    /// With --pipeline: pixels, even.
    #[arg(long, default_value_t = 960)]
    width: u32,
    /// With --pipeline: pixels, even.
    #[arg(long, default_value_t = 540)]
    height: u32,
    /// With --pipeline: drills played at once; each needs a core or so.
    #[arg(long, default_value_t = 1)]
    at_once: usize,
}

#[derive(Debug, Parser)]
struct HealthArgs {
    /// Hours of the day that are played after the cases; 0 = none.
    #[arg(long, default_value_t = 24.0)]
    hours: f64,
    /// Seconds between two pictures of the day.
    #[arg(long, default_value_t = 1.0)]
    step: f64,
    /// Only cases whose name contains this; `none` = only the day.
    #[arg(long, default_value = "")]
    only: String,
    /// Also what was said in each case.
    #[arg(long)]
    events: bool,
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
        What::Health(a) => check_health(&a),
        What::Render(a) => {
            let renderer = Renderer::new(a.look.scene(a.scenario), (a.width, a.height)).map_err(anyhow::Error::msg)?;
            let order = Recording { seconds: a.seconds, fps: a.fps, codec: a.codec, start: a.start };
            record(renderer, order, &a.out, a.truth.as_deref())
        }
        What::Score(a) => score_rules(&a),
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

/// One table for each condition: share of the pictures, and how the boxes are spoilt.
fn score_rules(a: &ScoreArgs) -> anyhow::Result<()> {
    let drills: Vec<Drill> =
        score::all().into_iter().filter(|d| a.drill.as_ref().is_none_or(|n| n == d.name)).collect();
    anyhow::ensure!(
        !drills.is_empty(),
        "--drill: there are {}",
        score::all().iter().map(|d| d.name).collect::<Vec<_>>().join(", ")
    );
    let mut played = Vec::new();
    for drill in drills {
        let samples = score::samples(&drill).map_err(anyhow::Error::msg)?;
        let truth = score::truth(&drill, &samples);
        played.push((drill, samples, truth));
    }
    if a.live.pipeline {
        return score_live(a, &played);
    }
    for (what, noise, swaps) in [("true boxes", false, false), ("noise", true, false), ("swaps", false, true)] {
        for (share, nth) in [(100, 1), (50, 2), (20, 5)] {
            let seeds = if noise || swaps { a.repeats.max(1) } else { 1 };
            let mut rows = BTreeMap::new();
            for seed in a.seed..a.seed + seeds {
                for (drill, samples, truth) in &played {
                    let spoil = Spoil { nth, noise, swaps, seed };
                    let outcome = score::play(drill, samples, spoil)?;
                    if a.events {
                        tell(drill, truth, &outcome.messages);
                    }
                    for (rule, row) in score::score(&outcome, truth, score::interval_ms(nth)) {
                        rows.entry(rule).or_insert_with(score::Row::default).add(&row);
                    }
                }
            }
            println!("{what}, {share} % of the pictures ({} ms apart), {seeds} round(s)", score::interval_ms(nth));
            println!("{}", score::table(&rows));
        }
    }
    Ok(())
}

type Prepared = (Drill, Vec<score::Sample>, Vec<score::Happened>);

/// The same drills through the whole pipeline, several at once.
fn score_live(a: &ScoreArgs, drills: &[Prepared]) -> anyhow::Result<()> {
    let live = &a.live;
    let mut config = Config::default();
    config.detector.model.clone_from(&live.model);
    config.analysis.fps = live.analysed_fps;
    if let Some(score) = live.min_score {
        (config.detector.min_score, config.tracker.start_score) = (score, score);
    }
    let how = Live { config, true_boxes: live.true_boxes, fps: live.fps, size: (live.width, live.height) };
    #[expect(clippy::cast_possible_truncation, reason = "an interval is at most ten seconds")]
    let interval_ms = (1000.0 / f64::from(live.analysed_fps)).round() as i64;
    let mut rows = BTreeMap::new();
    for group in drills.chunks(live.at_once.max(1)) {
        let played: Vec<anyhow::Result<score::Played>> = std::thread::scope(|scope| {
            let each = group.iter().map(|(drill, ..)| scope.spawn(|| score::play_live(drill, &how)));
            let threads: Vec<_> = each.collect();
            let done = |t: std::thread::ScopedJoinHandle<'_, _>| {
                t.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a drill ended badly")))
            };
            threads.into_iter().map(done).collect()
        });
        for ((drill, _, truth), played) in group.iter().zip(played) {
            let played = played?;
            if a.events {
                tell(drill, truth, &played.messages);
            }
            eprintln!("{}: {} pictures analysed, {} missed", drill.name, played.analysed, played.overwritten);
            let silent = |h: &score::Happened| played.silent.contains(&h.rule.as_str());
            let (unserved, truth): (Vec<_>, Vec<_>) = truth.iter().cloned().partition(silent);
            for happened in unserved {
                rows.entry(happened.rule).or_insert_with(score::Row::default).unserved += 1;
            }
            let outcome = score::Outcome { messages: played.messages, swaps: Vec::new() };
            for (rule, row) in score::score(&outcome, &truth, interval_ms) {
                rows.entry(rule).or_insert_with(score::Row::default).add(&row);
            }
        }
    }
    let boxes = if live.true_boxes { "true boxes".into() } else { live.model.display().to_string() };
    println!("through the pipeline, {boxes}, {interval_ms} ms between analysed pictures");
    println!("{}", score::table(&rows));
    Ok(())
}

fn check_health(a: &HealthArgs) -> anyhow::Result<()> {
    let limits = HealthConfig::default();
    let mut rows = BTreeMap::new();
    let wanted = |name: &str| name.contains(&a.only);
    let (mut cost_ms, mut played) = (0.0, 0u32);
    for case in health::faults().map_err(anyhow::Error::msg)?.into_iter().filter(|c| wanted(&c.name)) {
        let (said, cost) = health::play(case.script, &limits).map_err(anyhow::Error::msg)?;
        let outcome = health::judge(&case.truth, &said);
        if a.events || !outcome.clean() {
            println!("{}: {outcome:?}", case.name);
            tell_health(&said);
        }
        (cost_ms, played) = (cost_ms + cost, played + 1);
        rows.entry(case.truth.condition).or_insert_with(health::Row::default).add(&outcome);
    }
    println!("{}", health::table(&rows));
    if played > 0 {
        println!("a look at a picture took {:.2} ms\n", cost_ms / f64::from(played));
    }
    Tracked::ALL.into_iter().try_for_each(|tracked| check_quiet(a, tracked, &limits))
}

/// What only looks wrong, and the day, with what is known of vehicles.
fn check_quiet(a: &HealthArgs, tracked: Tracked, limits: &HealthConfig) -> anyhow::Result<()> {
    let (mut quiet, mut wrong) = (0, 0);
    for case in health::harmless(tracked).map_err(anyhow::Error::msg)?.into_iter().filter(|c| c.name.contains(&a.only))
    {
        let (said, _) = health::play(case.script, limits).map_err(anyhow::Error::msg)?;
        let alarms = health::judge_harmless(&said).len();
        (quiet, wrong) = (quiet + 1, wrong + alarms);
        if a.events || alarms > 0 {
            println!("{}: {alarms} false alarm(s)", case.name);
            tell_health(&said);
        }
    }
    let who = match tracked {
        Tracked::Nobody => "nobody tracks",
        Tracked::Nothing => "the tracker finds nothing",
        Tracked::Truly => "the tracker finds everything",
    };
    println!("harmless, {who}: {quiet} cases, {wrong} false alarms");
    if a.hours > 0.0 {
        let day = Day { hours: a.hours, step: a.step, tracked };
        let (said, cost) =
            health::play(health::day(day).map_err(anyhow::Error::msg)?, limits).map_err(anyhow::Error::msg)?;
        tell_health(&said);
        let alarms = health::judge_harmless(&said).len();
        println!("a day of {} h, {who}: {alarms} false alarms; a look at a picture took {cost:.2} ms", a.hours);
    }
    Ok(())
}

fn tell_health(said: &[Said]) {
    for s in said {
        let (change, seconds) = (&s.change, s.at_ms as f64 / 1000.0);
        let figures: Vec<String> = change.figures.iter().map(|f| format!("{} {}", f.name, f.value)).collect();
        println!("  {seconds:9.1} s {:?} {} {}", change.phase, change.condition, figures.join(", "));
    }
}

fn tell(drill: &Drill, truth: &[score::Happened], messages: &[EventMessage]) {
    println!("drill {}", drill.name);
    for h in truth {
        println!("  happened {:<26} {:8.2} {:8.2}", h.rule.as_str(), h.start, h.end);
    }
    for m in messages {
        let d = &m.data;
        let (start, best) = (d.capture.start.since(score::START), m.time.since(score::START));
        println!(
            "  {:<8} {:<26} {start:8} ms, said {best:8} ms, lasted {:?} {:?} {} {}",
            format!("{:?}", d.phase).to_lowercase(),
            d.rule.as_str(),
            d.dwell_ms,
            d.end_reason,
            d.object.label,
            m.id
        );
    }
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

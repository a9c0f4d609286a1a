//! `gatewatch demo`: simulated cameras over RTSP, a broker, the agent, a clearance feed and the live page on one machine,
//! with real sockets between all of them. The main job, to be looked at.

mod cameras;
mod feed;
mod report;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::broadcast::error::RecvError;

use super::agent::stop_signal;
use crate::agent::Agent;
use crate::camera::shown_url;
use crate::clock::{UtcMillis, utc_now};
use crate::config::{Config, HttpConfig, MqttConfig, SiteConfig, StoreConfig};
use crate::desk::{Desk, DeskConfig, LiveDesk};
use crate::event::EventMessage;
use crate::mqtt::{EmbeddedBroker, SeenMessage, Subscriber};
use crate::telemetry::metrics::{self, Metrics};
use cameras::Cameras;
use report::Report;

/// Says that a folder was made by the demo.
const MARK: &str = "made-by-demo";
/// The demo's configuration in its folder.
const CONFIG: &str = "gatewatch.toml";
/// Port of the desk's pages on loopback, if it is free.
const DESK_PORT: u16 = 8482;
/// Who may sign in at the demo's desk.
const GUEST: &str = "demo";
/// Demos at once on one machine.
const MAX_DEMOS: u32 = 9;

/// Arguments of `demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Watch this recording (H.264 or H.265), served over RTSP again and again, instead of the drawn cameras.
    #[arg(long, value_name = "FILE", conflicts_with = "camera")]
    pub video: Option<PathBuf>,
    /// Watch this camera instead of the drawn ones; a user name and password in the address are taken out of it.
    #[arg(long, value_name = "RTSP_URL")]
    pub camera: Option<String>,
    /// End by itself after so many seconds and say whether the main job was done.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<u64>,
    /// Where the report goes.
    #[arg(long, value_name = "FILE", default_value = "demo-report.json")]
    pub report: PathBuf,
    /// Folder of the demo's store; emptied at start when it is one.
    #[arg(long, value_name = "DIR", default_value = "var/demo")]
    pub dir: PathBuf,
    /// Detector model.
    #[arg(long, value_name = "FILE", default_value = "models/gate.onnx")]
    pub model: PathBuf,
    /// Port of the live page on loopback; 0 = a free one.
    #[arg(long, default_value_t = 8481)]
    pub page_port: u16,
}

/// After the end, what is under way is given this long to arrive at the independent subscriber.
const ARRIVE: Duration = Duration::from_secs(10);

/// Runs the demo.
///
/// # Errors
/// When a part cannot start, or the report cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(work(args))?;
    // The embedded broker has no orderly end; it goes with the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    report.write(&args.report)?;
    println!("{report}");
    println!("Report: {}", args.report.display());
    Ok(if report.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn work(args: &Args) -> anyhow::Result<Report> {
    let began = utc_now();
    let args = &Args { dir: demo_dir(&args.dir)?, ..args.clone() };
    step("cameras");
    let cameras = Cameras::start(args)?;
    step("broker");
    let broker = tokio::task::spawn_blocking(|| EmbeddedBroker::start((Ipv4Addr::LOCALHOST, 0).into())).await??;
    let config = configuration(args, &cameras, &broker)?;
    let subscriber = Arc::new(Subscriber::start(config.mqtt.clone(), "gatewatch-demo-page")?);
    subscriber.connected().wait_for(|c| *c).await.context("the page's subscriber has stopped")?;
    let page = LiveDesk::start(page_address(args.page_port).await, Arc::clone(&subscriber)).await?;
    step("desk");
    let (desk, guest) = start_desk(args, &config).await?;
    let lines = tokio::spawn(print_events(Arc::clone(&subscriber)));
    step("detector, store and agent");
    let metrics = metrics::install().map_err(anyhow::Error::msg)?;
    let agent = Agent::start(config.clone(), None, metrics.clone()).await?;
    step("clearance feed");
    // Facts sent while nobody has subscribed are nobody's.
    let mut delivery = agent.delivery.clone();
    tokio::time::timeout(ARRIVE, delivery.wait_for(|d| d.connected)).await.context("no connection to the broker")??;
    let feed = tokio::spawn(feed::play(config.mqtt.clone(), agent.topics.clone(), config.cameras.clone(), began));
    introduce(&config, &agent, &page, &broker);
    println!("  Desk        http://{}/  sign in: {GUEST} / {guest}\n", desk.addr);
    wait_for_end(args.seconds).await?;
    println!("\nStopping ...");
    feed.abort();
    let report = finish(agent, &metrics, &subscriber, &config, began, args).await;
    desk.stop().await;
    lines.abort();
    report
}

async fn finish(
    agent: Agent,
    metrics: &Metrics,
    subscriber: &Subscriber,
    config: &Config,
    began: UtcMillis,
    args: &Args,
) -> anyhow::Result<Report> {
    let frames = report::frames(&metrics.render(), config);
    let store = agent.stop().await?;
    let figures = report::stored(&store, began).await?;
    store.close().await?;
    let arrived = async {
        while subscriber.stats().event_messages < figures.messages {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // Whatever is missing then is said by the report.
    let _ = tokio::time::timeout(ARRIVE, arrived).await;
    let drawn = args.video.is_none() && args.camera.is_none();
    Ok(Report::new(frames, figures, subscriber.stats(), utc_now().since(began), drawn))
}

fn step(what: &str) {
    println!("Starting {what} ...");
}

async fn wait_for_end(seconds: Option<u64>) -> anyhow::Result<()> {
    match seconds {
        None => stop_signal().await?,
        Some(s) => tokio::select! {
            done = stop_signal() => done?,
            () = tokio::time::sleep(Duration::from_secs(s)) => {}
        },
    }
    Ok(())
}

/// The folder for this demo, empty: the wanted one, or one beside it while another demo runs there. Only what a demo
/// made, or nothing, is removed.
fn demo_dir(wanted: &Path) -> anyhow::Result<PathBuf> {
    for n in 1..=MAX_DEMOS {
        let dir = if n == 1 { wanted.to_owned() } else { PathBuf::from(format!("{}-{n}", wanted.display())) };
        if crate::store::in_use(&dir) && dir.join(MARK).exists() {
            continue;
        }
        empty_demo_dir(&dir)?;
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        std::fs::write(dir.join(MARK), "gatewatch demo removes this folder when it starts\n")
            .with_context(|| format!("cannot write into {}", dir.display()))?;
        return Ok(dir);
    }
    anyhow::bail!("{MAX_DEMOS} demos run already; end one, or choose another --dir")
}

fn empty_demo_dir(dir: &Path) -> anyhow::Result<()> {
    if dir.join(MARK).exists() && !crate::store::in_use(dir) {
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    let mut left = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e).with_context(|| format!("cannot look into {}", dir.display())),
    };
    anyhow::ensure!(left.next().is_none(), "{} is not empty and no demo's store; choose another --dir", dir.display());
    Ok(())
}

/// The wanted port, or a free one when it is taken: a second demo must not fail for that.
async fn page_address(port: u16) -> SocketAddr {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match tokio::net::TcpListener::bind(wanted).await {
        Ok(_) => wanted,
        Err(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}

fn configuration(args: &Args, cameras: &Cameras, broker: &EmbeddedBroker) -> anyhow::Result<Config> {
    let mut config = Config {
        site: SiteConfig { box_id: "demo".into(), name: "Cửa khẩu trình diễn".into(), ..SiteConfig::default() },
        // The commands that read its file may be run from anywhere.
        store: StoreConfig { dir: std::path::absolute(&args.dir)?, ..StoreConfig::default() },
        mqtt: MqttConfig { url: broker.url(), ..MqttConfig::default() },
        http: HttpConfig { listen: Some((Ipv4Addr::LOCALHOST, 0).into()), ..HttpConfig::default() },
        cameras: cameras.configs(&args.dir)?,
        ..Config::default()
    };
    config.detector.model.clone_from(&args.model);
    // The demo's bookings are minutes long; the usual grace would make every one a candidate.
    (config.register.grace_before_s, config.register.grace_after_s) = (10, 10);
    // What is built here goes through the same checks as a file.
    let text = toml::to_string(&config).context("the demo's configuration cannot be written")?;
    let parsed = crate::config::parse(&text, "demo")?;
    // For the commands that ask a box's store: evidence, reports.
    let path = args.dir.join(CONFIG);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(parsed)
}

/// The duty room's side on the same broker, its data beside the box's.
async fn start_desk(args: &Args, config: &Config) -> anyhow::Result<(Desk, String)> {
    let mut desk = DeskConfig::default();
    desk.desk.dir = args.dir.join("desk");
    desk.mqtt.url.clone_from(&config.mqtt.url);
    desk.mqtt.client_id = "demo-desk".into();
    desk.http.listen = page_address(DESK_PORT).await;
    let desk = Desk::start(desk).await?;
    let password = desk.add_guest(GUEST).await?;
    Ok((desk, password))
}

fn introduce(config: &Config, agent: &Agent, page: &LiveDesk, broker: &EmbeddedBroker) {
    println!("\ngatewatch demo is running; Ctrl-C ends it.");
    println!("  Look here:  {}", page.url());
    for c in &config.cameras {
        let areas: Vec<&str> = c.areas.iter().map(|a| a.id.0.as_str()).collect();
        let lines: Vec<&str> = c.lines.iter().map(|l| l.id.0.as_str()).collect();
        println!(
            "  Camera      {:<10} {}  areas: {}  lines: {}",
            c.id,
            shown_url(&c.url),
            areas.join(" "),
            lines.join(" ")
        );
    }
    println!("  MQTT        {}  topics {}", broker.url(), config.mqtt.topic_prefix);
    if let Some(http) = agent.http {
        println!("  Agent       http://{http}/metrics  /readyz  /api/status");
        println!("  Video       http://{http}/api/events/ID/clip  with the ID of an event");
    }
    println!("  Detector    {}", agent.detector);
    println!("  Store       {}", config.store.dir.display());
    println!("  Evidence    gatewatch evidence log --config {}", config.store.dir.join(CONFIG).display());
}

async fn print_events(subscriber: Arc<Subscriber>) {
    let mut messages = subscriber.messages();
    loop {
        match messages.recv().await {
            Ok(seen) => {
                if let SeenMessage::Event { message, .. } = seen.as_ref() {
                    println!("{}", line(message));
                }
            }
            Err(RecvError::Lagged(n)) => println!("({n} lines left out)"),
            Err(RecvError::Closed) => return,
        }
    }
}

/// One line per event, as it came back from the broker.
fn line(event: &EventMessage) -> String {
    let d = &event.data;
    let keys: Vec<&str> = d.link.links.iter().map(|l| l.decl_key.0.as_str()).collect();
    let verdict = format!("{:?}", d.link.verdict).to_lowercase();
    let dwell = d.dwell_ms.map(|ms| format!(" {:.1} s", ms as f64 / 1000.0)).unwrap_or_default();
    format!(
        "{} #{:<4} sev {} {:<9} {:<10} {:<6} {:<12}{dwell}  {} {}",
        &d.capture.best.to_rfc3339()[11..19],
        d.sequence.seq,
        d.severity,
        d.area.id,
        d.rule.as_str(),
        format!("{:?}", d.phase).to_lowercase(),
        d.object.label,
        verdict,
        keys.join(" "),
    )
}

//! A box under test: drawn cameras over RTSP, the agent as a process of its own, and a door to the broker that can be
//! shut. What is judged is in the themes.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use gatewatch::camera::{CameraId, Codec};
use gatewatch::config::{
    AreaConfig, AreaKind, CameraConfig, Config, DecodeMode, DwellConfig, HttpConfig, MqttConfig, RuleConfig,
    SecretSource, SiteConfig, StoreConfig, Transport,
};
use gatewatch::geometry::Polygon;
use gatewatch::rules::AreaId;
use gatewatch::simulate::light::Hour;
use gatewatch::simulate::scene::AreaShape;
use gatewatch::simulate::{Scenario, Scene, SceneSource, ServerOptions, SimCamera, SimKind, SimServer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::mosquitto::free_port;
use super::{until, wait_for};

/// Small pictures: the drawing and coding share the machine with the detector.
pub const SIZE: (u32, u32) = (640, 360);

/// The detector of the repository.
pub fn own_model() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/gate.onnx");
    assert!(path.is_file(), "{} belongs to the repository", path.display());
    path
}

/// The inspection bay by day.
pub fn bay() -> Scene {
    Scenario::Bay.scene(7, Hour::Day, false)
}

/// Serves a scene at `/bay`.
pub fn serve(scene: Scene, codec: Codec, options: ServerOptions) -> SimServer {
    let (source, _truth) = SceneSource::new(scene, SIZE).unwrap();
    let kind = SimKind::Drawn { source: Box::new(source), codec, fps: 8, bitrate_kbit: 1500, gop: 8 };
    SimServer::start(vec![SimCamera { name: "bay".into(), kind }], options).unwrap()
}

/// The area of the bay as the scene draws it.
pub fn bay_polygon() -> Polygon {
    bay().areas().into_iter().find_map(|a| if let AreaShape::Area(p) = a.shape { Some(p) } else { None }).unwrap()
}

/// An area where entering, leaving and staying are reported.
pub fn area(id: &str, polygon: Polygon, dwell_s: f64) -> AreaConfig {
    AreaConfig {
        settle_ms: 200,
        enter: Some(RuleConfig { severity: 1 }),
        exit: Some(RuleConfig { severity: 1 }),
        dwell: Some(DwellConfig { limit_s: dwell_s, severity: 2 }),
        ..AreaConfig::plain(AreaId(id.into()), AreaKind::InspectionBay, polygon)
    }
}

/// A camera without areas.
pub fn camera(id: &str, url: String) -> CameraConfig {
    CameraConfig {
        id: CameraId(id.into()),
        name: String::new(),
        url,
        username: None,
        password: SecretSource::default(),
        transport: Transport::Tcp,
        ca_file: None,
        awake: Vec::new(),
        decode: DecodeMode::Always,
        decoder: None,
        stall_timeout_ms: 5000,
        record: true,
        record_url: None,
        onvif_topic: None,
        health_off: Vec::new(),
        areas: Vec::new(),
        lines: Vec::new(),
    }
}

/// An agent as a process, with its configuration and store in a folder of its own. Killed when dropped.
pub struct Gate {
    pub dir: tempfile::TempDir,
    pub config: Config,
    child: Option<Child>,
}

impl Drop for Gate {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            println!("---- the agent's log ----\n{}", self.log());
        }
    }
}

impl Gate {
    pub fn new(model: PathBuf, mqtt_url: String, cameras: Vec<CameraConfig>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config {
            site: SiteConfig { box_id: "gate-01".into(), ..SiteConfig::default() },
            store: StoreConfig { dir: dir.path().join("store"), ..StoreConfig::default() },
            mqtt: MqttConfig { url: mqtt_url, ..MqttConfig::default() },
            http: HttpConfig { listen: Some((Ipv4Addr::LOCALHOST, free_port()).into()), ..HttpConfig::default() },
            cameras,
            ..Config::default()
        };
        config.detector.model = model;
        // Drawn things are no photographs: a model trained on those is less sure of them.
        (config.detector.min_score, config.tracker.start_score) = (0.3, 0.3);
        config.analysis.max_regions = 1;
        Self { dir, config, child: None }
    }

    /// The program with a subcommand and the configuration as it is now.
    pub fn command(&self, what: &str) -> Command {
        let path = self.dir.path().join("gatewatch.toml");
        std::fs::write(&path, toml::to_string(&self.config).unwrap()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatewatch"));
        command.args(["--log", "info,gatewatch=debug", what, "--config"]).arg(path).stdin(Stdio::null());
        command
    }

    pub fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        self.child = Some(self.command("agent").stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// Of the running agent.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// As a power cut does.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the agent was started");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks it to end.
    pub fn ask_to_end(&self) {
        let pid = self.pid().expect("the agent was started");
        assert!(Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap().success());
    }

    /// Waits until it has ended.
    pub fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the agent was started");
        wait_for("the agent's end", || child.try_wait().unwrap())
    }

    /// Asks it to end, and waits.
    pub fn terminate(&mut self) -> ExitStatus {
        self.ask_to_end();
        self.ended()
    }

    /// Everything it said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Status and body; `None` while nobody listens.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let url = format!("http://{}{path}", self.config.http.listen?);
        gatewatch::install_crypto();
        let answer = reqwest::get(url).await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// Messages and pictures that wait to be acknowledged.
    pub async fn waiting(&self) -> Option<u64> {
        let status: serde_json::Value = serde_json::from_str(&self.get("/api/status").await?.1).ok()?;
        status["outbox"]["rows"].as_u64()
    }

    /// Ready, and facts can come in: the broker drops what is published before the box has subscribed.
    pub async fn until_ready(&self) {
        until("readiness", async || self.get("/readyz").await.filter(|(code, _)| *code == 200)).await;
        self.until_intake().await;
    }

    pub async fn until_intake(&self) {
        until("the intake of facts", async || {
            let ready: serde_json::Value = serde_json::from_str(&self.get("/readyz").await?.1).ok()?;
            (ready["parts"]["mqtt"]["message"] == "connected").then_some(())
        })
        .await;
    }

    /// Until the register has so many `declarations`, `bookings` and so on.
    pub async fn until_registered(&self, what: &str, count: u64) {
        until(&format!("{count} {what} in the register"), async || {
            let status: serde_json::Value = serde_json::from_str(&self.get("/api/status").await?.1).ok()?;
            (status["register"][what] == count).then_some(())
        })
        .await;
    }
}

/// Passes connections on to the broker while it is open; shutting it cuts them all.
pub struct Door {
    pub port: u16,
    open: Arc<AtomicBool>,
    cut: Arc<Mutex<CancellationToken>>,
}

impl Door {
    pub async fn to(broker: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(AtomicBool::new(true));
        let cut = Arc::<Mutex<CancellationToken>>::default();
        tokio::spawn({
            let (open, cut) = (Arc::clone(&open), Arc::clone(&cut));
            async move {
                while let Ok((mut client, _)) = listener.accept().await {
                    let cut = cut.lock().unwrap().clone();
                    if !open.load(Ordering::SeqCst) {
                        continue;
                    }
                    tokio::spawn(async move {
                        let Ok(mut to) = TcpStream::connect((Ipv4Addr::LOCALHOST, broker)).await else { return };
                        tokio::select! {
                            _ = copy_bidirectional(&mut client, &mut to) => {}
                            () = cut.cancelled() => {}
                        }
                    });
                }
            }
        });
        Self { port, open, cut }
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    pub fn shut(&self) {
        self.open.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.cut.lock().unwrap()).cancel();
    }

    pub fn open(&self) {
        self.open.store(true, Ordering::SeqCst);
    }
}

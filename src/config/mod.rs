//! Configuration: the file as written, checked into a [`Config`] that cannot be wrong. Read once at start.

mod area;
mod camera;
mod document;
pub mod drawn;
mod evidence;
mod files;
mod footage;
mod health;
mod load;
mod objects;
mod problems;
mod rule;
mod semantic;
mod shape;

pub mod secret;

use std::path::PathBuf;

pub use area::{AreaConfig, AreaKind, FilterConfig, LineConfig, LineDirection, LineKind, are_known};
pub use camera::{CameraConfig, DecodeMode, Transport};
pub use evidence::EvidenceConfig;
pub use footage::FootageConfig;
pub use health::HealthConfig;
pub use load::{Loaded, inspect, load, load_checked, parse, parse_as, parse_checked, schema};
pub use objects::{FootageStoreConfig, ObjectsConfig, ObjectsPlace};
pub use problems::{Level, Problem, Problems};
pub(crate) use rule::vehicles;
pub use rule::{
    BayConfig, DwellConfig, GateOutConfig, InspectionConfig, ObjectConfig, OccupancyConfig, OpenedConfig,
    RestrictedConfig, RuleConfig, StoppedConfig, TailgatingConfig, TimeOfWeek, UnbookedConfig, Weekday, WrongWayConfig,
};
pub use secret::Secret;
pub(crate) use semantic::reserved_box;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::vision::Label;

/// Everything the agent is told. Made by `config::load` only, so every value is in range.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the box stands.
    pub site: SiteConfig,
    /// Store, pictures, outbox.
    pub store: StoreConfig,
    /// Broker.
    pub mqtt: MqttConfig,
    /// HTTP API, metrics and health.
    pub http: HttpConfig,
    /// Detector.
    pub detector: DetectorConfig,
    /// How often and where to look.
    pub analysis: AnalysisConfig,
    /// Tracker.
    pub tracker: TrackerConfig,
    /// Life of events.
    pub events: EventsConfig,
    /// Declarations and bookings.
    pub register: RegisterConfig,
    /// Kept pictures.
    pub pictures: PicturesConfig,
    /// Recorded video.
    pub footage: FootageConfig,
    /// Chain of evidence.
    pub evidence: EvidenceConfig,
    /// Camera health.
    pub health: HealthConfig,
    /// Cameras.
    #[serde(rename = "camera")]
    pub cameras: Vec<CameraConfig>,
}

/// Where the box stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SiteConfig {
    /// Customs office code, four characters, e.g. `15BB`.
    #[schemars(regex(pattern = r"^[0-9A-Z]{4}$"))]
    pub office: String,
    /// Box id, unique in the office: `a-z 0-9 -`.
    #[serde(rename = "box")]
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9-]{0,31}$"))]
    pub box_id: String,
    /// Name for people.
    pub name: String,
    /// IANA time zone for pictures and duty days.
    pub time_zone: String,
    /// Language of pictures and pages.
    pub language: Language,
}

/// Language of what people read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Tiếng Việt.
    #[default]
    Vi,
    /// English.
    En,
}

impl Default for SiteConfig {
    fn default() -> Self {
        Self {
            office: "15BB".into(),
            box_id: "gate-01".into(),
            name: "Cửa khẩu".into(),
            time_zone: "Asia/Ho_Chi_Minh".into(),
            language: Language::Vi,
        }
    }
}

/// Store, pictures, outbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Folder of database and pictures; made if missing.
    pub dir: PathBuf,
    /// Bytes of undelivered messages and pictures kept at most; beyond it the lowest priority goes first, and an
    /// event says exactly what was dropped.
    #[schemars(range(min = 1_000_000))]
    pub outbox_max_bytes: u64,
    /// Days that delivered messages stay for `cmd/resync`.
    #[schemars(range(min = 1, max = 3650))]
    pub keep_messages_days: u32,
    /// Days that event pictures stay.
    #[schemars(range(min = 1, max = 3650))]
    pub keep_pictures_days: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            dir: "var/gatewatch".into(),
            outbox_max_bytes: 2_000_000_000,
            keep_messages_days: 30,
            keep_pictures_days: 365,
        }
    }
}

/// A secret, given apart from addresses. Exactly one of the two, or none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SecretSource {
    /// File that holds it (trailing newline ignored).
    pub file: Option<PathBuf>,
    /// Environment variable that holds it.
    pub env: Option<String>,
}

/// Broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MqttConfig {
    /// `mqtt://host:1883` or `mqtts://host:8883`.
    pub url: String,
    /// First levels of all topics.
    pub topic_prefix: String,
    /// User name; needs `password`.
    pub username: Option<String>,
    /// Password.
    pub password: SecretSource,
    /// PEM file of the authority that signed the broker's certificate; system authorities else.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the box's own certificate and key.
    pub client_cert_file: Option<PathBuf>,
    /// Key of `client_cert_file`.
    pub client_key_file: Option<PathBuf>,
    /// Largest packet we send; must not exceed the broker's limit.
    #[schemars(range(min = 16_384, max = 268_435_455))]
    pub max_packet_bytes: u32,
    /// QoS 1 publishes in flight; fewer while those are more bytes than the line takes in half a second, 256 KiB at least and 1 MiB at most.
    #[schemars(range(min = 1, max = 1000))]
    pub window: u16,
    /// Seconds.
    #[schemars(range(min = 5, max = 600))]
    pub keep_alive_s: u16,
    /// Seconds the broker waits before it announces a lost box (last will delay).
    #[schemars(range(max = 600))]
    pub will_delay_s: u32,
    /// Address of a broker inside the agent, e.g. `127.0.0.1:1883`; `None` = use another one. To try things out: it forgets everything with the
    /// agent, and in days of many events takes some hundred MiB.
    pub embedded_listen: Option<std::net::SocketAddr>,
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            url: "mqtt://127.0.0.1:1883".into(),
            topic_prefix: "gatewatch/v1".into(),
            username: None,
            password: SecretSource::default(),
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            max_packet_bytes: 1_048_576,
            window: 64,
            keep_alive_s: 30,
            will_delay_s: 15,
            embedded_listen: None,
        }
    }
}

/// HTTP API, metrics and health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Address of health, metrics, status and register. Beyond loopback a `token` is compulsory.
    pub listen: Option<std::net::SocketAddr>,
    /// Bearer token.
    pub token: SecretSource,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: Some(([127, 0, 0, 1], 8480).into()), token: SecretSource::default() }
    }
}

/// Detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DetectorConfig {
    /// ONNX file. What the graph does not say stands in its side-car, see docs/models.md.
    pub model: PathBuf,
    /// SHA-256 of the file in hex; another file is refused.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub model_sha256: Option<String>,
    /// Class names in the model's order; empty = from the model's metadata, its side-car, or COCO when it has 80.
    pub labels: Vec<Label>,
    /// Names changed after detection, e.g. `motorcycle = "two_wheeler"`.
    pub rename: std::collections::BTreeMap<Label, Label>,
    /// Names for several classes at once, for the `classes` of areas and lines; the classes stay themselves.
    pub groups: std::collections::BTreeMap<Label, Vec<Label>>,
    /// Output layout; `auto` recognises it.
    pub layout: LayoutChoice,
    /// Lowest score that counts, 0..1. Tracks may be continued by lower ones, see `tracker.low_score`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_score: f32,
    /// Lowest score by class; others use `min_score`.
    pub class_min_score: std::collections::BTreeMap<Label, f32>,
    /// Overlap (IoU) above which the weaker of two boxes of one class is suppressed, 0..1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub nms_iou: f32,
    /// Overlap by class; others use `nms_iou`.
    pub class_nms_iou: std::collections::BTreeMap<Label, f32>,
    /// ONNX Runtime library; `None` = `ORT_DYLIB_PATH`, beside the binary, `.deps`, the system.
    pub runtime_library: Option<PathBuf>,
    /// Where to compute; falls back to `cpu` with a warning.
    pub execution_provider: ExecutionProvider,
    /// Analysis workers; 0 = one per core, at most one per camera.
    #[schemars(range(max = 64))]
    pub workers: u32,
    /// Threads within one inference.
    #[schemars(range(min = 1, max = 64))]
    pub intra_threads: u32,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        let rename = [("bicycle", "two_wheeler"), ("motorcycle", "two_wheeler")];
        Self {
            model: "models/gate.onnx".into(),
            model_sha256: None,
            labels: Vec::new(),
            rename: rename.into_iter().map(|(a, b)| (a.into(), b.into())).collect(),
            groups: std::collections::BTreeMap::new(),
            layout: LayoutChoice::Auto,
            min_score: 0.4,
            class_min_score: std::collections::BTreeMap::new(),
            nms_iou: 0.6,
            class_nms_iou: std::collections::BTreeMap::new(),
            runtime_library: None,
            execution_provider: ExecutionProvider::Cpu,
            workers: 0,
            intra_threads: 1,
        }
    }
}

impl DetectorConfig {
    /// Classes with the names of groups replaced by their classes.
    fn without_groups(&self, classes: &[Label]) -> Vec<Label> {
        let mut all: Vec<Label> = Vec::with_capacity(classes.len());
        for class in classes {
            let members = self.groups.get(class).map_or(std::slice::from_ref(class), Vec::as_slice);
            all.extend(members.iter().filter(|m| !all.contains(m)).cloned().collect::<Vec<_>>());
        }
        all
    }
}

impl Config {
    /// Areas and lines speak of classes only.
    fn expand_groups(&mut self) {
        let Self { detector, cameras, .. } = self;
        for camera in cameras {
            camera.areas.iter_mut().for_each(|a| a.classes = detector.without_groups(&a.classes));
            camera.lines.iter_mut().for_each(|l| l.classes = detector.without_groups(&l.classes));
        }
    }
}

/// Output layout of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LayoutChoice {
    /// Recognise by names and shapes.
    #[default]
    Auto,
    /// `[1, N, 5+C]`, grid and stride decoding.
    Yolox,
    /// `[1, N, 5+C]`, boxes as they are, objectness.
    Yolov5,
    /// `[1, 4+C, N]`, no objectness (YOLOv8, YOLO11).
    Yolov8,
    /// `[1, N, 6]`: corners, score, class (YOLOv10, YOLO26).
    EndToEnd,
    /// `[N, 6]`: class, score, corners (PaddleDetection with suppression).
    Paddle,
    /// Labels, boxes and scores (RT-DETR, D-FINE, DEIM; torchvision).
    Detr,
    /// Logits and boxes of queries (RT-DETR, D-FINE, RF-DETR, DETR).
    DetrLogits,
    /// `[1, N, 4+C]`, boxes and scores of queries side by side (RT-DETR by Ultralytics).
    DetrRows,
    /// Classes and distances for each of three strides.
    Nanodet,
    /// `[1, N, C+32]`, classes and distances of four strides.
    NanodetPlus,
    /// Classes and distances for each of four strides.
    Picodet,
    /// `[1, 5+C, H/16, W/16]`.
    Fastestdet,
    /// Boxes, classes, scores and their number (TensorFlow).
    SsdSuppressed,
    /// Boxes, or offsets to anchors, and scores of every class.
    Ssd,
}

/// Where to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExecutionProvider {
    /// The processor.
    #[default]
    Cpu,
    /// Intel OpenVINO, where the library has it.
    Openvino,
    /// NVIDIA CUDA, where the library has it.
    Cuda,
    /// NVIDIA TensorRT, where the library has it.
    Tensorrt,
}

/// How often and where to look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AnalysisConfig {
    /// Frames analysed a second and camera, at most.
    #[schemars(range(min = 0.1, max = 60.0))]
    pub fps: f32,
    /// Regions looked at in one frame, at most; areas are merged until they fit.
    #[schemars(range(min = 1, max = 16))]
    pub max_regions: u32,
    /// Room around an area, as a fraction of its larger side.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub region_margin: f32,
}

impl Default for AnalysisConfig {
    fn default() -> Self {
        Self { fps: 5.0, max_regions: 4, region_margin: 0.15 }
    }
}

/// Tracker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrackerConfig {
    /// Detections from this score continue tracks in the second association, 0..1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub low_score: f32,
    /// Detections from this score start tracks, 0..1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub start_score: f32,
    /// A track is believed after this long between its first and latest match.
    #[schemars(range(max = 60_000))]
    pub confirm_ms: u32,
    /// A track not matched for this long is over.
    #[schemars(range(min = 100, max = 600_000))]
    pub lost_after_ms: u32,
}

impl Default for TrackerConfig {
    fn default() -> Self {
        Self { low_score: 0.1, start_score: 0.4, confirm_ms: 400, lost_after_ms: 3000 }
    }
}

/// Life of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventsConfig {
    /// From this severity an event is an alert: own topic, first lane.
    #[schemars(range(min = 1, max = 4))]
    pub alert_severity: u8,
    /// Seconds after which a lasting event is updated though nothing changed.
    #[schemars(range(min = 5, max = 3600))]
    pub update_every_s: u32,
    /// A message sent later than this after its capture is marked historical, seconds.
    #[schemars(range(min = 1, max = 86_400))]
    pub live_limit_s: u32,
    /// A situation of an area that is reported anew this soon after it ended is the same one, seconds. For `restricted`,
    /// `occupancy`, `person_without_inspection` and `opened_without_inspection`; what must last before it is reported (`after_s`)
    /// counts into it.
    #[schemars(range(max = 3600))]
    pub repeat_gap_s: u32,
    /// New events of one camera and of one severity or a greater one in a minute, at most; more are counted in
    /// `rate_limited` and kept back, what lasts until there is room. Never limits severity 4.
    #[schemars(range(min = 1, max = 10_000))]
    pub max_per_minute: u32,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self { alert_severity: 2, update_every_s: 60, live_limit_s: 1800, repeat_gap_s: 10, max_per_minute: 120 }
    }
}

/// Declarations and bookings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegisterConfig {
    /// A feed silent for longer is said on every event, seconds.
    #[schemars(range(min = 1, max = 604_800))]
    pub max_feed_age_s: u32,
    /// A vehicle may come this much before its booking, seconds.
    #[schemars(range(max = 86_400))]
    pub grace_before_s: u32,
    /// And stay this much after, seconds.
    #[schemars(range(max = 86_400))]
    pub grace_after_s: u32,
    /// CSV or JSON file of facts (declarations, bookings and the others), read at start and whenever it changes.
    pub file: Option<PathBuf>,
    /// A plate or container read this much before or after an event belongs to it, seconds.
    #[schemars(range(max = 3600))]
    pub observation_window_s: u32,
    /// Readings at one gate in one direction within this are one vehicle, where nothing else says so, seconds.
    #[schemars(range(min = 1, max = 600))]
    pub passage_s: u32,
    /// A visit that nobody saw end is over after this, seconds.
    #[schemars(range(min = 600, max = 2_592_000))]
    pub visit_timeout_s: u32,
    /// Events that ended are linked anew for this long when facts come late, hours.
    #[schemars(range(max = 720))]
    pub relink_h: u32,
    /// A tip without an end of its own is watched for this long, days.
    #[schemars(range(min = 1, max = 365))]
    pub tip_days: u32,
    /// Severity that an event of an open tip gets at least.
    #[schemars(range(min = 1, max = 4))]
    pub tip_severity: u8,
    /// Footage held before the first and after the last moment of a tip's range, seconds.
    #[schemars(range(max = 86_400))]
    pub tip_before_s: u32,
    /// And after.
    #[schemars(range(max = 86_400))]
    pub tip_after_s: u32,
    /// Owner codes (four letters) of containers for which a misread number may be put right; beside those of known
    /// declarations.
    pub container_owners: Vec<String>,
    /// How candidates are weighed.
    pub confidence: ConfidenceConfig,
}

impl Default for RegisterConfig {
    fn default() -> Self {
        Self {
            max_feed_age_s: 600,
            grace_before_s: 900,
            grace_after_s: 1800,
            file: None,
            observation_window_s: 60,
            passage_s: 20,
            visit_timeout_s: 86_400,
            relink_h: 72,
            tip_days: 30,
            tip_severity: 3,
            tip_before_s: 300,
            tip_after_s: 600,
            container_owners: [
                "CMAU", "COSU", "CSNU", "CSQU", "EGHU", "EGSU", "HLBU", "HLXU", "MAEU", "MEDU", "MRKU", "MSCU", "MSKU",
                "ONEU", "OOLU", "TCLU", "TCNU", "TEMU", "TGHU", "TRHU", "WHLU", "YMLU",
            ]
            .map(String::from)
            .to_vec(),
            confidence: ConfidenceConfig::default(),
        }
    }
}

impl RegisterConfig {
    /// Whether containers of this owner are known by configuration.
    #[must_use]
    pub fn knows_owner(&self, owner: &str) -> bool {
        self.container_owners.iter().any(|known| known.eq_ignore_ascii_case(owner))
    }
}

/// How candidates are weighed; all 0..1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConfidenceConfig {
    /// One booking alone.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub booking: f32,
    /// Each of several bookings that fit.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub booking_overlap: f32,
    /// Only within the grace time.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub booking_grace: f32,
    /// An officer's binding.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub officer: f32,
    /// A container number whose check digit fits, read with at least `container_sure`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub container: f32,
    /// The same, read less surely.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub container_low: f32,
    /// A container number put right by its check digit.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub container_corrected: f32,
    /// A container number whose check digit does not fit.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub container_unchecked: f32,
    /// A reader is sure from this confidence on.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub container_sure: f32,
    /// A plate that is exactly that of a booked or visiting vehicle.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub plate: f32,
    /// A plate within `plate_distance` of one.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub plate_near: f32,
    /// Largest weighted distance of a near plate: what readers confuse costs 0.3, any other character 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub plate_distance: f32,
    /// A seal number that one declaration alone has.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub seal: f32,
    /// What is inherited along a visit is this much of its parent, each time.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub hop: f32,
    /// Ways combined are never surer than this without an officer.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub cap: f32,
    /// From here a candidate may be `linked`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub link_min: f32,
    /// And must lead the next by this much.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub link_margin: f32,
    /// Below this a candidate is not mentioned.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub propose_min: f32,
}

impl Default for ConfidenceConfig {
    fn default() -> Self {
        Self {
            booking: 0.80,
            booking_overlap: 0.45,
            booking_grace: 0.40,
            officer: 0.99,
            container: 0.95,
            container_low: 0.85,
            container_corrected: 0.75,
            container_unchecked: 0.30,
            container_sure: 0.90,
            plate: 0.85,
            plate_near: 0.55,
            plate_distance: 0.60,
            seal: 0.90,
            hop: 0.90,
            cap: 0.98,
            link_min: 0.80,
            link_margin: 0.20,
            propose_min: 0.40,
        }
    }
}

/// Kept pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PicturesConfig {
    /// JPEG quality of the clean picture, 1..=100.
    #[schemars(range(min = 1, max = 100))]
    pub quality: u8,
    /// The annotated picture is made smaller until it fits.
    #[schemars(range(min = 10_000, max = 10_000_000))]
    pub max_published_bytes: u32,
    /// TrueType font with Vietnamese letters; `None` = DejaVu Sans of the system.
    pub font: Option<PathBuf>,
}

impl Default for PicturesConfig {
    fn default() -> Self {
        Self { quality: 90, max_published_bytes: 524_288, font: None }
    }
}

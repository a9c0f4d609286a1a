//! The detector: one model in one session. Regions of a frame in, detections in frame pixels out. The only part that
//! runs a model; what its output means is said in `layout`.

use std::collections::BTreeMap;
use std::path::Path;

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::value::TensorRef;
use sha2::{Digest, Sha256};

use super::layout::{InputSpec, Layout, RawBox};
use super::letterbox::Letterbox;
use super::preprocess::{PixelFormat, Preprocessor};
use super::regions::Region;
use super::suppress::{Candidate, suppress};
use super::{Detection, Label, labels, runtime};
use crate::camera::Frame;
use crate::clock::precise_now;
use crate::config::{DetectorConfig, ExecutionProvider};
use crate::event::message::ModelRef;
use crate::geometry::Rect;

/// Why there are no detections.
#[derive(Debug, thiserror::Error)]
pub enum DetectorError {
    /// No usable ONNX Runtime: get it, or name it.
    #[error("ONNX Runtime: {0}; run `make deps`, or set detector.runtime_library")]
    Runtime(String),
    /// The model cannot be read or used: name another one.
    #[error("model {path}: {reason}")]
    Model {
        /// File.
        path: String,
        /// What is wrong and what to set.
        reason: String,
    },
    /// This frame could not be used; the next may be.
    #[error("frame: {0}")]
    Frame(String),
    /// The run failed.
    #[error("inference: {0}")]
    Inference(String),
}

/// Finds things in frames. A trait because tests bring scripted detections.
pub trait Detect: Send {
    /// Everything found in the regions, in frame pixels, best first.
    ///
    /// # Errors
    /// When the frame cannot be used or the model fails on it.
    fn detect(&mut self, frame: &Frame, regions: &[Region]) -> Result<Vec<Detection>, DetectorError>;

    /// Pixels of the network input, for the planner of regions.
    fn input_size(&self) -> (u32, u32);
}

/// A loaded model with its buffers. `detect` needs it alone, so each analysis worker owns one.
#[derive(Debug)]
pub struct Detector {
    session: Session,
    layout: Layout,
    input: InputSpec,
    format: PixelFormat,
    /// Name of each class after renaming, and the first class with the same name.
    names: Vec<(Label, usize)>,
    floor: f32,
    nms_iou: f32,
    min_score: f32,
    class_min_score: BTreeMap<Label, f32>,
    model: ModelRef,
    provider: &'static str,
    preprocessor: Preprocessor,
    tensor: Vec<f32>,
    raw: Vec<RawBox>,
    found: Vec<Candidate>,
}

impl Detector {
    /// Loads library and model, recognises the layout by a first run. `floor` is the lowest score `detect` reports.
    ///
    /// # Errors
    /// When library or model cannot be used; the message says what to set.
    pub fn load(config: &DetectorConfig, floor: f32) -> Result<Self, DetectorError> {
        let refuse = |reason: String| DetectorError::Model { path: config.model.display().to_string(), reason };
        let bytes = std::fs::read(&config.model).map_err(|e| refuse(format!("{e}; set detector.model")))?;
        let (mut session, provider) = open(config, &bytes)?;
        let metadata = Metadata::of(&session);
        let input = input_spec(&session, &metadata).map_err(refuse)?;
        let tensor = vec![0.0; 3 * input.width as usize * input.height as usize];
        let shape = warm_up(&mut session, &input, &tensor)?;
        let layout = Layout::recognise(config.layout, metadata.layout.as_deref(), &shape, &input).ok_or_else(|| {
            refuse(format!("no known output layout ({}); set detector.layout or another model", describe(&session)))
        })?;
        let names = class_names(config, &metadata, layout.classes(&shape)).map_err(refuse)?;
        let detector = Self {
            session,
            layout,
            input,
            format: layout.pixels(&input),
            names: renamed(names, &config.rename),
            floor,
            nms_iou: config.nms_iou,
            min_score: config.min_score,
            class_min_score: config.class_min_score.clone(),
            model: model_ref(&config.model, &bytes),
            provider,
            preprocessor: Preprocessor::default(),
            tensor,
            raw: Vec::new(),
            found: Vec::new(),
        };
        tracing::info!(model = %detector.model.name, "{}", detector.description());
        Ok(detector)
    }

    /// File name and digest of the model.
    #[must_use]
    pub fn model(&self) -> ModelRef {
        self.model.clone()
    }

    /// What was recognised, for people.
    #[must_use]
    pub fn description(&self) -> String {
        let names: Vec<&str> = self.names.iter().map(|(l, _)| l.as_str()).collect();
        format!(
            "{}: layout {}, input {}x{} {} {}, picture {:?}, on {}, {} classes: {}",
            self.model.name,
            self.layout.name(),
            self.input.width,
            self.input.height,
            if self.format.rgb { "RGB" } else { "BGR" },
            if self.format.channels_last { "channels last" } else { "channels first" },
            self.layout.placement(),
            self.provider,
            names.len(),
            names.join(", ")
        )
    }

    /// Whether a detection reaches the score its class needs.
    #[must_use]
    pub fn passes(&self, detection: &Detection) -> bool {
        detection.score >= *self.class_min_score.get(&detection.label).unwrap_or(&self.min_score)
    }

    /// Runs the model on one region and adds what it found.
    fn look(&mut self, frame: &Frame, index: usize, region: Region) -> Result<(), DetectorError> {
        let letterbox = Letterbox::new(region, (self.input.width, self.input.height), self.layout.placement());
        self.preprocessor.fill(frame, &letterbox, &self.format, &mut self.tensor).map_err(DetectorError::Frame)?;
        let failed = |e: ort::Error| DetectorError::Inference(e.to_string());
        let tensor = TensorRef::from_array_view((dims(&self.input), self.tensor.as_slice())).map_err(failed)?;
        let outputs = self.session.run(ort::inputs![tensor]).map_err(failed)?;
        let (shape, data) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
        self.raw.clear();
        let bad = self.layout.decode(shape, data, &self.input, self.floor, &mut self.raw);
        if bad > 0 {
            metrics::counter!("gatewatch_detections_invalid_total").increment(bad as u64);
        }
        let whole = Region::whole(frame.width, frame.height).rect();
        for raw in &self.raw {
            let Some(&(_, class)) = self.names.get(raw.class) else { continue };
            let rect = letterbox.to_frame(&raw.rect);
            let cut = is_cut(&rect, &region.rect(), &whole);
            let rect = rect.intersection(&whole);
            if rect.area() > 0.0 {
                self.found.push(Candidate { class, score: raw.score.min(1.0), rect, region: index, cut });
            }
        }
        Ok(())
    }
}

impl Detect for Detector {
    fn detect(&mut self, frame: &Frame, regions: &[Region]) -> Result<Vec<Detection>, DetectorError> {
        self.found.clear();
        for (index, region) in regions.iter().enumerate() {
            let start = precise_now();
            self.look(frame, index, *region)?;
            metrics::histogram!("gatewatch_inference_duration_seconds").record((precise_now() - start).as_secs_f64());
        }
        suppress(&mut self.found, self.nms_iou);
        let detection =
            |c: &Candidate| Detection { label: self.names[c.class].0.clone(), score: c.score, rect: c.rect };
        Ok(self.found.iter().map(detection).collect())
    }

    fn input_size(&self) -> (u32, u32) {
        (self.input.width, self.input.height)
    }
}

/// What the model says about itself.
struct Metadata {
    names: Option<String>,
    layout: Option<String>,
    size: Option<String>,
}

impl Metadata {
    fn of(session: &Session) -> Self {
        let get = |key: &str| session.metadata().ok().and_then(|m| m.custom(key));
        Self { names: get("names"), layout: get("layout"), size: get("imgsz") }
    }
}

/// A session on the processor. The other providers need features of `ort` that this build leaves out, so asking for
/// one is answered with a warning.
fn open(config: &DetectorConfig, bytes: &[u8]) -> Result<(Session, &'static str), DetectorError> {
    if config.execution_provider != ExecutionProvider::Cpu {
        let provider = format!("{:?}", config.execution_provider).to_lowercase();
        tracing::warn!(
            provider,
            "this build computes on the processor only; set detector.execution_provider = \"cpu\""
        );
    }
    let (environment, _) = runtime::environment(config.runtime_library.as_deref())?;
    let builder = builder(&environment, config.intra_threads as usize);
    let session = builder
        .and_then(|mut b| b.commit_from_memory(bytes).map_err(|e| format!("{e}; set detector.model to an ONNX model")));
    let refuse = |reason| DetectorError::Model { path: config.model.display().to_string(), reason };
    Ok((session.map_err(refuse)?, "cpu"))
}

/// Idle threads sleep: spinning ones would take the processor from the decoders.
fn builder(environment: &Environment, threads: usize) -> Result<SessionBuilder, String> {
    let builder = Session::builder(environment).map_err(|e| e.to_string())?;
    let builder = builder.with_intra_threads(threads).map_err(|e| e.to_string())?;
    let builder = builder.with_inter_threads(1).map_err(|e| e.to_string())?;
    builder.with_intra_op_spinning(false).map_err(|e| e.to_string())
}

/// The one picture input; a size left open is taken from the model's `imgsz`, else 640.
fn input_spec(session: &Session, metadata: &Metadata) -> Result<InputSpec, String> {
    let unusable =
        || format!("needs one input [1,3,H,W] or [1,H,W,3] of floats ({}); set detector.model", describe(session));
    let [input] = session.inputs() else { return Err(unusable()) };
    let float = input.dtype().tensor_type() == Some(ort::value::TensorElementType::Float32);
    let shape = input.dtype().tensor_shape().filter(|_| float).ok_or_else(unusable)?;
    let text = metadata.size.as_deref().unwrap_or_default();
    let mut said = text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u32>().ok());
    let height = said.next().unwrap_or(640);
    let width = said.next().unwrap_or(height);
    let or = |n: i64, open: u32| u32::try_from(n).ok().filter(|n| *n > 0).unwrap_or(open);
    match shape[..] {
        [_, 3, h, w] => Ok(InputSpec { width: or(w, width), height: or(h, height), channels_last: false }),
        [_, h, w, 3] => Ok(InputSpec { width: or(w, width), height: or(h, height), channels_last: true }),
        _ => Err(unusable()),
    }
}

fn describe(session: &Session) -> String {
    let list = |outlets: &[ort::value::Outlet]| {
        let each = outlets
            .iter()
            .map(|o| format!("{} {:?}", o.name(), o.dtype().tensor_shape().map(|s| s.to_vec()).unwrap_or_default()));
        each.collect::<Vec<_>>().join(", ")
    };
    format!("inputs: {}; outputs: {}", list(session.inputs()), list(session.outputs()))
}

/// The first run allocates; its output shape is the true one where the model leaves it open.
fn warm_up(session: &mut Session, input: &InputSpec, tensor: &[f32]) -> Result<Vec<i64>, DetectorError> {
    let failed = |e: ort::Error| DetectorError::Inference(e.to_string());
    let tensor = TensorRef::from_array_view((dims(input), tensor)).map_err(failed)?;
    let outputs = session.run(ort::inputs![tensor]).map_err(failed)?;
    // Several outputs are none of our layouts: an empty shape is refused with the list of them.
    if outputs.len() != 1 {
        return Ok(Vec::new());
    }
    Ok(outputs[0].try_extract_tensor::<f32>().map(|(shape, _)| shape.to_vec()).unwrap_or_default())
}

fn dims(input: &InputSpec) -> [usize; 4] {
    let (w, h) = (input.width as usize, input.height as usize);
    if input.channels_last { [1, h, w, 3] } else { [1, 3, h, w] }
}

fn class_names(config: &DetectorConfig, metadata: &Metadata, classes: Option<usize>) -> Result<Vec<String>, String> {
    let configured = config.labels.iter().map(|l| l.as_str().to_owned()).collect();
    let own = metadata.names.as_deref().map(labels::parse).unwrap_or_default();
    let side_car = std::fs::read_to_string(config.model.with_extension("names")).unwrap_or_default();
    let coco = labels::coco(classes.unwrap_or(80)).unwrap_or_default();
    let names = [configured, own, labels::lines(&side_car), coco].into_iter().find(|n: &Vec<String>| !n.is_empty());
    let names = names.ok_or_else(|| format!("has {classes:?} classes without names; set detector.labels"))?;
    match classes {
        Some(n) if n != names.len() => Err(format!("has {n} classes, but {} names; set detector.labels", names.len())),
        _ => Ok(names),
    }
}

fn renamed(names: Vec<String>, rename: &BTreeMap<Label, Label>) -> Vec<(Label, usize)> {
    let mut list: Vec<(Label, usize)> = Vec::with_capacity(names.len());
    for name in names {
        let label = Label::from(name.as_str());
        let label = rename.get(&label).cloned().unwrap_or(label);
        let class = list.iter().position(|(l, _)| *l == label).unwrap_or(list.len());
        list.push((label, class));
    }
    list
}

fn model_ref(path: &Path, bytes: &[u8]) -> ModelRef {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    ModelRef { name, sha256: hex::encode(Sha256::digest(bytes)) }
}

/// Touches a border of the region, within a pixel or two, that is not a border of the frame.
fn is_cut(r: &Rect, region: &Rect, frame: &Rect) -> bool {
    let near = 2.0;
    (region.x0 > frame.x0 && r.x0 <= region.x0 + near)
        || (region.y0 > frame.y0 && r.y0 <= region.y0 + near)
        || (region.x1 < frame.x1 && r.x1 >= region.x1 - near)
        || (region.y1 < frame.y1 && r.y1 >= region.y1 - near)
}

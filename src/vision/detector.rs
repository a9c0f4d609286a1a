//! The detector: one model in one session. Regions of a frame in, detections in frame pixels out. What its output means
//! is said in `layout`, what is known of the model in `spec`.

use std::collections::BTreeMap;

use ort::session::Session;

use super::layout::RawBox;
use super::letterbox::Letterbox;
use super::preprocess::Preprocessor;
use super::regions::Region;
use super::session::{Opened, declared, open};
use super::spec::{Spec, Told};
use super::standby::model_ref;
use super::suppress::{Candidate, Limits, suppress};
use super::tensors::{self, Inputs};
use super::{Detection, Label};
use crate::camera::Frame;
use crate::clock::precise_now;
use crate::config::DetectorConfig;
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
    /// There is no model now; the next try to load it is due later.
    #[error("no detector: {0}")]
    Absent(String),
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

    /// File name and digest of the model that detects now.
    fn model(&self) -> &ModelRef;

    /// Classes of the model that detects now; `None` while that is not known.
    fn known(&self) -> Option<Vec<Label>> {
        None
    }

    /// Whether frames can be looked at now; tries again what is due.
    ///
    /// # Errors
    /// Why there is no detector.
    fn ready(&mut self) -> Result<(), DetectorError> {
        Ok(())
    }
}

/// A loaded model with its buffers. `detect` needs it alone, so each analysis worker owns one.
#[derive(Debug)]
pub struct Detector {
    session: Session,
    spec: Spec,
    inputs: Inputs,
    declared: Vec<String>,
    /// Name of each class after renaming, and the first class with the same name.
    names: Vec<(Label, usize)>,
    floor: f32,
    limits: Limits,
    model: ModelRef,
    provider: &'static str,
    preprocessor: Preprocessor,
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
        let model = model_ref(&config.model, &bytes);
        if let Some(wanted) = config.model_sha256.as_ref().filter(|d| **d != model.sha256) {
            return Err(refuse(format!("has digest {}, detector.model_sha256 asks for {wanted}", model.sha256)));
        }
        let Opened { mut session, provider } = open(config, &bytes)?;
        let (spec, inputs) = Spec::of(config, &mut session).map_err(refuse)?;
        let names = renamed(spec.names.clone(), &config.rename);
        let limits = Limits {
            iou: config.nms_iou,
            by_class: names.iter().map(|(l, _)| config.class_nms_iou.get(l).copied()).collect(),
            across_regions_only: spec.reading.layout.is_suppressed(),
            person: names.iter().position(|(l, _)| l.as_str() == "person"),
        };
        let detector = Self {
            declared: declared(&session),
            session,
            spec,
            inputs,
            names,
            floor,
            limits,
            model,
            provider,
            preprocessor: Preprocessor::default(),
            raw: Vec::new(),
            found: Vec::new(),
        };
        tracing::info!(model = %detector.model.name, "{}", detector.description());
        Ok(detector)
    }

    /// Where it computes: the configured provider, or `cpu` when that one cannot be had.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// Names of the classes that it can report.
    pub fn classes(&self) -> impl Iterator<Item = &Label> {
        self.names.iter().map(|(label, _)| label)
    }

    /// Inputs and outputs as the graph declares them.
    #[must_use]
    pub fn declared(&self) -> &[String] {
        &self.declared
    }

    /// What is known of the model, and who said it.
    #[must_use]
    pub fn told(&self) -> &[Told] {
        &self.spec.told
    }

    /// What was recognised, for people, in one line.
    #[must_use]
    pub fn description(&self) -> String {
        let names: Vec<&str> = self.names.iter().map(|(l, _)| l.as_str()).collect();
        let (input, preparation) = (&self.spec.input, &self.spec.preparation);
        format!(
            "{}: layout {}, input {}x{} {} channels {}, picture {}, on {}, {} classes: {}",
            self.model.name,
            self.spec.reading.layout.name(),
            input.width,
            input.height,
            if preparation.pixels.rgb { "RGB" } else { "BGR" },
            if input.channels_last { "last" } else { "first" },
            preparation.placement.name(),
            self.provider,
            names.len(),
            names.join(", ")
        )
    }

    /// The numbers the model is given for a region, in the order of its input. For comparing preparations.
    ///
    /// # Errors
    /// When the frame cannot be used.
    pub fn prepare(&mut self, frame: &Frame, region: Region) -> Result<&[f32], DetectorError> {
        self.place(frame, region)?;
        Ok(&self.inputs.picture)
    }

    /// Runs the model once on the picture it saw last (or none), without reading what it says. For measuring.
    ///
    /// # Errors
    /// When the run fails.
    pub fn run_once(&mut self) -> Result<(), DetectorError> {
        let failed = |e: ort::Error| DetectorError::Inference(e.to_string());
        self.session.run(self.inputs.values().map_err(failed)?).map_err(failed).map(drop)
    }

    fn place(&mut self, frame: &Frame, region: Region) -> Result<Letterbox, DetectorError> {
        let preparation = &self.spec.preparation;
        let letterbox = Letterbox::new(region, self.input_size(), preparation.placement);
        let picture = &mut self.inputs.picture;
        self.preprocessor.fill(frame, &letterbox, &preparation.pixels, picture).map_err(DetectorError::Frame)?;
        Ok(letterbox)
    }

    /// Runs the model on one region and adds what it found.
    fn look(&mut self, frame: &Frame, index: usize, region: Region) -> Result<(), DetectorError> {
        let letterbox = self.place(frame, region)?;
        let failed = |e: ort::Error| DetectorError::Inference(e.to_string());
        let ran = self.session.run(self.inputs.values().map_err(failed)?).map_err(failed)?;
        let outputs = tensors::outputs(&ran).map_err(DetectorError::Inference)?;
        self.raw.clear();
        let bad = self.spec.reading.decode(&outputs, self.floor, &mut self.raw);
        if bad > 0 {
            metrics::counter!("gatewatch_detections_invalid_total").increment(bad as u64);
        }
        // Numerical trouble of a box now and then is borne; a model that says nothing else has seen nothing.
        if bad > self.raw.len() {
            return Err(DetectorError::Inference(format!("{bad} boxes of the model are not numbers")));
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
    fn known(&self) -> Option<Vec<Label>> {
        Some(self.classes().cloned().collect())
    }

    fn detect(&mut self, frame: &Frame, regions: &[Region]) -> Result<Vec<Detection>, DetectorError> {
        self.found.clear();
        for (index, region) in regions.iter().enumerate() {
            let start = precise_now();
            self.look(frame, index, *region)?;
            metrics::histogram!(crate::telemetry::metrics::INFERENCE_DURATION)
                .record((precise_now() - start).as_secs_f64());
        }
        suppress(&mut self.found, &self.limits);
        let detection = |c: &Candidate| Detection {
            label: self.names[c.class].0.clone(),
            score: c.score,
            rect: c.rect,
            cut: c.cut,
        };
        Ok(self.found.iter().map(detection).collect())
    }

    fn input_size(&self) -> (u32, u32) {
        (self.spec.input.width, self.spec.input.height)
    }

    fn model(&self) -> &ModelRef {
        &self.model
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

/// Touches a border of the region, within a pixel or two, that is not a border of the frame.
fn is_cut(r: &Rect, region: &Rect, frame: &Rect) -> bool {
    let near = 2.0;
    (region.x0 > frame.x0 && r.x0 <= region.x0 + near)
        || (region.y0 > frame.y0 && r.y0 <= region.y0 + near)
        || (region.x1 < frame.x1 && r.x1 >= region.x1 - near)
        || (region.y1 < frame.y1 && r.y1 >= region.y1 - near)
}

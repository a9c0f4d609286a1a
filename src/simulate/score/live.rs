//! A drill played through everything: drawn, coded, served over RTSP, received, decoded, detected, tracked, judged. In real
//! time, on the drill's own clock: whatever comes out of the decoder is moved to it before the analysis.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::drills::{Drill, START};
use super::facts::Facts;
use super::truth::{SIZE, Seen, sample_at};
use crate::agent::lane::{Lane, LaneContext};
use crate::camera::{self, Codec, Frame, Mailbox};
use crate::clock::{UtcMillis, utc_now};
use crate::config::{Config, RegisterConfig};
use crate::customs::Register;
use crate::event::message::ModelRef;
use crate::event::{EventMessage, Finding};
use crate::ids::IdSource;
use crate::rules::EndReason;
use crate::simulate::feed::PictureSource;
use crate::simulate::{Renderer, SceneSource, ServerOptions, SimCamera, SimKind, SimServer, TruthLog};
use crate::track::Track;
use crate::vision::detector::{Detect, Detector, DetectorError};
use crate::vision::regions::Region;
use crate::vision::{Detection, Label};

/// The first moment of the script is shown for so long before it goes on, seconds: connecting takes a moment.
const LEAD_S: f64 = 6.0;
/// The camera must show its first picture within this.
const CONNECT_MS: i64 = 30_000;
/// Longest wait for one picture.
const TICK: Duration = Duration::from_millis(200);
/// Hidden by more than this a thing is not seen, where boxes are true.
const HIDDEN: f32 = 0.7;

/// How a drill is played.
#[derive(Debug, Clone)]
pub struct Live {
    /// Configuration of detector, analysis and tracker; cameras and register are the drill's.
    pub config: Config,
    /// Boxes come from the drawing instead of the model.
    pub true_boxes: bool,
    /// Pictures a second of the camera.
    pub fps: u32,
    /// Pixels.
    pub size: (u32, u32),
}

/// What came of it.
#[derive(Debug)]
pub struct Played {
    /// All messages, in order, on the drill's clock.
    pub messages: Vec<EventMessage>,
    /// Pictures analysed.
    pub analysed: u64,
    /// Pictures replaced before anybody took them: the machine was too slow.
    pub overwritten: u64,
    /// Rules of the drill that the model cannot serve, since it knows none of their classes.
    pub silent: Vec<&'static str>,
}

/// Plays one drill, which takes as long as it is. At the end the camera is lost.
///
/// # Errors
/// When the scene cannot be served, the model cannot be used, or the camera shows nothing.
pub fn play_live(drill: &Drill, how: &Live) -> anyhow::Result<Played> {
    let (source, truth) = SceneSource::new(drill.scene.clone(), how.size).map_err(anyhow::Error::msg)?;
    let source = Box::new(Delayed(source));
    let kind = SimKind::Drawn { source, codec: Codec::H264, fps: how.fps, bitrate_kbit: 3000, gop: how.fps };
    let server = SimServer::start(vec![SimCamera { name: "drill".into(), kind }], ServerOptions::default())?;
    let mut config = how.config.clone();
    (config.register.grace_before_s, config.register.grace_after_s) = (0, 0);
    let mut watched = drill.camera.clone();
    watched.url = server.url("drill");
    config.cameras = vec![watched.clone()];
    let (mut detector, known) = boxes(drill, how)?;
    let context = LaneContext {
        config_digest: "0".repeat(16),
        model: detector.model().clone(),
        input: detector.input_size(),
        config,
    };
    let mut player = Player {
        drill,
        lane: Lane::new(&context, &watched, &IdSource::counted(1))?,
        register: Register::default(),
        config: context.config.register.clone(),
        facts: Facts::of(drill),
        played: Played { messages: Vec::new(), analysed: 0, overwritten: 0, silent: silent(drill, known.as_deref()) },
    };
    player.register.apply_all(Vec::new(), Some(START));
    let mailbox = Arc::new(Mailbox::new(std::slice::from_ref(&watched.id)));
    let handle = camera::spawn(watched, mailbox.clone())?;
    let done = player.watch(&mailbox, &truth, detector.as_mut());
    handle.stop();
    player.played.overwritten = mailbox.overwritten();
    done.map(|()| player.played)
}

struct Player<'a> {
    drill: &'a Drill,
    lane: Lane,
    register: Register,
    config: RegisterConfig,
    facts: Facts<'a>,
    played: Played,
}

impl Player<'_> {
    fn watch(&mut self, mailbox: &Mailbox, truth: &TruthLog, detector: &mut dyn Detect) -> anyhow::Result<()> {
        let began = utc_now();
        let end = START.plus_ms(i64::from(self.drill.seconds) * 1000);
        // What is added to the camera's clock to be on the drill's.
        let mut shift: Option<i64> = None;
        loop {
            let frame = mailbox.take(TICK);
            shift = shift.or_else(|| truth.recent().iter().find(|f| f.t > 0.0).map(|f| drill_time(f.t).since(f.utc)));
            let Some((frame, shift)) = frame.zip(shift) else {
                let waited_ms = utc_now().since(began);
                anyhow::ensure!(
                    waited_ms < CONNECT_MS + i64::from(self.drill.seconds) * 1000,
                    "drill {}: the camera shows nothing any more",
                    self.drill.name
                );
                continue;
            };
            let frame = moved(frame, shift);
            if frame.time.utc >= end {
                break;
            }
            self.see(&frame, detector, utc_now().plus_ms(shift))?;
        }
        let snapshot = self.register.snapshot();
        let last = self.lane.close(EndReason::CameraLost, &snapshot, end);
        self.keep(last);
        Ok(())
    }

    fn see(&mut self, frame: &Frame, detector: &mut dyn Detect, now: UtcMillis) -> anyhow::Result<()> {
        let t = frame.time.utc.since(START) as f64 / 1000.0;
        self.facts.feed(&self.register, &self.config, t)?;
        if t >= 0.0 && self.lane.is_due(frame.time.mono) {
            self.played.analysed += 1;
            let findings = self.lane.analyse(frame, detector, &self.register.snapshot(), now)?;
            for track in self.lane.tracks().iter().filter(|t| t.confirmed) {
                let Track { id, label, rect, matched, median_score, .. } = track;
                tracing::debug!(drill = self.drill.name, t, %id, %label, ?rect, matched, median_score, "followed");
            }
            self.keep(findings);
        }
        Ok(())
    }

    fn keep(&mut self, findings: Vec<Finding>) {
        self.played.messages.extend(findings.into_iter().map(|f| f.event));
    }
}

#[expect(clippy::cast_possible_truncation, reason = "drills last minutes")]
fn drill_time(t: f64) -> UtcMillis {
    START.plus_ms((t * 1000.0).round() as i64)
}

fn moved(mut frame: Frame, shift: i64) -> Frame {
    frame.time.utc = frame.time.utc.plus_ms(shift);
    frame
}

/// The script begins later than the server.
struct Delayed(SceneSource);

impl PictureSource for Delayed {
    fn size(&self) -> (u32, u32) {
        self.0.size()
    }

    fn picture(&mut self, seconds: f64, utc: UtcMillis, size: (u32, u32)) -> Vec<u8> {
        // What stands there when the script begins stood there before.
        self.0.picture((seconds - LEAD_S).max(0.0), utc, size)
    }
}

fn silent(drill: &Drill, known: Option<&[Label]>) -> Vec<&'static str> {
    let Some(known) = known else { return Vec::new() };
    let of_areas = drill.camera.areas.iter().flat_map(|a| a.rules_of_classes());
    of_areas
        .filter(|(_, classes)| !classes.is_empty() && !classes.iter().any(|c| known.contains(c)))
        .map(|(rule, _)| rule)
        .collect()
}

/// Who finds things, and which classes it knows; `None` = all, boxes are true.
type Finder = (Box<dyn Detect>, Option<Vec<Label>>);

fn boxes(drill: &Drill, how: &Live) -> anyhow::Result<Finder> {
    if how.true_boxes {
        let renderer = Renderer::new(drill.scene.clone(), SIZE).map_err(anyhow::Error::msg)?;
        let model = ModelRef { name: "truth".into(), sha256: "0".repeat(64) };
        return Ok((Box::new(TrueBoxes { drill: drill.clone(), renderer, model }), None));
    }
    crate::vision::runtime::init(how.config.detector.runtime_library.as_deref())?;
    let detector = Detector::load(&how.config.detector, how.config.tracker.low_score);
    let detector = detector.with_context(|| format!("model {}", how.config.detector.model.display()))?;
    let known = detector.classes().cloned().collect();
    Ok((Box::new(detector), Some(known)))
}

/// What a perfect detector would find in the pictures that were delivered.
struct TrueBoxes {
    drill: Drill,
    renderer: Renderer,
    model: ModelRef,
}

impl Detect for TrueBoxes {
    fn detect(&mut self, frame: &Frame, _: &[Region]) -> Result<Vec<Detection>, DetectorError> {
        let t = frame.time.utc.since(START) as f64 / 1000.0;
        let objects = sample_at(&mut self.renderer, &self.drill, t).objects;
        let (sx, sy) = (frame.width as f32 / SIZE.0 as f32, frame.height as f32 / SIZE.1 as f32);
        let visible = |o: &Seen| o.occluded <= HIDDEN && o.rect.area() > 64.0;
        let seen = objects.into_iter().filter(visible);
        Ok(seen.map(|o| Detection::whole(o.label, 0.9, o.rect.scaled(sx, sy))).collect())
    }

    fn input_size(&self) -> (u32, u32) {
        (416, 416)
    }

    fn model(&self) -> &ModelRef {
        &self.model
    }
}

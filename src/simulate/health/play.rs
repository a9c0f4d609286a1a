//! Plays pictures and a stream, both spoilt on order, through the health monitor of the agent. No waiting: time is what
//! the script says.

use std::sync::Arc;

use super::SIZE;
use super::views::View;
use crate::camera::health::luma::fingerprint;
use crate::camera::health::{HealthChange, HealthMonitor, Luma, Now, StreamView};
use crate::camera::{CameraId, CameraState, Codec, Frame, OwnedI420};
use crate::clock::{FrameTime, MonoMillis, TimeSource, UtcMillis};
use crate::config::HealthConfig;
use crate::simulate::misbehave::{Door, Faults, Misbehaviour};

/// 2026-03-02T00:00:00+07:00.
const START: UtcMillis = UtcMillis(1_772_384_400_000);
/// Pictures a second of the simulated stream, and from keyframe to keyframe.
const FPS: i64 = 10;
const GOP: u64 = 10;

/// What a tracker says at a second: how much of the picture the largest thing covers, 0..1.
pub type Filled = Box<dyn FnMut(f64) -> f32>;

/// What is played.
pub struct Script {
    /// Draws the picture of a second.
    pub view: View,
    /// What goes wrong, at which second, in order of time.
    pub orders: Vec<(f64, Misbehaviour)>,
    /// Length, seconds.
    pub seconds: f64,
    /// Seconds from look to look, at a picture each where one is decoded.
    pub step: f64,
    /// Nobody tracks where it is `None`.
    pub filled: Option<Filled>,
    /// Only keyframes are decoded, so many pictures apart.
    pub keyframes: Option<u64>,
}

impl Script {
    /// Everything is decoded, nobody tracks, nothing is wrong.
    #[must_use]
    pub fn of(view: View, seconds: f64, step: f64) -> Self {
        Self { view, orders: Vec::new(), seconds, step, filled: None, keyframes: None }
    }
}

/// One thing that was said, and when.
#[derive(Debug, Clone)]
pub struct Said {
    /// Milliseconds after the start.
    pub at_ms: i64,
    /// What.
    pub change: HealthChange,
}

/// Plays a script; the last value is what the looks at pictures cost, milliseconds each.
///
/// # Errors
/// When the view drew a picture of another size.
pub fn play(mut script: Script, limits: &HealthConfig) -> Result<(Vec<Said>, f64), String> {
    let mut monitor = HealthMonitor::new(limits.clone(), &[]);
    let mut stream = Stream { gop: script.keyframes.unwrap_or(GOP), ..Stream::default() };
    let mut orders = script.orders.drain(..).peekable();
    let (mut said, mut last) = (Vec::new(), None);
    let (mut cost, mut looks) = (std::time::Duration::ZERO, 0u32);
    let steps = (script.seconds / script.step) as i64;
    for step in 0..steps {
        let seconds = step as f64 * script.step;
        let now_ms = (seconds * 1000.0) as i64;
        let (mono, utc) = (MonoMillis(now_ms), START.plus_ms(now_ms));
        while let Some((_, order)) = orders.next_if(|(at, _)| *at <= seconds) {
            stream.order(&order, mono);
        }
        let keyframe = stream.run(now_ms, (script.step * 1000.0) as i64);
        if stream.shows(mono) && (keyframe || script.keyframes.is_none()) {
            let fresh = (script.view)(seconds);
            let mut picture = last.take().filter(|_| stream.faults.frozen(mono)).unwrap_or(fresh);
            last = Some(picture.clone());
            stream.faults.spoil(&mut picture, SIZE, mono);
            let frame = frame(picture, mono, utc)?;
            let begin = crate::clock::precise_now();
            let luma = Luma::of(&frame).ok_or("the picture is too small")?;
            if let Some(print) = fingerprint(&frame).filter(|_| keyframe) {
                monitor.keyframe(mono, print);
            }
            monitor.picture(mono, &luma, stream.view.keyframes);
            cost += crate::clock::precise_now() - begin;
            looks += 1;
            // The analysis of a picture is done after the look at it.
            if let Some(filled) = &mut script.filled {
                monitor.filled(mono, filled(seconds));
            }
        }
        let changes = monitor.look(Now { mono, utc }, &stream.view);
        said.extend(changes.into_iter().map(|change| Said { at_ms: now_ms, change }));
    }
    Ok((said, cost.as_secs_f64() * 1000.0 / f64::from(looks.max(1))))
}

fn frame(picture: Vec<u8>, mono: MonoMillis, utc: UtcMillis) -> Result<Frame, String> {
    let time = FrameTime { utc, mono, source: TimeSource::Arrival, uncertainty_ms: 500, clock_offset_ms: None };
    Ok(Frame::made(
        CameraId("simulated".into()),
        time,
        (SIZE.0, SIZE.1),
        Arc::new(OwnedI420::new(SIZE.0, SIZE.1, picture)?),
    ))
}

/// What the camera part would say of the stream.
struct Stream {
    faults: Faults,
    view: StreamView,
    silent_ms: i64,
    /// Pictures from keyframe to keyframe.
    gop: u64,
}

impl Default for Stream {
    fn default() -> Self {
        let view = StreamView {
            state: CameraState::Running,
            codec: Some(Codec::H264),
            width: SIZE.0,
            height: SIZE.1,
            clock_offset_ms: Some(20),
            ..StreamView::default()
        };
        Self { faults: Faults::default(), view, silent_ms: 0, gop: GOP }
    }
}

impl Stream {
    fn order(&mut self, order: &Misbehaviour, now: MonoMillis) {
        self.faults.take(order, now);
        match order {
            Misbehaviour::ChangeResolution { width, height } => {
                (self.view.width, self.view.height) = (*width, *height);
            }
            Misbehaviour::ChangeCodec { codec } => self.view.codec = Some(*codec),
            _ => {}
        }
    }

    /// What arrived in `ms` milliseconds up to now; whether a keyframe did.
    fn run(&mut self, now_ms: i64, ms: i64) -> bool {
        let now = MonoMillis(now_ms);
        let fps = self.faults.slowed(now).map_or(FPS, i64::from);
        let units = |at: i64| u64::try_from(at.max(0) * fps / 1000).unwrap_or(0);
        let mut came = units(now_ms) - units(now_ms - ms);
        let open = self.faults.door(now) == Door::Open;
        if !open || self.faults.silent(now) {
            came = 0;
            self.silent_ms += ms;
        } else {
            self.silent_ms = 0;
        }
        self.view.received += came;
        let before = std::mem::replace(&mut self.view.keyframes, self.view.received / self.gop);
        if self.faults.corrupting(now) {
            self.view.broken += came.div_ceil(4);
            self.view.unreferenced += came / 4;
        }
        // As the camera part: a broken connection shows at once, silence after its time limit.
        self.view.state = match () {
            () if !open && self.faults.door(now) == Door::Refused => CameraState::Refused,
            () if !open => CameraState::Lost,
            () if self.silent_ms >= 10_000 => CameraState::Stalled,
            () => CameraState::Running,
        };
        let jitter = (now_ms / 500 * 7919) % 60 - 30;
        self.view.clock_offset_ms = Some(20 + jitter + self.faults.clock_off_ms(now));
        self.view.keyframes > before
    }

    fn shows(&self, now: MonoMillis) -> bool {
        self.view.state == CameraState::Running && !self.faults.silent(now)
    }
}

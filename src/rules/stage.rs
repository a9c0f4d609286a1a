//! A stage for tests of the rules: scripted tracks, a register that changes, frames at an interval; what the rules said
//! in short. No tracker: the boxes are where the script says.

use std::collections::VecDeque;

use super::{AreaEvent, AreaRules, EndReason};
use crate::clock::{FrameTime, MonoMillis, TimeSource, UtcMillis};
use crate::config::{CameraConfig, EventsConfig, RegisterConfig};
use crate::customs::{Checks, Register, feed::parse_json};
use crate::event::Zone;
use crate::geometry::Rect;
use crate::track::{Track, TrackId};

/// Pixels of the picture.
pub(super) const SIZE: (u32, u32) = (1000, 500);
/// 2026-02-02 09:40:00 in Vietnam, a Monday.
pub(super) const T0: i64 = 1_770_000_000_000;

/// One thing: its foot moves straight between these places (milliseconds, x, y in pixels), its box keeps its size.
#[derive(Debug, Clone)]
pub(super) struct Actor {
    pub id: u64,
    pub label: &'static str,
    pub size: (f32, f32),
    pub keys: Vec<(i64, f32, f32)>,
    /// Not seen in these milliseconds.
    pub hidden: std::ops::Range<i64>,
    /// From these milliseconds on its box is only so many pixels high: the picture's edge cuts it off.
    pub cut: Option<(i64, f32)>,
    pub score: f32,
}

pub(super) fn actor(id: u64, label: &'static str, keys: &[(i64, f32, f32)]) -> Actor {
    let size = if label == "person" { (20.0, 60.0) } else { (160.0, 100.0) };
    Actor { id, label, size, keys: keys.to_vec(), hidden: 0..0, cut: None, score: 0.9 }
}

impl Actor {
    fn rect(&self, ms: i64) -> Option<Rect> {
        let next = self.keys.iter().position(|k| k.0 >= ms)?;
        let (b, a) = (self.keys[next], self.keys[next.saturating_sub(1)]);
        if ms < self.keys[0].0 {
            return None;
        }
        let share = (ms - a.0) as f32 / (b.0 - a.0).max(1) as f32;
        let (x, y) = (a.1 + (b.1 - a.1) * share, a.2 + (b.2 - a.2) * share);
        let half = self.size.0 / 2.0;
        let height = self.cut.filter(|(from, _)| ms >= *from).map_or(self.size.1, |(_, height)| height);
        Some(Rect { x0: x - half, y0: y - height, x1: x + half, y1: y })
    }
}

/// What is played.
pub(super) struct Stage {
    pub rules: AreaRules,
    pub actors: Vec<Actor>,
    register: Register,
    /// What the clearance side says when.
    facts: VecDeque<(i64, String)>,
    interval_ms: i64,
    now_ms: i64,
    /// A track is believed so long after its first sight.
    pub confirm_ms: i64,
    /// From this time the tracker calls these two by each other's name.
    pub exchanged: Option<(i64, u64, u64)>,
    /// A track not seen for this long is over, as the tracker does.
    last_seen: std::collections::BTreeMap<u64, i64>,
}

const LOST_MS: i64 = 3000;

impl Stage {
    /// A camera with these areas and lines (JSON), heard from the clearance side at the start.
    pub fn new(areas: &serde_json::Value, lines: &serde_json::Value, interval_ms: i64) -> Self {
        let camera: CameraConfig = serde_json::from_value(serde_json::json!({
            "id": "cam", "url": "rtsp://camera.invalid/1", "area": areas, "line": lines
        }))
        .expect("a valid camera");
        let zone = Zone::new("Asia/Ho_Chi_Minh").expect("a zone");
        let register = Register::default();
        register.apply_all(Vec::new(), Some(UtcMillis(T0)));
        Self {
            rules: AreaRules::new(&camera, &zone, &EventsConfig::default()),
            actors: Vec::new(),
            register,
            facts: VecDeque::new(),
            interval_ms,
            now_ms: 0,
            confirm_ms: 400,
            exchanged: None,
            last_seen: std::collections::BTreeMap::new(),
        }
    }

    /// The clearance side sends this feed (JSON) at this time.
    pub fn feed(&mut self, ms: i64, feed: &serde_json::Value) {
        self.facts.push_back((ms, feed.to_string()));
    }

    /// Plays until this time, frame by frame.
    pub fn play(&mut self, until_ms: i64) -> Vec<AreaEvent> {
        let mut events = Vec::new();
        while self.now_ms < until_ms {
            while self.facts.front().is_some_and(|f| f.0 <= self.now_ms) {
                let (ms, json) = self.facts.pop_front().expect("just seen");
                let feed = parse_json(json.as_bytes()).expect("a feed");
                assert!(feed.problems.is_empty(), "{:?}", feed.problems);
                let heard = UtcMillis(T0 + ms);
                // As the agent does: readings are settled first.
                let rehearsed = self.register.rehearse(feed.facts, heard, &RegisterConfig::default());
                let given = rehearsed.given.into_iter().map(|(fact, _)| fact);
                self.register.apply_all(given.chain(rehearsed.derived).collect(), Some(heard));
            }
            let tracks: Vec<Track> = self.actors.clone().iter().filter_map(|a| self.track(a)).collect();
            let time = FrameTime {
                utc: UtcMillis(T0 + self.now_ms),
                mono: MonoMillis(self.now_ms),
                source: TimeSource::RtcpNtp,
                uncertainty_ms: 40,
                clock_offset_ms: None,
            };
            let (register, config) = (self.register.snapshot(), RegisterConfig::default());
            let checks = Checks { register: &register, config: &config, now: time.utc, uncertainty_ms: 40 };
            events.extend(self.rules.update(SIZE, time, &tracks, &checks));
            self.now_ms += self.interval_ms;
        }
        events
    }

    /// The camera is lost.
    pub fn lose(&mut self) -> Vec<AreaEvent> {
        let (register, config) = (self.register.snapshot(), RegisterConfig::default());
        let now = UtcMillis(T0 + self.now_ms);
        let checks = Checks { register: &register, config: &config, now, uncertainty_ms: 40 };
        self.rules.close_all(EndReason::CameraLost, &checks)
    }

    /// Nothing is seen until this time.
    pub fn skip(&mut self, until_ms: i64) {
        self.now_ms = until_ms;
        self.last_seen.clear();
    }

    fn name(&self, id: u64) -> u64 {
        match self.exchanged {
            Some((from, a, b)) if self.now_ms >= from && (id == a || id == b) => a + b - id,
            _ => id,
        }
    }

    fn track(&mut self, actor: &Actor) -> Option<Track> {
        let ms = self.now_ms;
        let seen = actor.rect(ms).filter(|_| !actor.hidden.contains(&ms));
        if seen.is_some() {
            self.last_seen.insert(actor.id, ms);
        }
        let last = *self.last_seen.get(&actor.id)?;
        if ms - last > LOST_MS {
            return None;
        }
        let at = |ms: i64| (MonoMillis(ms), UtcMillis(T0 + ms));
        let (first_seen, first_seen_utc) = at(actor.keys[0].0);
        let (last_seen, last_seen_utc) = at(last);
        Some(Track {
            id: TrackId(ulid::Ulid::from_parts(1, u128::from(self.name(actor.id)))),
            label: actor.label.into(),
            rect: seen.or_else(|| actor.rect(last))?,
            score: actor.score,
            median_score: actor.score,
            matched: seen.is_some(),
            held: false,
            confirmed: ms - actor.keys[0].0 >= self.confirm_ms,
            first_seen,
            last_seen,
            first_seen_utc,
            last_seen_utc,
            path: VecDeque::new(),
        })
    }
}

/// `rule phase start..end reason`, times in milliseconds since the start.
pub(super) fn brief(events: &[AreaEvent]) -> Vec<String> {
    let one = |e: &AreaEvent| {
        let end = e.end.map(|t| format!("{}", t.0 - T0)).unwrap_or_default();
        let reason = e.end_reason.map(|r| format!(" {r:?}").to_lowercase()).unwrap_or_default();
        let quiet = if e.quiet { " quiet" } else { "" };
        format!("{} {:?} {}..{end}{reason}{quiet}", e.rule.as_str(), e.phase, e.start.0 - T0).to_lowercase()
    };
    events.iter().map(one).collect()
}

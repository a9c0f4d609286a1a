//! Use of a bay: occupied while a vehicle is in it, an instant `bay_empty` when the last one was seen to leave, unbooked
//! while it is occupied and no booking covers the moment, and the wrong vehicle when the container read there is not the
//! booked one. The bay is judged, not the track: a vehicle that is seen as two boxes, or lost and found again while it stands
//! there, is one occupation.

use super::crowd::{Crowd, Gone};
use super::draft::{Draft, Keys, Open};
use super::presence::Sight;
use super::{EndReason, RuleKind, renamed, seconds};
use crate::clock::UtcMillis;
use crate::config::{BayConfig, UnbookedConfig};
use crate::customs::{Answer, Check};
use crate::track::TrackId;

/// Highest severity while nobody knows whether it is booked.
const UNKNOWN_SEVERITY: u8 = 1;

/// Boxes of one vehicle come into a bay within so long after each other, milliseconds: a long truck at walking pace.
const ONE_VEHICLE_MS: i64 = 15_000;

/// State of one bay.
#[derive(Debug, Clone, Default)]
pub(super) struct Bay {
    used: Option<Use>,
}

/// One occupation.
#[derive(Debug, Clone)]
struct Use {
    since: Sight,
    /// When the vehicle came that is judged: the first, or the one that stayed when that was seen to leave.
    came: Sight,
    track: TrackId,
    /// A booking covered some moment of it.
    booked: bool,
    occupied: Option<Open>,
    unbooked: Option<(Open, Answer)>,
    wrong: Option<Open>,
    /// No vehicle is inside any more; the last one went so.
    vacated: Option<(Sight, EndReason)>,
}

impl Bay {
    /// These two tracks exchanged their names.
    pub fn exchange(&mut self, names: (TrackId, TrackId)) {
        if let Some(used) = &mut self.used {
            renamed(&mut used.track, names);
        }
    }

    /// Takes who is there after a frame. `booked` asks whether a booking covers the bay now, `right` whether the vehicle there
    /// since a moment is the booked one.
    pub fn step(
        &mut self,
        crowd: &Crowd,
        now: Sight,
        (config, unbooked): (&BayConfig, Option<&UnbookedConfig>),
        (booked, right): (&dyn Fn() -> Check, &dyn Fn(UtcMillis) -> Check),
        keys: &mut Keys,
    ) -> Vec<(TrackId, Draft)> {
        let first = crowd.present.iter().min_by_key(|p| p.entered.mono);
        let Some(first) = first else { return self.empty(crowd, now, config, keys) };
        let fresh = Use {
            since: first.entered,
            came: first.entered,
            track: first.track,
            booked: false,
            occupied: None,
            unbooked: None,
            wrong: None,
            vacated: None,
        };
        let used = self.used.get_or_insert(fresh);
        used.vacated = None;
        if !crowd.present.iter().any(|p| p.track == used.track) {
            used.track = first.track;
        }
        let mut drafts = Vec::new();
        let is_longest =
            |g: &&Gone| g.reason == EndReason::Observed && first.entered.mono.since(g.entered.mono) > ONE_VEHICLE_MS;
        if let Some(gone) = crowd.gone.iter().find(is_longest) {
            // What was read before is of the one that left.
            used.came = first.entered;
            drafts.extend(used.wrong.take().map(|open| open.end(gone.at, now, gone.reason)));
        }
        if now.mono.since(used.since.mono) >= seconds(config.after_s) {
            drafts.extend(used.judge(now, (config, unbooked), (booked, right), keys));
        }
        drafts.into_iter().map(|d| (used.track, d)).collect()
    }

    /// Nobody is inside: over at once when the last one was seen to leave, after a while when it was only lost.
    fn empty(&mut self, crowd: &Crowd, now: Sight, config: &BayConfig, keys: &mut Keys) -> Vec<(TrackId, Draft)> {
        let Some(used) = &mut self.used else { return Vec::new() };
        let last = crowd.gone.iter().max_by_key(|g| g.at.mono).map(|g| (g.at, g.reason));
        let (at, reason) = *used.vacated.get_or_insert(last.unwrap_or((now, EndReason::TrackLost)));
        if reason == EndReason::TrackLost && now.mono.since(at.mono) < seconds(config.lost_s) {
            return Vec::new();
        }
        let (track, since, was_reported) = (used.track, used.since, used.occupied.is_some());
        let mut drafts = self.cut(at, now, reason);
        if was_reported && reason == EndReason::Observed {
            let empty = Draft::instant(keys.next(), RuleKind::BayEmpty, config.severity, at, now);
            drafts.push((track, Draft { dwell_ms: Some(at.mono.since(since.mono)), ..empty }));
        }
        drafts
    }

    /// The occupation is over since `at`, or nobody looks any more.
    pub fn cut(&mut self, at: Sight, now: Sight, reason: EndReason) -> Vec<(TrackId, Draft)> {
        let Some(used) = self.used.take() else { return Vec::new() };
        let (at, reason) = used.vacated.unwrap_or((at, reason));
        let open = used.occupied.into_iter().chain(used.unbooked.map(|(open, _)| open)).chain(used.wrong);
        open.map(|open| (used.track, open.end(at, now, reason))).collect()
    }
}

impl Use {
    /// What is to be said of it once it has lasted.
    fn judge(
        &mut self,
        now: Sight,
        (config, unbooked): (&BayConfig, Option<&UnbookedConfig>),
        (booked, right): (&dyn Fn() -> Check, &dyn Fn(UtcMillis) -> Check),
        keys: &mut Keys,
    ) -> Vec<Draft> {
        let mut drafts = Vec::new();
        if self.occupied.is_none() {
            let (open, draft) = Open::begin(keys.next(), RuleKind::BayOccupied, config.severity, self.since, now);
            self.occupied = Some(open);
            drafts.push(draft);
        }
        if let Some(unbooked) = unbooked {
            drafts.extend(self.compare(now, unbooked, booked(), keys));
        }
        drafts.extend(self.identify(now, config.wrong_vehicle_severity, right(self.came.utc), keys));
        drafts
    }

    /// Another vehicle than the booked one: said once it is read, over when a correction says otherwise.
    fn identify(&mut self, now: Sight, severity: u8, right: Check, keys: &mut Keys) -> Option<Draft> {
        let draft = match (self.wrong.is_some(), right.answer) {
            (false, Answer::No) => {
                let (open, draft) = Open::begin(keys.next(), RuleKind::BayWrongVehicle, severity, self.came, now);
                self.wrong = Some(open);
                draft
            }
            (true, Answer::Yes | Answer::Unknown) => self.wrong.take()?.end(now, now, EndReason::Resolved),
            _ => return None,
        };
        Some(Draft { check: Some(right), ..draft })
    }

    /// What a new answer about the booking changes. Who was booked and stays longer is unbooked since then.
    fn compare(&mut self, now: Sight, config: &UnbookedConfig, booked: Check, keys: &mut Keys) -> Option<Draft> {
        let answer = booked.answer;
        let severity = if answer == Answer::Unknown { config.severity.min(UNKNOWN_SEVERITY) } else { config.severity };
        self.booked |= answer == Answer::Yes;
        let draft = match (&mut self.unbooked, answer) {
            (None, Answer::Yes) => return None,
            (None, _) => {
                let since = if self.booked { now } else { self.since };
                let (open, draft) = Open::begin(keys.next(), RuleKind::BayUnbooked, severity, since, now);
                self.unbooked = Some((open, answer));
                draft
            }
            (Some((open, _)), Answer::Yes) => {
                let draft = open.end(now, now, EndReason::Resolved);
                self.unbooked = None;
                draft
            }
            (Some((open, before)), _) if *before != answer => {
                *before = answer;
                open.update(severity, now)
            }
            _ => return None,
        };
        Some(Draft { check: Some(booked), ..draft })
    }
}

//! Says by a message of its own that pictures are not analysed because the model fails, and when they are again. Hears of it
//! from health, so it works whatever the workers do. Pure state here; `watch` asks once a second and records.

use serde_json::{Value, json};

use crate::camera::CameraId;
use crate::camera::health::Now;
use crate::clock::UtcMillis;
use crate::ids::IdSource;
use crate::mqtt::Topics;
use crate::store::{LANE_ALERT, LANE_EVENT, NewNotice};

/// A failure shorter than this is no news, nor is a working moment between two failures, milliseconds.
const SETTLE_MS: i64 = 5_000;
/// A missing detector is serious: nobody watches.
const SEVERITY: u8 = 3;
/// Last part of the CloudEvents type.
const WHAT: &str = "detector_failed";

/// What is known of the analysis of all cameras.
#[derive(Debug)]
pub struct Degraded {
    // injected
    topics: Topics,
    alert: bool,
    ids: IdSource,
    // own state
    /// Since when it has been otherwise than last said.
    since: Option<Now>,
    open: Option<Open>,
}

/// A failure that was reported and lasts.
#[derive(Debug, Clone, PartialEq)]
struct Open {
    id: String,
    revision: u32,
    start: UtcMillis,
    cameras: Vec<CameraId>,
    reason: String,
}

/// Both types of the message: which one depends on `events.alert_severity`.
#[must_use]
pub fn kinds() -> [String; 2] {
    ["alert", "event"].map(|class| format!("gatewatch.{class}.{WHAT}.v1"))
}

impl Degraded {
    /// `lasting`: what the store holds open of the last run (messages of [`kinds`]); the failure is the same one if it
    /// still lasts, and is ended else.
    #[must_use]
    pub fn new(topics: Topics, alert_severity: u8, ids: IdSource, lasting: &[Value]) -> Self {
        let open = lasting.last().and_then(Open::read);
        Self { topics, alert: SEVERITY >= alert_severity, ids, since: None, open }
    }

    /// How it is now: the cameras whose pictures are not analysed and why; empty = all are. Gives the message to record,
    /// if there is news; call [`Self::recorded`] once that is done, or it is given again.
    #[must_use]
    pub fn look(&mut self, cameras: &[CameraId], reason: &str, now: Now) -> Option<NewNotice> {
        let failed = !cameras.is_empty();
        if failed == self.open.is_some() {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        // By the clock that never jumps: one that is set back would hold the news up for as long.
        if now.mono.since(since.mono) < SETTLE_MS {
            return None;
        }
        let (since, now) = (since.utc, now.utc);
        Some(match &self.open {
            None => {
                let id = self.ids.next_id(since).to_string();
                let open = Open { id, revision: 1, start: since, cameras: cameras.to_vec(), reason: reason.into() };
                self.notice(&open, None, now)
            }
            Some(open) => self.notice(&Open { revision: open.revision + 1, ..open.clone() }, Some(since), now),
        })
    }

    /// The message was recorded.
    pub fn recorded(&mut self, notice: &NewNotice) {
        self.since = None;
        self.open = notice.open.then(|| Open::of(&notice.id, notice.revision, &notice.data)).flatten();
    }

    fn notice(&self, open: &Open, end: Option<UtcMillis>, now: UtcMillis) -> NewNotice {
        let [alert, event] = kinds();
        let data = json!({
            "phase": if end.is_some() { "end" } else { "new" },
            "capture": {"start": open.start, "end": end},
            "duration_ms": end.unwrap_or(now).since(open.start).max(0),
            "cameras": open.cameras, "reason": open.reason,
        });
        NewNotice {
            id: open.id.clone(),
            revision: open.revision,
            kind: if self.alert { alert } else { event },
            subject: "detector".into(),
            severity: SEVERITY,
            at: end.unwrap_or(open.start),
            open: end.is_none(),
            topic: if self.alert { self.topics.alert() } else { self.topics.event() },
            lane: if self.alert { LANE_ALERT } else { LANE_EVENT },
            data,
        }
    }
}

impl Open {
    /// From a recorded message.
    fn read(message: &Value) -> Option<Self> {
        let revision = u32::try_from(message["data"]["revision"].as_u64()?).ok()?;
        Self::of(message["id"].as_str()?, revision, &message["data"])
    }

    fn of(id: &str, revision: u32, data: &Value) -> Option<Self> {
        let start = serde_json::from_value(data["capture"]["start"].clone()).ok()?;
        let cameras = serde_json::from_value(data["cameras"].clone()).ok()?;
        let reason = data["reason"].as_str()?.to_owned();
        Some(Self { id: id.into(), revision, start, cameras, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MonoMillis;

    fn degraded(lasting: &[Value]) -> Degraded {
        Degraded::new(Topics::new("gatewatch/v1", "15BB", "gate-01"), 2, IdSource::random(), lasting)
    }

    fn at_both(ms: i64) -> Now {
        Now { utc: UtcMillis(ms), mono: MonoMillis(ms) }
    }

    /// Looks once a second, from `from` on; gives what was said and when.
    fn play(d: &mut Degraded, from: i64, failed: &[bool]) -> Vec<(i64, NewNotice)> {
        let cameras = [CameraId("lane".into())];
        let mut said = Vec::new();
        for (at, failed) in (from..).zip(failed) {
            let seen: &[CameraId] = if *failed { &cameras } else { &[] };
            if let Some(notice) = d.look(seen, "detector_failed: no file", at_both(at * 1000)) {
                d.recorded(&notice);
                said.push((at, notice));
            }
        }
        said
    }

    #[test]
    fn a_failure_that_lasts_is_said_once_and_ended_once_with_its_true_times() {
        let mut d = degraded(&[]);
        let said = play(&mut d, 0, &[[true; 20].as_slice(), &[false; 20]].concat());
        let brief: Vec<_> = said.iter().map(|(at, n)| (*at, n.revision, n.open)).collect();
        assert_eq!(brief, [(5, 1, true), (25, 2, false)]);
        let (new, end) = (&said[0].1, &said[1].1);
        assert_eq!(new.id, end.id);
        assert_eq!(new.kind, "gatewatch.alert.detector_failed.v1");
        assert_eq!(end.data["duration_ms"], 20_000);
        assert_eq!(end.data["capture"]["end"], json!(UtcMillis(20_000)));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_hold_the_news_up() {
        let mut d = degraded(&[]);
        let mut look = |utc: i64, mono: i64| {
            d.look(&[CameraId("lane".into())], "detector_failed", Now { utc: UtcMillis(utc), mono: MonoMillis(mono) })
        };
        assert_eq!(look(7_200_000, 0), None);
        let said = look(5000, 5000).expect("said after five seconds, whatever the clock says");
        assert_eq!(said.data["capture"]["start"], json!(UtcMillis(7_200_000)));
    }

    #[test]
    fn a_moment_of_failure_or_of_work_is_no_news() {
        let mut d = degraded(&[]);
        assert!(play(&mut d, 0, &[true, true, false, true, false, false, true, true, false]).is_empty());
        assert_eq!(play(&mut d, 10, &[true; 9]).len(), 1);
        assert!(play(&mut d, 20, &[false, true, false, false, true]).is_empty());
    }

    #[test]
    fn what_is_not_recorded_is_said_again() {
        let mut d = degraded(&[]);
        let cameras = [CameraId("lane".into())];
        let look = |d: &mut Degraded, at: i64| d.look(&cameras, "why", at_both(at));
        assert!(look(&mut d, 0).is_none());
        assert!(look(&mut d, 6000).is_some());
        assert!(look(&mut d, 7000).is_some(), "the disk was full the first time");
    }

    #[test]
    fn a_restart_goes_on_with_the_failure_that_lasts() {
        let mut d = degraded(&[]);
        let said = play(&mut d, 0, &[true; 9]);
        let mut data = said[0].1.data.clone();
        data["revision"] = 1.into();
        let stored = json!({"id": said[0].1.id, "data": data});
        assert!(play(&mut degraded(std::slice::from_ref(&stored)), 20, &[true; 9]).is_empty(), "it still fails");
        let ended = play(&mut degraded(&[stored]), 20, &[false; 9]);
        assert_eq!((ended.len(), ended[0].1.id.as_str(), ended[0].1.revision), (1, said[0].1.id.as_str(), 2));
    }
}

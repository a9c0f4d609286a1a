//! What is said of a camera's health, as CloudEvents: `gatewatch.alert.camera_covered.v1` and so on, one id from the
//! beginning of a condition to its end. Published schema: `config/schema/camera_health.schema.json`. No I/O: the messages
//! are recorded by whoever asked for them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::message::Sequence;
use crate::camera::CameraId;
use crate::camera::health::{Condition, Figure, HealthChange, HealthEnd};
use crate::clock::UtcMillis;
use crate::ids::IdSource;
use crate::mqtt::Topics;
use crate::rules::Phase;
use crate::store::{LANE_ALERT, LANE_EVENT, NewNotice};

/// Types of all messages of this file begin so, for each of the two topics.
pub const KIND_PREFIXES: [&str; 2] = ["gatewatch.alert.camera_", "gatewatch.event.camera_"];

/// A message about a camera's health, CloudEvents 1.0 in structured mode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HealthMessage {
    /// Always `1.0`.
    #[schemars(extend("const" = "1.0"))]
    pub specversion: String,
    /// ULID, the same from the beginning of a condition to its end.
    pub id: String,
    /// `/office/{office}/box/{box}`.
    pub source: String,
    /// `gatewatch.alert.camera_{condition}.v1` from the alert severity up, else `gatewatch.event.…`.
    #[serde(rename = "type")]
    #[schemars(regex(pattern = r"^gatewatch\.(event|alert)\.camera_[a-z_]+\.v1$"))]
    pub kind: String,
    /// `camera/{id}`.
    #[schemars(regex(pattern = r"^camera/[a-z0-9][a-z0-9-]{0,31}$"))]
    pub subject: String,
    /// When the message was made.
    pub time: UtcMillis,
    /// Always `application/json`.
    #[schemars(extend("const" = "application/json"))]
    pub datacontenttype: String,
    /// What is wrong.
    pub data: HealthData,
}

/// What is wrong, and what every message of the box carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HealthData {
    /// 1 for the first message of a condition, then one more each.
    #[schemars(range(min = 1))]
    pub revision: u32,
    /// 2 notice, 3 serious.
    #[schemars(range(min = 1, max = 4))]
    pub severity: u8,
    /// Office code, four characters.
    pub office: String,
    /// Box id.
    #[serde(rename = "box")]
    pub box_id: String,
    /// Place in the box's stream of messages.
    pub sequence: Sequence,
    /// What is wrong.
    #[serde(flatten)]
    pub told: HealthTold,
}

/// What is wrong with which camera, since when, and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HealthTold {
    /// Which condition.
    pub condition: Condition,
    /// Where in its life. An instant (`clock_jump`, `picture_changed`) is one message with phase `new` and an end.
    pub phase: Phase,
    /// Camera.
    pub camera: HealthCamera,
    /// When.
    pub capture: HealthTimes,
    /// How long it has lasted so far, by the box's monotonic clock.
    #[schemars(range(min = 0))]
    pub duration_ms: i64,
    /// One sentence for the technician: what is wrong and what to do.
    pub reason: String,
    /// What was measured, beside the limit it broke.
    pub figures: Vec<Figure>,
    /// Why it is over; only with phase `end`.
    pub end_reason: Option<HealthEnd>,
    /// First 16 hex digits of the SHA-256 of the configuration in force.
    pub config_digest: String,
}

/// A camera as these messages name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HealthCamera {
    /// Id.
    pub id: CameraId,
    /// Name for people.
    pub name: String,
}

/// Times of a condition; always the box's clock, since the camera's may be what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HealthTimes {
    /// When it began: first seen, not when it had lasted long enough to be said.
    pub start: UtcMillis,
    /// When it ended; `null` while it lasts; equal to `start` for an instant.
    pub end: Option<UtcMillis>,
    /// Always `box`.
    #[schemars(extend("const" = "box"))]
    pub time_source: String,
    /// Camera clock minus box clock at that moment, where it is known.
    pub clock_offset_ms: Option<i64>,
}

/// How messages are sent, the same for all of them.
#[derive(Debug, Clone)]
pub struct HealthSender {
    /// Topics of the box.
    pub topics: Topics,
    /// From this severity a message is an alert.
    pub alert_severity: u8,
}

impl HealthSender {
    fn notice(&self, id: String, revision: u32, told: &HealthTold) -> NewNotice {
        let severity = told.condition.severity();
        let alert = severity >= self.alert_severity;
        let class = if alert { "alert" } else { "event" };
        NewNotice {
            id,
            revision,
            kind: format!("gatewatch.{class}.camera_{}.v1", told.condition),
            subject: format!("camera/{}", told.camera.id),
            severity,
            at: told.capture.end.unwrap_or(told.capture.start),
            open: told.capture.end.is_none(),
            topic: if alert { self.topics.alert() } else { self.topics.event() },
            lane: if alert { LANE_ALERT } else { LANE_EVENT },
            data: serde_json::to_value(told).unwrap_or_default(),
        }
    }

    /// The last message of a condition that the last run left open; its end is what was last written of it.
    #[must_use]
    pub fn ended_by_restart(&self, last: HealthMessage) -> NewNotice {
        let mut told = last.data.told;
        let end = told.capture.start.plus_ms(told.duration_ms);
        (told.phase, told.capture.end, told.end_reason) = (Phase::End, Some(end), Some(HealthEnd::Restart));
        self.notice(last.id, last.data.revision + 1, &told)
    }
}

/// Makes messages of changes, and remembers the ids of what is open.
#[derive(Debug)]
pub struct HealthLog {
    sender: HealthSender,
    ids: IdSource,
    config_digest: String,
    open: HashMap<(CameraId, Condition), (String, u32)>,
}

impl HealthLog {
    /// A log without open conditions: those of the last run are ended before.
    #[must_use]
    pub fn new(sender: HealthSender, ids: IdSource, config_digest: String) -> Self {
        Self { sender, ids, config_digest, open: HashMap::new() }
    }

    /// The message of a change.
    pub fn notice(&mut self, camera: &HealthCamera, change: HealthChange, clock_offset_ms: Option<i64>) -> NewNotice {
        let key = (camera.id.clone(), change.condition);
        let (id, revision) = match (change.phase, self.open.remove(&key)) {
            (Phase::Update | Phase::End, Some((id, revision))) => (id, revision + 1),
            _ => (self.ids.next_id(change.start).to_string(), 1),
        };
        if change.end.is_none() {
            self.open.insert(key, (id.clone(), revision));
        }
        let HealthChange { condition, phase, start, end, duration_ms, reason, figures, end_reason } = change;
        let told = HealthTold {
            condition,
            phase,
            camera: camera.clone(),
            capture: HealthTimes { start, end, time_source: "box".into(), clock_offset_ms },
            duration_ms,
            reason,
            figures,
            end_reason,
            config_digest: self.config_digest.clone(),
        };
        self.sender.notice(id, revision, &told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(phase: Phase, end: Option<i64>) -> HealthChange {
        HealthChange {
            condition: Condition::Covered,
            phase,
            start: UtcMillis(1000),
            end: end.map(UtcMillis),
            duration_ms: end.unwrap_or(5000) - 1000,
            reason: "why".into(),
            figures: Vec::new(),
            end_reason: end.map(|_| HealthEnd::Recovered),
        }
    }

    fn sender(alert_severity: u8) -> HealthSender {
        HealthSender { topics: Topics::new("gatewatch/v1", "15BB", "gate-01"), alert_severity }
    }

    fn camera() -> HealthCamera {
        HealthCamera { id: CameraId("lane".into()), name: "Làn vào".into() }
    }

    #[test]
    fn a_condition_has_one_id_and_rising_revisions() {
        let mut log = HealthLog::new(sender(2), IdSource::random(), "0".repeat(16));
        let said: Vec<NewNotice> =
            [change(Phase::New, None), change(Phase::Update, None), change(Phase::End, Some(9000))]
                .into_iter()
                .map(|c| log.notice(&camera(), c, Some(20)))
                .collect();
        assert!(said.iter().all(|n| n.id == said[0].id && n.kind == "gatewatch.alert.camera_covered.v1"));
        let brief: Vec<_> = said.iter().map(|n| (n.revision, n.open)).collect();
        assert_eq!(brief, [(1, true), (2, true), (3, false)]);
        let again = log.notice(&camera(), change(Phase::New, None), None);
        assert!(again.id != said[0].id && again.revision == 1);
    }

    #[test]
    fn below_the_alert_severity_it_is_an_event() {
        let mut log = HealthLog::new(sender(4), IdSource::random(), "0".repeat(16));
        let notice = log.notice(&camera(), change(Phase::New, None), None);
        assert_eq!(notice.kind, "gatewatch.event.camera_covered.v1");
        assert!(notice.topic.ends_with("/event") && KIND_PREFIXES.iter().any(|p| notice.kind.starts_with(p)));
    }

    #[test]
    fn what_a_run_left_open_ends_where_it_was_last_written() {
        let mut log = HealthLog::new(sender(2), IdSource::random(), "0".repeat(16));
        let first = log.notice(&camera(), change(Phase::New, None), None);
        let mut data = first.data.clone();
        for (key, value) in [("revision", 1.into()), ("severity", 3.into()), ("office", "15BB".into())] {
            data[key] = value;
        }
        data["box"] = "gate-01".into();
        data["sequence"] = serde_json::json!({"epoch": 1, "seq": 1, "historical": false});
        let message = serde_json::json!({"specversion": "1.0", "id": first.id, "source": "/office/15BB/box/gate-01",
            "type": first.kind, "subject": first.subject, "time": UtcMillis(9), "datacontenttype": "application/json",
            "data": data});
        let ended = sender(2).ended_by_restart(serde_json::from_value(message).unwrap());
        assert_eq!((ended.id, ended.revision, ended.open), (first.id, 2, false));
        assert_eq!((ended.data["phase"].as_str(), ended.data["end_reason"].as_str()), (Some("end"), Some("restart")));
        assert_eq!(ended.data["capture"]["end"], serde_json::json!(UtcMillis(5000)));
    }
}

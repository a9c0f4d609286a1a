//! What a box says of itself every minute, retained, for the page Devices of the duty room: how long it runs, what waits to be
//! sent, room for video, clock, detector, and the parts that are not well. Here is the message; `agent/status.rs` puts it
//! together, `status_turns.rs` decides when it goes out. It is never queued: a box that cannot send has no present state to tell.

use schemars::JsonSchema;
use serde::Serialize;

use crate::camera::CameraId;
use crate::clock::UtcMillis;
use crate::event::message::ModelRef;
use crate::telemetry::health::Level;

/// State of a box at one moment, as published in `status`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct BoxStatus {
    /// When this was so, by the box's clock.
    pub time: UtcMillis,
    /// When the store was made, as in `state`.
    pub epoch: i64,
    /// This run of the process, as in `birth`.
    pub session: i64,
    /// Of gatewatch.
    pub version: String,
    /// Seconds since the process started.
    pub uptime_s: i64,
    /// The worst of all parts.
    pub level: Level,
    /// What waits to be sent; `null`: the database does not answer.
    pub outbox: Option<OutboxState>,
    /// Room for video; `null`: nobody has looked yet, or the disk does not answer.
    pub storage: Option<StorageState>,
    /// What happens can be written down; tried every half minute. `null`: not tried yet.
    pub database_writable: Option<bool>,
    /// The box's clock.
    pub clock: ClockState,
    /// The detector.
    pub detector: DetectorState,
    /// Cameras whose pictures come faster than they can be analysed.
    pub overloaded: Vec<CameraId>,
    /// Parts that are not `ok`, the worst first, as in `/readyz`; at most 40.
    pub parts: Vec<PartState>,
    /// Further ones that have no room here.
    pub parts_more: u32,
}

/// What waits to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OutboxState {
    /// Messages and pictures.
    pub waiting: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Age of the oldest, seconds; `null`: nothing waits.
    pub oldest_s: Option<i64>,
    /// The oldest has waited for a minute: the line, or the broker, does not keep up.
    pub behind: bool,
    /// Messages dropped since the start because there was no room. The box still has them: `cmd/resync`.
    pub dropped: u64,
}

/// Room for video on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StorageState {
    /// How much room there is.
    pub state: Room,
    /// Free for the agent, bytes.
    pub free_bytes: u64,
    /// Of the whole disk.
    pub disk_bytes: u64,
    /// Video that goes in its time.
    pub footage_bytes: u64,
    /// Video that is held, beside it.
    pub held_bytes: u64,
    /// From here on everything that was recorded is still there; of the time before, what belongs to events or is held.
    pub whole_from: Option<UtcMillis>,
    /// Start of the oldest file.
    pub oldest: Option<UtcMillis>,
    /// What is wrong, a sentence each.
    pub warnings: Vec<String>,
}

/// How much room there is for video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Room {
    /// Enough.
    Ok,
    /// Everything is recorded; `warnings` say what somebody should look at.
    Warning,
    /// Not every camera is recorded any more.
    Full,
}

/// What is known of the box's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ClockState {
    /// Set by a time server. `null`: not known; only systemd-timesyncd says so to everybody.
    pub synchronised: Option<bool>,
    /// When it was set last.
    pub synchronised_at: Option<UtcMillis>,
    /// Camera clock minus box clock, median of the cameras that tell their time: far from 0 with several, the box is wrong.
    pub cameras_offset_ms: Option<i64>,
    /// How many cameras tell it.
    pub cameras: u32,
}

/// What the detector is and does.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DetectorState {
    /// What it does.
    pub state: Analysis,
    /// Which model; its digest is its version. Without a model the configured file's name and the digest of nothing.
    pub model: ModelRef,
}

/// Whether pictures are analysed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Analysis {
    /// Not yet.
    Starting,
    /// They are.
    Running,
    /// Those of some cameras or all are not; `parts` say why.
    Failed,
}

/// A part that is not well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PartState {
    /// Its name, e.g. `camera/bay-1`.
    pub part: String,
    /// How it is.
    pub level: Level,
    /// One sentence for the technician, cut off after 300 characters. No secrets.
    pub message: String,
}

impl BoxStatus {
    /// Something turned bad, or good again. Figures alone are no news: they come with the next minute.
    #[must_use]
    pub fn turned_since(&self, before: &Self) -> bool {
        let marks = |s: &Self| {
            let parts: Vec<_> = s.parts.iter().map(|p| (p.part.clone(), p.level)).collect();
            let outbox = s.outbox.map(|o| (o.behind, o.dropped > 0));
            let room = s.storage.as_ref().map(|s| s.state);
            let marks = (room, s.database_writable, s.clock.synchronised, s.detector.state);
            (outbox, marks, s.overloaded.clone(), parts)
        };
        marks(self) != marks(before)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// All is well but one part.
    pub(in crate::mqtt) fn well() -> BoxStatus {
        BoxStatus {
            time: UtcMillis(0),
            epoch: 1,
            session: 1,
            version: "0".into(),
            uptime_s: 5,
            level: Level::Ok,
            outbox: Some(OutboxState { waiting: 0, bytes: 0, oldest_s: None, behind: false, dropped: 0 }),
            storage: None,
            database_writable: Some(true),
            clock: ClockState { synchronised: None, synchronised_at: None, cameras_offset_ms: None, cameras: 0 },
            detector: DetectorState {
                state: Analysis::Running,
                model: ModelRef { name: "m".into(), sha256: "0".into() },
            },
            overloaded: Vec::new(),
            parts: vec![PartState { part: "mqtt".into(), level: Level::Degraded, message: "one".into() }],
            parts_more: 0,
        }
    }

    #[test]
    fn figures_and_texts_are_no_news_and_marks_are() {
        let before = well();
        let waiting =
            |waiting, behind, dropped| Some(OutboxState { waiting, bytes: 9, oldest_s: Some(3), behind, dropped });
        let mut now = BoxStatus { time: UtcMillis(1000), uptime_s: 6, outbox: waiting(7, false, 0), ..well() };
        now.parts[0].message = "two".into();
        now.clock.cameras_offset_ms = Some(900);
        assert!(!now.turned_since(&before));
        let part = |level| vec![PartState { part: "mqtt".into(), level, message: "one".into() }];
        for turned in [
            BoxStatus { outbox: waiting(7, true, 0), ..well() },
            BoxStatus { outbox: waiting(7, false, 1), ..well() },
            BoxStatus { outbox: None, ..well() },
            BoxStatus { database_writable: Some(false), ..well() },
            BoxStatus { overloaded: vec![CameraId("bay".into())], ..well() },
            BoxStatus { parts: part(Level::Failed), ..well() },
            BoxStatus { parts: Vec::new(), ..well() },
        ] {
            assert!(turned.turned_since(&before) && before.turned_since(&turned), "{turned:?}");
        }
        let (one, two) =
            (BoxStatus { outbox: waiting(1, true, 3), ..well() }, BoxStatus { outbox: waiting(2, true, 4), ..well() });
        assert!(!two.turned_since(&one), "more of the same");
    }
}

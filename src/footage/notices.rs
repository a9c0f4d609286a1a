//! Messages about recording: room runs out, a camera is not recorded. One notice lasts from when something is wrong until
//! it is over, over restarts too; its revisions say what changed.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{Allowed, Looked, RecordStatus};
use crate::camera::CameraId;
use crate::clock::{UtcMillis, utc_now};
use crate::ids::IdSource;
use crate::store::{LANE_ALERT, NewNotice, Store};

const STORAGE: &str = "gatewatch.alert.footage_storage.v1";
const RECORDING: &str = "gatewatch.alert.footage_recording.v1";
/// Both begin so.
const PREFIX: &str = "gatewatch.alert.footage_";
/// A recording is well again when nothing was lost for so long.
const QUIET_MS: i64 = 60_000;
/// An open notice is not said anew more often than this, unless it got worse.
const AGAIN_MS: i64 = 60_000;

/// Where notices go.
#[derive(Debug, Clone)]
pub struct NoticeTarget {
    /// Topic of alerts of the box.
    pub topic: String,
}

/// An open notice.
struct Open {
    id: String,
    revision: u32,
    severity: u8,
    since: UtcMillis,
    data: Value,
    said: UtcMillis,
}

/// What of a recording was seen last.
#[derive(Clone, Copy)]
struct Seen {
    lost: u64,
    /// When something was last lost.
    at: UtcMillis,
    /// Lost before this notice.
    before: u64,
}

/// Says each thing once, and when it is over.
pub(super) struct Notices {
    store: Store,
    target: NoticeTarget,
    open: HashMap<(&'static str, String), Open>,
    seen: HashMap<CameraId, Seen>,
}

impl Notices {
    /// Goes on with what the last run left open.
    pub async fn resume(store: Store, target: NoticeTarget) -> Self {
        let mut open = HashMap::new();
        match store.open_notices(PREFIX).await {
            Ok(left) => {
                for message in left {
                    let kind = if message["type"] == STORAGE { STORAGE } else { RECORDING };
                    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
                    let number = |v: &Value| v.as_u64().unwrap_or(1);
                    let data = &message["data"];
                    let known = Open {
                        id: text(&message["id"]),
                        revision: u32::try_from(number(&data["revision"])).unwrap_or(1),
                        severity: u8::try_from(number(&data["severity"])).unwrap_or(2),
                        since: UtcMillis::parse_rfc3339(&text(&data["capture"]["start"])).unwrap_or_else(|_| utc_now()),
                        data: Value::Null,
                        said: UtcMillis(0),
                    };
                    open.insert((kind, text(&message["subject"])), known);
                }
            }
            Err(error) => tracing::error!(%error, "open notices about footage cannot be read"),
        }
        Self { store, target, open, seen: HashMap::new() }
    }

    /// The room on the disk.
    pub async fn room(&mut self, looked: &Looked) {
        let severity = if looked.allowed == Allowed::All { 2 } else { 3 };
        let recording: Value = match &looked.allowed {
            Allowed::All => "all".into(),
            Allowed::Only(cameras) => json!(cameras),
            Allowed::Nobody => "stopped".into(),
        };
        let data = json!({
            "recording": recording, "warnings": looked.warnings, "free_bytes": looked.free_bytes,
            "disk_bytes": looked.disk_bytes, "bytes": {"ring": looked.bytes.ring, "event": looked.bytes.event,
            "held": looked.bytes.held}, "segments": looked.bytes.segments,
            "deleted_past_silent_holds": looked.past_silent_holds,
        });
        self.say(STORAGE, "footage".into(), severity, !looked.warnings.is_empty(), data).await;
    }

    /// One camera's recording.
    pub async fn recording(&mut self, status: &RecordStatus) {
        let now = utc_now();
        let first = Seen { lost: status.lost, at: UtcMillis(0), before: status.lost };
        let seen = self.seen.entry(status.camera.clone()).or_insert(first);
        if status.lost > seen.lost {
            if now.since(seen.at) >= QUIET_MS {
                seen.before = seen.lost;
            }
            (seen.lost, seen.at) = (status.lost, now);
        }
        let wrong = status.problem.is_some() || now.since(seen.at) < QUIET_MS;
        let lost = seen.lost - seen.before;
        let data = json!({"camera": status.camera, "lost_pictures": lost, "problem": status.problem});
        self.say(RECORDING, format!("camera/{}", status.camera), 3, wrong, data).await;
    }

    async fn say(&mut self, kind: &'static str, subject: String, severity: u8, wrong: bool, data: Value) {
        let now = utc_now();
        let key = (kind, subject.clone());
        let known = self.open.get(&key);
        let due = match known {
            None => wrong,
            Some(open) if wrong => {
                severity > open.severity || (now.since(open.said) >= AGAIN_MS && differs(&open.data, &data))
            }
            Some(_) => true,
        };
        if !due {
            return;
        }
        let id = known.map_or_else(|| IdSource::random().next_id(now).to_string(), |o| o.id.clone());
        let revision = known.map_or(1, |o| o.revision + 1);
        let since = known.map_or(now, |o| o.since);
        let mut full = data.clone();
        full["capture"] = json!({"start": since, "end": if wrong { None } else { Some(now) }});
        full["duration_ms"] = now.since(since).max(0).into();
        full["phase"] = match (known, wrong) {
            (None, _) => "new",
            (_, true) => "update",
            (_, false) => "end",
        }
        .into();
        let notice = NewNotice {
            id: id.clone(),
            revision,
            kind: kind.to_owned(),
            subject,
            severity,
            at: now,
            open: wrong,
            topic: self.target.topic.clone(),
            lane: LANE_ALERT,
            data: full,
        };
        // What could not be written is said at the next look.
        match self.store.record_notices(vec![notice]).await {
            Err(error) => tracing::error!(%error, kind, "a notice about footage cannot be written"),
            Ok(_) if wrong => drop(self.open.insert(key, Open { id, revision, severity, since, data, said: now })),
            Ok(_) => drop(self.open.remove(&key)),
        }
    }
}

/// Byte counts change all the time; that is no news.
fn differs(before: &Value, now: &Value) -> bool {
    ["recording", "lost_pictures", "problem", "deleted_past_silent_holds"].iter().any(|key| before[key] != now[key])
}

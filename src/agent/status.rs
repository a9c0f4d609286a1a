//! Puts together what the box says of itself every minute (`mqtt/status.rs`), out of what its parts have found out anyway: once a
//! second, so nothing here counts a second time. And the one thing nobody notices while nothing happens: whether the
//! database can be written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::watch;

use crate::camera::{CameraId, CameraStatus};
use crate::clock::{UtcMillis, mono_now, utc_now};
use crate::coverage::BlindReason;
use crate::event::message::ModelRef;
use crate::footage::{Allowed, Footage, Looked};
use crate::mqtt::status::{Analysis, BoxStatus, ClockState, DetectorState, OutboxState, PartState, Room, StorageState};
use crate::store::{OutboxStats, Store};
use crate::telemetry::health::{Health, Level, Part};

/// What waits longer than this is behind, seconds: a live alert of that age is no longer live.
const BEHIND_S: i64 = 60;
/// Parts that are named, and characters of what each says: with them the parts stay below 20 kB of ASCII.
const MAX_PARTS: usize = 40;
const MAX_TEXT: usize = 300;
/// Here systemd-timesyncd touches a file whenever it has set the clock. Who else keeps the time says so to privileged callers
/// only (`adjtimex`), which the service's sandbox keeps out.
const TIMESYNCD: &str = "/run/systemd/timesync";
/// It asks its server every 34 minutes at most; so long after the last answer the clock runs freely, milliseconds.
const SYNCHRONISED_MS: i64 = 3 * 3_600_000;
/// Name of the database among the parts.
const DATABASE: &str = "database";
/// How often the database is tried, and how long a write may take before that is said.
const TRY_EVERY: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(20);

/// What the status is put together from.
pub struct Reporter {
    /// Which store it is.
    pub store: Store,
    /// How the parts are.
    pub health: Arc<Health>,
    /// Room for video.
    pub footage: Arc<Footage>,
    /// The model in use.
    pub model: watch::Receiver<ModelRef>,
    /// To delivery.
    pub out: watch::Sender<Option<BoxStatus>>,
}

impl Reporter {
    /// Hands over how it is now. `outbox`: `None` when the database did not answer.
    pub fn report(&self, cameras: &BTreeMap<CameraId, CameraStatus>, outbox: Option<OutboxStats>) {
        let (now, readiness) = (utc_now(), self.health.readiness());
        let (parts, parts_more) = not_well(&readiness.parts);
        self.out.send_replace(Some(BoxStatus {
            time: now,
            epoch: self.store.epoch(),
            session: self.store.session(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_s: mono_now().0 / 1000,
            level: readiness.level,
            outbox: outbox.map(waiting),
            storage: self.footage.looked().map(storage),
            database_writable: readiness.parts.get(DATABASE).map(|p| p.level == Level::Ok),
            clock: clock(cameras, Path::new(TIMESYNCD), now),
            detector: DetectorState { state: analysis(&readiness.parts), model: self.model.borrow().clone() },
            overloaded: overloaded(cameras),
            parts,
            parts_more,
        }));
    }
}

fn waiting(stats: OutboxStats) -> OutboxState {
    let oldest_s = stats.oldest_age_ms.map(|ms| ms / 1000);
    OutboxState {
        waiting: stats.rows,
        bytes: stats.bytes,
        oldest_s,
        behind: oldest_s.is_some_and(|s| s >= BEHIND_S),
        dropped: stats.dropped,
    }
}

fn storage(looked: Looked) -> StorageState {
    let bytes = looked.bytes;
    StorageState {
        state: match looked.allowed {
            Allowed::All if looked.warnings.is_empty() => Room::Ok,
            Allowed::All => Room::Warning,
            Allowed::Only(_) | Allowed::Nobody => Room::Full,
        },
        free_bytes: looked.free_bytes,
        disk_bytes: looked.disk_bytes,
        footage_bytes: bytes.ring + bytes.event,
        held_bytes: bytes.held,
        whole_from: bytes.ring_since,
        oldest: [bytes.ring_since, bytes.event_since, bytes.held_since].into_iter().flatten().min(),
        warnings: looked.warnings,
    }
}

fn clock(cameras: &BTreeMap<CameraId, CameraStatus>, timesyncd: &Path, now: UtcMillis) -> ClockState {
    let mut offsets: Vec<i64> = cameras.values().filter_map(|c| c.clock_offset_ms).collect();
    offsets.sort_unstable();
    let (synchronised, synchronised_at) = synchronised(timesyncd, now);
    ClockState {
        synchronised,
        synchronised_at,
        cameras_offset_ms: offsets.get(offsets.len() / 2).copied(),
        cameras: u32::try_from(offsets.len()).unwrap_or(u32::MAX),
    }
}

fn synchronised(timesyncd: &Path, now: UtcMillis) -> (Option<bool>, Option<UtcMillis>) {
    let touched = std::fs::metadata(timesyncd.join("synchronized")).and_then(|m| m.modified()).ok();
    let since_1970 = touched.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    match since_1970.and_then(|d| i64::try_from(d.as_millis()).ok()).map(UtcMillis) {
        Some(at) => (Some(now.since(at) < SYNCHRONISED_MS), Some(at)),
        None if timesyncd.is_dir() => (Some(false), None),
        None => (None, None),
    }
}

fn analysis(parts: &BTreeMap<String, Part>) -> Analysis {
    let levels: Vec<Level> = parts.iter().filter(|(n, _)| n.starts_with("analysis/")).map(|(_, p)| p.level).collect();
    match levels.iter().max() {
        None => Analysis::Starting,
        Some(Level::Failed) => Analysis::Failed,
        Some(_) => Analysis::Running,
    }
}

fn overloaded(cameras: &BTreeMap<CameraId, CameraStatus>) -> Vec<CameraId> {
    let reason = |c: &CameraStatus| c.coverage.and_then(|c| c.reason);
    let each = cameras.values().filter(|c| reason(c) == Some(BlindReason::Overload));
    each.map(|c| c.camera.clone()).collect()
}

/// Parts that are not well, the worst first, and how many there was no room for.
fn not_well(parts: &BTreeMap<String, Part>) -> (Vec<PartState>, u32) {
    let bad = parts.iter().filter(|(_, p)| p.level != Level::Ok);
    let mut all: Vec<PartState> = bad
        .map(|(name, p)| PartState {
            part: name.clone(),
            level: p.level,
            message: p.message.chars().take(MAX_TEXT).collect(),
        })
        .collect();
    all.sort_by_key(|p| std::cmp::Reverse(p.level));
    let more = all.len().saturating_sub(MAX_PARTS);
    all.truncate(MAX_PARTS);
    (all, u32::try_from(more).unwrap_or(u32::MAX))
}

/// Tries now and then whether the database can be written, and says so in health: never returns. On a quiet night a disk that
/// refuses would otherwise be noticed only with the first event that cannot be kept.
pub async fn try_database(store: Store, health: Arc<Health>) {
    let mut every = tokio::time::interval(TRY_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        try_once(&store, &health).await;
    }
}

async fn try_once(store: &Store, health: &Health) {
    let write = store.try_write();
    tokio::pin!(write);
    // Not given up half-way: the connection would have to be made anew.
    let done = match tokio::time::timeout(PATIENCE, &mut write).await {
        Ok(done) => done,
        Err(_) => {
            let text = format!("a write takes longer than {} s: look at the disk", PATIENCE.as_secs());
            // A hang is no better than the failure before it.
            let failed = health.readiness().parts.get(DATABASE).is_some_and(|p| p.level == Level::Failed);
            health.set(DATABASE, if failed { Level::Failed } else { Level::Degraded }, text);
            write.await
        }
    };
    match done {
        Ok(()) => health.set(DATABASE, Level::Ok, "can be written"),
        Err(error) => health.set(DATABASE, Level::Failed, format!("it cannot be written: {error}; look at the disk")),
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Connection;

    use super::*;
    use crate::config::Config;
    use crate::store::{DATABASE as FILE, FootageBytes, StoreOptions};

    fn parts(all: &[(&str, Level)]) -> BTreeMap<String, Part> {
        let part = |level| Part { level, message: "x".repeat(1000) };
        all.iter().map(|(name, level)| ((*name).to_owned(), part(*level))).collect()
    }

    #[test]
    fn what_is_not_well_is_named_the_worst_first_and_bounded() {
        let (named, more) = not_well(&parts(&[
            ("analysis/0", Level::Ok),
            ("camera/a", Level::Degraded),
            ("camera/b", Level::Failed),
            ("mqtt", Level::Degraded),
        ]));
        let names: Vec<_> = named.iter().map(|p| p.part.as_str()).collect();
        assert_eq!((names, more), (vec!["camera/b", "camera/a", "mqtt"], 0));
        assert!(named.iter().all(|p| p.message.len() == MAX_TEXT));
        let many: Vec<String> = (0..60).map(|n| format!("camera/{n}")).collect();
        let many: Vec<_> = many.iter().map(|n| (n.as_str(), Level::Failed)).collect();
        let (named, more) = not_well(&parts(&many));
        assert_eq!((named.len(), more), (MAX_PARTS, 20));
        assert!(serde_json::to_vec(&named).unwrap().len() < 20_000);
    }

    #[test]
    fn one_worker_that_fails_is_a_failed_analysis() {
        assert_eq!(analysis(&parts(&[("store", Level::Ok)])), Analysis::Starting);
        assert_eq!(analysis(&parts(&[("analysis/0", Level::Ok), ("store", Level::Failed)])), Analysis::Running);
        assert_eq!(analysis(&parts(&[("analysis/0", Level::Ok), ("analysis/1", Level::Failed)])), Analysis::Failed);
    }

    #[test]
    fn room_is_told_by_who_may_record_and_how_far_video_reaches() {
        let bytes = FootageBytes {
            ring: 5,
            event: 7,
            held: 2,
            segments: 3,
            ring_since: Some(UtcMillis(300)),
            event_since: Some(UtcMillis(200)),
            held_since: Some(UtcMillis(100)),
        };
        let all = Looked { bytes, free_bytes: 50, disk_bytes: 90, ..Looked::default() };
        let told = storage(all.clone());
        assert_eq!((told.state, told.footage_bytes, told.held_bytes), (Room::Ok, 12, 2));
        assert_eq!((told.whole_from, told.oldest), (Some(UtcMillis(300)), Some(UtcMillis(100))));
        assert_eq!(storage(Looked { warnings: vec!["x".into()], ..all.clone() }).state, Room::Warning);
        assert_eq!(storage(Looked { allowed: Allowed::Only(Vec::new()), ..all.clone() }).state, Room::Full);
        assert_eq!(storage(Looked { allowed: Allowed::Nobody, ..all }).state, Room::Full);
    }

    #[test]
    fn what_waits_for_a_minute_is_behind() {
        let of = |oldest_age_ms| waiting(OutboxStats { rows: 1, bytes: 2, oldest_age_ms, dropped: 0 });
        assert!(!of(None).behind && !of(Some(59_999)).behind && of(Some(60_000)).behind);
    }

    #[test]
    fn the_clock_is_synchronised_as_long_as_the_time_service_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let now = utc_now();
        assert_eq!(
            synchronised(&dir.path().join("none"), now),
            (None, None),
            "another service keeps the time, or none"
        );
        assert_eq!(synchronised(dir.path(), now), (Some(false), None));
        std::fs::write(dir.path().join("synchronized"), "").unwrap();
        let (good, at) = synchronised(dir.path(), now);
        assert!(good == Some(true) && at.is_some_and(|at| (at.0 - now.0).abs() < 60_000), "{at:?}");
        assert_eq!(synchronised(dir.path(), now.plus_ms(SYNCHRONISED_MS + 60_000)), (Some(false), at));
    }

    #[tokio::test]
    async fn a_database_that_cannot_be_written_is_noticed_though_nothing_happens() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.store.dir = dir.path().to_owned();
        let store = Store::open(StoreOptions::of(&config, "unused".into())).await.unwrap();
        let health = Health::default();
        let tried = async || {
            try_once(&store, &health).await;
            health.readiness().parts[DATABASE].level
        };
        assert_eq!(tried().await, Level::Ok);
        let url = format!("sqlite:{}", dir.path().join(FILE).display());
        let mut db = sqlx::SqliteConnection::connect(&url).await.unwrap();
        let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON refused BEGIN SELECT RAISE(ABORT, 'for a test'); END";
        sqlx::query(refuse).execute(&mut db).await.unwrap();
        assert_eq!(tried().await, Level::Failed);
        sqlx::query("DROP TRIGGER refuse").execute(&mut db).await.unwrap();
        assert_eq!(tried().await, Level::Ok);
        let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM refused").fetch_one(&mut db).await.unwrap();
        assert_eq!(left, 0, "it leaves nothing behind");
        store.close().await.unwrap();
    }
}

//! The store under load, damage and `kill -9`, through its public interface.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gatewatch::clock::{UtcMillis, mono_now, utc_now};
use gatewatch::config::StoreConfig;
use gatewatch::customs::register::Fact;
use gatewatch::customs::{Booking, Declaration};
use gatewatch::event::EventMessage;
use gatewatch::store::{NewMessage, NewNotice, OutboxDropped, Part, Pictures, Pruned, Store, StoreError, StoreOptions};
use proptest::prelude::*;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::Connection;

pub(crate) fn options(dir: &Path) -> StoreOptions {
    StoreOptions {
        config: StoreConfig { dir: dir.into(), ..StoreConfig::default() },
        live_limit_ms: 1_800_000,
        office: "15BB".into(),
        box_id: "gate-01".into(),
        alert_topic: "gatewatch/v1/15BB/gate-01/alert".into(),
    }
}

async fn open(dir: &Path) -> Store {
    Store::open(options(dir)).await.unwrap()
}

fn event(revision: u32, phase: &str, best: UtcMillis) -> EventMessage {
    event_of(ulid::Ulid::from_parts(u64::try_from(best.0).unwrap(), rand::random()), revision, phase, best)
}

pub(crate) fn event_of(id: ulid::Ulid, revision: u32, phase: &str, best: UtcMillis) -> EventMessage {
    let t = best.to_rfc3339();
    let end = (phase == "end").then(|| t.clone());
    let end_reason = (phase == "end").then_some("observed");
    let rect = json!([0.0, 0.0, 1.0, 1.0]);
    serde_json::from_value(json!({
        "specversion": "1.0", "id": id.to_string(), "source": "/office/15BB/box/gate-01",
        "type": "gatewatch.event.enter.v1", "subject": "area/bay-1", "time": t, "datacontenttype": "application/json",
        "data": {
            "revision": revision, "phase": phase, "severity": 1, "rule": "enter", "office": "15BB", "box": "gate-01",
            "camera": {"id": "cam-1", "name": "Cổng", "width": 1920, "height": 1080},
            "area": {"id": "bay-1", "name": "Bãi 1", "kind": "inspection_bay", "outline": [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]},
            "capture": {"start": t, "best": t, "end": end, "time_source": "arrival", "uncertainty_ms": 500, "clock_offset_ms": null},
            "duty_day": "2026-03-02", "dwell_ms": 0, "direction": null, "end_reason": end_reason,
            "object": {"track_id": id.to_string(), "label": "truck", "score": 0.9, "box_px": rect, "box_frac": rect, "path": []},
            "link": {"verdict": "unlinked", "links": [], "reason": "no booking", "feed_age_s": null, "feed_stale": true},
            "snapshot": null, "snapshot_missing": null, "model": {"name": "m.onnx", "sha256": "00"},
            "config_digest": "0000000000000000", "sequence": {"epoch": 0, "seq": 0, "historical": false}
        }
    }))
    .unwrap()
}

pub(crate) fn message(event: EventMessage, lane: u8, picture: Option<&[u8]>) -> NewMessage {
    let snapshot_topic = format!("gatewatch/v1/15BB/gate-01/snapshot/{}", event.id);
    NewMessage {
        event,
        pictures: picture.map(|p| Pictures { clean: p.to_vec().into(), annotated: [p, b"!"].concat().into() }),
        topic: "gatewatch/v1/15BB/gate-01/event".into(),
        snapshot_topic,
        lane,
        received: Some(mono_now()),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Every picture of the store has its digests; returns the sequence numbers of the messages by the outbox.
async fn check_whole(store: &Store) -> Vec<i64> {
    let items = store.outbox_next(1_000_000, &[]).await.unwrap();
    let mut seqs = Vec::new();
    for item in items.iter().filter(|i| i.part == Part::Message) {
        let e: EventMessage = serde_json::from_slice(&item.payload).unwrap();
        assert_eq!(e.data.sequence.seq, item.seq);
        if let Some(s) = &e.data.snapshot {
            let picture =
                items.iter().find(|p| p.seq == item.seq && p.part == Part::Picture).expect("its picture waits");
            assert!(picture.id < item.id, "picture first");
            assert_eq!(hex::encode(Sha256::digest(&picture.payload)), s.sha256);
            let day = e.data.capture.best.to_rfc3339()[..10].replace('-', "/");
            let clean = store.dir().join(format!("pictures/{day}/{}-{}-clean.jpg", e.id, e.data.revision));
            assert_eq!(hex::encode(Sha256::digest(std::fs::read(clean).unwrap())), s.clean_sha256);
        }
        seqs.push(item.seq);
    }
    seqs.sort_unstable();
    seqs
}

#[tokio::test]
async fn an_open_event_that_cannot_be_read_goes_on_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.record(message(event(1, "new", utc_now()), 2, None)).await.unwrap();
    let url = format!("sqlite://{}", dir.path().join(gatewatch::store::DATABASE).display());
    let mut db = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query(r#"UPDATE message SET payload = '{"of": "another version"}'"#).execute(&mut db).await.unwrap();
    assert_eq!(store.open_events().await.unwrap(), Vec::new());
    let still = "SELECT (SELECT COUNT(*) FROM open_event) + (SELECT COUNT(*) FROM event_place WHERE end_ms IS NULL)";
    let still: i64 = sqlx::query_scalar(still).fetch_one(&mut db).await.unwrap();
    assert_eq!(still, 0);
    store.close().await.unwrap();
}

#[tokio::test]
async fn recorded_delivered_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let now = utc_now();
    let first = store.record(message(event(1, "new", now), 2, Some(b"jpeg"))).await.unwrap();
    let again = store.record(message(first.event.clone(), 2, Some(b"other"))).await.unwrap();
    assert_eq!(again, first, "the same id and revision is recorded once");
    let alert = store.record(message(event(1, "end", now), 0, None)).await.unwrap();
    assert_eq!((first.sequence.seq, alert.sequence.seq, first.sequence.epoch), (1, 2, store.epoch()));
    let items = store.outbox_next(10, &[]).await.unwrap();
    let order: Vec<_> = items.iter().map(|i| (i.lane, i.seq, i.part)).collect();
    assert_eq!(order, [(0, 2, Part::Message), (2, 1, Part::Picture), (2, 1, Part::Message)]);
    assert_eq!(store.outbox_next(10, &[items[0].id]).await.unwrap().len(), 2, "not what is in flight");
    assert_eq!(store.open_events().await.unwrap(), vec![first.event.clone()]);
    check_whole(&store).await;

    let ids: Vec<i64> = items.iter().map(|i| i.id).collect();
    store.mark_delivered(&ids, utc_now()).await.unwrap();
    store.mark_delivered(&ids, utc_now()).await.unwrap();
    assert_eq!(store.outbox_stats().await.unwrap().rows, 0);
    assert_eq!(store.outbox_stats().await.unwrap().bytes, 0);
    assert!(
        store.latencies(UtcMillis(0)).await.unwrap().iter().all(|l| l.acked_ms >= l.stored_ms && l.stored_ms.is_some())
    );
    assert_eq!(store.counts(UtcMillis(0)).await.unwrap().iter().map(|c| c.count).sum::<i64>(), 2);

    assert_eq!(store.resync(1, None, store.epoch() + 1).await.unwrap().queued, 0, "another epoch means other messages");
    let reply = store.resync(1, Some(1), store.epoch()).await.unwrap();
    assert_eq!((reply.queued, reply.first_seq, reply.last_seq), (1, Some(1), Some(2)));
    assert_eq!(store.resync(1, Some(1), store.epoch()).await.unwrap().already_pending, 1);
    let replay = store.outbox_next(10, &[]).await.unwrap();
    assert_eq!(replay.iter().map(|i| (i.lane, i.part)).collect::<Vec<_>>(), [(3, Part::Picture), (3, Part::Message)]);
    let e: EventMessage = serde_json::from_slice(&replay[1].payload).unwrap();
    assert!(e.data.sequence.historical);
}

#[tokio::test]
async fn a_picture_that_cannot_be_read_holds_nothing_up_and_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let first = store.record(message(event(1, "end", utc_now()), 2, Some(b"jpeg"))).await.unwrap();
    store.record(message(event(1, "end", utc_now()), 2, Some(b"jpeg"))).await.unwrap();
    // A folder in its place: opening works, reading does not, as with a bad sector.
    let day = first.event.data.capture.best.to_rfc3339()[..10].replace('-', "/");
    let path = dir.path().join(format!("pictures/{day}/{}-1-annotated.jpg", first.event.id));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let mut seen = Vec::new();
    // Until nothing is left, as delivery asks.
    loop {
        let items = store.outbox_next(2, &[]).await.unwrap();
        if items.is_empty() && store.outbox_stats().await.unwrap().rows == 0 {
            break;
        }
        let ids: Vec<i64> = items.iter().map(|i| i.id).collect();
        seen.extend(items.into_iter().map(|i| (i.seq, i.part, i.payload)));
        store.mark_delivered(&ids, utc_now()).await.unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(5), store.wait_for_work()).await.ok();
    }
    let parts: BTreeSet<(i64, bool)> = seen.iter().map(|(seq, part, _)| (*seq, *part == Part::Picture)).collect();
    assert_eq!(parts, BTreeSet::from([(1, false), (2, true), (2, false), (3, false)]));
    let report: OutboxDropped = serde_json::from_slice(&seen.iter().find(|s| s.0 == 3).unwrap().2).unwrap();
    assert_eq!((report.data.messages, report.data.pictures), (0, 1));
    assert_eq!(report.data.lanes[0].seq_ranges, [(1, 1)]);
}

#[tokio::test]
async fn an_open_event_of_another_version_does_not_keep_the_box_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let good = store.record(message(event(1, "new", utc_now()), 2, None)).await.unwrap();
    let bad = store.record(message(event(1, "new", utc_now()), 2, None)).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let db = sqlx::SqliteConnection::connect(&format!("sqlite:{}", dir.path().join("gatewatch.db").display()));
    let mut db = db.await.unwrap();
    sqlx::query("UPDATE message SET payload = replace(payload, '\"enter\"', '\"teleport\"') WHERE seq = ?")
        .bind(bad.sequence.seq)
        .execute(&mut db)
        .await
        .unwrap();
    db.close().await.unwrap();
    let store = open(dir.path()).await;
    assert_eq!(store.open_events().await.unwrap(), vec![good.event]);
    assert_eq!(store.open_events().await.unwrap().len(), 1, "said once");
}

#[tokio::test]
async fn what_is_long_over_is_forgotten_in_store_and_register() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let clearance = gatewatch::agent::clearance::Clearance::load(store.clone()).await.unwrap();
    let now = utc_now();
    let hour = |h: i64| now.plus_ms(h * 3_600_000).to_rfc3339();
    let booking = |id: &str, from: i64, to: i64, key: &str| {
        let json =
            json!({"id": id, "version": 1, "area": "bay-1", "decl_keys": [key], "start": hour(from), "end": hour(to)});
        Fact::Booking(Booking::from_json(json.to_string().as_bytes()).unwrap().value)
    };
    let declaration = |no: &str| {
        let json = json!({"decl_no": no, "version": 1});
        Fact::Declaration(Declaration::from_json(json.to_string().as_bytes()).unwrap().value)
    };
    let facts = vec![
        booking("past", -50, -49, "10000001231"),
        booking("coming", 1, 2, "10000001232"),
        declaration("100000012310"),
        declaration("100000012320"),
    ];
    clearance.take(facts, Some(now)).await.unwrap();
    let later = utc_now().plus_ms(1);
    assert_eq!(clearance.forget(later, later).await.unwrap(), 2);
    for counts in [
        clearance.register().snapshot().counts(),
        gatewatch::customs::Register::restore(store.load_register().await.unwrap().0, None).snapshot().counts(),
    ] {
        assert_eq!(counts, (1, 1));
    }
    let snapshot = clearance.register().snapshot();
    assert!(snapshot.booking("coming").is_some() && snapshot.last_feed == Some(now));
}

#[tokio::test]
async fn a_full_outbox_drops_lowest_priority_oldest_first_and_says_exactly_what() {
    let dir = tempfile::tempdir().unwrap();
    let mut o = options(dir.path());
    o.config.outbox_max_bytes = 100_000;
    let store = Store::open(o).await.unwrap();
    let picture = vec![7_u8; 8_000];
    store.record(message(event(1, "end", utc_now()), 1, Some(&picture))).await.unwrap();
    for _ in 0..20 {
        store.record(message(event(1, "end", utc_now()), 2, Some(&picture))).await.unwrap();
    }
    let items = store.outbox_next(1000, &[]).await.unwrap();
    assert!(store.outbox_stats().await.unwrap().bytes <= 101_000);
    let mut dropped = BTreeSet::new();
    let mut kept = BTreeSet::new();
    for i in items.iter().filter(|i| i.part == Part::Message) {
        match serde_json::from_slice::<OutboxDropped>(&i.payload) {
            Ok(d) => {
                assert_eq!(d.data.lanes.len(), 1);
                assert_eq!((d.data.lanes[0].lane, i.lane), (2, 0));
                dropped.extend(d.data.lanes[0].seq_ranges.iter().flat_map(|r| r.0..=r.1));
            }
            Err(_) => drop(kept.insert(i.seq)),
        }
        kept.insert(i.seq);
    }
    assert!(!dropped.is_empty() && dropped.is_disjoint(&kept) && kept.contains(&1), "{dropped:?} {kept:?}");
    let all: BTreeSet<i64> = dropped.union(&kept).copied().collect();
    assert!(all.iter().copied().eq(1..=i64::try_from(all.len()).unwrap()), "kept or said, none missing");
    assert_eq!(store.outbox_stats().await.unwrap().dropped, dropped.len() as u64);
}

#[tokio::test]
async fn damage_is_named_and_nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    assert!(matches!(Store::open(options(dir.path())).await, Err(StoreError::Locked { .. })));
    // A full disk: the picture's temporary file is /dev/full.
    let e = event(1, "end", utc_now());
    let day = dir.path().join(format!("pictures/{}", e.data.capture.best.to_rfc3339()[..10].replace('-', "/")));
    std::fs::create_dir_all(&day).unwrap();
    std::os::unix::fs::symlink("/dev/full", day.join(format!("{}-1-clean.jpg.tmp", e.id))).unwrap();
    let err = store.record(message(e.clone(), 2, Some(b"jpeg"))).await.unwrap_err();
    assert!(matches!(&err, StoreError::Full { .. }) && err.to_string().contains(&e.id.to_string()), "{err}");
    let after = store.record(message(e, 2, Some(b"jpeg"))).await.unwrap();
    assert_eq!(after.sequence.seq, 1, "the failed one used no number, and trying again works");
    drop(store);

    std::fs::write(day.join("x-clean.jpg.tmp"), b"half").unwrap();
    let store = open(dir.path()).await;
    assert!(!day.join("x-clean.jpg.tmp").exists());
    assert_eq!(store.session(), 2);
    store.close().await.unwrap();
    drop(store);

    let other = tempfile::tempdir().unwrap();
    let db = other.path().join("gatewatch.db");
    let junk = vec![b'x'; 8192];
    std::fs::write(&db, &junk).unwrap();
    let err = Store::open(options(other.path())).await.unwrap_err();
    assert!(matches!(&err, StoreError::Corrupt { path, .. } if *path == db), "{err}");
    assert_eq!(std::fs::read(&db).unwrap(), junk, "left as it was");
    let file = other.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let err = Store::open(options(&file.join("store"))).await.unwrap_err().to_string();
    assert!(err.contains("file/store"), "{err}");
}

/// Not a test of its own: the process that `kill_9` kills.
#[test]
#[ignore = "run by survives_kill_9"]
fn child_writes_until_killed() {
    let dir = std::env::var_os("GATEWATCH_STORE_CHILD").expect("set by survives_kill_9");
    runtime().block_on(async {
        let store = open(Path::new(&dir)).await;
        store.record(message(event(1, "new", utc_now()), 2, None)).await.unwrap();
        println!("first recorded");
        loop {
            store.record(message(event(1, "end", utc_now()), 2, Some(&[9; 3000]))).await.unwrap();
        }
    });
}

#[test]
fn survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..4_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::child_writes_until_killed", "--ignored", "--nocapture"])
            .env("GATEWATCH_STORE_CHILD", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().contains("first recorded")), "round {round}: the child wrote something");
        // Not waiting for anything: a moment of no meaning to the child, which is the point.
        std::thread::sleep(Duration::from_millis(200 + round * 133));
        child.kill().unwrap();
        child.wait().unwrap();
        let seqs = runtime().block_on(async { check_whole(&open(dir.path()).await).await });
        assert!(seqs.iter().copied().eq(1..=i64::try_from(seqs.len()).unwrap()), "no holes");
        assert!(seqs.len() > last, "round {round}: the child wrote something");
        last = seqs.len();
    }
    println!("kill -9 four times: {last} messages, no hole, all pictures whole");
}

#[test]
fn ten_thousand_events() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = open(dir.path()).await;
        let start = Instant::now();
        for _ in 0..200 {
            store.record(message(event(1, "end", utc_now()), 2, Some(&[1; 30_000]))).await.unwrap();
        }
        println!("one by one with 2 pictures: {:.0}/s", 200.0 / start.elapsed().as_secs_f64());
        let start = Instant::now();
        for _ in 0..98 {
            let batch = (0..100).map(|_| message(event(1, "end", utc_now()), 2, None)).collect();
            store.record_all(batch).await.unwrap();
        }
        println!("batches of 100 without pictures: {:.0}/s", 9800.0 / start.elapsed().as_secs_f64());
        let (mut seqs, start) = (Vec::new(), Instant::now());
        loop {
            let items = store.outbox_next(64, &[]).await.unwrap();
            if items.is_empty() {
                break;
            }
            let ids: Vec<i64> = items.iter().map(|i| i.id).collect();
            store.mark_delivered(&ids, utc_now()).await.unwrap();
            seqs.extend(items.iter().filter(|i| i.part == Part::Message).map(|i| i.seq));
        }
        println!("drained by 64: {:.0} messages/s", seqs.len() as f64 / start.elapsed().as_secs_f64());
        assert!(seqs.iter().copied().eq(1..=10_000));
    });
}

#[derive(Debug, Clone)]
enum Step {
    Record(u8),
    Ack(usize),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![4 => (0..4_u8).prop_map(Step::Record), 3 => (1..5_usize).prop_map(Step::Ack), 1 => Just(Step::Reopen)]
}

fn notice(id: &str, revision: u32, open: bool) -> NewNotice {
    NewNotice {
        id: id.into(),
        revision,
        kind: "gatewatch.event.camera_dark.v1".into(),
        subject: "camera/cam-1".into(),
        severity: 2,
        at: utc_now(),
        open,
        topic: "gatewatch/v1/15BB/gate-01/event".into(),
        lane: 2,
        data: json!({"luma": 7}),
    }
}

#[tokio::test]
async fn notices_share_sequence_and_outbox_with_events_and_lasting_ones_are_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.record(message(event(1, "new", utc_now()), 2, None)).await.unwrap();
    let [a, b] = ["01JZX3V7Q8M4T9K2B6C5D1E0FA", "01JZX3V7Q8M4T9K2B6C5D1E0FB"];
    let seqs = store.record_notices(vec![notice(a, 1, true), notice(b, 1, true)]).await.unwrap();
    assert_eq!(seqs, [2, 3]);
    assert_eq!(store.record_notices(vec![notice(a, 1, true)]).await.unwrap(), [2], "said twice, recorded once");
    store.record_notices(vec![notice(b, 2, false)]).await.unwrap();
    assert_eq!(store.prune(utc_now().plus_ms(400 * 86_400_000)).await.unwrap().messages, 0, "what is open stays");
    drop(store);
    let store = open(dir.path()).await;
    assert_eq!(store.open_events().await.unwrap().len(), 1, "a notice is no open event");
    let open = store.open_notices("gatewatch.event.camera_").await.unwrap();
    assert_eq!(open.len(), 1);
    let want = json!({"luma": 7, "revision": 1, "severity": 2, "office": "15BB", "box": "gate-01",
        "sequence": {"epoch": store.epoch(), "seq": 2, "historical": false}});
    assert_eq!((&open[0]["id"], &open[0]["data"]), (&json!(a), &want));
    assert_eq!(open[0]["source"], "/office/15BB/box/gate-01");
    assert!(store.open_notices("gatewatch.alert.").await.unwrap().is_empty());
    let sent = store.outbox_next(10, &[]).await.unwrap();
    assert_eq!(sent.iter().map(|i| i.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    // None of them can be read as one about a camera's health: said in the log, and no longer in the way.
    let topics = gatewatch::mqtt::Topics::new("gatewatch/v1", "15BB", "gate-01");
    let sender = gatewatch::event::health::HealthSender { topics, alert_severity: 3 };
    assert_eq!(gatewatch::agent::camera_health::close_open_conditions(&store, &sender).await.unwrap(), 0);
    assert!(store.open_notices("").await.unwrap().is_empty(), "not open any more");
}

#[tokio::test]
async fn a_clock_that_is_years_ahead_after_the_start_deletes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.record(message(event(1, "end", utc_now()), 2, Some(b"jpeg"))).await.unwrap();
    let items = store.outbox_next(10, &[]).await.unwrap();
    store.mark_delivered(&items.iter().map(|i| i.id).collect::<Vec<_>>(), utc_now()).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let store = open(dir.path()).await;
    // What is recorded under the wrong clock says nothing for it.
    store.record_notices(vec![notice("01JZX3V7Q8M4T9K2B6C5D1E0FA", 1, false)]).await.unwrap();
    let (year, day) = (365 * 86_400_000, 86_400_000);
    assert!(store.may_forget(utc_now().plus_ms(6 * day)) && !store.may_forget(utc_now().plus_ms(80 * year)));
    assert_eq!(store.prune(utc_now().plus_ms(80 * year)).await.unwrap(), Pruned::default());
    assert_eq!(store.resync(1, Some(1), store.epoch()).await.unwrap().first_seq, Some(1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    /// Whatever is recorded, acknowledged and reopened: what waits is what was recorded and not acknowledged, in order.
    #[test]
    fn outbox_is_what_was_not_acknowledged(steps in prop::collection::vec(step(), 1..30)) {
        let dir = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let mut store = open(dir.path()).await;
            let mut model: BTreeSet<(u8, i64)> = BTreeSet::new();
            let mut next = 1;
            for s in steps {
                match s {
                    Step::Record(lane) => {
                        let r = store.record(message(event(1, "end", utc_now()), lane, None)).await.unwrap();
                        assert_eq!(r.sequence.seq, next);
                        model.insert((lane, next));
                        next += 1;
                    }
                    Step::Ack(n) => {
                        let items = store.outbox_next(n, &[]).await.unwrap();
                        store.mark_delivered(&items.iter().map(|i| i.id).collect::<Vec<_>>(), utc_now()).await.unwrap();
                        for i in items {
                            assert!(model.remove(&(i.lane, i.seq)));
                        }
                    }
                    Step::Reopen => {
                        drop(store);
                        store = open(dir.path()).await;
                    }
                }
                let waiting = store.outbox_next(1000, &[]).await.unwrap();
                assert!(waiting.iter().map(|i| (i.lane, i.seq)).eq(model.iter().copied()));
                assert_eq!(store.outbox_stats().await.unwrap().rows, model.len() as u64);
            }
        });
    }
}

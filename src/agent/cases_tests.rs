//! The seventeen cases of late, duplicate, corrected and offline data, one test each, through store, register and relinking
//! as the box has them; and tips over them.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::api_register::TipDesk;
use super::clearance::Clearance;
use super::correlate::Correlator;
use super::keeper::new_message;
use super::nudges::TipsTouched;
use super::relink::Relinker;
use super::tips::{Interests, TipRunner};
use crate::camera::Codec;
use crate::clock::{FrameTime, UtcMillis, utc_now};
use crate::config::{Config, StoreConfig};
use crate::customs::{FactKind, LinkState, LinkVerdict, Sought, VisitState, link};
use crate::event::EventMessage;
use crate::mqtt::Topics;
use crate::store::{HoldState, Part, SegmentClosed, SegmentFound, SegmentOpened, Store, StoreOptions};

const A: &str = "10000001231";
const B: &str = "10000001232";
const C: &str = "10000001233";
const BOX_1: &str = "CSQU3054383";
const BOX_2: &str = "MSKU0000080";

/// A box without cameras running: facts and events are given to it.
struct Site {
    _dir: tempfile::TempDir,
    store: Store,
    clearance: Clearance,
    relinker: Relinker,
    tips: TipRunner,
    began: UtcMillis,
}

impl Site {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let topics = Topics::new("gatewatch/v1", "15BB", "gate-01");
        let options = StoreOptions {
            config: StoreConfig { dir: dir.path().into(), ..StoreConfig::default() },
            live_limit_ms: 1_800_000,
            office: "15BB".into(),
            box_id: "gate-01".into(),
            alert_topic: topics.alert(),
        };
        let store = Store::open(options).await.unwrap();
        let polygon = json!([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]);
        let area = |id: &str| json!({"id": id, "kind": "inspection_bay", "polygon": polygon, "bay": {}});
        let camera = |id: &str, area: Value| json!({"id": id, "url": "rtsp://camera.invalid/1", "area": [area]});
        let cameras =
            json!([camera("cam-1", area("bay-1")), camera("cam-2", area("bay-2")), camera("cam-3", area("gate"))]);
        let config = Config { cameras: serde_json::from_value(cameras).unwrap(), ..Config::default() };
        let clearance = Clearance::load(store.clone()).await.unwrap().for_box(&config, topics.alert());
        let relinker = Relinker {
            store: store.clone(),
            register: Arc::clone(clearance.register()),
            config: config.clone(),
            topics: topics.clone(),
            nudges: Arc::clone(clearance.nudges()),
        };
        let tips = TipRunner {
            correlator: Correlator { store: store.clone(), config: Arc::new(config) },
            register: Arc::clone(clearance.register()),
            topics,
            nudges: Arc::clone(clearance.nudges()),
            interests: Interests::default(),
        };
        // Some hours ago, so that everything told here is over and young enough.
        let began = utc_now().plus_ms(-6 * 3_600_000);
        Self { _dir: dir, store, clearance, relinker, tips, began }
    }

    /// Minutes after the beginning.
    fn at(&self, min: i64) -> UtcMillis {
        self.began.plus_ms(min * 60_000)
    }

    fn time(&self, min: i64) -> String {
        self.at(min).to_rfc3339()
    }

    /// Takes a fact; `Err` with what was wrong.
    async fn try_fact(&self, kind: FactKind, body: Value) -> Result<String, String> {
        let mut answers = self.clearance.take_json(kind, &[body], Some(utc_now())).await.map_err(|e| e.to_string())?;
        answers.pop().unwrap().map(|a| format!("{a:?}")).map_err(|e| format!("{e:?}"))
    }

    async fn fact(&self, kind: FactKind, body: Value) {
        self.try_fact(kind, body).await.unwrap();
    }

    async fn declaration(&self, key: &str, version: i64, more: Value) {
        let mut body = json!({"decl_no": format!("{key}0"), "version": version});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.fact(FactKind::Declaration, body).await;
    }

    fn booking_body(&self, id: &str, version: i64, area: &str, keys: &[&str], from: i64, to: i64) -> Value {
        json!({"id": id, "version": version, "area": area, "decl_keys": keys, "start": self.time(from), "end": self.time(to)})
    }

    async fn booking(&self, id: &str, version: i64, area: &str, keys: &[&str], from: i64, to: i64) {
        self.fact(FactKind::Booking, self.booking_body(id, version, area, keys, from, to)).await;
    }

    async fn read(&self, id: &str, kind: &str, raw: &str, area: &str, min: i64) {
        let body = json!({"id": id, "kind": kind, "raw": raw, "area": area, "at": self.time(min), "confidence": 0.97});
        self.fact(FactKind::Observation, body).await;
    }

    /// An event of an area that lasted from minute to minute, linked and recorded as the lane and the keeper do.
    async fn event(&self, area: &str, from: i64, to: i64) -> EventMessage {
        self.event_within(area, from, to, 500).await
    }

    async fn event_within(&self, area: &str, from: i64, to: i64, uncertainty_ms: u32) -> EventMessage {
        let (start, end) = (self.at(from), self.at(to));
        let mut event = blank(area, start, end, uncertainty_ms);
        let register = self.clearance.register().snapshot();
        let area = event.data.area.id.clone();
        let sought = Sought { area: &area, start, end: Some(end), uncertainty_ms, event: None, others: &[] };
        event.data.link = link(&register, &sought, utc_now(), &self.relinker.config.register);
        self.store.record(new_message(event, None, &self.relinker.topics, 3, None)).await.unwrap().event
    }

    /// Looks again at what the facts since the last call touched; how many events have a new revision.
    async fn relink(&self) -> usize {
        let touched = tokio::time::timeout(Duration::from_millis(200), self.clearance.nudges().take_links()).await;
        match touched {
            Ok(touched) => self.relinker.look(&touched).await.unwrap(),
            Err(_) => 0,
        }
    }

    async fn latest(&self, event: &EventMessage) -> EventMessage {
        self.store.latest_events(&[event.id.to_string()]).await.unwrap().pop().unwrap()
    }

    /// Every message that waits to be sent.
    async fn sent(&self) -> Vec<Value> {
        let items = self.store.outbox_next(1000, &[]).await.unwrap();
        let texts = items.iter().filter(|i| i.part == Part::Message);
        texts.map(|i| serde_json::from_slice(&i.payload).unwrap()).collect()
    }

    async fn run_tips(&self) {
        self.tips.look(&TipsTouched { all: true, ..TipsTouched::default() }).await.unwrap();
    }
}

/// An event of an area that has ended, not linked.
pub(super) fn blank(area: &str, start: UtcMillis, end: UtcMillis, uncertainty_ms: u32) -> EventMessage {
    let camera = match area {
        "bay-1" => "cam-1",
        "bay-2" => "cam-2",
        _ => "cam-3",
    };
    let id = ulid::Ulid::from_parts(u64::try_from(start.0).unwrap(), rand::random()).to_string();
    let rect = json!([0.0, 0.0, 1.0, 1.0]);
    serde_json::from_value(json!({
        "specversion": "1.0", "id": id, "source": "/office/15BB/box/gate-01", "type": "gatewatch.event.bay_occupied.v1",
        "subject": format!("area/{area}"), "time": end, "datacontenttype": "application/json",
        "data": {
            "revision": 1, "phase": "end", "severity": 1, "rule": "bay_occupied", "office": "15BB", "box": "gate-01",
            "camera": {"id": camera, "name": camera, "width": 1920, "height": 1080},
            "area": {"id": area, "name": area, "kind": "inspection_bay", "outline": [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]]},
            "capture": {"start": start, "best": start, "end": end, "time_source": "rtcp_ntp",
                "uncertainty_ms": uncertainty_ms, "clock_offset_ms": null},
            "duty_day": "2026-03-02", "dwell_ms": end.since(start), "direction": null, "end_reason": "observed",
            "object": {"track_id": id, "label": "truck", "score": 0.9, "box_px": rect, "box_frac": rect, "path": []},
            "link": {"verdict": "unlinked", "links": [], "reason": "", "feed_age_s": null, "feed_stale": true},
            "snapshot": null, "snapshot_missing": null, "model": {"name": "m.onnx", "sha256": "00"},
            "config_digest": "0000000000000000", "sequence": {"epoch": 0, "seq": 0, "historical": false}
        }
    }))
    .unwrap()
}

fn keys(event: &EventMessage) -> Vec<&str> {
    let mut keys: Vec<&str> = event.data.link.links.iter().map(|l| l.decl_key.0.as_str()).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn case_01_several_declarations_in_one_container() {
    let site = Site::new().await;
    site.declaration(A, 1, json!({"containers": [BOX_1], "cleared_at": site.time(0)})).await;
    site.declaration(B, 1, json!({"containers": [BOX_1]})).await;
    site.read("o", "container", BOX_1, "bay-1", 61).await;
    let event = site.event("bay-1", 60, 70).await;
    assert_eq!(
        (event.data.link.verdict, keys(&event)),
        (LinkVerdict::Linked, vec![A, B]),
        "{}",
        event.data.link.reason
    );
    let scopes: Vec<_> = event.data.link.links.iter().map(|l| format!("{:?}", l.scope)).collect();
    assert_eq!(scopes, ["Container", "Container"]);
}

#[tokio::test]
async fn case_02_one_declaration_in_several_containers() {
    let site = Site::new().await;
    site.declaration(A, 1, json!({"containers": [BOX_1, BOX_2]})).await;
    site.read("o1", "container", BOX_1, "bay-1", 61).await;
    site.read("o2", "container", BOX_2, "bay-2", 61).await;
    let (one, two) = (site.event("bay-1", 60, 70).await, site.event("bay-2", 60, 70).await);
    let link = |e: &EventMessage| (e.data.link.links[0].decl_key.0.clone(), e.data.link.links[0].container.clone());
    assert_eq!(link(&one), (A.to_owned(), Some(BOX_1.to_owned())), "declaration and container");
    assert_eq!(link(&two), (A.to_owned(), Some(BOX_2.to_owned())));
}

#[tokio::test]
async fn case_03_goods_without_container_of_several_declarations_on_one_truck() {
    let site = Site::new().await;
    site.booking("b", 1, "bay-1", &[A, B], 60, 120).await;
    let event = site.event("bay-1", 65, 70).await;
    assert_eq!((event.data.link.verdict, keys(&event)), (LinkVerdict::Linked, vec![A, B]));
    assert!(event.data.link.links.iter().all(|l| format!("{:?}", l.scope) == "Vehicle"));
}

#[tokio::test]
async fn case_04_goods_of_one_declaration_on_several_trucks() {
    let site = Site::new().await;
    for (id, plate, area) in [("v1", "51C11111", "bay-1"), ("v2", "51C22222", "bay-2")] {
        let stays = json!([{"area": area, "at": site.time(60), "until": site.time(70)}]);
        let body = json!({"id": id, "version": 1, "in_at": site.time(30), "head_plate": plate, "decl_keys": [A],
            "confidence": 0.95, "stays": stays});
        site.fact(FactKind::Visit, body).await;
    }
    let (one, two) = (site.event("bay-1", 60, 70).await, site.event("bay-2", 60, 70).await);
    assert_eq!((keys(&one), keys(&two)), (vec![A], vec![A]));
    let confidence = one.data.link.links[0].confidence;
    assert!((confidence - 0.95 * 0.9).abs() < 1e-3, "one hop weaker than the visit: {confidence}");
    assert_eq!(one.data.link.links[0].sources, ["visit:v1"]);
}

#[tokio::test]
async fn case_05_consecutive_bookings_of_a_bay() {
    let site = Site::new().await;
    site.booking("b1", 1, "bay-1", &[A], 60, 120).await;
    site.booking("b2", 1, "bay-1", &[B], 120, 180).await;
    let verdict = async |from, to| {
        let event = site.event("bay-1", from, to).await;
        (event.data.link.verdict, keys(&event).join("+"))
    };
    assert_eq!(verdict(119, 119).await, (LinkVerdict::Linked, A.to_owned()));
    assert_eq!(verdict(121, 122).await, (LinkVerdict::Linked, B.to_owned()), "windows are half open");
    let grace = site.event("bay-1", 50, 51).await;
    assert_eq!((grace.data.link.verdict, keys(&grace)), (LinkVerdict::Proposed, vec![A]), "before its time");
}

#[tokio::test]
async fn case_06_a_vehicle_leaves_and_comes_back() {
    let site = Site::new().await;
    let pass = async |id: &str, way: &str, min: i64| {
        let body = json!({"id": id, "kind": "plate_head", "raw": "51C-123.45", "area": "gate", "at": site.time(min), "passing": way});
        site.fact(FactKind::Observation, body).await;
    };
    pass("o1", "in", 10).await;
    pass("o2", "out", 60).await;
    pass("o3", "in", 90).await;
    let snapshot = site.clearance.register().snapshot();
    let mut visits: Vec<_> = snapshot.visits().map(|v| (v.in_at, v.state)).collect();
    visits.sort_by_key(|v| v.0);
    assert_eq!(visits, [(site.at(10), VisitState::Closed), (site.at(90), VisitState::Open)]);
}

#[tokio::test]
async fn case_07_tractor_swap_and_transload() {
    let site = Site::new().await;
    site.declaration(A, 1, json!({"containers": [BOX_1]})).await;
    let pass = async |id: &str, kind: &str, raw: &str, more: Value| {
        let mut body = json!({"id": id, "kind": kind, "raw": raw, "confidence": 0.95});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        site.fact(FactKind::Observation, body).await;
    };
    let came = json!({"area": "gate", "at": site.time(10), "passing": "in", "passage": "p1"});
    pass("o1", "plate_head", "51C11111", came.clone()).await;
    pass("o2", "plate_trailer", "15RM01234", came.clone()).await;
    pass("o3", "container", BOX_1, came).await;
    let swapped = json!({"area": "bay-1", "at": site.time(60), "passage": "p2"});
    pass("o4", "plate_trailer", "15RM01234", swapped.clone()).await;
    pass("o5", "plate_head", "29C99999", swapped).await;
    let event = site.event("bay-1", 60, 62).await;
    assert_eq!((event.data.link.verdict, keys(&event)), (LinkVerdict::Linked, vec![A]), "{}", event.data.link.reason);
    let other = json!({"area": "gate", "at": site.time(20), "passing": "in"});
    pass("o6", "plate_trailer", "29R55555", other).await;
    let loaded = json!({"area": "bay-2", "at": site.time(90), "passage": "p3"});
    pass("o7", "plate_trailer", "29R55555", loaded.clone()).await;
    pass("o8", "container", BOX_1, loaded).await;
    let snapshot = site.clearance.register().snapshot();
    let swap = snapshot.visit("v-o1").unwrap();
    assert_eq!((swap.head_plate.as_deref(), swap.containers.len()), (Some("29C99999"), 0), "the container went on");
    let takes = snapshot.visit("v-o6").unwrap();
    assert_eq!(
        (takes.from_visit.as_deref(), takes.containers.as_slice()),
        (Some("v-o1"), [BOX_1.to_owned()].as_slice())
    );
}

#[tokio::test]
async fn case_08_unreadable_and_then_bound_by_an_officer() {
    let site = Site::new().await;
    let event = site.event("bay-1", 60, 70).await;
    assert_eq!(event.data.link.verdict, LinkVerdict::Unlinked);
    let bind =
        json!({"id": "x1", "decl_no": A, "officer": "17", "at": site.time(80), "event_id": event.id.to_string()});
    site.fact(FactKind::Bind, bind).await;
    assert_eq!(site.relink().await, 1);
    let bound = site.latest(&event).await;
    assert_eq!((bound.data.revision, keys(&bound)), (2, vec![A]));
    assert_eq!(bound.data.link.links[0].state, LinkState::Confirmed);
    assert!((bound.data.link.links[0].confidence - 0.99).abs() < 1e-6);
}

#[tokio::test]
async fn case_09_a_booking_arrives_late() {
    let site = Site::new().await;
    let event = site.event("bay-1", 60, 70).await;
    let untouched = site.event("bay-2", 60, 70).await;
    site.booking("b", 1, "bay-1", &[A], 55, 90).await;
    assert_eq!(site.relink().await, 1);
    let late = site.latest(&event).await;
    assert_eq!((late.data.revision, late.data.link.verdict, keys(&late)), (2, LinkVerdict::Linked, vec![A]));
    assert_eq!((late.id, late.data.capture.clone()), (event.id, event.data.capture.clone()), "the same event");
    assert_eq!(late.subject, format!("decl/{A}"));
    assert_eq!(site.latest(&untouched).await.data.revision, 1);
    let ids: std::collections::BTreeSet<String> =
        site.sent().await.iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 2, "never a second event");
    assert_eq!(site.relink().await, 0, "nothing more to say");
}

#[tokio::test]
async fn case_10_a_booking_is_moved_and_cancelled() {
    let site = Site::new().await;
    site.booking("b", 1, "bay-1", &[A], 55, 90).await;
    let here = site.event("bay-1", 60, 70).await;
    let there = site.event("bay-2", 60, 70).await;
    assert_eq!((keys(&here), keys(&there)), (vec![A], vec![]));
    site.booking("b", 2, "bay-2", &[A], 55, 90).await;
    assert_eq!(site.relink().await, 2, "both places");
    assert_eq!((keys(&site.latest(&here).await), keys(&site.latest(&there).await)), (vec![], vec![A]));
    let of_a = site.store.events_of(A, (site.at(0), utc_now()), 10).await.unwrap();
    assert_eq!(of_a.len(), 1, "the old link is superseded");
    let bind =
        json!({"id": "x1", "decl_no": A, "officer": "17", "at": site.time(80), "event_id": there.id.to_string()});
    site.fact(FactKind::Bind, bind).await;
    let mut cancelled = site.booking_body("b", 3, "bay-2", &[A], 55, 90);
    cancelled["state"] = "cancelled".into();
    site.fact(FactKind::Booking, cancelled).await;
    site.relink().await;
    let kept = site.latest(&there).await;
    assert_eq!(
        (keys(&kept), kept.data.link.links[0].state),
        (vec![A], LinkState::Confirmed),
        "the officer's word stays"
    );
}

#[tokio::test]
async fn case_11_a_declaration_is_amended() {
    let site = Site::new().await;
    site.declaration(A, 1, json!({"channel": 1})).await;
    site.booking("b", 1, "bay-1", &[A], 55, 90).await;
    let event = site.event("bay-1", 60, 70).await;
    let amended = json!({"decl_no": format!("{A}1"), "version": 2, "channel": 3});
    site.fact(FactKind::Declaration, amended).await;
    assert_eq!(site.relink().await, 1);
    let link = site.latest(&event).await.data.link.links.remove(0);
    assert_eq!(
        (link.decl_key.0.as_str(), link.amend_no, link.channel),
        (A, Some(1), Some(3)),
        "the same eleven digits"
    );
    let snapshot = site.clearance.register().snapshot();
    let history = &snapshot.declaration(&link.decl_key).unwrap().channel_history;
    assert_eq!((history.len(), history[0].from, history[0].to), (1, Some(1), Some(3)));
}

#[tokio::test]
async fn case_12_a_declaration_is_cancelled_and_carried_over() {
    let site = Site::new().await;
    site.declaration(A, 1, json!({})).await;
    site.booking("b", 1, "bay-1", &[A], 55, 90).await;
    let event = site.event("bay-1", 60, 70).await;
    site.declaration(A, 2, json!({"cancelled_at": site.time(100)})).await;
    assert_eq!(site.relink().await, 1);
    let flagged = site.latest(&event).await;
    assert_eq!(keys(&flagged), [A], "the link stays");
    assert!(flagged.data.link.links[0].reason.contains("the declaration is cancelled"));
    let carried = json!({"id": "x1", "decl_no": B, "officer": "17", "at": site.time(120), "event_id": event.id.to_string(),
        "reason": "declared anew"});
    site.fact(FactKind::Bind, carried).await;
    assert_eq!(site.relink().await, 1);
    assert_eq!(keys(&site.latest(&event).await), [B]);
}

#[tokio::test]
async fn case_13_a_wrong_binding_is_corrected_and_both_are_visible() {
    let site = Site::new().await;
    let event = site.event("bay-1", 60, 70).await;
    let bind = |id: &str, decl: &str| json!({"id": id, "decl_no": decl, "officer": "17", "at": site.time(80), "event_id": event.id.to_string()});
    site.fact(FactKind::Bind, bind("x1", A)).await;
    site.relink().await;
    let mut correction = bind("x2", B);
    correction["supersedes"] = "x1".into();
    assert!(site.try_fact(FactKind::Bind, correction.clone()).await.unwrap_err().contains("reason"), "needs a reason");
    correction["reason"] = "misread the label".into();
    site.fact(FactKind::Bind, correction).await;
    site.relink().await;
    assert_eq!(keys(&site.latest(&event).await), [B]);
    let snapshot = site.clearance.register().snapshot();
    let first = snapshot.binding("x1").unwrap();
    assert!(snapshot.is_superseded(first) && !snapshot.is_superseded(snapshot.binding("x2").unwrap()));
    assert_eq!(snapshot.binding("x2").unwrap().reason.as_deref(), Some("misread the label"));
    let revisions: Vec<String> = site
        .sent()
        .await
        .iter()
        .filter_map(|m| m["data"]["link"]["links"][0]["decl_key"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(revisions, [A, B], "what was said first was said");
}

#[tokio::test]
async fn case_14_duplicates_are_ignored_and_conflicts_kept_with_an_alarm() {
    let site = Site::new().await;
    let body = site.booking_body("b", 1, "bay-1", &[A], 55, 90);
    assert_eq!(site.try_fact(FactKind::Booking, body.clone()).await.unwrap(), "Stored");
    assert_eq!(site.try_fact(FactKind::Booking, body.clone()).await.unwrap(), "Unchanged");
    let other = site.booking_body("b", 1, "bay-1", &[B], 55, 90);
    for _ in 0..2 {
        assert!(site.try_fact(FactKind::Booking, other.clone()).await.unwrap_err().contains("other content"));
    }
    assert_eq!(site.store.conflicts().await.unwrap().len(), 1, "kept beside the first, once");
    let event = site.event("bay-1", 60, 70).await;
    assert_eq!(keys(&event), [A], "the first stays in force");
    let alarms: Vec<Value> =
        site.sent().await.into_iter().filter(|m| m["type"] == "gatewatch.alert.fact_conflict.v1").collect();
    assert_eq!(alarms.len(), 1, "said once");
    assert_eq!((alarms[0]["data"]["severity"].clone(), alarms[0]["subject"].clone()), (3.into(), "booking/b".into()));
}

#[tokio::test]
async fn case_15_out_of_order() {
    let site = Site::new().await;
    site.booking("b", 3, "bay-1", &[C], 55, 90).await;
    let older = site.booking_body("b", 2, "bay-1", &[A], 55, 90);
    assert_eq!(site.try_fact(FactKind::Booking, older).await.unwrap(), "Older");
    assert_eq!(keys(&site.event("bay-1", 60, 70).await), [C], "the higher version is in force");
    let history = site.store.fact_history(FactKind::Booking, "b").await.unwrap();
    let states: Vec<&str> = history.iter().map(|(state, _)| state.as_str()).collect();
    assert_eq!(states, ["current", "stale"], "the lower one is kept");
}

#[tokio::test]
async fn case_16_a_clock_that_is_wrong() {
    let site = Site::new().await;
    site.booking("b1", 1, "bay-1", &[A], 60, 120).await;
    site.booking("b2", 1, "bay-1", &[B], 120, 180).await;
    let unsure = site.event_within("bay-1", 118, 118, 300_000).await;
    assert_eq!((unsure.data.link.verdict, keys(&unsure)), (LinkVerdict::Ambiguous, vec![A, B]), "the window is wider");
    site.declaration(B, 1, json!({"containers": [BOX_1]})).await;
    site.read("o", "container", BOX_1, "bay-1", 118).await;
    let read = site.event_within("bay-1", 118, 118, 300_000).await;
    assert_eq!((read.data.link.verdict, keys(&read)), (LinkVerdict::Linked, vec![B]), "a reading needs no window");
}

#[tokio::test]
async fn case_17_a_box_that_was_away_sends_what_is_old_as_historical() {
    let site = Site::new().await;
    let event = site.event("bay-1", 60, 70).await;
    site.booking("b", 1, "bay-1", &[A], 55, 90).await;
    site.relink().await;
    let sent = site.sent().await;
    let of_event: Vec<&Value> = sent.iter().filter(|m| m["id"] == event.id.to_string()).collect();
    assert_eq!(of_event.len(), 2);
    // Older than half an hour when it is handed over: stored and linked, and no sound in the duty room.
    assert!(of_event.iter().all(|m| m["data"]["sequence"]["historical"] == true));
    assert_eq!(of_event[1]["data"]["link"]["verdict"], "linked");
}

#[tokio::test]
async fn another_container_than_booked_wins_and_is_said() {
    let site = Site::new().await;
    site.declaration(A, 1, json!({"containers": [BOX_1]})).await;
    site.declaration(B, 1, json!({"containers": [BOX_2]})).await;
    site.booking("b", 1, "bay-1", &[A], 55, 90).await;
    let event = site.event("bay-1", 60, 70).await;
    assert_eq!(keys(&event), [A]);
    site.read("o", "container", BOX_2, "bay-1", 61).await;
    assert_eq!(site.relink().await, 2, "the event, and what it reveals");
    let found = site.latest(&event).await.data.link;
    assert_eq!((found.verdict, found.links[0].decl_key.0.as_str()), (LinkVerdict::Linked, B));
    assert!((found.links[0].confidence - 0.95).abs() < 1e-4, "not averaged: {}", found.links[0].confidence);
    let contradiction = found.contradiction.unwrap();
    assert_eq!((contradiction.booking_id.as_str(), contradiction.seen.as_str()), ("b", BOX_2));
    assert!(found.reason.contains("which decides"), "{}", found.reason);
    let wrong: Vec<Value> =
        site.sent().await.into_iter().filter(|m| m["type"] == "gatewatch.alert.bay_wrong_vehicle.v1").collect();
    assert_eq!((wrong.len(), wrong[0]["data"]["severity"].clone()), (1, 3.into()));
}

#[tokio::test]
async fn a_fact_that_came_while_an_event_was_written_is_not_missed() {
    let site = Site::new().await;
    site.declaration(A, 1, json!({"containers": [BOX_1]})).await;
    let mut event = blank("bay-1", site.at(60), site.at(70), 500);
    site.relink().await;
    site.read("o", "container", BOX_1, "bay-1", 61).await;
    assert_eq!(site.relink().await, 0, "there is no such event yet");
    event = site.store.record(new_message(event, None, &site.relinker.topics, 3, None)).await.unwrap().event;
    site.clearance.nudges().ended(&event);
    assert_eq!(site.relink().await, 1);
    assert_eq!(keys(&site.latest(&event).await), [A]);
}

#[tokio::test]
async fn a_link_outlives_the_readings_it_rests_on() {
    let site = Site::new().await;
    site.declaration(A, 1, json!({"containers": [BOX_1]})).await;
    site.read("o", "container", BOX_1, "bay-1", 61).await;
    let event = site.event("bay-1", 60, 70).await;
    assert_eq!(keys(&event), [A]);
    site.relink().await;
    let others = site.clearance.register().snapshot();
    site.clearance.register().replace(
        others
            .declaration(&crate::customs::DeclKey(A.into()))
            .into_iter()
            .map(|d| crate::customs::Fact::Declaration(d.as_ref().clone()))
            .collect(),
    );
    site.declaration(A, 2, json!({"containers": [BOX_1], "cleared_at": site.time(80)})).await;
    site.relink().await;
    assert_eq!(keys(&site.latest(&event).await), [A], "what was read is not unread because memory is full");
}

#[tokio::test]
async fn what_cannot_be_understood_or_waited_long_does_not_make_the_feed_fresh() {
    let site = Site::new().await;
    let heard = || site.clearance.register().snapshot().last_feed;
    assert!(site.try_fact(FactKind::Declaration, json!({"decl_no": "?"})).await.is_err());
    assert_eq!(heard(), None);
    site.declaration(A, 1, json!({"fetched_at": site.time(0)})).await;
    assert_eq!(heard(), Some(site.at(0)), "as old as when it was fetched");
    site.declaration(B, 1, json!({})).await;
    assert!(heard() > Some(site.at(300)));
}

#[tokio::test]
async fn a_stop_without_an_end_is_not_forgotten() {
    let site = Site::new().await;
    site.declaration(A, 1, json!({})).await;
    let stop = |id: &str, to: Value| json!({"id": id, "decl_no": A, "from": site.time(0), "to": to});
    site.fact(FactKind::Stop, stop("open", Value::Null)).await;
    site.fact(FactKind::Stop, stop("over", json!(site.time(10)))).await;
    site.fact(FactKind::Stop, json!({"id": "unknown", "decl_no": B, "from": site.time(0)})).await;
    let tip = |id: &str, expires: i64| json!({"id": id, "version": 1, "issued_at": site.time(0), "decl_no": A, "reason": "risky", "expires_at": site.time(expires)});
    site.fact(FactKind::Tip, tip("long", 60 * 24 * 400)).await;
    site.fact(FactKind::Tip, tip("short", 1)).await;
    let later = utc_now().plus_ms(1000);
    site.clearance.forget(later, later).await.unwrap();
    let register = site.clearance.register().snapshot();
    let stops = |key: &str| register.found(&format!("decl:{key}")).stops.len();
    assert_eq!((stops(A), stops(B)), (1, 1), "neither has an end, whatever is known of the goods");
    let a = crate::customs::DeclNumber::parse(A).unwrap();
    assert!(register.declaration(&a.key).is_some(), "what is stopped is known when it comes to the exit");
    assert!(register.tip("long").is_some() && register.tip("short").is_none());
}

#[tokio::test]
async fn only_what_the_feed_itself_says_makes_it_fresh() {
    let site = Site::new().await;
    let heard = || site.clearance.register().snapshot().last_feed;
    let stop = json!({"id": "S", "decl_no": A, "from": site.time(0)});
    site.clearance.take_json(FactKind::Stop, &[stop], Some(utc_now())).await.unwrap();
    assert_eq!(heard(), None, "duty rooms send stop orders too");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("feed.json");
    for (file, fresh) in [
        (json!({"declarations": [{"decl_no": "none"}]}), false),
        (json!({"declarations": [{"decl_no": A, "version": 1}]}), true),
    ] {
        std::fs::write(&path, file.to_string()).unwrap();
        site.clearance.take_file(&path).await.unwrap();
        assert_eq!(heard().is_some(), fresh, "{file}");
    }
}

#[tokio::test]
async fn what_the_feed_repeats_is_not_forgotten() {
    let site = Site::new().await;
    site.declaration(A, 1, json!({})).await;
    site.declaration(B, 1, json!({})).await;
    let fact = |key: &str| {
        let body = json!({"decl_no": key, "version": 1}).to_string();
        crate::customs::Fact::from_json(FactKind::Declaration, body.as_bytes())
    };
    let (now, days) = (utc_now(), |days: i64| utc_now().plus_ms(days * 86_400_000));
    let repeated = vec![(fact(A).unwrap().value, crate::customs::Outcome::Duplicate)];
    site.store.save_facts(&repeated, days(60), None).await.unwrap();
    site.clearance.forget(now, days(30)).await.unwrap();
    let register = site.clearance.register().snapshot();
    let known = |key: &str| register.declaration(&crate::customs::DeclNumber::parse(key).unwrap().key).is_some();
    assert_eq!((known(A), known(B)), (true, false));
}

#[tokio::test]
async fn a_tip_finds_what_was_holds_it_and_watches_on() {
    let site = Site::new().await;
    site.declaration(A, 1, json!({"registered_at": site.time(0), "containers": [BOX_1]})).await;
    site.booking("b", 1, "bay-1", &[A], 55, 90).await;
    let event = site.event("bay-1", 60, 70).await;
    let other = site.event("bay-2", 60, 70).await;
    let tip = |version: i64, state: &str| json!({"id": "T-1", "version": version, "issued_at": site.time(200), "decl_no": A, "state": state, "reason": "risky"});
    site.fact(FactKind::Tip, tip(1, "open")).await;
    site.run_tips().await;
    let answer = site.store.correlation("T-1").await.unwrap().unwrap();
    let body = &answer.body;
    assert_eq!((answer.revision, body["state"].clone(), body["footage"].clone()), (1, "open".into(), "none".into()));
    assert_eq!(body["events"][0]["id"], event.id.to_string());
    assert_eq!((body["events_total"].clone(), body["bookings"].clone()), (1.into(), json!(["b"])));
    let range = &body["ranges"][0];
    assert_eq!(
        (range["camera"].clone(), range["why"].clone()),
        ("cam-1".into(), "this camera was never recorded".into())
    );
    assert_eq!((range["from"].clone(), range["to"].clone()), (site.time(50).into(), site.time(100).into()));
    let holds = site.store.holds(Some("T-1"), false).await.unwrap();
    assert_eq!((holds.len(), holds[0].state, holds[0].camera.as_str()), (1, HoldState::Failed, "cam-1"));

    site.run_tips().await;
    assert_eq!(site.store.correlation("T-1").await.unwrap().unwrap().revision, 1, "nothing new, nothing said");
    assert_eq!(site.store.holds(Some("T-1"), true).await.unwrap(), holds, "held once");

    let raised = site.event("bay-1", 80, 85).await;
    assert_eq!(raised.data.link.tips.iter().map(|t| (t.id.as_str(), t.severity)).collect::<Vec<_>>(), [("T-1", 3)]);
    site.run_tips().await;
    assert_eq!(site.store.correlation("T-1").await.unwrap().unwrap().body["events_total"], 2);

    // A late fact reaches the tip: its container was in the other bay all along.
    site.read("o", "container", BOX_1, "bay-2", 61).await;
    site.run_tips().await;
    let body = site.store.correlation("T-1").await.unwrap().unwrap().body;
    let cameras: Vec<&str> = body["ranges"].as_array().unwrap().iter().map(|r| r["camera"].as_str().unwrap()).collect();
    assert_eq!(cameras, ["cam-1", "cam-2"]);
    assert!(body["events"].as_array().unwrap().iter().any(|e| e["id"] == other.id.to_string()));

    let hold = site.store.holds(Some("T-1"), false).await.unwrap().into_iter().find(|h| h.camera == "cam-2").unwrap();
    site.store.release_hold(&hold.id, "leader 3", "settled").await.unwrap();
    site.run_tips().await;
    let of_2 = site.store.holds(Some("T-1"), true).await.unwrap().into_iter().filter(|h| h.camera == "cam-2").count();
    assert_eq!(of_2, 1, "a tip that runs again does not undo a release");

    site.fact(FactKind::Tip, tip(2, "settled")).await;
    site.run_tips().await;
    assert_eq!(site.store.correlation("T-1").await.unwrap().unwrap().body["state"], "settled");
    assert!(site.event("bay-1", 86, 87).await.data.link.tips.is_empty(), "no longer watched");
    assert_eq!(site.store.holds(Some("T-1"), false).await.unwrap().len(), 1, "a settled tip releases nothing");
}

#[tokio::test]
async fn holds_and_moments_survive_a_restart() {
    let site = Site::new().await;
    assert_eq!(site.store.holds_synced_at().await.unwrap(), None);
    site.store.mark_holds_synced(UtcMillis(5)).await.unwrap();
    site.store.mark_holds_synced(UtcMillis(3)).await.unwrap();
    assert_eq!(site.store.holds_synced_at().await.unwrap(), Some(UtcMillis(3)), "the last word, of whatever clock");
    site.declaration(A, 1, json!({"containers": [BOX_1]})).await;
    site.read("o", "container", BOX_1, "bay-1", 61).await;
    site.fact(FactKind::Tip, json!({"id": "T", "version": 1, "issued_at": site.time(0), "decl_no": A})).await;
    site.fact(FactKind::Stop, json!({"id": "S", "decl_no": A, "from": site.time(0)})).await;
    let (facts, _) = site.store.load_register().await.unwrap();
    let again = crate::customs::Register::restore(facts, None).snapshot();
    let counts = FactKind::ALL.map(|kind| again.count_of(kind));
    assert_eq!(counts, [1, 0, 0, 0, 1, 1, 1]);
    assert_eq!(again.observation("o").unwrap().norm, BOX_1);
}

impl Site {
    /// A file of `cam-1` from minute to minute, as it is begun and as it is complete.
    fn file(&self, from: i64, to: i64) -> SegmentFound {
        let (first, end, path) = (self.at(from), self.at(to), format!("cam-1/{from}.mp4"));
        let opened = SegmentOpened {
            camera: crate::camera::CameraId("cam-1".into()),
            path: path.clone(),
            codec: Codec::H264,
            width: 640,
            height: 480,
            first,
            time: FrameTime::arrived(first.0),
            gap_before_ms: None,
            gap_reason: None,
            dropped: 0,
        };
        let closed = SegmentClosed { path, first, end, bytes: 1, pictures: 1, sha256: "0".repeat(64) };
        SegmentFound { opened, closed }
    }

    fn desk(&self) -> TipDesk {
        let register = Arc::clone(self.clearance.register());
        TipDesk { store: self.store.clone(), register, cameras: vec!["cam-1".into(), "cam-2".into()], tip_days: 30 }
    }

    /// A person holds footage; the state that he is told.
    async fn hold(&self, id: &str, camera: &str, from: UtcMillis, to: UtcMillis) -> Value {
        let body = json!({"id": id, "camera": camera, "from": from, "to": to, "reason": "risky", "by": "an"});
        self.desk().hold(&body).await.unwrap()["state"].clone()
    }
}

#[tokio::test]
async fn a_persons_hold_says_how_much_it_holds_at_once_or_when_its_time_is_over() {
    let site = Site::new().await;
    site.store.segments_found(&[site.file(0, 2)]).await.unwrap();
    assert_eq!(site.hold("h-1", "cam-1", site.at(0), site.at(2)).await, "applied");
    assert_eq!(site.hold("h-2", "cam-1", site.at(1), site.at(4)).await, "partly");
    let gaps = site.store.hold("h-2").await.unwrap().unwrap().gaps;
    assert_eq!(gaps, [(site.at(2), site.at(4))]);
    assert_eq!(site.hold("h-3", "cam-2", site.at(0), site.at(2)).await, "failed");
    // Not before its time is over and what it is about is written.
    let ends = utc_now().plus_ms(300);
    assert_eq!(site.hold("h-4", "cam-1", site.at(1), ends).await, "requested");
    let file = site.file(10, 12);
    site.store.segment_opened(&file.opened).await.unwrap();
    assert_eq!(site.hold("h-5", "cam-1", site.at(10), site.at(12)).await, "requested");
    site.store.segment_closed(&file.closed).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    let released = json!({"id": "h-1", "by": "binh", "reason": "done"});
    site.desk().release(&released).await.unwrap();
    site.tips.look(&TipsTouched { all: true, ..TipsTouched::default() }).await.unwrap();
    for (id, state) in [
        ("h-1", HoldState::Released),
        ("h-3", HoldState::Failed),
        ("h-4", HoldState::Partly),
        ("h-5", HoldState::Applied),
    ] {
        assert_eq!(site.store.hold(id).await.unwrap().unwrap().state, state, "{id}");
    }
    // Asked again, as a desk does that heard no answer.
    assert_eq!(site.hold("h-4", "cam-1", site.at(1), ends).await, "partly");
    assert_eq!(site.hold("h-1", "cam-1", site.at(0), site.at(2)).await, "released");
}

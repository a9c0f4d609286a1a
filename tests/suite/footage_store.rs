//! Clips that outlive the box: a real camera and agent, and a store that speaks S3 and checks signatures.

use std::time::{Duration, Instant};

use bytes::Bytes;
use gatewatch::camera::Codec;
use gatewatch::clock::utc_now;
use gatewatch::config::{FootageStoreConfig, ObjectsConfig};
use gatewatch::evidence::chain::Sum;
use gatewatch::objects::clip::{ClipKind, ClipName, ClipNote};
use gatewatch::objects::{Objects, ObjectsError, PART_BYTES};
use gatewatch::simulate::ServerOptions;
use serde_json::{Value, json};

use crate::footage_box::{black_sky, sky};
use crate::mqtt::certificates;
use crate::support::gate::{self, Gate};
use crate::support::listener::Listener;
use crate::support::mosquitto::Mosquitto;
use crate::support::objects::S3;
use crate::support::until;

/// As the agent is told of the store.
pub fn told(store: &S3, min_severity: u8) -> FootageStoreConfig {
    let o = store.config();
    FootageStoreConfig {
        url: o.url,
        endpoint: o.endpoint,
        region: o.region,
        access_key: o.access_key,
        secret_key: o.secret_key,
        ca_file: o.ca_file,
        allow_http: o.allow_http,
        min_severity,
        ..FootageStoreConfig::default()
    }
}

/// The note of an event or a hold, once it is there, with its name and the clip.
async fn stored(store: &S3, id: &str) -> (String, ClipNote, Vec<u8>) {
    until(&format!("the clip of {id}"), async || {
        let (name, path) = store.objects().into_iter().find(|(n, _)| n.ends_with(&format!("-{id}.json")))?;
        let note = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        Some((name, note, std::fs::read(path.with_extension("mp4")).ok()?))
    })
    .await
}

async fn part(gate: &Gate) -> Option<Value> {
    let ready: Value = serde_json::from_str(&gate.get("/readyz").await?.1).ok()?;
    Some(ready["parts"]["clips"].clone())
}

async fn metric(gate: &Gate, name: &str) -> Option<f64> {
    let text = gate.get("/metrics").await?.1;
    text.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok())
}

/// Holds `seconds` that end `ago` seconds before now.
async fn hold(gate: &Gate, id: &str, ago: i64, seconds: i64) {
    let to = utc_now().plus_ms(-ago * 1000);
    let body =
        json!({"id": id, "camera": "bay", "from": to.plus_ms(-seconds * 1000), "to": to, "reason": "x", "by": "x"});
    let url = format!("http://{}/api/holds", gate.config.http.listen.unwrap());
    let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "{}", answer.text().await.unwrap());
}

/// The key that signs the box's chain, as it says over MQTT.
async fn key_of(listener: &Listener) -> String {
    let head = until("the head of the chain", async || listener.notices("head").pop()).await;
    head["data"]["head"]["key"].as_str().unwrap().to_owned()
}

/// Whether a note is right: whose, for what, signed with the box's `key`, and true of the clip.
fn checked(note: &ClipNote, clip: &[u8], (kind, id): (ClipKind, &str), key: &str) {
    assert_eq!((note.kind, note.id.as_str(), note.camera.as_str()), (kind, id, "bay"));
    assert_eq!((note.bytes, note.sha256), (clip.len() as u64, Sum::of(clip)));
    let blocks: Vec<Sum> = clip.chunks(1 << 20).map(Sum::of).collect();
    assert_eq!(note.blocks, blocks);
    assert!(note.first <= note.last && note.from < note.to, "{note:?}");
    let name = ClipName { kind, id: id.to_owned(), from: note.from, to: note.to };
    assert_eq!(note.check(("15BB", "gate-01", "bay"), &name, &[key.to_owned()]), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn grave_events_and_holds_are_brought_out_masked_each_once_whatever_happens() {
    let _alone = super::agent::ONE.lock().await;
    let camera_server = gate::serve(gate::bay(), Codec::H264, ServerOptions::default());
    let (broker, store) = (Mosquitto::open(), S3::start().await);
    let listener = Listener::start(broker.url(), "clips").await;
    let mut camera = gate::camera("bay", camera_server.url("bay"));
    camera.areas = vec![gate::area("bay", gate::bay_polygon(), 2.0), sky()];
    let mut gate = Gate::new(gate::own_model(), broker.url(), vec![camera]);
    gate.config.footage.segment_s = 5;
    gate.config.footage.post_roll_s = 2;
    gate.config.footage.store = Some(told(&store, 1));
    gate.start();
    let event = listener.until_event("an event that has ended", |e| e.data.capture.end.is_some()).await;
    let (id, key) = (event.id.to_string(), key_of(&listener).await);
    let (name, note, clip) = stored(&store, &id).await;
    checked(&note, &clip, (ClipKind::Event, &id), &key);
    assert!(note.masks.is_some() && black_sky(&clip, &gate) == (true, false), "masked");
    let day = &note.from.to_rfc3339()[..10];
    assert!(name.starts_with(&format!("15BB/gate-01/bay/{day}/")), "{name}");
    assert!(metric(&gate, "gatewatch_clips_stored_bytes_total").await.unwrap() >= note.bytes as f64);

    // The store goes for a while: said with what to do, and nothing else is the worse for it.
    store.door.shut();
    hold(&gate, "held-1", 5, 10).await;
    let said = until("the word of it", async || part(&gate).await.filter(|p| p["level"] == "degraded")).await;
    let text = said["message"].as_str().unwrap();
    assert!(text.contains("s3://clips/border") && text.contains("check `endpoint`"), "{text}");
    assert!(metric(&gate, "gatewatch_clips_waiting").await.unwrap() >= 1.0);
    assert!(!gate.log().contains("a secret that stands in a file"));
    let before = listener.events().len();
    until("further events", async || (listener.events().len() > before).then_some(())).await;
    store.door.open();
    let (_, note, clip) = stored(&store, "held-1").await;
    checked(&note, &clip, (ClipKind::Hold, "held-1"), &key);
    until("the end of it", async || part(&gate).await.filter(|p| p["level"] == "ok")).await;

    // One that the store never takes keeps no other from it, though it is the oldest.
    store.takes_not(Some("held-0.mp4"));
    hold(&gate, "held-0", 12, 5).await;
    until("a try", async || (store.writes("held-0.mp4") > 0).then_some(())).await;
    hold(&gate, "held-3", 5, 5).await;
    stored(&store, "held-3").await;
    assert!(!store.objects().iter().any(|(n, _)| n.contains("held-0")));
    let said = until("the word of it", async || part(&gate).await.filter(|p| p["level"] == "degraded")).await;
    let text = said["message"].as_str().unwrap();
    assert!(text.starts_with("1 clips") && text.contains("not taken"), "{text}");
    assert!(store.writes("held-0.mp4") <= 2, "it is left alone, not tried again and again");
    store.takes_not(None);

    // Killed on the way: that clip begins again, and no other.
    assert!(gate.terminate().success());
    let slow = FootageStoreConfig { max_bytes_per_s: 50_000, min_severity: 4, ..told(&store, 4) };
    gate.config.footage.store = Some(slow);
    gate.start();
    gate.until_ready().await;
    stored(&store, "held-0").await;
    let recorded = utc_now();
    until("half a minute of video", async || (utc_now().since(recorded) > 25_000).then_some(())).await;
    hold(&gate, "held-2", 3, 20).await;
    until("the clip on its way", async || (store.writes("hold-held-2.mp4") == 1).then_some(())).await;
    gate.kill();
    assert!(!store.objects().iter().any(|(n, _)| n.contains("held-2")), "not there in part");
    gate.config.footage.store = Some(told(&store, 4));
    gate.start();
    let (_, note, clip) = stored(&store, "held-2").await;
    checked(&note, &clip, (ClipKind::Hold, "held-2"), &key);
    until("nothing that waits", async || (metric(&gate, "gatewatch_clips_waiting").await? == 0.0).then_some(())).await;
    assert!(gate.terminate().success());
    gate.start();
    until("a look at what is due", async || part(&gate).await.filter(|p| p["level"] == "ok")).await;
    // A time that was never recorded: the store is not even asked.
    hold(&gate, "held-none", 86_400, 5).await;
    let none = "1 clips wait for the store; of 1 there is no footage now";
    until("the word of it", async || part(&gate).await.filter(|p| p["message"] == none && p["level"] == "ok")).await;
    assert_eq!(store.asked("held-none"), 0);
    // Each is there once, by its note. Begun anew was only what the door, the stop or the kill cut off.
    let objects = store.objects();
    let ends = objects.iter().filter_map(|(name, _)| name.rsplit('/').next());
    let (notes, clips): (Vec<&str>, Vec<&str>) = ends.partition(|end| end.ends_with(".json"));
    assert_eq!(notes.len(), clips.len());
    notes.iter().for_each(|note| assert_eq!(store.writes(note), 1, "{note}"));
    let again: Vec<&str> =
        clips.into_iter().filter(|clip| store.writes(clip) > 1 && !clip.contains("held-0")).collect();
    assert!(again.len() <= 3 && again.iter().any(|clip| clip.contains("held-2")), "{again:?}");
    assert!(gate.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_go_in_parts_and_are_there_when_they_are_complete() {
    gatewatch::install_crypto();
    let (s3, folder) = (S3::start().await, tempfile::tempdir().unwrap());
    let url = format!("file://{}", folder.path().display());
    for config in [s3.config(), ObjectsConfig { url, ..ObjectsConfig::default() }] {
        let objects = Objects::open(&config, None).await.unwrap();
        let large: Vec<u8> = (0..12_000_000_u32).map(|i| i.to_le_bytes()[1]).collect();
        let large = Bytes::from(large);
        let mut parts = objects.begin("a/large.mp4").await.unwrap();
        for at in (0..large.len()).step_by(PART_BYTES) {
            assert!(!objects.has("a/large.mp4").await.unwrap(), "not in part");
            parts.put(large.slice(at..large.len().min(at + PART_BYTES))).await.unwrap();
        }
        parts.complete().await.unwrap();
        objects.put("a/small.json", Bytes::from_static(b"{}")).await.unwrap();
        let mut parts = objects.begin("a/cut-off.mp4").await.unwrap();
        parts.put(large.slice(..PART_BYTES)).await.unwrap();
        parts.abort().await;
        let mut names = objects.names("a", 9).await.unwrap();
        names.sort();
        assert_eq!(names, ["large.mp4", "small.json"]);
        assert!(objects.names("nothing", 9).await.unwrap().is_empty());
        let read = objects.read_range("a/large.mp4", 5_242_000..5_243_000).await.unwrap().unwrap();
        assert_eq!(read, large.slice(5_242_000..5_243_000));
        let end = objects.read_range("a/large.mp4", 11_999_999..12_000_999).await.unwrap().unwrap();
        assert_eq!(end, large.slice(11_999_999..));
        assert_eq!(objects.read("a/small.json", 9).await.unwrap().unwrap(), "{}");
        let large = objects.read("a/large.mp4", 9).await;
        assert!(matches!(large, Err(ObjectsError::TooLarge(..))), "more than asked");
        assert_eq!(objects.read("a/none", 9).await.unwrap(), None);
        assert_eq!(objects.read_range("a/none", 0..9).await.unwrap(), None);
    }
    assert_eq!(s3.writes("large.mp4"), 3);

    // A folder that is taken away is not an empty one, and not made anew.
    let (here, away) = (folder.path().join("here"), folder.path().join("away"));
    std::fs::create_dir(&here).unwrap();
    let objects = ObjectsConfig { url: format!("file://{}", here.display()), ..ObjectsConfig::default() };
    let objects = Objects::open(&objects, None).await.unwrap();
    std::fs::rename(&here, &away).unwrap();
    let small = Bytes::from_static(b"{}");
    let answers = [
        objects.has("a/small.json").await.map(drop),
        objects.read("a/small.json", 9).await.map(drop),
        objects.read_range("a/small.json", 0..1).await.map(drop),
        objects.names("a", 9).await.map(drop),
        objects.put("a/small.json", small.clone()).await,
        objects.begin("a/large.mp4").await.map(drop),
    ];
    assert!(answers.iter().all(|a| matches!(a, Err(ObjectsError::Missing(_)))), "{answers:?}");
    assert!(!here.exists());
    std::fs::rename(&away, &here).unwrap();
    objects.put("a/small.json", small).await.unwrap();
    assert!(objects.has("a/small.json").await.unwrap(), "the same store, when it is back");

    // Over TLS with an authority of its own, and not with another one.
    let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    [&own, &other].iter().for_each(|dir| certificates(dir.path()));
    let port = s3.behind_tls(own.path()).await;
    let over = |ca: &tempfile::TempDir| ObjectsConfig {
        endpoint: Some(format!("https://127.0.0.1:{port}")),
        ca_file: Some(ca.path().join("ca.pem")),
        allow_http: false,
        ..s3.config()
    };
    assert!(Objects::open(&over(&own), None).await.unwrap().has("a/small.json").await.unwrap());
    let refused = Objects::open(&over(&other), None).await.unwrap().has("a/small.json").await.unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    let limited = Objects::open(&over(&own), Some(1_000_000)).await.unwrap();
    let started = Instant::now();
    limited.put("a/paced", Bytes::from(vec![7; 1_500_000])).await.unwrap();
    assert!(started.elapsed() > Duration::from_millis(1_400), "{:?}", started.elapsed());
    s3.door.shut();
    let gone = Objects::open(&s3.config(), None).await.unwrap().has("a/small.json").await.unwrap_err();
    assert!(gone.to_string().contains("s3://clips/border does not do it"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_and_a_folder_that_is_not_there_are_told_before_there_is_a_clip() {
    let _alone = super::agent::ONE.lock().await;
    let (broker, store) = (Mosquitto::open(), S3::start().await);
    let mut gate = Gate::new(gate::own_model(), broker.url(), vec![gate::camera("bay", "rtsp://127.0.0.1:9/x".into())]);
    let mut wrong = told(&store, 3);
    wrong.secret_key = wrong.access_key.clone();
    gate.config.footage.store = Some(wrong);
    gate.start();
    let degraded = async || part(&gate).await.filter(|p| p["level"] == "degraded");
    let said = until("the word of the key", degraded).await;
    let text = said["message"].as_str().unwrap();
    assert!(text.contains("refuses the access") && text.contains("check `access_key`"), "{text}");
    gate.terminate();

    let folder = gate.dir.path().join("mounted");
    let url = format!("file://{}", folder.display());
    gate.config.footage.store = Some(FootageStoreConfig { url, ..FootageStoreConfig::default() });
    gate.start();
    let degraded = async || part(&gate).await.filter(|p| p["level"] == "degraded");
    let said = until("the word of the folder", degraded).await;
    assert!(said["message"].as_str().unwrap().contains("mount the folder"), "{said}");
    assert!(!folder.exists(), "it is not made on the disk below");
    std::fs::create_dir(&folder).unwrap();
    let wait = Duration::from_secs(60);
    let well = until("the folder to be used", async || part(&gate).await.filter(|p| p["level"] == "ok"));
    tokio::time::timeout(wait, well).await.unwrap();
    assert!(gate.terminate().success());
}

//! Evidence through its public interface: the chain of a real store, real bundles, and everything somebody may do to them.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gatewatch::agent::evidence::Evidence;
use gatewatch::camera::CameraId;
use gatewatch::clock::{UtcMillis, utc_now};
use gatewatch::coverage::{AreaView, AreaViews, BlindReason, Interval, Look, Span};
use gatewatch::evidence::chain::{Kind, Sum};
use gatewatch::evidence::collect::Site;
use gatewatch::evidence::custody;
use gatewatch::evidence::export::{self, part_path};
use gatewatch::evidence::keys::{KeyFolder, PublicKey};
use gatewatch::evidence::manifest::{Manifest, Verdict};
use gatewatch::evidence::request::{Action, Request, Selection, Who};
use gatewatch::evidence::signer::Signer;
use gatewatch::evidence::statement::{BundleStatement, Head, Origin, SignedHead};
use gatewatch::evidence::verify::{Checked, Fault, FaultKind, Known, verify};
use gatewatch::evidence::zip::{Reader, Writer};
use gatewatch::geometry::{Point, Polygon};
use gatewatch::mqtt::Topics;
use gatewatch::rules::AreaId;
use gatewatch::store::{Archive, HoldItem, NewNotice, Part, SegmentItem, Store};
use gatewatch::telemetry::health::{Health, Level};
use serde_json::{Value, json};
use sqlx::Connection;
use tokio_util::sync::CancellationToken;

use crate::store::{event_of, message, options};
use crate::support::until;

/// When the scene of these tests happened.
const START: UtcMillis = UtcMillis(1_772_420_000_000);

const WATCHED: Look = Look::Watched { interval_ms: 200, pictures: 75 };

fn at(s: i64) -> UtcMillis {
    START.plus_ms(s * 1000)
}

fn jpeg(shade: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let picture = image::RgbImage::from_fn(96, 64, |x, y| image::Rgb([shade, (x * 2) as u8, (y * 3) as u8]));
    image::codecs::jpeg::JpegEncoder::new(&mut bytes).encode_image(&picture).unwrap();
    bytes
}

fn who() -> Who {
    Who { operator: "Nguyễn Văn A".into(), reason: "vụ việc 31/2026".into() }
}

/// A store with a scene: three events of two cameras, two minutes of footage with a gap, a hold for a tip.
struct Scene {
    dir: tempfile::TempDir,
    store: Store,
    signer: Signer,
    events: Vec<String>,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(options(dir.path())).await.unwrap();
        let signer = Signer::start(store.clone(), topics().chain()).await.unwrap();
        let mut this = Self { dir, store, signer, events: Vec::new() };
        this.scene().await;
        this
    }

    async fn scene(&mut self) {
        for (i, (start, end)) in [(10, 20), (25, 40), (50, 70)].into_iter().enumerate() {
            let id = ulid::Ulid::from_parts(u64::try_from(at(start).0).unwrap(), i as u128 + 7);
            self.event(id, 1, "new", at(start), (i == 1).then_some("cam-2")).await;
            self.segment("cam-1", i as i64 * 30).await;
            self.event(id, 2, "end", at(end), (i == 1).then_some("cam-2")).await;
            self.signer.publish().await.unwrap().unwrap();
            self.events.push(id.to_string());
        }
        self.watch().await;
        self.hold("hold-1", "cam-1", (5, 45), Some("TB-1")).await;
        self.signer.publish().await.unwrap().unwrap();
    }

    async fn event(&self, id: ulid::Ulid, revision: u32, phase: &str, best: UtcMillis, camera: Option<&str>) {
        let mut event = event_of(id, revision, phase, best);
        if revision > 1 {
            // An event begins once.
            event.data.capture.start = UtcMillis(i64::try_from(id.timestamp_ms()).unwrap());
        }
        if let Some(camera) = camera {
            event.data.camera.id.0 = camera.into();
        }
        let picture = jpeg(best.0.rem_euclid(251) as u8);
        self.store.record(message(event, 2, (revision == 1).then_some(picture.as_slice()))).await.unwrap();
    }

    /// 30 seconds of it, but for the third, which begins 10 s late.
    async fn segment(&self, camera: &str, start: i64) {
        let late = if start == 60 { 10 } else { 0 };
        let path = format!("{camera}/main/{start:05}.mp4");
        let bytes = footage(start);
        let file = self.dir.path().join("footage").join(&path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &bytes).unwrap();
        let item = SegmentItem {
            camera: camera.into(),
            stream: "main".into(),
            path: path.clone(),
            codec: "h264".into(),
            start: at(start + late),
            end: at(start + 30),
            bytes: bytes.len() as i64,
            pictures: 750,
            sha256: Sum::of(&bytes),
            gap_before_ms: Some(late * 1000),
            time_source: "rtcp_ntp".into(),
            clock_offset_ms: Some(-12),
        };
        let insert = "INSERT INTO segment (camera, stream, path, codec, start_ms, end_ms, bytes, pictures, sha256,
            gap_before_ms, time_source, clock_offset_ms, class, state, width, height, dropped, uncertainty_ms)
            VALUES (?, 'main', ?, 'h264', ?, ?, ?, 750, ?, ?, 'rtcp_ntp', -12, 'ring', 'kept', 1920, 1080, 0, 40)";
        let insert = sqlx::query(insert).bind(camera).bind(&path).bind(item.start.0).bind(item.end.0).bind(item.bytes);
        let insert = insert.bind(item.sha256.to_string()).bind(item.gap_before_ms);
        insert.execute(&mut self.sql().await).await.unwrap();
        let text = serde_json::to_string(&item).unwrap();
        self.store.chain_append_once(Kind::Segment, &path, &text).await.unwrap();
    }

    /// What was analysed of cam-1: from 5 s on, but for 20 s to 26 s; its bay is under a privacy mask.
    async fn watch(&self) {
        let signal = Look::Blind(BlindReason::Signal);
        for (number, from, to, look) in [(1, 5, 20, WATCHED), (2, 20, 26, signal), (3, 26, 60, WATCHED)] {
            self.interval(number, from, to, look).await;
        }
    }

    async fn interval(&self, number: i64, from: i64, to: i64, look: Look) {
        let bay = AreaView { blind: Some(BlindReason::Privacy), unseen: 1.0 };
        let areas: AreaViews = [(AreaId("bay".into()), bay)].into();
        let (camera, span) = (CameraId("cam-1".into()), Span { from: at(from), to: at(to) });
        let interval = Interval { camera, session: 1, number, span, look, areas: Arc::new(areas) };
        self.store.record_coverage(&[interval]).await.unwrap();
    }

    async fn hold(&self, id: &str, camera: &str, (from, to): (i64, i64), tip: Option<&str>) {
        let item = HoldItem {
            id: id.into(),
            camera: camera.into(),
            from: at(from),
            to: at(to),
            reason: "tin báo".into(),
            tip_id: tip.map(str::to_owned),
            event_id: None,
            placed_by: "desk".into(),
            placed: at(100),
            released: None,
            released_by: None,
            release_why: None,
        };
        let insert = "INSERT INTO hold (id, camera, from_ms, to_ms, reason, tip_id, placed_by, placed_ms)
            VALUES (?, ?, ?, ?, 'tin báo', ?, 'desk', ?)";
        let insert =
            sqlx::query(insert).bind(id).bind(camera).bind(item.from.0).bind(item.to.0).bind(tip).bind(at(100).0);
        insert.execute(&mut self.sql().await).await.unwrap();
        let text = serde_json::to_string(&item).unwrap();
        self.store.chain_append_once(Kind::Hold, id, &text).await.unwrap();
    }

    /// Somebody with access to the database.
    async fn sql(&self) -> sqlx::SqliteConnection {
        let path = self.dir.path().join("gatewatch.db");
        sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap()
    }

    fn site(&self) -> Site {
        let half = Polygon([[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]].map(Point::from).to_vec());
        Site {
            name: "Cửa khẩu".into(),
            time_zone: "Asia/Ho_Chi_Minh".into(),
            footage: self.dir.path().join("footage"),
            masks: [("cam-1".to_owned(), vec![half])].into(),
            ..Site::default()
        }
    }

    async fn ask(&self, selection: Selection) -> i64 {
        let request = Request::new(who(), Action::Export { selection, masked: true });
        self.signer.handle(&request).await.unwrap().0.n
    }

    /// The bundle of the request at entry `n`, under its working name.
    async fn make(&self, n: i64, name: &str) -> PathBuf {
        self.make_at(&self.site(), n, name).await
    }

    async fn make_at(&self, site: &Site, n: i64, name: &str) -> PathBuf {
        let key = KeyFolder::of_store(self.dir.path()).current().unwrap().unwrap();
        let out = self.dir.path().join(name);
        let mut last = (0, 0);
        let mut progress = |done, all| last = (done, all);
        let written = export::export(self.dir.path(), site, &key, n, &out, &mut progress).await.unwrap();
        assert_eq!(written.sha256, Sum::of(&std::fs::read(&written.part).unwrap()));
        assert_eq!(last.0, last.1, "the progress reaches its end");
        written.publish(&out).unwrap();
        assert!(!part_path(&out).exists());
        out
    }

    async fn window_bundle(&self, name: &str) -> PathBuf {
        self.make(self.ask(window()).await, name).await
    }

    fn key(&self) -> PublicKey {
        self.signer.public()
    }
}

/// Real video as the recorder writes it; another file for each segment.
fn footage(start: i64) -> Vec<u8> {
    // A second file of its own: a `free` box behind the video, which players skip.
    let tail = [b"\0\0\0\x10free".as_slice(), &start.to_be_bytes()].concat();
    [crate::footage::a_segment(), &tail].concat()
}

fn topics() -> Topics {
    Topics::new("gatewatch/v1", "15BB", "gate-01")
}

fn window() -> Selection {
    Selection::Window { cameras: vec!["cam-1".into()], from: at(0), to: at(90) }
}

fn check(path: &Path, key: Option<PublicKey>) -> Checked {
    verify(path, &Known { key, heads: Vec::new() }, &mut |_| {}).unwrap()
}

/// The files of a bundle.
#[derive(Clone)]
struct Files(Vec<(String, Vec<u8>)>);

impl Files {
    fn unpack(path: &Path) -> Self {
        let mut reader = Reader::open(Cursor::new(std::fs::read(path).unwrap())).unwrap();
        let items = reader.items().to_vec();
        Self(items.iter().map(|i| (i.name.clone(), reader.read(i, u64::MAX).unwrap())).collect())
    }

    fn pack(&self, path: &Path) {
        let mut zip = Writer::new(Cursor::new(Vec::new()));
        for (name, bytes) in &self.0 {
            zip.add(name, bytes.len() as u64, &mut bytes.as_slice(), &mut |_| {}).unwrap();
        }
        std::fs::write(path, zip.finish().unwrap().into_inner()).unwrap();
    }

    fn find(&self, start: &str) -> usize {
        self.0.iter().position(|(name, _)| name.starts_with(start)).unwrap_or_else(|| panic!("no file {start}"))
    }

    fn bytes(&mut self, start: &str) -> &mut Vec<u8> {
        let i = self.find(start);
        &mut self.0[i].1
    }

    fn flip(&mut self, start: &str) {
        let bytes = self.bytes(start);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }

    fn json(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let bytes = self.bytes(name);
        let mut value = serde_json::from_slice(bytes).unwrap();
        change(&mut value);
        *bytes = (serde_json::to_string_pretty(&value).unwrap() + "\n").into_bytes();
    }

    fn manifest(&mut self) -> Manifest {
        serde_json::from_slice(self.bytes("manifest.json")).unwrap()
    }

    /// Changes the manifest and makes everything in the bundle agree with its files again, but for the signature.
    fn forge(&mut self, change: impl FnOnce(&mut Value)) {
        self.json("manifest.json", change);
        let files: Vec<(String, Sum, usize)> =
            self.0.iter().map(|(name, bytes)| (name.clone(), Sum::of(bytes), bytes.len())).collect();
        self.json("manifest.json", |m| {
            let list = m["files"].as_array_mut().unwrap();
            list.retain(|f| files.iter().any(|(name, _, _)| f["path"] == name.as_str()));
            for f in list {
                let (_, sum, bytes) = files.iter().find(|(name, _, _)| f["path"] == name.as_str()).unwrap();
                f["sha256"] = json!(sum);
                f["bytes"] = json!(bytes);
            }
        });
    }

    /// Signs what is there now with another key, so that the bundle agrees with itself.
    fn sign_with(&mut self, dir: &Path) {
        let key = KeyFolder::of_store(dir).make_next().unwrap();
        let manifest = Sum::of(self.bytes("manifest.json"));
        let signed = String::from_utf8(self.bytes("signed.txt").clone()).unwrap();
        let statement = BundleStatement { manifest, key: key.public(), ..BundleStatement::parse(&signed).unwrap() };
        *self.bytes("signed.txt") = statement.text().into_bytes();
        *self.bytes("signature.bin") = key.sign(&statement.text()).0;
        *self.bytes("public-key.pem") = key.public().to_pem().into_bytes();
    }

    fn chain(&mut self, change: impl FnOnce(&mut Vec<Value>)) {
        let text = String::from_utf8(self.bytes("chain.jsonl").clone()).unwrap();
        let mut lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        change(&mut lines);
        *self.bytes("chain.jsonl") = lines.iter().map(|l| l.to_string() + "\n").collect::<String>().into_bytes();
    }
}

/// Something somebody does to a bundle, and what must be said of it: sort of fault and a part of the sentence.
struct Tampering {
    name: &'static str,
    act: Box<dyn Fn(&mut Files)>,
    faults: Vec<(FaultKind, String)>,
}

fn tampering(name: &'static str, faults: &[(FaultKind, &str)], act: impl Fn(&mut Files) + 'static) -> Tampering {
    let faults = faults.iter().map(|(kind, text)| (*kind, (*text).to_owned())).collect();
    Tampering { name, act: Box::new(act), faults }
}

/// A byte in each file.
fn bytes_changed() -> Vec<Tampering> {
    use FaultKind::{Chain, FileChanged, ManifestChanged, MessageChanged, SegmentChanged, Signature};
    let files: [(&'static str, Vec<(FaultKind, &str)>); 10] = [
        ("originals/pictures/", vec![(FileChanged, "originals/pictures/")]),
        (
            "originals/footage/",
            vec![(FileChanged, "cam-1/main/00000.mp4 was changed"), (SegmentChanged, "cam-1/main/00000.mp4")],
        ),
        ("annotated/", vec![(FileChanged, "annotated/")]),
        ("masked/", vec![(FileChanged, "masked/")]),
        ("messages/", vec![(FileChanged, "messages/"), (MessageChanged, "is not the message that entry")]),
        ("report.html", vec![(FileChanged, "report.html was changed")]),
        ("README.txt", vec![(FileChanged, "README.txt was changed")]),
        ("chain.jsonl", vec![(FileChanged, "chain.jsonl was changed"), (Chain, "")]),
        ("manifest.json", vec![(ManifestChanged, "")]),
        ("signature.bin", vec![(Signature, "the signature is not that of key")]),
    ];
    files.into_iter().map(|(name, faults)| tampering(name, &faults, move |f| f.flip(name))).collect()
}

fn files_and_signature() -> Vec<Tampering> {
    use FaultKind::{FileAdded, FileChanged, FileMissing, ForeignKey, ManifestChanged, Signature, Swapped};
    vec![
        tampering("file missing", &[(FileMissing, "originals/footage/cam-1/main/00000.mp4 is missing")], |f| {
            let i = f.find("originals/footage/");
            f.0.remove(i);
        }),
        tampering("file added", &[(FileAdded, "originals/extra.txt was added")], |f| {
            f.0.insert(0, ("originals/extra.txt".into(), b"x".to_vec()));
        }),
        tampering("files in another order", &[(Swapped, "not in their order")], |f| f.0.swap(0, 1)),
        tampering("signature missing", &[(FileMissing, "the bundle is not signed")], |f| {
            let i = f.find("signature.bin");
            f.0.remove(i);
        }),
        tampering("statement changed", &[(Signature, "")], |f| {
            let text = String::from_utf8(f.bytes("signed.txt").clone()).unwrap();
            *f.bytes("signed.txt") = text.replace("gate-01", "gate-02").into_bytes();
        }),
        tampering("another key beside it", &[(FileChanged, "is not the key that signed.txt names")], |f| {
            *f.bytes("public-key.pem") = PublicKey([9; 32]).to_pem().into_bytes();
        }),
        tampering(
            "reason changed",
            &[(ManifestChanged, "not the one that was signed"), (FaultKind::CustodyChanged, "")],
            |f| {
                f.forge(|m| m["request"]["reason"] = json!("quite another reason"));
            },
        ),
        tampering("signed anew by another key", &[(ForeignKey, "somebody else signed it")], |f| {
            let dir = tempfile::tempdir().unwrap();
            f.forge(|m| m["site"] = json!("elsewhere"));
            f.sign_with(dir.path());
        }),
    ]
}

fn events_and_times() -> Vec<Tampering> {
    use FaultKind::{
        Chain, CoverageChanged, CustodyChanged, EventDropped, ManifestChanged, SegmentChanged, Swapped, TimeShifted,
    };
    vec![
        tampering(
            "event dropped",
            &[(EventDropped, "message 1 of event"), (EventDropped, "message 2 of event"), (ManifestChanged, "")],
            |f| {
                let id = f.manifest().events[0].id.clone();
                f.0.retain(|(name, _)| !name.contains(&id));
                f.forge(|m| drop(m["events"].as_array_mut().unwrap().remove(0)));
            },
        ),
        tampering("one message dropped, the chain's mark too", &[(EventDropped, "message 2 of event")], |f| {
            let record = f.manifest().events[0].messages[1].clone();
            f.0.retain(|(name, _)| *name != record.file);
            f.chain(|lines| {
                let line = lines.iter_mut().find(|l| l["n"] == json!(record.chain_n)).unwrap();
                line["in_bundle"] = json!(false);
            });
            f.forge(|m| drop(m["events"][0]["messages"].as_array_mut().unwrap().remove(1)));
        }),
        tampering("two messages swapped", &[(Swapped, "the two were swapped")], |f| {
            let messages: Vec<usize> = (0..f.0.len()).filter(|i| f.0[*i].0.starts_with("messages/")).collect();
            let kept = f.0[messages[0]].1.clone();
            f.0[messages[0]].1 = f.0[messages[1]].1.clone();
            f.0[messages[1]].1 = kept;
            f.forge(|_| {});
        }),
        tampering("two entries swapped", &[(Swapped, "were swapped")], |f| {
            f.chain(|lines| lines.swap(3, 4));
            f.forge(|_| {});
        }),
        tampering("entry taken out", &[(Chain, "is missing")], |f| {
            f.chain(|lines| drop(lines.remove(3)));
            f.forge(|_| {});
        }),
        tampering("time shifted in a message", &[(TimeShifted, "a time was shifted")], |f| {
            let best = at(10).to_rfc3339();
            let text = String::from_utf8(f.bytes("messages/").clone()).unwrap();
            assert!(text.contains(&best));
            *f.bytes("messages/") = text.replace(&best, &at(3610).to_rfc3339()).into_bytes();
            f.forge(|_| {});
        }),
        tampering("time shifted in message and manifest", &[(FaultKind::MessageChanged, "is not the message")], |f| {
            let (old, new) = (at(10).to_rfc3339(), at(3610).to_rfc3339());
            let text = String::from_utf8(f.bytes("messages/").clone()).unwrap();
            *f.bytes("messages/") = text.replace(&old, &new).into_bytes();
            f.forge(|m| *m = serde_json::from_str(&m.to_string().replace(&old, &new)).unwrap());
        }),
        tampering("time shifted in the manifest", &[(TimeShifted, "it began at")], |f| {
            f.forge(|m| m["events"][0]["start"] = json!(at(3610)));
        }),
        tampering("footage moved in time", &[(TimeShifted, "cam-1/main/00000.mp4 began at")], |f| {
            f.forge(|m| {
                m["footage"][0]["segments"][0]["start"] = json!(at(600));
                m["footage"][0]["segments"][0]["end"] = json!(at(630));
            });
        }),
        tampering("time shifted in the chain", &[(Chain, "was changed")], |f| {
            f.chain(|lines| lines[4]["at"] = json!(at(7)));
            f.forge(|_| {});
        }),
        tampering("entry made anew", &[(Chain, "does not continue")], |f| {
            f.chain(|lines| {
                let mut entry: gatewatch::evidence::chain::Entry = serde_json::from_value(lines[4].clone()).unwrap();
                entry.at = at(7);
                let mark = lines[4]["in_bundle"].clone();
                entry.sha256 = entry.digest();
                lines[4] = json!(entry);
                lines[4]["in_bundle"] = mark;
            });
            f.forge(|_| {});
        }),
        tampering("other footage with its digest", &[(SegmentChanged, "what the manifest says of")], |f| {
            *f.bytes("originals/footage/") = b"other".to_vec();
            f.forge(|m| m["footage"][0]["segments"][0]["sha256"] = json!(Sum::of(b"other")));
        }),
        tampering("a gap in what was analysed hidden", &[(CoverageChanged, "does not add up")], |f| {
            f.forge(|m| drop(m["coverage"][0]["blind"].as_array_mut().unwrap().remove(0)));
        }),
        tampering("a gap in what was analysed closed", &[(CoverageChanged, "the sums are not")], |f| {
            f.forge(|m| {
                let gone = m["coverage"][0]["blind"].as_array_mut().unwrap().remove(0);
                m["coverage"][0]["watched"][0]["from"] = gone["from"].clone();
            });
        }),
        tampering("no word of what was analysed", &[(CoverageChanged, "does not say what was analysed")], |f| {
            f.forge(|m| m["coverage"] = json!([]));
        }),
        tampering("custody log shortened", &[(CustodyChanged, "was dropped from the custody log")], |f| {
            f.forge(|m| drop(m["custody"].as_array_mut().unwrap().remove(0)));
        }),
        tampering("custody log changed", &[(CustodyChanged, "is not the one of the chain")], |f| {
            f.forge(|m| m["custody"][0]["item"]["reason"] = json!("nothing"));
        }),
    ]
}

#[tokio::test]
async fn a_bundle_is_good_and_each_tampering_is_named() {
    let gate = Scene::new().await;
    let path = gate.window_bundle("good.zip").await;
    let good = check(&path, Some(gate.key()));
    assert!(good.good && good.key_compared, "{:?}", good.faults);
    assert_eq!((good.events, good.messages, good.missing.len()), (2, 4, 0));
    assert!(check(&path, None).notes[0].contains("no --key was given"));
    let files = Files::unpack(&path);
    let copy = gate.dir.path().join("copy.zip");
    files.pack(&copy);
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&path).unwrap(), "the container has one form only");
    let all: Vec<Tampering> =
        bytes_changed().into_iter().chain(files_and_signature()).chain(events_and_times()).collect();
    assert!(all.len() > 30, "{}", all.len());
    for t in all {
        let mut bad = files.clone();
        (t.act)(&mut bad);
        bad.pack(&copy);
        let found = check(&copy, Some(gate.key()));
        assert!(!found.good, "{} was not seen", t.name);
        for (kind, text) in &t.faults {
            let named = found.faults.iter().any(|f: &Fault| f.kind == *kind && f.text.contains(text.as_str()));
            assert!(named, "{}: no {kind:?} with {text:?} among {:#?}", t.name, found.faults);
        }
        println!("{:45} -> {}", t.name, found.faults.iter().map(|f| f.text.as_str()).collect::<Vec<_>>().join(" | "));
    }
}

#[tokio::test]
async fn a_byte_changed_anywhere_in_the_container_is_seen() {
    let gate = Scene::new().await;
    let path = gate
        .make(gate.ask(Selection::Event { event: gate.events[1].clone(), before_ms: 0, after_ms: 0 }).await, "b.zip")
        .await;
    let good = std::fs::read(&path).unwrap();
    let copy = gate.dir.path().join("copy.zip");
    let step = (good.len() / 300).max(1);
    for at in (0..good.len()).step_by(step).chain(good.len() - 60..good.len()) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&copy, &bad).unwrap();
        assert!(!check(&copy, Some(gate.key())).good, "byte {at} of {} was changed unseen", good.len());
    }
    for cut in [0, 10, good.len() / 2, good.len() - 1] {
        std::fs::write(&copy, &good[..cut]).unwrap();
        let faults = check(&copy, None).faults;
        assert_eq!(faults[0].kind, FaultKind::Container, "{faults:?}");
    }
}

#[tokio::test]
async fn the_same_request_gives_the_same_bytes_whatever_happens_meanwhile() {
    let gate = Scene::new().await;
    // Two that last, pictured behind the time that is asked for; and one that began only afterwards.
    let id = |s: i64| ulid::Ulid::from_parts(u64::try_from(at(s).0).unwrap(), 77);
    for s in [15, 16, 95] {
        pictured(&gate, id(s), 1, at(s + 80)).await;
    }
    let n = gate.ask(window()).await;
    // Somebody's own folder beside it.
    let own = gate.dir.path().join("first.zip.masked");
    std::fs::create_dir(&own).unwrap();
    let first = gate.make(n, "first.zip").await;
    assert!(own.is_dir() && Files::unpack(&first).manifest().events.len() == 4);
    for s in [16, 95] {
        pictured(&gate, id(s), 2, at(88)).await;
    }
    gate.event(ulid::Ulid::generate(), 1, "new", at(30), None).await;
    gate.hold("hold-2", "cam-1", (0, 90), None).await;
    // The last interval went on, was followed by another, and what is old is forgotten.
    gate.interval(3, 26, 75, WATCHED).await;
    gate.interval(4, 75, 90, Look::Blind(BlindReason::Restart)).await;
    sqlx::query("DELETE FROM coverage WHERE number = 1").execute(&mut gate.sql().await).await.unwrap();
    gate.signer.handle(&Request::new(who(), Action::Repeat { of: n })).await.unwrap();
    gate.signer.publish().await.unwrap().unwrap();
    let second = gate.make(n, "second.zip").await;
    assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap(), "byte for byte");
    let later = gate.window_bundle("later.zip").await;
    let custody = |path: &Path| Files::unpack(path).manifest().custody;
    assert_eq!(custody(&first).len(), 2, "the hold and the request itself");
    let actions: Vec<String> =
        custody(&later).iter().map(|r| r.item["do"].as_str().unwrap_or("hold").to_owned()).collect();
    assert_eq!(actions, ["hold", "export", "hold", "repeat", "export"]);
    let refused = written_again(&gate, 2).await.unwrap_err().to_string();
    assert!(refused.contains("is no export"), "{refused}");
}

/// A message of an event that lasts, with its best picture.
async fn pictured(gate: &Scene, id: ulid::Ulid, revision: u32, best: UtcMillis) {
    let mut event = event_of(id, revision, if revision == 1 { "new" } else { "update" }, best);
    event.data.capture.start = UtcMillis(i64::try_from(id.timestamp_ms()).unwrap());
    gate.store.record(message(event, 2, Some(&jpeg(9)))).await.unwrap();
}

async fn written_again(gate: &Scene, n: i64) -> anyhow::Result<()> {
    let key = KeyFolder::of_store(gate.dir.path()).current()?.unwrap();
    export::export(gate.dir.path(), &gate.site(), &key, n, &gate.dir.path().join("x.zip"), &mut |_, _| {})
        .await
        .map(|_| ())
}

#[tokio::test]
async fn the_manifest_says_what_was_found_and_what_is_missing() {
    let gate = Scene::new().await;
    std::fs::remove_file(gate.dir.path().join("footage/cam-1/main/00030.mp4")).unwrap();
    let mut clean: Vec<PathBuf> = Vec::new();
    find_files(&gate.dir.path().join("pictures"), "clean.jpg", &mut clean);
    let touched = clean.iter().find(|p| p.to_string_lossy().contains(&gate.events[2])).unwrap();
    std::fs::write(touched, jpeg(1)).unwrap();
    let path = gate.window_bundle("b.zip").await;
    let m = Files::unpack(&path).manifest();
    assert_eq!(m.footage.len(), 1);
    let footage = &m.footage[0];
    assert_eq!(footage.verdict, Verdict::Partial);
    assert_eq!(footage.clock_offset_ms, Some((-12, -12)));
    let gaps: Vec<_> = footage.gaps.iter().map(|g| (g.from, g.to, g.why.as_str())).collect();
    assert_eq!(gaps, [(at(30), at(70), "lost")], "the lost file and the late one, as one");
    let missing: Vec<&str> = m.missing.iter().map(|x| x.what.as_str()).collect();
    assert!(missing.contains(&"originals/footage/cam-1/main/00030.mp4"), "{missing:?}");
    let altered = m.missing.iter().find(|x| x.what.contains("as recorded")).unwrap();
    assert!(altered.what.contains(&gate.events[2]) && altered.why.contains("changed on the box"), "{altered:?}");
    let faults = check(&path, Some(gate.key())).faults;
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].text.contains("is not the picture that message"), "{faults:?}");
    assert_eq!(m.events[0].messages.iter().map(|x| x.revision).collect::<Vec<_>>(), [1, 2]);
    let masks = Sum::of(&serde_json::to_vec(&gate.site().masks["cam-1"]).unwrap()).to_string()[..16].to_owned();
    assert!(m.files.iter().any(|f| f.path.starts_with("masked/") && f.made_by.as_deref().unwrap().contains(&masks)));
    let clips: Vec<_> = m.files.iter().filter(|f| f.path.starts_with("masked/footage/")).collect();
    assert_eq!(clips.len(), 2, "of each segment that is there");
    for clip in clips {
        let made_by = clip.made_by.as_deref().unwrap();
        assert!(made_by.contains(&masks) && made_by.contains("x264enc"), "{made_by}");
        let seen = gate.dir.path().join("seen.mp4");
        std::fs::write(&seen, Files::unpack(&path).bytes(&clip.path)).unwrap();
        let pictures = crate::footage::luminance(&seen);
        assert_eq!(pictures.len(), 50, "every picture of the segment");
        for (_, width, pixels) in pictures {
            let left = pixels.iter().enumerate().filter(|(i, _)| i % width < width / 2);
            assert!(left.map(|(_, p)| *p).max() < Some(40), "the left half is masked");
        }
    }
    let report = String::from_utf8(Files::unpack(&path).bytes("report.html").clone()).unwrap();
    for text in ["Hồ sơ chứng cứ", "Camera evidence", "Nguyễn Văn A", "data:image/jpeg;base64,", "một phần", "hold"]
    {
        assert!(report.contains(text), "the report lacks {text:?}");
    }
    assert!(!report.contains("http:") && !report.contains("https:"), "nothing from elsewhere");
}

#[tokio::test]
async fn the_bundle_says_why_there_is_no_masked_copy() {
    let gate = Scene::new().await;
    let n = gate.ask(window()).await;
    let missing = async |site: Site, name: &str| -> Vec<(String, String)> {
        let all = Files::unpack(&gate.make_at(&site, n, name).await).manifest().missing;
        let mut masked: Vec<_> = all.into_iter().map(|m| (m.what, m.why)).collect();
        masked.retain(|(what, _)| what.starts_with("masked/"));
        masked.sort();
        masked
    };
    assert_eq!(missing(gate.site(), "known.zip").await, []);
    let picture = |i: usize| format!("masked/{}-1.jpg", gate.events[i]);
    let clip = |start: i64| format!("masked/footage/cam-1/main/{start:05}.mp4");
    // Of the time before, and only of that, nobody knows.
    let since = Site { masks_known_since: Some(at(40)), ..gate.site() };
    let (what, why): (Vec<_>, Vec<_>) = missing(since, "since.zip").await.into_iter().unzip();
    assert_eq!(what, [picture(0), clip(0), clip(30)]);
    assert!(why.iter().all(|w| w.contains(&format!("since {} only", at(40).to_rfc3339()))), "{why:?}");
    let (damaged, nobody) = ("the history is damaged", "the configuration has no camera cam-1");
    let unknown = Site { masks_unknown: Some(damaged.into()), ..gate.site() };
    let no_camera = Site { masks: [].into(), ..gate.site() };
    for (site, cause, name) in [(unknown, damaged, "damaged.zip"), (no_camera, nobody, "nobody.zip")] {
        let (what, why): (Vec<_>, Vec<_>) = missing(site, name).await.into_iter().unzip();
        assert_eq!(what, [picture(0), picture(2), clip(0), clip(30), clip(60)]);
        assert!(why.iter().all(|w| w.starts_with(cause)), "{why:?}");
    }
}

#[tokio::test]
async fn the_bundle_says_what_was_analysed_and_why_not_the_rest() {
    let gate = Scene::new().await;
    let path = gate.window_bundle("b.zip").await;
    let m = Files::unpack(&path).manifest();
    let told: Vec<_> = m.coverage.iter().map(|a| (a.area.as_deref(), a.watched_ms, a.blind_ms)).collect();
    assert_eq!(told, [(None, 49_000, 41_000), (Some("bay"), 0, 90_000)]);
    let watched: Vec<_> = m.coverage[0].watched.iter().map(|w| (w.span.from, w.span.to, w.interval_ms)).collect();
    assert_eq!(watched, [(at(5), at(20), 200), (at(26), at(60), 200)]);
    let blind = |i: usize| -> Vec<_> {
        m.coverage[i].blind.iter().map(|b| (b.span.from, b.span.to, b.reason.as_str())).collect()
    };
    assert_eq!(blind(0), [(at(0), at(5), "no_record"), (at(20), at(26), "signal"), (at(60), at(90), "not_yet")]);
    assert_eq!(blind(1), [(at(0), at(5), "no_record"), (at(5), at(60), "privacy"), (at(60), at(90), "not_yet")]);
    let report = String::from_utf8(Files::unpack(&path).bytes("report.html").clone()).unwrap();
    for text in
        ["Thời gian được phân tích", "What was analysed", "mất kết nối camera", "under a privacy mask", "49.000 s"]
    {
        assert!(report.contains(text), "the report lacks {text:?}");
    }
    let checked = check(&path, Some(gate.key()));
    assert!(checked.good, "{:?}", checked.faults);
    // A camera that the box knows nothing of.
    let nobody = Selection::Window { cameras: vec!["cam-9".into()], from: at(0), to: at(90) };
    let path = gate.make(gate.ask(nobody).await, "nobody.zip").await;
    let m = Files::unpack(&path).manifest();
    assert_eq!(
        (m.coverage.len(), m.coverage[0].blind_ms, m.coverage[0].blind[0].reason),
        (1, 90_000, BlindReason::NoRecord)
    );
    assert!(check(&path, Some(gate.key())).good);
}

fn find_files(dir: &Path, end: &str, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_files(&path, end, out);
        } else if path.to_string_lossy().ends_with(end) {
            out.push(path);
        }
    }
}

#[tokio::test]
async fn an_event_that_lasts_through_a_time_belongs_to_it_though_its_picture_is_older() {
    let gate = Scene::new().await;
    let id = ulid::Ulid::from_parts(u64::try_from(at(100).0).unwrap(), 99);
    let lasting = async |revision: u32, phase: &str, end: Option<UtcMillis>| {
        let mut event = event_of(id, revision, phase, at(105));
        (event.data.capture.start, event.data.capture.end) = (at(100), end);
        gate.store.record(message(event, 2, None)).await.unwrap();
    };
    lasting(1, "new", None).await;
    let window = |from, to| Selection::Window { cameras: vec!["cam-1".into()], from: at(from), to: at(to) };
    let events = async |n: i64, name: &str| -> Vec<String> {
        let path = gate.make(n, name).await;
        let checked = check(&path, Some(gate.key()));
        assert!(checked.good, "{:?}", checked.faults);
        Files::unpack(&path).manifest().events.into_iter().map(|e| e.id).collect()
    };
    let early = gate.ask(window(200, 300)).await;
    assert_eq!(events(early, "lasting.zip").await, [id.to_string()]);
    lasting(2, "end", Some(at(150))).await;
    assert_eq!(events(early, "again.zip").await, [id.to_string()], "as it was when it was asked");
    assert_eq!(events(gate.ask(window(200, 300)).await, "over.zip").await, Vec::<String>::new());
    assert_eq!(events(gate.ask(window(140, 300)).await, "within.zip").await, [id.to_string()]);
}

#[tokio::test]
async fn video_that_is_still_being_written_is_said_to_be() {
    let gate = Scene::new().await;
    let now = utc_now();
    let writing =
        "INSERT INTO segment (camera, stream, path, codec, start_ms, end_ms, bytes, pictures, time_source, class,
        state, width, height, dropped, uncertainty_ms) VALUES ('cam-1', 'main', 'cam-1/open.mp4', 'h264', ?1, ?1, 0, 0,
        'rtcp_ntp', 'ring', 'writing', 1920, 1080, 0, 40)";
    sqlx::query(writing).bind(now.0 - 20_000).execute(&mut gate.sql().await).await.unwrap();
    let asked = Selection::Window { cameras: vec!["cam-1".into()], from: now.plus_ms(-10_000), to: now };
    let n = gate.ask(asked).await;
    let first = gate.make(n, "first.zip").await;
    let gaps = Files::unpack(&first).manifest().footage.remove(0).gaps;
    assert_eq!(gaps.iter().map(|g| g.why.as_str()).collect::<Vec<_>>(), ["unfinished"]);
    // Finished later: the same request says the same.
    let close = "UPDATE segment SET state = 'kept', end_ms = ?, sha256 = ? WHERE path = 'cam-1/open.mp4'";
    let sum = Sum::of(b"video").to_string();
    sqlx::query(close).bind(now.0 + 5000).bind(&sum).execute(&mut gate.sql().await).await.unwrap();
    gate.store.chain_append_once(Kind::Segment, "cam-1/open.mp4", "{}").await.unwrap();
    let again = gate.make(n, "again.zip").await;
    assert!(std::fs::read(&first).unwrap() == std::fs::read(&again).unwrap(), "byte for byte");
}

#[tokio::test]
async fn a_tip_brings_what_it_holds_and_what_the_box_said_of_it() {
    let gate = Scene::new().await;
    let held = gate.make(gate.ask(Selection::Tip { tip: "TB-1".into() }).await, "held.zip").await;
    let m = Files::unpack(&held).manifest();
    assert_eq!(m.asked.len(), 1);
    assert_eq!(m.events.iter().map(|e| &e.id).collect::<Vec<_>>(), [&gate.events[0]], "of the held camera and time");
    let data = json!({"ranges": [{"camera": "cam-2", "from": at(20), "to": at(45)}], "events": [gate.events[2]]});
    let notice = NewNotice {
        id: ulid::Ulid::generate().to_string(),
        revision: 1,
        kind: "gatewatch.correlation.v1".into(),
        subject: "tip/TB-2".into(),
        severity: 2,
        at: utc_now(),
        open: false,
        topic: topics().event(),
        lane: 2,
        data,
    };
    gate.store.record_notices(vec![notice]).await.unwrap();
    let said = gate.make(gate.ask(Selection::Tip { tip: "TB-2".into() }).await, "said.zip").await;
    let m = Files::unpack(&said).manifest();
    let ids: BTreeSet<&String> = m.events.iter().map(|e| &e.id).collect();
    assert_eq!((ids, m.notices.len()), ([&gate.events[1], &gate.events[2]].into(), 1));
    for path in [&held, &said] {
        let checked = check(path, Some(gate.key()));
        assert!(checked.good, "{:?}", checked.faults);
    }
    let n = gate.ask(Selection::Tip { tip: "TB-9".into() }).await;
    assert!(written_again(&gate, n).await.unwrap_err().to_string().contains("knows no tip TB-9"));
}

#[tokio::test]
async fn keys_hand_over_and_a_lost_key_is_said() {
    let mut gate = Scene::new().await;
    let first = gate.key();
    gate.signer.handle(&Request::new(who(), Action::RotateKey)).await.unwrap();
    let second = gate.key();
    assert_ne!(first, second);
    let path = gate.window_bundle("second.zip").await;
    for key in [first, second] {
        let checked = check(&path, Some(key));
        assert!(checked.good, "{:?}", checked.faults);
    }
    assert!(check(&path, Some(first)).notes[0].contains("handed over"));
    let foreign = check(&path, Some(PublicKey([3; 32])));
    assert_eq!(foreign.faults.iter().map(|f| f.kind).collect::<Vec<_>>(), [FaultKind::ForeignKey]);

    std::fs::remove_file(gate.dir.path().join("keys/box.pk8")).unwrap();
    gate.signer = Signer::start(gate.store.clone(), topics().chain()).await.unwrap();
    assert!(gate.signer.unvouched());
    let path = gate.window_bundle("third.zip").await;
    let trusting_old = check(&path, Some(second));
    assert_eq!(trusting_old.faults.iter().map(|f| f.kind).collect::<Vec<_>>(), [FaultKind::HandOver]);
    assert!(check(&path, Some(gate.key())).good, "whoever has the new key from elsewhere");
    assert!(check(&path, None).notes[0].contains("which was lost"));
    assert!(!Signer::start(gate.store.clone(), topics().chain()).await.unwrap().unvouched(), "said once");
}

#[tokio::test]
async fn a_rotation_that_was_cut_off_is_ended_or_undone() {
    let gate = Scene::new().await;
    let first = gate.key();
    let folder = KeyFolder::of_store(gate.dir.path());
    let never = folder.make_next().unwrap().public();
    let signer = Signer::start(gate.store.clone(), topics().chain()).await.unwrap();
    assert!(signer.public() == first && folder.next().unwrap().is_none(), "not in the chain: undone");
    // In the chain, but the file was not yet in its place.
    signer.handle(&Request::new(who(), Action::RotateKey)).await.unwrap();
    let second = signer.public();
    std::fs::rename(gate.dir.path().join("keys/box.pk8"), gate.dir.path().join("keys/box-next.pk8")).unwrap();
    let again = Signer::start(gate.store.clone(), topics().chain()).await.unwrap();
    assert_eq!((again.public(), again.unvouched()), (second, false));
    assert_ne!(again.public(), never);
}

#[tokio::test]
async fn published_heads_show_a_past_written_anew() {
    let gate = Scene::new().await;
    let path = gate.window_bundle("b.zip").await;
    let heads = published(&gate.store).await;
    assert!(heads.len() >= 4, "{}", heads.len());
    let checked = verify(&path, &Known { key: Some(gate.key()), heads: heads.clone() }, &mut |_| {}).unwrap();
    assert!(checked.good && checked.heads_compared >= 3, "{} {:?}", checked.heads_compared, checked.faults);
    // The box had published something else under that number: its key is the same, its past is not.
    let key = KeyFolder::of_store(gate.dir.path()).current().unwrap().unwrap();
    let (origin, old) = &heads[0];
    let other = Head { sha256: Sum::of(b"another past"), ..old.head.clone() }.sign(origin, &key);
    let known = Known { key: Some(gate.key()), heads: vec![(origin.clone(), other)] };
    let faults = verify(&path, &known, &mut |_| {}).unwrap().faults;
    assert_eq!(faults.len(), 1);
    assert!(faults[0].kind == FaultKind::Published && faults[0].text.contains("written anew"), "{faults:?}");
}

/// What the outbox would send to the topic of heads.
async fn published(store: &Store) -> Vec<(Origin, SignedHead)> {
    let items = store.outbox_next(10_000, &[]).await.unwrap();
    let heads = items.iter().filter(|i| i.part == Part::Message && i.topic == topics().chain());
    let read = |payload: &[u8]| -> (Origin, SignedHead) {
        let m: Value = serde_json::from_slice(payload).unwrap();
        (serde_json::from_value(m["data"].clone()).unwrap(), serde_json::from_value(m["data"]["head"].clone()).unwrap())
    };
    heads.map(|i| read(&i.payload)).collect()
}

/// What the check of the whole chain finds.
async fn chain_faults(dir: &Path) -> Vec<String> {
    let mut archive = Archive::open(dir).await.unwrap();
    archive.check_chain(1).await.unwrap().faults
}

#[tokio::test]
async fn the_box_sees_what_was_done_to_its_store() {
    let changes = [
        ("UPDATE message SET payload = replace(payload, '\"severity\":1', '\"severity\":2') WHERE seq = 1", "was changed after it was recorded"),
        ("DELETE FROM outbox; DELETE FROM message WHERE seq = 4", "was deleted from the store"),
        ("DROP TRIGGER chain_not_deleted; PRAGMA foreign_keys = OFF; DELETE FROM chain WHERE n = 5", "entry 5 is missing"),
        ("DROP TRIGGER chain_not_changed; UPDATE chain SET at_ms = at_ms - 1 WHERE n = 5", "entry 5 was changed"),
        ("DROP TRIGGER chain_not_deleted; PRAGMA foreign_keys = OFF; DELETE FROM chain WHERE n > 6; DELETE FROM message WHERE seq > 2", "the chain ends at 6"),
        ("DROP TRIGGER chain_not_deleted; PRAGMA foreign_keys = OFF; DELETE FROM chain WHERE n < 4", "its beginning is missing"),
        ("INSERT INTO message SELECT 999, 'X', 1, kind, subject, severity, rule, phase, verdict, method, topic, payload, best_ms,
          recorded_ms, NULL, NULL, NULL FROM message WHERE seq = 1", "message 999 is in the store but not in the chain"),
    ];
    for (sql, says) in changes {
        let gate = Scene::new().await;
        assert!(chain_faults(gate.dir.path()).await.is_empty());
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut gate.sql().await).await.unwrap();
        let faults = chain_faults(gate.dir.path()).await;
        assert!(faults.iter().any(|f| f.contains(says)), "{sql}: {faults:?}");
        // The agent says so at its start, goes on, and rebuilds nothing.
        let health = Arc::new(Health::default());
        let evidence = Evidence::start(gate.store.clone(), topics(), Arc::clone(&health)).await.unwrap();
        let part = health.readiness().parts["evidence"].clone();
        assert!(part.level == Level::Degraded && part.message.contains("the chain is broken"), "{part:?}");
        let alerts = gate.store.outbox_next(10_000, &[]).await.unwrap();
        let alert =
            alerts.iter().find(|i| String::from_utf8_lossy(&i.payload).contains("gatewatch.alert.chain_broken.v1"));
        let alert: Value = serde_json::from_slice(&alert.expect("an alert").payload).unwrap();
        assert_eq!((&alert["data"]["severity"], &alert["subject"]), (&json!(4), &json!("chain")));
        drop(evidence);
        assert!(!chain_faults(gate.dir.path()).await.is_empty(), "{sql}: it was made good silently");
    }
}

#[tokio::test]
async fn the_database_put_back_to_an_earlier_day_is_seen() {
    let gate = Scene::new().await;
    let copy = gate.dir.path().join("copy.db");
    sqlx::query("VACUUM INTO ?").bind(copy.to_str().unwrap()).execute(&mut gate.sql().await).await.unwrap();
    gate.event(ulid::Ulid::generate(), 1, "new", at(30), None).await;
    gate.signer.publish().await.unwrap().unwrap();
    let back = tempfile::tempdir().unwrap();
    std::fs::rename(&copy, back.path().join("gatewatch.db")).unwrap();
    std::fs::copy(gate.dir.path().join("chain-head.json"), back.path().join("chain-head.json")).unwrap();
    let older =
        |faults: Vec<String>| assert!(faults[0].contains("the database is an older copy or was cut"), "{faults:?}");
    older(chain_faults(back.path()).await);
    // However long the box goes on with it.
    let store = Store::open(options(back.path())).await.unwrap();
    let signer = Signer::start(store.clone(), topics().chain()).await.unwrap();
    for _ in 0..9 {
        store.record(message(event_of(ulid::Ulid::generate(), 1, "end", at(40)), 2, None)).await.unwrap();
        signer.publish().await.unwrap().unwrap();
    }
    let faults = chain_faults(back.path()).await;
    assert!(faults.iter().any(|f| f.contains("the chain was written anew")), "{faults:?}");
}

#[tokio::test]
async fn pruned_messages_keep_their_entries_and_held_ones_are_put_aside() {
    let gate = Scene::new().await;
    let items = gate.store.outbox_next(10_000, &[]).await.unwrap();
    gate.store.mark_delivered(&items.iter().map(|i| i.id).collect::<Vec<_>>(), utc_now()).await.unwrap();
    let pruned = gate.store.prune(utc_now().plus_ms(400 * 86_400_000)).await.unwrap();
    assert!(pruned.messages >= 10, "{pruned:?}");
    assert!(chain_faults(gate.dir.path()).await.is_empty());
    let path = gate.make(gate.ask(Selection::Tip { tip: "TB-1".into() }).await, "b.zip").await;
    let m = Files::unpack(&path).manifest();
    assert_eq!((m.events.len(), m.events[0].messages.len(), m.missing.len()), (1, 2, 0), "held: {:?}", m.missing);
    assert!(check(&path, Some(gate.key())).good);
}

#[tokio::test]
async fn an_event_of_which_a_part_is_held_is_kept_whole() {
    let gate = Scene::new().await;
    // On the first message of the third event, which ends long after.
    gate.hold("hold-2", "cam-1", (48, 55), Some("TB-2")).await;
    let items = gate.store.outbox_next(10_000, &[]).await.unwrap();
    gate.store.mark_delivered(&items.iter().map(|i| i.id).collect::<Vec<_>>(), utc_now()).await.unwrap();
    // Twice: what was put aside the first time is still of one event.
    for _ in 0..2 {
        gate.store.prune(utc_now().plus_ms(400 * 86_400_000)).await.unwrap();
    }
    let path = gate.make(gate.ask(Selection::Tip { tip: "TB-2".into() }).await, "b.zip").await;
    let m = Files::unpack(&path).manifest();
    assert_eq!((m.events.len(), m.events[0].messages.len(), m.missing.len()), (1, 2, 0), "{:?}", m.missing);
    assert!(check(&path, Some(gate.key())).good);
    // With the hold goes all of it.
    sqlx::query("UPDATE hold SET released_ms = 1").execute(&mut gate.sql().await).await.unwrap();
    gate.store.prune(utc_now().plus_ms(400 * 86_400_000)).await.unwrap();
    let mut archive = Archive::open(gate.dir.path()).await.unwrap();
    assert!(archive.messages_of(&gate.events[2]).await.unwrap().is_empty());
}

#[tokio::test]
async fn deletions_are_looked_up_by_camera_and_time() {
    let gate = Scene::new().await;
    let mut last = 0;
    for camera in ["cam-1", "cam-10", "cam-2"] {
        for start in [0, 30, 60, 90] {
            let item = json!({"path": format!("{camera}/main/{start:05}.mp4"), "camera": camera, "start": at(start),
                "end": at(start + 30), "sha256": Sum::of(b"x"), "why": "quota"});
            let (path, text) = (item["path"].as_str().unwrap(), item.to_string());
            let entry = gate.store.chain_append_once(Kind::SegmentDeleted, path, &text).await.unwrap();
            last = if camera == "cam-1" && start == 30 { entry.n } else { last };
        }
    }
    let mut archive = Archive::open(gate.dir.path()).await.unwrap();
    let mut found = async |from, to, n| {
        let entries = archive.deletions("cam-1", at(from), at(to), n).await.unwrap();
        entries.into_iter().map(|e| e.reference[14..16].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found(30, 60, i64::MAX).await, ["30"], "what only touches the time is not in it");
    assert_eq!(found(29, 61, i64::MAX).await, ["00", "30", "60"]);
    assert_eq!(found(0, 1000, last).await, ["00", "30"], "what came after the entry is not known to it");
}

#[tokio::test]
async fn a_running_agent_takes_requests_and_without_it_the_command_does_it_itself() {
    let gate = Scene::new().await;
    let dir = gate.dir.path().to_owned();
    let options = options(&dir);
    let health = Arc::new(Health::default());
    let evidence = Evidence::start(gate.store.clone(), topics(), health).await.unwrap();
    let stop = CancellationToken::new();
    let tending = tokio::spawn(evidence.tend(Duration::from_secs(3600), stop.clone()));
    let request = Request::new(who(), Action::Export { selection: window(), masked: false });
    let (entry, head) = custody::submit(&options, &topics().chain(), &request).await.unwrap();
    assert!(head.head.n >= entry.n && head.holds(&gate.store.origin()));
    assert_eq!(std::fs::read_dir(dir.join("requests")).unwrap().count(), 0, "nothing is left behind");
    let nobody = Request::new(Who { operator: "A".into(), reason: "no".into() }, Action::RotateKey);
    assert!(custody::submit(&options, &topics().chain(), &nobody).await.unwrap_err().to_string().contains("--reason"));
    // A request that is no request is answered, not left there.
    std::fs::write(dir.join("requests/x.json"), b"{}").unwrap();
    until("an answer", async || dir.join("requests/x.answer").exists().then_some(())).await;
    stop.cancel();
    tending.await.unwrap();
    gate.store.close().await.unwrap();
    drop((gate.store, gate.signer));
    let (again, _) = custody::submit(&options, &topics().chain(), &request).await.unwrap();
    assert_eq!(again, entry, "the same request once more is the same entry");
    let rotate = Request::new(who(), Action::RotateKey);
    custody::submit(&options, &topics().chain(), &rotate).await.unwrap();
    custody::submit(&options, &topics().chain(), &rotate).await.unwrap();
    let store = Store::open(options).await.unwrap();
    assert_eq!(store.chain_keys().await.unwrap().len(), 2, "one request, one new key");
}

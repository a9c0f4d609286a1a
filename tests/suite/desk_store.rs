//! Clips of the store of objects on the desk's pages, when the box is away: with real parts over S3, and in a folder with everything
//! that may be wrong with one.

use std::path::Path;

use gatewatch::camera::Codec;
use gatewatch::clock::{UtcMillis, utc_now};
use gatewatch::config::ObjectsConfig;
use gatewatch::desk::config::{BoxConfig, DatabaseConfig};
use gatewatch::evidence::keys::KeyFolder;
use gatewatch::evidence::statement::Origin;
use gatewatch::objects::clip::{self, ClipKind, ClipName, ClipNote, Digests};
use gatewatch::simulate::ServerOptions;

use crate::agent::ONE;
use crate::desk_footage::{address, plays, typed};
use crate::footage_store::told;
use crate::support::desk::{Browser, PASSWORD, Room, alert, sha256};
use crate::support::gate::{Gate, area, bay, bay_polygon, camera, own_model, serve};
use crate::support::objects::{S3, files};
use crate::support::until;
use crate::support::webdriver::Chromium;

/// Status, headers and bytes of what a player asks for.
async fn played(person: &Browser, path: &str, range: &str) -> (u16, reqwest::header::HeaderMap, Vec<u8>) {
    let mut request = person.client.get(format!("{}{path}", person.base)).header("cookie", person.cookie_header());
    if !range.is_empty() {
        request = request.header("range", range);
    }
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    (status, headers, answer.bytes().await.unwrap_or_default().to_vec())
}

fn attribute(html: &str, before: &str) -> String {
    let found = html.split(before).nth(1).unwrap_or_else(|| panic!("{before} in {html}"));
    found.split('"').next().unwrap().replace("&amp;", "&")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_plays_from_the_store_when_its_box_is_away() {
    let _alone = ONE.lock().await;
    let server = serve(bay(), Codec::H264, ServerOptions::default());
    let store = S3::start().await;
    let mut gate = None;
    let room = Room::start(DatabaseConfig::default(), |c| {
        let mut watched = camera("bay", server.url("bay"));
        watched.areas = vec![area("bay-1", bay_polygon(), 3.0)];
        let made = gate.insert(Gate::new(own_model(), c.mqtt.url.clone(), vec![watched]));
        made.config.footage.segment_s = 5;
        made.config.footage.store = Some(told(&store, 4));
        let url = format!("http://{}", made.config.http.listen.unwrap());
        c.boxes = vec![BoxConfig { office: "15BB".into(), id: "gate-01".into(), url, ..BoxConfig::default() }];
        c.store = Some(store.config());
    })
    .await;
    let mut gate = gate.unwrap();
    let mut admin = room.administrator().await;
    let mut officer = room.account(&mut admin, "an", "officer", "15BB").await;
    let mut auditor = room.account(&mut admin, "dung", "auditor", "*").await;
    let mut field = room.account(&mut admin, "cuong", "field", "15BB").await;
    let mut other = room.account(&mut admin, "giang", "officer", "20BB").await;
    gate.start();
    gate.until_ready().await;
    let began = utc_now();
    until("some video", async || (utc_now().since(began) > 20_000).then_some(())).await;
    let (from, to) = (began.0 + 2_000, began.0 + 14_000);
    let page = address(from, to);
    officer.get(&page).await;
    let hold = [("from", typed(from)), ("to", typed(to)), ("note", "nghi vấn".to_owned())];
    let hold: Vec<(&str, &str)> = hold.iter().map(|(k, v)| (*k, v.as_str())).collect();
    officer.post("/footage/15BB/gate-01/bay/hold", &hold).await.expect_status(303);
    let (name, path) =
        until("the clip in the store", async || store.objects().into_iter().find(|(n, _)| n.ends_with(".json"))).await;
    assert!(name.contains("_hold-"), "{name}");
    let clip = std::fs::read(path.with_extension("mp4")).unwrap();
    let shown = officer.get(&page).await.expect_status(200);
    assert!(!shown.has("kho lưu trữ"), "the box has it");
    assert!(gate.terminate().success());

    let away = officer.sees(&page, "Lấy từ kho lưu trữ").await;
    assert!(away.has("Trạm camera không trả lời") && away.has(&sha256(&clip)), "{}", away.text);
    assert!(!away.has("chưa kiểm được chữ ký") && !away.has("đã che vùng riêng tư"), "signed; a camera without masks");
    let player = attribute(&away.text, "src=\"/footage");
    let player = format!("/footage{player}");
    let (status, headers, body) = played(&officer, &player, "").await;
    assert_eq!((status, &headers["gatewatch-footage-source"], body == clip), (200, &"store".parse().unwrap(), true));
    assert!(headers["gatewatch-footage-from"].to_str().unwrap().starts_with("20"), "the clock of the page");
    let (status, headers, body) = played(&officer, &player, "bytes=1000-1999").await;
    assert_eq!((status, &body[..]), (206, &clip[1000..2000]));
    assert_eq!(headers["content-range"].to_str().unwrap(), format!("bytes 1000-1999/{}", clip.len()));
    assert_eq!(played(&officer, &player, &format!("bytes={}-", clip.len())).await.0, 416);
    // Who asks as before gets it too; who may not see it does not.
    let unnamed = page.replace('?', "/clip?");
    assert_eq!(played(&officer, &unnamed, "bytes=0-99").await.2, &clip[..100]);
    for (person, status) in [(&mut other, 404), (&mut field, 403)] {
        for path in [&player, &unnamed] {
            person.get(path).await.expect_status(status);
        }
    }
    let save = player.replace("/clip?", "/save?");
    officer.get(&page).await;
    officer.post(&save, &[]).await.expect_status(409);
    officer.get(&page).await;
    officer.post(&save, &[("note", "kèm biên bản số 7")]).await.expect_status(200);
    let stem = name.rsplit('/').next().unwrap().strip_suffix(".json").unwrap();
    for action in ["clip.view", "clip.save"] {
        let written = auditor.get(&format!("/audit?q={action}")).await;
        assert!(written.has(&format!("<code>{action}</code>")) && written.has("15BB/gate-01/bay"), "{action}");
        assert!(written.has(&format!("[{stem}: ")), "{action}: which clip, with all of its time: {}", written.text);
    }
    seen(&room, &page).await;
    // Nothing is shown of a time that nobody held.
    let elsewhere = officer.get(&address(from - 3_600_000, to - 3_600_000)).await;
    assert!(elsewhere.has("Trạm camera không trả lời") && !elsewhere.has("<video"));
    store.door.shut();
    assert_eq!(played(&officer, &player, "bytes=0-9").await.0, 502);
    officer.sees(&page, "Kho lưu trữ video không trả lời").await;
    room.desk.stop().await;
}

/// The clip in a browser.
async fn seen(room: &Room, page: &str) {
    let Some(browser) = Chromium::start().await else {
        println!("not seen: no browser (Debian packages `chromium` and `chromium-driver`)");
        return;
    };
    browser.look(1366, 768, false).await;
    browser.open(&room.url("/login")).await;
    browser.sign_in("an", PASSWORD).await;
    browser.open(&room.url(page)).await;
    plays(&browser, "main").await;
    browser.until("/\\d\\d:\\d\\d:\\d\\d/.test(document.querySelector('[data-clock]').textContent)").await;
    for (kind, width, height, dark) in [("", 1366, 768, false), ("-dark", 1366, 768, true), ("-phone", 390, 844, false)]
    {
        browser.look(width, height, dark).await;
        browser.picture(&format!("footage-store{kind}")).await;
        browser.is_clean(&format!("footage of the store{kind}")).await;
        browser.until("document.documentElement.scrollWidth <= innerWidth").await;
    }
    assert!(browser.complaints().await.is_empty(), "nothing that the policy refuses");
}

/// Puts a clip and its note into a folder.
fn put(root: &Path, name: &ClipName, clip: &[u8], change: impl FnOnce(&mut ClipNote)) {
    let folder = root.join(clip::folder("15BB", "gate-01", "gate", name.from));
    std::fs::create_dir_all(&folder).unwrap();
    let mut digests = Digests::default();
    digests.add(clip);
    let (bytes, sha256, blocks) = digests.done();
    let key = KeyFolder::of_store(root).make_next().unwrap();
    let mut note = ClipNote {
        origin: Origin { office: "15BB".into(), box_id: "gate-01".into(), epoch: 7 },
        camera: "gate".into(),
        kind: name.kind,
        id: name.id.clone(),
        from: name.from,
        to: name.to,
        first: name.from,
        last: name.to,
        gaps: Vec::new(),
        masks: Some(sha256),
        bytes,
        sha256,
        blocks,
        at: name.to,
        key: Some(key.public()),
        signature: None,
    };
    note.signature = Some(key.sign(&note.statement()));
    change(&mut note);
    std::fs::write(folder.join(format!("{}.mp4", name.stem())), clip).unwrap();
    std::fs::write(folder.join(format!("{}.json", name.stem())), serde_json::to_vec(&note).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_is_given_in_any_part_and_refused_where_it_is_not_the_boxs() {
    let folder = tempfile::tempdir().unwrap();
    let room = Room::start(DatabaseConfig::default(), |c| {
        c.store =
            Some(ObjectsConfig { url: format!("file://{}", folder.path().display()), ..ObjectsConfig::default() });
    })
    .await;
    let mut admin = room.administrator().await;
    let mut officer = room.account(&mut admin, "an", "officer", "15BB").await;
    let mut other = room.account(&mut admin, "giang", "officer", "20BB").await;
    let (id, second) = ("01JC0000000000000000000001", "01JC0000000000000000000002");
    room.say(vec![alert("15BB", id, 1, 3, None), alert("15BB", second, 2, 3, None)]).await;
    for id in [id, second] {
        let page = officer.sees(&format!("/alerts/{id}/footage"), "Chưa khai báo địa chỉ của trạm").await;
        assert!(!page.has("kho lưu trữ"), "nothing there yet");
    }
    let at = utc_now();
    let clip: Vec<u8> = (0..2_500_000_u32).map(|i| i.to_le_bytes()[1] ^ i.to_le_bytes()[0]).collect();
    let name = |kind, id: &str| ClipName { kind, id: id.into(), from: at.plus_ms(-15_000), to: at.plus_ms(15_000) };
    put(folder.path(), &name(ClipKind::Event, id), &clip, |_| {});
    let page = officer.sees(&format!("/alerts/{id}/footage"), "Lấy từ kho lưu trữ").await;
    assert!(page.has("Chưa khai báo địa chỉ của trạm") && page.has("đã che vùng riêng tư"), "{}", page.text);
    assert!(page.has("chưa kiểm được chữ ký"), "nothing was ever heard of the box's chain");
    let player = format!("/alerts{}", attribute(&page.text, "src=\"/alerts"));
    assert!(player.contains("stored="), "{player}");
    for path in [player.clone(), format!("/alerts/{id}/clip")] {
        let (status, _, body) = played(&officer, &path, "").await;
        assert!(status == 200 && body == clip, "{path} {status}");
    }
    for (from, to) in [(0, 1), (1_048_570, 1_048_580), (1_048_576, 2_097_152), (5, 2_499_999), (2_499_999, 2_499_999)] {
        let (status, _, body) = played(&officer, &player, &format!("bytes={from}-{to}")).await;
        assert!(status == 206 && body == clip[from..=to], "{from} to {to}: {status}, {} bytes", body.len());
    }
    other.get(&player).await.expect_status(404);
    // A clip is that of the alert, also for who types another name.
    let strange = player.replace(&format!("event-{id}"), "event-../x");
    assert_eq!(played(&officer, &strange, "").await.0, 404);

    // A byte that was changed: in its block it is noticed before anything of that block is given.
    let mp4 = files(folder.path()).into_iter().find(|(n, _)| n.ends_with(".mp4")).unwrap().1;
    let mut changed = clip.clone();
    changed[1_500_000] ^= 1;
    std::fs::write(&mp4, &changed).unwrap();
    assert_eq!(played(&officer, &player, "bytes=0-1000").await.0, 206, "another block");
    let (status, _, said) = played(&officer, &player, "bytes=1600000-1600009").await;
    assert!(status == 502 && String::from_utf8_lossy(&said).contains("không đúng mã kiểm tra"), "{status}");
    let (_, _, body) = played(&officer, &player, "").await;
    assert!(body.len() <= 1 << 20, "it breaks off: {}", body.len());
    std::fs::write(&mp4, &clip[..2_000_000]).unwrap();
    assert_eq!(played(&officer, &player, "bytes=1999990-1999999").await.0, 502, "cut off");

    // A note that somebody else wrote.
    put(folder.path(), &name(ClipKind::Event, second), &clip, |note| note.camera = "other".into());
    let page = officer.sees(&format!("/alerts/{second}/footage"), "không đúng mã kiểm tra").await;
    assert!(!page.has("<video"), "{}", page.text);
    put(folder.path(), &name(ClipKind::Event, second), &clip, |note| note.last = UtcMillis(0));
    assert!(officer.get(&format!("/alerts/{second}/footage")).await.has("không đúng mã kiểm tra"), "signed otherwise");
    room.desk.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_belongs_to_what_is_asked_and_a_damaged_one_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let room = Room::start(DatabaseConfig::default(), |c| {
        let url = format!("file://{}", folder.path().display());
        c.store = Some(ObjectsConfig { url, ..ObjectsConfig::default() });
    })
    .await;
    let mut admin = room.administrator().await;
    let mut officer = room.account(&mut admin, "an", "officer", "15BB").await;
    let mut auditor = room.account(&mut admin, "dung", "auditor", "*").await;
    let (id, other) = ("01JC0000000000000000000001", "01JC0000000000000000000002");
    room.say(vec![alert("15BB", id, 1, 3, None), alert("15BB", other, 2, 3, None)]).await;
    let footage = format!("/alerts/{id}/footage");
    officer.sees(&footage, "Chưa khai báo địa chỉ của trạm").await;
    let at = utc_now();
    let name = |kind, id: &str, from: i64, to: i64| ClipName {
        kind,
        id: id.into(),
        from: at.plus_ms(from * 1000),
        to: at.plus_ms(to * 1000),
    };
    // Another event's, of which this alert's time has a part.
    let theirs = name(ClipKind::Event, other, 5, 40);
    put(folder.path(), &theirs, b"another truck", |_| {});
    assert!(!officer.get(&footage).await.has("<video"), "not by this alert's id");
    for path in [format!("/alerts/{id}/clip"), format!("/alerts/{id}/clip?stored={}", theirs.stem())] {
        assert_eq!(played(&officer, &path, "").await.0, 404, "{path}");
    }
    // By camera and time it is given, and it is written down that all of it was.
    let second = address(at.plus_ms(8000).0, at.plus_ms(9000).0).replace("/bay?", "/gate?");
    assert_eq!(played(&officer, &second.replace('?', "/clip?"), "").await.2, b"another truck");
    let written = auditor.get("/audit?q=clip.view").await;
    let until = typed(theirs.to.0);
    assert!(written.has(&format!("[{}: ", theirs.stem())) && written.has(&format!("– {until}]")), "{}", written.text);

    // What somebody held is given, and one that is damaged is told beside it.
    let held = name(ClipKind::Hold, "h", -5, 60);
    put(folder.path(), &held, b"what somebody held", |_| {});
    let own = name(ClipKind::Event, id, -20, 20);
    put(folder.path(), &own, b"its own", |note| note.camera = "other".into());
    let page = officer.get(&footage).await;
    assert!(page.has("<video") && page.has("Một video khác trong kho lưu trữ không đúng mã kiểm tra"), "{}", page.text);
    assert!(page.has(&sha256(b"what somebody held")), "{}", page.text);
    assert_eq!(played(&officer, &format!("/alerts/{id}/clip"), "").await.2, b"what somebody held");
    // Nor does one with a note that is larger than any.
    let note = files(folder.path()).into_iter().find(|(n, _)| n.ends_with(&format!("{}.json", own.stem()))).unwrap().1;
    std::fs::File::options().write(true).open(note).unwrap().set_len((4 << 20) + 1).unwrap();
    let page = officer.get(&footage).await;
    assert!(page.has("<video") && page.has("Một video khác trong kho lưu trữ không đúng mã kiểm tra"), "{}", page.text);
    put(folder.path(), &own, b"its own", |_| {});
    let page = officer.get(&footage).await;
    assert!(page.has(&sha256(b"its own")) && !page.has("không đúng mã kiểm tra"), "{}", page.text);

    // Of clips of one time each link leads to its own.
    let page = officer.get(&second).await;
    assert!(page.has(&sha256(b"another truck")), "the shorter one is the better one: {}", page.text);
    let links: Vec<&str> = page.text.split("href=\"").filter_map(|l| l.split('"').next()).collect();
    let link = links.into_iter().find(|l| l.contains(&format!("stored={}", held.stem())));
    let link = link.unwrap_or_else(|| panic!("{}", page.text)).replace("&amp;", "&");
    let page = officer.get(&link).await.expect_status(200);
    assert!(
        page.has(&sha256(b"what somebody held")) && page.has(&format!("stored={}", theirs.stem())),
        "{}",
        page.text
    );
    room.desk.stop().await;
}

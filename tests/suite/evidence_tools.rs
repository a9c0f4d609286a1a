//! Evidence with the program itself and with tools that are not ours: the command line, OpenSSL and Python after
//! `docs/evidence.md`, and `kill -9` while the box records and somebody exports.

use std::io::{BufRead, BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gatewatch::agent::evidence::Evidence;
use gatewatch::clock::utc_now;
use gatewatch::evidence::verify::{Known, verify};
use gatewatch::evidence::zip::Reader;
use gatewatch::mqtt::Topics;
use gatewatch::store::{Archive, Store};
use gatewatch::telemetry::health::Health;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::store::{event_of, message, options};

fn topics() -> Topics {
    Topics::new("gatewatch/v1", "15BB", "gate-01")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A configuration file for the store in `dir`.
fn config(dir: &Path) -> PathBuf {
    let path = dir.join("gatewatch.toml");
    let text = format!("[site]\noffice = \"15BB\"\nbox = \"gate-01\"\n[store]\ndir = {:?}\n", dir.join("store"));
    std::fs::write(&path, text).unwrap();
    path
}

fn gatewatch(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatewatch"));
    command.arg("evidence").args(args);
    command
}

/// Arguments of an export of what cam-1 recorded.
fn export<'a>(config: &'a str, out: &'a str) -> Vec<&'a str> {
    export_since(config, out, "2020-01-01T00:00:00Z")
}

fn export_since<'a>(config: &'a str, out: &'a str, from: &'a str) -> Vec<&'a str> {
    let window = ["--camera", "cam-1", "--from", from, "--to", "2040-01-01T00:00:00Z"];
    let who = ["--operator", "Trần B", "--reason", "vụ việc 7/2026", "--out", out];
    [["export", "--config", config].as_slice(), &window, &who].concat()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

async fn some_events(dir: &Path, count: usize) {
    let store = Store::open(options(&dir.join("store"))).await.unwrap();
    for _ in 0..count {
        let event = event_of(ulid::Ulid::generate(), 1, "end", utc_now());
        store.record(message(event, 2, Some(b"a picture"))).await.unwrap();
    }
    store.close().await.unwrap();
}

fn unpack(bundle: &Path, folder: &Path) {
    let mut reader = Reader::open(Cursor::new(std::fs::read(bundle).unwrap())).unwrap();
    for item in reader.items().to_vec() {
        let path = folder.join(&item.name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, reader.read(&item, u64::MAX).unwrap()).unwrap();
    }
}

#[test]
fn the_command_exports_checks_and_says_so_by_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(some_events(dir.path(), 3));
    let (config, out) = (config(dir.path()), dir.path().join("b.zip"));
    let (config, bundle) = (config.to_str().unwrap(), out.to_str().unwrap());
    let done = gatewatch(&export(config, bundle)).output().unwrap();
    assert_eq!(code(&done), 0, "{done:?}");
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.contains("3 events") && said.contains("sha256"), "{said}");
    let again = gatewatch(&export(config, bundle)).output().unwrap();
    assert!(code(&again) == 1 && String::from_utf8_lossy(&again.stderr).contains("is there already"), "{again:?}");

    let pem = gatewatch(&["key", "--config", config]).output().unwrap();
    let key = dir.path().join("key.pem");
    std::fs::write(&key, &pem.stdout).unwrap();
    let good = gatewatch(&["verify", bundle, "--key", key.to_str().unwrap()]).output().unwrap();
    assert!(code(&good) == 0 && String::from_utf8_lossy(&good.stdout).contains("GOOD"), "{good:?}");
    let json = gatewatch(&["verify", bundle, "--json"]).output().unwrap();
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["good"], &json["events"], &json["key_compared"]), (&true.into(), &3.into(), &false.into()));

    let mut bad = std::fs::read(&out).unwrap();
    bad[1000] ^= 1;
    let copy = dir.path().join("bad.zip");
    std::fs::write(&copy, bad).unwrap();
    let found = gatewatch(&["verify", copy.to_str().unwrap()]).output().unwrap();
    assert!(code(&found) == 1 && String::from_utf8_lossy(&found.stdout).contains("FAULT: "), "{found:?}");
    assert_eq!(code(&gatewatch(&["verify", "/nowhere.zip"]).output().unwrap()), 2);

    let n = said.lines().find_map(|l| l.split("entry ").nth(1)?.split(' ').next()).unwrap().to_owned();
    let repeat = dir.path().join("again.zip");
    let args = ["export", "--config", config, "--again", &n, "--operator", "Trần B", "--reason", "bản sao thứ hai"];
    let done = gatewatch(&args).arg("--out").arg(&repeat).output().unwrap();
    assert_eq!(code(&done), 0, "{done:?}");
    assert!(std::fs::read(&repeat).unwrap() == std::fs::read(&out).unwrap(), "byte for byte");
    let log = gatewatch(&["log", "--config", config]).output().unwrap();
    let log = String::from_utf8(log.stdout).unwrap();
    let kinds: Vec<&str> = log.lines().filter_map(|l| l.split("\"do\":\"").nth(1)?.split('"').next()).collect();
    assert_eq!(kinds, ["export", "exported", "repeat", "exported"], "{log}");
    assert!(!log.contains("is there already") && log.contains("Trần B"));

    let rotate = ["rotate-key", "--config", config, "--operator", "A", "--reason", "hằng năm, định kỳ"];
    let rotated = gatewatch(&rotate).output().unwrap();
    assert!(code(&rotated) == 0 && String::from_utf8_lossy(&rotated.stdout).contains("handed over"), "{rotated:?}");
    let whole = gatewatch(&["check", "--config", config]).output().unwrap();
    assert!(code(&whole) == 0 && String::from_utf8_lossy(&whole.stdout).starts_with("chain whole"), "{whole:?}");
    let third = dir.path().join("third.zip");
    let refused = gatewatch(&args).arg("--out").arg(&third).output().unwrap();
    assert!(code(&refused) == 1 && !third.exists() && String::from_utf8_lossy(&refused.stderr).contains("export anew"));
}

#[test]
fn operator_and_reason_are_compulsory() {
    for lacks in ["--operator", "--reason"] {
        let mut args = export("x.toml", "x.zip");
        let at = args.iter().position(|a| *a == lacks).unwrap();
        args.drain(at..at + 2);
        let refused = gatewatch(&args).output().unwrap();
        assert!(code(&refused) == 2 && String::from_utf8_lossy(&refused.stderr).contains(lacks), "{refused:?}");
    }
}

#[test]
fn tools_that_are_not_ours_agree_after_the_document() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(some_events(dir.path(), 4));
    let (config, out, folder) = (config(dir.path()), dir.path().join("b.zip"), dir.path().join("unpacked"));
    let done = gatewatch(&export(config.to_str().unwrap(), out.to_str().unwrap())).output().unwrap();
    assert_eq!(code(&done), 0, "{done:?}");
    unpack(&out, &folder);
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/evidence.md")).unwrap();
    let block = |language: &str, mark: &str| {
        let fence = format!("```{language}\n");
        let blocks = text.split(&fence).skip(1).map(|b| b.split("```").next().unwrap());
        blocks.into_iter().find(|b| b.contains(mark)).unwrap_or_else(|| panic!("no {language} with {mark}")).to_owned()
    };
    let shell =
        |folder: &Path| Command::new("sh").args(["-ec", &block("sh", "pkeyutl")]).current_dir(folder).output().unwrap();
    let python = |folder: &Path| Command::new("python3").args(["-c", &block("python", "hashlib")]).arg(folder).output();
    if Command::new("openssl").arg("version").output().is_ok() {
        let good = shell(&folder);
        assert_eq!(code(&good), 0, "{good:?}");
        assert!(String::from_utf8_lossy(&good.stdout).contains("Signature Verified Successfully"), "{good:?}");
    } else {
        println!("no openssl here: not tried");
    }
    match python(&folder) {
        Ok(good) => assert!(String::from_utf8_lossy(&good.stdout).contains("entries agree"), "{good:?}"),
        Err(_) => println!("no python3 here: not tried"),
    }
    // They are no rubber stamps.
    let chain = folder.join("chain.jsonl");
    let entries = std::fs::read_to_string(&chain).unwrap();
    std::fs::write(&chain, entries.replace("\"n\":3", "\"n\":4")).unwrap();
    assert!(python(&folder).is_ok_and(|o| !o.status.success()) || python(&folder).is_err());
    std::fs::write(folder.join("signed.txt"), "gatewatch evidence bundle v1\n").unwrap();
    assert_ne!(code(&shell(&folder)), 0);
}

/// Not a test of its own: the box that `kill_9` kills. Records, publishes heads, takes requests, until it is killed.
#[test]
#[ignore = "run by kill_9_leaves_whole_chains_and_whole_bundles"]
fn child_is_a_box_until_killed() {
    let dir = PathBuf::from(std::env::var_os("GATEWATCH_BOX_CHILD").expect("set by the test that runs this"));
    runtime().block_on(async {
        let store = Store::open(options(&dir.join("store"))).await.unwrap();
        let evidence = Evidence::start(store.clone(), topics(), Arc::new(Health::default())).await.unwrap();
        tokio::spawn(evidence.tend(Duration::from_millis(300), CancellationToken::new()));
        for i in 0_u64.. {
            let event = event_of(ulid::Ulid::generate(), 1, "end", utc_now());
            store.record(message(event, 2, Some(&[i as u8; 3_000]))).await.unwrap();
            if i == 0 {
                println!("first recorded");
            }
        }
    });
}

fn start_box(dir: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "evidence_tools::child_is_a_box_until_killed", "--ignored", "--nocapture"])
        .env("GATEWATCH_BOX_CHILD", dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("first recorded")), "the box recorded something");
    child
}

/// Rounds by hand: `GATEWATCH_KILL_ROUNDS=50`.
#[test]
fn kill_9_leaves_whole_chains_and_whole_bundles() {
    let rounds: u64 = std::env::var("GATEWATCH_KILL_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(4);
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let (mut good, mut half, mut entries) = (0, 0, 0);
    for round in 0..rounds {
        let mut child = start_box(dir.path());
        let out = dir.path().join(format!("{round}.zip"));
        let from = utc_now().plus_ms(-5_000).to_rfc3339();
        let mut exporter = gatewatch(&export_since(config.to_str().unwrap(), out.to_str().unwrap(), &from))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Not waiting for anything: moments of no meaning to either, which is the point. Sometimes one lives on.
        std::thread::sleep(Duration::from_millis(40 + (round * 397) % 1900));
        let (first, second) = if round % 2 == 0 { (&mut child, &mut exporter) } else { (&mut exporter, &mut child) };
        first.kill().unwrap();
        std::thread::sleep(Duration::from_millis((round * 173) % 900));
        if round % 5 == 4 {
            // The box is dead; the exporter must manage without it.
            child.kill().unwrap();
            exporter.wait().unwrap();
        } else {
            second.kill().unwrap();
        }
        child.wait().unwrap();
        exporter.wait().unwrap();
        let part = dir.path().join(format!("{round}.zip.part"));
        half += usize::from(part.exists());
        if out.exists() {
            let checked = verify(&out, &Known::default(), &mut |_| {}).unwrap();
            assert!(checked.good, "round {round}: {:?}", checked.faults);
            good += 1;
        }
        entries = whole_chain(&dir.path().join("store"), round, entries);
        for path in [part, out] {
            let _ = std::fs::remove_file(path);
        }
    }
    println!(
        "kill -9 {rounds} times: {entries} entries, broken chains 0; {good} bundles whole, {half} half-written under .part only"
    );
}

/// The store opens after the kill and its chain is whole; more entries than before.
fn whole_chain(dir: &Path, round: u64, before: u64) -> u64 {
    runtime().block_on(async {
        Store::open(options(dir)).await.unwrap().close().await.unwrap();
        let mut archive = Archive::open(dir).await.unwrap();
        let found = archive.check_chain(1).await.unwrap();
        assert!(found.faults.is_empty(), "round {round}: {:?}", found.faults);
        assert!(found.entries > before, "round {round}: {} entries", found.entries);
        found.entries
    })
}

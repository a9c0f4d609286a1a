//! `gatewatch evidence`: export a bundle, check one, look at the chain of a box, change its key.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};

use crate::clock::UtcMillis;
use crate::config::{self, Config};
use crate::evidence::chain::{Entry, Kind};
use crate::evidence::collect::Site;
use crate::evidence::custody;
use crate::evidence::export::{self, Written};
use crate::evidence::keys::{BoxKey, KeyFolder, PublicKey};
use crate::evidence::request::{Action, Request, Selection, Who};
use crate::evidence::statement::{Origin, SignedHead};
use crate::evidence::verify::{self, Checked, Known};
use crate::footage::mask_history::MaskHistory;
use crate::mqtt::Topics;
use crate::store::{Archive, StoreOptions};

/// Arguments of `evidence`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a bundle of everything about a tip, an event, or cameras over a time. Also while the agent runs.
    Export(Export),
    /// Check a bundle: no agent, database or network. Exit code 0 = good, 1 = faults, 2 = cannot be read.
    Verify(Verify),
    /// Check the whole chain of a box against its store. Exit code 0 = whole, 1 = broken.
    Check(BoxArgs),
    /// List who asked for what and when.
    Log(BoxArgs),
    /// Print the public key of a box, to be kept elsewhere.
    Key(BoxArgs),
    /// Give the box a new key, vouched for by the old one.
    RotateKey(Rotate),
}

#[derive(Debug, clap::Args)]
struct BoxArgs {
    /// Configuration of the agent.
    #[arg(long, value_name = "FILE", default_value = "config/gatewatch.toml")]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Person {
    /// Name or number of the person who asks.
    #[arg(long, value_name = "WHO")]
    operator: String,
    /// For what, e.g. the number of the case. Written into the chain.
    #[arg(long, value_name = "WHY")]
    reason: String,
}

impl Person {
    fn who(&self) -> Who {
        Who { operator: self.operator.trim().into(), reason: self.reason.trim().into() }
    }
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["tip", "event", "camera", "again"])))]
struct Export {
    #[command(flatten)]
    of_box: BoxArgs,
    /// Everything that was found and held for a tip.
    #[arg(long, value_name = "ID")]
    tip: Option<String>,
    /// One event, with the footage around it.
    #[arg(long, value_name = "ID")]
    event: Option<String>,
    /// A camera over a time; may be given several times.
    #[arg(long, value_name = "ID", requires = "from", requires = "to")]
    camera: Vec<String>,
    /// First moment, e.g. 2026-03-02T10:00:00+07:00.
    #[arg(long, value_name = "TIME", value_parser = UtcMillis::parse_rfc3339)]
    from: Option<UtcMillis>,
    /// Last moment.
    #[arg(long, value_name = "TIME", value_parser = UtcMillis::parse_rfc3339)]
    to: Option<UtcMillis>,
    /// The bundle of an earlier export once more, byte for byte: its entry in the chain (`evidence log`).
    #[arg(long, value_name = "ENTRY")]
    again: Option<i64>,
    /// Footage before an event, seconds.
    #[arg(long, value_name = "S", default_value_t = 30)]
    before_s: u32,
    /// Footage after an event, seconds.
    #[arg(long, value_name = "S", default_value_t = 30)]
    after_s: u32,
    /// Also copies of pictures and video with the privacy masks of their cameras burnt in.
    #[arg(long)]
    masked: bool,
    #[command(flatten)]
    person: Person,
    /// The bundle's file, e.g. case-12.zip. Never replaces one.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// The bundle.
    bundle: PathBuf,
    /// Public key of the box, kept elsewhere: PEM file, or 64 hex digits.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Heads of the chain that the box published: messages of its topic `chain`, one JSON a line.
    #[arg(long, value_name = "FILE")]
    heads: Option<PathBuf>,
    /// The result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Rotate {
    #[command(flatten)]
    of_box: BoxArgs,
    #[command(flatten)]
    person: Person,
}

/// Does it.
///
/// # Errors
/// When it cannot be done; a bundle with faults is no error but an exit code.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match &args.command {
        Command::Export(args) => runtime.block_on(export_bundle(args)),
        Command::Verify(args) => verify_bundle(args),
        Command::Check(args) => runtime.block_on(check(&args.load()?)),
        Command::Log(args) => runtime.block_on(log(&args.load()?)),
        Command::Key(args) => key(&args.load()?),
        Command::RotateKey(args) => runtime.block_on(rotate(args)),
    }
}

impl BoxArgs {
    fn load(&self) -> anyhow::Result<Config> {
        // What the agent needs on top (its model, its passwords) is not needed here.
        Ok(config::inspect(&self.config, false)?.config)
    }
}

fn store_options(config: &Config) -> (StoreOptions, String) {
    let topics = Topics::new(&config.mqtt.topic_prefix, &config.site.office, &config.site.box_id);
    (StoreOptions::of(config, topics.alert()), topics.chain())
}

/// What an export takes from the configuration. Copies for others: whatever was ever masked is, and what a start of the agent
/// has not noted yet.
fn site(config: &Config) -> Site {
    let (history, masks_unknown) = match MaskHistory::read(&config.store.dir, &config.cameras) {
        Ok(history) => (history, None),
        Err(error) => {
            tracing::warn!(%error, "there are no masked copies in the bundle");
            (MaskHistory::default(), Some(error.for_others().to_owned()))
        }
    };
    let masks = config.cameras.iter().filter_map(|c| {
        let mut masks = history.ever(&c.id)?;
        masks.extend(c.privacy_masks().into_iter().filter(|m| !masks.contains(m)).collect::<Vec<_>>());
        Some((c.id.0.clone(), masks))
    });
    Site {
        name: config.site.name.clone(),
        time_zone: config.site.time_zone.clone(),
        footage: crate::footage::folder(&config.footage, &config.store),
        masks: masks.collect(),
        masks_known_since: history.known_since(),
        masks_unknown,
    }
}

fn signing_key(config: &Config) -> anyhow::Result<BoxKey> {
    let dir = &config.store.dir;
    let key = KeyFolder::of_store(dir).current()?;
    key.with_context(|| {
        format!("the box of {} has no key yet; it is made at the first start of the agent", dir.display())
    })
}

impl Export {
    fn selection(&self) -> anyhow::Result<Selection> {
        if let Some(tip) = &self.tip {
            return Ok(Selection::Tip { tip: tip.clone() });
        }
        if let Some(event) = &self.event {
            let (before_ms, after_ms) = (i64::from(self.before_s) * 1000, i64::from(self.after_s) * 1000);
            return Ok(Selection::Event { event: event.clone(), before_ms, after_ms });
        }
        let (Some(from), Some(to)) = (self.from, self.to) else { bail!("--camera needs --from and --to") };
        let mut cameras = self.camera.clone();
        cameras.sort();
        cameras.dedup();
        Ok(Selection::Window { cameras, from, to })
    }

    fn check(&self, config: &Config) -> anyhow::Result<()> {
        if self.out.exists() {
            bail!("{} is there already; nothing is replaced, choose another name", self.out.display());
        }
        let known = |id: &&String| config.cameras.iter().any(|c| c.id.0 == **id);
        if let Some(unknown) = self.camera.iter().find(|id| !known(id)) {
            // A camera that was taken out of the configuration may still have evidence.
            eprintln!("note: the configuration has no camera {unknown}; looking for what was recorded of it");
        }
        Ok(())
    }
}

async fn export_bundle(args: &Export) -> anyhow::Result<ExitCode> {
    let config = args.of_box.load()?;
    args.check(&config)?;
    let (options, topic) = store_options(&config);
    let action = match args.again {
        Some(of) => Action::Repeat { of },
        None => Action::Export { selection: args.selection()?, masked: args.masked },
    };
    let request = Request::new(args.person.who(), action);
    // First it is written down that somebody asks; only then is anything read.
    let (entry, _) = custody::submit(&options, &topic, &request).await?;
    let key = signing_key(&config)?;
    // An agent that runs beside goes first, also before the encoder of masked video.
    if let Err(error) = rustix::process::setpriority_process(None, crate::footage::masked::NICENESS) {
        tracing::warn!(%error, "the bundle is made with the priority of everything else");
    }
    let bar = progress_bar(&args.out);
    let mut progress = |done: u64, all: u64| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let n = args.again.unwrap_or(entry.n);
    let written = export::export(&config.store.dir, &site(&config), &key, n, &args.out, &mut progress).await?;
    bar.finish_and_clear();
    let file = args.out.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let done = Action::Exported { request: request.id.clone(), file, sha256: written.sha256, bytes: written.bytes };
    let told = custody::submit(&options, &topic, &Request::new(args.person.who(), done)).await;
    if let Err(error) = told.map(|_| ()).and_then(|()| written.publish(&args.out)) {
        // What is not in the chain is not handed over.
        let _ = std::fs::remove_file(&written.part);
        return Err(error);
    }
    println!("{}", summary(&args.out, &written, &entry, key.public()));
    Ok(ExitCode::SUCCESS)
}

fn progress_bar(out: &Path) -> ProgressBar {
    let bar = ProgressBar::new(0).with_message(out.display().to_string());
    let style = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    bar.with_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn summary(out: &Path, w: &Written, entry: &Entry, key: PublicKey) -> String {
    let mut text = format!(
        "{}: {} events, {} files, {} bytes\n  sha256   {}\n  request  entry {} of the chain\n  key      {} ({})",
        out.display(),
        w.events,
        w.files,
        w.bytes,
        w.sha256,
        entry.n,
        key.id(),
        key
    );
    for missing in &w.missing {
        text += &format!("\n  missing  {}: {}", missing.what, missing.why);
    }
    text
}

fn verify_bundle(args: &Verify) -> anyhow::Result<ExitCode> {
    let known =
        Known { key: args.key.as_deref().map(read_key).transpose()?, heads: read_heads(args.heads.as_deref())? };
    let length = std::fs::metadata(&args.bundle).map_or(0, |m| m.len());
    let bar = progress_bar(&args.bundle);
    bar.set_length(length);
    let checked = verify::verify(&args.bundle, &known, &mut |n| bar.inc(n));
    bar.finish_and_clear();
    let checked = match checked {
        Ok(checked) => checked,
        Err(error) => {
            eprintln!("gatewatch: {} cannot be read: {error}", args.bundle.display());
            return Ok(ExitCode::from(2));
        }
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&checked)?);
    } else {
        print!("{}", sentences(&args.bundle, &checked));
    }
    Ok(if checked.good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The result for a person.
fn sentences(bundle: &Path, c: &Checked) -> String {
    let mut text = String::new();
    for fault in &c.faults {
        text += &format!("FAULT: {}\n", fault.text);
    }
    for note in &c.notes {
        text += &format!("note: {note}\n");
    }
    for missing in &c.missing {
        text += &format!("missing, as the box says itself: {missing}\n");
    }
    let whose = c.origin.as_ref().map_or("unknown box".into(), |o| format!("box {}/{}", o.office, o.box_id));
    let counts =
        format!("{} files, {} events, {} messages, {} entries of the chain", c.files, c.events, c.messages, c.entries);
    if c.heads_compared > 0 {
        text += &format!("{} published heads agree with it\n", c.heads_compared);
    }
    let key = c.key.map_or("nobody".into(), |k| format!("key {}", k.id()));
    text + &match (c.good, c.key_compared) {
        (true, true) => format!(
            "{}: GOOD. {counts}; of {whose}, signed by {key}, which the key given vouches for\n",
            bundle.display()
        ),
        (true, false) => format!("{}: GOOD in itself. {counts}; of {whose}, signed by {key}\n", bundle.display()),
        (false, _) => format!(
            "{}: NOT GOOD, {} faults. {counts}; of {whose}, signed by {key}\n",
            bundle.display(),
            c.faults.len()
        ),
    }
}

/// A key as PEM file or digits.
fn read_key(text: &str) -> anyhow::Result<PublicKey> {
    if let Ok(key) = PublicKey::parse(text) {
        return Ok(key);
    }
    let file = std::fs::read_to_string(text)
        .with_context(|| format!("--key {text}: neither 64 hex digits nor a file that can be read"))?;
    PublicKey::parse(&file).map_err(|e| anyhow::anyhow!("--key {text}: {e}"))
}

/// Published heads: CloudEvents messages, one a line.
fn read_heads(file: Option<&Path>) -> anyhow::Result<Vec<(Origin, SignedHead)>> {
    let Some(file) = file else { return Ok(Vec::new()) };
    let text = std::fs::read_to_string(file).with_context(|| format!("--heads {}", file.display()))?;
    let mut heads = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let read = || -> Result<_, serde_json::Error> {
            let message: serde_json::Value = serde_json::from_str(line)?;
            Ok((
                serde_json::from_value(message["data"].clone())?,
                serde_json::from_value(message["data"]["head"].clone())?,
            ))
        };
        heads.push(read().with_context(|| {
            format!("--heads {}, line {}: not a message of the topic `chain`", file.display(), i + 1)
        })?);
    }
    Ok(heads)
}

async fn check(config: &Config) -> anyhow::Result<ExitCode> {
    let mut archive = Archive::open(&config.store.dir).await?;
    let found = archive.check_chain(1).await?;
    archive.close().await?;
    for fault in &found.faults {
        println!("FAULT: {fault}");
    }
    let last = found.last.map_or("no entry".into(), |(n, sum)| format!("up to entry {n} ({sum})"));
    let verdict = if found.faults.is_empty() { "whole" } else { "BROKEN" };
    println!("chain {verdict} {last}: {} entries, {} messages compared", found.entries, found.messages);
    Ok(if found.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn log(config: &Config) -> anyhow::Result<ExitCode> {
    let mut archive = Archive::open(&config.store.dir).await?;
    let entries = archive.entries_by_kind(Kind::Custody, i64::MAX).await?;
    archive.close().await?;
    for entry in entries {
        println!("{}\t{}\t{}", entry.n, entry.at.to_rfc3339(), entry.item.unwrap_or_default());
    }
    Ok(ExitCode::SUCCESS)
}

fn key(config: &Config) -> anyhow::Result<ExitCode> {
    let key = signing_key(config)?.public();
    print!("{}", key.to_pem());
    eprintln!("key {} ({key})", key.id());
    Ok(ExitCode::SUCCESS)
}

async fn rotate(args: &Rotate) -> anyhow::Result<ExitCode> {
    let config = args.of_box.load()?;
    let (options, topic) = store_options(&config);
    let old = signing_key(&config)?.public();
    custody::submit(&options, &topic, &Request::new(args.person.who(), Action::RotateKey)).await?;
    let new = signing_key(&config)?.public();
    println!(
        "key {} handed over to key {} ({new}); keep the new public key elsewhere too (`gatewatch evidence key`)",
        old.id(),
        new.id()
    );
    Ok(ExitCode::SUCCESS)
}

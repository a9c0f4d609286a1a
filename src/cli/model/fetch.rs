//! `gatewatch model fetch`: a file from the web, whole and with the digest asked for, or not at all. What a broken download
//! left (`NAME.part`) is gone on with.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode, Url};
use sha2::{Digest, Sha256};

/// Arguments of `model fetch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where from, http or https.
    pub url: Url,
    /// SHA-256 of the file, 64 hex digits; another file is refused.
    #[arg(long, value_name = "HEX", value_parser = digest)]
    pub sha256: String,
    /// File to write; without it the last part of the URL, in `models/`.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Nothing arrives for this long = broken.
const SILENCE: Duration = Duration::from_secs(30);

fn digest(text: &str) -> Result<String, String> {
    let good = text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit());
    good.then(|| text.to_ascii_lowercase()).ok_or_else(|| "must be 64 hex digits".into())
}

/// Downloads and says where the file is.
///
/// # Errors
/// When the server, the file or the digest is not good.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let out = match &args.out {
        Some(out) => out.clone(),
        None => default_file(&args.url)?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fetch(&args.url, &args.sha256, &out))?;
    println!("{} is there, sha256 {}", out.display(), args.sha256);
    Ok(())
}

fn default_file(url: &Url) -> anyhow::Result<PathBuf> {
    let name = url.path_segments().and_then(|mut s| s.next_back()).filter(|n| !n.is_empty());
    Ok(Path::new("models").join(name.context("the URL names no file; say --out FILE")?))
}

/// Brings `url` to `out`. When `out` has the digest already, nothing is asked of the server; when the transfer breaks, it
/// goes on as long as each try brings something.
///
/// # Errors
/// When nothing more comes (what came stays in `OUT.part` for the next call), or the digest is another: then nothing stays.
pub async fn fetch(url: &Url, sha256: &str, out: &Path) -> anyhow::Result<()> {
    if out.is_file() && hash_file(out)?.1 == sha256 {
        return Ok(());
    }
    if let Some(folder) = out.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let part = part_of(out);
    crate::install_crypto();
    let client = Client::builder().read_timeout(SILENCE).connect_timeout(SILENCE).build()?;
    let bar = bar();
    loop {
        let before = length(&part);
        let Err(error) = transfer(&client, url, &part, &bar).await else { break };
        let came = length(&part);
        if came <= before {
            let kept = if came > 0 {
                format!("; {came} bytes are kept, the same call goes on with them")
            } else {
                String::new()
            };
            return Err(error.context(format!("{url} cannot be fetched{kept}")));
        }
        tracing::warn!(%error, came, "the transfer broke, going on");
    }
    bar.finish_and_clear();
    let (file, found) = hash_file(&part)?;
    if found != sha256 {
        std::fs::remove_file(&part).with_context(|| part.display().to_string())?;
        bail!(
            "{url} has sha256 {found}, not {sha256}: nothing is kept. Check the address and where the digest came from"
        );
    }
    file.sync_all()?;
    std::fs::rename(&part, out).with_context(|| out.display().to_string())
}

fn part_of(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

/// One request: the rest of the file when the server gives parts, all of it anew otherwise.
async fn transfer(client: &Client, url: &Url, part: &Path, bar: &ProgressBar) -> anyhow::Result<()> {
    let have = length(part);
    let mut request = client.get(url.clone());
    if have > 0 {
        request = request.header(RANGE, format!("bytes={have}-"));
    }
    let mut answer = request.send().await?;
    if have > 0 && answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        // All of it is here, or it is of another file: the digest will tell.
        return Ok(());
    }
    let start = start_of(&answer, have)?;
    let mut file = std::fs::OpenOptions::new().create(true).write(true).truncate(false).open(part)?;
    file.set_len(start)?;
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(start))?;
    let expected = answer.content_length().map(|n| n + start);
    if let Some(all) = expected {
        bar.set_length(all);
    }
    bar.set_position(start);
    let mut came = start;
    while let Some(bytes) = answer.chunk().await? {
        file.write_all(&bytes)?;
        came += bytes.len() as u64;
        bar.set_position(came);
    }
    ensure!(expected.is_none_or(|n| n == came), "{came} of {} bytes came", expected.unwrap_or(0));
    Ok(())
}

/// Where the bytes of an answer belong.
fn start_of(answer: &Response, asked: u64) -> anyhow::Result<u64> {
    match answer.status() {
        StatusCode::OK => Ok(0),
        StatusCode::PARTIAL_CONTENT => {
            let range = answer.headers().get(CONTENT_RANGE).and_then(|v| v.to_str().ok()).unwrap_or_default();
            let first = range.strip_prefix("bytes ").and_then(|r| r.split('-').next()).and_then(|n| n.parse().ok());
            ensure!(first == Some(asked), "the server gave {range:?} where bytes from {asked} were asked for");
            Ok(asked)
        }
        other => bail!("the server answers {other}"),
    }
}

fn hash_file(path: &Path) -> anyhow::Result<(std::fs::File, String)> {
    let mut file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let (mut hash, mut block) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut block)? {
            0 => return Ok((file, hex::encode(hash.finalize()))),
            n => hash.update(&block[..n]),
        }
    }
}

/// Shown on a terminal only.
fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_checked_and_the_file_is_named_after_the_url() {
        assert!(digest("abc").is_err() && digest(&"g".repeat(64)).is_err());
        assert_eq!(digest(&"AB".repeat(32)).unwrap(), "ab".repeat(32));
        let url = |text: &str| Url::parse(text).unwrap();
        assert_eq!(default_file(&url("https://example.org/a/m.onnx?x=1")).unwrap(), Path::new("models/m.onnx"));
        assert!(default_file(&url("https://example.org/")).unwrap_err().to_string().contains("--out"));
    }
}

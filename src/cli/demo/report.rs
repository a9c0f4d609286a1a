//! What the demo did, in figures, and whether that was the main job.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::clock::UtcMillis;
use crate::config::Config;
use crate::mqtt::LiveStats;
use crate::store::{Latency, Store};
use crate::telemetry::metrics::{FRAMES_ANALYSED, FRAMES_DECODED, FRAMES_DROPPED, FRAMES_RECEIVED};

/// Frames of one camera.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Frames {
    /// Access units that came.
    pub received: u64,
    /// Frames out of the decoder.
    pub decoded: u64,
    /// Frames seen by the detector.
    pub analysed: u64,
    /// Frames lost on the way, by reason. Frames passed over because the analysis rate is lower are not lost.
    pub dropped: BTreeMap<String, u64>,
}

/// Minimum, median and so on, milliseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Percentiles {
    /// How many were measured.
    pub count: usize,
    /// Half are faster.
    pub p50_ms: i64,
    /// Nine of ten are faster.
    pub p90_ms: i64,
    /// 99 of 100 are faster.
    pub p99_ms: i64,
    /// The slowest.
    pub max_ms: i64,
}

/// What the store says.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Stored {
    /// Event messages.
    pub messages: u64,
    /// The same by `rule/phase`.
    pub by_rule_phase: BTreeMap<String, u64>,
    /// First messages by verdict of their link.
    pub by_verdict: BTreeMap<String, u64>,
    /// Messages and pictures not acknowledged at the end.
    pub undelivered: u64,
    /// Frame received to committed.
    pub frame_to_stored: Percentiles,
    /// Frame received to acknowledged by the broker.
    pub frame_to_acked: Percentiles,
}

/// The report.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Nothing is in `problems`.
    pub main_job_done: bool,
    /// What did not happen; empty when all is well.
    pub problems: Vec<String>,
    /// How long the demo ran.
    pub seconds: f64,
    /// By camera.
    pub cameras: BTreeMap<String, Frames>,
    /// What the agent wrote down.
    pub stored: Stored,
    /// What a subscriber of its own saw, that knows nothing of the agent.
    pub independent_subscriber: LiveStats,
}

impl Report {
    /// Judges the figures. `drawn` cameras must also show events linked by booking: their feed has some.
    pub fn new(cameras: BTreeMap<String, Frames>, stored: Stored, seen: LiveStats, took_ms: i64, drawn: bool) -> Self {
        let mut problems = Vec::new();
        let mut need = |ok: bool, text: String| {
            if !ok {
                problems.push(text);
            }
        };
        for (id, f) in &cameras {
            need(f.decoded > 0, format!("camera {id}: no frame was decoded"));
            need(f.analysed > 0, format!("camera {id}: no frame was analysed"));
        }
        need(stored.messages > 0, "no event happened: nothing was seen in the areas".into());
        let (sent, came) = (stored.messages, seen.event_messages);
        need(sent == came, format!("{sent} event messages were recorded, {came} arrived at the subscriber"));
        need(stored.undelivered == 0, format!("{} things were not acknowledged", stored.undelivered));
        need(seen.gaps == 0, format!("{} sequence numbers are missing", seen.gaps));
        need(seen.pictures_ok > 0, "no picture with matching digest arrived".into());
        need(seen.pictures_mismatch == 0, format!("{} pictures do not match their digest", seen.pictures_mismatch));
        need(seen.pictures_missing == 0, format!("{} pictures did not arrive", seen.pictures_missing));
        if drawn {
            let linked = seen.links_by_verdict.get("linked").copied().unwrap_or(0);
            need(linked > 0, "no event was linked to a declaration".into());
        }
        #[expect(clippy::cast_precision_loss, reason = "a demo is shorter than 2^52 ms")]
        let seconds = took_ms as f64 / 1000.0;
        Self { main_job_done: problems.is_empty(), problems, seconds, cameras, stored, independent_subscriber: seen }
    }

    /// Whether the main job was done.
    pub fn ok(&self) -> bool {
        self.main_job_done
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = &self.independent_subscriber;
        for (id, c) in &self.cameras {
            let dropped: u64 = c.dropped.values().sum();
            let Frames { received, decoded, analysed, .. } = c;
            writeln!(f, "{id}: {received} received, {decoded} decoded, {analysed} analysed, {dropped} dropped")?;
        }
        let s = &self.stored;
        writeln!(
            f,
            "{} event messages, {} arrived; by link: {:?}",
            s.messages, seen.event_messages, seen.links_by_verdict
        )?;
        writeln!(f, "{} pictures with matching digest, {} without", seen.pictures_ok, seen.pictures_mismatch)?;
        let (a, b) = (&s.frame_to_stored, &s.frame_to_acked);
        writeln!(
            f,
            "frame to stored p50 {} ms, p99 {} ms; to acknowledged p50 {} ms, p99 {} ms",
            a.p50_ms, a.p99_ms, b.p50_ms, b.p99_ms
        )?;
        if self.ok() {
            return write!(f, "The main job was done.");
        }
        write!(f, "The main job was NOT done: {}", self.problems.join("; "))
    }
}

/// Frames of each camera, from the text that Prometheus would read.
pub fn frames(metrics: &str, config: &Config) -> BTreeMap<String, Frames> {
    let of = |id: &str| {
        let total = |name: &str| samples(metrics, name, id).map(|(_, v)| v).sum();
        let dropped = samples(metrics, FRAMES_DROPPED, id).collect();
        Frames {
            received: total(FRAMES_RECEIVED),
            decoded: total(FRAMES_DECODED),
            analysed: total(FRAMES_ANALYSED),
            dropped,
        }
    };
    config.cameras.iter().map(|c| (c.id.0.clone(), of(&c.id.0))).collect()
}

/// `(reason label, value)` of each sample of a counter of one camera.
fn samples<'a>(text: &'a str, name: &'a str, camera: &'a str) -> impl Iterator<Item = (String, u64)> + 'a {
    text.lines().filter_map(move |line| {
        let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.split_once("} ")?;
        labels.contains(&format!("camera=\"{camera}\"")).then_some(())?;
        let reason = labels.split("reason=\"").nth(1).and_then(|r| r.split('"').next()).unwrap_or("");
        Some((reason.to_owned(), value.trim().parse().ok()?))
    })
}

/// Figures of the store since `began`.
///
/// # Errors
/// When it cannot be read.
pub async fn stored(store: &Store, began: UtcMillis) -> anyhow::Result<Stored> {
    let mut out = Stored { undelivered: store.outbox_stats().await?.rows, ..Stored::default() };
    for row in store.counts(began).await? {
        let count = u64::try_from(row.count)?;
        out.messages += count;
        *out.by_rule_phase.entry(format!("{}/{}", row.rule, row.phase)).or_default() += count;
        if row.phase == "new" {
            *out.by_verdict.entry(row.verdict).or_default() += count;
        }
    }
    let latencies: Vec<Latency> = store.latencies(began).await?;
    out.frame_to_stored = percentiles(latencies.iter().filter_map(|l| l.stored_ms).collect());
    out.frame_to_acked = percentiles(latencies.iter().filter_map(|l| l.acked_ms).collect());
    Ok(out)
}

fn percentiles(mut ms: Vec<i64>) -> Percentiles {
    ms.sort_unstable();
    let at = |percent: usize| ms.get((ms.len() * percent / 100).min(ms.len().saturating_sub(1))).copied().unwrap_or(0);
    Percentiles { count: ms.len(), p50_ms: at(50), p90_ms: at(90), p99_ms: at(99), max_ms: at(100) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_by_camera_and_reason() {
        let text = "gatewatch_frames_dropped_total{camera=\"bay\",reason=\"overwritten\"} 7\n\
                    gatewatch_frames_dropped_total{camera=\"lane\",reason=\"overwritten\"} 9\n";
        let got: Vec<_> = samples(text, FRAMES_DROPPED, "bay").collect();
        assert_eq!(got, [("overwritten".to_owned(), 7)]);
    }

    #[test]
    fn a_demo_without_events_is_no_success_and_says_so() {
        let report = Report::new(BTreeMap::new(), Stored::default(), LiveStats::default(), 1000, false);
        assert!(!report.ok() && report.to_string().contains("no event happened"), "{report}");
    }

    #[test]
    fn percentiles_of_a_hundred() {
        let p = percentiles((1..=100).collect());
        assert_eq!((p.p50_ms, p.p99_ms, p.max_ms), (51, 100, 100));
    }
}

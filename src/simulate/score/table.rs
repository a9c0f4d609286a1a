//! Events against truth: matched one to one by rule, area and time, and the figures of each rule.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::drills::START;
use super::play::Outcome;
use super::truth::Happened;
use crate::clock::UtcMillis;
use crate::event::{EventId, EventMessage};
use crate::rules::{Phase, RuleKind};

/// The truth is sampled so densely, milliseconds.
const SAMPLE_MS: i64 = 50;
/// Names exchanged so long before an event, seconds, may be of who is about to make it.
const BEFORE_S: f64 = 10.0;

/// Figures of one rule.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// Events that happened.
    pub happened: usize,
    /// Events that were reported.
    pub reported: usize,
    /// Of both the same.
    pub matched: usize,
    /// From the moment it could be said to the frame it was said of, milliseconds, each.
    pub delays: Vec<i64>,
    /// How far the reported length is from the true one, milliseconds, each; lasting events that were seen to end.
    pub length_errors: Vec<i64>,
    /// Exchanges of names shortly before or during these events.
    pub swaps: usize,
    /// Events that happened and that the model cannot see, since it knows none of the rule's classes. Not among the others.
    pub unserved: usize,
}

impl Row {
    /// Found of what happened, 0..1; 1 when nothing did.
    #[must_use]
    pub fn recall(&self) -> f64 {
        share(self.matched, self.happened)
    }

    /// True of what was reported, 0..1; 1 when nothing was.
    #[must_use]
    pub fn precision(&self) -> f64 {
        share(self.matched, self.reported)
    }

    /// Adds another one's figures.
    pub fn add(&mut self, other: &Self) {
        self.happened += other.happened;
        self.reported += other.reported;
        self.matched += other.matched;
        self.delays.extend(&other.delays);
        self.length_errors.extend(&other.length_errors);
        self.swaps += other.swaps;
        self.unserved += other.unserved;
    }
}

fn share(part: usize, of: usize) -> f64 {
    if of == 0 { 1.0 } else { part as f64 / of as f64 }
}

/// An event over all its messages.
struct Reported {
    rule: RuleKind,
    area: String,
    start_ms: i64,
    said_ms: i64,
    length_ms: Option<i64>,
    matched: bool,
}

/// Compares what came of a drill with its truth; starts may differ by `tolerance_ms`.
#[must_use]
pub fn score(outcome: &Outcome, truth: &[Happened], tolerance_ms: i64) -> BTreeMap<RuleKind, Row> {
    let mut reported = reported(&outcome.messages);
    let mut rows: BTreeMap<RuleKind, Row> = BTreeMap::new();
    for r in &reported {
        rows.entry(r.rule).or_default().reported += 1;
    }
    for h in truth {
        let row = rows.entry(h.rule).or_default();
        row.happened += 1;
        row.swaps += outcome.swaps.iter().filter(|t| (h.start - BEFORE_S..=h.end).contains(*t)).count();
        let off = |r: &Reported| (r.start_ms - millis(h.start)).abs();
        let candidates = reported.iter_mut().filter(|r| !r.matched && r.rule == h.rule && r.area == h.area);
        let best = candidates.min_by_key(|r| off(r)).filter(|r| off(r) <= tolerance_ms + SAMPLE_MS);
        let Some(best) = best else { continue };
        best.matched = true;
        row.matched += 1;
        row.delays.push(best.said_ms - millis(h.due));
        if h.end > h.start {
            row.length_errors.extend(best.length_ms.map(|ms| (ms - millis(h.end - h.start)).abs()));
        }
    }
    rows
}

fn reported(messages: &[EventMessage]) -> Vec<Reported> {
    let mut by_id: BTreeMap<EventId, Reported> = BTreeMap::new();
    for message in messages {
        let data = &message.data;
        let event = by_id.entry(message.id).or_insert_with(|| Reported {
            rule: data.rule,
            area: data.area.id.0.clone(),
            start_ms: since_start(data.capture.start),
            said_ms: since_start(message.time),
            length_ms: None,
            matched: false,
        });
        if data.phase == Phase::End {
            event.length_ms = data.dwell_ms;
        }
    }
    by_id.into_values().collect()
}

fn since_start(at: UtcMillis) -> i64 {
    at.since(START)
}

#[expect(clippy::cast_possible_truncation, reason = "drills last minutes")]
fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

/// The figures as text, one line a rule and one for all.
#[must_use]
pub fn table(rows: &BTreeMap<RuleKind, Row>) -> String {
    let mut out = format!(
        "{:<26} {:>5} {:>8} {:>7} {:>9} {:>9} {:>9} {:>13} {:>6}\n",
        "rule", "truth", "reported", "recall", "precision", "delay ms", "worst", "length err ms", "swaps"
    );
    let mut sum = Row::default();
    for (rule, row) in rows {
        if row.unserved > 0 && row.happened + row.reported == 0 {
            unserved(&mut out, rule.as_str(), row);
        } else {
            line(&mut out, rule.as_str(), row);
        }
        sum.add(row);
    }
    line(&mut out, "all", &sum);
    out
}

/// The figures; and beside them what has none.
fn line(out: &mut String, name: &str, row: &Row) {
    let mut delays = row.delays.clone();
    delays.sort_unstable();
    let shown = |v: Option<&i64>| v.map_or_else(|| "-".into(), i64::to_string);
    let (median, worst) = (shown(delays.get(delays.len() / 2)), shown(delays.last()));
    let length = shown(row.length_errors.iter().max());
    let _ = writeln!(
        out,
        "{name:<26} {:>5} {:>8} {:>7.3} {:>9.3} {median:>9} {worst:>9} {length:>13} {:>6}",
        row.happened,
        row.reported,
        row.recall(),
        row.precision(),
        row.swaps
    );
    if row.unserved > 0 {
        unserved(out, "  beside them", row);
    }
}

fn unserved(out: &mut String, name: &str, row: &Row) {
    let _ = writeln!(out, "{name:<26} {:>5}  not served: the model knows none of the rule's classes", row.unserved);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_some_drills_cannot_serve_shows_its_figures_beside_that() {
        let partly = Row { happened: 4, reported: 3, matched: 3, unserved: 2, ..Row::default() };
        let never = Row { unserved: 5, ..Row::default() };
        let rows = BTreeMap::from([(RuleKind::Dwell, partly), (RuleKind::ObjectLeft, never)]);
        let text = table(&rows);
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().take(5).collect()).collect();
        let want = [
            ["rule", "truth", "reported", "recall", "precision"],
            ["dwell", "4", "3", "0.750", "1.000"],
            ["beside", "them", "2", "not", "served:"],
            ["object_left", "5", "not", "served:", "the"],
            ["all", "4", "3", "0.750", "1.000"],
            ["beside", "them", "7", "not", "served:"],
        ];
        assert_eq!(lines, want, "{text}");
    }
}

//! Compares what was said with what was wrong, and prints it.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::cases::Wrong;
use super::in_time_ms;
use super::play::Said;
use crate::camera::health::Condition;
use crate::rules::Phase;

/// What became of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What was wrong.
    pub condition: Condition,
    /// Time from when it was there to when it was said.
    pub delay_ms: Option<i64>,
    /// It was said to be over once it was over, or needs no end.
    pub ended: bool,
    /// Other conditions that were said to begin.
    pub others: Vec<Condition>,
}

impl Outcome {
    /// As it must be.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.detected() && self.ended && self.others.is_empty()
    }

    /// Said, and in time.
    #[must_use]
    pub fn detected(&self) -> bool {
        self.delay_ms.is_some_and(|ms| ms <= in_time_ms(self.condition))
    }
}

/// One line of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    cases: u32,
    detected: u32,
    ended: u32,
    false_alarms: u32,
    delays_ms: Vec<i64>,
}

impl Row {
    /// Counts an outcome.
    pub fn add(&mut self, outcome: &Outcome) {
        self.cases += 1;
        self.detected += u32::from(outcome.detected());
        self.ended += u32::from(outcome.ended);
        self.false_alarms += u32::try_from(outcome.others.len()).unwrap_or(u32::MAX);
        self.delays_ms.extend(outcome.delay_ms);
    }

    /// Cases, and how many were detected in time.
    #[must_use]
    pub fn detection(&self) -> (u32, u32) {
        (self.cases, self.detected)
    }
}

/// Conditions that follow from another one and are right beside it.
fn follows(condition: Condition, from: Condition) -> bool {
    matches!(
        (condition, from),
        (Condition::ClockSuspect, Condition::ClockJump)
            | (Condition::ClockJump, Condition::ClockSuspect)
            | (Condition::SignalLost, Condition::Stalled)
    )
}

/// What became of a case in which something was wrong.
#[must_use]
pub fn judge(case: &Wrong, said: &[Said]) -> Outcome {
    let begins = || said.iter().filter(|s| s.change.phase == Phase::New);
    let first = begins().find(|s| s.change.condition == case.condition && s.at_ms >= case.from_ms);
    let mut others: Vec<Condition> = begins().map(|s| s.change.condition).collect();
    others.retain(|c| *c != case.condition && !follows(*c, case.condition));
    let twice = begins().filter(|s| s.change.condition == case.condition).skip(1);
    others.extend(twice.map(|s| s.change.condition));
    let ended = case.to_ms.is_none_or(|to| {
        let ends = said.iter().filter(|s| s.change.phase == Phase::End && s.change.condition == case.condition);
        ends.filter(|s| s.at_ms >= to).count() == 1
    });
    let delay_ms = first.map(|s| s.at_ms - case.from_ms);
    Outcome { condition: case.condition, delay_ms, ended, others }
}

/// What was said though nothing was wrong.
#[must_use]
pub fn judge_harmless(said: &[Said]) -> Vec<(i64, Condition)> {
    said.iter().filter(|s| s.change.phase == Phase::New).map(|s| (s.at_ms, s.change.condition)).collect()
}

/// The rows as text.
#[must_use]
pub fn table(rows: &BTreeMap<Condition, Row>) -> String {
    let mut out = format!(
        "{:<16} {:>6} {:>9} {:>8} {:>6} {:>16} {:>13}\n",
        "condition", "cases", "detected", "share", "ended", "delay median/max", "false alarms"
    );
    let mut all = Row::default();
    for (condition, row) in rows {
        line(&mut out, condition.as_str(), row);
        all.cases += row.cases;
        all.detected += row.detected;
        all.ended += row.ended;
        all.false_alarms += row.false_alarms;
        all.delays_ms.extend(&row.delays_ms);
    }
    line(&mut out, "all", &all);
    out
}

fn line(out: &mut String, name: &str, row: &Row) {
    let mut delays = row.delays_ms.clone();
    delays.sort_unstable();
    let seconds = |ms: Option<&i64>| ms.map_or("-".into(), |ms| format!("{:.1} s", *ms as f64 / 1000.0));
    let delay = format!("{} / {}", seconds(delays.get(delays.len() / 2)), seconds(delays.last()));
    let share = f64::from(row.detected) / f64::from(row.cases.max(1));
    let (cases, detected, ended, wrong) = (row.cases, row.detected, row.ended, row.false_alarms);
    // Writing to a string does not fail.
    let _ = writeln!(out, "{name:<16} {cases:>6} {detected:>9} {share:>8.3} {ended:>6} {delay:>16} {wrong:>13}");
}

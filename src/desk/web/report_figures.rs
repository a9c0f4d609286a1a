//! What a report says: figures, their parts, and what became of alerts; as numbers first, so that the page, a file and what was printed
//! are the same. How figures are counted: `desk/report.rs`.

use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use super::alerts::escaped;
use super::page::Ctx;
use super::parts::{self, Offices};
use super::report_cameras::Cameras;
use super::reports::Asked;
use super::sheet::{Cell, Rows};
use crate::desk::alert::REASONS;
use crate::desk::config::PercentMode;
use crate::desk::report::{self, Fact, Figures, View};

/// Which part a tip is in.
type PartOf = fn(&Fact) -> &str;

/// By what figures are divided.
pub(crate) const PARTS: [(&str, PartOf); 5] = [
    ("unit", |f| &f.unit),
    ("office", |f| &f.office),
    ("suspicion", |f| &f.suspicion),
    ("type_code", |f| &f.type_code),
    ("footage", |f| &f.footage),
];
/// What is told of each part.
const TOLD: [&str; 6] = ["issued", "settled", "violating", "violation_rate", "recovery", "fines"];
/// Acts on alerts that are counted beside dismissals; the last ones are the desk's own.
const ACTS: [&str; 6] = ["ack", "escalate", "tip", "close", "escalate_time", "unseen"];

/// A whole report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// How its rates were cut; `None` = printed by an older desk, which did not say.
    #[serde(default)]
    pub mode: Option<PercentMode>,
    pub figures: Figures,
    /// By what, with the parts.
    #[serde(default)]
    pub parts: Vec<(String, Vec<(String, Figures)>)>,
    /// `None` where the report is of some tips only, which alerts know nothing of.
    #[serde(default)]
    pub alerts: Option<Alerts>,
    /// By office; as `alerts`.
    #[serde(default)]
    pub cameras: Vec<Cameras>,
}

/// What became of the alerts of the period's duty days.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Alerts {
    pub all: i64,
    /// With which a person did anything, if only look.
    pub dealt: i64,
    /// Act, reason of a dismissal, alerts.
    pub acts: Vec<(String, String, i64)>,
}

impl Report {
    pub(crate) fn of(
        facts: &[Fact],
        asked: &Asked,
        mode: PercentMode,
        alerts: Option<Alerts>,
        cameras: Vec<Cameras>,
    ) -> Self {
        let parts =
            |(by, key): &(&str, PartOf)| ((*by).to_owned(), report::parts(facts, key, &asked.period, asked.view));
        Self {
            mode: Some(mode),
            figures: report::figures(facts, &asked.period, asked.view),
            parts: PARTS.iter().map(parts).collect(),
            alerts,
            cameras,
        }
    }

    /// As it was printed; older desks kept the figures alone.
    pub(crate) fn read(kept: &str) -> Self {
        serde_json::from_str(kept).unwrap_or_else(|_| Self {
            mode: None,
            figures: serde_json::from_str(kept).unwrap_or_default(),
            parts: Vec::new(),
            alerts: None,
            cameras: Vec::new(),
        })
    }

    pub(crate) fn part(&self, by: &str, key: &str) -> Option<&Figures> {
        let (_, parts) = self.parts.iter().find(|(b, _)| b == by)?;
        parts.iter().find(|(k, _)| k == key).map(|(_, figures)| figures)
    }
}

/// A figure as it is counted; how it is written depends on where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value {
    Tips(i64),
    Rate(i64, i64),
    Vnd(i64),
    /// Milliseconds.
    Time(Option<i64>),
}

/// One line of a report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    /// Key of its list.
    pub list: &'static str,
    pub label: &'static str,
    pub value: Value,
}

impl Value {
    pub(crate) fn text(self, ctx: &Ctx, mode: PercentMode) -> String {
        match self {
            Self::Tips(n) => n.to_string(),
            Self::Rate(part, whole) => rate(part, whole, mode),
            Self::Vnd(n) => format!("{} {}", parts::grouped(n), ctx.t("report.dong")),
            Self::Time(ms) => ms.map_or_else(|| "–".into(), |ms| parts::duration(ctx, ms)),
        }
    }

    /// More about it, in small.
    pub(crate) fn more(self, ctx: &Ctx) -> String {
        match self {
            Self::Rate(part, whole) => format!("{part}/{whole}"),
            Self::Vnd(n) => parts::amount_words(ctx, n),
            Self::Tips(_) | Self::Time(_) => String::new(),
        }
    }

    /// The number and its unit, for files.
    pub(crate) fn cells(self, ctx: &Ctx, mode: PercentMode) -> [Cell; 2] {
        let none = || Cell::from("–");
        match self {
            Self::Tips(n) => [n.into(), ctx.t("tip").into()],
            Self::Rate(part, whole) => {
                [report::hundredths(part, whole, mode).map_or_else(none, Cell::Hundredths), "%".into()]
            }
            Self::Vnd(n) => [n.into(), ctx.t("report.dong").into()],
            Self::Time(ms) => [ms.map_or_else(none, |ms| (ms / 1000).into()), ctx.t("unit.second").into()],
        }
    }
}

fn rate(part: i64, whole: i64, mode: PercentMode) -> String {
    report::percent(part, whole, mode).map_or_else(|| "–".into(), |p| format!("{p} %"))
}

/// The figures in their order.
pub(crate) fn lines(f: &Figures) -> Vec<Line> {
    let line = |list, label, value| Line { list, label, value };
    vec![
        line("issued", "report.issued", Value::Tips(f.issued)),
        line("settled", "report.settled", Value::Tips(f.settled)),
        line("open", "report.open", Value::Tips(f.open)),
        line("closed", "report.closed", Value::Tips(f.closed)),
        line("settled", "report.settlement_rate", Value::Rate(f.settled, f.issued)),
        line("violating", "report.violating", Value::Tips(f.violating)),
        line("violating", "report.violation_rate", Value::Rate(f.violating, f.settled)),
        line("recovery", "report.recovery", Value::Vnd(f.recovery_vnd)),
        line("fines", "report.fines", Value::Vnd(f.fines_vnd)),
        line("later", "report.later", Value::Vnd(f.later_vnd)),
        line("issued", "report.median_receive", Value::Time(f.median_receive_ms)),
        line("settled", "report.median_settle", Value::Time(f.median_settle_ms)),
    ]
}

/// What becomes of the third decimal of its rates.
pub(crate) fn mode_words(ctx: &Ctx, mode: PercentMode) -> &'static str {
    match mode {
        PercentMode::Truncate => ctx.t("report.mode.truncate"),
        PercentMode::Round => ctx.t("report.mode.round"),
    }
}

/// Name of a part.
fn part_name(ctx: &Ctx, offices: &Offices, by: &str, key: &str) -> String {
    if matches!(by, "unit" | "office") { offices.name(key) } else { ctx.value(by, key) }
}

/// The tables of its parts: each figure opens its list. `now`: what it would be now, beside what was printed.
pub(crate) fn part_tables(
    ctx: &Ctx,
    offices: &Offices,
    report: &Report,
    mode: PercentMode,
    asked: &Asked,
    now: Option<&Report>,
) -> Markup {
    html! {
        @for (by, parts) in report.parts.iter().filter(|(_, parts)| !parts.is_empty()) {
            @let title = ctx.value("report", &format!("by_{by}"));
            div.scroll tabindex="0" role="group" aria-label=(ctx.t("table")) { table {
                caption { (title) }
                thead { tr { th.num scope="col" { (ctx.t("report.rank")) } th scope="col" { (title) }
                    @for label in TOLD { th.num scope="col" { (ctx.value("report", label)) } }
                    @if now.is_some() { th scope="col" { (ctx.t("report.now")) } } } }
                tbody { @for (i, (key, f)) in parts.iter().enumerate() {
                    @let there = |list: &str, text: String| html! { a href={ "/reports/tips?" (asked.of(by, key)) "&list=" (list) } { (text) } };
                    tr { td.num { (i + 1) } th scope="row" { (part_name(ctx, offices, by, key)) }
                        td.num { (there("issued", f.issued.to_string())) } td.num { (there("settled", f.settled.to_string())) }
                        td.num { (there("violating", f.violating.to_string())) }
                        td.num { (rate(f.violating, f.settled, mode)) " "
                            meter min="0" max="100" value=(f.violating * 100 / f.settled.max(1)) aria-hidden="true" {} }
                        td.num { (there("recovery", parts::grouped(f.recovery_vnd))) } td.num { (there("fines", parts::grouped(f.fines_vnd))) }
                        @if let Some(now) = now { td { @if now.part(by, key) == Some(f) { (ctx.t("report.same")) } @else { strong { (ctx.t("report.changed")) } } } } }
                } }
            } }
        }
    }
}

/// The same tables as rows of a file, one under the other.
pub(crate) fn part_rows(ctx: &Ctx, offices: &Offices, report: &Report, mode: PercentMode) -> Rows {
    let mut rows = Rows::new();
    for (by, parts) in report.parts.iter().filter(|(_, parts)| !parts.is_empty()) {
        let head = [ctx.value("report", &format!("by_{by}"))].into_iter().chain(TOLD.map(|t| ctx.value("report", t)));
        rows.push(head.map(Cell::from).collect());
        for (key, f) in parts {
            let rate = Value::Rate(f.violating, f.settled).cells(ctx, mode).into_iter().next();
            let mut row: Vec<Cell> = vec![part_name(ctx, offices, by, key).into()];
            row.extend([f.issued.into(), f.settled.into(), f.violating.into()]);
            row.extend(rate);
            row.extend([f.recovery_vnd.into(), f.fines_vnd.into()]);
            rows.push(row);
        }
    }
    rows
}

/// One figure about alerts: act and reason of its list, label, alerts.
pub(crate) type AlertLine = (&'static str, &'static str, String, i64);

/// The figures about alerts in their order.
pub(crate) fn alert_lines(ctx: &Ctx, a: &Alerts) -> Vec<AlertLine> {
    let of =
        |act: &str, reason: &str| a.acts.iter().find(|(x, r, _)| x == act && r == reason).map_or(0, |(_, _, n)| *n);
    let mut lines = vec![
        ("all", "", ctx.t("report.alerts").to_owned(), a.all),
        ("dealt", "", ctx.t("report.alerts_dealt").to_owned(), a.dealt),
    ];
    lines.extend(ACTS.map(|act| (act, "", ctx.value("did", act), of(act, ""))));
    let dismissed = |reason| format!("{}: {}", ctx.value("did", "dismiss"), ctx.value("dismiss", reason));
    lines.extend(REASONS.map(|reason| ("dismiss", reason, dismissed(reason), of("dismiss", reason))));
    lines
}

/// Figures about alerts, each with its list.
pub(crate) fn alert_part(ctx: &Ctx, asked: &Asked, alerts: &Alerts) -> Markup {
    html! {
        h2 { (ctx.t("report.alerts")) }
        dl.figures { @for (act, reason, label, n) in alert_lines(ctx, alerts) {
            div.figure { dt { (label) } dd { a href={ "/reports/alerts?" (asked.address()) "&list=" (act) "&reason=" (escaped(reason)) } { (n) } } }
        } }
    }
}

/// Whether alerts are counted beside these tips: only where the report is of all of them.
pub(crate) fn counts_alerts(asked: &Asked) -> bool {
    [&asked.unit, &asked.suspicion, &asked.type_code, &asked.footage].iter().all(|of| of.is_empty())
}

/// For forms.
pub(crate) fn views() -> [&'static str; 2] {
    [View::Cohort.as_str(), View::Flow.as_str()]
}

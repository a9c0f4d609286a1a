//! Figures over tips: which tips belong to a period, and what the bulletin counts of them. Values in, values out; rows
//! come from `db/tips.rs`, pages are in `web/reports.rs`.

use jiff::civil::{self, Date};
use jiff::tz::TimeZone;

use super::config::PercentMode;

/// A tip as far as figures need it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fact {
    pub id: String,
    pub unit: String,
    pub office: String,
    pub suspicion: String,
    /// How much footage boxes found for it: `complete`, `partial`, `none` or `unanswered`.
    pub footage: String,
    /// Of its declaration; `none` where it names no declaration, `unknown` where the desk knows of none.
    pub type_code: String,
    pub issued_ms: i64,
    pub received_ms: Option<i64>,
    pub settled_ms: Option<i64>,
    /// Cancelled or merged.
    pub closed_ms: Option<i64>,
    pub violation: bool,
    /// Kind, amount, when.
    pub money: Vec<(String, i64, i64)>,
}

/// Length of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    DutyDay,
    Month,
    Quarter,
    Year,
}

impl Span {
    pub(crate) const ALL: [Self; 4] = [Self::DutyDay, Self::Month, Self::Quarter, Self::Year];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::DutyDay => "duty_day",
            Self::Month => "month",
            Self::Quarter => "quarter",
            Self::Year => "year",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// A stretch of duty days as times, `from <= t < to`: every period begins at 08:00 local time, since the duty day does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Period {
    pub from_ms: i64,
    pub to_ms: i64,
    /// `2026-03-02`, `2026-03`, `2026-Q1`, `2026`.
    pub name: String,
}

/// The period of this length that holds `day`; `None` at the ends of the calendar.
pub(crate) fn period(span: Span, day: Date, zone: &TimeZone) -> Option<Period> {
    let (year, month) = (day.year(), day.month());
    let quarter = (month - 1) / 3;
    let (first, next, name) = match span {
        Span::DutyDay => (day, day.tomorrow().ok()?, day.to_string()),
        Span::Month => (first_of(year, month)?, first_of(year, month + 1)?, format!("{year:04}-{month:02}")),
        Span::Quarter => {
            (first_of(year, quarter * 3 + 1)?, first_of(year, quarter * 3 + 4)?, format!("{year:04}-Q{}", quarter + 1))
        }
        Span::Year => (first_of(year, 1)?, first_of(year, 13)?, format!("{year:04}")),
    };
    let at = |d: Date| {
        let morning = d.to_datetime(civil::time(8, 0, 0, 0)).to_zoned_datetime(zone.clone()).ok()?;
        Some(morning.timestamp().as_millisecond())
    };
    Some(Period { from_ms: at(first)?, to_ms: at(next)?, name })
}

/// First day of a month; the 13th is the next year's first.
fn first_of(year: i16, month: i8) -> Option<Date> {
    let (year, month) = if month > 12 { (year.checked_add(1)?, month - 12) } else { (year, month) };
    Date::new(year, month, 1).ok()
}

impl Period {
    fn holds(&self, ms: i64) -> bool {
        (self.from_ms..self.to_ms).contains(&ms)
    }
}

/// What the figures are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// Tips issued in the period, and what became of them until now.
    Cohort,
    /// What happened in the period, whenever the tip was issued.
    Flow,
}

impl View {
    pub(crate) fn as_str(self) -> &'static str {
        if self == Self::Cohort { "cohort" } else { "flow" }
    }

    pub(crate) fn parse(text: &str) -> Self {
        if text == "flow" { Self::Flow } else { Self::Cohort }
    }
}

/// The figures of one period, or of one part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Figures {
    pub issued: i64,
    pub settled: i64,
    pub open: i64,
    pub closed: i64,
    pub violating: i64,
    pub recovery_vnd: i64,
    pub fines_vnd: i64,
    /// Of both, what was entered after the settlement.
    pub later_vnd: i64,
    pub median_receive_ms: Option<i64>,
    pub median_settle_ms: Option<i64>,
}

/// A figure that opens its list.
pub(crate) const MEASURES: [&str; 8] =
    ["issued", "settled", "open", "closed", "violating", "recovery", "fines", "later"];

/// Whether a tip stands behind a figure.
pub(crate) fn counts(fact: &Fact, measure: &str, period: &Period, view: View) -> bool {
    let issued = period.holds(fact.issued_ms);
    let in_view = |at: Option<i64>| match view {
        View::Cohort => issued && at.is_some(),
        View::Flow => at.is_some_and(|ms| period.holds(ms)),
    };
    match measure {
        "issued" => issued,
        "settled" => in_view(fact.settled_ms),
        "violating" => in_view(fact.settled_ms) && fact.violation,
        "closed" => in_view(fact.closed_ms),
        "open" => match view {
            View::Cohort => issued && fact.settled_ms.is_none() && fact.closed_ms.is_none(),
            // At the end of the period.
            View::Flow => {
                let done = |at: Option<i64>| at.is_some_and(|ms| ms < period.to_ms);
                fact.issued_ms < period.to_ms && !done(fact.settled_ms) && !done(fact.closed_ms)
            }
        },
        "recovery" => money(fact, "recovery", period, view, false) != 0,
        "fines" => money(fact, "fine", period, view, false) != 0,
        "later" => later(fact, period, view) != 0,
        _ => false,
    }
}

/// What a tip adds to a sum of money, so that a list adds up to its figure.
pub(crate) fn amount(fact: &Fact, kind: &str, period: &Period, view: View) -> i64 {
    money(fact, kind, period, view, false)
}

/// Sum of the entries of a kind that belong to the view; with `only_later` those after the settlement.
fn money(fact: &Fact, kind: &str, period: &Period, view: View, only_later: bool) -> i64 {
    let Some(settled) = fact.settled_ms else { return 0 };
    let belongs = |at: i64| match view {
        View::Cohort => period.holds(fact.issued_ms),
        View::Flow => period.holds(at),
    };
    let entries = fact.money.iter().filter(|(k, _, at)| k == kind && belongs(*at) && (!only_later || *at > settled));
    entries.map(|(_, amount, _)| amount).sum()
}

/// Of both, what was entered after the settlement.
pub(crate) fn later(fact: &Fact, period: &Period, view: View) -> i64 {
    ["recovery", "fine"].iter().map(|kind| money(fact, kind, period, view, true)).sum()
}

/// The figures of these tips.
pub(crate) fn figures<'a>(facts: impl IntoIterator<Item = &'a Fact>, period: &Period, view: View) -> Figures {
    let facts: Vec<&Fact> = facts.into_iter().collect();
    let count = |measure: &str| {
        let n = facts.iter().filter(|f| counts(f, measure, period, view)).count();
        i64::try_from(n).unwrap_or(i64::MAX)
    };
    let sum = |of: &dyn Fn(&Fact) -> i64| facts.iter().map(|f| of(f)).sum::<i64>();
    let settled = |f: &&&Fact| counts(f, "settled", period, view);
    Figures {
        issued: count("issued"),
        settled: count("settled"),
        open: count("open"),
        closed: count("closed"),
        violating: count("violating"),
        recovery_vnd: sum(&|f| money(f, "recovery", period, view, false)),
        fines_vnd: sum(&|f| money(f, "fine", period, view, false)),
        later_vnd: sum(&|f| later(f, period, view)),
        median_receive_ms: median(
            facts
                .iter()
                .filter(|f| counts(f, "issued", period, view))
                .filter_map(|f| Some(f.received_ms? - f.issued_ms)),
        ),
        median_settle_ms: median(facts.iter().filter(settled).filter_map(|f| Some(f.settled_ms? - f.issued_ms))),
    }
}

/// The lower middle value.
fn median(values: impl Iterator<Item = i64>) -> Option<i64> {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

/// Hundredths of a per cent; `None` when there is nothing to divide by.
pub(crate) fn hundredths(part: i64, whole: i64, mode: PercentMode) -> Option<i64> {
    if whole <= 0 {
        return None;
    }
    let (part, whole) = (i128::from(part), i128::from(whole));
    let hundredths = match mode {
        PercentMode::Truncate => part * 10_000 / whole,
        PercentMode::Round => (part * 20_000 + whole) / (2 * whole),
    };
    i64::try_from(hundredths).ok()
}

/// `91,13`: two decimals, as people here write them.
pub(crate) fn percent(part: i64, whole: i64, mode: PercentMode) -> Option<String> {
    hundredths(part, whole, mode).map(|n| format!("{},{:02}", n / 100, n % 100))
}

/// Parts of a whole by some key, with their figures: highest violation rate first, then the most settled.
pub(crate) fn parts(
    facts: &[Fact],
    key: impl Fn(&Fact) -> &str,
    period: &Period,
    view: View,
) -> Vec<(String, Figures)> {
    let mut keys: Vec<&str> = facts.iter().map(&key).collect();
    keys.sort_unstable();
    keys.dedup();
    let part = |k: &&str| ((*k).to_owned(), figures(facts.iter().filter(|f| key(f) == *k), period, view));
    let mut parts: Vec<_> = keys.iter().map(part).filter(|(_, f)| *f != Figures::default()).collect();
    parts.sort_by(|(_, a), (_, b)| {
        // a/b against c/d without dividing.
        let (left, right) = (b.violating * a.settled.max(1), a.violating * b.settled.max(1));
        left.cmp(&right).then(b.settled.cmp(&a.settled))
    });
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> TimeZone {
        TimeZone::get("Asia/Ho_Chi_Minh").unwrap()
    }

    fn year() -> Period {
        period(Span::Year, civil::date(2024, 5, 1), &zone()).unwrap()
    }

    /// The bulletin of May 2024: 107 tips, 79 settled, 72 of them with a violation, more than 2.5 billion recovered and
    /// more than 457 million in fines.
    fn bulletin() -> Vec<Fact> {
        let year = year();
        let fact = |n: i64| {
            let issued_ms = year.from_ms + n * 86_400_000;
            let violation = n < 72;
            let recovery = if n < 71 { 35_000_000 } else { 2_537_119_004 - 71 * 35_000_000 };
            let fine = if n < 71 { 6_400_000 } else { 457_311_000 - 71 * 6_400_000 };
            let at = issued_ms + 3 * 86_400_000;
            Fact {
                id: n.to_string(),
                unit: "A3K1".into(),
                office: if n % 2 == 0 { "15BB" } else { "20BB" }.into(),
                issued_ms,
                received_ms: Some(issued_ms + 600_000),
                settled_ms: (n < 79).then_some(at),
                violation,
                money: if violation {
                    vec![("recovery".into(), recovery, at), ("fine".into(), fine, at)]
                } else {
                    vec![]
                },
                ..Fact::default()
            }
        };
        (0..107).map(fact).collect()
    }

    #[test]
    fn the_bulletin_comes_out_as_printed() {
        let f = figures(&bulletin(), &year(), View::Cohort);
        assert_eq!((f.issued, f.settled, f.open, f.violating), (107, 79, 28, 72));
        assert_eq!(percent(f.violating, f.settled, PercentMode::Truncate).unwrap(), "91,13");
        assert_eq!(percent(f.settled, f.issued, PercentMode::Truncate).unwrap(), "73,83");
        assert_eq!((f.recovery_vnd, f.fines_vnd, f.later_vnd), (2_537_119_004, 457_311_000, 0));
        assert_eq!(percent(72, 79, PercentMode::Round).unwrap(), "91,14", "why the mode is explicit");
        assert_eq!(percent(1, 0, PercentMode::Truncate), None);
        assert_eq!((f.median_receive_ms, f.median_settle_ms), (Some(600_000), Some(3 * 86_400_000)));
    }

    #[test]
    fn every_figure_is_as_long_as_its_list() {
        let facts = bulletin();
        for view in [View::Cohort, View::Flow] {
            let f = figures(&facts, &year(), view);
            let list = |m: &str| facts.iter().filter(|x| counts(x, m, &year(), view)).count() as i64;
            assert_eq!(
                [f.issued, f.settled, f.open, f.closed, f.violating],
                ["issued", "settled", "open", "closed", "violating"].map(list)
            );
        }
    }

    #[test]
    fn money_that_comes_later_restates_the_cohort_and_flows_in_its_own_period() {
        let mut facts = bulletin();
        let next = period(Span::Year, civil::date(2025, 2, 1), &zone()).unwrap();
        facts[0].money.push(("recovery".into(), 1_000_000, next.from_ms));
        facts[0].money.push(("recovery".into(), -400_000, next.from_ms + 1));
        let cohort = figures(&facts, &year(), View::Cohort);
        assert_eq!((cohort.recovery_vnd, cohort.later_vnd), (2_537_719_004, 600_000));
        assert_eq!(figures(&facts, &year(), View::Flow).recovery_vnd, 2_537_119_004);
        let flow = figures(&facts, &next, View::Flow);
        assert_eq!((flow.issued, flow.settled, flow.recovery_vnd, flow.open), (0, 0, 600_000, 28));
    }

    #[test]
    fn periods_are_made_of_duty_days() {
        let at = |ms: i64| crate::clock::UtcMillis(ms).to_rfc3339();
        let p = |span, day: &str| period(span, day.parse().unwrap(), &zone()).unwrap();
        let day = p(Span::DutyDay, "2026-03-02");
        assert_eq!(
            (at(day.from_ms).as_str(), at(day.to_ms).as_str()),
            ("2026-03-02T01:00:00.000Z", "2026-03-03T01:00:00.000Z")
        );
        let quarter = p(Span::Quarter, "2026-12-31");
        assert_eq!((quarter.name.as_str(), at(quarter.to_ms).as_str()), ("2026-Q4", "2027-01-01T01:00:00.000Z"));
        assert_eq!(
            (p(Span::Month, "2026-02-10").name, p(Span::Year, "2026-02-10").name),
            ("2026-02".into(), "2026".into())
        );
    }

    #[test]
    fn parts_are_ranked_by_violation_rate_and_together_are_the_whole() {
        let mut facts = bulletin();
        facts[0].unit = "A1K2".into();
        let parts = parts(&facts, |f| &f.unit, &year(), View::Cohort);
        assert_eq!(
            parts.iter().map(|(k, f)| (k.as_str(), f.violating, f.settled)).collect::<Vec<_>>(),
            [("A1K2", 1, 1), ("A3K1", 71, 78)]
        );
    }
}

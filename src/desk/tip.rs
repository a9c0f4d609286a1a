//! The life of a tip (tin báo): its steps, what each needs, and money lines. Values in, values out; rows are in
//! `db/tips.rs`, who may take which step is in `access.rs`.
//!
//! ```text
//! draft ─issue→ issued ─receive→ received ─start→ checking ─report→ reported ─settle→ settled
//! issued, received, checking ─cancel(reason)→ cancelled      any open ─merge→ merged
//! reported ─return(reason)→ checking                          settled ─reopen(reason)→ checking
//! ```
//!
//! Who reported does not settle. What is cancelled or merged counts in no figure and takes no further entries: so it has no
//! money left, and no stop of its goods stands.

/// Where a tip is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Draft,
    Issued,
    Received,
    Checking,
    Reported,
    Settled,
    Cancelled,
    Merged,
}

impl State {
    pub(crate) const ALL: [Self; 8] = [
        Self::Draft,
        Self::Issued,
        Self::Received,
        Self::Checking,
        Self::Reported,
        Self::Settled,
        Self::Cancelled,
        Self::Merged,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Issued => "issued",
            Self::Received => "received",
            Self::Checking => "checking",
            Self::Reported => "reported",
            Self::Settled => "settled",
            Self::Cancelled => "cancelled",
            Self::Merged => "merged",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Still to be worked on.
    pub(crate) fn is_open(self) -> bool {
        !matches!(self, Self::Settled | Self::Cancelled | Self::Merged)
    }
}

/// Results of a settled tip.
pub(crate) const RESULTS: [&str; 3] = ["violation", "no_violation", "undetermined"];
/// What a tip suspects.
pub(crate) const SUSPICIONS: [&str; 8] =
    ["name_code", "quantity", "value", "origin", "prohibited", "unreleased", "route_seal", "other"];
/// What the addressed office did or is asked to do. `release` lifts a stop: it ends that measure and is none of its own.
#[cfg(test)]
pub(crate) const ACTIONS: [&str; 7] =
    ["request_channel", "request_sample", "stop", "release", "inspect", "lab", "comment"];
/// Measures to begin with; a `comment` is done when it is written.
pub(crate) const MEASURES: [&str; 6] = ["request_channel", "request_sample", "stop", "inspect", "lab", "comment"];
/// Kinds of money lines.
pub(crate) const MONEY: [&str; 3] = ["recovery", "fine", "other"];

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Issue,
    Receive,
    Start,
    Report {
        text: String,
    },
    Return {
        reason: String,
    },
    Settle {
        result: String,
        text: String,
        basis: String,
        no_amount: bool,
    },
    Reopen {
        reason: String,
    },
    Cancel {
        reason: String,
    },
    /// `into`: number of the tip that stays.
    Merge {
        into: String,
    },
}

impl Step {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Issue => "issue",
            Self::Receive => "receive",
            Self::Start => "start",
            Self::Report { .. } => "report",
            Self::Return { .. } => "return",
            Self::Settle { .. } => "settle",
            Self::Reopen { .. } => "reopen",
            Self::Cancel { .. } => "cancel",
            Self::Merge { .. } => "merge",
        }
    }
}

/// What a step is judged by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Names a declaration or says in words what it is about.
    pub has_object: bool,
    pub has_office: bool,
    pub has_due: bool,
    /// Money lines that count.
    pub has_money: bool,
    /// Its goods are stopped at the exit.
    pub is_stopped: bool,
    /// Who takes the step is who reported.
    pub is_reporter: bool,
}

/// What a tip calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// The office must receive it.
    New,
    /// The office must check it again.
    Returned,
    /// Nobody received it in time: the leaders of both sides must know.
    Late,
}

impl Call {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 3] = [Self::New, Self::Returned, Self::Late];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Returned => "returned",
            Self::Late => "late",
        }
    }

    /// What a tip calls for after a step.
    pub(crate) fn after(step: &Step) -> Option<Self> {
        match step {
            Step::Issue => Some(Self::New),
            Step::Return { .. } | Step::Reopen { .. } => Some(Self::Returned),
            _ => None,
        }
    }
}

/// Steps of the office that checks; all others are the issuing unit's.
pub(crate) fn is_work(step: &str) -> bool {
    matches!(step, "receive" | "start" | "report")
}

/// Why a step is not taken; the key of a sentence in `words.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    WrongState,
    NeedsObject,
    NeedsOffice,
    NeedsDue,
    NeedsReason,
    NeedsText,
    NeedsResult,
    NeedsBasis,
    Amount,
    Reversed,
    HasMoney,
    Stopped,
    Reporter,
}

impl Refusal {
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::WrongState => "refusal.state",
            Self::NeedsObject => "refusal.object",
            Self::NeedsOffice => "refusal.office",
            Self::NeedsDue => "refusal.due",
            Self::NeedsReason => "refusal.reason",
            Self::NeedsText => "refusal.text",
            Self::NeedsResult => "refusal.result",
            Self::NeedsBasis => "refusal.basis",
            Self::Amount => "refusal.amount",
            Self::Reversed => "refusal.reversed",
            Self::HasMoney => "refusal.has_money",
            Self::Stopped => "refusal.stop_stands",
            Self::Reporter => "refusal.reporter",
        }
    }
}

/// The state after a step, or why not.
pub(crate) fn step(state: State, step: &Step, facts: &Facts) -> Result<State, Refusal> {
    use State::{Cancelled, Checking, Draft, Issued, Merged, Received, Reported, Settled};
    match (state, step) {
        (Draft, Step::Issue) => may_issue(facts).map(|()| Issued),
        (Issued, Step::Receive) => Ok(Received),
        (Received, Step::Start) => Ok(Checking),
        (Checking, Step::Report { text }) => filled(text, Refusal::NeedsText).map(|()| Reported),
        (Reported, Step::Return { reason }) | (Settled, Step::Reopen { reason }) => {
            filled(reason, Refusal::NeedsReason).map(|()| Checking)
        }
        (Reported, Step::Settle { .. }) if facts.is_reporter => Err(Refusal::Reporter),
        (Reported, Step::Settle { result, basis, no_amount, .. }) => {
            may_settle(result, basis, *no_amount, facts).map(|()| Settled)
        }
        (Issued | Received | Checking, Step::Cancel { reason }) => {
            filled(reason, Refusal::NeedsReason).and_then(|()| leaves_nothing(facts)).map(|()| Cancelled)
        }
        (s, Step::Merge { .. }) if s.is_open() => leaves_nothing(facts).map(|()| Merged),
        _ => Err(Refusal::WrongState),
    }
}

/// Steps that `state` knows at all, for the buttons of a page.
pub(crate) fn steps(state: State) -> &'static [&'static str] {
    match state {
        State::Draft => &["issue", "merge"],
        State::Issued => &["receive", "cancel", "merge"],
        State::Received => &["start", "cancel", "merge"],
        State::Checking => &["report", "cancel", "merge"],
        State::Reported => &["settle", "return", "merge"],
        State::Settled => &["reopen"],
        State::Cancelled | State::Merged => &[],
    }
}

fn may_issue(facts: &Facts) -> Result<(), Refusal> {
    match facts {
        Facts { has_object: false, .. } => Err(Refusal::NeedsObject),
        Facts { has_office: false, .. } => Err(Refusal::NeedsOffice),
        Facts { has_due: false, .. } => Err(Refusal::NeedsDue),
        _ => Ok(()),
    }
}

fn may_settle(result: &str, basis: &str, no_amount: bool, facts: &Facts) -> Result<(), Refusal> {
    if !RESULTS.contains(&result) {
        return Err(Refusal::NeedsResult);
    }
    let grounded = !basis.trim().is_empty() || facts.has_money || no_amount;
    if result == "violation" && !grounded { Err(Refusal::NeedsBasis) } else { Ok(()) }
}

/// Of what ends without a settlement, money would be counted nowhere and a stop could never be lifted.
fn leaves_nothing(facts: &Facts) -> Result<(), Refusal> {
    match facts {
        Facts { has_money: true, .. } => Err(Refusal::HasMoney),
        Facts { is_stopped: true, .. } => Err(Refusal::Stopped),
        _ => Ok(()),
    }
}

fn filled(text: &str, otherwise: Refusal) -> Result<(), Refusal> {
    if text.trim().is_empty() { Err(otherwise) } else { Ok(()) }
}

/// One entry of a tip's money. Whole đồng.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Money {
    pub id: String,
    pub kind: String,
    pub amount_vnd: i64,
    pub decision: String,
    pub decl_key: Option<String>,
    pub at_ms: i64,
    pub account: String,
    pub reverses: Option<String>,
}

/// Whole đồng as people write them: `2.500.000`, `2 500 000` or `2500000`.
pub(crate) fn read_amount(text: &str) -> Result<i64, Refusal> {
    let digits: String = text.chars().filter(|c| !matches!(c, '.' | ' ' | ',' | '\u{a0}')).collect();
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let amount =
        plain.then(|| digits.parse::<i64>().ok()).flatten().filter(|n| (1..=1_000_000_000_000_000).contains(n));
    amount.ok_or(Refusal::Amount)
}

/// The amount that takes `entry` back: only what is no reversal itself, and each once.
pub(crate) fn reversal(entry: &Money, all: &[Money]) -> Result<i64, Refusal> {
    let taken = all.iter().any(|m| m.reverses.as_deref() == Some(&entry.id));
    if taken || entry.reverses.is_some() { Err(Refusal::Reversed) } else { Ok(-entry.amount_vnd) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Facts = Facts {
        has_object: true,
        has_office: true,
        has_due: true,
        has_money: false,
        is_stopped: false,
        is_reporter: false,
    };

    fn settle(result: &str, basis: &str, no_amount: bool) -> Step {
        Step::Settle { result: result.into(), text: String::new(), basis: basis.into(), no_amount }
    }

    fn all_steps() -> Vec<Step> {
        let text = || "x".to_owned();
        vec![
            Step::Issue,
            Step::Receive,
            Step::Start,
            Step::Report { text: text() },
            Step::Return { reason: text() },
            settle("violation", "x", false),
            Step::Reopen { reason: text() },
            Step::Cancel { reason: text() },
            Step::Merge { into: text() },
        ]
    }

    #[test]
    fn the_whole_table_of_states_and_steps() {
        let mut table = String::new();
        for state in State::ALL {
            for s in all_steps() {
                let next = step(state, &s, &FULL);
                assert_eq!(next.is_ok(), steps(state).contains(&s.name()), "{state:?} {}", s.name());
                if let Ok(next) = next {
                    table += &format!("{} {} {}\n", state.as_str(), s.name(), next.as_str());
                }
            }
        }
        let want = "draft issue issued\ndraft merge merged\nissued receive received\nissued cancel cancelled\n\
                    issued merge merged\nreceived start checking\nreceived cancel cancelled\nreceived merge merged\n\
                    checking report reported\nchecking cancel cancelled\nchecking merge merged\n\
                    reported return checking\nreported settle settled\nreported merge merged\nsettled reopen checking\n";
        assert_eq!(table, want);
    }

    #[test]
    fn a_step_says_what_it_lacks() {
        let lacks = |f: Facts| step(State::Draft, &Step::Issue, &f).unwrap_err();
        assert_eq!(lacks(Facts { has_object: false, ..FULL }), Refusal::NeedsObject);
        assert_eq!(lacks(Facts { has_office: false, ..FULL }), Refusal::NeedsOffice);
        assert_eq!(lacks(Facts { has_due: false, ..FULL }), Refusal::NeedsDue);
        let reported = |s: &Step, f: &Facts| step(State::Reported, s, f);
        assert_eq!(reported(&settle("guilty", "x", false), &FULL), Err(Refusal::NeedsResult));
        assert_eq!(reported(&settle("violation", " ", false), &FULL), Err(Refusal::NeedsBasis));
        assert!(reported(&settle("violation", "", true), &FULL).is_ok());
        assert!(reported(&settle("violation", "", false), &Facts { has_money: true, ..FULL }).is_ok());
        assert!(reported(&settle("no_violation", "", false), &FULL).is_ok());
        assert_eq!(reported(&Step::Return { reason: " ".into() }, &FULL), Err(Refusal::NeedsReason));
        assert_eq!(step(State::Checking, &Step::Report { text: String::new() }, &FULL), Err(Refusal::NeedsText));
    }

    #[test]
    fn what_ends_without_a_settlement_leaves_no_money_and_no_stop_behind() {
        let (merge, cancel) = (Step::Merge { into: "x".into() }, Step::Cancel { reason: "x".into() });
        let (money, stopped) = (Facts { has_money: true, ..FULL }, Facts { is_stopped: true, ..FULL });
        for state in [State::Issued, State::Received, State::Checking] {
            for s in [&merge, &cancel] {
                assert_eq!(step(state, s, &money), Err(Refusal::HasMoney), "{state:?} {}", s.name());
                assert_eq!(step(state, s, &stopped), Err(Refusal::Stopped), "{state:?} {}", s.name());
            }
        }
        assert_eq!(step(State::Reported, &settle("violation", "x", false), &stopped), Ok(State::Settled));
    }

    #[test]
    fn who_reported_does_not_settle() {
        let reporter = Facts { is_reporter: true, ..FULL };
        assert_eq!(step(State::Reported, &settle("violation", "x", false), &reporter), Err(Refusal::Reporter));
        assert!(step(State::Reported, &Step::Return { reason: "x".into() }, &reporter).is_ok());
    }

    #[test]
    fn money_is_whole_and_taken_back_once() {
        assert_eq!(read_amount("2.500.000"), Ok(2_500_000));
        assert_eq!(read_amount("1 000"), Ok(1000));
        for bad in ["", "0", "-5", "1e9", "99999999999999999999", "12₫"] {
            assert_eq!(read_amount(bad), Err(Refusal::Amount), "{bad}");
        }
        let line = |id: &str, amount, reverses: Option<&str>| Money {
            id: id.into(),
            kind: "fine".into(),
            amount_vnd: amount,
            decision: String::new(),
            decl_key: None,
            at_ms: 0,
            account: String::new(),
            reverses: reverses.map(Into::into),
        };
        let first = line("a", 5, None);
        assert_eq!(reversal(&first, std::slice::from_ref(&first)), Ok(-5));
        let back = line("b", -5, Some("a"));
        assert_eq!(reversal(&first, &[first.clone(), back.clone()]), Err(Refusal::Reversed));
        assert_eq!(reversal(&back, &[first.clone(), back.clone()]), Err(Refusal::Reversed));
    }
}

//! The life of an alert: which steps there are, who may take them when, and what they make of it. Values in, values
//! out; rows are in `db/alerts.rs`, who may do what at all is in `access.rs`.
//!
//! ```text
//! new ─look→ seen ─acknowledge→ acked ─close→ closed(information)   severity 4: with a note, and
//! new, seen, acked ─dismiss(reason)→ closed(dismissed)      a second person must agree to either
//! new, seen, acked ─draft of a tip→ acked
//! any open ─escalate(reason)→ the same, at the shift leader  new for too long ─→ escalated by the desk
//! seen, acked ─tip→ closed(tip)                              then, when the duty day ends, ─→ unseen
//! any ─graver→ new                                           closed ─new facts that matter→ new
//! ```

/// Reasons of a dismissal; `other` needs words.
pub(crate) const REASONS: [&str; 7] = ["false_alarm", "weather", "permitted", "duplicate", "test", "handled", "other"];

/// Where an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nobody looked.
    New,
    /// Somebody looked.
    Seen,
    /// Somebody took it on.
    Acked,
    /// Done.
    Closed,
    /// Nobody looked in its duty day; still open, and counted.
    Unseen,
}

impl State {
    pub(crate) const ALL: [Self; 5] = [Self::New, Self::Seen, Self::Acked, Self::Closed, Self::Unseen];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Seen => "seen",
            Self::Acked => "acked",
            Self::Closed => "closed",
            Self::Unseen => "unseen",
        }
    }

    /// As stored; what is not known counts as not looked at.
    pub(crate) fn parse(text: &str) -> Self {
        Self::ALL.into_iter().find(|s| s.as_str() == text).unwrap_or(Self::New)
    }
}

/// What decides about an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Core {
    pub state: State,
    pub outcome: Option<String>,
    pub severity: i64,
    pub escalated_ms: Option<i64>,
    /// Who asked to end it, where that needs a second person.
    pub asked_by: Option<String>,
    pub closed_ms: Option<i64>,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Look,
    Acknowledge,
    Dismiss {
        reason: String,
        note: String,
    },
    Escalate {
        note: String,
    },
    /// Nobody looked for too long.
    EscalateByTime,
    /// Somebody drafts a tip of it, which is his word that he has taken it on, and no more: a draft need never be issued.
    Draft {
        number: String,
    },
    /// A tip that was raised from it is issued: what follows is the tip's. Not where it became graver, or was opened again, since
    /// its draft and nobody has looked: the tip may know nothing of that.
    Tip {
        number: String,
    },
    /// Known and done; nothing to do.
    Close {
        note: String,
    },
    /// Nobody looked until the end of the duty day.
    EndOfDay,
    /// The box says something new. Reopens what is closed when it `matters`. `of_tip`: it is graver for no other reason than
    /// that the box now knows the tip which was raised from this alert.
    News {
        severity: i64,
        matters: bool,
        of_tip: bool,
    },
}

/// What goes into the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub action: &'static str,
    pub reason: String,
    pub note: String,
}

/// Why a step is not taken; the key of a sentence in `words.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Closed,
    NeedsReason,
    NeedsNote,
    NeedsSecondPerson,
    NotAcknowledged,
}

impl Refusal {
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Closed => "refusal.closed",
            Self::NeedsReason => "refusal.reason",
            Self::NeedsNote => "refusal.note",
            Self::NeedsSecondPerson => "refusal.second",
            Self::NotAcknowledged => "refusal.not_acked",
        }
    }
}

/// Takes a step. `None` = nothing changes and nothing is written.
pub(crate) fn step(core: &Core, step: &Step, who: &str, now_ms: i64) -> Result<Option<(Core, Entry)>, Refusal> {
    let open = core.state != State::Closed;
    let mut next = core.clone();
    let entry = match step {
        Step::Look if matches!(core.state, State::New | State::Unseen) => {
            next.state = State::Seen;
            entry("look", "", "")
        }
        Step::Look => return Ok(None),
        Step::Acknowledge if core.state == State::Acked => return Ok(None),
        Step::Acknowledge if open => {
            next.state = State::Acked;
            entry("ack", "", "")
        }
        Step::Dismiss { reason, note } if open => return dismiss(core, reason, note, who, now_ms).map(Some),
        Step::Escalate { note } if open => {
            if note.trim().is_empty() {
                return Err(Refusal::NeedsNote);
            }
            next.escalated_ms = Some(now_ms);
            entry("escalate", "", note)
        }
        Step::EscalateByTime if core.state == State::New && core.escalated_ms.is_none() => {
            next.escalated_ms = Some(now_ms);
            entry("escalate_time", "", "")
        }
        Step::Draft { number } if open => {
            next.state = State::Acked;
            entry("tip_draft", "", number)
        }
        Step::Tip { number } if matches!(core.state, State::Seen | State::Acked) => {
            close(&mut next, "tip", now_ms);
            entry("tip", "", number)
        }
        Step::Close { .. } if open && core.state != State::Acked => return Err(Refusal::NotAcknowledged),
        Step::Close { note } if open => {
            if core.severity >= 4 && note.trim().is_empty() {
                return Err(Refusal::NeedsNote);
            }
            return end(core, ("information", "close", "close_ask"), ("", note), who, now_ms).map(Some);
        }
        Step::EndOfDay if core.state == State::New => {
            next.state = State::Unseen;
            entry("unseen", "", "")
        }
        Step::EscalateByTime | Step::EndOfDay | Step::Draft { .. } | Step::Tip { .. } => return Ok(None),
        Step::News { severity, matters, of_tip } => return Ok(news(core, *severity, *matters, *of_tip)),
        _ => return Err(Refusal::Closed),
    };
    Ok(Some((next, entry)))
}

fn dismiss(core: &Core, reason: &str, note: &str, who: &str, now_ms: i64) -> Result<(Core, Entry), Refusal> {
    if !REASONS.contains(&reason) {
        return Err(Refusal::NeedsReason);
    }
    if reason == "other" && note.trim().is_empty() {
        return Err(Refusal::NeedsNote);
    }
    end(core, ("dismissed", "dismiss", "dismiss_ask"), (reason, note), who, now_ms)
}

/// Ends it; what is critical only when a second person agrees that it is over, whatever either of them calls it.
fn end(
    core: &Core,
    (outcome, ends, asks): (&str, &'static str, &'static str),
    (reason, note): (&str, &str),
    who: &str,
    now_ms: i64,
) -> Result<(Core, Entry), Refusal> {
    let mut next = core.clone();
    let action = match core.asked_by.as_deref() {
        Some(first) if core.severity >= 4 && first == who => return Err(Refusal::NeedsSecondPerson),
        None if core.severity >= 4 => {
            next.asked_by = Some(who.to_owned());
            next.state = State::Acked;
            asks
        }
        _ => {
            close(&mut next, outcome, now_ms);
            ends
        }
    };
    Ok((next, entry(action, reason, note)))
}

/// What is graver than anybody knew is new again, whoever looked at it or took it on: it rings and goes up like any other.
fn news(core: &Core, severity: i64, matters: bool, of_tip: bool) -> Option<(Core, Entry)> {
    let graver = severity > core.severity && !of_tip;
    let said = match core.state {
        State::Closed if matters || graver => "reopen",
        State::Closed => "news",
        _ if graver => "raised",
        _ => "news",
    };
    let mut next = Core { severity, ..core.clone() };
    if said != "news" {
        next = Core { state: State::New, outcome: None, escalated_ms: None, asked_by: None, closed_ms: None, severity };
    } else if matters {
        // What the first person asked for, he asked for knowing something else.
        next.asked_by = None;
    }
    (next != *core).then(|| (next, entry(said, "", "")))
}

fn close(core: &mut Core, outcome: &str, now_ms: i64) {
    core.state = State::Closed;
    core.outcome = Some(outcome.to_owned());
    core.closed_ms = Some(now_ms);
}

fn entry(action: &'static str, reason: &str, note: &str) -> Entry {
    Entry { action, reason: reason.trim().to_owned(), note: note.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(state: State, severity: i64) -> Core {
        Core { state, outcome: None, severity, escalated_ms: None, asked_by: None, closed_ms: None }
    }

    fn dismissal(reason: &str, note: &str) -> Step {
        Step::Dismiss { reason: reason.into(), note: note.into() }
    }

    fn go(c: &Core, s: &Step, who: &str) -> Core {
        step(c, s, who, 5).unwrap().unwrap().0
    }

    #[test]
    fn an_alert_is_looked_at_taken_on_and_closed() {
        let c = go(&core(State::New, 3), &Step::Look, "an");
        assert_eq!(c.state, State::Seen);
        assert_eq!(step(&c, &Step::Look, "an", 5), Ok(None));
        assert_eq!(step(&c, &Step::Close { note: String::new() }, "an", 5), Err(Refusal::NotAcknowledged));
        let c = go(&c, &Step::Acknowledge, "an");
        let c = go(&c, &Step::Close { note: "ok".into() }, "an");
        assert_eq!((c.state, c.outcome.as_deref(), c.closed_ms), (State::Closed, Some("information"), Some(5)));
        for s in [Step::Acknowledge, dismissal("test", ""), Step::Escalate { note: "x".into() }] {
            assert_eq!(step(&c, &s, "an", 5), Err(Refusal::Closed));
        }
    }

    #[test]
    fn a_dismissal_needs_a_reason_and_other_needs_words() {
        let c = core(State::New, 2);
        assert_eq!(step(&c, &dismissal("", ""), "an", 5), Err(Refusal::NeedsReason));
        assert_eq!(step(&c, &dismissal("because", ""), "an", 5), Err(Refusal::NeedsReason));
        assert_eq!(step(&c, &dismissal("other", " "), "an", 5), Err(Refusal::NeedsNote));
        let (next, e) = step(&c, &dismissal("weather", " rain "), "an", 5).unwrap().unwrap();
        assert_eq!(
            (next.outcome.as_deref(), e.reason.as_str(), e.note.as_str()),
            (Some("dismissed"), "weather", "rain")
        );
    }

    #[test]
    fn severity_four_is_ended_by_two_persons() {
        let (dismiss, close) = (dismissal("false_alarm", ""), Step::Close { note: "đã kiểm tra tại cổng".into() });
        let c = go(&core(State::New, 4), &dismiss, "an");
        assert_eq!((c.state, c.asked_by.as_deref()), (State::Acked, Some("an")));
        for s in [&dismiss, &close] {
            assert_eq!(step(&c, s, "an", 6), Err(Refusal::NeedsSecondPerson), "one way round the other");
        }
        assert_eq!(go(&c, &dismiss, "binh").state, State::Closed);
        let c = go(&core(State::New, 4), &Step::Acknowledge, "an");
        assert_eq!(step(&c, &Step::Close { note: " ".into() }, "an", 6), Err(Refusal::NeedsNote));
        let (c, e) = step(&c, &close, "an", 6).unwrap().unwrap();
        assert_eq!((c.state, c.asked_by.as_deref(), e.action), (State::Acked, Some("an"), "close_ask"));
        assert_eq!(step(&c, &close, "an", 7), Err(Refusal::NeedsSecondPerson));
        assert_eq!(go(&c, &close, "binh").outcome.as_deref(), Some("information"));
    }

    #[test]
    fn a_draft_takes_an_alert_on_and_only_the_tip_that_is_issued_ends_it() {
        let number = || "A1K2/2026/00001".to_owned();
        let c = go(&core(State::New, 4), &Step::Draft { number: number() }, "an");
        assert_eq!((c.state, c.outcome.as_deref()), (State::Acked, None));
        let c = go(&c, &Step::Tip { number: number() }, "binh");
        assert_eq!((c.state, c.outcome.as_deref()), (State::Closed, Some("tip")));
        for s in [Step::Draft { number: number() }, Step::Tip { number: number() }] {
            assert_eq!(step(&c, &s, "an", 6), Ok(None), "closed meanwhile");
        }
        // Graver since the draft: it is ended by who has looked at it.
        for state in [State::New, State::Unseen] {
            assert_eq!(step(&core(state, 4), &Step::Tip { number: number() }, "binh", 6), Ok(None), "{state:?}");
        }
        assert_eq!(go(&core(State::Seen, 4), &Step::Tip { number: number() }, "binh").state, State::Closed);
    }

    #[test]
    fn who_is_not_looked_at_goes_up_once_and_is_unseen_at_the_end_of_the_day() {
        let c = go(&core(State::New, 3), &Step::EscalateByTime, "");
        assert_eq!((c.state, c.escalated_ms), (State::New, Some(5)));
        assert_eq!(step(&c, &Step::EscalateByTime, "", 6), Ok(None));
        let c = go(&c, &Step::EndOfDay, "");
        assert_eq!(c.state, State::Unseen);
        assert_eq!(go(&c, &Step::Look, "an").state, State::Seen);
        assert_eq!(step(&core(State::Seen, 3), &Step::EscalateByTime, "", 6), Ok(None));
        assert_eq!(
            step(&core(State::Seen, 3), &Step::Escalate { note: String::new() }, "an", 6),
            Err(Refusal::NeedsNote)
        );
    }

    #[test]
    fn news_reopens_what_is_closed_only_when_it_matters() {
        let closed = go(&core(State::New, 2), &dismissal("test", ""), "an");
        let news = |severity, matters| Step::News { severity, matters, of_tip: false };
        assert_eq!(step(&closed, &news(2, false), "", 6), Ok(None));
        for (severity, matters) in [(2, true), (4, false)] {
            let (next, e) = step(&closed, &news(severity, matters), "", 6).unwrap().unwrap();
            assert_eq!((next.state, next.outcome, next.severity, e.action), (State::New, None, severity, "reopen"));
        }
        // The tip that was raised from it makes it graver at the box: that is nothing new.
        let tip = go(&core(State::Acked, 2), &Step::Tip { number: "A1K2/2026/00001".into() }, "an");
        let graver = go(&tip, &Step::News { severity: 3, matters: false, of_tip: true }, "");
        assert_eq!((graver.state, graver.severity), (State::Closed, 3));
        assert_eq!(go(&graver, &Step::News { severity: 4, matters: false, of_tip: false }, "").state, State::New);
    }

    #[test]
    fn what_gets_graver_is_new_again_whoever_looked_at_it() {
        let news = |severity, matters| Step::News { severity, matters, of_tip: false };
        for state in [State::New, State::Seen, State::Acked, State::Unseen] {
            let before = Core { escalated_ms: Some(3), asked_by: Some("an".into()), ..core(state, 3) };
            let (next, e) = step(&before, &news(4, false), "", 6).unwrap().unwrap();
            assert_eq!((next, e.action), (core(State::New, 4), "raised"), "{state:?}");
            let milder = go(&before, &news(2, false), "");
            assert_eq!((milder.state, milder.asked_by.as_deref()), (state, Some("an")));
        }
        // Other facts: who was asked for his agreement is asked anew.
        let asked = go(&core(State::Seen, 4), &dismissal("test", ""), "an");
        assert_eq!(step(&asked, &news(4, false), "", 6), Ok(None));
        assert_eq!(go(&asked, &news(4, true), "").asked_by, None);
    }

    #[test]
    fn every_state_is_read_back() {
        for s in State::ALL {
            assert_eq!(State::parse(s.as_str()), s);
        }
    }
}

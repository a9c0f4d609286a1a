//! Questions of the rules to customs, answered from the register: may this leave, is the bay booked, is an inspection
//! open. *Unknown* is an answer of its own and never taken for *no*: a feed that is silent for too long, a declaration
//! that never arrived or a link that is not sure cannot answer.

use serde::{Deserialize, Serialize};

use super::clue::{is_around, passed_before, span};
use super::link::{feed_age, whole};
use super::{DeclKey, Declaration, LinkVerdict, RegisterSnapshot, Sought, link};
use crate::clock::UtcMillis;
use crate::config::RegisterConfig;
use crate::rules::AreaId;

/// Facts named in an answer at most.
const MAX_BASIS: usize = 20;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// May everything that belongs to the event leave the supervised area?
    MayLeave,
    /// Does a booking cover the area at this time?
    Booked,
    /// Is an inspection open in the area: a booking that is `active`?
    InspectionOpen,
    /// Is the vehicle in the area the booked one, by what was read?
    RightVehicle,
}

/// What customs answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Yes.
    Yes,
    /// No.
    No,
    /// Nobody knows: stale feed, unknown declaration, no sure link.
    Unknown,
}

/// An answer with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Check {
    /// What was asked.
    pub question: Question,
    /// What is known.
    pub answer: Answer,
    /// Age of the last word from the clearance feed in seconds; `None` when none ever came.
    pub feed_age_s: Option<i64>,
    /// The facts it rests on, in words.
    pub basis: Vec<String>,
}

/// Answers questions about one moment. Cheap to make.
#[derive(Debug, Clone, Copy)]
pub struct Checks<'a> {
    /// What is known.
    pub register: &'a RegisterSnapshot,
    /// Grace times and the age at which a feed is stale.
    pub config: &'a RegisterConfig,
    /// The moment.
    pub now: UtcMillis,
    /// Half-width of the event times, milliseconds.
    pub uncertainty_ms: u32,
}

impl Checks<'_> {
    /// May a vehicle that crossed at `at` leave, by the declarations that `area`'s bookings and what was read there name?
    /// All of them must be released, stored or cleared and none stopped. `others`: when others crossed there, see
    /// [`Sought::others`].
    #[must_use]
    pub fn may_leave(&self, area: &AreaId, at: UtcMillis, others: &[UtcMillis]) -> Check {
        let sought =
            Sought { area, start: at, end: Some(at), uncertainty_ms: self.uncertainty_ms, event: None, others };
        let found = whole(self.register, &sought, self.now, self.config);
        let linked = found.outcome;
        let containers: Vec<String> = found.aboard.into_iter().collect();
        let each = found.keys.iter().map(|key| self.goods(key, at, &containers, linked.feed_stale));
        let (mut answers, mut facts): (Vec<Answer>, Vec<String>) = each.unzip();
        // What is surely there may forbid; what is not all known lets nothing go.
        if linked.verdict != LinkVerdict::Linked {
            answers.push(Answer::Unknown);
            facts.push(linked.reason);
        }
        let answer = all(&answers);
        // What decides comes first, so that a long list does not hide it.
        let (mut basis, rest): (Vec<_>, Vec<_>) = answers.iter().zip(facts).partition(|(a, _)| **a == answer);
        basis.extend(rest);
        let basis = basis.into_iter().take(MAX_BASIS).map(|(_, fact)| fact).collect();
        self.check(Question::MayLeave, answer, basis)
    }

    /// Does a booking (grace times included) cover `area` now?
    #[must_use]
    pub fn booked(&self, area: &AreaId) -> Check {
        let span = span(self.now, None, self.uncertainty_ms, self.now);
        let found = self.register.bookings_of(area).iter().find(|b| is_around(b, span, self.config));
        let (_, is_stale) = feed_age(self.register, self.now, self.config);
        let (answer, basis) = match (found, is_stale) {
            (Some(b), _) => {
                (Answer::Yes, format!("booking {} of {area}, {} to {}", b.id, b.start.to_rfc3339(), b.end.to_rfc3339()))
            }
            (None, false) => (Answer::No, format!("no booking of {area} covers this time")),
            (None, true) => (Answer::Unknown, "the clearance feed is stale".into()),
        };
        self.check(Question::Booked, answer, vec![basis])
    }

    /// Is an inspection open in `area` now: a booking that is `active`, from its grace before to its grace after? With a stale
    /// feed nobody knows whether it is over by now.
    #[must_use]
    pub fn inspection_open(&self, area: &AreaId) -> Check {
        let open = self.register.bookings_of(area).iter().find(|b| b.is_inspected(self.now, self.config));
        let (_, is_stale) = feed_age(self.register, self.now, self.config);
        let (answer, basis) = match (open, is_stale) {
            (Some(booking), false) => (Answer::Yes, format!("booking {} of {area} is active", booking.id)),
            (None, false) => (Answer::No, format!("no booking of {area} is active")),
            (Some(booking), true) => {
                (Answer::Unknown, format!("booking {} of {area} was active; the clearance feed is stale", booking.id))
            }
            (None, true) => (Answer::Unknown, "the clearance feed is stale".into()),
        };
        self.check(Question::InspectionOpen, answer, vec![basis])
    }

    /// Is the vehicle in `area` since `since` the booked one? *No* only when a container number whose check digit fits
    /// says otherwise.
    #[must_use]
    pub fn right_vehicle(&self, area: &AreaId, since: UtcMillis) -> Check {
        let (uncertainty_ms, others) = (self.uncertainty_ms, &[][..]);
        let sought = Sought { area, start: since, end: None, uncertainty_ms, event: None, others };
        let linked = link(self.register, &sought, self.now, self.config);
        let answer = match (&linked.contradiction, linked.links.iter().any(|l| l.container.is_some())) {
            (Some(_), _) => Answer::No,
            (None, true) => Answer::Yes,
            (None, false) => Answer::Unknown,
        };
        self.check(Question::RightVehicle, answer, vec![linked.reason])
    }

    /// An order that stops these goods, in words.
    fn stop(&self, key: &DeclKey, at: UtcMillis, containers: &[String]) -> Option<String> {
        let orders = self.register.found(&format!("decl:{key}")).stops;
        let order = orders.into_iter().find(|s| s.holds(at, containers))?;
        let of = order.container.as_ref().map_or_else(String::new, |c| format!(", container {c}"));
        Some(format!("{key}{of}: stopped since {} by order {}", order.from.to_rfc3339(), order.id))
    }

    /// Whether these goods may leave. What stops them holds until something newer is known; what lets them go, or is not
    /// there yet, only while the feed is fresh.
    fn goods(&self, key: &DeclKey, at: UtcMillis, containers: &[String], is_stale: bool) -> (Answer, String) {
        let stale = |fact: String| if is_stale { format!("{fact}; the clearance feed is stale") } else { fact };
        if let Some(stop) = self.stop(key, at, containers) {
            return (Answer::No, stale(stop));
        }
        let Some(declaration) = self.register.declaration(key) else {
            return (Answer::Unknown, format!("{key}: never received"));
        };
        if let Some(why) = forbidden(declaration, at) {
            return (Answer::No, stale(why));
        }
        if is_stale {
            return (Answer::Unknown, "the clearance feed is stale".into());
        }
        match passed_before(declaration, at, self.config) {
            Some(t) => (Answer::Unknown, format!("{key}: passed the supervised area at {}", t.to_rfc3339())),
            None => allowed(declaration, at),
        }
    }

    fn check(&self, question: Question, answer: Answer, basis: Vec<String>) -> Check {
        let (feed_age_s, _) = feed_age(self.register, self.now, self.config);
        Check { question, answer, feed_age_s, basis }
    }
}

/// One `no` forbids, whatever else is not known; all must say yes.
fn all(answers: &[Answer]) -> Answer {
    match answers {
        _ if answers.contains(&Answer::No) => Answer::No,
        [] => Answer::Unknown,
        _ if answers.contains(&Answer::Unknown) => Answer::Unknown,
        _ => Answer::Yes,
    }
}

/// Why the marks of one declaration forbid it to leave at `at`, whatever else they say.
fn forbidden(declaration: &Declaration, at: UtcMillis) -> Option<String> {
    let key = declaration.key();
    let by = |mark: Option<UtcMillis>| mark.filter(|t| *t <= at);
    if by(declaration.cancelled_at).is_some() {
        return Some(format!("{key}: cancelled"));
    }
    let lifted = by(declaration.stop_lifted_at);
    let stop = by(declaration.stopped_at).filter(|s| lifted.is_none_or(|l| l < *s))?;
    Some(format!("{key}: stopped since {}", stop.to_rfc3339()))
}

/// By the marks of one declaration that lets its goods go at `at`.
fn allowed(declaration: &Declaration, at: UtcMillis) -> (Answer, String) {
    let key = declaration.key();
    let by = |mark: Option<UtcMillis>| mark.filter(|t| *t <= at);
    let marks = [
        ("cleared", declaration.cleared_at),
        ("released", declaration.released_at),
        ("taken for storage", declaration.stored_at),
    ];
    match marks.into_iter().find_map(|(name, mark)| by(mark).map(|t| (name, t))) {
        Some((name, t)) => (Answer::Yes, format!("{key}: {name} at {}", t.to_rfc3339())),
        None => (Answer::No, format!("{key}: not released, stored or cleared")),
    }
}

#[cfg(test)]
#[path = "leave_tests.rs"]
mod leave_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::customs::Register;
    use crate::customs::feed::parse_json;

    const T: &str = "2026-03-02T10:00:00Z";

    fn at(text: &str) -> UtcMillis {
        UtcMillis::parse_rfc3339(text).unwrap()
    }

    /// Declarations with these further fields, all in one booking of `out` around `T`; the feed was heard at `T`.
    fn register(declarations: &[&str], state: &str) -> Register {
        let number = |i: usize| format!("1000000123{i}");
        let one = |(i, more): (usize, &&str)| format!(r#"{{"decl_no": "{}", "version": 1{more}}}"#, number(i));
        let list: Vec<String> = declarations.iter().enumerate().map(one).collect();
        let keys: Vec<String> = (0..declarations.len().max(1)).map(|i| format!("{:?}", number(i))).collect();
        let json = format!(
            r#"{{"declarations": [{}], "bookings": [{{"id": "b", "version": 1, "area": "out", "decl_keys": [{}],
            "start": "2026-03-02T09:30:00Z", "end": "2026-03-02T10:30:00Z", "state": "{state}"}}]}}"#,
            list.join(","),
            keys.join(",")
        );
        let feed = parse_json(json.as_bytes()).unwrap();
        assert!(feed.problems.is_empty() && feed.notes.is_empty(), "{:?} {:?}", feed.problems, feed.notes);
        let register = Register::default();
        register.apply_all(feed.facts, Some(at(T)));
        register
    }

    fn ask<T>(register: &Register, now: &str, question: impl Fn(&Checks<'_>) -> T) -> T {
        let (snapshot, config) = (register.snapshot(), RegisterConfig::default());
        question(&Checks { register: &snapshot, config: &config, now: at(now), uncertainty_ms: 0 })
    }

    fn leaves(declarations: &[&str]) -> Answer {
        let register = register(declarations, "planned");
        ask(&register, T, |c| c.may_leave(&AreaId("out".into()), at(T), &[])).answer
    }

    #[test]
    fn a_mark_up_to_the_crossing_lets_leave_and_none_forbids() {
        assert_eq!(leaves(&[r#", "cleared_at": "2026-03-02T10:00:00Z""#]), Answer::Yes);
        assert_eq!(leaves(&[r#", "released_at": "2026-03-02T09:00:00Z""#]), Answer::Yes);
        assert_eq!(leaves(&[r#", "stored_at": "2026-03-02T09:00:00Z""#]), Answer::Yes);
        assert_eq!(leaves(&[r#", "cleared_at": "2026-03-02T10:00:01Z""#]), Answer::No, "cleared only afterwards");
        assert_eq!(leaves(&[r#", "checked_at": "2026-03-02T09:00:00Z""#]), Answer::No, "checked is not released");
    }

    #[test]
    fn a_stop_forbids_until_it_is_lifted() {
        let stopped = r#", "cleared_at": "2026-03-02T08:00:00Z", "stopped_at": "2026-03-02T09:00:00Z""#;
        assert_eq!(leaves(&[stopped]), Answer::No);
        let lifted = format!(r#"{stopped}, "stop_lifted_at": "2026-03-02T09:30:00Z""#);
        assert_eq!(leaves(&[&lifted]), Answer::Yes);
        let lifted_before = format!(r#"{stopped}, "stop_lifted_at": "2026-03-02T08:30:00Z""#);
        assert_eq!(leaves(&[&lifted_before]), Answer::No, "the lifted stop was an earlier one");
        let cancelled = r#", "cleared_at": "2026-03-02T08:00:00Z", "cancelled_at": "2026-03-02T09:00:00Z""#;
        assert_eq!(leaves(&[cancelled]), Answer::No);
    }

    #[test]
    fn all_declarations_of_the_goods_must_be_allowed() {
        let cleared = r#", "cleared_at": "2026-03-02T08:00:00Z""#;
        assert_eq!(leaves(&[cleared, cleared]), Answer::Yes);
        assert_eq!(leaves(&[cleared, ""]), Answer::No);
    }

    #[test]
    fn one_declaration_out_of_a_hundred_forbids_though_no_link_has_room_to_name_it() {
        let keys: Vec<String> = (0..100).map(|i| format!("{:?}", format!("1000000{i:04}"))).collect();
        let one = |i: usize| {
            let cleared = if i == 99 { "" } else { r#", "cleared_at": "2026-03-02T08:00:00Z""# };
            format!(r#"{{"decl_no": {}, "version": 1{cleared}}}"#, keys[i])
        };
        let json = format!(
            r#"{{"declarations": [{}], "bookings": [{{"id": "b", "version": 1, "area": "out", "decl_keys": [{}],
            "start": "2026-03-02T09:30:00Z", "end": "2026-03-02T10:30:00Z"}}]}}"#,
            (0..100).map(one).collect::<Vec<_>>().join(","),
            keys.join(",")
        );
        let register = Register::default();
        register.apply_all(parse_json(json.as_bytes()).unwrap().facts, Some(at(T)));
        let check = ask(&register, T, |c| c.may_leave(&AreaId("out".into()), at(T), &[]));
        assert_eq!((check.answer, check.basis.len()), (Answer::No, MAX_BASIS));
        assert!(check.basis[0].starts_with("10000000099: not released"), "{:?}", check.basis[0]);
    }

    #[test]
    fn what_is_not_known_is_neither_yes_nor_no() {
        assert_eq!(leaves(&[]), Answer::Unknown, "the booking names a declaration that never arrived");
        let fresh = register(&[r#", "cleared_at": "2026-03-02T08:00:00Z""#], "planned");
        let elsewhere = ask(&fresh, T, |c| c.may_leave(&AreaId("gate".into()), at(T), &[]));
        assert_eq!(elsewhere.answer, Answer::Unknown, "no booking, no declaration");
        let later = "2026-03-02T10:20:00Z";
        let stale = ask(&fresh, later, |c| c.may_leave(&AreaId("out".into()), at(later), &[]));
        assert_eq!((stale.answer, stale.feed_age_s), (Answer::Unknown, Some(1200)));
    }

    #[test]
    fn bookings_answer_with_their_grace_and_silence_answers_nothing() {
        let register = register(&[""], "planned");
        let booked = |area: &str, now: &str| ask(&register, now, |c| c.booked(&AreaId(area.into()))).answer;
        assert_eq!(booked("out", T), Answer::Yes);
        assert_eq!(booked("bay-2", T), Answer::No);
        assert_eq!(booked("bay-2", "2026-03-02T10:10:01Z"), Answer::Unknown, "the feed is stale");
        assert_eq!(booked("out", "2026-03-02T10:59:00Z"), Answer::Yes, "a known booking stays known, with its grace");
        assert_eq!(booked("out", "2026-03-02T11:01:00Z"), Answer::Unknown, "over, and the feed is stale");
    }

    #[test]
    fn an_inspection_is_open_while_a_booking_is_active() {
        let open = |state: &str, now: &str| {
            ask(&register(&[""], state), now, |c| c.inspection_open(&AreaId("out".into()))).answer
        };
        assert_eq!(open("active", T), Answer::Yes);
        assert_eq!(open("planned", T), Answer::No);
        assert_eq!(open("done", T), Answer::No);
        assert_eq!(open("done", "2026-03-02T10:10:01Z"), Answer::Unknown);
        assert_eq!(open("active", "2026-03-02T10:10:01Z"), Answer::Unknown, "it may be over by now");
    }

    #[test]
    fn the_basis_names_the_declaration() {
        let register = register(&[""], "planned");
        let check = ask(&register, T, |c| c.may_leave(&AreaId("out".into()), at(T), &[]));
        assert!(register.snapshot().declaration(&DeclKey("10000001230".into())).is_some());
        assert_eq!(check.basis, ["10000001230: not released, stored or cleared"]);
    }
}

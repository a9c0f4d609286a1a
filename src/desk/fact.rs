//! What the clearance side says of declarations, as the desk takes it: which topics carry it, whose it is, and what all facts of one
//! declaration come to for somebody. What a fact may say and which of two counts is in `customs/`, as for the boxes; rows are in
//! `db/facts.rs`, the page is `web/declaration_facts.rs`.
//!
//! A fact is no message of a box: nobody counts it, and no box is there because of it. Those of different offices stand side by side,
//! as they do at the boxes of these offices, so that nobody's word replaces another office's.

use std::collections::BTreeSet;

use super::config::is_office;
use super::db::facts::FactRow;
use super::db::{Scope, indexed};
use crate::clock::UtcMillis;
use crate::customs::{Booking, Declaration, Fact, FactKind, StopOrder};
use crate::desk::ingest::{dealt, offices_or_all};

/// What the desk keeps. Visits, readings, bindings and tips are of the boxes, or its own.
pub(crate) const KINDS: [FactKind; 3] = [FactKind::Declaration, FactKind::Booking, FactKind::Stop];

/// Topics of these offices, or of all: for all boxes of an office and for one box. Dealt out among workers as what else comes once.
pub(crate) fn filters(prefix: &str, offices: &[String], share: Option<&str>) -> Vec<String> {
    let dealt = dealt(share);
    let of = |office: &str| {
        let base = format!("{dealt}{prefix}/{office}");
        KINDS.map(|k| [format!("{base}/in/{}", k.as_str()), format!("{base}/+/in/{}", k.as_str())])
    };
    offices_or_all(offices).into_iter().flat_map(of).flatten().collect()
}

/// Office and kind of a fact's topic.
pub(crate) fn of_topic<'a>(prefix: &str, topic: &'a str) -> Option<(&'a str, FactKind)> {
    let levels: Vec<&str> = topic.strip_prefix(prefix)?.strip_prefix('/')?.split('/').collect();
    let (office, kind) = match levels.as_slice() {
        [office, "in", kind] | [office, _, "in", kind] => (*office, *kind),
        _ => return None,
    };
    let kind = FactKind::parse(kind).filter(|k| KINDS.contains(k))?;
    is_office(office).then_some((office, kind))
}

/// Reads a fact; says why not. What is odd about it, its boxes have said already.
pub(crate) fn read(kind: FactKind, payload: &[u8]) -> Result<Fact, String> {
    let fact = Fact::from_json(kind, payload).map_err(|e| e.to_string())?.value;
    if fact.key().contains('\0') { Err("its id holds what no database keeps".into()) } else { Ok(fact) }
}

/// Whose it is: a declaration names its office; what it does not say is of the office whose topic it came on.
pub(crate) fn owner_of(office: &str, fact: &Fact) -> String {
    let named = if let Fact::Declaration(d) = fact { d.office.clone() } else { None };
    named.unwrap_or_else(|| office.to_owned())
}

/// What a declaration is found by.
pub(crate) fn search_of(fact: &Fact) -> String {
    let Fact::Declaration(d) = fact else { return String::new() };
    let words = [&d.containers, &d.plates, &d.seals].into_iter().flatten();
    indexed(&std::iter::once(&d.key().0).chain(words).map(String::as_str).collect::<Vec<_>>().join(" "))
}

/// Declarations it is about.
pub(crate) fn keys_of(fact: &Fact) -> BTreeSet<String> {
    match fact {
        Fact::Declaration(d) => [d.key().0.clone()].into(),
        Fact::Booking(b) => b.decl_keys.iter().map(|n| n.key.0.clone()).collect(),
        Fact::Stop(s) => [s.decl_no.key.0.clone()].into(),
        Fact::Visit(_) | Fact::Bind(_) | Fact::Observation(_) | Fact::Tip(_) => BTreeSet::new(),
    }
}

/// What is said of one declaration, as far as somebody may know.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// In force, with every change of its channel that was said or seen.
    pub declaration: Option<Declaration>,
    /// When its system was asked last; where it does not tell, when the desk heard of it last.
    pub asked_ms: i64,
    /// By their first moment.
    pub stops: Vec<Stop>,
    /// By their first moment.
    pub bookings: Vec<Booking>,
}

/// A stop order with what it was at first.
#[derive(Debug)]
pub(crate) struct Stop {
    pub ordered: StopOrder,
    pub now: StopOrder,
}

/// Where a stop order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Ahead,
    Holds,
    Lifted,
}

impl Standing {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Holds => "holds",
            Self::Lifted => "lifted",
        }
    }
}

impl Stop {
    pub(crate) fn standing(&self, at: UtcMillis) -> Standing {
        match self.now.to {
            Some(to) if to <= at => Standing::Lifted,
            _ if at < self.now.from => Standing::Ahead,
            _ => Standing::Holds,
        }
    }

    /// The word that gave it its end, where that is another one than the order itself.
    pub(crate) fn lifted_by(&self) -> Option<&StopOrder> {
        Some(&self.now).filter(|now| now.to.is_some() && now.to != self.ordered.to)
    }
}

impl Said {
    /// What `rows`, all of one declaration, come to for who sees `scope`. A declaration's own office decides who hears of it and of
    /// its stops, of a booking the office whose area is booked.
    pub(crate) fn of(rows: &[FactRow], scope: &Scope) -> Self {
        let declarations = in_force(rows, FactKind::Declaration).filter(|r| scope.holds(&r.owner));
        let newest = declarations.max_by_key(|r| (r.version, r.heard_ms));
        let declaration = newest.and_then(|row| declaration(rows, row));
        let owner = |row: &FactRow| {
            let of_declaration = in_force(rows, FactKind::Declaration).find(|d| d.office == row.office);
            scope.holds(&of_declaration.unwrap_or(row).owner)
        };
        let mut stops: Vec<Stop> = Vec::new();
        for stop in in_force(rows, FactKind::Stop).filter(|r| owner(r)).filter_map(|row| stop(rows, row)) {
            // One order for several offices is one order.
            if !stops.iter().any(|s| s.now.id == stop.now.id && s.now.from == stop.now.from && s.now.to == stop.now.to)
            {
                stops.push(stop);
            }
        }
        stops.sort_by_key(|s| s.now.from);
        let bookings =
            in_force(rows, FactKind::Booking).filter(|r| scope.holds(&r.office)).filter_map(|row| match fact(row)? {
                Fact::Booking(b) => Some(b),
                _ => None,
            });
        let mut bookings: Vec<Booking> = bookings.collect();
        bookings.sort_by_key(|b| b.start);
        let asked_ms = newest.map_or(0, |r| r.fetched_ms.unwrap_or(r.again_ms));
        Self { declaration, asked_ms, stops, bookings }
    }

    /// Something stops these goods now.
    pub(crate) fn is_stopped(&self, at: UtcMillis) -> bool {
        let marked = self.declaration.as_ref().is_some_and(|d| {
            let lifted = d.stop_lifted_at.filter(|l| *l <= at);
            d.stopped_at.is_some_and(|s| s <= at && lifted.is_none_or(|l| l < s))
        });
        marked || self.stops.iter().any(|s| s.standing(at) == Standing::Holds)
    }
}

fn in_force(rows: &[FactRow], kind: FactKind) -> impl Iterator<Item = &FactRow> {
    rows.iter().filter(move |r| r.kind == kind.as_str() && r.state == "current")
}

fn fact(row: &FactRow) -> Option<Fact> {
    let kind = FactKind::parse(&row.kind)?;
    Fact::from_json(kind, row.body.as_bytes()).ok().map(|parsed| parsed.value)
}

/// Versions of one fact up to the one in force, oldest first.
fn versions<'a>(rows: &'a [FactRow], now: &'a FactRow) -> Vec<&'a FactRow> {
    let same = |r: &&FactRow| (&r.office, &r.kind, &r.key) == (&now.office, &now.kind, &now.key);
    let mut all: Vec<&FactRow> = rows.iter().filter(same).filter(|r| r.version < now.version).collect();
    all.sort_by_key(|r| (r.version, r.heard_ms));
    all.dedup_by_key(|r| r.version);
    all.push(now);
    all
}

fn declaration(rows: &[FactRow], now: &FactRow) -> Option<Declaration> {
    let mut known: Option<Declaration> = None;
    for row in versions(rows, now) {
        let Some(Fact::Declaration(mut d)) = fact(row) else { continue };
        if let Some(before) = &known {
            d.remember_channels(before, UtcMillis(row.heard_ms));
        }
        known = Some(d);
    }
    known
}

fn stop(rows: &[FactRow], now: &FactRow) -> Option<Stop> {
    let read = |row: &FactRow| match fact(row)? {
        Fact::Stop(s) => Some(s),
        _ => None,
    };
    let ordered = versions(rows, now).into_iter().find_map(read)?;
    Some(Stop { ordered, now: read(now)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(text: &str) -> UtcMillis {
        UtcMillis::parse_rfc3339(text).unwrap()
    }

    fn row(office: &str, state: &str, kind: FactKind, body: &Value) -> FactRow {
        let fact = read(kind, body.to_string().as_bytes()).unwrap();
        FactRow {
            office: office.into(),
            kind: kind.as_str().into(),
            key: fact.key().into(),
            version: fact.version(),
            state: state.into(),
            owner: owner_of(office, &fact),
            fetched_ms: None,
            heard_ms: fact.version() * 1000,
            again_ms: fact.version() * 1000,
            body: fact.to_value().to_string(),
        }
    }

    fn decl(version: i64, more: &Value) -> Value {
        let mut body = json!({"decl_no": "100000012340", "version": version});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    }

    #[test]
    fn only_topics_of_facts_are_read_and_all_of_them_are_asked_for() {
        let of = |topic| of_topic("p", topic);
        assert_eq!(of("p/15BB/in/declaration"), Some(("15BB", FactKind::Declaration)));
        assert_eq!(of("p/15BB/gate-01/in/stop"), Some(("15BB", FactKind::Stop)));
        for other in [
            "p/15BB/in/tip",
            "p/15BB/gate-01/in/observation",
            "p/15BB/gate-01/alert",
            "p/desk/in/stop",
            "q/15BB/in/stop",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        let all = filters("p", &[], None);
        assert!(all.contains(&"p/+/in/stop".into()) && all.contains(&"p/+/+/in/declaration".into()) && all.len() == 6);
        let dealt = filters("p", &["15BB".into(), "20BB".into()], Some("duty"));
        assert!(dealt.contains(&"$share/duty/p/20BB/in/booking".into()) && dealt.len() == 12, "{dealt:?}");
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let refused = |kind, payload: &str| read(kind, payload.as_bytes()).unwrap_err();
        assert!(refused(FactKind::Declaration, r#"{"decl_no": "12", "version": 1}"#).contains("decl_no"));
        assert!(refused(FactKind::Stop, "[]").contains("not a JSON object"));
        let nul = r#"{"id": "a\u0000", "decl_no": "10000001234", "from": "2026-03-02T10:00:00Z"}"#;
        assert!(refused(FactKind::Stop, nul).contains("no database"));
    }

    #[test]
    fn channels_are_remembered_over_versions_and_late_ones() {
        let rows = [
            row("15BB", "current", FactKind::Declaration, &decl(4, &json!({"channel": 3}))),
            row("15BB", "superseded", FactKind::Declaration, &decl(2, &json!({"channel": 1}))),
            row(
                "15BB",
                "stale",
                FactKind::Declaration,
                &decl(3, &json!({"channel": 2, "fetched_at": "2026-03-02T03:00:00Z"})),
            ),
        ];
        let d = Said::of(&rows, &Scope::all()).declaration.unwrap();
        let changes: Vec<_> = d.channel_history.iter().map(|c| (c.from, c.to, c.at.0)).collect();
        assert_eq!(changes, [(Some(1), Some(2), at("2026-03-02T03:00:00Z").0), (Some(2), Some(3), 4000)]);
    }

    #[test]
    fn a_stop_says_who_ordered_and_who_lifted_it() {
        let order = |version, more: Value| {
            let mut body =
                json!({"id": "S-4", "version": version, "decl_no": "10000001234", "from": "2026-03-02T03:00:00Z"});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        let first = row("15BB", "superseded", FactKind::Stop, &order(1, json!({"by": "Bình", "reason": "tin báo"})));
        let lift = order(2, json!({"to": "2026-03-02T05:00:00Z", "by": "Dung", "reason": "đã kiểm tra"}));
        let said = Said::of(&[row("15BB", "current", FactKind::Stop, &lift), first.clone()], &Scope::all());
        let stop = &said.stops[0];
        assert_eq!((stop.ordered.by.as_deref(), stop.lifted_by().unwrap().by.as_deref()), (Some("Bình"), Some("Dung")));
        let standing = [at("2026-03-02T02:59:59Z"), at("2026-03-02T03:00:00Z"), at("2026-03-02T05:00:00Z")];
        assert_eq!(standing.map(|t| stop.standing(t)), [Standing::Ahead, Standing::Holds, Standing::Lifted]);
        assert!(said.is_stopped(at("2026-03-02T04:00:00Z")) && !said.is_stopped(at("2026-03-02T05:00:00Z")));
        let alone = Said::of(&[FactRow { state: "current".into(), ..first }], &Scope::all());
        assert!(alone.stops[0].lifted_by().is_none());
    }

    #[test]
    fn the_office_of_a_declaration_decides_who_hears_of_it_and_of_its_stops() {
        let stop = json!({"id": "S-4", "decl_no": "10000001234", "from": "2026-03-02T03:00:00Z"});
        let booking = json!({"id": "b", "version": 1, "area": "bay-1", "decl_keys": ["10000001234"],
            "start": "2026-03-02T03:00:00Z", "end": "2026-03-02T04:00:00Z"});
        let rows = [
            row("20BB", "current", FactKind::Declaration, &decl(1, &json!({"office": "15BB"}))),
            row("20BB", "current", FactKind::Stop, &stop),
            row("20BB", "current", FactKind::Booking, &booking),
        ];
        let said = |scope: &str| {
            let said = Said::of(&rows, &Scope::parse(scope));
            (said.declaration.is_some(), said.stops.len(), said.bookings.len())
        };
        assert_eq!(
            (said("15BB"), said("20BB"), said("*"), said("10BB")),
            ((true, 1, 0), (false, 0, 1), (true, 1, 1), (false, 0, 0))
        );
        let mut both = rows.to_vec();
        both.push(row("10BB", "current", FactKind::Declaration, &decl(9, &json!({"channel": 1}))));
        both.push(row("10BB", "current", FactKind::Stop, &stop));
        let mine = Said::of(&both, &Scope::parse("15BB"));
        assert_eq!(mine.declaration.unwrap().version, 1, "another office's word replaces nothing");
        assert_eq!(Said::of(&both, &Scope::all()).stops.len(), 1, "one order, sent to two offices");
    }
}

//! From an area and a time to declarations. Pure: the same register, event and moment give the same answer, and the answer
//! says by which rule. Here the bookings are found and the decision is taken; the other clues are in `clue.rs`, how they
//! add up in `weigh.rs`.
//!
//! The first booked window that the event touches holds it: a vehicle that overstays into the next window still
//! belongs to the one it came in, and one that came early belongs to the window it waited for. Windows reached later,
//! or within the grace time only, are weaker candidates. Uncertainty of the time widens the event on both sides.
//!
//! Before the weights count: an officer's binding decides; a container whose check digit fits goes before a booking
//! that is for another one. Neither is averaged away, and what lost is named.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::clue::{self, Clue, Clues, Scene, is_around};
use super::fact::plate_handle;
use super::weigh::{Group, grouped};
use super::{
    Booking, Contradiction, DeclKey, Link, LinkMethod, LinkOutcome, LinkRule, LinkScope, LinkState, LinkVerdict,
    RegisterSnapshot, TipRef,
};
use crate::clock::UtcMillis;
use crate::config::{ConfidenceConfig, RegisterConfig};
use crate::rules::AreaId;

/// Groups named in one outcome at most.
const MAX_GROUPS: usize = 5;
/// Links in one outcome, and containers in one link, at most: a message must fit into a packet whatever was booked.
const MAX_LINKS: usize = 60;
const MAX_CONTAINERS: usize = 20;
/// Tips named in one outcome, and ways and sources in one link, at most.
const MAX_TIPS: usize = 10;
const MAX_SOURCES: usize = 10;
/// The clocks of camera and box may differ by this without being wrong.
const CLOCKS_APART_MS: i64 = 60_000;
/// Configured weights are decimal; their differences as `f32` are not exact.
pub(super) const SLACK: f32 = 1e-4;

/// The event widened by its uncertainty.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub from: UtcMillis,
    /// Latest moment the start may have been.
    pub start_until: UtcMillis,
    pub until: UtcMillis,
}

/// What is to be linked.
#[derive(Debug, Clone, Copy)]
pub struct Sought<'a> {
    /// Where.
    pub area: &'a AreaId,
    /// When it began.
    pub start: UtcMillis,
    /// When it ended; `None` while it lasts.
    pub end: Option<UtcMillis>,
    /// Half-width of its times, milliseconds.
    pub uncertainty_ms: u32,
    /// Its id, once it has one: an officer may have bound it.
    pub event: Option<&'a str>,
    /// Of a crossing: when others crossed the same line. What was read on the far side of one of them is of that one.
    pub others: &'a [UtcMillis],
}

/// A link with all it rests on, not only what a message has room for.
#[derive(Debug)]
pub(super) struct Whole {
    pub outcome: LinkOutcome,
    /// Every declaration of the goods that are there: those linked, or, whatever else is in doubt, those of a container that
    /// was surely read.
    pub keys: BTreeSet<DeclKey>,
    /// Containers of these goods known to be on the vehicle.
    pub aboard: BTreeSet<String>,
}

/// Links what is sought as of `now`.
#[must_use]
pub fn link(register: &RegisterSnapshot, sought: &Sought<'_>, now: UtcMillis, config: &RegisterConfig) -> LinkOutcome {
    whole(register, sought, now, config).outcome
}

/// The same with all it rests on.
pub(super) fn whole(
    register: &RegisterSnapshot,
    sought: &Sought<'_>,
    now: UtcMillis,
    config: &RegisterConfig,
) -> Whole {
    let span = clue::span(sought.start, sought.end, sought.uncertainty_ms, now);
    let (at, others) = (sought.start, sought.others);
    let scene = Scene { register, config, area: sought.area, event: sought.event, at, others, span };
    let mut clues = scene.gather(booked(&scene));
    let against = contradicted(&mut clues, config);
    let mut groups = grouped(clues.all, &clues.rejected, &config.confidence);
    groups.retain(|g| g.confidence + SLACK >= config.confidence.propose_min);
    let mut decision = decide(&groups, sought.area, &config.confidence);
    decision.note_contradiction(&against);
    for (key, officer) in &clues.rejected {
        decision.reason = format!("{}; officer {officer} ruled out {key}", decision.reason);
    }
    let (feed_age_s, feed_stale) = feed_age(register, now, config);
    if feed_stale {
        let age = feed_age_s.map_or_else(|| "never heard".into(), |s| format!("last heard {s} s ago"));
        decision.reason = format!("{}; the clearance feed is stale ({age})", decision.reason);
    }
    let named = &groups[..decision.shown];
    let tips = tips_of(&scene, named, &clues.read, now);
    let is_sure = |c: &Clue| {
        let read = c.read.as_ref().is_some_and(|read| clues.sure.iter().any(|(sure, _)| sure == read));
        read && c.confidence + SLACK >= config.confidence.link_min
    };
    // Also what an officer's word leaves out: a container that was surely read is on the vehicle.
    let is_linked = |i: usize| i < decision.shown && decision.verdict == LinkVerdict::Linked;
    let is_there = |(i, g): &(usize, &Group)| is_linked(*i) || g.clues.iter().any(is_sure);
    let there = || groups.iter().enumerate().filter(is_there).map(|(_, g)| g);
    let keys = there().flat_map(|g| &g.goods).map(|g| g.number.key.clone()).collect();
    let aboard = there().flat_map(|g| &g.clues).flat_map(|c| c.aboard().iter().cloned()).collect();
    let mut links: Vec<Link> = named.iter().flat_map(|g| links_of(g, &scene, decision.verdict)).collect();
    if links.len() > MAX_LINKS {
        decision.reason = format!(
            "{}; {} of {} declarations named here, the rest by the bookings",
            decision.reason,
            MAX_LINKS,
            links.len()
        );
        links.truncate(MAX_LINKS);
    }
    let Decision { verdict, rule, reason, .. } = decision;
    let contradiction = against.booking;
    let outcome = LinkOutcome { verdict, rule, links, contradiction, tips, reason, feed_age_s, feed_stale };
    Whole { outcome, keys, aboard }
}

/// Age of the last word from the clearance feed in seconds, and whether that is too old to know.
pub(super) fn feed_age(register: &RegisterSnapshot, now: UtcMillis, config: &RegisterConfig) -> (Option<i64>, bool) {
    // A word from the future says that a clock was wrong, not that the feed is fresh.
    let age_ms = register.last_feed.map(|t| now.since(t)).filter(|ms| *ms > -CLOCKS_APART_MS);
    let age_s = age_ms.map(|ms| ms.max(0) / 1000);
    (age_s, age_s.is_none_or(|age| age > i64::from(config.max_feed_age_s)))
}

/// The area's bookings around the event, as clues.
fn booked(scene: &Scene<'_>) -> Vec<Clue> {
    let (config, span) = (scene.config, scene.span);
    let bookings = scene.register.bookings_of(scene.area).iter();
    let near: Vec<_> = bookings.filter(|b| is_around(b, span, config)).cloned().collect();
    let first = first_touched(&near, span);
    let mut groups: Vec<Booked> = Vec::new();
    for (i, booking) in near.into_iter().enumerate() {
        add_to_groups(&mut groups, booking, first.contains(&i));
    }
    let alone = groups.iter().filter(|g| g.in_window).count() == 1;
    let c = &config.confidence;
    let mut out = Vec::new();
    for group in groups {
        let confidence = match (group.in_window, alone) {
            (true, true) => c.booking,
            (true, false) => c.booking_overlap,
            (false, _) => c.booking_grace,
        };
        let in_window = group.in_window;
        out.extend(group.bookings.into_iter().map(|booking| by_booking(scene, booking, in_window, confidence)));
    }
    out
}

fn by_booking(scene: &Scene<'_>, booking: Arc<Booking>, in_window: bool, confidence: f32) -> Clue {
    let place = if in_window { "in the window of" } else { "within the grace time of" };
    Clue {
        keys: booking.decl_keys.clone(),
        containers: scene.containers_of(&booking),
        read: None,
        method: LinkMethod::Booking,
        confidence,
        // Two bookings of the same goods say the same thing twice.
        root: "booking".into(),
        source: format!("booking:{}", booking.id),
        in_window,
        reason: format!(
            "{place} booking {} ({} to {})",
            booking.id,
            booking.start.to_rfc3339(),
            booking.end.to_rfc3339()
        ),
        booking: Some(booking),
    }
}

/// Does the half-open window share a moment with the closed span?
pub(super) fn touches(window_start: UtcMillis, window_end: UtcMillis, from: UtcMillis, until: UtcMillis) -> bool {
    window_start <= until && from < window_end
}

/// Which bookings hold the event: those whose window may contain its start, else the first window it reached.
fn first_touched(near: &[Arc<Booking>], span: Span) -> BTreeSet<usize> {
    let indexed = || near.iter().enumerate();
    let at_start: BTreeSet<usize> =
        indexed().filter(|(_, b)| touches(b.start, b.end, span.from, span.start_until)).map(|(i, _)| i).collect();
    if !at_start.is_empty() {
        return at_start;
    }
    let reached = || indexed().filter(|(_, b)| touches(b.start, b.end, span.from, span.until));
    let earliest = reached().map(|(_, b)| b.start).min();
    reached().filter(|(_, b)| Some(b.start) == earliest).map(|(i, _)| i).collect()
}

/// Bookings that name the same goods: they do not compete.
struct Booked {
    bookings: Vec<Arc<Booking>>,
    in_window: bool,
}

fn add_to_groups(groups: &mut Vec<Booked>, booking: Arc<Booking>, in_window: bool) {
    // One booking may join groups that were apart, so all that match are merged.
    let mut merged = Booked { bookings: vec![], in_window };
    let mut at = None;
    let mut i = 0;
    while i < groups.len() {
        if groups[i].bookings.iter().any(|b| same_goods(b, &booking)) {
            let g = groups.remove(i);
            at.get_or_insert(i);
            merged.in_window |= g.in_window;
            merged.bookings.extend(g.bookings);
        } else {
            i += 1;
        }
    }
    merged.bookings.push(booking);
    groups.insert(at.unwrap_or(groups.len()), merged);
}

fn same_goods(a: &Booking, b: &Booking) -> bool {
    let keys = |x: &Booking| x.decl_keys.iter().map(|d| d.key.clone()).collect::<BTreeSet<DeclKey>>();
    a.containers.iter().any(|c| b.containers.contains(c)) || keys(a) == keys(b)
}

/// What a container that was surely read speaks against.
#[derive(Debug, Default)]
struct Against {
    /// The booking of the area that is for other goods.
    booking: Option<Contradiction>,
    /// The container, when no known declaration has it.
    unknown: Option<String>,
}

/// Finds what a surely read container contradicts. A booking of this very window then does not count; when nobody knows the
/// container, it and whatever stands for other goods (plates, visits) count hardly. A plate that stands for other goods than
/// a known container is a candidate beside it: it may be of another vehicle.
fn contradicted(clues: &mut Clues, config: &RegisterConfig) -> Against {
    let is_booked = |c: &Clue| c.method == LinkMethod::Booking && c.in_window;
    let known = |container: &str| -> BTreeSet<DeclKey> {
        let read = clues.all.iter().filter(|c| c.read.as_deref() == Some(container));
        read.flat_map(|c| c.keys.iter().map(|d| d.key.clone())).collect()
    };
    let fits = |clue: &Clue, container: &String| {
        if !clue.containers.is_empty() {
            return clue.containers.contains(container);
        }
        let keys = known(container);
        keys.is_empty() || clue.keys.iter().any(|d| keys.contains(&d.key))
    };
    let Some((seen, observation_id)) = clues.sure.last().cloned() else { return Against::default() };
    if clues.all.iter().any(|c| c.method == LinkMethod::Officer) {
        return Against::default();
    }
    let is_against = |c: &Clue| !clues.sure.iter().any(|(container, _)| fits(c, container));
    let against: Vec<bool> = clues.all.iter().map(is_against).collect();
    // Several bookings of the area at once: one that fits is enough.
    let booked = || clues.all.iter().zip(&against).filter(|(c, _)| is_booked(c));
    let first = booked().next().filter(|_| booked().all(|(_, against)| *against));
    let booking = first.map(|(first, _)| {
        let booking_id = first.booking.as_ref().map(|b| b.id.clone()).unwrap_or_default();
        let booked = first.containers.iter().take(MAX_CONTAINERS).cloned().collect();
        Contradiction { booking_id, booked, seen: seen.clone(), observation_id }
    });
    let mut unknown = Some(seen).filter(|seen| known(seen).is_empty());
    let mut weakened = false;
    for (mut clue, is_against) in std::mem::take(&mut clues.all).into_iter().zip(against) {
        let counts = match clue.method {
            LinkMethod::Booking => clue.in_window && booking.is_some(),
            LinkMethod::PlateOcr | LinkMethod::Visit => is_against && unknown.is_some(),
            _ => false,
        };
        if counts && unknown.is_none() {
            continue;
        }
        if counts {
            weakened = true;
            clue.confidence = clue.confidence.min(config.confidence.booking_grace);
        }
        clues.all.push(clue);
    }
    unknown = unknown.filter(|_| weakened);
    Against { booking, unknown }
}

/// What was decided about the groups.
struct Decision {
    verdict: LinkVerdict,
    rule: LinkRule,
    /// Groups to name.
    shown: usize,
    reason: String,
}

impl Decision {
    fn note_contradiction(&mut self, against: &Against) {
        let what = match (&against.booking, &against.unknown) {
            (None, None) => return,
            (Some(c), None) => {
                format!("booking {} is for other goods than container {}, which decides", c.booking_id, c.seen)
            }
            (Some(c), Some(seen)) => {
                format!(
                    "booking {} is for other goods than container {seen}, which no known declaration has",
                    c.booking_id
                )
            }
            (None, Some(seen)) => {
                format!("plate or visit stand for other goods than container {seen}, which no known declaration has")
            }
        };
        self.reason = format!("{}; {what}", self.reason);
        self.rule = match (&against.unknown, self.verdict) {
            (Some(_), _) => LinkRule::UnknownContainer,
            (None, LinkVerdict::Linked) => LinkRule::ContainerOverBooking,
            (None, _) => self.rule,
        };
    }
}

fn decide(groups: &[Group], area: &AreaId, c: &ConfidenceConfig) -> Decision {
    let Some(best) = groups.first() else {
        let reason = format!("no booking of {area} covers this time, and nothing was read there");
        return Decision { verdict: LinkVerdict::Unlinked, rule: LinkRule::None, shown: 0, reason };
    };
    let second = groups.get(1).map_or(0.0, |g| g.confidence);
    let named = |n: usize| groups.iter().take(n).map(Group::name).collect::<Vec<_>>().join(", ");
    let bound = groups.iter().filter(|g| g.is_confirmed()).count();
    if bound > 1 {
        let reason = format!("officers bound it to different goods: {}", named(bound));
        let shown = bound.min(MAX_GROUPS);
        return Decision { verdict: LinkVerdict::Ambiguous, rule: LinkRule::OfficersDisagree, shown, reason };
    }
    let leads = best.confidence + SLACK >= c.link_min && best.confidence - second + SLACK >= c.link_margin;
    if bound == 1 || leads {
        let others = match groups.len() - 1 {
            0 => "the only one that fits".into(),
            n => {
                format!("{n} weaker candidate(s) left out: {}", named(MAX_GROUPS).split_once(", ").map_or("", |x| x.1))
            }
        };
        let rule = if bound == 1 { LinkRule::Officer } else { LinkRule::Margin };
        let reason = format!("{} of {area}, {others}", best.name());
        return Decision { verdict: LinkVerdict::Linked, rule, shown: 1, reason };
    }
    if groups.len() > 1 {
        let reason = format!("{} candidates for {area} are too close: {}", groups.len(), named(MAX_GROUPS));
        let shown = groups.len().min(MAX_GROUPS);
        return Decision { verdict: LinkVerdict::Ambiguous, rule: LinkRule::TooClose, shown, reason };
    }
    let reason = format!("only {} ({:.2}, sure from {:.2})", best.name(), best.confidence, c.link_min);
    Decision { verdict: LinkVerdict::Proposed, rule: LinkRule::NotSure, shown: 1, reason }
}

fn state_of(verdict: LinkVerdict, confirmed: bool) -> LinkState {
    match verdict {
        LinkVerdict::Linked if confirmed => LinkState::Confirmed,
        LinkVerdict::Linked => LinkState::Linked,
        LinkVerdict::Ambiguous => LinkState::Ambiguous,
        LinkVerdict::Proposed | LinkVerdict::Unlinked => LinkState::Proposed,
    }
}

/// One link per declaration of the group, each once.
fn links_of(group: &Group, scene: &Scene<'_>, verdict: LinkVerdict) -> Vec<Link> {
    group.goods.iter().map(|goods| one_link(group, goods, scene, verdict)).collect()
}

fn one_link(group: &Group, goods: &super::weigh::Goods, scene: &Scene<'_>, verdict: LinkVerdict) -> Link {
    let known = scene.register.declaration(&goods.number.key);
    let clues: Vec<&Clue> = goods.clues.iter().map(|i| &group.clues[*i]).collect();
    let best = clues[0];
    let booking = clues.iter().find_map(|c| c.booking.as_ref());
    let of_declaration = || known.map_or(&[][..], |d| d.containers.as_slice());
    let containers = match booking {
        Some(b) if !b.containers.is_empty() => b.containers.as_slice(),
        _ => of_declaration(),
    };
    let read = clues.iter().find_map(|c| c.read.clone());
    let mut reason = clues.iter().take(MAX_SOURCES).map(|c| c.reason.as_str()).collect::<Vec<_>>().join("; ");
    if known.is_some_and(|d| d.cancelled_at.is_some()) {
        reason.push_str("; the declaration is cancelled");
    }
    if containers.len() > MAX_CONTAINERS {
        reason = format!("{reason}; {} more containers", containers.len() - MAX_CONTAINERS);
    }
    let mut methods: Vec<LinkMethod> = clues.iter().map(|c| c.method).collect();
    methods.dedup();
    Link {
        decl_key: goods.number.key.clone(),
        amend_no: known.and_then(|d| d.decl_no.amend_no).or(goods.number.amend_no),
        method: best.method,
        methods: methods.into_iter().take(MAX_SOURCES).collect(),
        sources: clues.iter().take(MAX_SOURCES).map(|c| c.source.clone()).collect(),
        scope: if containers.is_empty() && read.is_none() { LinkScope::Vehicle } else { LinkScope::Container },
        container: read,
        confidence: goods.confidence,
        state: state_of(verdict, goods.is_confirmed(group)),
        booking_id: booking.map(|b| b.id.clone()),
        containers: containers.iter().take(MAX_CONTAINERS).cloned().collect(),
        channel: known.and_then(|d| d.channel),
        declaration_known: known.is_some(),
        reason,
    }
}

/// Open tips about the goods named, what carries them, or what was read.
fn tips_of(scene: &Scene<'_>, groups: &[Group], read: &BTreeSet<String>, now: UtcMillis) -> Vec<TipRef> {
    let (register, config) = (scene.register, scene.config);
    let goods = groups.iter().flat_map(|g| &g.goods).map(|g| format!("decl:{}", g.number.key));
    let carried = groups.iter().flat_map(|g| &g.clues).flat_map(|clue| carriers(scene, clue));
    let mut named = BTreeSet::new();
    for handle in goods.chain(carried).chain(read.iter().cloned()) {
        let open = register.tips_by(&handle).filter(|t| t.is_open(now, config.tip_days));
        named.extend(open.map(|t| (t.id.clone(), t.severity.unwrap_or(config.tip_severity))));
    }
    named.into_iter().take(MAX_TIPS).map(|(id, severity)| TipRef { id, severity }).collect()
}

/// The containers and plates of the booking or visit that a clue rests on. A tip may name nothing else.
fn carriers(scene: &Scene<'_>, clue: &Clue) -> Vec<String> {
    let containers = clue.containers.iter().map(|c| format!("container:{c}"));
    let booked = clue.booking.iter().flat_map(|b| b.plates.iter().map(|p| plate_handle(p)));
    let visit = clue.source.strip_prefix("visit:").and_then(|id| scene.register.visit(id));
    let visiting = visit.iter().flat_map(|v| v.plates_at(scene.at)).map(|(p, _)| plate_handle(p));
    containers.chain(booked).chain(visiting).collect()
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;

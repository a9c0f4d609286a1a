//! From an area and a time to declarations, by booking. Pure: the same register, event and moment give the same answer.
//!
//! The first booked window that the event touches holds it: a vehicle that overstays into the next window still
//! belongs to the one it came in, and one that came early belongs to the window it waited for. Windows reached later,
//! or within the grace time only, are weaker candidates. Uncertainty of the time widens the event on both sides.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{
    Booking, BookingState, DeclKey, Link, LinkMethod, LinkOutcome, LinkScope, LinkState, LinkVerdict, RegisterSnapshot,
};
use crate::clock::UtcMillis;
use crate::config::{ConfidenceConfig, RegisterConfig};
use crate::rules::AreaId;

/// Groups named in one outcome at most.
const MAX_GROUPS: usize = 5;
/// Links in one outcome, and containers in one link, at most: a message must fit into a packet whatever was booked.
const MAX_LINKS: usize = 60;
const MAX_CONTAINERS: usize = 20;
/// The clocks of camera and box may differ by this without being wrong.
const CLOCKS_APART_MS: i64 = 60_000;
/// Configured weights are decimal; their differences as `f32` are not exact.
const SLACK: f32 = 1e-4;

/// The event widened by its uncertainty.
#[derive(Clone, Copy)]
struct Span {
    from: UtcMillis,
    /// Latest moment the start may have been.
    start_until: UtcMillis,
    until: UtcMillis,
}

/// Bookings that name the same goods: they do not compete.
struct Group {
    bookings: Vec<Arc<Booking>>,
    in_window: bool,
    confidence: f32,
}

/// Links an event in `area` that began at `start` and ended at `end` (`None` = lasts until `now`).
#[must_use]
pub fn link(
    register: &RegisterSnapshot,
    area: &AreaId,
    start: UtcMillis,
    end: Option<UtcMillis>,
    uncertainty_ms: u32,
    now: UtcMillis,
    config: &RegisterConfig,
) -> LinkOutcome {
    let u = i64::from(uncertainty_ms);
    let until = end.unwrap_or(now).max(start).plus_ms(u);
    let span = Span { from: start.plus_ms(-u), start_until: start.plus_ms(u), until };
    let groups = candidates(register, area, span, config);
    let (feed_age_s, feed_stale) = feed_age(register, now, config);
    let (verdict, shown, mut reason) = decide(&groups, area, &config.confidence);
    if feed_stale {
        let age = feed_age_s.map_or_else(|| "never heard".into(), |s| format!("last heard {s} s ago"));
        reason = format!("{reason}; the clearance feed is stale ({age})");
    }
    let mut links: Vec<Link> = groups[..shown].iter().flat_map(|g| links_of(g, register, state_of(verdict))).collect();
    if links.len() > MAX_LINKS {
        reason =
            format!("{reason}; {} of {} declarations named here, the rest by the bookings", MAX_LINKS, links.len());
        links.truncate(MAX_LINKS);
    }
    LinkOutcome { verdict, links, reason, feed_age_s, feed_stale }
}

/// Age of the last word from the clearance feed in seconds, and whether that is too old to know.
pub(super) fn feed_age(register: &RegisterSnapshot, now: UtcMillis, config: &RegisterConfig) -> (Option<i64>, bool) {
    // A word from the future says that a clock was wrong, not that the feed is fresh.
    let age_ms = register.last_feed.map(|t| now.since(t)).filter(|ms| *ms > -CLOCKS_APART_MS);
    let age_s = age_ms.map(|ms| ms.max(0) / 1000);
    (age_s, age_s.is_none_or(|age| age > i64::from(config.max_feed_age_s)))
}

/// Groups worth mentioning, best first.
fn candidates(register: &RegisterSnapshot, area: &AreaId, span: Span, config: &RegisterConfig) -> Vec<Group> {
    let (before, after) = (i64::from(config.grace_before_s) * 1000, i64::from(config.grace_after_s) * 1000);
    let live = register.bookings_of(area).iter().filter(|b| b.state != BookingState::Cancelled);
    let near: Vec<_> = live
        .filter(|b| touches(b.start.plus_ms(-before), b.end.plus_ms(after), span.from, span.until))
        .cloned()
        .collect();
    let first = first_touched(&near, span);
    let mut groups: Vec<Group> = Vec::new();
    for (i, booking) in near.into_iter().enumerate() {
        add_to_groups(&mut groups, booking, first.contains(&i));
    }
    weigh(&mut groups, &config.confidence);
    groups.retain(|g| g.confidence + SLACK >= config.confidence.propose_min);
    // Stable, and bookings came ordered by start: among equals the earlier is first.
    groups.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    groups
}

/// Does the half-open window share a moment with the closed span?
fn touches(window_start: UtcMillis, window_end: UtcMillis, from: UtcMillis, until: UtcMillis) -> bool {
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

fn add_to_groups(groups: &mut Vec<Group>, booking: Arc<Booking>, in_window: bool) {
    // One booking may join groups that were apart, so all that match are merged.
    let mut merged = Group { bookings: vec![], in_window, confidence: 0.0 };
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

fn weigh(groups: &mut [Group], c: &ConfidenceConfig) {
    let alone = groups.iter().filter(|g| g.in_window).count() == 1;
    for g in groups {
        g.confidence = match (g.in_window, alone) {
            (true, true) => c.booking,
            (true, false) => c.booking_overlap,
            (false, _) => c.booking_grace,
        };
    }
}

/// Verdict, how many groups to show, and why.
fn decide(groups: &[Group], area: &AreaId, c: &ConfidenceConfig) -> (LinkVerdict, usize, String) {
    let Some(best) = groups.first() else {
        return (LinkVerdict::Unlinked, 0, format!("no booking of {area} covers this time"));
    };
    let second = groups.get(1).map_or(0.0, |g| g.confidence);
    if best.confidence + SLACK >= c.link_min && best.confidence - second + SLACK >= c.link_margin {
        let others = match groups.len() - 1 {
            0 => "the only booking that fits".into(),
            n => format!("{n} weaker candidate(s) left out"),
        };
        return (LinkVerdict::Linked, 1, format!("inside booking {} of {area}, {others}", best.bookings[0].id));
    }
    let ids: Vec<_> = groups.iter().take(MAX_GROUPS).map(|g| g.bookings[0].id.as_str()).collect();
    if groups.len() > 1 {
        let reason = format!("{} bookings of {area} fit: {}", groups.len(), ids.join(", "));
        return (LinkVerdict::Ambiguous, groups.len().min(MAX_GROUPS), reason);
    }
    let how = if best.in_window { "inside" } else { "only within the grace time of" };
    (LinkVerdict::Proposed, 1, format!("{how} booking {} of {area}", ids[0]))
}

fn state_of(verdict: LinkVerdict) -> LinkState {
    match verdict {
        LinkVerdict::Linked => LinkState::Linked,
        LinkVerdict::Ambiguous => LinkState::Ambiguous,
        LinkVerdict::Proposed | LinkVerdict::Unlinked => LinkState::Proposed,
    }
}

/// One link per declaration of the group, each once.
fn links_of(group: &Group, register: &RegisterSnapshot, state: LinkState) -> Vec<Link> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for booking in &group.bookings {
        for number in &booking.decl_keys {
            if seen.insert(number.key.clone()) {
                out.push(one_link(group, booking, &number.key, number.amend_no, register, state));
            }
        }
    }
    out
}

fn one_link(
    group: &Group,
    booking: &Booking,
    key: &DeclKey,
    amend_no: Option<u8>,
    register: &RegisterSnapshot,
    state: LinkState,
) -> Link {
    let known = register.declaration(key);
    let of_declaration = || known.map_or(&[][..], |d| d.containers.as_slice());
    let containers = if booking.containers.is_empty() { of_declaration() } else { booking.containers.as_slice() };
    let note = match containers.len().saturating_sub(MAX_CONTAINERS) {
        0 => String::new(),
        more => format!("; {more} more containers"),
    };
    Link {
        decl_key: key.clone(),
        amend_no: known.and_then(|d| d.decl_no.amend_no).or(amend_no),
        method: LinkMethod::Booking,
        scope: if containers.is_empty() { LinkScope::Vehicle } else { LinkScope::Container },
        confidence: group.confidence,
        state,
        booking_id: Some(booking.id.clone()),
        containers: containers.iter().take(MAX_CONTAINERS).cloned().collect(),
        channel: known.and_then(|d| d.channel),
        declaration_known: known.is_some(),
        reason: link_reason(group, booking, known.is_some_and(|d| d.cancelled_at.is_some())) + &note,
    }
}

fn link_reason(group: &Group, booking: &Booking, cancelled: bool) -> String {
    let place = if group.in_window { "in the window of" } else { "within the grace time of" };
    let note = if cancelled { "; the declaration is cancelled" } else { "" };
    format!("{place} booking {} ({} to {}){note}", booking.id, booking.start.to_rfc3339(), booking.end.to_rfc3339())
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;

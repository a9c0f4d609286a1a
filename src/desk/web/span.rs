//! What is looked at: a camera of a box, and from when to when, as addresses and forms say it. Times are the duty room's.

use std::collections::HashMap;
use std::fmt;

use super::alerts::escaped;
use super::page::Ctx;
use super::parts;
use crate::clock::{UtcMillis, utc_now};
use crate::event::zone::DUTY_STARTS_MS;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Longest clip that a page plays, milliseconds: boxes make masked copies of at most this.
pub(crate) const PLAYED_MS: i64 = 10 * MINUTE_MS;
/// Most that boxes answer at once, milliseconds.
pub(crate) const ASKED_MS: i64 = 6 * HOUR_MS;
/// Most that a page shows, milliseconds: a duty day.
const SHOWN_MS: i64 = DAY_MS;
/// Lengths to choose from, minutes.
pub(crate) const MINUTES: [i64; 6] = [2, 10, 30, 60, 360, 1440];
/// Lengths of the cells that a time is divided into, milliseconds.
const CELLS_MS: [i64; 6] = [10_000, MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, 2 * HOUR_MS];
/// Cells at most.
const MAX_CELLS: i64 = 24;

/// A camera of a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub office: String,
    pub box_id: String,
    pub camera: String,
}

impl Place {
    pub(crate) fn new(office: &str, box_id: &str, camera: &str) -> Self {
        Self { office: office.into(), box_id: box_id.into(), camera: camera.into() }
    }

    /// Reads `15BB/gate-01/bay`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/').filter(|p| !p.is_empty());
        Some(Self::new(parts.next()?, parts.next()?, parts.next()?))
    }

    /// Of what a message says about itself and a camera of its box: `/office/15BB/box/gate-01`.
    pub(crate) fn of_source(source: &str, camera: &str) -> Option<Self> {
        let (office, box_id) = source.strip_prefix("/office/")?.split_once("/box/")?;
        Some(Self::new(office, box_id, camera))
    }

    /// Its page.
    pub(crate) fn path(&self) -> String {
        format!("/footage/{}/{}/{}", escaped(&self.office), escaped(&self.box_id), escaped(&self.camera))
    }

    /// Its page with a time.
    pub(crate) fn address(&self, ctx: &Ctx, span: Span) -> String {
        format!("{}?{}", self.path(), span.query(ctx))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.office, self.box_id, self.camera)
    }
}

/// A time, milliseconds UTC, in whole seconds; `from < to`, at most a duty day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub from: i64,
    pub to: i64,
}

impl Span {
    /// Whole seconds that hold the time; a longer one is cut off behind, an empty one is a second.
    pub(crate) fn new(from: i64, to: i64) -> Self {
        let from = from.div_euclid(1000) * 1000;
        let to = (to + 999).div_euclid(1000) * 1000;
        Self { from, to: to.clamp(from + 1000, from + SHOWN_MS) }
    }

    /// A playable time around a moment.
    pub(crate) fn around(at_ms: i64) -> Self {
        Self::new(at_ms - PLAYED_MS / 2, at_ms - PLAYED_MS / 2 + PLAYED_MS - 1000)
    }

    /// The newest `minutes`.
    pub(crate) fn last(minutes: i64) -> Self {
        let now = utc_now().0;
        Self::new(now - minutes * MINUTE_MS, now)
    }

    /// A duty day: the one that now belongs to, or an earlier one.
    pub(crate) fn duty_day(ctx: &Ctx, days_ago: i64) -> Option<(String, Self)> {
        let day = ctx.room.zone.duty_day(UtcMillis(utc_now().0 - days_ago * DAY_MS));
        let midnight = parts::read_time(ctx, &format!("{day}T00:00")).ok().flatten()?;
        Some((day, Self::new(midnight + DUTY_STARTS_MS, midnight + DUTY_STARTS_MS + DAY_MS)))
    }

    pub(crate) fn length(self) -> i64 {
        self.to - self.from
    }

    pub(crate) fn is_played(self) -> bool {
        self.length() <= PLAYED_MS
    }

    /// As far back or ahead as it is long.
    pub(crate) fn step(self, steps: i64) -> Self {
        let by = steps * self.length();
        Self { from: self.from + by, to: self.to + by }
    }

    /// The next longer time to choose from, around the same middle; `None` when this is the longest.
    pub(crate) fn wider(self) -> Option<Self> {
        let longer = MINUTES.iter().map(|m| m * MINUTE_MS).find(|ms| *ms > self.length())?;
        let from = self.from - (longer - self.length()) / 2;
        Some(Self::new(from, from.div_euclid(1000) * 1000 + longer))
    }

    /// The time in parts of one length.
    pub(crate) fn cells(self) -> Vec<Self> {
        let fits = |ms: &&i64| self.length().div_euclid(**ms) <= MAX_CELLS;
        let each = CELLS_MS.iter().find(fits).copied().unwrap_or(SHOWN_MS);
        let starts = (0..).map(|i| self.from + i * each).take_while(|from| *from < self.to);
        starts.map(|from| Self { from, to: (from + each).min(self.to) }).collect()
    }

    /// Pieces that a box answers at once.
    pub(crate) fn pieces(self) -> Vec<Self> {
        let starts = (0..).map(|i| self.from + i * ASKED_MS).take_while(|from| *from < self.to);
        starts.map(|from| Self { from, to: (from + ASKED_MS).min(self.to) }).collect()
    }

    /// For an address.
    pub(crate) fn query(self, ctx: &Ctx) -> String {
        format!("from={}&to={}", parts::address_time(ctx, self.from), parts::address_time(ctx, self.to))
    }

    /// For a box.
    pub(crate) fn asked(self, camera: &str) -> Vec<(&'static str, String)> {
        vec![
            ("camera", camera.to_owned()),
            ("from", UtcMillis(self.from).to_rfc3339()),
            ("to", UtcMillis(self.to).to_rfc3339()),
        ]
    }

    /// For people: `28/11/2026 03:10:00 – 03:20:00`.
    pub(crate) fn words(self, ctx: &Ctx) -> String {
        let (from, to) = (parts::time_text(ctx, self.from), parts::time_text(ctx, self.to));
        let same = from.split(' ').next() == to.split(' ').next();
        let to = if same { to.split(' ').nth(1).unwrap_or_default() } else { to.as_str() };
        format!("{from} – {to}")
    }
}

/// The time that an address or form asks for: `from` with `to` or `minutes`; without `from` the newest minutes. The error
/// is the key of a sentence.
pub(crate) fn read(ctx: &Ctx, get: impl Fn(&str) -> String) -> Result<Span, &'static str> {
    let minutes = get("minutes").parse::<i64>().unwrap_or(10).clamp(1, SHOWN_MS / MINUTE_MS);
    let time = |name: &str| parts::read_time(ctx, get(name).trim()).map_err(|()| "refusal.time");
    let Some(from) = time("from")? else { return Ok(Span::last(minutes)) };
    let to = time("to")?.unwrap_or(from + minutes * MINUTE_MS);
    if to <= from { Err("refusal.order") } else { Ok(Span::new(from, to)) }
}

/// As [`read`], from an address.
pub(crate) fn of_query(ctx: &Ctx, query: &HashMap<String, String>) -> Result<Span, &'static str> {
    read(ctx, |name| query.get(name).cloned().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_is_read_back_and_nothing_is_smuggled_into_its_address() {
        let place = Place::parse("15BB/gate-01/bay/2?x").unwrap();
        assert_eq!((place.camera.as_str(), place.to_string().as_str()), ("bay/2?x", "15BB/gate-01/bay/2?x"));
        assert_eq!(place.path(), "/footage/15BB/gate-01/bay%2F2%3Fx");
        assert_eq!(Place::of_source("/office/15BB/box/gate-01", "bay"), Some(Place::new("15BB", "gate-01", "bay")));
        assert_eq!((Place::parse("15BB/gate-01"), Place::of_source("x", "bay")), (None, None));
    }

    #[test]
    fn a_time_is_divided_without_holes_into_few_cells() {
        for length in [1, 59, 60, 120, 600, 601, 1800, 3600, 21_600, 86_400] {
            let span = Span::new(5_000, 5_000 + length * 1000);
            for parts in [span.cells(), span.pieces()] {
                assert!((1..=25).contains(&parts.len()), "{length}: {}", parts.len());
                assert_eq!((parts[0].from, parts[parts.len() - 1].to), (span.from, span.to));
                assert!(parts.windows(2).all(|w| w[0].to == w[1].from), "{length}");
            }
        }
        assert_eq!(Span::new(0, 3_600_000).cells().len(), 12);
        assert_eq!(Span::new(0, 86_400_000).cells().len(), 24);
    }

    #[test]
    fn times_are_whole_seconds_within_a_day_and_steps_join() {
        assert_eq!(Span::new(1_999, 2_001), Span { from: 1_000, to: 3_000 });
        assert_eq!(Span::new(1_000, 1_000).length(), 1_000);
        assert_eq!(Span::new(0, 100 * 86_400_000).length(), 86_400_000);
        let span = Span::around(1_700_000_000_123);
        assert!(span.is_played() && span.from < 1_700_000_000_123 && span.to > 1_700_000_000_123);
        assert_eq!((span.step(1).from, span.step(-1).to), (span.to, span.from));
        let wider = span.wider().unwrap();
        assert!(wider.from < span.from && wider.to > span.to && wider.length() == 30 * 60_000, "{wider:?}");
        assert_eq!(Span::new(0, 86_400_000).wider(), None);
    }
}

//! Which tracks have come to rest: a truck that stands in a bay for hours needs no picture every fifth of a second.

use std::collections::{BTreeMap, VecDeque};

use super::{Track, TrackId};
use crate::clock::MonoMillis;
use crate::geometry::Rect;

/// At rest after so long in one place, milliseconds: longer than anything takes that is timed from the moment of a stop.
const REST_MS: i64 = 10_000;
/// One place: sides of the box may be off by this share of its larger side. Boxes tremble.
const PLACE: f32 = 0.15;

// Beside the pixels: where a flag, leaves, rain or a shadow change them, or a picture is too noisy to tell, only this lets a
// camera idle. What flickers on pixels that stay is not counted, for somebody real may come to that place.
/// What comes to a place where so many tracks came and went without ever moving asks for no attention until it moves,
const NOTHING_TIMES: u32 = 2;
/// until none did for so long, milliseconds.
const NOTHING_MS: i64 = 600_000;
/// Such places remembered.
const NOTHING_PLACES: usize = 64;

/// Where the tracks of one camera are, and since when.
#[derive(Debug)]
pub struct Rest {
    doubts: bool,
    seen: BTreeMap<TrackId, Seen>,
    /// Where tracks came and went that asked for attention or would have, never moved and were never believed, the latest
    /// last: a shadow, a flag that looks like a person in one picture of ten.
    nothing: VecDeque<Nothing>,
}

#[derive(Debug)]
struct Seen {
    since: MonoMillis,
    place: Rect,
    moved: bool,
    believed: bool,
    /// It asked for attention, or would have at another place.
    asked: bool,
}

#[derive(Debug)]
struct Nothing {
    last: MonoMillis,
    place: Rect,
    times: u32,
}

impl Rest {
    /// Nothing seen yet. Without `doubts` whatever is new asks for attention wherever it is and whatever the pixels say, for
    /// who appears may be real, and what he does before the next keyframe would not be seen.
    #[must_use]
    pub fn new(doubts: bool) -> Self {
        Self { doubts, seen: BTreeMap::new(), nothing: VecDeque::new() }
    }

    /// Takes the tracks of a picture taken at `now`. Whether any of them is not at rest: it moves, has only just come to
    /// a stop, or is new where there may be something. `changed` says whether the picture changed within a box since a
    /// moment: what is found anew where it did not was there before, and only the detector is of another opinion.
    pub fn stirs(&mut self, now: MonoMillis, tracks: &[Track], changed: impl Fn(&Rect, MonoMillis) -> bool) -> bool {
        let gone = |id: &TrackId| !tracks.iter().any(|t| t.id == *id);
        let ended: Vec<Seen> = self.seen.extract_if(.., |id, _| gone(id)).map(|(_, seen)| seen).collect();
        ended
            .iter()
            .filter(|seen| seen.asked && !seen.moved && !seen.believed)
            .for_each(|seen| self.came_to_nothing(now, seen.place));
        let lately = MonoMillis(now.0 - REST_MS);
        let mut stirs = false;
        for track in tracks {
            let new = Seen { since: now, place: track.rect, moved: false, believed: false, asked: false };
            let seen = self.seen.entry(track.id).or_insert(new);
            seen.believed |= track.confirmed;
            // A box that is only predicted says nothing of where the thing is.
            if track.matched && away(&seen.place, &track.rect) {
                *seen = Seen { since: now, place: track.rect, moved: true, ..*seen };
            }
            let restless = !track.confirmed || now.since(seen.since) < REST_MS;
            let asks = restless && (!self.doubts || changed(&track.rect, lately));
            seen.asked |= asks;
            let ghost = |n: &Nothing| {
                n.times >= NOTHING_TIMES && now.since(n.last) < NOTHING_MS && !away(&n.place, &seen.place)
            };
            let doubted = self.doubts && !seen.moved && !seen.believed && self.nothing.iter().any(ghost);
            stirs |= asks && !doubted;
        }
        stirs
    }

    fn came_to_nothing(&mut self, now: MonoMillis, place: Rect) {
        let known = self.nothing.iter().position(|n| !away(&n.place, &place)).and_then(|i| self.nothing.remove(i));
        let times = known.filter(|n| now.since(n.last) < NOTHING_MS).map_or(0, |n| n.times);
        self.nothing.push_back(Nothing { last: now, place, times: times + 1 });
        if self.nothing.len() > NOTHING_PLACES {
            self.nothing.pop_front();
        }
    }
}

fn away(a: &Rect, b: &Rect) -> bool {
    let size = a.width().max(a.height()).max(b.width()).max(b.height()).max(1.0);
    let sides = [a.x0 - b.x0, a.y0 - b.y0, a.x1 - b.x1, a.y1 - b.y1];
    sides.iter().any(|d| d.abs() > PLACE * size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::FrameTime;
    use crate::config::TrackerConfig;
    use crate::ids::IdSource;
    use crate::track::Tracker;
    use crate::vision::Detection;

    /// The picture changes everywhere.
    fn anywhere(_: &Rect, _: MonoMillis) -> bool {
        true
    }

    /// Pictures, five a second, in which attention is asked for: somebody is found in some of them, on pixels that changed
    /// where and since when `changed` says so.
    fn asked(
        doubts: bool,
        found: impl Fn(i64) -> Option<Rect>,
        changed: impl Fn(&Rect, MonoMillis) -> bool,
    ) -> Vec<i64> {
        let mut tracker = Tracker::new(TrackerConfig::default(), IdSource::random());
        let mut rest = Rest::new(doubts);
        let mut look = |i: i64| {
            let found: Vec<Detection> =
                found(i).map(|r| Detection::whole("person".into(), 0.9, r)).into_iter().collect();
            rest.stirs(MonoMillis(i * 200), tracker.update(FrameTime::arrived(i * 200), &found), &changed)
        };
        (0..200).filter(|i| look(*i)).collect()
    }

    const THERE: Rect = Rect { x0: 50.0, y0: 100.0, x1: 90.0, y1: 220.0 };

    #[test]
    fn what_is_found_where_the_picture_does_not_change_asks_for_nothing() {
        // In two pictures of five, with boxes that tremble; at 7.2 seconds something passes by.
        let trembling = |i: i64| (i % 5 < 2).then_some(Rect { x1: THERE.x1 + (i % 3) as f32 * 12.0, ..THERE });
        let asked = asked(true, trembling, |rect, since| since.0 > -3_000 && rect.x0 < 100.0);
        assert!(asked.first().is_some_and(|i| (36..=37).contains(i)), "{asked:?}");
    }

    #[test]
    fn what_flickered_on_pixels_that_stayed_is_no_reason_to_doubt_who_comes_there() {
        let flickering = |i: i64| (i % 20 == 0).then_some(THERE);
        let asked = asked(true, flickering, |_, since| since.0 >= 22_000);
        assert_eq!(asked.first(), Some(&160), "{asked:?}");
    }

    #[test]
    fn without_doubts_whoever_is_new_asks_whatever_the_pixels_say() {
        let flickering = |i: i64| (i % 20 == 0).then_some(THERE);
        let new = asked(false, flickering, |_, _| false);
        assert!((0..200).step_by(20).all(|i| new.contains(&i)), "{new:?}");
        assert!(asked(true, flickering, |_, _| false).is_empty());
        // Who stays rests, pixels or not.
        let staying = asked(false, |_| Some(THERE), anywhere);
        assert_eq!(staying, (0..50).collect::<Vec<i64>>());
    }

    #[test]
    fn a_truck_rests_ten_seconds_after_its_stop_and_stirs_when_it_goes() {
        let mut tracker = Tracker::new(TrackerConfig::default(), IdSource::random());
        let mut rest = Rest::new(true);
        let mut stirring = Vec::new();
        for i in 0..200_i64 {
            let ms = i * 200;
            // Drives for five seconds, stands for twenty, drives on.
            let way = (ms.min(5000) + (ms - 25_000).max(0)) as f32 / 10.0;
            let time = FrameTime::arrived(ms);
            let rect = Rect { x0: way, y0: 100.0, x1: way + 200.0, y1: 220.0 };
            let tracks = tracker.update(time, &[Detection::whole("truck".into(), 0.9, rect)]);
            stirring.push((ms, rest.stirs(MonoMillis(ms), tracks, anywhere)));
        }
        let quiet: Vec<i64> = stirring.iter().filter(|(_, s)| !s).map(|(ms, _)| *ms).collect();
        let (first, last) = (quiet[0], quiet[quiet.len() - 1]);
        assert!((14_000..16_000).contains(&first), "{first}");
        assert!((25_000..26_000).contains(&last), "{last}");
        assert!(!rest.stirs(MonoMillis(99_000), &[], anywhere));
    }

    #[test]
    fn what_comes_and_goes_without_moving_asks_twice_for_attention_and_what_stays_moves_or_comes_elsewhere_still_does()
    {
        let mut tracker = Tracker::new(TrackerConfig::default(), IdSource::random());
        let mut rest = Rest::new(true);
        let ghost = Rect { x0: 50.0, y0: 100.0, x1: 90.0, y1: 220.0 };
        let mut look = |at_ms: i64, found: &[Rect]| {
            let found: Vec<Detection> = found.iter().map(|r| Detection::whole("person".into(), 0.9, *r)).collect();
            let tracks = tracker.update(FrameTime::arrived(at_ms), &found);
            rest.stirs(MonoMillis(at_ms), tracks, anywhere)
        };
        let asked: Vec<bool> = (0..10)
            .map(|i| {
                // Once long enough to be believed.
                let seen = if i == 8 { 10 } else { 1 };
                (0..24).fold(false, |asks, k| {
                    let found = if k < seen { std::slice::from_ref(&ghost) } else { &[] };
                    look(i * 5000 + k * 200, found) || asks
                })
            })
            .collect();
        let want: Vec<bool> = (0..10).map(|i| i < 2 || i == 8).collect();
        assert_eq!(asked, want);
        let elsewhere = Rect { x0: 300.0, x1: 340.0, ..ghost };
        assert!(look(50_000, &[elsewhere]));
        (1..20).for_each(|k| {
            look(50_000 + k * 200, &[]);
        });
        let walking: Vec<bool> = (0..20)
            .map(|k| {
                let way = (k - 5).max(0) as f32 * 8.0;
                look(60_000 + k * 200, &[Rect { x0: ghost.x0 + way, x1: ghost.x1 + way, ..ghost }])
            })
            .collect();
        assert!(
            walking[..2] == [false; 2] && walking[3..].iter().all(|asks| *asks),
            "believed, then moving: {walking:?}"
        );
    }
}

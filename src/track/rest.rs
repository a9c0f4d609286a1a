//! Which tracks have come to rest: a truck that stands in a bay for hours needs no picture every fifth of a second.

use std::collections::BTreeMap;

use super::{Track, TrackId};
use crate::clock::MonoMillis;
use crate::geometry::Rect;

/// At rest after so long in one place, milliseconds: longer than anything takes that is timed from the moment of a stop.
const REST_MS: i64 = 10_000;
/// One place: sides of the box may be off by this share of its larger side. Boxes tremble.
const PLACE: f32 = 0.15;

/// Where the tracks of one camera are, and since when.
#[derive(Debug, Default)]
pub struct Rest(BTreeMap<TrackId, (MonoMillis, Rect)>);

impl Rest {
    /// Takes the tracks of a picture taken at `now`. Whether any of them is not at rest: it moves, has only just come to
    /// a stop, or is not believed yet.
    pub fn stirs(&mut self, now: MonoMillis, tracks: &[Track]) -> bool {
        self.0.retain(|id, _| tracks.iter().any(|t| t.id == *id));
        let mut stirs = false;
        for track in tracks {
            let (since, place) = self.0.entry(track.id).or_insert((now, track.rect));
            // A box that is only predicted says nothing of where the thing is.
            if track.matched && away(place, &track.rect) {
                (*since, *place) = (now, track.rect);
            }
            stirs |= !track.confirmed || now.since(*since) < REST_MS;
        }
        stirs
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

    #[test]
    fn a_truck_rests_ten_seconds_after_its_stop_and_stirs_when_it_goes() {
        let mut tracker = Tracker::new(TrackerConfig::default(), IdSource::random());
        let mut rest = Rest::default();
        let mut stirring = Vec::new();
        for i in 0..200_i64 {
            let ms = i * 200;
            // Drives for five seconds, stands for twenty, drives on.
            let way = (ms.min(5000) + (ms - 25_000).max(0)) as f32 / 10.0;
            let time = FrameTime::arrived(ms);
            let rect = Rect { x0: way, y0: 100.0, x1: way + 200.0, y1: 220.0 };
            let tracks = tracker.update(time, &[Detection::whole("truck".into(), 0.9, rect)]);
            stirring.push((ms, rest.stirs(MonoMillis(ms), tracks)));
        }
        let quiet: Vec<i64> = stirring.iter().filter(|(_, s)| !s).map(|(ms, _)| *ms).collect();
        let (first, last) = (quiet[0], quiet[quiet.len() - 1]);
        assert!((14_000..16_000).contains(&first), "{first}");
        assert!((25_000..26_000).contains(&last), "{last}");
        assert!(!rest.stirs(MonoMillis(99_000), &[]));
    }
}

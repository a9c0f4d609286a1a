//! Object left: a thing of a configured class was put down in an area and stays. New when it has stood still long
//! enough, end when it is gone. What stood there before anybody looked was not left, nor what stood behind something then. A
//! camera that is lost for a while ends the event; what still stands there afterwards, or was put down meanwhile, is a new one.

use super::crowd::{Crowd, Picture};
use super::draft::{Draft, Keys, Open};
use super::ground::Ground;
use super::presence::Sight;
use super::spots::{Memory, Spot, Spots};
use super::{EndReason, RuleKind, seconds};
use crate::config::ObjectConfig;
use crate::geometry::Rect;

/// A place must be seen empty this long, milliseconds, before the thing counts as gone.
const CLEAR_MS: i64 = 3000;

/// State of one area.
#[derive(Debug, Clone, Default)]
pub(super) struct ObjectLeft {
    ground: Ground,
    spots: Spots,
    /// By the number of the spot.
    open: Vec<(u64, Open)>,
    memory: Memory,
}

impl ObjectLeft {
    /// Takes who is there after a frame and all that was seen in it.
    pub fn step(
        &mut self,
        crowd: &Crowd,
        picture: &Picture,
        now: Sight,
        config: &ObjectConfig,
        keys: &mut Keys,
    ) -> Vec<(Spot, Draft)> {
        if self.memory.is_void(picture, now) && self.open.is_empty() {
            (self.ground, self.spots) = (Ground::default(), Spots::default());
        }
        let mut drafts = Vec::new();
        self.ground.see(picture, now);
        let at_start = |place: &Rect| self.ground.is_unseen(place, picture.size);
        for gone in self.spots.see(crowd, picture, now, CLEAR_MS, at_start) {
            if let Some(open) = self.close(&gone.spot) {
                drafts.push((gone.spot, open.end(gone.at, now, gone.reason)));
            }
        }
        for spot in self.spots.list.iter().filter(|s| !s.at_start && s.last == now) {
            let ripe = now.mono.since(spot.since.mono) >= seconds(config.after_s);
            if ripe && !self.open.iter().any(|(number, _)| *number == spot.number) {
                let (open, draft) = Open::begin(keys.next(), RuleKind::ObjectLeft, config.severity, spot.since, now);
                self.open.push((spot.number, open));
                drafts.push((spot.clone(), draft));
            }
        }
        drafts
    }

    /// Camera or process is over. Where things stood is remembered.
    pub fn cut(&mut self, reason: EndReason) -> Vec<(Spot, Draft)> {
        self.spots.pause();
        let open = std::mem::take(&mut self.open).into_iter();
        let of = |(number, open): (u64, Open)| {
            let spot = self.spots.list.iter().find(|s| s.number == number)?;
            Some((spot.clone(), open.end(spot.last, spot.last, reason)))
        };
        open.filter_map(of).collect()
    }

    fn close(&mut self, spot: &Spot) -> Option<Open> {
        let at = self.open.iter().position(|(number, _)| *number == spot.number)?;
        Some(self.open.remove(at).1)
    }
}

//! Object removed: a thing of a configured class stood in an area and is gone, carried away in sight or no more at its
//! place once that is seen again, also after the camera was lost for a while. An instant at the last sight of it there; the
//! picture shows where it was.

use super::crowd::{Crowd, Picture};
use super::draft::{Draft, Keys};
use super::presence::Sight;
use super::spots::{Memory, Spot, Spots};
use super::{RuleKind, seconds};
use crate::config::ObjectConfig;

/// State of one area.
#[derive(Debug, Clone, Default)]
pub(super) struct ObjectRemoved {
    spots: Spots,
    memory: Memory,
}

impl ObjectRemoved {
    /// Takes who is there after a frame and all that was seen in it.
    pub fn step(
        &mut self,
        crowd: &Crowd,
        picture: &Picture,
        now: Sight,
        config: &ObjectConfig,
        keys: &mut Keys,
    ) -> Vec<(Spot, Draft)> {
        if self.memory.is_void(picture, now) {
            self.spots = Spots::default();
        }
        let gone = self.spots.see(crowd, picture, now, seconds(config.after_s), |_| false).into_iter();
        // What stood only for a moment was on its way.
        let stood = gone.filter(|g| g.at.mono.since(g.spot.since.mono) >= seconds(config.after_s));
        stood
            .map(|g| {
                let draft = Draft::instant(keys.next(), RuleKind::ObjectRemoved, config.severity, g.at, now);
                let dwell_ms = Some(g.at.mono.since(g.spot.since.mono));
                (g.spot, Draft { dwell_ms, ..draft })
            })
            .collect()
    }

    /// Camera or process is over. Where things stood is remembered.
    pub fn cut(&mut self) {
        self.spots.pause();
    }
}

//! Occupancy: more things in an area than allowed. One event for the area: new when it has lasted, update when the
//! number grows beyond the greatest so far, end when the number is allowed again. `count` is the greatest number.

use super::crowd::Crowd;
use super::draft::{Draft, Keys, Open};
use super::presence::Sight;
use super::{EndReason, RuleKind, renamed, seconds};
use crate::config::OccupancyConfig;
use crate::track::TrackId;

/// State for one area.
#[derive(Debug, Clone, Default)]
pub(super) struct Occupancy {
    /// Since when it is too many, and who made it so.
    since: Option<(Sight, TrackId)>,
    open: Option<(Open, u32)>,
}

impl Occupancy {
    /// Takes who is there after a frame; the report names the track that was one too many.
    pub fn step(
        &mut self,
        crowd: &Crowd,
        now: Sight,
        config: &OccupancyConfig,
        keys: &mut Keys,
    ) -> Option<(TrackId, Draft)> {
        let count = u32::try_from(crowd.present.len()).unwrap_or(u32::MAX);
        if count <= config.limit {
            return self.allowed(crowd, now);
        }
        let mut by_entry: Vec<_> = crowd.present.iter().map(|p| (p.entered, p.track)).collect();
        by_entry.sort_by_key(|(entered, _)| entered.mono);
        let over = by_entry.get(config.limit as usize).copied()?;
        let (since, first) = *self.since.get_or_insert(over);
        // Who made it too many may have gone meanwhile, while the number stayed.
        let track = if crowd.present.iter().any(|p| p.track == first) { first } else { over.1 };
        match &mut self.open {
            None if now.mono.since(since.mono) >= seconds(config.after_s) => {
                let (open, draft) = Open::begin(keys.next(), RuleKind::Occupancy, config.severity, since, now);
                self.open = Some((open, count));
                Some((track, Draft { count: Some(count), ..draft }))
            }
            Some((open, most)) if count > *most => {
                *most = count;
                let draft = open.update(config.severity, now);
                let newest = by_entry.last().map_or(track, |(_, t)| *t);
                Some((newest, Draft { count: Some(count), ..draft }))
            }
            _ => None,
        }
    }

    fn allowed(&mut self, crowd: &Crowd, now: Sight) -> Option<(TrackId, Draft)> {
        let (_, track) = self.since.take()?;
        let (open, most) = self.open.take()?;
        let gone = crowd.gone.iter().max_by_key(|g| g.at.mono);
        let (at, reason) = gone.map_or((now, EndReason::Observed), |g| (g.at, g.reason));
        Some((track, Draft { count: Some(most), ..open.end(at, now, reason) }))
    }

    /// These two tracks exchanged their names.
    pub fn exchange(&mut self, names: (TrackId, TrackId)) {
        if let Some((_, track)) = &mut self.since {
            renamed(track, names);
        }
    }

    /// Camera or process is over while the situation lasts.
    pub fn cut(&mut self, last: Sight, reason: EndReason) -> Option<(TrackId, Draft)> {
        let (_, track) = self.since.take()?;
        let (open, most) = self.open.take()?;
        Some((track, Draft { count: Some(most), ..open.end(last, last, reason) }))
    }
}

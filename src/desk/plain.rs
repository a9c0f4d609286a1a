//! Messages of a batch that are plainly new: the next number of their box, the next word of an event that no alert is
//! about yet. They change nothing that is kept, so they are collected and written with a few statements for all of them.
//! Every other message is looked at alone, in `ingest.rs`, after those before it are written: the order stays.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::db::alerts::{AlertRow, LinkRow};
use super::db::bulk::Known;
use super::db::messages::Message;
use super::db::{DbError, Tx};
use super::room::Room;
use super::{chain, ingest, message};

/// Collected, and what is known of the batch's events and boxes with it.
#[derive(Debug, Default)]
pub(crate) struct Plain<'m> {
    known: Known,
    /// Boxes and events of which nothing is known for certain any more in this batch.
    odd: HashSet<&'m str>,
    messages: Vec<&'m Message>,
    /// Newest message of each event.
    newest: BTreeMap<&'m str, &'m Message>,
    /// Events that said something before this batch, or before in it.
    spoken: BTreeSet<&'m str>,
    /// Newest message of each box and epoch.
    streams: BTreeMap<(&'m str, i64), &'m Message>,
    alerts: Vec<AlertRow>,
    /// After how long a message of a box is history, asked for once in a batch.
    live_limits: BTreeMap<(&'m str, &'m str), i64>,
}

impl<'m> Plain<'m> {
    pub(crate) fn new(known: Known) -> Self {
        Self { known, ..Self::default() }
    }

    /// The next number of its box, or the first of one: the same as [`Tx::keep`] counts without a hole.
    fn is_next(&self, m: &Message) -> bool {
        let next = match self.known.streams.get(&m.source) {
            None => true,
            Some(epochs) => epochs.get(&m.epoch).map_or(m.seq <= 1, |high| m.seq == high + 1),
        };
        next && !self.odd.contains(m.source.as_str())
    }

    /// Whether it can be collected.
    pub(crate) fn fits(&self, m: &Message) -> bool {
        let newer = match self.known.events.get(&m.id) {
            None => true,
            Some((source, revision)) => *source == m.source && m.revision > *revision,
        };
        let unclear = self.known.alerts.contains(&m.id)
            || self.known.disputed.contains(&m.id)
            || self.odd.contains(m.id.as_str());
        newer && !unclear && m.kind != chain::HEAD_KIND && self.is_next(m)
    }

    /// Collects one that fits. What it says about tips and bays is written at once: nothing else depends on it.
    pub(crate) async fn take(&mut self, room: &Room, tx: &mut Tx, m: &'m Message, now: i64) -> Result<(), DbError> {
        ingest::hear(tx, m, true).await?;
        self.known.streams.entry(m.source.clone()).or_default().insert(m.epoch, m.seq);
        if self.known.events.insert(m.id.clone(), (m.source.clone(), m.revision)).is_some() {
            self.spoken.insert(&m.id);
        }
        self.streams.insert((&m.source, m.epoch), m);
        self.newest.insert(&m.id, m);
        self.messages.push(m);
        if message::is_alert(m) {
            self.known.alerts.insert(m.id.clone());
            let limit = self.live_limit(room, tx, m).await?;
            self.alerts.push(message::alert(m, &room.zone, now, limit));
        }
        Ok(())
    }

    async fn live_limit(&mut self, room: &Room, tx: &mut Tx, m: &'m Message) -> Result<i64, DbError> {
        let of_box = (m.office.as_str(), m.box_id.as_str());
        if let Some(known) = self.live_limits.get(&of_box) {
            return Ok(*known);
        }
        let limit = ingest::live_limit_of(room, tx, m).await?;
        self.live_limits.insert(of_box, limit);
        Ok(limit)
    }

    /// Writes what is collected.
    pub(crate) async fn write(&mut self, tx: &mut Tx, now: i64) -> Result<(), DbError> {
        if self.messages.is_empty() {
            return Ok(());
        }
        tx.add_messages(&std::mem::take(&mut self.messages), now).await?;
        let links: Vec<(&Message, LinkRow)> =
            self.newest.values().flat_map(|m| message::links(m).into_iter().map(move |link| (*m, link))).collect();
        let spoken: Vec<&str> = std::mem::take(&mut self.spoken).into_iter().collect();
        tx.set_many_links(&spoken, &links, now).await?;
        tx.add_alerts(&std::mem::take(&mut self.alerts)).await?;
        tx.move_streams(&std::mem::take(&mut self.streams).into_values().collect::<Vec<_>>()).await?;
        self.newest.clear();
        Ok(())
    }

    /// A message was looked at alone.
    pub(crate) fn passed(&mut self, m: &'m Message) {
        self.odd.insert(&m.id);
        if self.is_next(m) {
            // Whatever became of it, its number is seen.
            self.known.streams.entry(m.source.clone()).or_default().insert(m.epoch, m.seq);
        } else {
            self.odd.insert(&m.source);
        }
    }
}

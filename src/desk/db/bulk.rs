//! Many rows with few statements: what a batch of messages needs to know of the database, and what it writes. Which
//! messages are written like this is decided in `desk/plain.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sqlx::{Any, AssertSqlSafe};

use super::alerts::{self, AlertRow, LinkRow};
use super::messages::Message;
use super::{DbError, Query, Tx};
use crate::desk::message::happened;
use crate::desk::outage::STEP_MS;

/// Rows of one statement. Few sizes, so that the driver keeps all of them prepared.
const SIZES: [usize; 5] = [128, 32, 8, 2, 1];

/// What is known of the events and boxes of a batch.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// By event: whose it is, and its highest revision.
    pub events: HashMap<String, (String, i64)>,
    /// Events that are alerts.
    pub alerts: HashSet<String>,
    /// By box and epoch: highest number seen.
    pub streams: HashMap<String, HashMap<i64, i64>>,
    /// Events of more than one box.
    pub disputed: HashSet<String>,
}

/// `all` in pieces of [`SIZES`].
fn pieces<T>(mut all: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= all.len())?;
        let (piece, rest) = all.split_at(size);
        all = rest;
        Some(piece)
    })
}

/// `($1, $2), ($3, $4)`.
fn places(rows: usize, columns: usize) -> String {
    let row = |r: usize| (1..=columns).map(|c| format!("${}", r * columns + c)).collect::<Vec<_>>().join(", ");
    (0..rows).map(|r| format!("({})", row(r))).collect::<Vec<_>>().join(", ")
}

impl Tx {
    /// One statement a piece of `rows`: `head`, the places, `tail`. All three are texts of this folder.
    pub(super) async fn many<T>(
        &mut self,
        (head, columns, tail): (&str, usize, &str),
        rows: &[T],
        bind: impl Fn(Query, &T) -> Query,
    ) -> Result<(), DbError> {
        for piece in pieces(rows) {
            let text = format!("{head} {} {tail}", places(piece.len(), columns));
            let query = piece.iter().fold(sqlx::query(AssertSqlSafe(text)), &bind);
            query.execute(&mut **self).await?;
        }
        Ok(())
    }

    /// What is known around these messages.
    pub(crate) async fn known(&mut self, messages: &[&Message]) -> Result<Known, DbError> {
        let mut known = Known::default();
        let ids: Vec<&str> = messages.iter().map(|m| m.id.as_str()).collect::<BTreeSet<_>>().into_iter().collect();
        for piece in pieces(&ids) {
            // One row of as many columns as there are ids is a list of them.
            let list = places(1, piece.len());
            let select =
                format!("SELECT id, source, MAX(revision) FROM message WHERE id IN {list} GROUP BY id, source");
            let query = sqlx::query_as::<Any, (String, String, i64)>(AssertSqlSafe(select));
            for (id, source, revision) in piece.iter().fold(query, |q, id| q.bind(*id)).fetch_all(&mut **self).await? {
                if known.events.insert(id.clone(), (source, revision)).is_some() {
                    known.disputed.insert(id);
                }
            }
            let select = format!("SELECT id FROM alert WHERE id IN {list}");
            let query = sqlx::query_scalar::<Any, String>(AssertSqlSafe(select));
            let found = piece.iter().fold(query, |q, id| q.bind(*id)).fetch_all(&mut **self).await?;
            known.alerts.extend(found);
        }
        let sources = messages.iter().map(|m| m.source.as_str()).collect::<BTreeSet<_>>();
        for piece in pieces(&sources.into_iter().collect::<Vec<_>>()) {
            let list = places(1, piece.len());
            let select = format!("SELECT source, epoch, high FROM stream WHERE source IN {list}");
            let query = sqlx::query_as::<Any, (String, i64, i64)>(AssertSqlSafe(select));
            for (source, epoch, high) in piece.iter().fold(query, |q, s| q.bind(*s)).fetch_all(&mut **self).await? {
                known.streams.entry(source).or_default().insert(epoch, high);
            }
        }
        Ok(known)
    }

    /// Boxes say something, for each when it was heard from itself; an office that nobody named is called by its code. Each box
    /// once. What was heard after `now_ms`, by more than clocks of workers differ, is of a clock that was set back since; what was said before it was put out of use and came late
    /// puts it into no use. `first_ms`: since when one that is new is there.
    pub(crate) async fn boxes_seen(
        &mut self,
        boxes: &BTreeMap<(&str, &str), Option<i64>>,
        first_ms: i64,
        now_ms: i64,
    ) -> Result<(), DbError> {
        let offices: BTreeSet<&str> = boxes.keys().map(|(office, _)| *office).collect();
        let offices: Vec<&str> = offices.into_iter().collect();
        let name = ("INSERT INTO office (code, name_vi, name_en) VALUES", 3, "ON CONFLICT DO NOTHING");
        self.many(name, &offices, |q, office| q.bind(*office).bind(*office).bind(*office)).await?;
        let head = "INSERT INTO box (office, id, online, changed_ms, seen_ms, heard_ms) VALUES";
        let tail = format!(
            "ON CONFLICT (office, id) DO UPDATE SET seen_ms = excluded.seen_ms, heard_ms =
                      CASE WHEN excluded.heard_ms > COALESCE(box.heard_ms, 0)
                             OR (excluded.heard_ms IS NOT NULL AND box.heard_ms > excluded.seen_ms + {STEP_MS})
                           THEN excluded.heard_ms ELSE box.heard_ms END,
                      gone_ms = CASE WHEN excluded.heard_ms > box.gone_ms
                             OR (excluded.heard_ms IS NOT NULL AND box.gone_ms > excluded.seen_ms + {STEP_MS})
                           THEN NULL ELSE box.gone_ms END"
        );
        let boxes: Vec<_> = boxes.iter().collect();
        self.many((head, 6, &tail), &boxes, |q, ((office, id), heard_ms)| {
            q.bind(*office).bind(*id).bind(1_i64).bind(first_ms).bind(now_ms).bind(**heard_ms)
        })
        .await
    }

    /// Adds messages whose numbers and revisions are free.
    pub(crate) async fn add_messages(&mut self, messages: &[&Message], now_ms: i64) -> Result<(), DbError> {
        let head = "INSERT INTO message (source, epoch, seq, id, revision, kind, office, box, severity, at_ms, received_ms, body) VALUES";
        self.many((head, 12, ""), messages, |q, m| {
            let q = q.bind(&m.source).bind(m.epoch).bind(m.seq).bind(&m.id).bind(m.revision).bind(&m.kind);
            let q = q.bind(&m.office).bind(&m.box_id).bind(m.severity).bind(m.at_ms).bind(now_ms);
            q.bind(m.body.to_string())
        })
        .await
    }

    /// The highest numbers of their boxes are those of these messages: one of each box and epoch, and none goes back.
    pub(crate) async fn move_streams(&mut self, newest: &[&Message]) -> Result<(), DbError> {
        let head = "INSERT INTO stream (source, epoch, office, box, high) VALUES";
        let tail = "ON CONFLICT (source, epoch) DO UPDATE SET high = excluded.high";
        self.many((head, 5, tail), newest, |q, m| {
            q.bind(&m.source).bind(m.epoch).bind(&m.office).bind(&m.box_id).bind(m.seq)
        })
        .await
    }

    /// Replaces what events say about declarations: event, office, when, declarations. `known`: events that may have said
    /// something before.
    pub(crate) async fn set_many_links(
        &mut self,
        known: &[&str],
        links: &[(&Message, LinkRow)],
        now_ms: i64,
    ) -> Result<(), DbError> {
        for piece in pieces(known) {
            let delete = format!("DELETE FROM event_link WHERE event_id IN {}", places(1, piece.len()));
            let query = piece.iter().fold(sqlx::query::<Any>(AssertSqlSafe(delete)), |q, id| q.bind(*id));
            query.execute(&mut **self).await?;
        }
        let head =
            "INSERT INTO event_link (event_id, decl_key, office, at_ms, state, method, permille, channel) VALUES";
        self.many((head, 8, "ON CONFLICT DO NOTHING"), links, |q, (m, link)| {
            let q = q.bind(&m.id).bind(&link.decl_key).bind(&m.office).bind(happened(m, now_ms));
            q.bind(&link.state).bind(&link.method).bind(link.permille).bind(link.channel)
        })
        .await
    }

    /// Adds alerts; open pages hear of them, with a sound where they are live.
    pub(crate) async fn add_alerts(&mut self, rows: &[AlertRow]) -> Result<(), DbError> {
        let head = format!("INSERT INTO alert ({}, touched, rang) VALUES", alerts::COLUMNS);
        let n = self.n;
        self.many((&head, alerts::COLUMN_COUNT + 2, ""), rows, |q, a| {
            alerts::bind(q, a).bind(n).bind(if a.historical == 0 { n } else { 0 })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_piece_and_has_its_places() {
        let all: Vec<usize> = (0..203).collect();
        let cut: Vec<usize> = pieces(&all).map(<[usize]>::len).collect();
        assert_eq!(cut, [128, 32, 32, 8, 2, 1]);
        assert_eq!(pieces(&all).flatten().copied().collect::<Vec<_>>(), all);
        assert_eq!(pieces::<usize>(&[]).count(), 0);
        assert_eq!(places(2, 2), "($1, $2), ($3, $4)");
        assert_eq!(alerts::COLUMNS.split(',').count(), alerts::COLUMN_COUNT);
    }
}

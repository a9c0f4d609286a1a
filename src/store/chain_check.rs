//! Holds the chain against itself and against the store: is every entry there and unchanged, is every message the one that
//! was chained, is a message gone that should be there, does the chain still contain what was signed. Reads only.

use std::path::Path;

use super::archive::Archive;
use super::chain::COLUMNS;
use super::{Store, StoreError, chain};
use crate::evidence::chain::{Entry, Kind, Sum};
use crate::evidence::statement::SignedHead;

/// Entries held in memory at once.
const PAGE: i64 = 1_000;
/// Faults named at most; the first says where to look.
const MAX_FAULTS: usize = 50;
/// The last head that was published, kept beside the database: it shows when that was put back to an earlier state.
const LAST_HEAD: &str = "chain-head.json";

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChainCheck {
    /// Entries looked at.
    pub entries: u64,
    /// Messages compared with their entries.
    pub messages: u64,
    /// The last entry.
    pub last: Option<(i64, Sum)>,
    /// What is wrong, in sentences; empty = nothing.
    pub faults: Vec<String>,
}

impl ChainCheck {
    fn fault(&mut self, text: String) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(text);
        }
    }
}

/// The head that was kept last.
fn remembered(dir: &Path) -> Option<SignedHead> {
    serde_json::from_str(&std::fs::read_to_string(dir.join(LAST_HEAD)).ok()?).ok()
}

/// Keeps a head where [`Archive::check_chain`] finds it, for the time when the database is an older copy. One that the chain
/// no longer contains stays: it is the proof of that.
///
/// # Errors
/// When the file cannot be written, or the database not be read.
pub async fn remember_head(store: &Store, head: &SignedHead) -> Result<(), StoreError> {
    let dir = store.dir();
    if let Some(kept) = remembered(dir)
        && store.chain_sum(kept.head.n).await? != Some(kept.head.sha256)
    {
        return Ok(());
    }
    let path = dir.join(LAST_HEAD);
    let tmp = dir.join(format!("{LAST_HEAD}.tmp"));
    let text = serde_json::to_string(head).expect("plain values always serialise");
    let write = || {
        std::fs::write(&tmp, &text)?;
        std::fs::File::open(&tmp)?.sync_all()?;
        std::fs::rename(&tmp, &path)
    };
    write().map_err(|e| StoreError::io("write", &path, e))
}

impl Archive {
    /// Checks the entries from `from` (1 = all) to the end, and the messages they are about.
    ///
    /// # Errors
    /// When the database cannot be read; faults of the chain are no error but the answer.
    pub async fn check_chain(&mut self, from: i64) -> Result<ChainCheck, StoreError> {
        let mut found = ChainCheck::default();
        let mut before: Option<Entry> = None;
        let mut next = from.max(1);
        if next > 1 {
            next -= 1;
        }
        loop {
            let page = self.page(next).await?;
            for (entry, kept) in &page {
                check_link(&mut found, before.as_ref(), entry, from);
                check_message(&mut found, entry, kept);
                found.entries += 1;
                found.messages += u64::from(kept.payload.is_some());
                before = Some(entry.clone());
            }
            let Some((last, _)) = page.last() else { break };
            next = last.n + 1;
        }
        found.last = before.map(|e| (e.n, e.sha256));
        self.check_unchained(&mut found, from).await?;
        self.check_heads(&mut found, from).await?;
        Ok(found)
    }

    async fn page(&mut self, from: i64) -> Result<Vec<(Entry, Kept)>, StoreError> {
        let columns = COLUMNS.split(", ").map(|c| format!("c.{c}")).collect::<Vec<_>>().join(", ");
        let select = format!(
            "SELECT {columns}, COALESCE(m.payload, k.payload) AS payload,
                    c.kind = 'message' AND c.n > COALESCE((SELECT MIN(o.n) FROM chain o WHERE o.kind = 'message'
                        AND o.ref = (SELECT event_id || '/' || revision FROM message ORDER BY seq LIMIT 1)),
                        9223372036854775807) AS expected
             FROM chain c
             LEFT JOIN message m ON c.kind = 'message' AND m.event_id = substr(c.ref, 1, instr(c.ref, '/') - 1)
                 AND m.revision = CAST(substr(c.ref, instr(c.ref, '/') + 1) AS INTEGER)
             LEFT JOIN kept_message k ON c.kind = 'message' AND k.event_id = substr(c.ref, 1, instr(c.ref, '/') - 1)
                 AND k.revision = CAST(substr(c.ref, instr(c.ref, '/') + 1) AS INTEGER)
             WHERE c.n >= ? ORDER BY c.n LIMIT ?"
        );
        let select = sqlx::query_as(sqlx::AssertSqlSafe(select)).bind(from).bind(PAGE);
        let rows: Result<Vec<Row>, _> = select.fetch_all(self.conn()).await;
        let rows = rows.map_err(|e| self.sql(e))?;
        let each =
            rows.into_iter().map(|r| Some((r.entry.entry()?, Kept { payload: r.payload, expected: r.expected })));
        let what = "the chain has an entry of a kind this version does not know";
        each.collect::<Option<_>>()
            .ok_or_else(|| StoreError::Content { path: self.dir().join(super::open::DATABASE), what: what.into() })
    }

    /// Messages that were written down past the chain.
    async fn check_unchained(&mut self, found: &mut ChainCheck, from: i64) -> Result<(), StoreError> {
        // An entry has at most one message, so the messages of the tail are not more than its entries.
        let tail = if from > 1 { found.entries as i64 } else { i64::MAX };
        let select = "SELECT seq FROM message m
                      WHERE seq > COALESCE((SELECT json_extract(item, '$.after_seq') FROM chain WHERE n = 1), 0)
                      AND seq > (SELECT MAX(seq) FROM message) - ?
                      AND NOT EXISTS (SELECT 1 FROM chain WHERE kind = 'message' AND ref = m.event_id || '/' || m.revision)
                      ORDER BY seq LIMIT 10";
        let seqs: Vec<i64> =
            sqlx::query_scalar(select).bind(tail).fetch_all(self.conn()).await.map_err(|e| self.sql(e))?;
        for seq in seqs {
            found.fault(format!("message {seq} is in the store but not in the chain"));
        }
        Ok(())
    }

    /// What was signed must still be there.
    async fn check_heads(&mut self, found: &mut ChainCheck, from: i64) -> Result<(), StoreError> {
        let Some(kept) = remembered(self.dir()) else { return Ok(()) };
        let (n, last) = (kept.head.n, found.last.map_or(0, |l| l.0));
        if n > last {
            let text =
                "the box signed entry {n}, but the chain ends at {last}: the database is an older copy or was cut";
            found.fault(text.replace("{n}", &n.to_string()).replace("{last}", &last.to_string()));
        } else if n >= from && self.entries(n, n).await?.first().is_some_and(|e| e.sha256 != kept.head.sha256) {
            found.fault(format!("entry {n} is not the one that the box signed: the chain was written anew"));
        }
        Ok(())
    }
}

struct Kept {
    payload: Option<String>,
    /// Its message is younger than the oldest one in the store, so it must be there.
    expected: bool,
}

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    entry: chain::EntryRow,
    payload: Option<String>,
    expected: bool,
}

fn check_link(found: &mut ChainCheck, before: Option<&Entry>, entry: &Entry, from: i64) {
    if let Some(fault) = entry.fault() {
        found.fault(fault);
    }
    let wrong = match before {
        Some(before) => entry.break_after(before),
        None if from <= 1 && (entry.n != 1 || entry.prev_sha256 != Sum::ZERO) => {
            Some(format!("the chain begins with entry {}: its beginning is missing", entry.n))
        }
        None => None,
    };
    if let Some(fault) = wrong {
        found.fault(fault);
    }
}

fn check_message(found: &mut ChainCheck, entry: &Entry, kept: &Kept) {
    if entry.kind != Kind::Message {
        return;
    }
    let which = || format!("message {} (entry {})", entry.reference, entry.n);
    match &kept.payload {
        Some(text) if Sum::of(text.as_bytes()) != entry.item_sha256 => {
            found.fault(format!("{} was changed after it was recorded", which()));
        }
        None if kept.expected => found.fault(format!("{} was deleted from the store", which())),
        _ => {}
    }
}

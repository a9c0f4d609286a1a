//! The store: what the box must not forget. SQLite for rows, plain files for pictures.
//!
//! **Limits and invariants**
//! * One process per folder (`gatewatch.lock`), one writer in it; readers never wait.
//! * Sequence numbers are 1, 2, 3 … without holes within an epoch. A message, its open-event row and its outbox rows are
//!   one transaction with `synchronous=FULL`: when [`Store::record`] returns, they survive a power cut.
//! * A message row that names a picture: both files are on disk, whole, with the digests of the row.
//! * An outbox row goes away only on acknowledgement, by refusal with a reason ([`Store::undeliverable`]), or by the
//!   bound `outbox_max_bytes`: then the lowest priority goes first, in it the oldest, and a recorded
//!   `gatewatch.alert.outbox_dropped.v1` message says exactly which sequence numbers; those stay in `message` for
//!   [`Store::resync`].
//! * Every message has an entry in the hash chain (`chain`), appended in its transaction; a pruned message keeps it. Holds and
//!   segments are chained by those who change them ([`Store::chain_hold`], [`Store::chain_segment`]).
//! * Messages are stored with `historical=false`. Whether one is historical is decided when it is handed to delivery:
//!   it is older than the live limit then, or it is a replay. Only then is the JSON written anew.
//!
//! **Layout** of the folder
//! ```text
//! gatewatch.lock                                   held while open
//! gatewatch.db  -wal -shm                          migrations/ has the tables
//! chain-head.json                                  the last published head of the chain, outside the database
//! keys/box.pk8                                     the box's private key, mode 0600
//! requests/                                        requests for evidence that a running agent takes
//! pictures/YYYY/MM/DD/{event}-{revision}-clean.jpg      UTC day of the capture
//! pictures/YYYY/MM/DD/{event}-{revision}-annotated.jpg
//! ```
//!
//! **After a crash**
//! * while a picture is written: a `.tmp` file stays, removed at the next start; no row.
//! * between pictures and commit: two files without a row stay. The event is not recorded, so its number is not used.
//! * in the commit: SQLite's write-ahead log makes it whole or nothing.
//! * a full or failing disk without a crash: the transaction is undone, and the writer is connected anew.
//! * after the commit, before the acknowledgement: the message is sent again; the receiver removes it by id and revision.
//! * while pruning: files go first, then the row; the next prune finds the file gone and goes on.
//! * After a stop that was not orderly the database is checked at start; damage is an error, nothing is overwritten.

mod archive;
mod chain;
mod chain_check;
mod chain_items;
mod clips;
mod coverage;
mod error;
mod footage;
mod footage_find;
mod footage_keep;
mod holds;
mod notice;
mod open;
mod outbox;
mod pictures;
mod prune;
mod record;
mod register;
mod report;
mod resync;
mod tips;
mod trace;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

pub use archive::{Archive, ArchivedMessage, ArchivedPicture, ArchivedSegment};
pub use chain::HEAD_KIND;
pub use chain_check::{ChainCheck, remember_head};
pub use chain_items::{HoldItem, SegmentItem};
pub use clips::DueClip;
pub use error::StoreError;
pub use footage::{
    Doomed, EventRange, FootageBytes, GapReason, Gone, Segment, SegmentClass, SegmentClosed, SegmentFound,
    SegmentOpened,
};
pub use holds::{Hold, HoldState, NewHold};
pub use notice::NewNotice;
pub use open::{DATABASE, StoreOptions, in_use};
pub use outbox::{OutboxItem, OutboxStats, Part};
pub use prune::Pruned;
pub use record::{NewMessage, OutboxDropped, Pictures, Recorded};
pub use report::{CountRow, Latency};
pub use resync::ResyncReply;
pub use tips::{KeptCorrelation, Piece};
pub use trace::Traced;

use crate::clock::{MonoMillis, UtcMillis};

/// Lane of alerts of severity 4 and of messages about the outbox itself.
pub const LANE_CRITICAL: u8 = 0;
/// Lane of other alerts.
pub const LANE_ALERT: u8 = 1;
/// Lane of events.
pub const LANE_EVENT: u8 = 2;
/// Lane of replays.
pub const LANE_REPLAY: u8 = 3;

/// The open store. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: StoreOptions,
    epoch: i64,
    session: i64,
    db_path: PathBuf,
    /// One writer: statements of a transaction must not mix with another's. Taken by [`Store::writer`] only.
    writer: tokio::sync::Mutex<sqlx::SqliteConnection>,
    readers: sqlx::SqlitePool,
    /// Wakes delivery.
    work: tokio::sync::Notify,
    /// Times of messages recorded in this process and not yet acknowledged. Bounded; figures only.
    timing: Mutex<HashMap<i64, Timing>>,
    /// Messages dropped from the outbox since start.
    dropped: AtomicU64,
    /// When this process opened the store.
    opened: MonoMillis,
    /// When the last message of the runs before was recorded.
    last_recorded: Option<UtcMillis>,
    /// When the box was last in step with the source of holds since this store was opened, on the monotonic clock.
    holds_heard: Mutex<Option<MonoMillis>>,
    /// Held while the store is open; the system lets go of it when the process ends, however it ends.
    _lock: std::fs::File,
}

#[derive(Debug, Clone, Copy)]
struct Timing {
    received: MonoMillis,
    stored_ms: i64,
}

impl Store {
    /// Incarnation of this store: unix seconds when it was made.
    #[must_use]
    pub fn epoch(&self) -> i64 {
        self.inner.epoch
    }

    /// How often it was opened, this time included.
    #[must_use]
    pub fn session(&self) -> i64 {
        self.inner.session
    }

    /// The store's folder.
    #[must_use]
    pub fn dir(&self) -> &std::path::Path {
        &self.inner.options.config.dir
    }

    fn sql(&self, e: sqlx::Error) -> StoreError {
        StoreError::sql(&self.inner.db_path, e)
    }
}

//! The task that keeps the index and looks after room and recordings: every few seconds a look at quotas, notices to the
//! duty room when something is wrong and when it is over, health for `/readyz`.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::notices::{NoticeTarget, Notices};
use super::writer::Told;
use super::{Allowed, Footage, Looked};
use crate::clock::{MonoMillis, UtcMillis, utc_now};
use crate::store::{Store, StoreError};
use crate::telemetry::health::{Health, Level};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(10);
/// Before an index that refused is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// Tries of one row; what is given up is mended by the next start.
const TRIES: u32 = 60;
const DAY_MS: i64 = 86_400_000;
/// A clock that gets ahead by so much between two looks was set.
const STEP_MS: i64 = 3_600_000;

/// Whether somebody set the clock ahead. What was recorded before that looks older than it is, and a clock that was set may
/// be wrong: nothing goes by its age for a day.
#[derive(Default)]
pub(super) struct ClockWatch {
    last: Option<(UtcMillis, MonoMillis)>,
    stepped: Option<MonoMillis>,
}

impl ClockWatch {
    /// Compares the advance of the clock with that of time since the last call.
    pub fn is_steady(&mut self, utc: UtcMillis, mono: MonoMillis) -> bool {
        let last = self.last.replace((utc, mono));
        let ahead_ms = last.map_or(0, |(utc_then, mono_then)| utc.since(utc_then) - mono.since(mono_then));
        if ahead_ms > STEP_MS {
            tracing::warn!(ahead_ms, "the clock was set ahead; no video is deleted for its age for a day");
            self.stepped = Some(mono);
        }
        self.stepped.is_none_or(|at| mono.since(at) > DAY_MS)
    }
}

/// Writes one piece of news into the index.
pub(super) async fn index(store: &Store, news: &Told) {
    for _ in 0..TRIES {
        let done = match news {
            Told::Opened(opened) => store.segment_opened(opened).await,
            Told::Closed(closed) => store.segment_closed(closed).await,
            Told::Discarded(path) => store.segment_discarded(path).await,
        };
        match done {
            Ok(()) => return,
            Err(error) => tracing::error!(%error, "the index of footage cannot be written; trying again"),
        }
        tokio::time::sleep(RETRY).await;
    }
    tracing::error!("a segment stands not in the index; the next start mends that");
}

impl Footage {
    /// Looks after room and recordings until `stop`.
    pub async fn tend(self: Arc<Self>, health: Arc<Health>, target: NoticeTarget, stop: CancellationToken) {
        let mut notices = Notices::resume(self.store.clone(), target).await;
        let mut every = tokio::time::interval(EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rounds = 0u64;
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = stop.cancelled() => return,
            }
            let looked = self.look(utc_now()).await;
            self.tell_health(&health, looked.as_ref());
            if let Ok(looked) = &looked {
                notices.room(looked).await;
            }
            for status in self.statuses() {
                notices.recording(&status).await;
            }
            let now = utc_now();
            if rounds.is_multiple_of(360) && self.may_expire(now) {
                let before = now.plus_ms(-2 * i64::from(self.config.event_days) * DAY_MS);
                if let Err(error) = self.store.forget_footage(before).await {
                    tracing::error!(%error, "what is known of old footage could not be cleaned up");
                }
            }
            rounds += 1;
        }
    }

    /// How recording stands.
    pub(crate) fn tell_health(&self, health: &Health, looked: Result<&Looked, &StoreError>) {
        let unread = self.unread.get();
        let unread =
            unread.map(|why| format!("video files of the last run are not in the index until the next start: {why}"));
        let cameras = self.statuses().into_iter();
        let cameras = cameras.filter_map(|s| s.problem.map(|p| format!("camera {} is not recorded: {p}", s.camera)));
        let unreadable = (!self.unreadable.is_empty()).then(|| {
            let folders = self.unreadable.join(", ");
            format!("folders of video cannot be read, what is in them is left alone: {folders}; check the disk and start anew")
        });
        let problems: Vec<String> = cameras.chain(unread).chain(unreadable).collect();
        let (level, text) = match looked {
            Err(error) => (Level::Degraded, format!("the room for video cannot be looked after: {error}")),
            Ok(looked) if !problems.is_empty() || looked.allowed != Allowed::All || looked.failed.is_some() => {
                (Level::Degraded, [problems, looked.warnings.clone()].concat().join("; "))
            }
            Ok(looked) if !looked.warnings.is_empty() => (Level::Ok, looked.warnings.join("; ")),
            Ok(_) => (Level::Ok, "recording".to_owned()),
        };
        health.set("footage", level, text);
    }
}

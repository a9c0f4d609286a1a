//! What was read from the outbox and not yet sent, in the order of sending. Values in, values out; what is read and when
//! is decided in `session.rs`.

use std::collections::VecDeque;

use super::outbox::OutboxItem;
use crate::clock::MonoMillis;

/// After this time a row is read again instead of being sent: whether it is historical, and whether there still was room
/// for it in the outbox, may be otherwise by then.
const OLD_MS: i64 = 5_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ahead(VecDeque<(MonoMillis, OutboxItem)>);

impl Ahead {
    /// These were read now; they come after all that is there.
    pub(crate) fn read(&mut self, items: Vec<OutboxItem>, now: MonoMillis) {
        self.0.extend(items.into_iter().map(|item| (now, item)));
    }

    /// The next one to send.
    pub(crate) fn take(&mut self) -> Option<OutboxItem> {
        self.0.pop_front().map(|(_, item)| item)
    }

    /// The next one was read too long ago. Those behind it were not read before it.
    pub(crate) fn is_old(&self, now: MonoMillis) -> bool {
        self.0.front().is_some_and(|(read, _)| now.since(*read) > OLD_MS)
    }

    /// Forgets all of it.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// How many rows wait.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Which rows.
    pub(crate) fn ids(&self) -> impl Iterator<Item = i64> + '_ {
        self.0.iter().map(|(_, item)| item.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(ids: &[i64]) -> Vec<OutboxItem> {
        let item = |id: &i64| OutboxItem {
            id: *id,
            lane: 0,
            topic: "t".into(),
            payload: bytes::Bytes::new(),
            content_type: "text/plain",
            user_properties: Vec::new(),
        };
        ids.iter().map(item).collect()
    }

    #[test]
    fn each_row_has_the_time_at_which_it_was_read() {
        let mut ahead = Ahead::default();
        assert!(!ahead.is_old(MonoMillis(i64::MAX)), "there is nothing");
        ahead.read(items(&[1, 2]), MonoMillis(0));
        ahead.read(items(&[3]), MonoMillis(4_000));
        assert!(!ahead.is_old(MonoMillis(OLD_MS)) && ahead.is_old(MonoMillis(OLD_MS + 1)));
        assert_eq!((ahead.ids().collect::<Vec<_>>(), ahead.len()), (vec![1, 2, 3], 3));
        // What is always topped up does not get old as a whole.
        assert_eq!([ahead.take(), ahead.take()].map(|i| i.map(|i| i.id)), [Some(1), Some(2)]);
        assert!(!ahead.is_old(MonoMillis(9_000)) && ahead.is_old(MonoMillis(9_001)));
        ahead.clear();
        assert_eq!(ahead.take(), None);
    }
}

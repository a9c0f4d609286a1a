//! When the status of the box goes out: at once on every connection, then every minute, and soon when something turned.
//! Values in, values out. A broker that refuses it is not asked again for an hour on that connection. One that closes the
//! connection over it (Mosquitto 2.0.11 that queues no messages) is asked again after growing waits: now and then that
//! costs a connection, and not the delivery.

use super::status::BoxStatus;
use crate::clock::MonoMillis;

/// Sent this often, and where something turned not more often than the second: what flutters must not flood the line.
const EVERY_MS: i64 = 60_000;
const TURNED_MS: i64 = 5_000;
/// What was refused is not tried again before, on the same connection.
const REFUSED_MS: i64 = 3_600_000;
/// After connections that ended over it, it waits so long at most: a line that flutters looks the same, and while the box is silent
/// about itself nobody notices that it hangs.
const LONGEST_MS: i64 = 600_000;
/// A connection that ends so soon after a status that was not taken may have ended because of it.
const SOON_MS: i64 = 10_000;

/// The turns on one connection.
#[derive(Debug, Default)]
pub(crate) struct StatusTurns {
    /// The latest that was sent, and when.
    said: Option<(BoxStatus, MonoMillis)>,
    /// It is not answered yet.
    awaited: bool,
    /// It was sent or refused then, and not taken.
    in_doubt: Option<MonoMillis>,
    /// Not sent before.
    until: Option<MonoMillis>,
}

impl StatusTurns {
    /// Whether `status` is to be sent now.
    pub(crate) fn is_due(&self, status: &BoxStatus, now: MonoMillis) -> bool {
        let may = !self.awaited && self.until.is_none_or(|until| now.since(until) >= 0);
        may && self.said.as_ref().is_none_or(|(before, at)| {
            let since = now.since(*at);
            since >= EVERY_MS || (since >= TURNED_MS && status.turned_since(before))
        })
    }

    /// It was sent.
    pub(crate) fn sent(&mut self, status: BoxStatus, now: MonoMillis) {
        self.said = Some((status, now));
        (self.awaited, self.in_doubt) = (true, Some(now));
    }

    /// The broker has it.
    pub(crate) fn taken(&mut self) {
        (self.awaited, self.in_doubt) = (false, None);
    }

    /// The broker will not have it.
    pub(crate) fn refused(&mut self, now: MonoMillis) {
        (self.awaited, self.in_doubt) = (false, Some(now));
        self.put_off(now);
    }

    /// It cannot be sent on this connection, for the time being.
    pub(crate) fn put_off(&mut self, now: MonoMillis) {
        self.until = Some(MonoMillis(now.0 + REFUSED_MS));
    }
}

/// Whether the broker closes connections over the status. Outlives them.
#[derive(Debug, Default)]
pub(crate) struct StatusDoubt {
    /// Connections that ended so, one after the other.
    ended: u32,
    /// No status before.
    until: Option<MonoMillis>,
}

impl StatusDoubt {
    /// No status now: the last ones cost a connection each.
    pub(crate) fn forbids(&self, now: MonoMillis) -> bool {
        self.until.is_some_and(|until| now.since(until) < 0)
    }

    /// A connection ended. Once may be chance; the next one says its status at once all the same.
    pub(crate) fn ended(&mut self, turns: &StatusTurns, now: MonoMillis) {
        if turns.said.is_none() {
            // It shows nothing.
            return;
        }
        let because = turns.in_doubt.is_some_and(|at| now.since(at) < SOON_MS);
        self.ended = if because { self.ended.saturating_add(1) } else { 0 };
        self.until = self.ended.checked_sub(2).map(|n| {
            let wait = EVERY_MS << n.min(6);
            MonoMillis(now.0 + wait.min(LONGEST_MS))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::well;
    use super::*;

    const MINUTE: i64 = EVERY_MS;

    fn due(turns: &StatusTurns, at: i64) -> bool {
        turns.is_due(&well(), MonoMillis(at))
    }

    /// A connection on which the status was sent at once and then `fate` came to it.
    fn connection(at: i64, fate: impl FnOnce(&mut StatusTurns)) -> StatusTurns {
        let mut turns = StatusTurns::default();
        assert!(due(&turns, at), "at once on every connection");
        turns.sent(well(), MonoMillis(at));
        fate(&mut turns);
        turns
    }

    #[test]
    fn it_comes_every_minute_and_sooner_when_something_turned() {
        let turns = connection(0, StatusTurns::taken);
        assert!(!due(&turns, MINUTE - 1) && due(&turns, MINUTE));
        let turned = BoxStatus { database_writable: Some(false), ..well() };
        assert!(!turns.is_due(&turned, MonoMillis(TURNED_MS - 1)) && turns.is_due(&turned, MonoMillis(TURNED_MS)));
        let waiting = connection(0, |_| {});
        assert!(!waiting.is_due(&turned, MonoMillis(MINUTE)), "not beside one that is under way");
    }

    #[test]
    fn what_is_refused_waits_an_hour_on_this_connection_and_not_on_the_next() {
        let refused = connection(0, |t| t.refused(MonoMillis(5)));
        assert!(!due(&refused, REFUSED_MS) && due(&refused, REFUSED_MS + 5));
        // It lived on after that: the refusal is not what ended it.
        let mut doubt = StatusDoubt::default();
        for at in [SOON_MS + 5, 2 * SOON_MS] {
            doubt.ended(&refused, MonoMillis(at));
            assert!(!doubt.forbids(MonoMillis(at)));
        }
    }

    #[test]
    fn a_broker_that_closes_over_it_loses_few_connections() {
        let mut doubt = StatusDoubt::default();
        let closes = |doubt: &mut StatusDoubt, at: i64, refuses: bool| {
            let fate = |t: &mut StatusTurns| {
                if refuses {
                    t.refused(MonoMillis(at));
                }
            };
            doubt.ended(&connection(at, fate), MonoMillis(at + 1));
        };
        closes(&mut doubt, 0, false);
        assert!(!doubt.forbids(MonoMillis(1)), "a line that is cut in that moment");
        closes(&mut doubt, 1_000, true);
        let wait = |doubt: &StatusDoubt, from: i64| (0..100).find(|m| !doubt.forbids(MonoMillis(from + m * MINUTE)));
        assert_eq!(wait(&doubt, 1_001), Some(1));
        // On a connection without a status nothing is learnt.
        doubt.ended(&StatusTurns::default(), MonoMillis(2_000));
        assert!(doubt.forbids(MonoMillis(2_000)));
        for (i, minutes) in [2, 4, 8, 10, 10, 10].into_iter().enumerate() {
            let at = i64::try_from(i).unwrap() * 2 * REFUSED_MS;
            closes(&mut doubt, at, true);
            assert_eq!(wait(&doubt, at + 1), Some(minutes));
        }
        doubt.ended(&connection(0, StatusTurns::taken), MonoMillis(1));
        assert!(!doubt.forbids(MonoMillis(1)));
    }
}

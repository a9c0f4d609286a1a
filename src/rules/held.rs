//! A stay in an area that is reported while a condition holds: the common part of most rules about one track. What the
//! condition is, is the business of each rule.

use super::draft::{Draft, Keys, Open};
use super::presence::{Sight, Standing};
use super::{EndReason, RuleKind};
use crate::customs::{Answer, Check};

/// Settings of one rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub rule: RuleKind,
    pub severity: u8,
    /// The condition must have held this long.
    pub after_ms: i64,
}

/// Whether the condition holds at a sight.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    /// Since this sight.
    Since(Sight),
    /// Not, or not any more: over at this sight, for this reason.
    Over(Sight, EndReason),
}

/// State for one track at one area.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    open: Option<Open>,
    answer: Option<Answer>,
}

impl Held {
    /// Takes how the track stands now; `counts` says that it is confirmed and of a class that counts. `check` is what
    /// customs answered, where the condition is about that: a new answer is a change that matters.
    pub fn step(
        &mut self,
        standing: &Standing,
        now: Sight,
        counts: bool,
        terms: Terms,
        (condition, check): (&Condition, Option<&Check>),
        keys: &mut Keys,
    ) -> Option<Draft> {
        let draft = match standing {
            Standing::Outside => None,
            Standing::Left(stay) => self.open.take().map(|open| open.left(stay, now)),
            Standing::Inside { entered, seen } => match condition {
                Condition::Over(at, reason) => self.open.take().map(|open| open.end(*at, now, *reason)),
                Condition::Since(since) => {
                    let since = if since.mono < entered.mono { *entered } else { *since };
                    let ripe = *seen && counts && now.mono.since(since.mono) >= terms.after_ms;
                    self.lasts(since, now, ripe, terms, check, keys)
                }
            },
        };
        self.answer = check.map(|c| c.answer);
        draft.map(|d| Draft { check: check.cloned(), ..d })
    }

    fn lasts(
        &mut self,
        since: Sight,
        now: Sight,
        ripe: bool,
        terms: Terms,
        check: Option<&Check>,
        keys: &mut Keys,
    ) -> Option<Draft> {
        match &mut self.open {
            None if ripe => {
                let (open, draft) = Open::begin(keys.next(), terms.rule, terms.severity, since, now);
                self.open = Some(open);
                Some(draft)
            }
            Some(open) if check.is_some_and(|c| self.answer != Some(c.answer)) => {
                Some(open.update(terms.severity, now))
            }
            _ => None,
        }
    }

    /// The track, camera or process is over while the situation lasts.
    pub fn cut(&mut self, last: Sight, reason: EndReason) -> Option<Draft> {
        self.open.take().map(|open| open.end(last, last, reason))
    }
}

/// Finds since when something holds that is asked anew at every sight of a stay.
#[derive(Debug, Clone, Default)]
pub(super) struct Onset {
    since: Option<Sight>,
    /// It was seen not to hold during this stay.
    missed: bool,
}

impl Onset {
    /// Takes whether it holds now. What holds from the first look on has held since the thing entered.
    pub fn see(&mut self, standing: &Standing, holds: bool, now: Sight) -> Condition {
        let Standing::Inside { entered, .. } = standing else {
            *self = Self::default();
            return Condition::Over(now, EndReason::Observed);
        };
        if !holds {
            *self = Self { since: None, missed: true };
            return Condition::Over(now, EndReason::Resolved);
        }
        let first = if self.missed { now } else { *entered };
        Condition::Since(*self.since.get_or_insert(first))
    }
}

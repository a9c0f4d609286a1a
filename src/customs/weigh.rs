//! How clues add up: which are about the same goods, and how sure they make each declaration together. Independent ways
//! that name the same combine as `1 − Π(1 − p)`; ways with one root count once, by the surest.

use std::collections::{BTreeMap, BTreeSet};

use super::clue::Clue;
use super::{DeclKey, DeclNumber, LinkMethod};
use crate::config::ConfidenceConfig;

/// Clues about the same goods. They do not compete.
#[derive(Debug)]
pub(super) struct Group {
    pub clues: Vec<Clue>,
    pub goods: Vec<Goods>,
    /// Of its surest declaration.
    pub confidence: f32,
}

/// One declaration of a group.
#[derive(Debug)]
pub(super) struct Goods {
    pub number: DeclNumber,
    pub confidence: f32,
    /// Clues that name it, surest first.
    pub clues: Vec<usize>,
}

impl Goods {
    /// An officer said so.
    pub(super) fn is_confirmed(&self, group: &Group) -> bool {
        self.clues.iter().any(|i| group.clues[*i].method == LinkMethod::Officer)
    }
}

impl Group {
    pub(super) fn is_confirmed(&self) -> bool {
        self.clues.iter().any(|c| c.method == LinkMethod::Officer)
    }

    /// What speaks for it most, in words.
    pub(super) fn name(&self) -> String {
        let best = self.goods.first().and_then(|g| g.clues.first()).map(|i| &self.clues[*i]);
        let Some(best) = best else { return String::new() };
        let more = self.clues.iter().map(|c| &c.root).collect::<BTreeSet<_>>().len() - 1;
        let also = if more > 0 { format!(" and {more} more") } else { String::new() };
        match best.method {
            LinkMethod::Booking if best.in_window => format!("inside booking {}{also}", name(best)),
            LinkMethod::Booking => format!("only within the grace time of booking {}{also}", name(best)),
            LinkMethod::Officer => format!("bound by an officer ({}){also}", name(best)),
            LinkMethod::ContainerOcr => format!("container {}{also}", best.read.as_deref().unwrap_or_default()),
            LinkMethod::PlateOcr => format!("plate ({}){also}", best.source),
            LinkMethod::Seal => format!("seal ({}){also}", best.source),
            LinkMethod::Visit => format!("visit {}{also}", name(best)),
        }
    }
}

fn name(clue: &Clue) -> &str {
    clue.source.split_once(':').map_or("", |(_, id)| id)
}

/// Groups with their weights, surest first; among equals the one that came first.
pub(super) fn grouped(clues: Vec<Clue>, rejected: &[(DeclKey, String)], c: &ConfidenceConfig) -> Vec<Group> {
    let mut sets: Vec<Vec<Clue>> = Vec::new();
    for mut clue in clues {
        // An officer's later word for it stands; a `bind` and a `reject` of the same are the officer's to correct.
        if clue.method != LinkMethod::Officer {
            clue.keys.retain(|d| !rejected.iter().any(|(key, _)| *key == d.key));
        }
        if clue.keys.is_empty() {
            continue;
        }
        let (mut same, others): (Vec<_>, Vec<_>) =
            sets.into_iter().partition(|set| set.iter().any(|c| alike(c, &clue)));
        let mut merged: Vec<Clue> = same.drain(..).flatten().collect();
        merged.push(clue);
        sets = others;
        sets.push(merged);
    }
    let mut groups: Vec<Group> = sets.into_iter().map(|set| weighed(set, c)).collect();
    groups.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then_with(|| order(a).cmp(&order(b))));
    groups
}

/// Among equals the earlier booking is first, then whatever has none.
fn order(group: &Group) -> (bool, Option<(i64, &str)>) {
    let bookings = group.clues.iter().filter_map(|c| c.booking.as_ref());
    let first = bookings.map(|b| (b.start.0, b.id.as_str())).min();
    (first.is_none(), first)
}

/// Are both about the same goods? Bookings are when they share a container or name the same declarations; anything else
/// also when it names one of the other's declarations.
fn alike(a: &Clue, b: &Clue) -> bool {
    let same_booking = a.booking.as_ref().zip(b.booking.as_ref()).is_some_and(|(a, b)| a.id == b.id);
    if same_booking || a.containers.iter().any(|c| b.containers.contains(c)) {
        return true;
    }
    let keys = |clue: &Clue| clue.keys.iter().map(|d| d.key.clone()).collect::<BTreeSet<DeclKey>>();
    let (keys_a, keys_b) = (keys(a), keys(b));
    if a.method == LinkMethod::Booking && b.method == LinkMethod::Booking {
        return keys_a == keys_b;
    }
    !keys_a.is_disjoint(&keys_b)
}

fn weighed(mut clues: Vec<Clue>, c: &ConfidenceConfig) -> Group {
    clues.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    let mut by_key: BTreeMap<DeclKey, (DeclNumber, usize, Vec<usize>)> = BTreeMap::new();
    let mut place = 0;
    for (i, clue) in clues.iter().enumerate() {
        for number in &clue.keys {
            let entry = by_key.entry(number.key.clone()).or_insert_with(|| {
                place += 1;
                (number.clone(), place, Vec::new())
            });
            entry.2.push(i);
        }
    }
    let mut goods: Vec<(usize, Goods)> = Vec::new();
    for (number, place, named) in by_key.into_values() {
        let confidence = combined(named.iter().map(|i| &clues[*i]), c);
        goods.push((place, Goods { number, confidence, clues: named }));
    }
    goods.sort_by(|a, b| b.1.confidence.total_cmp(&a.1.confidence).then(a.0.cmp(&b.0)));
    let goods: Vec<Goods> = goods.into_iter().map(|(_, g)| g).collect();
    let confidence = goods.first().map_or(0.0, |g| g.confidence);
    Group { clues, goods, confidence }
}

/// How sure all these together make one declaration.
fn combined<'a>(clues: impl Iterator<Item = &'a Clue>, c: &ConfidenceConfig) -> f32 {
    let mut by_root: BTreeMap<&str, f32> = BTreeMap::new();
    let mut officer: f32 = 0.0;
    for clue in clues {
        if clue.method == LinkMethod::Officer {
            officer = officer.max(clue.confidence);
        }
        let best = by_root.entry(&clue.root).or_default();
        *best = best.max(clue.confidence);
    }
    if officer > 0.0 {
        return officer;
    }
    if let (1, Some(only)) = (by_root.len(), by_root.values().next()) {
        return *only;
    }
    let miss: f32 = by_root.values().map(|p| 1.0 - p).product();
    (1.0 - miss).min(c.cap)
}

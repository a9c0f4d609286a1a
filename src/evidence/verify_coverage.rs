//! The account of what was analysed: complete for every time that was asked, each moment told once. That nobody changed it is
//! the signature's business; that nothing was left out of it shows here.

use super::manifest::{Analysed, Asked, Manifest};
use super::verify::{FaultKind, Faults};
use crate::clock::UtcMillis;
use crate::coverage::Span;

/// Holds the account against what was asked.
pub fn check(manifest: &Manifest, faults: &mut Faults) {
    for asked in &manifest.asked {
        if !manifest.coverage.iter().any(|a| a.area.is_none() && a.asked == *asked) {
            let text = format!("the manifest does not say what was analysed of {}", named(asked, None));
            faults.add(FaultKind::CoverageChanged, &asked.camera, text);
        }
    }
    for account in &manifest.coverage {
        let named = named(&account.asked, account.area.as_deref());
        if !manifest.asked.contains(&account.asked) {
            let text = format!("the manifest says what was analysed of {named}, which was not asked");
            faults.add(FaultKind::CoverageChanged, &account.asked.camera, text);
        }
        if let Some(at) = hole(account) {
            let text =
                format!("what was analysed of {named} does not add up: {} is in no list or in two", at.to_rfc3339());
            faults.add(FaultKind::CoverageChanged, &account.asked.camera, text);
        } else if sums(account) != (account.watched_ms, account.blind_ms) {
            let text = format!("what was analysed of {named} does not add up: the sums are not those of the lists");
            faults.add(FaultKind::CoverageChanged, &account.asked.camera, text);
        }
    }
}

fn named(asked: &Asked, area: Option<&str>) -> String {
    let place = area.map_or_else(|| asked.camera.clone(), |area| format!("{} ({area})", asked.camera));
    format!("{place} from {} to {}", asked.from.to_rfc3339(), asked.to.to_rfc3339())
}

fn spans(account: &Analysed) -> Vec<Span> {
    let mut all: Vec<Span> =
        account.watched.iter().map(|w| w.span).chain(account.blind.iter().map(|b| b.span)).collect();
    all.sort_by_key(|s| (s.from, s.to));
    all
}

/// Where the next piece does not begin where the one before ended.
fn hole(account: &Analysed) -> Option<UtcMillis> {
    let mut at = account.asked.from;
    for span in spans(account) {
        if span.from != at || span.to < span.from {
            return Some(at);
        }
        at = span.to;
    }
    (at != account.asked.to).then_some(at)
}

fn sums(account: &Analysed) -> (i64, i64) {
    (account.watched.iter().map(|w| w.span.ms()).sum(), account.blind.iter().map(|b| b.span.ms()).sum())
}

//! The chain of a bundle against everything that stands on it: links, signed heads, keys, messages, segments, custody, and
//! what was published elsewhere.

use std::collections::HashMap;

use serde_json::Value;

use super::chain::{Entry, Kind, Line, Sum};
use super::keys::PublicKey;
use super::manifest::{EventRecord, Manifest, MessageRecord, SegmentRecord};
use super::statement::{BundleStatement, KeyItem, Origin, SignedHead};
use super::verify::{FaultKind, Faults};
use super::verify_files::Found;
use crate::clock::UtcMillis;

/// The entries of a bundle, linked and found by what they are about.
pub struct ChainView<'a> {
    lines: &'a [Line],
    manifest: &'a Manifest,
    by_n: HashMap<i64, &'a Entry>,
    /// Message entries by `{event}/{revision}`.
    messages: HashMap<&'a str, &'a Entry>,
}

impl<'a> ChainView<'a> {
    /// Checks the entries and their links.
    pub fn new(lines: &'a [Line], manifest: &'a Manifest, faults: &mut Faults) -> Self {
        for line in lines {
            if let Some(text) = line.entry.fault() {
                faults.add(FaultKind::Chain, format!("entry {}", line.entry.n), text);
            }
        }
        let view = Self {
            lines,
            manifest,
            by_n: lines.iter().map(|l| (l.entry.n, &l.entry)).collect(),
            messages: lines
                .iter()
                .map(|l| &l.entry)
                .filter(|e| e.kind == Kind::Message)
                .map(|e| (e.reference.as_str(), e))
                .collect(),
        };
        view.check_runs(faults);
        view
    }

    /// Within a run every entry continues the one before; between runs there is nothing to say.
    fn check_runs(&self, faults: &mut Faults) {
        for pair in self.lines.windows(2) {
            let (before, entry) = (&pair[0].entry, &pair[1].entry);
            let starts_run = self.manifest.chain.runs.iter().any(|r| r.0 == entry.n);
            if starts_run && before.n < entry.n && before.n + 1 != entry.n {
                continue;
            }
            if let Some(text) = entry.break_after(before) {
                let kind = if entry.n <= before.n { FaultKind::Swapped } else { FaultKind::Chain };
                faults.add(kind, format!("entry {}", entry.n), text);
            }
        }
        for (from, to) in &self.manifest.chain.runs {
            for n in [from, to].into_iter().filter(|n| !self.by_n.contains_key(n)) {
                faults.add(FaultKind::Chain, format!("entry {n}"), format!("entry {n} of the chain is missing"));
            }
        }
        let first = self.by_n.get(&1);
        if first.is_none_or(|e| e.prev_sha256 != Sum::ZERO || e.kind != Kind::Genesis) {
            faults.add(FaultKind::Chain, "entry 1", "the first entry of the chain is missing or is none");
        } else if let Some(item) = first.and_then(|e| e.item.as_deref())
            && serde_json::from_str::<Origin>(item).ok().as_ref() != Some(&self.manifest.origin)
        {
            faults.add(FaultKind::Chain, "entry 1", "the chain is of another box than the manifest says");
        }
    }

    /// The keys in the order they came into force.
    pub fn keys(&self, faults: &mut Faults) -> Keys {
        let mut keys = Keys::default();
        let mut before = None;
        for entry in self.lines.iter().map(|l| &l.entry).filter(|e| e.kind == Kind::Key) {
            let subject = format!("entry {}", entry.n);
            let item: Option<KeyItem> = entry.item.as_deref().and_then(|t| serde_json::from_str(t).ok());
            let Some(item) = item else {
                faults.add(FaultKind::Chain, subject, format!("the key of entry {} is not in the bundle", entry.n));
                continue;
            };
            let fault = item.fault(&self.manifest.origin, before);
            let lost = item.previous_signature.is_none() && before.is_some();
            match fault {
                Some(text) if lost && item.previous == before => keys.lost.push((item.key, text)),
                Some(text) => faults.add(FaultKind::HandOver, subject, text),
                None => {}
            }
            keys.all.push((entry.n, item.key));
            before = Some(item.key);
        }
        keys
    }

    /// Every run ends at a head that the key in force signed; the last is the one of the statement.
    pub fn check_heads(&self, keys: &Keys, statement: Option<&BundleStatement>, faults: &mut Faults) {
        let chain = &self.manifest.chain;
        for head in &chain.heads {
            let subject = format!("head {}", head.head.n);
            if !head.holds(&self.manifest.origin) {
                faults.add(
                    FaultKind::Head,
                    &subject,
                    format!("the signature of the head at entry {} is wrong", head.head.n),
                );
            }
            if keys.at(head.head.n) != Some(head.key) {
                let text = format!(
                    "the head at entry {} is signed by key {}, which was not in force",
                    head.head.n,
                    head.key.id()
                );
                faults.add(FaultKind::Head, &subject, text);
            }
            if self.by_n.get(&head.head.n).is_none_or(|e| e.sha256 != head.head.sha256) {
                let text = format!(
                    "the chain does not lead to the signed head at entry {}: an entry before it was changed, put in or taken out",
                    head.head.n
                );
                faults.add(FaultKind::Head, &subject, text);
            }
        }
        for (_, to) in &chain.runs {
            if !chain.heads.iter().any(|h| h.head.n == *to) {
                faults.add(FaultKind::Head, format!("head {to}"), format!("entries up to {to} end at no signed head"));
            }
        }
        let last = chain.heads.last().map(|h| &h.head);
        if statement.is_some_and(|s| last != Some(&s.head)) {
            faults.add(
                FaultKind::Head,
                "signed.txt",
                "the last head of the manifest is not the one that was signed with the bundle",
            );
        }
    }

    /// Heads that the box published, against the bundle; gives how many agree.
    pub fn check_published(&self, heads: &[(Origin, SignedHead)], faults: &mut Faults) -> usize {
        let mut agree = 0;
        for (origin, head) in heads.iter().filter(|(o, _)| *o == self.manifest.origin) {
            let Some(entry) = self.by_n.get(&head.head.n) else { continue };
            if !head.holds(origin) {
                let text =
                    format!("the published head of entry {} has a wrong signature; it says nothing", head.head.n);
                faults.add(FaultKind::Published, format!("entry {}", head.head.n), text);
            } else if entry.sha256 == head.head.sha256 {
                agree += 1;
            } else {
                let text = format!(
                    "the box published another entry {} than the bundle has: its chain was written anew after {}",
                    head.head.n,
                    head.head.at.to_rfc3339()
                );
                faults.add(FaultKind::Published, format!("entry {}", head.head.n), text);
            }
        }
        agree
    }

    /// A message against its entry, and its times against the manifest.
    pub fn check_message(&self, event: Option<&EventRecord>, m: &MessageRecord, bytes: &[u8], faults: &mut Faults) {
        let key = format!("{}/{}", m.id, m.revision);
        let shifted = shifted(event, m, bytes);
        if let Some(text) = &shifted {
            faults.add(FaultKind::TimeShifted, &m.file, text.clone());
        }
        let Some(entry) = self.messages.get(key.as_str()) else {
            // Older than the chain: the manifest's signature alone stands for it.
            if m.chain_n.is_some() {
                faults.add(FaultKind::Chain, &m.file, format!("the chain of the bundle has no entry of message {key}"));
            }
            return;
        };
        if m.chain_n != Some(entry.n) {
            faults.add(
                FaultKind::Swapped,
                &m.file,
                format!("message {key} is entry {}, not the one the manifest says", entry.n),
            );
        }
        let sum = Sum::of(bytes);
        if sum == entry.item_sha256 {
            return;
        }
        match self.messages.values().find(|e| e.item_sha256 == sum) {
            Some(other) => {
                let text = format!("{} holds message {}: the two were swapped", m.file, other.reference);
                faults.add(FaultKind::Swapped, &m.file, text);
            }
            None => {
                let text = format!("{} is not the message that entry {} was made of", m.file, entry.n);
                faults.add(FaultKind::MessageChanged, &m.file, text);
            }
        }
    }

    /// Segments against the chain, and files against segments.
    pub fn check_segments(&self, found: &Found, faults: &mut Faults) {
        for segment in self.manifest.footage.iter().flat_map(|f| &f.segments) {
            let path = &segment.item.path;
            if let Some(n) = segment.chain_n {
                self.check_segment(n, segment, faults);
            }
            let sum = segment.file.as_deref().and_then(|f| found.sum(f));
            if sum.is_some_and(|s| s != segment.item.sha256) {
                faults.add(FaultKind::SegmentChanged, path, format!("{path} is not the footage that was recorded"));
            }
        }
    }

    fn check_segment(&self, n: i64, segment: &SegmentRecord, faults: &mut Faults) {
        let path = &segment.item.path;
        let item = self.by_n.get(&n).and_then(|e| e.item.as_deref()).and_then(|t| serde_json::from_str(t).ok());
        let Some(item): Option<crate::store::SegmentItem> = item else {
            return faults.add(
                FaultKind::Chain,
                path,
                format!("the chain of the bundle has no entry {n} about {path}"),
            );
        };
        if (item.start, item.end) != (segment.item.start, segment.item.end) {
            let text = format!(
                "{path} began at {}, not at {} as the manifest says",
                item.start.to_rfc3339(),
                segment.item.start.to_rfc3339()
            );
            faults.add(FaultKind::TimeShifted, path, text);
        } else if item != segment.item {
            faults.add(
                FaultKind::SegmentChanged,
                path,
                format!("what the manifest says of {path} is not what was recorded"),
            );
        }
    }

    /// The custody log is that of the chain, whole.
    pub fn check_custody(&self, faults: &mut Faults) {
        let m = self.manifest;
        let request = serde_json::to_value(&m.request.request).unwrap_or_default();
        let own = std::iter::once((m.request.n, m.request.at, &request));
        for (n, at, item) in m.custody.iter().map(|r| (r.n, r.at, &r.item)).chain(own) {
            let entry = self.by_n.get(&n);
            let recorded: Option<Value> = entry.and_then(|e| serde_json::from_str(e.item.as_deref()?).ok());
            if recorded.as_ref() != Some(item) || entry.is_some_and(|e| e.at != at) {
                let text = format!("the custody log's entry {n} is not the one of the chain");
                faults.add(FaultKind::CustodyChanged, format!("entry {n}"), text);
            }
        }
    }

    /// What the chain marks as the bundle's must be in it.
    pub fn check_dropped(&self, faults: &mut Faults) {
        let m = self.manifest;
        let messages: Vec<&MessageRecord> = m.events.iter().flat_map(|e| &e.messages).chain(&m.notices).collect();
        for line in self.lines.iter().filter(|l| l.in_bundle) {
            let e = &line.entry;
            let there = match e.kind {
                Kind::Message => messages.iter().any(|m| m.chain_n == Some(e.n)),
                Kind::Segment => m.footage.iter().flat_map(|f| &f.segments).any(|s| s.chain_n == Some(e.n)),
                Kind::Hold | Kind::SegmentDeleted | Kind::Custody => m.custody.iter().any(|r| r.n == e.n),
                Kind::Genesis | Kind::Key => true,
            };
            if there {
                continue;
            }
            match e.kind {
                Kind::Message => {
                    let (event, revision) = e.reference.split_once('/').unwrap_or((&e.reference, "?"));
                    let text = format!("message {revision} of event {event} (entry {}) was dropped", e.n);
                    faults.add(FaultKind::EventDropped, event, text);
                }
                Kind::Segment => {
                    let text = format!("footage {} (entry {}) was dropped", e.reference, e.n);
                    faults.add(FaultKind::FileMissing, &e.reference, text);
                }
                _ => {
                    let text = format!("entry {} was dropped from the custody log", e.n);
                    faults.add(FaultKind::CustodyChanged, format!("entry {}", e.n), text);
                }
            }
        }
        self.check_revisions(faults);
    }

    /// A message of one of the bundle's events that the chain knows and the bundle does not have.
    fn check_revisions(&self, faults: &mut Faults) {
        for event in &self.manifest.events {
            let first = event.messages.first().map_or(1, |m| m.revision);
            let of_event =
                self.messages.iter().filter_map(|(key, e)| Some((key.strip_prefix(&event.id)?.strip_prefix('/')?, e)));
            for (revision, entry) in of_event {
                let revision: u32 = revision.parse().unwrap_or(0);
                let younger = entry.n > self.manifest.request.n;
                // Those before the first were pruned on the box, which the manifest says.
                if !younger && revision >= first && !event.messages.iter().any(|m| m.revision == revision) {
                    let text = format!("message {revision} of event {} (entry {}) was dropped", event.id, entry.n);
                    faults.add(FaultKind::EventDropped, &event.id, text);
                }
            }
        }
    }
}

/// What the times of a message say against the manifest.
fn shifted(event: Option<&EventRecord>, m: &MessageRecord, bytes: &[u8]) -> Option<String> {
    let json: Value = serde_json::from_slice(bytes).ok()?;
    let time = |v: &Value| UtcMillis::parse_rfc3339(v.as_str()?).ok();
    let capture = &json["data"]["capture"];
    let said = time(&capture["best"]).or(time(&json["time"]))?;
    let differs = |what: &str, said: UtcMillis, listed: UtcMillis| {
        (said != listed).then(|| {
            format!(
                "a time was shifted: {} says {what} {}, the manifest {}",
                m.file,
                said.to_rfc3339(),
                listed.to_rfc3339()
            )
        })
    };
    differs("the picture is of", said, m.time)
        .or_else(|| differs("it began at", time(&capture["start"])?, event?.start))
        .or_else(|| differs("it ended at", time(&capture["end"])?, event?.end?))
}

/// Keys in their order.
#[derive(Debug, Default)]
pub struct Keys {
    all: Vec<(i64, PublicKey)>,
    /// Keys that took over without the word of the one before, and the sentence about it.
    lost: Vec<(PublicKey, String)>,
}

impl Keys {
    /// The key in force at entry `n`.
    fn at(&self, n: i64) -> Option<PublicKey> {
        self.all.iter().rev().find(|(from, _)| *from <= n).map(|(_, key)| *key)
    }

    /// Is the signer the box's, and does the key given vouch for it?
    pub fn check_signer(
        &self,
        signer: PublicKey,
        given: Option<PublicKey>,
        faults: &mut Faults,
        notes: &mut Vec<String>,
    ) {
        if self.all.last().map(|k| k.1) != Some(signer) {
            let text = format!(
                "the bundle is signed by key {}, which is not the key of the box in its chain: somebody else signed it",
                signer.id()
            );
            return faults.add(FaultKind::ForeignKey, "signed.txt", text);
        }
        let Some(given) = given else {
            notes.extend(self.lost.iter().map(|(_, text)| text.clone()));
            notes.push(format!(
                "no --key was given: the bundle agrees with itself, but who signed it is only what it says itself (key {})",
                signer.id()
            ));
            return;
        };
        let Some(at) = self.all.iter().position(|(_, key)| *key == given) else {
            let text = format!(
                "the bundle is signed by key {}, and the key given ({}) is nowhere in its chain",
                signer.id(),
                given.id()
            );
            return faults.add(FaultKind::ForeignKey, "signed.txt", text);
        };
        for (_, key) in &self.all[at + 1..] {
            if let Some((_, text)) = self.lost.iter().find(|(k, _)| k == key) {
                faults.add(FaultKind::HandOver, format!("key {}", key.id()), text.clone());
            }
        }
        if given != signer {
            notes.push(format!("the key given ({}) handed over to the signer ({})", given.id(), signer.id()));
        }
    }
}

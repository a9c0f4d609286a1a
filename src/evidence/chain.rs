//! The chain: a list of entries of which each names the digest of the one before, so that none can be changed, taken out or put
//! in without changing all that follow. The exact bytes and how to check them; no database here (`store/chain.rs`), no
//! signatures (`statement.rs`).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::UtcMillis;

/// First bytes of what an entry's digest is taken of: no other signed or hashed text of the box begins so.
const DOMAIN: &[u8] = b"gatewatch chain entry v1\n";

/// A SHA-256; hex in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sum(pub [u8; 32]);

impl Sum {
    /// What the first entry names as the one before it.
    pub const ZERO: Self = Self([0; 32]);

    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads 64 hex digits.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut out = [0; 32];
        hex::decode_to_slice(text, &mut out).map_err(|_| format!("{text:?} is not a SHA-256 of 64 hex digits"))?;
        Ok(Self(out))
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for Sum {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sum {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Sum {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sha256".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9a-f]{64}$"})
    }
}

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The first entry: which box, which store. The item is kept.
    Genesis,
    /// A public key and who vouches for it. The item is kept.
    Key,
    /// A message as recorded; `ref` is `{event id}/{revision}`. The item is the message itself, which is pruned one day.
    Message,
    /// A hold as it stands after a change; `ref` is its id. The item is kept.
    Hold,
    /// A finished footage segment; `ref` is its path. The item (times and SHA-256 of the file) is kept.
    Segment,
    /// A segment that was deleted, and why; `ref` is its path. The item is kept.
    SegmentDeleted,
    /// Somebody took, or asked for, evidence; `ref` is the id of the request. The item is kept.
    Custody,
}

impl Kind {
    /// As in the entry's bytes, the database and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Genesis => "genesis",
            Self::Key => "key",
            Self::Message => "message",
            Self::Hold => "hold",
            Self::Segment => "segment",
            Self::SegmentDeleted => "segment_deleted",
            Self::Custody => "custody",
        }
    }

    /// The reverse of [`Kind::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let all =
            [Self::Genesis, Self::Key, Self::Message, Self::Hold, Self::Segment, Self::SegmentDeleted, Self::Custody];
        all.into_iter().find(|k| k.as_str() == text)
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Entry {
    /// 1, 2, 3 … without holes.
    pub n: i64,
    /// The box's clock when it was appended.
    pub at: UtcMillis,
    /// What it is about.
    pub kind: Kind,
    /// Which one of that kind.
    #[serde(rename = "ref")]
    pub reference: String,
    /// SHA-256 of the item: the message or JSON text, byte for byte.
    pub item_sha256: Sum,
    /// `sha256` of the entry before; zeros in the first.
    pub prev_sha256: Sum,
    /// SHA-256 of all the above, see [`Entry::bytes`].
    pub sha256: Sum,
    /// The item, for kinds that keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
}

impl Entry {
    /// The entry that follows `prev` (`None` = the first).
    #[must_use]
    pub fn after(prev: Option<(i64, Sum)>, at: UtcMillis, kind: Kind, reference: &str, item: &str) -> Self {
        let (n, prev_sha256) = prev.map_or((1, Sum::ZERO), |(n, sum)| (n + 1, sum));
        let mut entry = Self {
            n,
            at,
            kind,
            reference: reference.into(),
            item_sha256: Sum::of(item.as_bytes()),
            prev_sha256,
            sha256: Sum::ZERO,
            item: (kind != Kind::Message).then(|| item.to_owned()),
        };
        entry.sha256 = entry.digest();
        entry
    }

    /// What the digest is taken of: the domain, `n` and `at` (milliseconds since 1970) as 8 bytes big-endian, `kind` and `ref`
    /// in UTF-8 each after its length as 4 bytes big-endian, then the two digests of 32 bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        out.extend_from_slice(DOMAIN);
        out.extend_from_slice(&self.n.to_be_bytes());
        out.extend_from_slice(&self.at.0.to_be_bytes());
        for text in [self.kind.as_str(), &self.reference] {
            let length = u32::try_from(text.len()).expect("references are short texts of our own making");
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(&self.item_sha256.0);
        out.extend_from_slice(&self.prev_sha256.0);
        out
    }

    /// What `sha256` must be.
    #[must_use]
    pub fn digest(&self) -> Sum {
        Sum::of(&self.bytes())
    }

    /// What is wrong with the entry alone, for a person; `None` = nothing.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        if self.digest() != self.sha256 {
            return Some(format!("entry {} was changed: its content does not give its own digest", self.n));
        }
        let item = self.item.as_ref()?;
        (Sum::of(item.as_bytes()) != self.item_sha256)
            .then(|| format!("the item of entry {} ({}) was changed", self.n, self.kind.as_str()))
    }

    /// What is wrong between `before` and this entry, its successor.
    #[must_use]
    pub fn break_after(&self, before: &Self) -> Option<String> {
        if self.n <= before.n {
            return Some(format!("entries {} and {} were swapped or doubled", before.n, self.n));
        }
        if self.n != before.n + 1 {
            return Some(format!("{} is missing", missing(before.n + 1, self.n - 1)));
        }
        (self.prev_sha256 != before.sha256)
            .then(|| format!("entry {} does not continue entry {}: one of them was replaced", self.n, before.n))
    }
}

/// An entry in `chain.jsonl` of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Line {
    /// The bundle has what it is about; the others are there for the proof alone.
    pub in_bundle: bool,
    /// The entry.
    #[serde(flatten)]
    pub entry: Entry,
}

/// "entry 3", "entries 3 to 5": of what is not there.
fn missing(from: i64, to: i64) -> String {
    if from == to { format!("entry {from}") } else { format!("all of entries {from} to {to}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<Entry> {
        let mut chain: Vec<Entry> = Vec::new();
        for (kind, reference, item) in
            [(Kind::Genesis, "15BB/gate-01", "{}"), (Kind::Message, "A/1", "hello"), (Kind::Hold, "h", "{\"a\":1}")]
        {
            let last = chain.last().map(|e| (e.n, e.sha256));
            chain.push(Entry::after(last, UtcMillis(1_700_000_000_000), kind, reference, item));
        }
        chain
    }

    #[test]
    fn the_bytes_are_those_of_the_document() {
        let second = &three()[1];
        let bytes = second.bytes();
        assert_eq!(&bytes[..25], DOMAIN);
        assert_eq!(&bytes[25..33], [0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(&bytes[41..52], b"\0\0\0\x07message");
        assert_eq!(&bytes[52..59], b"\0\0\0\x03A/1");
        assert_eq!(bytes.len(), 59 + 64);
        // From an independent computation (the script of docs/evidence.md).
        assert_eq!(second.item_sha256.to_string(), "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    }

    #[test]
    fn every_change_shows() {
        let good = three();
        assert!(good.iter().all(|e| e.fault().is_none()));
        assert!(good.windows(2).all(|w| w[1].break_after(&w[0]).is_none()));
        let changes: [fn(&mut Entry); 6] = [
            |e| e.n += 1,
            |e| e.at = e.at.plus_ms(1),
            |e| e.kind = Kind::Custody,
            |e| e.reference.push('x'),
            |e| e.item_sha256.0[0] ^= 1,
            |e| e.prev_sha256.0[31] ^= 1,
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut entry = good[1].clone();
            change(&mut entry);
            assert!(entry.fault().is_some_and(|f| f.contains("was changed")), "change {i}");
        }
        let mut item = good[2].clone();
        item.item = Some("{\"a\":2}".into());
        assert!(item.fault().unwrap().contains("the item of entry 3"));
        assert!(good[2].break_after(&good[0]).unwrap().contains("entry 2 is missing"));
        assert!(good[0].break_after(&good[2]).unwrap().contains("swapped"));
        let other = Entry::after(Some((1, Sum::of(b"other"))), good[1].at, Kind::Message, "A/1", "hello");
        assert!(other.break_after(&good[0]).unwrap().contains("replaced"));
    }

    #[test]
    fn lengths_keep_kind_and_reference_apart() {
        let a = Entry::after(None, UtcMillis(0), Kind::Segment, "_deleted", "");
        let b = Entry::after(None, UtcMillis(0), Kind::SegmentDeleted, "", "");
        assert_ne!(a.sha256, b.sha256);
    }
}

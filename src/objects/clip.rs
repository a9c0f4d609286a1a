//! What lies in the store: clips, and beside each a note (JSON) with its digests, signed by the box, so that any part of it can be
//! checked as it is read. Names are found by office, box, camera and day, so nobody has to be told them:
//!
//! ```text
//! {office}/{box}/{camera}/{UTC day}/{from}_{to}_{event|hold}-{id}.mp4      and .json, written when the clip is whole
//! ```

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::UtcMillis;
use crate::evidence::chain::Sum;
use crate::evidence::keys::{PublicKey, Signature};
use crate::evidence::statement::Origin;
use crate::geometry::Polygon;

/// Longest clip, milliseconds: what takes longer is several. As long as masked copies may be.
pub const MAX_MS: i64 = 600_000;
/// A clip has a digest for each so many bytes.
pub const BLOCK_BYTES: u64 = 1 << 20;
/// Largest note.
pub const MAX_NOTE_BYTES: u64 = 4 << 20;

/// What a clip is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClipKind {
    /// An event, with the time before and after.
    Event,
    /// A hold.
    Hold,
}

impl ClipKind {
    /// As it stands in names.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Hold => "hold",
        }
    }
}

/// A clip by its name, within the folder of its camera and day.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClipName {
    /// What for.
    pub kind: ClipKind,
    /// Id of the event or hold.
    pub id: String,
    /// From, as asked.
    pub from: UtcMillis,
    /// To, as asked.
    pub to: UtcMillis,
}

/// As a part of a name, where it may come from anybody: what could be anything else there is replaced.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect()
}

/// `20260302T031735400Z`.
fn compact(at: UtcMillis) -> String {
    at.to_rfc3339().chars().filter(char::is_ascii_alphanumeric).collect()
}

fn from_compact(text: &str) -> Option<UtcMillis> {
    let part = |range| text.get(range).filter(|t: &&str| t.bytes().all(|b| b.is_ascii_digit()));
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let (hour, minute, second, ms) = (part(9..11)?, part(11..13)?, part(13..15)?, part(15..18)?);
    UtcMillis::parse_rfc3339(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}.{ms}Z")).ok()
}

/// The folder of a camera's clips that begin on the UTC day of `at`.
#[must_use]
pub fn folder(office: &str, box_id: &str, camera: &str, at: UtcMillis) -> String {
    let day = at.to_rfc3339();
    // The camera may be what somebody typed at the desk.
    format!("{office}/{box_id}/{}/{}", plain(camera), day.get(..10).unwrap_or_default())
}

impl ClipName {
    /// Without its ending.
    #[must_use]
    pub fn stem(&self) -> String {
        format!("{}_{}_{}-{}", compact(self.from), compact(self.to), self.kind.as_str(), plain(&self.id))
    }

    /// Reads a file's name; `None` for all that is no note of a clip.
    #[must_use]
    pub fn of_note(file: &str) -> Option<Self> {
        let mut parts = file.strip_suffix(".json")?.splitn(3, '_');
        let (from, to) = (from_compact(parts.next()?)?, from_compact(parts.next()?)?);
        let (kind, id) = parts.next()?.split_once('-')?;
        let kind = match kind {
            "event" => ClipKind::Event,
            "hold" => ClipKind::Hold,
            _ => return None,
        };
        Some(Self { kind, id: id.to_owned(), from, to })
    }

    /// Whether it is of this event.
    #[must_use]
    pub fn is_of_event(&self, id: &str) -> bool {
        self.kind == ClipKind::Event && self.id == plain(id)
    }
}

/// A time without video in a clip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ClipGap {
    /// From.
    pub from: UtcMillis,
    /// To.
    pub to: UtcMillis,
    /// As manifests of footage name it.
    pub reason: String,
}

/// The note beside a clip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ClipNote {
    /// Whose.
    #[serde(flatten)]
    pub origin: Origin,
    /// Camera.
    pub camera: String,
    /// What for.
    pub kind: ClipKind,
    /// Id of the event or hold.
    pub id: String,
    /// From, as asked.
    pub from: UtcMillis,
    /// To, as asked.
    pub to: UtcMillis,
    /// Capture time of the first picture.
    pub first: UtcMillis,
    /// Capture time of the last picture.
    pub last: UtcMillis,
    /// What is missing of the time, and why.
    pub gaps: Vec<ClipGap>,
    /// Digest of the privacy masks that are burnt in; `null`: the camera has none, this is what it sent.
    pub masks: Option<Sum>,
    /// Bytes of the clip.
    pub bytes: u64,
    /// SHA-256 of the clip.
    pub sha256: Sum,
    /// SHA-256 of each 1,048,576 bytes of it, in order; the last block may be shorter.
    pub blocks: Vec<Sum>,
    /// When it was put there.
    pub at: UtcMillis,
    /// The box's key; `null` while the box cannot sign.
    pub key: Option<PublicKey>,
    /// Ed25519 over the statement of this note.
    pub signature: Option<Signature>,
}

impl ClipNote {
    /// The text that is signed.
    #[must_use]
    pub fn statement(&self) -> String {
        let Origin { office, box_id, epoch } = &self.origin;
        let time = UtcMillis::to_rfc3339;
        let blocks = Sum::of(&self.blocks.iter().flat_map(|b| b.0).collect::<Vec<u8>>());
        let or_none = |sum: Option<Sum>| sum.map_or_else(|| "none".to_owned(), |sum| sum.to_string());
        let (gaps, masks) = (or_none(gaps_digest(&self.gaps)), or_none(self.masks));
        format!(
            "gatewatch stored clip v1\noffice {office}\nbox {box_id}\nepoch {epoch}\ncamera {}\n{} {}\nfrom {}\nto {}\nfirst {}\nlast {}\n\
             gaps {gaps}\nmasks {masks}\nbytes {}\nsha256 {}\nblocks {blocks}\nat {}\n",
            self.camera,
            self.kind.as_str(),
            plain(&self.id),
            time(self.from),
            time(self.to),
            time(self.first),
            time(self.last),
            self.bytes,
            self.sha256,
            time(self.at),
        )
    }

    /// Whether it is the word of the box that `name` in the folder of this camera promises, and agrees with itself. `keys`: those
    /// that are known to be the box's; with none of them known the signature only has to be the named key's own.
    ///
    /// # Errors
    /// What is wrong, for logs.
    pub fn check(
        &self,
        (office, box_id, camera): (&str, &str, &str),
        name: &ClipName,
        keys: &[String],
    ) -> Result<(), String> {
        let named = ClipName { kind: self.kind, id: plain(&self.id), from: self.from, to: self.to };
        if (self.origin.office.as_str(), self.origin.box_id.as_str(), self.camera.as_str()) != (office, box_id, camera)
        {
            return Err("it is of another camera".into());
        }
        if named != *name {
            return Err("it is of another clip".into());
        }
        if self.bytes == 0 || self.blocks.len() as u64 != self.bytes.div_ceil(BLOCK_BYTES) {
            return Err("its digests are not those of so many bytes".into());
        }
        // Or one of them could be written as several, with the same digest.
        if self.gaps.iter().any(|g| !g.reason.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')) {
            return Err("its gaps have reasons that no box names".into());
        }
        match (&self.key, &self.signature) {
            (Some(key), Some(signature)) if !key.verify(&self.statement(), &signature.0) => {
                Err(format!("the signature is not that of key {}", key.id()))
            }
            (Some(key), Some(_)) if !keys.is_empty() && !keys.contains(&key.to_string()) => {
                Err(format!("key {} is not known to be the box's", key.id()))
            }
            (Some(_), Some(_)) => Ok(()),
            _ if keys.is_empty() => Ok(()),
            _ => Err("it is not signed".into()),
        }
    }
}

fn gaps_digest(gaps: &[ClipGap]) -> Option<Sum> {
    let text = |g: &ClipGap| format!("{} {} {}\n", g.from.to_rfc3339(), g.to.to_rfc3339(), g.reason);
    (!gaps.is_empty()).then(|| Sum::of(gaps.iter().map(text).collect::<String>().as_bytes()))
}

/// Digest of masks as they are burnt in.
#[must_use]
pub fn masks_digest(masks: &[Polygon]) -> Option<Sum> {
    let text = |m: &Polygon| m.0.iter().map(|p| format!("{} {}\n", p.x, p.y)).collect::<String>() + "\n";
    (!masks.is_empty()).then(|| Sum::of(masks.iter().map(text).collect::<String>().as_bytes()))
}

/// Digests of a clip, made while it passes by.
#[derive(Debug, Default)]
pub struct Digests {
    whole: Sha256,
    block: Sha256,
    in_block: u64,
    bytes: u64,
    blocks: Vec<Sum>,
}

impl Digests {
    /// The next bytes.
    pub fn add(&mut self, mut bytes: &[u8]) {
        self.whole.update(bytes);
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = usize::try_from(BLOCK_BYTES - self.in_block).unwrap_or(usize::MAX);
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.block.update(now);
            self.in_block += now.len() as u64;
            if self.in_block == BLOCK_BYTES {
                self.end_block();
            }
            bytes = rest;
        }
    }

    fn end_block(&mut self) {
        self.blocks.push(Sum(std::mem::take(&mut self.block).finalize().into()));
        self.in_block = 0;
    }

    /// Bytes, digest of all, digests of the blocks.
    #[must_use]
    pub fn done(mut self) -> (u64, Sum, Vec<Sum>) {
        if self.in_block > 0 {
            self.end_block();
        }
        (self.bytes, Sum(self.whole.finalize().into()), self.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::keys::KeyFolder;

    fn name() -> ClipName {
        let (from, to) = (UtcMillis(1_772_421_455_400), UtcMillis(1_772_421_477_480));
        ClipName { kind: ClipKind::Event, id: "01JC0000000000000000000001".into(), from, to }
    }

    fn note() -> ClipNote {
        let ClipName { kind, id, from, to } = name();
        let mut digests = Digests::default();
        digests.add(b"moving pictures");
        let (bytes, sha256, blocks) = digests.done();
        let origin = Origin { office: "15BB".into(), box_id: "gate-01".into(), epoch: 7 };
        let (key, signature, gaps) = (None, None, Vec::new());
        ClipNote {
            origin,
            camera: "bay".into(),
            kind,
            id,
            from,
            to,
            first: from,
            last: to,
            gaps,
            masks: None,
            bytes,
            sha256,
            blocks,
            at: to,
            key,
            signature,
        }
    }

    #[test]
    fn names_are_read_back_and_strange_ones_are_none() {
        assert_eq!(name().stem(), "20260302T031735400Z_20260302T031757480Z_event-01JC0000000000000000000001");
        assert_eq!(ClipName::of_note(&format!("{}.json", name().stem())), Some(name()));
        assert_eq!(folder("15BB", "gate-01", "../a/b", name().from), "15BB/gate-01/---a-b/2026-03-02");
        for strange in ["", "x.json", "1_2_event-3.json", "20260302T031735400Z_20260302T031757480Z_film-1.json"] {
            assert_eq!(ClipName::of_note(strange), None, "{strange}");
        }
        assert_eq!(ClipName::of_note(&format!("{}.mp4", name().stem())), None, "a clip without its note is not whole");
    }

    #[test]
    fn digests_do_not_depend_on_how_the_bytes_come() {
        let clip: Vec<u8> = (0..3_000_000_u32).map(|i| i.to_le_bytes()[1]).collect();
        let of = |pieces: usize| {
            let mut digests = Digests::default();
            clip.chunks(pieces).for_each(|c| digests.add(c));
            digests.done()
        };
        let (bytes, sha256, blocks) = of(7_001);
        assert_eq!((bytes, sha256, blocks.len()), (3_000_000, Sum::of(&clip), 3));
        assert_eq!(blocks[1], Sum::of(&clip[1 << 20..2 << 20]));
        assert_eq!(of(5 << 20), (bytes, sha256, blocks));
    }

    #[test]
    fn a_note_is_believed_when_it_is_the_boxs_own_word_about_this_clip() {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyFolder::of_store(dir.path()).make_next().unwrap();
        let other = KeyFolder::of_store(tempfile::tempdir().unwrap().path()).make_next().unwrap();
        let place = ("15BB", "gate-01", "bay");
        let signed = |mut note: ClipNote, key: &crate::evidence::keys::BoxKey| {
            note.key = Some(key.public());
            note.signature = Some(key.sign(&note.statement()));
            note
        };
        let known = [key.public().to_string()];
        let good = signed(note(), &key);
        assert_eq!(good.check(place, &name(), &known), Ok(()));
        assert_eq!(good.check(place, &name(), &[]), Ok(()), "the desk has not heard of the box's key yet");
        assert_eq!(note().check(place, &name(), &[]), Ok(()), "nor can the box sign");
        let read: ClipNote = serde_json::from_str(&serde_json::to_string(&good).unwrap()).unwrap();
        assert_eq!(read, good);
        let refused = |note: &ClipNote, place, name: &ClipName| note.check(place, name, &known).unwrap_err();
        assert!(refused(&note(), place, &name()).contains("not signed"));
        assert!(refused(&signed(note(), &other), place, &name()).contains("not known to be the box's"));
        let changed = ClipNote { sha256: Sum::ZERO, ..good.clone() };
        assert!(refused(&changed, place, &name()).contains("signature"));
        assert!(changed.check(place, &name(), &[]).is_err());
        assert!(refused(&good, ("15BB", "gate-02", "bay"), &name()).contains("another camera"));
        assert!(refused(&good, place, &ClipName { id: "2".into(), ..name() }).contains("another clip"));
        assert!(refused(&ClipNote { blocks: Vec::new(), ..good.clone() }, place, &name()).contains("so many bytes"));

        // What is missing is signed too.
        let gap = |reason: &str| ClipGap { from: UtcMillis(1000), to: UtcMillis(2000), reason: reason.into() };
        let lacking = signed(ClipNote { gaps: vec![gap("quota"), gap("other_coding")], ..note() }, &key);
        assert_eq!(lacking.check(place, &name(), &known), Ok(()));
        let gaps = [vec![], vec![gap("quota")], vec![gap("restart"), gap("other_coding")]];
        for gaps in gaps {
            assert!(refused(&ClipNote { gaps, ..lacking.clone() }, place, &name()).contains("signature"));
        }
        let one = format!("quota\n{0} {0} other_coding", UtcMillis(1000).to_rfc3339());
        assert!(refused(&ClipNote { gaps: vec![gap(&one)], ..lacking }, place, &name()).contains("reasons"));
        let digest = gaps_digest(&[gap("quota")]).unwrap();
        assert_eq!(digest, Sum::of(b"1970-01-01T00:00:01.000Z 1970-01-01T00:00:02.000Z quota\n"), "as documented");
    }
}

//! Clips that boxes brought into a store of objects, for when a box cannot be reached or no longer has its footage. They are found by
//! camera and time, and every part of one is checked against its note before anybody sees it. Who may see which is decided where
//! clips of boxes are asked for (`web/footage.rs`, `web/camera.rs`).

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::db::Db;
use crate::clock::UtcMillis;
use crate::config::ObjectsConfig;
use crate::evidence::chain::Sum;
use crate::objects::clip::{self, BLOCK_BYTES, ClipKind, ClipName, ClipNote, MAX_MS, MAX_NOTE_BYTES};
use crate::objects::{Objects, ObjectsError};

/// Clips of a camera and a day that are looked at.
const MAX_NAMES: usize = 20_000;
const DAY_MS: i64 = 86_400_000;

/// Why a clip is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClipError {
    /// There is none, or no store.
    NotThere,
    /// The store cannot be asked; the log says why.
    Away,
    /// It is not what the box put there.
    Wrong,
}

impl ClipError {
    /// Key of a sentence in `words.rs`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::NotThere => "clip.store_none",
            Self::Away => "clip.store_away",
            Self::Wrong => "clip.store_wrong",
        }
    }
}

/// What is looked for: a camera of a box, a time, and an event whose own clip is the first choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub office: String,
    pub box_id: String,
    pub camera: String,
    /// Milliseconds UTC.
    pub from: i64,
    pub to: i64,
    pub event: Option<String>,
}

impl Wanted {
    fn is_own(&self, name: &ClipName) -> bool {
        self.event.as_ref().is_some_and(|id| name.is_of_event(id))
    }

    /// Whether it may be given for it. Of an event its own clip, one that shows all of the time, or what somebody held; of a time alone
    /// whatever shows something of it.
    fn fits(&self, name: &ClipName) -> bool {
        let shows = name.from.0 < self.to && self.from < name.to.0;
        let all = name.from.0 <= self.from && self.to <= name.to.0;
        self.is_own(name) || all || (shows && (self.event.is_none() || name.kind == ClipKind::Hold))
    }

    fn folder(&self, day: UtcMillis) -> String {
        clip::folder(&self.office, &self.box_id, &self.camera, day)
    }

    fn shared_ms(&self, name: &ClipName) -> i64 {
        name.to.0.min(self.to) - name.from.0.max(self.from)
    }
}

/// A clip whose note was checked.
#[derive(Debug)]
pub(crate) struct Clip {
    pub name: ClipName,
    pub note: ClipNote,
    /// Signed by a key that is known to be the box's.
    pub vouched: bool,
    objects: Arc<Objects>,
    path: String,
}

/// The store, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Clips {
    config: Option<ObjectsConfig>,
    open: OnceLock<Arc<Objects>>,
}

impl Clips {
    /// # Errors
    /// Says which key or file cannot be used. A folder that is not mounted yet may come later.
    pub(crate) async fn new(config: Option<&ObjectsConfig>) -> Result<Self, String> {
        let this = Self { config: config.cloned(), open: OnceLock::new() };
        match this.objects().await {
            Err(error @ ObjectsError::Configuration(..)) => Err(format!("store.{error}")),
            _ => Ok(this),
        }
    }

    /// `None`: there is none.
    async fn objects(&self) -> Result<Option<Arc<Objects>>, ObjectsError> {
        match (self.open.get(), &self.config) {
            (Some(objects), _) => Ok(Some(Arc::clone(objects))),
            (None, Some(config)) => {
                let objects = Arc::new(Objects::open(config, None).await?);
                Ok(Some(Arc::clone(self.open.get_or_init(|| objects))))
            }
            (None, None) => Ok(None),
        }
    }

    /// Clips that show something of it, the best first: the event's own, then what shows most of it.
    pub(crate) async fn find(&self, wanted: &Wanted) -> Result<Vec<ClipName>, ClipError> {
        let Some(objects) = self.objects().await.map_err(away)? else { return Ok(Vec::new()) };
        let mut found: Vec<ClipName> = Vec::new();
        let first = (wanted.from - MAX_MS).div_euclid(DAY_MS);
        for day in first..=wanted.to.div_euclid(DAY_MS) {
            let folder = wanted.folder(UtcMillis(day * DAY_MS));
            let files = objects.names(&folder, MAX_NAMES).await.map_err(away)?;
            found.extend(files.iter().filter_map(|f| ClipName::of_note(f)).filter(|n| wanted.fits(n)));
        }
        found.sort_by_key(|n| (!wanted.is_own(n), -wanted.shared_ms(n), n.to.since(n.from), n.from));
        Ok(found)
    }

    /// A clip by its name, with its note.
    pub(crate) async fn open(&self, db: &Db, wanted: &Wanted, stem: &str) -> Result<Clip, ClipError> {
        let name = ClipName::of_note(&format!("{stem}.json")).filter(|n| n.stem() == stem && wanted.fits(n));
        let name = name.ok_or(ClipError::NotThere)?;
        let objects = self.objects().await.map_err(away)?.ok_or(ClipError::NotThere)?;
        let path = format!("{}/{stem}", wanted.folder(name.from));
        let text = objects.read(&format!("{path}.json"), MAX_NOTE_BYTES).await.map_err(away)?;
        let note: ClipNote =
            serde_json::from_slice(&text.ok_or(ClipError::NotThere)?).map_err(|e| wrong(&path, &e.to_string()))?;
        let source = format!("/office/{}/box/{}", wanted.office, wanted.box_id);
        let keys = db.chain_keys_of(&source).await.map_err(|error| {
            tracing::error!(%error, "the keys of a box cannot be read");
            ClipError::Away
        })?;
        note.check((&wanted.office, &wanted.box_id, &wanted.camera), &name, &keys).map_err(|why| wrong(&path, &why))?;
        let vouched = note.signature.is_some() && !keys.is_empty();
        Ok(Clip { name, note, vouched, objects, path })
    }
}

impl Clip {
    /// Names this very content.
    pub(crate) fn etag(&self) -> String {
        self.note.sha256.to_string()
    }

    /// Bytes from `at` on, up to the end of their block and to `end`, checked.
    pub(crate) async fn bytes(&self, at: u64, end: u64) -> Result<Bytes, ClipError> {
        let block = at / BLOCK_BYTES;
        let (from, to) = (block * BLOCK_BYTES, ((block + 1) * BLOCK_BYTES).min(self.note.bytes));
        let read = self.objects.read_range(&format!("{}.mp4", self.path), from..to).await.map_err(away)?;
        let bytes = read.ok_or(ClipError::NotThere)?;
        let sum = usize::try_from(block).ok().and_then(|i| self.note.blocks.get(i));
        if bytes.len() as u64 != to - from || sum != Some(&Sum::of(&bytes)) {
            return Err(wrong(&self.path, "its bytes are not those that the box put there"));
        }
        let within = |x: u64| usize::try_from(x.clamp(from, to) - from).unwrap_or(0);
        Ok(bytes.slice(within(at)..within(end.max(at))))
    }
}

fn away(error: ObjectsError) -> ClipError {
    if let ObjectsError::TooLarge(_, name, _) = &error {
        return wrong(name, &error.to_string());
    }
    tracing::warn!(%error, "the store of clips cannot be asked");
    ClipError::Away
}

fn wrong(path: &str, why: &str) -> ClipError {
    tracing::error!(clip = path, why, "a clip in the store is refused");
    ClipError::Wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_own_clip_is_the_first_choice_and_nothing_of_another_time_fits() {
        let name =
            |kind, id: &str, from, to| ClipName { kind, id: id.into(), from: UtcMillis(from), to: UtcMillis(to) };
        let wanted = Wanted {
            office: "15BB".into(),
            box_id: "gate-01".into(),
            camera: "bay".into(),
            from: 1000,
            to: 2000,
            event: Some("e1".into()),
        };
        assert!(wanted.fits(&name(ClipKind::Event, "e1", 5000, 6000)));
        assert!(!wanted.fits(&name(ClipKind::Event, "e2", 5000, 6000)));
        assert!(!wanted.fits(&name(ClipKind::Hold, "e1", 2000, 6000)));
        assert!(wanted.fits(&name(ClipKind::Hold, "h", 1999, 6000)));
        for (from, to, fits) in [(0, 1999, false), (1001, 3000, false), (1000, 2000, true), (0, 3000, true)] {
            assert_eq!(wanted.fits(&name(ClipKind::Event, "e2", from, to)), fits, "another event from {from} to {to}");
        }
        let time = Wanted { event: None, ..wanted.clone() };
        assert!(time.fits(&name(ClipKind::Event, "e2", 0, 1001)) && !time.fits(&name(ClipKind::Event, "e2", 0, 1000)));
        assert_eq!(wanted.shared_ms(&name(ClipKind::Hold, "h", 0, 1500)), 500);
    }
}

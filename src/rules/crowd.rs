//! Who is in an area now, who has just gone, and what else is in the picture: what rules about an area as a whole look at.

use super::EndReason;
use super::presence::Sight;
use crate::geometry::Rect;
use crate::track::TrackId;
use crate::vision::Label;

/// A track that counts and has settled inside. A hidden one is still inside until it is lost.
#[derive(Debug, Clone)]
pub(super) struct Present {
    pub track: TrackId,
    pub label: Label,
    /// What else it was called in there.
    pub names: Vec<Label>,
    pub entered: Sight,
    /// Since when it stands still.
    pub still_since: Option<Sight>,
    /// Latest box, pixels.
    pub rect: Rect,
    pub score: f32,
    /// Seen in this very frame.
    pub seen: bool,
}

/// A track that was inside until this frame.
#[derive(Debug, Clone)]
pub(super) struct Gone {
    pub track: TrackId,
    pub label: Label,
    /// What else it was called in there.
    pub names: Vec<Label>,
    pub entered: Sight,
    /// First sight outside, or the last sight of it.
    pub at: Sight,
    pub reason: EndReason,
}

/// Everything that was seen in one frame, of any class, and what is known to stand there still.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    /// Pixels.
    pub size: (u32, u32),
    pub boxes: Vec<(TrackId, Rect)>,
}

/// An area after one frame.
#[derive(Debug, Clone, Default)]
pub(super) struct Crowd {
    pub present: Vec<Present>,
    pub gone: Vec<Gone>,
}

impl Crowd {
    /// Only those that are called so now; all when there are no classes.
    pub fn called(&self, classes: &[Label]) -> Self {
        let named = |label: &Label| classes.is_empty() || classes.contains(label);
        Self {
            present: self.present.iter().filter(|p| named(&p.label)).cloned().collect(),
            gone: self.gone.iter().filter(|g| named(&g.label)).cloned().collect(),
        }
    }

    /// Only those of these classes, by any name of their stay; all when there are none.
    pub fn of(&self, classes: &[Label]) -> Self {
        let named = |label: &Label, names: &[Label]| {
            classes.is_empty() || names.iter().chain([label]).any(|name| classes.contains(name))
        };
        Self {
            present: self.present.iter().filter(|p| named(&p.label, &p.names)).cloned().collect(),
            gone: self.gone.iter().filter(|g| named(&g.label, &g.names)).cloned().collect(),
        }
    }
}

//! The picture of an event: what was seen, where, when and which declaration it belongs to, drawn on the very frame
//! the box came from. The words stand in a bar above the picture, so that they hide nothing of it; the annotated
//! picture is therefore higher than the frame. The clean picture is the frame alone.

mod jpeg;
mod masked;
mod picture;
mod shapes;
mod sheet;
mod text;
mod words;

use std::collections::HashMap;
use std::path::PathBuf;

use bytes::Bytes;
use tiny_skia::Color;

pub use masked::{covered, masked};

use super::message::EventMessage;
use super::zone::{UnknownZone, Zone};
use crate::camera::{CameraId, Frame};
use crate::config::{AreaKind, CameraConfig, Language, PicturesConfig, SiteConfig};
use crate::geometry::{Line, Point, Polygon, Rect};
use crate::track::Track;
use picture::Picture;
use shapes::{Layer, color};
use text::Text;

/// Why no picture could be made.
#[derive(Debug, thiserror::Error)]
pub enum AnnotateError {
    /// The font file cannot be read.
    #[error("cannot read the font {path}: {source}; install the package fonts-dejavu-core, or set pictures.font to a TrueType file with Vietnamese letters", path = path.display())]
    FontUnreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no font.
    #[error("{path} is not a TrueType font; set pictures.font to one, or leave it out and install the package fonts-dejavu-core", path = path.display())]
    NotAFont {
        /// Which file.
        path: PathBuf,
    },
    /// The font cannot write Vietnamese.
    #[error("the font {path} has no letter {letter:?}; set pictures.font to one with Vietnamese letters, or leave it out and install the package fonts-dejavu-core", path = path.display())]
    FontWithoutLetter {
        /// Which file.
        path: PathBuf,
        /// The first letter missing.
        letter: char,
    },
    /// Unknown time zone.
    #[error(transparent)]
    Zone(#[from] UnknownZone),
    /// The frame's planes do not hold the picture its size promises.
    #[error("the frame {0} is empty or its planes are shorter than its size says")]
    BadFrame(String),
    /// JPEG has at most 65535 pixels a side.
    #[error("a picture of {width}x{height} pixels cannot be a JPEG")]
    TooLarge {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// The encoder refused.
    #[error("the picture cannot be encoded: {0}")]
    Jpeg(String),
}

/// Both pictures of one finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotated {
    /// The frame alone, in its own size.
    pub clean_jpeg: Bytes,
    /// The frame with what is known drawn on it, at most the configured bytes.
    pub annotated_jpeg: Bytes,
}

/// A frame in the colours of JPEG and as one, made once for all findings that show it.
pub struct Base {
    camera: CameraId,
    number: u64,
    picture: Picture,
    clean_jpeg: Bytes,
}

/// Memory of pictures, kept from one to the next: to ask the system for it each time costs as much as to encode them.
#[derive(Default)]
pub struct Scratch {
    frame: Vec<u8>,
    drawn: Vec<u8>,
}

impl Scratch {
    /// Takes back the memory of a frame that is not needed any more.
    pub fn take_back(&mut self, base: Base) {
        self.frame = base.picture.into_memory();
    }
}

impl Base {
    /// Whether it is of this very frame.
    #[must_use]
    pub fn is_of(&self, frame: &Frame) -> bool {
        self.number == frame.number && self.camera == frame.camera
    }
}

/// Draws the pictures of events. Made once; `draw` needs no lock.
pub struct Annotator {
    text: Text,
    language: Language,
    zone: Zone,
    quality: u8,
    max_bytes: usize,
    /// Fractions of the picture.
    privacy: HashMap<CameraId, Vec<Polygon>>,
}

impl std::fmt::Debug for Annotator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Annotator({:?}, {:?})", self.language, self.zone)
    }
}

/// Line width and text size for one picture, pixels.
#[derive(Debug, Clone, Copy)]
struct Scale {
    line: f32,
    text: f32,
}

impl Scale {
    fn of(picture: &Picture) -> Self {
        let size = (picture.height().min(picture.width())) as f32;
        Self { line: (size / 360.0).clamp(1.8, 5.0), text: (size / 36.0).clamp(14.0, 56.0) }
    }
}

const AREA: [u8; 3] = [64, 224, 255];
const PATH: [u8; 3] = [255, 240, 120];

impl Annotator {
    /// Reads the font and the time zone; `cameras` have the privacy masks.
    ///
    /// # Errors
    /// When the font is missing, is none, or cannot write Vietnamese, or when the time zone does not exist.
    pub fn new(pictures: &PicturesConfig, site: &SiteConfig, cameras: &[CameraConfig]) -> Result<Self, AnnotateError> {
        Ok(Self {
            text: Text::load(pictures.font.as_deref())?,
            language: site.language,
            zone: Zone::new(&site.time_zone)?,
            quality: pictures.quality,
            max_bytes: pictures.max_published_bytes as usize,
            privacy: cameras.iter().map(|c| (c.id.clone(), c.privacy_masks())).collect(),
        })
    }

    /// Both pictures of an event from the frame of its `capture.best`.
    ///
    /// # Errors
    /// When the frame is not whole or too large for JPEG.
    pub fn draw(&self, frame: &Frame, event: &EventMessage) -> Result<Annotated, AnnotateError> {
        let mut scratch = Scratch::default();
        self.draw_on(&self.base(frame, &mut scratch)?, event, &mut scratch)
    }

    /// What all pictures of a frame have in common.
    ///
    /// # Errors
    /// As [`Annotator::draw`].
    pub fn base(&self, frame: &Frame, scratch: &mut Scratch) -> Result<Base, AnnotateError> {
        let picture = Picture::in_memory(frame, std::mem::take(&mut scratch.frame)).ok_or_else(|| bad(frame))?;
        let clean_jpeg = jpeg::encode(&picture, self.quality)?.into();
        Ok(Base { camera: frame.camera.clone(), number: frame.number, picture, clean_jpeg })
    }

    /// [`Annotator::draw`] from what was made of the frame before.
    ///
    /// # Errors
    /// When the picture is too large for JPEG.
    pub fn draw_on(
        &self,
        base: &Base,
        event: &EventMessage,
        scratch: &mut Scratch,
    ) -> Result<Annotated, AnnotateError> {
        let size = (base.picture.width(), base.picture.height());
        let scale = Scale::of(&base.picture);
        let bar = self.bar(event, size.0, scale);
        let memory = std::mem::take(&mut scratch.drawn);
        let mut picture = base.picture.with_room_above(bar.height, color(18, 22, 28).to_color_u8(), memory);
        picture.draw([0.0, 0.0, size.0 as f32, bar.height as f32], 0, |band| bar.draw(band, &self.text, scale));
        // Only what leaves the box is masked: the picture kept on it is the evidence.
        let masks = self.privacy.get(&event.data.camera.id).filter(|masks| !masks.is_empty());
        if let Some(masks) = masks {
            let size = (size.0 as u32, size.1 as u32);
            picture.draw(base.picture.all(), bar.height, |band| masked::cover(band, size, masks));
        }
        self.scene(&mut picture, bar.height, event, scale);
        // With masks there may be much less in it.
        let like = masks.is_none().then_some(base.clean_jpeg.len());
        let encoded = jpeg::encode_within(&picture, self.quality, self.max_bytes, like);
        scratch.drawn = picture.into_memory();
        Ok(Annotated { clean_jpeg: base.clean_jpeg.clone(), annotated_jpeg: encoded?.into() })
    }

    /// The frame with boxes (pixels) and their labels, as JPEG.
    ///
    /// # Errors
    /// When the frame is not whole or too large for JPEG.
    pub fn boxes(&self, frame: &Frame, boxes: &[(Rect, String)]) -> Result<Vec<u8>, AnnotateError> {
        let mut picture = whole(frame)?;
        let scale = Scale::of(&picture);
        let yellow = color(PATH[0], PATH[1], PATH[2]);
        picture.draw(picture.all(), 0, |band| {
            for (r, label) in boxes {
                let corners = [[r.x0, r.y0], [r.x1, r.y0], [r.x1, r.y1], [r.x0, r.y1]];
                shapes::polyline(band, &corners.map(Point::from), true, scale.line, yellow);
                self.draw_label(band, r, label, yellow, scale);
            }
        });
        jpeg::encode(&picture, self.quality)
    }

    /// The frame with the camera's privacy masks, as JPEG; with `tracks` also its areas and lines with their names, and
    /// what is followed. At most the bytes of a published picture.
    ///
    /// # Errors
    /// When the frame is not whole or too large for JPEG.
    pub fn view(
        &self,
        frame: &Frame,
        camera: &CameraConfig,
        tracks: Option<&[Track]>,
    ) -> Result<Vec<u8>, AnnotateError> {
        let mut picture = whole(frame)?;
        let (size, scale) = ((picture.width(), picture.height()), Scale::of(&picture));
        let masks = camera.privacy_masks();
        picture.draw(picture.all(), 0, |band| {
            masked::cover(band, (frame.width, frame.height), &masks);
            if let Some(tracks) = tracks {
                self.draw_view(band, size, camera, tracks, scale);
            }
        });
        jpeg::encode_within(&picture, self.quality, self.max_bytes, None)
    }

    /// Areas and lines with their names, and what is followed.
    fn draw_view(
        &self,
        layer: &mut Layer,
        size: (usize, usize),
        camera: &CameraConfig,
        tracks: &[Track],
        scale: Scale,
    ) {
        let pixels = |p: &Point| Point { x: p.x * size.0 as f32, y: p.y * size.1 as f32 };
        let blue = color(AREA[0], AREA[1], AREA[2]);
        for area in camera.areas.iter().filter(|a| a.kind != AreaKind::PrivacyMask) {
            let corners: Vec<Point> = area.polygon.0.iter().map(pixels).collect();
            shapes::polyline(layer, &corners, true, scale.line, blue);
            let name = if area.name.is_empty() { &area.id.0 } else { &area.name };
            self.name(layer, &corners, name, scale);
        }
        for line in &camera.lines {
            let ends = [pixels(&line.points.from), pixels(&line.points.to)];
            shapes::polyline(layer, &ends, false, scale.line * 1.5, blue);
            self.name(layer, &ends, if line.name.is_empty() { &line.id.0 } else { &line.name }, scale);
        }
        let yellow = color(PATH[0], PATH[1], PATH[2]);
        for track in tracks.iter().filter(|t| t.confirmed && t.matched) {
            let r = track.rect;
            let corners = [[r.x0, r.y0], [r.x1, r.y0], [r.x1, r.y1], [r.x0, r.y1]];
            shapes::polyline(layer, &corners.map(Point::from), true, scale.line, yellow);
            shapes::dot(layer, r.foot(), scale.line * 2.0, yellow);
            let label = words::seen(track.label.as_str(), track.median_score, self.language);
            self.draw_label(layer, &r, &label, yellow, scale);
        }
    }

    /// Beside the highest of some points.
    fn name(&self, layer: &mut Layer, points: &[Point], name: &str, scale: Scale) {
        let Some(top) = points.iter().min_by(|a, b| a.y.total_cmp(&b.y)) else { return };
        let at = Rect { x0: top.x, y0: top.y, x1: top.x, y1: top.y };
        self.draw_label(layer, &at, name, color(AREA[0], AREA[1], AREA[2]), scale);
    }

    /// Area, path, box and label, under the bar.
    fn scene(&self, picture: &mut Picture, below: usize, event: &EventMessage, scale: Scale) {
        let (w, h) = (picture.width() as f32, (picture.height() - below) as f32);
        let pixels = |p: Point| Point { x: p.x * w, y: p.y * h };
        let data = &event.data;
        let outline: Vec<Point> = data.area.outline.0.iter().copied().map(pixels).collect();
        let path: Vec<Point> = data.object.path.iter().map(|p| pixels(p.p)).collect();
        let rect = data.object.box_frac.scaled(w, h);
        let corners = [[rect.x0, rect.y0], [rect.x1, rect.y0], [rect.x1, rect.y1], [rect.x0, rect.y1]].map(Point::from);
        let word = words::object(data, self.language);
        let [x, y, wide, high] = self.label_place(&rect, &word, scale, w);
        let label = [[x, y], [x + wide, y + high]].map(Point::from);

        // The arrow over a line is the longest thing beside the points.
        let beside = scale.line * if outline.len() == 2 { 24.0 } else { 6.0 };
        let all = || outline.iter().chain(&path).chain(&corners).chain(&label);
        let low = |of: fn(&Point) -> f32| all().map(of).fold(f32::MAX, f32::min) - beside;
        let up = |of: fn(&Point) -> f32| all().map(of).fold(f32::MIN, f32::max) + beside;
        let within = [low(|p| p.x), low(|p| p.y), up(|p| p.x), up(|p| p.y)];

        let (area, yellow) = (color(AREA[0], AREA[1], AREA[2]), color(PATH[0], PATH[1], PATH[2]));
        let severity = severity_color(data.severity);
        picture.draw(within, below, |band| {
            match outline[..] {
                [from, to] => shapes::crossed_line(band, Line { from, to }, data.direction, scale.line * 1.5, area),
                _ => shapes::polyline(band, &outline, true, scale.line, area),
            }
            if path.len() > 1 {
                shapes::polyline(band, &path, false, scale.line, yellow);
            }
            shapes::polyline(band, &corners, true, scale.line * 1.3, severity);
            shapes::dot(band, rect.foot(), scale.line * 2.5, yellow);
            self.draw_label(band, &rect, &word, severity, scale);
        });
    }

    /// Left, top, width and height of a label over a box, or in it where there is no room above.
    fn label_place(&self, rect: &Rect, label: &str, scale: Scale, picture_width: f32) -> [f32; 4] {
        let (w, h) = (self.text.width(label, scale.text) + 2.0 * scale.text * 0.3, scale.text * 1.25);
        let x = rect.x0.min(picture_width - w).max(0.0);
        let y = if rect.y0 >= h { rect.y0 - h } else { rect.y0.max(0.0) };
        [x, y, w, h]
    }

    /// Class and score.
    fn draw_label(&self, layer: &mut Layer, rect: &Rect, label: &str, back: Color, scale: Scale) {
        let place = self.label_place(rect, label, scale, layer.picture_width());
        shapes::fill(layer, place, back);
        let at = (place[0] + scale.text * 0.3, place[1] + scale.text * 0.1);
        self.text.draw(layer, label, at, scale.text, Color::BLACK);
    }

    /// The bar that says what the picture of this width under it shows.
    fn bar(&self, event: &EventMessage, width: usize, scale: Scale) -> Bar {
        let (width, data) = (width as f32, &event.data);
        let (pad, line) = (scale.text * 0.5, scale.text * 1.35);
        let room = width - 2.0 * pad;
        let place = format!("{} · {}", data.camera.name, data.area.name);
        let time = words::time(data, &self.zone, self.language);
        let gap = scale.text;
        // Place and time share a line where both fit.
        let shared = self.text.width(&place, scale.text) + gap + self.text.width(&time, scale.text) <= room;
        let lines = if shared { 3.0 } else { 4.0 };
        let height = ((lines * line + pad).ceil() as usize).next_multiple_of(2);

        let (white, soft) = (color(255, 255, 255), color(200, 208, 216));
        let mut y = pad * 0.5;
        let mut texts = vec![(self.text.fit(&place, scale.text, room), (pad, y), white)];
        let time_x = if shared { width - pad - self.text.width(&time, scale.text) } else { pad };
        if !shared {
            y += line;
        }
        texts.push((self.text.fit(&time, scale.text, room), (time_x, y), soft));
        y += line;
        // The severity on its colour, and what happened behind it.
        let (severity, inside) = (words::severity(data.severity, self.language), scale.text * 0.3);
        let wide = self.text.width(severity, scale.text) + 2.0 * inside;
        let chip = ([pad, y - scale.text * 0.08, wide, scale.text * 1.2], severity_color(data.severity));
        texts.push((severity.into(), (pad + inside, y), Color::BLACK));
        let used = wide + scale.text * 0.5;
        let rule = self.text.fit(&words::rule(data, self.language), scale.text, room - used);
        texts.push((rule, (pad + used, y), white));
        y += line;
        let declarations = self.text.fit(&words::declarations(event, self.language), scale.text, room);
        texts.push((declarations, (pad, y), color(255, 232, 150)));
        Bar { height, chip, texts }
    }
}

/// What stands above a picture, in pixels.
struct Bar {
    /// An even number.
    height: usize,
    /// Left, top, width and height of the field of the severity.
    chip: ([f32; 4], Color),
    /// With the upper left corner of each.
    texts: Vec<(String, (f32, f32), Color)>,
}

impl Bar {
    fn draw(&self, layer: &mut Layer, text: &Text, scale: Scale) {
        shapes::fill(layer, self.chip.0, self.chip.1);
        for (words, at, color) in &self.texts {
            text.draw(layer, words, *at, scale.text, *color);
        }
    }
}

/// All of a frame.
fn whole(frame: &Frame) -> Result<Picture, AnnotateError> {
    Picture::of(frame).ok_or_else(|| bad(frame))
}

fn bad(frame: &Frame) -> AnnotateError {
    AnnotateError::BadFrame(format!("{frame:?}"))
}

/// Bright enough for black letters, all four.
fn severity_color(severity: u8) -> Color {
    match severity {
        0 | 1 => color(150, 200, 240),
        2 => color(255, 214, 64),
        3 => color(255, 158, 60),
        _ => color(255, 112, 104),
    }
}

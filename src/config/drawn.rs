//! Areas and lines that were drawn on a picture, into the text of a configuration file: comments, order and every key that a
//! picture does not show (rules, classes, filters) stay as they are.

use serde::{Deserialize, Serialize};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value};

use super::{AreaConfig, AreaKind, LineConfig, LineDirection, LineKind};
use crate::geometry::{Line, Point, Polygon};
use crate::rules::AreaId;

/// Decimals of a fraction of the picture: a tenth of a pixel of the largest cameras.
const DECIMALS: f64 = 10_000.0;

/// All areas and lines of a camera, as they are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drawn {
    /// Those that are not here are taken out.
    pub areas: Vec<DrawnArea>,
    /// The same.
    pub lines: Vec<DrawnLine>,
}

/// An area. A new one gets the usual rules of its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrawnArea {
    /// By it the area is found again.
    pub id: AreaId,
    /// For people; may be empty.
    #[serde(default)]
    pub name: String,
    /// Kind.
    pub kind: AreaKind,
    /// Fractions of the picture.
    pub polygon: Polygon,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrawnLine {
    /// By it the line is found again.
    pub id: AreaId,
    /// For people; may be empty.
    #[serde(default)]
    pub name: String,
    /// Kind.
    #[serde(default)]
    pub kind: LineKind,
    /// From, to: fractions of the picture.
    pub points: Line,
    /// Which crossings count.
    #[serde(default)]
    pub direction: LineDirection,
}

impl Drawn {
    /// What the configuration has.
    #[must_use]
    pub fn of(areas: &[AreaConfig], lines: &[LineConfig]) -> Self {
        let area = |a: &AreaConfig| DrawnArea {
            id: a.id.clone(),
            name: a.name.clone(),
            kind: a.kind,
            polygon: a.polygon.clone(),
        };
        let line = |l: &LineConfig| DrawnLine {
            id: l.id.clone(),
            name: l.name.clone(),
            kind: l.kind,
            points: l.points,
            direction: l.direction,
        };
        Self { areas: areas.iter().map(area).collect(), lines: lines.iter().map(line).collect() }
    }
}

/// Why a drawing cannot go into a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DrawnError {
    /// No TOML.
    #[error("the configuration file is no TOML any more: {0}")]
    NotToml(String),
    /// The file does not have the camera.
    #[error("the configuration file has no camera {0}; was it renamed?")]
    NoCamera(String),
    /// Written in a way that is not edited.
    #[error("`{0}` of the configuration file is not written as `[[{0}]]`; draw by hand there")]
    NotTables(&'static str),
}

/// The text with the areas and lines of `camera` as drawn. The result is to be checked like any configuration.
///
/// # Errors
/// When the text does not have the camera in a form that can be edited.
pub fn draw(text: &str, camera: &str, drawn: &Drawn) -> Result<String, DrawnError> {
    let mut doc = parse(text)?;
    let table = camera_of(&mut doc, camera)?;

    let areas = drawn.areas.iter().map(|a| (a.id.0.as_str(), Shape::Area(a)));
    put(table, "area", areas)?;
    let lines = drawn.lines.iter().map(|l| (l.id.0.as_str(), Shape::Line(l)));
    put(table, "line", lines)?;
    Ok(doc.to_string())
}

/// The areas and lines of `camera` alone, to be copied.
///
/// # Errors
/// As [`draw`].
pub fn part(text: &str, camera: &str) -> Result<String, DrawnError> {
    let mut doc = parse(text)?;
    let table = camera_of(&mut doc, camera)?;
    let others: Vec<String> =
        table.iter().map(|(key, _)| key.to_owned()).filter(|key| key != "area" && key != "line").collect();
    for key in others {
        table.remove(&key);
    }
    // Without its own header: that stands in the file already.
    table.set_implicit(true);
    let mut only = DocumentMut::new();
    only["camera"] = Item::Table(std::mem::take(table));
    only["camera"].as_table_mut().into_iter().for_each(|t| t.set_implicit(true));
    Ok(only.to_string().trim_start().to_owned())
}

fn parse(text: &str) -> Result<DocumentMut, DrawnError> {
    text.parse().map_err(|e: toml_edit::TomlError| DrawnError::NotToml(e.to_string()))
}

fn camera_of<'a>(doc: &'a mut DocumentMut, camera: &str) -> Result<&'a mut Table, DrawnError> {
    let none = || DrawnError::NoCamera(camera.into());
    let cameras = doc.get_mut("camera").ok_or_else(none)?;
    let cameras = cameras.as_array_of_tables_mut().ok_or(DrawnError::NotTables("camera"))?;
    cameras.iter_mut().find(|t| t.get("id").and_then(Item::as_str) == Some(camera)).ok_or_else(none)
}

enum Shape<'a> {
    Area(&'a DrawnArea),
    Line(&'a DrawnLine),
}

fn put<'a>(
    camera: &mut Table,
    key: &'static str,
    wanted: impl Iterator<Item = (&'a str, Shape<'a>)>,
) -> Result<(), DrawnError> {
    let slot = camera.entry(key).or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let mut tables = match std::mem::take(slot) {
        Item::Value(Value::Array(none)) if none.is_empty() => ArrayOfTables::new(),
        some => some.into_array_of_tables().map_err(|_| DrawnError::NotTables(key))?,
    };
    let wanted: Vec<_> = wanted.collect();
    let id = |t: &Table| t.get("id").and_then(Item::as_str).unwrap_or_default().to_owned();
    tables.retain(|t| wanted.iter().any(|(known, _)| *known == id(t)));
    for (name, shape) in wanted {
        if let Some(table) = tables.iter_mut().find(|t| id(t) == name) {
            shape.set(table);
        } else {
            let mut table = Table::new();
            table["id"] = name.into();
            shape.set(&mut table);
            shape.set_usual(&mut table);
            tables.push(table);
        }
    }
    if tables.is_empty() {
        camera.remove(key);
    } else {
        *slot = Item::ArrayOfTables(tables);
    }
    Ok(())
}

impl Shape<'_> {
    /// What a drawing shows. What is the same already keeps its comments.
    fn set(&self, table: &mut Table) {
        match self {
            Self::Area(area) => {
                set(table, "name", text(&area.name), Some(""));
                set(table, "kind", area.kind.as_str().into(), None);
                set(table, "polygon", points(&area.polygon.0), None);
            }
            Self::Line(line) => {
                set(table, "name", text(&line.name), Some(""));
                set(table, "kind", line.kind.as_str().into(), Some(LineKind::default().as_str()));
                set(table, "points", points(&[line.points.from, line.points.to]), None);
                set(table, "direction", line.direction.as_str().into(), Some(LineDirection::default().as_str()));
            }
        }
    }

    /// The rules that a new one of its kind usually has; the file is the place to change them.
    fn set_usual(&self, table: &mut Table) {
        let mut rule = |name: &str, values: &[(&str, i64)]| {
            let mut inline = InlineTable::new();
            for (key, value) in values {
                inline.insert(*key, (*value).into());
            }
            table[name] = inline.into();
        };
        match self {
            Self::Line(_) => table["severity"] = 2.into(),
            Self::Area(area) => match area.kind {
                AreaKind::Lane | AreaKind::Yard => {
                    rule("enter", &[("severity", 1)]);
                    rule("stopped", &[("after_s", 120)]);
                }
                AreaKind::InspectionBay => {
                    rule("enter", &[("severity", 1)]);
                    rule("dwell", &[("limit_s", 1800), ("severity", 2)]);
                    rule("bay", &[]);
                    rule("unbooked", &[]);
                }
                AreaKind::SamplingTable | AreaKind::ScannerLane => {
                    rule("enter", &[("severity", 1)]);
                    rule("dwell", &[("limit_s", 1800), ("severity", 2)]);
                }
                AreaKind::RestrictedArea => rule("restricted", &[]),
                AreaKind::IgnoreMask | AreaKind::PrivacyMask => {}
            },
        }
    }
}

fn text(value: &str) -> Value {
    value.into()
}

/// `absent`: what the key means where it is missing; then it is not written.
fn set(table: &mut Table, key: &str, value: Value, absent: Option<&str>) {
    let known = table.get(key).and_then(Item::as_value);
    if known.is_some_and(|known| same(known, &value))
        || (known.is_none() && absent.is_some() && value.as_str() == absent)
    {
        return;
    }
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(known) => {
            let decor = known.decor().clone();
            *known = value;
            *known.decor_mut() = decor;
        }
        None => table[key] = Item::Value(value),
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_array(), b.as_array()) {
        (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => match (number(a), number(b)) {
            (Some(a), Some(b)) => (a - b).abs() < 0.5 / DECIMALS,
            _ => a.as_str().is_some() && a.as_str() == b.as_str(),
        },
    }
}

#[expect(clippy::cast_precision_loss, reason = "fractions of a picture are small")]
fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|i| i as f64))
}

fn points(all: &[Point]) -> Value {
    let fraction = |v: f32| (f64::from(v) * DECIMALS).round() / DECIMALS;
    let point = |p: &Point| Value::Array(Array::from_iter([fraction(p.x), fraction(p.y)]));
    Value::Array(all.iter().map(point).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const FILE: &str = r#"# The box at lane 1.
[site]
office = "15BB"

[[camera]]
id = "bay" # over the door
url = "rtsp://192.0.2.11/sub"

# Where trucks are opened.
[[camera.area]]
id = "bay-1"
kind = "inspection_bay"
polygon = [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]] # measured
enter = { severity = 3 }

[[camera.area]]
id = "old"
kind = "lane"
polygon = [[0, 0], [1, 0], [1, 1]]
enter = { severity = 1 }

[[camera.line]]
id = "out"
points = [[0.0, 0.5], [1.0, 0.5]]
severity = 4

[[camera]]
id = "lane"
url = "rtsp://192.0.2.12/sub"
"#;

    fn shown(text: &str) -> Drawn {
        let camera = config::parse(text, "a.toml").unwrap().cameras.remove(0);
        Drawn::of(&camera.areas, &camera.lines)
    }

    fn polygon(corners: &[[f32; 2]]) -> Polygon {
        Polygon(corners.iter().copied().map(Point::from).collect())
    }

    #[test]
    fn what_was_not_touched_stays_to_the_letter() {
        assert_eq!(draw(FILE, "bay", &shown(FILE)).unwrap(), FILE);
    }

    #[test]
    fn what_is_shown_is_the_cameras_own_part_however_the_file_begins() {
        let alone = part(FILE, "bay").unwrap();
        assert!(alone.starts_with("# Where trucks are opened.\n[[camera.area]]\nid = \"bay-1\"\n"), "{alone}");
        assert!(
            alone.contains("[[camera.line]]\nid = \"out\"") && !alone.contains("[[camera]]") && !alone.contains("url")
        );
        assert_eq!(part(FILE, "lane").unwrap(), "");
        let first = "[[camera]]\r\nid = 'a'\r\n[[camera.area]]\r\nid = \"x\"\r\n";
        assert!(part(first, "a").unwrap().starts_with("[[camera.area]]"));
    }

    #[test]
    fn corners_move_and_everything_else_stays() {
        let mut drawn = shown(FILE);
        drawn.areas[0].polygon.0[0] = Point { x: 0.123_456, y: 0.2 };
        drawn.areas[0].name = "Ô 1".into();
        let text = draw(FILE, "bay", &drawn).unwrap();
        assert!(text.contains("polygon = [[0.1235, 0.2], [0.9, 0.1], [0.5, 0.9]] # measured\n"), "{text}");
        let back = config::parse(&text, "a.toml").unwrap();
        let area = &back.cameras[0].areas[0];
        assert_eq!((area.name.as_str(), area.enter.as_ref().unwrap().severity), ("Ô 1", 3));
        let comments = |t: &str| t.matches('#').count();
        assert_eq!(comments(&text), comments(FILE));
    }

    #[test]
    fn areas_come_and_go_at_their_camera() {
        let mut drawn = shown(FILE);
        drawn.areas.remove(1);
        drawn.lines.clear();
        let kinds = [
            AreaKind::Lane,
            AreaKind::InspectionBay,
            AreaKind::SamplingTable,
            AreaKind::ScannerLane,
            AreaKind::RestrictedArea,
            AreaKind::Yard,
            AreaKind::IgnoreMask,
            AreaKind::PrivacyMask,
        ];
        for kind in kinds {
            let id = AreaId(format!("new-{}", kind.as_str().replace('_', "-")));
            let polygon = polygon(&[[0.0, 0.0], [0.25, 0.0], [0.25, 0.5]]);
            drawn.areas.push(DrawnArea { id, name: String::new(), kind, polygon });
        }
        let points = Line { from: Point { x: 0.0, y: 1.0 }, to: Point { x: 1.0, y: 1.0 } };
        let (id, direction) = (AreaId("barrier".into()), LineDirection::LeftToRight);
        drawn.lines.push(DrawnLine { id, name: "Ra".into(), kind: LineKind::BarrierLine, points, direction });
        let text = draw(FILE, "bay", &drawn).unwrap();
        let back = config::parse(&text, "a.toml").unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(Drawn::of(&back.cameras[0].areas, &back.cameras[0].lines), drawn);
        assert!(back.cameras[0].areas[1..].iter().all(|a| a.has_rule() != a.kind.is_mask()), "the usual rules");
        assert!(back.cameras[1].areas.is_empty() && !text.contains("\"out\""), "{text}");
        assert!(text.contains("# Where trucks are opened."));
    }

    #[test]
    fn areas_written_in_one_line_are_drawn_too() {
        let file = "[[camera]]\nid = \"bay\"\nurl = \"rtsp://192.0.2.11/sub\"\nline = []\n\
                    area = [{ id = \"a\", kind = \"yard\", polygon = [[0, 0], [1, 0], [1, 1]], settle_ms = 900 }]\n";
        let mut drawn = shown(file);
        let points = Line { from: Point { x: 0.0, y: 0.5 }, to: Point { x: 1.0, y: 0.5 } };
        let (id, kind, direction) = (AreaId("l".into()), LineKind::Line, LineDirection::Both);
        drawn.lines.push(DrawnLine { id, name: String::new(), kind, points, direction });
        drawn.areas[0].kind = AreaKind::Lane;
        let text = draw(file, "bay", &drawn).unwrap();
        let back = config::parse(&text, "a.toml").unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(Drawn::of(&back.cameras[0].areas, &back.cameras[0].lines), drawn);
        assert_eq!(back.cameras[0].areas[0].settle_ms, 900);
    }

    #[test]
    fn a_file_that_is_not_what_it_was_is_refused() {
        let drawn = Drawn { areas: Vec::new(), lines: Vec::new() };
        let refused = |text: &str, camera: &str| draw(text, camera, &drawn).unwrap_err();
        assert_eq!(refused(FILE, "gone"), DrawnError::NoCamera("gone".into()));
        assert_eq!(refused("", "bay"), DrawnError::NoCamera("bay".into()));
        assert_eq!(refused("camera = [{ id = \"bay\" }]", "bay"), DrawnError::NotTables("camera"));
        assert!(matches!(refused("[", "bay"), DrawnError::NotToml(_)));
    }
}

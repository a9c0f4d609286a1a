//! What a person or a model says about a model: the side-car file `NAME.toml` beside `NAME.onnx`, and the same keys in
//! the graph's own metadata. Only the words; what they mean for the numbers is in `layout` and `preprocess`.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::labels;
use crate::config::{self, LayoutChoice};

/// Everything that can be said of a model; what is left out is recognised, or asked for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SideCar {
    /// Output layout.
    pub layout: Option<LayoutChoice>,
    /// Class names in the model's order, without a background class.
    pub names: Option<Vec<String>>,
    /// Width and height of the input in pixels, where the graph leaves them open.
    #[schemars(inner(range(min = 32, max = 8192)))]
    pub input_size: Option<[u32; 2]>,
    /// How the picture is put into the input.
    pub resize: Option<Resize>,
    /// Grey of the padding, 0..255.
    #[schemars(range(min = 0.0, max = 255.0))]
    pub padding: Option<f32>,
    /// Order of the channels.
    pub colors: Option<Colors>,
    /// Each grey level (0..255) is multiplied by this first.
    pub scale: Option<f32>,
    /// Then this is subtracted, a number for each channel in the order of `colors`.
    pub mean: Option<[f32; 3]>,
    /// Then it is divided by this, a number for each channel in the order of `colors`.
    pub std: Option<[f32; 3]>,
    /// What makes probabilities of the class scores.
    pub activation: Option<Activation>,
    /// A class that means "nothing".
    pub background: Option<Background>,
    /// Which four numbers a box is.
    pub box_form: Option<BoxForm>,
    /// In what boxes are counted.
    pub box_units: Option<BoxUnits>,
    /// Outputs by name, where their names and shapes do not say which is which.
    pub outputs: Option<OutputNames>,
    /// Prior boxes of SSD models that give offsets to them.
    pub anchors: Option<Anchors>,
}

/// How the picture is put into the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// Its shape kept, padding on both sides.
    Letterbox,
    /// Its shape kept, padding right and below.
    LetterboxTopLeft,
    /// Pulled to the input's shape.
    Stretch,
}

/// Order of the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Colors {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// What makes probabilities of scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// They are probabilities.
    None,
    /// Each class for itself.
    Sigmoid,
    /// All classes of a box together.
    Softmax,
}

/// Where the class stands that means "nothing".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Background {
    /// There is none.
    None,
    /// Number 0; the first name belongs to number 1.
    First,
    /// After the last name.
    Last,
}

/// Which four numbers a box is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BoxForm {
    /// Left, top, right, bottom.
    Corners,
    /// Top, left, bottom, right.
    CornersYx,
    /// Centre across and down, width, height.
    Center,
}

/// In what boxes are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BoxUnits {
    /// Pixels of the input.
    Pixels,
    /// Parts of the input, 0..1.
    Fractions,
}

/// Outputs by name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutputNames {
    /// Boxes, or offsets to anchors.
    pub boxes: Option<String>,
    /// Scores or logits.
    pub scores: Option<String>,
    /// Numbers of classes, where scores have one column.
    pub classes: Option<String>,
}

/// Prior boxes: at every cell of every stride one of each size, row by row, sizes innermost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Anchors {
    /// Pixels between cells, one a level.
    #[schemars(length(min = 1), inner(range(min = 1, max = 1024)))]
    pub strides: Vec<u32>,
    /// Width and height in input pixels of every prior, a list a level.
    pub sizes: Vec<Vec<[f32; 2]>>,
    /// The offsets of centre and size were divided by these.
    #[serde(default = "usual_variances")]
    pub variances: [f32; 2],
}

fn usual_variances() -> [f32; 2] {
    [0.1, 0.2]
}

impl SideCar {
    /// `NAME.toml` beside the model.
    #[must_use]
    pub fn path(model: &Path) -> PathBuf {
        model.with_extension("toml")
    }

    /// The file beside the model; nothing said when there is none.
    ///
    /// # Errors
    /// Everything that is wrong in the file, one a line.
    pub fn beside(model: &Path) -> Result<Self, String> {
        let path = Self::path(model);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(format!("{}: {e}", path.display())),
        }
    }

    /// Reads the text of a side-car; `file` is for the messages.
    ///
    /// # Errors
    /// Everything that is wrong in the text, one a line.
    pub fn parse(text: &str, file: &str) -> Result<Self, String> {
        let said: Self = config::parse_as(text, file).map_err(|problems| problems.to_string())?;
        match said.anchors.as_ref().map(|a| (a.strides.len(), a.sizes.len())) {
            Some((strides, sizes)) if strides != sizes => {
                Err(format!("{file}: anchors.sizes needs a list for each of the {strides} strides, has {sizes}"))
            }
            _ => Ok(said),
        }
    }

    /// The JSON Schema of the file.
    #[must_use]
    pub fn schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }

    /// What the metadata of a graph says, by the same keys; `imgsz` (height, width) is the usual other name of the
    /// size. Values that do not fit are somebody else's keys and left out.
    #[must_use]
    pub fn from_metadata(get: impl Fn(&str) -> Option<String>) -> Self {
        let one = |key: &str| {
            let text = get(key)?;
            let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            serde_json::from_value::<Self>(Value::Object([(key.to_owned(), value)].into_iter().collect())).ok()
        };
        let keys = ["layout", "input_size", "resize", "padding", "colors", "scale", "mean", "std"];
        let more = ["activation", "background", "box_form", "box_units"];
        let mut said = keys.iter().chain(&more).filter_map(|k| one(k)).fold(Self::default(), Self::or);
        said.names = get("names").map(|text| labels::parse(&text)).filter(|n| !n.is_empty());
        said.input_size = said.input_size.or_else(|| get("imgsz").and_then(|text| imgsz(&text)));
        said
    }

    /// What `self` says, and what `other` says of the rest.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            layout: self.layout.or(other.layout),
            names: self.names.or(other.names),
            input_size: self.input_size.or(other.input_size),
            resize: self.resize.or(other.resize),
            padding: self.padding.or(other.padding),
            colors: self.colors.or(other.colors),
            scale: self.scale.or(other.scale),
            mean: self.mean.or(other.mean),
            std: self.std.or(other.std),
            activation: self.activation.or(other.activation),
            background: self.background.or(other.background),
            box_form: self.box_form.or(other.box_form),
            box_units: self.box_units.or(other.box_units),
            outputs: self.outputs.or(other.outputs),
            anchors: self.anchors.or(other.anchors),
        }
    }
}

/// `[480, 640]` or `640` as width and height.
fn imgsz(text: &str) -> Option<[u32; 2]> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u32>().ok());
    let height = numbers.next().filter(|n| *n > 0)?;
    Some([numbers.next().unwrap_or(height), height])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_wrong_words_are_named_with_their_place() {
        let text = "layout = \"nanodet\"\ncolours = \"bgr\"\nresize = \"squash\"\nmean = [1.0, 2.0]\n";
        let message = SideCar::parse(text, "m.toml").unwrap_err();
        assert!(message.contains("m.toml:2:1: colours: unknown key; did you mean `colors`?"), "{message}");
        assert!(message.contains("m.toml:3:10: resize: must be one of \"letterbox\""), "{message}");
        assert!(message.contains("m.toml:4:"), "{message}");
        let uneven = "[anchors]\nstrides = [8, 16]\nsizes = [[[16.0, 16.0]]]\n";
        assert!(SideCar::parse(uneven, "m.toml").unwrap_err().contains("each of the 2 strides"));
        assert_eq!(SideCar::parse("", "m.toml").unwrap(), SideCar::default());
    }

    #[test]
    fn metadata_says_the_same_things_and_foreign_keys_are_left_out() {
        let said = SideCar::from_metadata(|key| {
            let value = match key {
                "layout" => "yolox",
                "imgsz" => "[480, 640]",
                "mean" => "[0.5, 0.5, 0.5]",
                "scale" => "n",
                "names" => "{0: 'person', 1: 'fork lift'}",
                _ => return None,
            };
            Some(value.to_owned())
        });
        assert_eq!(said.layout, Some(LayoutChoice::Yolox));
        assert_eq!((said.input_size, said.scale), (Some([640, 480]), None));
        assert_eq!(said.mean, Some([0.5; 3]));
        assert_eq!(said.names.unwrap(), ["person", "fork_lift"]);
    }
}

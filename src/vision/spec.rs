//! What a model is: layout, preparation of pictures and class names, put together from the configuration, the side-car,
//! the graph's metadata and a first run; and for people, which of them said what.

use ort::session::Session;

use super::labels;
use super::layout::{InputSpec, Layout, Output, Preparation, Reading, Seen};
use super::session::{declared, entry, metadata};
use super::sidecar::{Background, SideCar};
use super::tensors::{self, Inputs};
use crate::config::{DetectorConfig, LayoutChoice};

/// A model understood.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) reading: Reading,
    pub(super) input: InputSpec,
    pub(super) preparation: Preparation,
    /// In the model's order, background not counted.
    pub(super) names: Vec<String>,
    /// For people: what, its value, and who said it.
    pub(super) told: Vec<Told>,
}

/// One thing known of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What.
    pub what: &'static str,
    /// Its value.
    pub value: String,
    /// Who says so: configuration, side-car, metadata, graph, family, assumed.
    pub by: &'static str,
}

/// The three that can say something of a model, strongest first.
struct Sources {
    configuration: SideCar,
    side_car: SideCar,
    metadata: SideCar,
}

impl Sources {
    /// Who says something about a key; `otherwise` when nobody does.
    fn by<T>(&self, key: impl Fn(&SideCar) -> Option<T>, otherwise: &'static str) -> &'static str {
        let all = [(&self.configuration, "configuration"), (&self.side_car, "side-car"), (&self.metadata, "metadata")];
        all.into_iter().find(|(said, _)| key(said).is_some()).map_or(otherwise, |(_, by)| by)
    }

    fn all(&self) -> SideCar {
        self.configuration.clone().or(self.side_car.clone()).or(self.metadata.clone())
    }
}

impl Spec {
    /// Understands the model of a session by a first run.
    ///
    /// # Errors
    /// What cannot be told, with the key of the side-car that would say it.
    pub(super) fn of(config: &DetectorConfig, session: &mut Session) -> Result<(Self, Inputs), String> {
        let sources = Sources {
            configuration: SideCar {
                layout: Some(config.layout).filter(|l| *l != LayoutChoice::Auto),
                names: Some(config.labels.iter().map(|l| l.as_str().to_owned()).collect())
                    .filter(|n: &Vec<_>| !n.is_empty()),
                ..SideCar::default()
            },
            side_car: SideCar::beside(&config.model)?,
            metadata: metadata(session),
        };
        let declared = declared(session).join("; ");
        let ask = |why: String| {
            format!(
                "{why} (in {}, or detector.layout and detector.labels; {declared})",
                SideCar::path(&config.model).display()
            )
        };
        let mut said = sources.all();
        let list = lines_beside(config);
        said.names = said.names.or_else(|| (!list.is_empty()).then_some(list));
        let description = entry(session, "description").unwrap_or_default();
        let (index, input) = tensors::picture_input(session, said.input_size).map_err(ask)?;
        let size_by = if tensors::is_open(session, index) { sources.by(|s| s.input_size, "assumed") } else { "graph" };
        let mut inputs = Inputs::new(session, index, &input).map_err(ask)?;
        let (more_inputs, bytes) = (inputs.more_names(), inputs.is_bytes());
        let failed = |e: ort::Error| format!("its first run failed: {e}");
        let ran = session.run(inputs.values().map_err(failed)?).map_err(failed)?;
        let outputs = tensors::outputs(&ran)?;
        let seen = Seen { outputs: &outputs, input, more_inputs: &more_inputs, description: &description };
        let reading = Reading::recognise(&said, &seen).map_err(ask)?;
        let preparation = reading.preparation(&said, &input, bytes).map_err(ask)?;
        let (names, names_by) = names(&said, &reading).map_err(ask)?;
        let mut told = rows(&sources, &reading, &preparation, &outputs);
        let size = format!(
            "{}x{}, channels {}",
            input.width,
            input.height,
            if input.channels_last { "last" } else { "first" }
        );
        told.insert(1, Told { what: "input", value: size, by: size_by });
        let by = sources.by(|s| s.names.as_ref().map(|_| ()), names_by);
        told.push(Told { what: "classes", value: format!("{}: {}", names.len(), names.join(", ")), by });
        drop(outputs);
        drop(ran);
        Ok((Self { reading, input, preparation, names, told }, inputs))
    }
}

/// The older side-car: a list of names, one a line.
fn lines_beside(config: &DetectorConfig) -> Vec<String> {
    labels::lines(&std::fs::read_to_string(config.model.with_extension("names")).unwrap_or_default())
}

/// Names of the classes, and who gave them when nobody said them.
fn names(said: &SideCar, reading: &Reading) -> Result<(Vec<String>, &'static str), String> {
    let classes = reading.classes;
    if let Some(names) = &said.names {
        return match classes {
            Some(n) if n != names.len() => Err(format!(
                "has {n} classes, but {} names; correct `names`, or set `background` to \"first\" or \"last\"",
                names.len()
            )),
            _ => Ok((names.iter().map(|n| n.replace(' ', "_")).collect(), "file of names")),
        };
    }
    let usual = if reading.layout == Layout::SsdSuppressed { 90 } else { 80 };
    let names = labels::coco(classes.unwrap_or(usual));
    let by = if classes.is_some() { "as many as COCO has" } else { "assumed" };
    names.map(|n| (n, by)).ok_or_else(|| format!("has {} classes without names; set `names`", classes.unwrap_or(0)))
}

fn rows(sources: &Sources, reading: &Reading, preparation: &Preparation, outputs: &[Output<'_>]) -> Vec<Told> {
    let family = "usual in its family";
    let row = |what, value: String, by| Told { what, value, by };
    let shapes = outputs.iter().map(|o| format!("{} {:?}", o.name, o.shape)).collect::<Vec<_>>().join(", ");
    let numbers = |v: [f32; 3]| format!("[{}, {}, {}]", v[0], v[1], v[2]);
    let mut rows = vec![
        row("layout", reading.layout.name().to_owned(), sources.by(|s| s.layout, "recognised")),
        row("outputs", shapes, "first run"),
        row("resize", preparation.placement.name().to_owned(), sources.by(|s| s.resize, family)),
        row("colors", if preparation.pixels.rgb { "rgb" } else { "bgr" }.to_owned(), sources.by(|s| s.colors, family)),
        row("scale", preparation.scale.to_string(), sources.by(|s| s.scale, family)),
        row("mean", numbers(preparation.mean), sources.by(|s| s.mean, family)),
        row("std", numbers(preparation.std), sources.by(|s| s.std, family)),
    ];
    if !reading.layout.is_suppressed() || reading.background() != Background::None {
        let value =
            format!("activation {:?}, background {:?}", reading.activation(), reading.background()).to_lowercase();
        rows.push(row("scores", value, sources.by(|s| s.activation, "recognised")));
    }
    rows
}

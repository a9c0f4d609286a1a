//! The topics of a box, built and parsed in one place. What is in the messages is in `event/` and `inbound.rs`.
//!
//! ```text
//! {prefix}/{office}/{box}/ state | birth | status | camera/{id}/state | event | alert | correlation | chain |
//!                          snapshot/{event_id} | cmd/{name}
//! {prefix}/{office}/{box}/in/{kind of fact}                  for one box
//! {prefix}/{office}/in/{kind of fact}                        for all boxes of an office
//! ```

use crate::camera::CameraId;
use crate::event::EventId;

/// Builds and parses the topics of one box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    prefix: String,
    office: String,
    box_id: String,
}

pub use crate::customs::FactKind as Inbound;

/// What a topic is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicKind {
    /// Online or not, retained; also the last will.
    State,
    /// Versions and cameras, retained, on every connection.
    Birth,
    /// How the box is, retained, every minute.
    Status,
    /// Health of one camera, retained.
    CameraState(CameraId),
    /// Events below the alert severity.
    Event,
    /// Events from the alert severity up.
    Alert,
    /// What was found about a tip.
    Correlation,
    /// Signed heads of the chain of evidence.
    Chain,
    /// Annotated JPEG of an event.
    Snapshot(EventId),
    /// A request to the box.
    Command(String),
    /// For this box.
    In(Inbound),
}

/// A topic of some box, or of a whole office (`box_id` = `None`, only with `In`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedTopic {
    /// Office code.
    pub office: String,
    /// Box; `None` = all boxes of the office.
    pub box_id: Option<String>,
    /// What it is about.
    pub kind: TopicKind,
}

impl Topics {
    /// Topics of one box. `prefix` without a slash at the end, e.g. `gatewatch/v1`.
    #[must_use]
    pub fn new(prefix: &str, office: &str, box_id: &str) -> Self {
        Self { prefix: prefix.trim_end_matches('/').into(), office: office.into(), box_id: box_id.into() }
    }

    /// `{prefix}/{office}/{box}`.
    #[must_use]
    pub fn base(&self) -> String {
        format!("{}/{}/{}", self.prefix, self.office, self.box_id)
    }

    /// Retained state and last will.
    #[must_use]
    pub fn state(&self) -> String {
        self.build(&TopicKind::State)
    }

    /// Retained birth.
    #[must_use]
    pub fn birth(&self) -> String {
        self.build(&TopicKind::Birth)
    }

    /// Retained status.
    #[must_use]
    pub fn status(&self) -> String {
        self.build(&TopicKind::Status)
    }

    /// Retained state of one camera.
    #[must_use]
    pub fn camera_state(&self, camera: &CameraId) -> String {
        self.build(&TopicKind::CameraState(camera.clone()))
    }

    /// Events below the alert severity.
    #[must_use]
    pub fn event(&self) -> String {
        self.build(&TopicKind::Event)
    }

    /// Alerts.
    #[must_use]
    pub fn alert(&self) -> String {
        self.build(&TopicKind::Alert)
    }

    /// What was found about tips.
    #[must_use]
    pub fn correlation(&self) -> String {
        self.build(&TopicKind::Correlation)
    }

    /// Signed heads of the chain of evidence.
    #[must_use]
    pub fn chain(&self) -> String {
        self.build(&TopicKind::Chain)
    }

    /// Annotated picture of an event.
    #[must_use]
    pub fn snapshot(&self, event: EventId) -> String {
        self.build(&TopicKind::Snapshot(event))
    }

    /// A command of this box, e.g. `resync`.
    #[must_use]
    pub fn command(&self, name: &str) -> String {
        self.build(&TopicKind::Command(name.into()))
    }

    /// The topic of `kind` in this box.
    #[must_use]
    pub fn build(&self, kind: &TopicKind) -> String {
        let base = self.base();
        match kind {
            TopicKind::State => format!("{base}/state"),
            TopicKind::Birth => format!("{base}/birth"),
            TopicKind::Status => format!("{base}/status"),
            TopicKind::CameraState(id) => format!("{base}/camera/{id}/state"),
            TopicKind::Event => format!("{base}/event"),
            TopicKind::Alert => format!("{base}/alert"),
            TopicKind::Correlation => format!("{base}/correlation"),
            TopicKind::Chain => format!("{base}/chain"),
            TopicKind::Snapshot(id) => format!("{base}/snapshot/{id}"),
            TopicKind::Command(name) => format!("{base}/cmd/{name}"),
            TopicKind::In(what) => format!("{base}/in/{}", what.as_str()),
        }
    }

    /// Where facts for the box come: its own and its office's inbound topics.
    #[must_use]
    pub fn facts(&self) -> Vec<String> {
        let office = format!("{}/{}", self.prefix, self.office);
        let all = Inbound::ALL.map(Inbound::as_str);
        all.iter().flat_map(|what| [format!("{office}/in/{what}"), format!("{}/in/{what}", self.base())]).collect()
    }

    /// Where commands to the box come.
    #[must_use]
    pub fn commands(&self) -> String {
        format!("{}/cmd/+", self.base())
    }

    /// Everything under a prefix, for a duty room.
    #[must_use]
    pub fn everything(prefix: &str) -> String {
        format!("{}/#", prefix.trim_end_matches('/'))
    }

    /// Parses a topic meant for this box or its office; `None` for any other.
    #[must_use]
    pub fn parse_own(&self, topic: &str) -> Option<ParsedTopic> {
        let parsed = parse(&self.prefix, topic)?;
        let ours = parsed.office == self.office && parsed.box_id.as_ref().is_none_or(|b| *b == self.box_id);
        ours.then_some(parsed)
    }
}

/// Parses any box's topic under `prefix`; `None` when it is not one of ours.
#[must_use]
pub fn parse(prefix: &str, topic: &str) -> Option<ParsedTopic> {
    let rest = topic.strip_prefix(prefix.trim_end_matches('/'))?.strip_prefix('/')?;
    let levels: Vec<&str> = rest.split('/').collect();
    // `in` cannot be mistaken for a box: the configuration takes no box of that name.
    if let [office, "in", what] = levels.as_slice() {
        return Some(ParsedTopic {
            office: (*office).into(),
            box_id: None,
            kind: TopicKind::In(Inbound::parse(what)?),
        });
    }
    let [office, box_id, tail @ ..] = levels.as_slice() else { return None };
    let kind = kind_of(tail)?;
    Some(ParsedTopic { office: (*office).into(), box_id: Some((*box_id).into()), kind })
}

fn kind_of(tail: &[&str]) -> Option<TopicKind> {
    Some(match tail {
        ["state"] => TopicKind::State,
        ["birth"] => TopicKind::Birth,
        ["status"] => TopicKind::Status,
        ["camera", id, "state"] => TopicKind::CameraState(CameraId((*id).into())),
        ["event"] => TopicKind::Event,
        ["alert"] => TopicKind::Alert,
        ["correlation"] => TopicKind::Correlation,
        ["chain"] => TopicKind::Chain,
        ["snapshot", id] => TopicKind::Snapshot(EventId(ulid::Ulid::from_string(id).ok()?)),
        ["cmd", name] => TopicKind::Command((*name).into()),
        ["in", what] => TopicKind::In(Inbound::parse(what)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds() -> Vec<TopicKind> {
        vec![
            TopicKind::State,
            TopicKind::Birth,
            TopicKind::Status,
            TopicKind::CameraState(CameraId("bay-1".into())),
            TopicKind::Event,
            TopicKind::Alert,
            TopicKind::Correlation,
            TopicKind::Chain,
            TopicKind::Snapshot(EventId(ulid::Ulid::from_parts(7, 9))),
            TopicKind::Command("resync".into()),
            TopicKind::In(Inbound::Declaration),
            TopicKind::In(Inbound::Booking),
        ]
    }

    #[test]
    fn every_topic_that_is_built_is_parsed_back() {
        let topics = Topics::new("gatewatch/v1/", "15BB", "gate-01");
        for kind in kinds() {
            let parsed = topics.parse_own(&topics.build(&kind)).unwrap();
            assert_eq!((parsed.box_id.as_deref(), parsed.kind), (Some("gate-01"), kind));
        }
        assert_eq!(topics.alert(), "gatewatch/v1/15BB/gate-01/alert");
    }

    #[test]
    fn an_office_topic_is_for_all_its_boxes_and_for_no_other_office() {
        let topics = Topics::new("gatewatch/v1", "15BB", "gate-01");
        let parsed = topics.parse_own("gatewatch/v1/15BB/in/booking").unwrap();
        assert_eq!((parsed.box_id, parsed.kind), (None, TopicKind::In(Inbound::Booking)));
        for other in [
            "gatewatch/v1/15BC/in/booking",
            "gatewatch/v1/15BB/gate-02/event",
            "gatewatch/v1/15BB/gate-01/in/secret",
            "gatewatch/v1/15BB/gate-01/snapshot/not-an-id",
            "gatewatch/v15BB/gate-01/event",
            "gatewatch/v1",
        ] {
            assert_eq!(topics.parse_own(other), None, "{other}");
        }
        assert!(topics.facts().contains(&"gatewatch/v1/15BB/in/declaration".to_owned()));
        assert_eq!(topics.commands(), "gatewatch/v1/15BB/gate-01/cmd/+");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_panic(topic in "\\PC{0,80}") {
            let _ = parse("gatewatch/v1", &topic);
            let _ = parse("gatewatch/v1", &format!("gatewatch/v1/{topic}"));
        }
    }
}

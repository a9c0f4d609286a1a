//! The rules against the truth of the drills: every rule, clean and spoilt boxes, all, half and a fifth of the pictures.

use std::collections::{BTreeMap, BTreeSet};

use gatewatch::agent::keeper::new_message;
use gatewatch::agent::restart::close_open_events;
use gatewatch::config::StoreConfig;
use gatewatch::event::EventMessage;
use gatewatch::event::schema::event_schema;
use gatewatch::mqtt::Topics;
use gatewatch::rules::{EndReason, Phase, RuleKind};
use gatewatch::simulate::score::{Row, Spoil, all, interval_ms, play, samples, score, table, truth};
use gatewatch::store::{Store, StoreOptions};

type Rows = BTreeMap<RuleKind, Row>;

/// The figures of one condition over all drills and these seeds, with starts off by one interval at most, and by two; every
/// message is checked on the way.
fn figures(spoil: Spoil, seeds: std::ops::Range<u64>) -> [Rows; 2] {
    let validator = jsonschema::validator_for(&event_schema()).unwrap();
    let mut all_rows = [Rows::new(), Rows::new()];
    for drill in all() {
        let samples = samples(&drill).unwrap();
        let truth = truth(&drill, &samples);
        for seed in seeds.clone() {
            let outcome = play(&drill, &samples, Spoil { seed, ..spoil }).unwrap();
            for message in &outcome.messages {
                let mut message = message.clone();
                message.data.sequence.seq = 1;
                let value = serde_json::to_value(&message).unwrap();
                let errors: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
                assert!(errors.is_empty(), "{}: {errors:?} in {value:#}", drill.name);
            }
            whole_lives(&outcome.messages, drill.name);
            for (intervals, rows) in (1..).zip(&mut all_rows) {
                for (rule, row) in score(&outcome, &truth, intervals * interval_ms(spoil.nth)) {
                    rows.entry(rule).or_default().add(&row);
                }
            }
        }
    }
    all_rows
}

/// One `new`, revisions without holes, and one message that closes; nothing after it.
fn whole_lives(messages: &[EventMessage], drill: &str) {
    let mut lives: BTreeMap<_, Vec<&EventMessage>> = BTreeMap::new();
    for message in messages {
        lives.entry(message.id).or_default().push(message);
    }
    for life in lives.values() {
        let data: Vec<_> = life.iter().map(|m| &m.data).collect();
        let revisions: Vec<u32> = data.iter().map(|d| d.revision).collect();
        assert_eq!(
            revisions,
            (1..=u32::try_from(life.len()).unwrap()).collect::<Vec<_>>(),
            "{drill}: {:?}",
            data[0].rule
        );
        assert!(data[0].phase == Phase::New && data[1..].iter().all(|d| d.phase != Phase::New));
        let closed: Vec<bool> = data.iter().map(|d| d.capture.end.is_some()).collect();
        assert_eq!(closed.iter().position(|c| *c), Some(closed.len() - 1), "{drill}: {:?}", data[0].rule);
    }
}

fn sum(rows: &Rows) -> Row {
    let mut sum = Row::default();
    rows.values().for_each(|row| sum.add(row));
    sum
}

#[test]
fn with_true_boxes_every_rule_reports_all_that_happened_and_nothing_else() {
    for nth in [1, 2, 5] {
        let [rows, _] = figures(Spoil { nth, noise: false, swaps: false, seed: 0 }, 1..2);
        let text = table(&rows);
        println!("{} ms apart\n{text}", interval_ms(nth));
        let happened: BTreeSet<_> = rows.iter().filter(|(_, r)| r.happened > 0).map(|(rule, _)| *rule).collect();
        assert_eq!(happened, BTreeSet::from(RuleKind::ALL), "a drill for every rule");
        for (rule, row) in &rows {
            assert!(row.recall() == 1.0 && row.precision() >= 0.98, "{} at {nth}:\n{text}", rule.as_str());
            // The bar is on stays. Others are dated by a place (a stop) or by a slim box (people) that the tracker smooths.
            let is_stay = matches!(rule, RuleKind::Enter | RuleKind::Dwell | RuleKind::BayOccupied);
            let limit = interval_ms(nth) * if is_stay { 1 } else { 2 } + 50;
            let worst = row.length_errors.iter().max().copied().unwrap_or(0);
            assert!(worst <= limit, "{} lasts {worst} ms too long or short:\n{text}", rule.as_str());
        }
    }
}

#[test]
fn exchanged_names_of_tracks_change_no_event() {
    for nth in [1, 2, 5] {
        let [rows, _] = figures(Spoil { nth, noise: false, swaps: true, seed: 0 }, 1..4);
        let (all, text) = (sum(&rows), table(&rows));
        println!("{} ms apart\n{text}", interval_ms(nth));
        assert!(all.recall() == 1.0 && all.precision() >= 0.98, "{} ms apart\n{text}", interval_ms(nth));
        for (rule, row) in &rows {
            assert!(row.swaps > 0, "no names were exchanged around {}\n{text}", rule.as_str());
        }
    }
}

/// One vehicle in twenty is two boxes all along, and so two things to rules about single ones: of what is reported less is
/// true than of what is missed.
#[test]
fn with_noise_some_are_late_but_no_rule_fails_and_nothing_critical_is_missed() {
    let measured = [1, 2, 5].map(|nth| (nth, figures(Spoil { nth, noise: true, swaps: false, seed: 0 }, 1..6)));
    for (nth, [rows, late]) in &measured {
        println!("{} ms apart\n{}\nwithin two:\n{}", interval_ms(*nth), table(rows), table(late));
    }
    for ((nth, [rows, late]), precise) in measured.iter().zip([0.8; 3]) {
        let (all, text) = (sum(rows), table(late));
        assert!(all.recall() >= 0.93 && all.precision() >= 0.91, "{} ms apart\n{}", interval_ms(*nth), table(rows));
        // A missed box at the very line makes a crossing one picture late.
        let all = sum(late);
        assert!(all.recall() >= 0.98 && all.precision() >= 0.96, "{} ms apart\n{text}", interval_ms(*nth));
        for (rule, row) in late {
            let enough = row.recall() >= 0.8 && row.precision() >= precise;
            assert!(enough, "{}, {} ms apart\n{text}", rule.as_str(), interval_ms(*nth));
        }
        for rule in [RuleKind::GateOutNotReleased, RuleKind::OpenedWithoutInspection] {
            assert_eq!(late[&rule].recall(), 1.0, "{} ms apart\n{text}", interval_ms(*nth));
        }
    }
}

/// Open events of every lasting rule, as a drill makes them, written down when the agent is killed.
#[tokio::test]
async fn events_of_every_lasting_rule_that_a_kill_left_open_are_ended_once() {
    let dir = tempfile::tempdir().unwrap();
    let options = || StoreOptions {
        config: StoreConfig { dir: dir.path().into(), ..StoreConfig::default() },
        live_limit_ms: 1_800_000,
        office: "15BB".into(),
        box_id: "gate-01".into(),
        alert_topic: "gatewatch/v1/15BB/gate-01/alert".into(),
    };
    let topics = Topics::new("gatewatch/v1", "15BB", "gate-01");
    let store = Store::open(options()).await.unwrap();
    let mut open = BTreeSet::new();
    for drill in all() {
        let outcome = play(&drill, &samples(&drill).unwrap(), Spoil { nth: 1, noise: false, swaps: false, seed: 1 });
        for message in outcome.unwrap().messages {
            if message.data.revision == 1 && message.data.capture.end.is_none() && open.insert(message.data.rule) {
                store.record(new_message(message, None, &topics, 2, None)).await.unwrap();
            }
        }
    }
    assert_eq!(open.len(), 11, "{open:?}");
    drop(store);

    let store = Store::open(options()).await.unwrap();
    let begun: BTreeMap<_, _> = store.open_events().await.unwrap().into_iter().map(|e| (e.id, e)).collect();
    assert_eq!(close_open_events(&store, &topics, 2).await.unwrap(), open.len());
    assert_eq!(close_open_events(&store, &topics, 2).await.unwrap(), 0, "once");
    assert!(store.open_events().await.unwrap().is_empty());
    let sent = store.outbox_next(100, &[]).await.unwrap();
    let ends: Vec<EventMessage> = sent
        .iter()
        .filter_map(|item| serde_json::from_slice::<EventMessage>(&item.payload).ok())
        .filter(|e| e.data.phase == Phase::End)
        .collect();
    assert_eq!(ends.iter().map(|e| e.data.rule).collect::<BTreeSet<_>>(), open);
    for end in ends {
        let new = &begun[&end.id];
        assert_eq!((end.data.revision, end.data.end_reason), (2, Some(EndReason::Restart)));
        assert!(end.data.capture.end.unwrap() >= new.data.capture.start && end.data.dwell_ms >= new.data.dwell_ms);
        assert_eq!((&end.data.check, end.data.count), (&new.data.check, new.data.count));
    }
}

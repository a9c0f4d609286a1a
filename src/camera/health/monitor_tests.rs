//! Tests of the monitor as a whole. How well it sees is measured by the scripted set in `simulate/health`.

use std::sync::Arc;

use super::*;
use crate::camera::OwnedI420;

const START: i64 = 1_770_000_000_000;

/// Four looks a second; what was said, by seconds.
fn play(
    monitor: &mut HealthMonitor,
    looks: std::ops::Range<i64>,
    view: impl Fn(i64) -> StreamView,
) -> Vec<(f64, HealthChange)> {
    let mut said = Vec::new();
    for i in looks {
        let ms = i * 250;
        let now = Now { mono: MonoMillis(ms), utc: UtcMillis(START + ms) };
        said.extend(monitor.look(now, &view(i)).into_iter().map(|c| (ms as f64 / 1000.0, c)));
    }
    said
}

fn running(i: i64) -> StreamView {
    StreamView {
        state: CameraState::Running,
        codec: Some(Codec::H264),
        width: 640,
        height: 360,
        received: u64::try_from(i * 2).unwrap(),
        ..StreamView::default()
    }
}

fn lost(reason: &str) -> StreamView {
    StreamView { state: CameraState::Lost, reason: Some(reason.into()), ..running(0) }
}

#[test]
fn a_lost_camera_is_told_updated_when_the_reason_changes_and_ended() {
    let mut monitor = HealthMonitor::new(HealthConfig::default(), &[]);
    let said = play(&mut monitor, 0..400, |i| match i {
        100..160 => lost("no answer"),
        160..200 => StreamView { state: CameraState::Refused, ..lost("refuses the password") },
        _ => running(i),
    });
    let brief: Vec<_> = said.iter().map(|(at, c)| (*at, c.condition, c.phase, c.reason.as_str())).collect();
    assert_eq!(
        brief,
        [
            (28.0, Condition::SignalLost, Phase::New, "no answer"),
            (40.0, Condition::SignalLost, Phase::Update, "refuses the password"),
            (55.0, Condition::SignalLost, Phase::End, "refuses the password"),
        ]
    );
    assert_eq!(said[0].1.start, UtcMillis(START + 25_000), "since it was lost, not since it was sure");
    let end = &said[2].1;
    assert_eq!((end.end, end.duration_ms), (Some(UtcMillis(START + 50_000)), 25_000));
    assert_eq!(end.end_reason, Some(HealthEnd::Recovered));
}

#[test]
fn what_lasts_is_told_again_now_and_then_and_named_as_active() {
    let limits = HealthConfig { update_every_s: 60, ..HealthConfig::default() };
    let mut monitor = HealthMonitor::new(limits, &[]);
    let said = play(&mut monitor, 0..1000, |_| lost("no answer"));
    let phases: Vec<_> = said.iter().map(|(_, c)| c.phase).collect();
    assert_eq!(phases, [Phase::New, Phase::Update, Phase::Update, Phase::Update, Phase::Update]);
    assert_eq!(monitor.active(), [ActiveCondition { condition: Condition::SignalLost, since: UtcMillis(START) }]);
}

#[test]
fn what_is_switched_off_is_not_told() {
    let mut monitor = HealthMonitor::new(HealthConfig::default(), &[Condition::SignalLost]);
    assert!(play(&mut monitor, 0..200, |_| lost("no answer")).is_empty());
    assert!(monitor.active().is_empty());
}

#[test]
fn a_stop_ends_what_lasts_once() {
    let mut monitor = HealthMonitor::new(HealthConfig::default(), &[]);
    play(&mut monitor, 0..100, |_| lost("no answer"));
    let now = Now { mono: MonoMillis(30_000), utc: UtcMillis(START + 30_000) };
    let ended = monitor.close(now);
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].end, ended[0].end_reason), (Some(now.utc), Some(HealthEnd::Restart)));
    assert!(monitor.close(now).is_empty());
}

/// Looks every 250 ms at a picture every ten seconds, washed out in some looks; what was said of that, and when.
fn far_apart(washed_out: std::ops::Range<i64>) -> Vec<(f64, Phase)> {
    let mut monitor = HealthMonitor::new(HealthConfig::default(), &[]);
    let flat = |level: u8| {
        let planes = Arc::new(OwnedI420::filled(640, 360, level, 128, 128));
        Luma::of(&luma::tests::frame(640, 360, planes)).unwrap()
    };
    let (grey, white) = (flat(120), flat(235));
    let mut said = Vec::new();
    for i in 0..600_i64 {
        if i % 40 == 0 {
            let picture = if washed_out.contains(&i) { &white } else { &grey };
            monitor.picture(MonoMillis(i * 250), picture, u64::try_from(i / 40).unwrap());
        }
        said.extend(play(&mut monitor, i..i + 1, running));
    }
    said.retain(|(_, c)| c.condition == Condition::TooBright);
    said.into_iter().map(|(at, c)| (at, c.phase)).collect()
}

#[test]
fn keyframes_far_apart_are_judged_from_one_to_the_next_and_one_odd_one_is_nothing() {
    let said = far_apart(200..400);
    assert_eq!(said.iter().map(|s| s.1).collect::<Vec<_>>(), [Phase::New, Phase::End], "{said:?}");
    assert!((60.0..80.0).contains(&said[0].0) && (100.0..130.0).contains(&said[1].0), "{said:?}");
    assert_eq!(far_apart(200..240), []);
}

#[test]
fn an_instant_again_and_again_is_told_four_times_in_ten_minutes_and_counted() {
    let mut monitor = HealthMonitor::new(HealthConfig::default(), &[]);
    // Another size every 30 s for a quarter of an hour.
    let said = play(&mut monitor, 0..3600, |i| StreamView {
        width: if (i / 120) % 2 == 0 { 640 } else { 1280 },
        ..running(i)
    });
    let times_before = |c: &HealthChange| c.figures.iter().find(|f| f.name == "times_before").map(|f| f.value);
    let told: Vec<_> = said
        .iter()
        .filter(|(_, c)| c.condition == Condition::PictureChanged)
        .map(|(at, c)| ((*at / 30.0).round(), times_before(c)))
        .collect();
    let again = [(21.0, Some(16.0)), (22.0, None), (23.0, None), (24.0, None)];
    assert_eq!(told, [[(1.0, None), (2.0, None), (3.0, None), (4.0, None)], again].concat());
}

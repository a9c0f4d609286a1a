//! The names of all metrics, what they mean, and how they are rendered for Prometheus. Counting happens where things
//! happen, through the `metrics` facade and the names here. Labels are cameras, rules, reasons: never ids.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::process;

/// Access units received, by `camera`.
pub const FRAMES_RECEIVED: &str = "gatewatch_frames_received_total";
/// Frames out of the decoder, by `camera`.
pub const FRAMES_DECODED: &str = "gatewatch_frames_decoded_total";
/// Frames seen by the detector, by `camera`.
pub const FRAMES_ANALYSED: &str = "gatewatch_frames_analysed_total";
/// Time that cameras ask of an analysis worker over the time it has, by `worker`.
pub const ANALYSIS_LOAD: &str = "gatewatch_analysis_load";
/// Between two analysed pictures at least, by `camera`: more than configured while the box has too much to do.
pub const ANALYSIS_INTERVAL: &str = "gatewatch_analysis_interval_seconds";
/// Idle cameras that were decoded in full again, by `camera` and `reason`.
pub const DECODE_WAKES: &str = "gatewatch_decode_wakes_total";
/// 1 while a camera is decoded at keyframes only, by `camera`.
pub const DECODE_IDLE: &str = "gatewatch_decode_idle";
/// Frames dropped, by `camera` and `reason`.
pub const FRAMES_DROPPED: &str = "gatewatch_frames_dropped_total";
/// Age of a frame when its analysis ended, by `camera`.
pub const FRAME_AGE: &str = "gatewatch_frame_age_seconds";
/// Duration of one inference, by `model`.
pub const INFERENCE_DURATION: &str = "gatewatch_inference_duration_seconds";
/// Event messages made, by `camera`, `rule` and `phase`.
pub const EVENTS: &str = "gatewatch_events_total";
/// Links made, by `method` and `state`.
pub const LINKS: &str = "gatewatch_links_total";
/// From a frame's arrival to its finding being safe.
pub const FRAME_TO_STORED: &str = "gatewatch_frame_to_stored_seconds";
/// From sending to the broker's acknowledgement.
pub const MQTT_ACK: &str = "gatewatch_mqtt_ack_seconds";
/// Messages acknowledged by the broker, by `lane`.
pub const MQTT_ACKED: &str = "gatewatch_mqtt_acked_total";
/// 1 while pictures arrive, by `camera`.
pub const STREAM_UP: &str = "gatewatch_stream_up";
/// Connections after the first, by `camera` and `cause`.
pub const STREAM_RECONNECTS: &str = "gatewatch_stream_reconnects_total";
/// Camera clock minus box clock, by `camera`.
pub const CLOCK_OFFSET: &str = "gatewatch_clock_offset_seconds";
/// 1 while a condition lasts, by `camera` and `condition`.
pub const CAMERA_CONDITION: &str = "gatewatch_camera_condition";
/// Conditions that began, by `camera` and `condition`.
pub const CAMERA_CONDITIONS: &str = "gatewatch_camera_conditions_total";
/// What camera health costs: `take` where frames pass, `look` on its own thread.
pub const HEALTH_LOOK: &str = "gatewatch_health_look_seconds";
/// Messages waiting for the broker.
pub const OUTBOX_MESSAGES: &str = "gatewatch_outbox_messages";
/// Bytes waiting for the broker.
pub const OUTBOX_BYTES: &str = "gatewatch_outbox_bytes";
/// Messages given up because the outbox was full, by `lane`.
pub const OUTBOX_DROPPED: &str = "gatewatch_outbox_dropped_total";
/// 1 while connected to the broker.
pub const MQTT_UP: &str = "gatewatch_mqtt_up";
/// Connections to the broker.
pub const MQTT_CONNECTS: &str = "gatewatch_mqtt_connects_total";
/// Age of the last word from the clearance feed.
pub const FEED_AGE: &str = "gatewatch_feed_age_seconds";
/// Bytes of video written, by `camera`.
pub const FOOTAGE_BYTES_WRITTEN: &str = "gatewatch_footage_written_bytes_total";
/// Pictures that came and were not recorded, by `camera` and `reason`.
pub const FOOTAGE_LOST: &str = "gatewatch_footage_lost_pictures_total";
/// Bytes of video kept, by `class`: ring, event, held.
pub const FOOTAGE_BYTES: &str = "gatewatch_footage_bytes";
/// Bytes free on the disk of the video.
pub const FOOTAGE_FREE: &str = "gatewatch_footage_free_bytes";
/// Bytes of video deleted, by `reason`.
pub const FOOTAGE_DELETED: &str = "gatewatch_footage_deleted_bytes_total";
/// Clips that are to be kept outside the box and are not there yet.
pub const CLIPS_WAITING: &str = "gatewatch_clips_waiting";
/// Bytes of clips that were brought there.
pub const CLIPS_STORED_BYTES: &str = "gatewatch_clips_stored_bytes_total";
/// Tries that failed, by `reason`: `store`, or `clip` that could not be made.
pub const CLIPS_FAILED: &str = "gatewatch_clips_failed_total";
/// 1, with `version` and `model`.
pub const BUILD_INFO: &str = "gatewatch_build_info";
/// Resident memory.
pub const PROCESS_RESIDENT: &str = "process_resident_memory_bytes";
/// CPU time since start.
pub const PROCESS_CPU: &str = "process_cpu_seconds_total";
/// Open file descriptors.
pub const PROCESS_FDS: &str = "process_open_fds";

const COUNTERS: &[(&str, &str)] = &[
    (FRAMES_RECEIVED, "Access units received"),
    (FRAMES_DECODED, "Frames out of the decoder"),
    (FRAMES_ANALYSED, "Frames seen by the detector"),
    (FRAMES_DROPPED, "Frames dropped, by reason"),
    (DECODE_WAKES, "Idle cameras that were decoded in full again or cameras not left idle, by reason"),
    (EVENTS, "Event messages made"),
    (LINKS, "Links between events and declarations"),
    (MQTT_ACKED, "Messages acknowledged by the broker"),
    (CAMERA_CONDITIONS, "Conditions of cameras that began"),
    (STREAM_RECONNECTS, "Connections to a camera after the first"),
    (OUTBOX_DROPPED, "Messages given up because the outbox was full"),
    (MQTT_CONNECTS, "Connections to the broker"),
    (FOOTAGE_BYTES_WRITTEN, "Bytes of video written"),
    (FOOTAGE_LOST, "Pictures that came and were not recorded, by reason"),
    (FOOTAGE_DELETED, "Bytes of video deleted, by reason"),
    (CLIPS_STORED_BYTES, "Bytes of clips brought out of the box"),
    (CLIPS_FAILED, "Tries to bring a clip out of the box that failed, by reason"),
];

const GAUGES: &[(&str, Unit, &str)] = &[
    (STREAM_UP, Unit::Count, "1 while pictures of the camera arrive"),
    (DECODE_IDLE, Unit::Count, "1 while the camera is decoded at keyframes only, as its gate decided"),
    (CAMERA_CONDITION, Unit::Count, "1 while a condition of the camera lasts"),
    (ANALYSIS_LOAD, Unit::Count, "Time that cameras ask of an analysis worker over the time it has"),
    (ANALYSIS_INTERVAL, Unit::Seconds, "Between two analysed pictures at least"),
    (CLOCK_OFFSET, Unit::Seconds, "Camera clock minus box clock"),
    (OUTBOX_MESSAGES, Unit::Count, "Messages waiting for the broker"),
    (OUTBOX_BYTES, Unit::Bytes, "Bytes waiting for the broker"),
    (MQTT_UP, Unit::Count, "1 while connected to the broker"),
    (FEED_AGE, Unit::Seconds, "Age of the last word from the clearance feed"),
    (FOOTAGE_BYTES, Unit::Bytes, "Bytes of video kept, by class"),
    (FOOTAGE_FREE, Unit::Bytes, "Bytes free on the disk of the video"),
    (CLIPS_WAITING, Unit::Count, "Clips that are to be kept outside the box and are not there yet"),
    (BUILD_INFO, Unit::Count, "1, labelled with version and model"),
    (PROCESS_RESIDENT, Unit::Bytes, "Resident memory"),
    (PROCESS_CPU, Unit::Seconds, "User and system CPU time since start"),
    (PROCESS_FDS, Unit::Count, "Open file descriptors"),
];

/// Histograms with their buckets, seconds. Inference sits around 10 ms; a frame's age is judged against 250 ms.
const HISTOGRAMS: &[(&str, &str, &[f64])] = &[
    (FRAME_AGE, "Age of a frame when its analysis ended", &[0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0]),
    (INFERENCE_DURATION, "Duration of one inference", &[0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 1.0]),
    (
        HEALTH_LOOK,
        "What one look of camera health costs",
        &[0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1],
    ),
    (
        FRAME_TO_STORED,
        "From a frame's arrival to its finding being safe",
        &[0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 60.0],
    ),
    (
        MQTT_ACK,
        "From sending to the broker's acknowledgement",
        &[0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 15.0, 60.0],
    ),
];

/// Renders the metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

/// Installs the recorder of this process and describes all metrics.
///
/// # Errors
/// A recorder is installed already.
pub fn install() -> Result<Metrics, String> {
    let recorder = builder()?.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|e| format!("metrics cannot be set up: {e}"))?;
    describe();
    Ok(Metrics { handle })
}

fn builder() -> Result<PrometheusBuilder, String> {
    HISTOGRAMS.iter().try_fold(PrometheusBuilder::new(), |b, (name, _, buckets)| {
        b.set_buckets_for_metric(Matcher::Full((*name).into()), buckets).map_err(|e| format!("buckets of {name}: {e}"))
    })
}

fn describe() {
    for (name, text) in COUNTERS {
        describe_counter!(*name, *text);
    }
    for (name, unit, text) in GAUGES {
        describe_gauge!(*name, *unit, *text);
    }
    for (name, text, _) in HISTOGRAMS {
        describe_histogram!(*name, Unit::Seconds, *text);
    }
}

/// Says what is running. `model` is the model's name.
pub fn build_info(model: &str) {
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION"), "model" => model.to_owned()).set(1.0);
}

impl Metrics {
    /// The text that Prometheus scrapes, the process's own figures read just now.
    #[must_use]
    pub fn render(&self) -> String {
        record_process();
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// Keeps histograms from growing while nobody scrapes; call every few seconds.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn record_process() {
    let usage = process::usage();
    let values = [
        (PROCESS_RESIDENT, usage.resident_bytes.map(|n| n as f64)),
        (PROCESS_CPU, usage.cpu_seconds),
        (PROCESS_FDS, usage.open_fds.map(|n| n as f64)),
    ];
    for (name, value) in values {
        if let Some(value) = value {
            gauge!(name).set(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_buckets_and_process_figures_are_rendered() {
        let recorder = builder().unwrap().build_recorder();
        let shown = Metrics { handle: recorder.handle() };
        let text = metrics::with_local_recorder(&recorder, || {
            describe();
            build_info("gate");
            metrics::counter!(FRAMES_DROPPED, "camera" => "c1", "reason" => "overwritten").increment(2);
            metrics::histogram!(INFERENCE_DURATION, "model" => "gate").record(0.009);
            shown.render()
        });
        for line in [
            "# HELP gatewatch_frames_dropped_total Frames dropped, by reason",
            r#"gatewatch_frames_dropped_total{camera="c1",reason="overwritten"} 2"#,
            r#"gatewatch_inference_duration_seconds_bucket{model="gate",le="0.01"} 1"#,
            "# TYPE process_open_fds gauge",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}

//! A scene as an MP4 file with its truth beside it, drawn as fast as the machine can.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;

use super::render::Renderer;
use crate::camera::Codec;
use crate::clock::UtcMillis;

/// What to record.
#[derive(Debug, Clone, Copy)]
pub struct Recording {
    /// Length in seconds.
    pub seconds: u32,
    /// Pictures a second, 1..=60.
    pub fps: u32,
    /// Coding.
    pub codec: Codec,
    /// Time of the first picture in the truth.
    pub start: UtcMillis,
}

/// Writes the video and, one JSON line a frame, the truth.
///
/// # Errors
/// When a file cannot be written or GStreamer lacks a plugin.
pub fn record(mut renderer: Renderer, order: Recording, video: &Path, truth: Option<&Path>) -> anyhow::Result<()> {
    if !(1..=60).contains(&order.fps) {
        bail!("fps must be 1..=60, not {}", order.fps);
    }
    gst::init().context("GStreamer does not start")?;
    let make = |p: &Path| std::fs::File::create(p).with_context(|| format!("cannot write {}", p.display()));
    let mut lines = truth.map(make).transpose()?.map(std::io::BufWriter::new);
    let (pipeline, feed) = pipeline(order, renderer.size(), video)?;
    pipeline.set_state(gst::State::Playing).with_context(|| format!("cannot write {}", video.display()))?;
    let fed = push_all(&mut renderer, order, &feed, &mut lines);
    let ended = fed.and_then(|()| wait_for_end(&pipeline));
    pipeline.set_state(gst::State::Null).context("the recorder does not stop")?;
    lines.as_mut().map_or(Ok(()), Write::flush)?;
    ended
}

fn pipeline(order: Recording, size: (u32, u32), video: &Path) -> anyhow::Result<(gst::Pipeline, AppSrc)> {
    let coder = match order.codec {
        Codec::H264 => "x264enc speed-preset=veryfast key-int-max=50 ! h264parse",
        Codec::H265 => "x265enc log-level=none speed-preset=ultrafast key-int-max=50 ! h265parse",
    };
    let text =
        format!("appsrc name=feed format=time block=true max-bytes=8000000 ! {coder} ! mp4mux ! filesink name=file");
    let pipeline = gst::parse::launch(&text).context("GStreamer lacks a plugin to record")?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().ok().context("the recorder is no pipeline")?;
    let feed =
        pipeline.by_name("feed").and_then(|e| e.downcast::<AppSrc>().ok()).context("the recorder has no source")?;
    pipeline.by_name("file").context("the recorder has no file")?.set_property("location", video);
    let caps = gst::Caps::builder("video/x-raw").field("format", "I420").field("width", size.0 as i32);
    let caps = caps.field("height", size.1 as i32).field("framerate", gst::Fraction::new(order.fps as i32, 1));
    feed.set_caps(Some(&caps.build()));
    Ok((pipeline, feed))
}

fn push_all(r: &mut Renderer, order: Recording, feed: &AppSrc, lines: &mut Option<impl Write>) -> anyhow::Result<()> {
    for n in 0..u64::from(order.seconds) * u64::from(order.fps) {
        let pts = gst::ClockTime::from_nseconds(n * 1_000_000_000 / u64::from(order.fps));
        let ms = i64::try_from(pts.mseconds()).unwrap_or(i64::MAX);
        let frame = r.draw(pts.seconds_f64(), order.start.plus_ms(ms));
        if let Some(out) = lines {
            writeln!(out, "{}", serde_json::to_string(&frame)?)?;
        }
        let mut buffer = gst::Buffer::from_mut_slice(r.i420());
        buffer.make_mut().set_pts(pts);
        if feed.push_buffer(buffer).is_err() {
            // Why is on the bus.
            return Ok(());
        }
    }
    let _ = feed.end_of_stream();
    Ok(())
}

fn wait_for_end(pipeline: &gst::Pipeline) -> anyhow::Result<()> {
    let bus = pipeline.bus().context("the recorder has no bus")?;
    let message = bus.timed_pop_filtered(gst::ClockTime::NONE, &[gst::MessageType::Eos, gst::MessageType::Error]);
    match message.as_ref().map(|m| m.view()) {
        Some(gst::MessageView::Error(e)) => bail!("cannot record: {}", e.error()),
        _ => Ok(()),
    }
}

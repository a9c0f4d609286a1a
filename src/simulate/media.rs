//! The stream of one simulated camera as the RTSP server mounts it: one coder for all viewers, fed by our own thread
//! while anybody watches. Does not know who watches.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;
use gstreamer_rtsp_server as rtsp;
use gstreamer_rtsp_server::prelude::*;

use super::clip::{Clip, ClipFeed};
use super::feed::{Drawing, DrawnFeed};
use super::misbehave::{corrupt_packet, shift_report};
use super::stage::Stage;
use crate::camera::Codec;
use crate::clock::mono_now;

/// Role of whoever may look.
pub(super) const VIEWER: &str = "viewer";

/// What a camera shows.
#[derive(Clone)]
pub(super) enum Show {
    /// Drawn and coded.
    Drawn { drawing: Arc<Mutex<Drawing>>, codec: Codec, fps: u32, bitrate_kbit: u32, gop: u32 },
    /// A recorded file, as it is.
    File(Clip),
}

impl Show {
    /// The pipeline from our pictures or units to packets.
    pub fn launch(&self) -> String {
        match self {
            Self::Drawn { codec, bitrate_kbit, gop, .. } => {
                let tail = packets(*codec);
                let coder = match codec {
                    Codec::H264 => {
                        format!("x264enc threads=1 byte-stream=true bitrate={bitrate_kbit} key-int-max={gop}")
                    }
                    Codec::H265 => format!(
                        "x265enc log-level=none bitrate={bitrate_kbit} key-int-max={gop} \
                         option-string=pools=1:frame-threads=1:open-gop=0:scenecut=0"
                    ),
                };
                format!(
                    "( appsrc name=feed is-live=true format=time max-buffers=2 max-bytes=0 leaky-type=downstream \
                     ! {coder} tune=zerolatency speed-preset=ultrafast ! {tail} )"
                )
            }
            Self::File(clip) => {
                // Units may wait for about a second; the feed looks at the level and never drops a part of a group.
                format!("( appsrc name=feed is-live=true format=time max-bytes=0 ! {} )", packets(clip.codec))
            }
        }
    }
}

/// The parser puts the parameter sets in front of each keyframe. The payloader would put them in front of each slice of
/// it, and so make several pictures of one.
fn packets(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => {
            "h264parse config-interval=-1 ! rtph264pay name=pay0 pt=96 config-interval=0 aggregate-mode=zero-latency"
        }
        Codec::H265 => {
            "h265parse config-interval=-1 ! rtph265pay name=pay0 pt=96 config-interval=0 aggregate-mode=zero-latency"
        }
    }
}

/// The elements that streams of this kind need and this machine lacks.
pub(super) fn missing_elements(show: &Show) -> Option<&'static str> {
    let (codec, drawn) = match show {
        Show::Drawn { codec, .. } => (*codec, true),
        Show::File(clip) => (clip.codec, false),
    };
    let (coder, rest) = match codec {
        Codec::H264 => ("x264enc", ["h264parse", "rtph264pay"]),
        Codec::H265 => ("x265enc", ["h265parse", "rtph265pay"]),
    };
    let coder = drawn.then_some(coder);
    coder.into_iter().chain(rest).chain(["appsrc", "rtpbin"]).find(|name| gst::ElementFactory::find(name).is_none())
}

/// A mount for what `show` says now. The end of stream goes to every stream that `ends` is given to.
pub(super) fn factory(stage: &Arc<Stage>, show: &Show, ends: &Arc<Ends>) -> rtsp::RTSPMediaFactory {
    let factory = rtsp::RTSPMediaFactory::new();
    factory.set_launch(&show.launch());
    factory.set_shared(true);
    factory.add_role_from_structure(
        &gst::Structure::builder(VIEWER)
            .field("media.factory.access", true)
            .field("media.factory.construct", true)
            .build(),
    );
    let (stage, show, ends) = (Arc::clone(stage), show.clone(), Arc::clone(ends));
    factory.connect_media_configure(move |_, media| {
        if let Err(error) = configure(&stage, &show, &ends, media) {
            tracing::error!(camera = %stage.name, error, "the stream of a simulated camera does not start");
        }
    });
    factory
}

/// The running streams' inputs, to end them in good order.
#[derive(Default)]
pub(super) struct Ends(Mutex<Vec<gst::glib::WeakRef<AppSrc>>>);

impl Ends {
    /// Ends every stream that runs.
    pub fn end_of_stream(&self) {
        for source in super::stage::lock(&self.0).drain(..).filter_map(|s| s.upgrade()) {
            // Fails only when the stream is over already.
            let _ = source.end_of_stream();
        }
    }

    fn add(&self, source: &AppSrc) {
        let mut sources = super::stage::lock(&self.0);
        sources.retain(|s| s.upgrade().is_some());
        sources.push(source.downgrade());
    }
}

/// Joins a stream that is being built to its feed; the feed ends with the stream.
fn configure(stage: &Arc<Stage>, show: &Show, ends: &Ends, media: &rtsp::RTSPMedia) -> Result<(), String> {
    let bin = media.element().downcast::<gst::Bin>().map_err(|_| "the stream is no bin")?;
    let source = bin.by_name("feed").and_then(|e| e.downcast::<AppSrc>().ok()).ok_or("no input")?;
    let packets = bin.by_name("pay0").and_then(|e| e.static_pad("src")).ok_or("no payloader")?;
    damage_on_command(stage, &packets);
    report_capture_time(stage, &bin);
    ends.add(&source);
    let started = match show {
        Show::Drawn { drawing, fps, .. } => {
            let (stage, drawing) = (Arc::clone(stage), Arc::clone(drawing));
            let feed = DrawnFeed {
                stage: Arc::clone(&stage),
                drawing,
                fps: *fps,
                to: source,
                shown: Cell::default(),
                slot: Cell::default(),
            };
            feed.announce();
            stage.spawn_feed(move |ticker| feed.run(ticker))
        }
        Show::File(clip) => {
            let feed = ClipFeed { stage: Arc::clone(stage), clip: clip.clone(), to: source };
            feed.announce();
            stage.spawn_feed(move |ticker| feed.run(ticker))
        }
    };
    let stop = started.map_err(|e| format!("no thread: {e}"))?;
    media.connect_unprepared(move |_| {
        // Fails only when the feed is over already.
        let _ = stop.send(());
    });
    Ok(())
}

/// Sender reports name the time of the picture, not that of its sending: coding takes tens of milliseconds.
fn report_capture_time(stage: &Arc<Stage>, bin: &gst::Bin) {
    let Some(pipeline) = bin.parent().and_then(|p| p.downcast::<gst::Bin>().ok()) else { return };
    let stage = Arc::clone(stage);
    pipeline.connect_element_added(move |_, element| {
        if element.factory().is_some_and(|f| f.name() == "rtpbin") {
            element.set_property("rtcp-sync-send-time", false);
            let stage = Arc::clone(&stage);
            element.connect_pad_added(move |_, pad| {
                if pad.name().starts_with("send_rtcp_src") {
                    set_clock_on_command(&stage, pad);
                }
            });
        }
    });
}

/// Sender reports of a camera whose clock is off say so.
fn set_clock_on_command(stage: &Arc<Stage>, reports: &gst::Pad) {
    let stage = Arc::clone(stage);
    reports.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let off_ms = stage.faults().clock_off_ms(mono_now());
        if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data
            && off_ms != 0
            && let Ok(mut map) = buffer.make_mut().map_writable()
        {
            shift_report(map.as_mut_slice(), off_ms);
        }
        gst::PadProbeReturn::Ok
    });
}

fn damage_on_command(stage: &Arc<Stage>, packets: &gst::Pad) {
    let stage = Arc::clone(stage);
    let damaged = AtomicBool::new(false);
    packets.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, info| {
        if stage.faults().corrupting(mono_now()) {
            if !damaged.swap(true, Ordering::Relaxed) {
                tracing::info!(camera = %stage.name, "packets are damaged");
            }
            match &mut info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => damage(&stage, buffer.make_mut()),
                Some(gst::PadProbeData::BufferList(list)) => {
                    let list = list.make_mut();
                    for i in 0..list.len() {
                        list.get_mut(i).into_iter().for_each(|b| damage(&stage, b));
                    }
                }
                _ => {}
            }
        } else {
            damaged.store(false, Ordering::Relaxed);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Every other packet.
fn damage(stage: &Stage, packet: &mut gst::BufferRef) {
    let seed = stage.corrupted.fetch_add(1, Ordering::Relaxed);
    if seed.is_multiple_of(2)
        && let Ok(mut map) = packet.map_writable()
    {
        corrupt_packet(map.as_mut_slice(), seed);
    }
}

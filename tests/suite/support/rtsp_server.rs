//! A small RTSP camera on a loopback port: a live test picture, with password, TLS, silence and death on demand.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_rtsp_server as rtsp;
use gstreamer_rtsp_server::prelude::*;

/// H.264 of 320x240, a keyframe twice a second. `size` and `valve` can be changed while it runs.
pub const H264: &str = "( videotestsrc is-live=true ! capsfilter name=size caps=video/x-raw,width=320,height=240,framerate=20/1 \
     ! valve name=valve ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 )";
/// H.265 of 320x240.
pub const H265: &str = "( videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=20/1 \
     ! x265enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! h265parse ! rtph265pay name=pay0 pt=96 config-interval=-1 )";
/// Motion JPEG: a coding we do not decode.
pub const MJPEG: &str = "( videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=240,framerate=20/1 ! jpegenc ! rtpjpegpay name=pay0 pt=26 )";
/// Sound first, then pictures.
pub const WITH_AUDIO: &str = "( audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay0 pt=8 \
     videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=20/1 ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay name=pay1 pt=96 )";
/// Sound only.
pub const ONLY_AUDIO: &str = "( audiotestsrc is-live=true ! alawenc ! rtppcmapay name=pay0 pt=8 )";

/// User and password the server asks for.
pub const USER: &str = "duty";
/// See [`USER`].
pub const PASSWORD: &str = "right-password-7";

#[derive(Default, Clone, Copy)]
pub struct Options<'a> {
    pub port: u16,
    pub password: bool,
    /// Folder with `cert.pem` and `key.pem`.
    pub tls: Option<&'a Path>,
}

/// Runs until dropped; dropping cuts every connection.
pub struct Server {
    pub port: u16,
    media: Arc<Mutex<Option<gst::Element>>>,
    main_loop: gst::glib::MainLoop,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(launch: &str, options: Options<'_>) -> Self {
        gst::init().unwrap();
        let context = gst::glib::MainContext::new();
        let main_loop = gst::glib::MainLoop::new(Some(&context), false);
        let server = rtsp::RTSPServer::new();
        server.set_address("127.0.0.1");
        server.set_service(&options.port.to_string());
        // Connections are served by the thread that closes them at the end: where another one does while a connection is
        // read, it is read for ever.
        server.thread_pool().unwrap().set_max_threads(0);
        let factory = rtsp::RTSPMediaFactory::new();
        factory.set_launch(launch);
        factory.set_shared(true);
        let media = Arc::new(Mutex::new(None));
        factory.connect_media_configure({
            let media = Arc::clone(&media);
            move |_, m| *media.lock().unwrap() = Some(m.element())
        });
        if options.password || options.tls.is_some() {
            protect(&server, &factory, options);
        }
        server.mount_points().unwrap().add_factory("/live", factory);
        let source = server.attach(Some(&context)).expect("the port is free");
        let port = u16::try_from(server.bound_port()).unwrap();
        let thread = std::thread::spawn({
            let main_loop = main_loop.clone();
            move || {
                context.with_thread_default(|| main_loop.run()).unwrap();
                server.client_filter(Some(&mut |_, _| rtsp::RTSPFilterResult::Remove));
                context.find_source_by_id(&source).inspect(|s| s.destroy());
            }
        });
        Self { port, media, main_loop, thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/live", self.port)
    }

    /// An element of the running stream.
    fn element(&self, name: &str) -> gst::Element {
        let media = self.media.lock().unwrap();
        media.as_ref().expect("a client is connected").downcast_ref::<gst::Bin>().unwrap().by_name(name).unwrap()
    }

    /// The connection stays, no picture comes.
    pub fn fall_silent(&self) {
        self.element("valve").set_property("drop", true);
    }

    /// From the next picture on.
    pub fn set_size(&self, width: i32, height: i32) {
        let caps = gst::Caps::builder("video/x-raw")
            .field("width", width)
            .field("height", height)
            .field("framerate", gst::Fraction::new(20, 1))
            .build();
        self.element("size").set_property("caps", caps);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.main_loop.quit();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn protect(server: &rtsp::RTSPServer, factory: &rtsp::RTSPMediaFactory, options: Options<'_>) {
    factory.add_role_from_structure(
        &gst::Structure::builder("viewer")
            .field("media.factory.access", true)
            .field("media.factory.construct", true)
            .build(),
    );
    let mut token = rtsp::RTSPToken::builder().field("media.factory.role", "viewer").build();
    let auth = rtsp::RTSPAuth::new();
    if options.password {
        auth.add_basic(&rtsp::RTSPAuth::make_basic(USER, PASSWORD), &token);
    } else {
        auth.set_default_token(Some(&mut token));
    }
    if let Some(dir) = options.tls {
        let certificate = gio::TlsCertificate::from_files(dir.join("cert.pem"), dir.join("key.pem")).unwrap();
        auth.set_tls_certificate(Some(&certificate));
    }
    server.set_auth(Some(&auth));
}

/// A self-made certificate for 127.0.0.1 in `dir`; `false` where the machine has no openssl.
pub fn make_certificate(dir: &Path) -> bool {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=camera"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(dir.join("key.pem"))
        .arg("-out")
        .arg(dir.join("cert.pem"))
        .output();
    made.is_ok_and(|out| out.status.success())
}

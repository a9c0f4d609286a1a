//! The RTSP server of the simulated cameras: mounts, doors and viewers, on a thread with its own main loop. What flows
//! through a mount is `media`'s part.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::glib;
use gstreamer_rtsp::RTSPStatusCode;
use gstreamer_rtsp_server as rtsp;
use gstreamer_rtsp_server::prelude::*;

use super::clip::Clip;
use super::feed::{Drawing, PictureSource};
use super::media::{self, Ends, Show, VIEWER};
use super::misbehave::{Door, Misbehaviour, check_size};
use super::stage::{Stage, lock};
use crate::camera::Codec;
use crate::clock::mono_now;
use crate::config::Secret;

/// Connections get so long to end by themselves: one that waits for a stream to begin does not.
const CLOSING: Duration = Duration::from_secs(3);

/// Why cameras cannot be served or a misbehaviour cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// What was asked cannot be done; ask for something else.
    #[error("{0}")]
    Misconfigured(String),
    /// The address cannot be taken; choose another port or end the other program.
    #[error("cannot listen on {address}: {why}")]
    Bind {
        /// Address and port.
        address: String,
        /// As the system says it.
        why: String,
    },
    /// GStreamer or the system lacks something; the machine needs care.
    #[error("{0}")]
    Pipeline(String),
}

/// One camera to serve, at `/name`.
pub struct SimCamera {
    /// 1..=32 of `a-z 0-9 -`, unique in a server.
    pub name: String,
    /// What it shows.
    pub kind: SimKind,
}

/// What a camera shows.
pub enum SimKind {
    /// Pictures drawn while somebody watches, coded once for all viewers.
    Drawn {
        /// Draws.
        source: Box<dyn PictureSource>,
        /// Coding.
        codec: Codec,
        /// Pictures a second, 1..=60.
        fps: u32,
        /// 16..=100000.
        bitrate_kbit: u32,
        /// Pictures from keyframe to keyframe, 1 or more.
        gop: u32,
    },
    /// A recording with H.264 or H.265 video (MP4, MKV, TS), served without coding it anew, again and again.
    File {
        /// The recording.
        path: PathBuf,
    },
}

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Address to listen on.
    pub listen: IpAddr,
    /// 0 = a free one.
    pub port: u16,
    /// User and password that every viewer needs (digest).
    pub credentials: Option<(String, Secret)>,
    /// Certificate and key, PEM files: the cameras speak RTSPS only.
    pub tls: Option<(PathBuf, PathBuf)>,
}

impl Default for ServerOptions {
    /// A free port on loopback, open to everybody there.
    fn default() -> Self {
        Self { listen: Ipv4Addr::LOCALHOST.into(), port: 0, credentials: None, tls: None }
    }
}

/// What a camera did since the server's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CameraStats {
    /// Connections that opened this camera and are still there.
    pub clients: usize,
    /// Pictures (of a file: units) sent into streams.
    pub pictures: u64,
    /// Pictures left out because drawing was too slow.
    pub skipped: u64,
    /// Packets that passed while damage was ordered; every other one is damaged.
    pub corrupted: u64,
}

/// Serves until dropped; dropping cuts every connection and waits for the threads.
pub struct SimServer {
    shared: Arc<Shared>,
    address: String,
    main_loop: glib::MainLoop,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    cameras: BTreeMap<String, Camera>,
    viewers: Mutex<Vec<Viewer>>,
    /// One of them has gone.
    gone: Condvar,
    server: rtsp::RTSPServer,
}

struct Camera {
    stage: Arc<Stage>,
    show: Mutex<Show>,
    ends: Arc<Ends>,
}

/// A connection that asked for something.
struct Viewer {
    client: glib::WeakRef<rtsp::RTSPClient>,
    /// Of the thread that serves it.
    context: glib::MainContext,
    /// The camera it asked for, from then on.
    camera: Option<String>,
}

impl Viewer {
    /// Has it closed by its own thread: where another one closes it while it is read, it is read for ever, and the
    /// error of that is logged as fast as a core can.
    fn close(&self) {
        let client = self.client.clone();
        let end = glib::idle_source_new(None, glib::Priority::HIGH, move || {
            client.upgrade().inspect(|c| c.close());
            glib::ControlFlow::Break
        });
        end.attach(Some(&self.context));
    }
}

impl SimServer {
    /// Starts serving.
    ///
    /// # Errors
    /// [`SimError::Misconfigured`]: a bad name or number, a file that cannot be served, an unreadable certificate;
    /// [`SimError::Bind`]: the port is taken; [`SimError::Pipeline`]: GStreamer lacks a plugin.
    pub fn start(cameras: Vec<SimCamera>, options: ServerOptions) -> Result<Self, SimError> {
        gst::init().map_err(|e| SimError::Pipeline(format!("GStreamer does not start: {e}")))?;
        let server = rtsp::RTSPServer::new();
        let cameras = build_cameras(cameras)?;
        protect(&server, &options)?;
        // A thread a connection: one that waits for a silent camera must not hold up the others.
        if let Some(threads) = server.thread_pool() {
            threads.set_max_threads(-1);
        }
        let shared = Arc::new(Shared { cameras, viewers: Mutex::default(), gone: Condvar::new(), server });
        for camera in shared.cameras.values() {
            shared.mount(camera);
        }
        watch_clients(&shared);
        Self::listen(shared, &options)
    }

    fn listen(shared: Arc<Shared>, options: &ServerOptions) -> Result<Self, SimError> {
        let asked = std::net::SocketAddr::new(options.listen, options.port);
        let refused = |why: String| SimError::Bind { address: asked.to_string(), why };
        shared.server.set_address(&options.listen.to_string());
        shared.server.set_service(&options.port.to_string());
        let context = glib::MainContext::new();
        let source = shared.server.attach(Some(&context)).map_err(|_| {
            // The server does not say why; the system does.
            let why = std::net::TcpListener::bind(asked).err().map_or("unknown".into(), |e| e.to_string());
            refused(why)
        })?;
        let port = u16::try_from(shared.server.bound_port()).map_err(|_| refused("it has no port".into()))?;
        let main_loop = glib::MainLoop::new(Some(&context), false);
        let thread = std::thread::Builder::new().name("sim-rtsp".into()).spawn({
            let (main_loop, shared) = (main_loop.clone(), Arc::clone(&shared));
            move || {
                if context.with_thread_default(|| main_loop.run()).is_err() {
                    tracing::error!("the main loop of the simulated cameras does not run");
                }
                shared.close_all();
                context.find_source_by_id(&source).inspect(|s| s.destroy());
            }
        });
        let thread = Some(thread.map_err(|e| SimError::Pipeline(format!("no thread for the server: {e}")))?);
        let scheme = if options.tls.is_some() { "rtsps" } else { "rtsp" };
        let address = format!("{scheme}://{}", std::net::SocketAddr::new(options.listen, port));
        tracing::info!(%address, cameras = shared.cameras.len(), "simulated cameras are served");
        Ok(Self { shared, address, main_loop, thread })
    }

    /// Address of a camera, without user and password. It is there whether such a camera is or not.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Names of the cameras, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.shared.cameras.keys().map(String::as_str)
    }

    /// What a camera did so far; `None` when there is none of this name.
    #[must_use]
    pub fn stats(&self, name: &str) -> Option<CameraStats> {
        let stage = &self.shared.cameras.get(name)?.stage;
        let clients = lock(&self.shared.viewers).iter().filter(|v| v.camera.as_deref() == Some(name)).count();
        Some(CameraStats {
            clients,
            pictures: stage.pictures.load(Ordering::Relaxed),
            skipped: stage.skipped.load(Ordering::Relaxed),
            corrupted: stage.corrupted.load(Ordering::Relaxed),
        })
    }

    /// Makes something go wrong, from now on. A later command of the same kind replaces the earlier one.
    ///
    /// # Errors
    /// [`SimError::Misconfigured`]: no such camera, or one that cannot do this.
    pub fn misbehave(&self, name: &str, what: &Misbehaviour) -> Result<(), SimError> {
        let camera = self.shared.camera(name)?;
        camera.check(name, what)?;
        tracing::info!(camera = name, ?what, "simulated camera misbehaves");
        camera.stage.order(what);
        match what {
            Misbehaviour::Cut { .. } | Misbehaviour::RefusePassword { .. } => self.shared.cut(name),
            Misbehaviour::ChangeCodec { codec: new } => {
                if let Show::Drawn { codec, .. } = &mut *lock(&camera.show) {
                    *codec = *new;
                }
                self.shared.mount(camera);
                self.shared.cut(name);
            }
            Misbehaviour::EndOfStream => {
                // A new mount, so that whoever opens it next does not join the stream that ended.
                self.shared.mount(camera);
                camera.ends.end_of_stream();
            }
            _ => {}
        }
        Ok(())
    }
}

impl Drop for SimServer {
    fn drop(&mut self) {
        for camera in self.shared.cameras.values() {
            camera.stage.stop_feeds();
        }
        // From within the loop: a call to quit a loop that its thread did not enter yet would be forgotten.
        let main_loop = self.main_loop.clone();
        let quit = glib::idle_source_new(None, glib::Priority::HIGH, move || {
            main_loop.quit();
            glib::ControlFlow::Break
        });
        quit.attach(Some(&self.main_loop.context()));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the simulated cameras panicked");
        }
        // A stream that was being opened meanwhile.
        for camera in self.shared.cameras.values() {
            camera.stage.stop_feeds();
        }
    }
}

impl Shared {
    fn camera(&self, name: &str) -> Result<&Camera, SimError> {
        self.cameras.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.cameras.keys().map(String::as_str).collect();
            SimError::Misconfigured(format!("there is no simulated camera {name:?}; there are: {}", known.join(", ")))
        })
    }

    /// Takes the place of what was mounted; streams that run there end with their viewers.
    fn mount(&self, camera: &Camera) {
        if let Some(mounts) = self.server.mount_points() {
            let factory = media::factory(&camera.stage, &lock(&camera.show), &camera.ends);
            mounts.add_factory(&format!("/{}", camera.stage.name), factory);
        }
    }

    /// Closes every connection that opened this camera.
    fn cut(&self, name: &str) {
        lock(&self.viewers).iter().filter(|v| v.camera.as_deref() == Some(name)).for_each(Viewer::close);
    }

    /// Closes every connection and waits until they are.
    fn close_all(&self) {
        let viewers = lock(&self.viewers);
        viewers.iter().for_each(Viewer::close);
        let waited = self.gone.wait_timeout_while(viewers, CLOSING, |v| v.iter().any(|v| v.client.upgrade().is_some()));
        if waited.is_ok_and(|(_, late)| late.timed_out()) {
            tracing::warn!("viewers of simulated cameras do not end by themselves");
        }
        // And those that never asked for anything.
        self.server.client_filter(Some(&mut |_, _| rtsp::RTSPFilterResult::Remove));
    }

    /// Remembers a connection that asks for something, on the thread that serves it.
    fn came(&self, client: &rtsp::RTSPClient) {
        let mut viewers = lock(&self.viewers);
        let known = viewers.iter().any(|v| v.client.upgrade().as_ref() == Some(client));
        let context = glib::main_current_source().and_then(|source| source.context());
        if let Some(context) = context.filter(|_| !known) {
            viewers.push(Viewer { client: client.downgrade(), context, camera: None });
        }
    }

    /// What a connection that wants to look at `camera` is told.
    fn admit(&self, client: &rtsp::RTSPClient, name: &str) -> RTSPStatusCode {
        let Some(camera) = self.cameras.get(name) else { return RTSPStatusCode::NotFound };
        // A stream that cannot start would hold a thread of the server for 20 s, and whoever comes meanwhile with it.
        if camera.stage.faults().silent(mono_now()) && !self.is_watched(name) {
            return RTSPStatusCode::ServiceUnavailable;
        }
        let door = camera.stage.faults().door(mono_now());
        match door {
            Door::Gone => return RTSPStatusCode::NotFound,
            Door::Refused => return RTSPStatusCode::Unauthorized,
            Door::Open => {}
        }
        let mut viewers = lock(&self.viewers);
        if let Some(viewer) = viewers.iter_mut().find(|v| v.client.upgrade().as_ref() == Some(client))
            && viewer.camera.as_deref() != Some(name)
        {
            viewer.camera = Some(name.to_owned());
            tracing::info!(camera = name, viewers = viewers.len(), "simulated camera is opened");
        }
        RTSPStatusCode::Ok
    }

    fn is_watched(&self, name: &str) -> bool {
        let watches = |v: &Viewer| v.camera.as_deref() == Some(name) && v.client.upgrade().is_some();
        lock(&self.viewers).iter().any(watches)
    }

    fn forget(&self, client: &rtsp::RTSPClient) {
        lock(&self.viewers).retain(|v| v.client.upgrade().is_some_and(|c| &c != client));
        self.gone.notify_all();
        tracing::info!("a viewer of simulated cameras went away");
    }
}

impl Camera {
    fn check(&self, name: &str, what: &Misbehaviour) -> Result<(), SimError> {
        let wrong = |why: String| Err(SimError::Misconfigured(format!("camera {name}: {why}")));
        let drawn = matches!(&*lock(&self.show), Show::Drawn { .. });
        match what {
            Misbehaviour::ChangeResolution { width, height } if drawn => {
                check_size(*width, *height).map(|_| ()).or_else(wrong)
            }
            Misbehaviour::ChangeResolution { .. }
            | Misbehaviour::ChangeCodec { .. }
            | Misbehaviour::Cover { .. }
            | Misbehaviour::Blur { .. }
            | Misbehaviour::Dark { .. }
            | Misbehaviour::Bright { .. }
            | Misbehaviour::Slow { .. }
            | Misbehaviour::Shift { .. }
                if !drawn =>
            {
                wrong("a recording is served as it is, its pictures cannot be changed".into())
            }
            _ => Ok(()),
        }
    }
}

fn build_cameras(cameras: Vec<SimCamera>) -> Result<BTreeMap<String, Camera>, SimError> {
    let start = mono_now();
    let mut built = BTreeMap::new();
    for SimCamera { name, kind } in cameras {
        check_name(&name)?;
        let show = check_kind(&name, kind)?;
        if let Some(element) = media::missing_elements(&show) {
            return Err(SimError::Pipeline(format!(
                "the GStreamer element {element} is missing; install the base, good, bad and ugly plugins of GStreamer"
            )));
        }
        let stage = Arc::new(Stage::new(name.clone(), start));
        let camera = Camera { stage, show: Mutex::new(show), ends: Arc::default() };
        if built.insert(name.clone(), camera).is_some() {
            return Err(SimError::Misconfigured(format!("two simulated cameras have the name {name}")));
        }
    }
    Ok(built)
}

fn check_name(name: &str) -> Result<(), SimError> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=32).contains(&name.len()) && name.chars().all(good) {
        Ok(())
    } else {
        Err(SimError::Misconfigured(format!("the camera name {name:?} is not 1 to 32 of a-z, 0-9 and -")))
    }
}

fn check_kind(name: &str, kind: SimKind) -> Result<Show, SimError> {
    let wrong = |why: String| SimError::Misconfigured(format!("camera {name}: {why}"));
    match kind {
        SimKind::File { path } => Clip::open(&path).map(Show::File),
        SimKind::Drawn { source, codec, fps, bitrate_kbit, gop } => {
            let (width, height) = source.size();
            check_size(width, height).map_err(wrong)?;
            if !(1..=60).contains(&fps) || !(16..=100_000).contains(&bitrate_kbit) || gop == 0 {
                return Err(wrong("fps must be 1..=60, bitrate_kbit 16..=100000, gop 1 or more".into()));
            }
            let drawing = Arc::new(Mutex::new(Drawing::new(source)));
            Ok(Show::Drawn { drawing, codec, fps, bitrate_kbit, gop })
        }
    }
}

/// Passwords and encryption.
fn protect(server: &rtsp::RTSPServer, options: &ServerOptions) -> Result<(), SimError> {
    if options.credentials.is_none() && options.tls.is_none() {
        return Ok(());
    }
    let auth = rtsp::RTSPAuth::new();
    let mut token = rtsp::RTSPToken::builder().field("media.factory.role", VIEWER).build();
    if let Some((user, password)) = &options.credentials {
        auth.set_supported_methods(gstreamer_rtsp::RTSPAuthMethod::Digest);
        auth.add_digest(user, password.expose(), &token);
    } else {
        auth.set_default_token(Some(&mut token));
    }
    if let Some((certificate, key)) = &options.tls {
        let read = gio::TlsCertificate::from_files(certificate, key).map_err(|e| {
            let (certificate, key) = (certificate.display(), key.display());
            SimError::Misconfigured(format!("cannot use the certificate {certificate} with the key {key}: {e}"))
        })?;
        auth.set_tls_certificate(Some(&read));
    }
    server.set_auth(Some(&auth));
    Ok(())
}

fn watch_clients(shared: &Arc<Shared>) {
    // Weak: the server is a part of what is shared.
    let shared_weak = Arc::downgrade(shared);
    shared.server.connect_client_connected(move |_, client| {
        let weak = shared_weak.clone();
        let admit = move |client: &rtsp::RTSPClient, ctx: &rtsp::RTSPContext| {
            let name = ctx.uri().and_then(|u| u.decode_path_components().get(1).map(ToString::to_string));
            let (Some(shared), Some(name)) = (weak.upgrade(), name) else { return RTSPStatusCode::NotFound };
            shared.came(client);
            shared.admit(client, &name)
        };
        let weak = shared_weak.clone();
        client.connect_pre_options_request(move |client, _| {
            weak.upgrade().inspect(|shared| shared.came(client));
            RTSPStatusCode::Ok
        });
        // Some viewers do not ask for the description.
        client.connect_pre_setup_request(admit.clone());
        client.connect_pre_describe_request(admit);
        let weak = shared_weak.clone();
        client.connect_play_request(move |_, ctx| {
            let name = ctx.uri().and_then(|u| u.decode_path_components().get(1).map(ToString::to_string));
            if let (Some(shared), Some(name)) = (weak.upgrade(), name)
                && let Some(camera) = shared.cameras.get(&name)
            {
                camera.stage.want_keyframe.store(true, Ordering::Relaxed);
            }
        });
        let weak = shared_weak.clone();
        client.connect_closed(move |client| {
            if let Some(shared) = weak.upgrade() {
                shared.forget(client);
            }
        });
    });
}

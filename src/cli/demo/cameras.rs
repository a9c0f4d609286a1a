//! The demo's cameras: drawn scenes, a person's recording, or a person's camera; and what the agent is told of them.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

use super::Args;
use crate::camera::{CameraId, Codec};
use crate::config::{
    AreaConfig, AreaKind, CameraConfig, DecodeMode, DwellConfig, LineConfig, RuleConfig, SecretSource, Transport,
};
use crate::geometry::{Line, Point, Polygon};
use crate::rules::AreaId;
use crate::simulate::light::Hour;
use crate::simulate::scene::AreaShape;
use crate::simulate::{Scenario, Scene, SceneSource, ServerOptions, SimCamera, SimKind, SimServer};

/// Picture size of the drawn cameras.
const SIZE: (u32, u32) = (960, 540);
/// Pictures a second of the drawn cameras.
const FPS: u32 = 10;
/// Seconds in an area before it is worth a look.
const DWELL_S: f64 = 8.0;

/// What is watched. Keeps the server of simulated cameras alive.
pub struct Cameras {
    server: Option<SimServer>,
    watched: Vec<Watched>,
}

struct Watched {
    id: &'static str,
    name: &'static str,
    url: String,
    login: Option<(String, String)>,
    shapes: Vec<(String, AreaShape)>,
}

struct Drawn {
    id: &'static str,
    name: &'static str,
    scenario: Scenario,
    codec: Codec,
    hour: Hour,
}

const DRAWN: [Drawn; 3] = [
    Drawn { id: "lane", name: "Làn vào cổng", scenario: Scenario::Lane, codec: Codec::H264, hour: Hour::Day },
    Drawn { id: "bay", name: "Bãi kiểm hóa", scenario: Scenario::Bay, codec: Codec::H265, hour: Hour::Day },
    Drawn {
        id: "sampling", name: "Bàn lấy mẫu", scenario: Scenario::Sampling, codec: Codec::H264, hour: Hour::Dusk
    },
];

impl Cameras {
    /// Serves what is to be served.
    ///
    /// # Errors
    /// When a recording or address cannot be used.
    pub fn start(args: &Args) -> anyhow::Result<Self> {
        match (&args.video, &args.camera) {
            (Some(path), _) => Self::recording(path),
            (None, Some(url)) => Self::real(url),
            (None, None) => Self::drawn(),
        }
    }

    fn drawn() -> anyhow::Result<Self> {
        let mut cameras = Vec::new();
        let mut shapes = Vec::new();
        for (i, d) in DRAWN.iter().enumerate() {
            let scene: Scene = d.scenario.scene(7 + i as u64, d.hour, false);
            shapes.push(scene.areas().into_iter().map(|a| (a.id.to_owned(), a.shape)).collect::<Vec<_>>());
            let (source, _truth) = SceneSource::new(scene, SIZE).map_err(anyhow::Error::msg)?;
            let kind =
                SimKind::Drawn { source: Box::new(source), codec: d.codec, fps: FPS, bitrate_kbit: 2500, gop: 2 * FPS };
            cameras.push(SimCamera { name: d.id.into(), kind });
        }
        let server = SimServer::start(cameras, ServerOptions::default())?;
        let watched = DRAWN.iter().zip(shapes).map(|(d, shapes)| Watched {
            id: d.id,
            name: d.name,
            url: server.url(d.id),
            login: None,
            shapes,
        });
        Ok(Self { watched: watched.collect(), server: Some(server) })
    }

    fn recording(path: &Path) -> anyhow::Result<Self> {
        let camera = SimCamera { name: "video".into(), kind: SimKind::File { path: path.to_owned() } };
        let server = SimServer::start(vec![camera], ServerOptions::default())?;
        let (url, shapes) = (server.url("video"), thirds());
        let watched = vec![Watched { id: "video", name: "Tệp video", url, login: None, shapes }];
        Ok(Self { watched, server: Some(server) })
    }

    fn real(address: &str) -> anyhow::Result<Self> {
        let (url, login) = without_login(address)?;
        let watched = vec![Watched { id: "camera", name: "Camera", url, login, shapes: thirds() }];
        Ok(Self { watched, server: None })
    }

    /// What the agent is told. A password goes to a file that only we may read, in the demo's folder.
    ///
    /// # Errors
    /// When that file cannot be written.
    pub fn configs(&self, dir: &Path) -> anyhow::Result<Vec<CameraConfig>> {
        if let Some(server) = &self.server {
            tracing::info!(cameras = server.names().count(), "simulated cameras are served");
        }
        self.watched.iter().map(|w| w.config(dir)).collect()
    }
}

impl Watched {
    fn config(&self, dir: &Path) -> anyhow::Result<CameraConfig> {
        let mut password = SecretSource::default();
        if let Some((_, secret)) = &self.login {
            let path = dir.join("camera-password");
            std::fs::create_dir_all(dir)?;
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.write_all(secret.as_bytes()).with_context(|| path.display().to_string())?;
            password.file = Some(path);
        }
        let areas = self.shapes.iter().filter_map(|(id, s)| match s {
            AreaShape::Area(polygon) => Some(area(id, polygon)),
            AreaShape::Line(_) => None,
        });
        let first_area = self.shapes.iter().find(|(_, s)| matches!(s, AreaShape::Area(_))).map(|(id, _)| id.clone());
        let lines = self.shapes.iter().filter_map(|(id, s)| match s {
            AreaShape::Line(l) => Some(line(id, *l, first_area.as_deref())),
            AreaShape::Area(_) => None,
        });
        Ok(CameraConfig {
            id: CameraId(self.id.into()),
            name: self.name.into(),
            url: self.url.clone(),
            username: self.login.as_ref().map(|(user, _)| user.clone()),
            password,
            transport: Transport::Tcp,
            ca_file: None,
            awake: Vec::new(),
            decode: DecodeMode::Always,
            decoder: None,
            record: true,
            record_url: None,
            stall_timeout_ms: 10_000,
            onvif_topic: None,
            health_off: Vec::new(),
            areas: areas.collect(),
            lines: lines.collect(),
        })
    }
}

fn area(id: &str, polygon: &Polygon) -> AreaConfig {
    let (kind, name) = match id {
        _ if id.starts_with("lane") => (AreaKind::Lane, "Làn vào"),
        _ if id.starts_with("table") => (AreaKind::SamplingTable, "Bàn lấy mẫu 1"),
        _ if id.starts_with("yard") => (AreaKind::Yard, "Bãi chờ 1"),
        _ => (AreaKind::InspectionBay, "Ô kiểm tra"),
    };
    // Outlines of drawn scenes may reach over the picture's edge.
    let inside = |p: &Point| Point { x: p.x.clamp(0.0, 1.0), y: p.y.clamp(0.0, 1.0) };
    AreaConfig {
        name: name.into(),
        enter: Some(RuleConfig { severity: 1 }),
        exit: Some(RuleConfig { severity: 1 }),
        dwell: Some(DwellConfig { limit_s: DWELL_S, severity: 2 }),
        ..AreaConfig::plain(AreaId(id.into()), kind, Polygon(polygon.0.iter().map(inside).collect()))
    }
}

fn line(id: &str, points: Line, area: Option<&str>) -> LineConfig {
    let inside = |p: Point| Point { x: p.x.clamp(0.0, 1.0), y: p.y.clamp(0.0, 1.0) };
    let points = Line { from: inside(points.from), to: inside(points.to) };
    LineConfig {
        name: "Vạch barrier".into(),
        area: area.map(|a| AreaId(a.into())),
        ..LineConfig::plain(AreaId(id.into()), points, 2)
    }
}

/// Three inspection areas side by side and a line in the middle, for pictures nobody has drawn areas for.
fn thirds() -> Vec<(String, AreaShape)> {
    let p = |x: f32, y: f32| Point { x, y };
    let third = |i: usize| {
        let (x0, x1) = (i as f32 / 3.0, (i + 1) as f32 / 3.0);
        Polygon(vec![p(x0, 0.0), p(x1, 0.0), p(x1, 1.0), p(x0, 1.0)])
    };
    let mut shapes: Vec<_> = (0..3).map(|i| (format!("bay-{}", i + 1), AreaShape::Area(third(i)))).collect();
    shapes.push(("middle".into(), AreaShape::Line(Line { from: p(0.5, 1.0), to: p(0.5, 0.0) })));
    shapes
}

/// An address and the user name and password that were in it.
fn without_login(address: &str) -> anyhow::Result<(String, Option<(String, String)>)> {
    let (scheme, rest) = address
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "rtsp" | "rtsps"))
        .context("the camera's address must begin with rtsp:// or rtsps://")?;
    let end = rest.find('/').unwrap_or(rest.len());
    let Some((login, host)) = rest[..end].rsplit_once('@') else {
        // A `/` in a password would end the host: nothing that looks like one is taken for a host.
        let looks_cut = rest[..end].split_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_err());
        anyhow::ensure!(
            !(looks_cut && rest.contains('@')),
            "the camera's address cannot be read: write `/` in the password as %2F, `@` as %40, `:` as %3A"
        );
        return Ok((address.to_owned(), None));
    };
    let (user, password) = login.split_once(':').context("the camera's address has a user name but no password")?;
    Ok((format!("{scheme}://{host}{}", &rest[end..]), Some((decoded(user)?, decoded(password)?))))
}

/// Percent-encoding undone (RFC 3986 §2.1); a `%` that begins none stands for itself.
fn decoded(text: &str) -> anyhow::Result<String> {
    let hex = |at: usize| text.get(at + 1..at + 3).and_then(|h| u8::from_str_radix(h, 16).ok());
    let (mut bytes, mut at) = (Vec::with_capacity(text.len()), 0);
    while at < text.len() {
        match hex(at).filter(|_| text.as_bytes()[at] == b'%') {
            Some(byte) => {
                bytes.push(byte);
                at += 3;
            }
            None => {
                bytes.push(text.as_bytes()[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(bytes).context("the user name or password in the camera's address is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leaves_the_address() {
        let (url, login) = without_login("rtsp://admin:a@b:c@10.0.0.5:554/ch1").unwrap();
        assert_eq!(url, "rtsp://10.0.0.5:554/ch1");
        assert_eq!(login, Some(("admin".into(), "a@b:c".into())));
        assert_eq!(without_login("rtsp://10.0.0.5/x@y").unwrap().1, None, "a path may hold an @");
        assert_eq!(without_login("rtsp://10.0.0.5:554/x@y").unwrap().1, None);
        let (_, login) = without_login("rtsp://u:p%40s%2Fs%@10.0.0.5/1").unwrap();
        assert_eq!(login, Some(("u".into(), "p@s/s%".into())));
        let why = without_login("rtsp://u:p/qq@10.0.0.5/1").unwrap_err().to_string();
        assert!(why.contains("%2F") && !why.contains("qq"), "{why}");
        assert!(without_login("http://10.0.0.5").is_err());
    }
}

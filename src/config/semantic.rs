//! What values mean together: ids, references, shapes, addresses, credentials. Types and ranges are `shape`'s work,
//! files on disk `files`'.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::document::Document;
use super::problems::{Level, Problem};
use super::{
    AreaConfig, CameraConfig, Config, DecodeMode, FilterConfig, LineConfig, LineDirection, SecretSource, TimeOfWeek,
};
use crate::geometry::{Line, Point, Polygon};
use crate::rules::AreaId;
use crate::vision::Label;

/// Socket addresses, which the schema only knows as text.
pub(super) fn addresses(doc: &Document<'_>) -> Vec<Problem> {
    let keys = [("/http/listen", "http.listen"), ("/mqtt/embedded_listen", "mqtt.embedded_listen")];
    let bad = keys.into_iter().filter(|(pointer, _)| {
        doc.value.pointer(pointer).and_then(|v| v.as_str()).is_some_and(|s| s.parse::<SocketAddr>().is_err())
    });
    let message = "must be an IP address with a port, like \"127.0.0.1:8480\" or \"[::1]:8480\"";
    bad.map(|(_, key)| doc.problem(key, message, Level::Error)).collect()
}

/// All findings about a configuration of the right shape.
pub(super) fn check(doc: &Document<'_>, config: &Config) -> Vec<Problem> {
    let mut c = Checker { doc, problems: Vec::new() };
    c.site(config);
    c.mqtt(config);
    c.http(config);
    c.footage(config);
    c.scores(config);
    c.groups(config);
    c.ids(config);
    for (i, camera) in config.cameras.iter().enumerate() {
        c.camera(&format!("camera[{i}]"), camera, config);
    }
    if config.cameras.is_empty() && doc.value.get("camera").is_some() {
        c.warn("camera", "no camera is configured: the agent has nothing to watch");
    }
    c.problems
}

struct Checker<'a> {
    doc: &'a Document<'a>,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn error(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(self.doc.problem(key, message, Level::Error));
    }

    fn warn(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(self.doc.problem(key, message, Level::Warning));
    }

    fn site(&mut self, config: &Config) {
        if let Some(why) = reserved_box(&config.site.box_id) {
            self.error("site.box", why);
        }
        let zone = &config.site.time_zone;
        if jiff::tz::TimeZone::get(zone).is_err() {
            self.error(
                "site.time_zone",
                format!("unknown time zone {zone:?}; use an IANA name like \"Asia/Ho_Chi_Minh\""),
            );
        }
    }

    fn mqtt(&mut self, config: &Config) {
        let mqtt = &config.mqtt;
        if let Err(why) = address(&mqtt.url, &["mqtt", "mqtts"]) {
            self.error("mqtt.url", why);
        }
        self.credentials("mqtt", mqtt.username.as_deref(), &mqtt.password);
        if mqtt.client_cert_file.is_some() != mqtt.client_key_file.is_some() {
            let given = if mqtt.client_cert_file.is_some() { "client_cert_file" } else { "client_key_file" };
            self.error(&format!("mqtt.{given}"), "`client_cert_file` and `client_key_file` are needed together");
        }
        let tls_files = [("ca_file", &mqtt.ca_file), ("client_cert_file", &mqtt.client_cert_file)];
        for (name, _) in tls_files.iter().filter(|(_, f)| f.is_some() && mqtt.url.starts_with("mqtt://")) {
            self.error(&format!("mqtt.{name}"), "has no effect with mqtt://; use mqtts:// in `url`");
        }
        if mqtt.topic_prefix.is_empty()
            || mqtt.topic_prefix.split('/').any(str::is_empty)
            || mqtt.topic_prefix.contains(['+', '#', '\0'])
        {
            self.error("mqtt.topic_prefix", "must be topic levels like \"gatewatch/v1\": no empty level, no + or #");
        }
        if mqtt.embedded_listen.is_some_and(|a| !a.ip().is_loopback()) {
            self.error("mqtt.embedded_listen", "the embedded broker has no passwords and listens on loopback only, like \"127.0.0.1:1883\"; for other machines run a broker such as Mosquitto");
        }
        if config.pictures.max_published_bytes.saturating_add(4096) > mqtt.max_packet_bytes {
            self.error(
                "mqtt.max_packet_bytes",
                "must be larger than pictures.max_published_bytes by at least 4096 bytes, or no picture can be sent",
            );
        }
    }

    fn footage(&mut self, config: &Config) {
        let footage = &config.footage;
        // A quota smaller than what is being written keeps nothing.
        let least = u64::from(footage.segment_s) * 4_000_000 / 8 * 2;
        for (key, bytes) in [("ring_max_bytes", footage.ring_max_bytes), ("event_max_bytes", footage.event_max_bytes)] {
            let cameras = config.cameras.iter().filter(|c| footage.record && c.record).count() as u64;
            if bytes < least * cameras {
                let what = format!(
                    "holds less than two files of {} s of each camera at 4 Mbit/s; {} bytes would",
                    footage.segment_s,
                    least * cameras
                );
                self.warn(&format!("footage.{key}"), what);
            }
        }
        for (key, what) in footage.store.iter().flat_map(|s| s.objects().problems()) {
            self.error(&format!("footage.store.{key}"), what);
        }
    }

    fn http(&mut self, config: &Config) {
        self.secret("http.token", &config.http.token);
        let open = config.http.listen.is_some_and(|a| !a.ip().is_loopback());
        if open && config.http.token == SecretSource::default() {
            self.error("http.listen", "an address beyond loopback needs `http.token` (file or env)");
        }
    }

    fn secret(&mut self, key: &str, source: &SecretSource) {
        if source.file.is_some() && source.env.is_some() {
            self.error(key, "give either `file` or `env`, not both");
        }
    }

    fn credentials(&mut self, key: &str, username: Option<&str>, password: &SecretSource) {
        self.secret(&format!("{key}.password"), password);
        match (username, *password == SecretSource::default()) {
            (Some(_), true) => self.error(&format!("{key}.username"), "needs a `password` (file or env)"),
            (None, false) => self.error(&format!("{key}.password"), "needs a `username`"),
            _ => {}
        }
        if username == Some("") {
            self.error(&format!("{key}.username"), "must not be empty");
        }
    }

    fn scores(&mut self, config: &Config) {
        let (low, start, min) = (config.tracker.low_score, config.tracker.start_score, config.detector.min_score);
        if low > start {
            self.error("tracker.low_score", format!("must not be above tracker.start_score ({start}) (is {low})"));
        }
        if min < low {
            self.error("detector.min_score", format!("must not be below tracker.low_score ({low}) (is {min})"));
        }
        for (label, score) in &config.detector.class_min_score {
            let key = super::document::child("detector.class_min_score", label.as_str());
            if !(0.0..=1.0).contains(score) {
                self.error(&key, format!("must be between 0 and 1 (is {score})"));
            } else if *score < low {
                self.error(&key, format!("must not be below tracker.low_score ({low}) (is {score})"));
            }
        }
        for (label, overlap) in &config.detector.class_nms_iou {
            if !(0.0..=1.0).contains(overlap) {
                let key = super::document::child("detector.class_nms_iou", label.as_str());
                self.error(&key, format!("must be between 0 and 1 (is {overlap})"));
            }
        }
        if config.tracker.confirm_ms >= config.tracker.lost_after_ms {
            self.error(
                "tracker.confirm_ms",
                "must be shorter than tracker.lost_after_ms, or no track is ever believed",
            );
        }
        let weights = &config.register.confidence;
        if weights.propose_min > weights.link_min {
            self.error("register.confidence.propose_min", "must not be above link_min");
        }
    }

    fn ids(&mut self, config: &Config) {
        let cameras = config.cameras.iter().enumerate().map(|(i, c)| (format!("camera[{i}].id"), c.id.0.as_str()));
        self.unique(cameras.collect());
        let mut places = Vec::new();
        for (i, camera) in config.cameras.iter().enumerate() {
            let areas = camera.areas.iter().enumerate();
            places.extend(areas.map(|(n, a)| (format!("camera[{i}].area[{n}].id"), a.id.0.as_str())));
            let lines = camera.lines.iter().enumerate();
            places.extend(lines.map(|(n, l)| (format!("camera[{i}].line[{n}].id"), l.id.0.as_str())));
        }
        self.unique(places);
    }

    fn unique(&mut self, ids: Vec<(String, &str)>) {
        let mut seen: HashMap<&str, String> = HashMap::new();
        for (key, id) in ids {
            match seen.get(id) {
                Some(first) => self.error(&key, format!("{id:?} is taken by {first}; ids are unique in the box")),
                None => {
                    seen.insert(id, key);
                }
            }
        }
    }

    fn camera(&mut self, key: &str, camera: &CameraConfig, config: &Config) {
        if let Err(why) = address(&camera.url, &["rtsp", "rtsps"]) {
            self.error(&format!("{key}.url"), why);
        }
        if let Some(Err(why)) = camera.record_url.as_ref().map(|url| address(url, &["rtsp", "rtsps"])) {
            self.error(&format!("{key}.record_url"), why);
        }
        let urls = [("url", Some(&camera.url)), ("record_url", camera.record_url.as_ref())];
        for (name, _) in urls.iter().filter(|(_, url)| url.is_some_and(|url| holds_password(url))) {
            let what = "seems to hold a password, for everybody to read who may read this file; use `username` and `password` if \
                        the camera takes them";
            self.warn(&format!("{key}.{name}"), what);
        }
        self.credentials(key, camera.username.as_deref(), &camera.password);
        let plain = |url: &str| url.starts_with("rtsp://");
        if camera.ca_file.is_some() && plain(&camera.url) && camera.record_url.as_deref().is_none_or(plain) {
            self.error(&format!("{key}.ca_file"), "has no effect with rtsp://; use rtsps:// in `url`");
        }
        if camera.decoder.as_deref().is_some_and(|d| !is_element(d)) {
            self.error(
                &format!("{key}.decoder"),
                "must be the name of a GStreamer element like \"avdec_h264\" (a-z, 0-9, _ and -)",
            );
        }
        if !camera.awake.is_empty() && camera.decode != DecodeMode::Adaptive {
            self.warn(&format!("{key}.awake"), "has an effect with decode = \"adaptive\" only");
        }
        self.times(&format!("{key}.awake"), camera.awake.iter());
        if camera.record_url.is_some() && !camera.privacy_masks().is_empty() {
            let why = "the privacy masks of this camera are drawn on the stream of `url` and cover the same parts of this one: \
                       see that both show the same picture in the same shape";
            self.warn(&format!("{key}.record_url"), why);
        }
        if camera.areas.is_empty() && camera.lines.is_empty() {
            self.warn(key, "has no area and no line: it is watched, but never reports anything");
        }
        for (n, area) in camera.areas.iter().enumerate() {
            let key = format!("{key}.area[{n}]");
            for why in polygon_problems(&area.polygon) {
                self.error(&format!("{key}.polygon"), why);
            }
            self.area(&key, area, config);
        }
        for (n, line) in camera.lines.iter().enumerate() {
            self.line(&format!("{key}.line[{n}]"), line, config);
        }
    }

    fn area(&mut self, key: &str, area: &AreaConfig, config: &Config) {
        match (area.kind.is_mask(), area.has_rule()) {
            (true, true) => self.error(&format!("{key}.kind"), "a mask has no rules; draw another area for them"),
            (false, false) => self.warn(key, "has no rule: it never reports anything; `enter` and `dwell` are some"),
            _ => {}
        }
        if area.unbooked.is_some() && area.bay.is_none() {
            self.error(&format!("{key}.unbooked"), "needs `bay`, which says when the bay is occupied");
        }
        self.times(&format!("{key}.restricted.closed"), area.restricted.iter().flat_map(|r| &r.closed));
        self.filters(key, &area.filters, config);
        // Those of the area itself are without groups by now.
        for (rule, classes) in area.rules_of_classes().into_iter().filter(|(rule, _)| *rule != "classes") {
            self.no_groups(&format!("{key}.{rule}.classes"), classes, config);
        }
    }

    /// Groups stand for their classes in `classes` of areas and lines; elsewhere their name would be a class that no model knows.
    fn no_groups<'l>(&mut self, key: &str, classes: impl IntoIterator<Item = &'l Label>, config: &Config) {
        for class in classes {
            // A group may have the name of one of its classes.
            let Some(members) = config.detector.groups.get(class).filter(|members| !members.contains(class)) else {
                continue;
            };
            let members = members.iter().map(|m| format!("{:?}", m.as_str())).collect::<Vec<_>>().join(", ");
            let what = "is a group, which only `classes` of areas and lines may name; write its classes";
            self.error(key, format!("{:?} {what}: {members}", class.as_str()));
        }
    }

    fn groups(&mut self, config: &Config) {
        let detector = &config.detector;
        for (name, members) in &detector.groups {
            self.no_groups(&super::document::child("detector.groups", name.as_str()), members, config);
        }
        for class in detector.class_min_score.keys() {
            self.no_groups(&super::document::child("detector.class_min_score", class.as_str()), [class], config);
        }
        for class in detector.class_nms_iou.keys() {
            self.no_groups(&super::document::child("detector.class_nms_iou", class.as_str()), [class], config);
        }
    }

    fn times<'t>(&mut self, key: &str, times: impl Iterator<Item = &'t TimeOfWeek>) {
        for (i, _) in times.enumerate().filter(|(_, t)| t.from == t.to) {
            self.error(&format!("{key}[{i}].to"), "must differ from `from`; leave both out for the whole day");
        }
    }

    fn filters(&mut self, key: &str, filters: &[FilterConfig], config: &Config) {
        for (i, filter) in filters.iter().enumerate() {
            self.no_groups(&format!("{key}.filter[{i}].class"), &filter.class, config);
        }
        for (i, filter) in filters.iter().enumerate().filter(|(_, f)| f.min_height > f.max_height) {
            let what = format!("must not be above max_height ({})", filter.max_height);
            self.error(&format!("{key}.filter[{i}].min_height"), what);
        }
    }

    fn line(&mut self, key: &str, line: &LineConfig, config: &Config) {
        let Line { from, to } = line.points;
        if [from, to].iter().any(|p| !in_picture(*p)) {
            self.error(&format!("{key}.points"), "coordinates are fractions of the picture, 0 to 1");
        }
        if from == to {
            self.error(&format!("{key}.points"), "the two points must differ");
        }
        for (name, set) in [("wrong_way", line.wrong_way.is_some()), ("gate_out", line.gate_out.is_some())] {
            if set && line.direction == LineDirection::Both {
                let what = "needs a `direction` that is one way: left_to_right or right_to_left";
                self.error(&format!("{key}.{name}"), what);
            }
        }
        self.filters(key, &line.filters, config);
        let known = |id: &AreaId| config.cameras.iter().flat_map(|c| &c.areas).any(|a| a.id == *id);
        if let Some(area) = line.area.as_ref().filter(|id| !known(id)) {
            self.error(&format!("{key}.area"), format!("there is no area {:?}", area.0));
        }
    }
}

/// Why a box cannot have this name, if it cannot.
pub(crate) fn reserved_box(id: &str) -> Option<&'static str> {
    let why =
        "must not be \"in\": the topics {office}/in/… are of facts for all boxes; use another name, e.g. \"in-1\"";
    (id == "in").then_some(why)
}

fn is_element(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// Checks `scheme://host[:port][/path]`. No message repeats the address: it may hold a password.
fn address(url: &str, schemes: &[&str]) -> Result<(), String> {
    let form = schemes.iter().map(|s| format!("{s}://")).collect::<Vec<_>>().join(" or ");
    let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("must start with {form}"))?;
    if !schemes.contains(&scheme) {
        return Err(format!("must start with {form}"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // An unescaped `/` in a password ends the authority early, hence the look at all of the rest.
    if rest.contains('@') {
        return Err("must not hold a user name or password; use `username` and `password`".into());
    }
    let bracketed = authority.strip_prefix('[').and_then(|a| a.split_once(']'));
    let (host, port) = match bracketed {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(format!("names no host; write {}host:port", form.split(' ').next().unwrap_or_default()));
    }
    match port.map(str::parse::<u16>) {
        Some(Err(_) | Ok(0)) => Err("the port must be a number from 1 to 65535".into()),
        _ => Ok(()),
    }
}

/// Whether path or query assign a password, as in `/user=admin_password=…`.
fn holds_password(url: &str) -> bool {
    let names =
        url.split(['/', '?', '&', '_', ';']).filter_map(|part| Some(part.split_once('=')?.0.to_ascii_lowercase()));
    names.into_iter().any(|name| matches!(name.as_str(), "password" | "passwd" | "pass" | "pwd"))
}

fn in_picture(p: Point) -> bool {
    (0.0..=1.0).contains(&p.x) && (0.0..=1.0).contains(&p.y)
}

fn polygon_problems(polygon: &Polygon) -> Vec<String> {
    let corners = &polygon.0;
    if corners.len() < 3 {
        return vec![format!("needs at least three corners (has {})", corners.len())];
    }
    let mut found = Vec::new();
    if let Some(i) = corners.iter().position(|p| !in_picture(*p)) {
        found.push(format!("corner {i} is outside of the picture; coordinates are fractions, 0 to 1"));
    }
    if let Some((a, b)) = crossing_sides(corners) {
        found.push(format!(
            "its sides {a} and {b} touch or cross; list the corners in order around the area, each once"
        ));
    } else if polygon.area() < 1e-6 {
        found.push("encloses no area".into());
    }
    found
}

/// Two sides (counted from 0) that meet elsewhere than at a common corner, or a side without length.
fn crossing_sides(corners: &[Point]) -> Option<(usize, usize)> {
    let n = corners.len();
    let side = |i: usize| Line { from: corners[i], to: corners[(i + 1) % n] };
    for a in 0..n {
        if side(a).from == side(a).to {
            return Some((a, (a + 1) % n));
        }
        let neighbours = [a, (a + 1) % n, (a + n - 1) % n];
        if let Some(b) = (a + 1..n).find(|b| !neighbours.contains(b) && meet(side(a), side(*b))) {
            return Some((a, b));
        }
    }
    None
}

fn meet(a: Line, b: Line) -> bool {
    let (from, to) = (b.side(a.from) * b.side(a.to), a.side(b.from) * a.side(b.to));
    let boxes = |l: Line| crate::geometry::Rect::around(&[l.from, l.to]);
    let overlap =
        boxes(a).zip(boxes(b)).is_some_and(|(p, q)| p.x0 <= q.x1 && q.x0 <= p.x1 && p.y0 <= q.y1 && q.y0 <= p.y1);
    from <= 0.0 && to <= 0.0 && overlap
}

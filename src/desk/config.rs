//! Configuration of the desk: a file of its own, `config/desk.toml`, since one desk serves many boxes. Reading and
//! checking use the machinery of `config/`; what the keys mean together is checked here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{
    Language, MqttConfig, ObjectsConfig, Problems, SecretSource, load_checked, parse_checked, reserved_box,
};

/// Everything the desk is told. Made by [`DeskConfig::load`] or [`DeskConfig::parse`], so every value is in range.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeskConfig {
    /// The room: folder, time zone, language.
    pub desk: RoomConfig,
    /// Broker.
    pub mqtt: DeskMqttConfig,
    /// Database.
    pub database: DatabaseConfig,
    /// Pages.
    pub http: DeskHttpConfig,
    /// Alerts.
    pub alerts: AlertsConfig,
    /// Tips.
    pub tips: TipsConfig,
    /// Reports.
    pub reports: ReportsConfig,
    /// Where boxes are asked for footage. A box that is not named here shows none.
    #[serde(rename = "box")]
    pub boxes: Vec<BoxConfig>,
    /// Where clips are that boxes brought out, for when a box cannot give its own.
    pub store: Option<ObjectsConfig>,
    /// Names of customs offices; a code without a name is shown as it is.
    #[serde(rename = "office")]
    pub offices: Vec<OfficeConfig>,
}

/// The room: folder, time zone, language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RoomConfig {
    /// Folder of pictures and, by default, of the database; made if missing.
    pub dir: PathBuf,
    /// Code of the unit whose duty this is: it issues tips, and their numbers begin with it.
    #[schemars(regex(pattern = r"^[0-9A-Z]{4}$"))]
    pub unit: String,
    /// Further units that issue tips at this desk: who has several among his offices chooses in the draft.
    pub units: Vec<String>,
    /// IANA time zone of times and duty days.
    pub time_zone: String,
    /// Language of pages for who has chosen none: `vi` or `en`.
    pub language: Language,
}

impl Default for RoomConfig {
    fn default() -> Self {
        Self {
            dir: "var/desk".into(),
            unit: "A1K2".into(),
            units: Vec::new(),
            time_zone: "Asia/Ho_Chi_Minh".into(),
            language: Language::Vi,
        }
    }
}

/// Broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeskMqttConfig {
    /// `mqtt://host:1883` or `mqtts://host:8883`.
    pub url: String,
    /// First levels of all topics, as at the boxes.
    pub topic_prefix: String,
    /// Client id, one for each desk: the broker keeps what arrives while the desk is away under this name.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9-]{0,31}$"))]
    pub client_id: String,
    /// Name of a group of workers that share the work of one desk: each has its own `client_id`, all have the same group,
    /// the same PostgreSQL and the same `desk.dir`.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9-]{0,31}$"))]
    pub share: Option<String>,
    /// Offices whose boxes are listened to; empty = all.
    pub offices: Vec<String>,
    /// User name; needs `password`.
    pub username: Option<String>,
    /// Password.
    pub password: SecretSource,
    /// PEM file of the authority that signed the broker's certificate; system authorities else.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the desk's own certificate and key.
    pub client_cert_file: Option<PathBuf>,
    /// Key of `client_cert_file`.
    pub client_key_file: Option<PathBuf>,
    /// Largest packet we take; must hold the largest picture of a box.
    #[schemars(range(min = 16_384, max = 268_435_455))]
    pub max_packet_bytes: u32,
    /// Seconds.
    #[schemars(range(min = 5, max = 600))]
    pub keep_alive_s: u16,
    /// Hours the broker keeps messages for a desk that is away; older ones are asked back from the boxes.
    #[schemars(range(min = 1, max = 8760))]
    pub session_hours: u32,
    /// Seconds after which a hole in a box's numbers is asked back: what overtakes is not missing.
    #[schemars(range(min = 1, max = 3600))]
    pub gap_after_s: u32,
}

impl Default for DeskMqttConfig {
    fn default() -> Self {
        Self {
            url: "mqtt://127.0.0.1:1883".into(),
            topic_prefix: "gatewatch/v1".into(),
            client_id: "desk".into(),
            share: None,
            offices: Vec::new(),
            username: None,
            password: SecretSource::default(),
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            max_packet_bytes: 1_048_576,
            keep_alive_s: 30,
            session_hours: 168,
            gap_after_s: 10,
        }
    }
}

impl DeskMqttConfig {
    /// As the MQTT part wants it.
    #[must_use]
    pub fn connection(&self) -> MqttConfig {
        MqttConfig {
            url: self.url.clone(),
            topic_prefix: self.topic_prefix.trim_end_matches('/').to_owned(),
            username: self.username.clone(),
            password: self.password.clone(),
            ca_file: self.ca_file.clone(),
            client_cert_file: self.client_cert_file.clone(),
            client_key_file: self.client_key_file.clone(),
            max_packet_bytes: self.max_packet_bytes,
            keep_alive_s: self.keep_alive_s,
            ..MqttConfig::default()
        }
    }
}

/// Database.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `postgres://user@host:5432/name`, without a password; SQLite in `desk.dir` without it.
    pub url: Option<String>,
    /// Password of the database user.
    pub password: SecretSource,
}

/// Pages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeskHttpConfig {
    /// Address. Beyond loopback a certificate or `behind_proxy` is compulsory.
    pub listen: SocketAddr,
    /// A proxy in front speaks TLS to the browsers and sets `X-Forwarded-For`; nobody else can reach `listen`.
    pub behind_proxy: bool,
    /// Header in which the declared proxy names who has signed in there; the account of that name must exist. Needs
    /// `behind_proxy`.
    #[schemars(regex(pattern = r"^[A-Za-z][A-Za-z0-9-]{0,63}$"))]
    pub sign_on_header: Option<String>,
    /// PEM file of the certificate chain.
    pub tls_cert_file: Option<PathBuf>,
    /// PEM file of its key.
    pub tls_key_file: Option<PathBuf>,
    /// Hours after which everyone signs in again: a duty and its hand-over.
    #[schemars(range(min = 1, max = 168))]
    pub session_hours: u32,
    /// Minutes without a request after which one signs in again. An open alerts page counts as being there, and so does
    /// any open page of whoever receives tips: they call on it.
    #[schemars(range(min = 5, max = 1440))]
    pub idle_minutes: u32,
}

impl Default for DeskHttpConfig {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8490).into(),
            behind_proxy: false,
            sign_on_header: None,
            tls_cert_file: None,
            tls_key_file: None,
            session_hours: 26,
            idle_minutes: 60,
        }
    }
}

/// Alerts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlertsConfig {
    /// Seconds after which an unseen alert goes to the shift leader.
    #[schemars(range(min = 1, max = 86_400))]
    pub escalate_after_s: u32,
    /// The same for severity 4.
    #[schemars(range(min = 1, max = 86_400))]
    pub escalate_critical_after_s: u32,
    /// Seconds after which an arriving alert is history: shown in its place, without sound.
    #[schemars(range(min = 10, max = 86_400))]
    pub live_limit_s: u32,
    /// Seconds after which a box that is offline is an alert. One that is silent is so a minute later, and not before a minute and
    /// twice `mqtt.keep_alive_s`.
    #[schemars(range(min = 60, max = 86_400))]
    pub box_away_after_s: u32,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self { escalate_after_s: 600, escalate_critical_after_s: 120, live_limit_s: 1800, box_away_after_s: 120 }
    }
}

/// Tips.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TipsConfig {
    /// Minutes within which the addressed office should receive a tip; after them the leaders of both sides are told.
    #[schemars(range(min = 1, max = 10_080))]
    pub receive_within_minutes: u32,
}

impl Default for TipsConfig {
    fn default() -> Self {
        Self { receive_within_minutes: 30 }
    }
}

/// Reports.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReportsConfig {
    /// What becomes of the third decimal of a rate: `truncate` as in the printed bulletin, or `round`.
    pub percent: PercentMode,
}

/// What becomes of the third decimal of a rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PercentMode {
    /// Cut off: 72 of 79 is 91.13 %.
    #[default]
    Truncate,
    /// Half up: 72 of 79 is 91.14 %.
    Round,
}

/// Where a box is asked for footage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BoxConfig {
    /// Code of its office.
    #[schemars(regex(pattern = r"^[0-9A-Z]{4}$"))]
    pub office: String,
    /// Its `site.box_id`.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9-]{0,31}$"))]
    pub id: String,
    /// Address of its HTTP API: `http://host:8480`, or `https://` where a proxy before it speaks TLS.
    pub url: String,
    /// Its `http.token`.
    pub token: SecretSource,
    /// PEM file of the authority that signed the certificate behind `https://`; system authorities else.
    pub ca_file: Option<PathBuf>,
}

/// Name of a customs office.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OfficeConfig {
    /// Code, four characters.
    #[schemars(regex(pattern = r"^[0-9A-Z]{4}$"))]
    pub code: String,
    /// Vietnamese name.
    pub name: String,
    /// English name; the Vietnamese one without it.
    pub name_en: Option<String>,
}

impl DeskConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        load_checked(path, check)
    }

    /// Checks a text; `file` is only for messages.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn parse(text: &str, file: &str) -> Result<Self, Problems> {
        parse_checked(text, file, check)
    }

    /// The JSON Schema of the file; `config/schema/desk.schema.json` is this.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}

/// What the schema cannot say.
fn check(config: &DeskConfig) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut say = |key: &str, what: &str| found.push((key.into(), what.into()));
    if jiff::tz::TimeZone::get(&config.desk.time_zone).is_err() {
        say("desk.time_zone", "unknown time zone; use an IANA name like \"Asia/Ho_Chi_Minh\"");
    }
    let http = &config.http;
    if http.tls_cert_file.is_some() != http.tls_key_file.is_some() {
        say("http.tls_cert_file", "`tls_cert_file` and `tls_key_file` are needed together");
    }
    if !http.listen.ip().is_loopback() && !http.behind_proxy && http.tls_cert_file.is_none() {
        say(
            "http.listen",
            "an address beyond loopback needs `tls_cert_file` and `tls_key_file`, or `behind_proxy = true` where a proxy speaks TLS",
        );
    }
    if let Some(url) = &config.database.url {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            say("database.url", "must begin with postgres://; leave it out for SQLite in `desk.dir`");
        }
        if url.split_once('@').is_some_and(|(before, _)| before.matches(':').count() > 1) {
            say("database.url", "must not hold a password: use `database.password` with `file` or `env`");
        }
    }
    mqtt(&config.mqtt, &mut found);
    if config.http.sign_on_header.is_some() && !config.http.behind_proxy {
        found.push(("http.sign_on_header".into(), "needs `behind_proxy = true`: else anybody could send it".into()));
    }
    if config.mqtt.share.is_some() && config.database.url.is_none() {
        found.push(("mqtt.share".into(), "needs PostgreSQL in `database.url`: SQLite is one worker's".into()));
    }
    boxes(&config.boxes, &mut found);
    let store = config.store.iter().flat_map(ObjectsConfig::problems);
    found.extend(store.map(|(key, what)| (format!("store.{key}"), what)));
    for (i, unit) in config.desk.units.iter().enumerate().filter(|(_, unit)| !is_office(unit)) {
        found.push((format!("desk.units[{i}]"), format!("{unit:?} must be four characters 0-9 or A-Z, like \"A3K1\"")));
    }
    for (i, office) in config.offices.iter().enumerate() {
        if office.code.is_empty() || office.name.is_empty() {
            found.push((format!("office[{i}]"), "needs `code` and `name`".into()));
        }
    }
    found
}

fn boxes(boxes: &[BoxConfig], found: &mut Vec<(String, String)>) {
    for (i, one) in boxes.iter().enumerate() {
        let mut say = |key: &str, what: &str| found.push((format!("box[{i}]{key}"), what.into()));
        if one.office.is_empty() || one.id.is_empty() {
            say("", "needs `office`, `id` and `url`");
        }
        if let Some(why) = reserved_box(&one.id) {
            say(".id", why);
        }
        let plain = ["http://", "https://"].iter().find_map(|s| one.url.strip_prefix(s));
        match plain {
            Some(host) if !host.is_empty() && !host.contains(['@', '?', '#', ' ']) => {}
            _ => say(".url", "must be an address like \"http://10.1.2.3:8480\", without user, password and query"),
        }
        if boxes[..i].iter().any(|b| b.office == one.office && b.id == one.id) {
            say(".id", "this box is named twice");
        }
    }
}

fn mqtt(mqtt: &DeskMqttConfig, found: &mut Vec<(String, String)>) {
    let mut say = |key: &str, what: &str| found.push((key.into(), what.into()));
    if let Err(problem) = crate::mqtt::connect::plain_address(&mqtt.url) {
        say("mqtt.url", &problem);
    }
    if mqtt.username.is_some() == (mqtt.password == SecretSource::default()) {
        say("mqtt.username", "`username` and `password` are needed together");
    }
    let levels = mqtt.topic_prefix.split('/');
    if levels.clone().any(str::is_empty) || mqtt.topic_prefix.contains(['+', '#', '\0']) {
        say("mqtt.topic_prefix", "must be topic levels like \"gatewatch/v1\": no empty level, no + or #");
    }
    for (i, office) in mqtt.offices.iter().enumerate() {
        if !is_office(office) {
            found.push((format!("mqtt.offices[{i}]"), "must be four characters 0-9 or A-Z, like \"15BB\"".into()));
        }
    }
}

/// Four characters 0-9 or A-Z.
pub(super) fn is_office(code: &str) -> bool {
    code.len() == 4 && code.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        DeskConfig::parse(text, "desk.toml").expect_err(text).to_string()
    }

    #[test]
    fn beyond_loopback_needs_tls_or_a_declared_proxy() {
        assert!(wrong("[http]\nlisten = \"0.0.0.0:8490\"").contains("desk.toml:2:10: http.listen: an address beyond"));
        for more in ["behind_proxy = true", "tls_cert_file = \"c\"\ntls_key_file = \"k\""] {
            DeskConfig::parse(&format!("[http]\nlisten = \"0.0.0.0:8490\"\n{more}"), "f").unwrap();
        }
        assert!(wrong("[http]\ntls_key_file = \"k\"").contains("needed together"));
    }

    #[test]
    fn mistakes_are_named_and_passwords_are_not_taken_in_addresses() {
        assert!(wrong("[alerts]\nescalate_after = 3").contains("did you mean `escalate_after_s`?"));
        assert!(wrong("[database]\nurl = \"postgres://u:hunter2@h/d\"").contains("database.password"));
        assert!(!wrong("[database]\nurl = \"postgres://u:hunter2@h/d\"").contains("hunter2"));
        assert!(wrong("[database]\nurl = \"mysql://h/d\"").contains("postgres://"));
        assert!(wrong("[mqtt]\nurl = \"tcp://h\"").contains("mqtt.url"));
        assert!(wrong("[mqtt]\noffices = [\"hanoi\"]").contains("mqtt.offices[0]"));
        assert!(wrong("[mqtt]\nusername = \"u\"").contains("needed together"));
        assert!(wrong("[desk]\ntime_zone = \"Hanoi\"").contains("desk.time_zone"));
        assert!(wrong("[[office]]\ncode = \"15BB\"").contains("office[0]"));
        assert!(wrong("[desk]\nunits = [\"A3\"]").contains("desk.units[0]"));
        assert!(wrong("[http]\nsign_on_header = \"X-User\"").contains("behind_proxy"));
        assert!(wrong("[mqtt]\nshare = \"duty\"").contains("PostgreSQL"));
        let named = |url: &str| format!("[[box]]\noffice = \"15BB\"\nid = \"gate-01\"\nurl = \"{url}\"\n");
        DeskConfig::parse(&named("http://10.1.2.3:8480"), "f").unwrap();
        for url in ["ftp://h", "http://", "http://u:hunter2@h"] {
            let said = wrong(&named(url));
            assert!(said.contains("box[0].url") && !said.contains("hunter2"), "{said}");
        }
        assert!(wrong(&named("http://a").repeat(2)).contains("named twice"));
        let said = wrong(&named("http://a").replace("gate-01", "in"));
        assert!(said.contains("box[0].id: must not be \"in\""), "{said}");
        assert!(wrong("[store]\nurl = \"s3://clips\"").contains("store.access_key: is needed"));
        assert!(!wrong("[store]\nurl = \"s3://key:hunter2@clips\"").contains("hunter2"));
        DeskConfig::parse("[store]\nurl = \"file:///srv/clips\"", "f").unwrap();
    }
}

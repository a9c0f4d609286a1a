//! From the configuration to client options: address, TLS, credentials, limits, last will; and what a failed
//! connection means to the person who must act. Retrying is in `deliver.rs` and `subscribe.rs`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, LastWill, LastWillProperties};
use rumqttc::v5::{ConnectionError, MqttOptions, StateError, TlsError};
use rumqttc::{NetworkOptions, Transport};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::topics::Topics;
use crate::clock::utc_now;
use crate::config::MqttConfig;

/// Where the system keeps the authorities it trusts (Debian's `ca-certificates`); `SSL_CERT_FILE` overrides it.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// A broker that does not answer within this is unreachable.
const CONNECT_TIMEOUT_S: u64 = 10;
/// Inbound messages the broker may send before we acknowledged the earlier ones.
const RECEIVE_MAXIMUM: u16 = 32;
/// Packet ids of our own publishes for each that may be in flight, and the least of them: the client keeps a place for every
/// id from its beginning (14 MB for the 65,535 of the protocol), and waits where one is not free again.
const IDS: (u16, u16) = (4, 256);

/// Who connects: goes into the last will and the state message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Topics of the box.
    pub topics: Topics,
    /// MQTT client id; the broker closes an older connection of the same id.
    pub client_id: String,
    /// Incarnation of the store.
    pub epoch: i64,
    /// This run of the process.
    pub session: String,
}

impl Identity {
    /// Payload of the retained state topic.
    pub(crate) fn state_payload(&self, online: bool) -> Vec<u8> {
        let mut state = serde_json::json!({"online": online, "epoch": self.epoch, "session": self.session});
        // The broker may keep it for a desk that is away. Of its being gone the box does not know the time: the will is left beforehand.
        if online {
            state["time"] = utc_now().to_rfc3339().into();
        }
        state.to_string().into_bytes()
    }
}

/// Kind of a connection problem, by what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The configuration cannot work; a person must change it.
    Configuration,
    /// Nobody answers at the address.
    Unreachable,
    /// The broker refuses user name, password or client.
    Refused,
    /// TLS: the broker's certificate is not trusted, or it does not trust ours.
    NotTrusted,
    /// The connection was there and broke.
    Lost,
    /// The broker answers, but does not accept what we publish.
    Rejected,
    /// Our own outbox cannot be read or written.
    Outbox,
}

impl ProblemKind {
    /// Metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::NotTrusted => "not_trusted",
            Self::Lost => "lost",
            Self::Rejected => "rejected",
            Self::Outbox => "outbox",
        }
    }
}

/// Why there is no connection, in a sentence that says what to do. Holds no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Problem {
    /// What to do about it, for programs.
    pub kind: ProblemKind,
    /// For people.
    pub text: String,
}

impl Problem {
    pub(crate) fn new(kind: ProblemKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    fn config(text: impl Into<String>) -> Self {
        Self::new(ProblemKind::Configuration, text)
    }
}

/// Client options of a box: as [`plain_options`], with its last will on the state topic.
///
/// # Errors
/// When address, credentials or certificates cannot be used; the text names the key and the file.
pub fn box_options(config: &MqttConfig, who: &Identity) -> Result<MqttOptions, Problem> {
    let mut options = plain_options(config, &who.client_id)?;
    let properties = LastWillProperties {
        delay_interval: Some(config.will_delay_s),
        payload_format_indicator: Some(1),
        message_expiry_interval: None,
        content_type: Some("application/json".into()),
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    };
    let will = LastWill::new(who.topics.state(), who.state_payload(false), QoS::AtLeastOnce, true, Some(properties));
    options.set_last_will(will);
    // The will comes when its delay is over or the session ends, whichever is first: keep the session that long.
    // Its content is never used again, every connection starts clean.
    options.set_session_expiry_interval(Some(config.will_delay_s));
    Ok(options)
}

/// As [`plain_options`], for a session that the broker keeps for `expiry_s` seconds while the client is away.
///
/// # Errors
/// When address, credentials or certificates cannot be used; the text names the key and the file.
pub fn kept_options(config: &MqttConfig, client_id: &str, expiry_s: u32) -> Result<MqttOptions, Problem> {
    let mut options = plain_options(config, client_id)?;
    options.set_clean_start(false).set_session_expiry_interval(Some(expiry_s));
    Ok(options)
}

/// Client options for any client of the configured broker, without a will.
///
/// # Errors
/// When address, credentials or certificates cannot be used; the text names the key and the file.
pub fn plain_options(config: &MqttConfig, client_id: &str) -> Result<MqttOptions, Problem> {
    let address = Address::parse(&config.url).map_err(Problem::config)?;
    let mut options = MqttOptions::new(client_id, address.host, address.port);
    options
        .set_keep_alive(Duration::from_secs(u64::from(config.keep_alive_s.max(5))))
        .set_clean_start(true)
        .set_max_packet_size(Some(config.max_packet_bytes))
        .set_receive_maximum(Some(RECEIVE_MAXIMUM))
        .set_outgoing_inflight_upper_limit(config.window.saturating_mul(IDS.0).max(IDS.1))
        .set_connection_timeout(CONNECT_TIMEOUT_S)
        .set_manual_acks(true)
        .set_network_options(network());
    if address.tls {
        let tls = tls_config(config).map_err(Problem::config)?;
        options.set_transport(Transport::Tls(rumqttc::TlsConfiguration::Rustls(Arc::new(tls))));
    }
    set_credentials(&mut options, config).map_err(Problem::config)?;
    Ok(options)
}

/// Without Nagle's algorithm: it keeps the end of a message back until the broker has acknowledged what came before, which
/// the broker does 40 ms later when the window in flight lets us send nothing more.
fn network() -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network
}

fn set_credentials(options: &mut MqttOptions, config: &MqttConfig) -> Result<(), String> {
    let password = config.password.resolve().map_err(|e| format!("mqtt.password: {e}"))?;
    match (&config.username, password) {
        (Some(user), Some(password)) => {
            options.set_credentials(user, password.expose());
            Ok(())
        }
        (None, None) => Ok(()),
        (Some(_), None) => Err("mqtt.username is set without mqtt.password: give `file` or `env`".into()),
        (None, Some(_)) => Err("mqtt.password is set without mqtt.username".into()),
    }
}

/// Whether `url` is a broker's address; says what is wanted when not.
///
/// # Errors
/// What is wrong with it, naming `mqtt.url`.
pub(crate) fn plain_address(url: &str) -> Result<(), String> {
    Address::parse(url).map(|_| ())
}

/// A broker's address.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    tls: bool,
    host: String,
    port: u16,
}

impl Address {
    fn parse(url: &str) -> Result<Self, String> {
        let want = "want mqtt://host:1883 or mqtts://host:8883";
        let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("mqtt.url {url:?}: {want}"))?;
        let tls = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            _ => return Err(format!("mqtt.url: unknown scheme {scheme:?}; {want}")),
        };
        if rest.contains('@') {
            return Err("mqtt.url must not hold a user name or password: use mqtt.username and mqtt.password".into());
        }
        let rest = rest.trim_end_matches('/');
        let (host, port) = split_port(rest, if tls { 8883 } else { 1883 })
            .ok_or_else(|| format!("mqtt.url {url:?}: the port is not a number from 1 to 65535; {want}"))?;
        if host.is_empty() || host.contains('/') {
            return Err(format!("mqtt.url {url:?}: no host, or a path after it; {want}"));
        }
        Ok(Self { tls, host: host.into(), port })
    }
}

fn split_port(text: &str, default: u16) -> Option<(&str, u16)> {
    // An IPv6 host is in brackets, so that its colons are not the port's.
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => port.parse().ok().filter(|p| *p > 0).map(|p| (host, p)),
        _ => Some((text, default)),
    }
}

fn tls_config(config: &MqttConfig) -> Result<rustls::ClientConfig, String> {
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?
        .with_root_certificates(authorities(config.ca_file.as_deref())?);
    match (&config.client_cert_file, &config.client_key_file) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(cert), Some(key)) => {
            let chain = certificates(cert, "mqtt.client_cert_file")?;
            let key_der = PrivateKeyDer::from_pem_file(key)
                .map_err(|e| format!("mqtt.client_key_file {}: no private key could be read: {e}", key.display()))?;
            builder
                .with_client_auth_cert(chain, key_der)
                .map_err(|e| format!("mqtt.client_cert_file {}: cannot be used: {e}", cert.display()))
        }
        _ => Err("mqtt.client_cert_file and mqtt.client_key_file go together: give both or none".into()),
    }
}

fn authorities(ca_file: Option<&Path>) -> Result<rustls::RootCertStore, String> {
    let system = std::env::var_os("SSL_CERT_FILE").unwrap_or_else(|| SYSTEM_AUTHORITIES.into());
    let (path, key) = match ca_file {
        Some(path) => (path, "mqtt.ca_file"),
        None => (Path::new(&system), "system authorities (set mqtt.ca_file, or install ca-certificates)"),
    };
    let mut store = rustls::RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(certificates(path, key)?);
    if added == 0 {
        return Err(format!("{key} {}: holds no certificate of an authority", path.display()));
    }
    Ok(store)
}

fn certificates(path: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let fail = |e: rustls::pki_types::pem::Error| format!("{key} {}: cannot be read as PEM: {e}", path.display());
    CertificateDer::pem_file_iter(path).map_err(fail)?.collect::<Result<_, _>>().map_err(fail)
}

/// What a failed connection to `broker` means. `connected` = it had been up before.
pub(crate) fn explain(error: &ConnectionError, broker: &str, connected: bool) -> Problem {
    match error {
        ConnectionError::ConnectionRefused(code)
        | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => refused(*code, broker),
        ConnectionError::Tls(e) => tls_problem(e, broker),
        ConnectionError::Io(e) if is_tls_error(e) => not_trusted(broker, &e.to_string()),
        _ if connected => Problem::new(ProblemKind::Lost, format!("connection to {broker} lost: {error}")),
        ConnectionError::Timeout(_) => unreachable_problem(broker, "no answer in time"),
        ConnectionError::Io(e) => unreachable_problem(broker, &e.to_string()),
        other => unreachable_problem(broker, &format!("{other} (is it an MQTT 5 broker, and is TLS on at both ends?)")),
    }
}

fn unreachable_problem(broker: &str, why: &str) -> Problem {
    let text =
        format!("broker {broker} cannot be reached: {why}; check mqtt.url, the network and that the broker runs");
    Problem::new(ProblemKind::Unreachable, text)
}

fn refused(code: ConnectReturnCode, broker: &str) -> Problem {
    let (kind, advice) = match code {
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
            (ProblemKind::Refused, "check mqtt.username and mqtt.password, and that the broker knows this user")
        }
        ConnectReturnCode::Banned | ConnectReturnCode::ClientIdentifierNotValid | ConnectReturnCode::BadClientId => {
            (ProblemKind::Refused, "the broker does not accept this box's client id; ask its administrator")
        }
        ConnectReturnCode::UnsupportedProtocolVersion | ConnectReturnCode::RefusedProtocolVersion => {
            (ProblemKind::Configuration, "it does not speak MQTT 5; use a broker that does")
        }
        _ => (ProblemKind::Unreachable, "it is not ready for us; tried again later"),
    };
    Problem::new(kind, format!("broker {broker} refused the connection ({code:?}): {advice}"))
}

fn tls_problem(error: &TlsError, broker: &str) -> Problem {
    match error {
        TlsError::Io(e) if !is_tls_error(e) => unreachable_problem(broker, &format!("TLS handshake: {e}")),
        other => not_trusted(broker, &other.to_string()),
    }
}

fn is_tls_error(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
}

fn not_trusted(broker: &str, why: &str) -> Problem {
    let text = format!(
        "TLS with {broker} failed: {why}; check mqtt.ca_file (the authority of the broker's certificate), the host \
         name in mqtt.url, the client certificate and both clocks"
    );
    Problem::new(ProblemKind::NotTrusted, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_bad_ones_say_what_is_wanted() {
        let ok = |u: &str| Address::parse(u).map(|a| (a.tls, a.host, a.port)).unwrap();
        assert_eq!(ok("mqtt://10.0.0.7"), (false, "10.0.0.7".into(), 1883));
        assert_eq!(ok("mqtts://broker.example:9000/"), (true, "broker.example".into(), 9000));
        assert_eq!(ok("mqtt://[::1]:1884"), (false, "[::1]".into(), 1884));
        assert_eq!(ok("mqtt://[::1]"), (false, "[::1]".into(), 1883));
        for (bad, says) in [
            ("127.0.0.1:1883", "want mqtt://host"),
            ("tcp://h:1", "unknown scheme"),
            ("mqtt://u:p@h", "mqtt.username"),
            ("mqtt://h:99999", "port"),
            ("mqtt://h/topic", "path"),
            ("mqtt://", "no host"),
        ] {
            let e = Address::parse(bad).unwrap_err();
            assert!(e.contains(says), "{bad}: {e}");
        }
    }

    #[test]
    fn a_user_without_password_and_a_missing_authority_file_are_configuration_problems() {
        let mut config = MqttConfig { username: Some("gate".into()), ..MqttConfig::default() };
        let e = plain_options(&config, "x").unwrap_err();
        assert_eq!(e.kind, ProblemKind::Configuration);
        assert!(e.text.contains("mqtt.password"), "{e}");
        config = MqttConfig { url: "mqtts://h".into(), ca_file: Some("/no/such.pem".into()), ..MqttConfig::default() };
        let e = plain_options(&config, "x").unwrap_err();
        assert!(e.text.contains("mqtt.ca_file /no/such.pem"), "{e}");
    }

    #[test]
    fn refused_credentials_are_told_from_an_absent_broker() {
        let e = explain(&ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized), "mqtt://b", false);
        assert_eq!(e.kind, ProblemKind::Refused);
        let io = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(explain(&ConnectionError::Io(io), "mqtt://b", false).kind, ProblemKind::Unreachable);
    }
}

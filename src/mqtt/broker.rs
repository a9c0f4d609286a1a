//! A broker inside the process, for the demo and for trying a box out. A gate has a broker of its own, by URL.
//!
//! `rumqttd` blocks the thread that starts it and has no way to stop: the broker lives until the process ends, and so
//! does its port. It keeps retained messages and unread messages in memory only. It grants whatever will delay is
//! asked for, and it has no authentication here, so it listens on loopback addresses only.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};

/// Largest packet it takes: an annotated picture at its cap, with room.
const MAX_PACKET_BYTES: usize = 4 * 1024 * 1024;
/// Clients at once.
const MAX_CONNECTIONS: usize = 200;
/// Bytes of one segment of a topic's log, and segments kept: what a subscriber may be behind, some 1,000 events or 40 pictures.
/// Memory is more than that: a small message keeps the whole buffer that it was read into, and that often held a picture. The demo
/// grows by 17 MB a minute until its events fill this; what is seldom said goes on to keep a buffer each.
const SEGMENT_BYTES: usize = 1024 * 1024;
/// See [`SEGMENT_BYTES`].
const SEGMENTS: usize = 4;
/// How long a fresh broker may take until it accepts.
const START_TRIES: u32 = 200;
/// Between two looks.
const START_PAUSE: Duration = Duration::from_millis(25);

/// A running broker. Dropping it does not stop it (see the module).
#[derive(Debug)]
pub struct EmbeddedBroker {
    v5: SocketAddr,
    v4: SocketAddr,
}

/// Why the embedded broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Beyond loopback it would be open to everybody.
    #[error(
        "mqtt.embedded_listen {0}: the embedded broker has no passwords, so it listens on 127.0.0.1 or ::1 only; run Mosquitto or another broker for the network"
    )]
    NotLoopback(SocketAddr),
    /// The port is taken or may not be used.
    #[error("mqtt.embedded_listen {addr}: cannot listen: {source}; is another broker running there?")]
    Listen {
        /// Address asked for.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// It never accepted a connection.
    #[error("the embedded broker on {0} did not begin to listen within 5 s; see the log for its reason")]
    Silent(SocketAddr),
}

impl EmbeddedBroker {
    /// Starts a broker for MQTT 5 on `addr` (port 0 = a free one) and for MQTT 3.1.1 on a free port of the same
    /// address. Returns when both accept connections. Blocks up to 5 s.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub fn start(addr: SocketAddr) -> Result<Self, BrokerError> {
        if !addr.ip().is_loopback() {
            return Err(BrokerError::NotLoopback(addr));
        }
        let v5 = free_address(addr)?;
        let v4 = free_address(SocketAddr::new(addr.ip(), 0))?;
        let mut broker = Broker::new(config(v5, v4));
        let run = move || {
            if let Err(error) = broker.start() {
                tracing::error!(%error, "embedded broker ended; events stay in the outbox until a broker is there");
            }
        };
        std::thread::Builder::new()
            .name("mqtt-broker".into())
            .spawn(run)
            .map_err(|source| BrokerError::Listen { addr: v5, source })?;
        wait_until_accepting(v5)?;
        wait_until_accepting(v4)?;
        tracing::info!(%v5, %v4, "embedded broker listens");
        Ok(Self { v5, v4 })
    }

    /// Where it speaks MQTT 5.
    #[must_use]
    pub fn v5_addr(&self) -> SocketAddr {
        self.v5
    }

    /// Where it speaks MQTT 3.1.1.
    #[must_use]
    pub fn v4_addr(&self) -> SocketAddr {
        self.v4
    }

    /// For `mqtt.url`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.v5)
    }
}

/// `addr` with a port that was free a moment ago. `rumqttd` binds by itself and only logs when it cannot.
fn free_address(addr: SocketAddr) -> Result<SocketAddr, BrokerError> {
    TcpListener::bind(addr).and_then(|l| l.local_addr()).map_err(|source| BrokerError::Listen { addr, source })
}

fn wait_until_accepting(addr: SocketAddr) -> Result<(), BrokerError> {
    for _ in 0..START_TRIES {
        if TcpStream::connect_timeout(&addr, START_PAUSE).is_ok() {
            return Ok(());
        }
        std::thread::sleep(START_PAUSE);
    }
    Err(BrokerError::Silent(addr))
}

fn config(v5: SocketAddr, v4: SocketAddr) -> Config {
    let router = RouterConfig {
        max_connections: MAX_CONNECTIONS,
        max_outgoing_packet_count: 200,
        max_segment_size: SEGMENT_BYTES,
        max_segment_count: SEGMENTS,
        ..RouterConfig::default()
    };
    Config {
        id: 0,
        router,
        v4: Some(server("mqtt-broker-v4", v4)),
        v5: Some(server("mqtt-broker-v5", v5)),
        ..Config::default()
    }
}

fn server(name: &str, listen: SocketAddr) -> HashMap<String, ServerSettings> {
    let connections = ConnectionSettings {
        connection_timeout_ms: 10_000,
        max_payload_size: MAX_PACKET_BYTES,
        max_inflight_count: 200,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let settings = ServerSettings { name: name.into(), listen, tls: None, next_connection_delay_ms: 1, connections };
    HashMap::from([(name.to_owned(), settings)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_without_passwords_is_refused_beyond_loopback() {
        let e = EmbeddedBroker::start("0.0.0.0:0".parse().unwrap()).unwrap_err();
        assert!(matches!(e, BrokerError::NotLoopback(_)));
    }

    #[test]
    fn a_taken_port_is_said_at_start() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let e = EmbeddedBroker::start(taken.local_addr().unwrap()).unwrap_err();
        assert!(e.to_string().contains("another broker"), "{e}");
    }
}

//! How fast an outbox empties after an outage, beside a bare client that sends the same bytes to the same broker with as
//! many publishes in flight. By hand, on a quiet machine:
//!
//! ```sh
//! cargo test --test suite drain -- --ignored --nocapture
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatewatch::clock::{UtcMillis, utc_now};
use gatewatch::config::MqttConfig;
use gatewatch::mqtt::connect::plain_options;
use gatewatch::mqtt::{Delivery, Identity, Inbound, InboundError, InboundHandler, Presence, Scope, Topics};
use gatewatch::store::Store;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::store::{event_of, message, options};
use crate::support::mosquitto::Mosquitto;

const ROUNDS: usize = 5;
const MESSAGES: usize = 1500;
/// Of an annotated picture as cameras of 1080p give it, bytes.
const PICTURE: usize = 60_000;

/// Nothing comes in.
struct Nobody;

impl InboundHandler for Nobody {
    async fn take(&self, _: Inbound, _: Scope, _: Option<UtcMillis>, _: Value) -> Result<(), InboundError> {
        Ok(())
    }

    async fn command(&self, _: &str, _: &[u8]) -> Result<Value, InboundError> {
        Ok(Value::Null)
    }
}

/// What is sent: topic and bytes.
type Publishes = Vec<(String, Vec<u8>)>;

/// Empties the store; what was sent, and how long it took.
async fn drain(config: &MqttConfig, store: &Store) -> (Publishes, Duration) {
    let all = store.outbox_next(2 * MESSAGES, &[]).await.unwrap();
    let publishes = all.into_iter().map(|i| (i.topic, i.payload.to_vec())).collect();
    let topics = Topics::new("gatewatch/v1", "15BB", "gate-01");
    let who = Identity { topics, client_id: "gatewatch-15BB-gate-01".into(), epoch: 7, session: "s1".into() };
    let presence =
        Presence { birth: json!({}), cameras: watch::channel(BTreeMap::new()).1, status: watch::channel(None).1 };
    let (delivery, mut status) =
        Delivery::new(config.clone(), who, Arc::new(store.clone()), Arc::new(Nobody), presence);
    let stop = CancellationToken::new();
    let task = tokio::spawn(delivery.run(stop.clone()));
    status.wait_for(|s| s.connected).await.unwrap();
    let began = Instant::now();
    while store.outbox_stats().await.unwrap().rows > 0 {
        assert!(began.elapsed() < Duration::from_secs(300), "{:?}", store.outbox_stats().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = began.elapsed();
    stop.cancel();
    task.await.unwrap();
    (publishes, took)
}

/// The same by a client that does nothing else.
async fn bare(config: &MqttConfig, publishes: &Publishes) -> Duration {
    let mut options = plain_options(config, "bare").unwrap();
    options.set_manual_acks(false).set_outgoing_inflight_upper_limit(config.window);
    let (client, mut events) = AsyncClient::new(options, usize::from(config.window));
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::ConnAck(_))) {}
    let began = Instant::now();
    let sent = publishes.clone();
    tokio::spawn(async move {
        for (topic, bytes) in sent {
            client.publish(topic, QoS::AtLeastOnce, false, bytes).await.unwrap();
        }
        // Ends with the loop below.
        std::future::pending::<()>().await;
    });
    let mut acked = 0;
    while acked < publishes.len() {
        acked += usize::from(matches!(events.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))));
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement; run by hand"]
async fn an_outbox_beside_a_bare_client() {
    gatewatch::install_crypto();
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let (broker, dir) = (Mosquitto::open(), tempfile::tempdir().unwrap());
        let config = MqttConfig { url: broker.url(), ..MqttConfig::default() };
        let store = Store::open(options(dir.path())).await.unwrap();
        let picture: Vec<u8> = (0..PICTURE).map(|_| rand::random()).collect();
        for _ in 0..MESSAGES / 50 {
            let some =
                (0..50).map(|_| message(event_of(ulid::Ulid::generate(), 1, "new", utc_now()), 2, Some(&picture)));
            store.record_all(some.collect()).await.unwrap();
        }
        let (publishes, ours) = drain(&config, &store).await;
        let theirs = bare(&config, &publishes).await;
        let (ours, theirs) = (ours.as_secs_f64(), theirs.as_secs_f64());
        println!(
            "round {round}: {} publishes, {:.0} a second, bare {:.0} a second, ratio {:.2}",
            publishes.len(),
            publishes.len() as f64 / ours,
            publishes.len() as f64 / theirs,
            theirs / ours
        );
        ratios.push(theirs / ours);
        store.close().await.unwrap();
    }
    ratios.sort_by(f64::total_cmp);
    println!("outbox_drain_ratio {:.2} ({:.2} to {:.2})", ratios[ROUNDS / 2], ratios[0], ratios[ROUNDS - 1]);
}

//! The demo's clearance side: declarations and bookings sent over MQTT as a real one would. The first area has one
//! booking of two declarations after the other, the second two that overlap, and the last none: so that an event can be
//! linked, ambiguous and unlinked.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::{UtcMillis, utc_now};
use crate::config::{CameraConfig, MqttConfig};
use crate::mqtt::publish::publish_all;
use crate::mqtt::{Inbound, TopicKind, Topics};

/// Length of a booking, seconds.
const WINDOW_S: i64 = 120;
/// Bookings are sent this often; what the register knows already changes nothing.
const EVERY: Duration = Duration::from_secs(10);

/// Sends what is due, again and again.
pub async fn play(mqtt: MqttConfig, topics: Topics, cameras: Vec<CameraConfig>, began: UtcMillis) {
    let areas: Vec<String> = cameras.iter().flat_map(|c| &c.areas).map(|a| a.id.0.clone()).collect();
    loop {
        let messages = due(&topics, &areas, began, utc_now());
        if let Err(problem) = publish_all(&mqtt, "gatewatch-demo-clearance", messages).await {
            tracing::warn!(%problem, "the demo's clearance feed could not be sent; trying again");
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn due(topics: &Topics, areas: &[String], began: UtcMillis, now: UtcMillis) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    let mut send = |kind: Inbound, body: &Value| {
        out.push((topics.build(&TopicKind::In(kind)), body.to_string().into_bytes()));
    };
    let round = now.since(began) / (WINDOW_S * 1000);
    for round in round..=round + 1 {
        for (index, area) in areas.iter().enumerate() {
            for booking in bookings(index, area, areas.len(), began, round) {
                for declaration in &booking.declarations {
                    send(Inbound::Declaration, declaration);
                }
                send(Inbound::Booking, &booking.body);
            }
        }
    }
    out
}

struct Booked {
    declarations: Vec<Value>,
    body: Value,
}

fn bookings(index: usize, area: &str, areas: usize, began: UtcMillis, round: i64) -> Vec<Booked> {
    // Bookings begin before the demo does, so that the first truck finds one.
    let start = began.plus_ms((round * WINDOW_S - 20) * 1000);
    match index {
        _ if index + 1 == areas && areas > 2 => Vec::new(),
        1 => vec![
            booking(area, index, round, "a", 1, start, WINDOW_S),
            booking(area, index, round, "b", 1, start.plus_ms(WINDOW_S * 500), WINDOW_S),
        ],
        _ => vec![booking(area, index, round, "a", 2, start, WINDOW_S)],
    }
}

fn booking(area: &str, index: usize, round: i64, part: &str, goods: i64, start: UtcMillis, length_s: i64) -> Booked {
    let number = |i: i64| {
        let second = i64::from(part == "b");
        format!("10{:09}0", (index as i64 + 1) * 1_000_000 + round * 100 + second * 50 + i)
    };
    let declarations: Vec<Value> = (0..goods)
        .map(|i| {
            json!({"decl_no": number(i), "version": 1, "direction": "import", "office": "15BB", "type_code": "A11",
                "channel": 1 + (round + i) % 3, "registered_at": start.plus_ms(-3_600_000)})
        })
        .collect();
    let keys: Vec<Value> = declarations.iter().map(|d| d["decl_no"].clone()).collect();
    let body = json!({"id": format!("demo-{area}-{round}-{part}"), "version": 1, "area": area, "decl_keys": keys,
        "start": start, "end": start.plus_ms(length_s * 1000), "state": "planned"});
    Booked { declarations, body }
}

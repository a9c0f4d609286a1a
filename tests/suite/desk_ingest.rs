//! What PostgreSQL will not have in the middle of much that it will: nothing waits for it, and somebody hears of it.

use gatewatch::desk::config::DatabaseConfig;
use serde_json::json;
use sqlx::Connection;

use crate::support::desk::{Room, alert, body_of, postgres};
use crate::support::until;

const MESSAGES: i64 = 300;
/// In the middle of a batch, whatever the broker makes of it.
const BAD: i64 = 150;

fn id(seq: i64) -> String {
    format!("01JD{seq:022}")
}

async fn one(database: &DatabaseConfig, select: &'static str) -> i64 {
    let mut conn = sqlx::PgConnection::connect(database.url.as_ref().unwrap()).await.unwrap();
    sqlx::query_scalar(select).fetch_one(&mut conn).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_that_postgresql_refuses_stops_no_other() {
    let Some((_server, database)) = postgres() else { return };
    let room = Room::start(database.clone(), |_| {}).await;
    let mut messages: Vec<_> = (1..=MESSAGES).map(|seq| alert("15BB", &id(seq), seq, 2, None)).collect();
    let bad = &mut messages[BAD as usize - 1];
    let mut body = body_of(bad);
    // Longer than an entry of an index may be, and not to be compressed.
    body["data"]["tip_id"] = json!((0..200).map(|_| ulid::Ulid::generate().to_string()).collect::<String>());
    bad.1 = body.to_string().into_bytes();
    room.say(messages).await;
    let sum = async |select| one(&database, select).await;
    let stored = async || Some(sum("SELECT COUNT(*) FROM message").await).filter(|n| *n == MESSAGES - 1);
    until("all others", stored).await;
    let aside = async || Some(sum("SELECT COUNT(*) FROM clash WHERE seq = 150").await).filter(|n| *n == 1);
    until("the bad one, kept aside", aside).await;
    assert_eq!(sum("SELECT COUNT(*) FROM alert WHERE rule = 'chain_set_aside' AND severity = 4").await, 1);
    assert_eq!(sum("SELECT COUNT(*) FROM gap").await, 0, "nobody asks the box for it again");
    assert_eq!(sum("SELECT high FROM stream").await, MESSAGES);
    room.desk.stop().await;
}

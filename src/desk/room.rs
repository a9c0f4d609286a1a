//! The running desk: what its parts share, and the loops that keep it going. Pages are in `web/`, what comes in is in
//! `ingest.rs`, what people decide in `duty.rs`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::access::Role;
use super::boxes::Boxes;
use super::clips::Clips;
use super::config::DeskConfig;
use super::db::accounts::Account;
use super::db::audit::{Act, Checked};
use super::db::{Db, DbError, within};
use super::hub::Hub;
use super::pictures::{self, Folder};
use super::tally::Tally;
use super::throttle::Throttle;
use super::watched::Watched;
use super::{availability, calls, duty, fact, hub, ingest, orders, outage, password, tip_measures, web};
use crate::clock::{UtcMillis, utc_now};
use crate::event::zone::Zone;
use crate::ids::IdSource;
use crate::mqtt::desk::{Listening, listen, queue};
use crate::mqtt::publish::{Outward, publish_outward};
use crate::mqtt::{Problem, ProblemKind, connect};

/// How often the desk looks for what is due.
const TICK: Duration = Duration::from_secs(1);
/// Messages published with one connection, at most.
const AT_ONCE: i64 = 200;
/// A worker leads this long after its last word, milliseconds.
pub(super) const LEASE_MS: i64 = 10_000;
/// What arrives is stored and told to pages within this, or people hear that it is not, milliseconds.
const STUCK_MS: i64 = 10_000;
/// [`AT_ONCE`] messages are published and marked within this, however slow the broker takes them.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(300);
/// What is done each second is done within this, or tried the next time.
const DONE_WITHIN: Duration = Duration::from_secs(120);
/// Name of the first account.
pub const FIRST_ACCOUNT: &str = "admin";

/// Why the desk does not start.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The database says no.
    #[error("{0}")]
    Database(String),
    /// The broker's address or credentials cannot be used.
    #[error(transparent)]
    Broker(#[from] Problem),
    /// Something in the configuration cannot work on this machine.
    #[error("{0}")]
    Configuration(String),
    /// The address is taken or may not be used.
    #[error("the desk cannot listen on {addr}: {source}; choose another `http.listen`")]
    Listen {
        /// Address asked for.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

impl From<DbError> for DeskError {
    fn from(e: DbError) -> Self {
        Self::Database(e.to_string())
    }
}

/// What the parts share.
#[derive(Debug)]
pub(crate) struct Room {
    pub config: DeskConfig,
    pub db: Db,
    pub zone: Zone,
    /// Topic prefix without a slash at the end.
    pub prefix: String,
    pub hub: Hub,
    /// There is something to publish.
    pub outgoing: Notify,
    pub connected: watch::Receiver<bool>,
    pub throttle: Throttle,
    /// Numbers of open alerts, for all open pages at once.
    pub tally: Tally,
    /// Where boxes are asked for their footage.
    pub boxes: Boxes,
    /// Where clips are that boxes brought out.
    pub clips: Clips,
    /// Whether pictures can be written.
    pub pictures: Folder,
    /// Clips and pages that are being watched.
    pub watched: Watched,
    /// Whether this worker does what only one may do.
    pub leads: AtomicBool,
    /// Up to where this worker found the audit whole.
    pub audited: Mutex<Option<Checked>>,
    /// Messages this worker took from the broker and stored.
    pub stored: AtomicU64,
    /// When the oldest message came that it took and has not stored yet; 0 while there is none.
    pub storing: AtomicI64,
    /// Since when it is being read what changed, for open pages; 0 while it is not.
    pub announcing: AtomicI64,
}

impl Room {
    /// What comes later than this after it happened is history, milliseconds.
    pub(crate) fn live_limit_ms(&self) -> i64 {
        i64::from(self.config.alerts.live_limit_s) * 1000
    }

    /// Whether what arrives is stored and told to open pages: a database that is gone need not say so.
    pub(crate) fn keeps_up(&self) -> bool {
        let now = utc_now().0;
        let stuck = |since: &AtomicI64| {
            let at = since.load(Ordering::Relaxed);
            at > 0 && now - at > STUCK_MS
        };
        !stuck(&self.storing) && !stuck(&self.announcing)
    }
}

/// A running desk; stops when dropped.
#[derive(Debug)]
pub struct Desk {
    /// Where its pages are.
    pub addr: SocketAddr,
    /// Whether they are behind TLS of its own.
    pub tls: bool,
    /// Password of [`FIRST_ACCOUNT`] when there was no account yet: shown once, and changed at the first sign-in.
    pub first_password: Option<String>,
    room: Arc<Room>,
    tasks: JoinSet<()>,
}

impl Desk {
    /// Opens the database, connects and serves.
    ///
    /// # Errors
    /// When the database, the address or the certificate cannot be used. A broker that is not there is waited for.
    pub async fn start(config: DeskConfig) -> Result<Self, DeskError> {
        let dir = &config.desk.dir;
        std::fs::create_dir_all(dir)
            .map_err(|e| DeskError::Configuration(format!("desk.dir {} cannot be made: {e}", dir.display())))?;
        let zone = Zone::new(&config.desk.time_zone).map_err(|e| DeskError::Configuration(e.to_string()))?;
        let broker = config.mqtt.connection();
        connect::plain_options(&broker, &config.mqtt.client_id)?;
        let db = Db::open(&config.database, dir).await?;
        let first_password = first_account(&db).await?;
        let (connected_tx, connected) = watch::channel(false);
        let room = Arc::new(Room {
            zone,
            prefix: broker.topic_prefix.clone(),
            db,
            hub: Hub::default(),
            outgoing: Notify::new(),
            connected,
            throttle: Throttle::default(),
            tally: Tally::default(),
            boxes: Boxes::new(&config.boxes).map_err(DeskError::Configuration)?,
            clips: Clips::new(config.store.as_ref()).await.map_err(DeskError::Configuration)?,
            pictures: Folder::default(),
            watched: Watched::default(),
            leads: AtomicBool::new(config.mqtt.share.is_none()),
            audited: Mutex::default(),
            stored: AtomicU64::new(0),
            storing: AtomicI64::new(0),
            announcing: AtomicI64::new(0),
            config,
        });
        let mut tx = room.db.write().await?;
        tx.name_offices(&room.config.offices).await?;
        tx.commit().await?;
        let served = web::serve(&room).await?;
        let mut tasks = JoinSet::new();
        let (arriving, arrived) = queue();
        let mqtt = &room.config.mqtt;
        let listening = Listening {
            config: broker,
            client_id: mqtt.client_id.clone(),
            session_s: mqtt.session_hours.saturating_mul(3600),
            filters: ingest::filters(&room.prefix, &mqtt.offices, &mqtt.client_id, mqtt.share.as_deref()),
            glances: ingest::glances(&room.prefix, &mqtt.offices),
            also: fact::filters(&room.prefix, &mqtt.offices, mqtt.share.as_deref()),
        };
        tasks.spawn(listen(listening, arriving, connected_tx));
        tasks.spawn(ingest::run(room.clone(), arrived));
        tasks.spawn(hub::announce(room.clone()));
        tasks.spawn(publish(room.clone()));
        tasks.spawn(tick(room.clone()));
        tasks.spawn(outage::watch(room.clone()));
        tasks.spawn(pictures::bring_in(room.clone()));
        tasks.spawn(served.task);
        Ok(Self { addr: served.addr, tls: served.tls, first_password, room, tasks })
    }

    /// Adds the account of a supervisor who may sign in at once, for a demonstration; gives its password.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn add_guest(&self, name: &str) -> Result<String, DeskError> {
        let password = password::one_time();
        add_account(&self.room.db, name, (name, Role::Supervisor), password.clone(), false).await?;
        Ok(password)
    }

    /// Whether the broker accepted the subscriptions.
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.room.connected.clone()
    }

    /// Messages that this worker took from the broker and stored since it started.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.room.stored.load(Ordering::Relaxed)
    }

    /// Stops, and waits until the database is closed. What was not stored comes again from the broker.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.room.db.close().await;
    }
}

/// A time-ordered id.
pub(crate) fn new_id(now_ms: i64) -> String {
    IdSource::random().next_id(UtcMillis(now_ms)).to_string()
}

/// SHA-256, hex.
pub(crate) fn digest(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Somebody must be able to sign in: the first account, with a password that is shown once.
async fn first_account(db: &Db) -> Result<Option<String>, DeskError> {
    if !db.accounts().await?.is_empty() {
        return Ok(None);
    }
    let once = password::one_time();
    add_account(db, FIRST_ACCOUNT, ("Administrator", Role::Administrator), once.clone(), true).await?;
    Ok(Some(once))
}

async fn add_account(
    db: &Db,
    name: &str,
    (display, role): (&str, Role),
    password: String,
    must_change: bool,
) -> Result<(), DeskError> {
    let account = Account {
        name: name.into(),
        display: display.into(),
        password: password::hash(password).await.map_err(DeskError::Configuration)?,
        must_change: i64::from(must_change),
        role: role.as_str().into(),
        offices: "*".into(),
        disabled: 0,
    };
    let mut tx = db.write().await?;
    tx.add_account(&account, utc_now().0).await?;
    tx.audit(Act { account: "", office: "", action: "account.first", object: name, detail: role.as_str() }).await?;
    tx.commit().await?;
    Ok(())
}

/// Publishes what waits, as long as there is a broker.
async fn publish(room: Arc<Room>) {
    loop {
        match within(PUBLISHED_WITHIN, publish_once(&room)).await {
            Ok(0) => {
                // Another worker's decisions nudge nobody here.
                let wait = if room.config.mqtt.share.is_some() { TICK } else { TICK * 5 };
                let _ = tokio::time::timeout(wait, room.outgoing.notified()).await;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "decisions of the desk cannot be published now; trying again");
                // Longer than the lease: another worker may be able to.
                tokio::time::sleep(TICK * if room.config.mqtt.share.is_some() { 12 } else { 5 }).await;
            }
        }
    }
}

async fn publish_once(room: &Room) -> Result<usize, DeskError> {
    let waiting = room.db.waiting(AT_ONCE).await?;
    if waiting.is_empty() {
        return Ok(0);
    }
    if !*room.connected.borrow() {
        return Err(Problem::new(ProblemKind::Unreachable, "the broker is not there").into());
    }
    if !publishes(room).await? {
        return Ok(0);
    }
    let given = |text: &String| Some(text.clone()).filter(|t| !t.is_empty());
    let outward = waiting.iter().map(|m| Outward {
        topic: m.topic.clone(),
        payload: m.payload.clone().into_bytes(),
        reply_topic: given(&m.reply_topic),
        correlation: given(&m.correlation).map(String::into_bytes),
    });
    let mqtt = &room.config.mqtt;
    let client_id = format!("{}-out", mqtt.client_id);
    let done = publish_outward(&mqtt.connection(), &client_id, outward.collect()).await;
    // What was taken is not sent again for what was not, and what is refused stands in nobody's way.
    let of = |places: &BTreeSet<usize>| places.iter().filter_map(|n| waiting.get(*n)).cloned().collect::<Vec<_>>();
    let sent = of(&done.accepted);
    room.db.published(&sent, &of(&done.refused)).await?;
    done.problem.map_or(Ok(sent.len()), |problem| Err(problem.into()))
}

/// Whether this worker publishes. Not the one that leads: it may be the one which the broker does not hear. A worker asks only
/// while it has something to publish and a broker to take it, so another one follows it after [`LEASE_MS`].
async fn publishes(room: &Room) -> Result<bool, DbError> {
    let mqtt = &room.config.mqtt;
    Ok(mqtt.share.is_none() || room.db.lease("publish", &mqtt.client_id, utc_now().0, LEASE_MS).await?)
}

/// Every second, by one worker: alerts that nobody looked at, numbers that are missing, tips that nobody received, orders without
/// an answer; and each full hour how much cameras were analysed.
async fn tick(room: Arc<Room>) {
    let mut each = tokio::time::interval(TICK);
    each.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut noted = 0;
    loop {
        each.tick().await;
        if !leads(&room).await {
            continue;
        }
        let now = utc_now().0;
        if let Some(hour) = availability::due(now, noted) {
            match within(DONE_WITHIN, availability::note(&room, hour, now)).await {
                Ok(true) => noted = hour,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "it cannot be noted how much cameras were analysed"),
            }
        }
        if let Err(error) = within(DONE_WITHIN, duty::escalate_by_time(&room)).await {
            tracing::warn!(%error, "alerts cannot be looked through for what is due");
        }
        if let Err(error) = within(DONE_WITHIN, ingest::ask_back(&room)).await {
            tracing::warn!(%error, "missing messages cannot be asked for");
        }
        if let Err(error) = within(DONE_WITHIN, tip_measures::tell_new_boxes(&room)).await {
            tracing::warn!(%error, "stops cannot be told to boxes that are new");
        }
        if let Err(error) = within(DONE_WITHIN, calls::tell_late(&room)).await {
            tracing::warn!(%error, "it cannot be told which tips were not received in time");
        }
        if let Err(error) = within(DONE_WITHIN, orders::ask_again(&room)).await {
            tracing::warn!(%error, "orders without an answer cannot be sent again");
        }
    }
}

/// Whether this worker does what only one may do. A worker that is gone is followed by another one after [`LEASE_MS`].
async fn leads(room: &Room) -> bool {
    if room.config.mqtt.share.is_none() {
        return true;
    }
    let leads = room.db.lease("duties", &room.config.mqtt.client_id, utc_now().0, LEASE_MS).await;
    let leads = leads.unwrap_or_else(|error| {
        tracing::warn!(%error, "it cannot be decided which worker leads");
        false
    });
    if room.leads.swap(leads, Ordering::Relaxed) != leads {
        tracing::info!(leads, "which worker escalates and asks back has changed");
    }
    leads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desk::db::outgoing::Outgoing;

    /// A worker of several on one database.
    async fn worker(dir: &std::path::Path, client_id: &str, broker: bool) -> Room {
        let mut room = Arc::into_inner(web::tests::room(dir).await).unwrap();
        room.connected = watch::channel(broker).1;
        room.config.mqtt.share = Some("duty".into());
        room.config.mqtt.client_id = client_id.into();
        room
    }

    #[tokio::test]
    async fn a_worker_without_a_broker_keeps_no_other_from_publishing() {
        let dir = tempfile::tempdir().unwrap();
        let (without, with) = (worker(dir.path(), "desk-1", false).await, worker(dir.path(), "desk-2", true).await);
        assert!(leads(&without).await && !leads(&with).await);
        let message = Outgoing {
            id: "1".into(),
            topic: "t".into(),
            payload: "{}".into(),
            reply_topic: String::new(),
            correlation: String::new(),
        };
        let mut tx = without.db.write().await.unwrap();
        tx.publish(&message).await.unwrap();
        tx.commit().await.unwrap();
        publish_once(&without).await.unwrap_err();
        assert!(publishes(&with).await.unwrap(), "nobody holds it");
        assert!(!publishes(&without).await.unwrap(), "one at a time");
    }
}

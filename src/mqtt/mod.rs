//! MQTT: topics, the connection, delivery of the outbox, what comes in, the embedded broker and an independent
//! subscriber. The only part that speaks `rumqttc` and `rumqttd`; what messages say is in `event/`, where they are
//! kept until acknowledged is in `store/`.

mod ahead;
mod backoff;
pub mod broker;
pub mod connect;
pub mod deliver;
pub(crate) mod desk;
pub mod inbound;
mod intake;
pub mod outbox;
pub mod publish;
mod session;
pub mod stats;
pub mod status;
mod status_turns;
pub mod subscribe;
pub mod topics;
mod window;

pub(crate) use backoff::Backoff;
pub use broker::EmbeddedBroker;
pub use connect::{Identity, Problem, ProblemKind};
pub use deliver::{Delivery, DeliveryStatus, Presence};
pub use inbound::{InboundError, InboundHandler, Scope};
pub use outbox::{OutboxError, OutboxItem, OutboxSource};
pub use stats::LiveStats;
pub use status::BoxStatus;
pub use subscribe::{SeenMessage, Subscriber};
pub use topics::{Inbound, TopicKind, Topics};

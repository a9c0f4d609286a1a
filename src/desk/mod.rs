//! The duty room. `gatewatch desk` is [`Desk`]: it takes the messages of all boxes from the broker, keeps them, and serves
//! pages to duty officers and those who answer for them. The demo's live page (`live.rs`, `board.rs`) is apart from it:
//! it keeps nothing and needs no sign-in.

mod access;
mod alert;
mod attachment;
mod availability;
mod board;
mod boxes;
mod calls;
mod chain;
mod clips;
pub mod config;
mod db;
mod duty;
mod fact;
mod hub;
mod ingest;
pub mod live;
mod message;
mod orders;
mod outage;
mod password;
mod pictures;
mod plain;
mod report;
mod room;
mod said;
mod said_devices;
mod shift;
mod status;
mod tally;
mod throttle;
mod tip;
mod tip_measures;
mod tips_duty;
mod watched;
mod web;
mod words;

pub use config::DeskConfig;
pub use live::{LiveDesk, LiveDeskError};
pub use room::{Desk, DeskError, FIRST_ACCOUNT};
pub use web::api_document;

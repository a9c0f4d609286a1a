//! The duty room. Here so far: the live page of one or more boxes (`live.rs`) and what it shows (`board.rs`). It reads
//! the broker only through `mqtt::Subscriber`.

mod board;
pub mod live;

pub use live::{LiveDesk, LiveDeskError};

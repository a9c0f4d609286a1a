//! The agent: the parts of a box put together.

pub mod api;

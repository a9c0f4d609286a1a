//! One integration binary, one module a theme.
#![allow(clippy::unwrap_used, reason = "a panic is what a failed test is")]

mod config;

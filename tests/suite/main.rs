//! All integration tests, a module a theme: one binary, one link.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a panic is what a failed test is")]

mod camera;
mod config;
mod simulate;
mod support;

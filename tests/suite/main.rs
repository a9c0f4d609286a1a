//! All integration tests, a module a theme: one binary, one link.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod camera;
mod support;

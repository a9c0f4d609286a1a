//! All integration tests, a module a theme: one binary, one link.

mod camera;
mod support;

//! Integration tests: one binary, a module a theme.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod mqtt;

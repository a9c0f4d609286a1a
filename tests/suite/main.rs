//! One integration binary, one module a theme.

mod config;

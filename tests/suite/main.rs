//! One integration binary, a module a theme.

mod customs;
mod store;

//! The `gatewatch` command.

fn main() {}

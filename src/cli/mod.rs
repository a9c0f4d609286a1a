//! One file a subcommand: arguments and what is printed.

pub mod simulate;

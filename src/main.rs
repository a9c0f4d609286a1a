//! The `gatewatch` command.

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Cameras of a border gate drawn by our code.
    Simulate(gatewatch::cli::simulate::Args),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        Command::Simulate(args) => gatewatch::cli::simulate::run(args),
    }
}

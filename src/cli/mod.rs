//! The command line: arguments, one file a subcommand. The only part that prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod check;
pub mod simulate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::telemetry::LogFormat;

/// Joins the cameras of a customs border gate with the declarations in clearance.
#[derive(Debug, Parser)]
#[command(name = "gatewatch", version, propagate_version = true)]
pub struct Cli {
    /// Form of the log lines on standard error.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// What is logged, e.g. `info` or `info,gatewatch::camera=debug`; without it RUST_LOG counts.
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a configuration file: all problems at once, with file, line and what is allowed.
    Check(check::Args),
    /// Cameras of a border gate drawn by our code: pictures for training, recorded files.
    Simulate(simulate::Args),
}

/// Does what the arguments say; the exit code is the process's.
///
/// # Errors
/// Whatever ended the subcommand before its work was done.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Check(args) => Ok(check::run(&args)),
        Command::Simulate(args) => simulate::run(args).map(|()| ExitCode::SUCCESS),
    }
}

/// An error with its causes, for a person.
pub fn print_error(error: &anyhow::Error) {
    eprintln!("gatewatch: {error:#}");
}

//! The command line: arguments, one file a subcommand. The only part that prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod agent;
pub mod check;
pub mod demo;
pub mod desk;
pub mod evidence;
pub mod model;
pub mod mot;
pub mod replay;
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
    /// Everything on one machine: drawn cameras, broker, agent, clearance feed and live page.
    Demo(demo::Args),
    /// Watch the cameras of a configuration and publish events until stopped.
    Agent(agent::Args),
    /// The duty room: take the messages of all boxes, keep them, and serve the pages.
    Desk(desk::Args),
    /// Run the same analysis over a recorded file, faster than real time, and print the events.
    Replay(replay::Args),
    /// Inspect, measure or fetch a detector model.
    Model(model::Args),
    /// Detector and tracker over a MOTChallenge sequence, see benches/tracking.
    #[command(hide = true)]
    Mot(mot::Args),
    /// Evidence: export a bundle for third parties, check one, look at the chain of a box.
    Evidence(evidence::Args),
    /// Cameras of a drawn border gate: served, rendered to a file, or as a data set for training.
    Simulate(simulate::Args),
}

impl Command {
    /// Log level without `--log` and `RUST_LOG`: some speak through their own lines.
    #[must_use]
    pub fn quiet_log(&self) -> &'static str {
        let quiet = matches!(self, Self::Demo(_) | Self::Model(_) | Self::Mot(_) | Self::Evidence(_));
        if quiet { "warn" } else { "info" }
    }
}

/// Does what the arguments say; the exit code is the process's.
///
/// # Errors
/// Whatever ended the subcommand before its work was done.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Check(args) => Ok(check::run(&args)),
        Command::Demo(args) => demo::run(&args),
        Command::Agent(args) => agent::run(&args),
        Command::Desk(args) => desk::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Model(args) => model::run(&args),
        Command::Mot(args) => mot::run(&args),
        Command::Evidence(args) => evidence::run(&args),
        Command::Simulate(args) => simulate::run(args).map(|()| ExitCode::SUCCESS),
    }
}

/// An error with its causes, for a person.
pub fn print_error(error: &anyhow::Error) {
    eprintln!("gatewatch: {error:#}");
}

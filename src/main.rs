//! The `gatewatch` command: arguments, logs, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser;
use gatewatch::{cli, telemetry};

fn main() -> ExitCode {
    let args = cli::Cli::parse();
    let done =
        telemetry::init(args.log_format, args.log.as_deref(), args.command.quiet_log()).map_err(anyhow::Error::msg);
    done.and_then(|()| cli::run(args)).unwrap_or_else(|error| {
        cli::print_error(&error);
        ExitCode::FAILURE
    })
}

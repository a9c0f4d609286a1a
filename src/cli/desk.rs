//! `gatewatch desk`: the duty room's side, until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use super::agent::stop_signal;
use crate::desk::{Desk, DeskConfig, FIRST_ACCOUNT};

/// Arguments of `desk`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = "config/desk.toml")]
    pub config: PathBuf,
    /// Only say whether the configuration file is good.
    #[arg(long)]
    pub check: bool,
}

/// Runs until SIGINT or SIGTERM; a second signal ends at once.
///
/// # Errors
/// When the configuration is wrong or a part cannot start.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = DeskConfig::load(&args.config)?;
    if args.check {
        println!("{}: ok", args.config.display());
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(work(config))?;
    Ok(ExitCode::SUCCESS)
}

async fn work(config: DeskConfig) -> anyhow::Result<()> {
    let desk = Desk::start(config).await?;
    let scheme = if desk.tls { "https" } else { "http" };
    println!("The desk is at {scheme}://{}/", desk.addr);
    if let Some(password) = &desk.first_password {
        // Not a log line: logs are kept and read by others.
        println!("First sign-in: {FIRST_ACCOUNT} / {password}   (shown once; it must be changed then)");
    }
    stop_signal().await?;
    tracing::info!("stopping; a second signal ends at once");
    tokio::spawn(async {
        if stop_signal().await.is_ok() {
            // Nothing is acknowledged before it is stored; only the wait for an orderly end is given up.
            std::process::exit(130);
        }
    });
    desk.stop().await;
    Ok(())
}

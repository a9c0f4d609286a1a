//! `gatewatch agent`: the box at a gate, until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::agent::Agent;
use crate::config::{self, Config};
use crate::mqtt::EmbeddedBroker;
use crate::telemetry::metrics;

/// Arguments of `agent`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = "config/gatewatch.toml")]
    pub config: PathBuf,
}

/// Runs until SIGINT or SIGTERM; a second signal ends at once.
///
/// # Errors
/// When a part cannot start.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = config::load(&args.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(work(config, args.config.clone()))?;
    Ok(ExitCode::SUCCESS)
}

async fn work(config: Config, file: PathBuf) -> anyhow::Result<()> {
    let metrics = metrics::install().map_err(anyhow::Error::msg)?;
    let _broker = config.mqtt.embedded_listen.map(EmbeddedBroker::start).transpose()?;
    let agent = Agent::start(config, Some(file), metrics).await?;
    tracing::info!(detector = agent.detector, http = ?agent.http, "agent running");
    stop_signal().await?;
    tracing::info!("stopping; a second signal ends at once");
    tokio::spawn(async {
        if stop_signal().await.is_ok() {
            // Everything recorded is safe at any moment; only the wait for an orderly end is given up.
            std::process::exit(130);
        }
    });
    agent.stop().await?.close().await?;
    Ok(())
}

/// Resolves at SIGINT or SIGTERM.
///
/// # Errors
/// When signals cannot be watched.
pub async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done,
        _ = terminate.recv() => Ok(()),
    }
}

//! What the agent says about itself: logs (here), metrics, health, and log lines that must not flood.

pub mod health;
pub mod metrics;
pub mod process;
pub mod rate;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For a person at a terminal.
    #[default]
    Pretty,
    /// One JSON object a line, for a log collector.
    Json,
}

/// Sends log lines to standard error. `filter` is in the form of `RUST_LOG`, e.g. `info,gatewatch::camera=debug`;
/// without it the variable `RUST_LOG` counts, then `quiet`.
///
/// # Errors
/// The filter cannot be understood, or logs are set up already in this process.
pub fn init(format: LogFormat, filter: Option<&str>, quiet: &str) -> Result<(), String> {
    let from_env = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let text = filter.or(from_env.as_deref()).filter(|t| !t.is_empty()).unwrap_or(quiet);
    // The embedded broker logs every client that goes as an error; what matters of it, our own clients say.
    let text = if text.contains("rumqttd") { text.to_owned() } else { format!("{text},rumqttd=off") };
    let filter = EnvFilter::builder()
        .parse(&text)
        .map_err(|e| format!("the log filter {text:?} cannot be understood ({e}); write e.g. \"info\" or \"info,gatewatch::camera=debug\""))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let lines = lines.with_ansi(std::io::stderr().is_terminal());
    let done = match format {
        LogFormat::Pretty => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    done.map_err(|e| format!("logs cannot be set up: {e}"))
}

//! `gatewatch check`: is this configuration file good? Problems to standard error, the summary to standard output.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::camera;
use crate::config::{self, Config};

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The TOML file.
    pub file: PathBuf,
    /// Only the text: files and variables it names need not exist on this machine.
    #[arg(long, conflicts_with = "deep")]
    pub text_only: bool,
    /// Also try the addresses that the agent would listen on. Not while the agent runs.
    #[arg(long)]
    pub deep: bool,
}

/// Exit code: 0 good, 1 problems, 2 the file cannot be read.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let loaded = match config::inspect(&args.file, !args.text_only) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(if problems.unreadable { 2 } else { 1 });
        }
    };
    if !loaded.warnings.list.is_empty() {
        eprintln!("{}", loaded.warnings);
    }
    for line in absent_decoders(&loaded.config) {
        eprintln!("{}: warning: {line}", args.file.display());
    }
    let busy = if args.deep { busy_addresses(&loaded.config) } else { Vec::new() };
    for line in &busy {
        eprintln!("{}: {line}", args.file.display());
    }
    if !busy.is_empty() {
        return ExitCode::from(1);
    }
    println!("{}: ok\n{}", args.file.display(), summary(&loaded.config));
    ExitCode::SUCCESS
}

/// Decoders that are configured and not on this machine; the agent takes others.
fn absent_decoders(config: &Config) -> Vec<String> {
    let named = config.cameras.iter().filter_map(|c| Some((&c.id, c.decoder.as_deref()?)));
    named.filter_map(|(id, name)| Some(format!("camera {id}: {}", camera::look_up_decoder(name).err()?))).collect()
}

fn busy_addresses(config: &Config) -> Vec<String> {
    let wanted = [("http.listen", config.http.listen), ("mqtt.embedded_listen", config.mqtt.embedded_listen)];
    let given = wanted.into_iter().filter_map(|(key, address)| Some((key, address?)));
    given.filter_map(|(key, address)| try_listen(key, address).err()).collect()
}

fn try_listen(key: &str, address: SocketAddr) -> Result<(), String> {
    TcpListener::bind(address).map(drop).map_err(|e| format!("{key}: cannot listen on {address}: {e}"))
}

/// A few lines about what the file describes.
fn summary(config: &Config) -> String {
    let areas: usize = config.cameras.iter().map(|c| c.areas.len()).sum();
    let lines: usize = config.cameras.iter().map(|c| c.lines.len()).sum();
    let mut text = format!("  box      {}/{}\n", config.site.office, config.site.box_id);
    let _ = writeln!(text, "  cameras  {} ({areas} areas, {lines} lines)", config.cameras.len());
    let _ = writeln!(text, "  model    {}", config.detector.model.display());
    let _ = writeln!(text, "  broker   {}", config.mqtt.url);
    let _ = write!(text, "  digest   {}", config.digest());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_and_a_taken_address_is_said() {
        let mut config = Config::default();
        assert!(summary(&config).contains("cameras  0 (0 areas, 0 lines)"));
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        config.http.listen = Some(taken.local_addr().unwrap());
        let busy = busy_addresses(&config);
        assert!(busy[0].starts_with("http.listen: cannot listen on 127.0.0.1:"), "{busy:?}");
    }
}

//! A PostgreSQL of its own on a loopback port, as a user without privileges, gone with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::mosquitto::free_port;
use super::wait_for;

/// Killed when dropped.
pub struct Postgres {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // An orderly, fast stop: a killed one leaves shared memory behind.
        let _ = tool(&self.dir, "pg_ctl").arg("stop").arg("-m").arg("immediate").arg("-D").arg(self.data()).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(|e| Some(e.ok()?.path().join("bin")));
    versions.filter(|p| p.join("initdb").exists()).max()
}

/// A program of PostgreSQL, run as `postgres` when the test is root: it refuses to be.
fn tool(dir: &tempfile::TempDir, name: &str) -> Command {
    let program = programs().expect("looked for before").join(name);
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    let mut command = if is_root { Command::new("runuser") } else { Command::new(&program) };
    if is_root {
        command.args(["-u", "postgres", "--"]).arg(&program);
    }
    command.current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Postgres {
    /// `None` when it is not installed. Nothing is flushed to the disk: a test's rows need not outlive the power.
    pub fn start() -> Option<Self> {
        Self::start_with("fsync=off")
    }

    /// With a setting.
    pub fn start_with(setting: &str) -> Option<Self> {
        programs()?;
        let dir = tempfile::Builder::new().prefix("gatewatch-pg").tempdir_in("/tmp").unwrap();
        let _ = Command::new("chown").arg("postgres").arg(dir.path()).stderr(Stdio::null()).status();
        let data = dir.path().join("data");
        let made = tool(&dir, "initdb")
            .args(["-A", "trust", "-U", "desk", "-E", "UTF8", "--no-sync", "-D"])
            .arg(&data)
            .status();
        assert!(made.unwrap().success(), "initdb works");
        let port = free_port();
        let mut server = tool(&dir, "postgres");
        server.arg("-D").arg(&data).arg("-k").arg(dir.path()).args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-c",
            setting,
        ]);
        let child = server.spawn().unwrap();
        let this = Self { child, dir, port };
        wait_for("PostgreSQL to accept connections", || {
            let mut ready = tool(&this.dir, "pg_isready");
            ready
                .args(["-h", "127.0.0.1", "-p", &this.port.to_string()])
                .status()
                .is_ok_and(|s| s.success())
                .then_some(())
        });
        Some(this)
    }

    fn data(&self) -> PathBuf {
        Path::new(self.dir.path()).join("data")
    }

    pub fn url(&self) -> String {
        format!("postgres://desk@127.0.0.1:{}/postgres", self.port)
    }
}

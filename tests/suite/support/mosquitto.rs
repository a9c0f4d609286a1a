//! A real Mosquitto on a loopback port, without persistence.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use super::wait_for;

/// Killed when dropped.
pub struct Mosquitto {
    child: Child,
    pub dir: tempfile::TempDir,
    pub port: u16,
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port nobody listens on now, and no other test was given.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// `None`: somebody else has the port.
#[allow(clippy::zombie_processes, reason = "the caller waits in Drop; a panic ends the test")]
fn spawn_mosquitto(dir: &Path, port: u16) -> Option<Child> {
    // Another server there would answer in its place.
    TcpListener::bind(("127.0.0.1", port)).ok()?;
    let exe = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto"].into_iter().find(|p| Path::new(p).exists());
    let mut child = Command::new(exe.expect("mosquitto is installed (Debian package `mosquitto`)"))
        .arg("-c")
        .arg(dir.join("mosquitto.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let listens = wait_for("mosquitto to listen", || match child.try_wait().unwrap() {
        Some(_) => Some(false),
        None => TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true),
    });
    listens.then_some(child)
}

impl Mosquitto {
    pub fn start(extra: &str) -> Self {
        Self::start_with(free_port(), extra, |_| {})
    }

    pub fn start_with(port: u16, extra: &str, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let extra = extra.replace("DIR", dir.path().to_str().unwrap());
        let mut port = port;
        loop {
            // Mosquitto drops privileges when started by root; its user must be able to read its files.
            let conf = format!("user root\nlistener {port} 127.0.0.1\nmax_queued_messages 0\n{extra}\n");
            std::fs::write(dir.path().join("mosquitto.conf"), conf).unwrap();
            if let Some(child) = spawn_mosquitto(dir.path(), port) {
                return Self { child, dir, port };
            }
            port = free_port();
        }
    }

    pub fn open() -> Self {
        Self::start("allow_anonymous true")
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn restart(&mut self) {
        self.child = spawn_mosquitto(self.dir.path(), self.port).expect("the port is still free");
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }
}

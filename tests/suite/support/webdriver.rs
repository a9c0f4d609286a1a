//! A headless Chromium, driven over the `WebDriver` protocol: just what the desk's browser test asks for.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use super::mosquitto::free_port;
use super::until;

/// What the checker of accessibility has no rule for, or none of the chosen ones.
const LAYOUT: &str = r#"
const out = [];
if (document.querySelectorAll("h1").length !== 1 || document.querySelectorAll("main").length !== 1) out.push("h1 or main");
const wide = document.documentElement.scrollWidth;
if (wide > innerWidth + 1) out.push("wider than the window: " + wide);
return out;
"#;

/// All of WCAG 2.1 at level A and AA that can be checked by a program.
const AXE: &str = r#"
const only = { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] };
return axe.run(document, { runOnly: only }).then((found) => found.violations.map((v) =>
  v.id + ": " + v.help + ": " + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(" | ")));
"#;

/// Killed when dropped, with all its processes and files.
pub struct Chromium {
    driver: Child,
    session: String,
    client: reqwest::Client,
    _profile: tempfile::TempDir,
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The browser does not end with its driver.
        let _ = kill_process_group(Pid::from_child(&self.driver), Signal::KILL);
        let _ = self.driver.wait();
    }
}

impl Chromium {
    /// `None` when browser or driver are not installed.
    pub async fn start() -> Option<Self> {
        let driver = ["/usr/bin/chromedriver"].into_iter().find(|p| Path::new(p).exists())?;
        let port = free_port();
        let mut command = Command::new(driver);
        let (client, profile) = (reqwest::Client::new(), tempfile::tempdir().unwrap());
        command.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        // Both leave files where temporary ones are kept.
        command.env("TMPDIR", profile.path()).process_group(0);
        let driver = command.spawn().unwrap();
        let base = format!("http://127.0.0.1:{port}");
        let mut this = Self { driver, session: String::new(), client, _profile: profile };
        until("chromedriver", async || this.client.get(format!("{base}/status")).send().await.ok()).await;
        let profile = format!("--user-data-dir={}", this._profile.path().display());
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            &profile,
        ];
        let options = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": args}, "goog:loggingPrefs": {"browser": "ALL"}}}});
        let made = this.send(&format!("{base}/session"), &options).await;
        this.session = format!("{base}/session/{}", made["sessionId"].as_str().unwrap());
        Some(this)
    }

    async fn send(&self, url: &str, body: &Value) -> Value {
        let answer = self.client.post(url).json(body).send().await.unwrap();
        let body: Value = answer.json().await.unwrap();
        assert!(body["value"].get("error").is_none(), "{url}: {body}");
        body["value"].clone()
    }

    async fn post(&self, what: &str, body: Value) -> Value {
        self.send(&format!("{}/{what}", self.session), &body).await
    }

    pub async fn open(&self, url: &str) {
        self.post("url", json!({"url": url})).await;
    }

    /// What the script returns.
    pub async fn run(&self, script: &str) -> Value {
        self.post("execute/sync", json!({"script": script, "args": []})).await
    }

    /// Waits until the expression is true.
    pub async fn until(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        until(expression, async || (self.run(&script).await == json!(true)).then_some(())).await;
    }

    /// Types into what the selector finds.
    pub async fn type_into(&self, selector: &str, text: &str) {
        let found = self.post("element", json!({"using": "css selector", "value": selector})).await;
        let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.post(&format!("element/{id}/value"), json!({"text": text})).await;
    }

    /// Signs in on the page for it, which is open.
    pub async fn sign_in(&self, name: &str, password: &str) {
        self.type_into("[name=name]", name).await;
        self.type_into("[name=password]", password).await;
        self.run("document.querySelector('main button').click()").await;
        self.until("location.pathname !== '/login'").await;
    }

    /// Presses a key on the page.
    pub async fn press(&self, key: &str) {
        let keys = json!([{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]);
        self.post("actions", json!({"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})).await;
    }

    /// Size of the page, and whether the system asks for dark.
    pub async fn look(&self, width: u32, height: u32, dark: bool) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.post("goog/cdp/execute", json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": size})).await;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.post("goog/cdp/execute", json!({"cmd": "Emulation.setEmulatedMedia", "params": media})).await;
    }

    /// A picture of the page, when somebody named a folder for them (`GATEWATCH_SCREENSHOTS`).
    pub async fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("GATEWATCH_SCREENSHOTS").map(PathBuf::from) else { return };
        let png = self.client.get(format!("{}/screenshot", self.session)).send().await.unwrap();
        let png: Value = png.json().await.unwrap();
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD.decode(png["value"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), bytes).unwrap();
    }

    /// Nothing keeps anybody from using the page, and it complained of nothing itself. axe-core comes with `make test-deps`.
    pub async fn is_clean(&self, page: &str) {
        assert_eq!(self.run(LAYOUT).await, json!([]), "{page}");
        let axe = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/axe/axe.min.js");
        if let Ok(axe) = std::fs::read_to_string(axe) {
            self.run(&axe).await;
            assert_eq!(self.run(AXE).await, json!([]), "{page}");
        } else {
            println!("{page}: not checked for accessibility, run scripts/axe.sh first");
        }
        let complaints = self.complaints().await;
        assert!(complaints.is_empty(), "{page}: {complaints:?}");
    }

    /// What the page complained about since last asked: errors of scripts, refused by the policy.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.post("se/log", json!({"type": "browser"})).await;
        let lines = log.as_array().unwrap().iter().filter(|l| l["level"] == "SEVERE");
        lines.map(|l| l["message"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

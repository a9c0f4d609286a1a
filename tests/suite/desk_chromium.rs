//! The whole story of the desk in two windows of a real browser, one in Vietnamese and one in English. What persons do, they do with
//! the pages' own forms, buttons and keys. With `GATEWATCH_SCREENSHOTS` naming a folder each step is also pictured there.

use gatewatch::camera::Codec;
use gatewatch::desk::config::{BoxConfig, DatabaseConfig};
use gatewatch::simulate::ServerOptions;
use serde_json::json;

use crate::agent::ONE;
use crate::support::desk::{PASSWORD, Room};
use crate::support::gate::{Gate, area, bay, bay_polygon, camera, own_model, serve};
use crate::support::until;
use crate::support::webdriver::Chromium;

/// In Vietnamese and in English.
type Words = (&'static str, &'static str);
const ACKNOWLEDGED: Words = ("Đã xác nhận", "Acknowledged");
const SETTLED: Words = ("Đã thanh khoản", "Settled");

/// A browser in one language.
struct Window<'a> {
    page: Chromium,
    room: &'a Room,
    english: bool,
}

impl<'a> Window<'a> {
    /// With the sign-in page in its language; `None` where there is no browser.
    async fn open(room: &'a Room, english: bool) -> Option<Self> {
        let this = Self { page: Chromium::start().await?, room, english };
        this.page.look(1366, 768, false).await;
        this.go("/login").await;
        if english {
            this.send("form[action=\"/language\"]", &[]).await;
        }
        this.shows("login", "h1", ("Đăng nhập", "Sign in")).await;
        Some(this)
    }

    fn word(&self, (vietnamese, english): Words) -> &'static str {
        if self.english { english } else { vietnamese }
    }

    async fn go(&self, path: &str) {
        self.page.open(&self.room.url(path)).await;
    }

    async fn text(&self, expression: &str) -> String {
        self.page.run(&format!("return {expression}")).await.as_str().unwrap().to_owned()
    }

    /// Waits until an element says it in the window's language, and pictures the page, to which nothing was refused.
    async fn shows(&self, step: &str, selector: &str, words: Words) {
        self.page.until(&has(selector, self.word(words))).await;
        self.page.picture(&format!("chromium-{step}-{}", self.word(("vi", "en")))).await;
        assert_eq!(self.page.complaints().await, Vec::<String>::new(), "{step}");
    }

    /// As [`Self::shows`], of a page that does not change by itself.
    async fn finds(&self, path: &str, step: &str, selector: &str, words: Words) {
        let opened = async || {
            self.go(path).await;
            (self.page.run(&format!("return {}", has(selector, self.word(words)))).await == true).then_some(())
        };
        until(step, opened).await;
        self.shows(step, selector, words).await;
    }

    /// Clicks what can be seen.
    async fn click(&self, selector: &str) {
        self.page.until(&format!("document.querySelector('{selector}')?.checkVisibility()")).await;
        self.page.run(&format!("document.querySelector('{selector}').click()")).await;
    }

    /// Fills a form of the page and sends it by its button; what is folded is unfolded first.
    async fn send(&self, form: &str, fields: &[(&str, &str)]) {
        let folded = format!("document.querySelector('{form}').closest('details:not([open])')");
        self.page.run(&format!("{folded}?.querySelector('summary').click()")).await;
        for (name, value) in fields {
            let (field, sent) = (format!("{form} [name={name}]"), json!(value));
            // Lists are chosen from; what stands in a field already is replaced.
            let set = format!("const f = document.querySelector('{field}'); f.value = f.options ? {sent} : '';");
            if self.page.run(&format!("{set} return !f.options")).await == true {
                self.page.type_into(&field, value).await;
            }
        }
        // The next page is another one, also where it has the same address.
        self.page.run("window.old = true").await;
        self.click(&format!("{form} button:not([type=button])")).await;
        self.page.until("!window.old && document.readyState === 'complete'").await;
    }

    /// Signs out whoever sits here, and another one in, who opens a page.
    async fn sign_in(&self, name: &str, path: &str) {
        if self.page.run("return Boolean(document.querySelector('form[action=\"/logout\"]'))").await == true {
            self.send("form[action=\"/logout\"]", &[]).await;
        }
        self.send("form[action=\"/login\"]", &[("name", name), ("password", PASSWORD)]).await;
        self.page.until(&has(".who", name)).await;
        self.go(path).await;
    }

    /// By the key, on the list.
    async fn acknowledge(&self, id: &str) {
        self.page.run(&format!("document.getElementById('a-{id}').focus()")).await;
        self.page.press("a").await;
        self.shows("acknowledged", &format!("#a-{id} .state"), ACKNOWLEDGED).await;
    }

    /// A step of a tip by its form, and what the tip is then.
    async fn step(&self, step: &str, fields: &[(&str, &str)], state: Words) {
        self.send(&format!("form[action$=\"/{step}\"]"), fields).await;
        self.shows(&format!("tip-{}", step.replace('/', "-")), "main .state", state).await;
    }
}

fn has(selector: &str, text: &str) -> String {
    format!("document.querySelector('{selector}')?.textContent.includes({})", json!(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn from_live_alerts_to_settled_tips_in_two_languages() {
    let _alone = ONE.lock().await;
    let server = serve(bay(), Codec::H264, ServerOptions::default());
    let mut gates: Vec<Gate> = Vec::new();
    let room = Room::start(DatabaseConfig::default(), |c| {
        for id in ["gate-01", "gate-02"] {
            let mut watched = camera("bay", server.url("bay"));
            watched.areas = vec![area("bay-1", bay_polygon(), 3.0)];
            let mut gate = Gate::new(own_model(), c.mqtt.url.clone(), vec![watched]);
            (gate.config.site.box_id, gate.config.footage.segment_s) = (id.into(), 5);
            let url = format!("http://{}", gate.config.http.listen.unwrap());
            c.boxes.push(BoxConfig { office: "15BB".into(), id: id.into(), url, ..BoxConfig::default() });
            gates.push(gate);
        }
        c.alerts.escalate_after_s = 20;
    })
    .await;
    let (Some(vi), Some(en)) = (Window::open(&room, false).await, Window::open(&room, true).await) else {
        println!("skipped: no browser (Debian packages `chromium` and `chromium-driver`)");
        return;
    };
    let mut admin = room.administrator().await;
    for (name, role) in [("an", "officer"), ("binh", "shift_leader"), ("cuong", "field"), ("dung", "auditor")] {
        room.account(&mut admin, name, role, "*").await;
    }
    for window in [&vi, &en] {
        window.sign_in("an", "/alerts?similar=show").await;
        window.page.run("window.first = true").await;
    }
    gates.iter_mut().for_each(Gate::start);
    let [looked_at, unseen] = [arrives(&vi, &en, "gate-01").await, arrives(&vi, &en, "gate-02").await];
    vi.acknowledge(&looked_at).await;
    for window in [&vi, &en] {
        // Nobody looks at the other one: it goes up by itself.
        window.shows("acknowledged", &format!("#a-{looked_at} .state"), ACKNOWLEDGED).await;
        window.shows("escalated", &format!("#a-{unseen} .up"), ("Đã chuyển cấp trên", "Escalated")).await;
        assert!(window.page.run("return window.first").await == true, "all of it on the page that was opened first");
    }
    let tip = settled(&vi, &looked_at, "2.500.000.000").await;
    let tips = ("Tin báo đã phát1Đã thanh khoản1Chưa xong0", "Tips issued2Settled2Open0");
    let money = ("Truy thu thuế2.500.000.000 đồng", "Tax recovered4.000.000.000 VND");
    reported(&vi, tips, money).await;
    audited(&vi, &looked_at, &tip).await;
    en.acknowledge(&unseen).await;
    let tip = settled(&en, &unseen, "1.500.000.000").await;
    reported(&en, tips, money).await;
    audited(&en, &unseen, &tip).await;
    drop((vi, en));
    room.desk.stop().await;
}

/// The alert of a box on both open pages.
async fn arrives(vi: &Window<'_>, en: &Window<'_>, box_id: &str) -> String {
    let card = format!("document.querySelector('.alert[data-group*=\"|{box_id}|\"][data-group*=\"|dwell|\"]')");
    vi.page.until(&card).await;
    let id = vi.text(&format!("{card}.dataset.id")).await;
    for window in [vi, en] {
        window.shows("arrived", &format!("#a-{id} strong"), ("Ở lại quá thời hạn", "Stayed too long")).await;
    }
    id
}

/// From an acknowledged alert over its footage to a tip, which is settled. They write Vietnamese on English pages too.
async fn settled(window: &Window<'_>, id: &str, money: &str) -> String {
    let alert = format!("/alerts/{id}");
    window.go(&alert).await;
    window.send("#hold form", &[("note", "nghi vấn hàng hóa")]).await;
    window.finds(&alert, "held", ".side-column .history .good", ("trạm đã nhận: ", "taken by the box: ")).await;
    window.click("#footage a[data-footage]").await;
    // Without sound it plays though nobody touched the page with a real mouse.
    let video = "document.querySelector('#footage video')";
    window.page.until(&format!("{video} && ({video}.muted = true) && {video}.play()")).await;
    window.page.until(&format!("{video}.currentTime > 1.5")).await;
    window.shows("played", "#footage h2", ("Video", "Video")).await;
    // By the key, to a form that is filled from the alert.
    window.page.press("t").await;
    window.page.until("document.querySelector('main [name=office]')?.value === '15BB'").await;
    window.send("main form", &[("suspicion", "quantity"), ("decl", "10123456789"), ("subject", "Sai số lượng")]).await;
    window.shows("tip-draft", "main .state", ("Bản nháp", "Draft")).await;
    let tip = window.text("location.pathname").await;
    window.sign_in("binh", &tip).await;
    window.step("lead/issue", &[], ("Đã phát", "Issued")).await;
    window.finds(&tip, "tip-answered-1", ".main-column", ("gate-01", "gate-01")).await;
    window.finds(&tip, "tip-answered-2", ".main-column", ("gate-02", "gate-02")).await;
    // The office that checks finds it by the number of tips that call.
    window.sign_in("cuong", "/").await;
    window.page.until(&has("#calls-count", "1")).await;
    window.click("#calls-count").await;
    window.click(&format!("main a[href=\"{tip}\"]")).await;
    window.page.until(&format!("location.pathname === '{tip}'")).await;
    window.step("work/receive", &[], ("Đã tiếp nhận", "Received")).await;
    window.step("work/start", &[], ("Đang kiểm tra", "Checking")).await;
    let line = [("kind", "recovery"), ("amount", money), ("decision", "12/QĐ")];
    window.step("work/money", &line, ("Đang kiểm tra", "Checking")).await;
    window.step("work/report", &[("text", "Thiếu 20 kiện")], ("Đã báo cáo kết quả", "Reported")).await;
    window.sign_in("binh", &tip).await;
    window.step("lead/settle", &[("result", "violation"), ("basis", "Điều 9")], SETTLED).await;
    tip
}

/// The report of the duty day, chosen with its own form: labels and figures as they follow each other.
async fn reported(window: &Window<'_>, tips: Words, money: Words) {
    window.go("/reports").await;
    window.send("form[action=\"/reports\"]", &[("period", "duty_day")]).await;
    window.shows("report", "main:has([value=duty_day][selected]) .figures", tips).await;
    window.shows("report", ".figures", money).await;
}

/// The auditor finds who saw and decided what, and changes nothing.
async fn audited(window: &Window<'_>, id: &str, tip: &str) {
    window.sign_in("dung", tip).await;
    window.shows("audit-settled", "main .state", SETTLED).await;
    assert!(
        window.page.run("return document.querySelector('main form')").await.is_null(),
        "an auditor changes nothing"
    );
    let number = window.text("document.querySelector('h1').textContent.split(' ').pop()").await;
    let of_alert = ["an alert.view", "an clip.view", "an alert.ack", "an alert.hold", "an tip.new"];
    let of_tip = ["an tip.create", "binh tip.issue", "cuong tip.receive", "cuong tip.money", "binh tip.settle"];
    for (about, acts) in [(id, of_alert), (number.as_str(), of_tip)] {
        window.go("/audit").await;
        window.send("main form", &[("q", about)]).await;
        // Who and what stand side by side.
        let rows = window.text("document.querySelector('tbody').textContent").await;
        assert!(acts.iter().all(|act| rows.contains(&act.replace(' ', ""))), "{acts:?} of {about}: {rows}");
        window.shows("audit", "main .good", ("Chuỗi nhật ký nguyên vẹn", "The chain is whole")).await;
    }
}

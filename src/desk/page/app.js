// The live page: takes changes from /live, keeps one card per event, newest first. No library.
"use strict";

const WORDS = {
  vi: {
    title: "gatewatch — trực ban giám sát", skip: "Đến danh sách sự kiện", cameras: "Camera", empty: "Chưa có sự kiện nào. Sự kiện sẽ hiện ở đây ngay khi xảy ra.",
    lost: "Mất kết nối với gatewatch — đang tự kết nối lại. Dữ liệu bên dưới có thể đã cũ.", broker: "Trang này mất kết nối với máy chủ MQTT — đang tự kết nối lại. Dữ liệu bên dưới có thể đã cũ.",
    sev: { 1: "Thông tin", 2: "Chú ý", 3: "Nghiêm trọng", 4: "Khẩn cấp" }, alert: "cảnh báo",
    phase: { new: "mới", update: "cập nhật", end: "kết thúc" },
    rule: { enter: "Vào khu vực", exit: "Rời khu vực", dwell: "Ở lại quá lâu", line_cross: "Cắt qua vạch", wrong_way: "Đi ngược chiều", tailgating: "Bám đuôi qua barrier",
      gate_out: "Ra cổng, được phép", gate_out_not_released: "RA CỔNG KHI CHƯA ĐƯỢC PHÉP", gate_out_unchecked: "Ra cổng, chưa đối chiếu được", restricted: "Trong khu vực cấm",
      occupancy: "Quá số lượng cho phép", stopped: "Dừng đỗ", bay_occupied: "Ô kiểm tra có xe", bay_empty: "Ô kiểm tra đã trống", bay_unbooked: "Xe trong ô không có lịch đặt", bay_wrong_vehicle: "XE TRONG Ô KHÔNG ĐÚNG LỊCH ĐẶT",
      person_without_inspection: "Có người khi chưa mở kiểm tra", opened_without_inspection: "MỞ HÀNG KHI CHƯA MỞ KIỂM TRA", object_left: "Vật bị bỏ lại", object_removed: "Vật bị lấy đi" },
    check: "Đối chiếu", question: { may_leave: "được phép qua khu vực giám sát", booked: "có lịch đặt", inspection_open: "đang mở kiểm tra", right_vehicle: "đúng xe đã đặt lịch" }, answer: { yes: "có", no: "KHÔNG", unknown: "chưa đối chiếu được" },
    count: "Số lượng", similar: (n) => `ẩn ${n} cảnh báo tương tự`, limited: (n) => `${n} sự kiện bị giới hạn`, jump: "nghi nhầm đối tượng",
    direction: { left_to_right: "trái sang phải", right_to_left: "phải sang trái" },
    verdict: { linked: "đã gắn", proposed: "có thể", ambiguous: "nhiều tờ khai phù hợp", unlinked: "chưa gắn tờ khai" },
    method: { officer: "do cán bộ gắn", container_ocr: "theo số container", seal: "theo số chì", plate_ocr: "theo biển số", booking: "theo lịch đặt chỗ", visit: "theo lượt xe vào" }, sure: "độ tin cậy", channel: { 1: "luồng xanh", 2: "luồng vàng", 3: "luồng đỏ" },
    stale: "dữ liệu tờ khai đã cũ", unknown: "chưa nhận được tờ khai này",
    camera: "Camera", area: "Khu vực", what: "Quy tắc", object: "Đối tượng", time: "Thời gian", dwell: "Thời gian ở lại", cont: "Container",
    label: { truck: "xe tải", car: "ô tô con", person: "người", bus: "xe khách", two_wheeler: "xe hai bánh", container: "công-ten-nơ", forklift: "xe nâng", train: "tàu hoả" },
    ago: "trước", picture: { waiting: "Đang chờ ảnh", mismatch: "Ảnh nhận được KHÔNG khớp mã SHA-256 của sự kiện — không hiển thị", none: "Không có ảnh" }, pictureOf: "Ảnh của sự kiện",
    state: { connecting: "đang kết nối", running: "hoạt động", stalled: "đứng hình", refused: "sai mật khẩu", lost: "mất kết nối", stopped: "đã dừng" },
    online: "trực tuyến", offline: "ngoại tuyến", historical: "gửi trễ",
    counters: { unique: "Sự kiện", shown: "Đang hiện", ok: "Ảnh khớp", bad: "Ảnh sai", gaps: "Thiếu", dup: "Trùng" },
    condition: { signal_lost: "mất tín hiệu", stalled: "không có hình", frozen: "hình đứng", covered: "bị che", defocused: "mất nét", moved: "lệch góc nhìn", too_dark: "quá tối", too_bright: "quá sáng", low_frame_rate: "ít khung hình", decode_errors: "lỗi giải mã", clock_suspect: "sai giờ", clock_drift: "đồng hồ trôi" },
    reason: { track_lost: "mất dấu đối tượng", camera_lost: "mất camera", restart: "khởi động lại", resolved: "đã hết lý do" },
  },
  en: {
    title: "gatewatch — surveillance duty", skip: "Skip to events", cameras: "Cameras", empty: "No events yet. They appear here the moment they happen.",
    lost: "Connection to gatewatch lost — reconnecting by itself. What is below may be out of date.", broker: "This page lost the MQTT broker — reconnecting by itself. What is below may be out of date.",
    sev: { 1: "Information", 2: "Notice", 3: "Serious", 4: "Critical" }, alert: "alert",
    phase: { new: "new", update: "update", end: "ended" },
    rule: { enter: "Entered the area", exit: "Left the area", dwell: "Stayed too long", line_cross: "Crossed the line", wrong_way: "Wrong way", tailgating: "Tailgating",
      gate_out: "Left the gate, allowed", gate_out_not_released: "LEFT THE GATE WITHOUT RELEASE", gate_out_unchecked: "Left the gate, could not be checked", restricted: "In a closed area",
      occupancy: "Too many in the area", stopped: "Stopped", bay_occupied: "Bay occupied", bay_empty: "Bay empty", bay_unbooked: "Bay occupied without a booking", bay_wrong_vehicle: "NOT THE BOOKED VEHICLE IN THE BAY",
      person_without_inspection: "People without an inspection", opened_without_inspection: "OPENED WITHOUT AN INSPECTION", object_left: "Object left", object_removed: "Object removed" },
    check: "Checked", question: { may_leave: "may leave", booked: "booked", inspection_open: "inspection open", right_vehicle: "the booked vehicle" }, answer: { yes: "yes", no: "NO", unknown: "could not be checked" },
    count: "Number", similar: (n) => `${n} similar hidden`, limited: (n) => `${n} events held back by the limit`, jump: "objects may be mixed up",
    direction: { left_to_right: "left to right", right_to_left: "right to left" },
    verdict: { linked: "linked", proposed: "possible", ambiguous: "several declarations fit", unlinked: "no declaration linked" },
    method: { officer: "by an officer", container_ocr: "by container number", seal: "by seal number", plate_ocr: "by plate", booking: "by booking", visit: "by the vehicle's visit" }, sure: "confidence", channel: { 1: "green channel", 2: "yellow channel", 3: "red channel" },
    stale: "declaration data is out of date", unknown: "this declaration was never received",
    camera: "Camera", area: "Area", what: "Rule", object: "Object", time: "Time", dwell: "Time in area", cont: "Container",
    label: { two_wheeler: "two-wheeler" },
    ago: "ago", picture: { waiting: "Waiting for the picture", mismatch: "The picture received does NOT match the event's SHA-256 — not shown", none: "No picture" }, pictureOf: "Picture of the event",
    state: { connecting: "connecting", running: "running", stalled: "stalled", refused: "password refused", lost: "lost", stopped: "stopped" },
    online: "online", offline: "offline", historical: "sent late",
    counters: { unique: "Events", shown: "Shown", ok: "Pictures matched", bad: "Pictures wrong", gaps: "Missing", dup: "Duplicates" },
    condition: { signal_lost: "signal lost", stalled: "stalled", frozen: "frozen", covered: "covered", defocused: "out of focus", moved: "moved", too_dark: "too dark", too_bright: "too bright", low_frame_rate: "low frame rate", decode_errors: "decode errors", clock_suspect: "clock wrong", clock_drift: "clock drifts" },
    reason: { track_lost: "object lost from view", camera_lost: "camera lost", restart: "restarted", resolved: "no longer a reason" },
  },
};

const $ = (id) => document.getElementById(id);
const stored = (() => { try { return localStorage.getItem("lang"); } catch { return null; } })();
const asked = new URLSearchParams(location.search).get("lang");
let lang = [asked, stored, "vi"].find((l) => l in WORDS);
let t = WORDS[lang];
const cards = new Map(); // id -> {card, node}
const boxes = new Map();
const cameras = new Map();
let counters = null;
let connected = true;
let clockOffset = 0; // server minus browser, ms
let quiet = true; // no announcements while the first picture of things is sent

// Text only, never HTML: names come from outside.
function el(tag, attrs, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attrs || {})) if (value !== null && value !== undefined) node.setAttribute(key, value);
  node.append(...children.filter((c) => c !== null && c !== undefined && c !== ""));
  return node;
}

function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n) => String(n).padStart(2, "0");
  if (s < 60) return s + (lang === "vi" ? " giây" : " s");
  if (s < 3600) return `${Math.floor(s / 60)}:${two(s % 60)}` + (lang === "vi" ? " phút" : " min");
  return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

// Of the box, not of the browser: an officer elsewhere must read the gate's time.
const clock = (iso) => new Intl.DateTimeFormat(lang === "vi" ? "vi-VN" : "en-GB", { timeZone: "Asia/Ho_Chi_Minh", dateStyle: "short", timeStyle: "medium" }).format(new Date(iso));
const now = () => Date.now() + clockOffset;

function links(link) {
  const box = el("div", { class: "links" });
  const verdict = el("span", { class: "verdict " + link.verdict }, t.verdict[link.verdict] || link.verdict);
  if (link.links.length === 0) box.append(el("div", {}, verdict));
  link.links.forEach((l, i) => {
    const channel = t.channel[l.channel] ? el("span", { class: "channel c" + l.channel }, t.channel[l.channel]) : null;
    box.append(el("div", { class: "decl" }, l.decl_key, channel));
    const how = el("div", { class: "how" });
    if (i === 0) how.append(verdict, " · ");
    how.append(`${t.method[l.method] || l.method} · ${t.sure} ${Math.round(l.confidence * 100)} %`);
    if (!l.declaration_known) how.append(" · " + t.unknown);
    if (l.containers.length) how.append(` · ${t.cont} ${l.containers.join(", ")}`);
    box.append(how);
  });
  if (link.feed_stale) box.append(el("div", { class: "how" }, "⚠ " + t.stale));
  return box;
}

function picture(card, name) {
  const box = el("div", { class: "pic" });
  if (card.shown) box.append(el("img", { src: `/picture/${card.shown}.jpg`, alt: `${t.pictureOf}: ${name}`, loading: "lazy" }));
  if (card.picture !== "ok") {
    const why = card.picture === "none" && card.event.data.snapshot_missing ? ": " + card.event.data.snapshot_missing : "";
    box.append(el("div", { class: "note" + (card.picture === "mismatch" ? " bad" : "") }, t.picture[card.picture] + why));
  }
  return box;
}

function facts(d) {
  const list = el("dl", { class: "facts" });
  const row = (name, ...value) => list.append(el("dt", {}, name), el("dd", {}, ...value));
  const direction = d.direction ? ` (${t.direction[d.direction] || d.direction})` : "";
  const ended = d.end_reason && t.reason[d.end_reason] ? ` — ${t.reason[d.end_reason]}` : "";
  row(t.what, (t.rule[d.rule] || d.rule) + direction + ended);
  if (d.check) row(t.check, `${t.question[d.check.question] || d.check.question}: ${t.answer[d.check.answer] || d.check.answer}`, d.check.basis.length ? ` (${d.check.basis.join("; ")})` : null);
  if (d.count !== null && d.count !== undefined) row(t.count, String(d.count));
  const notes = [d.suppressed ? t.similar(d.suppressed) : "", d.rate_limited ? t.limited(d.rate_limited) : "", d.implausible_jump ? t.jump : ""].filter(Boolean);
  if (notes.length) row("⚠", notes.join(" · "));
  row(t.camera, d.camera.name || d.camera.id);
  row(t.area, d.area.name || d.area.id);
  row(t.object, `${t.label[d.object.label] || d.object.label} · ${Math.round(d.object.score * 100)} %`);
  row(t.time, clock(d.capture.start), " · ", el("span", { class: "age", "data-at": Date.parse(d.capture.start) }), d.sequence.historical ? " · " + t.historical : null);
  if (d.dwell_ms !== null && d.dwell_ms !== undefined) {
    // A lasting event goes on between its messages.
    const attrs = d.phase === "end" ? {} : { class: "dwell", "data-ms": d.dwell_ms, "data-at": Date.parse(d.capture.best) };
    row(t.dwell, el("span", attrs, span(d.dwell_ms)));
  }
  return list;
}

function draw(card) {
  const d = card.event.data;
  const severity = (t.sev[d.severity] || d.severity) + (card.alert ? " · " + t.alert : "");
  const name = `${severity}, ${t.rule[d.rule] || d.rule}, ${d.area.name || d.area.id}`;
  const node = el("article", { "data-severity": d.severity, tabindex: "0", "aria-label": name },
    el("div", { class: "top" }, el("span", { class: "sev" }, severity), el("span", { class: "phase" }, `${t.phase[d.phase] || d.phase} · ${d.office}/${d.box}`)),
    links(d.link), picture(card, name), facts(d));
  return node;
}

function place(card) {
  const old = cards.get(card.id);
  const node = draw(card);
  if (old) {
    // Keep the loaded picture: no flicker on an update.
    const before = old.node.querySelector("img"), after = node.querySelector("img");
    if (before && after && before.getAttribute("src") === after.getAttribute("src")) after.replaceWith(before);
    const focused = document.activeElement === old.node;
    old.node.replaceWith(node);
    if (focused) node.focus();
  } else {
    const next = [...$("cards").children].find((n) => Number(n.dataset.order) < card.order);
    $("cards").insertBefore(node, next || null);
    if (!quiet) {
      node.classList.add("fresh");
      setTimeout(() => node.classList.remove("fresh"), 4000);
      if (card.alert) $("say").textContent = node.getAttribute("aria-label");
    }
  }
  node.dataset.order = card.order;
  cards.set(card.id, { card, node });
}

function chips() {
  const chip = (name, good, word, why) => el("span", { class: "chip " + (good ? "ok" : "not"), title: why || null }, name + " ", el("b", {}, word));
  $("boxes").replaceChildren(...[...boxes].sort().map(([n, b]) => chip(n, b.online, b.online ? t.online : t.offline)));
  $("cameras").replaceChildren(...[...cameras].sort().map(([n, b]) => {
    const wrong = (b.conditions || []).map((c) => t.condition[c.condition] || c.condition);
    return chip(n, b.state === "running" && wrong.length === 0, [t.state[b.state] || b.state, ...wrong].join(", "), b.reason);
  }));
}

function count() {
  if (!counters) return;
  const s = counters.stats, c = t.counters;
  const rows = [[c.unique, s.unique_events], [c.shown, cards.size], [c.ok, s.pictures_ok], [c.bad, s.pictures_mismatch, true], [c.gaps, s.gaps, true], [c.dup, s.duplicates]];
  $("counters").replaceChildren(...rows.map(([n, v, bad]) => el("div", {}, el("dt", {}, n), el("dd", { class: bad && v > 0 ? "bad" : null }, String(v)))));
  banner();
}

function banner() {
  const text = !connected ? t.lost : counters && !counters.broker ? t.broker : "";
  $("lost").hidden = !text;
  if ($("lost").textContent !== text) $("lost").textContent = text;
}

function tick() {
  for (const node of document.querySelectorAll(".age")) {
    const age = span(now() - Number(node.dataset.at));
    node.textContent = `${age} ${t.ago}`;
  }
  for (const node of document.querySelectorAll(".dwell")) node.textContent = span(Number(node.dataset.ms) + Math.max(0, now() - Number(node.dataset.at)));
  $("empty").hidden = cards.size > 0;
}

const apply = {
  card: (c) => place(c.card),
  gone: (c) => { const old = cards.get(c.id); if (old) { old.node.remove(); cards.delete(c.id); } },
  box: (c) => { boxes.set(c.name, c.body); chips(); },
  camera: (c) => { cameras.set(c.name, c.body); chips(); },
};

function words() {
  document.documentElement.lang = lang;
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t[node.dataset.t];
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t[node.dataset.label]);
  $("lang").textContent = lang === "vi" ? "English" : "Tiếng Việt";
  $("lang").lang = lang === "vi" ? "en" : "vi";
  document.title = t.title;
  for (const { card } of [...cards.values()]) place(card);
  chips(); count(); tick();
}

$("lang").addEventListener("click", () => {
  lang = lang === "vi" ? "en" : "vi";
  t = WORDS[lang];
  try { localStorage.setItem("lang", lang); } catch { /* private window */ }
  words();
});

function connect() {
  const source = new EventSource("/live");
  let heard = Date.now();
  const on = (name, f) => source.addEventListener(name, (e) => { heard = Date.now(); f(JSON.parse(e.data)); });
  on("reset", () => { quiet = true; cards.clear(); boxes.clear(); cameras.clear(); $("cards").replaceChildren(); connected = true; banner(); });
  on("shown", () => { quiet = false; chips(); tick(); });
  on("change", (c) => { apply[c.kind](c); tick(); });
  on("counters", (c) => { counters = c; clockOffset = Date.parse(c.now) - Date.now(); connected = true; count(); });
  const again = () => { source.close(); clearInterval(watch); connected = false; banner(); setTimeout(connect, 1500); };
  source.onerror = again;
  // Counters come every 2 s; silence means a dead connection that the browser has not noticed.
  const watch = setInterval(() => { if (Date.now() - heard > 8000) again(); }, 1000);
}

words();
connect();
setInterval(tick, 1000);

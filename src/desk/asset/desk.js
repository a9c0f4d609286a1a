// The desk's script: live alerts, ticking ages, sound, keys. Every page works without it.
"use strict";

const list = document.getElementById("alerts");
const units = (document.querySelector("[data-units]")?.dataset.units || "").split("|");

// ---- ages
function words(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const parts = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60, s % 60];
  let first = parts.findIndex((n) => n > 0);
  if (first < 0) first = 3;
  const shown = [];
  for (let i = first; i < Math.min(first + 2, 4); i++) if (parts[i] > 0) shown.push(parts[i] + " " + units[i]);
  return shown.length ? shown.join(" ") : "0 " + units[3];
}
function tick() {
  if (units.length < 4) return;
  for (const age of document.querySelectorAll(".age")) age.textContent = words(Date.now() - Number(age.dataset.since));
}
setInterval(tick, 1000);

// ---- what a browser remembers from page to page
function kept(key) {
  try { return localStorage.getItem(key); } catch { return null; }
}
function keep(key, value) {
  try { localStorage.setItem(key, value); } catch { /* the browser keeps nothing: then each page begins anew */ }
}

// ---- sound: a browser makes none before somebody asked for it. Whoever did need not ask on every page again; where the browser
// waits for a key or a click all the same, the button says so
const soundButton = document.getElementById("sound");
let sound = null;
const sounds = () => sound?.state === "running";
function showSound() {
  soundButton.setAttribute("aria-pressed", String(sounds()));
  soundButton.textContent = sounds() ? soundButton.dataset.off : soundButton.dataset.on;
}
function setSound(on) {
  if (on && !sound) {
    sound = new AudioContext();
    sound.onstatechange = showSound;
  }
  if (!on && sound) { sound.close(); sound = null; }
  if (sound?.state === "suspended") sound.resume();
  keep("gw-sound", on ? "on" : "off");
  showSound();
}
soundButton?.addEventListener("click", (event) => {
  event.stopPropagation();
  setSound(!sounds());
});
if (soundButton && kept("gw-sound") === "on") setSound(true);
for (const kind of ["pointerdown", "keydown"]) {
  document.addEventListener(kind, (event) => {
    if (sound?.state === "suspended" && event.target !== soundButton) sound.resume();
  });
}
function beep(severity) {
  if (!sounds()) return;
  const tones = severity >= 4 ? [880, 660, 880, 660] : [740, 740];
  tones.forEach((hz, i) => {
    const at = sound.currentTime + i * 0.22;
    const tone = sound.createOscillator();
    const loud = sound.createGain();
    tone.frequency.value = hz;
    loud.gain.setValueAtTime(0.0001, at);
    loud.gain.exponentialRampToValueAtTime(0.3, at + 0.02);
    loud.gain.exponentialRampToValueAtTime(0.0001, at + 0.2);
    tone.connect(loud).connect(sound.destination);
    tone.start(at);
    tone.stop(at + 0.21);
  });
}

// ---- live alerts
const at = (card) => Number(card.dataset.at);
// Since when a card calls for somebody, by the desk's clock; 0 = it does not.
const call = (card) => Number(card.dataset.call || 0);
const newest = () => Math.max(0, ...[...list.children].map(call));
// A card rings and is spoken. Each time with a new element: the same words once more would not be spoken.
function ring(card) {
  beep(Number(card.dataset.severity));
  const words = document.createElement("span");
  words.textContent = card.querySelector(".sev").textContent + ": " + card.querySelector("strong").textContent;
  document.getElementById("say")?.replaceChildren(words);
}
// Red lines, each while something does not work.
function lamp(name, well) {
  document.getElementById(name).hidden = well;
}
function lamps(page) {
  for (const name of ["broker", "storing", "pictures"]) lamp(name, page.getElementById(name).hidden);
}
function place(card) {
  const later = [...list.children].find((other) => at(other) <= at(card));
  list.insertBefore(card, later || null);
}
// How many are open, as it was heard last since the list was asked for; null = nothing was.
let heard = null;
function counted(words) {
  heard = words;
  document.getElementById("counts").textContent = words;
}
// What changed and is not on this page may be one of the older ones that it says the number of.
function elsewhere(change) {
  const cards = [...list.children];
  const oldest = cards.length ? at(cards[cards.length - 1]) : 0;
  if (!document.getElementById("older").hidden && change.at <= oldest) later();
}
function show(change) {
  counted(change.counts);
  const old = document.getElementById("a-" + change.id);
  const had = old && old.contains(document.activeElement);
  // "+4" stands for cards that are not on the page: it stays as long as their situation is this card's, else they are fetched.
  const more = old?.querySelector(".more");
  if (!old) elsewhere(change);
  if (!change.html) {
    if (had) (old.nextElementSibling || old.previousElementSibling)?.focus();
    old?.remove();
    if (more) refresh();
    return;
  }
  const made = document.createElement("template");
  made.innerHTML = change.html;
  const card = made.content.firstElementChild;
  if (old) {
    old.replaceWith(card);
    const same = card.dataset.group === old.dataset.group && card.dataset.state === old.dataset.state;
    if (more && same) card.querySelector(".age").parentElement.append(more);
    else if (more) refresh();
  } else {
    place(card);
    // What has no room may be open still: with the list taken anew the page says how many of those there are.
    if (list.children.length > 300) later();
    while (list.children.length > 300) list.lastElementChild.remove();
    card.classList.add("fresh");
    setTimeout(() => card.classList.remove("fresh"), 8000);
  }
  if (had) card.focus();
  if (change.sound) ring(card);
  tick();
}
let broken = false;
function listen() {
  const lost = document.getElementById("lost");
  const stream = new EventSource(list.dataset.stream);
  stream.addEventListener("alert", (event) => {
    const change = JSON.parse(event.data);
    missed?.push(change);
    show(change);
  });
  stream.addEventListener("counts", (event) => counted(event.data));
  stream.addEventListener("refresh", later);
  stream.addEventListener("missed", refresh);
  stream.addEventListener("broker", (event) => lamp("broker", event.data === "1"));
  stream.addEventListener("lamps", (event) => {
    for (const [name, well] of Object.entries(JSON.parse(event.data))) lamp(name, well);
  });
  stream.onopen = () => {
    lost.hidden = true;
    broken = false;
  };
  stream.onerror = () => {
    broken = true;
    setTimeout(() => { if (broken) lost.hidden = false; }, 4000);
    if (stream.readyState === EventSource.CLOSED) { setTimeout(() => location.reload(), 5000); return; }
    // Not left to the browser, which would name the list of the first load for ever: the desk says `refresh` only when
    // something changed since the newest one.
    stream.close();
    setTimeout(listen, 1000 + Math.random() * 1000);
  };
}
// Much changed at once: the list is taken anew, not by all pages in the same moment and not all the time.
let waiting = 0;
function later() {
  if (!waiting) waiting = setTimeout(() => { waiting = 0; refresh(); }, 2000 + Math.random() * 3000);
}
// Changes that come while the list is on its way may be newer than it: they are shown again on it.
let missed = null;
async function refresh() {
  if (missed) { later(); return; }
  missed = [];
  heard = null;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok || answer.redirected) { location.reload(); return; }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const id = document.activeElement?.closest?.(".alert")?.id;
    const made = fresh.getElementById("alerts");
    const known = new Map([...list.children].map((card) => [card.id, call(card)]));
    // What was on no page before and calls for longer than the newest that was, only moved up into the list.
    const since = Math.max(0, newest() - 10000);
    list.replaceChildren(...made.children);
    list.dataset.stream = made.dataset.stream;
    document.getElementById("counts").textContent = fresh.getElementById("counts").textContent;
    document.getElementById("older").replaceWith(fresh.getElementById("older"));
    lamps(fresh);
    if (id) document.getElementById(id)?.focus();
    tick();
    const loud = [...list.children].filter((card) => call(card) > (known.get(card.id) ?? since));
    if (loud.length) ring(loud.reduce((worst, card) => (card.dataset.severity > worst.dataset.severity ? card : worst)));
    // They have sounded already.
    const last = heard;
    for (const change of missed) show({ ...change, sound: false });
    // So is a number that was heard meanwhile, after whichever of them.
    if (last !== null) counted(last);
  } catch {
    later();
  } finally {
    missed = null;
  }
}
if (list) listen();

// ---- tips that call for somebody, on every page: their number, and a notice with a sound for each that comes. One page of a
// browser listens, sounds and tells the others, since a browser has few connections for all of them together
const calls = document.getElementById("calls");
// Pages that are live themselves say so when they lose the desk.
const unheard = list || document.getElementById("live") ? null : document.getElementById("lost");
function called(change) {
  const count = document.getElementById("calls-count");
  count.textContent = change.count;
  count.hidden = change.count === 0;
  if (!change.html) return;
  const made = document.createElement("template");
  made.innerHTML = change.html;
  for (const one of [...made.content.children]) {
    document.getElementById(one.id)?.remove();
    calls.append(one);
  }
}
// What the page that listens says, here and to the others.
const calling = {
  called,
  lost(is) { if (unheard) unheard.hidden = !is; },
  // Somebody else is signed in now: what stands on this page is not for him, and what he is told not for it.
  other() { location.reload(); },
  // The page that listens may make no sound: one of those that may does it.
  async unsaid() {
    if (!sounds()) return;
    await navigator.locks.request("gatewatch-sound", { ifAvailable: true }, (mine) => {
      if (!mine) return null;
      beep(3);
      return new Promise((done) => setTimeout(done, 2000));
    });
  },
};
function hear(tell) {
  const key = "gw-calls " + calls.dataset.account;
  const stream = new EventSource("/tips/stream?seen=" + (kept(key) || calls.dataset.seen));
  stream.addEventListener("calls", (event) => {
    const change = JSON.parse(event.data);
    if (change.account !== calls.dataset.account) { stream.close(); tell("other"); return; }
    keep(key, change.seen);
    calls.dataset.seen = change.seen;
    tell("called", change);
    if (!change.html) return;
    beep(3);
    if (!sounds()) tell("unsaid");
  });
  let opened = false;
  let broken = false;
  stream.onopen = () => {
    opened = true;
    tell("lost", false);
  };
  stream.onerror = () => {
    if (broken) return;
    broken = true;
    const refused = stream.readyState === EventSource.CLOSED;
    stream.close();
    // The desk is not there, or who looks is signed out: nothing is heard, which is said, and what is typed stays.
    if (!opened) tell("lost", true);
    if (refused) setTimeout(() => whoIsIt(tell), 15000);
    else setTimeout(() => hear(tell), 1000 + Math.random() * 1000);
  };
}
// The desk refused: nobody is signed in, or somebody for whom no tip ever calls.
async function whoIsIt(tell) {
  try {
    const answer = await fetch("/password", { headers: { accept: "text/html" } });
    if (answer.ok && !answer.redirected) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (page.getElementById("calls")?.dataset.account !== calls.dataset.account) { tell("other"); return; }
    }
  } catch { /* it is not there: asked again */ }
  hear(tell);
}
if (calls) {
  const name = "gatewatch-calls " + calls.dataset.account;
  const others = new BroadcastChannel(name);
  others.addEventListener("message", (event) => calling[event.data.what]?.(event.data.said));
  const tell = (what, said) => {
    others.postMessage({ what, said });
    calling[what](said);
  };
  // Held as long as the page is there; then another page of the browser goes on.
  if (navigator.locks) navigator.locks.request(name, () => { hear(tell); return new Promise(() => {}); });
  else hear(tell);
}

// ---- a page that shows how things are now: that part of it is taken anew while somebody looks
const live = document.getElementById("live");
async function renew() {
  if (document.hidden || live.contains(document.activeElement)) return;
  const lost = document.getElementById("lost");
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok || answer.redirected) { location.reload(); return; }
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("live");
    if (fresh.innerHTML !== live.innerHTML) live.replaceChildren(...fresh.childNodes);
    lamps(page);
    lost.hidden = true;
    tick();
  } catch {
    lost.hidden = false;
  }
}
if (live) setInterval(renew, 5000);

// ---- forms of a card: sent without leaving the page
list?.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches(".quick")) return;
  event.preventDefault();
  const body = new URLSearchParams(new FormData(form));
  // A card that came later is the same for everybody: the token is the page's.
  if (!body.has("csrf")) body.set("csrf", document.querySelector('input[name="csrf"]').value);
  // It leads back to the list, which nobody looks at anew: the change comes by itself.
  const answer = await fetch(form.action, { method: "POST", body, redirect: "manual" });
  if (answer.type !== "opaqueredirect") location.href = form.closest(".alert").querySelector("strong a").href;
});

// ---- dialogs
function ask(what, card) {
  const dialog = document.getElementById("dialog-" + what);
  if (!dialog) return false;
  const form = dialog.querySelector("form");
  form.action = "/alerts/" + encodeURIComponent(card.dataset.id) + "/" + what;
  // What is decided is decided about what is shown now.
  if (form.elements.facts) form.elements.facts.value = card.dataset.facts;
  dialog.showModal();
  return true;
}
document.addEventListener("click", (event) => {
  const close = event.target.closest("[data-close]");
  if (close) {
    const dialog = close.closest("dialog");
    const call = close.closest(".call");
    if (dialog) dialog.close();
    else if (call) call.remove();
    else close.closest("details")?.removeAttribute("open");
    return;
  }
  const act = event.target.closest(".alert a[data-act]");
  if (act && act.dataset.act !== "tip" && ask(act.dataset.act, act.closest(".alert"))) event.preventDefault();
});
if (location.hash === "#dismiss" || location.hash === "#escalate") {
  document.querySelector("details" + location.hash)?.setAttribute("open", "");
}

// ---- keys: on the list for the chosen card, on an alert's page for that alert
const acts = { a: "ack", d: "dismiss", e: "escalate", t: "tip" };
function move(step) {
  const cards = [...list.children];
  const now = cards.indexOf(document.activeElement?.closest(".alert"));
  cards[now < 0 ? 0 : Math.min(cards.length - 1, Math.max(0, now + step))]?.focus();
}
document.addEventListener("keydown", (event) => {
  const target = event.target;
  if (event.ctrlKey || event.altKey || event.metaKey || target.closest("input, select, textarea, dialog")) return;
  const step = { "-": "back", "+": "on", "=": "on" }[event.key];
  const steps = step && document.querySelector('main > .detail [data-step="' + step + '"]');
  if (steps) { event.preventDefault(); steps.click(); return; }
  if (list && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    event.preventDefault();
    move(event.key === "ArrowDown" ? 1 : -1);
    return;
  }
  const card = list ? document.activeElement?.closest(".alert") : document.querySelector("[data-keys]");
  if (!card) return;
  if (event.key === "Enter" && card === target && list) {
    card.querySelector("strong a").click();
    return;
  }
  const act = acts[event.key.toLowerCase()];
  if (!act) return;
  const found = card.querySelector('[data-act="' + act + '"], button[value="' + act + '"]');
  if (found) {
    event.preventDefault();
    found.click();
    found.closest("details[open]")?.querySelector("select, textarea")?.focus();
  }
});

// ---- footage: taken into the page, so that one sees facts and video together; its own links then lead on in that place
async function footage(link, place) {
  place.setAttribute("aria-busy", "true");
  let fresh = null;
  try {
    const answer = await fetch(link.href, { headers: { accept: "text/html" } });
    fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("section.footage");
  } catch { /* the browser says so when it goes there itself */ }
  if (!fresh) { location.href = link.href; return; }
  place.replaceChildren(fresh);
  place.removeAttribute("aria-busy");
  place.scrollIntoView({ block: "nearest" });
  watch(fresh);
  const video = fresh.querySelector("video");
  if (video) video.play().catch(() => {});
  else fresh.querySelector(".cells a")?.focus();
}
// When the first picture of the clip was taken: over a gap the clip's time goes on as long as the gap was.
async function beginning(video) {
  try {
    const answer = await fetch(video.getAttribute("src"), { headers: { range: "bytes=0-0" } });
    return Date.parse(answer.headers.get("gatewatch-footage-from") || "");
  } catch {
    return NaN;
  }
}
function watch(place) {
  for (const image of place.querySelectorAll("img[data-fetched]")) pictured(image);
  const video = place.querySelector("video");
  if (!video) return;
  const say = place.querySelector("[data-unplayable]");
  video.addEventListener("error", () => { if (say) say.hidden = false; });
  const seeks = place.querySelector("[data-seeks]");
  const clock = place.querySelector("[data-clock]");
  const form = { timeZone: clock.dataset.zone, hour: "2-digit", minute: "2-digit", second: "2-digit", day: "2-digit", month: "2-digit", year: "numeric", hourCycle: "h23" };
  const show = new Intl.DateTimeFormat("vi-VN", form);
  let from = NaN;
  const told = () => { if (!Number.isNaN(from)) clock.textContent = show.format(from + video.currentTime * 1000); };
  video.addEventListener("loadedmetadata", async () => {
    seeks.hidden = false;
    from = await beginning(video);
    told();
  }, { once: true });
  video.addEventListener("timeupdate", told);
  const go = (second) => { video.currentTime = Math.min(Math.max(0, second), Math.max(0, (video.duration || 0) - 0.1)); };
  place.addEventListener("click", (event) => {
    const seek = event.target.closest("[data-seek]");
    if (seek) go(video.currentTime + Number(seek.dataset.seek));
    // A part of what is played: there, and not another page.
    const part = event.target.closest("a[data-at]");
    if (part && !Number.isNaN(from) && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      event.stopPropagation();
      go((Number(part.dataset.at) - from) / 1000);
      video.play().catch(() => {});
    }
  });
}
function pictured(image) {
  const say = image.parentElement.querySelector("[data-unshown]");
  image.addEventListener("error", () => { say.hidden = false; image.hidden = true; });
  image.addEventListener("load", () => { say.hidden = true; image.hidden = false; });
}
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-footage]");
  if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey) return;
  const place = link.dataset.footage ? document.getElementById(link.dataset.footage) : link.closest("[data-place]");
  if (!place) return;
  event.preventDefault();
  footage(link, place);
});
for (const shown of document.querySelectorAll("section.footage")) watch(shown);
for (const image of document.querySelectorAll(".live-picture img[data-fetched]")) pictured(image);
// What a camera sees now, while somebody looks; the next is asked for only when the last has come.
for (const image of document.querySelectorAll("img[data-live]")) {
  const address = image.getAttribute("src");
  const open = () => image.closest("details").open && !document.hidden;
  const next = () => setTimeout(() => {
    if (!open()) { next(); return; }
    // What is not shown would not be fetched.
    image.loading = "eager";
    image.src = address + "?at=" + Date.now();
  }, 2000);
  image.addEventListener("load", next);
  image.addEventListener("error", next);
}

// ---- a file that is too large is refused before it is sent
for (const input of document.querySelectorAll("input[type=file][data-max]")) {
  input.addEventListener("change", () => {
    const large = [...input.files].some((file) => file.size > Number(input.dataset.max));
    input.setCustomValidity(large ? input.dataset.large : "");
    if (large) input.reportValidity();
  });
}

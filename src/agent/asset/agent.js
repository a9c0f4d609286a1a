'use strict';
// The page of the agent: asks the API of the same address for what changes. The token stays in this tab.
const words = JSON.parse(document.body.dataset.words);
const t = (key) => words[key] || key;
const $ = (id) => document.getElementById(id);
const KEY = 'gatewatch-token';
const SVG = 'http://www.w3.org/2000/svg';

class Refused extends Error {
  constructor(status, body) {
    super((body && body.message) || `HTTP ${status}`);
    this.status = status;
  }
}

async function api(path, options = {}) {
  const token = sessionStorage.getItem(KEY);
  const headers = { ...(options.headers || {}), ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path, { ...options, headers });
  if (!answer.ok && path !== '/readyz') {
    const body = await answer.json().catch(() => null);
    if (answer.status === 401) askToken(sessionStorage.getItem(KEY) !== null);
    throw new Refused(answer.status, body);
  }
  return answer;
}

function askToken(wrong) {
  sessionStorage.removeItem(KEY);
  $('login').hidden = false;
  $('inside').hidden = true;
  $('refused').textContent = wrong ? t('wrong_token') : '';
  $('token').focus();
}

$('login').addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $('token').value.trim());
  $('token').value = '';
  begin();
});

// State.

function row(cells) {
  const tr = document.createElement('tr');
  for (const [text, kind] of cells) {
    const td = document.createElement('td');
    td.textContent = text ?? '';
    if (kind) td.className = kind;
    tr.append(td);
  }
  return tr;
}

const time = (text) => (text ? new Date(text).toLocaleTimeString(document.documentElement.lang) : '–');

async function showState() {
  const [ready, status] = await Promise.all([
    api('/readyz').then((a) => a.json()),
    api('/api/status').then((a) => a.json()),
  ]);
  const level = (l) => [t(`level.${l}`), l === 'ok' ? 'good' : 'bad'];
  $('parts').replaceChildren(
    ...Object.entries(ready.parts).map(([name, part]) => row([[name], level(part.level), [part.message]])));
  const recorded = Object.fromEntries(status.footage.map((f) => [f.camera, f]));
  $('cameras').replaceChildren(...status.cameras.map((c) => {
    const why = [c.reason, c.not_analysed, ...(c.conditions || []).map((x) => x.condition)].filter(Boolean).join('; ');
    const film = recorded[c.camera] || {};
    return row([[c.camera], [t(`state.${c.state}`), c.state === 'running' ? 'good' : 'bad'], [why], [film.problem || time(film.until)]]);
  }));
  $('queue').textContent = status.outbox.error || status.outbox.rows;
}

// What the camera sees now.

async function picture(camera, notes) {
  const answer = await api(`/api/cameras/${encodeURIComponent(camera)}/picture?notes=${notes}`);
  return [URL.createObjectURL(await answer.blob()), answer.headers.get('gatewatch-captured')];
}

function show(image, url) {
  const old = image.src;
  image.src = url;
  if (old.startsWith('blob:')) URL.revokeObjectURL(old);
}

async function showLive() {
  const camera = $('camera').value;
  if (!camera || !$('editor').hidden || document.hidden) return;
  try {
    const [url, captured] = await picture(camera, true);
    show($('live'), url);
    $('when').textContent = time(captured);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    $('when').textContent = `${t('dark')}: ${error.message}`;
  }
}

/** One after the other, never two at once; what fails for want of an answer is said and tried again. */
async function every(ms, work) {
  for (;;) {
    if (!$('inside').hidden) {
      try {
        await work();
        $('lost').hidden = true;
      } catch (error) {
        $('lost').hidden = error instanceof Refused;
      }
    }
    await new Promise((done) => setTimeout(done, ms));
  }
}

// Drawing. A shape is { line, id, name, kind, direction, points }.

let shapes = [];
let chosen = -1;
let corner = -1;
let adding = null;
let touched = false;
let file = { digest: '', file: null, may_write: false };

const fraction = (v) => Math.round(Math.min(1, Math.max(0, v)) * 1e4) / 1e4;

async function load() {
  const camera = $('camera').value;
  file = await api(`/api/cameras/${encodeURIComponent(camera)}/areas`).then((a) => a.json());
  shapes = [
    ...file.drawn.areas.map((a) => ({ line: false, direction: 'both', ...a, points: a.polygon, known: true })),
    ...file.drawn.lines.map((l) => ({ line: true, ...l, known: true })),
  ];
  [chosen, corner, adding, touched] = [shapes.length ? 0 : -1, -1, null, false];
  $('pending').hidden = !file.restart_needed;
  $('cannot').textContent = file.file === null ? t('no_file') : file.may_write ? '' : t('need_token');
  $('save').disabled = file.file === null || !file.may_write;
  $('check').disabled = file.file === null;
  say('');
  $('toml').hidden = true;
  draw();
  try {
    const [url] = await picture(camera, false);
    show($('still'), url);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    say(`${t('dark')}: ${error.message}`, true);
  }
}

function say(text, bad) {
  $('answer').textContent = text;
  $('answer').className = bad ? 'bad' : 'good';
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function draw() {
  const pairs = (points) => points.map(([x, y]) => `${x * 1000},${y * 1000}`).join(' ');
  const all = shapes.map((shape, i) => {
    const mask = shape.kind.endsWith('_mask') ? ' mask' : '';
    const name = shape.line || shape === adding ? 'polyline' : 'polygon';
    const draft = shape === adding ? ' draft' : '';
    const made = element(name, { points: pairs(shape.points), class: `${i === chosen ? 'chosen' : ''}${mask}${draft}` });
    made.dataset.shape = i;
    return made;
  });
  const box = $('shapes-on').getBoundingClientRect();
  const [rx, ry] = [7000 / Math.max(box.width, 1), 7000 / Math.max(box.height, 1)];
  const corners = (shapes[chosen]?.points || []).map(([x, y], i) => {
    const made = element('ellipse', { cx: x * 1000, cy: y * 1000, rx, ry, class: i === corner ? 'corner chosen' : 'corner' });
    made.dataset.corner = i;
    return made;
  });
  $('shapes-on').replaceChildren(...all, ...corners);
  $('stage').classList.toggle('adding', adding !== null);
  $('done').hidden = adding === null || adding.line;
  $('how').textContent = adding ? t(adding.line ? 'click_line' : 'click_area') : '';
  list();
}

function list() {
  $('shapes').replaceChildren(...shapes.map((shape, i) => {
    const option = document.createElement('option');
    option.value = i;
    option.textContent = `${shape.name || shape.id} · ${t(`kind.${shape.kind}`)}`;
    option.selected = i === chosen;
    return option;
  }));
  const shape = shapes[chosen];
  $('fields').hidden = !shape;
  if (!shape) return;
  const set = (id, value) => { if (document.activeElement !== $(id)) $(id).value = value; };
  set('f-id', shape.id);
  // By its id the file's own rules are found again.
  $('f-id').readOnly = shape.known === true;
  set('f-name', shape.name);
  $('f-area-kind').hidden = shape.line;
  $('f-line-kind').hidden = !shape.line;
  $('f-direction-of').hidden = !shape.line;
  set(shape.line ? 'f-line-kind' : 'f-area-kind', shape.kind);
  set('f-direction', shape.direction);
  set('f-corners', shape.points.map((p) => p.join(', ')).join('\n'));
}

function change(work) {
  const shape = shapes[chosen];
  if (!shape) return;
  work(shape);
  touched = true;
  draw();
}

function freeId(start) {
  for (let n = 1; ; n += 1) {
    const id = `${start}-${n}`;
    if (!shapes.some((s) => s.id === id)) return id;
  }
}

function add(line) {
  finish();
  const camera = $('camera').value;
  const id = freeId(`${camera.slice(0, 24)}-${line ? 'line' : 'area'}`);
  adding = { line, id, name: '', kind: line ? 'line' : 'lane', direction: 'both', points: [], known: false };
  chosen = shapes.push(adding) - 1;
  corner = -1;
  draw();
  $('shapes-on').focus();
}

/** An area of fewer than three corners is none. */
function finish() {
  if (adding && adding.points.length < (adding.line ? 2 : 3)) {
    shapes.pop();
    chosen = shapes.length - 1;
  }
  adding = null;
  draw();
}

function at(event) {
  const box = $('shapes-on').getBoundingClientRect();
  return [fraction((event.clientX - box.left) / box.width), fraction((event.clientY - box.top) / box.height)];
}

/** The edge of a shape that is nearest to a point. */
function nearestEdge(points, [x, y]) {
  let best = [Infinity, 0];
  points.forEach(([ax, ay], i) => {
    const [bx, by] = points[(i + 1) % points.length];
    const length = (bx - ax) ** 2 + (by - ay) ** 2 || 1e-9;
    const along = Math.min(1, Math.max(0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length));
    const distance = (ax + along * (bx - ax) - x) ** 2 + (ay + along * (by - ay) - y) ** 2;
    if (distance < best[0]) best = [distance, i];
  });
  return best[1];
}

let dragging = false;
$('shapes-on').addEventListener('pointerdown', (event) => {
  if (adding) {
    change((shape) => shape.points.push(at(event)));
    if (adding.line && adding.points.length === 2) finish();
    return;
  }
  const { corner: c, shape } = event.target.dataset;
  if (c !== undefined) {
    corner = Number(c);
    dragging = true;
    $('shapes-on').setPointerCapture(event.pointerId);
  } else if (shape !== undefined) {
    [chosen, corner] = [Number(shape), -1];
  }
  draw();
});
$('shapes-on').addEventListener('pointermove', (event) => {
  if (dragging) change((shape) => { shape.points[corner] = at(event); });
});
$('shapes-on').addEventListener('pointerup', () => { dragging = false; });
$('shapes-on').addEventListener('dblclick', (event) => {
  const shape = shapes[chosen];
  if (adding) return finish();
  if (!shape || shape.line || event.target.dataset.corner !== undefined) return undefined;
  return change((s) => {
    corner = nearestEdge(s.points, at(event)) + 1;
    s.points.splice(corner, 0, at(event));
  });
});
$('shapes-on').addEventListener('keydown', (event) => {
  const shape = shapes[chosen];
  const step = event.shiftKey ? 0.02 : 0.002;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (event.key === 'Enter' && adding) finish();
  else if (!shape || corner < 0) return;
  else if (moves[event.key]) {
    const [dx, dy] = moves[event.key];
    change((s) => { s.points[corner] = [fraction(s.points[corner][0] + dx), fraction(s.points[corner][1] + dy)]; });
  } else if (event.key === 'Delete' && !shape.line && shape.points.length > 3) {
    change((s) => { s.points.splice(corner, 1); corner = -1; });
  } else return;
  event.preventDefault();
});

$('new-area').addEventListener('click', () => add(false));
$('new-line').addEventListener('click', () => add(true));
$('done').addEventListener('click', finish);
$('remove').addEventListener('click', () => {
  if (chosen < 0) return;
  adding = null;
  shapes.splice(chosen, 1);
  [chosen, corner, touched] = [shapes.length - 1, -1, true];
  draw();
});
$('shapes').addEventListener('change', () => {
  finish();
  [chosen, corner] = [Number($('shapes').value), -1];
  draw();
});
$('f-id').addEventListener('change', () => change((s) => { s.id = $('f-id').value.trim(); }));
$('f-name').addEventListener('change', () => change((s) => { s.name = $('f-name').value.trim(); }));
for (const id of ['f-area-kind', 'f-line-kind']) {
  $(id).addEventListener('change', () => change((s) => { s.kind = $(id).value; }));
}
$('f-direction').addEventListener('change', () => change((s) => { s.direction = $('f-direction').value; }));
$('f-corners').addEventListener('change', () => {
  const points = $('f-corners').value.split('\n').filter((l) => l.trim())
    .map((l) => l.split(/[,;\s]+/).filter(Boolean).map((v) => fraction(Number(v))));
  const whole = points.every((p) => p.length === 2 && p.every(Number.isFinite));
  if (whole && points.length >= (shapes[chosen].line ? 2 : 3)) change((s) => { s.points = points; });
  $('f-corners').setAttribute('aria-invalid', String(!whole));
});

async function send(write) {
  finish();
  const areas = shapes.filter((s) => !s.line).map(({ id, name, kind, points }) => ({ id, name, kind, polygon: points }));
  const lines = shapes.filter((s) => s.line)
    .map(({ id, name, kind, points, direction }) => ({ id, name, kind, points, direction }));
  try {
    const answer = await api(`/api/cameras/${encodeURIComponent($('camera').value)}/areas`, {
      method: 'PUT',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ digest: file.digest, write, areas, lines }),
    }).then((a) => a.json());
    $('toml').textContent = answer.toml;
    $('toml').hidden = false;
    if (write) {
      await load();
      $('toml').hidden = false;
    }
    say(write ? t('saved').replace('{file}', answer.file) : t('checked'));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    say(error.message, true);
  }
}

$('check').addEventListener('click', () => send(false));
$('save').addEventListener('click', () => send(true));
const leave = () => !touched || window.confirm(t('unsaved'));
$('again').addEventListener('click', () => { if (leave()) load(); });
$('edit').addEventListener('click', () => {
  if (!$('editor').hidden && !leave()) return;
  $('editor').hidden = !$('editor').hidden;
  $('edit').setAttribute('aria-pressed', String(!$('editor').hidden));
  $('live').closest('figure').hidden = !$('editor').hidden;
  if (!$('editor').hidden) load();
});
let camera = $('camera').value;
$('camera').addEventListener('change', () => {
  if (!$('editor').hidden && !leave()) {
    $('camera').value = camera;
    return;
  }
  camera = $('camera').value;
  $('when').textContent = '';
  if (!$('editor').hidden) load();
});
window.addEventListener('beforeunload', (event) => { if (touched) event.preventDefault(); });
window.addEventListener('resize', () => { if (!$('editor').hidden) draw(); });

function begin() {
  if (document.body.dataset.token && sessionStorage.getItem(KEY) === null) return askToken(false);
  $('login').hidden = true;
  $('inside').hidden = false;
  return undefined;
}

begin();
every(2000, showState);
every(1000, showLive);

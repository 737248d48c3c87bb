
"use strict";

// Asks /status every second and shows what it says. Names and errors come from outside: all text
// is set as text, and the page's policy lets no string become markup.

const PERIOD_MS = 1000;
const PATIENCE_MS = 5000;
const CURVE_POINTS = 120;
// The rates in figures are means of so many seconds.
const MEAN_POINTS = 5;
// Latencies are those of the last so many seconds.
const LATENCY_POINTS = 10;
const CERTIFICATE_SOON_S = 14 * 86400;

const byId = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setTone(node, tone) {
  if (tone) node.dataset.tone = tone;
  else delete node.dataset.tone;
}

// ---- figures

const GROUPS = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const count = (number) => GROUPS.format(number).replaceAll(",", "\u202f");

function scaled(number, step, units) {
  let unit = 0;
  while (number >= step * 0.9995 && unit < units.length - 1) {
    number /= step;
    unit += 1;
  }
  const digits = number >= 100 || (unit === 0 && Number.isInteger(number)) ? 0 : number >= 10 ? 1 : 2;
  return [number.toFixed(unit === 0 && number >= 10 ? 0 : digits), units[unit]];
}

const short = (number) => scaled(number, 1000, ["", "k", "M", "G"]).join("\u202f").trim();
const size = (bytes) => scaled(bytes, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]).join("\u202f");
const perSecond = (rate) => (Number.isNaN(rate) ? "\u2013" : `${short(rate)}/s`);

function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s}\u202fs`;
  if (s < 3600) return `${Math.floor(s / 60)}\u202fmin ${s % 60}\u202fs`;
  if (s < 86400) return `${Math.floor(s / 3600)}\u202fh ${Math.floor((s % 3600) / 60)}\u202fmin`;
  return `${Math.floor(s / 86400)}\u202fd ${Math.floor((s % 86400) / 3600)}\u202fh`;
}

function duration(us) {
  if (us < 1000) return `${us.toFixed(0)}\u202f\u00b5s`;
  if (us < 1e6) return `${(us / 1000).toFixed(us < 1e4 ? 1 : 0)}\u202fms`;
  return `${(us / 1e6).toFixed(1)}\u202fs`;
}

const clock = (ms) => new Date(ms).toTimeString().slice(0, 8);
const sum = (counts) => Object.values(counts).reduce((total, n) => total + n, 0);
const byReason = (counts) => {
  const most = Object.entries(counts).sort((a, b) => b[1] - a[1]);
  return most.map(([reason, n]) => `${reason.replaceAll("_", " ")} ${short(n)}`).join(", ");
};

// ---- what was, for rates and curves

class Series {
  constructor() {
    this.totals = [];
    this.curve = [];
  }

  // A running total.
  total(ms, total) {
    const last = this.totals.at(-1);
    if (last) this.level(Math.max(0, ((total - last.total) * 1000) / Math.max(1, ms - last.ms)));
    this.totals.push({ ms, total });
    if (this.totals.length > MEAN_POINTS + 1) this.totals.shift();
  }

  // Something that goes up and down.
  level(value) {
    this.curve.push(value);
    if (this.curve.length > CURVE_POINTS) this.curve.shift();
  }

  get rate() {
    const [first, last] = [this.totals[0], this.totals.at(-1)];
    if (!first || first === last) return NaN;
    return Math.max(0, ((last.total - first.total) * 1000) / (last.ms - first.ms));
  }
}

const history = new Map();
// The rows of backends by UDP at whose port nobody listens.
const refusing = new Set();

function of(key, make) {
  if (!history.has(key)) history.set(key, make());
  return history.get(key);
}

function rated(key, now, total) {
  const series = of(key, () => new Series());
  series.total(now, total);
  return series;
}

// The quantile of the durations that came since the oldest kept counts, by linear interpolation.
function quantiles(key, counts, bounds, wanted) {
  const kept = of(key, () => []);
  kept.push(counts);
  if (kept.length > LATENCY_POINTS + 1) kept.shift();
  const fresh = counts.map((n, i) => n - kept[0][i]);
  const all = fresh.reduce((total, n) => total + n, 0);
  if (all === 0) return null;
  return wanted.map((quantile) => {
    let rank = quantile * all;
    for (let i = 0; i < bounds.length; i += 1) {
      const below = i === 0 ? 0 : bounds[i - 1];
      if (fresh[i] > 0 && rank <= fresh[i]) return below + ((bounds[i] - below) * rank) / fresh[i];
      rank -= fresh[i];
    }
    return bounds.at(-1);
  });
}

// ---- drawing

function spark() {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", `0 0 ${CURVE_POINTS - 1} 24`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  for (const part of ["area", "line"]) {
    const path = document.createElementNS(namespace, "path");
    path.setAttribute("class", part);
    svg.append(path);
  }
  return svg;
}

function draw(svg, curve) {
  const most = Math.max(...curve, 0);
  const left = CURVE_POINTS - curve.length;
  const height = (value) => (most > 0 ? 22.5 - (value / most) * 20.5 : 22.5).toFixed(2);
  const points = curve.map((value, i) => `${left + i},${height(value)}`);
  const [area, line] = svg.children;
  line.setAttribute("d", points.length > 1 ? `M${points.join("L")}` : "");
  area.setAttribute("d", points.length > 1 ? `M${left},24L${points.join("L")}L${CURVE_POINTS - 1},24Z` : "");
}

function meter(label) {
  const bar = element("b");
  const box = element("span", { className: "meter sub", role: "meter", "aria-label": label });
  box.append(element("span", {}, label), element("i", {}, bar));
  const show = (bytes, most, mayBeFull) => {
    const share = most === 0 ? 0 : Math.min(1, bytes / most);
    bar.style.setProperty("--share", `${(share * 100).toFixed(2)}%`);
    bar.style.setProperty("--least", bytes > 0 ? "3px" : "0");
    setTone(box, mayBeFull || share <= 0.7 ? "" : share > 0.9 ? "bad" : "warn");
    box.title = `${size(bytes)} of ${size(most)}`;
    box.setAttribute("aria-valuemax", most);
    box.setAttribute("aria-valuenow", bytes);
    box.setAttribute("aria-valuetext", box.title);
  };
  return [box, show];
}

// Makes one row for each item, keeps those that are there, and drops those whose item is gone.
const rows = new Map();

function table(id, items, make) {
  const body = byId(id).tBodies[0];
  const seen = new Set();
  for (const [key, item] of items) {
    const whole = `${id} ${key}`;
    seen.add(whole);
    if (!rows.has(whole)) {
      const row = make(whole);
      rows.set(whole, row);
      body.append(...row.nodes);
    }
    rows.get(whole).show(item);
  }
  for (const [key, row] of rows) {
    if (!key.startsWith(`${id} `) || seen.has(key)) continue;
    row.nodes.forEach((node) => node.remove());
    rows.delete(key);
    refusing.delete(key);
    // One of the same name that comes later counts from zero.
    [...history.keys()].filter((name) => name.startsWith(`${key} `)).forEach((name) => history.delete(name));
  }
}

function cell(label, ...children) {
  const inside = element("div", {}, ...children);
  return element("td", { role: "cell", "data-label": label }, inside);
}

function rateCell(label) {
  const [figure, svg] = [element("span"), spark()];
  const node = element("td", { role: "cell", className: "rate", "data-label": label });
  const inside = element("div", {}, figure, svg);
  node.append(inside);
  const show = (series) => {
    setText(figure, perSecond(series.rate));
    draw(svg, series.curve);
  };
  return [node, show];
}

// A total that should be 0, and what it is made of.
function lossCell(label) {
  const [total, why] = [element("span"), element("span", { className: "sub" })];
  const show = (series, number, words) => {
    setText(total, count(number));
    total.className = number === 0 ? "zero" : series.rate > 0 ? "hot" : "";
    setText(why, words);
  };
  return [cell(label, total, why), show];
}

function heading(kind, more) {
  const name = element("span", { className: "name" });
  const badge = element("span", { className: "kind" }, kind);
  const node = element("th", { role: "rowheader", scope: "row" }, name, badge, more);
  return [node, (text) => setText(name, text)];
}

// ---- listeners

function listenerRow(key, kind) {
  const more = element("span", { className: "sub" });
  const [head, showName] = heading(kind, more);
  const [lines, showLines] = rateCell("Lines");
  const [arrivals, bytes] = [element("span"), element("span", { className: "sub" })];
  const [refused, showRefused] = lossCell("Refused lines");
  const [lost, showLost] = lossCell("Lost unread");
  const row = element("tr", { role: "row" });
  row.append(head, lines, cell("Arriving", arrivals, bytes), refused, lost);
  const isUdp = kind === "UDP";
  const show = ({ now, listener }) => {
    const series = (name, total) => rated(`${key} ${name}`, now, total);
    showName(listener.name);
    showLines(series("lines", listener.lines));
    const came = isUdp ? listener.datagrams : sum(listener.requests);
    const rate = perSecond(series("came", came).rate);
    setText(arrivals, `${rate} ${isUdp ? "datagrams" : "requests"}`);
    setText(bytes, `${size(series("bytes", listener.bytes).rate || 0)}/s`);
    const bad = sum(listener.refused) + (listener["refused-beside"] ?? 0);
    const beside = listener["refused-beside"] ? { "beside a bad line": listener["refused-beside"] } : {};
    showRefused(series("refused", bad), bad, byReason({ ...listener.refused, ...beside }));
    const gone = isUdp ? listener["kernel-drops"] : listener.unreadable;
    const words = isUdp ? "datagrams, by the kernel" : "unreadable requests";
    showLost(series("gone", gone), gone, gone > 0 ? words : "");
    const expires = listener["certificate-expires"];
    const left = expires ? expires - now / 1000 : Infinity;
    more.classList.toggle("hot", left < CERTIFICATE_SOON_S);
    const expiry = left < 0 ? "certificate has expired" : `certificate: ${span(left)} left`;
    setText(more, expires ? expiry : "");
  };
  return { nodes: [row], show };
}

// ---- backends

const STATES = {
  up: ["up", "ok"],
  down: ["down", "bad"],
  draining: ["catching up", "warn"],
};

function stateOf(backend, isRefused) {
  if (backend.transport === "http") return STATES[backend.state];
  return isRefused ? ["nobody listens", "bad"] : ["sending", "ok"];
}

function backendRow(key, kind) {
  const location = element("span", { className: "mono sub" });
  const [head, showName] = heading(kind, location);
  const [state, since] = [element("span", { className: "state" }), element("span", { className: "sub" })];
  const [delivered, showDelivered] = rateCell("Delivered");
  const [median, slow] = [element("span"), element("span", { className: "sub" })];
  const [lines, oldest] = [element("span"), element("span", { className: "sub" })];
  const meters = ["queue", "backlog", "spool"].map((part) => [part, ...meter(part)]);
  const waiting = cell("Waiting", lines, oldest, ...meters.map(([, box]) => box));
  const [dropped, showDropped] = lossCell("Dropped lines");
  const row = element("tr", { role: "row" });
  const [states, latencies] = [cell("State", state, since), cell("Latency", median, slow)];
  states.className = "beside";
  row.append(head, states, delivered, latencies, waiting, dropped);
  const error = element("td", { role: "cell", colSpan: 6 });
  const errorRow = element("tr", { role: "row", className: "error", hidden: true }, error);

  const show = ({ now, backend, bounds }) => {
    const series = (name, total) => rated(`${key} ${name}`, now, total);
    showName(backend.name);
    setText(location, `${backend.relay} \u2192 ${backend.location}`);
    if (series("refusing", backend["udp-refused"]).rate > 0) refusing.add(key);
    else refusing.delete(key);
    const [word, tone] = stateOf(backend, refusing.has(key));
    setText(state, word);
    setTone(state, tone);
    setText(since, backend.since ? `for ${span(now / 1000 - backend.since)}` : "");
    showDelivered(series("delivered", backend.lines.delivered));
    const latency = quantiles(`${key} latency`, backend.latency, bounds, [0.5, 0.99]);
    latencies.className = latency ? "" : "blank";
    setText(median, latency ? duration(latency[0]) : "\u2013");
    setText(slow, latency ? `99\u202f%: ${duration(latency[1])}` : "");
    const owed = backend.queue.lines + backend.backlog.lines;
    setText(lines, owed === 0 ? "nothing" : `${count(owed)} lines`);
    lines.className = owed === 0 ? "zero" : "";
    const since0 = backend.backlog.oldest;
    setText(oldest, since0 ? `oldest ${span(now / 1000 - since0)}` : "");
    for (const [part, box, fill] of meters) {
      // Behind a full memory there is the disk.
      const spills = part === "backlog" && backend.spool["bytes-max"] > 0;
      fill(backend[part].bytes, backend[part]["bytes-max"], spills);
      // What is used in an outage alone is shown in one alone.
      box.hidden = part !== "queue" && backend[part].bytes === 0;
    }
    const lost = sum(backend.lines.dropped);
    showDropped(series("dropped", lost), lost, byReason(backend.lines.dropped));
    const last = backend["last-error"];
    errorRow.hidden = !last;
    errorRow.classList.toggle("past", tone === "ok");
    if (last) setText(error, `${span(now / 1000 - last.at)} ago: ${last.why}`);
  };
  return { nodes: [row, errorRow], show };
}

// ---- all together

const TILES = ["Lines in", "Delivered", "Waiting", "Refused", "Dropped"];
const tiles = new Map();

function makeTiles() {
  for (const label of TILES) {
    const [figure, unit, more, svg] = [element("span"), element("small"), element("dd", { className: "sub" }), spark()];
    const box = element("div", {}, element("dt", {}, label));
    box.append(element("dd", { className: "big" }, figure, unit), more);
    box.append(element("dd", { className: "plot" }, svg));
    byId("tiles").append(box);
    tiles.set(label, { box, figure, unit, more, svg });
  }
}

function showTile(label, figure, unit, more, curve, tone) {
  const tile = tiles.get(label);
  setText(tile.figure, figure);
  setText(tile.unit, unit);
  setText(tile.more, more);
  setTone(tile.box, tone);
  draw(tile.svg, curve);
}

function showTiles(now, { udp, http, backends }) {
  const listeners = [...udp, ...http];
  const total = (items, get) => items.reduce((all, item) => all + get(item), 0);
  const rate = (label, number, unit, more, tone) => {
    const series = rated(`tile ${label}`, now, number);
    const figure = Number.isNaN(series.rate) ? "\u2013" : short(series.rate);
    showTile(label, figure, unit, more(number), series.curve, series.rate > 0 ? tone : "");
    return series.rate;
  };
  const inTotal = (number) => `${count(number)} in total`;
  rate("Lines in", total(listeners, (l) => l.lines), "/s", inTotal, "");
  const each = () => `to ${backends.length} backend${backends.length === 1 ? "" : "s"}`;
  rate("Delivered", total(backends, (b) => b.lines.delivered), "/s", each, "");
  const owed = total(backends, (b) => b.queue.lines + b.backlog.lines);
  const level = of("tile Waiting", () => new Series());
  level.level(owed);
  const oldest = Math.min(...backends.map((b) => b.backlog.oldest ?? Infinity));
  const age = Number.isFinite(oldest) ? `oldest ${span(now / 1000 - oldest)}` : "no backlog";
  showTile("Waiting", short(owed), "lines", age, level.curve, Number.isFinite(oldest) ? "warn" : "");
  const refused = (l) => sum(l.refused) + (l["refused-beside"] ?? 0);
  rate("Refused", total(listeners, refused), "/s", inTotal, "warn");
  const dropped = total(backends, (b) => sum(b.lines.dropped));
  const kernel = total(udp, (l) => l["kernel-drops"]);
  const withKernel = (n) => (kernel ? `${count(n)} lines; kernel: ${count(kernel)} datagrams` : inTotal(n));
  const losing = rate("Dropped", dropped, "/s", withKernel, "bad") > 0;
  return losing || rated("kernel drops", now, kernel).rate > 0;
}

function showHealth(status, losing) {
  const down = status.backends.filter((b) => b.state === "down").length + refusing.size;
  const draining = status.backends.filter((b) => b.state === "draining").length;
  const all = status.backends.length;
  const [words, tone] =
    status.stopping ? ["Stopping: the queues drain", "warn"]
    : down > 0 ? [`${down} of ${all} backends down`, "bad"]
    : losing ? ["Lines are lost", "bad"]
    : draining > 0 ? [`${draining} of ${all} backends catching up`, "warn"]
    : ["All is well", "ok"];
  pill(words, tone);
}

function pill(words, tone) {
  setText(byId("health"), words);
  setTone(byId("health"), tone);
  const title = tone === "ok" ? "Ringrelay" : `${words} \u2013 Ringrelay`;
  if (document.title !== title) document.title = title;
}

function showFacts(now, status) {
  const cpu = rated("cpu", now, status.process["cpu-seconds"]).rate;
  const memory = status.process["resident-bytes"];
  const facts = [
    location.host,
    `up ${span(now / 1000 - status.started)}`,
    Number.isNaN(cpu) ? "" : `CPU ${(cpu * 100).toFixed(1)}\u202f%`,
    memory === null ? "" : `memory ${size(memory)}`,
  ];
  const box = byId("facts");
  while (box.children.length < facts.length) box.append(element("span"));
  facts.forEach((fact, i) => {
    setText(box.children[i], fact);
    box.children[i].hidden = fact === "";
  });
}

let shown = null;

function show(status) {
  // Another run counts from 0, and a clock that was set back makes no rates.
  const now = status["now-ms"];
  if (shown && (shown.started !== status.started || now <= shown["now-ms"])) history.clear();
  shown = status;
  setText(byId("version"), status.version);
  showFacts(now, status);
  showHealth(status, showTiles(now, status));
  const listeners = [
    ...status.udp.map((listener) => ["UDP", listener]),
    ...status.http.map((listener) => ["HTTP", listener]),
  ];
  const keyed = listeners.map(([kind, listener]) => [`${kind} ${listener.name}`, { now, listener }]);
  table("listeners", keyed, (key) => listenerRow(key, key.split(" ")[1]));
  const bounds = status["latency-bounds-us"];
  const backends = status.backends.map((backend) => {
    const key = [backend.transport.toUpperCase(), JSON.stringify([backend.relay, backend.name])];
    return [key.join(" "), { now, backend, bounds }];
  });
  table("backends", backends, (key) => backendRow(key, key.split(" ")[1]));
  document.body.classList.remove("stale");
  byId("notice").hidden = true;
}

let answered = Date.now();

function showSilence() {
  const since = (Date.now() - answered) / 1000;
  const from = shown ? ` The figures are from then.` : "";
  setText(byId("notice"), `No answer since ${clock(answered)}.${from}`);
  byId("notice").title = `for ${span(since)}`;
  byId("notice").hidden = false;
  document.body.classList.add("stale");
  pill("No answer", "bad");
}

async function ask() {
  const options = { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) };
  const answer = await fetch("/status", options);
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return answer.json();
}

async function turn() {
  const began = Date.now();
  try {
    const status = await ask().catch(() => null);
    if (status === null) return showSilence();
    answered = Date.now();
    show(status);
  } finally {
    setTimeout(turn, Math.max(0, PERIOD_MS - (Date.now() - began)));
  }
}

makeTiles();
turn();

"use strict";
// Draws the graphs of the page's data: layers from top to bottom, groups that open and close, search, details.
// A box is {kind, lines, path, sources, info, ...}; path names the groups around it, outermost first.
const data = JSON.parse(document.getElementById("data").textContent);
const svg = document.querySelector("#canvas svg");
const details = document.getElementById("details");
const LINE = 15, WIDE = 7.3, GAP = 26, MARGIN = 12, READABLE = 0.75, LANE = 5, SEPARATOR = "\u0000";
const NS = "http://www.w3.org/2000/svg";
let place = {}, matches = [], position = -1, chosen = null;

function make(tag, attributes, parent, text) {
  const element = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.appendChild(element);
  return element;
}

for (const graph of data.graphs) {
  graph.open = new Set();
  graph.groups = new Set();
  for (const box of graph.boxes) {
    for (let k = 1; k <= box.path.length; k++) graph.groups.add(box.path.slice(0, k).join(SEPARATOR));
  }
}

// The box itself, or the outermost closed group that it is in.
function standIn(graph, k) {
  const path = graph.boxes[k].path;
  for (let n = 1; n <= path.length; n++) {
    const group = path.slice(0, n).join(SEPARATOR);
    if (!graph.open.has(group)) return "g" + group;
  }
  return "b" + k;
}

// What is to be seen: {key: {kind, lines, sources, members}} in order of execution.
function visible(graph) {
  const seen = new Map();
  graph.boxes.forEach((box, k) => {
    const key = standIn(graph, k);
    if (!seen.has(key)) {
      const group = key[0] === "g";
      const name = group ? key.slice(1).split(SEPARATOR).join("/") : "";
      seen.set(key, { key, group, kind: group ? "group" : box.kind, lines: group ? [name] : box.lines, sources: new Set(), members: [] });
    }
    const one = seen.get(key);
    one.members.push(k);
    for (const s of box.sources) {
      const from = standIn(graph, s);
      if (from !== key) one.sources.add(from);
    }
  });
  for (const one of seen.values()) {
    if (one.group) one.lines = [one.lines[0], one.members.filter((k) => graph.boxes[k].kind === "node").length + " nodes"];
    one.width = WIDE * Math.max(...one.lines.map((t) => t.length)) + 16;
    one.height = LINE * one.lines.length + 8;
  }
  return seen;
}

// Sets x and y: a box stands below its sources, near the middle of them.  Returns [width, height].
function arrange(seen) {
  const layer = new Map(), users = new Map();
  for (const [key, one] of seen) {
    let depth = 0;
    for (const s of one.sources) {
      if (layer.has(s)) depth = Math.max(depth, layer.get(s) + 1);
    }
    layer.set(key, depth);
    for (const s of one.sources) users.set(s, Math.min(users.has(s) ? users.get(s) : Infinity, depth));
  }
  for (const [key, one] of seen) {
    if (!one.sources.size && users.has(key)) layer.set(key, Math.max(0, users.get(key) - 1));
  }
  const rows = [];
  for (const key of seen.keys()) (rows[layer.get(key)] = rows[layer.get(key)] || []).push(key);
  const centre = new Map();
  let y = MARGIN, left = 0, right = 0;
  for (const row of rows) {
    if (!row) continue;
    const wish = new Map(row.map((key, k) => {
      const known = [...seen.get(key).sources].filter((s) => centre.has(s)).map((s) => centre.get(s));
      return [key, known.length ? known.reduce((a, b) => a + b) / known.length : 1e6 + k];
    }));
    row.sort((a, b) => wish.get(a) - wish.get(b));
    let x = -row.reduce((sum, key) => sum + seen.get(key).width + GAP, -GAP) / 2;
    for (const key of row) {
      const one = seen.get(key);
      one.x = x; one.y = y;
      centre.set(key, x + one.width / 2);
      left = Math.min(left, x); right = Math.max(right, x + one.width);
      x += one.width + GAP;
    }
    const bottom = y + Math.max(...row.map((key) => seen.get(key).height));
    for (const key of row) seen.get(key).bottom = bottom;
    y = bottom + GAP + 8;
  }
  for (const one of seen.values()) one.x += MARGIN - left;
  return [right - left + 2 * MARGIN, y];
}

// The dashed lines to draw, [[key in the forward, key in the gradient], ...], each once.
function joined() {
  if (data.graphs.length < 2 || !["gradient", "joins"].every((id) => document.getElementById(id).checked)) return [];
  const found = new Map();
  for (const [f, b] of data.joins) {
    const pair = ["0" + standIn(data.graphs[0], f), "1" + standIn(data.graphs[1], b)];
    found.set(pair.join(SEPARATOR), pair);
  }
  return [...found.values()];
}

// How far from its row each of these boxes' lines runs along it: the lines of a row beside each other.
function lanes(boxes) {
  const count = new Map(), used = new Map();
  for (const one of boxes) count.set(one.y, (count.get(one.y) || 0) + 1);
  return boxes.map((one) => {
    used.set(one.y, (used.get(one.y) || 0) + 1);
    return used.get(one.y) * Math.min(LANE, MARGIN / (count.get(one.y) + 1));
  });
}

// Below the row of the one, up or down between the pictures, in above the row of the other: no box stands on a line.
function drawJoins(pairs, from, lane, parent) {
  const ends = pairs.map((pair) => pair.map((key) => place[key])).sort((a, b) => a[1].y - b[1].y);
  const under = lanes(ends.map(([one]) => one)), over = lanes(ends.map(([, two]) => two));
  ends.forEach(([one, two], k) => {
    const x = one.x + one.width / 2 + LANE, u = two.x + two.width / 2;
    const way = `V${one.bottom + under[k]}H${from + lane * (k + 2)}V${two.y - over[k]}H${u}V${two.y}`;
    const line = make("path", { class: "join", d: `M${x} ${one.y + one.height}${way}` }, parent);
    one.joins.push(line);
    two.joins.push(line);
  });
}

function colour(graph, one) {
  const by = document.getElementById("colour").value;
  if (by === "role") return data.colours[one.kind];
  const values = one.members.map((k) => graph.boxes[k][by] || 0);
  const value = by === "difference" ? Math.max(...values) : values.reduce((a, b) => a + b, 0);
  const largest = Math.max(...data.graphs.flatMap((g) => g.boxes.map((b) => b[by] || 0)));
  if (!value || !largest) return "#fff";
  const share = Math.min(1, by === "difference" ? Math.max(0, 1 + Math.log10(value / largest) / 4) : value / largest);
  return `rgb(255,${Math.round(255 - 190 * share)},${Math.round(255 - 215 * share)})`;
}

function draw(keep) {
  while (svg.firstChild) svg.removeChild(svg.firstChild);
  const edges = make("g", {}, svg), joins = make("g", {}, svg), boxes = make("g", {}, svg);
  const pairs = joined(), lane = Math.min(LANE, 300 / (pairs.length + 3));
  let across = 0, tall = 0, count = 0, first = 0;
  place = {};
  data.graphs.forEach((graph, g) => {
    if (g > 0 && !document.getElementById("gradient").checked) return;
    const seen = visible(graph);
    const [wide, high] = arrange(seen);
    make("text", { x: across + MARGIN, y: -8, "font-weight": "bold", "font-size": 16 }, boxes, graph.title);
    for (const one of seen.values()) one.x += across;
    for (const [key, one] of seen) {
      place[g + key] = one;
      one.joins = [];
      count++;
      const element = make("g", { class: "box " + one.kind, tabindex: 0, "data-key": g + key }, boxes);
      make("rect", { x: one.x, y: one.y, width: one.width, height: one.height, rx: 4, fill: colour(graph, one), stroke: "#444" }, element);
      one.lines.forEach((text, k) => make("text", {
        x: one.x + one.width / 2, y: one.y + LINE * (k + 1), "text-anchor": "middle", "font-weight": k ? "normal" : "bold" }, element, text));
      one.element = element;
      element.addEventListener("click", () => act(g, one));
      element.addEventListener("keydown", (e) => { if (e.key === "Enter") act(g, one); });
      for (const s of one.sources) {
        const from = seen.get(s);
        const a = [from.x + from.width / 2, from.y + from.height], b = [one.x + one.width / 2, one.y];
        const bend = Math.max(20, Math.abs(b[1] - a[1]) / 2);
        make("path", { class: "edge", d: `M${a[0]} ${a[1]}C${a[0]} ${a[1] + bend} ${b[0]} ${b[1] - bend} ${b[0]} ${b[1]}` }, edges);
      }
    }
    first = first || wide;
    across += wide + Math.max(40, g ? 0 : lane * (pairs.length + 3));
    tall = Math.max(tall, high);
  });
  if (pairs.length) drawJoins(pairs, first, lane, joins);
  if (!keep) {
    const shown = svg.getBoundingClientRect();
    const width = Math.max(across, 200), height = Math.max(tall + 40, (width * (shown.height || 1)) / (shown.width || 1));
    svg.setAttribute("viewBox", `0 -30 ${width} ${Math.min(height, Math.max(900, height / 4))}`);
  }
  document.body.dataset.drawn = count;
  mark();
}

// What the page opens with: from the upper left corner on, no smaller than its text can be read.
function readable() {
  const [x, y, width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const shown = svg.getBoundingClientRect(), factor = Math.min(1, shown.width / READABLE / width);
  if (shown.width) svg.setAttribute("viewBox", `${x} ${y} ${width * factor} ${height * factor}`);
}

function act(g, one) {
  if (one.group) {
    data.graphs[g].open.add(one.key.slice(1));
    draw(true);
    return;
  }
  const box = data.graphs[g].boxes[one.members[0]];
  chosen = g + one.key;
  details.replaceChildren();
  const title = document.createElement("h2");
  title.textContent = box.lines[0];
  details.appendChild(title);
  const list = document.createElement("dl");
  for (const [name, value] of box.info) {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = name; dd.textContent = value;
    list.append(dt, dd);
  }
  details.appendChild(list);
  for (let n = 1; n <= box.path.length; n++) {
    const button = document.createElement("button");
    button.textContent = "close " + box.path.slice(0, n).join("/");
    button.addEventListener("click", () => close(g, box.path.slice(0, n).join(SEPARATOR)));
    details.appendChild(button);
  }
  mark();
}

function close(g, group) {
  const graph = data.graphs[g];
  for (const open of [...graph.open]) if (open === group || open.startsWith(group + SEPARATOR)) graph.open.delete(open);
  draw(true);
}

function mark() {
  const hits = new Set(matches.map(([g, k]) => g + standIn(data.graphs[g], k)));
  for (const [key, one] of Object.entries(place)) {
    one.element.classList.toggle("hit", hits.has(key));
    one.element.classList.toggle("chosen", key === chosen);
  }
  for (const line of svg.querySelectorAll(".join")) line.classList.remove("chosen");
  for (const line of (place[chosen] || { joins: [] }).joins) {
    line.classList.add("chosen");
    line.parentNode.appendChild(line); // above the others
  }
}

function search(text) {
  const wanted = text.trim().toLowerCase();
  matches = [];
  position = -1;
  if (wanted) {
    data.graphs.forEach((graph, g) => graph.boxes.forEach((box, k) => {
      if (box.search.toLowerCase().includes(wanted)) matches.push([g, k]);
    }));
  }
  document.getElementById("found").textContent = wanted ? matches.length + " found" : "";
  mark();
}

function next() {
  if (!matches.length) return;
  position = (position + 1) % matches.length;
  const [g, k] = matches[position];
  const graph = data.graphs[g], path = graph.boxes[k].path;
  for (let n = 1; n <= path.length; n++) graph.open.add(path.slice(0, n).join(SEPARATOR));
  if (g > 0) document.getElementById("gradient").checked = true;
  draw(true);
  const one = place[g + "b" + k];
  act(g, one);
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  svg.setAttribute("viewBox", `${one.x + one.width / 2 - width / 2} ${one.y - height / 2} ${width} ${height}`);
}

function expand(all) {
  for (const graph of data.graphs) graph.open = new Set(all ? graph.groups : []);
  draw(false);
}

document.getElementById("search").addEventListener("input", (e) => search(e.target.value));
document.getElementById("search").addEventListener("keydown", (e) => { if (e.key === "Enter") next(); });
document.getElementById("expand").addEventListener("click", () => expand(true));
document.getElementById("collapse").addEventListener("click", () => expand(false));
document.getElementById("fit").addEventListener("click", () => draw(false));
for (const id of ["gradient", "joins", "colour"]) document.getElementById(id).addEventListener("change", () => draw(id !== "gradient"));

svg.addEventListener("wheel", (e) => {
  e.preventDefault();
  const [x, y, width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const shown = svg.getBoundingClientRect(), factor = Math.exp(e.deltaY * 0.0015);
  const at = x + (width * (e.clientX - shown.left)) / shown.width, down = y + (height * (e.clientY - shown.top)) / shown.height;
  svg.setAttribute("viewBox", `${at - (at - x) * factor} ${down - (down - y) * factor} ${width * factor} ${height * factor}`);
}, { passive: false });
let grip = null;
svg.addEventListener("pointerdown", (e) => { grip = [e.clientX, e.clientY, ...svg.getAttribute("viewBox").split(" ").map(Number)]; });
window.addEventListener("pointerup", () => { grip = null; });
window.addEventListener("pointermove", (e) => {
  if (!grip) return;
  const shown = svg.getBoundingClientRect(), scale = Math.max(grip[4] / shown.width, grip[5] / shown.height);
  svg.setAttribute("viewBox", `${grip[2] - (e.clientX - grip[0]) * scale} ${grip[3] - (e.clientY - grip[1]) * scale} ${grip[4]} ${grip[5]}`);
});

// A small graph starts open, a large one as far open as fits.
for (const graph of data.graphs) {
  const depths = Math.max(0, ...graph.boxes.map((b) => b.path.length));
  for (let depth = depths; depth > 0; depth--) {
    graph.open = new Set([...graph.groups].filter((name) => name.split(SEPARATOR).length <= depth));
    if (visible(graph).size <= data.largest) break;
    graph.open = new Set();
  }
}
draw(false);
readable();

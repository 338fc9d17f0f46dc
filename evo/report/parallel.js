// Parallel coordinates: a line per member, an axis per column, better always down; drag an axis to keep part of it.
const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 420, TOP = 64, BOTTOM = 24, SIDE = 60, LEAST = 70;
let lines = [], axes = [], spots = [];   // paths by member; {column, x, brush}; heights by member

function shape(tag, attributes, parent, text) {
  const node = document.createElementNS(SVG, tag);
  Object.keys(attributes).forEach(key => node.setAttribute(key, attributes[key]));
  if (text !== undefined) node.textContent = text;
  parent.appendChild(node);
  return node;
}

function heightOf(column, value) { return HEIGHT - BOTTOM - place(column, value) * (HEIGHT - TOP - BOTTOM); }
function shareAt(y) { return Math.min(1, Math.max(0, (HEIGHT - BOTTOM - y) / (HEIGHT - TOP - BOTTOM))); }

function drawLines() {
  const box = byId("parallel");
  if (!box || !members) return;
  box.replaceChildren();
  const columns = members.columns.filter((_, j) => members.values.every(v => v[j] !== null)), n = columns.length;
  const width = Math.max(box.clientWidth, 2 * SIDE + LEAST * (n - 1)), step = (width - 2 * SIDE) / (n - 1);
  const svg = shape("svg", {width: width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img",
    "aria-label": "Parallel coordinates of the front"}, box);
  axes = columns.map((column, k) => ({column: column, x: SIDE + k * step, j: members.columns.indexOf(column)}));
  const curves = shape("g", {class: "curves"}, svg);
  spots = members.values.map(v => axes.map(a => heightOf(a.column, v[a.j])));
  const first = spots.map(s => s[0]);
  lines = spots.map((s, i) => {
    const tone = Math.min(4, Math.floor(5 * shareAt(first[i])));
    return shape("path", {class: "line tone" + tone, d: "M" + axes.map((a, k) => `${a.x.toFixed(1)},${s[k].toFixed(1)}`).join("L")}, curves);
  });
  shape("path", {class: "hover-line", d: ""}, svg);
  shape("path", {class: "chosen-line", d: ""}, svg);
  axes.forEach((axis, k) => drawAxis(svg, axis, k, step));
  shape("text", {class: "who", x: width - 8, y: HEIGHT - 6, "text-anchor": "end"}, svg, "");
  svg.addEventListener("pointermove", event => hoverLine(svg, event));
  svg.addEventListener("pointerleave", () => hoverLine(svg, null));
  svg.addEventListener("click", event => {
    const i = event.target.closest(".grip") ? null : lineAt(svg, event);
    if (i !== null) choose(members.names[i], "lines");
  });
}

function drawAxis(svg, axis, k, step) {
  const column = axis.column, group = shape("g", {class: "axis", transform: `translate(${axis.x.toFixed(1)},0)`}, svg);
  shape("line", {y1: TOP, y2: HEIGHT - BOTTOM}, group);
  column.ticks.forEach(tick => {
    const y = HEIGHT - BOTTOM - (tick[0] - worstBest(column)[0]) / (worstBest(column)[1] - worstBest(column)[0]) * (HEIGHT - TOP - BOTTOM);
    shape("line", {x1: -4, x2: 0, y1: y, y2: y}, group);
    shape("text", {class: "tick", x: -7, y: y + 4, "text-anchor": "end"}, group, tick[1]);
  });
  // Names take turns on two lines, so that each has the room of two axes.
  const room = Math.floor(2 * step / 7.2) - 1, name = column.title;
  const title = shape("text", {class: "title", y: k % 2 ? 40 : 20, "text-anchor": "middle"}, group,
    name.length > room ? name.slice(0, room - 2) + "…" + name.slice(-1) : name);
  shape("title", {}, title, name);
  axis.brush = shape("rect", {class: "brush", x: -8, width: 16, y: 0, height: 0}, group);
  const grip = shape("rect", {class: "grip", x: -15, width: 30, y: TOP - 8, height: HEIGHT - TOP - BOTTOM + 16}, group);
  grip.addEventListener("pointerdown", event => dragAxis(svg, axis, grip, event));
}

function spanOf(column) {
  const limit = wish.limits[column.name];
  if (!limit) return null;
  const ends = [0, 1].map(side => limit[side] === null ? null : heightOf(column, limit[side]));
  const open = column.goal === "min" ? [HEIGHT - BOTTOM, TOP] : [TOP, HEIGHT - BOTTOM];
  const y = ends.map((end, side) => Math.min(HEIGHT - BOTTOM, Math.max(TOP, end === null ? open[side] : end)));
  return [Math.min(y[0], y[1]), Math.max(y[0], y[1])];
}

function setSpan(column, top, bottom) {
  const near = shareAt(bottom) <= 0 ? null : bound(valueAt(column, shareAt(bottom)));
  const far = shareAt(top) >= 1 ? null : bound(valueAt(column, shareAt(top)));
  if (column.goal === "min") setLimit(column, near, far);
  else setLimit(column, far, near);
  apply("limits");
}

function dragAxis(svg, axis, grip, event) {
  event.preventDefault();
  const top = svg.getBoundingClientRect().top, start = event.clientY - top, old = spanOf(axis.column);
  const edge = old && (Math.abs(start - old[0]) < 7 ? 0 : Math.abs(start - old[1]) < 7 ? 1 : null);
  const within = old && start > old[0] && start < old[1];
  let moved = false;
  grip.setPointerCapture(event.pointerId);
  function move(e) {
    const y = e.clientY - top;
    if (Math.abs(y - start) > 3) moved = true;
    if (!moved) return;
    if (old && edge !== null) { const other = old[1 - edge]; setSpan(axis.column, Math.min(y, other), Math.max(y, other)); }
    else if (within) {
      const shift = Math.min(HEIGHT - BOTTOM - old[1], Math.max(TOP - old[0], y - start));
      setSpan(axis.column, old[0] + shift, old[1] + shift);
    } else setSpan(axis.column, Math.min(start, y), Math.max(start, y));
  }
  function end() {
    ["pointermove", "pointerup", "pointercancel"].forEach((name, i) => grip.removeEventListener(name, i ? end : move));
    if (!moved) { setLimit(axis.column, null, null); apply("limits"); }
  }
  grip.addEventListener("pointermove", move);
  grip.addEventListener("pointerup", end);
  grip.addEventListener("pointercancel", end);
}

// The line within ten pixels of the pointer that is nearest; those outside the limits only where no other is.
function lineAt(svg, event) {
  const box = svg.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  const k = axes.findIndex((axis, i) => i > 0 && x <= axis.x);
  if (k < 1 || x < axes[0].x) return null;
  const t = (x - axes[k - 1].x) / (axes[k].x - axes[k - 1].x);
  let best = null, least = 10;
  spots.forEach((s, i) => {
    const far = Math.abs((1 - t) * s[k - 1] + t * s[k] - y);
    if (far < least && inside[members.names[i]]) { least = far; best = i; }
  });
  return best;
}

function hoverLine(svg, event) {
  const i = event ? lineAt(svg, event) : null;
  svg.querySelector(".hover-line").setAttribute("d", i === null ? "" : lines[i].getAttribute("d"));
  svg.querySelector(".who").textContent = i === null ? "" : "candidate " + members.names[i];
}

function markLines() {
  const box = byId("parallel");
  if (!box || !lines.length) return;
  lines.forEach((line, i) => line.classList.toggle("out", !inside[members.names[i]]));
  const i = members.names.indexOf(chosen);
  box.querySelector(".chosen-line").setAttribute("d", i < 0 ? "" : lines[i].getAttribute("d"));
  axes.forEach(axis => {
    const span = spanOf(axis.column);
    axis.brush.setAttribute("y", span ? span[0] : 0);
    axis.brush.setAttribute("height", span ? Math.max(span[1] - span[0], 2) : 0);
  });
}

let widthSeen = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth === widthSeen) return;
  widthSeen = window.innerWidth;
  drawLines();
  markLines();
});

// Which candidate: the knee, by weights, or by hand; and which candidates keep the limits.
let members = null;    // the data of the front: names, columns, values, …
let inside = {};       // name of a member → whether it keeps all limits
let chosen = null;     // name
const wish = {how: "knee", weights: {}, limits: {}};  // limits: name of a column → [low, high], null where open

const TIE = 1e-12;

function bound(value) { return Number(value.toPrecision(4)); }

function keeps(i) {
  return members.columns.every((column, j) => {
    const limit = wish.limits[column.name], v = members.values[i][j];
    return !limit || v !== null && ((limit[0] === null || v >= limit[0]) && (limit[1] === null || v <= limit[1]));
  });
}

function objectives() { return members.columns.filter(column => column.searched); }

function fitness(i) {
  return objectives().map((column, j) => column.goal === "min" ? members.values[i][j] : -members.values[i][j]);
}

// Distance to the worst as a share of the range and of the sum; see evo/preferences.py.
function pseudo(i) {
  const f = fitness(i), share = f.map((v, j) => {
    const extent = members.nadir[j] - members.ideal[j];
    return extent > 0 ? (members.nadir[j] - v) / extent : 0;
  });
  const total = share.reduce((a, b) => a + b, 0);
  return share.map(v => total > 0 ? v / total : 0);
}

function weightOf(column) { return wish.weights.hasOwnProperty(column.name) ? wish.weights[column.name] : 1; }

function nearest(among) {
  const told = objectives().map(weightOf), total = told.reduce((a, b) => a + b, 0);
  if (!total) return null;
  const far = among.map(i => pseudo(i).reduce((sum, p, j) => sum + Math.abs(p - told[j] / total), 0));
  const least = Math.min(...far);
  const close = among.filter((_, k) => far[k] <= least + TIE);
  return close.reduce((a, b) => members.ids[b] < members.ids[a] ? b : a, close[0]);
}

// The row whose worst objective is least bad in the box of all that are left; ties by the sum, then order.
function knee(among) {
  const usable = among.filter(i => members.usable[i]), pool = usable.length ? usable : among;
  const all = pool.map(fitness), m = objectives().length, low = [], high = [];
  for (let j = 0; j < m; j++) {
    low.push(Math.min(...all.map(f => f[j])));
    high.push(Math.max(...all.map(f => f[j])));
  }
  let best = null;
  all.forEach((f, k) => {
    const scaled = f.map((v, j) => (v - low[j]) / (high[j] > low[j] ? high[j] - low[j] : 1));
    const key = [Math.max(...scaled), scaled.reduce((a, b) => a + b, 0)];
    if (!best || key[0] < best[0] || (key[0] === best[0] && key[1] < best[1])) best = [...key, pool[k]];
  });
  return best && best[2];
}

// Everything that follows from the reader's wish, marked everywhere.
function apply(from) {
  if (!members) return;
  const among = members.names.map((_, i) => i).filter(keeps);
  inside = {};
  members.names.forEach(name => { inside[name] = false; });
  among.forEach(i => { inside[members.names[i]] = true; });
  if (wish.how !== "hand" && among.length) {
    const i = wish.how === "knee" ? knee(among) : nearest(among);
    if (i !== null) chosen = members.names[i];
  }
  tellChoice(among.length);
  markTable(from);
  Object.keys(drawn).forEach(markFigure);
  markLines();
  showNodes();
}

function choose(name, from) {
  if (!members || members.names.indexOf(name) < 0) return;
  chosen = name;
  wish.how = "hand";
  apply(from);
}

function markTable(from) {
  rows().forEach(row => {
    const mine = row.dataset.name === chosen;
    row.classList.toggle("chosen", mine);
    row.classList.toggle("out", inside[row.dataset.name] === false);
    if (!mine) return;
    byId("export-command").textContent = row.dataset.command;
    const box = row.closest(".scroll");
    if (from !== "table" && from !== "limits") box.scrollTop = row.offsetTop - 90;
  });
  const only = byId("only-inside");
  if (only) byId("front-table").classList.toggle("only", only.checked);
}

// Dim, and ring, in the marks of a drawn figure; done anew after each of plotly's own drawings.
function markFigure(name) {
  const div = plot(name);
  if (!div || !drawn[name]) return;
  if (name === "map") return markRows(div);
  every(".evo-chosen", div).forEach(node => node.remove());
  every(".scatterlayer .trace", div).forEach(group => {
    const data = group.__data__, names = data && data[0] && data[0].trace.customdata;
    if (!Array.isArray(names)) return;
    every("path.point", group).forEach(node => {
      const who = names[node.__data__.i];
      node.classList.toggle("evo-out", inside[who] === false);
      if (who !== chosen) return;
      const ring = node.cloneNode();
      ring.setAttribute("class", "evo-chosen");
      ring.removeAttribute("style");
      node.parentNode.appendChild(ring);
    });
  });
}

// Rows of the genome map: a veil over those outside, a frame around the chosen one.
let veils = "";
function markRows(div) {
  const order = specs.map.layout.meta.sorts[byId("map-sort").selectedIndex].order, names = specs.map.layout.meta.names;
  const shapes = [], colour = paint(specs.map.layout.paper_bgcolor), n = specs.map.data[0].x.length;
  const box = (top, bottom) => ({type: "rect", xref: "x", yref: "y", x0: -0.5, x1: n - 0.5, y0: top - 0.5, y1: bottom + 0.5});
  let start = null;
  order.concat([-1]).forEach((i, y) => {
    const out = i >= 0 && inside[names[i]] === false;
    if (out && start === null) start = y;
    if (!out && start !== null) {
      shapes.push(Object.assign(box(start, y - 1), {fillcolor: colour, opacity: 0.78, line: {width: 0}}));
      start = null;
    }
    if (i >= 0 && names[i] === chosen) shapes.push(Object.assign(box(y, y), {line: {width: 2, color: paint(RING)}}));
  });
  const told = JSON.stringify(shapes);
  if (told === veils && (div.layout.shapes || []).length === shapes.length) return;
  veils = told;
  Plotly.relayout(div, {shapes: shapes});
}

function showNodes() {
  const nodes = byId("drawing-pick");
  if (!nodes || !specs.drawing.layout.meta[chosen] || nodes.value === chosen) return;
  if (!every("option", nodes).some(option => option.value === chosen)) nodes.add(new Option("candidate " + chosen, chosen));
  nodes.value = chosen;
  if (drawn.drawing) draw("drawing");
}

// The panel -------------------------------------------------------------------------------------

// Where a value lies from best (0) to worst (1) on the axis of its column, and back.
function place(column, value) {
  const shown = shownValue(column, value), ends = worstBest(column);
  return (shown - ends[0]) / (ends[1] - ends[0]);
}
function shownValue(column, value) {
  if (!column.log) return value;
  return value > 0 ? Math.max(Math.log10(value), column.low) : column.low;
}
function worstBest(column) { return column.goal === "min" ? [column.low, column.high] : [column.high, column.low]; }
function valueAt(column, share) {
  const ends = worstBest(column), shown = ends[0] + share * (ends[1] - ends[0]);
  return column.log ? Math.pow(10, shown) : shown;
}

function setLimit(column, low, high) {
  if (low === null && high === null) delete wish.limits[column.name];
  else wish.limits[column.name] = [low, high];
}

function limitText(column) {
  const limit = wish.limits[column.name];
  if (!limit) return "any";
  if (limit[0] !== null && limit[1] !== null) return `${limit[0]} to ${limit[1]}`;
  return limit[1] !== null ? "≤ " + limit[1] : "≥ " + limit[0];
}

function tellChoice(left) {
  const told = byId("choice-told");
  if (!told) return;
  const i = members.names.indexOf(chosen), total = members.names.length;
  const how = {knee: "the knee of what is left", weights: "nearest by pseudo-weights", hand: "chosen by hand"}[wish.how];
  const held = Object.keys(wish.limits).length;
  let text = i < 0 ? "" : `Candidate ${chosen}, ${how}. `;
  if (wish.how === "knee" && !held) text = `Candidate ${chosen}, the knee. `;
  if (i >= 0 && !inside[chosen]) text = `Candidate ${chosen} lies outside the limits. `;
  told.textContent = text + (held ? `${left} of ${total} members keep the limits.` : `${total} members, no limits.`);
  const shares = i < 0 ? [] : pseudo(i);
  objectives().forEach((column, j) => {
    const row = every(`#choice tr[data-column]`).find(r => r.dataset.column === column.name);
    row.querySelector(".share").textContent = i < 0 ? "" : shares[j].toFixed(2);
    row.querySelector("input.weight").value = weightOf(column);
    row.querySelector(".weighs").textContent = weightOf(column);
  });
  members.columns.forEach(column => {
    const row = every(`#choice tr[data-column]`).find(r => r.dataset.column === column.name);
    const limit = wish.limits[column.name], worst = limit && limit[column.goal === "min" ? 1 : 0];
    const slider = row.querySelector("input.limit");
    if (document.activeElement !== slider) {
      slider.value = typeof worst === "number" ? Math.round(1000 * place(column, worst)) : 1000;
    }
    row.querySelector(".held").textContent = limitText(column);
  });
  byId("front-command").textContent = frontCommand();
}

function frontCommand() {
  const words = [members.command];
  members.columns.forEach(column => {
    const limit = wish.limits[column.name];
    if (limit && limit[0] !== null) words.push(`--where "${column.name} >= ${limit[0]}"`);
    if (limit && limit[1] !== null) words.push(`--where "${column.name} <= ${limit[1]}"`);
  });
  if (wish.how === "weights") {
    const told = objectives().filter(weightOf).map(column => `${column.name}=${weightOf(column)}`);
    if (told.length) words.push("--weights " + told.join(","));
  }
  return words.join(" ");
}

document.addEventListener("input", event => {
  const input = event.target, row = input.closest("#choice tr[data-column]");
  if (!row) return;
  const column = members.columns.find(c => c.name === row.dataset.column);
  if (input.classList.contains("weight")) {
    wish.weights[column.name] = Number(input.value);
    wish.how = "weights";
    apply("weights");
  } else {
    const open = Number(input.value) >= 1000, limit = wish.limits[column.name] || [null, null];
    const worst = open ? null : bound(valueAt(column, Number(input.value) / 1000));
    if (column.goal === "min") setLimit(column, limit[0], worst);
    else setLimit(column, worst, limit[1]);
    apply("limits");
  }
});
document.addEventListener("click", event => {
  const id = event.target.id;
  if (id === "to-knee") { wish.how = "knee"; wish.weights = {}; apply("knee"); }
  if (id === "to-weights") { wish.how = "weights"; apply("weights"); }
  if (id === "lift-limits") { wish.limits = {}; apply("limits"); }
  if (id === "only-inside") markTable("table");
});

function mountChoice() {
  const tag = document.querySelector("script[data-choice]");
  members = tag ? JSON.parse(tag.textContent) : null;
  if (!members) return;
  if (chosen !== null && members.names.indexOf(chosen) < 0) { chosen = null; wish.how = "knee"; }
  if (chosen === null) chosen = members.names[members.knee];
  Object.keys(wish.limits).forEach(name => {
    if (!members.columns.some(column => column.name === name)) delete wish.limits[name];
  });
  drawLines();
  apply("mount");
}

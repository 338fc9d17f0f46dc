// Figures, theme, table and copying: everything on the page but the choice of a candidate.
const media = window.matchMedia("(prefers-color-scheme: dark)");
const specs = {}, drawn = {}, told = {};  // by figure: its data, whether it is drawn, the data as text

function byId(id) { return document.getElementById(id); }
function every(selector, root) { return Array.from((root || document).querySelectorAll(selector)); }
function plot(name) { return byId("plot-" + name); }

function paint(v) {
  if (typeof v === "string") return media.matches && TWINS.hasOwnProperty(v) ? TWINS[v] : v;
  if (Array.isArray(v)) return typeof v[0] === "number" && typeof v[1] !== "string" ? v : v.map(paint);
  if (v && typeof v === "object") {
    const out = {};
    Object.keys(v).forEach(key => { out[key] = paint(v[key]); });
    return out;
  }
  return v;
}

function draw(name) {
  const div = plot(name), spec = paint(JSON.parse(JSON.stringify(specs[name])));
  let view = name;  // while it is the same, zoom and hidden series stay as the reader left them
  if (name === "map") view += sortMap(spec, byId("map-sort").selectedIndex);
  if (name === "drawing") markNodes(spec, byId("drawing-pick").value);
  if (name === "front" && spec.layout.meta) view += setPair(spec, byId("pair-x").value, byId("pair-y").value);
  spec.layout.uirevision = view;
  const fresh = !drawn[name];
  drawn[name] = true;
  Plotly.react(div, spec.data, spec.layout, {
    responsive: true, displaylogo: false, displayModeBar: "hover", plotlyServerURL: "", showLink: false,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    toImageButtonOptions: {format: "svg", filename: "evo-" + name},
  });
  if (fresh) {
    div.on("plotly_afterplot", () => markFigure(name));
    div.on("plotly_click", event => {
      const who = memberAt(div, event.points[0]);
      if (who) choose(who, "plot");
    });
  }
  markFigure(name);
}

// The member of a clicked mark, also where a mark without a name lies upon its own.
function memberAt(div, point) {
  if (typeof point.customdata === "string") return point.customdata;
  const own = point.data;
  const same = div.data.filter(t => Array.isArray(t.customdata) && t.xaxis === own.xaxis && t.yaxis === own.yaxis);
  for (const trace of same) {
    const i = trace.customdata.findIndex((_, k) => trace.x[k] === point.x && trace.y[k] === point.y);
    if (i >= 0) return String(trace.customdata[i]);
  }
  return null;
}

function drawAll() { Object.keys(specs).forEach(name => { if (!drawn[name]) draw(name); }); }

function sortMap(spec, which) {
  const by = spec.layout.meta.sorts[which], heat = spec.data[0], line = spec.data[1];
  heat.z = by.order.map(i => heat.z[i]);
  heat.text = by.order.map(i => heat.text[i]);
  line.x = by.order.map(i => by.values[i]);
  spec.layout.xaxis2.title.text = by.title;
  spec.layout.xaxis2.type = by.log ? "log" : "linear";
  delete spec.layout.xaxis2.dtick;
  Object.assign(spec.layout.xaxis2, by.ticks);
  return " by " + which;
}

function markNodes(spec, who) {
  const all = spec.data[1], marks = spec.data[2], picked = spec.layout.meta[who] || [];
  ["x", "y", "text"].forEach(key => { marks[key] = picked.map(i => all[key][i]); });
}

function setPair(spec, x, y) {
  const meta = spec.layout.meta;
  spec.data.forEach((trace, i) => { trace.x = meta.values[i][x]; trace.y = meta.values[i][y]; });
  spec.layout.xaxis = meta.axes[x];
  spec.layout.yaxis = meta.axes[y];
  return ` ${x} ${y}`;
}

// Figures are drawn when they come near the window, so that a large page opens at once.
const near = "IntersectionObserver" in window ? new IntersectionObserver(seen => {
  seen.forEach(e => {
    if (!e.isIntersecting) return;
    near.unobserve(e.target);
    const name = e.target.id.slice(5);
    if (!drawn[name]) draw(name);
  });
}, {rootMargin: "700px"}) : null;

function tableBody() { const table = byId("front-table"); return table ? table.tBodies[0] : null; }
function rows() { const body = tableBody(); return body ? Array.from(body.rows) : []; }

let sorted = null;  // key and direction that the reader chose
function sortTable() {
  if (!sorted) return;
  const table = byId("front-table"), body = tableBody(), [key, up] = sorted;
  every("th", table.tHead).forEach(th => {
    if (th.dataset.key === key) th.setAttribute("aria-sort", up ? "ascending" : "descending");
    else th.removeAttribute("aria-sort");
  });
  const list = rows().map(row => [parseFloat(row.cells[key].dataset.value), row]);
  list.sort((a, b) => {
    if (isNaN(a[0]) || isNaN(b[0])) return (isNaN(a[0]) ? 1 : 0) - (isNaN(b[0]) ? 1 : 0);
    return up ? a[0] - b[0] : b[0] - a[0];
  });
  list.forEach(pair => body.appendChild(pair[1]));
}

function copyText(button) {
  const source = byId(button.dataset.copy);
  function done() { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); }
  function select() {
    const range = document.createRange();
    range.selectNodeContents(source);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    if (document.execCommand("copy")) done();
  }
  if (navigator.clipboard) navigator.clipboard.writeText(source.textContent).then(done, select);
  else select();
}

// Listeners sit on the document, so that parts of the page can be replaced below them.
document.addEventListener("click", event => {
  const th = event.target.closest("#front-table th[data-key]");
  if (th) {
    sorted = [th.dataset.key, th.getAttribute("aria-sort") !== "ascending"];
    sortTable();
  }
  const row = event.target.closest("#front-table tbody tr");
  if (row) choose(row.dataset.name, "table");
  const button = event.target.closest("button.copy");
  if (button) copyText(button);
});
document.addEventListener("change", event => {
  const id = event.target.id;
  if (id === "map-sort") draw("map");
  if (id === "pair-x" || id === "pair-y") draw("front");
  if (id === "drawing-pick") choose(event.target.value, "drawing");
});
media.addEventListener("change", () => { Object.keys(drawn).forEach(draw); });
window.addEventListener("beforeprint", drawAll);

// Take up the data of the page: once, and again after parts of it were replaced.
function mount() {
  const news = {};
  every("script[data-figure]").forEach(tag => {
    const name = tag.dataset.figure;
    if (told[name] === tag.textContent) return;
    told[name] = tag.textContent;
    specs[name] = JSON.parse(tag.textContent);
    news[name] = true;
  });
  Object.keys(specs).forEach(name => {
    if (plot(name)) return;
    [specs, drawn, told].forEach(map => delete map[name]);
  });
  const table = byId("front-table"), head = table && table.tHead.rows[0];
  if (head) table.style.setProperty("--head", head.offsetHeight + "px");
  sortTable();
  mountChoice();
  every(".plot").forEach(div => {
    const name = div.id.slice(5);
    if (drawn[name]) { if (news[name]) draw(name); }
    else if (near) near.observe(div);
    else draw(name);
  });
}

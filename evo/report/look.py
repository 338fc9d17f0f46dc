"""How the page looks and moves: its style sheet and its script, both inline."""

# ruff: noqa: E501 - style sheets and scripts are tables of rules, one a line

from __future__ import annotations

import json

from . import plot

# Light colour → dark colour; the script swaps them in every figure when the reader prefers dark.
TWINS = {
    plot.INK: "#e6e9ee", plot.SOFT: "#9aa5b4", plot.GRID: "#2b323d", plot.PAPER: "#14181f",
    plot.CLOUD: "#566072", plot.BLUE: "#6db3f2", plot.RUST: "#ff9a5c", plot.GREEN: "#55c79a",
    plot.ROSE: "#e08cc0", plot.AMBER: "#f0b64a", plot.SKY: "#9bd0f5",
    "#f1f3f6": "#1d232c", "#c3d4e6": "#2c4866", "#8db2d6": "#3c6d9c", "#4f8bc0": "#5895cc",
    "#1f639f": "#85bbe8", "#0a2f5c": "#cfe6fb",
}  # fmt: skip

CSS = """
:root{--ink:#1c2430;--soft:#5b6573;--line:#e0e4ea;--paper:#ffffff;--tint:#f5f7f9;--blue:#0b5394;
--rust:#b8430b;--mark:#eaf2fb;--warn:#fdf3e4}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#9aa5b4;--line:#2b323d;--paper:#14181f;
--tint:#1b212a;--blue:#6db3f2;--rust:#ff9a5c;--mark:#1e3350;--warn:#33291a}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:56px}
body{margin:0;background:var(--paper);color:var(--ink);-webkit-font-smoothing:antialiased;
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main,header>div,nav>div,footer{max-width:1180px;margin:0 auto;padding:0 28px}
header{padding:38px 0 18px}
.over{margin:0 0 6px;color:var(--soft);font-size:14px;overflow-wrap:anywhere}
h1{margin:0;font-size:31px;line-height:1.2;font-weight:650;letter-spacing:-.015em;overflow-wrap:anywhere}
.lead{margin:14px 0 0;font-size:19px;line-height:1.5;max-width:62em;text-wrap:pretty}
nav{position:sticky;top:0;z-index:5;background:var(--paper);border-bottom:1px solid var(--line)}
nav>div{display:flex;gap:22px;overflow-x:auto;font-size:14px;padding-top:11px;padding-bottom:11px}
nav a{color:var(--soft);text-decoration:none;white-space:nowrap}
nav a:hover,nav a:focus-visible{color:var(--blue)}
section{padding:30px 0 30px}
section+section{border-top:1px solid var(--line)}
.step{margin:0 0 4px;font-size:13px;font-weight:600;letter-spacing:.02em;color:var(--blue)}
h2{margin:0 0 10px;font-size:23px;line-height:1.3;font-weight:620;letter-spacing:-.01em;max-width:46em;
overflow-wrap:anywhere;text-wrap:pretty}
h3{margin:26px 0 6px;font-size:16.5px;font-weight:620;line-height:1.4;overflow-wrap:anywhere}
p{margin:8px 0;max-width:72em}
figure{margin:14px 0 26px}
.plot{width:100%;min-height:120px}
figcaption,.note{color:var(--soft);font-size:14px;line-height:1.5;max-width:78em;margin:6px 0 0}
.banner{background:var(--warn);border-left:4px solid var(--rust);padding:10px 16px;margin:18px 0 0;
border-radius:0 5px 5px 0}
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:6px 14px 6px 0;text-align:right;vertical-align:top;border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--soft);vertical-align:bottom}
tbody th:first-child,td:first-child,.words th,.words td,th.w,td.w{text-align:left}
.words td{overflow-wrap:anywhere;max-width:60em}
.words th{white-space:nowrap;padding-right:26px;vertical-align:top}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(440px,1fr));gap:8px 56px}
.facts h3{margin-top:14px}
.facts table{width:100%}
.facts .words{table-layout:fixed}
.facts .words th{width:140px;white-space:normal;overflow-wrap:anywhere}
.scroll{overflow:auto;max-height:540px;border:1px solid var(--line);border-radius:6px;margin:12px 0}
.scroll table{width:100%}
.scroll th,.scroll td{padding:5px 14px;white-space:nowrap}
.scroll thead th{position:sticky;top:0;background:var(--tint);z-index:2}
.scroll thead tr+tr th{top:var(--head,33px)}
.scroll tbody tr{cursor:pointer}
.scroll tbody tr:hover{background:var(--tint)}
.scroll tbody tr.chosen{background:var(--mark)}
.scroll tbody tr:last-child td{border-bottom:0}
td.best{font-weight:700;color:var(--blue)}
td.sub{color:var(--soft)}
th.group{text-align:center}
th button{all:unset;cursor:pointer;color:inherit;font-weight:600}
th button:focus-visible,button.copy:focus-visible,select:focus-visible{outline:2px solid var(--blue);outline-offset:2px}
th[aria-sort=ascending] button::after{content:" ▲";font-size:9px}
th[aria-sort=descending] button::after{content:" ▼";font-size:9px}
.tag{display:inline-block;margin-left:6px;padding:0 7px;border-radius:9px;font-size:12px;line-height:18px;
background:var(--mark);color:var(--blue);font-weight:600}
.tag.knee{background:var(--rust);color:var(--paper)}
pre,code{font:13.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
pre{background:var(--tint);border:1px solid var(--line);border-radius:6px;padding:12px 16px;overflow-x:auto;margin:8px 0}
.command{display:flex;gap:10px;align-items:stretch;max-width:78em}
.command pre{flex:1;margin:0;min-width:0}
button.copy,select{font:inherit;font-size:14px;color:var(--ink);background:var(--tint);border:1px solid var(--line);
border-radius:6px;padding:5px 14px;cursor:pointer}
select{padding:4px 8px}
.controls{display:flex;gap:10px;align-items:center;font-size:14px;margin:12px 0 0}
details{margin:10px 0}
summary{cursor:pointer;font-weight:600}
footer{color:var(--soft);font-size:13px;padding-top:26px;padding-bottom:44px}
@media print{nav,button.copy,.controls{display:none}.scroll{max-height:none;overflow:visible}
section{break-inside:auto}figure{break-inside:avoid}}
@media (max-width:560px){.facts{grid-template-columns:1fr}main,header>div,nav>div,footer{padding-left:16px;padding-right:16px}}
"""

_SCRIPT = """
(function(){
"use strict";
var twins=__TWINS__, media=window.matchMedia("(prefers-color-scheme: dark)"), specs={}, drawn={}, chosen=null;
function paint(v){
  if(typeof v==="string") return media.matches&&twins.hasOwnProperty(v)?twins[v]:v;
  if(Array.isArray(v)) return typeof v[0]==="number"&&typeof v[1]!=="string"?v:v.map(paint);
  if(v&&typeof v==="object"){var o={};Object.keys(v).forEach(function(k){o[k]=paint(v[k]);});return o;}
  return v;
}
function clone(v){return JSON.parse(JSON.stringify(v));}
function plot(div){return document.getElementById("plot-"+div);}
function draw(name){
  var s=paint(clone(specs[name]));
  if(name==="map"&&s.layout.meta) sortMap(s,document.getElementById("map-sort").selectedIndex);
  if(name==="drawing") markNodes(s,nodes.value);
  var fresh=!drawn[name]; drawn[name]=true;
  Plotly.react(plot(name),s.data,s.layout,{responsive:true,displaylogo:false,displayModeBar:"hover",
    modeBarButtons:[name==="parallel"?["toImage"]:["toImage","zoom2d","pan2d","resetScale2d"]],
    plotlyServerURL:"",showLink:false,toImageButtonOptions:{format:"svg",filename:"evo-"+name}});
  if(fresh&&hooks[name]) hooks[name](plot(name));
}
function drawAll(){Object.keys(specs).forEach(function(name){if(!drawn[name]) draw(name);});}
function sortMap(s,which){
  var c=s.layout.meta.sorts[which],heat=s.data[0],line=s.data[1];
  heat.z=c.order.map(function(i){return heat.z[i];});
  heat.text=c.order.map(function(i){return heat.text[i];});
  line.x=c.order.map(function(i){return c.values[i];});
  s.layout.xaxis2.title.text=c.title;s.layout.xaxis2.type=c.log?"log":"linear";
  delete s.layout.xaxis2.dtick;Object.assign(s.layout.xaxis2,c.ticks);
}
function markNodes(s,who){
  var all=s.data[1],marks=s.data[2],chosen=s.layout.meta[who]||[];
  ["x","y","text"].forEach(function(key){marks[key]=chosen.map(function(i){return all[key][i];});});
}
document.querySelectorAll("script[data-figure]").forEach(function(tag){
  specs[tag.dataset.figure]=JSON.parse(tag.textContent);
});
media.addEventListener("change",function(){Object.keys(drawn).forEach(draw);});
window.addEventListener("beforeprint",drawAll);
var pick=document.getElementById("map-sort");
if(pick) pick.addEventListener("change",function(){draw("map");});
var nodes=document.getElementById("drawing-pick");
if(nodes) nodes.addEventListener("change",function(){choose(nodes.value,"drawing");});

var table=document.getElementById("front-table"), command=document.getElementById("export-command");
var body=table&&table.tBodies[0];
function rows(){return Array.prototype.slice.call(body.rows);}
function choose(name,from){
  rows().forEach(function(r){r.classList.toggle("chosen",r.dataset.name===name);
    if(r.dataset.name===name){command.textContent=r.dataset.command;
      if(from!=="table") r.parentNode.parentNode.parentNode.scrollTop=r.offsetTop-90;}});
  chosen=name; mark();
  if(nodes&&specs.drawing.layout.meta[name]){
    if(!nodes.querySelector('option[value="'+name+'"]')) nodes.add(new Option("candidate "+name,name));
    nodes.value=name; if(drawn.drawing) draw("drawing");
  }
}
function mark(){
  var div=plot("front"), index=[], picks=[];
  if(chosen===null||!drawn.front) return;
  div.data.forEach(function(t,i){
    if(t.customdata){index.push(i);var k=t.customdata.indexOf(chosen);picks.push(k<0?null:[k]);}});
  if(index.length) Plotly.restyle(div,{selectedpoints:picks},index);
}
if(body){
  var head=table.tHead.rows[0];
  if(head) table.style.setProperty("--head",head.offsetHeight+"px");
  body.addEventListener("click",function(e){var r=e.target.closest("tr");if(r) choose(r.dataset.name,"table");});
  table.tHead.addEventListener("click",function(e){
    var th=e.target.closest("th[data-key]");if(!th) return;
    var up=th.getAttribute("aria-sort")!=="ascending", key=th.dataset.key;
    table.tHead.querySelectorAll("th").forEach(function(o){o.removeAttribute("aria-sort");});
    th.setAttribute("aria-sort",up?"ascending":"descending");
    var list=rows().map(function(r){return [parseFloat(r.cells[key].dataset.value),r];});
    list.sort(function(a,b){
      if(isNaN(a[0])||isNaN(b[0])) return (isNaN(a[0])?1:0)-(isNaN(b[0])?1:0);
      return up?a[0]-b[0]:b[0]-a[0];});
    list.forEach(function(p){body.appendChild(p[1]);});
  });
}
var hooks={
front:function(div){
  mark();
  div.on("plotly_click",function(e){
    var name=e.points[0].customdata;if(name!==undefined) choose(name,"plot");});
},
parallel:function(lines){
  var told=document.getElementById("brush-told");
  lines.on("plotly_restyle",function(){
    var keep=0, names=specs.parallel.layout.meta, dims=lines.data[0].dimensions, pass={};
    names.forEach(function(name,i){pass[name]=dims.every(function(d){
      var c=d.constraintrange;if(!c||!c.length) return true;
      var list=Array.isArray(c[0])?c:[c], v=d.values[i];
      return list.some(function(r){return v>=Math.min(r[0],r[1])&&v<=Math.max(r[0],r[1]);});});});
    rows().forEach(function(r){var ok=pass[r.dataset.name]!==false;r.hidden=!ok;if(ok) keep++;});
    told.textContent=keep===body.rows.length?"":"Brushed: "+keep+" of "+body.rows.length+" rows shown.";
  });
}};
// Figures are drawn when they come near the window, so that a large page opens at once.
if("IntersectionObserver" in window){
  var watch=new IntersectionObserver(function(seen){seen.forEach(function(e){
    if(e.isIntersecting){watch.unobserve(e.target);draw(e.target.id.slice(5));}});},{rootMargin:"700px"});
  document.querySelectorAll(".plot").forEach(function(div){watch.observe(div);});
}else drawAll();
var copy=document.getElementById("copy");
if(copy) copy.addEventListener("click",function(){
  function done(){copy.textContent="Copied";setTimeout(function(){copy.textContent="Copy";},1500);}
  function select(){var r=document.createRange();r.selectNodeContents(command);
    var s=window.getSelection();s.removeAllRanges();s.addRange(r);
    if(document.execCommand("copy")) done();}
  if(navigator.clipboard) navigator.clipboard.writeText(command.textContent).then(done,select); else select();
});
})();
"""

SCRIPT = _SCRIPT.replace("__TWINS__", json.dumps(TWINS))

// Keeps the page up to date: asks for its parts, replaces those that changed, leaves the reader where they are.
let stamp = "", held = false;
const texts = {};   // section → the HTML that it was made from

document.addEventListener("pointerdown", () => { held = true; });
["pointerup", "pointercancel"].forEach(name => document.addEventListener(name, () => { held = false; }));

function made(html) {
  const box = document.createElement("template");
  box.innerHTML = html;
  return box.content.firstElementChild;
}

// What the reader did to a section, and figures that are drawn, go over to the new one.
function carry(old, fresh) {
  every(".plot", fresh).forEach(div => {
    const mine = old.querySelector("#" + CSS.escape(div.id));
    if (!mine || !drawn[div.id.slice(5)]) return;
    mine.style.height = div.style.height;
    div.replaceWith(mine);
  });
  every("select, input[type=checkbox]", fresh).forEach(input => {
    const mine = input.id && old.querySelector("#" + CSS.escape(input.id));
    if (!mine) return;
    if (input.type === "checkbox") input.checked = mine.checked;
    else if (every("option", input).some(option => option.value === mine.value)) input.value = mine.value;
  });
  const open = every("details[open] > summary", old).map(summary => summary.textContent.replace(/[\d,]+/g, ""));
  every("details > summary", fresh).forEach(summary => {
    if (open.includes(summary.textContent.replace(/[\d,]+/g, ""))) summary.parentNode.open = true;
  });
}

const BOXES = ".scroll, .wide, .across, pre";
function replaceSection(old, fresh) {
  const scrolls = every(BOXES, old).map(box => [box.scrollTop, box.scrollLeft, box.scrollTop + box.clientHeight >= box.scrollHeight - 4]);
  const focus = old.contains(document.activeElement) ? document.activeElement : null;
  const row = focus && focus.closest("tr[data-column]");
  carry(old, fresh);
  old.replaceWith(fresh);
  every(BOXES, fresh).forEach((box, i) => {
    if (!scrolls[i]) return;
    box.scrollTop = box.id === "log" && scrolls[i][2] ? box.scrollHeight : scrolls[i][0];
    box.scrollLeft = scrolls[i][1];
  });
  if (!focus) return;
  const again = row
    ? every("tr[data-column]", fresh).filter(r => r.dataset.column === row.dataset.column).map(r => r.querySelector("input." + focus.className))[0]
    : focus.id && byId(focus.id);
  if (again) again.focus({preventScroll: true});
}

function replace(parts) {
  const main = document.querySelector("main");
  const top = every("section", main).find(section => section.getBoundingClientRect().bottom > 60);
  const anchor = top && [top.id, top.getBoundingClientRect().top];
  document.title = parts.title;
  const header = document.querySelector("header"), nav = document.querySelector("nav");
  if (texts.head !== parts.head) header.replaceWith(made(parts.head));
  if (texts.nav !== parts.nav) nav.replaceWith(made(parts.nav));
  document.querySelector("footer").textContent = parts.foot;
  const wanted = parts.sections.map(section => section.id);
  every("section", main).forEach(section => {
    if (!wanted.includes(section.id)) section.remove();
  });
  parts.sections.forEach((section, i) => {
    const old = byId(section.id);
    if (old && texts[section.id] === section.html) return;
    const fresh = made(section.html), log = fresh.querySelector("#log");
    if (old) replaceSection(old, fresh);
    else main.insertBefore(fresh, main.children[i] || null);
    if (!old && log) log.scrollTop = log.scrollHeight;
    texts[section.id] = section.html;
  });
  Object.assign(texts, {head: parts.head, nav: parts.nav});
  mount();
  if (anchor && byId(anchor[0])) {
    window.scrollBy({top: byId(anchor[0]).getBoundingClientRect().top - anchor[1], behavior: "instant"});
  }
}

function tell(text) { byId("live").textContent = text; }

async function poll() {
  try {
    const answer = held ? null : await fetch("parts.json?since=" + encodeURIComponent(stamp), {cache: "no-store"});
    if (answer && answer.status === 200) {
      const parts = await answer.json();
      if (!held) {
        replace(parts);
        stamp = parts.stamp;
        tell("Updated " + new Date().toLocaleTimeString());
      }
    } else if (answer && answer.status >= 400) tell(await answer.text());
  } catch (error) {
    tell("No answer: evo watch has ended, or is busy");
  }
  setTimeout(poll, 1000 * Number(document.body.dataset.every));
}
poll();

// The page's state and what each gesture asks of the model. No build step, no other code than this.
import { WORDS } from "./words.js";

const $ = (id) => document.getElementById(id);
let about, language = localStorage.getItem("language") ?? (navigator.language.startsWith("ko") ? "ko" : "en");
let state = null; // { z1, chosen, concept, painted }
let before = null; // what stood there before the last change, to show what changed
let colours = []; // a ground and an ink for each code: the darker the more it paints
let past = [], future = [], selected = [], turn = 0;
const word = (key, ...values) => typeof WORDS[language][key] === "function" ? WORDS[language][key](...values) : WORDS[language][key];
const percent = (share) => `${(100 * share).toFixed(1)} %`;

// Requests. Of each kind one is under way at most, and of those that wait only the latest is sent.
const waiting = new Map();
async function ask(name, body) {
  const response = await fetch(`api/${name}`, body === undefined ? {} : { method: "POST", body: body instanceof Blob ? body : JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}
async function latest(name, body, then) {
  if (waiting.has(name)) { waiting.set(name, [body, then]); return; }
  waiting.set(name, null);
  try { then(await ask(name, body)); } catch (error) { say(error instanceof TypeError ? word("failed") : error.message); }
  const next = waiting.get(name);
  waiting.delete(name);
  if (next) await latest(name, ...next);
}
function say(text) { $("report").textContent = text; }

// Pixels.
function pixels(text) { return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)); }
function show(canvas, text, rows, columns, colour) {
  const channels = about.image[0], raw = pixels(text), small = document.createElement("canvas");
  small.width = columns; small.height = rows;
  const picture = new ImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) {
    const [r, g, b] = colour ? colour(i) : channels === 3 ? raw.slice(3 * i, 3 * i + 3) : [raw[i], raw[i], raw[i]];
    picture.data.set([r, g, b, 255], 4 * i);
  }
  small.getContext("2d").putImageData(picture, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}
const size = () => [about.image[1], about.image[2]];

// What is on the page.
function render() {
  if (!state) return;
  show($("painted"), state.painted, ...size());
  const [height, width] = about.grid;
  [...$("cells").children].forEach((cell, place) => {
    const [row, column] = [Math.floor(place / width), place % width];
    const code = state.z1[row][column], chosen = selected.some(([r, c]) => r === row && c === column);
    cell.setAttribute("aria-label", word("cell", row + 1, column + 1, code));
    cell.setAttribute("aria-selected", chosen);
    const tile = $("map").children[place];
    tile.textContent = code; tile.style.background = colours[code][0]; tile.style.color = colours[code][1];
  });
  const field = $("cells").parentElement.querySelector(".field");
  field.hidden = selected.length !== 1;
  if (selected.length === 1) {
    const [top, left, bottom, right] = about.fields[selected[0][0] * width + selected[0][1]], [rows, columns] = size();
    Object.assign(field.style, { top: `${100 * top / rows}%`, left: `${100 * left / columns}%`, height: `${100 * (bottom - top) / rows}%`, width: `${100 * (right - left) / columns}%` });
  }
  [...$("bars").children].forEach((bar, k) => {
    bar.setAttribute("aria-pressed", k === state.chosen);
    bar.querySelector("i").style.width = `${100 * state.concept[k]}%`;
    bar.querySelector("output").textContent = percent(state.concept[k]);
  });
  difference();
  $("undo").disabled = !past.length; $("redo").disabled = !future.length; $("complete").disabled = !selected.length;
  history.replaceState(null, "", `#${new URLSearchParams({ model: about.name, concept: state.chosen, z1: state.z1.flat().join(".") })}`);
}
function difference() {
  const canvas = $("difference"), [rows, columns] = size();
  const now = pixels(state.painted), then = pixels((before ?? state).painted), channels = about.image[0];
  const change = Array.from({ length: rows * columns }, (_, i) => Math.max(...Array.from({ length: channels }, (_, c) => Math.abs(now[channels * i + c] - then[channels * i + c]))));
  const most = Math.max(...change, 1);
  show(canvas, state.painted, rows, columns, (i) => { const share = change[i] / most; return [255 - 244 * share, 255 - 145 * share, 255 - 102 * share]; });
  if (!before) return;
  const total = change.reduce((sum, x) => sum + x * x, 0);
  if (!total) { say(word("same")); return; }
  if (before.cell) {
    const [tall, wide] = about.patch, [row, column] = before.cell;
    const own = change.reduce((sum, x, i) => sum + (Math.floor(i / columns / tall) === row && Math.floor((i % columns) / wide) === column ? x * x : 0), 0);
    say(word("changed", percent(own / total)));
  } else say("");
}
function become(next, cell = null, keep = true) {
  if (state && keep) { past.push(state); future = []; }
  before = state && { ...state, cell };
  state = next;
  render();
  if (selected.length) palette();
}

// The palette of the chosen cell.
function palette() {
  if (selected.length !== 1) { $("palette").replaceChildren(); $("palette-hint").textContent = word("palette-empty"); return; }
  $("palette-hint").textContent = word("palette-hint");
  const cell = selected[0];
  latest("palette", { z1: state.z1, concept: state.chosen, cell }, ({ codes, probabilities }) => {
    if (selected.length !== 1 || selected[0] !== cell) return;
    const focused = $("palette").contains(document.activeElement) ? document.activeElement.dataset.code : null;
    $("palette").replaceChildren(...codes.map((code, place) => {
      const tile = document.createElement("button");
      tile.type = "button"; tile.dataset.code = code; tile.setAttribute("role", "option");
      tile.setAttribute("aria-selected", state.z1[cell[0]][cell[1]] === code);
      tile.setAttribute("aria-label", word("code", code, percent(probabilities[place])));
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = 40;
      show(canvas, about.codes[code], ...about.patch);
      const label = document.createElement("span");
      label.textContent = percent(probabilities[place]);
      tile.append(canvas, label);
      tile.addEventListener("click", () => change(cell, code));
      return tile;
    }));
    if (focused) $("palette").querySelector(`[data-code="${focused}"]`)?.focus();
  });
}
function change(cell, code) {
  const z1 = state.z1.map((row) => [...row]);
  z1[cell[0]][cell[1]] = code;
  latest("paint", { z1 }, ({ painted, concept }) => become({ ...state, z1, painted, concept }, cell));
}
function read({ z1, concept, painted, image }, drawn = false) {
  if (!drawn && image) show($("drawing"), image, ...size());
  selected = []; $("palette").replaceChildren();
  become({ z1, concept, painted, chosen: concept.indexOf(Math.max(...concept)) }, null, !drawn);
  before = null; difference(); palette();
}
function instantiate(concept) {
  latest("sample", { concept, count: 1, seed: turn++ }, async ({ z1, painted }) => {
    const read = await ask("paint", { z1: z1[0] });
    become({ z1: z1[0], painted: painted[0], concept: read.concept, chosen: concept });
  });
}

// Drawing.
function drawing() {
  const canvas = $("drawing"), context = canvas.getContext("2d", { willReadFrequently: true });
  let last = null;
  const blank = () => { context.fillStyle = "#000"; context.fillRect(0, 0, canvas.width, canvas.height); };
  const place = (event) => { const box = canvas.getBoundingClientRect(); return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height]; };
  const send = () => {
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height), grey = new Uint8Array(70 * 70);
    for (let y = 0; y < 70; y++) for (let x = 0; x < 70; x++) grey[70 * y + x] = data[4 * (canvas.width * (4 * y + 2) + 4 * x + 2)];
    latest("draw", { rows: 70, columns: 70, pixels: btoa(String.fromCharCode(...grey)) }, (answer) => read(answer, true));
  };
  let fresh = true;
  canvas.addEventListener("pointerdown", (event) => { if (fresh) blank(); fresh = false; last = place(event); canvas.setPointerCapture(event.pointerId); event.preventDefault(); });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const [x, y] = place(event);
    Object.assign(context, { strokeStyle: "#fff", lineWidth: 22, lineCap: "round", lineJoin: "round" });
    context.beginPath(); context.moveTo(...last); context.lineTo(x, y); context.stroke();
    last = [x, y]; send();
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { last = null; });
  $("clear").addEventListener("click", () => { blank(); fresh = false; });
  return { blank, renew: () => { fresh = true; } };
}

// The page's parts.
function build() {
  const [height, width] = about.grid;
  const field = document.createElement("div");
  field.className = "field"; field.hidden = true;
  $("cells").before(field);
  $("cells").style.gridTemplateColumns = `repeat(${width}, 1fr)`;
  $("cells").replaceChildren(...Array.from({ length: height * width }, (_, place) => {
    const cell = document.createElement("button");
    cell.type = "button"; cell.setAttribute("role", "gridcell"); cell.tabIndex = place ? -1 : 0;
    cell.addEventListener("click", (event) => choose([Math.floor(place / width), place % width], event.shiftKey));
    return cell;
  }));
  $("cells").addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    const place = [...$("cells").children].indexOf(document.activeElement);
    const row = Math.min(height - 1, Math.max(0, Math.floor(place / width) + step[0])), column = Math.min(width - 1, Math.max(0, place % width + step[1]));
    const next = $("cells").children[row * width + column];
    document.activeElement.tabIndex = -1; next.tabIndex = 0; next.focus(); event.preventDefault();
  });
  $("map").style.gridTemplateColumns = `repeat(${width}, 1fr)`;
  $("map").replaceChildren(...Array.from({ length: height * width }, () => document.createElement("span")));
  colours = about.codes.map((text, code) => {
    const patch = pixels(text), amount = patch.reduce((sum, x) => sum + x, 0) / patch.length / 255;
    return [`oklch(${0.96 - 0.55 * amount} ${amount < 0.03 ? 0 : 0.11} ${(code * 222.5) % 360})`, amount > 0.45 ? "#fff" : "#111"];
  });
  $("bars").replaceChildren(...about.classes.map((name, k) => {
    const bar = document.createElement("button"), label = document.createElement("b"), track = document.createElement("span"), value = document.createElement("output");
    bar.type = "button"; label.textContent = name; track.append(document.createElement("i")); bar.append(label, track, value);
    bar.addEventListener("click", () => instantiate(k));
    return bar;
  }));
  $("sample-concept").replaceChildren(...about.classes.map((name, k) => new Option(name, k)));
  $("pick").hidden = !about.test_images;
}
function choose(cell, more) {
  const same = ([row, column]) => row === cell[0] && column === cell[1];
  if (more) selected = selected.some(same) ? selected.filter((one) => !same(one)) : [...selected, cell];
  else selected = [cell];
  before = null; render(); palette();
}
function travel(from, to) {
  if (!from.length) return;
  to.push(state); before = { ...state, cell: null }; state = from.pop();
  render(); palette();
}
function samples() {
  const concept = Number($("sample-concept").value);
  latest("sample", { concept, count: 20, seed: turn++, temperature: Number($("temperature").value) }, ({ z1, painted }) => {
    $("samples").replaceChildren(...painted.map((image, place) => {
      const button = document.createElement("button"), canvas = document.createElement("canvas");
      button.type = "button"; button.setAttribute("aria-label", `${word("samples")} ${place + 1}: ${about.classes[concept]}`);
      canvas.width = canvas.height = 84; show(canvas, image, ...size()); button.append(canvas);
      button.addEventListener("click", async () => { const found = await ask("paint", { z1: z1[place] }); selected = []; become({ z1: z1[place], painted: image, concept: found.concept, chosen: concept }); palette(); });
      return button;
    }));
  });
}
function speak() {
  document.documentElement.lang = language;
  document.querySelectorAll("[data-word]").forEach((part) => { part.textContent = word(part.dataset.word); });
  document.querySelectorAll("[data-label]").forEach((part) => part.setAttribute("aria-label", word(part.dataset.label)));
  $("language").textContent = word("language"); $("language").lang = language === "en" ? "ko" : "en";
  if (about) { render(); palette(); }
}

async function start() {
  speak();
  about = await ask("about");
  $("model").textContent = about.name;
  build();
  const canvas = drawing();
  canvas.blank();
  $("undo").addEventListener("click", () => travel(past, future));
  $("redo").addEventListener("click", () => travel(future, past));
  $("complete").addEventListener("click", () => latest("complete", { z1: state.z1, concept: state.chosen, drawn: selected, seed: turn++ }, ({ z1, painted, concept }) => become({ ...state, z1, painted, concept })));
  $("pick").addEventListener("click", () => { canvas.renew(); latest("pick", { index: Math.floor(Math.random() * about.test_images) }, (answer) => read(answer)); });
  $("upload").addEventListener("change", (event) => { const [file] = event.target.files; if (file) { canvas.renew(); latest("upload", file, (answer) => read(answer)); } });
  $("sample").addEventListener("click", samples);
  $("temperature").addEventListener("input", (event) => { $("temperature-value").textContent = Number(event.target.value).toFixed(1); });
  $("language").addEventListener("click", () => { language = language === "en" ? "ko" : "en"; localStorage.setItem("language", language); speak(); });
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
    event.preventDefault(); event.shiftKey ? travel(future, past) : travel(past, future);
  });
  const link = new URLSearchParams(location.hash.slice(1)), [height, width] = about.grid;
  const codes = (link.get("z1") ?? "").split(".").map(Number);
  if (codes.length === height * width && codes.every((code) => Number.isInteger(code) && code >= 0 && code < about.states)) {
    const z1 = Array.from({ length: height }, (_, row) => codes.slice(row * width, (row + 1) * width));
    const found = await ask("paint", { z1 });
    become({ z1, ...found, chosen: Math.min(about.classes.length - 1, Math.max(0, Number(link.get("concept")) || 0)) });
  } else if (about.test_images) { canvas.renew(); read(await ask("pick", { index: 0 })); } else instantiate(Math.min(3, about.classes.length - 1));
  $("sample-concept").value = state?.chosen ?? 0;
  samples();
  document.body.dataset.ready = "yes";
}
start().catch((error) => say(error instanceof TypeError ? word("failed") : error.message));

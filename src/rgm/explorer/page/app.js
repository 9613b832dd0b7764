// The page's state, and what each gesture asks of the model. No build step, no other code than this.
import { engine } from "./engine.js";
import { change, inside, picture, show, showChange, tints } from "./pixels.js";
import { figure, fromLink, npz, save, toLink } from "./share.js";
import { asDigit, grey, Refused, uploaded } from "./strokes.js";
import { WORDS } from "./words.js";

const SHEET = 20, FRAMES = 11;
const $ = (id) => document.getElementById(id);
let about, colours;
let language = localStorage.getItem("language") ?? (navigator.language.startsWith("ko") ? "ko" : "en");
let state = null; // { image, z1, above, concept, painted, chosen }
let before = null; // what stood there before the last change, and the cell that was changed
let past = [], future = [], selected = [], children = null;
let sheet = { concept: 0, seed: 0, temperature: 1 };
let seed = 0;

const word = (key, ...values) => {
  const found = WORDS[language][key];
  return typeof found === "function" ? found(...values) : found;
};
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const element = (tag, properties = {}, ...parts) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...parts);
  return made;
};
const button = (label, act, ...parts) => {
  const made = element("button", { type: "button" }, ...parts);
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
};

// Requests. Of each kind one is under way at most, and of those that wait only the latest is sent.
const waiting = new Map();
async function latest(kind, ask, then) {
  if (waiting.has(kind)) return void waiting.set(kind, [ask, then]);
  waiting.set(kind, null);
  try {
    then(await ask());
  } catch (error) {
    complain(error);
  }
  const next = waiting.get(kind);
  waiting.delete(kind);
  if (next) await latest(kind, ...next);
}
function say(text) { $("report").textContent = text; }
function complain(error) {
  if (error instanceof Refused) say(word(error.word, ...error.values));
  else say(error instanceof TypeError ? word("failed") : error.message);
}

// What is on the page.
function render() {
  if (!state) return;
  const [height, width] = about.grid, [, rows, columns] = about.image;
  show($("painted"), state.painted, about.image);
  $("seen").hidden = !state.image;
  if (state.image) show($("seen").querySelector("canvas"), state.image, about.image);
  const buttons = cells(), tiles = $("map").children;
  state.z1.flat().forEach((code, place) => {
    const row = Math.floor(place / width), column = place % width, cell = buttons[place], tile = tiles[place];
    cell.setAttribute("aria-label", word("cell", row + 1, column + 1, code));
    cell.setAttribute("aria-selected", selected.some(([r, c]) => r === row && c === column));
    Object.assign(tile, { textContent: code });
    Object.assign(tile.style, { background: colours[code].ground, color: colours[code].ink });
    tile.classList.toggle("child", isChild(row / height, column / width));
  });
  const [row, column] = selected[0] ?? [];
  const field = selected.length === 1 ? about.fields[row * width + column] : children && children.map((part, i) => part * (i % 2 ? columns : rows));
  for (const outline of document.querySelectorAll(".field")) {
    outline.hidden = !field;
    if (!field) continue;
    const [top, left, bottom, right] = field.map((side, i) => (100 * side) / (i % 2 ? columns : rows));
    Object.assign(outline.style, { top: `${top}%`, left: `${left}%`, height: `${bottom - top}%`, width: `${right - left}%` });
  }
  [...$("bars").children].forEach((bar, k) => {
    bar.setAttribute("aria-pressed", k === state.chosen);
    bar.querySelector("i").style.width = `${100 * state.concept[k]}%`;
    bar.querySelector("output").textContent = percent(state.concept[k]);
  });
  renderLevels();
  renderChange();
  $("undo").disabled = !past.length;
  $("redo").disabled = !future.length;
  $("complete").disabled = !selected.length;
  remember();
}
function renderLevels() {
  state.above.forEach((grid, i) => grid.flat().forEach((code, place) => {
    const tile = $("levels").querySelectorAll(".grid")[i].children[place];
    const [height, width] = about.levels[i + 1].grid, row = Math.floor(place / width), column = place % width;
    tile.textContent = code;
    tile.style.background = `oklch(0.9 0.07 ${(code * 222.5) % 360})`;
    tile.classList.toggle("child", isChild(row / height, column / width));
    tile.setAttribute("aria-label", word("cell", row + 1, column + 1, code));
  }));
}
// Whether a cell that begins at these shares of the grid's height and width lies beneath the chosen coarser one.
function isChild(down, across) {
  const [top, left, bottom, right] = children ?? [2, 2, 2, 2], little = 1e-9;
  return down >= top - little && down < bottom - little && across >= left - little && across < right - little;
}
function renderChange() {
  const changed = change(state.painted, (before ?? state).painted, about.image), [tall, wide] = about.patch;
  showChange($("difference"), changed, about.image);
  if (!before) return;
  if (!changed.some(Boolean)) return say(word("same"));
  if (!before.cell) return say("");
  const [row, column] = before.cell;
  say(word("changed", inside(changed, about.image[2], [row * tall, column * wide, (row + 1) * tall, (column + 1) * wide])));
}
function remember() {
  history.replaceState(null, "", `#${toLink({ model: about.name, state, sheet })}`);
}
function become(next, { cell = null, undoable = true } = {}) {
  if (state && undoable) [past, future] = [[...past, state], []];
  before = state && { painted: state.painted, cell };
  state = next;
  render();
  palette();
}
function travel(from, to) {
  if (!from.length) return;
  to.push(state);
  before = { painted: state.painted };
  state = from.pop();
  render();
  palette();
}

// An image is read, or codes become the image.
function taken({ z1, above, concept, painted, image }, undoable = true) {
  [selected, children] = [[], null];
  become({ image, z1, above, concept, painted, chosen: concept.indexOf(Math.max(...concept)) }, { undoable });
  [before] = [null];
  renderChange();
}
function instance(z1, chosen) {
  [selected, children] = [[], null];
  latest("paint", () => engine.paint(z1), (seen) => become({ ...seen, image: null, chosen }));
}
function instantiate(concept) {
  latest("sample", () => engine.sample({ concept, count: 1, seed: ++seed, temperature: sheet.temperature }), ({ z1 }) => instance(z1[0], concept));
}
function replace(cell, code) {
  const z1 = state.z1.map((row) => [...row]);
  z1[cell[0]][cell[1]] = code;
  latest("paint", () => engine.paint(z1), (seen) => become({ ...state, ...seen }, { cell }));
}
function complete() {
  const asked = { z1: state.z1, concept: state.chosen, drawn: selected, seed: ++seed, temperature: sheet.temperature };
  latest("complete", () => engine.complete(asked), (seen) => become({ ...state, ...seen }));
}

// The palette of the chosen cell.
function palette() {
  $("palette-hint").textContent = word(selected.length === 1 ? "palette-hint" : "palette-empty");
  if (selected.length !== 1) return $("palette").replaceChildren();
  const cell = selected[0], now = state.z1[cell[0]][cell[1]];
  latest("palette", () => engine.palette({ z1: state.z1, concept: state.chosen, cell }), ({ codes, probabilities }) => {
    if (selected.length !== 1 || selected[0] !== cell) return;
    const focused = $("palette").contains(document.activeElement) ? document.activeElement.dataset.code : null;
    $("palette").replaceChildren(...codes.map((code, place) => {
      const patch = picture(about.codes[code], [about.image[0], ...about.patch], 40);
      const tile = button(word("code", code, probabilities[place]), () => replace(cell, code), patch, element("span", {}, percent(probabilities[place])));
      tile.dataset.code = code;
      tile.setAttribute("role", "option");
      tile.setAttribute("aria-selected", code === now);
      return tile;
    }));
    if (focused) $("palette").querySelector(`[data-code="${focused}"]`)?.focus();
  });
}
function choose(cell, more) {
  const same = ([row, column]) => row === cell[0] && column === cell[1];
  if (!more) selected = [cell];
  else selected = selected.some(same) ? selected.filter((one) => !same(one)) : [...selected, cell];
  [before, children] = [null, null];
  render();
  palette();
}

// Samples and morphs.
function strip(place, { z1, painted }, chosen, label) {
  place.replaceChildren(...painted.map((image, n) => button(label(n), () => instance(z1[n], chosen(n)), picture(image, about.image, 84))));
}
function samples(asked) {
  sheet = asked;
  latest("samples", () => engine.sample({ ...asked, count: SHEET }), (drawn) => {
    strip($("samples"), drawn, () => asked.concept, (n) => word("instance", n + 1, about.classes[asked.concept]));
    if (state) remember();
  });
}
function morph() {
  const start = Number($("sample-concept").value), end = Number($("morph-concept").value);
  latest("morph", () => engine.morph({ start, end, count: FRAMES, seed: ++seed, temperature: sheet.temperature }), (drawn) => {
    strip($("frames"), drawn, (n) => (2 * n < FRAMES ? start : end), (n) => word("frame", n + 1, about.classes[start], about.classes[end]));
  });
}

// Drawing.
function drawing() {
  const canvas = $("drawing"), context = canvas.getContext("2d", { willReadFrequently: true });
  let last = null, fresh = true;
  const blank = () => {
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
  };
  const read = () => latest("read", () => {
    const { width, height } = canvas, [channels, ...side] = about.image;
    const digit = asDigit(grey(context.getImageData(0, 0, width, height).data), height, width, side);
    const image = channels === 1 ? digit : Uint8Array.from({ length: 3 * digit.length }, (_, i) => digit[Math.floor(i / 3)]);
    return engine.read(image).then((seen) => ({ ...seen, image }));
  }, (seen) => taken(seen, false));
  const stroke = (from, to) => {
    Object.assign(context, { strokeStyle: "#fff", lineWidth: 22, lineCap: "round", lineJoin: "round" });
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    read();
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (fresh) blank();
    if (state) [past, future] = [[...past, state], []];
    fresh = false;
    last = place(event);
    canvas.setPointerCapture(event.pointerId);
    stroke(last, last);
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const now = place(event);
    stroke(last, now);
    last = now;
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { last = null; });
  $("clear").addEventListener("click", () => {
    blank();
    fresh = false;
  });
  blank();
  return (seen) => {
    fresh = true;
    show(canvas, seen.image, about.image);
    taken(seen);
  };
}

// The page's parts.
const cells = () => $("cells").querySelectorAll("button");
function build() {
  const [height, width] = about.grid;
  const lines = Array.from({ length: height }, (_, row) => {
    const line = element("div", {}, ...Array.from({ length: width }, (_, column) => {
      const cell = element("button", { type: "button", tabIndex: row || column ? -1 : 0 });
      cell.setAttribute("role", "gridcell");
      cell.addEventListener("click", (event) => choose([row, column], event.shiftKey || $("several").getAttribute("aria-pressed") === "true"));
      return cell;
    }));
    line.setAttribute("role", "row");
    return line;
  });
  $("cells").replaceChildren(...lines);
  $("cells").style.gridTemplate = `repeat(${height}, 1fr) / repeat(${width}, 1fr)`;
  $("cells").addEventListener("keydown", walk);
  $("map").style.gridTemplate = `repeat(${height}, 1fr) / repeat(${width}, 1fr)`;
  $("map").replaceChildren(...Array.from({ length: height * width }, () => element("span")));
  colours = tints(about.codes);
  $("bars").replaceChildren(...about.classes.map((name, k) => {
    const bar = element("button", { type: "button" }, element("b", {}, name), element("span", {}, element("i")), element("output"));
    bar.addEventListener("click", () => instantiate(k));
    return bar;
  }));
  for (const id of ["sample-concept", "morph-concept"]) $(id).replaceChildren(...about.classes.map((name, k) => new Option(name, k)));
  $("pick").hidden = !about.test_images;
  buildLevels();
}
function buildLevels() {
  const above = about.levels.slice(1, -1);
  $("levels").hidden = !above.length;
  $("levels").querySelector("div").replaceChildren(...above.map(({ grid: [height, width] }, i) => {
    const grid = element("div", { className: "grid" });
    grid.style.gridTemplate = `repeat(${height}, 1fr) / repeat(${width}, 1fr)`;
    grid.append(...Array.from({ length: height * width }, (_, place) => {
      const row = Math.floor(place / width), column = place % width;
      return button("", () => {
        [selected, before] = [[], null];
        children = [row / height, column / width, (row + 1) / height, (column + 1) / width];
        render();
        palette();
        say(word("children", row + 1, column + 1, i + 2));
      });
    }));
    return element("div", {}, element("h4", { textContent: word("level", i + 2) }), grid);
  }));
}
function walk(event) {
  if (event.key === "Escape") {
    [selected, before] = [[], null];
    render();
    return palette();
  }
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!step) return;
  const [height, width] = about.grid, all = [...cells()], place = all.indexOf(document.activeElement);
  const row = Math.min(height - 1, Math.max(0, Math.floor(place / width) + step[0]));
  const column = Math.min(width - 1, Math.max(0, (place % width) + step[1]));
  const next = all[row * width + column];
  document.activeElement.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
  event.preventDefault();
}
function speak() {
  document.documentElement.lang = language;
  document.querySelectorAll("[data-word]").forEach((part) => { part.textContent = word(part.dataset.word); });
  document.querySelectorAll("[data-label]").forEach((part) => part.setAttribute("aria-label", word(part.dataset.label)));
  $("language").lang = language === "en" ? "ko" : "en";
  if (!about) return;
  document.querySelectorAll("[data-claim]").forEach((part) => {
    const claim = part.dataset.claim, measured = about.measured[claim];
    part.replaceChildren(word(`claim-${claim}`), ...(measured ? [element("small", {}, word(`measured-${claim}`, measured))] : []));
  });
  $("levels").querySelectorAll("h4").forEach((title, i) => { title.textContent = word("level", i + 2); });
  render();
  palette();
}
function keep() {
  const canvas = (bytes) => picture(bytes, about.image, 224), float = (values, ...shape) => ["<f4", [1, ...shape], Float32Array.from(values)];
  const layers = (bytes) => {
    const [channels, rows, columns] = about.image, size = rows * columns;
    return Array.from({ length: channels * size }, (_, i) => bytes[channels * (i % size) + Math.floor(i / size)] / 255);
  };
  const grid = (codes) => ["<i8", [1, codes.length, codes[0].length], BigInt64Array.from(codes.flat(), BigInt)];
  const acts = {
    link: () => navigator.clipboard.writeText(location.href).then(() => say(word("copied")), () => say(word("not-copied"))),
    "save-image": () => picture(state.painted, about.image, 8 * Math.max(...about.image.slice(1))).toBlob((content) => save("rgm.png", content)),
    "save-codes": () => save("rgm-codes.npz", npz({
      z1: grid(state.z1),
      ...Object.fromEntries(state.above.map((codes, i) => [`z${i + 2}`, grid(codes)])),
      concept: float(state.concept, about.classes.length),
      reconstruction: float(layers(state.painted), ...about.image),
    })),
    "save-figure": () => {
      const panels = [...(state.image ? [[word("image"), canvas(state.image)]] : []), [word("painted"), canvas(state.painted)]];
      const heading = { codes: word("codes"), concept: word("concept") };
      const drawn = figure({ title: `rgm: ${about.name}`, panels, state, classes: about.classes, tint: (code) => colours[code], heading });
      save("rgm.svg", drawn, "image/svg+xml");
    },
  };
  for (const [id, act] of Object.entries(acts)) $(id).addEventListener("click", act);
}
function listen(start) {
  const draw = () => samples({ concept: Number($("sample-concept").value), seed: ++seed, temperature: Number($("temperature").value) });
  $("undo").addEventListener("click", () => travel(past, future));
  $("redo").addEventListener("click", () => travel(future, past));
  $("complete").addEventListener("click", complete);
  $("several").addEventListener("click", ({ currentTarget }) => currentTarget.setAttribute("aria-pressed", currentTarget.getAttribute("aria-pressed") !== "true"));
  $("pick").addEventListener("click", () => latest("read", () => engine.pick(Math.floor(Math.random() * about.test_images)), start));
  $("upload").addEventListener("change", ({ target }) => {
    const [file] = target.files;
    target.value = "";
    if (file) latest("read", async () => {
      const image = await uploaded(file, about.image);
      return { ...(await engine.read(image)), image };
    }, start);
  });
  $("sample").addEventListener("click", draw);
  $("sample-concept").addEventListener("change", draw);
  $("temperature").addEventListener("input", ({ target }) => { $("temperature-value").textContent = Number(target.value).toFixed(1); });
  $("temperature").addEventListener("change", draw);
  $("morph").addEventListener("click", morph);
  $("language").addEventListener("click", () => {
    language = language === "en" ? "ko" : "en";
    localStorage.setItem("language", language);
    speak();
  });
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
    event.preventDefault();
    if (event.shiftKey) travel(future, past);
    else travel(past, future);
  });
  keep();
}
async function open(start) {
  let link = null;
  try {
    link = fromLink(location.hash.slice(1), about);
  } catch {
    say(word("wrong-link"));
  }
  const wrong = $("report").textContent;
  sheet = link?.sheet ?? { ...sheet, concept: link?.chosen ?? Math.min(3, about.classes.length - 1) };
  if (link) become({ ...(await engine.paint(link.z1)), image: null, chosen: link.chosen });
  else if (about.test_images) start(await engine.pick(0));
  else {
    const { z1: [z1] } = await engine.sample({ concept: sheet.concept, count: 1, seed: 0, temperature: 1 });
    become({ ...(await engine.paint(z1)), image: null, chosen: sheet.concept });
  }
  if (!link) sheet = { ...sheet, concept: state.chosen };
  if (wrong) say(wrong);
  seed = sheet.seed;
  $("sample-concept").value = sheet.concept;
  $("morph-concept").value = (sheet.concept + 5) % about.classes.length;
  $("temperature").value = sheet.temperature;
  $("temperature-value").textContent = sheet.temperature.toFixed(1);
  samples(sheet);
}

speak();
say(word("loading"));
try {
  about = await engine.about();
  say("");
  $("model").textContent = about.name;
  build();
  speak();
  const start = drawing();
  listen(start);
  await open(start);
  document.body.dataset.ready = "yes";
} catch (error) {
  complain(error);
}

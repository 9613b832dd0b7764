// The state of the page and its reactions to input. Plain modules: no build step and no library.
import { $, button, element, percent, queue, speaking, tint } from "./base.js";
import { engine } from "./engine.js";
import { change, shareInside, toCanvas, show, showChange, codeColours } from "./pixels.js";
import { figure, fromLink, npz, save, toLink } from "./share.js";
import { asDigit, grey, UploadError, uploaded } from "./strokes.js";
import { WORDS } from "./words.js";

const SHEET = 20, FRAMES = 11;
const LEGIBLE = 14; // cells a row whose codes are written on the map
let about, colours;
let state = null; // { image, z1, above, concept, reconstruction, chosen }: `concept` are probabilities, `chosen` is an index
let previous = null; // the reconstruction before the last change, and the changed cell
let undoStack = [], redoStack = [], selected = [], children = null;
let sheet = { concept: 0, seed: 0, temperature: 1 };
let seed = 0;
let showHiding = () => {}; // of models that answer for single pixels

const { word, write } = speaking(WORDS, writeClaims);
const latest = queue(showError);

function showStatus(text) { $("status").textContent = text; }
function showError(error) {
  if (error instanceof UploadError) showStatus(word(error.word, ...error.values));
  else showStatus(error instanceof TypeError ? word("failed") : error.message);
}

// Rendering.
function render() {
  if (!state) return;
  const [height, width] = about.grid, [, rows, columns] = about.image;
  show($("reconstruction"), state.reconstruction, about.image);
  $("input").hidden = !state.image;
  if (state.image) show($("input").querySelector("canvas"), state.image, about.image);
  const buttons = cells(), tiles = $("map").children;
  state.z1.flat().forEach((code, place) => {
    const row = Math.floor(place / width), column = place % width, cell = buttons[place], tile = tiles[place];
    cell.setAttribute("aria-label", word("cell", row + 1, column + 1, code));
    cell.setAttribute("aria-selected", selected.some(([r, c]) => r === row && c === column));
    tile.textContent = width > LEGIBLE ? "" : code;
    Object.assign(tile.style, { background: colours[code].background, color: colours[code].text });
    tile.classList.toggle("child", isChild(row / height, column / width));
  });
  const [row, column] = selected[0] ?? [];
  const field = selected.length === 1 ? about.fields[row * width + column] : children && children.map((part, i) => part * (i % 2 ? columns : rows));
  for (const outline of document.querySelectorAll(".stack .field")) {
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
  showHiding(state.image ?? state.reconstruction);
  $("undo").disabled = !undoStack.length;
  $("redo").disabled = !redoStack.length;
  $("complete").disabled = !selected.length;
  updateLink();
}
function renderLevels() {
  state.above.forEach((grid, i) => grid.flat().forEach((code, place) => {
    const tile = $("levels").querySelectorAll(".grid")[i].children[place];
    const [height, width] = about.levels[i + 1].grid, row = Math.floor(place / width), column = place % width;
    tile.textContent = code;
    tile.style.background = tint(code);
    tile.classList.toggle("child", isChild(row / height, column / width));
    tile.setAttribute("aria-label", word("cell", row + 1, column + 1, code));
  }));
}
// Whether a cell lies below the selected coarser cell; its upper left corner is given in shares of the grid's height and width.
function isChild(down, across) {
  const [top, left, bottom, right] = children ?? [2, 2, 2, 2], little = 1e-9;
  return down >= top - little && down < bottom - little && across >= left - little && across < right - little;
}
function renderChange() {
  const changed = change(state.reconstruction, (previous ?? state).reconstruction, about.image), [tall, wide] = about.patch;
  showChange($("difference"), changed, about.image);
  if (!previous) return;
  if (!changed.some(Boolean)) return showStatus(word("same"));
  if (!previous.cell) return showStatus("");
  const [row, column] = previous.cell;
  showStatus(word("changed", shareInside(changed, about.image[2], [row * tall, column * wide, (row + 1) * tall, (column + 1) * wide])));
}
function updateLink() {
  history.replaceState(null, "", `#${toLink({ model: about.name, state, sheet })}`);
}
function setState(next, { cell = null, undoable = true } = {}) {
  if (state && undoable) [undoStack, redoStack] = [[...undoStack, state], []];
  previous = state && { reconstruction: state.reconstruction, cell };
  state = next;
  render();
  palette();
}
function stepHistory(from, to) {
  if (!from.length) return;
  to.push(state);
  previous = { reconstruction: state.reconstruction };
  state = from.pop();
  render();
  palette();
}

// New states: an encoded image, a sample, a changed cell, resampled cells.
function showEncoded({ z1, above, concept, reconstruction, image }, undoable = true) {
  [selected, children] = [[], null];
  setState({ image, z1, above, concept, reconstruction, chosen: concept.indexOf(Math.max(...concept)) }, { undoable });
  [previous] = [null];
  renderChange();
}
function showSample(z1, chosen) {
  [selected, children] = [[], null];
  latest("decode", () => engine.decode(z1), (result) => setState({ ...result, image: null, chosen }));
}
function sampleConcept(concept) {
  latest("sample", () => engine.sample({ concept, count: 1, seed: ++seed, temperature: sheet.temperature }), ({ z1 }) => showSample(z1[0], concept));
}
function changeCode(cell, code) {
  const z1 = state.z1.map((row) => [...row]);
  z1[cell[0]][cell[1]] = code;
  latest("decode", () => engine.decode(z1), (result) => setState({ ...state, ...result }, { cell }));
}
function resample() {
  const request = { z1: state.z1, concept: state.chosen, resampled: selected, seed: ++seed, temperature: sheet.temperature };
  latest("complete", () => engine.complete(request), (result) => setState({ ...state, ...result }));
}

// The palette of the selected cell.
function palette() {
  $("palette-hint").textContent = word(selected.length === 1 ? "palette-hint" : "palette-empty");
  if (selected.length !== 1) return $("palette").replaceChildren();
  const cell = selected[0], current = state.z1[cell[0]][cell[1]];
  latest("palette", () => engine.palette({ z1: state.z1, concept: state.chosen, cell }), ({ codes, probabilities }) => {
    if (selected.length !== 1 || selected[0] !== cell) return;
    const focused = $("palette").contains(document.activeElement) ? document.activeElement.dataset.code : null;
    $("palette").replaceChildren(...codes.map((code, place) => {
      const patch = toCanvas(about.codes[code], [about.image[0], ...about.patch], 40);
      const tile = button(word("code", code, probabilities[place]), () => changeCode(cell, code), patch, element("span", {}, percent(probabilities[place])));
      tile.dataset.code = code;
      tile.setAttribute("role", "option");
      tile.setAttribute("aria-selected", code === current);
      return tile;
    }));
    if (focused) $("palette").querySelector(`[data-code="${focused}"]`)?.focus();
  });
}
function select(cell, more) {
  const same = ([row, column]) => row === cell[0] && column === cell[1];
  if (!more) selected = [cell];
  else selected = selected.some(same) ? selected.filter((one) => !same(one)) : [...selected, cell];
  [previous, children] = [null, null];
  render();
  palette();
}

// Samples and morphs between concepts.
function strip(place, { z1, images }, chosen, label) {
  place.replaceChildren(...images.map((image, n) => button(label(n), () => showSample(z1[n], chosen(n)), toCanvas(image, about.image, 84))));
}
function samples(request) {
  sheet = request;
  latest("samples", () => engine.sample({ ...request, count: SHEET }), (samples) => {
    strip($("samples"), samples, () => request.concept, (n) => word("instance", n + 1, about.classes[request.concept]));
    if (state) updateLink();
  });
}
function morph() {
  const start = Number($("sample-concept").value), end = Number($("morph-concept").value);
  latest("morph", () => engine.morph({ start, end, count: FRAMES, seed: ++seed, temperature: sheet.temperature }), (frames) => {
    strip($("frames"), frames, (n) => (2 * n < FRAMES ? start : end), (n) => word("frame", n + 1, about.classes[start], about.classes[end]));
  });
}

// Drawing.
function setUpDrawing() {
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
  const encodeDrawing = () => latest("encode", () => {
    const { width, height } = canvas, [channels, ...side] = about.image;
    const digit = asDigit(grey(context.getImageData(0, 0, width, height).data), height, width, side);
    const image = channels === 1 ? digit : Uint8Array.from({ length: 3 * digit.length }, (_, i) => digit[Math.floor(i / 3)]);
    return engine.encode(image).then((result) => ({ ...result, image }));
  }, (result) => showEncoded(result, false));
  const stroke = (from, to) => {
    Object.assign(context, { strokeStyle: "#fff", lineWidth: 22, lineCap: "round", lineJoin: "round" });
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    encodeDrawing();
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (fresh) blank();
    if (state) [undoStack, redoStack] = [[...undoStack, state], []];
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
  return (result) => {
    fresh = true;
    show(canvas, result.image, about.image);
    showEncoded(result);
  };
}

// Building the page.
const cells = () => $("cells").querySelectorAll("button");
function build() {
  const [height, width] = about.grid;
  const lines = Array.from({ length: height }, (_, row) => {
    const line = element("div", {}, ...Array.from({ length: width }, (_, column) => {
      const cell = element("button", { type: "button", tabIndex: row || column ? -1 : 0 });
      cell.setAttribute("role", "gridcell");
      cell.addEventListener("click", (event) => select([row, column], event.shiftKey || $("several").getAttribute("aria-pressed") === "true"));
      return cell;
    }));
    line.setAttribute("role", "row");
    return line;
  });
  $("cells").replaceChildren(...lines);
  $("cells").style.gridTemplate = `repeat(${height}, 1fr) / repeat(${width}, 1fr)`;
  $("cells").addEventListener("keydown", moveFocus);
  $("map").style.gridTemplate = `repeat(${height}, 1fr) / repeat(${width}, 1fr)`;
  $("map").replaceChildren(...Array.from({ length: height * width }, () => element("span")));
  colours = codeColours(about.codes);
  $("bars").replaceChildren(...about.classes.map((name, k) => {
    const bar = element("button", { type: "button" }, element("b", {}, name), element("span", {}, element("i")), element("output"));
    bar.addEventListener("click", () => sampleConcept(k));
    return bar;
  }));
  for (const id of ["sample-concept", "morph-concept"]) $(id).replaceChildren(...about.classes.map((name, k) => new Option(name, k)));
  $("test-image").hidden = !about.test_images;
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
        [selected, previous] = [[], null];
        children = [row / height, column / width, (row + 1) / height, (column + 1) / width];
        render();
        palette();
        showStatus(word("children", row + 1, column + 1, i + 2));
      });
    }));
    return element("div", {}, element("h4", { textContent: word("level", i + 2) }), grid);
  }));
}
function moveFocus(event) {
  if (event.key === "Escape") {
    [selected, previous] = [[], null];
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
function writeClaims() {
  if (!about) return;
  document.querySelectorAll("[data-claim]").forEach((part) => {
    const claim = part.dataset.claim, measured = about.measured[claim];
    part.replaceChildren(word(`claim-${claim}`), ...(measured ? [element("small", {}, word(`measured-${claim}`, measured))] : []));
  });
  $("levels").querySelectorAll("h4").forEach((title, i) => { title.textContent = word("level", i + 2); });
  render();
  palette();
}
function addDownloads() {
  const canvas = (bytes) => toCanvas(bytes, about.image, 224), float = (values, ...shape) => ["<f4", [1, ...shape], Float32Array.from(values)];
  const layers = (bytes) => {
    const [channels, rows, columns] = about.image, size = rows * columns;
    return Array.from({ length: channels * size }, (_, i) => bytes[channels * (i % size) + Math.floor(i / size)] / 255);
  };
  const grid = (codes) => ["<i8", [1, codes.length, codes[0].length], BigInt64Array.from(codes.flat(), BigInt)];
  const acts = {
    link: () => navigator.clipboard.writeText(location.href).then(() => showStatus(word("copied")), () => showStatus(word("not-copied"))),
    "save-image": () => toCanvas(state.reconstruction, about.image, 8 * Math.max(...about.image.slice(1))).toBlob((content) => save("rgm.png", content)),
    "save-codes": () => save("rgm-codes.npz", npz({
      z1: grid(state.z1),
      ...Object.fromEntries(state.above.map((codes, i) => [`z${i + 2}`, grid(codes)])),
      concept: float(state.concept, about.classes.length),
      reconstruction: float(layers(state.reconstruction), ...about.image),
    })),
    "save-figure": () => {
      const panels = [...(state.image ? [[word("image"), canvas(state.image)]] : []), [word("reconstruction"), canvas(state.reconstruction)]];
      const heading = { codes: word("codes"), concept: word("concept") };
      const svg = figure({ title: `rgm: ${about.name}`, panels, state, classes: about.classes, colour: (code) => colours[code], heading });
      save("rgm.svg", svg, "image/svg+xml");
    },
  };
  for (const [id, act] of Object.entries(acts)) $(id).addEventListener("click", act);
}
function addListeners(showImage) {
  const draw = () => samples({ concept: Number($("sample-concept").value), seed: ++seed, temperature: Number($("temperature").value) });
  $("undo").addEventListener("click", () => stepHistory(undoStack, redoStack));
  $("redo").addEventListener("click", () => stepHistory(redoStack, undoStack));
  $("complete").addEventListener("click", resample);
  $("several").addEventListener("click", ({ currentTarget }) => currentTarget.setAttribute("aria-pressed", currentTarget.getAttribute("aria-pressed") !== "true"));
  $("test-image").addEventListener("click", () => latest("encode", () => engine.testImage(Math.floor(Math.random() * about.test_images)), showImage));
  $("upload").addEventListener("change", ({ target }) => {
    const [file] = target.files;
    target.value = "";
    if (file) latest("encode", async () => {
      const image = await uploaded(file, about);
      return { ...(await engine.encode(image)), image };
    }, showImage);
  });
  $("sample").addEventListener("click", draw);
  $("sample-concept").addEventListener("change", draw);
  $("temperature").addEventListener("input", ({ target }) => { $("temperature-value").textContent = Number(target.value).toFixed(1); });
  $("temperature").addEventListener("change", draw);
  $("morph").addEventListener("click", morph);
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
    event.preventDefault();
    if (event.shiftKey) stepHistory(redoStack, undoStack);
    else stepHistory(undoStack, redoStack);
  });
  addDownloads();
}
async function openPage(showImage) {
  let link = null;
  try {
    link = fromLink(location.hash.slice(1), about);
  } catch {
    showStatus(word("wrong-link"));
  }
  const wrong = $("status").textContent;
  sheet = link?.sheet ?? { ...sheet, concept: link?.chosen ?? Math.min(3, about.classes.length - 1) };
  if (link) setState({ ...(await engine.decode(link.z1)), image: null, chosen: link.chosen });
  else if (about.test_images) showImage(await engine.testImage(0));
  else {
    const { z1: [z1] } = await engine.sample({ concept: sheet.concept, count: 1, seed: 0, temperature: 1 });
    setState({ ...(await engine.decode(z1)), image: null, chosen: sheet.concept });
  }
  if (!link) sheet = { ...sheet, concept: state.chosen };
  if (wrong) showStatus(wrong);
  seed = sheet.seed;
  $("sample-concept").value = sheet.concept;
  $("morph-concept").value = (sheet.concept + 5) % about.classes.length;
  $("temperature").value = sheet.temperature;
  $("temperature-value").textContent = sheet.temperature.toFixed(1);
  samples(sheet);
}

write();
showStatus(word("loading"));
try {
  about = await engine.about();
  showStatus("");
  $("model").textContent = about.name;
  if (!about.drawings) document.querySelector(".lead").dataset.word = "lead-pictures";
  build();
  if (about.hides) showHiding = (await import("./hidden.js")).setUpHidden({ about, ask: engine.hide, latest, word });
  write();
  const showImage = setUpDrawing();
  addListeners(showImage);
  await openPage(showImage);
  document.body.dataset.ready = "yes";
} catch (error) {
  showError(error);
}

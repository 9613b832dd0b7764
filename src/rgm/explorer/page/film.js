// The page of a model of films: it plays a film, shows its events, hides pixels, and goes on with other events.
import { $, button, element, percent, queue, speaking, tint } from "./base.js";
import { bytes, request, text } from "./http.js";
import { WORDS } from "./film-words.js";
import { ORANGE, brush, chosenOf, outline, packed, pointing, showHidden } from "./paint.js";
import { show, sized } from "./pixels.js";

const SCREEN = 340, STRIP = 56;
let about = null;
let film = null; // { frames, hidden, index, start, cut, end }: bytes and a 1 for each hidden pixel, frame by frame
let found = null; // what the model infers from it
let now = 0, timer = null, tool = "look", place = [0, 0], selected = null, span = [0, 0], seed = 0;
const past = []; // films before other events were chosen

const { word, write } = speaking(WORDS, writeTexts);
const latest = queue((error) => showStatus(error instanceof TypeError ? word("failed") : error.message));
const showStatus = (message) => { $("status").textContent = message; };
const pixels = () => about.image[1] * about.image[2];
const frameBytes = () => about.image[0] * pixels();
const count = () => film.frames.length / frameBytes();
const upTo = (end) => ({ frames: text(film.frames.subarray(0, end * frameBytes())), hidden: packed(film.hidden.subarray(0, end * pixels())) });

// Frames.
function renderFrame() {
  const size = frameBytes(), hidden = film.hidden.subarray(now * pixels(), (now + 1) * pixels());
  showHidden($("seen").querySelector("canvas"), film.frames.subarray(now * size, (now + 1) * size), hidden, about.image, ORANGE);
  if (found) show($("restored"), found.restored.subarray(now * size, (now + 1) * size), about.image);
  $("now").value = now;
  $("shown").textContent = word("shown", film.start + now + 1, about.frames);
  document.querySelectorAll(".playhead").forEach((line) => { line.style.left = `${(100 * (now + 0.5)) / count()}%`; });
}
const renderFields = () => outline(field(), about.image);
// The pixels of the selected state: those of its cell, or of the whole frame; without one, the pixel at the cursor.
function field() {
  const [row, column] = place, cell = selected && lanes()[selected.lane].cell;
  if (!cell) return [row, column, row + 1, column + 1];
  const [top, left] = [row - (row % cell), column - (column % cell)];
  return [top, left, top + cell, left + cell];
}

// Lanes: the events above, and below them, level by level, the states of the cell at the cursor.
function lanes() {
  if (!found) return [];
  const top = about.levels.at(-1), offset = about.kind === "flow" ? 1 : 0;
  const event = { name: word(about.kind === "flow" ? "paths" : "events", top), span: top.span, offset, cell: null, states: found.path, shares: found.probabilities };
  const below = found.levels.map((steps, i) => {
    const level = about.levels[i], cell = about.side ** (i + 1), at = Math.floor(place[0] / cell) * level.grid[1] + Math.floor(place[1] / cell);
    return { name: word("level", i + 1, level), span: level.span, offset: 0, cell, states: steps.map((cells) => cells[at]), shares: null };
  });
  return about.paths ? [event, ...below.reverse()] : below;
}
const covered = (lane, step) => [lane.offset + step * lane.span, Math.min(count(), lane.offset + (step + 1) * lane.span)];
function renderLanes() {
  const focus = $("lanes").contains(document.activeElement) ? [document.activeElement.dataset.lane, document.activeElement.dataset.step] : null;
  const across = (start, end) => ({ left: `${(100 * start) / count()}%`, width: `${(100 * (end - start)) / count()}%` });
  $("lanes").replaceChildren(...lanes().map((lane, number) => {
    const blocks = lane.states.map((state, step) => {
      const [from, to] = covered(lane, step);
      const block = button(describe(lane, step), (event) => select(number, step, event.shiftKey), element("span", { textContent: label(lane, state) }));
      Object.assign(block.dataset, { lane: number, step });
      block.tabIndex = (selected ? selected.lane === number && selected.step === step : !number && !step) ? 0 : -1;
      block.setAttribute("role", "gridcell");
      block.setAttribute("aria-selected", selected?.lane === number && selected.step === step);
      block.title = describe(lane, step);
      block.style.background = tint(state);
      if (lane.shares) block.style.opacity = 0.35 + 0.65 * lane.shares[step];
      block.style.gridColumn = `${from + 1} / ${to + 1}`;
      block.style.gridRow = 1;
      return block;
    });
    const strip = element("div", {}, ...blocks, element("i", { className: "playhead" }));
    strip.style.gridTemplateColumns = `repeat(${count()}, 1fr)`;
    if (span[1] > span[0]) strip.append(Object.assign(element("i", { className: "marked" })));
    if (film.cut !== null) strip.append(element("i", { className: "cut" }));
    strip.setAttribute("role", "presentation");
    const mark = strip.querySelector(".marked"), cut = strip.querySelector(".cut");
    if (mark) Object.assign(mark.style, across(...span));
    if (cut) cut.style.left = `${(100 * film.cut) / count()}%`;
    const row = element("div", { className: "lane" }, element("span", { textContent: lane.name }), strip);
    row.setAttribute("role", "row");
    row.setAttribute("aria-label", lane.name);
    return row;
  }));
  fitLabels();
  if (focus) $("lanes").querySelector(`[data-lane="${focus[0]}"][data-step="${focus[1]}"]`)?.focus();
}
function fitLabels() { // a number that does not fit is not shown, rather than a part of it
  const blocks = [...$("lanes").querySelectorAll("button")], widths = blocks.map((block) => block.clientWidth);
  blocks.forEach((block, i) => {
    const label = block.firstChild;
    label.hidden = label.textContent.length * 6.6 + 5 > widths[i];
  });
}
function label(lane, state) {
  const motion = about.motions && about.motions[state];
  return motion ? arrow(motion) : String(state);
}
function arrow([down, across]) {
  if (Math.hypot(down, across) < 0.5) return "•";
  return "→↘↓↙←↖↑↗"[Math.round((Math.atan2(down, across) / Math.PI) * 4 + 8) % 8];
}
function describe(lane, step) {
  const [from, to] = covered(lane, step), state = lane.states[step], motion = about.motions && lane.shares && about.motions[state];
  return word("block", lane.name, state, film.start + from + 1, film.start + to, lane.shares && percent(lane.shares[step]), motion);
}
function select(number, step, extend) {
  const lane = lanes()[number], [from, to] = covered(lane, step);
  span = extend && span[1] > span[0] ? [Math.min(span[0], from), Math.max(span[1], to)] : [from, to];
  selected = { lane: number, step };
  now = from;
  renderFrame();
  renderFields();
  renderLanes();
  renderSelected();
  successors();
}
function renderSelected() {
  const lane = selected && lanes()[selected.lane];
  $("selected").textContent = lane ? describe(lane, selected.step) : "";
  $("hide-span").disabled = !(span[1] > span[0]);
}
function moveFocus(event) {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!step || !selected) return;
  event.preventDefault();
  const all = lanes(), lane = all[selected.lane], number = Math.min(all.length - 1, Math.max(0, selected.lane + step[0])), other = all[number];
  const at = number === selected.lane ? selected.step + step[1] : Math.floor((covered(lane, selected.step)[0] - other.offset) / other.span);
  select(number, Math.min(other.states.length - 1, Math.max(0, at)), event.shiftKey);
  $("lanes").querySelector('[aria-selected="true"]').focus();
}

// The model's answers.
function infer() {
  const asked = film;
  latest("infer", () => request("infer", upTo(count())), (answer) => {
    if (film !== asked) return;
    found = { ...answer, restored: bytes(answer.restored) };
    renderFrame();
    renderLanes();
    renderSelected();
    const share = found.hidden ? percent(found.wrong / found.hidden) : "";
    showStatus(found.hidden ? word("filled", found.hidden, found.wrong, share) : word("evidence", found.evidence_nats));
    if (!selected && about.paths && found.path.length) {
      const [{ offset, span: frames }] = lanes();
      select(0, Math.max(0, Math.floor((now - offset) / frames)), false);
    }
    document.body.dataset.ready = "yes";
  });
}
// The event at the selection, and the frame at which it ends.
function chosenEvent() {
  const lane = lanes()[0];
  if (!about.paths || !lane?.states.length) return null;
  const step = Math.min(lane.states.length - 1, Math.max(0, Math.floor((span[0] - lane.offset) / lane.span)));
  return { event: lane.states[step], end: covered(lane, step)[1], next: lane.states[step + 1], from: covered(lane, step)[0] };
}
function successors() {
  const chosen = chosenEvent();
  if (!chosen) return;
  latest("successors", () => request("successors", { frames: upTo(chosen.end).frames, event: chosen.event }), ({ choices }) => {
    $("t-follow").textContent = word("follow", chosen.event, film.start + chosen.from + 1, film.start + chosen.end, about.kind);
    $("choices").replaceChildren(...choices.map(({ event, probability, frames }) => {
      const shown = bytes(frames), same = event === chosen.next && chosen.end < count();
      const name = word("choice", event, probability, same, about.kind, about.motions && arrow(about.motions[event]));
      return button(word("choose-label", name), () => follow(event, chosen.end), element("div", { className: "frames" }, ...strip(shown)), element("span", { textContent: name }));
    }));
  });
}
function strip(shown) {
  const size = frameBytes();
  return Array.from({ length: shown.length / size }, (_, i) => {
    const canvas = sized(document.createElement("canvas"), about.image, STRIP);
    show(canvas, shown.subarray(i * size, (i + 1) * size), about.image);
    return canvas;
  });
}
// Cut the film at a frame, leaving room for what follows, which `ask` asks for.
function goOn(end, ask, title) {
  const whole = about.levels.at(-1).span, most = Math.max(whole, Math.floor(about.window / 2 / whole) * whole);
  const gone = end > most ? Math.ceil((end - most) / whole) * whole : 0;
  const kept = film.frames.slice(gone * frameBytes(), end * frameBytes()), hidden = film.hidden.slice(gone * pixels(), end * pixels());
  const steps = about.window - (end - gone), before = film;
  latest("follow", () => ask({ frames: text(kept), hidden: packed(hidden), steps, seed: ++seed }), ({ frames }) => {
    if (film !== before) return;
    const after = bytes(frames), all = new Uint8Array(kept.length + after.length);
    all.set(kept);
    all.set(after, kept.length);
    past.push({ film, now, span, selected });
    const covers = new Uint8Array((all.length / frameBytes()) * pixels());
    covers.set(hidden);
    open({ ...film, frames: all, hidden: covers, start: film.start + gone, cut: end - gone, title }, end - gone);
    play(true);
  });
}
function follow(event, end) {
  goOn(end, ({ hidden, ...rest }) => request("follow", { ...rest, event }), word("went-on", film.start + end, event, about.kind));
}
function draw() {
  const end = Math.max(span[1], now + 1);
  goOn(end, (body) => request("continue", body), word("drew-on", film.start + end));
}

// Films.
function open(next, at = 0) {
  film = next;
  [found, now, selected, span] = [null, Math.min(at, count() - 1), null, [0, 0]];
  $("now").max = count() - 1;
  $("choices").replaceChildren();
  describeFilm();
  renderFrame();
  renderFields();
  infer();
}
function describeFilm() {
  $("title").textContent = film.title ?? word("part", film.start + 1, film.start + count(), about.frames);
  $("earlier").disabled = !!film.title || film.start === 0;
  $("later").disabled = !!film.title || film.start + count() >= about.frames;
  $("earlier").hidden = $("later").hidden = about.frames <= about.window;
  $("back").disabled = !past.length;
  $("index").value = film.index + 1;
}
function load(index, start) {
  play(false);
  latest("film", () => request("film", { index, start }), ({ frames }) => {
    const content = bytes(frames);
    past.length = 0;
    open({ frames: content, hidden: new Uint8Array((content.length / frameBytes()) * pixels()), index, start, cut: null, title: null });
  });
}
function back() {
  const before = past.pop();
  play(false);
  open(before.film, before.now);
}
function play(on) {
  clearTimeout(timer);
  timer = null;
  const next = () => {
    now = (now + 1) % count();
    renderFrame();
    timer = setTimeout(next, 1000 / Number($("speed").value));
  };
  if (on) timer = setTimeout(next, 1000 / Number($("speed").value));
  $("play").textContent = word(timer === null ? "play" : "pause");
}

// Hiding.
function paint([row, column]) {
  place = [row, column];
  if (tool !== "look") {
    for (const t of $("every").checked ? Array.from({ length: count() }, (_, i) => i) : [now]) {
      brush(film.hidden.subarray(t * pixels(), (t + 1) * pixels()), place, Number($("brush").value), about.image, tool === "hide" ? 1 : 0);
    }
    infer();
  }
  renderFrame();
  renderFields();
  if (tool === "look") renderLanes();
}
function setUpCanvas() {
  const box = $("seen"), moved = (to) => {
    place = to;
    renderFields();
    renderLanes();
  };
  pointing(box, about.image, () => place, { paint, moved });
  for (const canvas of [box.querySelector("canvas"), $("restored")]) {
    sized(canvas, about.image, SCREEN);
    canvas.parentElement.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
  }
}
function addListeners() {
  $("play").addEventListener("click", () => play(timer === null));
  $("step").addEventListener("click", () => {
    play(false);
    now = (now + 1) % count();
    renderFrame();
  });
  $("now").addEventListener("input", ({ target }) => {
    now = Number(target.value);
    renderFrame();
  });
  $("speed").addEventListener("input", writeSpeed);
  $("index").addEventListener("change", ({ target }) => load(Math.min(about.films, Math.max(1, Math.floor(Number(target.value)) || 1)) - 1, 0));
  $("earlier").addEventListener("click", () => load(film.index, Math.max(0, film.start - about.window)));
  $("later").addEventListener("click", () => load(film.index, film.start + about.window));
  $("back").addEventListener("click", back);
  chosenOf(["look", "hide", "reveal"].map($), (name) => { tool = name; });
  const change = (act) => () => {
    act();
    renderFrame();
    infer();
  };
  $("hide-span").addEventListener("click", change(() => film.hidden.fill(1, span[0] * pixels(), span[1] * pixels())));
  $("hide-third").addEventListener("click", change(() => film.hidden.forEach((_, i) => { if (Math.random() < 1 / 3) film.hidden[i] = 1; })));
  $("reveal-all").addEventListener("click", change(() => film.hidden.fill(0)));
  $("lanes").addEventListener("keydown", moveFocus);
  $("choose").addEventListener("click", () => {
    const chosen = chosenEvent(), event = Math.min(Number($("other").max), Math.max(0, Math.floor(Number($("other").value)) || 0));
    if (chosen) follow(event, chosen.end);
  });
  $("draw").addEventListener("click", draw);
  window.addEventListener("resize", fitLabels);
}
function writeSpeed() { $("speed-value").textContent = word("per-second", Number($("speed").value)); }
function writeTexts() {
  $("play").textContent = word(timer === null ? "play" : "pause");
  writeSpeed();
  if (!about) return;
  const kind = about.paths ? about.kind : "neighbourhoods";
  $("kind").textContent = word(`kind-${kind}`);
  $("events-hint").textContent = word(about.levels.length > 1 ? "hint-levels" : about.paths ? "hint-events" : "hint-none");
  $("follow-hint").textContent = word(about.paths ? "follow-hint" : "hint-none");
  $("any-text").textContent = word("any", about.levels.at(-1).states - 1, about.kind);
  $("films").textContent = word("of", about.films);
  $("t-follow").textContent = word("follow-title");
  if (!film) return;
  describeFilm();
  renderFrame();
  renderLanes();
  renderSelected();
  successors();
}

write();
showStatus(word("loading"));
try {
  about = await request("about");
  showStatus("");
  $("model").textContent = about.name;
  $("drawn").hidden = about.own;
  $("any").hidden = !about.paths;
  $("number").hidden = about.films < 2;
  $("index").max = about.films;
  $("other").max = about.levels.at(-1).states - 1;
  place = [about.image[1], about.image[2]].map((side) => Math.floor(side / 2));
  setUpCanvas();
  addListeners();
  write();
  load(0, 0);
} catch (error) {
  showStatus(error instanceof TypeError ? word("failed") : error.message);
}

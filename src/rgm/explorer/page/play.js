// The page about an agent that plays: the game, what the agent expects and believes, its plan; and hands on the keys.
import { $, button, element, queue, speaking } from "./base.js";
import { bytes, request } from "./http.js";
import { GREY, brush, chosenOf, outline, packed, pointing, showHidden } from "./paint.js";
import { show, sized } from "./pixels.js";
import { WORDS } from "./play-words.js";

const SCREEN = 300, CARD = 84;
const MOVES = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" };
let about = null, last = null; // the last answer
let hidden = null, tool = "hide", place = [0, 0], seed = 0;
let running = false, mine = false, held = null, busy = false, timer = null;

const { word, write } = speaking(WORDS, writeTexts);
const showStatus = (message) => { $("status").textContent = message; };
const failed = (error) => {
  run(false);
  showStatus(error instanceof TypeError ? word("failed") : error.message);
};
const latest = queue(failed);
const named = (action) => word(`action-${about.actions[action]}`) ?? word("action", about.actions[action]);
const picture = (text) => bytes(text);

// Rendering.
function render() {
  const { image } = about;
  showHidden($("game").querySelector("canvas"), picture(last.frame), hidden, image, GREY);
  blank($("expected"), last.expected);
  blank($("belief"), last.belief);
  $("expected-note").textContent = last.expected ? word(differs() ? "surprised" : "as-expected") : word(last.taken === null ? "no-expectation" : "end-expected");
  $("belief-note").textContent = last.belief ? word("belief-note", last.entropy_bits, last.states, last.filtered) : word("no-belief");
  $("score").textContent = word("score", last.step, last.episode, last.hits, last.misses, last.total);
  renderActions();
  renderPlan();
  outline([...place, place[0] + 1, place[1] + 1], image);
}
function blank(canvas, text) {
  canvas.parentElement.classList.toggle("empty", !text);
  if (text) show(canvas, picture(text), about.image);
  else canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}
// Whether a cell that is seen is not as expected; the agent expects only what its states hold.
function differs() {
  const seen = picture(last.frame), expected = picture(last.expected), ground = commonest(expected);
  for (let i = 0; i < hidden.length; i++) {
    const [a, b] = [seen, expected].map((one) => one.slice(3 * i, 3 * i + 3).join());
    if (!hidden[i] && a !== b && b !== ground) return true;
  }
  return false;
}
function commonest(colours) {
  const counts = new Map();
  for (let i = 0; i < colours.length; i += 3) {
    const name = colours.slice(i, i + 3).join();
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1])[0][0];
}
function renderActions() {
  [...$("actions").children].forEach((one, action) => {
    const worth = last.worth?.[action], next = last.belief !== null && last.action === action;
    one.classList.toggle("next", next);
    one.querySelector("small").textContent = last.belief === null ? "" : word("worth", worth);
    one.setAttribute("aria-label", word("take", named(action), next, last.belief === null ? undefined : worth));
  });
}
function renderPlan() {
  $("plan").replaceChildren(...(last.plan ?? []).map(({ state, frame, action, goal }, ahead) => {
    const canvas = sized(document.createElement("canvas"), about.image, CARD);
    show(canvas, picture(frame), about.image);
    return element("li", { className: goal ? "goal" : "" }, canvas, element("span", { textContent: word("event", ahead, state, named(action), goal) }));
  }));
  const goal = last.plan?.at(-1)?.goal;
  $("plan-note").textContent = last.plan ? word("plan-note", last.plan.length - 1, goal) : word("no-belief");
}
function announce() {
  const who = running || last.taken === null ? "" : word(mine ? "you-took" : "it-took", named(last.taken));
  if (running && !last.reward && !last.ended) return; // each step would be read aloud
  showStatus([who, last.reward > 0 ? word("hit") : last.reward < 0 ? word("miss") : "", last.ended ? word("over") : ""].filter(Boolean).join(" "));
}

// Steps.
async function step(action = null) {
  if (busy || !last) return;
  busy = true;
  try {
    const own = mine && action === null ? rest() : action;
    last = await request("step", { game: last.game, step: last.step, action: own, hidden: packed(hidden) });
    render();
    announce();
  } catch (error) {
    failed(error);
  }
  busy = false;
}
// What you do where you press nothing: the action that is held, else staying where the game has that.
function rest() {
  const stay = about.actions.indexOf("stay");
  return held ?? (stay < 0 ? last.action ?? null : stay);
}
function run(on) {
  running = on;
  clearTimeout(timer);
  const next = async () => {
    const start = performance.now();
    await step();
    if (running) timer = setTimeout(next, Math.max(0, 1000 / Number($("speed").value) - (performance.now() - start)));
  };
  if (on) next();
  $("play").textContent = word(running ? "pause" : "start");
}
function begin() {
  run(false);
  latest("begin", () => request("begin", { seed: seed++ }), (answer) => {
    last = answer;
    render();
    showStatus(word("begun"));
    document.body.dataset.ready = "yes";
  });
}
function take(action) {
  setMine(true);
  if (!running) step(action);
  else held = action;
}
function setMine(on) {
  mine = on;
  held = null;
  $("agent").setAttribute("aria-pressed", !mine);
  $("you").setAttribute("aria-pressed", mine);
}

// Hiding.
function paint(to) {
  place = to;
  brush(hidden, place, Number($("brush").value), about.image, tool === "hide" ? 1 : 0);
  render();
}
function build() {
  const [, rows, columns] = about.image;
  hidden = new Uint8Array(rows * columns);
  place = [Math.floor(rows / 2), Math.floor(columns / 2)];
  for (const canvas of [$("game").querySelector("canvas"), $("expected"), $("belief")]) {
    sized(canvas, about.image, SCREEN);
    canvas.parentElement.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
  }
  $("actions").replaceChildren(...about.actions.map((_, action) => button("", () => take(action), element("span"), element("small"))));
  pointing($("game"), about.image, () => place, { paint, moved: (to) => {
    place = to;
    outline([...place, place[0] + 1, place[1] + 1], about.image);
  } });
  chosenOf([$("hide"), $("reveal")], (name) => { tool = name; });
  chosenOf([$("agent"), $("you")], (name) => setMine(name === "you"));
  const change = (act) => () => {
    act();
    render();
  };
  $("hide-most").addEventListener("click", change(() => hidden.forEach((_, i) => { hidden[i] = Math.random() < 2 / 3 ? 1 : 0; })));
  $("reveal-all").addEventListener("click", change(() => hidden.fill(0)));
  $("play").addEventListener("click", () => run(!running));
  $("step").addEventListener("click", () => {
    run(false);
    step();
  });
  $("again").addEventListener("click", begin);
  $("speed").addEventListener("input", writeSpeed);
  const actionOf = (event) => (/^[0-9]$/.test(event.key) ? Number(event.key) : about.actions.indexOf(MOVES[event.key]));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, #game")) return;
    const action = MOVES[event.key] === "down" && about.actions.includes("stay") ? about.actions.indexOf("stay") : actionOf(event);
    if (action < 0 || action >= about.actions.length) return;
    event.preventDefault();
    if (!event.repeat || !running) take(action);
  });
  document.addEventListener("keyup", (event) => { if (held !== null && (actionOf(event) === held || MOVES[event.key] === "down")) held = null; });
}
function writeSpeed() { $("speed-value").textContent = word("per-second", Number($("speed").value)); }
function writeTexts() {
  $("play").textContent = word(running ? "pause" : "start");
  writeSpeed();
  if (!about) return;
  $("knows").textContent = word("knows", about);
  $("keys").textContent = word("keys", about.actions.includes("stay"));
  [...$("actions").children].forEach((one, action) => { one.querySelector("span").textContent = named(action); });
  if (last) render();
}

write();
showStatus(word("loading"));
try {
  about = await request("about");
  $("model").textContent = about.name;
  build();
  write();
  begin();
} catch (error) {
  failed(error);
}

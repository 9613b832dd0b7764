// Pixels of the image that one hides, and what the visible ones say of them: for models that answer for single pixels.
import { $, percent } from "./base.js";
import { brush, chosenOf, GREY, outline, packed, pointing, showHidden } from "./paint.js";
import { show, showChange, sized, toCanvas } from "./pixels.js";

const SCREEN = 220, NAMED = 3;

// `ask` a model about an image and the bits of its hidden pixels; returns what is to be called with every new image.
export function setUpHidden({ about, ask, latest, word }) {
  const [, rows, columns] = about.image, hidden = new Uint8Array(rows * columns);
  let image = null, tool = "hide", place = [Math.floor(rows / 2), Math.floor(columns / 2)], seed = 0;
  const seen = $("seen"), results = ["mean", "best", "surprise"].map($);
  for (const canvas of [seen.querySelector("canvas"), ...results]) {
    sized(canvas, about.image, SCREEN);
    canvas.parentElement.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
  }
  const cursor = () => outline([place[0], place[1], place[0] + 1, place[1] + 1], about.image, seen);
  const draw = () => showHidden(seen.querySelector("canvas"), image, hidden, about.image, GREY);
  const infer = () => latest("hide", () => ask({ image, hidden: packed(hidden), seed }), (found) => {
    const likely = found.concept.map((share, k) => [share, about.classes[k]]).sort(([a], [b]) => b - a).slice(0, NAMED);
    $("visible-concept").textContent = likely.map(([share, name]) => `${name}: ${percent(share)}`).join(" · ");
    $("visible-bits").textContent = word("visible-bits", found.bits, rows * columns - hidden.reduce((sum, bit) => sum + bit, 0));
    show($("mean"), found.mean, about.image);
    show($("best"), found.best, about.image);
    showChange($("surprise"), found.surprise, [1, rows, columns]);
    $("draws").replaceChildren(...found.draws.map((one) => toCanvas(one, about.image, 84)));
  });
  const changed = (act) => () => {
    act();
    draw();
    infer();
  };
  pointing(seen, about.image, () => place, {
    paint: (at) => {
      place = at;
      brush(hidden, at, Number($("brush").value), about.image, tool === "hide" ? 1 : 0);
      draw();
      cursor();
      infer();
    },
    moved: (to) => {
      place = to;
      cursor();
    },
  });
  seen.addEventListener("focus", cursor);
  chosenOf(["hide", "reveal"].map($), (name) => { tool = name; });
  $("hide-half").addEventListener("click", changed(() => hidden.fill(1, Math.floor(rows / 2) * columns)));
  $("hide-third").addEventListener("click", changed(() => hidden.forEach((_, i) => { if (Math.random() < 1 / 3) hidden[i] = 1; })));
  $("reveal-all").addEventListener("click", changed(() => hidden.fill(0)));
  $("draw-again").addEventListener("click", changed(() => { seed += 1; }));
  $("hidden").hidden = false;
  return (next) => {
    if (image === next) return;
    image = next;
    draw();
    infer();
  };
}

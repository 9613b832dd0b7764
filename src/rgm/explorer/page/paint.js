// Hiding pixels on a canvas with a brush, by pointer or keyboard.
import { text } from "./http.js";
import { show } from "./pixels.js";

export const ORANGE = [[236, 167, 98], [219, 143, 71]], GREY = [[203, 208, 212], [180, 187, 193]];

// Bits, eight a byte, as base64; nothing where none is set.
export function packed(bits) {
  if (!bits.some(Boolean)) return "";
  const result = new Uint8Array(Math.ceil(bits.length / 8));
  bits.forEach((bit, i) => { result[i >> 3] |= bit << (7 - (i & 7)); });
  return text(result);
}

// An image, its hidden pixels chequered in two colours.
export function showHidden(canvas, image, hidden, [channels, rows, columns], cover) {
  const shade = (i) => (channels === 3 ? image.subarray(3 * i, 3 * i + 3) : [image[i], image[i], image[i]]);
  show(canvas, image, [channels, rows, columns], (i) => (hidden[i] ? cover[(Math.floor(i / columns) + i) % 2] : shade(i)));
}

// Set the pixels under a brush of some side in one frame's bits.
export function brush(bits, [row, column], side, [, rows, columns], value) {
  const reach = Math.floor(side / 2);
  for (let r = Math.max(0, row - reach); r <= Math.min(rows - 1, row + reach); r++) {
    bits.fill(value, r * columns + Math.max(0, column - reach), r * columns + Math.min(columns - 1, column + reach) + 1);
  }
}

// The pressed one of several buttons, as long as another is not pressed.
export function chosenOf(buttons, chosen) {
  for (const one of buttons) one.addEventListener("click", () => {
    for (const other of buttons) other.setAttribute("aria-pressed", other === one);
    chosen(one.id);
  });
}

// Outline the pixels [top, left, bottom, right] in every frame of the page, or of a part of it.
export function outline([top, left, bottom, right], [, rows, columns], within = document) {
  const part = (from, to, all) => [`${(100 * from) / all}%`, `${(100 * (Math.min(to, all) - from)) / all}%`];
  for (const box of within.querySelectorAll(".field")) {
    box.hidden = false;
    [box.style.top, box.style.height] = part(top, bottom, rows);
    [box.style.left, box.style.width] = part(left, right, columns);
  }
}

// Call `paint` with every place that is pressed in a box, or confirmed with Enter at the cursor; `moved` as it moves.
export function pointing(box, [, rows, columns], cursor, { paint, moved }) {
  const clamp = (value, most) => Math.min(most - 1, Math.max(0, Math.floor(value)));
  const at = (event) => {
    const { left, top, width, height } = box.querySelector("canvas").getBoundingClientRect();
    return [clamp(((event.clientY - top) * rows) / height, rows), clamp(((event.clientX - left) * columns) / width, columns)];
  };
  let down = false;
  box.addEventListener("pointerdown", (event) => {
    down = true;
    box.setPointerCapture(event.pointerId);
    paint(at(event));
  });
  box.addEventListener("pointermove", (event) => { if (down) paint(at(event)); });
  for (const name of ["pointerup", "pointercancel"]) box.addEventListener(name, () => { down = false; });
  box.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key], [row, column] = cursor();
    if (event.key === "Enter" || event.key === " ") paint([row, column]);
    else if (step) moved([clamp(row + step[0], rows), clamp(column + step[1], columns)]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

// Drawing images (bytes, row by row, channels last) on canvases, and the difference of two images.

export function show(canvas, bytes, [channels, rows, columns], colour = null) {
  const small = document.createElement("canvas"), pixels = new ImageData(columns, rows);
  small.width = columns;
  small.height = rows;
  for (let i = 0; i < rows * columns; i++) {
    const at = channels * i;
    const [r, g, b] = colour ? colour(i) : channels === 3 ? bytes.slice(at, at + 3) : [bytes[at], bytes[at], bytes[at]];
    pixels.data.set([r, g, b, 255], 4 * i);
  }
  small.getContext("2d").putImageData(pixels, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

export function toCanvas(bytes, shape, side) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  show(canvas, bytes, shape);
  return canvas;
}

// A canvas of an image's proportions, as far as these are not extreme: each pixel several of the screen's.
export function sized(canvas, [, rows, columns], side) {
  const scale = Math.max(1, Math.floor(side / Math.max(rows, columns)));
  canvas.width = columns * Math.max(scale, Math.ceil((scale * rows) / columns / 4));
  canvas.height = rows * Math.max(scale, Math.ceil((scale * columns) / rows / 4));
  return canvas;
}

// The largest change over channels of each pixel, 0 to 255.
export function change(now, then, [channels, rows, columns]) {
  const result = new Uint8Array(rows * columns);
  for (let i = 0; i < now.length; i++) {
    const at = Math.floor(i / channels);
    result[at] = Math.max(result[at], Math.abs(now[i] - then[i]));
  }
  return result;
}

export function showChange(canvas, changed, shape) {
  const most = Math.max(...changed, 1);
  show(canvas, changed, shape, (i) => {
    const share = changed[i] / most;
    return [255 - 244 * share, 255 - 145 * share, 255 - 102 * share];
  });
}

// The share of the squared change inside [top, left, bottom, right], or null if no pixel changed.
export function shareInside(changed, columns, [top, left, bottom, right]) {
  let own = 0, total = 0;
  changed.forEach((x, i) => {
    const row = Math.floor(i / columns), column = i % columns, square = x * x;
    total += square;
    if (row >= top && row < bottom && column >= left && column < right) own += square;
  });
  return total ? own / total : null;
}

// A background and a text colour for each code: darker for codes with more ink; consecutive codes differ in hue.
export function codeColours(patches) {
  return patches.map((patch, code) => {
    const amount = patch.reduce((sum, x) => sum + x, 0) / patch.length / 255;
    return {
      background: `oklch(${0.96 - 0.55 * amount} ${amount < 0.03 ? 0 : 0.11} ${(code * 222.5) % 360})`,
      text: amount > 0.45 ? "#fff" : "#111",
    };
  });
}

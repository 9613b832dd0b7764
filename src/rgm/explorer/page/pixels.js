// Images as bytes, row by row and channels last, onto canvases; and what differs between two of them.

export function show(canvas, bytes, [channels, rows, columns], colour = null) {
  const small = document.createElement("canvas"), picture = new ImageData(columns, rows);
  small.width = columns;
  small.height = rows;
  for (let i = 0; i < rows * columns; i++) {
    const at = channels * i;
    const [r, g, b] = colour ? colour(i) : channels === 3 ? bytes.slice(at, at + 3) : [bytes[at], bytes[at], bytes[at]];
    picture.data.set([r, g, b, 255], 4 * i);
  }
  small.getContext("2d").putImageData(picture, 0, 0);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

export function picture(bytes, shape, side) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  show(canvas, bytes, shape);
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

// The share of the change's energy inside [top, left, bottom, right], or null where nothing changed.
export function inside(changed, columns, [top, left, bottom, right]) {
  let own = 0, total = 0;
  changed.forEach((x, i) => {
    const row = Math.floor(i / columns), column = i % columns, energy = x * x;
    total += energy;
    if (row >= top && row < bottom && column >= left && column < right) own += energy;
  });
  return total ? own / total : null;
}

// A ground and an ink for each code: the darker the more it paints, neighbours in number far apart in hue.
export function tints(patches) {
  return patches.map((patch, code) => {
    const amount = patch.reduce((sum, x) => sum + x, 0) / patch.length / 255;
    return {
      ground: `oklch(${0.96 - 0.55 * amount} ${amount < 0.03 ? 0 : 0.11} ${(code * 222.5) % 360})`,
      ink: amount > 0.45 ? "#fff" : "#111",
    };
  });
}

// Conversion of a drawing or an uploaded image of any size to an image like those that the model was trained on.

const INK = 0.15; // pixels brighter than this belong to the drawing
const BODY = 20 / 28; // longer side of the drawing as a share of the image's side, as in MNIST
const LARGEST_BYTES = 5e6, LARGEST_SIDE = 8000;

export class UploadError extends Error {
  constructor(word, ...values) {
    super(word);
    this.word = word;
    this.values = values;
  }
}

// An uploaded image in the model's shape, channels last. For models of drawings it is cropped and centred like MNIST's digits,
// bright on dark; for others the centre is cut to the model's proportions. Throws UploadError if it is unreadable or too large.
export async function uploaded(file, { image: [channels, rows, columns], drawings }) {
  if (file.size > LARGEST_BYTES) throw new UploadError("too-heavy", (file.size / 1e6).toFixed(1));
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new UploadError("no-image");
  }
  const { width, height } = bitmap;
  if (Math.max(width, height) > LARGEST_SIDE) throw new UploadError("too-large", width, height);
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // transparent pixels become white
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  if (drawings) return asDigit(onDark(grey(data), height, width), height, width, [rows, columns]);
  const colours = cropped(data, height, width, [rows, columns]);
  return channels === 3 ? colours : Uint8Array.from({ length: rows * columns }, (_, i) => luma(colours, 3 * i));
}

// Grey values between 0 and 1 from RGBA bytes.
export function grey(data) {
  const result = new Float32Array(data.length / 4);
  for (let i = 0; i < result.length; i++) result[i] = luma(data, 4 * i) / 255;
  return result;
}

const luma = (data, i) => 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2];

function onDark(values, rows, columns) {
  const border = [];
  for (let x = 0; x < columns; x++) border.push(values[x], values[(rows - 1) * columns + x]);
  for (let y = 0; y < rows; y++) border.push(values[y * columns], values[(y + 1) * columns - 1]);
  border.sort((a, b) => a - b);
  return border[border.length >> 1] > 0.5 ? values.map((value) => 1 - value) : values;
}

// A drawing normalised like MNIST's digits: cropped, scaled to a box, centred by its centre of mass. Empty if nothing is drawn.
export function asDigit(values, rows, columns, [height, width]) {
  const image = new Uint8Array(height * width);
  let top = rows, left = columns, bottom = 0, right = 0;
  values.forEach((value, i) => {
    if (value <= INK) return;
    const y = Math.floor(i / columns), x = i % columns;
    top = Math.min(top, y), bottom = Math.max(bottom, y + 1), left = Math.min(left, x), right = Math.max(right, x + 1);
  });
  if (!bottom) return image;
  const scale = (BODY * Math.min(height, width)) / Math.max(bottom - top, right - left);
  const tall = Math.max(1, Math.round((bottom - top) * scale)), wide = Math.max(1, Math.round((right - left) * scale));
  const body = resized((y, x) => values[(top + y) * columns + left + x], bottom - top, right - left, tall, wide);
  let mass = 0, down = 0, across = 0;
  body.forEach((value, i) => {
    mass += value;
    down += value * (Math.floor(i / wide) + 0.5);
    across += value * ((i % wide) + 0.5);
  });
  const place = (size, centre, length) => Math.min(size - length, Math.max(0, Math.round(size / 2 - centre)));
  const y0 = place(height, down / mass, tall), x0 = place(width, across / mass, wide);
  body.forEach((value, i) => {
    image[(y0 + Math.floor(i / wide)) * width + x0 + (i % wide)] = Math.round(255 * value);
  });
  return image;
}

function cropped(data, rows, columns, [height, width]) {
  const scale = Math.min(rows / height, columns / width);
  const tall = Math.max(1, Math.floor(height * scale)), wide = Math.max(1, Math.floor(width * scale));
  const top = (rows - tall) >> 1, left = (columns - wide) >> 1, image = new Uint8Array(3 * height * width);
  for (let channel = 0; channel < 3; channel++) {
    const at = (y, x) => data[4 * ((top + y) * columns + left + x) + channel];
    resized(at, tall, wide, height, width).forEach((value, i) => (image[3 * i + channel] = Math.round(value)));
  }
  return image;
}

// Area resampling: each new pixel is the mean of the old pixels that it covers, weighted by the covered area.
function resized(at, rows, columns, tall, wide) {
  const across = new Float32Array(rows * wide), result = new Float32Array(tall * wide);
  const spans = (size, count) => Array.from({ length: count }, (_, i) => covered((i * size) / count, ((i + 1) * size) / count, size));
  spans(columns, wide).forEach((span, x) => {
    for (let y = 0; y < rows; y++) for (const [from, share] of span) across[y * wide + x] += share * at(y, from);
  });
  spans(rows, tall).forEach((span, y) => {
    for (let x = 0; x < wide; x++) for (const [from, share] of span) result[y * wide + x] += share * across[from * wide + x];
  });
  return result;
}

function covered(start, end, size) {
  const parts = [];
  for (let i = Math.floor(start); i < Math.min(end, size); i++) {
    const share = (Math.min(end, i + 1) - Math.max(start, i)) / (end - start);
    if (share > 0) parts.push([i, share]);
  }
  return parts;
}

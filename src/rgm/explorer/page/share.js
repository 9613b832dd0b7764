// Exports of the page: a permanent link, arrays for NumPy, a figure.

export function toLink({ model, state, sheet }) {
  return new URLSearchParams({
    model,
    concept: state.chosen,
    z1: state.z1.flat().join("."),
    samples: `${sheet.concept}.${sheet.seed}.${Math.round(10 * sheet.temperature)}`,
  });
}

// The state that a link holds, or null if it holds none; throws if the link is of another model.
export function fromLink(text, about) {
  const link = new URLSearchParams(text), [height, width] = about.grid, concepts = about.classes.length;
  if (!link.has("z1")) return null;
  const z1 = numbers(link.get("z1"), about.states), sheet = numbers(link.get("samples") ?? "", 2 ** 31);
  const [chosen] = numbers(link.get("concept") ?? "", concepts);
  if (link.get("model") !== about.name || z1.length !== height * width || chosen === undefined) throw new Error("link");
  const valid = sheet.length === 3 && sheet[0] < concepts && sheet[2] >= 1 && sheet[2] <= 20;
  return {
    chosen,
    z1: Array.from({ length: height }, (_, row) => z1.slice(row * width, (row + 1) * width)),
    sheet: valid ? { concept: sheet[0], seed: sheet[1], temperature: sheet[2] / 10 } : null,
  };
}

function numbers(text, limit) {
  const found = text.split(".");
  return found.every((part) => /^\d{1,10}$/.test(part) && Number(part) < limit) ? found.map(Number) : [];
}

export function save(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Arrays as NumPy's `.npz`: {name: [dtype, shape, typed array]}, stored without compression.
export function npz(arrays) {
  const parts = [], directory = [];
  let offset = 0;
  for (const [name, [dtype, shape, data]] of Object.entries(arrays)) {
    const file = npy(dtype, shape, data), title = new TextEncoder().encode(`${name}.npy`), crc = crc32(file);
    const common = [u16(20), u16(0), u16(0), u16(0), u16(0x21), u32(crc), u32(file.length), u32(file.length), u16(title.length), u16(0)];
    const local = [u32(0x04034b50), ...common, title, file];
    directory.push([u32(0x02014b50), u16(20), ...common, u16(0), u16(0), u16(0), u32(0), u32(offset), title]);
    parts.push(...local);
    offset += size(local);
  }
  const entries = directory.flat();
  const end = [u32(0x06054b50), u16(0), u16(0), u16(directory.length), u16(directory.length), u32(size(entries)), u32(offset), u16(0)];
  return new Blob([...parts, ...entries, ...end], { type: "application/zip" });
}

const size = (parts) => parts.reduce((sum, part) => sum + part.length, 0);
const u16 = (value) => Uint8Array.of(value & 255, value >>> 8);
const u32 = (value) => Uint8Array.of(value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24);

function npy(dtype, shape, data) {
  const comma = shape.length === 1 ? "," : "";
  let header = `{'descr': '${dtype}', 'fortran_order': False, 'shape': (${shape.join(", ")}${comma}), }`;
  header = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + "\n"; // magic and length take 10 bytes
  const content = new Uint8Array(10 + header.length + data.byteLength);
  content.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, header.length & 255, header.length >> 8]);
  content.set(new TextEncoder().encode(header), 10);
  content.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 10 + header.length);
  return content;
}

function crc32(content) {
  let crc = ~0;
  for (const byte of content) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

// Image, codes and concept side by side as one SVG; `panels` are [title, canvas] pairs.
export function figure({ title, panels, state, classes, colour, heading }) {
  const side = 224, gap = 28, top = 64, parts = [], escape = (value) => String(value).replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
  const text = (x, y, content, more = "") => parts.push(`<text x="${x}" y="${y}" ${more}>${escape(content)}</text>`);
  text(gap, 28, title, 'font-size="16" font-weight="bold"');
  panels.forEach(([name, canvas], i) => {
    const x = gap + i * (side + gap);
    text(x, top - 10, name);
    parts.push(`<image x="${x}" y="${top}" width="${side}" height="${side}" style="image-rendering:pixelated" href="${canvas.toDataURL()}"/>`);
  });
  const left = gap + panels.length * (side + gap), rows = state.z1.length, columns = state.z1[0].length;
  text(left, top - 10, heading.codes);
  state.z1.forEach((row, y) => row.forEach((code, x) => {
    const { background, text: foreground } = colour(code), wide = side / columns, tall = side / rows;
    parts.push(`<rect x="${left + x * wide}" y="${top + y * tall}" width="${wide}" height="${tall}" fill="${background}"/>`);
    text(left + (x + 0.5) * wide, top + (y + 0.5) * tall + 3.5, code, `font-size="${Math.min(11, wide / 2)}" text-anchor="middle" fill="${foreground}"`);
  }));
  const bars = left + side + gap, step = side / classes.length;
  text(bars, top - 10, heading.concept);
  classes.forEach((name, k) => {
    const y = top + (k + 0.5) * step, share = state.concept[k];
    text(bars + 52, y + 4, name, 'text-anchor="end"');
    parts.push(`<rect x="${bars + 60}" y="${y - step * 0.35}" width="${Math.max(1, 110 * share)}" height="${step * 0.7}" fill="#0b6e99"/>`);
    text(bars + 66 + 110 * share, y + 4, `${(100 * share).toFixed(1)} %`, 'font-size="10"');
  });
  const width = bars + 60 + 110 + 60, height = top + side + gap;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>${parts.join("")}</svg>`;
}

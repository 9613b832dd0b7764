// The model in the browser alone: its ONNX graphs, run by ONNX Runtime Web.
import * as ort from "./ort.wasm.bundle.min.mjs";

const here = (name) => new URL(name, import.meta.url).href;
ort.env.wasm.wasmPaths = { wasm: here("ort-wasm-simd-threaded.wasm") };
ort.env.wasm.numThreads = 1; // more would need headers that a plain folder of files has not

const response = await fetch(here("model.json"));
const about = await response.json();
const { image, levels, grid } = about;
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const tests = about.test.map(bytes);
const sessions = Object.fromEntries(
  await Promise.all(about.graphs.map(async (name) => [name, await ort.InferenceSession.create(here(`${name}.onnx`))])),
);

// Tensors. One graph runs at a time.
const floats = (data, shape) => new ort.Tensor("float32", data, shape);
const whole = (data, shape) => new ort.Tensor("int64", BigInt64Array.from(data, BigInt), shape);
let running = Promise.resolve();
function run(name, inputs) {
  const result = running.then(() => sessions[name].run(inputs));
  running = result.catch(() => {});
  return result;
}
const cells = (level) => levels[level - 1].grid[0] * levels[level - 1].grid[1];
const field = (grids, level) => {
  const { states, grid: [height, width] } = levels[level - 1], size = height * width;
  const data = new Float32Array(grids.length * states * size);
  grids.forEach((codes, n) => codes.forEach((code, cell) => (data[(n * states + code) * size + cell] = 1)));
  return floats(data, [grids.length, states, height, width]);
};
const rows = (flat, [height, width]) => Array.from({ length: height }, (_, y) => Array.from(flat.slice(y * width, (y + 1) * width)));

// Bottom-up: the codes of every level from `level` on, and the concept's probabilities.
async function up(below, level) {
  const found = [];
  let probabilities;
  for (; level <= levels.length; level++) {
    const answer = await run(`recognition-${level}`, { below });
    found.push(Array.from(answer.codes.data, Number));
    [below, probabilities] = [answer.codes, answer.probabilities];
  }
  return { codes: found.slice(0, -1), concept: Array.from(probabilities.data) };
}
async function decode(grids) {
  const { image: mean } = await run("decoder", { z1: whole(grids.flat(), [grids.length, ...grid]) });
  const [channels, tall, wide] = image, size = channels * tall * wide;
  return grids.map((_, n) => {
    const result = new Uint8Array(size);
    for (let c = 0; c < channels; c++) {
      for (let i = 0; i < tall * wide; i++) result[channels * i + c] = Math.round(255 * mean.data[n * size + c * tall * wide + i]);
    }
    return result;
  });
}
async function seen(z1, concept, above) {
  const [painted] = await decode([z1]);
  return { z1: rows(z1, grid), above: above.map((codes, i) => rows(codes, levels[i + 1].grid)), concept, painted };
}
async function paint(z1) {
  const { codes, concept } = await up(whole(z1, [1, ...grid]), 2);
  return seen(z1, concept, codes);
}
async function read(pixels) {
  const [channels, tall, wide] = image, size = tall * wide, data = new Float32Array(channels * size);
  for (let i = 0; i < data.length; i++) data[i] = pixels[channels * (i % size) + Math.floor(i / size)] / 255;
  const { codes: [z1, ...above], concept } = await up(floats(data, [1, ...image]), 1);
  return seen(z1, concept, above);
}

// Top-down.
function generator(seed) { // mulberry32
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
// Draws by the Gumbel-max trick, of its own for each row or the same for all.
function chooser(seed, temperature, shared = false) {
  const uniform = generator(seed), noise = () => -Math.log(-Math.log(uniform() + 2 ** -33));
  return (count, states, logit) => {
    const same = shared && Array.from({ length: states }, noise);
    return Array.from({ length: count }, (_, n) => {
      let best = 0, most = -Infinity;
      for (let code = 0; code < states; code++) {
        const value = logit(n, code) / temperature + (same ? same[code] : noise());
        if (value > most) [best, most] = [code, value];
      }
      return best;
    });
  };
}
// Grids of a level given their parents' field; the cells in `kept` have the codes that they have.
async function draw(level, parent, grids, kept, choose) {
  const { states, prior } = levels[level - 1], size = cells(level), count = grids.length;
  if (prior.kind === "factorised") {
    const { logits } = await run(`prior-${level}`, { parent });
    for (let cell = 0; cell < size; cell++) {
      const found = choose(count, states, (n, code) => logits.data[(n * states + code) * size + cell]);
      if (!kept[cell]) grids.forEach((codes, n) => (codes[cell] = found[n]));
    }
    return grids;
  }
  const order = [...Array(size).keys()].sort((a, b) => kept[b] - kept[a] || a - b);
  const fixed = kept.filter(Boolean).length;
  let past = nothing(prior, count), from = 0;
  for (let step = fixed; step < size; step++) {
    const { logits, ...more } = await extend(level, parent, grids, order.slice(0, step + 1), from, past);
    const last = step - from, width = step + 1 - from;
    choose(count, states, (n, code) => logits.data[(n * width + last) * states + code]).forEach((code, n) => (grids[n][order[step]] = code));
    past = { keys: more.keys_out, values: more.values_out };
    from = step + 1;
  }
  return grids;
}
function nothing({ layers, heads, features }, count) {
  const shape = [layers, count, heads, 0, features];
  return { keys: floats(new Float32Array(0), shape), values: floats(new Float32Array(0), shape) };
}
function extend(level, parent, grids, order, from, past) {
  const size = cells(level), { states } = levels[level - 1], count = grids.length, shape = [count, order.length - from];
  const tokens = (each) => whole(grids.flatMap((codes) => order.slice(from).map((_, i) => each(codes, from + i))), shape);
  return run(`prior-${level}`, {
    parent,
    code: tokens((codes, t) => (t ? codes[order[t - 1]] : states)),
    here: tokens((_, t) => (t ? order[t - 1] : size)),
    following: tokens((_, t) => order[t]),
    ...past,
  });
}
// From the top's field down to z_1; `codes` and `keep` say, level by level, what stands already.
async function down(top, count, choose, codes = null, keep = null) {
  let parent = top, grids = null;
  for (let level = levels.length - 1; level >= 1; level--) {
    const blank = Array.from({ length: count }, () => (codes ? [...codes[level - 1]] : Array(cells(level)).fill(0)));
    grids = await draw(level, parent, blank, keep ? keep[level - 1] : Array(cells(level)).fill(false), choose);
    parent = field(grids, level);
  }
  return grids;
}
async function drawn(grids) {
  return { z1: grids.map((codes) => rows(codes, grid)), painted: await decode(grids) };
}

export const engine = {
  about: async () => ({ ...about, codes: about.codes.map(bytes), test_images: tests.length }),
  read,
  pick: async (index) => {
    const picked = tests[index % tests.length];
    return { ...(await read(picked)), image: picked };
  },
  paint: (z1) => paint(z1.flat()),
  palette: async ({ z1, concept, cell: [row, column] }) => {
    const { states, prior } = levels[0], size = cells(1), place = row * grid[1] + column, flat = z1.flat();
    const above = levels.length > 2 ? (await up(whole(flat, [1, ...grid]), 2)).codes[0] : [concept];
    const parent = field([above], 2);
    let logits;
    if (prior.kind === "factorised") {
      const answer = await run("prior-1", { parent });
      logits = Array.from({ length: states }, (_, code) => answer.logits.data[code * size + place]);
    } else {
      const order = [...Array(size).keys()].filter((at) => at !== place).concat(place);
      const answer = await extend(1, parent, [flat], order, 0, nothing(prior, 1));
      logits = Array.from(answer.logits.data.slice(-states));
    }
    const most = Math.max(...logits), weights = logits.map((logit) => Math.exp(logit - most));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const codes = [...Array(states).keys()].sort((a, b) => weights[b] - weights[a]);
    return { codes, probabilities: codes.map((code) => weights[code] / total) };
  },
  sample: async ({ concept, count, seed, temperature }) => {
    const top = field(Array.from({ length: count }, () => [concept]), levels.length);
    return drawn(await down(top, count, chooser(seed, temperature)));
  },
  morph: async ({ start, end, count, seed, temperature }) => {
    const { states } = levels.at(-1), data = new Float32Array(count * states);
    for (let n = 0; n < count; n++) {
      data[n * states + start] += 1 - n / (count - 1);
      data[n * states + end] += n / (count - 1);
    }
    return drawn(await down(floats(data, [count, states, 1, 1]), count, chooser(seed, temperature, true)));
  },
  complete: async ({ z1, concept, drawn: cleared, seed, temperature }) => {
    const flat = z1.flat(), { codes } = await up(whole(flat, [1, ...grid]), 2);
    const keep = [Array(cells(1)).fill(true)];
    for (const [row, column] of cleared) keep[0][row * grid[1] + column] = false;
    for (let level = 2; level < levels.length; level++) {
      keep.push(levels[level - 1].sees.map((beneath) => beneath.every((cell) => keep[level - 2][cell])));
    }
    const [done] = await down(field([[concept]], levels.length), 1, chooser(seed, temperature), [flat, ...codes], keep);
    return paint(done);
  },
};

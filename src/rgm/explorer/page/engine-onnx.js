// Engine: the model runs in the browser, as ONNX graphs in ONNX Runtime Web.
import * as ort from "./ort.wasm.bundle.min.mjs";

const here = (name) => new URL(name, import.meta.url).href;
ort.env.wasm.wasmPaths = { wasm: here("ort-wasm-simd-threaded.wasm") };
ort.env.wasm.numThreads = 1; // more threads need HTTP headers that a plain file server does not send

const response = await fetch(here("model.json"));
const about = await response.json();
const { image, levels, grid } = about;
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const tests = about.test.map(bytes);
const sessions = Object.fromEntries(
  await Promise.all(about.graphs.map(async (name) => [name, await ort.InferenceSession.create(here(`${name}.onnx`))])),
);

// Tensors. Graphs run one at a time.
const floats = (data, shape) => new ort.Tensor("float32", data, shape);
const integers = (data, shape) => new ort.Tensor("int64", BigInt64Array.from(data, BigInt), shape);
let running = Promise.resolve();
function run(name, inputs) {
  const result = running.then(() => sessions[name].run(inputs));
  running = result.catch(() => {});
  return result;
}
const cells = (level) => levels[level - 1].grid[0] * levels[level - 1].grid[1];
const oneHot = (grids, level) => {
  const { states, grid: [height, width] } = levels[level - 1], size = height * width;
  const data = new Float32Array(grids.length * states * size);
  grids.forEach((codes, n) => codes.forEach((code, cell) => (data[(n * states + code) * size + cell] = 1)));
  return floats(data, [grids.length, states, height, width]);
};
const rows = (flat, [height, width]) => Array.from({ length: height }, (_, y) => Array.from(flat.slice(y * width, (y + 1) * width)));

// Bottom-up: the codes of every level from `level` on, and the concept's probabilities.
async function bottomUp(below, level) {
  const found = [];
  let probabilities;
  for (; level <= levels.length; level++) {
    const answer = await run(`recognition-${level}`, { below });
    found.push(Array.from(answer.codes.data, Number));
    [below, probabilities] = [answer.codes, answer.probabilities];
  }
  return { codes: found.slice(0, -1), concept: Array.from(probabilities.data) };
}
async function decodeImages(grids) {
  const { image: mean } = await run("decoder", { z1: integers(grids.flat(), [grids.length, ...grid]) });
  const [channels, tall, wide] = image, size = channels * tall * wide;
  return grids.map((_, n) => {
    const result = new Uint8Array(size);
    for (let c = 0; c < channels; c++) {
      for (let i = 0; i < tall * wide; i++) result[channels * i + c] = Math.round(255 * mean.data[n * size + c * tall * wide + i]);
    }
    return result;
  });
}
async function encoding(z1, concept, above) {
  const [reconstruction] = await decodeImages([z1]);
  return { z1: rows(z1, grid), above: above.map((codes, i) => rows(codes, levels[i + 1].grid)), concept, reconstruction };
}
async function decode(z1) {
  const { codes, concept } = await bottomUp(integers(z1, [1, ...grid]), 2);
  return encoding(z1, concept, codes);
}
async function encode(pixels) {
  const [channels, tall, wide] = image, size = tall * wide, data = new Float32Array(channels * size);
  for (let i = 0; i < data.length; i++) data[i] = pixels[channels * (i % size) + Math.floor(i / size)] / 255;
  const { codes: [z1, ...above], concept } = await bottomUp(floats(data, [1, ...image]), 1);
  return encoding(z1, concept, above);
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
// Sampling with the Gumbel-max trick, with separate noise for each row or shared noise for all.
function gumbelSampler(seed, temperature, shared = false) {
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
// Samples the grids of a level given the one-hot codes of the level above; cells in `kept` keep their codes.
async function sampleLevel(level, parent, grids, kept, choose) {
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
  let cache = emptyCache(prior, count), from = 0;
  for (let step = fixed; step < size; step++) {
    const { logits, ...more } = await extend(level, parent, grids, order.slice(0, step + 1), from, cache);
    const last = step - from, width = step + 1 - from;
    choose(count, states, (n, code) => logits.data[(n * width + last) * states + code]).forEach((code, n) => (grids[n][order[step]] = code));
    cache = { keys: more.keys_out, values: more.values_out };
    from = step + 1;
  }
  return grids;
}
function emptyCache({ layers, heads, features }, count) {
  const shape = [layers, count, heads, 0, features];
  return { keys: floats(new Float32Array(0), shape), values: floats(new Float32Array(0), shape) };
}
function extend(level, parent, grids, order, from, cache) {
  const size = cells(level), { states } = levels[level - 1], count = grids.length, shape = [count, order.length - from];
  const tokens = (each) => integers(grids.flatMap((codes) => order.slice(from).map((_, i) => each(codes, from + i))), shape);
  return run(`prior-${level}`, {
    parent,
    code: tokens((codes, t) => (t ? codes[order[t - 1]] : states)),
    here: tokens((_, t) => (t ? order[t - 1] : size)),
    following: tokens((_, t) => order[t]),
    ...cache,
  });
}
// Samples from the concept down to z_1; `codes` and `keep` give, for each level, the codes and which of them are kept.
async function topDown(top, count, choose, codes = null, keep = null) {
  let parent = top, grids = null;
  for (let level = levels.length - 1; level >= 1; level--) {
    const blank = Array.from({ length: count }, () => (codes ? [...codes[level - 1]] : Array(cells(level)).fill(0)));
    grids = await sampleLevel(level, parent, blank, keep ? keep[level - 1] : Array(cells(level)).fill(false), choose);
    parent = oneHot(grids, level);
  }
  return grids;
}
async function samples(grids) {
  return { z1: grids.map((codes) => rows(codes, grid)), images: await decodeImages(grids) };
}

export const engine = {
  about: async () => ({ ...about, codes: about.codes.map(bytes), test_images: tests.length }),
  encode,
  testImage: async (index) => {
    const image = tests[index % tests.length];
    return { ...(await encode(image)), image };
  },
  decode: (z1) => decode(z1.flat()),
  palette: async ({ z1, concept, cell: [row, column] }) => {
    const { states, prior } = levels[0], size = cells(1), place = row * grid[1] + column, flat = z1.flat();
    const above = levels.length > 2 ? (await bottomUp(integers(flat, [1, ...grid]), 2)).codes[0] : [concept];
    const parent = oneHot([above], 2);
    let logits;
    if (prior.kind === "factorised") {
      const answer = await run("prior-1", { parent });
      logits = Array.from({ length: states }, (_, code) => answer.logits.data[code * size + place]);
    } else {
      const order = [...Array(size).keys()].filter((at) => at !== place).concat(place);
      const answer = await extend(1, parent, [flat], order, 0, emptyCache(prior, 1));
      logits = Array.from(answer.logits.data.slice(-states));
    }
    const most = Math.max(...logits), weights = logits.map((logit) => Math.exp(logit - most));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const codes = [...Array(states).keys()].sort((a, b) => weights[b] - weights[a]);
    return { codes, probabilities: codes.map((code) => weights[code] / total) };
  },
  sample: async ({ concept, count, seed, temperature }) => {
    const top = oneHot(Array.from({ length: count }, () => [concept]), levels.length);
    return samples(await topDown(top, count, gumbelSampler(seed, temperature)));
  },
  morph: async ({ start, end, count, seed, temperature }) => {
    const { states } = levels.at(-1), data = new Float32Array(count * states);
    for (let n = 0; n < count; n++) {
      data[n * states + start] += 1 - n / (count - 1);
      data[n * states + end] += n / (count - 1);
    }
    return samples(await topDown(floats(data, [count, states, 1, 1]), count, gumbelSampler(seed, temperature, true)));
  },
  complete: async ({ z1, concept, resampled, seed, temperature }) => {
    const flat = z1.flat(), { codes } = await bottomUp(integers(flat, [1, ...grid]), 2);
    const keep = [Array(cells(1)).fill(true)];
    for (const [row, column] of resampled) keep[0][row * grid[1] + column] = false;
    for (let level = 2; level < levels.length; level++) {
      keep.push(levels[level - 1].encoder_fields.map((below) => below.every((cell) => keep[level - 2][cell])));
    }
    const [done] = await topDown(oneHot([[concept]], levels.length), 1, gumbelSampler(seed, temperature), [flat, ...codes], keep);
    return decode(done);
  },
};

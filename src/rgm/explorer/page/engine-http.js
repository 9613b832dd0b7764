// Engine: the model runs in the local server and is called over HTTP.
import { bytes, request, text } from "./http.js";

const encoding = (answer) => ({ ...answer, reconstruction: bytes(answer.reconstruction) });
const samples = ({ z1, images }) => ({ z1, images: images.map(bytes) });

export const engine = {
  about: async () => {
    const about = await request("about");
    return { ...about, codes: about.codes.map(bytes) };
  },
  encode: async (image) => encoding(await request("encode", { pixels: text(image) })),
  testImage: async (index) => {
    const answer = await request("test-image", { index });
    return { ...encoding(answer), image: bytes(answer.image) };
  },
  decode: async (z1) => encoding(await request("decode", { z1 })),
  palette: (body) => request("palette", body),
  sample: async (body) => samples(await request("sample", body)),
  morph: async (body) => samples(await request("morph", body)),
  hide: async ({ image, ...body }) => {
    const found = await request("hide", { pixels: text(image), ...body });
    return { ...found, draws: found.draws.map(bytes), mean: bytes(found.mean), best: bytes(found.best), surprise: bytes(found.surprise) };
  },
  complete: async (body) => encoding(await request("complete", body)),
};

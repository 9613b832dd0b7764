// Engine: the model runs in the local server and is called over HTTP.

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const text = (content) => btoa(Array.from(content, (byte) => String.fromCharCode(byte)).join(""));
const encoding = (answer) => ({ ...answer, reconstruction: bytes(answer.reconstruction) });
const samples = ({ z1, images }) => ({ z1, images: images.map(bytes) });

async function request(name, body) {
  const response = await fetch(`api/${name}`, body && { method: "POST", body: JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

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
  complete: async (body) => encoding(await request("complete", body)),
};

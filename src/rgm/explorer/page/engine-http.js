// The model behind the page's own server.

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const text = (content) => btoa(Array.from(content, (byte) => String.fromCharCode(byte)).join(""));
const seen = (answer) => ({ ...answer, painted: bytes(answer.painted) });
const drawn = ({ z1, painted }) => ({ z1, painted: painted.map(bytes) });

async function ask(name, body) {
  const response = await fetch(`api/${name}`, body && { method: "POST", body: JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

export const engine = {
  about: async () => {
    const about = await ask("about");
    return { ...about, codes: about.codes.map(bytes) };
  },
  read: async (image) => seen(await ask("read", { pixels: text(image) })),
  pick: async (index) => {
    const answer = await ask("pick", { index });
    return { ...seen(answer), image: bytes(answer.image) };
  },
  paint: async (z1) => seen(await ask("paint", { z1 })),
  palette: (asked) => ask("palette", asked),
  sample: async (asked) => drawn(await ask("sample", asked)),
  morph: async (asked) => drawn(await ask("morph", asked)),
  complete: async (asked) => seen(await ask("complete", asked)),
};

// What every page needs: elements, texts in two languages, and requests that do not pile up.

export const $ = (id) => document.getElementById(id);
export const percent = (share) => `${(100 * share).toFixed(1)} %`;
export const tint = (number) => `oklch(0.9 0.07 ${(number * 222.5) % 360})`; // of a state; consecutive ones differ in hue
export const element = (tag, properties = {}, ...parts) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...parts);
  return made;
};
export const button = (label, act, ...parts) => {
  const made = element("button", { type: "button" }, ...parts);
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
};

// The texts of a page; `changed` is called when they are to be written in another language.
export function speaking(words, changed) {
  let language = localStorage.getItem("language") ?? (navigator.language.startsWith("ko") ? "ko" : "en");
  const word = (key, ...values) => {
    const found = words[language][key];
    return typeof found === "function" ? found(...values) : found;
  };
  const write = () => {
    document.documentElement.lang = language;
    document.querySelectorAll("[data-word]").forEach((part) => { part.textContent = word(part.dataset.word); });
    document.querySelectorAll("[data-label]").forEach((part) => part.setAttribute("aria-label", word(part.dataset.label)));
    $("language").lang = language === "en" ? "ko" : "en";
    changed();
  };
  $("language").addEventListener("click", () => {
    language = language === "en" ? "ko" : "en";
    localStorage.setItem("language", language);
    write();
  });
  return { word, write };
}

// Requests. At most one of each kind is in progress; of the waiting ones, only the latest is sent.
export function queue(failed) {
  const waiting = new Map();
  return async function latest(kind, ask, then) {
    if (waiting.has(kind)) return void waiting.set(kind, [ask, then]);
    waiting.set(kind, null);
    try {
      then(await ask());
    } catch (error) {
      failed(error);
    }
    const next = waiting.get(kind);
    waiting.delete(kind);
    if (next) await latest(kind, ...next);
  };
}

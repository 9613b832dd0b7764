// Requests to the local server, and bytes as base64.

export const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
export function text(content) {
  let letters = "";
  for (let at = 0; at < content.length; at += 8192) letters += String.fromCharCode(...content.subarray(at, at + 8192));
  return btoa(letters);
}

export async function request(name, body) {
  const response = await fetch(`api/${name}`, body && { method: "POST", body: JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

// What `fourd_humans/viewer/page.py` puts into the page: JSON, and files as base64, partly gzip-compressed.

export function readData() {
  return JSON.parse(document.getElementById("data").textContent);
}

/** The bytes of an embedded file; the element that held them is emptied. */
export function readBytes(id) {
  const element = document.getElementById(id);
  const bytes = fromBase64(element.textContent.trim());
  element.textContent = "";
  return bytes;
}

export async function gunzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

export function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

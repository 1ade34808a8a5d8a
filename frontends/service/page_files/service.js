// The service: requests with the token, refusals as sentences, events, uploads with progress.

const TRIES = 4;
let token = "";

export const setToken = (value) => { token = value.trim(); };
export const hasToken = () => token !== "";
export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export class Refused extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

function refusal(status, text) {
  let sentence = "";
  try {
    sentence = String(JSON.parse(text).detail ?? "");
  } catch { /* no problem document */ }
  return new Refused(sentence || `The service answered ${status}.`, status);
}

const authorization = () => (token ? { Authorization: `Bearer ${token}` } : {});

export async function call(method, address, { json, headers = {}, signal } = {}) {
  const asked = { method, signal, cache: "no-store", headers: { ...authorization(), ...headers } };
  if (json !== undefined) {
    asked.body = JSON.stringify(json);
    asked.headers["Content-Type"] = "application/json";
  }
  for (let left = TRIES - 1; ; left -= 1) {
    let answer;
    try {
      answer = await fetch(address, asked);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused("The service cannot be reached.", 0);
    }
    if (answer.ok) return answer;
    if (method !== "GET" || !left || ![429, 503].includes(answer.status)) throw refusal(answer.status, await answer.text());
    await pause(1000 * Number(answer.headers.get("Retry-After") ?? 1));
  }
}

export const read = async (address, signal) => (await call("GET", address, { signal })).json();

export async function bytes(address, begin, end) {
  const answer = await call("GET", address, { headers: { Range: `bytes=${begin}-${end - 1}` } });
  const found = new Uint8Array(await answer.arrayBuffer());
  return answer.status === 206 ? found : found.subarray(begin, end);
}

// How much is there of an upload that broke off.
export async function offset(address) {
  try {
    const answer = await fetch(address, { method: "HEAD", headers: authorization() });
    return Number(answer.headers.get("Upload-Offset") ?? 0);
  } catch {
    return 0;
  }
}

// Server-sent events, read by hand: EventSource sends no token.
export async function* events(address, signal) {
  const answer = await call("GET", address, { signal, headers: { Accept: "text/event-stream" } });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (text + value).split("\n\n");
    text = parts.pop();
    for (const part of parts) {
      const line = part.split("\n").find((each) => each.startsWith("data: "));
      if (line) yield JSON.parse(line.slice(6));
    }
  }
}

// XMLHttpRequest, since fetch does not tell how much was sent.
export function put(address, blob, headers, onProgress, signal) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("PUT", address);
    for (const [name, value] of Object.entries({ ...authorization(), ...headers })) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onProgress(event.loaded);
    request.onload = () => (request.status < 300 ? done() : failed(refusal(request.status, request.responseText)));
    request.onerror = () => failed(new Refused("The connection broke off.", 0));
    request.onabort = () => failed(new DOMException("", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(blob);
  });
}

// An upload of initial weights: looked at, digested here, sent with progress, gone on with where it broke off.

import { megabytes, whole } from "/page/numbers.js";
import { Refused, offset, pause, put, read } from "/page/service.js";
import { Sha256 } from "/page/sha256.js";
import { header, ofFile } from "/page/tensors.js";

const PIECE = 1 << 20;
const TRIES = 4;

export async function upload(file, told, signal) {
  const { tensors } = await header(ofFile(file));
  const count = Object.keys(tensors).length;
  const digest = await digestOf(file, (share) => told(share / 2, "Digesting"), signal);
  const there = await read("/networks", signal);
  if (!there.some((each) => each.name === digest)) await send(file, digest, told, signal);
  return { digest, about: `${whole(count)} tensors, ${megabytes(file.size)}` };
}

async function digestOf(file, told, signal) {
  const digest = new Sha256();
  for (let at = 0; at < file.size; at += PIECE) {
    signal.throwIfAborted();
    digest.update(await ofFile(file)(at, at + PIECE));
    told(at / file.size);
  }
  return digest.hex();
}

async function send(file, digest, told, signal) {
  for (let left = TRIES - 1, begin = 0; ; left -= 1) {
    const range = { "Content-Range": `bytes ${begin}-${file.size - 1}/${file.size}` };
    try {
      return await put(`/networks/${digest}`, file.slice(begin), { "Content-Type": "application/octet-stream", ...range },
        (sent) => told(0.5 + (begin + sent) / file.size / 2, "Uploading"), signal);
    } catch (error) {
      if (!(error instanceof Refused) || !left || ![0, 408, 409, 429, 503].includes(error.status)) throw error;
      await pause(2000);
      begin = Math.min(await offset(`/networks/${digest}`), file.size - 1);
    }
  }
}

// Safetensors: the header of a file here or of one at the service, and single tensors of it.

import { bytes } from "/page/service.js";

const MOST = 100_000_000;

export const ofFile = (file) => async (begin, end) => new Uint8Array(await file.slice(begin, end).arrayBuffer());
export const ofAddress = (address) => (begin, end) => bytes(address, begin, end);

export async function header(piece) {
  const first = await piece(0, 8);
  const size = first.length === 8 ? Number(new DataView(first.buffer, first.byteOffset).getBigUint64(0, true)) : 0;
  try {
    if (size < 2 || size > MOST) throw new SyntaxError();
    const { __metadata__: about = {}, ...tensors } = JSON.parse(new TextDecoder().decode(await piece(8, 8 + size)));
    return { about, tensors, start: 8 + size };
  } catch (error) {
    if (error instanceof SyntaxError) throw new Error("This is no safetensors file: its header cannot be read.");
    throw error;
  }
}

export async function tensor(piece, known, name) {
  const { shape, data_offsets: [begin, end] } = known.tensors[name];
  return { shape, values: await piece(known.start + begin, known.start + end) };
}

// A file in parts: a part that was cut off is sent again, a part that is there is not.

import { Problem, request, send } from "./api.js";

const TRIES = 4;

// Returns the upload's id, a media item of a request; `onSent` gets the bytes that have been sent so far.
export async function upload(file, onSent) {
  const begun = await request("v1/uploads", { method: "POST", json: { name: file.name, size_bytes: file.size } });
  let before = 0;
  for (const part of begun.parts) {
    const start = (part.number - 1) * begun.part_size_bytes;
    const body = file.slice(start, start + part.size_bytes);
    await sendPart(`v1/uploads/${begun.id}/parts/${part.number}`, body, (sent) => onSent(before + sent));
    before += part.size_bytes;
    onSent(before);
  }
  await request(`v1/uploads/${begun.id}/complete`, { method: "POST" });
  return begun.id;
}

async function sendPart(path, body, onSent) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await send(path, body, onSent);
    } catch (error) {
      const lasting = error instanceof Problem && error.status >= 400 && error.status < 500;
      if (lasting || attempt === TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** attempt));
    }
  }
}

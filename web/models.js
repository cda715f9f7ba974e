// Weights of the bundled models: fetched beside the page, with progress, and kept in the browser's storage. Each file is named
// with its checksum, so that a new build fetches what changed and nothing else.

const STORE = 'migm-models';

/** What a build has: {name: {files: {file: {bytes, path}}}}. */
async function manifest() {
  const response = await fetch('models/models.json', { cache: 'no-cache' });
  if (!response.ok) throw new Error(`models.json: the server answered ${response.status}`);
  return response.json();
}

/** The store; none where the browser refuses one (a private window, no secure connection). */
async function store() {
  try {
    return await caches.open(STORE);
  } catch {
    return null;
  }
}

async function read(response, expected, advanced) {
  const bytes = new Uint8Array(expected);
  const reader = response.body.getReader();
  let at = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (at + value.length > expected) throw new Error(`the file is longer than the ${expected} bytes announced`);
    bytes.set(value, at);
    at += value.length;
    advanced(value.length);
  }
  if (at !== expected) throw new Error(`the file ends after ${at} of ${expected} bytes`);
  return bytes;
}

/** The files of a model, as [[name, Uint8Array], …]. `told(done, total)` hears of every piece. */
export async function load(model, told) {
  const all = await manifest();
  const found = all[model];
  if (!found) throw new Error(`there is no bundled model ${model}; there are ${Object.keys(all).join(', ')}`);
  const kept = await store();
  const entries = Object.entries(found.files);
  const total = entries.reduce((sum, [, file]) => sum + file.bytes, 0);
  let done = 0;
  const advanced = (bytes) => told((done += bytes), total);
  const files = [];
  for (const [name, file] of entries) {
    const url = `models/${file.path}`;
    const stored = await kept?.match(url);
    if (stored) {
      files.push([name, await read(stored, file.bytes, advanced)]);
      continue;
    }
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url}: the server answered ${response.status}`);
    const bytes = await read(response, file.bytes, advanced);
    // Storage may be full: then the next visit fetches again.
    await kept?.put(url, new Response(bytes, { headers: { 'content-length': String(bytes.length) } })).catch(() => {});
    files.push([name, bytes]);
  }
  await forget(kept, all);
  return files;
}

/** Drops files of earlier builds. */
async function forget(kept, all) {
  if (!kept) return;
  const wanted = new Set(Object.values(all).flatMap((model) => Object.values(model.files).map((file) => file.path)));
  for (const request of await kept.keys()) {
    const path = new URL(request.url).pathname.split('/models/').pop();
    if (!wanted.has(path)) await kept.delete(request);
  }
}

/** Bytes that are kept. */
export async function stored() {
  const kept = await store();
  if (!kept) return 0;
  let bytes = 0;
  for (const request of await kept.keys()) {
    const response = await kept.match(request);
    bytes += Number(response?.headers.get('content-length') ?? 0);
  }
  return bytes;
}

/** Forgets all of them. */
export async function clear() {
  await caches.delete(STORE);
}

// Keeps the page's own files, so that it opens without a network after the first visit. Weights are kept apart, by models.js.

const STORE = 'migm-page';

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

// The first visit loads everything before this runs: it says what it has loaded.
self.addEventListener('message', (event) => {
  const urls = (event.data?.keep ?? []).filter(isKept);
  event.waitUntil(caches.open(STORE).then((store) => Promise.all(urls.map(async (url) => (await store.match(url)) ?? store.add(url)))));
});

self.addEventListener('fetch', (event) => {
  if (event.request.method === 'GET' && isKept(event.request.url)) event.respondWith(answer(event.request));
});

function isKept(url) {
  const scope = self.registration.scope;
  return url.startsWith(scope) && !/\/models\/[0-9a-f]{16}-/.test(url);
}

async function answer(request) {
  const store = await caches.open(STORE);
  // A name with a checksum stands for one content for ever.
  const known = await store.match(request);
  if (known && /-[0-9a-f]{16}\.[a-z]+$/.test(request.url)) return known;
  try {
    const response = await fetch(request);
    if (!response.ok) return response;
    if (request.mode === 'navigate') await renew(store, response.clone());
    else await store.put(request, response.clone());
    return response;
  } catch (error) {
    const page = request.mode === 'navigate' ? await store.match(self.registration.scope) : null;
    if (known ?? page) return known ?? page;
    throw error;
  }
}

/** A new build's page takes the place of everything that the last one had. */
async function renew(store, response) {
  const [text, before] = [await response.text(), await store.match(self.registration.scope)];
  if (before && (await before.text()) === text) return;
  if (before) await Promise.all((await store.keys()).map((request) => store.delete(request)));
  await store.put(self.registration.scope, new Response(text, { headers: { 'content-type': 'text/html' } }));
}

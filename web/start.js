// Starts the studio and says what is wrong if it cannot, or if it ends: never a grey page.

import init, { Page, shaders } from './migm.js';

const canvas = document.getElementById('canvas');
const notice = document.getElementById('notice');

function say(text, remedy) {
  canvas.hidden = true;
  notice.hidden = false;
  document.getElementById('notice-text').textContent = text;
  const way = document.getElementById('notice-remedy');
  way.textContent = remedy;
  way.hidden = !remedy;
  document.getElementById('notice-progress').hidden = true;
  const button = document.getElementById('notice-button');
  button.hidden = false;
  button.onclick = () => location.reload();
}

/** Why there is no WebGPU here, in words; null where there is. */
async function missing() {
  if (!isSecureContext) return 'this page did not come over a secure connection (https, or localhost)';
  if (!navigator.gpu) return 'this browser has no WebGPU, or it is switched off';
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  return adapter ? null : 'this browser has WebGPU, but no graphics adapter for it';
}

async function start() {
  if (typeof WebAssembly !== 'object') {
    say('The studio needs WebAssembly, which this browser does not have.', 'A current Chrome, Edge, Firefox or Safari has it.');
    return;
  }
  await init();
  const page = new Page();
  const reason = (await missing()) ?? '';
  await page.start(canvas, location.search, reason);
  notice.hidden = true;
  canvas.hidden = false;
  canvas.focus();
  globalThis.migm = page;
  globalThis.migmShaders = shaders;
  keep().catch(() => {});
  document.addEventListener('paste', async (event) => {
    // All at once: the clipboard is empty for whoever comes back to it later.
    for (const file of [...(event.clipboardData?.files ?? [])]) {
      page.bring(file.name, new Uint8Array(await file.arrayBuffer()));
    }
  });
  const watch = setInterval(() => {
    if (!page.has_panicked()) return;
    clearInterval(watch);
    say(`The studio ended: ${page.panic_message()}`, 'Your settings and history are kept. Please report what you did.');
  }, 500);
}

/** Has the page's own files kept, so that it opens without a network from now on; a browser may refuse that. */
async function keep() {
  const registration = await navigator.serviceWorker?.register('sw.js');
  if (!registration) return;
  const { active } = await navigator.serviceWorker.ready;
  const loaded = performance.getEntriesByType('resource').map((entry) => entry.name);
  active.postMessage({ keep: [new URL('.', location.href).href, ...loaded] });
}

start().catch((error) => say(`The studio could not start: ${error?.message ?? error}`, 'Loading the page again may help; so may another browser.'));

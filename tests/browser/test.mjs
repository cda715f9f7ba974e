// The page, as people get it: `web/dist` from a plain static server below a sub-path, in a real browser, on real WebGPU.
//
//   node test.mjs DIST CHROMIUM NATIVE.json MIGM
//
// NATIVE.json is what `migm generate PROMPT … --json` printed for the run below on the CPU executor: its tokens are compared.
// MIGM is the program itself, which makes the page's edit once more.

import { execFileSync } from 'node:child_process';
import { createReadStream, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join, normalize } from 'node:path';
import { gzipSync } from 'node:zlib';
import { chromium } from 'playwright-core';

const [dist, executablePath, nativeFile, program] = process.argv.slice(2);
const native = JSON.parse(readFileSync(nativeFile, 'utf8'));
/** How many steps of that run are full ones. */
const BUDGET = native.settings.refresh.uniform ?? native.settings.refresh.Uniform;
const BASE = '/some/where/';
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.wasm': 'application/wasm' };
// A software adapter on few cores takes its time; waiting ends when the page says so, this is only the end of patience.
const PATIENCE = 600_000;

/** A static server that knows nothing but files; it counts what is asked of it. */
function serve() {
  const asked = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
    asked.push(path);
    let file = path.startsWith(BASE) ? normalize(join(dist, path.slice(BASE.length))) : null;
    if (file && existsSync(file) && statSync(file).isDirectory()) file = join(file, 'index.html');
    if (!file?.startsWith(normalize(dist)) || !existsSync(file)) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream', 'content-length': statSync(file).size });
    createReadStream(file).pipe(response);
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve({ server, asked, port: server.address().port })));
}

const COMMON = ['--headless=new', '--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const WITH_WEBGPU = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-unsafe-swiftshader'];
const WITHOUT_WEBGPU = ['--disable-features=WebGPU,WebGPUService', '--disable-blink-features=WebGPU', '--enable-unsafe-swiftshader'];

async function browse(args, say, work) {
  const profile = mkdtempSync(join(tmpdir(), 'migm-browser-'));
  const context = await chromium.launchPersistentContext(profile, { executablePath, args: [...COMMON, ...args], viewport: { width: 1100, height: 720 } });
  try {
    const page = await context.newPage();
    page.on('console', (message) => {
      if (message.type() === 'error') say(`page: ${message.text()}`);
    });
    page.on('pageerror', (error) => say(`page: ${error}`));
    await work(page);
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  }
}

const report = (page) => page.evaluate(() => (globalThis.migm ? JSON.parse(globalThis.migm.report()) : null));

/** Waits until the page's own report says something. */
async function until(page, what, holds) {
  const began = Date.now();
  for (;;) {
    const found = await report(page).catch(() => null);
    const ended = await page.evaluate(() => globalThis.migm?.has_panicked() && globalThis.migm.panic_message()).catch(() => null);
    if (ended) throw new Error(`${what}: the program ended: ${ended}`);
    const notice = await page.evaluate(() => document.getElementById('notice-text').textContent).catch(() => '');
    if (notice.includes('could not start')) throw new Error(`${what}: the page says ${notice}`);
    if (found && holds(found)) return found;
    if (found?.failure) throw new Error(`${what}: the page says ${found.failure}`);
    if (Date.now() - began > PATIENCE) throw new Error(`${what}: not within ${PATIENCE / 1000} s; the page says ${JSON.stringify(found)?.slice(0, 600)}`);
    await page.waitForTimeout(250);
  }
}

/** Says what holds, and ends the part with what does not. */
const checker = (say) => (holds, what) => {
  if (!holds) throw new Error(what);
  say(`ok: ${what}`);
};

const newest = (found) => found.runs.at(-1);
const finished = (found) => found.runs.length > 0 && newest(found).progress === 'Finished';

/** The run of NATIVE.json, as a link. */
function link(port) {
  const { settings, prompt, model } = native;
  const query = new URLSearchParams({
    model, prompt, seed: '3', steps: String(settings.sampling.steps), guidance: String(settings.sampling.guidance), budget: String(BUDGET),
  });
  return `http://127.0.0.1:${port}${BASE}?${query}`;
}

async function onWebGpu(say, port, asked) {
  const check = checker(say);
  await browse(WITH_WEBGPU, say, async (page) => {
    const began = Date.now();
    await page.goto(link(port));
    const first = await until(page, 'the run of the link finishes', finished);
    const half = await page.evaluate(async () => (await navigator.gpu.requestAdapter()).features.has('shader-f16'));
    const tier = half ? 'f16' : 'portable';
    check(first.device.tier === tier, `WebGPU computes, on the ${tier} tier that the adapter has: ${first.device.name} (${((Date.now() - began) / 1000).toFixed(1)} s to the picture)`);
    const [ours, theirs] = [newest(first).codes, native.tokens[0]];
    const differ = ours.filter((code, i) => code !== theirs[i]).length;
    // Sums are added in another order than on the CPU: a draw between two codes that are all but equal may fall the other way,
    // and what follows it then differs too. Such a step is reported; before it, tokens are equal.
    if (differ > 0) say(`${differ} of ${ours.length} tokens differ from the native run; first in step ${firstDifferent(newest(first), theirs)}`);
    check(ours.length === theirs.length && differ <= ours.length / 4, `${ours.length - differ} of ${ours.length} tokens are those of the native CPU run`);
    check(newest(first).full === BUDGET, 'the budget of the link was kept');

    // Every shader, by the browser's own compiler, which is stricter than naga.
    const compiled = await page.evaluate(async (half) => {
      const adapter = await navigator.gpu.requestAdapter();
      const device = await adapter.requestDevice({ requiredFeatures: half ? ['shader-f16'] : [] });
      const shaders = globalThis.migmShaders(half);
      const refused = [];
      for (let at = 0; at < shaders.length; at += 2) {
        const { messages } = await device.createShaderModule({ code: shaders[at + 1] }).getCompilationInfo();
        for (const { type, lineNum, message } of messages) if (type === 'error') refused.push(`${shaders[at]}, line ${lineNum}: ${message}`);
      }
      device.destroy();
      return { count: shaders.length / 2, refused };
    }, half);
    compiled.refused.forEach((line) => say(line));
    check(compiled.count > 100 && compiled.refused.length === 0, `the browser compiles all ${compiled.count} permutations of the shaders`);

    // The slider, by mouse: to its right end.
    const slider = first.budget_slider;
    const y = slider.y + slider.height / 2;
    await page.mouse.move(slider.x + slider.width / 2, y);
    await page.mouse.down();
    await page.mouse.move(slider.x + slider.width - 1, y, { steps: 5 });
    await page.mouse.up();
    const moved = await until(page, 'the slider moves', (found) => found.budget !== BUDGET);
    check(moved.budget > BUDGET, `the slider moved the budget from ${BUDGET} to ${moved.budget}`);
    await page.keyboard.press('Control+Enter');
    const second = await until(page, 'the second run finishes', (found) => found.runs.length === 2 && finished(found));
    check(newest(second).full === moved.budget, `the next run has ${moved.budget} full steps`);
    await until(page, 'the weights are stored', (found) => found.stored > 1e6);

    const before = asked.length;
    await page.reload();
    const again = await until(page, 'the page is back', (found) => found.model !== null && found.stored > 1e6);
    const fetched = asked.slice(before).filter((path) => path.endsWith('.safetensors'));
    check(fetched.length === 0, `after a reload ${(again.stored / 1e6).toFixed(1)} MB of weights come from storage, none from the server`);
    if (process.env.MIGM_SCREENSHOT) await page.screenshot({ path: process.env.MIGM_SCREENSHOT });
  });
}

function firstDifferent(run, theirs) {
  const at = run.revealed_at ?? [];
  const steps = run.codes.map((code, i) => (code === theirs[i] ? Infinity : at[i])).filter((step) => step !== undefined);
  return Math.min(...steps) + 1;
}

async function withoutWebGpu(say, port) {
  const check = checker(say);
  await browse(WITHOUT_WEBGPU, say, async (page) => {
    await page.goto(link(port));
    const found = await until(page, 'the CPU takes over', (found) => found.device.tier === 'cpu');
    check(found.device.reason.includes('WebGPU'), `the page says why: ${found.device.reason}`);
    const made = await until(page, 'the CPU makes the picture', finished);
    const differ = newest(made).codes.filter((code, i) => code !== native.tokens[0][i]).length;
    check(differ <= newest(made).codes.length / 4, `${newest(made).codes.length - differ} of ${newest(made).codes.length} tokens are those of the native run`);
    if (process.env.MIGM_SCREENSHOT) await page.screenshot({ path: process.env.MIGM_SCREENSHOT.replace('.png', '-cpu.png') });
    await paint(page, check, newest(made).codes);
  });
}

/** A stroke of the mouse over the picture, the run that makes it anew, the same by the native program, and the way back. */
async function paint(page, check, before) {
  const painted = ({ editing }) => editing.painted.filter((cell) => cell).length;
  await page.keyboard.press('e');
  const { editing } = await until(page, 'the picture is edited', (found) => found.editing?.picture[2] > 0);
  const [left, top, width, height] = editing.picture;
  await page.mouse.move(left + width * 0.3, top + height * 0.3);
  await page.mouse.down();
  await page.mouse.move(left + width * 0.6, top + height * 0.5, { steps: 8 });
  await page.mouse.up();
  const stroke = await until(page, 'the stroke is there', (found) => painted(found) > 4);
  await page.keyboard.press('Control+Enter');
  const made = await until(page, 'the edit is made', (found) => found.runs.length === 2 && finished(found) && !found.editing.running);
  if (process.env.MIGM_SCREENSHOT) await page.screenshot({ path: process.env.MIGM_SCREENSHOT.replace('.png', '-edit.png') });
  const ours = newest(made).codes;
  check(ours.every((code, i) => stroke.editing.painted[i] || code === before[i]), `a stroke of ${painted(stroke)} tokens was made anew, and no other token changed`);
  // The command stands in the picture; words in quotes are one.
  const words = newest(made).command.match(/'[^']*'|\S+/g).map((word) => word.replace(/^'|'$/g, ''));
  const folder = mkdtempSync(join(tmpdir(), 'migm-edit-'));
  const options = ['--no-compare', '--json', '--backend=cpu', `--out=${join(folder, 'native.png')}`];
  const again = JSON.parse(execFileSync(program, [...words.slice(1), ...options], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }));
  rmSync(folder, { recursive: true, force: true });
  const differ = ours.filter((code, i) => code !== again.tokens[0][i]).length;
  check(differ <= ours.length / 20, `${ours.length - differ} of ${ours.length} tokens are those of the native run of the same canvas`);
  await page.keyboard.press('Control+z');
  const back = await until(page, 'the edit is undone', (found) => found.editing.codes.every((code, i) => code === before[i]));
  check(painted(back) === painted(stroke), 'undo brings the old tokens back, and the stroke is still there');
}

/** Where the time went from the address to the first picture, with nothing in any cache, while another page computes beside it. */
async function parts(page, say, total, run) {
  const loaded = await page.evaluate(() => performance.getEntriesByType('resource').map(({ name, responseEnd, startTime, transferSize }) => ({ name, responseEnd, startTime, transferSize })));
  const of = (what) => loaded.filter(({ name }) => what.test(name));
  const megabytes = (entries) => (entries.reduce((sum, { transferSize }) => sum + transferSize, 0) / 1e6).toFixed(1);
  const seconds = (entries) => ((Math.max(...entries.map((e) => e.responseEnd)) - Math.min(...entries.map((e) => e.startTime))) / 1e3).toFixed(1);
  const [program, weights] = [of(/\.(wasm|js|css)$/), of(/\/models\//)];
  const ran = run.milliseconds.reduce((sum, ms) => sum + ms, 0) / 1e3;
  const rest = total - Math.max(...weights.map((e) => e.responseEnd)) / 1e3 - ran;
  say(`from the address to the picture: ${total.toFixed(1)} s; program ${megabytes(program)} MB in ${seconds(program)} s, weights ${megabytes(weights)} MB in ${seconds(weights)} s, steps ${ran.toFixed(1)} s, compiling, previews and decoding ${rest.toFixed(1)} s`);
}

/** What somebody sees who opens the address and does nothing; then the tour by keyboard; then without a network. */
async function bare(say, port) {
  const check = checker(say);
  const wasm = readdirSync(dist).find((name) => name.endsWith('.wasm'));
  const compressed = gzipSync(readFileSync(join(dist, wasm)), { level: 9 }).length / 1e6;
  check(compressed <= 5, `the program is ${compressed.toFixed(2)} MB compressed, of 5 allowed`);
  await browse(WITHOUT_WEBGPU, say, async (page) => {
    const began = Date.now();
    await page.goto(`http://127.0.0.1:${port}${BASE}`);
    const made = await until(page, 'a picture makes itself', finished);
    check(made.greeting && newest(made).full * 4 <= newest(made).steps, `a picture made itself with ${newest(made).full} of ${newest(made).steps} steps in full, and nobody pressed anything`);
    await parts(page, say, (Date.now() - began) / 1e3, newest(made));
    if (process.env.MIGM_SCREENSHOT) {
      for (const [width, height] of [[1280, 800], [900, 700], [390, 844]]) {
        await page.setViewportSize({ width, height });
        await page.waitForTimeout(1500);
        await page.screenshot({ path: process.env.MIGM_SCREENSHOT.replace('.png', `-${width}.png`) });
      }
      await page.setViewportSize({ width: 1100, height: 720 });
    }
    for (let stop = 0; stop < 7; stop++) {
      await page.keyboard.press(stop === 0 ? 'F1' : 'PageDown');
      await until(page, `stop ${stop + 1} of the tour`, (found) => found.tour === stop);
      if (process.env.MIGM_SCREENSHOT && stop < 6) {
        await page.waitForTimeout(1500);
        await page.screenshot({ path: process.env.MIGM_SCREENSHOT.replace('.png', `-tour-${stop + 1}.png`) });
      }
    }
    await page.keyboard.press('PageDown');
    await until(page, 'the tour ends', (found) => found.tour === null);
    check(true, 'seven stops of the tour by keyboard');
    await page.waitForFunction(async () => {
      const kept = await (await caches.open('migm-page')).keys();
      return kept.some(({ url }) => url.endsWith('.wasm')) && kept.some(({ url }) => url.endsWith('models.json'));
    }, null, { timeout: PATIENCE });
    await page.context().setOffline(true);
    await page.goto('about:blank');
    await page.goto(`http://127.0.0.1:${port}${BASE}`);
    await until(page, 'the page opens without a network', (found) => found.model !== null);
    check(true, 'without a network the page opens, and has its model');
  });
}

/** A part of the test with a server of its own, so that what one asks for is not counted in another; whether it holds. */
async function part(name, work) {
  const { server, asked, port } = await serve();
  try {
    await work((line) => console.log(`${name}: ${line}`), port, asked);
    return true;
  } catch (error) {
    console.log(`${name}: FAILED: ${error.message}`);
    return false;
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

// Side by side: a page that computes without WebGPU has one thread, and leaves cores to the one that draws on a software adapter.
const held = await Promise.all([
  part('on WebGPU', onWebGpu),
  part('without WebGPU', withoutWebGpu).then(async (first) => (await part('the bare page', bare)) && first),
]);
if (!held.every((each) => each)) process.exitCode = 1;

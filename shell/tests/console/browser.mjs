// A real headless Chromium, driven over chromedriver's plain HTTP (W3C WebDriver), and real servers.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PATIENCE = 30_000;
const ELEMENT = 'element-6066-11e4-a52e-4f735466cecf';
const SERVER = process.env.ODIN_WS ?? new URL('../../../target/debug/odin-ws', import.meta.url).pathname;

/** Waits until `probe` gives something true, and gives that. */
export async function until(what, probe) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const found = await probe();
    if (found) return found;
    assert.ok(Date.now() < end, typeof what === 'function' ? await what() : what);
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** Whatever ends this process ends its children, which would wait for ever. */
const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));
process.on('SIGTERM', () => process.exit(1));

/** A child process, and the first match of `ready` in what it says. */
async function start(command, args, ready) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  children.add(child);
  child.on('exit', () => children.delete(child));
  let said = '';
  const found = new Promise((done, failed) => {
    const listen = (chunk) => {
      said += chunk;
      const match = said.match(ready);
      if (match) done(match);
    };
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
    child.on('error', failed);
    child.on('exit', (code) => failed(new Error(`${command} ended with ${code}: ${said}`)));
  });
  return { child, match: await found };
}

async function stop(child, signal = 'SIGKILL') {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill(signal);
  await once(child, 'exit');
}

/** odin-ws on a port of its own, which it keeps when it is started again. */
export class Server {
  #args; #child = null; port = 0;
  constructor(...args) { this.#args = args; }
  get url() { return `http://127.0.0.1:${this.port}`; }

  async start() {
    const args = ['--listen', `127.0.0.1:${this.port}`, '--log', 'warn', ...this.#args];
    const { child, match } = await start(SERVER, args, /ws:\/\/127\.0\.0\.1:(\d+)\/ws/);
    [this.#child, this.port] = [child, Number(match[1])];
    await until('it is ready', async () => (await fetch(`${this.url}/ready`)).ok);
    return this;
  }

  async stop(signal) { if (this.#child) await stop(this.#child, signal); }

  async publish(channel, payload) {
    const headers = { 'Content-Type': 'application/json' };
    const answer = await fetch(`${this.url}/publish/${channel}`, { method: 'POST', headers, body: JSON.stringify(payload) });
    assert.equal(answer.status, 200, await answer.text());
  }

  async stats() { return (await fetch(`${this.url}/stats`)).json(); }
}

/** nats-server with JetStream in a folder of its own. */
export class Nats {
  async start() {
    this.folder = await mkdtemp(join(tmpdir(), 'odin-nats-'));
    const args = ['-a', '127.0.0.1', '-p', '-1', '-js', '-sd', this.folder];
    const { child, match } = await start('nats-server', args, /client connections on 127\.0\.0\.1:(\d+)[\s\S]*Server is ready/);
    [this.child, this.url] = [child, `nats://127.0.0.1:${match[1]}`];
    return this;
  }

  /** Publishes past the server: the protocol of NATS is text. */
  async publish(subject, payload) {
    const socket = connect(new URL(this.url).port, '127.0.0.1');
    socket.write(`CONNECT {"verbose":false}\r\nPUB ${subject} ${payload.length}\r\n${payload}\r\nPING\r\n`);
    await new Promise((done) => { socket.on('data', (data) => { if (data.includes('PONG')) done(); }); });
    socket.destroy();
  }

  async stop() {
    await stop(this.child);
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** One browser with one page. */
export class Browser {
  async start() {
    this.folder = await mkdtemp(join(tmpdir(), 'odin-chromium-'));
    const { child, match } = await start('chromedriver', ['--port=0'], /started successfully on port (\d+)/);
    [this.child, this.base] = [child, `http://127.0.0.1:${match[1]}/session`];
    const args = [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage', `--user-data-dir=${this.folder}`,
    ];
    const alwaysMatch = { browserName: 'chrome', 'goog:chromeOptions': { args }, 'goog:loggingPrefs': { browser: 'ALL' } };
    const { sessionId } = await this.#call('POST', '', { capabilities: { alwaysMatch } });
    this.base += `/${sessionId}`;
    return this;
  }

  async stop() {
    await this.#call('DELETE', '').catch(() => {});
    await stop(this.child);
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  async #call(method, path, body) {
    const answer = await fetch(this.base + path, { method, body: method === 'POST' ? JSON.stringify(body ?? {}) : undefined });
    const { value } = await answer.json();
    assert.ok(answer.ok, `${path}: ${value?.message}`);
    return value;
  }

  open(url) { return this.#call('POST', '/url', { url }); }

  /** What the expression gives in the page. */
  evaluate(expression) { return this.#call('POST', '/execute/sync', { script: `return ${expression}`, args: [] }); }

  text(selector) { return this.evaluate(`document.querySelector(${JSON.stringify(selector)})?.textContent ?? ''`); }

  /** Waits until the text of an element matches. */
  async sees(selector, pattern) {
    const missing = async () => `${selector} is not ${pattern}: ${await this.text(selector)}`;
    return until(missing, async () => (await this.text(selector)).match(pattern));
  }

  /** Types, on the keyboard, into whatever has the focus. */
  type(keys) {
    const actions = [...keys].flatMap((value) => [{ type: 'keyDown', value }, { type: 'keyUp', value }]);
    return this.#call('POST', '/actions', { actions: [{ type: 'key', id: 'keyboard', actions }] });
  }

  async click(selector) {
    const element = await this.#call('POST', '/element', { using: 'css selector', value: selector });
    await this.#call('POST', `/element/${element[ELEMENT]}/click`);
  }

  #cdp(cmd, params) { return this.#call('POST', '/goog/cdp/execute', { cmd, params }); }

  async device(width, height, scheme) {
    const mobile = width < 600;
    await this.#cdp('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: mobile ? 2 : 1, mobile });
    await this.#cdp('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  }

  /** Writes what is to be seen, the whole page, into the folder that ODIN_SCREENSHOTS names, if it does. */
  async screenshot(name) {
    const folder = process.env.ODIN_SCREENSHOTS;
    if (!folder) return;
    const { data } = await this.#cdp('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true });
    await writeFile(join(folder, `${name}.png`), data, 'base64');
  }

  /** What the console said since the last call, without what a server that is away is bound to cause. */
  async complaints() {
    const entries = await this.#call('POST', '/se/log', { type: 'browser' });
    return entries.filter((e) => e.level !== 'INFO' && e.level !== 'DEBUG').map((e) => e.message)
      .filter((text) => !/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|503 \(Service Unavailable\)/.test(text));
  }
}

// The live page in a real browser, against the real server.

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { Browser, Nats, Server, until } from './browser.mjs';

const [TAB, ENTER, SPACE] = ['\uE004', '\uE007', ' '];
const browser = new Browser();
before(() => browser.start());
after(() => browser.stop());

const figure = (nth) => `#charts figure:nth-child(${nth})`;
const focused = () => browser.evaluate('document.activeElement.id');

/** The rows of the log: "channel seq after prev data" or the text of an event. */
const rows = () => browser.evaluate(`[...document.querySelectorAll('#log li')].map((li) =>
  [...li.querySelectorAll('span')].map((span) => span.textContent).join(' '))`);

const DEVICES = [['phone', 390, 844], ['desktop', 1280, 900]];

/** Half a minute of a busy server, on every device, light and dark. */
async function shoot(server) {
  await browser.evaluate("document.getElementById('names').value = 'BTC.*, odds.>'");
  await browser.click('#form button');
  await browser.sees('#log', /subscribed/);
  for (let i = 0; i < 300; i += 1) {
    await server.publish(i % 3 ? 'BTC.trade' : 'odds.final', { price: 64000 + i, size: (i % 7) / 10 });
    if (i % 50 === 0) await server.publish('bulk', 'x'.repeat(100));
    await new Promise((done) => setTimeout(done, 40 + 60 * Math.sin(i / 20) ** 2));
    if (i === 292) await browser.click('#drop');
  }
  await browser.sees('#log', /resumed/);
  await server.publish('BTC.trade', { price: 64300, size: 0.1 });
  for (const [device, width, height] of DEVICES) {
    for (const scheme of ['light', 'dark']) {
      await browser.device(width, height, scheme);
      await browser.screenshot(`${device}-${scheme}`);
    }
  }
}

test('it loads without complaint and shows the server live', async (t) => {
  const server = await new Server().start();
  t.after(() => server.stop());
  await browser.open(server.url);
  await browser.sees('#status', /^(healthy|degraded)$/);
  await browser.sees('#uptime', /^version \d+\.\d+\.\d+, up \d+ s$/);
  // The demo's prices come in; nobody has subscribed, so that nothing goes out.
  await browser.sees(figure(3), /Messages in per second.*max \d/);
  await browser.sees(`${figure(2)} strong`, /^0$/);
  await browser.sees('#worst', /^Nobody is behind\.$/);
  const path = `document.querySelectorAll('${figure(3)} path')[1].getAttribute('d')`;
  const drawn = await browser.evaluate(path);
  await until('the chart moves on', async () => (await browser.evaluate(path)) !== drawn);
  assert.deepEqual(await browser.complaints(), []);
});

test('by keyboard: subscribes, sees messages, drops the connection, unsubscribes', async (t) => {
  const server = await new Server().start();
  t.after(() => server.stop());
  await browser.open(server.url);
  await browser.evaluate("document.getElementById('names').focus()");
  await browser.type(ENTER);
  await browser.sees('#state', /^open$/);
  await browser.sees('#log', /connected, session [0-9a-f]+/);
  await browser.sees('#log', /subscribed BTC\.\* \(numbers of this run of the server\)/);
  await browser.sees('#log', /BTC\.trade\d+ after \d+\{"/);
  await browser.sees(`${figure(2)} strong`, /^(?!0$)[\d.]+$/);
  await browser.sees(`${figure(1)} strong`, /^1$/);
  await browser.sees(`${figure(5)} strong`, /^\d.* \/ \d/);
  const order = ['mode', 'snapshot'];
  for (const id of order) {
    await browser.type(TAB);
    assert.equal(await focused(), id);
  }
  await until('the button to drop the connection', async () => {
    await browser.type(TAB);
    return (await focused()) === 'drop';
  });
  await browser.type(SPACE);
  await browser.sees('#log', /disconnected \(1006 client\), back in/);
  await browser.sees('#log', /resumed BTC\.\* without a gap/);
  await browser.sees('#counts', /^[\d,]+ messages, 1 resumed, 0 lost, 0 gaps$/);
  await browser.click('#subscriptions button');
  await browser.sees('#log', /unsubscribed BTC\.\*/);
  assert.equal(await browser.text('#subscriptions'), '');
  assert.equal(await focused(), 'names');
  assert.deepEqual(await browser.complaints(), []);
});

test('survives restarts of the server, drained or killed, without a gap', async (t) => {
  const nats = await new Nats().start();
  t.after(() => nats.stop());
  const server = await new Server('--source', 'jetstream', '--nats-url', nats.url, '--stream', 'PAGE', '--drain-timeout', '1s').start();
  t.after(() => server.stop());
  await browser.open(server.url);
  await browser.evaluate("document.getElementById('names').value = 'news, odds.>'");
  await browser.click('#form button');
  await browser.sees('#log', /subscribed news, odds\.>/);
  for (let i = 1; i <= 3; i += 1) await server.publish('news', { i });
  await browser.sees('#log', /news3 after 2\{"i":3\}/);
  await server.stop('SIGTERM');
  await browser.sees('#log', /the server is going away \(draining\), back in/);
  await browser.sees('#status', /^unreachable$/);
  await server.start();
  await server.publish('news', { i: 4 });
  await browser.sees('#log', /news4 after 3\{"i":4\}/);
  await server.stop('SIGKILL');
  await browser.sees('#log', /disconnected \(1006\), back in/);
  await server.start();
  await server.publish('news', { i: 5 });
  await browser.sees('#log', /news5 after 4\{"i":5\}/);
  await browser.sees('#counts', /^5 messages, 4 resumed, 0 lost, 0 gaps$/);
  await browser.sees('#status', /^(healthy|degraded)$/);
  const messages = (await rows()).filter((row) => row.startsWith('news '));
  assert.deepEqual(messages, [1, 2, 3, 4, 5].map((i) => `news ${i} after ${i - 1} {"i":${i}}`));
  assert.deepEqual(await browser.complaints(), []);
});

test('shows what is lost and what begins anew, and neither is a gap', async (t) => {
  const nats = await new Nats().start();
  t.after(() => nats.stop());
  const server = await new Server('--source', 'jetstream', '--nats-url', nats.url, '--stream', 'PAGE', '--payload-bytes-max', '1KiB').start();
  t.after(() => server.stop());
  await browser.open(server.url);
  await browser.evaluate("document.getElementById('names').value = 'news'");
  await browser.click('#form button');
  await browser.sees('#log', /subscribed news/);
  await nats.publish('odin.token.news', '1');
  await nats.publish('odin.token.news', 'x'.repeat(2000));
  await nats.publish('odin.token.news', '3');
  await browser.sees('#log', /news1 after 01/);
  await browser.sees('#log', /lost: news 2 to 2 \(too_large\)/);
  await browser.sees('#log', /news3 after [12]3/);
  await nats.publish('$JS.API.STREAM.DELETE.PAGE', '');
  await browser.sees('#log', /reset: the numbers begin anew \(stream_recreated\)/);
  await until('the stream is made again', async () => (await fetch(`${server.url}/publish/news`, {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '"anew"' })).ok);
  await browser.sees('#log', /news\d+ after (0|\?)anew/);
  await browser.sees('#counts', /^3 messages, 0 resumed, 1 lost, 0 gaps$/);
  assert.deepEqual(await browser.complaints(), []);
});

test('what cannot be resumed is shown as a gap', async (t) => {
  const server = await new Server('--no-demo').start();
  t.after(() => server.stop());
  await browser.open(server.url);
  await browser.evaluate("document.getElementById('names').value = 'news'");
  await browser.click('#form button');
  await browser.sees('#log', /subscribed news/);
  await server.stop();
  await server.start();
  await browser.sees('#log', /gap: news cannot be resumed \(epoch_changed\); live from here/);
  await browser.sees('#counts', /^0 messages, 0 resumed, 0 lost, 1 gap$/);
  await server.publish('news', { back: true });
  await browser.sees('#log', /news1 after 0\{"back":true\}/);
});

test('a payload is text, whatever it looks like', async (t) => {
  const server = await new Server('--no-demo').start();
  t.after(() => server.stop());
  await browser.open(server.url);
  await browser.evaluate("document.getElementById('names').value = 'news'");
  await browser.click('#form button');
  await browser.sees('#log', /subscribed news/);
  await server.publish('news', '<img src=x onerror="document.title=1"><script>document.title=2</script>');
  await browser.sees('#log', /news1 after 0<img src=x/);
  assert.equal(await browser.evaluate("document.querySelectorAll('#log img, #log script').length"), 0);
  assert.equal(await browser.evaluate('document.title'), 'Odin WS');
});

/** A client that subscribes and then reads nothing any more. */
async function stuck(server, name) {
  const socket = connect(server.port, '127.0.0.1');
  socket.write(`GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`
    + 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
  await new Promise((upgraded) => { socket.once('data', upgraded); });
  const text = Buffer.from(JSON.stringify({ type: 'subscribe', data: { channels: [name] } }));
  // A client's frame is masked; a mask of zeros changes nothing.
  socket.write(Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), text]));
  await new Promise((acked) => { socket.once('data', acked); });
  return socket.pause();
}

test('who is furthest behind is shown, without a name', async (t) => {
  const server = await new Server('--no-demo', '--send-buffer', '8KiB', '--write-stall', '0s').start();
  t.after(() => server.stop());
  const slow = await stuck(server, 'bulk');
  t.after(() => slow.destroy());
  await until('the socket is full', async () => {
    await server.publish('bulk', 'x'.repeat(200_000));
    return (await server.stats()).worst[0]?.blocked;
  });
  await browser.open(server.url);
  await browser.sees('#worst', /^1[\d.]+ m?s\d+1full$/);
  await browser.sees(figure(6), /Worst lag.*max/);
  const named = await (await fetch(`${server.url}/debug/clients`)).json();
  assert.equal(named.worst[0].peer, `127.0.0.1:${slow.localPort}`);
  assert.match(named.worst[0].id, /^\d+\.0\.0$/);
  const shown = JSON.stringify(await server.stats()) + (await browser.text('body'));
  assert.ok(!shown.includes(String(slow.localPort)), 'no address');
  // What is shot: an ordinary client beside the slow one, a resume, and some history.
  if (process.env.ODIN_SCREENSHOTS) await shoot(server);
});

test('it fits a phone and a desktop, in light and dark', async (t) => {
  const server = await new Server().start();
  t.after(() => server.stop());
  await browser.open(server.url);
  await browser.click('#form button');
  await browser.sees('#log', /BTC\.trade/);
  const grounds = new Set();
  for (const [device, width, height] of DEVICES) {
    for (const scheme of ['light', 'dark']) {
      await browser.device(width, height, scheme);
      const overflow = 'document.documentElement.scrollWidth - document.documentElement.clientWidth';
      assert.ok((await browser.evaluate(overflow)) <= 0, `${device} scrolls sideways`);
      grounds.add(await browser.evaluate('getComputedStyle(document.body).backgroundColor'));
    }
  }
  assert.equal(grounds.size, 2, 'light and dark differ');
  assert.deepEqual(await browser.complaints(), []);
});

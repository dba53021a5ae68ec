// The client module against a server that drops, drains, resets and loses.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { covers } from '../../src/console/client.js';
import { World } from './fake.mjs';

const waiting = (world) => world.of('state').filter((s) => s.state === 'waiting').at(-1);

test('names and patterns cover what the protocol says', () => {
  for (const [name, yes, no] of [
    ['ETH.*', ['ETH.trade', 'ETH.book'], ['ETH', 'ETH.book.l2', 'BTC.trade']],
    ['ETH.>', ['ETH.trade', 'ETH.book.l2'], ['ETH']],
    ['*.trade', ['BTC.trade'], ['BTC.trade.eu', 'trade']],
    ['>', ['a', 'a.b.c'], []],
    ['BTC.trade', ['BTC.trade'], ['BTC.trades', 'BTC']],
  ]) {
    for (const channel of yes) assert.ok(covers(name, channel), `${name} ${channel}`);
    for (const channel of no) assert.ok(!covers(name, channel), `${name} ${channel}`);
  }
});

test('subscribes when it is welcomed, and delivers what follows', () => {
  const world = new World();
  world.client.subscribe('A');
  world.client.connect();
  assert.deepEqual([world.socket.url, world.socket.protocol], ['ws://host/ws', 'odin.v1.json']);
  world.welcome();
  const asked = world.ack({ A: 4 });
  assert.deepEqual(asked, { channels: ['A'], mode: 'lossless', snapshot: false, on_lost: 'close' });
  world.msg('A', 7, 4);
  world.msg('A', 9, 7);
  assert.deepEqual(world.seqs, [7, 9]);
  assert.deepEqual(world.client.subscriptions, [{ name: 'A', mode: 'lossless', active: true, epoch: 'e1', last: 9 }]);
});

test('a dropped connection is resumed from the last message, with its time', async () => {
  const world = World.open(['A', 'P.*'], { A: 4, 'P.*': 6 });
  world.msg('A', 7, 4);
  await world.advance(6000);
  await world.drop();
  assert.deepEqual(waiting(world), { state: 'waiting', code: 1006, reason: '', delay_ms: 500 });
  await world.advance(499);
  assert.equal(world.sockets.length, 1);
  await world.advance(1);
  assert.equal(world.sockets.length, 2);
  world.welcome();
  const requests = world.socket.sent;
  assert.deepEqual(requests[0].data.resume, { epoch: 'e1', positions: { A: { seq: 7, ts: 70 }, 'P.*': 6 } });
  world.ack({ A: 7, 'P.*': 6 }, { recovered: ['A', 'P.*'] });
  world.msg('A', 8, 7);
  world.msg('P.x', 9, 5);
  assert.deepEqual(world.seqs, [7, 8, 9]);
  assert.deepEqual(world.of('gap'), []);
});

test('what cannot be resumed is told, and goes on from the position of the ack', async () => {
  const world = World.open(['A'], { A: 4 });
  await world.drop(1001);
  await world.advance(1000);
  world.welcome();
  const unrecovered = [{ channel: 'A', reason: 'epoch_changed', newest: 20 }];
  world.ack({ A: 20 }, { epoch: 'e2', unrecovered });
  assert.deepEqual(world.of('subscribed').at(-1).unrecovered, unrecovered);
  world.msg('A', 21, 20);
  assert.deepEqual(world.seqs, [21]);
});

test('a hole that nobody announced is a gap: not delivered, but resumed', async () => {
  for (const [names, positions, messages, hole] of [
    [['A'], { A: 4 }, [['A', 7, 4]], ['A', 9, 8]],
    [['A'], { A: 4 }, [], ['A', 9, 8]],
    [['P.*'], { 'P.*': 4 }, [['P.x', 7, 2]], ['P.x', 9, 8]],
    [['P.*'], { 'P.*': 4 }, [['P.x', 7, 2]], ['P.y', 9, 5]],
  ]) {
    const world = World.open(names, positions);
    for (const m of messages) world.msg(...m);
    const before = world.seqs;
    world.msg(...hole);
    assert.deepEqual(world.seqs, before);
    assert.equal(world.of('gap')[0].prev, hole[2]);
    await world.advance(1000);
    world.welcome();
    const { positions: asked } = world.socket.sent[0].data.resume;
    const last = messages.at(-1)?.[1];
    assert.deepEqual(Object.values(asked), [last ? { seq: last, ts: last * 10 } : 4]);
  }
});

test('in latest mode messages may be passed over', () => {
  const world = World.open(['A'], { A: 4 }, { mode: 'latest' });
  world.msg('A', 9, 8);
  assert.deepEqual(world.seqs, [9]);
});

test('an announced loss excuses the first message after it, and no other', async () => {
  for (const lost of [{ channel: 'A', from: 5, to: 8 }, { from: 5, to: 8 }, { from: 5, to: null }]) {
    const world = World.open(['A'], { A: 4 }, { on_lost: 'continue' });
    world.say({ type: 'lost', reason: 'slow_consumer', ...lost });
    assert.equal(world.of('lost').length, 1);
    world.msg('A', 9, 8);
    assert.deepEqual(world.seqs, [9]);
    world.msg('A', 12, 10);
    assert.equal(world.of('gap').length, 1, JSON.stringify(lost));
  }
});

test('a server that no longer knows the message before does not make a hole', () => {
  for (const prev of [0, 3]) {
    const world = World.open(['P.*'], { 'P.*': 4 });
    world.msg('P.x', 7, 4);
    world.msg('P.x', 9, prev);
    assert.deepEqual([world.seqs, world.of('gap')], [[7, 9], []]);
  }
});

test('a loss is not forgotten by a resume', async () => {
  for (const prev of [4, 6]) {
    const world = World.open(['A'], { A: 4 }, { on_lost: 'continue' });
    world.say({ type: 'lost', from: 5, to: 8, reason: 'discarded' });
    await world.drop();
    await world.advance(1000);
    world.welcome();
    assert.deepEqual(world.ack({ A: 8 }, { recovered: ['A'] }).resume, { epoch: 'e1', positions: { A: 8 } });
    // None of the lost messages was of this channel, or the last one of it was 6.
    world.msg('A', 9, prev);
    assert.deepEqual([world.seqs, world.of('gap')], [[9], []]);
  }
});

test('many losses stay bounded and none is forgotten', () => {
  const world = World.open(['P.*'], { 'P.*': 0 });
  world.msg('P.x', 1, 0);
  for (let i = 0; i < 200; i += 1) world.say({ type: 'lost', from: 10 * i + 10, to: 10 * i + 12, reason: 'discarded' });
  world.msg('P.x', 3000, 11);
  assert.deepEqual([world.seqs, world.of('gap')], [[1, 3000], []]);
});

test('a reset begins anew, with the new epoch', async () => {
  const world = World.open(['A'], { A: 40 });
  world.msg('A', 41, 40);
  world.say({ type: 'reset', epoch: 'e2', reason: 'stream_recreated' });
  world.msg('A', 3, null);
  world.msg('A', 4, 3);
  assert.deepEqual(world.seqs, [41, 3, 4]);
  await world.drop();
  await world.advance(1000);
  world.welcome();
  assert.deepEqual(world.take()[0].data.resume, { epoch: 'e2', positions: { A: { seq: 4, ts: 40 } } });
});

test('a subscription without an epoch waits for its reset', () => {
  const world = new World();
  world.client.subscribe('A');
  world.client.connect();
  world.welcome();
  world.ack({ A: null }, { epoch: null });
  world.say({ type: 'reset', epoch: 'e1', reason: 'source_ready' });
  world.msg('A', 3, null);
  assert.deepEqual(world.seqs, [3]);
});

test('a snapshot begins below the position, and replayed messages are told apart', () => {
  const world = World.open(['P.*'], { 'P.*': 9 }, { snapshot: true });
  world.msg('P.x', 4, null);
  world.msg('P.y', 8, 2);
  world.msg('P.x', 10, 4);
  world.msg('P.y', 8, 2);
  assert.deepEqual(world.seqs, [4, 8, 10]);
  assert.deepEqual(world.of('replayed').map((m) => m.seq), [8]);
});

test('who goes on after a loss keeps its position, also where a snapshot was asked', async () => {
  const world = World.open(['P.*'], { 'P.*': 9 }, { snapshot: true, on_lost: 'continue' });
  world.msg('P.x', 10, 4);
  await world.drop();
  await world.advance(1000);
  world.welcome();
  world.ack({ 'P.*': 10 }, { unrecovered: [{ channel: 'P.*', reason: 'too_old', oldest: 20, newest: 30 }] });
  await world.drop();
  await world.advance(2000);
  world.welcome();
  world.ack({ 'P.*': 10 }, { unrecovered: [{ channel: 'P.*', reason: 'too_old', oldest: 20, newest: 30 }] });
  assert.deepEqual(world.client.subscriptions[0].last, 10);
  world.say({ type: 'lost', channel: 'P.*', from: 11, to: 19, reason: 'slow_consumer' });
  world.msg('P.x', 20, 15);
  assert.deepEqual([world.seqs, world.of('gap')], [[10, 20], []]);
});

test('goaway: comes back when it was told to, counted from the goaway', async () => {
  const world = World.open(['A'], { A: 4 });
  world.say({ type: 'goaway', reason: 'draining', reconnect_after_ms: 8400 });
  await world.advance(3000);
  world.msg('A', 5, 4);
  await world.drop(1012, 'draining');
  assert.deepEqual(waiting(world), { state: 'waiting', code: 1012, reason: 'draining', delay_ms: 5400 });
  await world.advance(5399);
  assert.equal(world.sockets.length, 1);
  await world.advance(1);
  assert.equal(world.sockets.length, 2);
});

test('a refused upgrade: comes back when /admission says, with jitter', async () => {
  const header = (seconds) => new Headers(seconds ? { 'Retry-After': seconds } : {});
  for (const [admission, delay_ms, reason] of [
    [{ status: 503, json: async () => ({ reason: 'cpu', retry_after_ms: 7200 }), headers: header('8') }, 8100, 'cpu'],
    [{ status: 503, json: async () => { throw new Error('a proxy, not us'); }, headers: header('8') }, 9000, undefined],
    [{ status: 503, json: async () => ({}), headers: header() }, 500, ''],
    [{ status: 200, json: async () => ({}), headers: header() }, 500, ''],
    [null, 500, ''],
  ]) {
    const world = new World();
    if (admission) world.admission = () => admission;
    world.client.connect();
    await world.drop();
    assert.equal(world.asked, 'http://host/admission');
    assert.deepEqual(waiting(world), { state: 'waiting', code: 1006, reason, delay_ms });
    await world.advance(delay_ms);
    assert.equal(world.sockets.length, 2);
  }
});

test('the delay grows while connections do not last, and starts again when one did', async () => {
  const world = World.open(['A'], { A: 4 });
  const delays = [];
  for (let i = 0; i < 8; i += 1) {
    await world.drop();
    delays.push(waiting(world).delay_ms);
    await world.advance(delays.at(-1));
    world.welcome();
  }
  assert.deepEqual(delays, [500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
  await world.advance(5000);
  await world.drop();
  assert.equal(waiting(world).delay_ms, 500);
  world.chance = 0.25;
  await world.advance(1000);
  world.welcome();
  await world.drop();
  assert.equal(waiting(world).delay_ms, 500, 'a quarter of 2 s');
});

test('what the client did wrong is not repeated, everything else is', async () => {
  for (const [code, state] of [
    [1001, 'waiting'], [1012, 'waiting'], [1013, 'waiting'], [4008, 'waiting'], [4009, 'waiting'], [1000, 'waiting'],
    [1002, 'closed'], [1003, 'closed'], [1007, 'closed'], [1009, 'closed'], [4029, 'closed'], [4001, 'closed'], [4003, 'closed'],
  ]) {
    const world = World.open(['A'], { A: 4 });
    await world.drop(code);
    assert.equal(world.client.state, state, String(code));
    await world.advance(60_000);
    assert.equal(world.sockets.length > 1, state === 'waiting', String(code));
  }
});

test('a silent connection is asked, and given up when it does not answer', async () => {
  const world = World.open(['A'], { A: 4 });
  await world.advance(30_000);
  assert.deepEqual(world.take(), [{ type: 'heartbeat' }]);
  world.say({ type: 'pong', ts: 1 });
  await world.advance(30_000);
  assert.deepEqual(world.take(), [{ type: 'heartbeat' }]);
  await world.advance(10_000);
  assert.deepEqual(waiting(world), { state: 'waiting', code: 1006, reason: 'silent', delay_ms: 500 });
  await world.advance(500);
  assert.equal(world.sockets.length, 2);
  await world.advance(20_000);
  assert.equal(waiting(world).reason, 'no answer');
});

test('a refused name is told and forgotten, its neighbours are not', () => {
  const world = new World();
  world.client.subscribe(['A', 'b..']);
  world.client.connect();
  world.welcome();
  const refuse = (id) => world.say({ type: 'error', code: 'INVALID_CHANNEL', message: 'no', id });
  refuse(world.take()[0].id);
  const [a, b] = world.take();
  assert.deepEqual([a.data.channels, b.data.channels], [['A'], ['b..']]);
  world.say({ type: 'subscription_ack', id: a.id, subscribed: ['A'], count: 1, epoch: 'e1', durable: true, positions: { A: 4 } });
  refuse(b.id);
  assert.deepEqual(world.of('error'), [{ code: 'INVALID_CHANNEL', message: 'no', names: ['b..'] }]);
  assert.deepEqual(world.client.subscriptions.map((s) => s.name), ['A']);
});

test('what was given up meanwhile is not asked again after a refusal', () => {
  const world = new World();
  world.client.subscribe(['A', 'B', 'b..']);
  world.client.connect();
  world.welcome();
  const [{ id }] = world.take();
  world.client.unsubscribe('B');
  assert.equal(world.take()[0].type, 'unsubscribe');
  world.say({ type: 'error', code: 'INVALID_CHANNEL', message: 'no', id });
  assert.deepEqual(world.take().map((r) => r.data.channels), [['A'], ['b..']]);
});

test('a request that was dropped unread is asked again on a new connection', async () => {
  const world = new World();
  world.client.subscribe('A');
  world.client.connect();
  world.welcome();
  world.say({ type: 'error', code: 'RATE_LIMIT_EXCEEDED', message: 'slow down' });
  await world.advance(1000);
  world.welcome();
  assert.deepEqual(world.ack({ A: 4 }).channels, ['A']);
});

test('unsubscribed names are not delivered, nor subscribed again', async () => {
  const world = World.open(['A', 'B'], { A: 4, B: 4 });
  world.client.unsubscribe('A');
  const [request] = world.take();
  assert.deepEqual([request.type, request.data], ['unsubscribe', { channels: ['A'] }]);
  world.msg('A', 5, 4);
  world.say({ type: 'unsubscription_ack', id: request.id, unsubscribed: ['A'], count: 1 });
  world.client.subscribe('A');
  world.ack({ A: 6 });
  world.msg('A', 7, 6);
  assert.deepEqual(world.seqs, [7]);
  world.client.unsubscribe('B');
  await world.drop();
  await world.advance(1000);
  world.welcome();
  assert.deepEqual(world.take()[0].data.channels, ['A']);
});

test('many names fit into requests of the size that the server takes', () => {
  const world = new World();
  world.client.subscribe(Array.from({ length: 256 }, (_, i) => String(i).padStart(128, 'x')));
  world.client.connect();
  world.welcome();
  const requests = world.take();
  assert.equal(requests.flatMap((r) => r.data.channels).length, 256);
  for (const request of requests) assert.ok(JSON.stringify(request).length < 8 * 1024);
});

test('close is for good, until connect, which resumes', async () => {
  const world = World.open(['A'], { A: 4 });
  world.client.close();
  assert.deepEqual([world.client.state, world.socket.readyState], ['closed', 3]);
  await world.advance(120_000);
  assert.equal(world.sockets.length, 1);
  world.client.connect();
  world.welcome();
  assert.deepEqual(world.take()[0].data.resume, { epoch: 'e1', positions: { A: 4 } });
});

test('close while it waits, or while it asks for admission, ends the waiting', async () => {
  for (const settle of [true, false]) {
    const world = new World();
    world.client.connect();
    world.socket.onclose({ code: 1006, reason: '' });
    if (settle) await world.settle();
    world.client.close();
    await world.settle();
    await world.advance(120_000);
    assert.deepEqual([world.sockets.length, world.client.state], [1, 'closed']);
  }
});

test('a handler that fails costs no message, and is reported', () => {
  const world = World.open(['A'], { A: 4 });
  const end = world.client.on('message', () => { throw new Error('mine'); });
  world.msg('A', 5, 4);
  end();
  world.msg('A', 6, 5);
  assert.deepEqual([world.seqs, world.failures.map((e) => e.message)], [[5, 6], ['mine']]);
});

// Authentication.

/** A client with a token, welcomed, and the auth message that it sent. */
async function shown(token) {
  const world = new World({ token });
  world.client.subscribe('A');
  world.client.connect();
  world.welcome();
  await world.settle();
  const sent = world.take();
  return { world, auth: sent[0], sent };
}

const ack = (world, auth, seconds) => world.say({ type: 'auth_ack', id: auth.id, expires_at: world.now / 1000 + seconds });

test('a token is the first message, and nothing is asked before it is accepted', async () => {
  const { world, auth, sent } = await shown('T');
  assert.deepEqual(sent, [{ type: 'auth', id: auth.id, data: { token: 'T' } }]);
  assert.equal(world.client.state, 'connecting');
  world.client.subscribe('B');
  assert.deepEqual(world.take(), []);
  ack(world, auth, 60);
  assert.equal(world.client.state, 'open');
  assert.deepEqual(world.of('authenticated'), [{ expires_at: world.now / 1000 + 60 }]);
  assert.deepEqual(world.take().map((m) => m.data.channels), [['A', 'B']]);
  // A token that stays the same is not shown again.
  await world.advance(59_000);
  assert.deepEqual(world.take().filter((m) => m.type !== 'heartbeat'), []);
});

test('a function gives a token for each connect, and a new one before the old one expires', async () => {
  let count = 0;
  const { world, auth } = await shown(async () => `T${++count}`);
  assert.equal(auth.data.token, 'T1');
  ack(world, auth, 20);
  world.ack({ A: 4 });
  await world.advance(15_999);
  assert.deepEqual(world.take(), []);
  await world.advance(1);
  const [renewed] = world.take();
  assert.deepEqual([renewed.type, renewed.data.token], ['auth', 'T2']);
  ack(world, renewed, 1000);
  assert.equal(world.of('state').filter((s) => s.state === 'open').length, 1);
  world.msg('A', 5, 4);
  assert.deepEqual(world.seqs, [5]);
  await world.drop();
  await world.advance(1000);
  world.welcome();
  await world.settle();
  const [again] = world.take();
  assert.equal(again.data.token, 'T3');
  ack(world, again, 1000);
  assert.deepEqual(world.ack({ A: 5 }, { recovered: ['A'] }).resume.positions, { A: { seq: 5, ts: 50 } });
});

test('closed with 4001, it comes back with a new token, and stays away with the same one', async () => {
  for (const [token, state] of [['T', 'closed'], [() => 'T', 'waiting']]) {
    const { world, auth } = await shown(token);
    world.say({ type: 'error', id: auth.id, code: 'UNAUTHORIZED', message: 'no' });
    assert.deepEqual(world.of('error'), [{ code: 'UNAUTHORIZED', message: 'no', names: [] }]);
    await world.drop(4001, 'unauthorized');
    assert.deepEqual([world.client.state, world.of('state').at(-1).reason], [state, 'unauthorized']);
  }
  const { world, auth } = await shown(() => 'T');
  ack(world, auth, 60);
  await world.drop(4003, 'forbidden');
  assert.equal(world.client.state, 'closed');
});

test('without a token to show it waits, and tries again', async () => {
  let broken = true;
  const { world, sent } = await shown(() => { if (broken) throw new Error('away'); return 'T'; });
  assert.deepEqual(sent, []);
  assert.deepEqual([world.failures.length, world.client.state, world.socket.readyState], [1, 'waiting', 3]);
  broken = false;
  await world.advance(1000);
  world.welcome();
  await world.settle();
  assert.equal(world.take()[0].data.token, 'T');
});

test('while the old token lives a new one that fails is asked for again', async () => {
  const answers = ['T1', null, 'T2', 'T3'];
  const { world, auth } = await shown(() => answers.shift());
  ack(world, auth, 25);
  world.ack({ A: 4 });
  await world.advance(20_000);
  assert.deepEqual(world.take(), []);
  // 80 % of the 5 s that are left, then the least that it waits.
  await world.advance(4_000);
  const [refused] = world.take();
  assert.equal(refused.data.token, 'T2');
  world.say({ type: 'error', id: refused.id, code: 'UNAUTHORIZED', message: 'no' });
  assert.equal(world.client.state, 'open');
  await world.advance(999);
  assert.deepEqual(world.take(), []);
  await world.advance(1);
  assert.deepEqual(world.take().map((m) => m.data.token), ['T3']);
});

test('a token that comes when its connection is gone is not shown to the next', async () => {
  const given = [];
  const { world } = await shown(() => new Promise((resolve) => given.push(resolve)));
  await world.drop();
  await world.advance(1000);
  world.welcome();
  given[0]('late');
  await world.settle();
  assert.deepEqual(world.take(), []);
  given[1]('T');
  await world.settle();
  assert.deepEqual(world.take().map((m) => m.data.token), ['T']);
});

test('what a new token does not allow is no longer subscribed, now or after a resume', async () => {
  const world = World.open(['A', 'B', 'C'], { A: 1, B: 1, C: 1 });
  world.say({ type: 'unsubscription_ack', unsubscribed: ['A'], count: 2, reason: 'forbidden' });
  assert.deepEqual(world.of('unsubscribed'), [{ names: ['A'], reason: 'forbidden' }]);
  await world.drop();
  await world.advance(1000);
  world.welcome();
  const unrecovered = [{ channel: 'B', reason: 'forbidden' }];
  world.ack({ C: 1 }, { recovered: ['C'], unrecovered });
  assert.deepEqual(world.of('subscribed').at(-1).unrecovered, unrecovered);
  assert.deepEqual(world.client.subscriptions.map((s) => [s.name, s.active]), [['C', true]]);
});

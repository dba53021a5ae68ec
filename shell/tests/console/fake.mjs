// A world for the client module: a clock that a test turns by hand, sockets whose other side is the
// test, and an /admission that answers what the test says.

import assert from 'node:assert/strict';
import { OdinClient } from '../../src/console/client.js';

export class World {
  now = 1_000_000;
  chance = 0.5;
  sockets = [];
  events = [];
  failures = [];
  admission = () => { throw new Error('unreachable'); };
  #timers = [];

  constructor(options = {}) {
    const world = this;
    class FakeSocket {
      readyState = 0;
      sent = [];
      constructor(url, protocol) {
        Object.assign(this, { url, protocol });
        world.sockets.push(this);
      }
      send(text) { this.sent.push(JSON.parse(text)); }
      close() { this.readyState = 3; }
    }
    this.client = new OdinClient('ws://host/ws', {
      ...options,
      WebSocket: FakeSocket,
      now: () => this.now,
      random: () => this.chance,
      report: (error) => this.failures.push(error),
      setTimeout: (run, ms) => {
        const timer = { at: this.now + ms, run };
        this.#timers.push(timer);
        return timer;
      },
      clearTimeout: (timer) => { this.#timers = this.#timers.filter((other) => other !== timer); },
      fetch: async (url) => {
        this.asked = url;
        return this.admission();
      },
    });
    const types = ['state', 'subscribed', 'message', 'replayed', 'lost', 'reset', 'gap', 'error', 'goaway', 'unsubscribed',
      'authenticated'];
    for (const type of types) this.client.on(type, (detail) => this.events.push([type, detail]));
  }

  /** The details of all events of a type so far. */
  of(type) { return this.events.filter(([t]) => t === type).map(([, detail]) => detail); }

  /** The seqs of the messages so far. */
  get seqs() { return this.of('message').map((m) => m.seq); }

  get socket() { return this.sockets.at(-1); }

  /** What the client sent on the present socket since the last call. */
  take() { return this.socket.sent.splice(0); }

  /** Lets promises settle. */
  async settle() { for (let i = 0; i < 10; i += 1) await null; }

  /** Turns the clock, and runs what is due on the way. */
  async advance(ms) {
    const end = this.now + ms;
    for (;;) {
      const next = this.#timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#timers = this.#timers.filter((t) => t !== next);
      this.now = Math.max(this.now, next.at);
      next.run();
      await this.settle();
    }
    this.now = end;
  }

  say(...messages) { for (const m of messages) this.socket.onmessage({ data: JSON.stringify(m) }); }

  welcome() {
    this.socket.readyState = 1;
    this.say({ type: 'welcome', session: 's', version: 'v', epoch: 'e1', ping_ms: 25000, max_channels: 256 });
  }

  /** Answers the one subscribe that was sent with these positions, and gives its data. */
  ack(positions, { epoch = 'e1', recovered, unrecovered } = {}) {
    const [request, ...more] = this.take();
    assert.deepEqual(more, [], 'one request');
    assert.equal(request.type, 'subscribe');
    const subscribed = request.data.channels;
    this.say({ type: 'subscription_ack', id: request.id, subscribed, count: 1, epoch, durable: true, positions, recovered, unrecovered });
    return request.data;
  }

  msg(channel, seq, prev) { this.say({ type: 'message', channel, seq, prev, ts: seq * 10, data: null }); }

  async drop(code = 1006, reason = '') {
    this.socket.readyState = 3;
    this.socket.onclose({ code, reason });
    await this.settle();
  }

  /** A client that subscribed this, with these positions. */
  static open(names, positions, options) {
    const world = new World();
    world.client.subscribe(names, options);
    world.client.connect();
    world.welcome();
    world.ack(positions);
    return world;
  }
}

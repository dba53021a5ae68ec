// The browser client of Odin WS: docs/CLIENT.md says how to use it, docs/PROTOCOL.md what it speaks.
//
//   import { OdinClient } from 'https://odin.example.com/client.js';
//   const client = new OdinClient('wss://odin.example.com/ws');
//   client.on('message', (m) => console.log(m.channel, m.seq, m.data));
//   client.subscribe(['BTC.trade', 'ETH.*']);
//   client.connect();
//
// It keeps for each subscription what it has, checks that nothing is missing, and after any disconnect
// comes back, not all clients at once, and resumes. What cannot be resumed is told, never hidden.

/** Close codes after which coming back would change nothing; 4001 is one unless there may be a new token. */
const FINAL = new Set([1002, 1003, 1007, 1009, 4001, 4003, 4029]);
/** A new token is asked for when this part of the old one's life is over, but not sooner than after EARLIEST ms. */
const [RENEW, EARLIEST, TIMER_MAX] = [0.8, 1000, 2 ** 31 - 1];
/** Names per request, so that it stays within 16 KiB with the longest names and their positions. */
const NAMES_MAX = 24;
/** Notices of loss that are kept apart per subscription. */
const LOST_MAX = 64;
/** Reconnecting: the first delay is below FIRST, doubling to LIMIT while connections do not last STEADY. */
const [FIRST, LIMIT, STEADY] = [1000, 30000, 5000];
/** A connection is asked for a sign of life after SILENT, and given up PATIENCE later; all in ms. */
const [WATCH, SILENT, PATIENCE, CONNECT] = [5000, 30000, 10000, 20000];

export const isPattern = (name) => name.split('.').some((t) => t === '*' || t === '>');

/** Whether a name or pattern covers a channel. */
export function covers(name, channel) {
  const [want, have] = [name.split('.'), channel.split('.')];
  const open = want[want.length - 1] === '>';
  return (open ? have.length >= want.length : have.length === want.length)
    && want.every((t, i) => t === '*' || (open && i === want.length - 1) || t === have[i]);
}

export class OdinClient {
  #url; #env; #handlers = new Map(); #state = 'closed'; #id = 0;
  #wanted = new Map(); // name -> subscription that the application wants
  #active = new Map(); // name -> subscription that the server has acknowledged
  #asked = new Map();  // request id -> subscriptions that it is about
  #routes = new Map(); // channel -> subscription, as found
  #socket = null; #welcomed = null; #heard = 0; #probed = null; #watch = null;
  #attempt = 0; #comeAt = null; #timer = null; #round = 0;
  #token; #auth = null; #renewal = null; #expires = 0; #hello = null;

  /**
   * `token` is a token, or a function that gives one (or a promise of one): it is called at each connect,
   * and again before the token expires. The rest replaces WebSocket, fetch, the clock, the timers and chance,
   * for tests and other hosts.
   */
  constructor(url, { token = null, ...env } = {}) {
    this.#token = token;
    this.#url = url ?? location.origin.replace(/^http/, 'ws') + '/ws';
    this.#env = {
      WebSocket: globalThis.WebSocket, fetch: (...a) => fetch(...a), now: () => Date.now(), random: Math.random,
      setTimeout: (f, ms) => setTimeout(f, ms), clearTimeout: (t) => clearTimeout(t),
      report: (error) => queueMicrotask(() => { throw error; }), ...env,
    };
  }

  /** 'connecting', 'open', 'waiting' (to come back) or 'closed' (for good). */
  get state() { return this.#state; }

  /** What is subscribed: name, whether the server has acknowledged it, and the last seq. */
  get subscriptions() {
    return [...this.#wanted.values()].map((s) => ({
      name: s.name, mode: s.mode, active: this.#active.get(s.name) === s, epoch: s.epoch, last: s.last,
    }));
  }

  /** Calls `handler` for each event of this type; returns what ends that. */
  on(type, handler) {
    const all = this.#handlers.get(type) ?? new Set();
    this.#handlers.set(type, all.add(handler));
    return () => all.delete(handler);
  }

  connect() { if (!this.#socket && this.#timer === null) this.#open(); }

  /** Ends for good. The positions are kept: `connect` resumes. */
  close() {
    this.#leave();
    this.#become('closed', { code: 1000, reason: 'client' });
  }

  /** Drops the connection as a broken network would, and comes back. */
  reconnect() { if (this.#socket) this.#closed(1006, 'client'); }

  /** Names and patterns; they are subscribed now and after every reconnect. */
  subscribe(names, { mode = 'lossless', snapshot = false, on_lost = 'close' } = {}) {
    const list = [names].flat();
    for (const name of list) if (this.#wanted.has(name)) throw new Error(`${name} is subscribed already`);
    const subs = list.map((name) => ({
      name, mode, snapshot, on_lost, epoch: null, base: null, last: null, ts: null, chain: new Map(), lost: [], notices: 0,
    }));
    for (const s of subs) this.#wanted.set(s.name, s);
    if (this.#state === 'open') this.#ask(subs);
  }

  unsubscribe(names) {
    const list = [names].flat().filter((name) => this.#wanted.delete(name));
    if (list.length && this.#state === 'open') this.#send({ type: 'unsubscribe', id: ++this.#id, data: { channels: list } });
  }

  /** Asks for messages again: { channel, from | since, to }. They come as 'replayed' events. */
  replay(data) { this.#send({ type: 'replay', id: ++this.#id, data }); }

  // The connection.

  #open() {
    this.#become('connecting');
    const socket = new this.#env.WebSocket(this.#url, 'odin.v1.json');
    [this.#socket, this.#welcomed, this.#comeAt, this.#probed] = [socket, null, null, null];
    this.#heard = this.#env.now();
    const current = (f) => (event) => { if (socket === this.#socket) f(event); };
    socket.onmessage = current(({ data }) => {
      this.#heard = this.#env.now();
      this.#receive(JSON.parse(data));
    });
    // Of an error nothing can be learned but that a close follows.
    socket.onclose = current(({ code, reason }) => this.#closed(code, reason));
    this.#look();
  }

  /** A browser does not show pings, and a dead network says nothing: asks, and gives up. */
  #look() {
    this.#watch = this.#env.setTimeout(() => {
      const now = this.#env.now();
      if (this.#welcomed === null && now - this.#heard >= CONNECT) return this.#closed(1006, 'no answer');
      if (this.#probed !== null && this.#heard >= this.#probed) this.#probed = null;
      if (this.#probed !== null && now - this.#probed >= PATIENCE) return this.#closed(1006, 'silent');
      if (this.#welcomed !== null && this.#probed === null && now - this.#heard >= SILENT) {
        this.#probed = now;
        this.#send({ type: 'heartbeat' });
      }
      this.#look();
    }, WATCH);
  }

  #send(message) { if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(message)); }

  /** Forgets the socket and all that was agreed over it. */
  #leave() {
    const socket = this.#socket;
    this.#socket = null;
    this.#round += 1;
    this.#env.clearTimeout(this.#timer);
    this.#env.clearTimeout(this.#watch);
    this.#env.clearTimeout(this.#renewal);
    [this.#timer, this.#auth, this.#renewal] = [null, null, null];
    for (const map of [this.#active, this.#asked, this.#routes]) map.clear();
    if (socket) socket.close();
  }

  /** The connection is over; one that is given up is not waited for, as a dead network brings no close. */
  async #closed(code, reason) {
    const [welcomed, comeAt, now] = [this.#welcomed, this.#comeAt, this.#env.now()];
    this.#leave();
    const renewable = code === 4001 && typeof this.#token === 'function' && welcomed !== null;
    if (FINAL.has(code) && !renewable) return this.#become('closed', { code, reason });
    if (welcomed !== null && now - welcomed >= STEADY) this.#attempt = 0;
    if (comeAt !== null) return this.#wait(Math.max(0, comeAt - now), { code, reason });
    const delay = this.#env.random() * Math.min(LIMIT, FIRST * 2 ** this.#attempt);
    this.#attempt += 1;
    if (welcomed !== null) return this.#wait(delay, { code, reason });
    // A browser hides why an upgrade failed; the server tells when to come to those who ask.
    this.#become('waiting', { code, reason });
    const round = this.#round;
    const refusal = await this.#refusal();
    if (round !== this.#round) return;
    if (refusal) this.#wait(refusal.ms * (1 + this.#env.random() / 4), { code, reason: refusal.reason });
    else this.#wait(delay, { code, reason });
  }

  /** When to come back and why, if the server says that it lets nobody in. */
  async #refusal() {
    try {
      const url = this.#url.replace(/^ws/, 'http').replace(/\/ws([?#].*)?$/, '/admission');
      const answer = await this.#env.fetch(url, { cache: 'no-store', signal: AbortSignal.timeout(5000) });
      if (answer.status !== 503 && answer.status !== 429) return null;
      const { reason, retry_after_ms } = await answer.json().catch(() => ({}));
      const ms = retry_after_ms ?? Number(answer.headers.get('Retry-After')) * 1000;
      return ms > 0 ? { ms, reason } : null;
    } catch {
      return null; // It is away altogether.
    }
  }

  #wait(delay, why) {
    this.#timer = this.#env.setTimeout(() => { this.#timer = null; this.#open(); }, delay);
    this.#become('waiting', { ...why, delay_ms: Math.round(delay) });
  }

  // Who this is. The token goes into the first message, where nothing on the way logs it.

  /** Shows a token, a new one if there is a function for it. */
  async #authenticate() {
    const round = this.#round;
    let token = this.#token;
    try {
      if (typeof token === 'function') token = await token();
    } catch (error) {
      this.#env.report(error);
      token = null;
    }
    if (round !== this.#round) return;
    if (!token) return this.#state === 'open' ? this.#renew() : this.#closed(1006, 'no token');
    this.#auth = ++this.#id;
    this.#send({ type: 'auth', id: this.#auth, data: { token } });
  }

  #authenticated(a) {
    this.#auth = null;
    if (this.#state !== 'open') this.#opened();
    this.#expires = a.expires_at * 1000;
    this.#emit('authenticated', { expires_at: a.expires_at });
    this.#renew();
  }

  /** Asks for a new token before the one in force expires; again and again, until there is one. */
  #renew() {
    if (typeof this.#token !== 'function') return;
    const left = this.#expires - this.#env.now();
    const delay = Math.min(Math.max(left * RENEW, EARLIEST), TIMER_MAX);
    this.#env.clearTimeout(this.#renewal);
    this.#renewal = this.#env.setTimeout(() => this.#authenticate(), delay);
  }

  #opened() {
    this.#become('open', this.#hello);
    this.#ask([...this.#wanted.values()]);
  }

  // What is asked. A position is the last seq of a subscription, checked by its time where that is known.

  #ask(subs) {
    const groups = [];
    for (const s of subs) {
      const from = s.last === null ? null : s.epoch;
      const key = JSON.stringify([s.mode, s.snapshot, s.on_lost, from]);
      let group = groups.find((g) => g.key === key && g.subs.length < NAMES_MAX);
      if (!group) groups.push(group = { key, from, subs: [] });
      group.subs.push(s);
    }
    for (const { subs, from } of groups) {
      const [{ mode, snapshot, on_lost }] = subs;
      const data = { channels: subs.map((s) => s.name), mode, snapshot, on_lost };
      const position = (s) => (s.ts === null ? s.last : { seq: s.last, ts: s.ts });
      const positions = () => Object.fromEntries(subs.map((s) => [s.name, position(s)]));
      if (from !== null) data.resume = { epoch: from, positions: positions() };
      this.#asked.set(++this.#id, subs);
      this.#send({ type: 'subscribe', id: this.#id, data });
    }
  }

  // What is received.

  #receive(m) {
    switch (m.type) {
      case 'welcome':
        this.#welcomed = this.#env.now();
        this.#hello = { session: m.session, version: m.version };
        return this.#token === null ? this.#opened() : this.#authenticate();
      case 'auth_ack': return this.#authenticated(m);
      case 'message': return this.#message(m);
      case 'subscription_ack': return this.#acked(m);
      case 'unsubscription_ack': return this.#ended(m);
      case 'lost': return this.#lost(m);
      case 'reset': return this.#reset(m);
      case 'error': return this.#refused(m);
      case 'goaway':
        this.#comeAt = this.#env.now() + m.reconnect_after_ms;
        return this.#emit('goaway', m);
      case 'replay_complete': case 'replay_incomplete': return this.#emit('replay_end', m);
    }
  }

  #acked(a) {
    for (const s of this.#asked.get(a.id) ?? []) {
      const recovered = a.recovered?.includes(s.name);
      const unrecovered = a.unrecovered?.find((u) => u.channel === s.name);
      if (unrecovered?.reason === 'forbidden') {
        // It is not subscribed: the token that resumed it allows less than the one before.
        if (this.#wanted.get(s.name) === s) this.#wanted.delete(s.name);
        continue;
      }
      // What is recovered goes on: its chain, and the ranges that it knows to be lost.
      if (!recovered || s.epoch !== a.epoch) {
        const position = a.positions[s.name];
        const begun = { epoch: a.epoch, base: position, last: position, ts: null, chain: new Map(), lost: [] };
        Object.assign(s, begun);
        const continued = recovered || (unrecovered?.reason === 'too_old' && s.on_lost === 'continue');
        if (!isPattern(s.name)) {
          if (position !== null) s.chain.set(s.name, { seq: position, notices: s.notices });
        } else if (s.snapshot && !continued && position !== null) s.last = 0;
      }
      this.#active.set(s.name, s);
    }
    this.#asked.delete(a.id);
    this.#routes.clear();
    const { subscribed: names, epoch, durable, recovered = [], unrecovered = [] } = a;
    this.#emit('subscribed', { names, epoch, durable, recovered, unrecovered });
  }

  #cover(channel) {
    let s = this.#routes.get(channel);
    if (!s) {
      s = this.#active.get(channel) ?? [...this.#active.values()].find((other) => covers(other.name, channel));
      if (s) this.#routes.set(channel, s);
    }
    return s;
  }

  #message(m) {
    const s = this.#cover(m.channel);
    if (!s) return;
    const wanted = this.#wanted.get(s.name) === s;
    if (s.last !== null && m.seq <= s.last) return wanted && this.#emit('replayed', m);
    const had = s.chain.get(m.channel);
    // A notice excuses the first message of each channel after it, and no later one.
    const excused = (l) => l.notice > (had?.notices ?? 0) && m.prev >= l.from && m.prev <= l.to;
    // Lower than what we have: this server began when the message that we have was gone, and knows of none after it.
    const last = had?.seq ?? s.base;
    const follows = last === null || m.prev <= last;
    if (s.mode !== 'latest' && m.prev !== null && !follows && !s.lost.some(excused)) {
      this.#emit('gap', { channel: m.channel, seq: m.seq, prev: m.prev, had: last });
      return this.#closed(1006, 'gap');
    }
    s.chain.set(m.channel, { seq: m.seq, notices: s.notices });
    [s.last, s.ts] = [m.seq, m.ts];
    if (wanted) this.#emit('message', m);
  }

  #lost(l) {
    const about = l.channel === undefined ? [...this.#active.values()] : [this.#active.get(l.channel) ?? this.#cover(l.channel)];
    for (const s of about) {
      if (!s) continue;
      s.lost.push({ notice: ++s.notices, from: l.from, to: l.until ?? l.to ?? Infinity });
      if (s.lost.length > LOST_MAX) {
        const [a, b] = s.lost.splice(0, 2);
        s.lost.unshift({ notice: b.notice, from: Math.min(a.from, b.from), to: Math.max(a.to, b.to) });
      }
      if (l.to !== null && l.to > (s.last ?? -1)) [s.last, s.ts] = [l.to, null];
    }
    this.#emit('lost', l);
  }

  #reset(r) {
    for (const s of this.#active.values()) {
      Object.assign(s, { epoch: r.epoch, base: 0, last: 0, ts: null, chain: new Map(), lost: [] });
    }
    this.#emit('reset', r);
  }

  #ended(u) {
    for (const name of u.unsubscribed) {
      const s = this.#active.get(name);
      this.#active.delete(name);
      // The server may take a subscription away by itself.
      if (u.reason && this.#wanted.get(name) === s) this.#wanted.delete(name);
    }
    this.#routes.clear();
    this.#emit('unsubscribed', { names: u.unsubscribed, reason: u.reason });
  }

  #refused(e) {
    if (e.id !== undefined && e.id === this.#auth) {
      this.#auth = null;
      if (this.#state === 'open') this.#renew();
      return this.#emit('error', { code: e.code, message: e.message, names: [] });
    }
    const asked = this.#asked.get(e.id) ?? [];
    this.#asked.delete(e.id);
    const subs = asked.filter((s) => this.#wanted.get(s.name) === s);
    // A request is refused whole: each name by itself shows which of them it was.
    if (asked.length > 1) return subs.forEach((s) => this.#ask([s]));
    for (const s of subs) this.#wanted.delete(s.name);
    this.#emit('error', { code: e.code, message: e.message, names: subs.map((s) => s.name) });
    // A request was dropped unread: which one is not known, so everything is asked again.
    if (e.code === 'RATE_LIMIT_EXCEEDED' && this.#asked.size) this.#closed(1006, 'rate');
  }

  #become(state, detail = {}) {
    this.#state = state;
    this.#emit('state', { state, ...detail });
  }

  #emit(type, detail) {
    for (const handler of this.#handlers.get(type) ?? []) {
      // A handler that fails must not cost the messages behind it.
      try { handler(detail); } catch (error) { this.#env.report(error); }
    }
  }
}

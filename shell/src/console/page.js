// The live page: /stats as charts, and a console that uses the client module.
import { OdinClient } from '/client.js';

const POINTS = 120;
const ROWS = 300;
const $ = (id) => document.getElementById(id);
const make = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const whole = (n) => Math.round(n).toLocaleString('en');
const some = (n, what) => `${whole(n)} ${what}${n === 1 ? '' : 's'}`;
const short = (n) => n.toLocaleString('en', { notation: 'compact', maximumSignificantDigits: 3 });
const bytes = (n) => short(n) + 'B';
const time = (ms) => (ms === 0 ? '0 ms' : ms >= 1000 ? (ms / 1000).toFixed(1) + ' s' : ms.toFixed(ms < 10 ? 2 : 0) + ' ms');
const span = (ms) => {
  const s = Math.floor(ms / 1000);
  const [d, h, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  return d ? `${d} d ${h} h` : h ? `${h} h ${m} min` : m ? `${m} min ${s % 60} s` : `${s} s`;
};

// Charts.

/** The value below which this share of the observations lies, in the unit of the bounds. */
function quantile(bounds, counts, share) {
  let left = share * counts.reduce((a, b) => a + b, 0);
  if (left === 0) return null;
  for (const [i, count] of counts.entries()) {
    const low = i ? bounds[i - 1] : 0;
    if (left <= count) return low + ((bounds[i] ?? low) - low) * (left / count);
    left -= count;
  }
  return bounds.at(-1);
}

const CHARTS = [
  { name: 'Connections', show: whole, of: (s) => [s.connections], extra: (s) => (s.connections_max ? `of ${whole(s.connections_max)}` : '') },
  { name: 'Messages out per second', show: short, of: (s, r) => [r('sent')], extra: (s) => some(s.subscriptions, 'subscription') },
  { name: 'Messages in per second', show: short, of: (s, r) => [r('source_received')], extra: (s) => some(s.channels, 'channel') },
  { name: 'Bytes out per second', show: bytes, of: (s, r) => [r('bytes_sent')], extra: (s) => `log ${bytes(s.log_bytes)}` },
  { name: 'Delivery time', show: time, of: (s, r, d) => [0.5, 0.99].map((q) => d && quantile(s.delivery.bounds_ms, d, q)), keys: ['50 %', '99 %'] },
  { name: 'Worst lag', show: time, of: (s) => [s.lag.ms], extra: (s) => some(s.lag.messages, 'message') },
].map((chart) => {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', `0 0 ${POINTS - 1} 40`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('role', 'img');
  const paths = ['area', '', 'second'].map((kind) => {
    const path = document.createElementNS(svg.namespaceURI, 'path');
    path.setAttribute('class', kind);
    return svg.appendChild(path);
  });
  const [value, note, top] = [make('strong', { textContent: '–' }), make('span', { className: 'quiet' }), make('span')];
  const keys = (chart.keys ?? []).map((text, i) => make('span', { className: i ? 'key second' : 'key', textContent: text }));
  $('charts').append(make('figure', {}, make('figcaption', {}, make('span', {}, chart.name, ...keys), top), make('div', {}, value, note), svg));
  return { ...chart, svg, paths, value, note, top, history: [] };
});

function draw(chart, values) {
  chart.history.push(values);
  if (chart.history.length > POINTS) chart.history.shift();
  const max = Math.max(...chart.history.flat(), 0);
  const x = (i) => i + POINTS - chart.history.length;
  // A gap of unknown values parts the line, and the area below it.
  const line = (nth, area) => {
    const parts = [];
    let open = false;
    chart.history.forEach((point, i) => {
      const y = point[nth];
      const known = y != null;
      if (known && !open) parts.push([]);
      if (known) parts.at(-1).push(`${x(i)} ${(39 - (y / (max || 1)) * 37).toFixed(1)}`);
      open = known;
    });
    const down = (part) => (area ? `L${part.at(-1).split(' ')[0]} 40L${part[0].split(' ')[0]} 40Z` : '');
    return parts.map((part) => `M${part.join('L')}${down(part)}`).join('');
  };
  chart.paths[0].setAttribute('d', chart.keys ? '' : line(0, true));
  chart.paths[1].setAttribute('d', line(0));
  chart.paths[2].setAttribute('d', line(1));
  const known = values.filter((v) => v != null);
  chart.value.textContent = known.length ? known.map(chart.show).join(' / ') : '–';
  chart.top.textContent = max ? `max ${chart.show(max)}` : '';
  chart.svg.setAttribute('aria-label', `${chart.name}: now ${chart.value.textContent}, ${chart.top.textContent}`);
}

// The server.

let before = null;

function show(s) {
  // A server that started again counts from 0.
  const last = before && before.uptime_ms < s.uptime_ms ? before : null;
  before = s;
  const rate = (of) => last && ((s.totals[of] - last.totals[of]) * 1000) / (s.uptime_ms - last.uptime_ms);
  const delivered = last && s.delivery.buckets.map((n, i) => n - last.delivery.buckets[i]);
  for (const chart of CHARTS) {
    draw(chart, chart.of(s, rate, delivered));
    chart.note.textContent = chart.extra?.(s) ?? '';
  }
  const { status, errors, warnings } = s.health;
  pill($('status'), status, { healthy: 'good', degraded: 'warn' }[status] ?? 'bad');
  $('uptime').textContent = `version ${s.version}, up ${span(s.uptime_ms)}`;
  problems([...errors.map((text) => ['bad', text]), ...warnings.map((text) => ['warn', text])]);
  const t = s.totals;
  $('totals').textContent = `Since the start: ${some(t.opened, 'connection')}, ${whole(t.refused)} refused, ${whole(t.slow)} closed as too slow, `
    + `${whole(t.recovered)} positions resumed, ${whole(t.unrecovered)} not, ${whole(t.lost)} messages announced as lost.`;
  const rows = s.worst.map((w, i) => [i + 1, time(w.ms), whole(w.messages), w.subscriptions, w.blocked ? 'full' : 'open']);
  const cells = (row) => make('tr', {}, ...row.map((textContent) => make('td', { textContent })));
  const none = make('tr', {}, make('td', { colSpan: 5, className: 'none', textContent: 'Nobody is behind.' }));
  $('worst').replaceChildren(...(rows.length ? rows.map(cells) : [none]));
}

function pill(element, text, kind) {
  element.textContent = text;
  element.className = `pill ${kind}`;
}

function problems(list) {
  $('problems').replaceChildren(...list.map(([className, textContent]) => make('li', { className, textContent })));
}

async function poll() {
  if (!document.hidden) {
    try {
      const answer = await fetch('/stats', { cache: 'no-store', signal: AbortSignal.timeout(5000) });
      show(await answer.json());
    } catch {
      pill($('status'), 'unreachable', 'bad');
      for (const chart of CHARTS) draw(chart, chart.keys ? [null, null] : [null]);
    }
  }
  setTimeout(poll, 1000);
}
poll();

// The console.

// A token may come with the page's address, behind the # that no server sees; it does not stay there.
const token = new URLSearchParams(location.hash.slice(1)).get('token');
if (token) history.replaceState(null, '', location.pathname);
const client = new OdinClient(undefined, { token });
const counts = { messages: 0, resumed: 0, lost: 0, gaps: 0 };
let rows = [];
let paused = false;
let drawing = false;

function log(kind, ...texts) {
  if (paused) return;
  const at = new Date();
  const clock = at.toLocaleTimeString('en-GB') + '.' + String(at.getMilliseconds()).padStart(3, '0');
  rows.push([kind, clock, ...texts]);
  // A hidden page draws nothing: what would not be seen any more is not kept.
  if (rows.length > ROWS) rows.shift();
  if (!drawing) requestAnimationFrame(drawLog);
  drawing = true;
}

function drawLog() {
  drawing = false;
  const list = $('log');
  const follow = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(...rows.map(([className, clock, ...texts]) =>
    make('li', { className }, make('time', { textContent: clock }), ...texts.map((textContent) => make('span', { textContent })))));
  rows = [];
  while (list.childElementCount > ROWS) list.firstChild.remove();
  if (follow) list.scrollTop = list.scrollHeight;
  const c = counts;
  $('counts').textContent = `${some(c.messages, 'message')}, ${c.resumed} resumed, ${c.lost} lost, ${some(c.gaps, 'gap')}`;
}

function listSubscriptions() {
  const items = client.subscriptions.map(({ name, mode, active, last }) => {
    const item = $('subscriptions').querySelector(`[data-name="${CSS.escape(name)}"]`) ?? make('li', {},
      make('code', { textContent: name }), make('span', { className: 'quiet' }),
      make('button', { type: 'button', textContent: '✕', ariaLabel: `Unsubscribe ${name}`, onclick: () => leave(name) }));
    item.dataset.name = name;
    item.children[1].textContent = `${mode === 'latest' ? 'latest, ' : ''}${active ? (last === null ? 'live' : `at ${last}`) : 'waiting'}`;
    return item;
  });
  const list = $('subscriptions');
  for (const old of [...list.children]) if (!items.includes(old)) old.remove();
  for (const item of items) if (!item.parentNode) list.append(item);
}
setInterval(listSubscriptions, 500);

function leave(name) {
  client.unsubscribe(name);
  listSubscriptions();
  $('names').focus();
}

const event = (kind, text) => log(`event ${kind}`, text);
const text = (value) => (typeof value === 'string' ? value : JSON.stringify(value));

client.on('state', ({ state, code, reason, delay_ms, session }) => {
  pill($('state'), state === 'waiting' ? 'reconnecting' : state, { open: 'good', closed: 'bad' }[state] ?? 'warn');
  $('drop').disabled = state !== 'open';
  if (state === 'open') event('good', `connected, session ${session}`);
  const why = [code, reason].filter(Boolean).join(' ');
  if (state === 'waiting' && delay_ms !== undefined) event('warn', `disconnected (${why}), back in ${time(delay_ms)}`);
  if (state === 'closed') event('bad', `closed (${why})`);
});
client.on('subscribed', ({ names, recovered, unrecovered, durable }) => {
  counts.resumed += recovered.length;
  counts.gaps += unrecovered.length;
  for (const name of recovered) event('good', `resumed ${name} without a gap`);
  for (const u of unrecovered) {
    const kept = u.oldest ? `, kept are ${u.oldest} to ${u.newest}` : '';
    event('bad', `gap: ${u.channel} cannot be resumed (${u.reason}${kept}); live from here`);
  }
  if (!recovered.length && !unrecovered.length) event('good', `subscribed ${names.join(', ')}${durable ? '' : ' (numbers of this run of the server)'}`);
  listSubscriptions();
});
client.on('message', (m) => {
  counts.messages += 1;
  log('', m.channel, `${m.seq} after ${m.prev ?? '?'}`, text(m.data).slice(0, 400));
});
client.on('lost', (l) => {
  counts.lost += 1;
  event('bad', `lost: ${l.channel ?? 'any channel'} ${l.from} to ${l.to ?? '?'} (${l.reason})`);
});
client.on('gap', (g) => {
  counts.gaps += 1;
  event('bad', `gap: ${g.channel} ${g.seq} follows ${g.prev}, but ${g.had} was the last; connecting again`);
});
client.on('reset', (r) => event('warn', `reset: the numbers begin anew (${r.reason})`));
client.on('goaway', (g) => event('warn', `the server is going away (${g.reason}), back in ${time(g.reconnect_after_ms)}`));
client.on('error', (e) => event('bad', `${e.code}: ${e.message}`));
client.on('unsubscribed', ({ names }) => event('', `unsubscribed ${names.join(', ')}`));

$('form').addEventListener('submit', (submit) => {
  submit.preventDefault();
  const names = $('names').value.split(/[\s,]+/).filter(Boolean);
  try {
    client.subscribe(names, { mode: $('mode').value, snapshot: $('snapshot').checked, on_lost: 'continue' });
    client.connect();
  } catch (error) {
    event('bad', error.message);
  }
  listSubscriptions();
});
$('drop').addEventListener('click', () => client.reconnect());
$('clear').addEventListener('click', () => $('log').replaceChildren());
$('pause').addEventListener('click', () => {
  paused = !paused;
  $('pause').textContent = paused ? 'Continue' : 'Pause';
  $('pause').setAttribute('aria-pressed', paused);
});

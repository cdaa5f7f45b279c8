import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { createServer as createTcpServer } from 'node:net';
import test from 'node:test';
import { AlknetError, connect } from '../alknet.js';
import {
    advanceClock, failure, inTime, nextEvent, nodeOptions, open, openHub, pause, timers, until,
} from './hub.js';

const echo = { type: 'query', handler: (input) => input };

/* A port where nobody listens. */
async function deadUrl() {
    const server = createTcpServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address();
    server.close();
    await once(server, 'close');
    return `ws://127.0.0.1:${port}/alknet/call`;
}

test('connect: offers the protocol, and the token as base64url without padding', async (t) => {
    const token = 'alk_\u00ff\u00fe?>~ end';
    const { peer } = await open(t, { token });
    const expected = Buffer.from(token).toString('base64url');
    assert.match(expected, /[-_]/);
    assert.equal(peer.request.headers['sec-websocket-protocol'].replaceAll(' ', ''),
        `alknet.call.v1,alknet.bearer.${expected}`);
    assert.equal(peer.request.url, '/alknet/call');

    const plain = await open(t);
    assert.equal(plain.peer.request.headers['sec-websocket-protocol'], 'alknet.call.v1');
});

test('connect: http becomes ws, and the path has a default', async (t) => {
    const hub = await openHub(t);
    const { host } = new URL(hub.url);
    const cases = [[`http://${host}`, '/alknet/call'], [new URL(`http://${host}/other?x=1`), '/other?x=1']];
    for (const [url, path] of cases) {
        const client = await connect(url, nodeOptions);
        assert.equal((await hub.peer()).request.url, path);
        client.close();
    }
});

test('connect: sends binary messages, and nothing when it serves nothing', async (t) => {
    const { client, peer } = await open(t);
    assert.equal(client.state, 'open');
    await peer.quiet();
});

test('connect: fails clearly where there is no WebSocket', async (t) => {
    const had = Object.getOwnPropertyDescriptor(globalThis, 'WebSocket');
    Object.defineProperty(globalThis, 'WebSocket', { value: undefined, configurable: true, writable: true });
    t.after(() => (had ? Object.defineProperty(globalThis, 'WebSocket', had) : delete globalThis.WebSocket));
    await assert.rejects(connect('ws://127.0.0.1:1'), /no WebSocket here: give one as options\.WebSocket/);
});

test('connect: takes the WebSocket of the platform where there is one', async (t) => {
    const hub = await openHub(t);
    const had = Object.getOwnPropertyDescriptor(globalThis, 'WebSocket');
    const value = nodeOptions.WebSocket;
    Object.defineProperty(globalThis, 'WebSocket', { value, configurable: true, writable: true });
    t.after(() => (had ? Object.defineProperty(globalThis, 'WebSocket', had) : delete globalThis.WebSocket));
    const client = await connect(hub.url);
    t.after(() => client.close());
    await (await hub.peer()).quiet();
});

test('connect: bad options are refused before anything is sent', async () => {
    await assert.rejects(connect('no url', nodeOptions), TypeError);
    await assert.rejects(connect('ws://127.0.0.1:1', { ...nodeOptions, timeout: -1 }), TypeError);
    await assert.rejects(connect('ws://127.0.0.1:1', { ...nodeOptions, operations: { 'a/b': {} } }), TypeError);
});

test('connect: a refused connection and a refused upgrade reject', async (t) => {
    const url = await deadUrl();
    const error = await failure(connect(url, nodeOptions));
    assert.ok(error instanceof AlknetError);
    assert.equal(error.code, 'INTERNAL');
    assert.match(error.message, /^cannot connect: .*ECONNREFUSED/);
    assert.equal(error.retryable, true);

    const hub = await openHub(t, { verifyClient: (info, done) => done(false, 503, 'full') });
    const full = await failure(connect(hub.url, { ...nodeOptions, token: 'x' }));
    assert.deepEqual([full.code, full.retryable, full.details], ['INTERNAL', true, { status: 503 }]);
    assert.match(full.message, /503/);
});

/* A WebSocket that tells no more of why it does not open than a browser's. */
class Silent extends EventTarget {
    constructor() {
        super();
        setTimeout(() => {
            this.dispatchEvent(new Event('error'));
            this.dispatchEvent(new Event('close'));
        });
    }

    close() {}
}

/* A hub that says so to the request that finds out why. */
async function openRefusing(t, status) {
    const asked = [];
    const server = createServer((request, response) => {
        asked.push(`${request.method} ${request.url} ${request.headers.authorization}`);
        if (status)
            response.writeHead(status, { location: '/elsewhere' }).end('{}');
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => {
        server.closeAllConnections();
        server.close();
    });
    return { asked, url: `ws://127.0.0.1:${server.address().port}` };
}

test('connect: a token that is not accepted is UNAUTHORIZED', async (t) => {
    const hub = await openHub(t, { verifyClient: (info, done) => done(false, 401, 'no') });
    for (const token of ['alk_wrong', undefined]) {
        const error = await failure(connect(hub.url, { ...nodeOptions, token }));
        assert.ok(error instanceof AlknetError);
        assert.deepEqual([error.code, error.retryable, error.details], ['UNAUTHORIZED', false, { status: 401 }]);
        assert.match(error.message, token ? /does not accept the token/ : /wants a token/);
    }
    const { asked, url } = await openRefusing(t, 401);
    const error = await failure(connect(url, { WebSocket: Silent, token: 'alk_wrong' }));
    assert.deepEqual([error.code, error.details, asked],
        ['UNAUTHORIZED', { status: 401 }, ['GET /search?limit=1 Bearer alk_wrong']]);
});

test('connect: where it is not the token, or cannot be found out, it is INTERNAL', async (t) => {
    const dead = (await deadUrl());
    for (const status of [200, 302, 404, 503]) {
        const { asked, url } = await openRefusing(t, status);
        const error = await failure(connect(url, { WebSocket: Silent, token: 'alk_x' }));
        assert.deepEqual([error.code, error.retryable, asked.length], ['INTERNAL', true, 1]);
    }
    const silent = await openRefusing(t);
    for (const [url, options] of [[dead, { token: 'alk_x' }], [silent.url, {}], [`${silent.url}/other`, { token: 'alk_x' }]])
        assert.equal((await failure(connect(url, { WebSocket: Silent, ...options }))).code, 'INTERNAL');
    assert.deepEqual(silent.asked, []);
    const late = await failure(connect(silent.url, { WebSocket: Silent, token: 'alk_x', timeout: 50 }));
    assert.deepEqual([late.code, silent.asked.length], ['TIMEOUT', 1]);
});

test('connect: a server that does not select the protocol is refused', async (t) => {
    /* As a browser may see it: the socket opens, with no protocol. */
    class Unselected extends nodeOptions.WebSocket {
        constructor(url) {
            super(url);
        }
    }
    const hub = await openHub(t);
    const error = await failure(connect(hub.url, { WebSocket: Unselected }));
    assert.match(error.message, /does not speak alknet\.call\.v1/);
    await inTime((await hub.peer()).closed, 'the close');
});

test('connect: gives up on a server that does not answer', async (t) => {
    const sockets = [];
    const server = createTcpServer((socket) => sockets.push(socket.resume())).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => {
        sockets.forEach((socket) => socket.destroy());
        server.close();
    });
    const url = `ws://127.0.0.1:${server.address().port}`;
    const error = await failure(connect(url, { ...nodeOptions, timeout: 50 }));
    assert.deepEqual([error.code, error.retryable], ['TIMEOUT', true]);

    const controller = new AbortController();
    const reason = new Error('enough');
    const promise = connect(url, { ...nodeOptions, signal: controller.signal });
    await until(() => sockets.length === 2, 'the second attempt');
    controller.abort(reason);
    assert.equal(await failure(promise), reason);
    assert.equal(await failure(connect(url, { ...nodeOptions, signal: AbortSignal.abort(reason) })), reason);
    await until(() => sockets.every((socket) => socket.destroyed || socket.readableEnded), 'the ends of both');
});

test('signal: closes the client whenever it is aborted', async (t) => {
    const controller = new AbortController();
    const { client, peer } = await open(t, { signal: controller.signal });
    const closed = nextEvent(client, 'close');
    controller.abort();
    assert.equal((await closed).willReconnect, false);
    assert.equal(client.state, 'closed');
    assert.equal((await peer.closed).code, 1000);
});

test('reconnect: comes back after a loss, with fresh ids, and announces again', async (t) => {
    const { client, hub, peer } = await open(t, { operations: { 'ui/echo': echo } });
    const announced = await peer.next('call.requested');
    assert.deepEqual(announced.payload, { operationId: '/services/announce', input: {} });
    peer.respond(announced.id, {});
    const lost = nextEvent(client, 'close');
    const trying = nextEvent(client, 'reconnecting');
    const opened = nextEvent(client, 'open');
    const pending = failure(client.call('demo/sleep'));
    await peer.next('call.requested');
    peer.socket.close(1001, 'shutting down');
    const { code, reason, willReconnect } = await lost;
    assert.deepEqual([code, reason, willReconnect], [1001, 'shutting down', true]);
    assert.equal((await pending).message, 'connection closed');
    const { attempt, delay, error } = await trying;
    assert.equal(attempt, 1);
    assert.ok(delay >= 250 && delay <= 500, `${delay}`);
    assert.deepEqual(error.details, { code: 1001, reason: 'shutting down' });
    assert.equal(client.state, 'reconnecting');
    await opened;
    assert.equal(client.state, 'open');
    const again = await hub.peer();
    const second = await again.next('call.requested');
    assert.equal(second.payload.operationId, '/services/announce');
    assert.notEqual(second.id, announced.id);
    again.respond(second.id, {});
    assert.equal(await again.get('ui/echo', 'back'), 'back');
    assert.deepEqual(client.errors, []);
});

test('reconnect: calls and subscriptions wait for the connection', async (t) => {
    const { client, hub, peer } = await open(t);
    const lost = nextEvent(client, 'close');
    peer.socket.terminate();
    await lost;
    const call = client.call('demo/echo', 1);
    const values = client.subscribe('demo/clock');
    const aborted = new AbortController();
    const given = failure(client.call('demo/echo', 'never', { signal: aborted.signal }));
    aborted.abort();
    assert.equal((await given).name, 'AbortError');
    assert.equal((await failure(client.call('demo/echo', 'never', { timeout: 10 }))).code, 'TIMEOUT');
    const again = await hub.peer();
    const first = await again.next('call.requested');
    assert.equal(first.payload.operationId, '/demo/echo');
    const second = await again.next('call.requested');
    again.respond(first.id, 'one');
    again.respond(second.id, 'tick');
    assert.equal(await call, 'one');
    assert.equal((await values.next()).value, 'tick');
    await again.quiet();
});

test('reconnect: at most 1,024 calls wait, and close() fails them', async (t) => {
    const { client, peer } = await open(t);
    const lost = nextEvent(client, 'close');
    peer.socket.terminate();
    await lost;
    const waiting = Array.from({ length: 1024 }, () => failure(client.call('demo/echo')));
    assert.equal((await failure(client.call('demo/echo'))).code, 'BUSY');
    client.close();
    for (const error of await Promise.all(waiting))
        assert.equal(error.message, 'connection closed');
});

test('reconnect: false, the first loss is the end', async (t) => {
    const { client, peer } = await open(t, { reconnect: false });
    const closed = nextEvent(client, 'close');
    peer.socket.close(1011, 'broken');
    const { code, reason, willReconnect } = await closed;
    assert.deepEqual([code, reason, willReconnect], [1011, 'broken', false]);
    assert.equal(client.state, 'closed');
});

test('reconnect: a refused token is the end, unless there may be another', async (t) => {
    const fixed = await open(t, { token: 'alk_fixed' });
    const closed = nextEvent(fixed.client, 'close');
    fixed.peer.socket.close(1008, 'revoked');
    assert.equal((await closed).willReconnect, false);

    let n = 0;
    const token = async () => `alk_${++n}`;
    const { client, hub, peer } = await open(t, { token });
    const lost = nextEvent(client, 'close');
    peer.socket.close(1008, 'revoked');
    assert.equal((await lost).willReconnect, true);
    const again = await hub.peer();
    assert.ok(again.request.headers['sec-websocket-protocol'].endsWith(Buffer.from('alk_2').toString('base64url')));
});

test('reconnect: a token that is not accepted any more is the end, unless there may be another', async (t) => {
    let refuse = false;
    const hub = await openHub(t, { verifyClient: (info, done) => (refuse ? done(false, 401, 'no') : done(true)) });
    const fixed = await connect(hub.url, { ...nodeOptions, token: 'alk_fixed' });
    t.after(() => fixed.close());
    refuse = true;
    const ended = failure(fixed.subscribe('demo/clock', {}, { resume: true }).next());
    (await hub.peer()).socket.terminate();
    const closed = await new Promise((resolve) => fixed.addEventListener('close', (e) => e.willReconnect || resolve(e)));
    assert.deepEqual([closed.code, closed.reason], [1008, 'the hub does not accept the token']);
    assert.equal((await ended).message, 'connection closed');

    let n = 0;
    const token = async () => `alk_${++n}`;
    refuse = false;
    const client = await connect(hub.url, { ...nodeOptions, token });
    t.after(() => client.close());
    refuse = true;
    const errors = [];
    client.addEventListener('reconnecting', ({ error }) => errors.push(error.code));
    (await hub.peer()).socket.terminate();
    await until(() => errors.length === 2, 'a refused attempt');
    refuse = false;
    const again = await hub.peer();
    assert.ok(again.request.headers['sec-websocket-protocol'].endsWith(Buffer.from('alk_3').toString('base64url')));
    assert.deepEqual(errors, ['INTERNAL', 'UNAUTHORIZED']);
});

test('reconnect: backs off up to 30 s, and starts anew after a connection that lasted', async (t) => {
    const { client, hub, peer } = await open(t);
    const real = globalThis.setTimeout;
    const delays = [];
    client.addEventListener('reconnecting', ({ delay, attempt }) => {
        delays.push(delay);
        assert.equal(attempt, delays.length);
    });
    /* Waits of the client's are cut short, those of others and of ws are not. */
    globalThis.setTimeout = (callback, ms, ...rest) => real(callback, ms > 200 && ms % 1 ? 1 : ms, ...rest);
    t.after(() => {
        globalThis.setTimeout = real;
    });
    hub.server.close();
    peer.socket.terminate();
    await until(() => delays.length >= 12, 'twelve attempts');
    client.close();
    delays.forEach((delay, i) => {
        assert.ok(delay >= 250 && delay <= Math.min(30_000, 500 * 2 ** i), `${i}: ${delay}`);
    });
    assert.ok(Math.max(...delays.slice(6)) > 1000);
    assert.ok(new Set(delays).size > 10, 'there is jitter');

    globalThis.setTimeout = real;
    const other = await open(t);
    const attempts = [];
    other.client.addEventListener('reconnecting', ({ attempt }) => attempts.push(attempt));
    other.peer.socket.terminate();
    const second = await other.hub.peer();
    second.socket.terminate();
    const third = await other.hub.peer();
    await until(() => other.client.state === 'open', 'the third connection');
    advanceClock(t, 10_001);
    third.socket.terminate();
    await until(() => attempts.length === 3, 'three attempts');
    assert.deepEqual(attempts, [1, 2, 1]);
});

test('reconnect: goes on while the hub is away or refuses', async (t) => {
    let refuse = false;
    const hub = await openHub(t, { verifyClient: (info, done) => (refuse ? done(false, 503, 'full') : done(true)) });
    const client = await connect(hub.url, nodeOptions);
    t.after(() => client.close());
    const failures = [];
    client.addEventListener('reconnecting', ({ error }) => failures.push(error.message));
    refuse = true;
    (await hub.peer()).socket.terminate();
    await until(() => failures.length === 2, 'a refused attempt');
    assert.match(failures[1], /503/);
    refuse = false;
    await (await hub.peer()).quiet();
    assert.equal(client.state, 'open');
});

test('reconnect: a failing token function is a failed attempt', async (t) => {
    const tokens = ['alk_1', new Error('no token now'), 'alk_3'];
    const { client, hub, peer } = await open(t, {
        token: () => {
            const next = tokens.shift();
            if (next instanceof Error)
                throw next;
            return next;
        },
    });
    const messages = [];
    client.addEventListener('reconnecting', ({ error }) => messages.push(error.message));
    peer.socket.terminate();
    await (await hub.peer()).quiet();
    assert.deepEqual(messages, ['connection closed', 'no token now']);
    assert.deepEqual(tokens, []);
});

test('close: ends for good, while connected, waiting or connecting', async (t) => {
    const { client, peer } = await open(t);
    const events = [];
    client.addEventListener('close', ({ code, willReconnect }) => events.push([code, willReconnect]));
    client.close();
    client.close();
    assert.deepEqual(events, [[1000, false]]);
    assert.equal(client.state, 'closed');
    assert.deepEqual(await peer.closed, { code: 1000, reason: '' });
    client.serve({ 'a/b': echo });

    const waiting = await open(t);
    const lost = nextEvent(waiting.client, 'close');
    waiting.peer.socket.terminate();
    await lost;
    const before = timers();
    waiting.client.close();
    assert.equal(timers(), before - 1);
    await pause(700);
    assert.equal(waiting.hub.server.clients.size, 0);
    assert.equal(waiting.client.state, 'closed');

    const sockets = [];
    const { client: connecting, peer: gone, hub } = await open(t);
    hub.server.close();
    const http = createServer().on('upgrade', (request, socket) => sockets.push(socket));
    gone.socket.terminate();
    await once(hub.server, 'close');
    http.listen(new URL(hub.url).port, '127.0.0.1');
    t.after(() => {
        sockets.forEach((socket) => socket.destroy());
        http.close();
    });
    await until(() => sockets.length === 1, 'an attempt');
    connecting.close();
    await until(() => sockets[0].destroyed || sockets[0].readableEnded, 'its end');
    assert.equal(connecting.state, 'closed');
});

test('close: what was sent before it still goes out', async (t) => {
    const { client, peer } = await open(t);
    const pending = failure(client.call('demo/last', 'x'.repeat(1 << 20)));
    client.close();
    assert.equal((await peer.next('call.requested')).payload.operationId, '/demo/last');
    await pending;
});

test('events: an error that nobody prevents is written to the console', async (t) => {
    const handler = () => {
        throw new Error('oops');
    };
    const operations = { 'ui/fail': { type: 'query', handler } };
    const { client, peer } = await open(t, { operations });
    const written = [];
    const real = console.error;
    console.error = (...args) => written.push(args);
    t.after(() => {
        console.error = real;
    });
    peer.respond((await peer.next('call.requested')).id, {});
    await peer.error('ui/fail');
    assert.deepEqual(written, []);
    assert.equal(client.errors.length, 1);

    const hub = await openHub(t);
    const plain = await connect(hub.url, { ...nodeOptions, operations });
    t.after(() => plain.close());
    const other = await hub.peer();
    other.respond((await other.next('call.requested')).id, {});
    await other.error('ui/fail');
    assert.equal(written.length, 1);
    assert.match(String(written[0]), /alknet: ui\/fail/);
});

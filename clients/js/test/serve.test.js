import assert from 'node:assert/strict';
import test from 'node:test';
import { AlknetError } from '../alknet.js';
import { advanceClock, inTime, nodeOptions, open, pause, until } from './hub.js';

const echo = { type: 'query', handler: (input) => input };

/* A client that serves these, after its announcement. */
async function serving(t, operations, options = {}) {
    const opened = await open(t, { operations, ...options });
    const { id, payload } = await opened.peer.next('call.requested');
    assert.deepEqual(payload, { operationId: '/services/announce', input: {} });
    opened.peer.respond(id, {});
    return opened;
}

const thrown = (error) => ({
    type: 'query',
    handler: () => {
        throw error;
    },
});

test('serve: answers queries and mutations, at once or later', async (t) => {
    const { peer } = await serving(t, {
        'ui/echo': echo,
        '/ui/later': {
            type: 'mutation',
            handler: async (input) => {
                await pause(5);
                return { later: input };
            },
        },
        'ui/nothing': { type: 'mutation', handler: () => {} },
    });
    assert.deepEqual(await peer.get('ui/echo', { a: [1, null, 'ü'] }), { a: [1, null, 'ü'] });
    assert.deepEqual(await peer.get('ui/later', 2), { later: 2 });
    assert.equal(await peer.get('ui/nothing'), null);
    assert.equal(await peer.get('ui/echo', undefined), null);
    await peer.quiet();
});

test('serve: calls run side by side, and a slow one holds up nobody', async (t) => {
    let release;
    const gate = new Promise((resolve) => {
        release = resolve;
    });
    const { peer } = await serving(t, { 'ui/wait': { type: 'query', handler: () => gate }, 'ui/echo': echo });
    const slow = peer.ask('ui/wait');
    assert.equal(await peer.get('ui/echo', 'quick'), 'quick');
    release('done');
    const answer = await peer.next('call.responded');
    assert.deepEqual([answer.id, answer.payload], [slow, { output: 'done' }]);
});

test('serve: the handler learns id, name, trace and signal', async (t) => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const seen = [];
    const handler = (input, context) => void seen.push(context);
    const { peer } = await serving(t, { 'ui/see': { type: 'query', handler } });
    const id = peer.ask('ui/see', 1, { traceparent });
    await peer.next('call.responded');
    assert.equal(seen[0].id, id);
    assert.equal(seen[0].operation, 'ui/see');
    assert.equal(seen[0].traceparent, traceparent);
    assert.ok(seen[0].signal instanceof AbortSignal && !seen[0].signal.aborted);
    for (const malformed of [undefined, 7, [traceparent], 'x', traceparent.toUpperCase(), `ff${traceparent.slice(2)}`,
        `00-${'0'.repeat(32)}${traceparent.slice(35)}`, `${traceparent}-more`]) {
        await peer.get('ui/see', 1, { traceparent: malformed });
        assert.equal(seen.at(-1).traceparent, undefined, String(malformed));
    }
});

test('serve: an unknown operation is NOT_FOUND, too many hops too', async (t) => {
    const { peer } = await serving(t, { 'ui/echo': echo });
    for (const name of ['ui/other', '', 'constructor', '__proto__', '/ui/echo', 'services/list-peers']) {
        assert.deepEqual(await peer.error(name, 1),
            { code: 'NOT_FOUND', message: `operation not found: ${name}`, retryable: false });
    }
    assert.equal((await peer.error('ui/echo', 1, { hops: 9 })).code, 'NOT_FOUND');
    assert.equal(await peer.get('ui/echo', 1, { hops: 8 }), 1);
    assert.equal(await peer.get('ui/echo', 1, { hops: '9' }), 1);
    const long = await peer.error(`ui/${'\ud83d\ude00'.repeat(300)}`);
    assert.ok(long.message.length < 300);
});

test('serve: a request without a string operationId is INVALID_INPUT', async (t) => {
    const { peer } = await open(t);
    for (const payload of [null, 'x', 1, [], {}, { operationId: 7 }]) {
        peer.send('call.requested', 'id', payload);
        const { id, payload: error } = await peer.next('call.error');
        assert.equal(id, 'id');
        assert.deepEqual(error, { code: 'INVALID_INPUT', message: '/operationId: must be a string', retryable: false });
    }
});

test('serve: a handler\'s own error goes out as it is', async (t) => {
    const { client, peer } = await serving(t, {
        'ui/own': thrown(new AlknetError('UI_GONE', 'the tab is hidden', { retryable: true, details: { since: 1 } })),
        'ui/bare': thrown(new AlknetError('UI_GONE', 'the tab is hidden')),
        'ui/long': thrown(new AlknetError('UI_LONG', 'x'.repeat(5000))),
        'ui/half': thrown(new AlknetError('UI_\ud800', 'half \udc00', { details: '\ud800' })),
        'ui/details': thrown(new AlknetError('UI_DETAILS', 'cannot be sent', { details: 1n })),
        'ui/much': thrown(new AlknetError('UI_MUCH', 'cannot be sent', { details: 'x'.repeat(4 << 20) })),
    });
    assert.deepEqual(await peer.error('ui/own'),
        { code: 'UI_GONE', message: 'the tab is hidden', retryable: true, details: { since: 1 } });
    assert.deepEqual(await peer.error('ui/bare'), { code: 'UI_GONE', message: 'the tab is hidden', retryable: false });
    assert.equal((await peer.error('ui/long')).message.length, 4096);
    assert.deepEqual(await peer.error('ui/half'), { code: 'UI_\ufffd', message: 'half \ufffd', retryable: false });
    const bare = { message: 'cannot be sent', retryable: false };
    assert.deepEqual(await peer.error('ui/details'), { code: 'UI_DETAILS', ...bare });
    assert.deepEqual(await peer.error('ui/much'), { code: 'UI_MUCH', ...bare });
    assert.deepEqual(client.errors, []);
});

test('serve: any other error is INTERNAL there and reported here', async (t) => {
    const odd = new AlknetError('X', 'm');
    odd.code = 7;
    const errors = [new Error('secret'), 'a string', null, undefined, new AlknetError('FORBIDDEN', 'secret'),
        new AlknetError('', 'secret'), new AlknetError('X'.repeat(300), 'secret'), odd];
    const operations = Object.fromEntries(errors.map((error, i) => [`ui/n${i}`, thrown(error)]));
    const { client, peer } = await serving(t, operations);
    for (let i = 0; i < errors.length; i++) {
        const answer = await peer.error(`ui/n${i}`);
        assert.deepEqual(answer, { code: 'INTERNAL', message: 'internal error', retryable: false });
        assert.equal(client.errors[i].error, errors[i]);
        assert.equal(client.errors[i].operation, `ui/n${i}`);
    }
});

test('serve: an error of a call that the handler makes is not its own', async (t) => {
    const { client, peer } = await serving(t, {
        'ui/ask': { type: 'query', handler: () => client.call('demo/slow', null, { timeout: 10 }) },
        'ui/find': { type: 'query', handler: () => client.call('demo/none') },
    });
    const id = peer.ask('ui/ask');
    await peer.next('call.requested');
    await peer.next('call.aborted');
    const answer = await peer.next('call.error');
    assert.deepEqual([answer.id, answer.payload.code], [id, 'INTERNAL']);
    assert.equal(client.errors[0].error.code, 'TIMEOUT');
    peer.ask('ui/find');
    const { id: inner } = await peer.next('call.requested');
    peer.send('call.error', inner, { code: 'DEMO_NONE', message: 'none', retryable: false });
    assert.equal((await peer.next('call.error')).payload.code, 'DEMO_NONE');
});

test('serve: an output that is no JSON value is INTERNAL, one that is too large says so', async (t) => {
    const cycle = {};
    cycle.self = cycle;
    let deep = 0;
    for (let i = 0; i < 127; i++)
        deep = [deep];
    const bad = [cycle, 1n, () => {}, Symbol('x'), '\udc00'];
    const large = ['x'.repeat(4 << 20), deep];
    const operations = Object.fromEntries([...bad, ...large].map((value, i) =>
        [`ui/n${i}`, { type: 'query', handler: () => value }]));
    operations['ui/stream'] = {
        type: 'query',
        async *handler() {
            yield 1;
        },
    };
    const { client, peer } = await serving(t, operations);
    for (let i = 0; i < bad.length; i++)
        assert.equal((await peer.error(`ui/n${i}`)).message, 'internal error');
    for (let i = bad.length; i < bad.length + large.length; i++)
        assert.equal((await peer.error(`ui/n${i}`)).message, 'output too large');
    assert.equal((await peer.error('ui/stream')).message, 'internal error');
    assert.equal(client.errors.length, bad.length + large.length + 1);
    assert.match(client.errors.at(-1).error.message, /only a subscription may/);
});

test('serve: subscriptions are async generators, iterables or promises of them', async (t) => {
    let ended = false;
    const { client, peer } = await serving(t, {
        'ui/count': {
            type: 'subscription',
            async *handler({ to }) {
                for (let i = 1; i <= to; i++)
                    yield i;
            },
        },
        'ui/array': { type: 'subscription', handler: async () => ['a', Promise.resolve('b'), undefined] },
        'ui/string': { type: 'subscription', handler: () => 'abc' },
        'ui/none': { type: 'subscription', handler: () => {} },
        'ui/fails': {
            type: 'subscription',
            async *handler() {
                yield 1;
                throw new AlknetError('UI_STOPPED', 'no more');
            },
        },
        'ui/bad': {
            type: 'subscription',
            async *handler() {
                try {
                    yield 1;
                    yield 1n;
                } finally {
                    ended = true;
                }
            },
        },
    });
    const stream = async (name, input, ...expected) => {
        const id = peer.ask(name, input);
        for (const value of expected)
            assert.deepEqual(await peer.next('call.responded'),
                { type: 'call.responded', id, payload: { output: value } });
    };
    await stream('ui/count', { to: 3 }, 1, 2, 3);
    assert.deepEqual((await peer.next('call.completed')).payload, {});
    await stream('ui/count', { to: 0 });
    await peer.next('call.completed');
    await stream('ui/array', null, 'a', 'b', null);
    await peer.next('call.completed');
    await stream('ui/fails', null, 1);
    assert.equal((await peer.next('call.error')).payload.code, 'UI_STOPPED');
    await stream('ui/bad', null, 1);
    assert.equal((await peer.next('call.error')).payload.code, 'INTERNAL');
    assert.equal((await peer.error('ui/string')).code, 'INTERNAL');
    assert.equal((await peer.error('ui/none')).code, 'INTERNAL');
    assert.equal(client.errors.length, 3);
    await peer.quiet();
    assert.ok(ended);
});

test('serve: an abort ends the call, tells its signal, and nothing more is sent', async (t) => {
    const ended = [];
    const { client, peer } = await serving(t, {
        'ui/wait': {
            type: 'query',
            handler: (input, { signal }) => new Promise((resolve, reject) => {
                signal.addEventListener('abort', () => {
                    ended.push(signal.reason);
                    reject(signal.reason);
                });
            }),
        },
        'ui/ticks': {
            type: 'subscription',
            async *handler() {
                try {
                    for (let i = 0; ; i++) {
                        yield i;
                        await pause(1);
                    }
                } finally {
                    ended.push('ticks');
                }
            },
        },
    });
    const first = peer.ask('ui/wait');
    await peer.quiet();
    peer.send('call.aborted', first, {});
    await until(() => ended.length === 1, 'the abort');
    assert.equal(ended[0].message, 'aborted by the remote');
    const second = peer.ask('ui/ticks');
    await peer.next('call.responded');
    peer.send('call.aborted', second, {});
    await until(() => ended.length === 2, 'the end of the generator');
    await pause(20);
    /* Ticks that were on their way, and then nothing. */
    const last = peer.ask('ui/none');
    for (let message; (message = await peer.any()).id !== last;)
        assert.deepEqual([message.type, message.id], ['call.responded', second]);
    await peer.quiet();
    assert.deepEqual(client.errors, []);
});

test('serve: an abort reaches an iterator that waits', async (t) => {
    let returned = 0;
    let give;
    const { peer } = await serving(t, {
        'ui/events': {
            type: 'subscription',
            handler: () => ({
                [Symbol.asyncIterator]() {
                    return this;
                },
                next: () => new Promise((resolve) => {
                    give = resolve;
                }),
                async return() {
                    returned++;
                    give({ done: true });
                    return { done: true };
                },
            }),
        },
    });
    const id = peer.ask('ui/events');
    await peer.quiet();
    peer.send('call.aborted', id, {});
    await until(() => returned === 1, 'return()');
    await peer.quiet();
});

test('serve: what fails after its abort is reported unless it is the abort', async (t) => {
    let go;
    const gate = new Promise((resolve) => {
        go = resolve;
    });
    const { client, peer } = await serving(t, {
        'ui/late': {
            type: 'query',
            handler: async () => {
                await gate;
                throw new Error('late');
            },
        },
        'ui/abort': {
            type: 'query',
            handler: async (input, { signal }) => {
                await gate;
                throw new DOMException('told to', 'AbortError');
            },
        },
    });
    for (const name of ['ui/late', 'ui/abort'])
        peer.send('call.aborted', peer.ask(name), {});
    await peer.quiet();
    go();
    await until(() => client.errors.length, 'the report');
    await peer.quiet();
    assert.deepEqual(client.errors.map(({ error }) => error.message), ['late']);
});

test('serve: the caller\'s deadline answers TIMEOUT and aborts the handler', async (t) => {
    const reasons = [];
    const { peer } = await serving(t, {
        'ui/wait': {
            type: 'query',
            handler: (input, { signal }) => new Promise((resolve) => {
                signal.addEventListener('abort', () => {
                    reasons.push(signal.reason.code);
                    resolve('late');
                });
            }),
        },
        'ui/ticks': {
            type: 'subscription',
            async *handler(input, { signal }) {
                yield 1;
                await new Promise((resolve) => signal.addEventListener('abort', resolve));
                yield 2;
            },
        },
    });
    const id = peer.ask('ui/wait', null, { timeout_ms: 30 });
    const error = await peer.next('call.error');
    assert.deepEqual([error.id, error.payload],
        [id, { code: 'TIMEOUT', message: 'the deadline has passed', retryable: true }]);
    assert.deepEqual(reasons, ['TIMEOUT']);
    peer.ask('ui/ticks', null, { timeout_ms: 30 });
    assert.equal((await peer.next('call.responded')).payload.output, 1);
    assert.equal((await peer.next('call.error')).payload.code, 'TIMEOUT');
    await peer.quiet();
});

test('serve: without a deadline of the caller\'s 30 s, for subscriptions none', async (t) => {
    const { peer } = await serving(t, {
        'ui/echo': echo,
        'ui/none': { type: 'subscription', handler: () => [] },
    });
    const timers = [];
    const real = globalThis.setTimeout;
    globalThis.setTimeout = (callback, ms, ...rest) => {
        timers.push(ms);
        return real(callback, ms, ...rest);
    };
    t.after(() => {
        globalThis.setTimeout = real;
    });
    const of = async (name, more) => {
        timers.length = 0;
        peer.ask(name, null, more);
        await peer.next(name === 'ui/echo' ? 'call.responded' : 'call.completed');
        return timers.filter((ms) => ms !== 20_000); // the tests' own patience
    };
    assert.deepEqual(await of('ui/echo', {}), [30_000]);
    assert.deepEqual(await of('ui/echo', { timeout_ms: 5000 }), [5000]);
    for (const malformed of [60_000, 0, -1, 1.5, '7', null])
        assert.deepEqual(await of('ui/echo', { timeout_ms: malformed }), [30_000]);
    assert.deepEqual(await of('ui/none', {}), []);
    assert.deepEqual(await of('ui/none', { timeout_ms: 5000 }), [5000]);
    assert.deepEqual(await of('ui/none', { timeout_ms: 2 ** 40 }), []);
});

test('serve: a loss of the connection aborts what runs', async (t) => {
    const reasons = [];
    const { peer } = await serving(t, {
        'ui/wait': {
            type: 'query',
            handler: (input, { signal }) => new Promise((resolve) => {
                signal.addEventListener('abort', () => resolve(reasons.push(signal.reason.message)));
            }),
        },
    }, { reconnect: false });
    peer.ask('ui/wait');
    peer.ask('ui/wait');
    await peer.quiet();
    peer.socket.terminate();
    await until(() => reasons.length === 2, 'both aborts');
    assert.deepEqual(reasons, ['connection closed', 'connection closed']);
});

test('serve: an id that is in use is dropped, one that is free again is not', async (t) => {
    let runs = 0;
    let release;
    const { peer } = await serving(t, {
        'ui/wait': {
            type: 'query',
            handler: () => {
                runs++;
                return new Promise((resolve) => {
                    release = resolve;
                });
            },
        },
    });
    peer.ask('ui/wait', 1, {}, 'same');
    peer.ask('ui/wait', 2, {}, 'same');
    await peer.quiet();
    assert.equal(runs, 1);
    release('first');
    assert.deepEqual((await peer.next('call.responded')).payload, { output: 'first' });
    peer.ask('ui/wait', 3, {}, 'same');
    await peer.quiet();
    assert.equal(runs, 2);
});

test('serve: an id that comes again after its abort is another call', async (t) => {
    const releases = [];
    const { peer } = await serving(t, {
        'ui/wait': { type: 'query', handler: () => new Promise((resolve) => releases.push(resolve)) },
    });
    peer.ask('ui/wait', 1, {}, 'same');
    peer.send('call.aborted', 'same', {});
    peer.ask('ui/wait', 2, {}, 'same');
    await peer.quiet();
    releases[0]('first');
    await peer.quiet();
    peer.ask('ui/wait', 3, {}, 'same'); // in use
    await peer.quiet();
    assert.equal(releases.length, 2);
    releases[1]('second');
    assert.deepEqual((await peer.next('call.responded')).payload, { output: 'second' });
});

test('serve: both sides may use the same id', async (t) => {
    const { client, peer } = await serving(t, { 'ui/echo': echo });
    const promise = client.call('demo/echo', 1);
    const { id } = await peer.next('call.requested');
    peer.ask('ui/echo', 'theirs', {}, id);
    assert.deepEqual((await peer.next('call.responded')).payload, { output: 'theirs' });
    peer.respond(id, 'ours');
    assert.equal(await promise, 'ours');
});

test('serve: an abort that comes before its request keeps it from starting', async (t) => {
    let runs = 0;
    const { peer } = await serving(t, { 'ui/run': { type: 'query', handler: () => ++runs } });
    peer.send('call.aborted', 'early', {});
    peer.ask('ui/run', null, {}, 'early');
    await peer.quiet();
    assert.equal(runs, 0);
    peer.ask('ui/run', null, {}, 'early'); // forgotten when it has served
    await peer.next('call.responded');
    for (let i = 0; i < 257; i++)
        peer.send('call.aborted', `early-${i}`, {});
    peer.ask('ui/run', null, {}, 'early-1');
    await peer.quiet();
    peer.ask('ui/run', null, {}, 'early-0'); // the oldest of more than 256
    assert.equal((await peer.next('call.responded')).id, 'early-0');
    advanceClock(t, 30_001);
    peer.ask('ui/run', null, {}, 'early-2');
    assert.equal((await peer.next('call.responded')).id, 'early-2');
});

test('serve: above 1,024 running handlers BUSY, and a handler counts until it has ended', async (t) => {
    const releases = [];
    const { peer } = await serving(t, {
        'ui/wait': { type: 'query', handler: () => new Promise((resolve) => releases.push(resolve)) },
        'ui/echo': echo,
    });
    for (let i = 0; i < 1024; i++)
        peer.ask('ui/wait', null, {}, `wait-${i}`);
    const busy = { code: 'BUSY', message: 'too many calls', retryable: true };
    assert.deepEqual(await peer.error('ui/echo'), busy);
    /* It does not look at its signal. */
    peer.send('call.aborted', 'wait-0', {});
    assert.deepEqual(await peer.error('ui/echo'), busy);
    releases[0]();
    await until(async () => (await peer.get('ui/echo', 'room')) === 'room', 'room');
    releases[1]('one');
    assert.equal((await peer.next('call.responded')).id, 'wait-1');
    for (const release of releases.slice(2))
        release();
    for (let i = 2; i < 1024; i++)
        await peer.next('call.responded');
    await peer.quiet();
});

test('serve: a generator pauses while the remote does not read, and goes on', async (t) => {
    let made = 0, ended = false;
    const chunk = 'x'.repeat(64 << 10);
    const { peer } = await serving(t, {
        'ui/flood': {
            type: 'subscription',
            *handler() {
                try {
                    for (;;) {
                        made++;
                        yield chunk;
                    }
                } finally {
                    ended = true;
                }
            },
        },
        'ui/echo': echo,
    });
    peer.socket.pause();
    const id = peer.ask('ui/flood');
    let before = -1;
    await until(async () => {
        const same = made === before;
        before = made;
        await pause(150);
        return same && made > 0;
    }, 'the pause');
    assert.ok(made * chunk.length < 32 << 20, `${made} chunks`);
    const paused = made;
    peer.socket.resume();
    await until(() => made > paused + 100, 'the generator to go on');
    peer.send('call.aborted', id, {});
    await until(() => ended, 'the end of the generator');
});

test('serve: a generator that never waits leaves the others their turn', async (t) => {
    /* A remote that takes everything at once. */
    class Swift extends nodeOptions.WebSocket {
        get bufferedAmount() {
            return 0;
        }
    }
    let made = 0;
    const { peer } = await serving(t, {
        'ui/spin': {
            type: 'subscription',
            *handler(input, { signal }) {
                for (; made < 100_000 && !signal.aborted; made++)
                    yield made;
            },
        },
    }, { WebSocket: Swift });
    const id = peer.ask('ui/spin');
    await peer.next('call.responded');
    peer.send('call.aborted', id, {});
    const last = peer.ask('ui/none');
    for (let message; (message = await peer.any()).id !== last;)
        assert.deepEqual([message.type, message.id], ['call.responded', id]);
    await peer.quiet();
    assert.ok(made > 0 && made < 100_000, `${made} values`);
});

test('serve: results wait for a remote that does not read', async (t) => {
    const chunk = 'x'.repeat(2 << 20);
    let socket;
    class Watched extends nodeOptions.WebSocket {
        constructor(...args) {
            super(...args);
            socket = this;
        }
    }
    const operations = { 'ui/large': { type: 'query', handler: () => chunk } };
    const { client, peer } = await serving(t, operations, { WebSocket: Watched });
    peer.socket.pause();
    for (let i = 0; i < 40; i++)
        peer.ask('ui/large');
    await pause(300);
    assert.equal(client.state, 'open');
    assert.ok(socket.bufferedAmount > 0 && socket.bufferedAmount < 3 * chunk.length, `${socket.bufferedAmount} bytes`);
    peer.socket.resume();
    for (let i = 0; i < 40; i++)
        assert.equal((await peer.next('call.responded')).payload.output.length, chunk.length);
});

test('serve: a remote that asks on and on and reads nothing is cut off', async (t) => {
    const { client, peer } = await serving(t, { 'ui/echo': echo }, { reconnect: false });
    peer.socket.pause();
    const closed = inTime(new Promise((resolve) => client.addEventListener('close', resolve)), 'the close');
    const name = `ui/${'n'.repeat(250)}`;
    let asked = 0;
    while (client.state === 'open' && asked < 400_000) {
        for (let i = 0; i < 1000; i++, asked++)
            peer.ask(name);
        await pause(1);
    }
    const { code, reason } = await closed;
    assert.deepEqual([code, reason], [4009, 'the remote does not read']);
});

test('announce: says so on connecting only when something is served', async (t) => {
    const { peer } = await open(t, { operations: {} });
    await peer.quiet();
    await serving(t, { 'ui/echo': echo });
});

test('announce: says so on every change, and while it says so once more at most', async (t) => {
    const { client, peer } = await open(t);
    let announced = 0;
    client.addEventListener('announced', () => announced++);
    client.serve({ 'ui/echo': echo });
    const first = await peer.next('call.requested');
    assert.equal(await peer.get('ui/echo', 1), 1);
    client.serve({ 'ui/one': echo });
    client.serve({ 'ui/two': echo });
    await peer.quiet();
    peer.respond(first.id, {});
    const second = await peer.next('call.requested');
    assert.deepEqual(second.payload, { operationId: '/services/announce', input: {} });
    assert.equal((await peer.error('ui/echo')).code, 'NOT_FOUND');
    assert.equal((await peer.error('ui/one')).code, 'NOT_FOUND');
    assert.equal(await peer.get('ui/two', 1), 1);
    peer.respond(second.id, {});
    await peer.quiet();
    client.serve({});
    peer.respond((await peer.next('call.requested')).id, {});
    assert.equal((await peer.error('ui/two')).code, 'NOT_FOUND');
    assert.equal(announced, 3);
});

test('announce: a failure is reported, and one that may pass is tried again', async (t) => {
    const { client, hub, peer } = await open(t, { operations: { 'ui/echo': echo } });
    const first = await peer.next('call.requested');
    peer.send('call.error', first.id, { code: 'BUSY', message: 'later', retryable: true });
    await until(() => client.errors.length === 1, 'the report');
    assert.deepEqual([client.errors[0].operation, client.errors[0].error.code], ['services/announce', 'BUSY']);
    const again = await peer.next('call.requested');
    assert.equal(again.payload.operationId, '/services/announce');
    peer.send('call.error', again.id, { code: 'FORBIDDEN', message: 'no', retryable: false });
    await until(() => client.errors.length === 2, 'the report');
    await pause(50);
    await peer.quiet();
    client.serve({ 'ui/other': echo });
    await peer.next('call.requested');
    peer.socket.terminate(); // which the next connection makes good
    const next = await hub.peer();
    next.respond((await next.next('call.requested')).id, {});
    await next.quiet();
    assert.equal(client.errors.length, 2);
});

test('serve: what runs goes on when something else is served', async (t) => {
    let release;
    const { client, peer } = await serving(t, {
        'ui/wait': { type: 'query', handler: () => new Promise((resolve) => (release = resolve)) },
    });
    const id = peer.ask('ui/wait');
    await peer.quiet();
    client.serve({});
    await peer.next('call.requested');
    release('done');
    assert.equal((await peer.next('call.responded')).id, id);
});

test('discovery: services/list is what the contract says', async (t) => {
    const operations = {
        'ui/show': { type: 'mutation', description: 'Shows a Message', handler: () => {} },
        'ui/clock': { type: 'subscription', handler: () => [] },
        'files/read': { type: 'query', description: 'Reads', handler: () => {} },
        'ping': { type: 'query', handler: () => {} },
    };
    const { peer } = await serving(t, operations);
    const all = await peer.get('services/list', {});
    const own = [
        { name: 'files/read', namespace: 'files', op_type: 'query', description: 'Reads' },
        { name: 'ping', namespace: 'ping', op_type: 'query' },
        {
            name: 'services/list',
            namespace: 'services',
            op_type: 'query',
            description: 'The operations that the caller may call, sorted by name',
        },
        {
            name: 'services/schema',
            namespace: 'services',
            op_type: 'query',
            description: 'The whole specification of one operation',
        },
        { name: 'ui/clock', namespace: 'ui', op_type: 'subscription' },
        { name: 'ui/show', namespace: 'ui', op_type: 'mutation', description: 'Shows a Message' },
    ];
    assert.deepEqual(all, { operations: own });
    const names = async (input) => (await peer.get('services/list', input)).operations.map((op) => op.name);
    assert.deepEqual(await names({ q: 'mess' }), ['ui/show']);
    assert.deepEqual(await names({ q: 'UI/' }), ['ui/clock', 'ui/show']);
    assert.deepEqual(await names({ q: '/ui/s' }), ['ui/show']);
    assert.deepEqual(await names({ namespace: 'ui' }), ['ui/clock', 'ui/show']);
    assert.deepEqual(await names({ namespace: 'u' }), []);
    assert.deepEqual(await names({ op_type: 'subscription' }), ['ui/clock']);
    assert.deepEqual(await names({ q: 'ui', op_type: 'mutation', namespace: 'ui', limit: 1 }), ['ui/show']);
    const pages = [];
    for (let cursor; ;) {
        const page = await peer.get('services/list', { limit: 2, ...(cursor && { cursor }) });
        assert.equal(page.operations.length, 2);
        pages.push(...page.operations);
        cursor = page.next_cursor;
        if (!cursor)
            break;
    }
    assert.deepEqual(pages, own);
});

test('discovery: services/schema is the whole specification', async (t) => {
    const { peer } = await serving(t, {
        'ui/echo': echo,
        'ui/full': {
            type: 'subscription',
            description: 'Everything',
            inputSchema: { type: 'object', properties: { id: { type: 'string' } } },
            outputSchema: true,
            errors: [
                { code: 'UI_GONE', description: 'It is gone', schema: { type: 'null' }, httpStatus: 410 },
                { code: 'UI_ODD' },
            ],
            access: {
                requiredScopes: ['a', 'b'],
                requiredScopesAny: ['c'],
                resourceType: 'doc',
                resourceAction: 'read',
                authenticated: true,
            },
            resourceIdPath: '/id',
            handler: () => [],
        },
    });
    const whole = async (name) => JSON.stringify(await peer.get('services/schema', { name }));
    assert.equal(await whole('ui/echo'), '{"name":"ui/echo","namespace":"ui","op_type":"query",' +
        '"visibility":"external","input_schema":null,"output_schema":null,"error_schemas":[],' +
        '"access_control":{"required_scopes":[],"required_scopes_any":null,"resource_type":null,' +
        '"resource_action":null}}');
    assert.equal(await whole('/ui/full'), '{"name":"ui/full","namespace":"ui","op_type":"subscription",' +
        '"visibility":"external","input_schema":{"type":"object","properties":{"id":{"type":"string"}}},' +
        '"output_schema":true,"error_schemas":[{"code":"UI_GONE","description":"It is gone","schema":{"type":"null"},' +
        '"http_status":410},{"code":"UI_ODD","description":"","schema":null,"http_status":null}],' +
        '"access_control":{"required_scopes":["a","b"],"required_scopes_any":["c"],"resource_type":"doc",' +
        '"resource_action":"read","authenticated":true},"resource_id_path":"/id","description":"Everything"}');
    assert.equal((await peer.get('services/schema', { name: 'services/schema', peer: 'local' })).op_type, 'query');
    assert.deepEqual(await peer.error('services/schema', { name: 'ui/none' }),
        { code: 'NOT_FOUND', message: 'operation not found: ui/none', retryable: false });
    assert.equal((await peer.error('services/schema', { name: 'ui/echo', peer: 'other' })).code, 'NOT_FOUND');
});

test('discovery: a bad input is INVALID_INPUT, in the words of the library', async (t) => {
    const { client, peer } = await open(t);
    const cases = [
        ['services/list', null, '', 'type', 'expected object, got null'],
        ['services/list', [], '', 'type', 'expected object, got array'],
        ['services/list', { q: 1 }, '/q', 'type', 'expected string, got integer'],
        ['services/list', { limit: 0 }, '/limit', 'minimum', 'must be >= 1'],
        ['services/list', { limit: 1.5 }, '/limit', 'type', 'expected integer, got number'],
        ['services/list', { limit: false }, '/limit', 'type', 'expected integer, got boolean'],
        ['services/list', { op_type: 'other' }, '/op_type', 'enum', 'must be one of "query", "mutation", "subscription"'],
        ['services/list', { 'o/~r': 1 }, '/o~1~0r', 'additionalProperties', 'unexpected member "o/~r"'],
        ['services/list', JSON.parse('{"__proto__":1}'), '/__proto__', 'additionalProperties', 'unexpected member "__proto__"'],
        ['services/schema', {}, '', 'required', 'missing required member "name"'],
        ['services/schema', { name: null }, '/name', 'type', 'expected string, got null'],
    ];
    for (const [operation, input, path, keyword, message] of cases) {
        peer.ask(operation, input, {}, 'x');
        const { payload } = await peer.next('call.error');
        assert.equal(payload.code, 'INVALID_INPUT');
        assert.deepEqual(payload.details.errors, [{ path, keyword, message }]);
        assert.equal(payload.message, `${path || 'input'}: ${message} (${keyword})`);
    }
    assert.deepEqual(client.errors, []);
});

test('serve: definitions that no hub would take are refused here', async (t) => {
    const { client, peer } = await open(t);
    const ok = { type: 'query', handler: () => {} };
    const many = (n, op) => Object.fromEntries(Array.from({ length: n }, (_, i) => [`a/b${i}`, op]));
    const nested = { not: {} };
    for (let i = 0, at = nested; i < 120; i++)
        at = at.not = { not: {} };
    const bad = [
        [{ 'a b': ok }, /a name is segments/],
        [{ '': ok }, /a name is segments/],
        [{ 'a//b': ok }, /a name is segments/],
        [{ 'a/..': ok }, /a name is segments/],
        [{ [`a/${'b'.repeat(300)}`]: ok }, /at most 256/],
        [{ 'services/mine': ok }, /reserved/],
        [{ '/peers/mine': ok }, /reserved/],
        [{ 'a/b': ok, '/a/b': ok }, /twice/],
        [{ 'a/b': { ...ok, type: 'stream' } }, /type: must be one of/],
        [{ 'a/b': { ...ok, handler: 1 } }, /handler: must be a function/],
        [{ 'a/b': { ...ok, description: 1 } }, /description: must be a string/],
        [{ 'a/b': { ...ok, inputSchema: [] } }, /inputSchema: must be an object or a boolean/],
        [{ 'a/b': { ...ok, input_schema: {} } }, /input_schema: unknown/],
        [{ 'a/b': { ...ok, access: { required_scopes: ['x'] } } }, /access\.required_scopes: unknown/],
        [{ 'a/b': { ...ok, access: { requiredScopes: 'x' } } }, /requiredScopes: must be an array/],
        [{ 'a/b': { ...ok, access: { requiredScopesAny: [] } } }, /requiredScopesAny: must be an array/],
        [{ 'a/b': { ...ok, access: { resourceAction: 'x' } } }, /needs a resourceType/],
        [{ 'a/b': { ...ok, access: { authenticated: 'yes' } } }, /authenticated: must be true or false/],
        [{ 'a/b': { ...ok, access: 'anyone' } }, /access: must be an object/],
        [{ 'a/b': { ...ok, errors: {} } }, /errors: must be an array/],
        [{ 'a/b': { ...ok, errors: [{ code: 'A' }, { code: 'A' }] } }, /errors\[1\]\.code: is there twice/],
        [{ 'a/b': { ...ok, errors: [{ code: 'A', httpStatus: 200 }] } }, /httpStatus: must be 400 to 599/],
        [{ 'a/b': { ...ok, resourceIdPath: '/x' } }, /resourceIdPath/],
        [{ 'a/b': { ...ok, resourceIdPath: 'x', access: { resourceType: 'doc' } } }, /resourceIdPath/],
        [{ 'a/b': { ...ok, inputSchema: { const: 'x'.repeat(70_000) } } }, /at most 65536/],
        [{ 'a/b': { ...ok, inputSchema: nested } }, /nested deeper/],
        [many(4097, ok), /more than 4096/],
        [many(200, { ...ok, description: 'x'.repeat(60_000) }), /more than 8388608/],
        [[], /must be an object/],
        [{ 'a/b': null }, /must be an object/],
    ];
    for (const [operations, message] of bad)
        assert.throws(() => client.serve(operations), { name: 'TypeError', message });
    await peer.quiet(); // nothing was announced
});

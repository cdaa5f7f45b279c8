import assert from 'node:assert/strict';
import test from 'node:test';
import { failure, inTime, nextEvent, open, pause, timers, until } from './hub.js';

test('subscribe: gives the values in order and ends when completed', async (t) => {
    const { client, peer } = await open(t);
    const values = client.subscribe('demo/clock', { count: 3 });
    const { id, payload } = await peer.next('call.requested');
    assert.deepEqual(payload, { operationId: '/demo/clock', input: { count: 3 } });
    const seen = [];
    const loop = (async () => {
        for await (const value of values)
            seen.push(value);
    })();
    for (const tick of [1, 2, 3])
        peer.respond(id, { tick });
    peer.send('call.completed', id, {});
    await inTime(loop, 'the end');
    assert.deepEqual(seen, [{ tick: 1 }, { tick: 2 }, { tick: 3 }]);
    assert.deepEqual(await values.next(), { value: undefined, done: true });
    await peer.quiet();
});

test('subscribe: values that come before they are asked for are kept', async (t) => {
    const { client, peer } = await open(t);
    const values = client.subscribe('demo/clock');
    const { id } = await peer.next('call.requested');
    peer.respond(id, 1);
    peer.respond(id, null);
    peer.send('call.completed', id, {});
    await peer.quiet();
    const seen = [];
    for await (const value of values)
        seen.push(value);
    assert.deepEqual(seen, [1, null]);
});

test('subscribe: several readers get a value each, in order', async (t) => {
    const { client, peer } = await open(t);
    const values = client.subscribe('demo/clock');
    const { id } = await peer.next('call.requested');
    const readers = [values.next(), values.next(), values.next()];
    peer.respond(id, 'a');
    peer.respond(id, 'b');
    peer.send('call.completed', id, {});
    assert.deepEqual(await inTime(Promise.all(readers), 'values'),
        [{ value: 'a', done: false }, { value: 'b', done: false }, { value: undefined, done: true }]);
});

test('subscribe: an error comes once, after the values before it', async (t) => {
    const { client, peer } = await open(t);
    const values = client.subscribe('demo/clock');
    const { id } = await peer.next('call.requested');
    peer.respond(id, 1);
    peer.send('call.error', id, { code: 'DEMO_STOPPED', message: 'no more', retryable: false });
    await peer.quiet();
    assert.equal((await values.next()).value, 1);
    assert.equal((await failure(values.next())).code, 'DEMO_STOPPED');
    assert.equal((await values.next()).done, true);
});

test('subscribe: leaving the loop aborts the call', async (t) => {
    const { client, peer } = await open(t);
    const values = client.subscribe('demo/clock');
    const { id } = await peer.next('call.requested');
    peer.respond(id, 1);
    peer.respond(id, 2);
    for await (const value of values) {
        assert.equal(value, 1);
        break;
    }
    assert.equal((await peer.next('call.aborted')).id, id);
    assert.equal((await values.next()).done, true);
    peer.respond(id, 3);
    await peer.quiet();
});

test('subscribe: return() and throw() end waiting readers and abort once', async (t) => {
    const { client, peer } = await open(t);
    const values = client.subscribe('demo/clock');
    const { id } = await peer.next('call.requested');
    const reader = values.next();
    assert.deepEqual(await values.return('bye'), { value: 'bye', done: true });
    assert.equal((await inTime(reader, 'the end')).done, true);
    assert.equal((await peer.next('call.aborted')).id, id);
    const error = new Error('mine');
    assert.equal(await failure(values.throw(error)), error);
    await peer.quiet();
});

test('subscribe: an aborted signal sends call.aborted and fails with its reason', async (t) => {
    const { client, peer } = await open(t);
    const controller = new AbortController();
    const values = client.subscribe('demo/clock', null, { signal: controller.signal });
    const { id } = await peer.next('call.requested');
    peer.respond(id, 'kept');
    await peer.quiet();
    const reason = new Error('enough');
    controller.abort(reason);
    assert.equal((await peer.next('call.aborted')).id, id);
    assert.equal(await failure(values.next()), reason);
    assert.equal((await values.next()).done, true);

    const waiting = client.subscribe('demo/clock', null, { signal: AbortSignal.timeout(20) });
    await peer.next('call.requested');
    assert.equal((await failure(waiting.next())).name, 'TimeoutError');
    await peer.next('call.aborted');

    const never = client.subscribe('demo/clock', null, { signal: AbortSignal.abort(reason) });
    assert.equal(await failure(never.next()), reason);
    await peer.quiet();
});

test('subscribe: has no deadline unless one is given', async (t) => {
    const { client, peer } = await open(t);
    const values = client.subscribe('demo/clock', null, { timeout: 40 });
    const { id, payload } = await peer.next('call.requested');
    assert.equal(payload.timeout_ms, 40);
    peer.respond(id, 1);
    assert.equal((await values.next()).value, 1);
    assert.equal((await failure(values.next())).code, 'TIMEOUT');
    assert.equal((await peer.next('call.aborted')).id, id);

    client.subscribe('demo/clock');
    assert.ok(!('timeout_ms' in (await peer.next('call.requested')).payload));
});

test('subscribe: a consumer that does not keep up gets what was kept, then TOO_SLOW', async (t) => {
    const { client, peer } = await open(t);
    const values = client.subscribe('demo/flood');
    const { id } = await peer.next('call.requested');
    const chunk = 'x'.repeat(100 << 10);
    for (let i = 0; i < 12; i++)
        peer.respond(id, chunk + i);
    assert.equal((await peer.next('call.aborted')).id, id);
    await peer.quiet();
    for (let i = 0; i < 10; i++)
        assert.equal((await values.next()).value, chunk + i);
    const error = await failure(values.next());
    assert.deepEqual([error.code, error.retryable], ['TOO_SLOW', false]);
    assert.equal((await values.next()).done, true);
});

test('subscribe: what has been taken makes room again', async (t) => {
    const { client, peer } = await open(t);
    const values = client.subscribe('demo/flood', null, { highWater: 1000 });
    const { id } = await peer.next('call.requested');
    peer.respond(id, 'x'.repeat(300) + 0);
    for (let i = 0; i < 50; i++) {
        peer.respond(id, 'x'.repeat(300) + (i + 1));
        await peer.quiet();
        assert.equal((await values.next()).value, 'x'.repeat(300) + i);
    }
    await values.next();
    peer.respond(id, 'y'.repeat(5000)); // one alone always fits
    await peer.quiet();
    assert.equal((await values.next()).value.length, 5000);
    await values.return();
    assert.equal((await peer.next('call.aborted')).id, id);
});

test('subscribe: a consumer that keeps up takes any amount', async (t) => {
    const { client, peer } = await open(t);
    const values = client.subscribe('demo/flood');
    const { id } = await peer.next('call.requested');
    const chunk = 'x'.repeat(1 << 20);
    let bytes = 0;
    const loop = (async () => {
        for await (const value of values)
            bytes += value.length;
    })();
    for (let i = 0; i < 16; i++) {
        peer.respond(id, chunk);
        await pause(1);
    }
    peer.send('call.completed', id, {});
    await inTime(loop, 'the end');
    assert.equal(bytes, 16 << 20);
});

test('subscribe: ends with the connection', async (t) => {
    const { client, peer } = await open(t, { reconnect: false });
    const values = client.subscribe('demo/clock');
    await peer.next('call.requested');
    peer.socket.close();
    const error = await failure(values.next());
    assert.deepEqual([error.code, error.message], ['INTERNAL', 'connection closed']);
    assert.equal((await failure(client.subscribe('demo/clock').next())).code, 'INTERNAL');
});

test('subscribe: an input that cannot be sent fails the first value', async (t) => {
    const { client, peer } = await open(t);
    assert.equal((await failure(client.subscribe('demo/clock', 1n).next())).code, 'INVALID_INPUT');
    assert.throws(() => client.subscribe(''), TypeError);
    assert.throws(() => client.subscribe('demo/clock', null, { highWater: 'much' }), TypeError);
    await peer.quiet();
});

const BUSY = { code: 'BUSY', message: 'shutting down', retryable: true };

/* What a loop over it gets, and how it ends. */
function follow(subscription) {
    const told = { seen: [] };
    told.end = (async () => {
        for await (const value of subscription)
            told.seen.push(value);
    })();
    told.end.catch(() => {});
    return told;
}

test('resume: asks again after BUSY and after a loss, and says so', async (t) => {
    const { client, hub, peer } = await open(t);
    const events = [];
    client.addEventListener('resuming', (event) => events.push(event));
    const told = follow(client.subscribe('/demo/clock', { count: 9 }, { resume: true }));
    const first = await peer.next('call.requested');
    peer.respond(first.id, 1);
    peer.send('call.error', first.id, BUSY);
    const second = await peer.next('call.requested');
    assert.deepEqual(second.payload, { operationId: '/demo/clock', input: { count: 9 } });
    assert.notEqual(second.id, first.id);
    peer.respond(second.id, 2);
    await until(() => told.seen.length === 2, 'two values');
    peer.socket.close(1001, 'shutting down');
    const again = await hub.peer();
    const third = await again.next('call.requested');
    again.respond(third.id, 3);
    again.send('call.completed', third.id, {});
    await inTime(told.end, 'the end');
    assert.deepEqual(told.seen, [1, 2, 3]);
    assert.deepEqual(events.map(({ operation, error }) => [operation, error.code, error.message]),
        [['demo/clock', 'BUSY', 'shutting down'], ['demo/clock', 'INTERNAL', 'connection closed']]);
    assert.ok(events.every(({ delay }) => delay >= 250 && delay <= 500));
    assert.deepEqual(events[1].error.details, { code: 1001, reason: 'shutting down' });
    await again.quiet();
});

test('resume: waits longer each time, until there is a value', async (t) => {
    const { client, peer } = await open(t);
    const real = globalThis.setTimeout;
    globalThis.setTimeout = (callback, ms, ...rest) => real(callback, ms > 200 && ms % 1 ? 1 : ms, ...rest);
    t.after(() => {
        globalThis.setTimeout = real;
    });
    const delays = [];
    client.addEventListener('resuming', ({ delay }) => delays.push(delay));
    const values = client.subscribe('demo/clock', {}, { resume: true });
    for (let i = 0; i < 9; i++)
        peer.send('call.error', (await peer.next('call.requested')).id, BUSY);
    const { id } = await peer.next('call.requested');
    peer.respond(id, 1);
    peer.send('call.error', id, BUSY);
    await peer.next('call.requested');
    delays.forEach((delay, i) => assert.ok(delay >= 250 && delay <= Math.min(30_000, 500 * 2 ** (i % 9)), `${i}: ${delay}`));
    assert.ok(Math.max(...delays) > 1000);
    assert.equal(delays.length, 10);
    await values.return();
    await peer.next('call.aborted');
});

test('resume: other ends are ends, and without it all are', async (t) => {
    const { client, peer } = await open(t);
    for (const [options, fault] of [[{ resume: true }, { code: 'X', message: '', retryable: true }],
        [{ resume: true }, { code: 'INTERNAL', message: 'internal error', retryable: false }], [{}, BUSY]]) {
        const value = failure(client.subscribe('demo/clock', {}, options).next());
        peer.send('call.error', (await peer.next('call.requested')).id, fault);
        assert.equal((await value).code, fault.code);
    }
    await peer.quiet();
});

test('resume: leaving, the signal and close() end the wait as well', async (t) => {
    const { client, peer } = await open(t);
    const waiting = async (options) => {
        const resuming = nextEvent(client, 'resuming');
        const values = client.subscribe('demo/clock', {}, { resume: true, ...options });
        peer.send('call.error', (await peer.next('call.requested')).id, BUSY);
        await resuming;
        return values;
    };
    const before = timers();
    const left = await waiting();
    await left.return();
    assert.deepEqual(await left.next(), { value: undefined, done: true });
    const controller = new AbortController();
    const reason = new Error('enough');
    const aborted = failure((await waiting({ signal: controller.signal })).next());
    controller.abort(reason);
    assert.equal(await aborted, reason);
    await until(() => timers() === before, 'the timers to go');
    await peer.quiet();
    const lost = failure((await waiting()).next());
    client.close();
    assert.equal((await lost).message, 'connection closed');
    await until(() => timers() <= before, 'the timers to go');
});

test('resume: not when the client does not reconnect', async (t) => {
    const { client, peer } = await open(t, { reconnect: false });
    const value = failure(client.subscribe('demo/clock', {}, { resume: true }).next());
    await peer.next('call.requested');
    peer.socket.close(1001, 'shutting down');
    const error = await value;
    assert.deepEqual([error.message, error.details], ['connection closed', { code: 1001, reason: 'shutting down' }]);
});

import assert from 'node:assert/strict';
import test from 'node:test';
import { failure, inTime, open, pause } from './hub.js';

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

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import test from 'node:test';
import { AlknetError } from '../alknet.js';
import { advanceClock, failure, open, pause, timers, until } from './hub.js';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

test('call: sends one request and gives the output', async (t) => {
    const { client, peer } = await open(t);
    const promise = client.call('demo/add', { a: 1, b: 2 });
    const { id, payload } = await peer.next('call.requested');
    assert.match(id, UUID);
    assert.deepEqual(payload, { operationId: '/demo/add', input: { a: 1, b: 2 } });
    peer.respond(id, { sum: 3 });
    assert.deepEqual(await promise, { sum: 3 });
    await peer.quiet();
});

test('call: a leading slash is accepted, a missing input is {}, a missing output null', async (t) => {
    const { client, peer } = await open(t);
    const promise = client.call('/demo/nothing');
    const { id, payload } = await peer.next('call.requested');
    assert.deepEqual(payload, { operationId: '/demo/nothing', input: {} });
    peer.send('call.responded', id, {});
    assert.equal(await promise, null);
});

test('call: answers find their calls in any order', async (t) => {
    const { client, peer } = await open(t);
    const promises = [1, 2, 3].map((n) => client.call('demo/n', n));
    const requests = [];
    for (const n of [1, 2, 3]) {
        requests.push(await peer.next('call.requested'));
        assert.equal(requests.at(-1).payload.input, n);
    }
    assert.equal(new Set(requests.map((r) => r.id)).size, 3);
    for (const { id, payload } of requests.reverse())
        peer.respond(id, payload.input * 10);
    assert.deepEqual(await Promise.all(promises), [10, 20, 30]);
});

test('call: an error has code, message, retryable and details', async (t) => {
    const { client, peer } = await open(t);
    const promise = client.call('demo/fail');
    const { id } = await peer.next('call.requested');
    peer.send('call.error', id, { code: 'DEMO_CONFLICT', message: 'taken', retryable: true, details: { holder: 'x' } });
    const error = await failure(promise);
    assert.ok(error instanceof AlknetError && error instanceof Error);
    assert.equal(error.name, 'AlknetError');
    assert.equal(error.code, 'DEMO_CONFLICT');
    assert.equal(error.message, 'taken');
    assert.equal(error.retryable, true);
    assert.deepEqual(error.details, { holder: 'x' });
});

test('call: a malformed error is INTERNAL', async (t) => {
    const { client, peer } = await open(t);
    for (const payload of [null, {}, 'no', { code: 1, message: '', retryable: false }, { code: 'X', message: 'm' },
        { code: '', message: 'm', retryable: true }]) {
        const promise = client.call('demo/fail');
        const { id } = await peer.next('call.requested');
        peer.send('call.error', id, payload);
        const error = await failure(promise);
        assert.deepEqual([error.code, error.message, error.retryable], ['INTERNAL', 'internal error', false]);
    }
});

test('call: a completion without a value is INTERNAL', async (t) => {
    const { client, peer } = await open(t);
    const promise = client.call('demo/none');
    const { id } = await peer.next('call.requested');
    peer.send('call.completed', id, {});
    const error = await failure(promise);
    assert.deepEqual([error.code, error.message], ['INTERNAL', 'no result']);
});

test('call: one that the remote aborts is INTERNAL', async (t) => {
    const { client, peer } = await open(t);
    const promise = client.call('demo/none');
    const { id } = await peer.next('call.requested');
    peer.send('call.aborted', id, {});
    const error = await failure(promise);
    assert.deepEqual([error.code, error.message], ['INTERNAL', 'aborted by the remote']);
    await peer.quiet();
});

test('call: an aborted signal sends call.aborted and fails with its reason', async (t) => {
    const { client, peer } = await open(t);
    const controller = new AbortController();
    const promise = client.call('demo/sleep', { ms: 1 }, { signal: controller.signal });
    const { id } = await peer.next('call.requested');
    const reason = new Error('enough');
    controller.abort(reason);
    assert.equal(await failure(promise), reason);
    const aborted = await peer.next('call.aborted');
    assert.equal(aborted.id, id);
    assert.deepEqual(aborted.payload, {});
    peer.respond(id, 'too late');
    await peer.quiet();
});

test('call: a signal that is aborted already sends nothing', async (t) => {
    const { client, peer } = await open(t);
    const error = await failure(client.call('demo/echo', 1, { signal: AbortSignal.abort() }));
    assert.equal(error.name, 'AbortError');
    await peer.quiet();
});

test('call: an abort after the answer does nothing', async (t) => {
    const { client, peer } = await open(t);
    const controller = new AbortController();
    const promise = client.call('demo/echo', 1, { signal: controller.signal });
    peer.respond((await peer.next('call.requested')).id, 'done');
    assert.equal(await promise, 'done');
    controller.abort();
    await peer.quiet();
});

test('call: a time-out goes along, fails here and aborts there', async (t) => {
    const { client, peer } = await open(t);
    const started = performance.now();
    const promise = client.call('demo/sleep', null, { timeout: 50.5 });
    const { id, payload } = await peer.next('call.requested');
    assert.equal(payload.timeout_ms, 51);
    const error = await failure(promise);
    assert.ok(performance.now() - started >= 45);
    assert.deepEqual([error.code, error.retryable], ['TIMEOUT', true]);
    assert.equal((await peer.next('call.aborted')).id, id);
});

test('call: without a time-out given, 30 s; with Infinity, none', async (t) => {
    const { client, peer } = await open(t);
    const timers = [];
    const real = globalThis.setTimeout;
    globalThis.setTimeout = (callback, ms, ...rest) => {
        timers.push(ms);
        return real(callback, ms, ...rest);
    };
    t.after(() => {
        globalThis.setTimeout = real;
    });
    const first = client.call('demo/echo', 1);
    assert.deepEqual(timers, [30_000]);
    const second = client.call('demo/echo', 1, { timeout: Infinity });
    assert.deepEqual(timers, [30_000]);
    for (let i = 0; i < 2; i++) {
        const { id, payload } = await peer.next('call.requested');
        assert.ok(!('timeout_ms' in payload));
        peer.respond(id, i);
    }
    assert.deepEqual(await Promise.all([first, second]), [0, 1]);
});

test('call: a time-out that is no positive number is refused', async (t) => {
    const { client, peer } = await open(t);
    for (const timeout of [0, -1, NaN, '5'])
        await assert.rejects(client.call('demo/echo', 1, { timeout }), TypeError);
    await assert.rejects(client.call(undefined), TypeError);
    await peer.quiet();
});

test('call: traceparent goes along', async (t) => {
    const { client, peer } = await open(t);
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const promise = client.call('demo/echo', 1, { traceparent });
    const { id, payload } = await peer.next('call.requested');
    assert.equal(payload.traceparent, traceparent);
    peer.respond(id, null);
    await promise;
});

test('call: the first value after the answer is answered with one abort', async (t) => {
    const { client, peer } = await open(t);
    const promise = client.call('demo/clock');
    const { id } = await peer.next('call.requested');
    peer.respond(id, 1);
    assert.equal(await promise, 1);
    peer.respond(id, 2);
    peer.respond(id, 3);
    assert.equal((await peer.next('call.aborted')).id, id);
    await peer.quiet();
});

test('call: after 30 s the id of an answered call is forgotten', async (t) => {
    const { client, peer } = await open(t);
    const promise = client.call('demo/clock');
    const { id } = await peer.next('call.requested');
    peer.respond(id, 1);
    await promise;
    advanceClock(t, 30_001);
    peer.respond(id, 2);
    await peer.quiet();
});

test('call: of ids of answered calls the newest 1,024 are remembered', async (t) => {
    const { client, peer } = await open(t);
    const ids = [];
    for (let i = 0; i < 1025; i++) {
        const promise = client.call('demo/echo');
        ids.push((await peer.next('call.requested')).id);
        peer.respond(ids.at(-1), i);
        await promise;
    }
    peer.respond(ids[0], 'again');
    peer.respond(ids[1], 'again');
    assert.equal((await peer.next('call.aborted')).id, ids[1]);
    await peer.quiet();
});

test('call: answers to calls never made are ignored', async (t) => {
    const { client, peer } = await open(t);
    peer.respond('nobody', 1);
    peer.send('call.completed', 'nobody', {});
    peer.send('call.error', 'nobody', { code: 'X', message: 'm', retryable: false });
    await peer.quiet();
    assert.equal(client.state, 'open');
});

test('call: what is no JSON value is INVALID_INPUT and not sent', async (t) => {
    const { client, peer } = await open(t);
    const cycle = {};
    cycle.self = cycle;
    let deep = 0;
    for (let i = 0; i < 127; i++)
        deep = [deep];
    for (const input of [cycle, 1n, () => {}, Symbol('x'), '\ud800', { '\udc00x': 1 }, 'x'.repeat(4 << 20), deep]) {
        const error = await failure(client.call('demo/echo', input));
        assert.equal(error.code, 'INVALID_INPUT');
        assert.match(error.message, /^the input cannot be sent: ./);
    }
    const fine = client.call('demo/echo', ['\\ud800 is only text', '\u{1f600}', deep[0][0]]);
    const { id, payload } = await peer.next('call.requested');
    assert.deepEqual(payload.input, ['\\ud800 is only text', '\u{1f600}', deep[0][0]]);
    peer.respond(id, payload.input);
    assert.deepEqual(await fine, payload.input);
});

test('call: more than 1,024 pending calls are BUSY', async (t) => {
    const { client, peer } = await open(t);
    const calls = Array.from({ length: 1024 }, (_, i) => client.call('demo/echo', i));
    const error = await failure(client.call('demo/echo', 'one more'));
    assert.deepEqual([error.code, error.retryable], ['BUSY', true]);
    for (let i = 0; i < 1024; i++)
        peer.respond((await peer.next('call.requested')).id, i);
    assert.equal((await Promise.all(calls)).length, 1024);
    const again = client.call('demo/echo');
    peer.respond((await peer.next('call.requested')).id, 'room');
    assert.equal(await again, 'room');
});

test('call: the loss of the connection fails what is pending, close() too', async (t) => {
    const { client, peer } = await open(t, { reconnect: false });
    const lost = failure(client.call('demo/sleep'));
    await peer.next('call.requested');
    peer.socket.terminate();
    const first = await lost;
    assert.deepEqual([first.code, first.message, first.retryable], ['INTERNAL', 'connection closed', false]);

    const other = await open(t);
    const pending = failure(other.client.call('demo/sleep'));
    await other.peer.next('call.requested');
    other.client.close();
    assert.equal((await pending).message, 'connection closed');
    assert.equal((await failure(other.client.call('demo/echo'))).message, 'connection closed');
    assert.deepEqual(await other.peer.closed, { code: 1000, reason: '' });
});

test('call: pending calls leave no timers or listeners behind', async (t) => {
    const { client, peer } = await open(t);
    const controller = new AbortController();
    const { signal } = controller;
    let listeners = 0;
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = function (...args) {
        listeners++;
        return addEventListener.apply(this, args);
    };
    signal.removeEventListener = function (...args) {
        listeners--;
        return removeEventListener.apply(this, args);
    };
    const before = timers();
    const promise = client.call('demo/echo', 1, { signal, timeout: 60_000 });
    assert.equal(listeners, 1);
    assert.equal(timers(), before + 1);
    peer.respond((await peer.next('call.requested')).id, 1);
    await promise;
    assert.equal(listeners, 0);
    await until(() => timers() === before, 'the timer to go');
    await peer.quiet();
});

test('call: any number of calls wait for one signal with one listener', async (t) => {
    const { client, peer } = await open(t);
    const warnings = [];
    const onWarning = (warning) => warnings.push(warning);
    process.on('warning', onWarning);
    t.after(() => process.off('warning', onWarning));
    const controller = new AbortController();
    const { signal } = controller;
    const calls = Array.from({ length: 20 }, (_, i) => client.call('demo/sleep', i, { signal }));
    const ids = [];
    for (let i = 0; i < 20; i++)
        ids.push((await peer.next('call.requested')).id);
    assert.equal(getEventListeners(signal, 'abort').length, 1);
    peer.respond(ids[0], 'done');
    assert.equal(await calls[0], 'done');
    controller.abort();
    for (const call of calls.slice(1))
        assert.equal((await failure(call)).name, 'AbortError');
    for (const id of ids.slice(1))
        assert.equal((await peer.next('call.aborted')).id, id);
    assert.equal(getEventListeners(signal, 'abort').length, 0);
    await pause(10);
    assert.deepEqual(warnings, []);
    await peer.quiet();
});

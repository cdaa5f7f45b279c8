/* Against the real hub: the daemon in the folder that ALKNET_BIN names, with its demo operations. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, openSync, closeSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { AlknetError, connect } from '../alknet.js';
import { collectErrors, failure, inTime, nextEvent, nodeOptions, until } from './hub.js';

const folder = process.env.ALKNET_BIN;
const options = { skip: folder ? false : 'ALKNET_BIN does not name the folder of alknetd', timeout: 60_000 };

const newToken = () => `alk_${randomBytes(24).toString('hex')}`;
const keyFor = (token, ...scopes) => ({
    prefix: token.slice(0, 8),
    hash: createHash('sha256').update(token).digest('hex'),
    scopes,
    description: 'of a test',
});

class Daemon {
    token = newToken();
    #home = mkdtempSync(join(tmpdir(), 'alknet-js.'));
    #log = join(this.#home, 'log');
    #process;
    #port = 0;
    #tls;

    /* tls: with a certificate that it signs itself, in certificate. */
    constructor(tls = false) {
        this.#tls = tls;
        this.certificate = join(this.#home, 'alknetd.crt');
    }

    /* On the port that it had before, if any. */
    async start(keys = [keyFor(this.token, 'demo:*')]) {
        const config = join(this.#home, 'alknetd.json');
        writeFileSync(config, JSON.stringify({
            listen: [{ host: '127.0.0.1', port: this.#port, tls: this.#tls }],
            demo: true,
            keys,
            log: { format: 'json' },
        }), { mode: 0o600 });
        const log = openSync(this.#log, 'w');
        this.#process = spawn(join(folder, 'alknetd'), ['--config', config], { stdio: ['ignore', log, log] });
        closeSync(log);
        await until(() => {
            assert.equal(this.#process.exitCode, null, this.log());
            const line = this.log().match(/^\{.*"listening".*\}$/m)?.[0];
            this.#port = line ? JSON.parse(line).port : this.#port;
            return line;
        }, 'the daemon to listen');
        this.url = `${this.#tls ? 'wss' : 'ws'}://127.0.0.1:${this.#port}/alknet/call`;
    }

    log() {
        return readFileSync(this.#log, 'utf8');
    }

    /* Must end well, without a sanitizer's report or the token in its log. */
    async stop() {
        if (this.#process.exitCode === null) {
            this.#process.kill('SIGTERM');
            await inTime(once(this.#process, 'exit'), 'the daemon to end');
        }
        assert.equal(this.#process.exitCode, 0, this.log());
        assert.doesNotMatch(this.log(), /Sanitizer|runtime error:/);
        assert.ok(!this.log().includes(this.token));
    }

    remove() {
        this.#process.kill('SIGKILL');
        rmSync(this.#home, { recursive: true });
    }
}

async function withHub(t) {
    const hub = new Daemon();
    t.after(() => hub.remove());
    await hub.start();
    const open = async (more = {}) => {
        const client = await connect(hub.url, { ...nodeOptions, token: hub.token, ...more });
        t.after(() => client.close());
        collectErrors(client);
        return client;
    };
    return { hub, open };
}

const announced = (client) => nextEvent(client, 'announced');
const back = (client, operation, input) => client.call('demo/callback', { operation, input });

test('alknetd: calls, their errors and discovery', options, async (t) => {
    const { hub, open } = await withHub(t);
    const client = await open();
    const value = { text: 'ünï \u{1f600}', list: [1, -2.5, true, null, {}] };
    assert.deepEqual(await client.call('demo/echo', value), value);
    assert.deepEqual(await client.call('demo/add', { a: 1, b: 2 }), { sum: 3 });
    const many = Array.from({ length: 500 }, (_, i) => client.call('demo/add', { a: i, b: i }));
    assert.deepEqual((await Promise.all(many)).map(({ sum }) => sum), Array.from({ length: 500 }, (_, i) => 2 * i));
    const large = 'x'.repeat(3 << 20);
    assert.equal(await client.call('demo/echo', large), large);
    const conflict = await failure(client.call('demo/fail'));
    assert.ok(conflict instanceof AlknetError);
    assert.deepEqual([conflict.code, conflict.details], ['DEMO_CONFLICT', { holder: 'nobody' }]);
    assert.equal((await failure(client.call('demo/fail', { status: 503, retryable: true }))).retryable, true);
    const invalid = await failure(client.call('demo/add', { a: 1 }));
    assert.equal(invalid.code, 'INVALID_INPUT');
    assert.equal(invalid.details.errors[0].keyword, 'required');
    assert.equal((await failure(client.call('demo/none'))).code, 'NOT_FOUND');
    const { operations } = await client.call('services/list', { namespace: 'demo' });
    assert.ok(operations.some((op) => op.name === 'demo/clock' && op.op_type === 'subscription'));
    assert.equal((await client.call('demo/whoami')).id, hub.token.slice(0, 8));
    client.close();
    await hub.stop();
});

test('alknetd: a subscription ends by itself, by leaving and by its signal', options, async (t) => {
    const { hub, open } = await withHub(t);
    const client = await open();
    const ticks = [];
    for await (const { tick } of client.subscribe('demo/clock', { interval_ms: 1, count: 20 }))
        ticks.push(tick);
    assert.deepEqual(ticks, Array.from({ length: 20 }, (_, i) => i + 1));
    for await (const { tick } of client.subscribe('demo/clock', { interval_ms: 1 })) {
        if (tick === 5)
            break;
    }
    const controller = new AbortController();
    const values = client.subscribe('demo/clock', { interval_ms: 1 }, { signal: controller.signal });
    await values.next();
    controller.abort();
    assert.equal((await failure(values.next())).name, 'AbortError');
    assert.equal(await client.call('demo/echo', 'still here'), 'still here');
    await until(() => hub.log().match(/"operation":"\/?demo\/clock"[^\n]*/g)?.length >= 3, 'three ended clocks');
    client.close();
    await hub.stop();
});

test('alknetd: abort and time-out end the handler there', options, async (t) => {
    const { hub, open } = await withHub(t);
    const client = await open();
    const controller = new AbortController();
    const aborted = failure(client.call('demo/sleep', { ms: 600_000 }, { signal: controller.signal }));
    await client.call('demo/echo', 'it runs');
    controller.abort();
    assert.equal((await aborted).name, 'AbortError');
    assert.equal((await failure(client.call('demo/sleep', { ms: 600_000 }, { timeout: 50 }))).code, 'TIMEOUT');
    await until(async () => (await client.call('demo/sleep', { ms: 0 })).cancelled === 2, 'both cancelled sleeps');
    client.close();
    await hub.stop();
});

test('alknetd: calls back what the client serves', options, async (t) => {
    const { hub, open } = await withHub(t);
    const reasons = [];
    const client = await open({
        operations: {
            'ui/echo': {
                type: 'query',
                description: 'Returns its input',
                inputSchema: { type: 'object', required: ['text'], properties: { text: { type: 'string' } } },
                handler: (input) => input,
            },
            'ui/fail': {
                type: 'query',
                errors: [{ code: 'UI_GONE', description: 'The tab is hidden', httpStatus: 410 }],
                handler: () => {
                    throw new AlknetError('UI_GONE', 'the tab is hidden');
                },
            },
            'ui/broken': {
                type: 'query',
                handler: () => {
                    throw new Error('secret');
                },
            },
            'ui/locked': { type: 'query', access: { requiredScopes: ['other:scope'] }, handler: () => 'open' },
            'ui/wait': {
                type: 'mutation',
                handler: (input, { signal }) => new Promise((resolve) => {
                    signal.addEventListener('abort', () => resolve(reasons.push(signal.reason.message)));
                }),
            },
        },
    });
    await announced(client);
    assert.deepEqual(client.errors, []);
    assert.deepEqual(await back(client, 'ui/echo', { text: 'hello' }), { text: 'hello' });
    const detailsOf = async (operation, input) => (await failure(back(client, operation, input))).details;
    assert.deepEqual(await detailsOf('ui/fail'), { code: 'UI_GONE', message: 'the tab is hidden' });
    assert.deepEqual(await detailsOf('ui/broken'), { code: 'INTERNAL', message: 'internal error' });
    assert.equal(client.errors.pop().error.message, 'secret');
    assert.equal((await detailsOf('ui/none')).code, 'NOT_FOUND');
    /* The published schema and access rule are the hub's to check. */
    assert.equal((await detailsOf('ui/echo', { text: 1 })).code, 'INVALID_INPUT');
    assert.equal((await detailsOf('ui/locked')).code, 'FORBIDDEN');
    /* An abort cascades over the hub and back. */
    const controller = new AbortController();
    const waiting = failure(client.call('demo/callback', { operation: 'ui/wait' }, { signal: controller.signal }));
    await client.call('demo/echo', 'it runs');
    controller.abort();
    await waiting;
    await until(() => reasons.length, 'the abort');
    assert.deepEqual(reasons, ['aborted by the remote']);
    client.close();
    await hub.stop();
});

test('alknetd: what is served can change', options, async (t) => {
    const { hub, open } = await withHub(t);
    const client = await open();
    assert.equal((await failure(back(client, 'ui/one'))).details.code, 'NOT_FOUND');
    const one = announced(client);
    client.serve({ 'ui/one': { type: 'query', handler: () => 1 } });
    await one;
    assert.equal(await back(client, 'ui/one'), 1);
    const two = announced(client);
    client.serve({ 'ui/two': { type: 'query', handler: () => 2 } });
    await two;
    assert.equal((await failure(back(client, 'ui/one'))).details.code, 'NOT_FOUND');
    assert.equal(await back(client, 'ui/two'), 2);
    assert.deepEqual(client.errors, []);
    client.close();
    await hub.stop();
});

test('alknetd: refuses a wrong token', options, async (t) => {
    const { hub, open } = await withHub(t);
    for (const token of [newToken(), undefined]) {
        const { code, details } = await failure(open({ token }));
        assert.deepEqual([code, details], ['UNAUTHORIZED', { status: 401 }]);
    }
    /* As in a browser, which says nothing of why: the hub is asked. */
    class Mute extends nodeOptions.WebSocket {
        addEventListener(type, listener) {
            super.addEventListener(type, type === 'error' ? () => listener({}) : listener);
        }
    }
    assert.equal((await failure(open({ token: newToken(), WebSocket: Mute }))).code, 'UNAUTHORIZED');
    await (await open({ WebSocket: Mute })).call('demo/echo');
    await hub.stop();
});

/* Whom to trust, Node reads when it starts. */
async function callFromAnotherNode(t, hub, env) {
    const script = `
        import { connect } from ${JSON.stringify(new URL('../alknet.js', import.meta.url))};
        import { WebSocket } from 'ws';
        const client = await connect(process.argv[1], { token: process.argv[2], WebSocket });
        console.log((await client.call('demo/add', { a: 1, b: 2 })).sum);
        client.close();`;
    const node = spawn(process.execPath, ['--input-type=module', '-e', script, hub.url, hub.token],
        { cwd: fileURLToPath(new URL('..', import.meta.url)), env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    t.after(() => node.kill('SIGKILL'));
    let said = '';
    for (const stream of [node.stdout, node.stderr])
        stream.setEncoding('utf8').on('data', (text) => said += text);
    const [code] = await inTime(once(node, 'close'), 'the other Node to end');
    return { code, said };
}

test('alknetd: over TLS the certificate must be trusted', options, async (t) => {
    const hub = new Daemon(true);
    t.after(() => hub.remove());
    await hub.start();
    assert.deepEqual(await callFromAnotherNode(t, hub, { NODE_EXTRA_CA_CERTS: hub.certificate }), { code: 0, said: '3\n' });
    const { code, said } = await callFromAnotherNode(t, hub, {});
    assert.equal(code, 1);
    assert.doesNotMatch(said, /^3$/m);
    await hub.stop();
});

test('alknetd: a restart loses the calls, not the client', options, async (t) => {
    const { hub, open } = await withHub(t);
    const client = await open({ operations: { 'ui/echo': { type: 'query', handler: (input) => input } } });
    await announced(client);
    const ticks = client.subscribe('demo/clock', { interval_ms: 3_600_000 });
    await ticks.next();
    const lost = nextEvent(client, 'close');
    await hub.stop();
    assert.equal((await lost).willReconnect, true);
    const ended = await failure(ticks.next());
    assert.deepEqual([ended.code, ended.message, ended.retryable], ['BUSY', 'shutting down', true]);
    const again = announced(client);
    const waiting = client.call('demo/echo', 'after');
    await hub.start();
    assert.equal(await waiting, 'after');
    await again;
    assert.equal(await back(client, 'ui/echo', 'back'), 'back');
    assert.deepEqual(client.errors, []);
    client.close();
    await hub.stop();
});

test('alknetd: a subscription that resumes survives a restart', options, async (t) => {
    const { hub, open } = await withHub(t);
    const client = await open();
    const events = [];
    client.addEventListener('resuming', ({ error }) => events.push(error.message));
    const values = client.subscribe('demo/clock', { interval_ms: 3_600_000 }, { resume: true });
    assert.equal((await values.next()).value.tick, 1);
    const next = values.next();
    await hub.stop();
    await hub.start();
    assert.equal((await inTime(next, 'the first tick after the restart')).value.tick, 1);
    assert.equal(events[0], 'shutting down');
    await values.return();
    client.close();
    await hub.stop();
});

test('alknetd: a page that does not read is TOO_SLOW for itself only', options, async (t) => {
    const { hub, open } = await withHub(t);
    const client = await open();
    const slow = client.subscribe('demo/clock', { interval_ms: 1 }, { highWater: 2000 });
    await until(() => /"operation":"\/?demo\/clock"/.test(hub.log()), 'the end of the clock');
    assert.equal(await client.call('demo/echo', 1), 1);
    let n = 0;
    const error = await failure((async () => {
        for await (const { tick } of slow)
            assert.equal(tick, ++n);
    })());
    assert.equal(error.code, 'TOO_SLOW');
    assert.ok(n > 1);
    client.close();
    await hub.stop();
});

/* The other side of a connection, played by hand: a WebSocket server whose messages a test reads and
 * writes one by one. What a test does not read in time, or reads in vain, fails it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { WebSocket, WebSocketServer } from 'ws';
import { connect } from '../alknet.js';

const PATIENCE_MS = 20_000;

export function inTime(promise, what) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), PATIENCE_MS);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function until(condition, what) {
    const end = performance.now() + PATIENCE_MS;
    while (!(await condition())) {
        assert.ok(performance.now() < end, `waited in vain for ${what}`);
        await pause(5);
    }
}

/* Values that come, for someone who takes them one after the other. */
class Inbox {
    #values = [];
    #readers = [];

    put(value) {
        const reader = this.#readers.shift();
        if (reader)
            reader(value);
        else
            this.#values.push(value);
    }

    take(what) {
        if (this.#values.length)
            return Promise.resolve(this.#values.shift());
        return inTime(new Promise((resolve) => this.#readers.push(resolve)), what);
    }
}

export class Peer {
    #inbox = new Inbox();
    #ids = 0;

    constructor(socket, request) {
        this.socket = socket;
        this.request = request;
        this.received = 0;
        socket.on('message', (data, binary) => {
            this.received += data.length;
            this.#inbox.put(binary ? JSON.parse(data) : { text: String(data) });
        });
        this.closed = new Promise((resolve) => {
            socket.on('close', (code, reason) => resolve({ code, reason: String(reason) }));
        });
        socket.on('error', () => {});
    }

    any(what = 'a message') {
        return this.#inbox.take(what);
    }

    /* The next message, which must be of that type. */
    async next(type) {
        const message = await this.any(type);
        assert.equal(message.type, type, JSON.stringify(message).slice(0, 500));
        assert.deepEqual(Object.keys(message), ['type', 'id', 'payload']);
        return message;
    }

    sendRaw(data) {
        this.socket.send(data);
    }

    send(type, id, payload) {
        this.sendRaw(Buffer.from(JSON.stringify({ type, id, payload })));
    }

    respond(id, output) {
        this.send('call.responded', id, { output });
    }

    /* Asks for an operation; gives the id. */
    ask(operation, input, more = {}, id = `hub-${++this.#ids}`) {
        this.send('call.requested', id, { operationId: `/${operation}`, input, ...more });
        return id;
    }

    /* Asks, and takes the one message that comes next as its answer. */
    async get(operation, input, more) {
        const id = this.ask(operation, input, more);
        const message = await this.any(`the answer of ${operation}`);
        assert.equal(message.id, id, JSON.stringify(message).slice(0, 500));
        return message.type === 'call.responded' ? message.payload.output : message;
    }

    async error(operation, input, more) {
        const { type, payload } = await this.get(operation, input, more);
        assert.equal(type, 'call.error');
        return payload;
    }

    /* The client has taken all that was sent, and had nothing more to say. */
    async quiet() {
        const output = await this.get('services/list', { limit: 1 });
        assert.equal(output.operations.length, 1);
    }
}

/* A hub for one test, gone after it. */
export async function openHub(t, options = {}) {
    const server = new WebSocketServer({
        host: '127.0.0.1',
        port: 0,
        maxPayload: 64 << 20,
        handleProtocols: (offered) => (offered.has('alknet.call.v1') ? 'alknet.call.v1' : false),
        ...options,
    });
    const peers = new Inbox();
    const sockets = new Set();
    server.on('connection', (socket, request) => {
        sockets.add(socket);
        peers.put(new Peer(socket, request));
    });
    await once(server, 'listening');
    t.after(() => {
        for (const socket of sockets)
            socket.terminate();
        server.close();
    });
    return {
        server,
        url: `ws://127.0.0.1:${server.address().port}/alknet/call`,
        peer: () => peers.take('a connection'),
    };
}

export const nodeOptions = { WebSocket };

/* A client and the peer that it talks to. Errors that it reports are collected in client.errors. */
export async function open(t, options = {}, hubOptions = {}) {
    const hub = await openHub(t, hubOptions);
    const client = await connect(hub.url, { ...nodeOptions, ...options });
    t.after(() => client.close());
    collectErrors(client);
    return { hub, client, peer: await hub.peer() };
}

export function collectErrors(client) {
    client.errors = [];
    client.addEventListener('error', (event) => {
        event.preventDefault();
        client.errors.push(event);
    });
}

export function nextEvent(client, type) {
    return inTime(new Promise((resolve) => client.addEventListener(type, resolve, { once: true })), `event ${type}`);
}

/* Timers that keep the process alive. */
export const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

/* How a promise fails, with the code of an AlknetError. */
export async function failure(promise) {
    try {
        await inTime(promise, 'a failure');
    } catch (error) {
        return error;
    }
    return assert.fail('it did not fail');
}

/* Moves the clock that the module reads. */
export function advanceClock(t, ms) {
    const real = Object.getOwnPropertyDescriptor(globalThis, 'performance');
    const { performance } = globalThis;
    Object.defineProperty(globalThis, 'performance', {
        value: { now: () => performance.now() + ms },
        configurable: true,
    });
    t.after(() => Object.defineProperty(globalThis, 'performance', real));
}

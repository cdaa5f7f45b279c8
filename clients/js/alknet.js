/* The call protocol of alknet over one WebSocket, for browsers and Node: calls out, operations served.
 *
 * A Client lives until close(); each connection of it is a Session with its own ids, pending calls
 * and running handlers. A session that ends fails and aborts all of these, at once and exactly once.
 * Every count and size that the remote chooses has a limit below. A message that is no envelope ends
 * the session. An operation's handler keeps its slot until it has really ended, even when nobody
 * waits for it any more. */

const PROTOCOL = 'alknet.call.v1';
const PATH = '/alknet/call';
const PROBE = '/search?limit=1'; // beside it; needs the token too

const MESSAGE_MAX = 4 << 20; // bytes of a message, in either direction
const DEPTH_MAX = 128; // nested arrays and objects of a message
const ID_MAX = 256; // bytes
const CALLS_MAX = 1024; // handlers that run; our own calls that are pending
const HOPS_MAX = 8;
const EARLY_MAX = 256; // aborts that came before their requests
const RESOLVED_MAX = 1024; // ids of calls that have had their answer
const MEMORY_MS = 30_000; // how long these two are remembered
const DEADLINE_MS = 30_000;
const OPENING_MS = 10_000;
const PROBE_MS = 2000; // to find out why a connection was refused
const HIGH_WATER = 1 << 20; // bytes kept for a slow consumer
const SEND_HIGH = 256 << 10; // bytes unsent above which handlers have to wait
const UNREAD_MAX = (1 << 20) + MESSAGE_MAX; // bytes of answers that a remote does not take
const SEND_POLL_MS = 20;
const TURN_VALUES = 256; // values emitted before the event loop gets a turn
const TEXT_MAX = 4096; // characters of an error's message
const TIMER_MAX = 0x7fffffff; // the longest that setTimeout can wait
const BACK_OFF_MIN_MS = 250;
const BACK_OFF_MAX_MS = 30_000;
const STABLE_MS = 10_000; // a connection that lasts so long starts the back-off anew
const ANNOUNCE_AGAIN_MS = 1000;
/* What a hub imports at most. */
const OPERATIONS_MAX = 4096;
const SPEC_MAX = 64 << 10;
const SPECS_MAX = 8 << 20;
const SPEC_DEPTH_MAX = 100;
const NAME_MAX = 256;
const ERRORS_MAX = 256;

/* A page may close with 1000 or 3000 to 4999 only; these stand for 1002 and 1009. */
const CLOSE_NORMAL = 1000;
const CLOSE_POLICY = 1008;
const CLOSE_PROTOCOL = 4002;
const CLOSE_LIMIT = 4009;

const PROTOCOL_CODES = new Set(['NOT_FOUND', 'FORBIDDEN', 'INVALID_INPUT', 'INVALID_OPERATION_TYPE', 'TIMEOUT', 'BUSY',
    'INTERNAL']);

export class AlknetError extends Error {
    constructor(code, message, { retryable = false, details, cause } = {}) {
        super(message, cause === undefined ? undefined : { cause });
        this.name = 'AlknetError';
        this.code = code;
        this.retryable = retryable;
        if (details !== undefined)
            this.details = details;
    }
}

/* Thrown where a handler runs, and by none of the user's: the only one that keeps a protocol's code. */
class Refusal extends AlknetError {}

/* details: the close code and its reason, of a connection that was lost. */
const closed = (details) => new AlknetError('INTERNAL', 'connection closed', { details });
const internal = () => new AlknetError('INTERNAL', 'internal error');
const timedOut = () => new AlknetError('TIMEOUT', 'the deadline has passed', { retryable: true });
const busy = () => new AlknetError('BUSY', 'too many calls', { retryable: true });
const notFound = (name) => new Refusal('NOT_FOUND', `operation not found: ${name.slice(0, NAME_MAX)}`);

const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const strip = (name) => (name.startsWith('/') ? name.slice(1) : name);

// ---- messages -----------------------------------------------------------------------------------

const encoder = new TextEncoder();
/* With ignoreBOM a byte order mark stays, and is no JSON. */
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const HALF_PAIR = /\p{Cs}/u;
const HALF_PAIRS = /\p{Cs}/gu;
const HALF_PAIR_ESCAPED = /\\ud[89a-f]/i;

/* Nesting and number of members of a JSON text, which need not be valid. */
function measure(text) {
    let depth = 0, deepest = 0, members = 0;
    for (let i = 0; i < text.length; i++) {
        switch (text.charCodeAt(i)) {
        case 0x22: // "
            i = endOfString(text, i);
            break;
        case 0x3a: // :
            members++;
            break;
        case 0x5b: // [
        case 0x7b: // {
            deepest = Math.max(deepest, ++depth);
            break;
        case 0x5d: // ]
        case 0x7d: // }
            depth--;
        }
    }
    return { deepest, members };
}

function endOfString(text, start) {
    for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
        let first = end;
        while (text.charCodeAt(first - 1) === 0x5c)
            first--;
        if ((end - first) % 2 === 0)
            return end;
    }
    return text.length;
}

/* The members of a parsed value, fewer than in its text if a name was there twice. */
function countMembers(value, strings) {
    if (typeof value === 'string' && strings && HALF_PAIR.test(value))
        throw new SyntaxError('half of a surrogate pair');
    if (typeof value !== 'object' || value === null)
        return 0;
    let n = 0;
    if (Array.isArray(value)) {
        for (const item of value)
            n += countMembers(item, strings);
        return n;
    }
    for (const key of Object.keys(value)) {
        countMembers(key, strings);
        n += 1 + countMembers(value[key], strings);
    }
    return n;
}

function parse(bytes) {
    const text = decoder.decode(bytes);
    const { deepest, members } = measure(text);
    if (deepest > DEPTH_MAX)
        throw new SyntaxError(`nested deeper than ${DEPTH_MAX}`);
    const value = JSON.parse(text);
    if (countMembers(value, HALF_PAIR_ESCAPED.test(text)) !== members)
        throw new SyntaxError('a member name twice in one object');
    return value;
}

/* The envelope of a message; throws what is wrong with it. */
function readEnvelope(bytes) {
    const envelope = parse(bytes);
    if (!isObject(envelope) || typeof envelope.type !== 'string' || typeof envelope.id !== 'string' ||
        !Object.hasOwn(envelope, 'payload') || !envelope.id || envelope.id.length > ID_MAX ||
        encoder.encode(envelope.id).length > ID_MAX)
        throw new SyntaxError('an envelope needs type, id (1 to 256 bytes) and payload');
    return envelope;
}

function jsonText(value) {
    const text = JSON.stringify(value === undefined ? null : value);
    if (text === undefined)
        throw new TypeError(`a ${typeof value} is no JSON value`);
    /* JSON.stringify escapes half a pair, which no receiver takes. */
    if (HALF_PAIR_ESCAPED.test(text) && HALF_PAIR_ESCAPED.test(text.replaceAll('\\\\', '')))
        throw new TypeError('a string holds half of a surrogate pair');
    return text;
}

/* A message; throws a RangeError when the remote would not take it. */
function envelope(type, id, payload) {
    const text = `{"type":"${type}","id":${JSON.stringify(id)},"payload":${payload}}`;
    if (text.length > 2 * DEPTH_MAX && measure(text).deepest > DEPTH_MAX)
        throw new RangeError(`nested deeper than ${DEPTH_MAX}`);
    const bytes = encoder.encode(text);
    if (bytes.length > MESSAGE_MAX)
        throw new RangeError(`a message of ${bytes.length} bytes, at most ${MESSAGE_MAX}`);
    return bytes;
}

function errorMessage(id, error) {
    const [code, message] = [error.code, error.message.slice(0, TEXT_MAX)].map((text) =>
        JSON.stringify(text.replace(HALF_PAIRS, '\ufffd')));
    const head = `"code":${code},"message":${message},"retryable":${error.retryable === true}`;
    try {
        if (error.details !== undefined)
            return envelope('call.error', id, `{${head},"details":${jsonText(error.details)}}`);
    } catch {
        // The error matters more than its details.
    }
    return envelope('call.error', id, `{${head}}`);
}

/* What a remote says went wrong. */
function remoteError(payload) {
    const { code, message, retryable, details } = payload ?? {};
    if (typeof code !== 'string' || !code || typeof message !== 'string' || typeof retryable !== 'boolean')
        return internal();
    return new AlknetError(code, message, { retryable, details });
}

/* Only the random bytes are asked for: randomUUID is missing on pages that came by plain HTTP. */
let random = globalThis.crypto;

function newId() {
    const bytes = random.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

async function needRandom() {
    /* Node 18. Bundlers must not look for it. */
    const name = 'node:crypto';
    random ??= (await import(/* @vite-ignore */ /* webpackIgnore: true */ name)).webcrypto;
}

/* Ids, the oldest forgotten first. */
class Memory {
    #expiry = new Map();
    #most;

    constructor(most) {
        this.#most = most;
    }

    add(id) {
        this.#expiry.delete(id);
        this.#expiry.set(id, performance.now() + MEMORY_MS);
        for (const [oldest, expiry] of this.#expiry) {
            if (this.#expiry.size <= this.#most && expiry > performance.now())
                break;
            this.#expiry.delete(oldest);
        }
    }

    /* Whether it was there; then it is forgotten. */
    take(id) {
        const expiry = this.#expiry.get(id);
        return this.#expiry.delete(id) && expiry > performance.now();
    }
}

// ---- what is served -----------------------------------------------------------------------------

const OPERATION_MEMBERS = ['type', 'description', 'inputSchema', 'outputSchema', 'errors', 'access', 'resourceIdPath',
    'handler'];
const ACCESS_MEMBERS = ['requiredScopes', 'requiredScopesAny', 'resourceType', 'resourceAction', 'authenticated'];
const ERROR_MEMBERS = ['code', 'description', 'schema', 'httpStatus'];
const TYPES = ['query', 'mutation', 'subscription'];
const SEGMENT = /^(?!\.\.?$)[A-Za-z0-9_.~-]+$/;
const POINTER = /^(\/([^~]|~[01])*)?$/;

function check(ok, where, what) {
    if (!ok)
        throw new TypeError(`${where}: ${what}`);
}

/* A misspelt access rule must not be a rule less. */
function checkMembers(value, known, where) {
    check(isObject(value), where, 'must be an object');
    for (const key of Object.keys(value))
        check(known.includes(key), `${where}.${key}`, `unknown; there are ${known.join(', ')}`);
}

const checkText = (value, where) =>
    check(value === undefined || (typeof value === 'string' && !HALF_PAIR.test(value)), where, 'must be a string');
const checkSchema = (value, where) =>
    check(value === undefined || isObject(value) || typeof value === 'boolean', where,
        'must be an object or a boolean');

function checkScopes(value, where, least) {
    check(value === undefined || (Array.isArray(value) && value.length >= least &&
        value.every((scope) => typeof scope === 'string' && scope)), where, 'must be an array of strings');
}

function accessOf(access, where) {
    checkMembers(access, ACCESS_MEMBERS, where);
    checkScopes(access.requiredScopes, `${where}.requiredScopes`, 0);
    checkScopes(access.requiredScopesAny, `${where}.requiredScopesAny`, 1);
    checkText(access.resourceType, `${where}.resourceType`);
    checkText(access.resourceAction, `${where}.resourceAction`);
    check(!access.resourceAction || access.resourceType, `${where}.resourceAction`, 'needs a resourceType');
    check(access.authenticated === undefined || typeof access.authenticated === 'boolean', `${where}.authenticated`,
        'must be true or false');
    return {
        required_scopes: access.requiredScopes ?? [],
        required_scopes_any: access.requiredScopesAny ?? null,
        resource_type: access.resourceType ?? null,
        resource_action: access.resourceAction ?? null,
        ...(access.authenticated && { authenticated: true }),
    };
}

function errorsOf(errors, where) {
    check(Array.isArray(errors) && errors.length <= ERRORS_MAX, where, `must be an array of at most ${ERRORS_MAX}`);
    return errors.map((error, i) => {
        const at = `${where}[${i}]`;
        checkMembers(error, ERROR_MEMBERS, at);
        check(typeof error.code === 'string' && error.code, `${at}.code`, 'must be a string');
        check(errors.findIndex((other) => other.code === error.code) === i, `${at}.code`, 'is there twice');
        checkText(error.description, `${at}.description`);
        checkSchema(error.schema, `${at}.schema`);
        const status = error.httpStatus;
        check(status === undefined || (Number.isInteger(status) && status >= 400 && status <= 599), `${at}.httpStatus`,
            'must be 400 to 599');
        return {
            code: error.code,
            description: error.description ?? '',
            schema: error.schema ?? null,
            http_status: status ?? null,
        };
    });
}

/* What services/list and services/schema say of an operation, and its handler. */
function makeOperation(name, definition) {
    const where = `operation ${name}`;
    checkMembers(definition, OPERATION_MEMBERS, where);
    const { type, description, inputSchema, outputSchema, resourceIdPath, handler } = definition;
    check(TYPES.includes(type), `${where}: type`, `must be one of ${TYPES.join(', ')}`);
    check(typeof handler === 'function', `${where}: handler`, 'must be a function');
    checkText(description, `${where}: description`);
    checkSchema(inputSchema, `${where}: inputSchema`);
    checkSchema(outputSchema, `${where}: outputSchema`);
    const access = accessOf(definition.access ?? {}, `${where}: access`);
    checkText(resourceIdPath, `${where}: resourceIdPath`);
    check(resourceIdPath === undefined || (POINTER.test(resourceIdPath) && access.resource_type),
        `${where}: resourceIdPath`, 'must be a JSON pointer, and needs an access.resourceType');
    const head = { name, namespace: name.split('/', 1)[0], op_type: type };
    const tail = description ? { description } : {};
    const spec = jsonText({
        ...head,
        visibility: 'external',
        input_schema: inputSchema ?? null,
        output_schema: outputSchema ?? null,
        error_schemas: errorsOf(definition.errors ?? [], `${where}: errors`),
        access_control: access,
        ...(resourceIdPath !== undefined && { resource_id_path: resourceIdPath }),
        ...tail,
    });
    check(measure(spec).deepest <= SPEC_DEPTH_MAX, where, `its schemas are nested deeper than ${SPEC_DEPTH_MAX}`);
    const bytes = encoder.encode(spec).length;
    check(bytes <= SPEC_MAX, where, `its specification has ${bytes} bytes, at most ${SPEC_MAX}`);
    return { name, type, handler, bytes, listed: { ...head, ...tail }, spec: JSON.parse(spec) };
}

function operationName(given) {
    const name = strip(given);
    check(name.length <= NAME_MAX && name.split('/').every((segment) => SEGMENT.test(segment)), `operation ${given}`,
        `a name is segments of A-Z a-z 0-9 _ . ~ - joined by '/', at most ${NAME_MAX} bytes`);
    check(!/^(services|peers)\//.test(name), `operation ${name}`, 'services/ and peers/ are reserved');
    return name;
}

function badInput(path, keyword, message) {
    return new Refusal('INVALID_INPUT', `${path || 'input'}: ${message} (${keyword})`,
        { details: { errors: [{ path, keyword, message }] } });
}

function kindOf(value) {
    if (value === null || Array.isArray(value))
        return value ? 'array' : 'null';
    return Number.isInteger(value) ? 'integer' : typeof value;
}

/* In the words of the library. */
function checkInput(input, schema) {
    if (!isObject(input))
        throw badInput('', 'type', `expected object, got ${kindOf(input)}`);
    for (const key of schema.required ?? []) {
        if (!Object.hasOwn(input, key))
            throw badInput('', 'required', `missing required member "${key}"`);
    }
    for (const key of Object.keys(input)) {
        const name = key.slice(0, NAME_MAX);
        const path = `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
        if (!Object.hasOwn(schema.properties, key))
            throw badInput(path, 'additionalProperties', `unexpected member "${name}"`);
        const { type, enum: values, minimum } = schema.properties[key];
        const kind = kindOf(input[key]);
        if (type && kind !== type)
            throw badInput(path, 'type', `expected ${type}, got ${kind}`);
        if (minimum !== undefined && input[key] < minimum)
            throw badInput(path, 'minimum', `must be >= ${minimum}`);
        if (values && !values.includes(input[key]))
            throw badInput(path, 'enum', `must be one of ${values.map((value) => `"${value}"`).join(', ')}`);
    }
}

const STRING = { type: 'string' };
const LIST_INPUT = {
    type: 'object',
    additionalProperties: false,
    properties: {
        q: { type: 'string', description: 'substring of name or description, any case' },
        namespace: STRING,
        op_type: { enum: TYPES },
        cursor: { type: 'string', description: 'next_cursor of the page before' },
        limit: { type: 'integer', minimum: 1 },
    },
};
const LIST_OUTPUT = {
    type: 'object',
    required: ['operations'],
    properties: {
        operations: { type: 'array', items: { type: 'object', required: ['name', 'namespace', 'op_type'] } },
        next_cursor: STRING,
    },
};
const SCHEMA_INPUT = {
    type: 'object',
    additionalProperties: false,
    required: ['name'],
    properties: { name: STRING, peer: STRING },
};

function listed(operations, input) {
    checkInput(input, LIST_INPUT);
    const { q = '', namespace, op_type: type, cursor = '', limit = Infinity } = input;
    const part = strip(q).toLowerCase();
    const found = operations.filter(({ listed: { name, description = '', ...op } }) =>
        name > cursor && (namespace === undefined || op.namespace === namespace) && (!type || op.op_type === type) &&
        (name.toLowerCase().includes(part) || description.toLowerCase().includes(part)));
    const page = found.slice(0, limit).map((op) => op.listed);
    return { operations: page, ...(found.length > page.length && { next_cursor: page.at(-1).name }) };
}

/* name → operation for everything that is answered, the two of discovery included. */
function makeOperations(definitions) {
    check(isObject(definitions), 'operations', 'must be an object');
    const byName = new Map();
    const add = (name, definition) => {
        check(!byName.has(name), `operation ${name}`, 'is there twice');
        byName.set(name, makeOperation(name, definition));
    };
    for (const [name, definition] of Object.entries(definitions))
        add(operationName(name), definition);
    const served = [...byName.values()];
    check(served.length <= OPERATIONS_MAX, 'operations', `more than ${OPERATIONS_MAX}`);
    check(served.reduce((sum, op) => sum + op.bytes, 0) <= SPECS_MAX, 'operations',
        `specifications of more than ${SPECS_MAX} bytes`);
    let sorted;
    add('services/list', {
        type: 'query',
        description: 'The operations that the caller may call, sorted by name',
        inputSchema: LIST_INPUT,
        outputSchema: LIST_OUTPUT,
        handler: (input) => listed(sorted, input),
    });
    add('services/schema', {
        type: 'query',
        description: 'The whole specification of one operation',
        inputSchema: SCHEMA_INPUT,
        handler: (input) => {
            checkInput(input, SCHEMA_INPUT);
            const name = strip(input.name);
            const op = (input.peer ?? 'local') === 'local' && byName.get(name);
            if (!op)
                throw notFound(name);
            return op.spec;
        },
    });
    sorted = [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
    return { byName, count: served.length };
}

// ---- signals ------------------------------------------------------------------------------------

const watched = new WeakMap(); // AbortSignal → { callbacks, listener }

/* Calls that function when the signal is aborted; gives what lets go of it. A signal has one listener,
 * however many wait for it: of more than ten Node warns. */
function onAbort(signal, callback) {
    if (!signal)
        return () => {};
    if (!watched.has(signal)) {
        const callbacks = new Set();
        const listener = () => [...callbacks].forEach((each) => each());
        watched.set(signal, { callbacks, listener });
        signal.addEventListener('abort', listener, { once: true });
    }
    const { callbacks, listener } = watched.get(signal);
    callbacks.add(callback);
    return () => {
        if (!callbacks.delete(callback) || callbacks.size)
            return;
        watched.delete(signal);
        signal.removeEventListener('abort', listener);
    };
}

// ---- our own calls ------------------------------------------------------------------------------

/* A call of ours: waiting for a connection, pending on a session, or ended. */
class Outgoing {
    #give;
    #forgetSignal;
    #timer;
    ended = false;
    session; // once it is sent

    /* sink: value(output, bytes), end(failed, error) */
    constructor(sink, single, options) {
        this.id = newId();
        this.sink = sink;
        this.single = single;
        this.#forgetSignal = onAbort(options.signal, () => this.giveUp(options.signal.reason));
        const ms = options.timeout ?? (single ? DEADLINE_MS : Infinity);
        if (ms <= TIMER_MAX)
            this.#timer = setTimeout(() => this.giveUp(timedOut()), ms);
    }

    /* forget: how whoever holds it lets go of it */
    heldBy(forget) {
        this.#give = forget;
    }

    end(failed, error) {
        if (this.ended)
            return;
        this.ended = true;
        clearTimeout(this.#timer);
        this.#forgetSignal();
        this.#give?.();
        this.sink.end(failed, error);
    }

    /* The caller wants no more. */
    giveUp(error) {
        if (this.ended)
            return;
        this.end(true, error);
        this.session?.send(envelope('call.aborted', this.id, '{}'));
    }
}

/* Stands for the call of a subscription until it is asked for again. */
class Pause {
    #timer;
    #forgetSignal;
    #pauses;
    #sink;

    /* pauses: where the client finds it */
    constructor(ms, sink, signal, pauses, then) {
        this.#sink = sink;
        this.#pauses = pauses;
        pauses.add(this);
        this.#forgetSignal = onAbort(signal, () => this.giveUp(signal.reason));
        this.#timer = setTimeout(() => this.#over() && then(), ms);
    }

    #over() {
        clearTimeout(this.#timer);
        this.#forgetSignal();
        return this.#pauses.delete(this);
    }

    giveUp(error) {
        if (this.#over())
            this.#sink.end(true, error);
    }
}

/* Whether a subscription that failed so may go on with another request. */
const isLoss = (error) => error?.code === 'BUSY' ||
    (error?.code === 'INTERNAL' && error.message === 'connection closed');

function requestOf(id, operation, input, options) {
    try {
        const more = (options.timeout < 0xffffffff ? `,"timeout_ms":${Math.max(1, Math.ceil(options.timeout))}` : '') +
            (options.traceparent === undefined ? '' : `,"traceparent":${jsonText(String(options.traceparent))}`);
        return envelope('call.requested', id,
            `{"operationId":${jsonText(`/${strip(operation)}`)},"input":${jsonText(input)}${more}}`);
    } catch (error) {
        throw new AlknetError('INVALID_INPUT', `the input cannot be sent: ${error.message}`, { cause: error });
    }
}

/* Values that wait for whoever iterates, and those who wait for a value: never both. */
class Subscription {
    #values = [];
    #kept = 0;
    #readers = [];
    #end; // { failed, error } once there will be no more
    #high;
    #call;

    constructor(highWater) {
        this.#high = highWater;
    }

    /* The side of the call. */
    static sink(subscription) {
        return {
            value: (output, bytes) => subscription.#take(output, bytes),
            end: (failed, error) => subscription.#finish(failed, error),
        };
    }

    static run(subscription, call) {
        subscription.#call = call;
    }

    #take(value, bytes) {
        const reader = this.#readers.shift();
        if (reader) {
            reader.resolve({ value, done: false });
        } else if (this.#values.length && this.#kept + bytes > this.#high) {
            this.#call.giveUp(new AlknetError('TOO_SLOW', 'the subscriber does not keep up'));
        } else {
            this.#values.push({ value, bytes });
            this.#kept += bytes;
        }
    }

    #finish(failed, error) {
        this.#end ??= { failed, error };
        for (const reader of this.#readers.splice(0))
            this.#last(reader);
    }

    /* The error once, then the end. */
    #last({ resolve, reject }) {
        const { failed, error } = this.#end;
        this.#end = { failed: false };
        if (failed)
            reject(error);
        else
            resolve({ value: undefined, done: true });
    }

    /* Without what was kept, and without another word of the call. */
    drop(failed, error) {
        this.#values = [];
        this.#end = { failed, error };
        this.#finish(failed, error);
    }

    next() {
        return new Promise((resolve, reject) => {
            const first = this.#values.shift();
            if (first) {
                this.#kept -= first.bytes;
                resolve({ value: first.value, done: false });
            } else if (this.#end) {
                this.#last({ resolve, reject });
            } else {
                this.#readers.push({ resolve, reject });
            }
        });
    }

    async return(value) {
        this.drop(false);
        this.#call?.giveUp();
        return { value, done: true };
    }

    async throw(error) {
        await this.return();
        throw error;
    }

    [Symbol.asyncIterator]() {
        return this;
    }
}

// ---- one connection -----------------------------------------------------------------------------

const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/* A call of the remote's, from its request until its answer or abort. */
class Run {
    #controller = new AbortController();
    #timer;
    ended = false;

    constructor(session, id) {
        this.session = session;
        this.id = id;
        this.signal = this.#controller.signal;
        session.running.set(id, this);
    }

    expire(ms) {
        if (ms <= TIMER_MAX)
            this.#timer = setTimeout(() => {
                const error = timedOut();
                this.session.sendAnswer(errorMessage(this.id, error));
                this.cancel(error);
            }, ms);
    }

    end() {
        if (this.ended)
            return; // its id may be another's by now
        this.ended = true;
        this.session.running.delete(this.id);
        clearTimeout(this.#timer);
    }

    cancel(reason) {
        this.end();
        this.#controller.abort(reason);
    }
}

/* An error that a handler may answer: one of its own making, with a code that the protocol does not use. */
function isOwnFault(error) {
    return error instanceof AlknetError && typeof error.code === 'string' && error.code !== '' &&
        error.code.length <= NAME_MAX && !PROTOCOL_CODES.has(error.code) && typeof error.message === 'string';
}

/* What a handler throws because it was told to end. */
function isAbort(error, signal) {
    return error === signal.reason || error?.cause === signal.reason || error?.name === 'AbortError';
}

class Session {
    pending = new Map(); // id → Outgoing
    running = new Map(); // id → Run
    announcing = false;
    announceAgain = false;
    #early = new Memory(EARLY_MAX);
    #resolved = new Memory(RESOLVED_MAX);
    #unread = 0;
    #gone = false;
    #socket;
    #host;

    /* host: operations(), report(error, operation), lost(code, reason), slots */
    constructor(socket, host) {
        this.#socket = socket;
        this.#host = host;
        socket.addEventListener('message', ({ data }) => this.#receive(data));
        socket.addEventListener('close', ({ code, reason }) => this.#lose(code, reason));
    }

    request(call, bytes) {
        call.session = this;
        call.heldBy(() => this.pending.delete(call.id));
        this.pending.set(call.id, call);
        this.send(bytes);
    }

    send(bytes) {
        this.#socket.send(bytes);
    }

    /* Answers that wait for no room: errors are short, but a remote may ask for any number of them. */
    sendAnswer(bytes) {
        if (this.#socket.bufferedAmount <= SEND_HIGH)
            this.#unread = 0;
        this.#unread += bytes.length;
        if (this.#unread > UNREAD_MAX)
            this.shut(CLOSE_LIMIT, 'the remote does not read');
        else
            this.send(bytes);
    }

    shut(code, reason) {
        if (this.#gone)
            return;
        this.#socket.close(code, reason);
        this.#lose(code, reason);
    }

    #lose(code, reason) {
        if (this.#gone)
            return;
        this.#gone = true;
        for (const call of [...this.pending.values()])
            call.end(true, closed({ code, reason }));
        for (const run of [...this.running.values()])
            run.cancel(closed({ code, reason }));
        this.#host.lost(this, code, reason);
    }

    #receive(data) {
        if (this.#gone)
            return;
        if (typeof data === 'string')
            return this.shut(CLOSE_PROTOCOL, 'a text message');
        if (data.byteLength > MESSAGE_MAX)
            return this.shut(CLOSE_LIMIT, `a message of more than ${MESSAGE_MAX} bytes`);
        let received;
        try {
            received = readEnvelope(data);
        } catch (error) {
            return this.shut(CLOSE_PROTOCOL, `no envelope: ${error.message}`.replace(/[^ -~]/g, '?').slice(0, 120));
        }
        this.#dispatch(received, data.byteLength);
    }

    #dispatch({ type, id, payload }, bytes) {
        switch (type) {
        case 'call.requested':
            this.#requested(id, payload);
            break;
        case 'call.responded':
            this.#responded(id, payload, bytes);
            break;
        case 'call.completed':
            this.#completed(this.pending.get(id));
            break;
        case 'call.aborted':
            this.#aborted(id);
            break;
        case 'call.error':
            this.#failed(id, payload);
        }
    }

    // Answers to our calls.

    #responded(id, payload, bytes) {
        const call = this.pending.get(id);
        if (!call) {
            if (this.#resolved.take(id))
                this.send(envelope('call.aborted', id, '{}'));
            return;
        }
        call.sink.value(payload?.output === undefined ? null : payload.output, bytes);
        if (call.single) {
            this.#resolved.add(id);
            call.end(false);
        }
    }

    #completed(call) {
        if (call?.single)
            call.end(true, new AlknetError('INTERNAL', 'no result'));
        else
            call?.end(false);
    }

    #failed(id, payload) {
        const call = this.pending.get(id);
        if (call?.single)
            this.#resolved.add(id);
        call?.end(true, remoteError(payload));
    }

    #aborted(id) {
        const run = this.running.get(id);
        const call = this.pending.get(id);
        const error = new AlknetError('INTERNAL', 'aborted by the remote');
        if (run)
            run.cancel(error);
        else if (call)
            call.end(true, error);
        else
            this.#early.add(id);
    }

    // The remote's calls.

    #requested(id, payload) {
        if (this.running.has(id) || this.#early.take(id))
            return;
        if (typeof payload?.operationId !== 'string')
            return this.sendAnswer(errorMessage(id, new Refusal('INVALID_INPUT', '/operationId: must be a string')));
        if (this.#host.slots === 0)
            return this.sendAnswer(errorMessage(id, busy()));
        const name = strip(payload.operationId);
        const op = this.#host.operations().get(name);
        if (!op || (Number.isInteger(payload.hops) && payload.hops > HOPS_MAX))
            return this.sendAnswer(errorMessage(id, notFound(name)));
        const run = new Run(this, id);
        const asked = payload.timeout_ms;
        const own = op.type === 'subscription' ? Infinity : DEADLINE_MS;
        run.expire(Number.isInteger(asked) && asked > 0 ? Math.min(own, asked) : own);
        this.#serve(run, op, payload);
    }

    async #serve(run, op, { input, traceparent }) {
        this.#host.slots--;
        try {
            const context = {
                id: run.id,
                operation: op.name,
                signal: run.signal,
                traceparent: typeof traceparent === 'string' && TRACEPARENT.test(traceparent) ? traceparent : undefined,
            };
            const result = await op.handler(input === undefined ? null : input, context);
            const last = op.type === 'subscription' ? await this.#emit(run, result) : this.#responseTo(run, result);
            await this.#deliver(run, last);
            run.end();
        } catch (error) {
            this.#fail(run, op, error);
        } finally {
            this.#host.slots++;
        }
    }

    #responseTo(run, value) {
        if (value?.[Symbol.asyncIterator])
            throw new TypeError('the handler returned an async iterable; only a subscription may');
        try {
            return envelope('call.responded', run.id, `{"output":${jsonText(value)}}`);
        } catch (error) {
            throw error instanceof RangeError ? new Refusal('INTERNAL', 'output too large', { cause: error }) : error;
        }
    }

    async #emit(run, result) {
        const make = result?.[Symbol.asyncIterator] ??
            (typeof result === 'object' ? result?.[Symbol.iterator] : undefined);
        if (!make)
            throw new TypeError('the handler of a subscription must return an iterable, as an async generator does');
        const iterator = make.call(result);
        /* At once, for those that wait for something; a generator gets it when it yields. */
        const stop = () => Promise.resolve(iterator.return?.()).catch(() => {});
        run.signal.addEventListener('abort', stop);
        try {
            for (let n = 1; !run.ended; n++) {
                const { value, done } = await iterator.next();
                if (done)
                    break;
                await this.#deliver(run, this.#responseTo(run, await value));
                if (n % TURN_VALUES === 0)
                    await delay(0);
            }
        } catch (error) {
            stop();
            throw error;
        } finally {
            run.signal.removeEventListener('abort', stop);
        }
        return envelope('call.completed', run.id, '{}');
    }

    /* Sends when there is room, of which a WebSocket does not tell; until then the handler waits. */
    async #deliver(run, bytes) {
        while (!run.ended && this.#socket.bufferedAmount > SEND_HIGH)
            await delay(SEND_POLL_MS);
        if (!run.ended)
            this.send(bytes);
    }

    #fail(run, op, error) {
        const refusal = error instanceof Refusal;
        const passes = refusal || isOwnFault(error);
        if (run.ended ? !isAbort(error, run.signal) : !passes)
            this.#host.report(error, op.name);
        else if (refusal && error.cause)
            this.#host.report(error.cause, op.name);
        if (run.ended)
            return;
        run.end();
        this.sendAnswer(errorMessage(run.id, passes ? error : internal()));
    }
}

// ---- the client ---------------------------------------------------------------------------------

class ClientEvent extends Event {
    constructor(type, members) {
        super(type, { cancelable: type === 'error' });
        Object.assign(this, members);
    }
}

function socketUrl(given) {
    const url = new URL(given, globalThis.location?.href);
    url.protocol = url.protocol.replace(/^http/, 'ws');
    if (url.pathname === '/')
        url.pathname = PATH;
    return url.href;
}

function protocolsFor(token) {
    if (token === undefined || token === null)
        return [PROTOCOL];
    const text = btoa(String.fromCharCode(...encoder.encode(token)));
    return [PROTOCOL, `alknet.bearer.${text.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')}`];
}

function checkTimeout(ms) {
    check(ms === undefined || (typeof ms === 'number' && ms > 0), 'timeout',
        'must be a number of milliseconds above 0');
}

/* 250 ms to twice that, doubled for each attempt before, at most 30 s: at random in there. */
function backOff(attempts) {
    const most = Math.min(BACK_OFF_MAX_MS, 2 * BACK_OFF_MIN_MS * 2 ** attempts);
    return BACK_OFF_MIN_MS + Math.random() * (most - BACK_OFF_MIN_MS);
}

/* Why a connection did not open. The package ws tells the status. Other platforms tell nothing, so
 * that a wrong token looks like a hub that is away: what the hub says to a request with the same
 * token decides. undefined: that could not be found out. */
async function statusOf({ message = '', error }, url, token) {
    const said = /server response: (\d{3})/.exec(message);
    if (said)
        return Number(said[1]);
    if (error?.code || token === undefined || token === null || !url.endsWith(PATH) || typeof fetch !== 'function')
        return undefined;
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), PROBE_MS);
    try {
        const { status, body } = await fetch(url.slice(0, -PATH.length).replace(/^ws/, 'http') + PROBE, {
            headers: { authorization: `Bearer ${token}` },
            signal: controller.signal,
            credentials: 'omit',
            redirect: 'error',
            cache: 'no-store',
        });
        body?.cancel();
        return status === 401 ? status : undefined;
    } catch {
        return undefined;
    } finally {
        clearTimeout(timer);
    }
}

async function refusal(event, url, token) {
    const status = await statusOf(event, url, token);
    const details = status && { status };
    if (status === 401)
        return new AlknetError('UNAUTHORIZED', token ? 'the hub does not accept the token' : 'the hub wants a token',
            { details });
    const why = event.message || 'the server does not answer or refuses';
    return new AlknetError('INTERNAL', `cannot connect: ${why}${token ? '' : '; no token was given'}`,
        { retryable: true, details });
}

class Client extends EventTarget {
    #url;
    #options;
    #WebSocket;
    #operations;
    #session; // while it is open
    #stopOpening; // (reason), while a connection opens
    #waiting = new Map(); // Outgoing → its message, until there is a session
    #pauses = new Set(); // of subscriptions that will be asked for again
    #attempts = 0;
    #openedAt = 0;
    #timer;
    #state = 'connecting';
    #host;
    #forgetSignal = () => {};

    static async connect(url, options = {}) {
        const client = new Client(url, options);
        const { signal } = options;
        signal?.throwIfAborted();
        client.#forgetSignal = onAbort(signal, () => client.close());
        await needRandom();
        try {
            await client.#dial();
        } catch (error) {
            client.close();
            throw error;
        }
        return client;
    }

    constructor(url, options) {
        super();
        this.#url = socketUrl(url);
        this.#options = options;
        this.#WebSocket = options.WebSocket ?? globalThis.WebSocket;
        if (typeof this.#WebSocket !== 'function')
            throw new TypeError('there is no WebSocket here: give one as options.WebSocket ' +
                '(for Node before 22, that of the package ws)');
        checkTimeout(options.timeout);
        this.#operations = makeOperations(options.operations ?? {});
        this.#host = {
            slots: CALLS_MAX,
            operations: () => this.#operations.byName,
            report: (error, operation) => this.#report(error, operation),
            lost: (session, code, reason) => this.#lost(session, code, reason),
        };
    }

    get state() {
        return this.#state;
    }

    call(operation, input = {}, options = {}) {
        return new Promise((resolve, reject) => {
            const sink = { value: resolve, end: (failed, error) => failed && reject(error) };
            this.#start(sink, true, operation, input, options);
        });
    }

    subscribe(operation, input = {}, options = {}) {
        const { highWater = HIGH_WATER, signal, resume = false } = options;
        check(typeof highWater === 'number' && highWater >= 0, 'highWater', 'must be a number of bytes');
        const subscription = new Subscription(highWater);
        const { value, end } = Subscription.sink(subscription);
        const start = () => {
            const call = this.#start(sink, false, operation, input, options);
            if (call && !call.ended)
                Subscription.run(subscription, call);
        };
        let attempts = 0;
        const sink = {
            value: (output, bytes) => {
                attempts = 0;
                value(output, bytes);
            },
            end: (failed, error) => {
                if (failed && resume && isLoss(error) && this.#state !== 'closed') {
                    const ms = backOff(attempts++);
                    Subscription.run(subscription, new Pause(ms, sink, signal, this.#pauses, start));
                    this.dispatchEvent(new ClientEvent('resuming', { operation: strip(operation), delay: ms, error }));
                } else if (failed && signal?.aborted && error === signal.reason) {
                    /* Who aborts wants nothing of what was kept. */
                    subscription.drop(true, error);
                } else {
                    end(failed, error);
                }
            },
        };
        start();
        return subscription;
    }

    serve(operations) {
        this.#operations = makeOperations(operations);
        this.#announce();
    }

    close() {
        const session = this.#session;
        this.#session = undefined;
        this.#finish(CLOSE_NORMAL, '');
        session?.shut(CLOSE_NORMAL, '');
    }

    #start(sink, single, operation, input, options) {
        const { signal } = options;
        check(typeof operation === 'string' && operation, 'operation', 'must be a name');
        checkTimeout(options.timeout);
        if (signal?.aborted) {
            sink.end(true, signal.reason);
            return undefined;
        }
        const call = new Outgoing(sink, single, options);
        try {
            const bytes = requestOf(call.id, operation, input, options);
            if (this.#state === 'closed')
                throw closed();
            if ((this.#session?.pending.size ?? this.#waiting.size) >= CALLS_MAX)
                throw busy();
            if (this.#session) {
                this.#session.request(call, bytes);
            } else {
                call.heldBy(() => this.#waiting.delete(call));
                this.#waiting.set(call, bytes);
            }
        } catch (error) {
            call.end(true, error);
        }
        return call;
    }

    // Connecting.

    /* Settles with the attempt; what comes later is the session's affair. */
    async #dial() {
        const { token: given, timeout = OPENING_MS, signal } = this.#options;
        const token = typeof given === 'function' ? await given() : given;
        const protocols = protocolsFor(token);
        if (this.#state === 'closed')
            throw signal?.aborted ? signal.reason : closed();
        const socket = new this.#WebSocket(this.#url, protocols);
        socket.binaryType = 'arraybuffer';
        let timer;
        try {
            await new Promise((resolve, reject) => {
                this.#stopOpening = reject;
                if (timeout <= TIMER_MAX)
                    timer = setTimeout(() => reject(new AlknetError('TIMEOUT', 'the connection did not open in time',
                        { retryable: true })), timeout);
                socket.addEventListener('open', () => {
                    if (this.#stopOpening !== reject)
                        return;
                    if (socket.protocol === PROTOCOL)
                        resolve(this.#opened(socket));
                    else
                        reject(new AlknetError('INTERNAL', `the server does not speak ${PROTOCOL}`));
                });
                /* One of them may be all there is. */
                let told = false;
                const refused = async (event) => {
                    const first = !told && this.#stopOpening === reject;
                    told = true;
                    if (first)
                        reject(await refusal(event, this.#url, token));
                };
                socket.addEventListener('error', refused);
                socket.addEventListener('close', refused);
            });
        } catch (error) {
            socket.close();
            throw error;
        } finally {
            this.#stopOpening = undefined;
            clearTimeout(timer);
        }
    }

    #opened(socket) {
        this.#state = 'open';
        this.#openedAt = performance.now();
        this.#session = new Session(socket, this.#host);
        for (const [call, bytes] of this.#waiting)
            this.#session.request(call, bytes);
        this.#waiting.clear();
        if (this.#operations.count)
            this.#announce();
        this.dispatchEvent(new ClientEvent('open'));
    }

    #lost(session, code, reason) {
        if (session !== this.#session)
            return;
        this.#session = undefined;
        if (performance.now() - this.#openedAt >= STABLE_MS)
            this.#attempts = 0;
        if (this.#options.reconnect === false || this.#refused(code))
            return this.#finish(code, reason);
        this.#state = 'reconnecting';
        this.dispatchEvent(new ClientEvent('close', { code, reason, willReconnect: true }));
        this.#reconnect(new AlknetError('INTERNAL', 'connection closed', { details: { code, reason } }));
    }

    /* The token that was good no longer is, and there is no other. */
    #refused(code) {
        return code === CLOSE_POLICY && typeof this.#options.token !== 'function';
    }

    #reconnect(error) {
        if (this.#state === 'closed')
            return;
        if (error?.code === 'UNAUTHORIZED' && this.#refused(CLOSE_POLICY))
            return this.#finish(CLOSE_POLICY, error.message);
        const ms = backOff(this.#attempts);
        this.#attempts = Math.min(this.#attempts + 1, 16);
        this.#timer = setTimeout(async () => {
            try {
                await this.#dial();
            } catch (failure) {
                this.#reconnect(failure);
            }
        }, ms);
        this.dispatchEvent(new ClientEvent('reconnecting', { attempt: this.#attempts, delay: ms, error }));
    }

    #finish(code, reason) {
        if (this.#state === 'closed')
            return;
        this.#state = 'closed';
        clearTimeout(this.#timer);
        const { signal } = this.#options;
        this.#forgetSignal();
        this.#stopOpening?.(signal?.aborted ? signal.reason : closed());
        for (const call of [...this.#waiting.keys(), ...this.#pauses])
            call.giveUp(closed({ code, reason }));
        this.dispatchEvent(new ClientEvent('close', { code, reason, willReconnect: false }));
    }

    /* Tells the hub that what we serve has changed, one announcement at a time. */
    async #announce() {
        const session = this.#session;
        if (!session)
            return;
        session.announceAgain = true;
        if (session.announcing)
            return;
        session.announcing = true;
        while (session.announceAgain && session === this.#session) {
            session.announceAgain = false;
            try {
                await this.call('services/announce', {});
                this.dispatchEvent(new ClientEvent('announced'));
            } catch (error) {
                if (session !== this.#session)
                    return;
                this.#report(error, 'services/announce');
                if (error.retryable) {
                    await delay(ANNOUNCE_AGAIN_MS * (1 + Math.random()));
                    session.announceAgain = true;
                }
            }
        }
        session.announcing = false;
    }

    #report(error, operation) {
        if (this.dispatchEvent(new ClientEvent('error', { error, operation })))
            console.error(`alknet: ${operation}:`, error);
    }
}

export const connect = (url, options) => Client.connect(url, options);

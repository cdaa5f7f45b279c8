/* The table of cases against clients/js.  usage: node runner.mjs CASES URL TOKEN, with alknet.js and node_modules beside it */
import { isDeepStrictEqual } from 'node:util';
import { readFileSync } from 'node:fs';
import { WebSocket } from 'ws';
import { AlknetError, connect } from './alknet.js';

const PATIENCE_MS = 15_000;
const [, , file, url, token] = process.argv;
const DOUBLES = 'JSON.parse makes doubles of all numbers';
const LACKS = {
    integers_64: DOUBLES,
    integers_beyond: DOUBLES,
    numbers_beyond: DOUBLES,
    digits: DOUBLES,
    signed_zero: 'JSON.stringify(-0) is 0',
    own_checks: 'the client serves one hub, which checks inputs before it calls',
};

/* What is wrong, and no error of the client's. */
class Wrong extends Error {}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const shown = (value) => JSON.stringify(value)?.slice(0, 300);

function differ(what, wanted, got) {
    if (!isDeepStrictEqual(wanted, got))
        throw new Wrong(`${what} should be ${shown(wanted)}, not ${shown(got)}`);
}

async function inTime(promise) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Wrong('nothing comes')), PATIENCE_MS);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function until(attempt) {
    for (const end = performance.now() + PATIENCE_MS; ; await sleep(20)) {
        try {
            return await attempt();
        } catch (error) {
            if (performance.now() > end)
                throw error;
        }
    }
}

function serve(seen) {
    const cancelled = ({ signal }) => new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
    });
    const refused = [{ code: 'UI_REFUSED', description: 'as asked' }];
    const integer = { type: 'integer' };
    return {
        'ui/echo': { type: 'query', handler: (input) => input },
        'ui/fail': {
            type: 'query',
            errors: refused,
            handler: ({ code, message, ...more }) => {
                throw new AlknetError(code, message, more);
            },
        },
        'ui/broken': { type: 'query', handler: () => { throw new Error('secret'); } },
        'ui/large': { type: 'query', description: 'before\0behind', handler: ({ bytes }) => 'x'.repeat(bytes) },
        'ui/add': {
            type: 'query',
            inputSchema: { type: 'object', required: ['a', 'b'], properties: { a: integer, b: integer } },
            handler: ({ a, b }) => a + b,
        },
        'ui/wait': {
            type: 'mutation',
            handler: (input, context) => {
                seen.waiting++;
                return cancelled(context).finally(() => {
                    seen.waiting--;
                    seen.cancelled++;
                });
            },
        },
        'ui/count': {
            type: 'subscription',
            errors: refused,
            async *handler({ to = Infinity, fail, pad }) {
                let n = 0;
                seen.counting++;
                try {
                    for (; n < to; n++)
                        yield pad ? 'x'.repeat(pad) : n;
                    if (fail)
                        throw new AlknetError('UI_REFUSED', 'as asked');
                } finally {
                    seen.counting--;
                    seen.left += n < to ? 1 : 0;
                }
            },
        },
    };
}

class Case {
    begun = {};
    seen = { waiting: 0, cancelled: 0, counting: 0, left: 0 };

    async connect({ token, reconnect = false, url: other = url }) {
        this.client?.close();
        this.client = await connect(other, { token, reconnect, WebSocket });
        this.client.addEventListener('error', (event) => event.preventDefault());
        if (!token)
            return;
        this.client.serve(serve(this.seen));
        await inTime(new Promise((resolve) => this.client.addEventListener('announced', resolve, { once: true })));
    }

    start(step) {
        const controller = new AbortController();
        const options = { signal: controller.signal, timeout: step.timeout_ms };
        const input = 'input' in step ? [step.input] : [undefined];
        if (step.call === undefined)
            return { values: this.client.subscribe(step.subscribe, ...input, options) };
        /* Refused at once is refused as well. */
        const result = (async () => this.client.call(step.call, ...input, options))();
        result.catch(() => {});
        return { result, controller };
    }

    async outcome(step, begun) {
        if (begun.result) {
            const value = await inTime(begun.result);
            return step.error || differ('the value', step.value, value);
        }
        for (const wanted of step.values ?? []) {
            const { value, done } = await inTime(begun.values.next());
            differ('the next value', wanted, done ? 'the end' : value);
        }
        if (!step.end && !step.error)
            return;
        let next;
        do {
            next = await inTime(begun.values.next());
        } while (step.rest && !next.done);
        differ('whether it has ended', true, next.done);
    }

    async check(step, begun) {
        let error;
        try {
            await this.outcome(step, begun());
        } catch (thrown) {
            if (thrown instanceof Wrong)
                throw thrown;
            error = thrown;
        }
        if (step.cancelled)
            differ('the error', 'AbortError', error?.name);
        else if (step.error)
            this.compare(step.error, error);
        else if (error)
            throw error;
    }

    compare({ says, ...wanted }, error) {
        const { code, message, retryable, details = null } = error ?? {};
        if (!error)
            throw new Wrong('there should be an error');
        for (const [name, value] of Object.entries(wanted))
            differ(`${name} of ${error}`, value, { code, message, retryable, details }[name]);
        if (says && !says.some((text) => `${code}: ${message}`.includes(text)))
            throw new Wrong(`${error} says nothing of ${says}`);
    }

    async step(step) {
        if ('sleep_ms' in step) {
            await sleep(step.sleep_ms);
        } else if ('seen' in step) {
            await until(() => differ('seen', step.seen, this.seen));
        } else if ('connect' in step) {
            await this.check(step, () => ({ result: this.connect(step.connect) }));
        } else if ('close' in step) {
            this.client.close();
        } else if ('cancel' in step) {
            const { controller, values } = this.begun[step.cancel];
            await (controller ? controller.abort() : values.return());
        } else if ('start' in step) {
            this.begun[step.start] = this.start(step);
        } else if ('await' in step) {
            await this.check(step, () => this.begun[step.await]);
        } else {
            const attempt = () => this.check(step, () => this.start(step));
            await (step.until ? until(attempt) : attempt());
        }
    }

    async run(steps) {
        try {
            await this.connect({ token });
            for (const step of steps) {
                try {
                    await this.step(step);
                } catch (error) {
                    return `${shown(step)}: ${shown(error.message)}`;
                }
            }
        } catch (error) {
            return String(error);
        } finally {
            this.client?.close();
        }
        return undefined;
    }
}

const cases = JSON.parse(readFileSync(file));
for (const { name, needs, steps } of cases) {
    const why = await new Case().run(steps);
    const lack = LACKS[needs];
    if (lack && why)
        console.log(`ok ${name}: not here, since ${lack}`);
    else if (lack)
        console.log(`not ok ${name}: it works, and yet the runner says: ${lack}`);
    else
        console.log(why ? `not ok ${name}: ${why}` : `ok ${name}`);
}
process.exit();

// A page that lives on a hub: it connects with /alknet.js and serves operations of its own. A test drives it through
// `window.page`. The token, and another hub than the one that the page came from, are in the fragment:
//
//   #token=alk_…&host=127.0.0.1:4780
//
// Every promise that a test waits for settles: what takes too long fails, and says what it was.
import { AlknetError, connect } from '/alknet.js';

const PATIENCE = 20_000;
const state = document.querySelector('#state');
const given = new URLSearchParams(location.hash.slice(1));

function within(promise, what) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), PATIENCE);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// What went wrong, as values that can leave the page.
const told = ({ name, code, message, retryable, details }) => ({ name, code, message, retryable, details });
const outcome = (promise) => promise.then((output) => ({ output }), (error) => ({ error: told(error) }));

const page = {
    client: undefined,
    events: [], // of the client, in order
    echoes: 0, // calls of ui/echo
    waiting: 0, // calls of ui/never that run
    aborted: 0, // and those that were aborted

    async connect() {
        const url = `ws://${given.get('host') ?? location.host}/alknet/call`;
        page.client = await within(connect(url, { token: given.get('token') ?? undefined, operations }), 'the connection');
        for (const type of ['open', 'close', 'reconnecting', 'error'])
            page.client.addEventListener(type, ({ code, willReconnect }) => page.events.push({ type, code, willReconnect }));
    },

    call(operation, input, options) {
        return outcome(within(page.client.call(operation, input, options), operation));
    },

    // The first n values of a subscription, which is then left, as one leaves a loop.
    take(n, operation, input) {
        const values = [];
        const read = async () => {
            for await (const value of page.client.subscribe(operation, input)) {
                values.push(value);
                state.textContent = JSON.stringify(value);
                if (values.length === n)
                    break;
            }
            return values;
        };
        return outcome(within(read(), `${n} values of ${operation}`));
    },

    // As many values until its signal aborts the subscription; how it ended, and what came after that.
    async takeUntilAborted(n, operation, input) {
        const controller = new AbortController();
        const values = [];
        const read = async () => {
            for await (const value of page.client.subscribe(operation, input, { signal: controller.signal })) {
                values.push(value);
                if (values.length === n)
                    controller.abort();
            }
        };
        const { error } = await outcome(within(read(), `the end of ${operation}`));
        return { values, error };
    },

    // A call that is aborted once it runs at the hub: the other call on the same connection is answered after its start.
    async abortCall(operation, input) {
        const controller = new AbortController();
        const call = outcome(within(page.client.call(operation, input, { signal: controller.signal }), operation));
        await within(page.client.call('demo/echo', null), 'demo/echo');
        controller.abort();
        return call;
    },
};

const operations = {
    'ui/echo': {
        type: 'query',
        description: 'Returns its input, and where it was.',
        inputSchema: { type: 'object', properties: { text: { type: 'string' } }, required: ['text'] },
        handler(input) {
            page.echoes += 1;
            return { title: document.title, input };
        },
    },
    'ui/fail': {
        type: 'query',
        errors: [{ code: 'UI_BUSY', description: 'someone is typing', schema: true }],
        handler() {
            throw new AlknetError('UI_BUSY', 'not now', { retryable: true });
        },
    },
    'ui/throw': {
        type: 'query',
        handler() {
            throw new Error('of no concern to others');
        },
    },
    'ui/never': {
        type: 'mutation',
        handler(input, { signal }) {
            page.waiting += 1;
            return new Promise((resolve) => {
                signal.addEventListener('abort', () => {
                    page.waiting -= 1;
                    page.aborted += 1;
                    resolve(null);
                });
            });
        },
    },
    'admin/secret': {
        type: 'query',
        handler: () => 'not for demo/callback',
    },
};

window.page = page;
page.connect().then(
    () => { state.textContent = 'connected'; },
    (error) => { state.textContent = `refused: ${error.message}`; },
);

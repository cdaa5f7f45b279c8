/* What a TypeScript program may write with the declarations, and, after @ts-expect-error, what it may not. */
import { AlknetError, connect } from 'alknet';
import type { Client, ConnectOptions, Operation, Operations, State, Subscription } from 'alknet';
import * as exported from 'alknet';

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;
const is = <T extends true>() => undefined as unknown as T;

is<Equal<keyof typeof exported, 'AlknetError' | 'connect'>>();

const clock: Operation = {
    type: 'subscription',
    async *handler(input: { count: number }, { signal }) {
        for (let i = 0; i < input.count && !signal.aborted; i++)
            yield i;
    },
};

const operations: Operations = {
    clock,
    'ui/echo': {
        type: 'query',
        description: 'Returns its input',
        inputSchema: { type: 'string' },
        outputSchema: true,
        errors: [{ code: 'UI_GONE', description: 'gone', schema: { type: 'null' }, httpStatus: 410 }],
        access: { requiredScopes: ['a'], requiredScopesAny: ['b'], resourceType: 'doc', resourceAction: 'read', authenticated: true },
        resourceIdPath: '/id',
        handler(input, context) {
            is<Equal<typeof context.signal, AbortSignal>>();
            is<Equal<typeof context.traceparent, string | undefined>>();
            is<Equal<typeof context.id, string>>();
            throw new AlknetError('UI_GONE', context.operation, { retryable: true, details: input, cause: 1 });
        },
    },
    'ui/array': { type: 'subscription', handler: () => [1, 2] },
    'ui/later': { type: 'mutation', handler: async () => {} },
};

// @ts-expect-error no such type
const badType: Operation = { type: 'stream', handler: () => [] };
// @ts-expect-error a subscription gives an iterable
const badHandler: Operation = { type: 'subscription', handler: () => 1 };
// @ts-expect-error a handler is needed
const noHandler: Operation = { type: 'query' };
// @ts-expect-error the names are those of JavaScript
const badAccess: Operation = { type: 'query', access: { required_scopes: [] }, handler: () => 1 };

class Socket {
    constructor(readonly url: string, readonly protocols?: string | string[]) {}
}

export async function main(): Promise<void> {
    const options: ConnectOptions = {
        token: async () => 'alk_…',
        operations,
        reconnect: false,
        signal: AbortSignal.timeout(1000),
        timeout: 1000,
        WebSocket: Socket,
    };
    is<Equal<ReturnType<typeof connect>, Promise<Client>>>();
    const client = await connect('wss://hub.example', options);
    await connect(new URL('wss://hub.example'), { token: 'alk_…', WebSocket });
    is<Equal<typeof client.state, State>>();

    const unknownOutput = await client.call('demo/echo');
    is<Equal<typeof unknownOutput, unknown>>();
    const { sum } = await client.call<{ sum: number }>('demo/add', { a: 1, b: 2 },
        { signal: AbortSignal.timeout(1), timeout: 1000, traceparent: '00-…' });
    is<Equal<typeof sum, number>>();
    // @ts-expect-error milliseconds
    await client.call('demo/echo', null, { timeout: '1s' });
    // @ts-expect-error only subscriptions keep values
    await client.call('demo/echo', null, { highWater: 1 });

    const ticks: Subscription<{ tick: number }> = client.subscribe('demo/clock', {}, { highWater: 1 << 20, resume: true });
    for await (const { tick } of ticks)
        is<Equal<typeof tick, number>>();
    await ticks.return();

    client.addEventListener('close', ({ code, reason, willReconnect }) => {
        is<Equal<[typeof code, typeof reason, typeof willReconnect], [number, string, boolean]>>();
    });
    client.addEventListener('reconnecting', (event) => {
        is<Equal<[typeof event.attempt, typeof event.delay], [number, number]>>();
    }, { once: true });
    client.addEventListener('error', (event) => {
        event.preventDefault();
        is<Equal<typeof event.error, unknown>>();
        is<Equal<typeof event.operation, string>>();
        if (event.error instanceof AlknetError)
            is<Equal<typeof event.error.details, unknown>>();
    });
    client.addEventListener('announced', () => {});
    const opened = () => {};
    client.addEventListener('open', opened);
    client.removeEventListener('open', opened);
    const target: EventTarget = client;
    target.dispatchEvent(new Event('open'));

    client.serve({ ...operations, badType, badHandler, noHandler, badAccess });
    // @ts-expect-error the client is made by connect
    new exported.Client();
    client.close();
}

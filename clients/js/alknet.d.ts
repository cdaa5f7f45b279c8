/** A failure with a code: of the protocol (`NOT_FOUND`, `FORBIDDEN`, `INVALID_INPUT`, `INVALID_OPERATION_TYPE`,
 *  `TIMEOUT`, `BUSY`, `INTERNAL`), of an operation's own, `TOO_SLOW`, or `UNAUTHORIZED` where the hub does not accept
 *  the token. */
export declare class AlknetError extends Error {
    constructor(code: string, message: string, options?: AlknetErrorOptions);
    readonly name: 'AlknetError';
    readonly code: string;
    /** The same call may succeed later. */
    readonly retryable: boolean;
    readonly details?: unknown;
}

export interface AlknetErrorOptions {
    retryable?: boolean;
    details?: unknown;
    cause?: unknown;
}

export interface CallOptions {
    /** Aborting it aborts the call; the call fails with the signal's reason. */
    signal?: AbortSignal;
    /** Milliseconds; `Infinity` for none. Default 30,000 for call(), none for subscribe(). */
    timeout?: number;
    /** A W3C trace context that the callee gets. */
    traceparent?: string;
}

export interface SubscribeOptions extends CallOptions {
    /** Bytes kept for a slow consumer before the subscription ends as `TOO_SLOW`. Default 1 MiB. */
    highWater?: number;
    /** Ask again after a loss of the connection, a restart of the hub, or `BUSY`. Default false. */
    resume?: boolean;
}

/** The values of a subscription. Leaving the loop, or `return()`, aborts the call. */
export interface Subscription<T> extends AsyncIterableIterator<T> {
    return(value?: unknown): Promise<IteratorResult<T>>;
    throw(error?: unknown): Promise<IteratorResult<T>>;
}

export interface CallContext {
    /** The id of the call, unique per connection. */
    readonly id: string;
    /** The name of the operation, without a leading slash. */
    readonly operation: string;
    /** Aborted when the caller aborts, the deadline passes or the connection is lost. */
    readonly signal: AbortSignal;
    readonly traceparent: string | undefined;
}

/** All that is given must hold. Nothing given: anyone may call. */
export interface Access {
    /** All of these scopes. */
    requiredScopes?: string[];
    /** One of these scopes. */
    requiredScopesAny?: string[];
    resourceType?: string;
    resourceAction?: string;
    /** Any identity. */
    authenticated?: boolean;
}

export interface ErrorSchema {
    code: string;
    description?: string;
    /** A JSON Schema of the error's details. */
    schema?: JsonSchema;
    /** 400 to 599. */
    httpStatus?: number;
}

export type JsonSchema = boolean | { [keyword: string]: unknown };

interface OperationBase {
    description?: string;
    inputSchema?: JsonSchema;
    outputSchema?: JsonSchema;
    errors?: ErrorSchema[];
    /** Published, and enforced by the hub before it forwards a call. */
    access?: Access;
    /** A JSON pointer into the input, to the id of the resource that `access.resourceType` names. */
    resourceIdPath?: string;
}

export interface UnaryOperation extends OperationBase {
    type: 'query' | 'mutation';
    /** The result is the output; `undefined` becomes `null`. */
    handler(input: any, context: CallContext): unknown;
}

export interface SubscriptionOperation extends OperationBase {
    type: 'subscription';
    /** Each value is an output; the end completes the subscription. */
    handler(
        input: any,
        context: CallContext,
    ): AsyncIterable<unknown> | Iterable<unknown> | Promise<AsyncIterable<unknown> | Iterable<unknown>>;
}

export type Operation = UnaryOperation | SubscriptionOperation;

/** By name, `namespace/operation`. */
export type Operations = Record<string, Operation>;

export interface ConnectOptions {
    /** Proves who we are. A function is asked before each attempt to connect. */
    token?: string | (() => string | Promise<string>);
    /** What we serve to the hub. */
    operations?: Operations;
    /** Connect again after a loss. Default true. */
    reconnect?: boolean;
    /** Aborting it closes the client, or fails connect() with the signal's reason. */
    signal?: AbortSignal;
    /** Milliseconds for one attempt to open the connection. Default 10,000. */
    timeout?: number;
    /** Used instead of `globalThis.WebSocket`. Node before 22 has none: give that of the package `ws`. */
    WebSocket?: new (url: string, protocols: string[]) => any;
}

export type State = 'open' | 'reconnecting' | 'closed';

export interface OpenEvent extends Event {
    readonly type: 'open';
}

/** The hub has taken over what we serve. */
export interface AnnouncedEvent extends Event {
    readonly type: 'announced';
}

export interface CloseEvent extends Event {
    readonly type: 'close';
    /** The WebSocket's close code. */
    readonly code: number;
    readonly reason: string;
    /** False: the client is closed for good. */
    readonly willReconnect: boolean;
}

export interface ReconnectingEvent extends Event {
    readonly type: 'reconnecting';
    /** 1 for the first after a loss. */
    readonly attempt: number;
    /** Milliseconds until the attempt. */
    readonly delay: number;
    /** Why there is no connection. */
    readonly error: unknown;
}

/** A subscription with `resume` has ended early and is asked for again; values may have been missed. */
export interface ResumingEvent extends Event {
    readonly type: 'resuming';
    readonly operation: string;
    /** Milliseconds until it is asked for, or later, when there is a connection. */
    readonly delay: number;
    /** What ended it. */
    readonly error: AlknetError;
}

/** An announcement or a handler failed. Written to the console unless `preventDefault()` is called. */
export interface ErrorEvent extends Event {
    readonly type: 'error';
    readonly error: unknown;
    /** The operation whose handler failed, or `services/announce`. */
    readonly operation: string;
}

export interface ClientEventMap {
    open: OpenEvent;
    announced: AnnouncedEvent;
    close: CloseEvent;
    reconnecting: ReconnectingEvent;
    resuming: ResumingEvent;
    error: ErrorEvent;
}

export interface Client extends EventTarget {
    readonly state: State;
    call<T = unknown>(operation: string, input?: unknown, options?: CallOptions): Promise<T>;
    subscribe<T = unknown>(operation: string, input?: unknown, options?: SubscribeOptions): Subscription<T>;
    /** From now on serves these operations instead of those before, and tells the hub. */
    serve(operations: Operations): void;
    /** Ends the connection and everything on it, for good. */
    close(): void;
    addEventListener<K extends keyof ClientEventMap>(
        type: K,
        listener: (this: Client, event: ClientEventMap[K]) => void,
        options?: boolean | AddEventListenerOptions,
    ): void;
    addEventListener(
        type: string,
        listener: EventListenerOrEventListenerObject | null,
        options?: boolean | AddEventListenerOptions,
    ): void;
    removeEventListener<K extends keyof ClientEventMap>(
        type: K,
        listener: (this: Client, event: ClientEventMap[K]) => void,
        options?: boolean | EventListenerOptions,
    ): void;
    removeEventListener(
        type: string,
        listener: EventListenerOrEventListenerObject | null,
        options?: boolean | EventListenerOptions,
    ): void;
}

/** Connects to a hub: `wss://host/alknet/call`, the path being the default. Fails if the first attempt does. */
export declare function connect(url: string | URL, options?: ConnectOptions): Promise<Client>;

import assert from 'node:assert/strict';
import test from 'node:test';
import { failure, nextEvent, open } from './hub.js';

const utf8 = (text) => Buffer.from(text);

/* Sends that; the connection must be closed with that code, pending calls failed, and nothing sent any more. */
async function closes(t, data, code, reason) {
    const { client, peer } = await open(t, { reconnect: false });
    const pending = failure(client.call('demo/wait'));
    await peer.next('call.requested');
    const event = nextEvent(client, 'close');
    peer.sendRaw(data);
    const closed = await peer.closed;
    assert.equal(closed.code, code);
    assert.match(closed.reason, reason);
    assert.equal((await pending).message, 'connection closed');
    assert.equal((await event).code, code);
}

const envelope = (members) => utf8(`{"type":"call.responded","id":"x","payload":{}${members}}`);
const arrays = (depth) => '['.repeat(depth) + ']'.repeat(depth);
const nested = (depth) => utf8(`{"type":"call.unknown","id":"x","payload":${arrays(depth - 1)}}`);
const withId = (id) => utf8(`{"type":"call.responded","id":"${id}","payload":{}}`);

const framing = {
    'a text message': ['{"type":"call.responded","id":"x","payload":{}}', /^a text message$/],
    'an empty message': [utf8(''), /^no envelope: /],
    'no JSON': [utf8('{"type":'), /^no envelope: /],
    'something behind the JSON': [utf8('{"type":"a","id":"x","payload":1} {}'), /^no envelope: /],
    'a byte order mark': [utf8('\ufeff{"type":"a","id":"x","payload":1}'), /^no envelope: /],
    'no UTF-8': [Buffer.from(String(envelope(',"more":"ü"')), 'latin1'), /^no envelope: .*(utf-8|encoded)/i],
    'no object': [utf8('[]'), /needs type, id/],
    'null': [utf8('null'), /needs type, id/],
    'no type': [utf8('{"id":"x","payload":{}}'), /needs type, id/],
    'a type that is no string': [utf8('{"type":1,"id":"x","payload":{}}'), /needs type, id/],
    'no id': [utf8('{"type":"call.responded","payload":{}}'), /needs type, id/],
    'an id that is no string': [utf8('{"type":"call.responded","id":1,"payload":{}}'), /needs type, id/],
    'an empty id': [withId(''), /needs type, id/],
    'an id of 257 bytes': [withId('x'.repeat(257)), /needs type, id/],
    'an id of 129 characters of two bytes': [withId('ü'.repeat(129)), /needs type, id/],
    'no payload': [utf8('{"type":"call.responded","id":"x"}'), /needs type, id/],
    'a member twice': [envelope(',"id":"y"'), /a member name twice/],
    'a member twice, once escaped': [envelope(',"more":{"a":1,"\\u0061":2}'), /a member name twice/],
    'half a surrogate pair': [envelope(',"more":"\\ud83d"'), /half of a surrogate pair/],
    'half a surrogate pair in a name': [envelope(',"\\uDE00":1'), /half of a surrogate pair/],
    'nesting of 129': [nested(129), /nested deeper than 128/],
    'nesting of a million': [nested(1_000_000), /nested deeper than 128/],
};

for (const [name, [data, reason]] of Object.entries(framing))
    test(`framing: ${name} closes with 4002`, (t) => closes(t, data, 4002, reason));

test('framing: a message above 4 MiB closes with 4009', (t) =>
    closes(t, envelope(`,"more":"${'x'.repeat(4 << 20)}"`), 4009, /more than 4194304 bytes/));

test('framing: what is allowed is taken', async (t) => {
    const { client, peer } = await open(t);
    const size = (4 << 20) - envelope(',"more":""').length;
    for (const data of [
        envelope(`,"more":"${'x'.repeat(size)}"`),
        envelope(',"more":{"a":{"a":1},"b":[{"a":1},{"a":2}],"c:d":"e:f\\\\","__proto__":{"a":"\\"x\\":"}}'),
        envelope(',"more":"\\ud83d\\ude00 \\\\ud83d 😀"'),
        envelope(',"toString":1'),
        nested(128),
        withId('ü'.repeat(128)),
        utf8(' {"payload" : [1, 2.5e3 , true],\r\n\t"id":"x", "type":"call.completed" } '),
    ])
        peer.sendRaw(data);
    await peer.quiet();
    assert.equal(client.state, 'open');
});

test('framing: an unknown type is ignored', async (t) => {
    const { peer } = await open(t);
    for (const type of ['call.paused', '', 'CALL.REQUESTED', 'constructor'])
        peer.send(type, 'x', { operationId: '/services/list', input: {} });
    await peer.quiet();
});

test('framing: a call answered by what is no object gets null', async (t) => {
    const { client, peer } = await open(t);
    for (const payload of [null, 7, 'text', [1], {}]) {
        const promise = client.call('demo/echo');
        peer.send('call.responded', (await peer.next('call.requested')).id, payload);
        assert.equal(await promise, null);
    }
});

test('framing: what comes after the fault is not looked at', async (t) => {
    let runs = 0;
    const operations = { 'ui/run': { type: 'query', handler: () => ++runs } };
    const { client, peer } = await open(t, { reconnect: false, operations });
    peer.socket._socket.cork(); // so that both arrive together
    peer.sendRaw('text');
    peer.ask('ui/run');
    peer.socket._socket.uncork();
    await peer.closed;
    assert.equal(client.state, 'closed');
    assert.equal(runs, 0);
});

test('framing: after a fault of the hub the client connects again', async (t) => {
    const { client, hub, peer } = await open(t);
    peer.sendRaw('text');
    assert.equal((await peer.closed).code, 4002);
    await (await hub.peer()).quiet();
    assert.equal(client.state, 'open');
});

// What NATS' own client sees of a hub: node client.mjs URL NAME. Prints one JSON object.
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.env.NATS_CLIENT, 'package.json'));
const { connect, JSONCodec, ServiceError } = require('nats');

const [url, name] = process.argv.slice(2);
const json = JSONCodec();
const nc = await connect({ servers: url });
const services = nc.services.client({ strategy: 'stall', maxWait: 2000 });

async function all(list) {
  const found = [];
  for await (const one of await list) found.push(one);
  return found;
}

async function call(operation, input) {
  const answer = await nc.request(`alknet.services.${name}.${operation}`, input === undefined ? undefined : json.encode(input));
  if (ServiceError.isServiceError(answer)) {
    const { code, message } = ServiceError.toServiceError(answer);
    return { code, message, fault: json.decode(answer.data) };
  }
  return { output: json.decode(answer.data) };
}

console.log(JSON.stringify({
  ping: await all(services.ping()),
  named: await all(services.ping(name)),
  info: await all(services.info(name)),
  echo: await call('demo.echo', { text: '\u00e4' }),
  empty: await call('demo.echo'),
  wrong: await call('demo.add', { a: 1 }),
  none: await call('demo.nothing', {}),
  stats: await all(services.stats(name)),
}));
await nc.close();

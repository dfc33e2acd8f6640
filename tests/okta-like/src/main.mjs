// Starts the server from the environment; ends on SIGTERM, which process 1 of a container would ignore by itself.
import { start } from './okta-like.mjs';
import { settingsFrom } from './settings.mjs';

const server = await start(settingsFrom(process.env));
console.log(`okta-like serves ${server.issuer}${server.controls ? `, fault controls on ${server.controls}` : ''}`);
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, async () => {
    await server.close();
    process.exit(0);
  });
}

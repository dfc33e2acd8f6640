// Metadata, keys, limits, faults, TLS.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as jose from 'jose';
import { settingsFrom } from '../src/settings.mjs';
import { world } from './world.mjs';

test('the metadata is the same document in all three places where clients look', async (t) => {
  const { issuer, get } = await world(t);
  const paths = [
    `${issuer}/.well-known/openid-configuration`,
    `${issuer}/.well-known/oauth-authorization-server`,
    '/.well-known/oauth-authorization-server/oauth2/default',
  ];

  const [first, ...others] = await Promise.all(paths.map(get));

  assert.equal(first.body.issuer, issuer);
  assert.equal(first.body.jwks_uri, `${issuer}/v1/keys`);
  assert.equal(first.body.token_endpoint, `${issuer}/v1/token`);
  assert.equal(first.body.introspection_endpoint, `${issuer}/v1/introspect`);
  for (const other of others) assert.deepEqual(other.body, first.body);
});

test('another server of the organisation is not found, in the form of the other Okta APIs', async (t) => {
  const { get } = await world(t);

  const { status, body } = await get('/oauth2/nope/v1/keys');

  assert.equal(status, 404);
  assert.equal(body.errorCode, 'E0000007');
});

test('the next key is published before it signs, and a retired one no longer is', async (t) => {
  const { issuer, caller, api, accessToken, introspect, get, control } = await world(t, { keysMaxAgeSeconds: 7 });
  const published = async () => (await get(`${issuer}/v1/keys`)).body.keys.map(({ kid }) => kid);
  const kid = (token) => jose.decodeProtectedHeader(token).kid;
  const before = await published();
  const old = await accessToken(caller);
  assert.equal(kid(old), before[0]);

  await control('rotate');
  const rotated = await accessToken(caller);
  assert.equal(kid(rotated), before[1]);
  assert.ok((await published()).includes(kid(old)));
  assert.equal((await introspect(api, old)).body.active, true);

  await control('rotate', { retire: true });
  assert.ok(!(await published()).includes(kid(old)));
  assert.ok((await published()).includes(kid(await accessToken(caller))));
});

test('a key can sign before anyone can fetch it', async (t) => {
  const { issuer, caller, accessToken, get, control } = await world(t);

  await control('rotate', { publish: false });

  const { keys } = (await get(`${issuer}/v1/keys`)).body;
  const { kid } = jose.decodeProtectedHeader(await accessToken(caller));
  assert.ok(!keys.some((key) => key.kid === kid));
});

test('keys say how long they may be cached', async (t) => {
  const { issuer, get, control } = await world(t, { keysMaxAgeSeconds: 7 });
  const cacheControl = async () => (await get(`${issuer}/v1/keys`)).headers.get('cache-control');

  assert.equal(await cacheControl(), 'max-age=7, must-revalidate');
  await control('cache-control', { value: 'no-store' });
  assert.equal(await cacheControl(), 'no-store');
});

test('over its limit an endpoint answers 429 with the headers and the body of Okta', async (t) => {
  const { caller, api, accessToken, introspect, control } = await world(t);
  const token = await accessToken(caller);
  await control('limit', { path: '/v1/introspect', remaining: 1, resetSeconds: 30 });

  const within = await introspect(api, token);
  const over = await introspect(api, token);

  assert.deepEqual([within.status, within.headers.get('x-rate-limit-remaining')], [200, '0']);
  assert.deepEqual([over.status, over.body.errorCode], [429, 'E0000047']);
  const wait = Number(over.headers.get('x-rate-limit-reset')) - Date.parse(over.headers.get('date')) / 1000;
  assert.ok(wait > 25 && wait <= 31, `${wait} s`);
  await control('limit', { path: '/v1/introspect' });
  assert.equal((await introspect(api, token)).status, 200);
});

test('an endpoint that is down hangs up, and comes back', async (t) => {
  const { caller, token, control } = await world(t);

  await control('down', { path: '/v1/token' });
  await assert.rejects(token(caller), /fetch failed/);
  await control('down', { path: '/v1/token', down: false });

  assert.equal((await token(caller)).status, 200);
});

test('the controls count requests', async (t) => {
  const { caller, token, control } = await world(t);
  await token(caller);
  await token(caller);

  assert.equal((await control('state')).hits['/v1/token'], 2);
});

test('without a port for them there are no controls', async (t) => {
  const { issuer, controls, get } = await world(t, { controlsPort: undefined });

  assert.equal(controls, undefined);
  assert.equal((await get('/rotate')).status, 404);
  assert.equal((await get(`${issuer}/rotate`)).status, 404);
});

test('https is served under a certificate of the private CA, and only the CA makes it trusted', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'okta-like-'));
  t.after(() => rmSync(dir, { recursive: true }));
  execFileSync('sh', [new URL('../certs.sh', import.meta.url).pathname, dir, 'okta-like.okta.svc.cluster.local', '127.0.0.1']);
  const read = (name) => readFileSync(join(dir, name));
  const { issuer } = await world(t, { tls: { cert: read('tls.crt'), key: read('tls.key') } });
  const metadata = (options) =>
    new Promise((resolve, reject) => {
      https.get(`${issuer}/.well-known/openid-configuration`, options, (response) => resolve(response.statusCode)).on('error', reject);
    });

  assert.match(issuer, /^https:/);
  assert.equal(await metadata({ ca: read('ca.crt') }), 200);
  assert.equal(await metadata({ ca: read('ca.crt'), servername: 'okta-like.okta.svc.cluster.local' }), 200);
  await assert.rejects(metadata({}), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
  await assert.rejects(metadata({ ca: read('ca.crt'), servername: 'elsewhere.example' }), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
});

test('plain http is refused on anything but loopback', () => {
  assert.throws(() => settingsFrom({ HOST: '0.0.0.0' }), /plain http is for loopback only/);
  assert.throws(() => settingsFrom({ TLS_CERT_FILE: 'tls.crt' }), /set both/);
});

// Introspection and revocation.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as jose from 'jose';
import { memoryStore } from '../src/store.mjs';
import { world } from './world.mjs';

test('any client of the server learns that a token is active, in the members of Okta', async (t) => {
  const { issuer, caller, api, accessToken, introspect } = await world(t);
  const token = await accessToken(caller);
  const { jti, iat, exp } = jose.decodeJwt(token);

  const { status, body } = await introspect(api, token);

  assert.equal(status, 200);
  assert.deepEqual(body, {
    active: true, scope: 'items', exp, iat, sub: caller.clientId, aud: 'api://default', iss: issuer, jti, token_type: 'Bearer', client_id: caller.clientId,
  });
});

test('a revoked token is inactive, and revoking again is no error', async (t) => {
  const { caller, api, accessToken, introspect, revoke } = await world(t);
  const [revoked, other] = [await accessToken(caller), await accessToken(caller)];

  assert.equal((await revoke(caller, revoked)).status, 200);

  assert.deepEqual((await introspect(api, revoked)).body, { active: false });
  assert.equal((await introspect(api, other)).body.active, true);
  assert.equal((await revoke(caller, revoked)).status, 200);
});

test("a client cannot revoke another's token", async (t) => {
  const { caller, reports, api, accessToken, introspect, revoke } = await world(t);
  const token = await accessToken(caller);

  await revoke(reports, token);

  assert.equal((await introspect(api, token)).body.active, true);
});

test('what is no living token of this server is inactive and nothing more', async (t) => {
  const { caller, api, accessToken, introspect, control } = await world(t);
  const token = await accessToken(caller);
  const mint = async (options) => (await control('mint', options)).token;

  for (const bad of ['abc', `${token}x`, 'a.b.c', await mint({ key: 'foreign' }), await mint({ key: 'none' }), await mint({ claims: { jti: 7 } })]) {
    const { status, body } = await introspect(api, bad);
    assert.deepEqual([status, body], [200, { active: false }], bad);
  }
});

test('a token that expired is inactive', async (t) => {
  const { caller, api, accessToken, introspect } = await world(t, { tokenSeconds: 1 });
  const token = await accessToken(caller);

  const deadline = Date.now() + 10_000;
  let answer;
  do answer = await introspect(api, token);
  while (answer.body.active && Date.now() < deadline);

  assert.deepEqual(answer.body, { active: false });
});

test('introspection wants credentials and a token', async (t) => {
  const { caller, accessToken, introspect } = await world(t);
  const token = await accessToken(caller);

  assert.deepEqual((await introspect(undefined, token)).status, 401);
  assert.deepEqual((await introspect({ ...caller, clientSecret: 'wrong' }, token)).body.error, 'invalid_client');
  assert.deepEqual((await introspect(caller, '')).body, { error: 'invalid_request', error_description: "The 'token' parameter is required." });
});

test('thousands of tokens are kept, each until it expires', async () => {
  let now = 0;
  const tokens = memoryStore(() => now)('ClientCredentials');
  for (let id = 0; id < 5_000; id += 1) await tokens.upsert(`${id}`, { id }, 60);

  now = 59_999;
  assert.deepEqual(await tokens.find('0'), { id: 0 });
  now = 60_000;
  assert.equal(await tokens.find('0'), undefined);
});

// Tokens: what they carry, who gets which, and Okta's words where nobody gets one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as jose from 'jose';
import { post, world } from './world.mjs';

test('a token has the header and the claims of an Okta access token', async (t) => {
  const { issuer, caller, token, get } = await world(t);

  const { status, headers, body } = await token(caller, { scope: 'items items:write' });

  assert.equal(status, 200);
  assert.match(headers.get('cache-control'), /no-store/);
  assert.deepEqual({ ...body, access_token: '' }, { access_token: '', token_type: 'Bearer', expires_in: 3600, scope: 'items items:write' });
  const { keys } = (await get(`${issuer}/v1/keys`)).body;
  assert.deepEqual(jose.decodeProtectedHeader(body.access_token), { kid: keys[0].kid, alg: 'RS256' });
  const claims = jose.decodeJwt(body.access_token);
  assert.match(claims.jti, /^AT\.[\w-]{43}$/);
  assert.deepEqual(
    { ...claims, jti: '', iat: 0, exp: claims.exp - claims.iat },
    { ver: 1, jti: '', iss: issuer, aud: 'api://default', iat: 0, exp: 3600, cid: caller.clientId, scp: ['items', 'items:write'], sub: caller.clientId },
  );
  await jose.jwtVerify(body.access_token, jose.createLocalJWKSet({ keys }), { issuer, audience: 'api://default' });
});

test('a secret may come in the header or in the body', async (t) => {
  const { caller, token } = await world(t);

  assert.equal((await token(caller)).status, 200);
  assert.equal((await token(caller, {}, { inBody: true })).status, 200);
});

test('default scopes are granted to who asks for none', async (t) => {
  const { caller, token } = await world(t, { defaultScopes: ['items'] });

  assert.equal((await token(caller, { scope: '' })).body.scope, 'items');
});

test('every refusal of a token has the status and the words of Okta', async (t) => {
  const { issuer, caller, reports, api, token } = await world(t);
  const wrong = { ...caller, clientSecret: 'wrong' };
  const refusals = [
    [token(wrong), 401, 'invalid_client', 'The client secret supplied for a confidential client is invalid.'],
    [token(wrong, {}, { inBody: true }), 401, 'invalid_client', 'The client secret supplied for a confidential client is invalid.'],
    [token(wrong, { scope: 'nope' }), 401, 'invalid_client', 'The client secret supplied for a confidential client is invalid.'],
    [token({ clientId: 'nobody', clientSecret: 'x' }), 401, 'invalid_client', "Invalid value for 'client_id' parameter."],
    [token(undefined), 401, 'invalid_client', 'No client credentials found.'],
    [token(caller, { client_secret: 'x' }), 401, 'invalid_request', /^Cannot supply multiple client credentials\./],
    [token(caller, { scope: '' }), 400, 'invalid_scope', /does not have any configured default scopes/],
    [token(caller, { scope: 'openid' }), 400, 'invalid_scope', "Cannot request 'openid' scopes using client credentials."],
    [token(caller, { scope: 'nope' }), 400, 'invalid_scope', 'One or more scopes are not configured for the authorization server resource.'],
    [token(caller, { grant_type: 'password' }), 400, 'unsupported_grant_type', /Configured grant types: \[client_credentials\]\.$/],
    [token(reports, { scope: 'items' }), 400, 'access_denied', 'Policy evaluation succeeded, but all the requested scopes were rejected.'],
    [token(reports, { scope: 'reports items' }), 400, 'access_denied', 'Some of the requested scopes were denied by the policy. Denied scopes: [items].'],
    [token(api), 401, 'access_denied', 'Policy evaluation failed for this request, please check the policy configurations.'],
    [
      post(`${issuer}/v1/token`, caller, [['grant_type', 'client_credentials'], ['scope', 'items'], ['scope', 'reports']]),
      400,
      'invalid_request',
      'The request contained multiple parameters with the same name.',
    ],
    [
      post(`${issuer}/v1/token?client_secret=x`, undefined, { grant_type: 'client_credentials' }),
      400,
      'invalid_request',
      'Client credentials cannot be supplied via query parameters.',
    ],
  ];
  for (const [pending, status, error, description] of refusals) {
    const { status: given, body } = await pending;
    assert.deepEqual([given, body.error], [status, error], JSON.stringify(body));
    assert.match(body.error_description, description instanceof RegExp ? description : new RegExp(`^${RegExp.escape(description)}$`));
    assert.deepEqual(Object.keys(body), ['error', 'error_description']);
  }
});

test('only a failed Basic authentication is challenged', async (t) => {
  const { caller, token } = await world(t);
  const wrong = { ...caller, clientSecret: 'wrong' };

  assert.match((await token(wrong)).headers.get('www-authenticate'), /^Basic realm=/);
  assert.equal((await token(wrong, {}, { inBody: true })).headers.get('www-authenticate'), null);
});

test('a client with a key pair signs its way in once', async (t) => {
  const { publicKey, privateKey } = await jose.generateKeyPair('RS256');
  const jwks = { keys: [{ ...(await jose.exportJWK(publicKey)), kid: 'k1', alg: 'RS256', use: 'sig' }] };
  const { issuer } = await world(t, { clients: [{ clientId: '0oaSigner', jwks, scopes: ['items'] }] });
  const assertion = (aud) =>
    new jose.SignJWT({ jti: crypto.randomUUID() })
      .setProtectedHeader({ alg: 'RS256', kid: 'k1' })
      .setIssuer('0oaSigner').setSubject('0oaSigner').setAudience(aud).setIssuedAt().setExpirationTime('5m')
      .sign(privateKey);
  const ask = (client_assertion) =>
    post(`${issuer}/v1/token`, undefined, {
      grant_type: 'client_credentials',
      scope: 'items',
      client_assertion,
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    });
  const good = await assertion(`${issuer}/v1/token`);

  assert.equal((await ask(good)).status, 200);
  assert.equal((await ask(good)).body.error_description, 'The client_assertion token has already been used.');
  assert.match((await ask(await assertion('https://elsewhere.example'))).body.error_description, /^The audience claim/);
});

test('a DPoP client gets a bound token, after it was told the nonce', async (t) => {
  const client = { clientId: '0oaProver', clientSecret: 'prover-secret', dpop: true, scopes: ['items'] };
  const { issuer, token } = await world(t, { clients: [client] });
  const { publicKey, privateKey } = await jose.generateKeyPair('ES256');
  const jwk = await jose.exportJWK(publicKey);
  const ask = async (nonce) => {
    const proof = new jose.SignJWT({ htm: 'POST', htu: `${issuer}/v1/token`, jti: crypto.randomUUID(), ...(nonce ? { nonce } : {}) });
    const dpop = await proof.setIssuedAt().setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk }).sign(privateKey);
    return token(client, {}, { headers: { DPoP: dpop } });
  };

  assert.equal((await token(client)).body.error, 'invalid_dpop_proof');
  const told = await ask();
  assert.deepEqual([told.status, told.body.error], [400, 'use_dpop_nonce']);
  const { body } = await ask(told.headers.get('dpop-nonce'));
  assert.equal(body.token_type, 'DPoP');
  assert.equal(jose.decodeJwt(body.access_token).cnf.jkt, await jose.calculateJwkThumbprint(jwk));
});

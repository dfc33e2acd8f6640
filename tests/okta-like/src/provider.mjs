// oidc-provider with Okta's rules and words around it: it authenticates clients, checks DPoP proofs, and grants and
// finds tokens; what a token looks like, which scopes a client gets, and how errors read is decided here.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import Provider from 'oidc-provider';
import { REFUSAL, reworded, thrown } from './wording.mjs';
import { memoryStore } from './store.mjs';
import { accessTokenClaims, introspectionAnswer, storageId } from './tokens.mjs';

const ENDPOINTS = ['/v1/token', '/v1/introspect', '/v1/revoke'];
const OPENID_SCOPES = ['openid', 'profile', 'email', 'address', 'phone', 'groups', 'offline_access'];
const PROOF_ALGORITHMS = ['RS256', 'RS384', 'RS512', 'ES256', 'ES384', 'ES512'];
const FORM = 'application/x-www-form-urlencoded';

/** @returns a handler of Node requests whose path is relative to the issuer */
export function oauthEndpoints(settings, keys) {
  const provider = new Provider(settings.issuer, configuration(settings));
  provider.proxy = true;
  issueSignedTokens(provider, settings, keys);
  provider.use((ctx, next) => asOkta(ctx, next, keys));
  for (const event of ['grant.error', 'introspection.error', 'revocation.error']) {
    provider.on(event, (ctx, error) => {
      ctx.state.detail = error.error_detail;
    });
  }
  return provider.callback();
}

function configuration({ audience, scopes, defaultScopes, clients, tokenSeconds }) {
  const allowed = new Map(clients.map((client) => [client.clientId, client.scopes]));
  return {
    adapter: memoryStore(),
    clients: clients.map(registration),
    jwks: { keys: [unusedSigningKey()] },
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    scopes,
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
    responseTypes: ['none', 'code'],
    enabledJWA: { dPoPSigningAlgValues: PROOF_ALGORITHMS, clientAuthSigningAlgValues: PROOF_ALGORITHMS },
    routes: { jwks: '/v1/keys', token: '/v1/token', introspection: '/v1/introspect', revocation: '/v1/revoke' },
    ttl: { ClientCredentials: tokenSeconds },
    features: {
      devInteractions: { enabled: false },
      userinfo: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      pushedAuthorizationRequests: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },   // Okta: any client of the same server may ask
      revocation: { enabled: true, allowedPolicy: (ctx, client, token) => client.clientId === token.clientId },
      dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true, allowReplay: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => audience,                             // one audience a server, no resource parameter
        useGrantedResource: () => true,
        getResourceServerInfo(ctx, resource, client) {               // runs once the client is authenticated
          ctx.oidc.params.scope = grantedScopes(ctx.oidc.params.scope, allowed.get(client.clientId), { scopes, defaultScopes });
          return { scope: scopes.join(' '), audience, accessTokenTTL: tokenSeconds, accessTokenFormat: 'opaque' };
        },
      },
    },
  };
}

/** oidc-provider wants a key for ID tokens, which nobody gets here. Access tokens are signed by keys.mjs. */
function unusedSigningKey() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' };
}

function registration({ clientId, clientSecret, jwks, dpop = false }) {
  return {
    client_id: clientId,
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
    dpop_bound_access_tokens: dpop,
    ...(jwks
      ? { jwks, token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'RS256' }
      : { client_secret: clientSecret, token_endpoint_auth_method: 'client_secret_basic' }),   // the body is taken too
  };
}

/** The scopes of a client credentials grant, or Okta's refusal. */
function grantedScopes(asked, allowed, { scopes, defaultScopes }) {
  const wanted = (asked ?? '').split(' ').filter(Boolean);
  if (wanted.length === 0) wanted.push(...defaultScopes);
  if (wanted.length === 0) throw thrown(REFUSAL.noDefaultScope);
  if (wanted.some((scope) => OPENID_SCOPES.includes(scope))) throw thrown(REFUSAL.openidScope);
  if (wanted.some((scope) => !scopes.includes(scope))) throw thrown(REFUSAL.unknownScope);
  if (allowed.length === 0) throw thrown(REFUSAL.noMatchingPolicy);
  const denied = wanted.filter((scope) => !allowed.includes(scope));
  if (denied.length === wanted.length) throw thrown(REFUSAL.allScopesDenied);
  if (denied.length > 0) throw thrown(REFUSAL.someScopesDenied(denied));
  return wanted.join(' ');
}

/** Clients get a signed token; the opaque one that oidc-provider stores stays here, to be introspected and revoked. */
function issueSignedTokens(provider, settings, keys) {
  const token = provider.ClientCredentials.prototype;
  const opaque = token.getValueAndPayload;
  token.getValueAndPayload = async function signed() {
    const { payload } = await opaque.call(this);
    return { value: await keys.sign(accessTokenClaims(payload, settings)), payload };
  };
}

async function asOkta(ctx, next, keys) {
  const asked = ctx.method === 'POST' && ENDPOINTS.includes(ctx.path) && ctx.is(FORM) ? new URLSearchParams(await bodyOf(ctx.req)) : undefined;
  const refusal = asked && refused(ctx, asked);
  if (refusal) {
    Object.assign(ctx, refusal);
  } else {
    const claims = asked?.has('token') ? await keys.verified(asked.get('token')) : undefined;
    if (asked) replaceBody(ctx, asked, claims);
    await next();
    if (ctx.body?.active === true) ctx.body = introspectionAnswer(claims);
    if (ctx.body?.error) Object.assign(ctx, reworded({ status: ctx.status, body: ctx.body, detail: ctx.state.detail, hasProof: ctx.get('dpop') !== '' }));
  }
  ctx.remove('WWW-Authenticate');                                    // oidc-provider's has its own error text in it
  if (ctx.status === 401 && ctx.get('authorization') !== '') ctx.set('WWW-Authenticate', 'Basic realm="okta-like"');
  ctx.set('Cache-Control', 'no-cache, no-store');
  ctx.set('Pragma', 'no-cache');
}

/** What Okta refuses before it looks at the client. */
function refused(ctx, asked) {
  const inHeader = /^Basic /i.test(ctx.get('authorization'));
  const inBody = asked.has('client_secret') || asked.has('client_assertion');
  if (ctx.query.client_secret) return REFUSAL.secretInQuery;
  if (new Set(asked.keys()).size !== [...asked.keys()].length) return REFUSAL.repeatedParameter;
  if (inHeader && inBody) return REFUSAL.twoCredentials;
  if (!inHeader && !inBody) return REFUSAL.noCredentials;
  if (ctx.path !== '/v1/token' && !asked.get('token')) return REFUSAL.missingToken;
  return undefined;
}

/** oidc-provider finds a token by its stored id; a token that is none of ours gets one that finds nothing. */
function replaceBody(ctx, asked, claims) {
  if (asked.has('token')) asked.set('token', storageId(claims) ?? 'none');
  ctx.req.body = asked.toString();                                   // oidc-provider takes it, and warns once that it does
  ctx.req.headers.accept = 'application/json';                       // never an HTML page for an error
}

async function bodyOf(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

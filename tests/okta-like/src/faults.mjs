// Faults that a test can ask for: endpoints that are slow, limited or down, keys that turn, tokens that Okta would
// never issue. They are steered over a listener of its own on loopback, which exists only when CONTROLS_PORT is set.
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { tooManyRequests } from './wording.mjs';

/** Okta counts in windows of a minute. */
const WINDOW_SECONDS = 60;

export class Faults {
  hits = {};
  cacheControl;
  #delayMs = new Map();
  #down = new Set();
  #limits = new Map();

  /**
   * Applies what was asked for to a request for `path` (relative to the issuer).
   * @returns true when the request has been dealt with
   */
  async apply(path, response, now = Date.now()) {
    this.hits[path] = (this.hits[path] ?? 0) + 1;
    if (this.#down.has(path)) {
      response.destroy();
      return true;
    }
    if (this.#delayMs.has(path)) await delay(this.#delayMs.get(path));
    return this.#limited(path, response, now);
  }

  #limited(path, response, now) {
    const limit = this.#limits.get(path);
    if (!limit) return false;
    const over = limit.remaining <= 0;
    if (!over) limit.remaining -= 1;
    response.setHeader('X-Rate-Limit-Limit', String(limit.limit));
    response.setHeader('X-Rate-Limit-Remaining', String(limit.remaining));
    response.setHeader('X-Rate-Limit-Reset', String(Math.ceil(now / 1000) + limit.resetSeconds));
    if (over) sendJson(response, tooManyRequests());
    return over;
  }

  /** `remaining` requests pass, then 429; no `remaining` lifts the limit. */
  limit({ path, remaining, limit = remaining, resetSeconds = WINDOW_SECONDS }) {
    if (remaining === undefined) this.#limits.delete(path);
    else this.#limits.set(path, { limit, remaining, resetSeconds });
  }

  delay({ path, ms = 0 }) {
    if (ms > 0) this.#delayMs.set(path, ms);
    else this.#delayMs.delete(path);
  }

  down({ path, down = true }) {
    if (down) this.#down.add(path);
    else this.#down.delete(path);
  }
}

/** @returns a Node request handler: POST /<control> with a JSON object, GET /state */
export function controls(settings, keys, faults) {
  const state = () => ({ issuer: settings.issuer, active: keys.activeId, published: keys.jwks.keys.map(({ kid }) => kid), hits: faults.hits });
  const actions = {
    state: () => {},
    rotate: (options) => keys.rotate(options),
    limit: (options) => faults.limit(options),
    delay: (options) => faults.delay(options),
    down: (options) => faults.down(options),
    'cache-control': ({ value }) => {
      faults.cacheControl = value;
    },
    mint: async (options) => ({ token: await oddToken(options, settings, keys) }),
  };
  return async (request, response) => {
    const action = actions[request.url.slice(1)];
    if (!action) return sendJson(response, { status: 404, body: { error: 'no such control' } });
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const answer = await action(JSON.parse(Buffer.concat(chunks).toString() || '{}'));
    return sendJson(response, { status: 200, body: answer ?? state() });
  };
}

/**
 * A token with other claims or header members than Okta would give it (undefined members are left out).
 * `key`: `active` signs as usual, `foreign` with a key nobody published, `none` not at all. Introspection calls it inactive.
 */
function oddToken({ claims = {}, drop = [], header = {}, key = 'active' }, { issuer, audience, tokenSeconds, clients }, keys) {
  const now = Math.floor(Date.now() / 1000);
  const [{ clientId, scopes }] = clients;
  const jti = `AT.${randomBytes(32).toString('base64url')}`;
  const all = { ver: 1, jti, iss: issuer, aud: audience, iat: now, exp: now + tokenSeconds, cid: clientId, scp: scopes, sub: clientId, ...claims };
  for (const name of drop) delete all[name];
  switch (key) {
    case 'active':
      return keys.sign(all, header);
    case 'foreign':
      return keys.forge(all, header);
    case 'none':
      return [{ kid: keys.activeId, ...header, alg: 'none' }, all].map(encoded).join('.') + '.';
    default:
      throw new Error(`no such key: ${key}`);
  }
}

const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

export function sendJson(response, { status, body, headers = {} }) {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

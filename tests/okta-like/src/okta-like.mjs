// The server: which request goes where. Metadata and keys are answered here, the OAuth endpoints by provider.mjs.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { controls, Faults, sendJson } from './faults.mjs';
import { KeyRing } from './keys.mjs';
import { metadata } from './metadata.mjs';
import { oauthEndpoints } from './provider.mjs';
import { notFound } from './wording.mjs';

const WELL_KNOWN = ['/.well-known/oauth-authorization-server', '/.well-known/openid-configuration'];

/**
 * Listens and serves.
 * @param settings as settingsFrom in settings.mjs makes them; port 0 takes any free one
 * @returns {Promise<{issuer: string, controls: string | undefined, close: () => Promise<void>}>}
 */
export async function start(settings) {
  const { host, port, tls, controlsPort } = settings;
  const server = await listening(tls ? https.createServer(tls) : http.createServer(), port, host);
  const issuer = settings.issuer ?? `${tls ? 'https' : 'http'}://${host}:${server.address().port}/oauth2/default`;
  const [keys, faults] = [await KeyRing.create(), new Faults()];
  server.on('request', guarded(requests({ ...settings, issuer }, keys, faults)));

  const steering = controlsPort === undefined ? undefined : await listening(http.createServer(), controlsPort, '127.0.0.1');
  steering?.on('request', guarded(controls({ ...settings, issuer }, keys, faults)));

  return {
    issuer,
    controls: steering && `http://127.0.0.1:${steering.address().port}`,
    close: async () => {
      await Promise.all([server, steering].filter(Boolean).map(closed));
    },
  };
}

function requests(settings, keys, faults) {
  const prefix = new URL(settings.issuer).pathname;
  const oauth = oauthEndpoints(settings, keys);
  const fixed = {
    '/v1/keys': () => ({ body: keys.jwks, cacheControl: faults.cacheControl ?? `max-age=${settings.keysMaxAgeSeconds}, must-revalidate` }),
    ...Object.fromEntries(WELL_KNOWN.map((path) => [path, () => ({ body: metadata(settings.issuer), cacheControl: 'max-age=86400, must-revalidate' })])),
  };
  return async (request, response) => {
    const { pathname } = new URL(request.url, settings.issuer);
    if (pathname === '/livez') return sendJson(response, { status: 200, body: { status: 'ok' } });
    response.setHeader('X-Okta-Request-Id', randomBytes(16).toString('hex'));
    const path = withinIssuer(pathname, prefix);
    if (path === undefined) return sendJson(response, notFound());
    if (await faults.apply(path, response)) return undefined;
    if (fixed[path] && request.method === 'GET') {
      const { body, cacheControl } = fixed[path]();
      return sendJson(response, { status: 200, body, headers: { 'Cache-Control': cacheControl } });
    }
    request.originalUrl = request.url;
    request.url = request.url.slice(prefix.length);
    return oauth(request, response);
  };
}

/** The path below the issuer; undefined for another server's. The form of RFC 8414 has the issuer's path at its end. */
function withinIssuer(pathname, prefix) {
  if (pathname === WELL_KNOWN[0] + prefix) return WELL_KNOWN[0];
  return pathname.startsWith(`${prefix}/`) ? pathname.slice(prefix.length) : undefined;
}

function guarded(handler) {
  return async (request, response) => {
    try {
      await handler(request, response);
    } catch (error) {
      console.error(error);
      if (response.headersSent) response.destroy();
      else sendJson(response, { status: 500, body: { error: 'server_error' } });
    }
  };
}

async function listening(server, port, host) {
  server.listen(port, host);
  await once(server, 'listening');
  return server;
}

function closed(server) {
  return new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
}

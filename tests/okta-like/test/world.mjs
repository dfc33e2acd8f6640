// What the tests share: a server on free ports, and requests to it as a client would make them.
import { start } from '../src/okta-like.mjs';
import { settingsFrom } from '../src/settings.mjs';

/** Starts a server and stops it with the test. `settings` wins over what okta.json says. */
export async function world(test, settings = {}) {
  const base = settingsFrom({ PORT: '0', CONTROLS_PORT: '0' });
  const server = await start({ ...base, ...settings });
  test.after(() => server.close());
  const [caller, reports, api] = settings.clients ?? base.clients;
  return { ...server, caller, reports, api, ...requestsTo(server) };
}

function requestsTo({ issuer, controls }) {
  const token = (client, form = {}, options) =>
    post(`${issuer}/v1/token`, client, { grant_type: 'client_credentials', scope: 'items', ...form }, options);
  return {
    token,
    accessToken: async (client, form) => (await token(client, form)).body.access_token,
    introspect: (client, token) => post(`${issuer}/v1/introspect`, client, { token }),
    revoke: (client, token) => post(`${issuer}/v1/revoke`, client, { token }),
    get: (path) => answer(fetch(new URL(path, issuer))),
    control: async (name, options) => {
      const { status, body } = await answer(fetch(`${controls}/${name}`, { method: 'POST', body: JSON.stringify(options ?? {}) }));
      if (status !== 200) throw new Error(`control ${name}: ${status}`);
      return body;
    },
  };
}

/** POSTs a form; `client` authenticates by Basic unless `inBody`. An undefined client sends no credentials. */
export function post(url, client, form, { inBody = false, headers = {} } = {}) {
  const body = new URLSearchParams(form);
  const { clientId, clientSecret } = client ?? {};
  if (client && inBody) {
    body.set('client_id', clientId);
    body.set('client_secret', clientSecret);
  }
  const basic = client && !inBody ? { Authorization: `Basic ${btoa(`${clientId}:${clientSecret}`)}` } : {};
  return answer(fetch(url, { method: 'POST', body, headers: { ...basic, ...headers } }));
}

async function answer(pending) {
  const response = await pending;
  const isJson = response.headers.get('content-type')?.startsWith('application/json');
  return { status: response.status, headers: response.headers, body: isJson ? await response.json() : await response.text() };
}

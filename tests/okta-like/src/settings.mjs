// Reads the environment and okta.json into one frozen object, and refuses what would be unsafe or ambiguous.
import { readFileSync } from 'node:fs';

const LOOPBACK = ['127.0.0.1', '::1', 'localhost'];
const DEFAULT_CONFIG_FILE = new URL('../okta.json', import.meta.url);

/**
 * @param {Record<string, string | undefined>} env
 * @returns the settings of `start` in okta-like.mjs
 */
export function settingsFrom(env) {
  const { audience, scopes, defaultScopes = [], clients } = JSON.parse(readFileSync(env.CONFIG_FILE ?? DEFAULT_CONFIG_FILE, 'utf8'));
  const host = env.HOST ?? '127.0.0.1';
  const tls = tlsFrom(env);
  if (!tls && !LOOPBACK.includes(host)) {
    throw new Error(`HOST=${host} needs TLS_CERT_FILE and TLS_KEY_FILE: plain http is for loopback only`);
  }
  return Object.freeze({
    host,
    port: integer(env, 'PORT', 9099),
    tls,
    issuer: env.ISSUER,                                         // undefined: made of the address that is bound
    audience,
    scopes,
    defaultScopes,
    clients,
    tokenSeconds: integer(env, 'TOKEN_SECONDS', 3600),          // Okta: 5 minutes to 24 hours, 1 hour unless set
    keysMaxAgeSeconds: integer(env, 'KEYS_MAX_AGE_SECONDS', 3600),
    controlsPort: env.CONTROLS_PORT ? integer(env, 'CONTROLS_PORT') : undefined,
  });
}

function tlsFrom(env) {
  const { TLS_CERT_FILE: cert, TLS_KEY_FILE: key } = env;
  if (!cert !== !key) throw new Error('set both TLS_CERT_FILE and TLS_KEY_FILE, or neither');
  return cert ? { cert: readFileSync(cert), key: readFileSync(key) } : undefined;
}

function integer(env, name, fallback) {
  const value = Number(env[name] ?? fallback);
  if (!Number.isInteger(value) || value < 0) throw new Error(`${name} must be a whole number, not "${env[name]}"`);
  return value;
}

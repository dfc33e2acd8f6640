// The signing keys: one in use, and the published set, which like Okta's holds the next key ahead of its use.
import { randomBytes } from 'node:crypto';
import * as jose from 'jose';

export const ALGORITHM = 'RS256';

export class KeyRing {
  #active;
  #next;
  #published;

  static async create() {
    const ring = new KeyRing();
    ring.#active = await newKey();
    ring.#next = await newKey();
    ring.#published = [ring.#active, ring.#next];
    return ring;
  }

  get activeId() {
    return this.#active.kid;
  }

  /** The JWK set that /v1/keys serves. */
  get jwks() {
    return { keys: this.#published.map((key) => key.publicJwk) };
  }

  /**
   * The next key signs from now on. Without `publish` it is missing from the set that verifiers can fetch; with
   * `retire` the keys before it leave that set.
   */
  async rotate({ publish = true, retire = false } = {}) {
    this.#active = this.#next;
    this.#next = await newKey();
    const before = retire ? [] : this.#published.filter((key) => key !== this.#active);
    this.#published = [...before, ...(publish ? [this.#active, this.#next] : [])];
  }

  /** Signs claims as Okta does: the header has `alg` and `kid`, nothing else. */
  sign(claims, header = {}) {
    return signWith(this.#active, claims, header);
  }

  /** Signs with a key that nobody published, under the id of the one that is: a forgery. */
  async forge(claims, header = {}) {
    return signWith({ ...(await newKey()), kid: this.#active.kid }, claims, header);
  }

  /** The claims of a token signed by a published key, whatever its expiry; undefined for anything else. */
  async verified(token) {
    try {
      const { payload } = await jose.compactVerify(token, jose.createLocalJWKSet(this.jwks), { algorithms: [ALGORITHM] });
      return JSON.parse(new TextDecoder().decode(payload));
    } catch {
      return undefined;
    }
  }
}

async function newKey() {
  const { publicKey, privateKey } = await jose.generateKeyPair(ALGORITHM, { modulusLength: 2048 });
  const kid = randomBytes(32).toString('base64url');            // 43 characters, as Okta's
  const { kty, e, n } = await jose.exportJWK(publicKey);
  return { kid, privateKey, publicJwk: { kty, alg: ALGORITHM, kid, use: 'sig', e, n } };
}

function signWith({ kid, privateKey }, claims, header) {
  return new jose.CompactSign(new TextEncoder().encode(JSON.stringify(claims)))
    .setProtectedHeader({ kid, alg: ALGORITHM, ...header })
    .sign(privateKey);
}

// Where oidc-provider keeps tokens: in memory, each until it expires. Its own memory store forgets all but the last
// thousand, which would make introspection call living tokens inactive.

/** Far above what a test mints; the oldest go first. */
const MAX_ENTRIES = 200_000;

/** A factory of oidc-provider adapters over one map. */
export function memoryStore(now = Date.now) {
  const entries = new Map();
  const key = (model, id) => `${model}:${id}`;
  const live = (name) => {
    const entry = entries.get(name);
    if (entry && entry.expiresAt > now()) return entry.payload;
    entries.delete(name);
    return undefined;
  };
  return (model) => ({
    async upsert(id, payload, expiresInSeconds) {
      if (entries.size >= MAX_ENTRIES) entries.delete(entries.keys().next().value);
      entries.set(key(model, id), { payload, expiresAt: expiresInSeconds ? now() + expiresInSeconds * 1000 : Infinity });
    },
    async find(id) {
      return live(key(model, id));
    },
    async destroy(id) {
      entries.delete(key(model, id));
    },
    async consume(id) {
      const payload = live(key(model, id));
      if (payload) payload.consumed = Math.floor(now() / 1000);
    },
    async findByUid() {},
    async findByUserCode() {},
    async revokeByGrantId() {},
  });
}

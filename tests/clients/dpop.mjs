// Gets a token that is bound to a key and uses it, as openid-client does it by itself: nonces, retries, challenges.
// Prints what came of it as one JSON object.
import * as client from 'openid-client';

const { ISSUER, API, CLIENT_ID, CLIENT_SECRET, ALGORITHM } = process.env;
const plainHttp = [client.allowInsecureRequests]; // on loopback, in a test

const config = await client.discovery(new URL(ISSUER), CLIENT_ID, undefined, client.ClientSecretBasic(CLIENT_SECRET), {
  execute: plainHttp,
});
const prover = async () => client.getDPoPHandle(config, await client.randomDPoPKeyPair(ALGORITHM));
const DPoP = await prover();
const grant = await client.clientCredentialsGrant(config, { scope: 'items' }, { DPoP });
const items = new URL(`${API}/items?page=1`);
const get = (token, options) => client.fetchProtectedResource(config, token, items, 'GET', undefined, undefined, options);

/** The status; for a refusal the challenges too, as the client understood them. */
async function outcome(pending) {
  try {
    return { status: (await pending).status };
  } catch (error) {
    if (!(error instanceof client.WWWAuthenticateChallengeError)) throw error;
    return { status: error.status, challenges: error.cause.map(({ scheme, parameters }) => ({ scheme, ...parameters })) };
  }
}

const metadata = await fetch(new URL('/.well-known/oauth-protected-resource', API));
console.log(
  JSON.stringify({
    tokenType: grant.token_type,
    holder: [await outcome(get(grant.access_token, { DPoP })), await outcome(get(grant.access_token, { DPoP }))],
    asBearer: await outcome(get(grant.access_token)),
    thief: await outcome(get(grant.access_token, { DPoP: await prover() })),
    metadata: await metadata.json(),
  }),
);

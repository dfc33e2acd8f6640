// The shapes of an access token and of an introspection answer as Okta gives them.

/** Okta's access tokens have ids that start so; refresh and ID tokens have other prefixes. */
const ID_PREFIX = 'AT.';

/** The claims of an access token, from what oidc-provider stores of it. */
export function accessTokenClaims({ jti, iat, exp, clientId, scope, jkt }, { issuer, audience }) {
  return {
    ver: 1,
    jti: ID_PREFIX + jti,
    iss: issuer,
    aud: audience,
    iat,
    exp,
    ...(jkt ? { cnf: { jkt } } : {}),
    cid: clientId,
    scp: scope ? scope.split(' ') : [],
    sub: clientId,
  };
}

/** The id under which oidc-provider stores the token with these claims. */
export function storageId(claims) {
  const { jti } = claims ?? {};
  return typeof jti === 'string' && jti.startsWith(ID_PREFIX) ? jti.slice(ID_PREFIX.length) : undefined;
}

/** An active token's introspection answer: the names differ from the token's own (`scope`, `client_id`). */
export function introspectionAnswer({ jti, iss, aud, iat, exp, cid, scp, sub, cnf }) {
  return {
    active: true,
    scope: scp.join(' '),
    exp,
    iat,
    sub,
    aud,
    iss,
    jti,
    token_type: 'Bearer',
    client_id: cid,
    ...(cnf ? { cnf } : {}),
  };
}

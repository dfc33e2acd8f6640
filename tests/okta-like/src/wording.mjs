// Okta's errors: status, code and text, after the table of error codes that Okta publishes with its developer docs.
import { randomBytes } from 'node:crypto';
import { errors } from 'oidc-provider';

const oauth = (status, error, error_description) => ({ status, body: { error, error_description } });

/** Errors of the OAuth endpoints that okta-like itself decides. */
export const REFUSAL = {
  secretInQuery: oauth(400, 'invalid_request', 'Client credentials cannot be supplied via query parameters.'),
  repeatedParameter: oauth(400, 'invalid_request', 'The request contained multiple parameters with the same name.'),
  twoCredentials: oauth(
    401,
    'invalid_request',
    'Cannot supply multiple client credentials. Use one of the following: credentials in the Authorization header, credentials in the post body, or a client_assertion in the post body.',
  ),
  noCredentials: oauth(401, 'invalid_client', 'No client credentials found.'),
  missingToken: oauth(400, 'invalid_request', "The 'token' parameter is required."),
  openidScope: oauth(400, 'invalid_scope', "Cannot request 'openid' scopes using client credentials."),
  noDefaultScope: oauth(
    400,
    'invalid_scope',
    "The authorization server resource does not have any configured default scopes, 'scope' must be provided.",
  ),
  unknownScope: oauth(400, 'invalid_scope', 'One or more scopes are not configured for the authorization server resource.'),
  noMatchingPolicy: oauth(401, 'access_denied', 'Policy evaluation failed for this request, please check the policy configurations.'),
  allScopesDenied: oauth(400, 'access_denied', 'Policy evaluation succeeded, but all the requested scopes were rejected.'),
  someScopesDenied: (denied) =>
    oauth(400, 'access_denied', `Some of the requested scopes were denied by the policy. Denied scopes: [${denied.join(', ')}].`),
};

/** A refusal as an error that oidc-provider passes through unchanged. */
export function thrown({ status, body }) {
  return Object.assign(new errors.CustomOIDCProviderError(body.error, body.error_description), { status, statusCode: status });
}

/**
 * An error of oidc-provider's, in Okta's words. `detail` is what oidc-provider logs and does not tell the client.
 * @returns {{status: number, body: {error: string, error_description: string}}}
 */
export function reworded({ status, body: { error, error_description }, detail, hasProof }) {
  switch (error) {
    case 'invalid_client':
      return oauth(401, error, clientAuthentication(detail));
    case 'unsupported_grant_type':
      return oauth(
        400,
        error,
        'The authorization grant type is not supported by the authorization server. Configured grant types: [client_credentials].',
      );
    case 'use_dpop_nonce':
      return oauth(400, error, 'Authorization server requires nonce in DPoP proof.');
    case 'invalid_grant':                                       // oidc-provider's code for a proof missing or used twice
      return oauth(400, 'invalid_dpop_proof', `The DPoP proof JWT ${hasProof ? 'has already been used' : 'header is missing'}.`);
    case 'invalid_dpop_proof':
      return oauth(400, error, error_description);
    default:
      return oauth(status, error, error_description);
  }
}

const CLIENT_AUTHENTICATION = [
  [/client not found|client is invalid/i, "Invalid value for 'client_id' parameter."],
  [/aud/i, 'The audience claim for client_assertion must be the endpoint invoked for the request.'],
  [/used once/i, 'The client_assertion token has already been used.'],
  [/expired/i, 'The client_assertion token is expired.'],
  [/assertion|jws|signature|jwt/i, 'The client_assertion signature is invalid.'],
];

function clientAuthentication(detail) {
  const [, text] = CLIENT_AUTHENTICATION.find(([pattern]) => pattern.test(detail)) ?? [];
  return text ?? 'The client secret supplied for a confidential client is invalid.';
}

/** Errors in the form of Okta's other APIs, which its OAuth endpoints use too for limits and unknown servers. */
export const tooManyRequests = () => okta(429, 'E0000047', 'You exceeded the maximum number of requests. Try again in a while.');
export const notFound = () => okta(404, 'E0000007', 'Not found: Resource not found: (AuthorizationServer)');

function okta(status, errorCode, errorSummary) {
  const errorId = `oae${randomBytes(16).toString('base64url')}`;
  return { status, body: { errorCode, errorSummary, errorLink: errorCode, errorId, errorCauses: [] } };
}

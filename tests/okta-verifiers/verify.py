"""Judges access tokens as Okta's verifier for Python does.

`verify.py ISSUER AUDIENCE` reads a token a line and writes a verdict a line: `accepted`, or `refused` and why.
"""

import sys

from okta_jwt_verifier import AccessTokenVerifier

issuer, audience = sys.argv[1:]
verifier = AccessTokenVerifier(issuer=issuer, audience=audience)

for line in sys.stdin:
    try:
        verifier.verify_sync(line.rstrip("\n"))
        verdict = "accepted"
    except Exception as error:  # whatever it is, the token does not pass
        verdict = "refused " + " ".join(str(error).split())
    print(verdict, flush=True)

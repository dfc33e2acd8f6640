// Judges access tokens as Okta's verifier for JavaScript does. `verify.mjs ISSUER AUDIENCE` reads a token a line and
// writes a verdict a line: `accepted`, or `refused` and why.
import { createInterface } from "node:readline";
import OktaJwtVerifier from "@okta/jwt-verifier";

const [issuer, audience] = process.argv.slice(2);
const verifier = new OktaJwtVerifier({ issuer });

// A token without a signature throws outside the promise: that would end the process, and counts as a refusal.
let thrown = () => {};
process.on("uncaughtException", (error) => thrown(error));

for await (const token of createInterface({ input: process.stdin })) {
  const outside = new Promise((_, reject) => (thrown = reject));
  const verdict = Promise.race([verifier.verifyAccessToken(token, audience), outside]).then(
    () => "accepted",
    (error) => `refused ${error?.message ?? error}`.replaceAll("\n", " "),
  );
  process.stdout.write(`${await verdict}\n`);
}

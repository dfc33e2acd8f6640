// Callers of an API for as many seconds as the second argument says: 150 requests a second over kept connections of
// HTTP/1.1, as many over HTTP/2, and a download of twenty seconds begun every two, over both in turn. Whatever is no whole
// answer of status 200 counts as failed. A second try is made, and counted, only where the RFCs leave no other way and common
// clients make it unasked: Node leaves it to its callers.
// - HTTP/1.1: the server closed an idle connection just when the request was on its way (RFC 9112 section 9.5).
// - HTTP/2: REFUSED_STREAM, which is how Node reports what it had not sent yet when GOAWAY came (RFC 9113 sections 6.8, 8.7).
// Prints one JSON object.
//
// usage: load.mjs <http://host> <seconds> <access token>

import http from "node:http";
import http2 from "node:http2";

const [target, seconds, token] = process.argv.slice(2);
const RATE = 150;
const DOWNLOAD_SECONDS = 20;
const SESSIONS = 4;

const headers = { authorization: `Bearer ${token}` };
const counts = { http1: 0, http2: 0, downloads: 0, connections: 0, sessions: 0, refused: 0, reopened: 0 };
const failures = [];
const open = new Set();

/** HTTP/1.1: connections are kept, and a new one is made where none is free. */
const agent = new http.Agent({ keepAlive: true, maxSockets: 64, scheduling: "lifo" });

function overHttp1(path) {
  return new Promise((resolve, reject) => {
    const request = http.get(target + path, { agent, headers }, (response) => {
      let bytes = 0;
      response.on("data", (chunk) => (bytes += chunk.length));
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode, bytes, length: response.headers["content-length"] }));
    });
    request.on("socket", (socket) => {
      if (!socket.seen) counts.connections += 1;
      socket.seen = true;
    });
    request.on("error", (error) => reject(Object.assign(error, { wasIdle: request.reusedSocket })));
  });
}

/** HTTP/2: a session is used until the server says that it goes away, as RFC 9113 section 6.8 asks. */
const sessions = new Array(SESSIONS);

function session(at) {
  if (!sessions[at]) {
    const opened = http2.connect(target);
    counts.sessions += 1;
    const leave = () => {
      if (sessions[at] === opened) sessions[at] = undefined;
    };
    opened.on("goaway", () => {
      leave();
      opened.close();
    });
    opened.on("close", leave);
    opened.on("error", (error) => {
      leave();
      // Streams of the session fail by themselves and are counted there.
      if (!opened.closed) opened.destroy(error);
    });
    sessions[at] = opened;
  }
  return sessions[at];
}

function overHttp2(path, at) {
  return new Promise((resolve, reject) => {
    const stream = session(at % SESSIONS).request({ ":path": path, ...headers });
    let status = 0;
    let length;
    let bytes = 0;
    stream.on("response", (head) => {
      status = head[":status"];
      length = head["content-length"];
    });
    stream.on("data", (chunk) => (bytes += chunk.length));
    stream.on("error", reject);
    stream.on("close", () => reject(new Error(`closed with ${stream.rstCode} after ${bytes} bytes`)));
    stream.on("end", () => resolve({ status, bytes, length }));
  });
}

/** Tries again, at most twice, what was certainly not answered. */
async function again(ask, isUnanswered, kind) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await ask();
    } catch (error) {
      if (tries === 3 || !isUnanswered(error)) throw error;
      counts[kind] += 1;
    }
  }
}

const http1Again = (path) => again(() => overHttp1(path), (error) => error.wasIdle && error.code === "ECONNRESET", "reopened");
const http2Again = (path, at) => again(() => overHttp2(path, at), (error) => /REFUSED_STREAM/.test(error.message), "refused");

function count(kind, answer) {
  const started = Date.now();
  const noted = answer
    .then(({ status, bytes, length }) => {
      if (status !== 200 || String(bytes) !== length) throw new Error(`status ${status}, ${bytes} of ${length} bytes`);
      counts[kind] += 1;
    })
    .catch((error) => failures.push(`${kind} begun ${started}, after ${Date.now() - started} ms: ${error.code ?? ""} ${error.message}`))
    .finally(() => open.delete(noted));
  open.add(noted);
}

const begun = Date.now();
const end = begun + Number(seconds) * 1000;
let sent = 0;
let downloads = 0;
const pulse = setInterval(() => {
  const now = Date.now();
  for (; sent < ((Math.min(now, end) - begun) / 1000) * RATE; sent += 1) {
    count("http1", http1Again("/items"));
    count("http2", http2Again("/items", sent));
  }
  for (; downloads < (Math.min(now, end) - begun) / 2000; downloads += 1) {
    const path = `/items/download?${DOWNLOAD_SECONDS}`;
    count("downloads", downloads % 2 ? http1Again(path) : http2Again(path, downloads));
  }
  if (now >= end) {
    clearInterval(pulse);
    Promise.all(open).then(() => {
      console.log(JSON.stringify({ ...counts, failed: failures.length, failures: failures.slice(0, 20) }));
      process.exit(0);
    });
  }
}, 10);

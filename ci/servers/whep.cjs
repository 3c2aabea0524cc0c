// A front for rheomesh, whose clients have to join a room before they publish or play: whep.cjs CERTIFICATE KEY UPSTREAM
//
//     /whip/NAME      publishes: joins a room of that name, and sends the client on (307) to the session that it got there
//     /whep/NAME      plays: the same, to a session with what is published in that room
//     /session/…      is the upstream, over TLS
//
// Listens on a free port of this machine, prints the port, and works until it is ended.
const { readFileSync } = require("node:fs");
const { createServer } = require("node:https");
const express = require("express");

const [cert, key] = process.argv.slice(2, 4).map((file) => readFileSync(file));
const upstream = process.argv[4];

async function join(name) {
  const answer = await fetch(`${upstream}/rooms/${encodeURIComponent(name)}/join`, { method: "POST" });
  if (!answer.ok) throw new Error(`join: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

const app = express();
app.use(express.text({ type: () => true }));
app.post("/whip/:name", async ({ params }, response) => {
  const { session_id } = await join(params.name);
  response.redirect(307, `/session/whip/${session_id}`);
});
app.post("/whep/:name", async ({ params }, response) => {
  const { session_id, publisher_ids } = await join(params.name);
  if (publisher_ids.length === 0) return response.status(404).send(`nobody publishes ${params.name}`);
  response.redirect(307, `/session/whep/${session_id}/${publisher_ids[0]}`);
});
app.use("/session", async (request, response) => {
  const headers = Object.fromEntries(
    ["content-type", "if-match"].flatMap((name) => (request.headers[name] ? [[name, request.headers[name]]] : [])),
  );
  const body = ["GET", "HEAD", "OPTIONS", "DELETE"].includes(request.method) ? undefined : request.body;
  const answer = await fetch(upstream + request.url, { method: request.method, headers, body, redirect: "manual" });
  for (const name of ["content-type", "etag", "accept-patch"]) {
    if (answer.headers.has(name)) response.set(name, answer.headers.get(name));
  }
  const location = answer.headers.get("location");
  if (location) response.set("location", `/session${new URL(location, upstream).pathname}`);
  response.status(answer.status).send(await answer.text());
});
createServer({ cert, key }, app).listen(0, "127.0.0.1", function () {
  console.log(this.address().port);
});

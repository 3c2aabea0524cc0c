// A signaling server as people write it with express and socket.io: socketio.cjs CERTIFICATE KEY
//
// Its events are those of the bundled server: newUser, userLeft, offer, answer and candidate. Listens on a free port of this
// machine, prints the port, and works until it is ended.
const { readFileSync } = require("node:fs");
const { createServer } = require("node:https");
const express = require("express");
const { Server } = require("socket.io");

const [cert, key] = process.argv.slice(2).map((file) => readFileSync(file));
const server = createServer({ cert, key }, express());
const io = new Server(server);

io.on("connection", (socket) => {
  const room = socket.handshake.query.room || "common";
  const present = [...(io.sockets.adapter.rooms.get(room) || [])];
  socket.join([socket.id, room]);
  socket.emit("newUser", socket.id, present);
  socket.to(room).emit("newUser", socket.id);
  for (const event of ["offer", "answer", "candidate"]) {
    socket.on(event, ({ to, ...message }) => io.to(to).emit(event, { ...message, from: socket.id }));
  }
  socket.on("disconnect", () => io.to(room).emit("userLeft", socket.id));
});

server.listen(0, "127.0.0.1", () => console.log(server.address().port));

//! The bundled signaling server and its clients.

mod client;
mod dialects;
mod guests;
mod limits;
mod messages;
mod pages;
mod serve;
mod shutdown;
mod silence;
mod support;

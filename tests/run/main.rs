//! Runs of scenarios with the program itself, from the command line to the record.

mod blame;
mod browsers;
mod capacity;
mod capture;
mod churn;
#[path = "../common/mod.rs"]
mod common;
mod dialects;
mod faults;
mod foreign_client;
mod gates;
mod interop;
mod interrupted;
mod kernel;
mod mapping;
mod networks;
mod preflight;
mod programs;
mod refused;
mod repeat;
mod rooms;
mod rtcstats;
mod signaling;
mod smoke;
mod stacks;

//! What is read: scenarios, plans, and the commands that look at them.

mod commands;
mod errors;
mod files;
mod networks;
mod plan;
mod programs;
mod robust;
mod secrets;

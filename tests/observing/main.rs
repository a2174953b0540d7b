//! What a queue tells subscribers and recorders, and what it never tells them.

#![allow(clippy::panic)] // Handlers panic here to see what becomes of it.

#[path = "../semantics/harness.rs"]
#[allow(dead_code)]
mod harness;
mod listeners;

mod metering;
mod secrecy;
mod tracing_of_a_run;

//! What the queue promises, one claim a test, on a disk in memory whose commits can be held and failed.
//!
//! One program, because linking is most of what a test file costs; a module for each subject.

#![allow(clippy::panic)] // Handlers panic here to see what becomes of it.

mod harness;

mod assertions;
mod at_most_once;
mod backups;
mod crashes;
mod deleting;
mod draining;
mod durability;
mod events;
mod exactly_once;
mod failed_store;
mod handlers;
mod idempotency;
mod import;
mod items;
mod json;
mod listing;
mod meetings;
mod ordering_keys;
mod payloads;
mod rate_limits;
mod registration;
mod retries;
mod retry_failed;
mod scheduling;
mod shown;
mod shutdown;
mod stats;
mod steering;
mod stop_and_resume;
mod stuck_commits;
mod submitting;
mod time_outs;
mod types_over_time;
mod validation;
mod watching;
mod without_workers;

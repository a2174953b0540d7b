//! The threads: one writer, which owns the kernel and commits; workers, which run handlers; a watchdog;
//! one that deletes old batches, when they are not kept for ever.
//!
//! submit -> **writer** -> store, durable -> ack -> **kernel** picks a slice -> **worker** runs it ->
//! **writer** -> store, durable -> status, outcomes, waiters
//!
//! Invariants:
//! - Nobody sends on the writer's channel while holding something that the writer needs, and the
//!   writer never waits for a worker.
//! - Progress is published, and callers are answered, after the commit it depends on.

mod admission;
mod beat;
mod command;
#[cfg(feature = "testing")]
mod drainer;
mod engine;
pub(crate) mod failures;
mod gate;
mod handler;
mod hub;
mod live;
mod pace;
pub(crate) mod recovery;
mod resolving;
pub(crate) mod retention;
mod round;
mod shared;
mod steering;
#[cfg(feature = "testing")]
mod stepper;
mod tables;
mod waiters;
mod watchdog;
mod worker;
mod writer;

pub(crate) use beat::Beat;
#[cfg(feature = "testing")]
pub(crate) use command::Finished;
pub(crate) use command::{
    Command, Deletion, Idempotency, Resolution, RetryOrigin, Steered, Submission, Submitted,
};
#[cfg(feature = "testing")]
pub(crate) use drainer::{Drainer, NotDrained};
#[cfg(feature = "testing")]
pub(crate) use engine::recount;
pub(crate) use engine::{Engine, Setup};
pub(crate) use gate::Gate;
pub(crate) use handler::{Handler, Registration, Typed, write_output};
pub(crate) use hub::{Buffer, Hub};
pub(crate) use live::{Live, Origin, Progress};
pub(crate) use shared::{
    Counts, Engagement, Registered, Role, Shared, WriterCounters, is_engaged, would_wait_for_itself,
};
#[cfg(feature = "testing")]
pub(crate) use stepper::{Outbox, SteppedWorker, SteppedWriter, Stepper, WriterStep};
pub(crate) use tables::Tables;
pub(crate) use waiters::Seat;

//! That the queue is a good guest in the process of an application: DESIGN section 7, line by line.
//!
//! | what is promised | where it is proved |
//! |---|---|
//! | no signal handler, no panic hook, no global logger, no network | `quiet` |
//! | nothing is printed and nothing read, also when handlers fail and panic | `quiet` |
//! | threads are named, and end with the queue | `quiet` |
//! | no async runtime and nothing else heavy among the dependencies | `dependencies` |
//! | no unsafe code | the lint `unsafe_code = "forbid"` in Cargo.toml |
//! | `Queue` is `Clone`; what can be sent between threads and shared | `types` |
//! | `shutdown` answers `StillRunning`; later calls answer `Closed` | `semantics/shutdown.rs` |
//! | while such a handler survives the directory stays locked, then it is free | `ending`, on a real directory |
//! | dropping the last clone waits, up to 5 s | `ending` |
//! | it never joins itself on a worker | `ending` |
//! | `wait` and `shutdown` on a worker, or inside a read, answer `WouldDeadlock` | `semantics/handlers.rs` |
//! | with `panic = "abort"` a handler's panic is a crash | `abort` |
//! | after a fork the child gets `Forked`; the parent is unharmed | `fork` |
//! | files are close-on-exec; the working directory may change | `directories` |
//! | queues of one process are independent; opening and closing leaks nothing | `many_queues` |
//! | a clock that is set back | `src/clock.rs`, `semantics/retries.rs` |
//!
//! What belongs to a whole process is tested in a process of its own: see `child`.

#![allow(clippy::panic)] // Handlers panic here to see what becomes of it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what a child prints is evidence, and a skipped test says so"
)]

mod abort;
mod child;
mod dependencies;
mod directories;
mod ending;
#[cfg(unix)]
mod fork;
// Shared with the semantics tests, which use all of it.
#[allow(dead_code)]
#[path = "../semantics/harness.rs"]
mod harness;
mod many_queues;
mod quiet;
mod types;

/// What children do, by name.
const PARTS: &[(&str, child::Part)] = &[
    #[cfg(unix)]
    ("fork::refused", fork::refused),
    #[cfg(unix)]
    ("fork::while_submitting", fork::while_submitting),
    #[cfg(unix)]
    ("fork::dropped", fork::dropped),
    #[cfg(unix)]
    ("fork::outlives", fork::outlives),
    #[cfg(unix)]
    ("fork::in_a_read", fork::in_a_read),
    #[cfg(unix)]
    ("fork::among_threads", fork::among_threads),
    #[cfg(unix)]
    ("fork::in_a_handler", fork::in_a_handler),
    #[cfg(unix)]
    ("fork::opens", fork::opens),
    ("quiet::signals", quiet::signals),
    ("quiet::panic_hook", quiet::panic_hook),
    ("quiet::logger", quiet::logger),
    ("quiet::sockets", quiet::sockets),
    ("quiet::output", quiet::output),
    ("quiet::threads", quiet::threads),
    ("directories::moves_away", directories::moves_away),
    ("directories::spawns", directories::spawns),
    ("many_queues::opened_often", many_queues::opened_often),
];

/// The process of its own; nothing when run as a test.
#[test]
fn child() -> harness::Tested {
    child::play(PARTS)
}

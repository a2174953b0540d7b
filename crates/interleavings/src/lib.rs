//! The files of the library in which threads meet, compiled against a model checker, and models of their use.
//!
//! loom cannot look into the channels between the threads; what is checked is what the threads do beside them: the gate
//! that a stop closes, the claim to a slice that a worker and a recall compete for, the attempt that a worker and the
//! end of its time compete for, the tables that are taken from who holds them, and the progress that is published to
//! those who read it, wait for it or watch it.
//!
//! The files are the library's own. What stands for something else here, and what it leaves out:
//!
//! - `sync::ArcSwap` for arc-swap's, which loom cannot see. It promises no more than arc-swap's documentation does:
//!   whoever loads a value sees what came before its store. How arc-swap keeps that promise is not looked at.
//! - `sync::Arc` and `Weak` are the standard library's: that somebody lets go of something orders nothing.
//! - `store::Value`, `Store`, `Before` and `codec` for those of the store: rows are bytes, unsealed. The store of the
//!   models is one atomic per row, and weaker than a real one: that a row can be read is known from what its committer
//!   says afterwards, and from nothing else.
//! - `failure`, `error` and `handler`: as much of them as the files name.
//! - A channel is a list under a lock; who waits does so without a deadline, because loom has no time.

// The files' own tests are the library's.
#![cfg(not(test))]
// Not all of the files is used here.
#![allow(dead_code, unreachable_pub)]

mod sync;

mod failure {
    pub(crate) struct Failure;

    impl Failure {
        pub(crate) const TABLE_ERROR: &'static str = "table_error";
        pub(crate) const OTHER_CODES: &'static str = "other_codes";

        pub(crate) fn permanent(_: &'static str, _: String) -> Self {
            Self
        }
    }
}

mod error {
    pub(crate) fn forked(pid: u32) -> String {
        format!("forked from process {pid}")
    }

    impl From<crate::process::Forked> for crate::table::TableError {
        fn from(forked: crate::process::Forked) -> Self {
            Self::Forked { pid: forked.pid }
        }
    }
}

mod handler {
    use std::any::Any;

    /// In a model nothing panics but the model itself.
    pub(crate) fn drop_panic(panic: Box<dyn Any + Send>) {
        std::panic::resume_unwind(panic);
    }
}

mod store;

#[allow(unused_imports, reason = "the models use a part of what it gives out")]
#[path = "../../../src/kernel/mod.rs"]
mod kernel;
#[path = "../../../src/limits.rs"]
mod limits;
#[path = "../../../src/process.rs"]
mod process;
#[path = "../../../src/table.rs"]
mod table;
#[path = "../../../src/waiting.rs"]
mod waiting;

#[path = "../../../src/runtime/beat.rs"]
mod beat;
#[path = "../../../src/runtime/failures.rs"]
mod failures;
#[path = "../../../src/runtime/gate.rs"]
mod gate;
#[path = "../../../src/runtime/live.rs"]
mod live;
#[path = "../../../src/runtime/tables.rs"]
mod tables;
#[path = "../../../src/runtime/waiters.rs"]
mod waiters;

pub mod models;

//! The files of the library in which threads meet, compiled against a model checker, and models of their use.
//!
//! loom cannot look into the channels between the threads; what is checked is what the threads do beside them: the gate
//! that a stop closes, the claim to a slice that a worker and a recall compete for, and the attempt that a worker and
//! the end of its time compete for.

// Not all of the files is used here.
#![allow(dead_code, unreachable_pub)]

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
    pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};
}

/// As much of it as the files name.
mod kernel {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct SliceId(pub(crate) u64);

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct OperationIndex(pub(crate) usize);
}

#[path = "../../../src/runtime/beat.rs"]
mod beat;
#[path = "../../../src/runtime/gate.rs"]
mod gate;

pub mod models;

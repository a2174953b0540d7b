//! What threads meet at. In one place, so that `crates/interleavings` can put a model checker's in its place and run
//! the files that use it in every order in which threads can.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
pub(crate) use std::sync::{Arc, Mutex, MutexGuard};

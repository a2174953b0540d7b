//! What threads meet at. In one place, so that `crates/interleavings` can put a model checker's in its place and run
//! the files that use it in every order in which threads can.

pub(crate) use arc_swap::{ArcSwap, Guard};
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};

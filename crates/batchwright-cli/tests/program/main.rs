//! The program as a shell sees it: the built binary, its output, its exit codes.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod demonstrating;
mod interrupting;
mod keeping;
mod looking;
mod refusing;
mod running;
mod sandbox;
mod steering;

//! Awaiting.

//! The contract of `Store`, checked on every implementation.
//!
//! A store is checked through a [`Bench`]: somewhere it lives, where it can be closed and opened again.

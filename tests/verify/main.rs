//! Whole stores on a disk: verified, backed up under load, damaged in many ways, and salvaged.
//!
//! `BATCHWRIGHT_DAMAGES` is how many damaged stores are looked at (150 by default), `BATCHWRIGHT_DAMAGE_SEED` is
//! which ones.
#![allow(
    clippy::print_stdout,
    reason = "the shares that were found are read by people"
)]

mod backups;
mod child;
mod damage;
mod damages;
mod salvaging;
mod store;
mod verifying;

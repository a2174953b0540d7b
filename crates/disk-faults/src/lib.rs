//! A recorder of file operations that can make them fail, for the tests of this package.
//!
//! Loaded with `LD_PRELOAD`, it stands in for the functions of the C library that std and the storage engine
//! use on files. Calls on files below one directory are written to a log, when they begin and when they end, in
//! one order for all threads; one of them may be made to fail, or to be the process's last. So may the start of a
//! thread. All other calls go through as they are.
//!
//! It is set up by environment variables, and does nothing without the first:
//! - `DISK_FAULTS_DIR`: the directory, absolute;
//! - `DISK_FAULTS_LOG`: the log, which must not be below it;
//! - `DISK_FAULTS_SAID`: what is written to this file is put into the log, in the order of the calls;
//! - `DISK_FAULTS_FAULT`: which call goes wrong, and how, see `fault`;
//! - `DISK_FAULTS_LIE`: `data-syncs` or `directory-syncs`, which then do nothing and succeed.
//!
//! It must not be linked into a program: that would have its calls as well.
#![cfg(target_os = "linux")]

mod calls;
mod fault;
mod format;
mod recorder;
mod threads;

//! What each command does. Each takes the store, its arguments and where results go.

mod audit;
mod backup;
mod completions;
mod customer;
mod list;
mod operations;
mod outcomes;
mod prune;
mod run;
mod salvage;
mod stats;
mod status;
mod steer;
mod verify;

pub(crate) use audit::{AuditDocument, audit, write_audit};
pub(crate) use backup::backup;
pub(crate) use completions::completions;
pub(crate) use customer::{balance, history};
pub(crate) use list::list;
pub(crate) use operations::operations;
pub(crate) use outcomes::outcomes;
pub(crate) use prune::prune;
pub(crate) use run::run;
pub(crate) use salvage::salvage;
pub(crate) use stats::stats;
pub(crate) use status::{overview, status};
pub(crate) use steer::{resolve, resume, retry, stop};
pub(crate) use verify::verify;

//! Claims about the kernel, made through [`Kernel::handle`](super::Kernel::handle).
//!
//! [`disk`] stands for the store and [`rig`] for the runtime around a kernel; every input that goes
//! through the rig is checked to have left the bystander batches alone. [`chaos`] drives a kernel with
//! random inputs and faults from [`plans`], judged by [`checker`], which shares no structure with the kernel.

mod asked;
mod at_most_once;
mod book;
mod books;
mod chaos;
mod checker;
mod commits;
mod delays;
mod disk;
mod endings;
mod hand_outs;
mod items;
mod moments;
mod operations;
mod ordering;
mod plans;
mod priority;
mod quarantine;
mod recovering;
mod retrying;
mod rig;
mod scale;
mod stopping;
mod time_outs;
mod turns;

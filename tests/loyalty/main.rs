//! The contract of the ledger, one claim a test: each operation's effect, its output to the letter, its optional
//! fields and its errors; the rules that hold for all of them; and that the audit sees what breaks them.
//!
//! One program, because linking is most of what a test file costs; a module for each operation and each rule.

mod harness;

mod adjustment;
mod audit;
mod balance;
mod cashback;
mod crashes;
mod customers;
mod duplicates;
mod events;
mod expiry;
mod fields;
mod history;
mod hold;
mod limits;
mod money;
mod orders;
mod redeem;
mod refund;
mod refused;
mod samples;
mod tidy;

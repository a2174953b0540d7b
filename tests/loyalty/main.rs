//! The contract of the ledger, one claim a test: each operation's effect, its output to the letter, its optional
//! fields and its errors; the rules that hold for all of them; and that the audit sees what breaks them.
//!
//! One program, because linking is most of what a test file costs; a module for each operation and each rule.

mod harness;

mod adjustment;
mod balance;
mod cashback;
mod customers;
mod events;
mod hold;
mod orders;
mod redeem;

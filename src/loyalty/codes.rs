//! The codes of failed items, as the published API of the loyalty platform has them.

use crate::Failure;
use std::fmt::Display;

/// A required field is missing.
pub const MISSING: &str = "3000";
/// A field that must have a value is null.
pub const NULL: &str = "3001";
/// A field's value is not acceptable.
pub const INVALID_VALUE: &str = "3003";
/// Something is larger, longer or more than it may be.
pub const LIMIT_EXCEEDED: &str = "3011";
/// An item is not what the operation takes at all: not an object, for example.
pub const INVALID_PAYLOAD: &str = "3016";
/// There is no such order.
pub const NOT_FOUND: &str = "4004";
/// There is no such customer.
pub const CUSTOMER_NOT_FOUND: &str = "7000";
/// All of the transaction was refunded before.
pub const ALREADY_REFUNDED: &str = "9001";
/// There is no such transaction, or none of this customer that can be reversed.
pub const TRANSACTION_NOT_FOUND: &str = "9002";
/// The transaction's or order's id was used before. The failure's details say where: see
/// [`Original`](super::Original).
pub const DUPLICATE: &str = "9004";
/// There is no such hold: it never was, has expired, or was redeemed.
pub const HOLD_NOT_FOUND: &str = "9006";
/// A time without an offset, or one in the future.
pub const INVALID_TIME: &str = "9007";
/// The customer has not enough points.
pub const INSUFFICIENT_POINTS: &str = "9008";

/// A failure of `field`.
pub(super) fn failure(code: &str, field: &str, message: impl Display) -> Failure {
    Failure::permanent(code, message.to_string()).field(field)
}

pub(super) fn missing(field: &str) -> Failure {
    failure(
        MISSING,
        field,
        format_args!("{field} is required and missing"),
    )
}

pub(super) fn null(field: &str) -> Failure {
    failure(
        NULL,
        field,
        format_args!("{field} is null, a value is required"),
    )
}

/// `value` is cut when it is long.
pub(super) fn invalid(field: &str, value: impl Display, expected: impl Display) -> Failure {
    let value = shown(&value.to_string());
    failure(
        INVALID_VALUE,
        field,
        format_args!("{field} is {value}, expected {expected}"),
    )
}

pub(super) fn too_much(field: &str, found: impl Display, limit: impl Display) -> Failure {
    failure(
        LIMIT_EXCEEDED,
        field,
        format_args!("{field} has {found}, the limit is {limit}"),
    )
}

pub(super) fn unknown_customer(customer: &str) -> Failure {
    let customer = shown(customer);
    failure(
        CUSTOMER_NOT_FOUND,
        "customerId",
        format_args!("there is no customer {customer:?}"),
    )
}

/// The beginning of a text, as messages show it.
pub(super) fn shown(text: &str) -> String {
    const CHARACTERS: usize = 60;
    let mut shown: String = text.chars().take(CHARACTERS).collect();
    if shown.len() < text.len() {
        shown.push('\u{2026}');
    }
    shown
}

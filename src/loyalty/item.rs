//! What all operations of the ledger do with an item: check it, and say what is wrong with it.

use super::codes;
use super::document::Document;
use super::money::{AMOUNT, InPoints, Money, POINTS_MAX, Rate};
use super::time::Time;
use crate::Failure;

/// Longest id of a customer, a transaction or an order, in bytes.
pub const ID_BYTES: usize = 255;

/// Longest other text, in bytes.
pub const TEXT_BYTES: usize = 1 << 10;

/// Largest `merchant` of a cashback, in bytes of JSON.
pub const MERCHANT_BYTES: usize = 4 << 10;

/// What can be said of an item without looking at the ledger.
pub(super) trait Check {
    fn check(&self) -> Result<(), Failure>;
}

/// An id has 1 to [`ID_BYTES`] bytes and no control characters.
pub(super) fn check_id(field: &str, id: &str) -> Result<(), Failure> {
    if id.is_empty() {
        return Err(codes::invalid(field, "empty", "an id"));
    }
    if id.len() > ID_BYTES {
        let found = format_args!("{} bytes", id.len());
        return Err(codes::too_much(field, found, ID_BYTES));
    }
    if id.contains(char::is_control) {
        let expected = "an id without control characters";
        return Err(codes::invalid(field, format_args!("{id:?}"), expected));
    }
    Ok(())
}

pub(super) fn check_optional_id(field: &str, id: &Option<String>) -> Result<(), Failure> {
    id.as_deref().map_or(Ok(()), |id| check_id(field, id))
}

pub(super) fn check_text(field: &str, text: &Option<String>) -> Result<(), Failure> {
    match text {
        Some(text) if text.len() > TEXT_BYTES => {
            let found = format_args!("{} bytes", text.len());
            Err(codes::too_much(field, found, TEXT_BYTES))
        }
        _ => Ok(()),
    }
}

pub(super) fn check_document(field: &str, document: &Option<Document>) -> Result<(), Failure> {
    document
        .as_ref()
        .map_or(Ok(()), |document| document.check(field, MERCHANT_BYTES))
}

pub(super) fn check_choice(
    field: &str,
    text: &Option<String>,
    choices: &[&str],
) -> Result<(), Failure> {
    match text {
        Some(text) if !choices.contains(&text.as_str()) => {
            let expected = format_args!("one of {}", choices.join(", "));
            Err(codes::invalid(field, format_args!("{text:?}"), expected))
        }
        _ => Ok(()),
    }
}

pub(super) fn check_at_most(field: &str, value: Option<u32>, most: u32) -> Result<(), Failure> {
    match value {
        Some(value) if value > most => {
            Err(codes::invalid(field, value, format_args!("0 to {most}")))
        }
        _ => Ok(()),
    }
}

/// Exactly one of several fields must be there.
pub(super) fn check_one_of<const N: usize>(fields: [(&str, bool); N]) -> Result<(), Failure> {
    let names = fields.map(|(name, _)| name).join(", ");
    let mut given = fields.iter().filter(|(_, given)| *given);
    match (given.next(), given.next()) {
        (Some(_), None) => Ok(()),
        (None, _) => {
            let text = format!("exactly one of {names} is required, none is there");
            Err(codes::failure(codes::MISSING, fields[0].0, text))
        }
        (Some(_), Some((second, _))) => {
            let text = format!("exactly one of {names} is required, {second} is one more");
            Err(codes::failure(codes::INVALID_VALUE, second, text))
        }
    }
}

/// Whether a number of points may be moved: above zero, and not past the limit.
pub(super) fn check_points(field: &str, points: i64) -> Result<(), Failure> {
    if (1..=POINTS_MAX).contains(&points) {
        return Ok(());
    }
    let expected = format_args!("a whole number of points from 1 to {POINTS_MAX}");
    Err(codes::invalid(field, points, expected))
}

pub(super) fn check_amount(field: &str, amount: Money) -> Result<(), Failure> {
    if amount.is_positive() {
        return check_digits(field, Some(amount));
    }
    Err(codes::invalid(field, amount, "an amount above 0"))
}

/// Whether it could be read again: an item that a program makes may hold what the ledger computed.
pub(super) fn check_digits(field: &str, amount: Option<Money>) -> Result<(), Failure> {
    match amount {
        Some(amount) if !amount.is_an_amount() => Err(codes::invalid(field, amount, AMOUNT)),
        _ => Ok(()),
    }
}

/// Whether it could be read again: an item that a program makes may hold any time of the system.
pub(super) fn check_time(field: &str, time: Time) -> Result<(), Failure> {
    if time.has_a_text() {
        return Ok(());
    }
    let text = format_args!("{field} is {time}, expected a time from the years -9999 to 9999");
    Err(codes::failure(codes::INVALID_TIME, field, text))
}

/// The points that an amount, which is above zero, is at `factor` a point.
pub(super) fn whole_points(field: &str, amount: Money, factor: Rate) -> Result<i64, Failure> {
    match amount.in_points(factor) {
        InPoints::Whole(points) => Ok(points),
        InPoints::Between { lower, upper } => {
            let expected = format_args!(
                "a multiple of {factor}, which a point is worth; the nearest are {lower} and {upper}"
            );
            Err(codes::invalid(field, amount, expected))
        }
        InPoints::TooMany => {
            let expected = format_args!("an amount of at most {POINTS_MAX} points of {factor}");
            Err(codes::invalid(field, amount, expected))
        }
    }
}

/// Defines an operation of the ledger: an exactly-once operation whose items have [`Fields`](super::Fields) and a
/// [`Check`], and whose `post` does it.
macro_rules! ledger_operation {
    ($(#[$doc:meta])* $operation:ident, $name:literal, $item:ty => $output:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $operation {
            // Not every operation depends on it.
            #[allow(dead_code)]
            program: std::sync::Arc<super::Program>,
        }

        impl $operation {
            /// The operation in this programme, which the caller has [checked](super::Program::check).
            pub fn new(program: impl Into<std::sync::Arc<super::Program>>) -> Self {
                Self {
                    program: program.into(),
                }
            }
        }

        impl crate::Operation for $operation {
            const NAME: &'static str = $name;
            type Item = $item;
            type Output = $output;
            type Guarantee = crate::ExactlyOnce;

            fn run(
                &self,
                item: $item,
                cx: &mut crate::Context<crate::ExactlyOnce>,
            ) -> Result<$output, crate::Failure> {
                // It may have been stored by a version that checked less.
                super::item::Check::check(&item)?;
                self.post(&item, cx)
            }

            fn validate(&self, item: &$item) -> Result<(), crate::Failure> {
                super::item::Check::check(item)
            }

            fn undecodable(&self, json: &str, failure: crate::Failure) -> crate::Failure {
                super::fields::diagnose::<$item>(json, failure)
            }
        }
    };
}

pub(super) use ledger_operation;

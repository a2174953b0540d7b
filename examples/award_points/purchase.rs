//! Purchases, and reading them from text.

use batchwright::limits::TABLE_KEY_BYTES;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One line of the file. Two equal lines are two purchases: the line number tells them apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Purchase {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) customer: String,
    /// As the number YYYYMMDD.
    date: u32,
    quantity: u32,
    amount: Amount,
}

impl Purchase {
    /// A point for each whole unit spent.
    pub(crate) fn points(&self) -> u64 {
        self.amount.units
    }
}

/// A decimal number that is not negative, kept exactly: money is never a float.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Amount {
    units: u64,
    /// The digits after the point.
    fraction: String,
}

/// A line that is not a purchase.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    line: usize,
    field: &'static str,
    /// Its beginning; empty when the field is missing.
    value: String,
    expected: &'static str,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            field,
            value,
            expected,
        } = self;
        if value.is_empty() {
            write!(f, "line {line}: {field} is missing, expected {expected}")
        } else {
            write!(f, "line {line}: {field} is {value:?}, expected {expected}")
        }
    }
}

/// All purchases of a file, or all its bad lines. Blank lines are neither.
pub(crate) fn parse_all(content: &[u8]) -> Result<Vec<Purchase>, Vec<BadLine>> {
    const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
    let content = content.strip_prefix(BYTE_ORDER_MARK).unwrap_or(content);
    let mut purchases = Vec::new();
    let mut bad_lines = Vec::new();
    for (line, text) in (1..).zip(content.split(|&byte| byte == b'\n')) {
        match parse(line, text) {
            Ok(purchase) => purchases.extend(purchase),
            Err(bad) => bad_lines.push(bad),
        }
    }
    if bad_lines.is_empty() {
        Ok(purchases)
    } else {
        Err(bad_lines)
    }
}

fn parse(line: usize, text: &[u8]) -> Result<Option<Purchase>, BadLine> {
    let bad = |field, value: &str, expected| BadLine {
        line,
        field,
        value: value.chars().take(60).collect(),
        expected,
    };
    let text = str::from_utf8(text)
        .map_err(|_| bad("the line", &String::from_utf8_lossy(text), "UTF-8 text"))?;
    // A carriage return at the end is blank, too.
    let mut fields = text.split_ascii_whitespace();
    let Some(customer) = fields.next() else {
        return Ok(None);
    };
    if customer.len() > TABLE_KEY_BYTES {
        return Err(bad("customer", customer, "at most 512 bytes"));
    }
    let mut field = |name, expected| {
        fields.next().map_or_else(
            || Err(bad(name, "", expected)),
            |value| Ok((value, bad(name, value, expected))),
        )
    };
    let (date, bad_date) = field("date", "a day as YYYYMMDD")?;
    let (quantity, bad_quantity) = field("quantity", "a whole number below 2^32")?;
    let (amount, bad_amount) = field("amount", "a number such as 11.77, not negative")?;
    if let Some(surplus) = fields.next() {
        return Err(bad("the fifth field", surplus, "the end of the line"));
    }
    Ok(Some(Purchase {
        line,
        customer: customer.to_owned(),
        date: parse_date(date).ok_or(bad_date)?,
        quantity: parse_digits(quantity).ok_or(bad_quantity)?,
        amount: parse_amount(amount).ok_or(bad_amount)?,
    }))
}

fn parse_date(text: &str) -> Option<u32> {
    let date: u32 = parse_digits(text).filter(|_| text.len() == 8)?;
    let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
    let is_leap_year = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap_year => 29,
        2 => 28,
        _ => 0,
    };
    (1..=days).contains(&day).then_some(date)
}

fn parse_amount(text: &str) -> Option<Amount> {
    let (units, fraction) = match text.split_once('.') {
        Some((units, fraction)) if is_digits(fraction) => (units, fraction),
        Some(_) => return None,
        None => (text, ""),
    };
    Some(Amount {
        units: parse_digits(units)?,
        fraction: fraction.to_owned(),
    })
}

/// Digits only: no sign, which `parse` alone would take.
fn parse_digits<N: std::str::FromStr>(text: &str) -> Option<N> {
    is_digits(text).then(|| text.parse().ok())?
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

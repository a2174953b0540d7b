//! What fields an item has, and which of them is wrong when JSON is no such item.
//!
//! The tables say of each item type what serde knows of it, so that programs can list fields, read tables of
//! text, and tell a missing field from a null and from a wrong one. A test holds them to the types.

use super::codes;
use super::money::{AMOUNT, Money};
use super::time::{self, Time};
use crate::Failure;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A field of an operation's items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Field {
    /// Its name on the wire; of a field inside another one with the outer name before it
    /// (`configurations.returnWindow`).
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Whether every item must have it.
    pub required: bool,
}

impl Field {
    pub(super) const fn required(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            required: true,
        }
    }

    pub(super) const fn optional(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            required: false,
        }
    }
}

/// What the values of a [`Field`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A text.
    Text,
    /// A text: a date, or a time on one.
    Date,
    /// A text: a [`Time`].
    Time,
    /// A number: an amount of [`Money`].
    Money,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Bool,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// An array of texts.
    Texts,
    /// An array of any JSON.
    Array,
    /// An object.
    Object,
    /// Any JSON.
    Json,
}

impl Kind {
    /// What a value must be, for messages.
    pub fn expected(self) -> String {
        match self {
            Self::Text => "a text".to_owned(),
            Self::Date => "a date such as 1990-05-21".to_owned(),
            Self::Time => "a time with Z or an offset, such as 2025-03-14T10:00:00Z".to_owned(),
            Self::Money => AMOUNT.to_owned(),
            Self::Integer => "a whole number".to_owned(),
            Self::Bool => "true or false".to_owned(),
            Self::Choice(texts) => format!("one of {}", texts.join(", ")),
            Self::Texts => "an array of texts".to_owned(),
            Self::Array => "an array".to_owned(),
            Self::Object => "an object".to_owned(),
            Self::Json => "JSON".to_owned(),
        }
    }

    /// Whether the JSON is such a value.
    fn fits(self, json: &str) -> bool {
        let text = || serde_json::from_str::<String>(json).ok();
        match self {
            Self::Text => text().is_some(),
            Self::Date => text().is_some_and(|text| time::is_date(&text)),
            Self::Time => text().is_some_and(|text| text.parse::<Time>().is_ok()),
            Self::Money => serde_json::from_str::<Money>(json).is_ok(),
            Self::Integer => serde_json::from_str::<i64>(json).is_ok(),
            Self::Bool => matches!(json, "true" | "false"),
            Self::Choice(texts) => text().is_some_and(|text| texts.contains(&text.as_str())),
            Self::Texts => serde_json::from_str::<Vec<String>>(json).is_ok(),
            Self::Array => json.starts_with('['),
            Self::Object => json.starts_with('{'),
            Self::Json => true,
        }
    }
}

/// Types that have a table of their fields.
pub trait Fields {
    /// The fields, required ones first. Empty for items that are a text and no object.
    const FIELDS: &'static [Field];
}

/// What is wrong with an item that serde could not read, in the contract's codes. `failure` is what the engine
/// says of it.
pub(super) fn diagnose<T: Fields>(json: &str, failure: Failure) -> Failure {
    if T::FIELDS.is_empty() {
        let text = format!("the item is {}, expected a text", codes::shown(json));
        return Failure::permanent(codes::INVALID_PAYLOAD, text);
    }
    let Ok(item) = members(json) else {
        let text = format!("the item is {}, expected an object", codes::shown(json));
        return Failure::permanent(codes::INVALID_PAYLOAD, text);
    };
    match T::FIELDS.iter().find_map(|field| wrong(&item, field)) {
        Some(wrong) => wrong,
        // Something the table does not know, such as a field that is there twice.
        None => with_code(failure, codes::INVALID_VALUE),
    }
}

fn with_code(mut failure: Failure, code: &str) -> Failure {
    code.clone_into(&mut failure.code);
    failure
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

fn members(json: &str) -> serde_json::Result<Members<'_>> {
    serde_json::from_str(json)
}

fn wrong(item: &Members<'_>, field: &Field) -> Option<Failure> {
    match find(item, field.name)? {
        Found::Value("null") if field.required => Some(codes::null(field.name)),
        Found::Value("null") => None,
        Found::Value(json) if field.kind.fits(json) => None,
        Found::Value(json) if field.kind == Kind::Time => {
            let expected = field.kind.expected();
            let invalid = codes::invalid(field.name, json, expected);
            Some(with_code(invalid, codes::INVALID_TIME))
        }
        Found::Value(json) => Some(codes::invalid(field.name, json, field.kind.expected())),
        Found::Missing if field.required => Some(codes::missing(field.name)),
        Found::Missing => None,
    }
}

enum Found<'a> {
    Value(&'a str),
    Missing,
}

/// The value of a field that may be inside others; `None` when one of those is no object, which is said of that
/// one.
fn find<'a>(item: &Members<'a>, name: &str) -> Option<Found<'a>> {
    let Some((outer, inner)) = name.split_once('.') else {
        let value = item.get(name).map(|value| Found::Value(value.get()));
        return Some(value.unwrap_or(Found::Missing));
    };
    match item.get(outer).map(|value| value.get()) {
        None | Some("null") => Some(Found::Missing),
        Some(json) => find(&members(json).ok()?, inner),
    }
}

//! The items in JSON that somebody submits: an array, or an object with a member `body` that is one.
//!
//! Finds where each item is and looks into none: an item is decoded once it is known that all of it is
//! JSON and that there are not too many.

use crate::error::SubmitError;
use crate::item::without_position;
use crate::position::Position;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::cell::Cell;
use std::fmt;

const BODY: &str = "body";

/// The items of a submission, as they are written.
pub(crate) struct JsonItems<'a> {
    text: &'a str,
    items: Vec<&'a RawValue>,
}

impl<'a> JsonItems<'a> {
    /// At most `limit` items.
    pub(crate) fn find(bytes: &'a [u8], limit: usize) -> Result<Self, SubmitError> {
        if bytes.starts_with(b"\xef\xbb\xbf") {
            let reason = "it begins with a byte order mark, which JSON does not have; leave it out";
            return Err(invalid(Position::START, reason));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let (good, _) = bytes.split_at(error.valid_up_to());
            invalid(Position::START.after(good), "it is not UTF-8")
        })?;
        let too_many = Cell::new(false);
        let array = Array {
            limit,
            too_many: &too_many,
        };
        let mut json = serde_json::Deserializer::from_str(text);
        let found = json.deserialize_any(Document(array));
        let items = found.and_then(|items| json.end().map(|()| items));
        let items = items.map_err(|error| {
            if too_many.get() {
                return SubmitError::TooManyItems { limit };
            }
            let at = Position::of_error(&error).unwrap_or(Position::START);
            invalid(at, without_position(&error))
        })?;
        Ok(Self { text, items })
    }

    /// Each item, with where it begins.
    pub(crate) fn into_iter(self) -> impl Iterator<Item = JsonItem<'a>> {
        let Self { text, items } = self;
        items.into_iter().map(move |item| JsonItem {
            json: item.get(),
            // The item is a part of the text.
            start: item.get().as_ptr().addr() - text.as_ptr().addr(),
        })
    }

    /// Finds places in the text.
    pub(crate) fn places(&self) -> Places<'a> {
        Places {
            rest: self.text.as_bytes(),
            offset: 0,
            at: Position::START,
        }
    }
}

/// An item as it is written.
#[derive(Clone, Copy)]
pub(crate) struct JsonItem<'a> {
    pub(crate) json: &'a str,
    /// The number of its first byte in the text.
    pub(crate) start: usize,
}

/// Finds the places of bytes that come one behind the other.
pub(crate) struct Places<'a> {
    rest: &'a [u8],
    offset: usize,
    at: Position,
}

impl Places<'_> {
    /// The place of byte `offset`, which is not before the one that was asked for last.
    pub(crate) fn of(&mut self, offset: usize) -> Position {
        let step = offset.saturating_sub(self.offset).min(self.rest.len());
        let (passed, rest) = self.rest.split_at(step);
        self.at = self.at.after(passed);
        self.rest = rest;
        self.offset += step;
        self.at
    }
}

fn invalid(at: Position, reason: impl Into<String>) -> SubmitError {
    SubmitError::InvalidJson {
        position: at,
        reason: reason.into(),
    }
}

/// Collects the items of an array.
#[derive(Clone, Copy)]
struct Array<'s> {
    limit: usize,
    too_many: &'s Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for Array<'_> {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Array<'_> {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = array.next_element()? {
            if items.len() == self.limit {
                self.too_many.set(true);
                return Err(A::Error::custom("there are too many items"));
            }
            items.push(item);
        }
        Ok(items)
    }
}

/// What is submitted as a whole.
struct Document<'s>(Array<'s>);

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of items, or an object with one as {BODY:?}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<Self::Value, A::Error> {
        self.0.visit_seq(array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut items = None;
        while let Some(name) = members.next_key::<String>()? {
            if name != BODY {
                members.next_value::<IgnoredAny>()?;
            } else if items.is_some() {
                return Err(A::Error::custom(format!("the object has {BODY:?} twice")));
            } else {
                items = Some(members.next_value_seed(self.0)?);
            }
        }
        let missing = || A::Error::custom(format!("the object has no {BODY:?} with the items"));
        items.ok_or_else(missing)
    }
}

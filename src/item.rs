//! From one item to the JSON that is stored: validated, within the limits, with its ordering key.
//!
//! What an operation declares about its items is the application's code: a panic in it is caught here and
//! is the item's fault alone.

use crate::error::InvalidItem;
use crate::failure::{self, Failure};
use crate::limits;
use crate::operation::Operation;
use crate::position::Position;
use serde::de::DeserializeOwned;
use std::any::type_name;
use std::panic::{AssertUnwindSafe, catch_unwind};
use twox_hash::XxHash3_64;

/// An item in JSON that is not acceptable.
#[derive(Debug)]
pub(crate) struct Misfit {
    pub(crate) failure: Box<Failure>,
    /// Where in the item's text, if that is known.
    pub(crate) at: Option<Position>,
}

impl From<Failure> for Misfit {
    fn from(failure: Failure) -> Self {
        Self {
            failure: Box::new(failure),
            at: None,
        }
    }
}

/// Validates an item and appends its JSON to `json`, which is empty. Returns the hash of its ordering key,
/// 0 for none.
pub(crate) fn write<O: Operation>(
    operation: &O,
    item: &O::Item,
    json: &mut Vec<u8>,
) -> Result<u64, Failure> {
    catch_unwind(AssertUnwindSafe(|| {
        operation.validate(item)?;
        serde_json::to_writer(&mut *json, item)
            .map_err(|error| Failure::permanent(InvalidItem::NOT_JSON, error.to_string()))?;
        let (bytes, limit) = (json.len(), limits::PAYLOAD_BYTES);
        if bytes > limit {
            let text = format!("the item is {bytes} bytes of JSON, the limit is {limit}");
            return Err(Failure::permanent(InvalidItem::TOO_LARGE, text));
        }
        Ok(operation.key(item).map_or(0, |key| hash_key(&key)))
    }))
    .unwrap_or_else(|_| Err(panicked("validating or encoding")))
}

/// As [`write`], of an item in JSON of whoever submits it: what is stored is what the operation's type
/// makes of it.
pub(crate) fn rewrite<O: Operation>(
    operation: &O,
    text: &str,
    json: &mut Vec<u8>,
) -> Result<u64, Misfit> {
    match catch_unwind(|| serde_json::from_str(text)) {
        Ok(Ok(item)) => Ok(write(operation, &item, json)?),
        Ok(Err(error)) => Err(undecodable(operation, text, &error)),
        Err(_) => Err(panicked("decoding").into()),
    }
}

/// The failure of an item that is of another type than the operation's items.
pub(crate) fn of_another_type<O: Operation>() -> Failure {
    let text = format!("the item is not a {}", type_name::<O::Item>());
    Failure::permanent(InvalidItem::NOT_DECODABLE, text)
}

fn undecodable<O: Operation>(operation: &O, text: &str, error: &serde_json::Error) -> Misfit {
    let failure = what_is_wrong::<O::Item>(text, error);
    let told = catch_unwind(AssertUnwindSafe(|| operation.undecodable(text, failure)));
    let failure = told.unwrap_or_else(|_| panicked("telling what is wrong with"));
    Misfit {
        failure: Box::new(failure),
        at: Position::of_error(error),
    }
}

fn what_is_wrong<T: DeserializeOwned>(text: &str, error: &serde_json::Error) -> Failure {
    // To keep track of where one is costs time, and is wanted only now.
    let again = catch_unwind(|| {
        let mut json = serde_json::Deserializer::from_str(text);
        serde_path_to_error::deserialize::<_, T>(&mut json).err()
    });
    let path = again.ok().flatten().and_then(|again| {
        let same = again.inner().to_string() == error.to_string();
        let path = again.path().to_string();
        (same && path != ".").then_some(path)
    });
    let reason = without_position(error);
    let reason = failure::cut(&reason, limits::FAILURE_MESSAGE_BYTES);
    let mut failure = Failure::permanent(InvalidItem::NOT_DECODABLE, reason);
    if let Some(path) = path {
        failure = failure.field(failure::cut(&path, limits::FAILURE_NAME_BYTES));
    }
    failure
}

/// What serde says, without the place: who reads it has that apart.
pub(crate) fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

fn panicked(doing: &str) -> Failure {
    Failure::permanent(InvalidItem::PANICKED, format!("{doing} the item panicked"))
}

fn hash_key(key: &str) -> u64 {
    // 0 stands for no key.
    XxHash3_64::oneshot(key.as_bytes()).max(1)
}

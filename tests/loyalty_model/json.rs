//! JSON texts that are compared to the letter of each number: amounts must not pass through floats.

use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// An object with these members, whose values are JSON.
pub(crate) fn object<'a>(members: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let members: Vec<_> = members
        .into_iter()
        .map(|(name, value)| format!("{}:{value}", quoted(name)))
        .collect();
    format!("{{{}}}", members.join(","))
}

pub(crate) fn array(values: impl IntoIterator<Item = String>) -> String {
    let values: Vec<_> = values.into_iter().collect();
    format!("[{}]", values.join(","))
}

/// All texts of the runs are plain.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

/// Whether two texts are the same JSON, whatever the order of members.
pub(crate) fn is_same(one: &str, other: &str) -> Result<bool, serde_json::Error> {
    Ok(one == other || canonical(one)? == canonical(other)?)
}

/// The same JSON with the members of all objects in the order of their names.
fn canonical(text: &str) -> Result<String, serde_json::Error> {
    let inner = |value: Box<RawValue>| canonical(value.get());
    if text.starts_with('{') {
        let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text)?;
        let mut sorted = Vec::new();
        for (name, value) in members {
            sorted.push(format!("{}:{}", quoted(&name), inner(value)?));
        }
        return Ok(format!("{{{}}}", sorted.join(",")));
    }
    if text.starts_with('[') {
        let values: Vec<Box<RawValue>> = serde_json::from_str(text)?;
        let values: Result<Vec<_>, _> = values.into_iter().map(inner).collect();
        return Ok(array(values?));
    }
    Ok(text.to_owned())
}

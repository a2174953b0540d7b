//! Canonical JSON: two writings of the same content are the same text.
//!
//! Members are in the order of their names, those that are null are left out (a field that an operation's item
//! type has got since is none in what was submitted before), there are no spaces, and texts are escaped in one
//! way. Numbers stay as they are written: read as `f64`, two different large integers would become one.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// What lies deeper is taken as it is written.
const DEPTH: usize = 64;

/// The canonical text of `json`, or `json` itself where it is not JSON: equal text is equal content.
pub(crate) fn canonical(json: &str) -> Cow<'_, str> {
    let mut text = String::with_capacity(json.len());
    match write(json, &mut text, DEPTH) {
        Ok(()) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(json),
    }
}

fn write(json: &str, text: &mut String, depth: usize) -> serde_json::Result<()> {
    let json = json.trim();
    match json.as_bytes().first() {
        Some(b'{') if depth > 0 => {
            let Members(mut members) = serde_json::from_str(json)?;
            members.retain(|(_, value)| value.get() != "null");
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            text.push('{');
            for (n, (name, value)) in members.into_iter().enumerate() {
                if n > 0 {
                    text.push(',');
                }
                text.push_str(&serde_json::to_string(&name)?);
                text.push(':');
                write(value.get(), text, depth - 1)?;
            }
            text.push('}');
        }
        Some(b'[') if depth > 0 => {
            let items: Vec<&RawValue> = serde_json::from_str(json)?;
            text.push('[');
            for (n, item) in items.into_iter().enumerate() {
                if n > 0 {
                    text.push(',');
                }
                write(item.get(), text, depth - 1)?;
            }
            text.push(']');
        }
        Some(b'"') => {
            let plain: String = serde_json::from_str(json)?;
            text.push_str(&serde_json::to_string(&plain)?);
        }
        _ => text.push_str(json),
    }
    Ok(())
}

/// An object's members as they are written, doubles and all.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_json_does_not_depend_on_the_order_of_members_or_on_spaces() {
        let one = r#"{"b": [1, {"y": true, "x": "é"}], "a": 1.5}"#;
        let two = r#"{"a":1.5,"b":[1,{"x":"\u00e9","y":true}]}"#;
        assert_eq!(canonical(one), canonical(two));
        assert_eq!(canonical(one), r#"{"a":1.5,"b":[1,{"x":"é","y":true}]}"#);
        let other = r#"{"a":1.5,"b":[{"x":"é","y":true},1]}"#;
        assert_ne!(canonical(one), canonical(other));
    }

    #[test]
    fn a_member_that_is_null_is_as_good_as_none_and_an_element_is_not() {
        assert_eq!(
            canonical(r#"{"a":1,"b": null ,"c":{"d":null}}"#),
            r#"{"a":1,"c":{}}"#
        );
        assert_eq!(canonical("[1,null]"), "[1,null]");
        assert_ne!(canonical(r#"{"a":"null"}"#), canonical("{}"));
        assert_eq!(canonical("null"), "null");
    }

    #[test]
    fn numbers_that_differ_stay_different() {
        let (one, two) = (u128::MAX.to_string(), (u128::MAX - 1).to_string());
        assert_ne!(canonical(&one), canonical(&two));
        assert_eq!(canonical(&one), one);
        assert_ne!(canonical("0.1"), canonical("0.10000000000000002"));
    }

    #[test]
    fn deep_nesting_is_no_deep_recursion() {
        let deep = "[".repeat(30_000) + &"]".repeat(30_000);
        assert_eq!(canonical(&deep), deep);
    }

    #[test]
    fn what_is_not_json_stays_as_it_is() {
        assert_eq!(canonical("{not json"), "{not json");
    }
}

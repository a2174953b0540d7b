//! What must hold of any content, in any format, however the reader gives it.

use super::format::Format;
use super::fuzzing::drain;
use super::lookahead::lines_in;
use super::reading::Reading;
use super::test_readers::Pieces;
use super::{InputError, RawItem};
use batchwright::loyalty::{CustomerItem, Field, Fields, OrderId};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

type Read = Result<Vec<RawItem>, InputError>;

fn read(content: &[u8], pieces: Vec<usize>, format: Format, fields: &[Field]) -> Read {
    Reading::new(Pieces::new(content, pieces), format, fields)?.collect()
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![1]),
        vec(1..50_usize, 1..5),
        Just(vec![usize::MAX])
    ]
}

fn space() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,3}"
}

fn json_string() -> impl Strategy<Value = String> {
    let escaped = any::<String>().prop_map(|text| serde_json::Value::from(text).to_string());
    prop_oneof![escaped, r#""(\\u[0-9a-fA-F]{4}|\\[\\"/bn]|[\[\]{},: a])*""#]
        // Half of a surrogate pair is no text.
        .prop_filter("text", |json| serde_json::from_str::<String>(json).is_ok())
}

/// Any JSON as it may be written.
fn json() -> impl Strategy<Value = String> {
    let number = "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?";
    let word = prop_oneof![Just("true"), Just("false"), Just("null")].prop_map(str::to_owned);
    prop_oneof![number, word, json_string()].prop_recursive(4, 24, 4, |inner| {
        let spaced = (space(), inner, space())
            .prop_map(|(a, json, b)| format!("{a}{json}{b}"))
            .boxed();
        let named = (space(), json_string(), space(), spaced.clone());
        let member = named.prop_map(|(a, name, b, value)| format!("{a}{name}{b}:{value}"));
        prop_oneof![
            vec(spaced, 1..4).prop_map(|items| format!("[{}]", items.join(","))),
            vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}

/// The text of a document, and its items with the lines that they begin on.
fn document() -> impl Strategy<Value = (String, Vec<RawItem>)> {
    let items = vec((space(), json(), space()), 1..8);
    let members = || vec((space(), json_string(), json()), 0..3);
    let object = proptest::option::of((members(), members()));
    (space(), items, object, space()).prop_map(|(before, items, object, behind)| {
        let mut text = before;
        let mut expected = Vec::new();
        let others = |members: Vec<(String, String, String)>| -> Vec<String> {
            let not_body = members
                .into_iter()
                .filter(|(_, name, _)| name != "\"body\"");
            not_body
                .map(|(space, name, json)| format!("{space}{name}:{json}"))
                .collect()
        };
        let end = object.map(|(first, last)| {
            let mut first = others(first);
            first.push("\"body\":".to_owned());
            text.push('{');
            text.push_str(&first.join(","));
            let last = others(last).into_iter().map(|member| format!(",{member}"));
            last.collect::<String>() + "}"
        });
        for (number, (a, json, b)) in items.into_iter().enumerate() {
            text.push(if number == 0 { '[' } else { ',' });
            text.push_str(&a);
            let line = 1 + lines_in(text.as_bytes());
            text.push_str(&json);
            text.push_str(&b);
            expected.push(RawItem { json, line });
        }
        text.push(']');
        text.push_str(&end.unwrap_or_default());
        text.push_str(&behind);
        (text, expected)
    })
}

/// Text that looks like JSON and mostly is none.
fn almost_json() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        4 => Just("1"), 4 => Just(","), 2 => Just("["), 2 => Just("]"), 1 => Just("{"), 1 => Just("}"),
        1 => Just("\"body\":"), 1 => Just("\"a\":"), 1 => Just("\"a\""), 1 => Just("\""), 1 => Just("\\"),
        1 => Just(" "), 1 => Just("\n"), 1 => Just("null"), 1 => Just("-"), 1 => Just("\u{e9}"),
    ];
    let middle = vec(token, 0..8).prop_map(|tokens| tokens.concat());
    (
        prop_oneof!["\\[", "\\{\"body\":\\[", ""],
        middle,
        prop_oneof!["\\]", "\\]\\}", ""],
    )
        .prop_map(|(start, middle, end)| format!("{start}{middle}{end}"))
}

/// The items of a document, as serde_json sees it.
fn by_serde(text: &str) -> Option<Vec<String>> {
    let found: Option<Vec<&RawValue>> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).ok()
    } else {
        // It takes the last of two members with one name, which this module refuses.
        if text.matches("\"body\":").count() > 1 {
            return None;
        }
        let members: Option<BTreeMap<String, &RawValue>> = serde_json::from_str(text).ok();
        let body = members.and_then(|members| members.get("body").copied());
        body.and_then(|body| serde_json::from_str(body.get()).ok())
    };
    let items = found.filter(|items| !items.is_empty())?;
    Some(items.iter().map(|item| item.get().to_owned()).collect())
}

/// A cell that is written with quotes.
fn quoted(cell: &str) -> String {
    format!("\"{}\"", cell.replace('"', "\"\""))
}

/// A case that fails is printed, and becomes a test with a name.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    // Whole documents are slow to make up.
    #![proptest_config(cases(96))]

    #[test]
    fn items_of_json_come_back_as_they_were_written((text, expected) in document(), pieces in pieces()) {
        let items = read(text.as_bytes(), pieces, Format::Json, &[]);
        prop_assert_eq!(items.unwrap(), expected, "{}", text);
    }

    #[test]
    fn items_of_json_lines_come_back_as_they_were_written(
        lines in vec((json(), proptest::option::of(Just("\r"))), 1..8),
        blank in 0..3_usize,
        pieces in pieces(),
    ) {
        // Line ends of JSON are only white space: in strings they are escaped.
        let one_line = |json: &str| json.replace('\n', " ");
        let mut text = String::new();
        let mut expected = Vec::new();
        for (json, carriage_return) in &lines {
            text.push_str(&"\n".repeat(blank));
            let line = 1 + lines_in(text.as_bytes());
            let json = one_line(json);
            text.push_str(&format!(" {json}{}\n", carriage_return.unwrap_or_default()));
            expected.push(RawItem { json, line });
        }
        let items = read(text.as_bytes(), pieces, Format::JsonLines, &[]);
        prop_assert_eq!(items.unwrap(), expected, "{}", text);
    }

    #[test]
    fn cells_of_texts_come_back_as_they_were_written(
        rows in vec((any::<String>(), "[a-z\"\r\n,]{0,5}"), 1..8),
        line_end in prop_oneof!["\n", "\r\n", "\n\n"],
        pieces in pieces(),
    ) {
        let plain = |cell: &str| cell.replace('\0', "");
        let mut text = format!("customerId,customerAttributes.city{line_end}");
        let mut expected = Vec::new();
        for (id, city) in &rows {
            let (id, city) = (plain(id), plain(city));
            let line = 1 + lines_in(text.as_bytes());
            text.push_str(&format!("{},{}{line_end}", quoted(&id), quoted(&city)));
            expected.push((id, city, line));
        }
        let items = read(text.as_bytes(), pieces, Format::Csv, CustomerItem::FIELDS).unwrap();
        prop_assert_eq!(items.len(), expected.len());
        for (item, (id, city, line)) in items.iter().zip(expected) {
            let json: serde_json::Value = serde_json::from_str(&item.json).unwrap();
            let text = |value: Option<&serde_json::Value>| value.map_or("", |value| value.as_str().unwrap()).to_owned();
            prop_assert_eq!(text(json.get("customerId")), id);
            prop_assert_eq!(text(json.pointer("/customerAttributes/city")), city);
            prop_assert_eq!(item.line, line);
        }
    }

    #[test]
    fn any_bytes_are_read_to_an_end(
        (text, _) in document(),
        bytes in vec(any::<u8>(), 0..20),
        at in any::<prop::sample::Index>(),
    ) {
        let mut content = text.into_bytes();
        let at = at.index(content.len() + 1);
        content.splice(at..at, bytes.iter().copied());
        for format in [None, Some(Format::Json), Some(Format::JsonLines), Some(Format::Csv)] {
            for content in [&content, &bytes] {
                drain(content, format, CustomerItem::FIELDS);
                drain(content, format, OrderId::FIELDS);
                drain(&[b"orderId\n", content.as_slice()].concat(), format, OrderId::FIELDS);
            }
        }
    }
}

proptest! {
    // Few of them have what makes them special.
    #![proptest_config(cases(1_024))]

    #[test]
    fn what_is_json_is_what_serde_takes_for_json(text in almost_json(), pieces in pieces()) {
        let items = read(text.as_bytes(), pieces, Format::Json, &[]);
        let items = items.ok().map(|items| items.into_iter().map(|item| item.json).collect());
        prop_assert_eq!(items, by_serde(&text), "{}", text);
    }

    #[test]
    fn the_pieces_in_which_content_comes_change_nothing(
        text in prop_oneof![almost_json(), "[a\"\r\n,\0\u{e9}{}\\[\\]1:]{0,30}"],
        pieces in pieces(),
    ) {
        for format in [Format::Json, Format::JsonLines, Format::Csv] {
            let text = if format == Format::Csv { format!("orderId\n{text}") } else { text.clone() };
            let all = |pieces| -> Result<Vec<_>, String> {
                let items = Reading::new(Pieces::new(text.as_bytes(), pieces), format, &[]);
                let items = items.map_err(|error| error.to_string())?;
                Ok(items.map(|item| item.map_err(|error| error.to_string())).collect())
            };
            prop_assert_eq!(all(pieces.clone()), all(vec![usize::MAX]));
        }
    }
}

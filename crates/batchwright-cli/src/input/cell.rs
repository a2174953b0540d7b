//! The JSON of one cell of a table.
//!
//! Text of a cell becomes what its field wants if it can be that, and a JSON string if not: then the item's own check
//! refuses it, in the words and with the code that it has for such a value in JSON.

use batchwright::loyalty::FieldKind;
use serde::de::IgnoredAny;

/// Writes a cell that is not empty as the value of a field of this kind.
pub(super) fn write_cell(json: &mut String, kind: FieldKind, cell: &str) {
    let trimmed = cell.trim();
    let fits = match kind {
        FieldKind::Text | FieldKind::Date | FieldKind::Time | FieldKind::Choice(_) => false,
        FieldKind::Money | FieldKind::Integer => is_number(trimmed),
        FieldKind::Bool => return write_bool(json, cell),
        FieldKind::Texts if !trimmed.starts_with('[') => return write_texts(json, cell),
        // `Array`, `Object`, `Json`, and kinds that are yet to come.
        _ => is_json(trimmed),
    };
    if fits {
        json.push_str(trimmed);
    } else {
        write_text(json, cell);
    }
}

/// Writes text as a JSON string.
pub(super) fn write_text(json: &mut String, text: &str) {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        json.push('"');
        json.push_str(text);
        json.push('"');
    } else {
        json.push_str(&serde_json::Value::from(text).to_string());
    }
}

fn write_bool(json: &mut String, cell: &str) {
    let trimmed = cell.trim();
    match ["true", "false"]
        .iter()
        .find(|word| trimmed.eq_ignore_ascii_case(word))
    {
        Some(word) => json.push_str(word),
        None => write_text(json, cell),
    }
}

/// The texts between semicolons; nothing between two of them is no text.
fn write_texts(json: &mut String, cell: &str) {
    json.push('[');
    let texts = cell
        .split(';')
        .map(str::trim)
        .filter(|text| !text.is_empty());
    for (number, text) in texts.enumerate() {
        if number > 0 {
            json.push(',');
        }
        write_text(json, text);
    }
    json.push(']');
}

fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) && is_json(text)
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn becomes(kind: FieldKind, cell: &str, expected: &str) {
        let mut json = String::new();
        write_cell(&mut json, kind, cell);
        assert_eq!(json, expected);
        assert!(is_json(&json));
    }

    #[test]
    fn texts_dates_times_and_choices_are_strings_whatever_they_look_like() {
        let kinds = [
            FieldKind::Text,
            FieldKind::Date,
            FieldKind::Time,
            FieldKind::Choice(&["pos"]),
        ];
        for kind in kinds {
            becomes(kind, "0012", "\"0012\"");
            becomes(
                kind,
                " a\"\\\n\u{1}\u{e9}",
                "\" a\\\"\\\\\\n\\u0001\u{e9}\"",
            );
            becomes(kind, "null", "\"null\"");
            becomes(kind, "a\n\u{1}", "\"a\\n\\u0001\"");
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        for kind in [FieldKind::Money, FieldKind::Integer] {
            for number in [
                "0.10",
                "-5",
                "12345678901234567890.12345678901234567890",
                "1E5",
            ] {
                becomes(kind, number, number);
            }
            becomes(kind, " 7 ", "7");
        }
    }

    #[test]
    fn what_is_no_number_in_json_is_left_to_the_check_of_the_item() {
        for kind in [FieldKind::Money, FieldKind::Integer] {
            for text in [
                "+5", ".5", "5.", "05", "1,5", "1 000", "ten", "true", "NaN", "[1]",
            ] {
                becomes(kind, text, &format!("\"{text}\""));
            }
        }
    }

    #[test]
    fn true_and_false_are_known_in_any_letter_case() {
        becomes(FieldKind::Bool, "TRUE", "true");
        becomes(FieldKind::Bool, "False ", "false");
        becomes(FieldKind::Bool, "yes", "\"yes\"");
        becomes(FieldKind::Bool, "1", "\"1\"");
    }

    #[test]
    fn texts_are_an_array_or_stand_between_semicolons() {
        becomes(
            FieldKind::Texts,
            "vip; gold ;;a,b;",
            r#"["vip","gold","a,b"]"#,
        );
        becomes(FieldKind::Texts, "1", r#"["1"]"#);
        becomes(FieldKind::Texts, r#" ["a;b", "c"]"#, r#"["a;b", "c"]"#);
        becomes(FieldKind::Texts, "[a", r#""[a""#);
    }

    #[test]
    fn json_is_taken_as_it_is_and_anything_else_is_a_string() {
        for kind in [FieldKind::Array, FieldKind::Object, FieldKind::Json] {
            becomes(kind, r#" {"a": [1.50]}"#, r#"{"a": [1.50]}"#);
            becomes(kind, "[1]", "[1]");
            becomes(kind, "Main Street", "\"Main Street\"");
            becomes(kind, "{a:1}", "\"{a:1}\"");
        }
    }
}

//! The items of a JSON document: an array, or an object with one as `body`.
//!
//! The document around the items is read here, byte by byte; each item is cut out of it and then checked to be JSON.
//! An item that is not JSON ends the reading: where the next one begins cannot be known.

use super::RawItem;
use super::error::{Found, InputError, Part};
use super::limits::ITEM_BYTES;
use super::lookahead::Lookahead;
use super::text::{self, Fault};
use super::value_end::{ValueEnd, is_space};
use std::io::Read;

const BODY: &str = "body";

/// Reads the items of a document one after the other.
pub(super) struct JsonItems<R> {
    text: Lookahead<R>,
    place: Place,
    body: Body,
    /// Items that were read.
    count: u64,
}

/// What comes next in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Document,
    FirstMember,
    NextMember,
    MemberEnd,
    FirstItem,
    NextItem,
    ItemEnd,
    End,
}

/// Whether the items are a member of an object, and whether it was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    NotNeeded,
    Missing,
    Found,
}

/// A JSON value of the document.
struct Value {
    json: String,
    line: u64,
}

impl<R: Read> JsonItems<R> {
    pub(super) fn new(text: Lookahead<R>) -> Self {
        Self {
            text,
            place: Place::Document,
            body: Body::NotNeeded,
            count: 0,
        }
    }

    /// The next item; `None` when the document and the file have ended.
    pub(super) fn next(&mut self) -> Result<Option<RawItem>, InputError> {
        loop {
            let first = self.text.skip(is_space)?;
            match (self.place, first) {
                (Place::Document, None) => return Err(InputError::Empty),
                (Place::Document, Some(b'[')) => self.pass(Place::FirstItem),
                (Place::Document, Some(b'{')) => {
                    self.body = Body::Missing;
                    self.pass(Place::FirstMember);
                }
                (Place::FirstMember | Place::NextMember, Some(b'"')) => self.member()?,
                (Place::FirstMember | Place::MemberEnd, Some(b'}')) => self.end_object()?,
                (Place::MemberEnd, Some(b',')) => self.pass(Place::NextMember),
                (Place::FirstItem | Place::ItemEnd, Some(b']')) => self.end_array(),
                (Place::FirstItem | Place::NextItem, Some(byte)) if begins_value(byte) => {
                    return self.item().map(Some);
                }
                (Place::ItemEnd, Some(b',')) => self.pass(Place::NextItem),
                (Place::End, None) => return Ok(None),
                (place, _) => return Err(self.unexpected(place.expected())?),
            }
        }
    }

    pub(super) fn into_text(self) -> Lookahead<R> {
        self.text
    }

    /// Passes the byte in front of what comes next.
    fn pass(&mut self, next: Place) {
        self.text.consume(1);
        self.place = next;
    }

    fn item(&mut self) -> Result<RawItem, InputError> {
        self.count += 1;
        let Value { json, line } = self.value(Part::Item(self.count))?;
        self.place = Place::ItemEnd;
        Ok(RawItem { json, line })
    }

    fn end_array(&mut self) {
        self.pass(match self.body {
            Body::NotNeeded => Place::End,
            Body::Missing | Body::Found => Place::MemberEnd,
        });
    }

    fn end_object(&mut self) -> Result<(), InputError> {
        if self.body == Body::Missing {
            let line = self.text.line();
            return Err(InputError::NoBody { line });
        }
        self.pass(Place::End);
        Ok(())
    }

    /// Skips a member of the object, or enters it if it is the body.
    fn member(&mut self) -> Result<(), InputError> {
        let name = self.value(Part::Member)?;
        let is_body = serde_json::from_str::<String>(&name.json).is_ok_and(|name| name == BODY);
        self.expect(|byte| byte == b':', "`:` behind a member's name")?;
        self.text.consume(1);
        if !is_body {
            self.expect(begins_value, "the member's value")?;
            self.value(Part::Member)?;
            self.place = Place::MemberEnd;
            return Ok(());
        }
        if self.body == Body::Found {
            return Err(InputError::SecondBody { line: name.line });
        }
        self.expect(|byte| byte == b'[', "`[`: \"body\" is an array of items")?;
        self.body = Body::Found;
        self.pass(Place::FirstItem);
        Ok(())
    }

    /// Skips space to a byte that is `wanted`.
    fn expect(&mut self, wanted: fn(u8) -> bool, expected: &'static str) -> Result<(), InputError> {
        match self.text.skip(is_space)? {
            Some(byte) if wanted(byte) => Ok(()),
            _ => Err(self.unexpected(expected)?),
        }
    }

    /// What is in front is not what is expected.
    fn unexpected(&mut self, expected: &'static str) -> Result<InputError, InputError> {
        Ok(InputError::Unexpected {
            found: Found(self.text.first()?),
            line: self.text.line(),
            expected,
        })
    }

    /// The value that begins here.
    fn value(&mut self, part: Part) -> Result<Value, InputError> {
        let line = self.text.line();
        let length = self.value_length(part)?;
        let bytes = self.text.bytes().get(..length).unwrap_or_default();
        let json = text::json(bytes).map(str::to_owned);
        let json = json.map_err(|fault| broken(line, part, fault))?;
        self.text.consume(length);
        Ok(Value { json, line })
    }

    fn value_length(&mut self, part: Part) -> Result<usize, InputError> {
        let line = self.text.line();
        let mut end = ValueEnd::new();
        let mut looked_at = 0;
        loop {
            let bytes = self.text.bytes();
            let found = end.find(bytes.get(looked_at..).unwrap_or_default());
            let length = found.map_or(bytes.len(), |found| looked_at + found);
            if length > ITEM_BYTES {
                // The usual reason in a file that is no text.
                let nul = text::decode(bytes).err().filter(Fault::is_nul);
                let too_long = InputError::TooLong { line, part };
                return Err(nul.map_or(too_long, |fault| broken(line, part, fault)));
            }
            if found.is_some() {
                return Ok(length);
            }
            looked_at = length;
            if !self.text.more()? {
                return Err(InputError::Truncated { line, part });
            }
        }
    }
}

impl Place {
    fn expected(self) -> &'static str {
        match self {
            Self::Document => "`[` or `{`, with which JSON of items begins",
            Self::FirstMember => "a member's name or `}`",
            Self::NextMember => "a member's name",
            Self::MemberEnd => "`,` or `}` behind a member",
            Self::FirstItem => "an item or `]`",
            Self::NextItem => "an item behind `,`",
            Self::ItemEnd => "`,` or `]` behind an item",
            Self::End => "the end of the file behind the items",
        }
    }
}

fn broken(line: u64, part: Part, fault: Fault) -> InputError {
    InputError::Document {
        line: line + fault.lines_before,
        part,
        problem: fault.problem,
    }
}

/// Any letter, so that of a word such as `True` is said that it is not JSON.
fn begins_value(byte: u8) -> bool {
    matches!(byte, b'{' | b'[' | b'"' | b'-') || byte.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::super::test_readers::Pieces;
    use super::*;

    /// The items and lines, and how it ended.
    fn read(bytes: &[u8]) -> (Vec<(String, u64)>, Result<(), String>) {
        let whole = read_from(bytes);
        let by_bytes = read_from(Pieces::of_one_byte(bytes));
        assert_eq!(by_bytes, whole);
        whole
    }

    fn read_from(reader: impl Read) -> (Vec<(String, u64)>, Result<(), String>) {
        let mut items = JsonItems::new(Lookahead::new(reader).unwrap());
        let mut found = Vec::new();
        loop {
            match items.next() {
                Ok(Some(item)) => found.push((item.json, item.line)),
                Ok(None) => return (found, Ok(())),
                Err(error) => return (found, Err(error.to_string())),
            }
        }
    }

    fn items(text: &str) -> Vec<(String, u64)> {
        let (items, end) = read(text.as_bytes());
        assert_eq!(end, Ok(()), "{text}");
        items
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let (_, end) = read(text.as_bytes());
        assert_eq!(end.unwrap_err(), expected, "{text}");
    }

    fn at(line: u64, json: &str) -> (String, u64) {
        (json.to_owned(), line)
    }

    #[test]
    fn items_come_as_they_are_written_with_the_line_they_begin_on() {
        let text = "\u{feff} [\r\n {\"a\" : 1.50},\n\n{\n} , \"o-1\",1e3\n]\n \n";
        let expected = [
            at(2, "{\"a\" : 1.50}"),
            at(4, "{\n}"),
            at(5, "\"o-1\""),
            at(5, "1e3"),
        ];
        assert_eq!(items(text), expected);
        assert_eq!(items("[]"), []);
    }

    #[test]
    fn the_body_of_an_object_is_taken_and_other_members_are_skipped() {
        let text = "{\"a\": {\"body\": [0]},\n\"body\": [1,\n2], \"b\": \"]}\", \"c\": null}";
        assert_eq!(items(text), [at(2, "1"), at(3, "2")]);
        assert_eq!(items(r#"{"\u0062ody":[1]}"#), [at(1, "1")]);
        assert_eq!(items(r#"{"body":[],"a":[1]}"#), []);
    }

    #[test]
    fn an_object_has_its_body_once_and_it_is_an_array() {
        refused(
            "{\"body\":[1],\n\"body\":[2]}",
            "line 2: the object has \"body\" twice, expected it once",
        );
        for text in ["{\n}", "{\"a\":1\n}", "{\"customerId\":\n\"ada\"}\n{}"] {
            let expected = "line 2: the object has no \"body\" with the items; if every line is an item, the format is \
                            jsonl";
            refused(text, expected);
        }
        refused(
            "{\"body\":\n{}}",
            "line 2: found `{`, expected `[`: \"body\" is an array of items",
        );
    }

    #[test]
    fn what_stands_around_the_items_is_json_too() {
        for (text, expected) in [
            (
                "x",
                "line 1: found `x`, expected `[` or `{`, with which JSON of items begins",
            ),
            (
                "\0",
                "line 1: found a NUL byte, expected `[` or `{`, with which JSON of items begins",
            ),
            (
                "[1 \n2]",
                "line 2: found `2`, expected `,` or `]` behind an item",
            ),
            ("[1,\n]", "line 2: found `]`, expected an item behind `,`"),
            ("[,1]", "line 1: found `,`, expected an item or `]`"),
            ("[1,\n}", "line 2: found `}`, expected an item behind `,`"),
            (
                "[1]\n]",
                "line 2: found `]`, expected the end of the file behind the items",
            ),
            (
                "[1][2]",
                "line 1: found `[`, expected the end of the file behind the items",
            ),
            (
                "{\"body\":[1]}\n,",
                "line 2: found `,`, expected the end of the file behind the items",
            ),
            (
                "{\"body\":[1],}",
                "line 1: found `}`, expected a member's name",
            ),
            (
                "{\"body\":[1]]",
                "line 1: found `]`, expected `,` or `}` behind a member",
            ),
            (
                "{1:2}",
                "line 1: found `1`, expected a member's name or `}`",
            ),
            (
                "{\"a\" 1}",
                "line 1: found `1`, expected `:` behind a member's name",
            ),
            ("{\"a\":}", "line 1: found `}`, expected the member's value"),
            (
                "{\"a\":nul}",
                "line 1: a member beside \"body\" is not valid: not JSON: it ends in the middle of a value",
            ),
            (
                "[1,\u{e9}]",
                "line 1: found byte 0xC3, expected an item behind `,`",
            ),
        ] {
            refused(text, expected);
        }
    }

    #[test]
    fn an_item_that_is_not_json_ends_the_reading_and_is_named() {
        for (text, line, reason) in [
            ("[1,\n{\"a\":\n1]]", 3, "expected `,` or `}`"),
            ("[1,\n[1,\n]]", 3, "expected value"),
            ("[1,\nTrue]", 2, "expected value"),
            ("[1,\n01]", 2, "invalid number"),
            ("[1,\n1\"a\"]", 2, "trailing characters"),
            (
                "[1,\n\"\n\"]",
                2,
                "control character (\\u0000-\\u001F) found while parsing a string",
            ),
        ] {
            let (found, end) = read(text.as_bytes());
            assert_eq!(found, [at(1, "1")]);
            let expected = format!("line {line}: item 2 is not valid: not JSON: {reason}");
            assert_eq!(end.unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_end_the_reading_with_their_line() {
        let (found, end) = read(b"[1,\n\"a\",\"\xE9\"]");
        assert_eq!(found, [at(1, "1"), at(2, "\"a\"")]);
        assert_eq!(
            end.unwrap_err(),
            "line 2: item 3 is not valid: found byte 0xE9, which is not UTF-8; save the file as UTF-8"
        );
        let (_, end) = read(b"[[\n\"\0\"]]");
        assert_eq!(
            end.unwrap_err(),
            "line 2: item 1 is not valid: found a NUL byte, expected text; is the file UTF-16, or no text at all?"
        );
    }

    #[test]
    fn a_file_that_ends_too_early_is_told_with_the_item_it_ends_in() {
        for text in [
            "[1,\n2,{\"a\":\n1",
            "[1,\n2,\"a",
            "[1,\n2,\"a\\",
            "[1,\n2,[[]",
            "[1,\n2,tr",
        ] {
            refused(
                text,
                "the file ends in the middle of item 3, which begins on line 2",
            );
        }
        let member =
            "the file ends in the middle of a member beside \"body\", which begins on line 2";
        refused("{\n\"bo", member);
        refused("{\"a\":\n{", member);
        refused(
            "[1\n",
            "line 2: found the end of the file, expected `,` or `]` behind an item",
        );
        refused(
            "[1,",
            "line 1: found the end of the file, expected an item behind `,`",
        );
        refused(
            "[",
            "line 1: found the end of the file, expected an item or `]`",
        );
        refused(
            "{\"a\"",
            "line 1: found the end of the file, expected `:` behind a member's name",
        );
        refused(" \n", "the file is empty, expected items");
        refused("", "the file is empty, expected items");
    }
}

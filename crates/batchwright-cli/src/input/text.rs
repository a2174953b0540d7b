//! Whether bytes are text, and text is JSON.

use super::error::Problem;
use super::lookahead::lines_in;
use serde_json::value::RawValue;

/// A problem, and how many line ends are before it in the bytes that were looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) problem: Problem,
    pub(super) lines_before: u64,
}

impl Fault {
    fn at(offset: usize, bytes: &[u8], problem: Problem) -> Self {
        let before = bytes.get(..offset).unwrap_or(bytes);
        let lines_before = lines_in(before);
        Self {
            problem,
            lines_before,
        }
    }

    pub(super) fn is_nul(&self) -> bool {
        self.problem == Problem::Nul
    }
}

/// The bytes as text: UTF-8 without NUL bytes, which are valid there but mean that the file is something else.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, Fault> {
    if let Some(offset) = memchr::memchr(0, bytes) {
        return Err(Fault::at(offset, bytes, Problem::Nul));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        let byte = bytes.get(offset).copied().unwrap_or_default();
        Fault::at(offset, bytes, Problem::NotUtf8 { byte })
    })
}

/// The one JSON value that the bytes are, without the space around it.
pub(super) fn json(bytes: &[u8]) -> Result<&str, Fault> {
    let text = decode(bytes)?;
    let value: &RawValue = serde_json::from_str(text).map_err(|error| {
        // At the start of a line serde's column is 0, and so is its line when it has no place.
        let lines_before = (error.line() as u64).saturating_sub(1);
        let reason = reason(&error);
        let problem = Problem::NotJson { reason };
        Fault {
            problem,
            lines_before,
        }
    })?;
    Ok(value.get())
}

/// Without the place, which counts from the beginning of the item and would be taken for one in the file, and without
/// calling the item's end the end of the file.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = text.strip_suffix(&place).unwrap_or(&text);
    match reason.strip_prefix("EOF while parsing ") {
        Some(what) => format!("it ends in the middle of {what}"),
        None => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_with_the_line_it_is_on() {
        let fault = |bytes| json(bytes).unwrap_err();
        assert_eq!(fault(b"[\n\"\xE9\"]").lines_before, 1);
        assert_eq!(
            fault(b"[\n\"\xE9\"]").problem,
            Problem::NotUtf8 { byte: 0xE9 }
        );
        assert_eq!(fault(b"[\n\n\0]").lines_before, 2);
        assert_eq!(fault(b"[\n\n\0]").problem, Problem::Nul);
        let reason = "expected value".to_owned();
        assert_eq!(fault(b"[1,\n]").problem, Problem::NotJson { reason });
        assert_eq!(fault(b"[1,\n]").lines_before, 1);
    }

    #[test]
    fn json_is_left_as_it_is_written() {
        let written = r#"{"b": 1.50, "a": 12345678901234567890123.10e+5, "b": "\u0041"}"#;
        assert_eq!(json(format!(" {written}\r\n").as_bytes()), Ok(written));
    }
}

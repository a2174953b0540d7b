//! Where a JSON value ends, without looking at whether it is one.

/// Finds the end of a JSON value in bytes that come piece by piece. Knows strings, escapes and brackets, no more: what
/// it cuts out is then to be checked. Text that is JSON it cuts where JSON ends.
pub(super) struct ValueEnd {
    inside: Inside,
    /// Brackets that are open. One kind is as good as the other: which close which is the check's to say.
    depth: usize,
}

enum Inside {
    /// Not in a string: before the value, or between the brackets of one.
    Value,
    /// A number or word that is no part of anything.
    Scalar,
    String,
    /// Behind the backslash in a string.
    Escape,
}

impl ValueEnd {
    /// Before the first byte of a value.
    pub(super) fn new() -> Self {
        Self {
            inside: Inside::Value,
            depth: 0,
        }
    }

    /// Looks at the next bytes; the number of those that still belong to the value, or `None` when it goes on behind
    /// them.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.inside {
                Inside::Value => at += self.value(rest),
                Inside::String => at += self.string(rest),
                Inside::Escape => {
                    self.inside = Inside::String;
                    at += 1;
                    continue;
                }
                Inside::Scalar => {
                    return rest
                        .iter()
                        .position(|byte| ends_scalar(*byte))
                        .map(|n| at + n);
                }
            }
            if self.depth == 0 && matches!(self.inside, Inside::Value) {
                return Some(at);
            }
        }
        None
    }

    /// Up to and with the byte that changes something.
    fn value(&mut self, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'"' => self.inside = Inside::String,
                b'{' | b'[' => {
                    self.depth += 1;
                    continue;
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth > 0 {
                        continue;
                    }
                }
                _ if self.depth == 0 => self.inside = Inside::Scalar,
                _ => continue,
            }
            return at + 1;
        }
        bytes.len()
    }

    fn string(&mut self, bytes: &[u8]) -> usize {
        let Some(at) = memchr::memchr2(b'"', b'\\', bytes) else {
            return bytes.len();
        };
        self.inside = match bytes.get(at) {
            Some(b'"') => Inside::Value,
            _ => Inside::Escape,
        };
        at + 1
    }
}

/// What stands behind a number or word in a document.
fn ends_scalar(byte: u8) -> bool {
    is_space(byte) || matches!(byte, b',' | b']' | b'}' | b':')
}

/// White space of JSON.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> Option<usize> {
        let whole = ValueEnd::new().find(text.as_bytes());
        let mut finder = ValueEnd::new();
        let by_bytes = (0..text.len()).find_map(|at| {
            let piece = text.as_bytes().get(at..=at).unwrap();
            Some(at + finder.find(piece)?)
        });
        assert_eq!(by_bytes, whole, "{text}");
        whole
    }

    #[test]
    fn a_value_ends_where_its_bracket_or_quote_closes() {
        for value in [r#""""#, "[]", "{}", r#"{"a":[{}]}"#, r#"["]"]"#, r#""[""#] {
            for behind in ["", ",", "]", " "] {
                assert_eq!(end(&format!("{value}{behind}")), Some(value.len()));
            }
        }
    }

    #[test]
    fn brackets_and_quotes_in_strings_count_for_nothing() {
        for value in [
            r#""\"""#,
            r#""\\""#,
            r#"["\"]"]"#,
            r#"{"\\":"}"}"#,
            r#"["\\\"]",1]"#,
        ] {
            assert_eq!(end(&format!("{value},")), Some(value.len()));
        }
    }

    #[test]
    fn a_scalar_ends_before_what_stands_behind_it() {
        for value in ["1", "-1.5e+10", "true", "null", "nonsense"] {
            for behind in [",", "]", "}", " ", "\n", "\r", "\t"] {
                assert_eq!(end(&format!("{value}{behind}")), Some(value.len()));
            }
            assert_eq!(end(value), None);
        }
    }

    #[test]
    fn what_is_not_closed_has_no_end() {
        for text in ["[", "{\"a\":1", "\"a", "\"a\\", "\"a\\\"", "[\"]", "[[]"] {
            assert_eq!(end(text), None, "{text}");
        }
    }
}

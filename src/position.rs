//! Places in a text.

use std::fmt;

/// A place in JSON that was submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The byte in the line, from 1.
    pub column: usize,
}

impl Position {
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    /// Where serde met an error; `None` when it does not say.
    pub(crate) fn of_error(error: &serde_json::Error) -> Option<Self> {
        // At the start of a line it says column 0.
        (error.line() > 0).then(|| Self {
            line: error.line(),
            column: error.column().max(1),
        })
    }

    /// The place behind `text`, which begins here.
    pub(crate) fn after(self, text: &[u8]) -> Self {
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        match text.iter().rposition(|byte| *byte == b'\n') {
            None => Self {
                line: self.line,
                column: self.column + text.len(),
            },
            Some(last) => Self {
                line: self.line + lines,
                column: text.len() - last,
            },
        }
    }

    /// The place that is `inner` in a text that begins here.
    pub(crate) fn within(self, inner: Self) -> Self {
        Self {
            line: self.line + inner.line - 1,
            column: if inner.line == 1 {
                self.column + inner.column - 1
            } else {
                inner.column
            },
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_lines_and_bytes() {
        let at = |line, column| Position { line, column };
        assert_eq!(Position::START.after(b""), at(1, 1));
        assert_eq!(Position::START.after(b"ab"), at(1, 3));
        assert_eq!(Position::START.after("\u{e9}".as_bytes()), at(1, 3));
        assert_eq!(Position::START.after(b"ab\n"), at(2, 1));
        assert_eq!(at(2, 5).after(b"ab\n\nc"), at(4, 2));
        assert_eq!(at(2, 5).within(at(1, 3)), at(2, 7));
        assert_eq!(at(2, 5).within(at(3, 3)), at(4, 3));
    }
}

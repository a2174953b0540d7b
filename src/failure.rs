//! How an item failed.

use crate::limits;
use crate::store::journal::FailureEntry;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// Why an item failed: what its handler returned, or what the engine says of a handler that panicked.
///
/// ```
/// use batchwright::Failure;
///
/// let failure = Failure::permanent("unknown_customer", "no customer 42").field("customerId");
/// assert!(!failure.retryable);
/// assert_eq!(failure.to_string(), "unknown_customer: no customer 42 (customerId)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// What kind of failure it is, for programs. At most [`limits::FAILURE_NAME_BYTES`] are kept.
    pub code: String,
    /// What went wrong, for people. At most [`limits::FAILURE_MESSAGE_BYTES`] are kept.
    pub message: String,
    /// The field of the item that was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Anything more, for programs. Dropped, with a note in its place, when larger than
    /// [`limits::FAILURE_DETAILS_BYTES`] or nested more deeply than can be read back (127 levels).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
    /// Whether another attempt may succeed; the operation's [`RetryPolicy`](crate::RetryPolicy) says
    /// whether there is one.
    pub retryable: bool,
}

impl Failure {
    /// The code of an item whose handler panicked; the message is the panic's text.
    pub const PANICKED: &'static str = "panicked";
    /// The code of an item that can be written as JSON but not read back, though nothing changed since it
    /// was submitted: a float that is not a number, for example, or very deep nesting. Also of one that can
    /// be read no more and was given up with [`fail_undecodable`](crate::Batch::fail_undecodable).
    pub const UNREADABLE_ITEM: &'static str = "unreadable_item";
    /// The code of an item whose output is larger than [`limits::PAYLOAD_BYTES`] or is not JSON.
    pub const INVALID_OUTPUT: &'static str = "invalid_output";
    /// The code of a handler that gave up because it was asked to: see [`cancelled`](Self::cancelled).
    pub const CANCELLED: &'static str = "cancelled";
    /// The code of a [`TableError`](crate::TableError) that a handler returned with `?`; the message is its
    /// text.
    pub const TABLE_ERROR: &'static str = "table_error";
    /// The code of an item whose handler did not return within the operation's
    /// [time-out](crate::Operation::timeout).
    pub const TIMED_OUT: &'static str = "timed_out";
    /// The code of an item that ended the process each time it ran alone: see
    /// [`Operation::crash_limit`](crate::Operation::crash_limit).
    pub const CRASHED: &'static str = "crashed";
    /// Not a failure's code, but where [`Report::failures`](crate::Report::failures) counts items that are
    /// [in doubt](crate::Outcome::InDoubt).
    pub const IN_DOUBT: &'static str = "in_doubt";
    /// Not a failure's code, but where [`Report::failures`](crate::Report::failures) counts the failures of a
    /// batch that has more than [`limits::FAILURE_CODES`] different codes: those whose codes are not
    /// among the alphabetically first.
    pub const OTHER_CODES: &'static str = "other_codes";

    /// A failure that another attempt would not mend.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            field: None,
            details: None,
            retryable: false,
        }
    }

    /// A failure that another attempt may mend, such as a network error.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            retryable: true,
            ..Self::permanent(code, message)
        }
    }

    /// What a handler returns that gives up because [`is_cancelled`](crate::Context::is_cancelled) says so.
    /// The item then has no outcome, and the attempt is not counted: it runs again when the batch is resumed
    /// or the queue is opened again. From a handler that was not asked to end it is a retryable failure.
    pub fn cancelled() -> Self {
        Self::retryable(Self::CANCELLED, "the handler gave up, as it was asked to")
    }

    /// Names the field of the item that was wrong.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Adds anything more that programs may want to know.
    #[must_use]
    pub fn details(mut self, details: impl Into<serde_json::Value>) -> Self {
        self.details = Some(details.into());
        self
    }
}

impl Failure {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.retryable && self.code == Self::CANCELLED
    }

    /// As it is stored. `details` are its own, as [`stored_details`] has them.
    pub(crate) fn to_entry<'a>(&'a self, details: Option<&'a str>) -> FailureEntry<'a> {
        let name = |text: &'a str| cut(text, limits::FAILURE_NAME_BYTES);
        FailureEntry {
            code: name(&self.code),
            message: cut(&self.message, limits::FAILURE_MESSAGE_BYTES),
            field: self.field.as_deref().map(name),
            details: details.map(Cow::Borrowed),
            retryable: self.retryable,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        match &self.field {
            Some(field) => write!(f, " ({field})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// `text`, cut at a character boundary and marked, if it is longer than `limit` bytes.
pub(crate) fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    const MARK: &str = "…[cut]";
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let mut end = limit.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}{MARK}", &text[..end]))
}

/// The details as stored: JSON, or a note in their place when they are too large or could not be read back.
pub(crate) fn stored_details(details: &serde_json::Value) -> String {
    let json = details.to_string();
    let bytes = json.len();
    if bytes > limits::FAILURE_DETAILS_BYTES {
        return format!(r#"{{"dropped":"the details were {bytes} bytes of JSON"}}"#);
    }
    if serde_json::from_str::<serde_json::Value>(&json).is_err() {
        return r#"{"dropped":"the details were nested too deeply"}"#.to_owned();
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_at_a_character_and_marked() {
        assert_eq!(cut("short", 10), "short");
        let text = "é".repeat(20);
        let kept = cut(&text, 20);
        assert!(kept.len() <= 20 && kept.ends_with("…[cut]"), "{kept}");
    }

    #[test]
    fn large_details_are_dropped_and_said_so() {
        let large = serde_json::Value::from("x".repeat(limits::FAILURE_DETAILS_BYTES));
        assert!(stored_details(&large).contains("dropped"));
        assert_eq!(stored_details(&serde_json::json!({"a": 1})), r#"{"a":1}"#);
    }

    #[test]
    fn details_too_deep_to_be_read_back_are_dropped_and_said_so() {
        let nested = |levels| (0..levels).fold(1.into(), |inner, _| serde_json::json!([inner]));
        let stored = stored_details(&nested(127));
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&stored).ok(),
            Some(nested(127))
        );
        assert!(stored_details(&nested(128)).contains("dropped"));
    }
}

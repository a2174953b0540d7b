//! JSON that is kept as it came.

use super::codes;
use crate::Failure;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::fmt;

/// JSON that is kept to the letter, numbers included: what the contract keeps without looking into it.
///
/// ```
/// use batchwright::loyalty::Document;
///
/// let kept: Document = serde_json::from_str(r#"{"price": 123456789012345.67}"#)?;
/// assert_eq!(serde_json::to_string(&kept)?, r#"{"price": 123456789012345.67}"#);
/// let made = Document::from(serde_json::json!({"size": "XL"}));
/// assert_eq!(made.as_str(), r#"{"size":"XL"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Document(Box<RawValue>);

impl Document {
    /// The JSON.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// What serde makes of a value that was read from JSON.
    pub(super) fn of(value: &impl Serialize) -> Result<Self, Failure> {
        serde_json::value::to_raw_value(value)
            .map(Self)
            .map_err(|error| Failure::permanent(Failure::UNREADABLE_ITEM, error.to_string()))
    }

    pub(super) fn is_null(&self) -> bool {
        self.as_str() == "null"
    }

    /// Refuses what is larger than `limit` bytes.
    pub(super) fn check(&self, field: &str, limit: usize) -> Result<(), Failure> {
        let bytes = self.as_str().len();
        if bytes > limit {
            let found = format_args!("{bytes} bytes of JSON");
            return Err(codes::too_much(field, found, limit));
        }
        Ok(())
    }
}

impl From<Value> for Document {
    fn from(value: Value) -> Self {
        // A value always is JSON; there is nothing else that it could fail for.
        let text = RawValue::from_string(value.to_string());
        Self(text.unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Document {}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

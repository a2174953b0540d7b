//! As much of the store as the files name. See the crate's documentation for what it leaves out.

use std::ops::Deref;

#[path = "../../../src/store/keys.rs"]
pub(crate) mod keys;
#[path = "../../../src/store/rows.rs"]
pub(crate) mod rows;

pub(crate) mod vault {
    #[derive(Debug, Clone)]
    pub(crate) enum Before {
        Absent,
        Is(super::Value),
        Unknown,
    }
}

pub(crate) mod codec {
    use super::{StoreError, Value};

    pub(crate) struct Unsealed(Vec<u8>);

    impl Unsealed {
        pub(crate) fn with_capacity(bytes: usize) -> Self {
            Self(Vec::with_capacity(bytes))
        }

        pub(crate) fn append_encoded(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }

        pub(crate) fn seal(self, _key: &[u8]) -> Value {
            Value(self.0)
        }
    }

    pub(crate) fn open<'a>(_key: &[u8], value: &'a [u8]) -> Result<&'a [u8], StoreError> {
        Ok(value)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value(pub(crate) Vec<u8>);

impl Deref for Value {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[derive(Debug, Clone)]
pub(crate) struct StoreError(pub(crate) String);

pub(crate) type Scan<'a> =
    Box<dyn DoubleEndedIterator<Item = Result<(Value, Value), StoreError>> + 'a>;

pub(crate) trait Store: Send + Sync + 'static {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError>;
    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_>;
}

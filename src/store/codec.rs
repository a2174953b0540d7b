//! How a record becomes bytes: version, checksum, bincode. The only module that knows the encoding.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | record version |
//! | 1..9 | XXH3-64 of bytes 9.., seeded with the XXH3-64 of the key and the version: a record under another key, or of another version, does not pass |
//! | 9.. | bincode (standard configuration: little endian, variable-length integers) |

use super::{StoreError, Value};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

/// The version of every record that this library writes.
pub(crate) const VERSION: u8 = 1;

const FRAME_BYTES: usize = 9;

/// Nothing decodes to more than this: a corrupt length must not become an allocation.
const DECODE_LIMIT: usize = 1 << 20;

type Config = bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<DECODE_LIMIT>,
>;

const CONFIG: Config = bincode::config::standard().with_limit::<DECODE_LIMIT>();

/// A record whose key is not known yet: everything but the checksum.
#[derive(Debug)]
pub(crate) struct Unsealed(Vec<u8>);

impl Unsealed {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let mut frame = Vec::with_capacity(FRAME_BYTES + bytes);
        frame.extend([0; FRAME_BYTES]);
        Self(frame)
    }

    pub(crate) fn append<T: Serialize>(&mut self, part: &T) -> Result<(), StoreError> {
        append(&mut self.0, part)
    }

    /// Adds a text: the part that `&str` decodes.
    pub(crate) fn append_text(&mut self, text: &str) {
        // Writing text into memory does not fail.
        let _ = append(&mut self.0, &text);
    }

    /// Adds parts that were encoded before.
    pub(crate) fn append_encoded(&mut self, parts: &[u8]) {
        self.0.extend_from_slice(parts);
    }

    pub(crate) fn encoded(&self) -> &[u8] {
        &self.0[FRAME_BYTES..]
    }

    /// The finished value for `key`.
    pub(crate) fn seal(mut self, key: &[u8]) -> Value {
        let sum = checksum(key, VERSION, &self.0[FRAME_BYTES..]);
        self.0[0] = VERSION;
        self.0[1..FRAME_BYTES].copy_from_slice(&sum.to_le_bytes());
        Value::from(self.0)
    }
}

/// Appends the bare encoding of `part` to `bytes`.
pub(crate) fn append<T: Serialize>(bytes: &mut Vec<u8>, part: &T) -> Result<(), StoreError> {
    bincode::serde::encode_into_std_write(part, bytes, CONFIG)
        .map(|_| ())
        .map_err(|error| StoreError(format!("a record cannot be encoded: {error}")))
}

/// The value of a record that is one part.
pub(crate) fn encode<T: Serialize>(key: &[u8], record: &T) -> Result<Value, StoreError> {
    let mut unsealed = Unsealed::with_capacity(64);
    unsealed.append(record)?;
    Ok(unsealed.seal(key))
}

/// Checks the frame of a value and returns its content.
pub(crate) fn open<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let damaged = |what: String| StoreError(format!("record {}: {what}", super::keys::name(key)));
    let (frame, content) = value
        .split_at_checked(FRAME_BYTES)
        .ok_or_else(|| damaged(format!("{} bytes are too few", value.len())))?;
    let version = frame[0];
    if version != VERSION {
        return Err(damaged(format!("version {version} is not {VERSION}")));
    }
    let mut sum = [0; 8];
    sum.copy_from_slice(&frame[1..]);
    if u64::from_le_bytes(sum) != checksum(key, version, content) {
        return Err(damaged("the checksum does not match".to_owned()));
    }
    Ok(content)
}

/// The content of a value whose frame was checked before.
pub(crate) fn content(value: &[u8]) -> &[u8] {
    value.get(FRAME_BYTES..).unwrap_or_default()
}

/// Decodes a record that is one part.
pub(crate) fn decode<'a, T: Deserialize<'a>>(key: &[u8], value: &'a [u8]) -> Result<T, StoreError> {
    let content = open(key, value)?;
    let (record, used) = decode_part(content)
        .map_err(|StoreError(what)| StoreError(format!("{}: {what}", super::keys::name(key))))?;
    if used == content.len() {
        Ok(record)
    } else {
        let excess = content.len() - used;
        Err(StoreError(format!(
            "record {}: {excess} bytes too many",
            super::keys::name(key)
        )))
    }
}

/// Decodes the part at the start of `bytes`; also returns its length.
pub(crate) fn decode_part<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
) -> Result<(T, usize), StoreError> {
    bincode::serde::borrow_decode_from_slice(bytes, CONFIG)
        .map_err(|error| StoreError(format!("cannot be decoded: {error}")))
}

/// What the meta record sums up over all rows, in any order.
pub(crate) fn row_hash(key: &[u8], value: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(key), value)
}

fn checksum(key: &[u8], version: u8, content: &[u8]) -> u64 {
    let seed = XxHash3_64::oneshot_with_seed(u64::from(version), key);
    XxHash3_64::oneshot_with_seed(seed, content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_under_another_key_does_not_decode() -> Result<(), StoreError> {
        let value = encode(b"one", &(1u32, "text"))?;
        assert_eq!(decode::<(u32, &str)>(b"one", &value)?, (1, "text"));
        assert!(decode::<(u32, &str)>(b"two", &value).is_err());
        Ok(())
    }

    #[test]
    fn a_record_with_more_or_less_than_its_parts_does_not_decode() -> Result<(), StoreError> {
        let (short, whole) = (encode(b"xyz", &1u32)?, encode(b"xyz", &(1u32, 2u32))?);
        let why = |error: StoreError| error.0;
        let long = decode::<u32>(b"xyz", &whole).map_err(why);
        assert_eq!(
            long,
            Err("record of unknown kind (3 bytes): 1 bytes too many".to_owned())
        );
        assert!(decode::<(u32, u32)>(b"xyz", &short).is_err());
        let cut = open(b"xyz", &short[..FRAME_BYTES - 1]).map_err(why);
        assert_eq!(
            cut,
            Err("record of unknown kind (3 bytes): 8 bytes are too few".to_owned())
        );
        let mut newer = short.to_vec();
        newer[0] = VERSION + 1;
        let newer = open(b"xyz", &newer).map_err(why);
        assert_eq!(
            newer,
            Err(format!(
                "record of unknown kind (3 bytes): version {} is not {VERSION}",
                VERSION + 1
            ))
        );
        Ok(())
    }

    #[test]
    fn a_corrupt_length_is_an_error_and_no_allocation() {
        let huge = [0xFD, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
        assert!(decode_part::<Vec<u64>>(&huge).is_err());
        assert!(decode_part::<&str>(&huge).is_err());
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_found(text in ".{0,200}", at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let value = encode(b"key", &text).map_err(|e| TestCaseError::fail(e.0))?;
            let mut bytes = value.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode::<String>(b"key", &bytes).is_err());
        }
    }
}

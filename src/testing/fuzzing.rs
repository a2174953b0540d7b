//! The fuzz target's way in.

/// Decodes `bytes` as every kind of stored record, as a fuzz target: whatever they are, this neither
/// panics nor allocates much more than they take.
#[doc(hidden)]
pub fn decode_any_record(bytes: &[u8]) {
    crate::store::decode_any(bytes);
}

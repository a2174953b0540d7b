//! Stored bytes can be anything after damage on disk. Decoding them as any kind of record must end in a value or a
//! typed error: never in a panic, and never in an allocation that a length inside the bytes asked for (the runner's
//! memory limits find that one).

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    batchwright::testing::decode_any_record(bytes);
});

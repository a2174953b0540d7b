//! Files can be anything. The program's readers end, with items or with errors that name a line; without a panic, and
//! without more memory than the longest item asks for (the runner's limits find that one).

#![no_main]

use batchwright::loyalty::{CashbackItem, CustomerItem, Field, Fields};
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unused_imports)]
#[path = "../../crates/batchwright-cli/src/input/mod.rs"]
mod input;

fuzz_target!(|bytes: &[u8]| {
    let Some((how, content)) = bytes.split_first() else {
        return;
    };
    let format = match how % 4 {
        0 => Some(input::Format::Json),
        1 => Some(input::Format::JsonLines),
        2 => Some(input::Format::Csv),
        _ => None,
    };
    let fields: &'static [Field] = match how / 4 % 3 {
        0 => CashbackItem::FIELDS,
        1 => CustomerItem::FIELDS,
        _ => &[],
    };
    input::drain(content, format, fields);
});

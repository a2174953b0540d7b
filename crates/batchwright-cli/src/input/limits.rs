//! The limits of reading, with their reasons.

/// The longest item, in bytes of the file.
///
/// The engine takes 60 KiB of JSON ([`batchwright::limits::PAYLOAD_BYTES`]). The rest is room for what is not the item
/// itself: spaces, line ends, the quotes of CSV. Whatever is longer is no item, and is not read to its end to find out.
pub(crate) const ITEM_BYTES: usize = 1 << 20;

/// What is read from the file at once: enough for few system calls, little beside an item.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// The most of a file's text that a message repeats, in characters.
pub(super) const SHOWN_CHARS: usize = 60;

/// The longest column name for which a similar field is looked for, in bytes: comparing takes the product of both
/// lengths, and no field is half as long.
pub(super) const COMPARED_BYTES: usize = 128;

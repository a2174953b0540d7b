//! A batch's journal: entries in segments, one segment per commit group (or more, where the value limit
//! cuts it). A segment is the encodings of its entries, one behind the other.
//!
//! Workers encode the entries of their items; the writer copies them. Only an entry whose fate the
//! kernel decides otherwise, a retry, is encoded again.

use super::codec::{self, Unsealed};
use super::{StoreError, Value, keys};
use crate::failure::Failure;
use crate::kernel::{BatchId, Event, Fate, ItemEvent, Loss, Timestamp};
use crate::limits;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Entry<'a> {
    /// The time of the item entries that follow in this segment.
    Clock {
        at: Timestamp,
    },
    #[serde(borrow)]
    Item(ItemEntry<'a>),
    Started {
        at: Timestamp,
    },
    StopRequested {
        at: Timestamp,
    },
    Completed {
        at: Timestamp,
    },
    Stopped {
        at: Timestamp,
    },
    Resumed {
        at: Timestamp,
    },
    FailUndecodableRequested {
        at: Timestamp,
    },
    ItemsStarted {
        at: Timestamp,
        indexes: Vec<u16>,
    },
    ItemsReturned {
        at: Timestamp,
        indexes: Vec<u16>,
    },
    Suspected {
        at: Timestamp,
        indexes: Vec<u16>,
    },
    Charged {
        at: Timestamp,
        index: u16,
        crashes: u32,
    },
    /// What became of an item that was in doubt.
    #[serde(borrow)]
    Resolved(ItemEntry<'a>),
}

/// The end of one attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ItemEntry<'a> {
    pub(crate) index: u16,
    pub(crate) attempt: u32,
    #[serde(borrow)]
    pub(crate) end: End<'a>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum End<'a> {
    /// The output, as JSON.
    Succeeded(&'a str),
    #[serde(borrow)]
    Failed(FailureEntry<'a>),
    Retry {
        due: Timestamp,
        #[serde(borrow)]
        failure: FailureEntry<'a>,
    },
    /// Whether the item ran is not known, and why.
    InDoubt(#[serde(borrow)] Cow<'a, str>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FailureEntry<'a> {
    #[serde(borrow)]
    pub(crate) code: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) message: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) field: Option<Cow<'a, str>>,
    /// JSON.
    #[serde(borrow)]
    pub(crate) details: Option<Cow<'a, str>>,
    pub(crate) retryable: bool,
}

/// The encoded item entries of one slice, in its order. A failure is encoded as final.
#[derive(Debug, Default)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    /// Where each entry ends.
    ends: Vec<usize>,
    /// The codes of the failures among them, each with its entry's place: so that nobody must decode them.
    codes: Vec<(usize, Box<str>)>,
}

impl Block {
    pub(crate) fn push(&mut self, item: ItemEntry<'_>) -> Result<(), StoreError> {
        self.push_entry(&Entry::Item(item))
    }

    /// What became of an item that was in doubt.
    pub(crate) fn resolution(item: ItemEntry<'_>) -> Result<Self, StoreError> {
        let mut block = Self::default();
        block.push_entry(&Entry::Resolved(item))?;
        Ok(block)
    }

    /// The entries of attempts that came to nothing a handler could tell of.
    pub(crate) fn of_lost(items: &[ItemEvent], loss: Loss) -> Result<Self, StoreError> {
        let mut block = Self::default();
        for ItemEvent {
            index,
            attempt,
            fate,
        } in items
        {
            let end = match fate {
                Fate::InDoubt => End::InDoubt(loss.to_string().into()),
                _ => End::Failed(FailureEntry {
                    code: loss.code().into(),
                    message: loss.to_string().into(),
                    field: None,
                    details: None,
                    retryable: matches!(fate, Fate::Retry { .. }),
                }),
            };
            block.push(ItemEntry {
                index: *index,
                attempt: *attempt,
                end,
            })?;
        }
        Ok(block)
    }

    fn push_entry(&mut self, entry: &Entry<'_>) -> Result<(), StoreError> {
        if let Entry::Item(item) | Entry::Resolved(item) = entry
            && let End::Failed(failure) = &item.end
        {
            self.codes.push((self.ends.len(), (&*failure.code).into()));
        }
        codec::append(&mut self.bytes, entry)?;
        self.ends.push(self.bytes.len());
        Ok(())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The failures among the entries: each one's place and code, in order.
    pub(crate) fn codes(&self) -> impl Iterator<Item = (usize, &str)> {
        self.codes.iter().map(|(n, code)| (*n, &**code))
    }

    fn entry(&self, n: usize) -> &[u8] {
        let start = n.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[n]]
    }
}

/// Gathers what a commit group appends to one batch's journal.
#[derive(Debug)]
pub(crate) struct SegmentBuilder {
    closed: Vec<Unsealed>,
    open: Unsealed,
    clock: Option<Timestamp>,
}

impl SegmentBuilder {
    pub(crate) fn new() -> Self {
        Self {
            closed: Vec::new(),
            open: Unsealed::with_capacity(1 << 10),
            clock: None,
        }
    }

    /// Bytes gathered.
    pub(crate) fn bytes(&self) -> usize {
        self.closed.len() * limits::PACKED_BYTES + self.open.encoded().len()
    }

    /// Appends an event. `block` has the entries of an event that ends items, in the same order.
    pub(crate) fn event(&mut self, event: &Event, block: &Block) -> Result<(), StoreError> {
        match event {
            Event::Started { at } => self.entry(&Entry::Started { at: *at }),
            Event::StopRequested { at } => self.entry(&Entry::StopRequested { at: *at }),
            Event::Completed { at } => self.entry(&Entry::Completed { at: *at }),
            Event::Stopped { at } => self.entry(&Entry::Stopped { at: *at }),
            Event::Resumed { at } => self.entry(&Entry::Resumed { at: *at }),
            Event::FailUndecodableRequested { at } => {
                self.entry(&Entry::FailUndecodableRequested { at: *at })
            }
            Event::ItemsStarted { at, indexes } => self.note(&Entry::ItemsStarted {
                at: *at,
                indexes: indexes.clone(),
            }),
            Event::ItemsReturned { at, indexes } => self.note(&Entry::ItemsReturned {
                at: *at,
                indexes: indexes.clone(),
            }),
            Event::Suspected { at, indexes } => self.note(&Entry::Suspected {
                at: *at,
                indexes: indexes.clone(),
            }),
            Event::Charged { at, index, crashes } => self.entry(&Entry::Charged {
                at: *at,
                index: *index,
                crashes: *crashes,
            }),
            Event::Resolved { at, .. } => self.item(*at, block.entry(0)),
            Event::ItemsEnded { at, items } | Event::ItemsLost { at, items, .. } => {
                for (n, item) in items.iter().enumerate() {
                    match item.fate {
                        Fate::Succeeded | Fate::Failed | Fate::InDoubt => {
                            self.item(*at, block.entry(n))?;
                        }
                        Fate::Retry { due } => {
                            let retry = retried(block.entry(n), due)?;
                            self.item(*at, &retry)?;
                        }
                    }
                }
                Ok(())
            }
        }
    }

    /// Appends an encoded item entry.
    pub(crate) fn item(&mut self, at: Timestamp, encoded: &[u8]) -> Result<(), StoreError> {
        self.make_room(encoded.len());
        if self.clock != Some(at) {
            self.open.append(&Entry::Clock { at })?;
            self.clock = Some(at);
        }
        self.open.append_encoded(encoded);
        Ok(())
    }

    pub(crate) fn entry(&mut self, entry: &Entry<'_>) -> Result<(), StoreError> {
        self.make_room(0);
        self.open.append(entry)
    }

    /// Appends an entry that may be long.
    fn note(&mut self, entry: &Entry<'_>) -> Result<(), StoreError> {
        let mut encoded = Vec::new();
        codec::append(&mut encoded, entry)?;
        self.raw(&encoded);
        Ok(())
    }

    /// The finished segments.
    pub(crate) fn finish(mut self) -> Vec<Unsealed> {
        if !self.open.encoded().is_empty() {
            self.closed.push(self.open);
        }
        self.closed
    }

    fn make_room(&mut self, bytes: usize) {
        const FIXED_ENTRY_BYTES: usize = 32;
        let length = self.open.encoded().len();
        if length > 0 && length + bytes + FIXED_ENTRY_BYTES > limits::PACKED_BYTES {
            let full = std::mem::replace(&mut self.open, Unsealed::with_capacity(1 << 10));
            self.closed.push(full);
            self.clock = None;
        }
    }
}

/// The entry of a failed attempt that is followed by another.
fn retried(encoded: &[u8], due: Timestamp) -> Result<Vec<u8>, StoreError> {
    let (entry, _) = codec::decode_part::<Entry<'_>>(encoded)?;
    let mut bytes = Vec::with_capacity(encoded.len() + 16);
    match entry {
        Entry::Item(ItemEntry {
            index,
            attempt,
            end: End::Failed(failure),
        }) => {
            let end = End::Retry { due, failure };
            let item = ItemEntry {
                index,
                attempt,
                end,
            };
            codec::append(&mut bytes, &Entry::Item(item))?;
            Ok(bytes)
        }
        _ => Err(StoreError(
            "a retry of an item that did not fail".to_owned(),
        )),
    }
}

/// The entries of one stored segment.
pub(crate) struct Segment<'a> {
    rest: &'a [u8],
    batch: BatchId,
}

impl<'a> Segment<'a> {
    /// Checks the segment's frame.
    pub(crate) fn open(batch: BatchId, key: &[u8], value: &'a Value) -> Result<Self, StoreError> {
        let rest = codec::open(key, value)?;
        Ok(Self { rest, batch })
    }

    /// The bytes not read yet, of the content's `length`.
    pub(crate) fn remaining(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Segment<'a> {
    type Item = Result<Entry<'a>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match codec::decode_part(self.rest) {
            Ok((entry, used)) => {
                self.rest = &self.rest[used..];
                Some(Ok(entry))
            }
            Err(StoreError(what)) => {
                self.rest = &[];
                Some(Err(StoreError(format!(
                    "journal of batch {}: {what}",
                    self.batch
                ))))
            }
        }
    }
}

impl Entry<'_> {
    /// The kernel's event for this entry; none for a clock.
    pub(crate) fn to_event(&self, clock: Timestamp) -> Option<Event> {
        Some(match self {
            Self::Clock { .. } => return None,
            Self::Item(item) => Event::ItemsEnded {
                at: clock,
                items: vec![item.to_event()],
            },
            Self::Started { at } => Event::Started { at: *at },
            Self::StopRequested { at } => Event::StopRequested { at: *at },
            Self::Completed { at } => Event::Completed { at: *at },
            Self::Stopped { at } => Event::Stopped { at: *at },
            Self::Resumed { at } => Event::Resumed { at: *at },
            Self::FailUndecodableRequested { at } => Event::FailUndecodableRequested { at: *at },
            Self::ItemsStarted { at, indexes } => Event::ItemsStarted {
                at: *at,
                indexes: indexes.clone(),
            },
            Self::ItemsReturned { at, indexes } => Event::ItemsReturned {
                at: *at,
                indexes: indexes.clone(),
            },
            Self::Suspected { at, indexes } => Event::Suspected {
                at: *at,
                indexes: indexes.clone(),
            },
            Self::Charged { at, index, crashes } => Event::Charged {
                at: *at,
                index: *index,
                crashes: *crashes,
            },
            Self::Resolved(item) => Event::Resolved {
                at: clock,
                item: item.to_event(),
            },
        })
    }
}

impl ItemEntry<'_> {
    fn to_event(&self) -> ItemEvent {
        ItemEvent {
            index: self.index,
            attempt: self.attempt,
            fate: match &self.end {
                End::Succeeded(_) => Fate::Succeeded,
                End::Failed(_) => Fate::Failed,
                End::Retry { due, .. } => Fate::Retry { due: *due },
                End::InDoubt(_) => Fate::InDoubt,
            },
        }
    }
}

impl Loss {
    fn code(self) -> &'static str {
        match self {
            Self::Crash { .. } => Failure::CRASHED,
            Self::Timeout { .. } => Failure::TIMED_OUT,
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash { alone: 0 } => {
                f.write_str("the process ended when the item had started, or was about to")
            }
            Self::Crash { alone: times } => write!(
                f,
                "the process ended while the item ran, {times} times while it was the only suspect that did"
            ),
            Self::Timeout { after_ms } => {
                write!(f, "the handler did not return within {after_ms} ms")
            }
        }
    }
}

impl SegmentBuilder {
    pub(crate) fn raw(&mut self, encoded: &[u8]) {
        self.make_room(encoded.len());
        self.open.append_encoded(encoded);
    }
}

/// The keys and values of `segments`, numbered from `first`.
pub(crate) fn number(
    batch: BatchId,
    first: u32,
    segments: Vec<Unsealed>,
) -> impl Iterator<Item = (Vec<u8>, Value)> {
    (first..).zip(segments).map(move |(number, segment)| {
        let key = keys::segment(batch, number);
        let value = segment.seal(&key);
        (key, value)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::store) const BATCH: BatchId = BatchId(3);

    pub(in crate::store) fn failed(index: u16, attempt: u32, message: &str) -> ItemEntry<'_> {
        ItemEntry {
            index,
            attempt,
            end: End::Failed(FailureEntry {
                code: "code".into(),
                message: message.into(),
                field: None,
                details: Some("{}".into()),
                retryable: true,
            }),
        }
    }

    pub(in crate::store) fn events_of(segments: &[(Vec<u8>, Value)]) -> Vec<Event> {
        let mut events = Vec::new();
        for (key, value) in segments {
            let mut clock = Timestamp::default();
            for entry in Segment::open(BATCH, key, value).unwrap() {
                let entry = entry.unwrap();
                if let Entry::Clock { at } = entry {
                    clock = at;
                }
                events.extend(entry.to_event(clock));
            }
        }
        events
    }

    #[test]
    fn a_retry_keeps_the_failure_and_gets_its_time() {
        let mut block = Block::default();
        block.push(failed(4, 2, "try again")).unwrap();
        let event = Event::ItemsEnded {
            at: Timestamp(10),
            items: vec![ItemEvent {
                index: 4,
                attempt: 2,
                fate: Fate::Retry { due: Timestamp(99) },
            }],
        };
        let mut builder = SegmentBuilder::new();
        builder.event(&event, &block).unwrap();
        let rows: Vec<_> = number(BATCH, 0, builder.finish()).collect();
        assert_eq!(events_of(&rows), [event]);
        let (key, value) = &rows[0];
        let mut retry = Segment::open(BATCH, key, value).unwrap();
        let retry = retry.find_map(|entry| match entry.unwrap() {
            Entry::Item(item) => Some(item.end),
            _ => None,
        });
        let End::Failed(failure) = failed(4, 2, "try again").end else {
            unreachable!("it was made failed")
        };
        let due = Timestamp(99);
        assert_eq!(retry, Some(End::Retry { due, failure }));
    }

    #[test]
    fn segments_are_filled_before_another_is_begun() {
        for length in [1, 500, 9_000, 33_000, limits::PAYLOAD_BYTES - 2] {
            let output = format!("{:?}", "x".repeat(length));
            let mut builder = SegmentBuilder::new();
            let mut entry_bytes = 0;
            for index in 0..300 {
                let mut block = Block::default();
                let end = End::Succeeded(&output);
                let item = ItemEntry {
                    index,
                    attempt: 1,
                    end,
                };
                block.push(item).unwrap();
                entry_bytes = block.bytes();
                assert!(
                    (length..length + 32).contains(&entry_bytes),
                    "{entry_bytes}"
                );
                builder.item(Timestamp(5), block.entry(0)).unwrap();
            }
            let gathered = builder.bytes();
            let segments: Vec<usize> = builder
                .finish()
                .iter()
                .map(|segment| segment.encoded().len())
                .collect();
            let (last, full) = segments.split_last().unwrap();
            assert!((1..=limits::PACKED_BYTES).contains(last));
            for bytes in full {
                // But for the time of what is in it, and the fixed part of an entry.
                let room = limits::PACKED_BYTES - bytes;
                assert!(
                    room < entry_bytes + 64,
                    "{room} bytes are free for {entry_bytes}"
                );
            }
            assert_eq!(gathered, full.len() * limits::PACKED_BYTES + last);
        }
    }

    #[test]
    fn a_block_knows_which_of_its_entries_failed_and_how() {
        let mut block = Block::default();
        let end = End::Succeeded("1");
        let success = ItemEntry {
            index: 0,
            attempt: 1,
            end,
        };
        block.push(failed(4, 1, "no")).unwrap();
        block.push(success).unwrap();
        block.push(failed(5, 1, "no")).unwrap();
        assert_eq!(
            block.codes().collect::<Vec<_>>(),
            [(0, "code"), (2, "code")]
        );
        let lost = |loss| {
            let item = |index, fate| ItemEvent {
                index,
                attempt: 1,
                fate,
            };
            let retry = Fate::Retry { due: Timestamp(9) };
            let items = [
                item(0, Fate::InDoubt),
                item(1, Fate::Failed),
                item(2, retry),
            ];
            let block = Block::of_lost(&items, loss).unwrap();
            let codes: Vec<_> = block
                .codes()
                .map(|(n, code)| (n, code.to_owned()))
                .collect();
            let (entry, _) = codec::decode_part::<Entry<'_>>(block.entry(0)).unwrap();
            let Entry::Item(ItemEntry {
                end: End::InDoubt(why),
                ..
            }) = entry
            else {
                panic!("not in doubt: {entry:?}")
            };
            (codes, why.into_owned())
        };
        let both = |code: &str| vec![(1, code.to_owned()), (2, code.to_owned())];
        let why = "the handler did not return within 30 ms".to_owned();
        let timeout = Loss::Timeout { after_ms: 30 };
        assert_eq!(lost(timeout), (both(Failure::TIMED_OUT), why));
        let why = "the process ended when the item had started, or was about to".to_owned();
        assert_eq!(
            lost(Loss::Crash { alone: 0 }),
            (both(Failure::CRASHED), why)
        );
    }

    #[test]
    fn a_segment_is_read_up_to_where_it_makes_no_sense_and_no_further() {
        let mut bytes = Unsealed::with_capacity(64);
        bytes.append(&Entry::Started { at: Timestamp(7) }).unwrap();
        bytes.append_encoded(&[0xff; 9]);
        let key = keys::segment(BATCH, 0);
        let value = bytes.seal(&key);
        let mut segment = Segment::open(BATCH, &key, &value).unwrap();
        let started = Entry::Started { at: Timestamp(7) };
        assert_eq!(segment.next().unwrap().unwrap(), started);
        let error = segment.next().unwrap().unwrap_err();
        assert!(error.0.starts_with("journal of batch 3: "), "{error:?}");
        assert!(segment.next().is_none());
        assert!(segment.remaining().is_empty());
    }

    #[test]
    fn only_an_item_that_failed_is_retried() {
        let mut block = Block::default();
        let end = End::Succeeded("1");
        let item = ItemEntry {
            index: 0,
            attempt: 1,
            end,
        };
        block.push(item).unwrap();
        assert!(retried(block.entry(0), Timestamp(9)).is_err());
    }

    #[test]
    fn segments_stay_below_the_value_limit_with_the_largest_outputs() {
        let output = format!("{:?}", "x".repeat(limits::PAYLOAD_BYTES - 2));
        let mut builder = SegmentBuilder::new();
        for index in 0..4 {
            let mut block = Block::default();
            let end = End::Succeeded(&output);
            let attempt = u32::MAX;
            block
                .push(ItemEntry {
                    index,
                    attempt,
                    end,
                })
                .unwrap();
            builder.item(Timestamp(u64::MAX), block.entry(0)).unwrap();
            builder
                .entry(&Entry::StopRequested {
                    at: Timestamp(u64::MAX),
                })
                .unwrap();
        }
        for (_, value) in number(BATCH, 0, builder.finish()) {
            assert!(value.len() <= limits::VALUE_BYTES, "{}", value.len());
        }
    }
}

//! From an application's items to a submission: validated, encoded, packed, hashed. Runs on the
//! submitter's thread; the writer only seals and stores.

use crate::canonical::canonical;
use crate::clock::millis_up;
use crate::error::{InvalidItem, SubmitError};
use crate::failure::Failure;
use crate::item::Misfit;
use crate::json_items::{JsonItem, JsonItems};
use crate::kernel::{OperationIndex, Terms, Timestamp};
use crate::limits::{self, Limits};
use crate::runtime::{Handler, Idempotency, Registered, Submission};
use crate::store::codec::Unsealed;
use crate::target::Target;
use sha2::{Digest, Sha256};
use std::any::Any;
use std::time::SystemTime;

/// How to submit a batch: see [`Queue::submit_with`](crate::Queue::submit_with).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubmitOptions {
    pub(crate) idempotency_key: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) priority: i8,
    pub(crate) not_before: Option<SystemTime>,
    /// Which chunk of an import this is.
    pub(crate) chunk: Option<u64>,
}

impl SubmitOptions {
    /// As [`Queue::submit`](crate::Queue::submit).
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the submission safe to repeat: the same items under the same key, owner and operation are
    /// the same batch, other items an error. 1 to [`NAME_BYTES`](crate::limits::NAME_BYTES) bytes.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Whose batch it is. 1 to [`NAME_BYTES`](crate::limits::NAME_BYTES) bytes.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// A note for people and listings. 1 to [`NAME_BYTES`](crate::limits::NAME_BYTES) bytes.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Batches of a higher priority start their items first, of all operations. Default 0.
    ///
    /// Priority is strict: while higher ones have work that may start, lower ones get no worker. Items
    /// with equal [ordering keys](crate::Operation::key) run in submit order all the same.
    #[must_use]
    pub fn priority(mut self, priority: i8) -> Self {
        self.priority = priority;
        self
    }

    /// Nothing of the batch starts before `time`, by the queue's clock, to the millisecond. Until then it
    /// is queued, counts as unfinished, and holds up nobody: it takes its place in the order of
    /// [ordering keys](crate::Operation::key) when its time has come. A time that has passed delays nothing.
    #[must_use]
    pub fn not_before(mut self, time: SystemTime) -> Self {
        self.not_before = Some(time);
        self
    }

    pub(crate) fn check(&self) -> Result<(), SubmitError> {
        let options = [
            ("idempotency key", &self.idempotency_key),
            ("owner", &self.owner),
            ("label", &self.label),
        ];
        for (option, text) in options {
            let bytes = text.as_ref().map_or(1, String::len);
            let limit = limits::NAME_BYTES;
            if bytes == 0 || bytes > limit {
                return Err(SubmitError::InvalidOption {
                    option,
                    bytes,
                    limit,
                });
            }
        }
        Ok(())
    }
}

/// An item on its way into a batch.
pub(crate) struct Encoded<'a> {
    pub(crate) json: &'a str,
    /// The hash of its ordering key, 0 for none.
    pub(crate) key: u64,
}

/// Validates one item and encodes it into `json`, whose old content goes.
pub(crate) fn encode<'a>(
    handler: &dyn Handler,
    item: &dyn Any,
    json: &'a mut Vec<u8>,
) -> Result<Encoded<'a>, Failure> {
    json.clear();
    let key = handler.encode(item, json)?;
    encoded(json, key)
}

fn encoded(json: &[u8], key: u64) -> Result<Encoded<'_>, Failure> {
    let json = std::str::from_utf8(json)
        .map_err(|error| Failure::permanent(InvalidItem::NOT_JSON, error.to_string()))?;
    Ok(Encoded { json, key })
}

/// Encodes a whole batch of items of the target's type, or says all that is wrong with it.
pub(crate) fn prepare<T: Any>(
    target: Target<'_>,
    items: impl IntoIterator<Item = T>,
    options: &SubmitOptions,
    limits: &Limits,
) -> Result<Submission, SubmitError> {
    let mut json = Vec::new();
    pack(target, items, options, limits, |packer, item| {
        packer.push(encode(target.handler, &item, &mut json)?);
        Ok(())
    })
}

/// As [`prepare`], of items in JSON.
pub(crate) fn prepare_json(
    target: Target<'_>,
    bytes: &[u8],
    options: &SubmitOptions,
    limits: &Limits,
) -> Result<Submission, SubmitError> {
    let items = JsonItems::find(bytes, limits.items_per_batch)?;
    let mut places = items.places();
    let mut json = Vec::new();
    let push = |packer: &mut Packer, item: JsonItem<'_>| {
        json.clear();
        let key = target.handler.encode_json(item.json, &mut json);
        let pushed = key.and_then(|key| {
            packer.push(encoded(&json, key)?);
            Ok(())
        });
        pushed.map_err(|misfit| {
            let start = places.of(item.start);
            let at = misfit.at.map_or(start, |inner| start.within(inner));
            Misfit {
                failure: misfit.failure,
                at: Some(at),
            }
        })
    };
    pack(target, items.into_iter(), options, limits, push)
}

/// Encodes a whole batch; `push` says what is wrong with an item, and where in the whole it is.
fn pack<T>(
    target: Target<'_>,
    items: impl IntoIterator<Item = T>,
    options: &SubmitOptions,
    limits: &Limits,
    mut push: impl FnMut(&mut Packer, T) -> Result<(), Misfit>,
) -> Result<Submission, SubmitError> {
    options.check()?;
    let mut packer = Packer::new(options, target.registered);
    let mut invalid = Vec::new();
    let limit = limits.items_per_batch;
    for (index, item) in (0..).zip(items) {
        if index == limit as u64 {
            return Err(SubmitError::TooManyItems { limit });
        }
        if let Err(Misfit { failure, at }) = push(&mut packer, item) {
            invalid.push(InvalidItem {
                index,
                failure: *failure,
                position: at,
            });
        }
        packer.check(limits)?;
    }
    if !invalid.is_empty() {
        return Err(SubmitError::Invalid { items: invalid });
    }
    if packer.total == 0 {
        return Err(SubmitError::Empty);
    }
    Ok(packer.finish(target.index, options))
}

/// What an idempotency key is stored under, and what it was under the operation's old names.
struct Scopes {
    now: [u8; 32],
    before: Vec<[u8; 32]>,
}

/// Packs encoded items into chunks.
pub(crate) struct Packer {
    chunks: Vec<Unsealed>,
    chunk_starts: Vec<u16>,
    keys: Vec<u64>,
    has_keys: bool,
    total: u32,
    bytes: usize,
    /// Where the content is hashed, with the key's scopes, when there is a key.
    idempotency: Option<(Scopes, Sha256)>,
}

impl Packer {
    pub(crate) fn new(options: &SubmitOptions, operation: &Registered) -> Self {
        let scopes = options.idempotency_key.as_deref().map(|key| {
            let owner = options.owner.as_deref();
            let of = |name: &str| scope(owner, name, key, options.chunk);
            Scopes {
                now: of(&operation.name),
                before: operation.aliases.iter().map(|name| of(name)).collect(),
            }
        });
        Self {
            chunks: Vec::new(),
            chunk_starts: Vec::new(),
            keys: Vec::new(),
            has_keys: false,
            total: 0,
            bytes: 0,
            idempotency: scopes.map(|scopes| (scopes, Sha256::new())),
        }
    }

    /// Refuses a batch over the limit of bytes.
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), SubmitError> {
        let limit = limits.batch_bytes;
        if self.bytes > limit {
            return Err(SubmitError::BatchTooLarge { limit });
        }
        Ok(())
    }

    pub(crate) fn push(&mut self, item: Encoded<'_>) {
        const LENGTH_BYTES: usize = 9;
        let bytes = item.json.len() + LENGTH_BYTES;
        let fits = self
            .chunks
            .last()
            .is_some_and(|chunk| chunk.encoded().len() + bytes <= limits::PACKED_BYTES);
        if !fits {
            self.chunks
                .push(Unsealed::with_capacity(limits::PACKED_BYTES));
            // Batches have at most 65,000 items.
            let first = u16::try_from(self.total).unwrap_or(u16::MAX);
            self.chunk_starts.push(first);
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.append_text(item.json);
        }
        self.keys.push(item.key);
        self.has_keys |= item.key != 0;
        self.total += 1;
        self.bytes += item.json.len();
        if let Some((_, content)) = &mut self.idempotency {
            content.update(canonical(item.json).as_bytes());
            content.update(b"\n");
        }
    }

    pub(crate) fn finish(self, operation: OperationIndex, options: &SubmitOptions) -> Submission {
        let keys = self.has_keys.then(|| self.keys.into_boxed_slice());
        Submission {
            operation,
            owner: options.owner.clone(),
            label: options.label.clone(),
            total: self.total,
            chunks: self.chunks,
            chunk_starts: self.chunk_starts,
            terms: Terms {
                priority: options.priority,
                not_before: options.not_before.map(|time| Timestamp(millis_up(time))),
                fails_undecodable: false,
                keys,
            },
            origin: None,
            idempotency: self.idempotency.map(|(scopes, content)| Idempotency {
                scope: scopes.now,
                former_scopes: scopes.before,
                content: content.finalize().into(),
            }),
        }
    }
}

/// What an idempotency key is stored under. Lengths go in, so that no two scopes run together.
fn scope(owner: Option<&str>, operation: &str, key: &str, chunk: Option<u64>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [owner, Some(operation), Some(key)] {
        match part {
            None => hash.update([0]),
            Some(text) => {
                hash.update([1]);
                hash.update((text.len() as u64).to_le_bytes());
                hash.update(text);
            }
        }
    }
    match chunk {
        None => hash.update([0]),
        Some(chunk) => {
            hash.update([1]);
            hash.update(chunk.to_le_bytes());
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_do_not_run_together() {
        let all = [
            scope(None, "ab", "c", None),
            scope(None, "a", "bc", None),
            scope(Some(""), "ab", "c", None),
            scope(Some("ab"), "c", "", None),
            scope(None, "ab", "c", Some(0)),
            scope(None, "ab", "c", Some(1)),
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }
}

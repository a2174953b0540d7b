//! The row counts and sums of the meta record: by them a lost or changed row is found.

use super::record::{Meta, Space};
use super::{Store, StoreError, codec, keys};
use std::collections::BTreeMap;

/// Adds a row to the sums of its space, or takes it away.
pub(super) fn tally(spaces: &mut Vec<Space>, key: &[u8], value: &[u8], added: bool) {
    let name = keys::table_of(key).unwrap_or_default();
    let at = match spaces.binary_search_by(|space| space.name.as_str().cmp(name)) {
        Ok(at) => at,
        Err(at) => {
            let space = Space {
                name: name.to_owned(),
                rows: 0,
                sum: 0,
            };
            spaces.insert(at, space);
            at
        }
    };
    let space = &mut spaces[at];
    let hash = codec::row_hash(key, value);
    if added {
        space.rows = space.rows.wrapping_add(1);
        space.sum = space.sum.wrapping_add(hash);
    } else {
        space.rows = space.rows.wrapping_sub(1);
        space.sum = space.sum.wrapping_sub(hash);
    }
}

/// Counts all rows and compares with what the meta record says; the first difference is the error.
pub(crate) fn recount(store: &dyn Store, meta: &Meta) -> Result<(), StoreError> {
    let mut counted = Counted::default();
    for row in store.scan(&[], &keys::successor(&[u8::MAX])) {
        let (key, value) = row?;
        if &*key == keys::META {
            continue;
        }
        codec::open(&key, &value)?;
        counted.add(&key, &value);
    }
    match counted.differences(&meta.spaces).into_iter().next() {
        None => Ok(()),
        Some(difference) => Err(StoreError(difference)),
    }
}

/// The sums of rows that were counted.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    spaces: Vec<Space>,
}

impl Counted {
    /// Counts a row, which is not the meta record.
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        tally(&mut self.spaces, key, value, true);
    }

    /// What the meta record should say.
    pub(crate) fn into_spaces(self) -> Vec<Space> {
        self.spaces
    }

    /// Where this is not what the meta record says.
    pub(crate) fn differences(self, expected: &[Space]) -> Vec<String> {
        let mut found: BTreeMap<String, Space> = self
            .spaces
            .into_iter()
            .map(|space| (space.name.clone(), space))
            .collect();
        let mut differences = Vec::new();
        for space in expected {
            let (rows, sum) = found
                .remove(&space.name)
                .map_or((0, 0), |found| (found.rows, found.sum));
            if (rows, sum) == (space.rows, space.sum) {
                continue;
            }
            let expected = space.rows;
            differences.push(format!(
                "{} should have {expected} rows and has {rows}, or some of them changed",
                if space.name.is_empty() {
                    "the engine's own records".to_owned()
                } else {
                    format!("table {:?}", space.name)
                },
            ));
        }
        let unknown = found.into_keys();
        differences.extend(unknown.map(|name| format!("rows of an unknown table {name:?}")));
        differences
    }
}

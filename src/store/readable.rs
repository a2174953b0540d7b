//! A scan that goes on behind rows which the storage engine cannot read.
//!
//! Damage takes a leaf of neighbouring rows. Where such a leaf ends is not known, so it is searched for: by a
//! first place behind that can be read, and by halving the distance to it. A gap costs some hundred failed
//! reads at most, and there are only so many gaps that are gone through.

use super::{Scan, Store, StoreError, Value, keys};

/// How often the distance to a place that can be read is halved: keys of ours are told apart in less.
const HALVINGS: usize = 128;

/// Gaps that are gone through. More are no store any more.
const GAPS: usize = 10_000;

/// Rows that cannot be read.
#[derive(Debug)]
pub(crate) struct Gap {
    /// The last row before, if there is one.
    pub(crate) after: Option<Vec<u8>>,
    /// Where reading goes on; `None` when it does not.
    pub(crate) until: Option<Vec<u8>>,
    pub(crate) error: StoreError,
}

/// All rows from a key on, and the gaps between them.
pub(crate) struct ReadableRows<'a> {
    store: &'a dyn Store,
    end: Vec<u8>,
    scan: Option<Scan<'a>>,
    /// Where the scan stands: everything below was read, or is a gap.
    from: Vec<u8>,
    last: Option<Vec<u8>>,
    gaps: usize,
}

impl<'a> ReadableRows<'a> {
    pub(crate) fn all(store: &'a dyn Store) -> Self {
        Self::between(store, Vec::new(), keys::successor(&[u8::MAX]))
    }

    /// The rows with `from <= key < end`.
    pub(crate) fn between(store: &'a dyn Store, from: Vec<u8>, end: Vec<u8>) -> Self {
        Self {
            scan: Some(store.scan(&from, &end)),
            store,
            end,
            from,
            last: None,
            gaps: 0,
        }
    }

    fn is_readable(&self, from: &[u8]) -> bool {
        !matches!(
            self.store.scan(from, &self.end).next(),
            Some(Err(StoreError(_)))
        )
    }

    /// The first place behind `self.from` that can be read.
    fn behind_the_gap(&self) -> Option<Vec<u8>> {
        let mut unreadable = self.from.clone();
        let prefixes = (1..=self.from.len()).rev().map(|len| &self.from[..len]);
        let all = prefixes.map(keys::successor).chain(first_letters());
        let mut readable = None;
        for candidate in all {
            if candidate <= unreadable || candidate >= self.end {
                continue;
            }
            if self.is_readable(&candidate) {
                readable = Some(candidate);
                break;
            }
            unreadable = candidate;
        }
        let mut readable = readable?;
        for _ in 0..HALVINGS {
            let Some(middle) = middle(&unreadable, &readable) else {
                break;
            };
            if self.is_readable(&middle) {
                readable = middle;
            } else {
                unreadable = middle;
            }
        }
        Some(readable)
    }
}

impl Iterator for ReadableRows<'_> {
    type Item = Result<(Value, Value), Gap>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.scan.as_mut()?.next() {
            None => {
                self.scan = None;
                None
            }
            Some(Ok((key, value))) => {
                self.from = [&key, &[0][..]].concat();
                self.last = Some(key.to_vec());
                Some(Ok((key, value)))
            }
            Some(Err(error)) => {
                self.scan = None;
                self.gaps += 1;
                let until = self.behind_the_gap().filter(|_| self.gaps < GAPS);
                if let Some(until) = &until {
                    self.from.clone_from(until);
                    self.scan = Some(self.store.scan(until, &self.end));
                }
                Some(Err(Gap {
                    after: self.last.clone(),
                    until,
                    error,
                }))
            }
        }
    }
}

/// What keys of ours begin with.
fn first_letters() -> impl Iterator<Item = Vec<u8>> {
    b"ISbhkmoprtuyz".iter().map(|letter| vec![*letter])
}

/// A key halfway between the two, which is neither.
fn middle(low: &[u8], high: &[u8]) -> Option<Vec<u8>> {
    let length = low.len().max(high.len()) + 1;
    let digit = |key: &[u8], place: usize| u16::from(key.get(place).copied().unwrap_or(0));
    let mut sum = vec![0; length];
    let mut carry = 0;
    for place in (0..length).rev() {
        let both = digit(low, place) + digit(high, place) + carry;
        sum[place] = (both & 0xFF) as u8;
        carry = both >> 8;
    }
    for place in &mut sum {
        let both = (carry << 8) | u16::from(*place);
        *place = (both >> 1) as u8;
        carry = both & 1;
    }
    // A shorter form of the same place: keys must not grow with every halving.
    while sum.last() == Some(&0) {
        sum.pop();
    }
    (sum.as_slice() > low && sum.as_slice() < high).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Writes;
    use std::collections::BTreeMap;

    /// Rows of which some ranges cannot be read, as leaves are that sled finds damaged.
    struct Holed {
        rows: BTreeMap<Vec<u8>, Value>,
        holes: Vec<std::ops::Range<Vec<u8>>>,
    }

    impl Store for Holed {
        fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
            Ok(self.rows.get(key).cloned())
        }

        fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
            let mut place = from.to_vec();
            let to = to.to_vec();
            Box::new(Forwards(std::iter::from_fn(move || {
                if place >= to {
                    return None;
                }
                if self.holes.iter().any(|hole| hole.contains(&place)) {
                    place.clone_from(&to);
                    return Some(Err(StoreError("a hole".to_owned())));
                }
                let row = self.rows.range(place.clone()..to.clone()).next();
                let hole = self.holes.iter().find(|hole| hole.start >= place);
                let next = row.map(|(key, _)| key.clone());
                if hole.is_some_and(|hole| next.as_ref().is_none_or(|next| *next >= hole.start)) {
                    place.clone_from(&to);
                    return Some(Err(StoreError("a hole".to_owned())));
                }
                let (key, value) = row?;
                place = [key, &[0][..]].concat();
                Some(Ok((Value::from(key.as_slice()), value.clone())))
            })))
        }

        fn commit(&self, _: u64, _: Writes) -> Result<(), StoreError> {
            Err(StoreError("read only".to_owned()))
        }

        fn size_on_disk(&self) -> Result<u64, StoreError> {
            Ok(0)
        }
    }

    struct Forwards<I>(I);

    impl<I: Iterator> Iterator for Forwards<I> {
        type Item = I::Item;
        fn next(&mut self) -> Option<Self::Item> {
            self.0.next()
        }
    }

    impl<I: Iterator> DoubleEndedIterator for Forwards<I> {
        fn next_back(&mut self) -> Option<Self::Item> {
            None
        }
    }

    fn holed(holes: &[(&[u8], &[u8])]) -> Holed {
        let keys = (0..60_u32).map(|n| [&b"z"[..], &n.to_be_bytes()].concat());
        let others = [b"I1".to_vec(), b"b77".to_vec(), b"m".to_vec()];
        Holed {
            rows: keys
                .chain(others)
                .map(|key| (key, Value::from(&b"v"[..])))
                .collect(),
            holes: holes
                .iter()
                .map(|(from, to)| from.to_vec()..to.to_vec())
                .collect(),
        }
    }

    #[test]
    fn every_row_outside_of_the_holes_is_read() {
        let from = [&b"z"[..], &17_u32.to_be_bytes()].concat();
        let to = [&b"z"[..], &29_u32.to_be_bytes(), b"x"].concat();
        let holes: [(&[u8], &[u8]); 2] = [(b"b", b"c9"), (&from, &to)];
        let store = holed(&holes);
        let (mut read, mut gaps) = (Vec::new(), Vec::new());
        for row in ReadableRows::all(&store) {
            match row {
                Ok((key, _)) => read.push(key.to_vec()),
                Err(gap) => gaps.push(gap),
            }
        }
        let outside = |key: &&Vec<u8>| !store.holes.iter().any(|hole| hole.contains(*key));
        let expected: Vec<_> = store.rows.keys().filter(outside).cloned().collect();
        assert_eq!(read, expected);
        assert_eq!(gaps.len(), 2);
        assert_eq!(gaps[0].after.as_deref(), Some(&b"I1"[..]));
        assert!(gaps[1].until.as_deref() >= Some(&*to));
    }

    #[test]
    fn a_store_of_which_nothing_can_be_read_comes_to_an_end() {
        let store = holed(&[(b"", b"\xFF\xFF\xFF\xFF")]);
        let mut rows = ReadableRows::all(&store);
        assert!(matches!(rows.next(), Some(Err(Gap { until: None, .. }))));
        assert!(rows.next().is_none());
    }
}

//! How many items of a batch failed, by code.

use crate::failure::Failure;
use crate::limits;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Failed items by their failure's code. Clones share the counts until one of them adds to its own; a
/// batch of which nothing failed has none.
///
/// Past [`limits::FAILURE_CODES`] different codes the alphabetically first ones are kept and the others
/// counted under [`Failure::OTHER_CODES`]. So the counts depend on what failed and not on the order in
/// which it did: a journal that was rewritten in item order adds up to the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FailureCounts(Option<Arc<BTreeMap<String, u64>>>);

impl FailureCounts {
    /// Counts one more failure.
    pub(crate) fn add(&mut self, code: &str) {
        let counts = Arc::make_mut(self.0.get_or_insert_default());
        if let Some(count) = counts.get_mut(code) {
            *count += 1;
            return;
        }
        counts.insert(code.to_owned(), 1);
        let others = counts.contains_key(Failure::OTHER_CODES);
        if counts.len() - usize::from(others) <= limits::FAILURE_CODES {
            return;
        }
        let last = |(code, _): &(&String, &u64)| code.as_str() != Failure::OTHER_CODES;
        if let Some((code, count)) = counts.iter().rev().find(last) {
            let (code, count) = (code.clone(), *count);
            counts.remove(&code);
            *counts.entry(Failure::OTHER_CODES.to_owned()).or_default() += count;
        }
    }

    /// Whether something failed with this code, as far as it is told apart.
    pub(crate) fn has(&self, code: &str) -> bool {
        let counts = self.0.as_deref();
        counts.is_some_and(|counts| counts.contains_key(code))
    }

    pub(crate) fn to_map(&self) -> BTreeMap<String, u64> {
        self.0.as_deref().cloned().unwrap_or_default()
    }
}

impl From<BTreeMap<String, u64>> for FailureCounts {
    fn from(counts: BTreeMap<String, u64>) -> Self {
        Self((!counts.is_empty()).then(|| Arc::new(counts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count<'a>(codes: impl IntoIterator<Item = &'a String>) -> BTreeMap<String, u64> {
        let mut counts = FailureCounts::default();
        for code in codes {
            counts.add(code);
        }
        counts.to_map()
    }

    #[test]
    fn a_clone_keeps_its_counts_when_the_other_adds() {
        let mut counts = FailureCounts::default();
        counts.add("a");
        let published = counts.clone();
        counts.add("a");
        assert_eq!(published.to_map(), BTreeMap::from([("a".to_owned(), 1)]));
        assert_eq!(counts.to_map(), BTreeMap::from([("a".to_owned(), 2)]));
    }

    proptest! {
        #[test]
        fn counts_are_exact_for_the_first_codes_in_any_order(
            mut codes in prop::collection::vec("[a-z][a-z]", 0..400),
            others in 0..3_usize,
        ) {
            codes.extend(vec![Failure::OTHER_CODES.to_owned(); others]);
            let counted = count(&codes);
            let backwards = count(codes.iter().rev());
            codes.sort();
            prop_assert_eq!(&counted, &backwards);
            prop_assert_eq!(&counted, &count(&codes));
            prop_assert_eq!(counted.values().sum::<u64>(), codes.len() as u64);
            codes.retain(|code| code != Failure::OTHER_CODES);
            let mut distinct = codes.clone();
            distinct.dedup();
            for (n, code) in distinct.iter().enumerate() {
                let exact = codes.iter().filter(|other| *other == code).count() as u64;
                let expected = (n < limits::FAILURE_CODES).then_some(exact);
                prop_assert_eq!(counted.get(code), expected.as_ref(), "code {}", code);
            }
        }
    }
}

//! A fixed set of small numbers, one bit each.

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bits(Box<[u64]>);

impl Bits {
    pub(crate) fn new(len: u32) -> Self {
        Self(vec![0; len.div_ceil(64) as usize].into_boxed_slice())
    }

    pub(crate) fn contains(&self, index: u16) -> bool {
        self.0[usize::from(index) / 64] >> (index % 64) & 1 == 1
    }

    /// Adds `index`; false when it was there already.
    pub(crate) fn insert(&mut self, index: u16) -> bool {
        let word = &mut self.0[usize::from(index) / 64];
        let bit = 1 << (index % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Removes `index`; false when it was not there.
    pub(crate) fn remove(&mut self, index: u16) -> bool {
        let word = &mut self.0[usize::from(index) / 64];
        let bit = 1 << (index % 64);
        let present = *word & bit != 0;
        *word &= !bit;
        present
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_remember_exactly_what_was_put_in() {
        let mut bits = Bits::new(130);
        for index in [0u16, 63, 64, 129] {
            assert!(bits.insert(index));
            assert!(!bits.insert(index));
        }
        let there: Vec<u16> = (0..130).filter(|i| bits.contains(*i)).collect();
        assert_eq!(there, [0, 63, 64, 129]);
        assert!(bits.remove(64));
        assert!(!bits.remove(64));
        assert!(!bits.contains(64));
    }
}

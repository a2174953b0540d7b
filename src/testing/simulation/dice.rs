//! Where all that is left to chance comes from: one seed, or what a fuzzer chooses.

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug)]
pub(super) struct Dice {
    state: u64,
    /// The next throws, last one first.
    chosen: Vec<u8>,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        let chosen = Vec::new();
        Self {
            state: seed,
            chosen,
        }
    }

    /// The throws are chosen, a byte each, as long as there are bytes.
    pub(super) fn chosen(choices: &[u8]) -> Self {
        let chosen = choices.iter().rev().copied().collect();
        Self { state: 0, chosen }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// A number below `n`, which is not 0.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        if let Some(choice) = self.chosen.pop() {
            return u64::from(choice) % n;
        }
        // The high bits; what `n` does not divide evenly is not felt at such small numbers.
        (self.next() >> 16) % n
    }
}

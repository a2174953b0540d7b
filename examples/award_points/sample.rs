//! Purchases for whoever has no file at hand: always the same ones.

use std::fmt::Write;

const SEED: u64 = 0x5EED_0F17;

/// `count` purchases, as a file would hold them.
pub(crate) fn purchases(count: usize) -> String {
    let mut random = XorShift(SEED);
    let mut text = String::new();
    for _ in 0..count {
        let customer = 1 + random.below(2_500);
        let (year, month, day) = (
            2024 + random.below(2),
            1 + random.below(12),
            1 + random.below(28),
        );
        let quantity = 1 + random.below(5);
        let cents = quantity * (500 + random.below(2_500));
        let (units, cents) = (cents / 100, cents % 100);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{customer:05} {year}{month:02}{day:02} {quantity} {units}.{cents:02}"
        );
    }
    text
}

/// Marsaglia's xorshift64.
struct XorShift(u64);

impl XorShift {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

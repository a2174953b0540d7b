//! Money and rates as whole millionths. Exact, and nothing else than multiplication and division with remainder.

use std::fmt;

const UNIT: i128 = 1_000_000;

/// More points than this nobody has, and no amount may stand for.
pub(crate) const POINTS_MAX: i64 = 999_999_999_999_999;

/// Millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Decimal(pub(crate) i128);

impl Decimal {
    pub(crate) const ZERO: Self = Self(0);
    /// What an item may say.
    pub(crate) const LARGEST: Self = Self(999_999_999_999_999_999_999);

    /// `floor(amount x rate)`, unless that is too many points.
    pub(crate) fn points_at(self, rate: Self) -> Option<i64> {
        let points = (self.0 * rate.0).div_euclid(UNIT * UNIT);
        (points <= i128::from(POINTS_MAX)).then_some(i64::try_from(points).ok()?)
    }

    pub(crate) fn worth(points: i64, factor: Self) -> Self {
        Self(i128::from(points) * factor.0)
    }

    /// The points that this positive amount is at `factor` a point, or the amounts next to it that are whole; none
    /// when they are too many.
    pub(crate) fn whole_points(self, factor: Self) -> Result<i64, Option<[Self; 2]>> {
        let (points, rest) = (self.0 / factor.0, self.0 % factor.0);
        if points > i128::from(POINTS_MAX) {
            return Err(None);
        }
        let points = i64::try_from(points).map_err(|_| None)?;
        if rest == 0 {
            return Ok(points);
        }
        let below = Self(self.0 - rest);
        Err(Some([below, Self(below.0 + factor.0)]))
    }
}

/// As short as it can be.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0.abs() / UNIT, self.0.abs() % UNIT);
        if self.0 < 0 {
            f.write_str("-")?;
        }
        write!(f, "{whole}")?;
        if part == 0 {
            return Ok(());
        }
        let digits = format!("{part:06}");
        write!(f, ".{}", digits.trim_end_matches('0'))
    }
}

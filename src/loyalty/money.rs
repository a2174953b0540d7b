//! Money and rates: exact decimals, from the text in the JSON to the text in the JSON.
//!
//! No float is on the way. A number's text is taken as it stands, which only `serde_json` can give: so these types
//! are read from and written to JSON alone.

use super::codes;
use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;
use std::str::FromStr;

/// Digits of an amount before and after the point, at most. With [`RATE_DIGITS`] more the product has 28 digits,
/// which a [`Decimal`] holds exactly.
const WHOLE_DIGITS: usize = 15;
const FRACTION_DIGITS: u32 = 6;
/// Digits before the point of what points are worth, at most: a decimal holds them with those after it.
const WORTH_DIGITS: usize = WHOLE_DIGITS + RATE_DIGITS as usize;
/// Longest text of a number: digits, and zeros that say nothing.
const NUMBER_BYTES: usize = 64;
/// Significant digits of a rate, at most.
const RATE_DIGITS: u32 = 7;

/// Points that one movement moves, and that one customer has, at most: what every JSON reader takes for a whole
/// number.
pub const POINTS_MAX: i64 = 999_999_999_999_999;

/// An amount of money: an exact decimal with up to 15 digits before the point and up to 6 after it.
///
/// In JSON it is a number (`150.75`); it is read from a text, too (`"150.75"`). Amounts are equal when their values
/// are: `1.50` is `1.5`. What points are worth is not limited to 15 digits: it has up to 22 before the point.
///
/// ```
/// use batchwright::loyalty::Money;
///
/// let amount: Money = "150.750".parse()?;
/// assert_eq!(amount.to_string(), "150.75");
/// assert_eq!(serde_json::to_string(&amount)?, "150.75");
/// assert!("0.0000001".parse::<Money>().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(Decimal);

/// A text that is not an amount of [`Money`], or not a [`Rate`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct InvalidNumber {
    text: String,
    expected: &'static str,
}

impl InvalidNumber {
    fn new(text: &str, expected: &'static str) -> Self {
        let text = codes::shown(text);
        Self { text, expected }
    }
}

/// What an amount looks like, for messages.
pub(super) const AMOUNT: &str =
    "a decimal number with up to 15 digits before the point and up to 6 after it";
const RATE: &str = "a decimal number above 0 with up to 7 digits, up to 6 of them after the point";

impl Money {
    /// No money.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Whether it is above zero.
    pub fn is_positive(self) -> bool {
        self.0 > Decimal::ZERO
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.0 < Decimal::ZERO
    }

    pub(super) fn abs(self) -> Self {
        Self(self.0.abs())
    }

    /// Sums and differences of amounts never have more digits than a decimal holds.
    pub(super) fn plus(self, other: Self) -> Self {
        Self((self.0 + other.0).normalize())
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self((self.0 - other.0).normalize())
    }

    /// Whole points for this amount at `rate` points a unit, rounded down; `None` past [`POINTS_MAX`].
    pub(super) fn points_at(self, rate: Rate) -> Option<i64> {
        let points = (self.0 * rate.0).floor().to_i64()?;
        (points <= POINTS_MAX).then_some(points)
    }

    /// What `points` are worth at `factor` a point.
    pub(super) fn worth(points: i64, factor: Rate) -> Self {
        Self((Decimal::from(points) * factor.0).normalize())
    }

    /// How many points this amount, which is not negative, is at `factor` a point.
    pub(super) fn in_points(self, factor: Rate) -> InPoints {
        let mut below = (self.0 / factor.0).floor();
        // The quotient is rounded, the product is not.
        if below * factor.0 > self.0 {
            below -= Decimal::ONE;
        }
        match below.to_i64() {
            Some(points) if points <= POINTS_MAX => {
                let lower = Self::worth(points, factor);
                if lower == self {
                    InPoints::Whole(points)
                } else {
                    let upper = Self::worth(points + 1, factor);
                    InPoints::Between { lower, upper }
                }
            }
            _ => InPoints::TooMany,
        }
    }

    fn parse_number(text: &str, whole_digits: usize) -> Option<Self> {
        // The decimals' own grammar is wider than that of JSON numbers.
        let plain = text.strip_prefix('-').unwrap_or(text);
        let allowed = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
        let is_number =
            plain.starts_with(|c: char| c.is_ascii_digit()) && plain.chars().all(allowed);
        if !is_number || text.len() > NUMBER_BYTES {
            return None;
        }
        // With an exponent the decimals would round the digits before it.
        let digits = text.split(['e', 'E']).next().unwrap_or(text);
        let exact = Decimal::from_str_exact(digits).ok()?;
        let value = if digits == text {
            exact
        } else {
            Decimal::from_scientific(text).ok()?
        };
        let value = Self(value.normalize());
        value.has_at_most(whole_digits).then_some(value)
    }

    fn has_at_most(self, whole_digits: usize) -> bool {
        let whole = self.0.trunc().abs().to_string();
        whole.len() <= whole_digits && self.0.scale() <= FRACTION_DIGITS
    }

    /// Whether an item may name it: what points are worth may be more.
    pub(super) fn is_an_amount(self) -> bool {
        self.has_at_most(WHOLE_DIGITS)
    }
}

/// What an amount is in points.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InPoints {
    Whole(i64),
    /// It is not whole: the nearest amounts that are.
    Between {
        lower: Money,
        upper: Money,
    },
    /// More than [`POINTS_MAX`].
    TooMany,
}

impl FromStr for Money {
    type Err = InvalidNumber;

    fn from_str(text: &str) -> Result<Self, InvalidNumber> {
        Self::parse_number(text, WHOLE_DIGITS).ok_or_else(|| InvalidNumber::new(text, AMOUNT))
    }
}

impl From<i32> for Money {
    fn from(units: i32) -> Self {
        Self(Decimal::from(units))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A number with the digits as they are.
        let text = RawValue::from_string(self.0.to_string()).map_err(S::Error::custom)?;
        text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        unquoted(json).parse().map_err(de::Error::custom)
    }
}

fn unquoted(json: &str) -> &str {
    let text = json.strip_prefix('"');
    text.and_then(|text| text.strip_suffix('"')).unwrap_or(json)
}

/// Reads what points are worth, which the ledger wrote: it may be more than an item can name.
pub(super) fn read_worth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
    Worth::deserialize(deserializer).map(|Worth(worth)| worth)
}

/// As [`read_worth`], where it may be missing.
pub(super) fn read_optional_worth<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Money>, D::Error> {
    let worth = Option::<Worth>::deserialize(deserializer)?;
    Ok(worth.map(|Worth(worth)| worth))
}

struct Worth(Money);

impl<'de> Deserialize<'de> for Worth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = unquoted(<&RawValue>::deserialize(deserializer)?.get());
        let worth = Money::parse_number(text, WORTH_DIGITS);
        worth
            .map(Self)
            .ok_or_else(|| de::Error::custom(InvalidNumber::new(text, AMOUNT)))
    }
}

/// How much of one thing there is for a unit of another: an exact decimal above 0 with up to 7 digits, up to 6 of
/// them after the point.
///
/// It is written and read as a text (`"0.1"`), and read from a whole number, too; a configuration file with a
/// float is refused, because `0.1` is none.
///
/// ```
/// use batchwright::loyalty::Rate;
///
/// let rate: Rate = "1.25".parse()?;
/// assert_eq!(rate.to_string(), "1.25");
/// assert!("0".parse::<Rate>().is_err());
/// # Ok::<(), batchwright::loyalty::InvalidNumber>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(Decimal);

impl Rate {
    /// One for one.
    pub const ONE: Self = Self(Decimal::ONE);

    /// One tenth.
    pub(super) fn tenth() -> Self {
        Self(Decimal::new(1, 1))
    }
}

impl FromStr for Rate {
    type Err = InvalidNumber;

    fn from_str(text: &str) -> Result<Self, InvalidNumber> {
        let rate = Money::parse_number(text, WHOLE_DIGITS).map(|Money(value)| value);
        let fits = |value: &Decimal| {
            *value > Decimal::ZERO
                && value.round_sf_with_strategy(RATE_DIGITS, RoundingStrategy::ToZero)
                    == Some(*value)
                && value.mantissa() < 10_i128.pow(RATE_DIGITS)
        };
        rate.filter(fits)
            .map(Self)
            .ok_or_else(|| InvalidNumber::new(text, RATE))
    }
}

impl From<u16> for Rate {
    /// `units` for one; one for one when it is 0, which is no rate.
    fn from(units: u16) -> Self {
        Self(Decimal::from(units.max(1)))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Rate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{RATE}, in quotes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Rate, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, units: u64) -> Result<Rate, E> {
                self.visit_str(&units.to_string())
            }

            fn visit_i64<E: de::Error>(self, units: i64) -> Result<Rate, E> {
                self.visit_str(&units.to_string())
            }
        }

        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn amounts_are_exact() {
        let sum = money("0.1").plus(money("0.2"));
        assert_eq!(sum, money("0.3"));
        assert_eq!(serde_json::to_string(&sum).unwrap(), "0.3");
        for text in [
            "123456789012345.678901",
            "-0.000001",
            "999999999999999",
            "0",
        ] {
            let read: Money = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
        }
        assert_eq!(
            serde_json::from_str::<Money>("1.5e3").unwrap(),
            money("1500")
        );
        assert_eq!(
            serde_json::from_str::<Money>("\"1.50\"").unwrap(),
            money("1.5")
        );
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "1000000000000000",
            "0.0000001",
            "",
            "-",
            "1,5",
            "+1",
            ".5",
            "1_000",
            "NaN",
            "1e99",
            "0.99999999999999999999999999999999999e0",
            "1e-9",
            " 1",
            "--1",
        ] {
            assert!(text.parse::<Money>().is_err(), "{text:?}");
        }
        for json in ["null", "true", "[]", "{}", "\"\"", "\"\\u0031\""] {
            assert!(serde_json::from_str::<Money>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn rates_are_above_zero_and_short() {
        for text in ["0", "-1", "0.0000001", "12345678", "1.2345678"] {
            assert!(text.parse::<Rate>().is_err(), "{text:?}");
        }
        for text in ["0.000001", "1234567", "1.234567", "1000000"] {
            assert_eq!(rate(text).to_string(), text);
        }
        assert!(serde_json::from_str::<Rate>("0.1").is_err());
        assert_eq!(
            serde_json::from_str::<Rate>("\"0.1\"").unwrap(),
            rate("0.1")
        );
        assert_eq!(serde_json::from_str::<Rate>("3").unwrap(), rate("3"));
    }

    #[test]
    fn points_are_rounded_down_and_products_are_exact() {
        assert_eq!(money("150.75").points_at(rate("1")), Some(150));
        assert_eq!(money("0.999999").points_at(Rate::ONE), Some(0));
        assert_eq!(
            money("999999999999999.999999").points_at(rate("1")),
            Some(POINTS_MAX)
        );
        assert_eq!(money("999999999999999").points_at(rate("1.1")), None);
        // As a float this would be 1_151.
        assert_eq!(money("1.15").points_at(rate("1000")), Some(1150));
    }

    #[test]
    fn an_amount_is_whole_points_or_between_two_that_are() {
        assert_eq!(money("10").in_points(rate("0.1")), InPoints::Whole(100));
        assert_eq!(money("0").in_points(rate("0.1")), InPoints::Whole(0));
        let between = InPoints::Between {
            lower: money("10.2"),
            upper: money("10.3"),
        };
        assert_eq!(money("10.25").in_points(rate("0.1")), between);
        assert_eq!(
            money("999999999999999").in_points(rate("0.5")),
            InPoints::TooMany
        );
        let thirds = money("1").in_points(rate("0.333333"));
        assert!(matches!(thirds, InPoints::Between { lower, .. } if lower == money("0.999999")));
    }
}

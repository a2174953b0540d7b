//! What a loyalty programme is like: its currency, its rates, its rules.

use super::money::Rate;
use crate::limits;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// Days that points may stay pending, at most.
pub const RETURN_WINDOW_DAYS_MAX: u32 = 7_300;

/// Days after which points expire, at most.
pub const EXPIRY_DAYS_MAX: u32 = 36_500;

/// How long a hold may last, in minutes: up to 15 days.
pub const HOLD_MINUTES_RANGE: RangeInclusive<u32> = 1..=15 * 24 * 60;

/// A loyalty programme's configuration. [`default`](Self::default) is a point for each unit of money, worth a
/// tenth of it, at once and for ever.
///
/// It belongs to the program, not to the store: what was awarded under one configuration stays as it was when the
/// next one comes. An award remembers its rate for refunds.
///
/// ```
/// use batchwright::loyalty::Program;
///
/// let mut program = Program::default();
/// program.currency = "EUR".to_owned();
/// program.earn_rate = "1.5".parse()?;
/// program.points_expiry_days = Some(365);
/// program.check()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Program {
    /// The currency of all amounts, as balances show it. Default `USD`.
    pub currency: String,
    /// What points are called, as balances show it. Default `Points`.
    pub points_name: String,
    /// Points for a unit of money: `floor(amount x earn_rate)` are awarded. Default 1.
    pub earn_rate: Rate,
    /// Money for a point. Default 0.1: 10 of money are 100 points.
    pub redemption_factor: Rate,
    /// Days that awarded points stay pending, from the time of the transaction, unless the item says otherwise:
    /// 0 to [`RETURN_WINDOW_DAYS_MAX`]. Default 0.
    pub return_window_days: u32,
    /// Days that points are valid from when they become available, up to the end of that day in UTC: 0 to
    /// [`EXPIRY_DAYS_MAX`]. Default: for ever.
    pub points_expiry_days: Option<u32>,
    /// Days that points are valid when they come back from a refunded redemption and have expired meanwhile, up to
    /// the end of that day in UTC: up to [`EXPIRY_DAYS_MAX`]. Default 0: they stay expired.
    pub refund_grace_days: u32,
    /// Whether the refund of a cashback whose points are spent leaves the customer in debt, which the next points
    /// pay. Default: no, it fails.
    pub allow_negative: bool,
    /// Whether a cashback for an unknown customer creates the customer. Default: yes.
    pub cashback_creates_customers: bool,
    /// Whether an order of an unknown customer creates the customer. Default: yes.
    pub orders_create_customers: bool,
    /// How long a hold lasts unless its item says otherwise, in minutes. Default 10.
    pub hold_minutes: u32,
    /// The shortest hold that an item may ask for, in minutes: 1 or more. Default 1.
    pub hold_minutes_min: u32,
    /// The longest hold that an item may ask for, in minutes: up to 21,600, which are 15 days, the default.
    pub hold_minutes_max: u32,
}

impl Default for Program {
    fn default() -> Self {
        Self {
            currency: "USD".to_owned(),
            points_name: "Points".to_owned(),
            earn_rate: Rate::ONE,
            redemption_factor: Rate::tenth(),
            return_window_days: 0,
            points_expiry_days: None,
            refund_grace_days: 0,
            allow_negative: false,
            cashback_creates_customers: true,
            orders_create_customers: true,
            hold_minutes: 10,
            hold_minutes_min: *HOLD_MINUTES_RANGE.start(),
            hold_minutes_max: *HOLD_MINUTES_RANGE.end(),
        }
    }
}

/// A setting of a [`Program`] that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid programme: {setting} is {value}, allowed is {allowed}")]
#[non_exhaustive]
pub struct InvalidProgram {
    /// The setting.
    pub setting: &'static str,
    /// What it is.
    pub value: String,
    /// What it may be.
    pub allowed: String,
}

impl Program {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`InvalidProgram`] with the first one that is not allowed.
    pub fn check(&self) -> Result<(), InvalidProgram> {
        let names = [
            ("currency", &self.currency),
            ("points_name", &self.points_name),
        ];
        for (setting, text) in names {
            let most = limits::NAME_BYTES;
            if text.is_empty() || text.len() > most {
                return Err(InvalidProgram {
                    setting,
                    value: format!("a text of {} bytes", text.len()),
                    allowed: format!("1 to {most} bytes"),
                });
            }
        }
        let days = 0..=RETURN_WINDOW_DAYS_MAX;
        within("return_window_days", self.return_window_days, days)?;
        let expiry = self.points_expiry_days.unwrap_or(0);
        within("points_expiry_days", expiry, 0..=EXPIRY_DAYS_MAX)?;
        within(
            "refund_grace_days",
            self.refund_grace_days,
            0..=EXPIRY_DAYS_MAX,
        )?;
        within(
            "hold_minutes_min",
            self.hold_minutes_min,
            HOLD_MINUTES_RANGE,
        )?;
        let longest = self.hold_minutes_min..=*HOLD_MINUTES_RANGE.end();
        within("hold_minutes_max", self.hold_minutes_max, longest)?;
        within("hold_minutes", self.hold_minutes, self.hold_minutes_range())
    }

    pub(super) fn hold_minutes_range(&self) -> RangeInclusive<u32> {
        self.hold_minutes_min..=self.hold_minutes_max
    }
}

fn within(
    setting: &'static str,
    value: u32,
    allowed: RangeInclusive<u32>,
) -> Result<(), InvalidProgram> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(InvalidProgram {
        setting,
        value: value.to_string(),
        allowed: format!("{} to {}", allowed.start(), allowed.end()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_programme_is_allowed_and_reads_back() {
        let program = Program::default();
        assert_eq!(program.check(), Ok(()));
        let json = serde_json::to_string(&program).unwrap();
        assert_eq!(serde_json::from_str::<Program>(&json).unwrap(), program);
        assert_eq!(serde_json::from_str::<Program>("{}").unwrap(), program);
    }

    #[test]
    fn every_setting_past_its_limit_is_named() {
        type Change = fn(&mut Program);
        let changes: [(&str, Change); 8] = [
            ("currency", |p| p.currency.clear()),
            ("points_name", |p| p.points_name = "x".repeat(256)),
            ("return_window_days", |p| p.return_window_days = 7_301),
            ("points_expiry_days", |p| {
                p.points_expiry_days = Some(36_501)
            }),
            ("refund_grace_days", |p| p.refund_grace_days = 36_501),
            ("hold_minutes_min", |p| p.hold_minutes_min = 0),
            ("hold_minutes_max", |p| p.hold_minutes_max = 21_601),
            ("hold_minutes", |p| p.hold_minutes_min = 11),
        ];
        for (setting, change) in changes {
            let mut program = Program::default();
            change(&mut program);
            assert_eq!(program.check().map_err(|e| e.setting), Err(setting));
        }
    }
}

//! Hold: points reserved for a while.

use super::codes;
use super::fields::{Field, Fields, Kind};
use super::item::{self, Check, ledger_operation};
use super::money::Money;
use super::object::object;
use super::posting::{Posting, Unknown, refuse_duplicate, refuse_future};
use super::program::HOLD_MINUTES_RANGE;
use super::tables::optional_key;
use super::time::Time;
use super::transaction::{Content, Number, Terms};
use crate::{Context, ExactlyOnce, Failure, Operation};
use serde::{Deserialize, Serialize};
use std::time::Duration;

ledger_operation! {
    /// Reserves points that are available, until they are redeemed by their reference or the hold expires. Held
    /// points are part of the balance, but not available, and do not expire while they are held.
    ///
    /// Fails with [`DUPLICATE`](codes::DUPLICATE), [`INVALID_TIME`](codes::INVALID_TIME),
    /// [`CUSTOMER_NOT_FOUND`](codes::CUSTOMER_NOT_FOUND), [`INSUFFICIENT_POINTS`](codes::INSUFFICIENT_POINTS),
    /// [`LIMIT_EXCEEDED`](codes::LIMIT_EXCEEDED) with [`HOLDS_MAX`](super::HOLDS_MAX) holds, and
    /// [`INVALID_VALUE`](codes::INVALID_VALUE) when an amount is not a whole number of points.
    Hold, "hold", HoldItem => HoldOutput
}

/// Points to reserve: exactly one of `amount_to_hold` and `points_to_hold` says how many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
#[non_exhaustive]
pub struct HoldItem {
    /// Whose points they are.
    pub customer_id: String,
    /// When it was asked for.
    pub transaction_time: Time,
    /// As many points as are worth this, above zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_to_hold: Option<Money>,
    /// So many, above zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points_to_hold: Option<i64>,
    /// The hold's id: with an id that was used before it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
    /// How long it lasts from when it is made, in minutes, within the limits of the
    /// [`Program`](super::Program).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_duration: Option<u32>,
}

object!(HoldItem);

/// What was reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct HoldOutput {
    /// The customer.
    pub customer_id: String,
    /// What a redemption or an order names.
    pub hold_reference: String,
    /// What the points are worth.
    #[serde(deserialize_with = "super::money::read_worth")]
    pub hold_amount: Money,
    /// The points.
    pub hold_equivalent_points: i64,
    /// When the hold expires.
    pub expires_at: Time,
}

impl HoldItem {
    /// Reserves `points`.
    pub fn points(customer_id: impl Into<String>, transaction_time: Time, points: i64) -> Self {
        Self {
            points_to_hold: Some(points),
            ..Self::nothing(customer_id.into(), transaction_time)
        }
    }

    /// Reserves points worth `amount`.
    pub fn amount(customer_id: impl Into<String>, transaction_time: Time, amount: Money) -> Self {
        Self {
            amount_to_hold: Some(amount),
            ..Self::nothing(customer_id.into(), transaction_time)
        }
    }

    fn nothing(customer_id: String, transaction_time: Time) -> Self {
        Self {
            customer_id,
            transaction_time,
            amount_to_hold: None,
            points_to_hold: None,
            transaction_id: None,
            hold_duration: None,
        }
    }
}

impl Fields for HoldItem {
    const FIELDS: &'static [Field] = &[
        Field::required("customerId", Kind::Text),
        Field::required("transactionTime", Kind::Time),
        Field::optional("amountToHold", Kind::Money),
        Field::optional("pointsToHold", Kind::Integer),
        Field::optional("transactionId", Kind::Text),
        Field::optional("holdDuration", Kind::Integer),
    ];
}

impl Check for HoldItem {
    fn check(&self) -> Result<(), Failure> {
        item::check_id("customerId", &self.customer_id)?;
        item::check_optional_id("transactionId", &self.transaction_id)?;
        item::check_time("transactionTime", self.transaction_time)?;
        item::check_one_of([
            ("amountToHold", self.amount_to_hold.is_some()),
            ("pointsToHold", self.points_to_hold.is_some()),
        ])?;
        if let Some(amount) = self.amount_to_hold {
            item::check_amount("amountToHold", amount)?;
        }
        if let Some(points) = self.points_to_hold {
            item::check_points("pointsToHold", points)?;
        }
        match self.hold_duration {
            Some(minutes) if !HOLD_MINUTES_RANGE.contains(&minutes) => {
                Err(duration(minutes, HOLD_MINUTES_RANGE))
            }
            _ => Ok(()),
        }
    }
}

fn duration(minutes: u32, allowed: std::ops::RangeInclusive<u32>) -> Failure {
    let (shortest, longest) = (allowed.start(), allowed.end());
    let expected = format_args!("{shortest} to {longest} minutes");
    codes::invalid("holdDuration", minutes, expected)
}

const PREFIX: &str = "hold-";

/// What a hold is called outside.
pub(super) fn reference(number: u64) -> String {
    format!("{PREFIX}{number}")
}

/// The number in a reference.
pub(super) fn number_of(reference: &str) -> Option<u64> {
    let digits = reference.strip_prefix(PREFIX)?;
    // One reference, one text.
    let number = digits.parse().ok()?;
    (self::reference(number) == reference).then_some(number)
}

impl Hold {
    fn post(&self, item: &HoldItem, cx: &mut Context<ExactlyOnce>) -> Result<HoldOutput, Failure> {
        let program = &*self.program;
        let number = Number::of(cx);
        let key = optional_key(item.transaction_id.as_deref(), number.0);
        let content = Content::of(Self::NAME, item)?;
        if item.transaction_id.is_some() {
            refuse_duplicate(cx, &key, "transactionId", &content)?;
        }
        refuse_future(cx, "transactionTime", item.transaction_time)?;
        let minutes = item.hold_duration.unwrap_or(program.hold_minutes);
        let allowed = program.hold_minutes_range();
        if !allowed.contains(&minutes) {
            return Err(duration(minutes, allowed));
        }

        let mut posting = Posting::open(cx, &item.customer_id, Unknown::Refuse)?;
        let (points, field) = match (item.amount_to_hold, item.points_to_hold) {
            (Some(amount), _) => {
                let field = "amountToHold";
                let points = item::whole_points(field, amount, program.redemption_factor)?;
                (points, field)
            }
            (_, Some(points)) => (points, "pointsToHold"),
            // The check has seen to it.
            (None, None) => return Err(codes::missing("pointsToHold")),
        };
        let until = posting
            .now
            .plus(Duration::from_secs(u64::from(minutes) * 60));
        posting.hold(points, until, field)?;
        let hold_amount = Money::worth(points, program.redemption_factor);
        let terms = Terms {
            time_ms: Some(item.transaction_time.ms),
            amount: Some(hold_amount),
            ..Terms::default()
        };
        posting.close(&key, content, terms)?;
        Ok(HoldOutput {
            customer_id: item.customer_id.clone(),
            hold_reference: reference(number.0),
            hold_amount,
            hold_equivalent_points: points,
            expires_at: until,
        })
    }
}

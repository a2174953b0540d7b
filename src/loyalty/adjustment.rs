//! Adjustment: points added or deducted by hand.

use super::codes;
use super::entry::Kind as Movement;
use super::fields::{Field, Fields, Kind};
use super::item::{self, Check, ledger_operation};
use super::money::Money;
use super::object::object;
use super::posting::{Posting, Unknown, refuse_duplicate};
use super::program::EXPIRY_DAYS_MAX;
use super::tables::optional_key;
use super::transaction::{Content, Number, Terms};
use crate::{Context, ExactlyOnce, Failure, Operation};
use serde::{Deserialize, Serialize};

ledger_operation! {
    /// Adds points, which are available at once, or deducts available ones.
    ///
    /// Fails with [`DUPLICATE`](codes::DUPLICATE), [`CUSTOMER_NOT_FOUND`](codes::CUSTOMER_NOT_FOUND),
    /// [`INSUFFICIENT_POINTS`](codes::INSUFFICIENT_POINTS), [`LIMIT_EXCEEDED`](codes::LIMIT_EXCEEDED), and
    /// [`INVALID_VALUE`](codes::INVALID_VALUE) when an amount is not a whole number of points.
    Adjustment, "adjustment", AdjustmentItem => AdjustmentOutput
}

/// Points to add or, below zero, to deduct: exactly one of `amount` and `points` says how many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
#[non_exhaustive]
pub struct AdjustmentItem {
    /// Whose points they are.
    pub customer_id: String,
    /// As many points as are worth this, not zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// So many, not zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<i64>,
    /// What for; kept with the transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The adjustment's id: with an id that was used before it fails. Without one it is made as often as it is
    /// submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
    /// Days that added points are valid, up to the end of that day in UTC: 0 to [`EXPIRY_DAYS_MAX`]. Default: as the
    /// programme says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_after: Option<u32>,
}

object!(AdjustmentItem);

/// What was adjusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AdjustmentOutput {
    /// The customer.
    pub customer_id: String,
    /// The points, below zero when they were deducted.
    pub points: i64,
    /// What they are worth.
    #[serde(deserialize_with = "super::money::read_worth")]
    pub amount: Money,
    /// The balance afterwards: available, pending and held points.
    pub points_balance_after: i64,
}

impl AdjustmentItem {
    /// Adds `points`, or deducts them when they are below zero.
    pub fn points(customer_id: impl Into<String>, points: i64) -> Self {
        Self {
            points: Some(points),
            ..Self::nothing(customer_id.into())
        }
    }

    /// Adds points worth `amount`, or deducts them when it is below zero.
    pub fn amount(customer_id: impl Into<String>, amount: Money) -> Self {
        Self {
            amount: Some(amount),
            ..Self::nothing(customer_id.into())
        }
    }

    fn nothing(customer_id: String) -> Self {
        Self {
            customer_id,
            amount: None,
            points: None,
            reason: None,
            transaction_id: None,
            expiry_after: None,
        }
    }

    fn deducts(&self) -> bool {
        self.points.is_some_and(|points| points < 0) || self.amount.is_some_and(Money::is_negative)
    }
}

impl Fields for AdjustmentItem {
    const FIELDS: &'static [Field] = &[
        Field::required("customerId", Kind::Text),
        Field::optional("amount", Kind::Money),
        Field::optional("points", Kind::Integer),
        Field::optional("reason", Kind::Text),
        Field::optional("transactionId", Kind::Text),
        Field::optional("expiryAfter", Kind::Integer),
    ];
}

impl Check for AdjustmentItem {
    fn check(&self) -> Result<(), Failure> {
        item::check_id("customerId", &self.customer_id)?;
        item::check_optional_id("transactionId", &self.transaction_id)?;
        item::check_one_of([
            ("amount", self.amount.is_some()),
            ("points", self.points.is_some()),
        ])?;
        if let Some(amount) = self.amount.filter(|amount| *amount == Money::ZERO) {
            return Err(codes::invalid("amount", amount, "an amount that is not 0"));
        }
        item::check_digits("amount", self.amount)?;
        if let Some(points) = self.points {
            // The limit holds for both signs.
            let size = points.checked_abs().unwrap_or(i64::MAX);
            item::check_points("points", size)?;
        }
        item::check_text("reason", &self.reason)?;
        if let Some(days) = self.expiry_after.filter(|_| self.deducts()) {
            let expected = "nothing: points that are deducted do not expire";
            return Err(codes::invalid("expiryAfter", days, expected));
        }
        item::check_at_most("expiryAfter", self.expiry_after, EXPIRY_DAYS_MAX)
    }
}

impl Adjustment {
    fn post(
        &self,
        item: &AdjustmentItem,
        cx: &mut Context<ExactlyOnce>,
    ) -> Result<AdjustmentOutput, Failure> {
        let program = &*self.program;
        let key = optional_key(item.transaction_id.as_deref(), Number::of(cx).0);
        let content = Content::of(Self::NAME, item)?;
        if item.transaction_id.is_some() {
            refuse_duplicate(cx, &key, "transactionId", &content)?;
        }
        let mut posting = Posting::open(cx, &item.customer_id, Unknown::Refuse)?;
        let (size, field) = match (item.amount, item.points) {
            (Some(amount), _) => {
                let size = item::whole_points("amount", amount.abs(), program.redemption_factor)?;
                (size, "amount")
            }
            (_, Some(points)) => (points.saturating_abs(), "points"),
            // The check has seen to it.
            (None, None) => return Err(codes::missing("points")),
        };
        let points = if item.deducts() {
            posting.spend(Movement::Adjustment, size, field)?;
            -size
        } else {
            let days = item.expiry_after.or(program.points_expiry_days);
            let now = posting.now;
            posting.award(Movement::Adjustment, size, now, days)?;
            size
        };
        let points_balance_after = posting.balance();
        let amount = Money::worth(points, program.redemption_factor);
        let terms = Terms {
            amount: Some(amount),
            reason: item.reason.clone(),
            ..Terms::default()
        };
        posting.close(&key, content, terms)?;
        Ok(AdjustmentOutput {
            customer_id: item.customer_id.clone(),
            points,
            amount,
            points_balance_after,
        })
    }
}

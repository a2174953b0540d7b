//! Redeem: points spent.

use super::codes;
use super::entry::Kind as Movement;
use super::fields::{Field, Fields, Kind};
use super::item::{self, Check, ledger_operation};
use super::money::Money;
use super::object::object;
use super::posting::{Posting, Unknown, refuse_duplicate, refuse_future};
use super::tables::transaction_key;
use super::time::Time;
use super::transaction::{Content, Terms};
use crate::{Context, ExactlyOnce, Failure, Operation};
use serde::{Deserialize, Serialize};

ledger_operation! {
    /// Takes points that are available, what expires first first, or those of a hold.
    ///
    /// Fails with [`DUPLICATE`](codes::DUPLICATE), [`INVALID_TIME`](codes::INVALID_TIME),
    /// [`CUSTOMER_NOT_FOUND`](codes::CUSTOMER_NOT_FOUND), [`INSUFFICIENT_POINTS`](codes::INSUFFICIENT_POINTS),
    /// [`HOLD_NOT_FOUND`](codes::HOLD_NOT_FOUND), and [`INVALID_VALUE`](codes::INVALID_VALUE) when an amount is not
    /// a whole number of points.
    Redeem, "redeem", RedeemItem => RedeemOutput
}

/// Points to take: exactly one of `amount`, `points` and `hold_reference` says how many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
#[non_exhaustive]
pub struct RedeemItem {
    /// Whose points they are.
    pub customer_id: String,
    /// The redemption's id: one with an id that was used before fails.
    pub transaction_id: String,
    /// When it was made.
    pub transaction_time: Time,
    /// As many points as are worth this, above zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Money>,
    /// So many, above zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<i64>,
    /// All points of this hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_reference: Option<String>,
    /// What for; kept with the transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

object!(RedeemItem);

/// What was redeemed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RedeemOutput {
    /// The customer.
    pub customer_id: String,
    /// The redemption's id.
    pub transaction_id: String,
    /// The transaction's number in the ledger.
    pub gameball_transaction_id: u64,
    /// What the points are worth.
    #[serde(deserialize_with = "super::money::read_worth")]
    pub redeem_amount: Money,
    /// The points.
    pub redeem_equivalent_points: i64,
}

impl RedeemItem {
    /// Takes `points`.
    pub fn points(
        customer_id: impl Into<String>,
        transaction_id: impl Into<String>,
        transaction_time: Time,
        points: i64,
    ) -> Self {
        Self {
            points: Some(points),
            ..Self::nothing(customer_id.into(), transaction_id.into(), transaction_time)
        }
    }

    /// Takes points worth `amount`.
    pub fn amount(
        customer_id: impl Into<String>,
        transaction_id: impl Into<String>,
        transaction_time: Time,
        amount: Money,
    ) -> Self {
        Self {
            amount: Some(amount),
            ..Self::nothing(customer_id.into(), transaction_id.into(), transaction_time)
        }
    }

    /// Takes the points of a hold.
    pub fn hold(
        customer_id: impl Into<String>,
        transaction_id: impl Into<String>,
        transaction_time: Time,
        hold_reference: impl Into<String>,
    ) -> Self {
        Self {
            hold_reference: Some(hold_reference.into()),
            ..Self::nothing(customer_id.into(), transaction_id.into(), transaction_time)
        }
    }

    fn nothing(customer_id: String, transaction_id: String, transaction_time: Time) -> Self {
        Self {
            customer_id,
            transaction_id,
            transaction_time,
            amount: None,
            points: None,
            hold_reference: None,
            reason: None,
        }
    }
}

impl Fields for RedeemItem {
    const FIELDS: &'static [Field] = &[
        Field::required("customerId", Kind::Text),
        Field::required("transactionId", Kind::Text),
        Field::required("transactionTime", Kind::Time),
        Field::optional("amount", Kind::Money),
        Field::optional("points", Kind::Integer),
        Field::optional("holdReference", Kind::Text),
        Field::optional("reason", Kind::Text),
    ];
}

impl Check for RedeemItem {
    fn check(&self) -> Result<(), Failure> {
        item::check_id("customerId", &self.customer_id)?;
        item::check_id("transactionId", &self.transaction_id)?;
        item::check_time("transactionTime", self.transaction_time)?;
        item::check_one_of([
            ("amount", self.amount.is_some()),
            ("points", self.points.is_some()),
            ("holdReference", self.hold_reference.is_some()),
        ])?;
        if let Some(amount) = self.amount {
            item::check_amount("amount", amount)?;
        }
        if let Some(points) = self.points {
            item::check_points("points", points)?;
        }
        item::check_text("holdReference", &self.hold_reference)?;
        item::check_text("reason", &self.reason)
    }
}

impl Redeem {
    fn post(
        &self,
        item: &RedeemItem,
        cx: &mut Context<ExactlyOnce>,
    ) -> Result<RedeemOutput, Failure> {
        let factor = self.program.redemption_factor;
        let key = transaction_key(&item.transaction_id);
        let content = Content::of(Self::NAME, item)?;
        refuse_duplicate(cx, &key, "transactionId", &content)?;
        refuse_future(cx, "transactionTime", item.transaction_time)?;

        let mut posting = Posting::open(cx, &item.customer_id, Unknown::Refuse)?;
        let points = match (item.amount, item.points, &item.hold_reference) {
            (Some(amount), _, _) => {
                let points = item::whole_points("amount", amount, factor)?;
                posting.spend(Movement::Redemption, points, "amount")?;
                points
            }
            (_, Some(points), _) => {
                posting.spend(Movement::Redemption, points, "points")?;
                points
            }
            (_, _, Some(reference)) => posting.redeem_hold(reference, "holdReference")?,
            // The check has seen to it.
            (None, None, None) => return Err(codes::missing("points")),
        };
        let number = posting.number;
        let redeem_amount = Money::worth(points, factor);
        let terms = Terms {
            time_ms: Some(item.transaction_time.ms),
            amount: Some(redeem_amount),
            rate: Some(factor),
            reason: item.reason.clone(),
            ..Terms::default()
        };
        posting.close(&key, content, terms)?;
        Ok(RedeemOutput {
            customer_id: item.customer_id.clone(),
            transaction_id: item.transaction_id.clone(),
            gameball_transaction_id: number.0,
            redeem_amount,
            redeem_equivalent_points: points,
        })
    }
}

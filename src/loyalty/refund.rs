//! Refund: a cashback or a redemption reversed, in whole or in parts.

use super::account::Award;
use super::codes;
use super::entry::{Entry, Kind as Movement};
use super::fields::{Field, Fields, Kind};
use super::item::{self, Check, ledger_operation};
use super::lots::{Expiry, Part};
use super::money::{Money, Rate};
use super::object::object;
use super::posting::{Posting, Unknown, refuse_duplicate, refuse_future};
use super::tables::{TRANSACTIONS, transaction_key};
use super::time::Time;
use super::transaction::{Content, Refunded, Terms, Transaction};
use crate::{Context, ExactlyOnce, Failure, Operation};
use serde::{Deserialize, Serialize};

ledger_operation! {
    /// Reverses a cashback or a redemption, never past what is left of it.
    ///
    /// Of a cashback it takes points back, so that full refunds in any number of parts take exactly what was
    /// awarded: what is left of the award itself (of the lot with its dates), then pending points, then available ones; if they are not there it
    /// fails, or leaves a debt where the programme allows that. Of a redemption it gives points back, with the expiry
    /// they had, what expires last first: as if less had been redeemed.
    ///
    /// Fails with [`DUPLICATE`](codes::DUPLICATE), [`INVALID_TIME`](codes::INVALID_TIME),
    /// [`CUSTOMER_NOT_FOUND`](codes::CUSTOMER_NOT_FOUND), [`TRANSACTION_NOT_FOUND`](codes::TRANSACTION_NOT_FOUND),
    /// [`ALREADY_REFUNDED`](codes::ALREADY_REFUNDED), [`INSUFFICIENT_POINTS`](codes::INSUFFICIENT_POINTS),
    /// [`LIMIT_EXCEEDED`](codes::LIMIT_EXCEEDED), and [`INVALID_VALUE`](codes::INVALID_VALUE) when an amount is more
    /// than is left or, of a redemption, not a whole number of points.
    Refund, "refund", RefundItem => RefundOutput
}

/// A transaction to reverse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
#[non_exhaustive]
pub struct RefundItem {
    /// Whose transaction it is.
    pub customer_id: String,
    /// The refund's id: one with an id that was used before fails.
    pub refund_transaction_id: String,
    /// The id of the cashback or the redemption.
    pub reverse_transaction_id: String,
    /// When the refund was made.
    pub transaction_time: Time,
    /// How much, above zero. Default: all that is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_amount: Option<Money>,
}

object!(RefundItem);

/// What was refunded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RefundOutput {
    /// The customer.
    pub customer_id: String,
    /// The refund's id.
    pub refund_transaction_id: String,
    /// The transaction's number in the ledger.
    pub gameball_transaction_id: u64,
    /// How much of the transaction.
    #[serde(deserialize_with = "super::money::read_worth")]
    pub refund_amount: Money,
    /// The points that moved: taken back from the customer, or given back.
    pub refund_equivalent_points: i64,
}

impl RefundItem {
    /// Refunds all that is left of a transaction.
    pub fn new(
        customer_id: impl Into<String>,
        refund_transaction_id: impl Into<String>,
        reverse_transaction_id: impl Into<String>,
        transaction_time: Time,
    ) -> Self {
        Self {
            customer_id: customer_id.into(),
            refund_transaction_id: refund_transaction_id.into(),
            reverse_transaction_id: reverse_transaction_id.into(),
            transaction_time,
            refund_amount: None,
        }
    }
}

impl Fields for RefundItem {
    const FIELDS: &'static [Field] = &[
        Field::required("customerId", Kind::Text),
        Field::required("refundTransactionId", Kind::Text),
        Field::required("reverseTransactionId", Kind::Text),
        Field::required("transactionTime", Kind::Time),
        Field::optional("refundAmount", Kind::Money),
    ];
}

impl Check for RefundItem {
    fn check(&self) -> Result<(), Failure> {
        item::check_id("customerId", &self.customer_id)?;
        item::check_id("refundTransactionId", &self.refund_transaction_id)?;
        item::check_id("reverseTransactionId", &self.reverse_transaction_id)?;
        item::check_time("transactionTime", self.transaction_time)?;
        match self.refund_amount {
            Some(amount) => item::check_amount("refundAmount", amount),
            None => Ok(()),
        }
    }
}

impl Refund {
    fn post(
        &self,
        item: &RefundItem,
        cx: &mut Context<ExactlyOnce>,
    ) -> Result<RefundOutput, Failure> {
        let key = transaction_key(&item.refund_transaction_id);
        let content = Content::of(Self::NAME, item)?;
        refuse_duplicate(cx, &key, "refundTransactionId", &content)?;
        refuse_future(cx, "transactionTime", item.transaction_time)?;

        let mut posting = Posting::open(cx, &item.customer_id, Unknown::Refuse)?;
        let reversed_key = transaction_key(&item.reverse_transaction_id);
        let stored = posting.cx.get(&TRANSACTIONS, reversed_key.as_str())?;
        let own = stored.filter(|stored| stored.customer == item.customer_id);
        let Some(mut reversed) = own else {
            let id = codes::shown(&item.reverse_transaction_id);
            return Err(not_found(format_args!(
                "this customer has no transaction {id:?}"
            )));
        };
        let Some(movement) = Reversible::of(&reversed) else {
            let id = codes::shown(&item.reverse_transaction_id);
            let text = format_args!("transaction {id:?} is neither a cashback nor a redemption");
            return Err(not_found(text));
        };
        // Only now: of anything else there is nothing that could be left.
        let amount = amount_of(item, &reversed)?;
        let points = match movement {
            Reversible::Award(award, rate) => {
                self.reverse_award(&mut posting, &reversed, award, rate, amount)?
            }
            Reversible::Redemption(redemption) => {
                self.give_back(&mut posting, &reversed, redemption, amount)?
            }
        };

        let before = reversed.refunded;
        reversed.refunded = Some(Refunded {
            amount: amount.plus(before.map_or(Money::ZERO, |before| before.amount)),
            points: points + before.map_or(0, |before| before.points),
        });
        posting
            .cx
            .put(&TRANSACTIONS, reversed_key.as_str(), &reversed)?;
        let number = posting.number;
        let terms = Terms {
            time_ms: Some(item.transaction_time.ms),
            amount: Some(amount),
            reverses: Some(item.reverse_transaction_id.clone()),
            ..Terms::default()
        };
        posting.close(&key, content, terms)?;
        Ok(RefundOutput {
            customer_id: item.customer_id.clone(),
            refund_transaction_id: item.refund_transaction_id.clone(),
            gameball_transaction_id: number.0,
            refund_amount: amount,
            refund_equivalent_points: points,
        })
    }

    /// Takes back what the award is too large by, now that so much of the purchase is refunded.
    fn reverse_award(
        &self,
        posting: &mut Posting<'_>,
        cashback: &Transaction,
        award: Award,
        rate: Rate,
        amount: Money,
    ) -> Result<i64, Failure> {
        let all = cashback.terms.amount.unwrap_or(Money::ZERO);
        let (refunded, reversed) = refunded_of(cashback);
        let kept = all
            .minus(refunded)
            .minus(amount)
            .points_at(rate)
            .unwrap_or(0);
        let points = award.points - kept - reversed;
        posting.reverse(Award { points, ..award }, self.program.allow_negative)?;
        Ok(points)
    }

    /// Gives back points of a redemption.
    fn give_back(
        &self,
        posting: &mut Posting<'_>,
        transaction: &Transaction,
        redemption: &Entry,
        amount: Money,
    ) -> Result<i64, Failure> {
        let (refunded, returned) = refunded_of(transaction);
        let left = transaction.terms.amount.map(|all| all.minus(refunded));
        let points = if left == Some(amount) {
            // All that is left, whatever a point is worth by now.
            -redemption.points - returned
        } else {
            // What a point was worth then.
            let worth = transaction
                .terms
                .rate
                .unwrap_or(self.program.redemption_factor);
            item::whole_points("refundAmount", amount, worth)?
        };
        let now = posting.now;
        let grace = self.program.refund_grace_days;
        let parts = parts_from_the_end(&redemption.parts, returned, points);
        let parts = parts.into_iter().map(|Part(expiry, points)| {
            if grace > 0 && expiry.has_come(now) {
                Part(Expiry::days_after(now, grace), points)
            } else {
                Part(expiry, points)
            }
        });
        posting.give_back(parts.collect())?;
        Ok(points)
    }
}

fn not_found(text: impl std::fmt::Display) -> Failure {
    codes::failure(codes::TRANSACTION_NOT_FOUND, "reverseTransactionId", text)
}

fn refunded_of(transaction: &Transaction) -> (Money, i64) {
    transaction
        .refunded
        .map_or((Money::ZERO, 0), |before| (before.amount, before.points))
}

/// How much of the transaction is to be refunded.
fn amount_of(item: &RefundItem, transaction: &Transaction) -> Result<Money, Failure> {
    let all = transaction.terms.amount.unwrap_or(Money::ZERO);
    let left = all.minus(refunded_of(transaction).0);
    if transaction.refunded.is_some() && !left.is_positive() {
        let id = codes::shown(&item.reverse_transaction_id);
        let text = format!("all of transaction {id:?} was refunded before");
        return Err(codes::failure(
            codes::ALREADY_REFUNDED,
            "reverseTransactionId",
            text,
        ));
    }
    match item.refund_amount {
        Some(amount) if amount > left => {
            let expected = format_args!(
                "at most {left}, which is left of transaction {:?}",
                codes::shown(&item.reverse_transaction_id)
            );
            Err(codes::invalid("refundAmount", amount, expected))
        }
        Some(amount) => Ok(amount),
        None => Ok(left),
    }
}

/// What of a transaction can be reversed.
enum Reversible<'a> {
    /// What a cashback awarded, and at which rate.
    Award(Award, Rate),
    Redemption(&'a Entry),
}

impl<'a> Reversible<'a> {
    fn of(transaction: &'a Transaction) -> Option<Self> {
        transaction
            .entries
            .iter()
            .find_map(|entry| match entry.kind {
                Movement::Cashback => {
                    let expiry = entry.parts.first().map_or(Expiry::NEVER, |part| part.0);
                    let award = Award {
                        points: entry.points,
                        from: entry.from(),
                        expiry,
                    };
                    Some(Self::Award(award, transaction.terms.rate?))
                }
                Movement::Redemption => Some(Self::Redemption(entry)),
                _ => None,
            })
    }
}

/// `points` of the parts, from their end, after `skip` points from there.
fn parts_from_the_end(parts: &[Part], skip: i64, points: i64) -> Vec<Part> {
    let (mut skip, mut left) = (skip, points);
    let mut taken = Vec::new();
    for Part(expiry, size) in parts.iter().rev() {
        let skipped = skip.min(*size);
        skip -= skipped;
        let part = left.min(size - skipped);
        left -= part;
        if part > 0 {
            taken.push(Part(*expiry, part));
        }
    }
    taken
}

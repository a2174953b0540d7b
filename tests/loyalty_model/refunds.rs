//! Refunds, in the model.

use crate::account::{Customer, Writer};
use crate::dates::start_of;
use crate::decimal::Decimal;
use crate::items::Item;
use crate::json::{object, quoted};
use crate::ledger::{Fault, Ledger, Nature, Place, expiry_after, fault, whole};

impl Ledger {
    pub(crate) fn refund(&mut self, item: &Item, at: Place<'_>) -> Result<String, Fault> {
        let Item::Refund {
            customer: id,
            id: transaction,
            reverses,
            time,
            amount,
        } = item
        else {
            unreachable!("of another operation");
        };
        let key = format!("t{transaction}");
        self.refuse_duplicate(&key, "refundTransactionId", item)?;
        Self::refuse_future(*time, "transactionTime", at)?;
        let mut customer = self.open(id, false, at.now)?;
        let reversed_key = format!("t{reverses}");
        let reversed = self.transactions.get(&reversed_key);
        let own = reversed.filter(|reversed| reversed.customer() == Some(id.as_str()));
        let unknown = || fault("9002", "reverseTransactionId");
        let mut nature = own.ok_or_else(unknown)?.nature.clone();
        let (amount, points) = match &mut nature {
            Nature::Cashback { .. } => refund_cashback(&mut customer, &mut nature, *amount, at)?,
            Nature::Redemption { .. } => {
                refund_redemption(&mut customer, &mut nature, *amount, at)?
            }
            Nature::Other => return Err(unknown()),
        };
        let said = Writer {
            time: Some(*time),
            amount: Some(amount),
            reverses: Some(reverses.clone()),
            ..Writer::default()
        };
        self.close(id, customer, key, item, Nature::Other, said, at)?;
        if let Some(reversed) = self.transactions.get_mut(&reversed_key) {
            reversed.nature = nature;
        }
        Ok(object([
            ("customerId", quoted(id)),
            ("refundTransactionId", quoted(transaction)),
            ("gameballTransactionId", at.number().to_string()),
            ("refundAmount", amount.to_string()),
            ("refundEquivalentPoints", points.to_string()),
        ]))
    }
}

/// How much is refunded, of what is left.
fn refunded(asked: Option<Decimal>, left: Decimal) -> Result<Decimal, Fault> {
    if left == Decimal::ZERO {
        return Err(fault("9001", "reverseTransactionId"));
    }
    match asked {
        Some(amount) if amount > left => Err(fault("3003", "refundAmount")),
        Some(amount) => Ok(amount),
        None => Ok(left),
    }
}

fn refund_cashback(
    customer: &mut Customer,
    nature: &mut Nature,
    asked: Option<Decimal>,
    at: Place<'_>,
) -> Result<(Decimal, i64), Fault> {
    let Nature::Cashback {
        paid,
        rate,
        points: awarded,
        from,
        expiry,
        refunded: before,
        taken_back,
    } = nature
    else {
        unreachable!("it is a cashback");
    };
    let amount = refunded(asked, Decimal(paid.0 - before.0))?;
    before.0 += amount.0;
    // As if so much less had been paid.
    let kept = Decimal(paid.0 - before.0).points_at(*rate).unwrap_or(0);
    let points = *awarded - kept - *taken_back;
    *taken_back += points;
    customer
        .take_back(points, *from, *expiry, at.rules.allow_negative, at.now)
        .map_err(|_| fault("9008", "refundAmount"))?;
    Ok((amount, points))
}

fn refund_redemption(
    customer: &mut Customer,
    nature: &mut Nature,
    asked: Option<Decimal>,
    at: Place<'_>,
) -> Result<(Decimal, i64), Fault> {
    let Nature::Redemption { factor, out, left } = nature else {
        unreachable!("it is a redemption");
    };
    let amount = refunded(asked, *left)?;
    let points = whole("refundAmount", amount, *factor)?;
    left.0 -= amount.0;
    let mut back = Vec::new();
    let mut missing = points;
    while let Some((expiry, last)) = out.last_mut().filter(|_| missing > 0) {
        let part = missing.min(*last);
        back.push((*expiry, part));
        *last -= part;
        missing -= part;
        if *last == 0 {
            out.pop();
        }
    }
    let grace = at.rules.grace_days;
    for (expiry, _) in &mut back {
        let has_expired = expiry.is_some_and(|day| start_of(day) <= at.now);
        if has_expired && grace > 0 {
            *expiry = expiry_after(at.now, Some(grace));
        }
    }
    customer
        .give_back(&back, at.now)
        .map_err(|_| fault("3011", "customerId"))?;
    Ok((amount, points))
}

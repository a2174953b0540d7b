//! Posting: how an item moves a customer's points.
//!
//! Opened, moved, closed: an account is brought up to now, its points are moved, and the account and one transaction
//! with all entries are written. An item that fails on the way has written nothing.

use super::account::{Account, Award, HOLDS_MAX, LOTS_MAX, Refused};
use super::codes;
use super::entry::{Entry, Kind};
use super::lots::{Expiry, Part};
use super::money::POINTS_MAX;
use super::tables::{ACCOUNTS, TRANSACTIONS};
use super::time::Time;
use super::transaction::{Content, Number, Original, Terms, Transaction};
use crate::{Context, ExactlyOnce, Failure, TableError};
use std::time::Duration;

/// How far in the future the time of a transaction may be: clocks differ.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// Hundreds of expired dates and hundreds of refunded ones in one transaction are more than a row may be. The expired
/// ones alone are not: the customer's next transaction writes them down.
fn too_large(error: TableError) -> Failure {
    match error {
        TableError::ValueTooLarge { bytes, limit, .. } => {
            let found = format_args!("a transaction of {bytes} bytes");
            codes::too_much("customerId", found, limit)
        }
        other => other.into(),
    }
}

/// What becomes of an item for a customer that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    Create,
    Refuse,
}

impl Unknown {
    pub(super) fn create_if(create: bool) -> Self {
        if create { Self::Create } else { Self::Refuse }
    }
}

/// Fails when there is a transaction under `key`, whose id is in `field`.
pub(super) fn refuse_duplicate(
    cx: &mut Context<ExactlyOnce>,
    key: &str,
    field: &str,
    content: &Content,
) -> Result<(), Failure> {
    let Some(transaction) = cx.get(&TRANSACTIONS, key)? else {
        return Ok(());
    };
    let original = Original::new(&transaction, content);
    let text = format!(
        "{field} was used before, by item {} of batch {}",
        original.index, original.job_id
    );
    Err(codes::failure(codes::DUPLICATE, field, text).details(original.details()))
}

/// Fails when a time is in the future.
pub(super) fn refuse_future(
    cx: &Context<ExactlyOnce>,
    field: &str,
    time: Time,
) -> Result<(), Failure> {
    let now = Time::from(cx.now());
    if time > now.plus(CLOCK_SKEW) {
        let text = format!("{field} is {time}, more than 5 minutes after now ({now})");
        return Err(codes::failure(codes::INVALID_TIME, field, text));
    }
    Ok(())
}

/// Fails when there is no such customer.
pub(super) fn require_customer(
    cx: &mut Context<ExactlyOnce>,
    customer: &str,
) -> Result<(), Failure> {
    match cx.get(&ACCOUNTS, customer)? {
        Some(_) => Ok(()),
        None => Err(codes::unknown_customer(customer)),
    }
}

/// The account of a customer while an item moves its points.
pub(super) struct Posting<'a> {
    pub(super) cx: &'a mut Context<ExactlyOnce>,
    pub(super) now: Time,
    pub(super) number: Number,
    /// The customer did not exist before.
    pub(super) is_new: bool,
    customer: &'a str,
    account: Account,
    entries: Vec<Entry>,
}

impl<'a> Posting<'a> {
    /// Opens the account, brought up to now.
    pub(super) fn open(
        cx: &'a mut Context<ExactlyOnce>,
        customer: &'a str,
        unknown: Unknown,
    ) -> Result<Self, Failure> {
        let stored = cx.get(&ACCOUNTS, customer)?;
        let is_new = stored.is_none();
        if is_new && unknown == Unknown::Refuse {
            return Err(codes::unknown_customer(customer));
        }
        let now = Time::from(cx.now());
        let mut account = stored.unwrap_or_default();
        let mut entries = Vec::new();
        account.settle(now, &mut entries);
        Ok(Self {
            number: Number::of(cx),
            cx,
            now,
            is_new,
            customer,
            account,
            entries,
        })
    }

    pub(super) fn balance(&self) -> i64 {
        self.account.balance()
    }

    /// Awards points that become available at `from` and are valid for `days` from then, or for ever.
    pub(super) fn award(
        &mut self,
        kind: Kind,
        points: i64,
        from: Time,
        days: Option<u32>,
    ) -> Result<(), Failure> {
        let past_limit = self.account.balance().saturating_add(points) > POINTS_MAX
            || self.account.earned.checked_add(points).is_none();
        if past_limit {
            let text = format!(
                "{points} points more would be past the limit of {POINTS_MAX} for one customer"
            );
            return Err(codes::failure(codes::LIMIT_EXCEEDED, "customerId", text));
        }
        let award = Award {
            points,
            from,
            expiry: days.map_or(Expiry::NEVER, |days| Expiry::days_after(from, days)),
        };
        let entry = self.account.award(kind, award, self.now);
        self.entries.push(entry);
        Ok(())
    }

    /// Takes available points.
    pub(super) fn spend(&mut self, kind: Kind, points: i64, field: &str) -> Result<(), Failure> {
        match self.account.spend(kind, points) {
            Ok(entry) => {
                self.entries.push(entry);
                Ok(())
            }
            Err(Refused::Insufficient) => Err(self.insufficient(field, points)),
        }
    }

    fn insufficient(&self, field: &str, points: i64) -> Failure {
        let available = self.account.available();
        let text = format!("{points} points are wanted, {available} are available");
        codes::failure(codes::INSUFFICIENT_POINTS, field, text)
    }

    /// Reserves available points until a time.
    pub(super) fn hold(&mut self, points: i64, until: Time, field: &str) -> Result<(), Failure> {
        if self.account.holds.len() >= HOLDS_MAX {
            let found = format_args!("{HOLDS_MAX} holds already");
            return Err(codes::too_much("customerId", found, HOLDS_MAX));
        }
        match self.account.hold(self.number.0, points, until) {
            Ok(entry) => {
                self.entries.push(entry);
                Ok(())
            }
            Err(Refused::Insufficient) => Err(self.insufficient(field, points)),
        }
    }

    /// Takes the points of a hold, and says how many.
    pub(super) fn redeem_hold(&mut self, reference: &str, field: &str) -> Result<i64, Failure> {
        let number = super::hold::number_of(reference);
        let entry = number.and_then(|number| self.account.redeem_hold(number));
        let Some(entry) = entry else {
            let text = format!(
                "there is no hold {:?} of this customer, or it has expired or was redeemed",
                codes::shown(reference)
            );
            return Err(codes::failure(codes::HOLD_NOT_FOUND, field, text));
        };
        let points = -entry.points;
        self.entries.push(entry);
        Ok(points)
    }

    /// Takes back points of an award.
    pub(super) fn reverse(&mut self, award: Award, may_owe: bool) -> Result<(), Failure> {
        let points = award.points;
        if self.account.balance().saturating_sub(points) < -POINTS_MAX {
            let text = format!(
                "{points} points less would be past the limit of {POINTS_MAX} points of debt"
            );
            return Err(codes::failure(codes::LIMIT_EXCEEDED, "customerId", text));
        }
        match self.account.reverse(award, may_owe, self.now) {
            Ok(entry) => {
                self.entries.push(entry);
                Ok(())
            }
            Err(Refused::Insufficient) => {
                let left = self.account.available() + self.account.pending();
                let text = format!("{points} points are to be taken back, {left} are there");
                Err(codes::failure(
                    codes::INSUFFICIENT_POINTS,
                    "refundAmount",
                    text,
                ))
            }
        }
    }

    /// Gives back points of a redemption.
    pub(super) fn give_back(&mut self, parts: Vec<Part>) -> Result<(), Failure> {
        let points = super::lots::sum(&parts);
        if self.account.balance().saturating_add(points) > POINTS_MAX {
            let text = format!(
                "{points} points more would be past the limit of {POINTS_MAX} for one customer"
            );
            return Err(codes::failure(codes::LIMIT_EXCEEDED, "customerId", text));
        }
        let entry = self.account.give_back(parts);
        self.entries.push(entry);
        Ok(())
    }

    /// Writes the account and, under `key`, the transaction.
    pub(super) fn close(
        mut self,
        key: &str,
        content: Content,
        terms: Terms,
    ) -> Result<(), Failure> {
        // What came in may have expired already.
        self.account.settle(self.now, &mut self.entries);
        let dates = self.account.dates();
        if dates > LOTS_MAX {
            let found = format_args!("points with {dates} different dates");
            return Err(codes::too_much("customerId", found, LOTS_MAX));
        }
        self.account.number += 1;
        let transaction = Transaction {
            customer: self.customer.to_owned(),
            place: self.account.number,
            previous: self.account.last.replace(key.to_owned()),
            number: self.number,
            at_ms: self.now.ms,
            content,
            entries: self.entries,
            terms,
            refunded: None,
        };
        self.cx
            .put(&TRANSACTIONS, key, &transaction)
            .map_err(too_large)?;
        self.cx.put(&ACCOUNTS, self.customer, &self.account)?;
        Ok(())
    }
}

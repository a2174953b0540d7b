//! A customer's account: what there is of points, and how time changes it. Pure.
//!
//! The balance is what belongs to the customer: available, pending and held points, less a debt. It changes by
//! movements only, each of which is an entry: see `entry`. An account is brought up to a moment before anything else
//! is done with it; to bring it there in one step or in several comes to the same.

use super::entry::{Entry, Kind};
use super::lots::{Expiry, Lots, Part, sum};
use super::time::Time;
use serde::{Deserialize, Serialize};

/// Different dates that the points of one customer may have, held ones included. With them and [`HOLDS_MAX`] holds an
/// account's row stays below 48 KiB.
pub const LOTS_MAX: usize = 1_280;

/// Holds that one customer may have at once.
pub const HOLDS_MAX: usize = 64;

/// The row of a customer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    /// Transactions on the customer's chain.
    #[serde(rename = "n")]
    pub(super) number: u64,
    /// The key of the last of them.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub(super) last: Option<String>,
    /// Points awarded so far, less those that refunds took back.
    #[serde(rename = "e")]
    pub(super) earned: i64,
    #[serde(rename = "l", default, skip_serializing_if = "Lots::is_empty")]
    pub(super) lots: Lots,
    #[serde(rename = "h", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) holds: Vec<Hold>,
    /// Points that a refund could not take back. While there is a debt nothing is available.
    #[serde(rename = "d", default, skip_serializing_if = "is_zero")]
    pub(super) debt: i64,
}

fn is_zero(points: &i64) -> bool {
    *points == 0
}

/// Points that are reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hold {
    /// The number of the transaction that made it.
    #[serde(rename = "r")]
    pub(super) number: u64,
    #[serde(rename = "x")]
    until_ms: i64,
    /// Where the points go back to. They do not expire while they are held.
    #[serde(rename = "l")]
    parts: Vec<Part>,
}

impl Hold {
    pub(super) fn points(&self) -> i64 {
        sum(&self.parts)
    }

    fn until(&self) -> Time {
        Time::from_ms(self.until_ms)
    }
}

/// Points of one award.
#[derive(Debug, Clone, Copy)]
pub(super) struct Award {
    pub(super) points: i64,
    pub(super) from: Time,
    pub(super) expiry: Expiry,
}

/// What an account cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Insufficient,
}

impl Account {
    pub(super) fn held(&self) -> i64 {
        self.holds.iter().map(Hold::points).sum()
    }

    pub(super) fn pending(&self) -> i64 {
        self.lots.pending()
    }

    /// What can be spent; below zero when there is a debt.
    pub(super) fn available(&self) -> i64 {
        self.lots.available() - self.debt
    }

    pub(super) fn balance(&self) -> i64 {
        self.available() + self.pending() + self.held()
    }

    /// Different dates, those of held points included.
    pub(super) fn dates(&self) -> usize {
        let held: usize = self.holds.iter().map(|hold| hold.parts.len()).sum();
        self.lots.len() + held
    }

    /// Brings the account to `now`: points become available and pay the debt, holds lapse, points expire, each at
    /// its time. What moves is appended to `entries`.
    pub(super) fn settle(&mut self, now: Time, entries: &mut Vec<Entry>) {
        while let Some(time) = self.next_change().filter(|time| *time <= now) {
            self.lots.mature(time);
            self.lapse(time, entries);
            self.pay_debt();
            let before = self.balance();
            let expired = self.lots.expire(time);
            if !expired.is_empty() {
                let entry = Entry::moved(Kind::Expiry, before, -sum(&expired)).at(time);
                entry.with_parts(expired).join(entries);
            }
        }
    }

    fn next_change(&self) -> Option<Time> {
        let holds = self.holds.iter().map(Hold::until).min();
        [self.lots.next_change(), holds].into_iter().flatten().min()
    }

    fn lapse(&mut self, now: Time, entries: &mut Vec<Entry>) {
        // Held points are part of the balance: it stays.
        let balance = self.balance();
        let is_over = |hold: &mut Hold| hold.until() <= now;
        let lapsed: Vec<_> = self.holds.extract_if(.., is_over).collect();
        for hold in lapsed {
            let entry = Entry::moved(Kind::HoldExpiry, balance, 0).held(-hold.points());
            entry.of(hold.number).at(hold.until()).join(entries);
            self.lots.put_back(hold.parts);
        }
    }

    fn pay_debt(&mut self) {
        if self.debt > 0 {
            self.debt -= sum(&self.lots.take_available(self.debt));
        }
    }

    pub(super) fn award(&mut self, kind: Kind, award: Award, now: Time) -> Entry {
        let before = self.balance();
        let part = Part(award.expiry, award.points);
        self.lots.add(award.from, part, now);
        self.earned += award.points;
        self.pay_debt();
        let entry = Entry::moved(kind, before, award.points);
        entry.with_parts(vec![part]).available_from(award.from, now)
    }

    /// Takes points that are available, oldest expiry first.
    pub(super) fn spend(&mut self, kind: Kind, points: i64) -> Result<Entry, Refused> {
        if self.available() < points {
            return Err(Refused::Insufficient);
        }
        let before = self.balance();
        let parts = self.lots.take_available(points);
        Ok(Entry::moved(kind, before, -points).with_parts(parts))
    }

    /// Reserves points that are available.
    pub(super) fn hold(&mut self, number: u64, points: i64, until: Time) -> Result<Entry, Refused> {
        if self.available() < points {
            return Err(Refused::Insufficient);
        }
        let balance = self.balance();
        let parts = self.lots.take_available(points);
        self.holds.push(Hold {
            number,
            until_ms: until.ms,
            parts,
        });
        Ok(Entry::moved(Kind::Hold, balance, 0).held(points).of(number))
    }

    /// Takes the points of a hold; `None` when there is none of this number.
    pub(super) fn redeem_hold(&mut self, number: u64) -> Option<Entry> {
        let before = self.balance();
        let at = self.holds.iter().position(|hold| hold.number == number)?;
        let hold = self.holds.remove(at);
        let entry = Entry::moved(Kind::Redemption, before, -hold.points());
        Some(entry.held(-hold.points()).of(number).with_parts(hold.parts))
    }

    /// Takes back points of an award.
    pub(super) fn reverse(
        &mut self,
        award: Award,
        may_owe: bool,
        now: Time,
    ) -> Result<Entry, Refused> {
        let Award {
            points,
            from,
            expiry,
        } = award;
        let before = self.balance();
        // With a debt there is nothing available: what is pending can be taken all the same.
        if !may_owe && self.lots.available() + self.pending() < points {
            return Err(Refused::Insufficient);
        }
        let taken = self.lots.take_reversed(from, expiry, points, now);
        self.debt += points - sum(&taken);
        self.earned -= points;
        Ok(Entry::moved(Kind::Refund, before, -points))
    }

    /// Gives back points of a redemption.
    pub(super) fn give_back(&mut self, parts: Vec<Part>) -> Entry {
        let before = self.balance();
        let points = sum(&parts);
        self.lots.put_back(parts.iter().copied());
        self.pay_debt();
        Entry::moved(Kind::Refund, before, points).with_parts(parts)
    }
}

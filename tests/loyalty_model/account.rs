//! A customer in the model: every award is a lot of its own, time passes event by event, entries are a list.

use crate::dates::{DAY_MS, HOUR_MS, start_of};
use crate::decimal::{Decimal, POINTS_MAX};
use std::collections::{BTreeMap, BTreeSet};

/// The day with whose start points expire; none for never.
pub(crate) type Expiry = Option<i64>;

/// Points that expire together.
pub(crate) type Part = (Expiry, i64);

const HOLDS_MAX: usize = 64;
const DATES_MAX: usize = 1_280;
const PENDING_MAX: usize = 256;

/// Never is after every day.
pub(crate) fn late(expiry: Expiry) -> i64 {
    expiry.unwrap_or(i64::MAX)
}

fn is_over(expiry: Expiry, now: i64) -> bool {
    expiry.is_some_and(|day| start_of(day) <= now)
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lot {
    /// When the points become available; none once they are.
    pub(crate) from: Option<i64>,
    pub(crate) expiry: Expiry,
    pub(crate) points: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hold {
    pub(crate) number: u64,
    pub(crate) until: i64,
    pub(crate) parts: Vec<Part>,
}

impl Hold {
    pub(crate) fn points(&self) -> i64 {
        sum(&self.parts)
    }
}

pub(crate) fn sum(parts: &[Part]) -> i64 {
    parts.iter().map(|(_, points)| points).sum()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Cashback,
    Redemption,
    Adjustment,
    Refund,
    Hold,
    HoldExpiry,
    Expiry,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cashback => "cashback",
            Self::Redemption => "redemption",
            Self::Adjustment => "adjustment",
            Self::Refund => "refund",
            Self::Hold => "hold",
            Self::HoldExpiry => "holdExpiry",
            Self::Expiry => "expiry",
        }
    }

    /// It comes with time, and not with an item.
    pub(crate) fn is_due(self) -> bool {
        matches!(self, Self::HoldExpiry | Self::Expiry)
    }
}

/// A line in a customer's history.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) points: i64,
    pub(crate) before: i64,
    pub(crate) held: Option<i64>,
    pub(crate) hold: Option<u64>,
    pub(crate) at: i64,
    pub(crate) from: Option<i64>,
    pub(crate) expiry: Expiry,
    pub(crate) written_by: Writer,
}

/// The transaction that an entry is of, as history tells it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Writer {
    /// The customer's transactions up to this one.
    pub(crate) place: u64,
    pub(crate) number: u64,
    pub(crate) transaction: Option<String>,
    pub(crate) order: Option<String>,
    pub(crate) time: Option<i64>,
    pub(crate) amount: Option<Decimal>,
    pub(crate) reverses: Option<String>,
    pub(crate) reason: Option<String>,
}

/// Why points cannot be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum No {
    TooFew,
    TooMany,
    NotHeld,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Customer {
    pub(crate) lots: Vec<Lot>,
    pub(crate) holds: Vec<Hold>,
    pub(crate) debt: i64,
    pub(crate) earned: i64,
    pub(crate) transactions: u64,
    /// Entries that the item which is running has written.
    fresh: Vec<Entry>,
}

impl Customer {
    pub(crate) fn available(&self) -> i64 {
        let lots = self.lots.iter().filter(|lot| lot.from.is_none());
        lots.map(|lot| lot.points).sum::<i64>() - self.debt
    }

    pub(crate) fn pending(&self) -> i64 {
        let lots = self.lots.iter().filter(|lot| lot.from.is_some());
        lots.map(|lot| lot.points).sum()
    }

    pub(crate) fn balance(&self) -> i64 {
        let held: i64 = self.holds.iter().map(Hold::points).sum();
        self.available() + self.pending() + held
    }

    /// The points that expire next.
    pub(crate) fn next_expiring(&self) -> Option<(i64, i64)> {
        let next = self.lots.iter().filter_map(|lot| lot.expiry).min()?;
        let lots = self.lots.iter().filter(|lot| lot.expiry == Some(next));
        Some((next, lots.map(|lot| lot.points).sum()))
    }

    /// The moments at which time changes something by itself.
    pub(crate) fn moments(&self) -> Vec<i64> {
        let lots = self.lots.iter();
        let lots = lots.flat_map(|lot| [lot.from, lot.expiry.map(start_of)]);
        let holds = self.holds.iter().map(|hold| Some(hold.until));
        lots.chain(holds).flatten().collect()
    }

    fn write(&mut self, kind: Kind, points: i64, at: i64) -> &mut Entry {
        let before = self.balance();
        self.fresh.push(Entry {
            kind,
            points,
            before,
            held: None,
            hold: None,
            at,
            from: None,
            expiry: None,
            written_by: Writer::default(),
        });
        let last = self.fresh.len() - 1;
        &mut self.fresh[last]
    }

    /// Lets time pass up to now.
    pub(crate) fn settle(&mut self, now: i64) {
        while let Some(at) = self.moments().into_iter().min().filter(|at| *at <= now) {
            for lot in &mut self.lots {
                if lot.from.is_some_and(|from| from <= at) {
                    lot.from = None;
                }
            }
            while let Some(index) = self.holds.iter().position(|hold| hold.until <= at) {
                let Hold {
                    number,
                    until,
                    parts,
                } = self.holds[index].clone();
                let entry = self.write(Kind::HoldExpiry, 0, until);
                (entry.held, entry.hold) = (Some(-sum(&parts)), Some(number));
                self.holds.remove(index);
                self.put_back(&parts);
            }
            self.pay_debt();
            let expired = self.lots.iter().filter(|lot| is_over(lot.expiry, at));
            let points: i64 = expired.map(|lot| lot.points).sum();
            if points > 0 {
                self.write_expiry(points, at);
                self.lots.retain(|lot| !is_over(lot.expiry, at));
            }
        }
    }

    /// What expires one after the other, with nothing between, is one line.
    fn write_expiry(&mut self, points: i64, at: i64) {
        match self.fresh.last_mut() {
            Some(last) if last.kind == Kind::Expiry => {
                last.points -= points;
                last.at = at;
            }
            _ => {
                self.write(Kind::Expiry, -points, at);
            }
        }
    }

    fn pay_debt(&mut self) {
        let paid = self.take_available(self.debt);
        self.debt -= sum(&paid);
    }

    fn put_back(&mut self, parts: &[Part]) {
        self.lots.extend(parts.iter().map(|(expiry, points)| Lot {
            from: None,
            expiry: *expiry,
            points: *points,
        }));
    }

    /// Takes up to so many points of the lots that count, first those that come first.
    fn take<K: Ord>(
        &mut self,
        points: i64,
        counts: impl Fn(&Lot) -> bool,
        place: impl Fn(&Lot) -> K,
    ) -> Vec<Part> {
        let mut left = points;
        let mut taken = Vec::new();
        while left > 0 {
            let lots = self.lots.iter_mut().filter(|lot| counts(lot));
            let Some(lot) = lots.min_by_key(|lot| place(lot)) else {
                break;
            };
            let part = left.min(lot.points);
            lot.points -= part;
            left -= part;
            taken.push((lot.expiry, part));
            self.lots.retain(|lot| lot.points > 0);
        }
        taken
    }

    fn take_available(&mut self, points: i64) -> Vec<Part> {
        self.take(points, |lot| lot.from.is_none(), |lot| late(lot.expiry))
    }

    pub(crate) fn award(
        &mut self,
        kind: Kind,
        points: i64,
        from: i64,
        expiry: Expiry,
        now: i64,
    ) -> Result<(), No> {
        if self.balance() + points > POINTS_MAX {
            return Err(No::TooMany);
        }
        let pending_from = (from > now).then_some(from);
        let entry = self.write(kind, points, now);
        entry.from = pending_from;
        // No points do not expire.
        entry.expiry = expiry.filter(|_| points > 0);
        if points > 0 {
            self.lots.push(Lot {
                from: pending_from,
                expiry,
                points,
            });
        }
        self.earned += points;
        self.round_pending();
        self.pay_debt();
        Ok(())
    }

    /// Pending dates beyond the limit are rounded up, unless the points had expired by then.
    fn round_pending(&mut self) {
        for step in [HOUR_MS, DAY_MS] {
            let pending = self.lots.iter().filter(|lot| lot.from.is_some());
            let dates: BTreeSet<_> = pending.map(|lot| (lot.from, lot.expiry)).collect();
            if dates.len() <= PENDING_MAX {
                continue;
            }
            for lot in &mut self.lots {
                let up = lot
                    .from
                    .map(|from| (from + step - 1).div_euclid(step) * step);
                if up.is_some_and(|up| !is_over(lot.expiry, up)) {
                    lot.from = up;
                }
            }
        }
    }

    pub(crate) fn spend(&mut self, kind: Kind, points: i64, now: i64) -> Result<Vec<Part>, No> {
        if self.available() < points {
            return Err(No::TooFew);
        }
        self.write(kind, -points, now);
        Ok(self.take_available(points))
    }

    pub(crate) fn hold(
        &mut self,
        number: u64,
        points: i64,
        until: i64,
        now: i64,
    ) -> Result<(), No> {
        if self.holds.len() == HOLDS_MAX {
            return Err(No::TooMany);
        }
        if self.available() < points {
            return Err(No::TooFew);
        }
        let entry = self.write(Kind::Hold, 0, now);
        (entry.held, entry.hold) = (Some(points), Some(number));
        let parts = self.take_available(points);
        self.holds.push(Hold {
            number,
            until,
            parts,
        });
        Ok(())
    }

    pub(crate) fn redeem_hold(&mut self, reference: &str, now: i64) -> Result<Vec<Part>, No> {
        let named = |hold: &Hold| format!("hold-{}", hold.number) == reference;
        let index = self.holds.iter().position(named).ok_or(No::NotHeld)?;
        let Hold { number, parts, .. } = self.holds[index].clone();
        let points = sum(&parts);
        let entry = self.write(Kind::Redemption, -points, now);
        (entry.held, entry.hold) = (Some(-points), Some(number));
        self.holds.remove(index);
        Ok(parts)
    }

    /// Takes back points of an award: those of its dates, then what else is pending, what becomes available first
    /// first, then what else is available.
    pub(crate) fn take_back(
        &mut self,
        points: i64,
        from: Option<i64>,
        expiry: Expiry,
        may_owe: bool,
        now: i64,
    ) -> Result<(), No> {
        let there = self.available() + self.debt + self.pending();
        if points > there && !may_owe {
            return Err(No::TooFew);
        }
        self.write(Kind::Refund, -points, now);
        let from = from.filter(|from| *from > now);
        let is_own = |lot: &Lot| (lot.from, lot.expiry) == (from, expiry);
        let own = self.take(points, is_own, |_| ());
        let left = points - sum(&own);
        let pending = |lot: &Lot| lot.from.is_some();
        let others = self.take(left, pending, |lot| (lot.from, late(lot.expiry)));
        let left = left - sum(&others);
        let available = self.take_available(left);
        self.debt += left - sum(&available);
        self.earned -= points;
        Ok(())
    }

    pub(crate) fn give_back(&mut self, parts: &[Part], now: i64) -> Result<(), No> {
        let points = sum(parts);
        if self.balance() + points > POINTS_MAX {
            return Err(No::TooMany);
        }
        self.write(Kind::Refund, points, now);
        self.put_back(parts);
        self.pay_debt();
        Ok(())
    }

    /// The points by their dates: available ones are under no date.
    pub(crate) fn merged_lots(&self) -> BTreeMap<(Option<i64>, Expiry), i64> {
        let mut merged = BTreeMap::new();
        for lot in &self.lots {
            *merged.entry((lot.from, lot.expiry)).or_default() += lot.points;
        }
        merged
    }

    pub(crate) fn merged_holds(&self) -> Vec<(u64, i64, BTreeMap<Expiry, i64>)> {
        let merge = |hold: &Hold| {
            let mut merged = BTreeMap::new();
            for (expiry, points) in &hold.parts {
                *merged.entry(*expiry).or_default() += points;
            }
            (hold.number, hold.until, merged)
        };
        self.holds.iter().map(merge).collect()
    }

    /// Ends a transaction, and gives its entries.
    pub(crate) fn close(&mut self, writer: Writer, now: i64) -> Result<Vec<Entry>, No> {
        // What came in may have expired already.
        self.settle(now);
        let held = self.merged_holds();
        let held: usize = held.iter().map(|(_, _, parts)| parts.len()).sum();
        if self.merged_lots().len() + held > DATES_MAX {
            return Err(No::TooMany);
        }
        self.transactions += 1;
        let mut entries = std::mem::take(&mut self.fresh);
        for entry in &mut entries {
            entry.written_by = Writer {
                place: self.transactions,
                ..writer.clone()
            };
            if entry.kind.is_due() {
                let said = &mut entry.written_by;
                (said.time, said.amount) = (None, None);
                (said.reverses, said.reason) = (None, None);
            }
        }
        Ok(entries)
    }
}

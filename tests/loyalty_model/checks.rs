//! What must be equal between the store and the model at any time.

use crate::account::{Customer, Entry, Expiry};
use crate::found::same_json;
use crate::items::events_json;
use crate::json::object;
use crate::ledger::Profile;
use crate::resolve::CUSTOMERS;
use crate::run::{Held, Run, Wrong, hold, same};
use crate::shown::entry_json;
use batchwright::Table;
use batchwright::loyalty;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Rows as they are stored.
pub(crate) const ACCOUNTS: Table<str, Row> = Table::new("loyalty.accounts");
const TRANSACTIONS: Table<str, serde::de::IgnoredAny> = Table::new("loyalty.transactions");

/// What is stored of an account.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Row {
    #[serde(rename = "n")]
    pub(crate) transactions: u64,
    #[serde(rename = "e")]
    earned: i64,
    /// Available from, day of expiry, points; zero is no date.
    #[serde(rename = "l", default)]
    lots: Vec<(i64, i64, i64)>,
    #[serde(rename = "h", default)]
    holds: Vec<HoldRow>,
    #[serde(rename = "d", default)]
    debt: i64,
}

#[derive(Debug, PartialEq, Deserialize)]
struct HoldRow {
    #[serde(rename = "r")]
    number: u64,
    #[serde(rename = "x")]
    until: i64,
    #[serde(rename = "l")]
    parts: Vec<(i64, i64)>,
}

fn date(stored: i64) -> Option<i64> {
    (stored != 0).then_some(stored)
}

impl Run {
    /// Looks at everything. Of histories at the whole, or at the entries that are new; the audit looks at the whole
    /// in any case.
    pub(crate) fn check(&mut self, whole: bool) -> Held {
        for id in CUSTOMERS {
            let known = self.seen.get(id).filter(|_| !whole);
            let known = known.copied().unwrap_or(0);
            let of_customer = |Wrong(text)| Wrong(format!("customer {id:?}: {text}"));
            self.check_customer(id, known).map_err(of_customer)?;
            self.seen.insert(id, self.entries(id).len());
        }
        self.check_ids()?;
        self.check_audit()
    }

    fn check_customer(&self, id: &str, known: usize) -> Held {
        let found = loyalty::balance(&self.queue, &self.program, id)?;
        let found = found.as_ref().map(serde_json::to_string).transpose()?;
        let expected = self.ledger.balance(id, &self.rules, self.now());
        same_json("the balance", found.as_ref(), expected.as_ref())?;
        let row = self.queue.read(|tables| tables.get(&ACCOUNTS, id))?;
        let customer = self.ledger.customers.get(id);
        match (row, customer) {
            (None, None) => {}
            (Some(row), Some(customer)) => {
                check_row(&row, customer)?;
                self.check_history(id, known)?;
            }
            (row, _) => return Err(Wrong(format!("it is {row:?}, expected {customer:?}"))),
        }
        self.check_profile(id)?;
        self.check_events(id)
    }

    fn entries(&self, id: &str) -> &[Entry] {
        self.ledger.entries.get(id).map_or(&[], Vec::as_slice)
    }

    fn check_history(&self, id: &str, known: usize) -> Held {
        let history = loyalty::history(&self.queue, id)?;
        let mut history = history.ok_or_else(|| Wrong("it has no history".to_owned()))?;
        for expected in self.entries(id)[known..].iter().rev() {
            let found = history.next().transpose()?;
            let found = found.as_ref().map(serde_json::to_string).transpose()?;
            same_json("an entry", found.as_ref(), Some(&entry_json(expected)))?;
        }
        // At least that there is as much before these as there was.
        let next = history.next().transpose()?;
        hold(next.is_some() == (known > 0), || {
            format!("and then {next:?}")
        })
    }

    fn check_profile(&self, id: &str) -> Held {
        let found = loyalty::profile(&self.queue, id)?.map(|profile| {
            let custom = profile.customer_attributes.custom.unwrap_or_default();
            let texts = custom.into_iter();
            Profile {
                email: profile.email,
                name: profile.customer_attributes.display_name,
                custom: texts
                    .map(|(name, value)| (name, value.as_str().to_owned()))
                    .collect(),
            }
        });
        let is_known = self.ledger.customers.contains_key(id);
        let expected = self.ledger.profiles.get(id).cloned().unwrap_or_default();
        same("the profile", found, is_known.then_some(expected))
    }

    fn check_events(&self, id: &str) -> Held {
        let mut found = Vec::new();
        for stored in loyalty::events(&self.queue, id, 0, usize::MAX)? {
            let at = stored.at.to_string();
            let events = stored.events.iter();
            let events = events.map(|(name, data)| (name.as_str(), data.as_str().to_owned()));
            found.push((at, object(events)));
        }
        let expected = self.ledger.events.get(id).into_iter().flatten();
        let expected: Vec<_> = expected
            .map(|(_, (at, names))| (crate::dates::written(*at), events_json(names)))
            .collect();
        same("the events", found, expected)
    }

    /// The ids that were used are those that are stored.
    fn check_ids(&self) -> Held {
        let found = self.queue.read(|tables| {
            let rows = tables.range(&TRANSACTIONS, ..);
            rows.map(|row| Ok(row?.0)).collect::<Result<Vec<_>, _>>()
        })?;
        let expected: Vec<_> = self.ledger.transactions.keys().cloned().collect();
        same("the ids", found, expected)
    }

    fn check_audit(&self) -> Held {
        let audit = loyalty::audit(&self.queue)?;
        let customers = || self.ledger.customers.values();
        let entries = self.ledger.entries.values();
        let expected = (
            customers().count() as u64,
            customers().map(|own| own.transactions).sum(),
            entries.map(|entries| entries.len() as u64).sum(),
            customers().map(|own| i128::from(own.balance())).sum(),
        );
        let found = (
            audit.customers,
            audit.transactions,
            audit.entries,
            audit.points,
        );
        same("what was audited", found, expected)?;
        hold(audit.is_clean() && audit.strays_counted, || {
            format!("{audit}, strays counted: {}", audit.strays_counted)
        })
    }
}

fn check_row(row: &Row, customer: &Customer) -> Held {
    let mut lots = BTreeMap::new();
    for (from, expiry, points) in &row.lots {
        let before = lots.insert((date(*from), date(*expiry)), *points);
        hold(before.is_none(), || format!("lots of one date: {row:?}"))?;
    }
    same("the lots", lots, customer.merged_lots())?;
    let holds: Vec<(u64, i64, BTreeMap<Expiry, i64>)> = row
        .holds
        .iter()
        .map(|hold| {
            let parts = hold.parts.iter();
            let parts = parts.map(|(expiry, points)| (date(*expiry), *points));
            (hold.number, hold.until, parts.collect())
        })
        .collect();
    same("the holds", holds, customer.merged_holds())?;
    let rest = (row.transactions, row.earned, row.debt);
    let expected = (customer.transactions, customer.earned, customer.debt);
    same("transactions, earned points and debt", rest, expected)
}

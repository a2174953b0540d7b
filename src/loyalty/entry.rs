//! Entries: what moved an account's points, with the balance before and after.

use super::lots::{AVAILABLE, Part};
use super::time::Time;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of movement an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Kind {
    /// Points awarded by a cashback or an order.
    Cashback,
    /// Points spent, also those of a hold.
    Redemption,
    /// Points added or deducted by an adjustment.
    Adjustment,
    /// Points of a cashback taken back, or points of a redemption given back.
    Refund,
    /// Points reserved. The balance stays.
    Hold,
    /// A hold that has expired: its points are available again. The balance stays.
    HoldExpiry,
    /// Points that have expired.
    Expiry,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cashback => "cashback",
            Self::Redemption => "redemption",
            Self::Adjustment => "adjustment",
            Self::Refund => "refund",
            Self::Hold => "hold",
            Self::HoldExpiry => "hold expiry",
            Self::Expiry => "expiry",
        })
    }
}

/// A movement, as stored in its transaction's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    #[serde(rename = "k")]
    pub(super) kind: Kind,
    #[serde(rename = "p")]
    pub(super) points: i64,
    #[serde(rename = "b")]
    pub(super) before: i64,
    #[serde(rename = "a")]
    pub(super) after: i64,
    /// By how much held points changed.
    #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
    pub(super) held: Option<i64>,
    /// The hold's number.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(super) hold: Option<u64>,
    /// When it took effect, when that is not the time of its transaction.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(super) at_ms: Option<i64>,
    /// When awarded points become available, in milliseconds; none when they were at once.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub(super) from_ms: Option<i64>,
    /// The points by their expiry.
    #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<Part>,
}

impl Entry {
    pub(super) fn moved(kind: Kind, before: i64, points: i64) -> Self {
        Self {
            kind,
            points,
            before,
            after: before + points,
            held: None,
            hold: None,
            at_ms: None,
            from_ms: None,
            parts: Vec::new(),
        }
    }

    pub(super) fn held(mut self, by: i64) -> Self {
        self.held = Some(by);
        self
    }

    pub(super) fn of(mut self, hold: u64) -> Self {
        self.hold = Some(hold);
        self
    }

    pub(super) fn at(mut self, time: Time) -> Self {
        self.at_ms = Some(time.ms);
        self
    }

    pub(super) fn available_from(mut self, from: Time, now: Time) -> Self {
        self.from_ms = (from > now).then_some(from.ms);
        self
    }

    pub(super) fn with_parts(mut self, parts: Vec<Part>) -> Self {
        self.parts = parts;
        self
    }

    /// When awarded points become available; a moment that has passed when they were at once.
    pub(super) fn from(&self) -> Time {
        Time::from_ms(self.from_ms.unwrap_or(AVAILABLE))
    }

    /// Appends the entry. Points that expired one after the other, with nothing between, are one entry, so that
    /// those of a long time fit into a row; its parts have the dates.
    pub(super) fn join(self, entries: &mut Vec<Self>) {
        match entries.last_mut() {
            Some(last) if last.kind == Kind::Expiry && self.kind == Kind::Expiry => {
                last.points += self.points;
                last.after = self.after;
                last.at_ms = self.at_ms;
                last.parts.extend(self.parts);
            }
            _ => entries.push(self),
        }
    }
}

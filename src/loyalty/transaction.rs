//! Transactions: what one item did to a customer's points.

use super::document::Document;
use super::entry::Entry;
use super::money::{Money, Rate};
use super::time::Time;
use crate::{Context, ExactlyOnce, Failure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The row of a transaction. It is never changed, but for what was refunded of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Transaction {
    #[serde(rename = "c")]
    pub(super) customer: String,
    /// Its place on the customer's chain, from 1; 0 when it is not on it, because it moves no points.
    #[serde(rename = "n")]
    pub(super) place: u64,
    /// The key of the transaction before it on the chain.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<String>,
    #[serde(rename = "g")]
    pub(super) number: Number,
    #[serde(rename = "w")]
    pub(super) at_ms: i64,
    #[serde(rename = "x")]
    pub(super) content: Content,
    #[serde(rename = "e", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) entries: Vec<Entry>,
    #[serde(rename = "d", default)]
    pub(super) terms: Terms,
    /// What was refunded of it.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub(super) refunded: Option<Refunded>,
}

/// What a transaction's item said that its entries do not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Terms {
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(super) time_ms: Option<i64>,
    #[serde(
        rename = "m",
        default,
        deserialize_with = "super::money::read_optional_worth",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) amount: Option<Money>,
    /// Points for a unit of money, of an award; money for a point, of a redemption.
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    pub(super) rate: Option<Rate>,
    /// The id of the transaction that was reversed.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub(super) reverses: Option<String>,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// The merchant, or the order.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub(super) document: Option<Document>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refunded {
    #[serde(rename = "m", deserialize_with = "super::money::read_worth")]
    pub(super) amount: Money,
    #[serde(rename = "p")]
    pub(super) points: i64,
}

impl Transaction {
    pub(super) fn at(&self) -> Time {
        Time::from_ms(self.at_ms)
    }
}

/// The number of a transaction (`gameballTransactionId`): its batch and its index. An item succeeds in one batch
/// only, so no two have the same, and no counter is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Number(pub(super) u64);

/// Batches have at most 65,000 items.
const INDEX_BITS: u32 = 16;

impl Number {
    pub(super) fn of(cx: &Context<ExactlyOnce>) -> Self {
        Self(u64::from(cx.batch_id()) << INDEX_BITS | cx.index() as u64)
    }

    fn batch(self) -> u64 {
        self.0 >> INDEX_BITS
    }

    fn index(self) -> u64 {
        self.0 & ((1 << INDEX_BITS) - 1)
    }
}

/// A digest of what an item says and of its operation, to tell an item that is sent again from another with its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Content(String);

impl Content {
    pub(super) fn of(operation: &str, item: &impl Serialize) -> Result<Self, Failure> {
        // An item was read from JSON.
        let json = serde_json::to_vec(item)
            .map_err(|error| Failure::permanent(Failure::UNREADABLE_ITEM, error.to_string()))?;
        let digest = Sha256::new_with_prefix(operation)
            .chain_update([0])
            .chain_update(json)
            .finalize();
        let half = digest
            .iter()
            .take(16)
            .fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
        Ok(Self(format!("{half:032x}")))
    }
}

/// Where a transaction's or order's id was used before: in the details of a failure with the code
/// [`DUPLICATE`](super::codes::DUPLICATE), as `original`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Original {
    /// The batch; it may be deleted by now.
    pub job_id: u64,
    /// The item's place in it, from 0.
    pub index: u64,
    /// The number of the transaction.
    pub gameball_transaction_id: u64,
    /// Whether that item said the same as this one: then this one is done already.
    pub same_content: bool,
}

impl Original {
    const MEMBER: &str = "original";

    pub(super) fn new(transaction: &Transaction, content: &Content) -> Self {
        Self {
            job_id: transaction.number.batch(),
            index: transaction.number.index(),
            gameball_transaction_id: transaction.number.0,
            same_content: transaction.content == *content,
        }
    }

    pub(super) fn details(&self) -> serde_json::Value {
        serde_json::json!({ Self::MEMBER: self })
    }

    /// What a failure says of the original; `None` when it is not of a duplicate.
    pub fn of(failure: &Failure) -> Option<Self> {
        let original = failure.details.as_ref()?.get(Self::MEMBER)?;
        Self::deserialize(original).ok()
    }
}

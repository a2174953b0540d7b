//! Order transactions: what an order moved.

use super::codes;
use super::entry::Kind as Movement;
use super::fields::{Field, Fields};
use super::history::Entry;
use super::item::{self, Check, ledger_operation};
use super::tables::{TRANSACTIONS, order_key};
use crate::{Context, ExactlyOnce, Failure};
use serde::{Deserialize, Serialize};

ledger_operation! {
    /// Reads what an order moved: its redemption and its cashback. Its item is the order's id, a text.
    ///
    /// Fails with [`NOT_FOUND`](codes::NOT_FOUND).
    OrderTransactions, "order-transactions", OrderId => OrderTransactionsOutput
}

/// An order's id. In JSON a plain text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(pub String);

/// What an order moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OrderTransactionsOutput {
    /// The order.
    pub order_id: String,
    /// Its entries in the customer's history, in their order.
    pub transactions: Vec<Entry>,
    /// How many they are.
    pub count: usize,
}

impl Fields for OrderId {
    const FIELDS: &'static [Field] = &[];
}

impl Check for OrderId {
    fn check(&self) -> Result<(), Failure> {
        item::check_id("orderId", &self.0)
    }
}

impl OrderTransactions {
    fn post(
        &self,
        OrderId(id): &OrderId,
        cx: &mut Context<ExactlyOnce>,
    ) -> Result<OrderTransactionsOutput, Failure> {
        let key = order_key(id);
        let Some(transaction) = cx.get(&TRANSACTIONS, key.as_str())? else {
            let text = format!("there is no order {:?}", codes::shown(id));
            return Err(codes::failure(codes::NOT_FOUND, "orderId", text));
        };
        let own = [Movement::Redemption, Movement::Cashback];
        let mut transactions = Entry::all(&key, &transaction);
        transactions.retain(|entry| own.contains(&entry.kind));
        Ok(OrderTransactionsOutput {
            order_id: id.clone(),
            count: transactions.len(),
            transactions,
        })
    }
}

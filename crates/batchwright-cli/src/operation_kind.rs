//! The ten operations by name: the one place that lists them.
//!
//! What a command does with an operation's items is written once, as a [`Visitor`].

use crate::error::Error;
use batchwright::loyalty::{
    Adjustment, Balance, Cashback, Customers, Events, Field, Fields, Hold, OrderTransactions,
    Orders, Program, Redeem, Refund,
};
use batchwright::{ExactlyOnce, Operation};
use std::sync::Arc;

/// An operation of the ledger.
pub(crate) trait LedgerOperation: Operation<Item: Fields, Guarantee = ExactlyOnce> {
    fn of(program: Arc<Program>) -> Self;
}

/// What can be done with any operation, whatever its types.
pub(crate) trait Visitor {
    type Output;
    fn visit<O: LedgerOperation>(self) -> Self::Output;
}

macro_rules! operation_kinds {
    ($($operation:ident, $published:literal, $about:literal;)*) => {
        /// One of the operations.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum OperationKind {
            $($operation,)*
        }

        $(impl LedgerOperation for $operation {
            fn of(program: Arc<Program>) -> Self {
                Self::new(program)
            }
        })*

        impl OperationKind {
            pub(crate) const ALL: &[Self] = &[$(Self::$operation,)*];

            /// The name that batches are stored under.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$operation => <$operation as Operation>::NAME,)*
                }
            }

            /// Its name in the published batch API, where it has one.
            pub(crate) fn published_name(self) -> &'static str {
                match self {
                    $(Self::$operation => $published,)*
                }
            }

            pub(crate) fn about(self) -> &'static str {
                match self {
                    $(Self::$operation => $about,)*
                }
            }

            /// The fields of its items; none when an item is a text.
            pub(crate) fn fields(self) -> &'static [Field] {
                match self {
                    $(Self::$operation => <<$operation as Operation>::Item as Fields>::FIELDS,)*
                }
            }

            pub(crate) fn visit<V: Visitor>(self, visitor: V) -> V::Output {
                match self {
                    $(Self::$operation => visitor.visit::<$operation>(),)*
                }
            }
        }
    };
}

operation_kinds! {
    Customers, "customers", "creates customers and updates their profiles";
    Orders, "orders", "stores orders, redeems the holds they name, awards points for what was paid";
    OrderTransactions, "orders/transactions", "reads what an order moved; an item is the order's id, a text";
    Balance, "balance-inquiry", "reads balances";
    Adjustment, "balance-adjustment", "adds or deducts points";
    Cashback, "cashback", "awards points for purchases";
    Redeem, "redeem", "takes points";
    Events, "events", "keeps events";
    Hold, "hold", "reserves points for a while";
    Refund, "refund", "reverses a cashback or a redemption";
}

impl OperationKind {
    /// The operation with this name, its own or the published one.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let is_named = |kind: &Self| name == kind.name() || name == kind.published_name();
        Self::ALL.iter().copied().find(is_named)
    }

    /// As [`named`](Self::named), of what somebody asked for.
    pub(crate) fn asked_for(name: &str) -> Result<Self, Error> {
        Self::named(name).ok_or_else(|| Error::UnknownOperation {
            name: name.to_owned(),
            known: Self::ALL
                .iter()
                .map(|kind| kind.name())
                .collect::<Vec<_>>()
                .join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_an_operation_finds_it_and_no_other() {
        for kind in OperationKind::ALL {
            assert_eq!(OperationKind::named(kind.name()), Some(*kind));
            assert_eq!(OperationKind::named(kind.published_name()), Some(*kind));
        }
        assert_eq!(OperationKind::named("Cashback"), None);
    }
}

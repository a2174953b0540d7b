//! Cashback: points for a purchase.

use super::codes;
use super::document::Document;
use super::entry::Kind as Movement;
use super::fields::{Field, Fields, Kind};
use super::item::{self, Check, ledger_operation};
use super::money::{Money, POINTS_MAX, Rate};
use super::object::object;
use super::posting::{Posting, Unknown, refuse_duplicate, refuse_future};
use super::profile::Profile;
use super::program::{Program, RETURN_WINDOW_DAYS_MAX};
use super::tables::{PROFILES, transaction_key};
use super::time::Time;
use super::transaction::{Content, Terms};
use crate::{Context, ExactlyOnce, Failure, Operation};
use serde::{Deserialize, Serialize};

ledger_operation! {
    /// Awards points for a purchase: `floor(amount x earn_rate)`, pending for the return window from the time of
    /// the transaction.
    ///
    /// Creates the customer unless the programme says otherwise; `email` and `mobile` are kept then. Fails with
    /// [`DUPLICATE`](codes::DUPLICATE), [`INVALID_TIME`](codes::INVALID_TIME),
    /// [`CUSTOMER_NOT_FOUND`](codes::CUSTOMER_NOT_FOUND), [`LIMIT_EXCEEDED`](codes::LIMIT_EXCEEDED).
    Cashback, "cashback", CashbackItem => CashbackOutput
}

/// A purchase to award points for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
#[non_exhaustive]
pub struct CashbackItem {
    /// Whose purchase it is.
    pub customer_id: String,
    /// Its id: one with an id that was used before fails.
    pub transaction_id: String,
    /// When it was made.
    pub transaction_time: Time,
    /// What was paid, above zero.
    pub amount: Money,
    /// The customer's address, for a customer who is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The customer's number, for a customer who is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mobile: Option<String>,
    /// Where it was made; kept with the transaction. At most [`MERCHANT_BYTES`](item::MERCHANT_BYTES).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merchant: Option<Document>,
    /// What holds for this purchase alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configurations: Option<CashbackConfigurations>,
}

object!(CashbackItem);

/// What holds for one award alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
#[non_exhaustive]
pub struct CashbackConfigurations {
    /// Days that the points stay pending: 0 to [`RETURN_WINDOW_DAYS_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_window: Option<u32>,
}

object!(CashbackConfigurations);

impl CashbackConfigurations {
    /// With this return window, in days.
    pub fn return_window(days: u32) -> Self {
        Self {
            return_window: Some(days),
        }
    }
}

/// What a cashback awarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CashbackOutput {
    /// The customer.
    pub customer_id: String,
    /// The transaction's number in the ledger.
    pub gameball_transaction_id: u64,
    /// What the points are worth.
    #[serde(deserialize_with = "super::money::read_worth")]
    pub reward_amount: Money,
    /// The points.
    pub reward_equivalent_points: i64,
}

impl CashbackItem {
    /// A purchase with what is required.
    pub fn new(
        customer_id: impl Into<String>,
        transaction_id: impl Into<String>,
        transaction_time: Time,
        amount: Money,
    ) -> Self {
        Self {
            customer_id: customer_id.into(),
            transaction_id: transaction_id.into(),
            transaction_time,
            amount,
            email: None,
            mobile: None,
            merchant: None,
            configurations: None,
        }
    }
}

impl Fields for CashbackItem {
    const FIELDS: &'static [Field] = &[
        Field::required("customerId", Kind::Text),
        Field::required("transactionId", Kind::Text),
        Field::required("transactionTime", Kind::Time),
        Field::required("amount", Kind::Money),
        Field::optional("email", Kind::Text),
        Field::optional("mobile", Kind::Text),
        Field::optional("merchant", Kind::Json),
        Field::optional("configurations", Kind::Object),
        Field::optional("configurations.returnWindow", Kind::Integer),
    ];
}

impl Check for CashbackItem {
    fn check(&self) -> Result<(), Failure> {
        item::check_id("customerId", &self.customer_id)?;
        item::check_id("transactionId", &self.transaction_id)?;
        item::check_time("transactionTime", self.transaction_time)?;
        item::check_amount("amount", self.amount)?;
        item::check_text("email", &self.email)?;
        item::check_text("mobile", &self.mobile)?;
        item::check_document("merchant", &self.merchant)?;
        check_return_window("configurations.returnWindow", &self.configurations)
    }
}

pub(super) fn check_return_window(
    field: &str,
    configurations: &Option<CashbackConfigurations>,
) -> Result<(), Failure> {
    let days = configurations.as_ref().and_then(|own| own.return_window);
    item::check_at_most(field, days, RETURN_WINDOW_DAYS_MAX)
}

/// The points for an amount, if there can be so many.
pub(super) fn points_for(field: &str, amount: Money, rate: Rate) -> Result<i64, Failure> {
    amount.points_at(rate).ok_or_else(|| {
        let expected = format_args!("an amount for at most {POINTS_MAX} points at {rate} a unit");
        codes::invalid(field, amount, expected)
    })
}

/// Awards points for what was paid at `time`.
pub(super) fn award(
    posting: &mut Posting<'_>,
    program: &Program,
    points: i64,
    time: Time,
    configurations: &Option<CashbackConfigurations>,
) -> Result<(), Failure> {
    let own = configurations.as_ref().and_then(|own| own.return_window);
    let from = time.plus_days(own.unwrap_or(program.return_window_days));
    posting.award(Movement::Cashback, points, from, program.points_expiry_days)
}

impl Cashback {
    fn post(
        &self,
        item: &CashbackItem,
        cx: &mut Context<ExactlyOnce>,
    ) -> Result<CashbackOutput, Failure> {
        let program = &*self.program;
        let key = transaction_key(&item.transaction_id);
        let content = Content::of(Self::NAME, item)?;
        refuse_duplicate(cx, &key, "transactionId", &content)?;
        refuse_future(cx, "transactionTime", item.transaction_time)?;
        let points = points_for("amount", item.amount, program.earn_rate)?;

        let unknown = Unknown::create_if(program.cashback_creates_customers);
        let mut posting = Posting::open(cx, &item.customer_id, unknown)?;
        let time = item.transaction_time;
        award(&mut posting, program, points, time, &item.configurations)?;
        let number = posting.number;
        if posting.is_new && (item.email.is_some() || item.mobile.is_some()) {
            let contact = Profile::contact(item.email.clone(), item.mobile.clone());
            posting.cx.put(&PROFILES, &item.customer_id, &contact)?;
        }
        let terms = Terms {
            time_ms: Some(time.ms),
            amount: Some(item.amount),
            rate: Some(program.earn_rate),
            document: item.merchant.clone(),
            ..Terms::default()
        };
        posting.close(&key, content, terms)?;
        Ok(CashbackOutput {
            customer_id: item.customer_id.clone(),
            gameball_transaction_id: number.0,
            reward_amount: Money::worth(points, program.redemption_factor),
            reward_equivalent_points: points,
        })
    }
}

//! Orders: stored, with the redemption and the cashback that come with them.

use super::cashback::{self, CashbackConfigurations};
use super::codes;
use super::document::Document;
use super::fields::{Field, Fields, Kind};
use super::item::{self, Check, ledger_operation};
use super::money::Money;
use super::object::object;
use super::posting::{Posting, Unknown, refuse_duplicate, refuse_future};
use super::profile::CHANNELS;
use super::tables::{ORDERS, TRANSACTIONS, order_key};
use super::time::Time;
use super::transaction::{Content, Terms};
use crate::{Context, ExactlyOnce, Failure, Operation, Queue, ReadError, TableError};
use serde::{Deserialize, Serialize};

ledger_operation! {
    /// Stores an order, redeems the hold that it names, and awards cashback on what was paid. An order whose id was
    /// used before fails.
    ///
    /// Creates the customer unless the programme says otherwise. Fails with [`DUPLICATE`](codes::DUPLICATE),
    /// [`INVALID_TIME`](codes::INVALID_TIME), [`CUSTOMER_NOT_FOUND`](codes::CUSTOMER_NOT_FOUND),
    /// [`HOLD_NOT_FOUND`](codes::HOLD_NOT_FOUND), [`LIMIT_EXCEEDED`](codes::LIMIT_EXCEEDED).
    Orders, "orders", OrderItem => OrderOutput
}

/// Largest order that is kept in its transaction's row, in bytes of JSON; larger ones get a row of their own.
const INLINE_BYTES: usize = 4 << 10;

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
#[non_exhaustive]
pub struct OrderItem {
    /// Whose order it is.
    pub customer_id: String,
    /// Its id; upper and lower case are different.
    pub order_id: String,
    /// When it was made.
    pub order_date: Time,
    /// What was paid, not below zero: points are awarded for it.
    pub total_paid: Money,
    /// The price before discounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_price: Option<Money>,
    /// The discounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_discount: Option<Money>,
    /// The shipping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_shipping: Option<Money>,
    /// The tax.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_tax: Option<Money>,
    /// What was ordered, kept as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_items: Option<Vec<Document>>,
    /// Where it was made, kept as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merchant: Option<Document>,
    /// `mobile`, `pos`, `web` or `callcenter`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Whether the customer has no login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<bool>,
    /// The cart it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cart_id: Option<String>,
    /// Anything more, kept as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Document>,
    /// The points that were spent on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redemption: Option<OrderRedemption>,
    /// What holds for its cashback alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cashback_configurations: Option<CashbackConfigurations>,
}

object!(OrderItem);

/// The points that were spent on an order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
#[non_exhaustive]
pub struct OrderRedemption {
    /// The hold whose points are redeemed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points_hold_reference: Option<String>,
}

object!(OrderRedemption);

impl OrderRedemption {
    /// The points of this hold.
    pub fn hold(reference: impl Into<String>) -> Self {
        Self {
            points_hold_reference: Some(reference.into()),
        }
    }
}

/// What an order moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OrderOutput {
    /// The customer.
    pub customer_id: String,
    /// The order.
    pub order_id: String,
    /// Points awarded.
    pub rewarded_points: i64,
    /// Points redeemed.
    pub redeemed_points: i64,
}

impl OrderItem {
    /// An order with what is required.
    pub fn new(
        customer_id: impl Into<String>,
        order_id: impl Into<String>,
        order_date: Time,
        total_paid: Money,
    ) -> Self {
        Self {
            customer_id: customer_id.into(),
            order_id: order_id.into(),
            order_date,
            total_paid,
            total_price: None,
            total_discount: None,
            total_shipping: None,
            total_tax: None,
            line_items: None,
            merchant: None,
            channel: None,
            guest: None,
            cart_id: None,
            extra: None,
            redemption: None,
            cashback_configurations: None,
        }
    }
}

impl Fields for OrderItem {
    const FIELDS: &'static [Field] = &[
        Field::required("customerId", Kind::Text),
        Field::required("orderId", Kind::Text),
        Field::required("orderDate", Kind::Time),
        Field::required("totalPaid", Kind::Money),
        Field::optional("totalPrice", Kind::Money),
        Field::optional("totalDiscount", Kind::Money),
        Field::optional("totalShipping", Kind::Money),
        Field::optional("totalTax", Kind::Money),
        Field::optional("lineItems", Kind::Array),
        Field::optional("merchant", Kind::Json),
        Field::optional("channel", Kind::Choice(CHANNELS)),
        Field::optional("guest", Kind::Bool),
        Field::optional("cartId", Kind::Text),
        Field::optional("extra", Kind::Json),
        Field::optional("redemption", Kind::Object),
        Field::optional("redemption.pointsHoldReference", Kind::Text),
        Field::optional("cashbackConfigurations", Kind::Object),
        Field::optional("cashbackConfigurations.returnWindow", Kind::Integer),
    ];
}

impl Check for OrderItem {
    fn check(&self) -> Result<(), Failure> {
        item::check_id("customerId", &self.customer_id)?;
        item::check_id("orderId", &self.order_id)?;
        item::check_time("orderDate", self.order_date)?;
        for (field, amount) in [
            ("totalPaid", Some(self.total_paid)),
            ("totalPrice", self.total_price),
            ("totalDiscount", self.total_discount),
            ("totalShipping", self.total_shipping),
            ("totalTax", self.total_tax),
        ] {
            item::check_digits(field, amount)?;
        }
        if self.total_paid.is_negative() {
            return Err(codes::invalid(
                "totalPaid",
                self.total_paid,
                "an amount that is not below 0",
            ));
        }
        item::check_choice("channel", &self.channel, CHANNELS)?;
        item::check_text("cartId", &self.cart_id)?;
        if let Some(redemption) = &self.redemption {
            let field = "redemption.pointsHoldReference";
            item::check_text(field, &redemption.points_hold_reference)?;
        }
        let field = "cashbackConfigurations.returnWindow";
        cashback::check_return_window(field, &self.cashback_configurations)
    }
}

impl Orders {
    fn post(
        &self,
        item: &OrderItem,
        cx: &mut Context<ExactlyOnce>,
    ) -> Result<OrderOutput, Failure> {
        let program = &*self.program;
        let key = order_key(&item.order_id);
        let content = Content::of(Self::NAME, item)?;
        refuse_duplicate(cx, &key, "orderId", &content)?;
        refuse_future(cx, "orderDate", item.order_date)?;
        let rewarded = cashback::points_for("totalPaid", item.total_paid, program.earn_rate)?;

        let unknown = Unknown::create_if(program.orders_create_customers);
        let mut posting = Posting::open(cx, &item.customer_id, unknown)?;
        let hold = item.redemption.as_ref();
        let hold = hold.and_then(|redemption| redemption.points_hold_reference.as_deref());
        let redeemed = match hold {
            Some(reference) => posting.redeem_hold(reference, "redemption.pointsHoldReference")?,
            None => 0,
        };
        let time = item.order_date;
        cashback::award(
            &mut posting,
            program,
            rewarded,
            time,
            &item.cashback_configurations,
        )?;

        let document = Document::of(item)?;
        let is_small = document.as_str().len() <= INLINE_BYTES;
        if !is_small {
            posting.cx.put(&ORDERS, &item.order_id, &document)?;
        }
        let terms = Terms {
            time_ms: Some(time.ms),
            amount: Some(item.total_paid),
            rate: Some(program.earn_rate),
            document: is_small.then_some(document),
            ..Terms::default()
        };
        posting.close(&key, content, terms)?;
        Ok(OrderOutput {
            customer_id: item.customer_id.clone(),
            order_id: item.order_id.clone(),
            rewarded_points: rewarded,
            redeemed_points: redeemed,
        })
    }
}

/// An order as it was stored; `None` for an unknown one.
///
/// # Errors
/// As [`Queue::read`].
pub fn order(queue: &Queue, order_id: &str) -> Result<Option<OrderItem>, ReadError> {
    if item::check_id("orderId", order_id).is_err() {
        return Ok(None);
    }
    queue.read(|tables| {
        let Some(transaction) = tables.get(&TRANSACTIONS, order_key(order_id).as_str())? else {
            return Ok(None);
        };
        let document = match transaction.terms.document {
            Some(document) => Some(document),
            None => tables.get(&ORDERS, order_id)?,
        };
        let Some(document) = document else {
            return Ok(None);
        };
        let order = serde_json::from_str(document.as_str());
        order.map(Some).map_err(|error| TableError::Undecodable {
            table: ORDERS.name(),
            reason: error.to_string(),
        })
    })
}

//! The tables of fields agree with the types: what they list is all that serde reads, and all that it requires.

use crate::harness::{NOW, Shop, Tested};
use batchwright::Operation;
use batchwright::loyalty::{
    Adjustment, AdjustmentItem, Balance, BalanceItem, Cashback, CashbackConfigurations,
    CashbackItem, CustomerAttributes, CustomerItem, Customers, Events, EventsItem, Field,
    FieldKind, Fields, Hold, HoldItem, OrderId, OrderItem, OrderRedemption, Orders, Redeem,
    RedeemItem, Refund, RefundItem, codes,
};
use serde::Serialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// A value of this kind.
fn good(kind: FieldKind) -> Value {
    match kind {
        FieldKind::Text => json!("text"),
        FieldKind::Date => json!("1990-05-21"),
        FieldKind::Time => json!(NOW),
        FieldKind::Integer => json!(7),
        FieldKind::Money => json!(150.75),
        FieldKind::Bool => json!(true),
        FieldKind::Choice(texts) => json!(texts[0]),
        FieldKind::Texts => json!(["a", "b"]),
        FieldKind::Array => json!([1, {"a": null}]),
        FieldKind::Object => json!({"x": {}}),
        FieldKind::Json => json!([{"any": 1.5}]),
        other => unreachable!("{other:?}"),
    }
}

/// Values that are not of this kind.
fn bad(kind: FieldKind) -> Vec<Value> {
    match kind {
        FieldKind::Text => vec![json!(5), json!(["a"]), json!({"a": 1}), json!(true)],
        FieldKind::Date => vec![json!(5), json!("21.5.1990"), json!("")],
        FieldKind::Time => vec![
            json!(5),
            json!("2025-03-14T10:00:00"),
            json!("now"),
            json!({}),
        ],
        FieldKind::Integer => vec![json!("7"), json!(7.5), json!([7]), json!(1e30)],
        FieldKind::Money => vec![json!("ten"), json!({"a": 1}), json!(true), json!(1e15)],
        FieldKind::Bool => vec![json!("true"), json!(1)],
        FieldKind::Choice(_) => vec![json!("elsewhere"), json!(5)],
        FieldKind::Texts => vec![json!("a"), json!([1]), json!([null]), json!({})],
        FieldKind::Array => vec![json!("a"), json!({}), json!(5)],
        FieldKind::Object => vec![json!("a"), json!([]), json!([7]), json!(5)],
        FieldKind::Json => vec![],
        other => unreachable!("{other:?}"),
    }
}

fn set(item: &mut Map<String, Value>, name: &str, value: Value) {
    match name.split_once('.') {
        None => {
            item.insert(name.to_owned(), value);
        }
        Some((outer, inner)) => {
            let outer = item.entry(outer).or_insert_with(|| json!({}));
            if !outer.is_object() {
                *outer = json!({});
            }
            if let Value::Object(members) = outer {
                set(members, inner, value);
            }
        }
    }
}

/// An item with every field of the table.
fn full(fields: &[Field]) -> Map<String, Value> {
    let mut item = Map::new();
    for field in fields {
        // What is inside of it follows.
        let has_inner = |outer: &str| {
            let prefix = format!("{outer}.");
            fields.iter().any(|field| field.name.starts_with(&prefix))
        };
        let value = match field.kind {
            FieldKind::Object if has_inner(field.name) => json!({}),
            kind => good(kind),
        };
        set(&mut item, field.name, value);
    }
    item
}

/// Of the fields of which one and only one must be there, those that an item does without.
fn alternatives(operation: &str) -> &'static [&'static str] {
    match operation {
        "adjustment" => &["amount", "points"],
        "redeem" => &["amount", "points", "holdReference"],
        "hold" => &["amountToHold", "pointsToHold"],
        _ => &[],
    }
}

/// A full item that is acceptable.
fn acceptable(operation: &str, fields: &[Field]) -> Map<String, Value> {
    let mut item = full(fields);
    for name in alternatives(operation).iter().skip(1) {
        item.remove(*name);
    }
    item
}

fn paths(value: &Value, prefix: &str, fields: &BTreeSet<&str>, found: &mut BTreeSet<String>) {
    let Value::Object(members) = value else {
        return;
    };
    for (name, value) in members {
        let path = format!("{prefix}{name}");
        let inner = format!("{path}.");
        found.insert(path);
        if fields.iter().any(|field| field.starts_with(&inner)) {
            paths(value, &inner, fields, found);
        }
    }
}

/// A deserializer that has nothing to read: it is told what fields the type has, and that is all.
struct Asked<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde_json::Error::custom("nothing to read"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The fields that serde knows of a type.
fn known<T: DeserializeOwned>() -> BTreeSet<&'static str> {
    let mut fields: &[&str] = &[];
    assert!(T::deserialize(Asked(&mut fields)).is_err());
    fields.iter().copied().collect()
}

/// The fields that the table has directly inside of this one, or of the item.
fn listed(fields: &[Field], outer: &str) -> BTreeSet<&'static str> {
    let inner = fields.iter().filter_map(|field| match outer {
        "" => Some(field.name),
        outer => field.name.strip_prefix(outer)?.strip_prefix('.'),
    });
    inner.filter(|name| !name.contains('.')).collect()
}

/// The table lists what serde knows of the type, in the places where it is. A full item decodes, and encodes to the
/// same members. What is required, null and wrong is told as the table has it.
fn agrees<O>(shop: &Shop) -> Tested
where
    O: Operation,
    O::Item: Fields + Serialize + DeserializeOwned,
{
    let fields = O::Item::FIELDS;
    let names: BTreeSet<_> = fields.iter().map(|field| field.name).collect();
    assert_eq!(names.len(), fields.len(), "{}: a field twice", O::NAME);
    assert_eq!(listed(fields, ""), known::<O::Item>(), "{}", O::NAME);
    let json = Value::Object(full(fields));
    let item: O::Item = serde_json::from_str(&json.to_string())?;
    let text = serde_json::to_string(&item)?;
    let encoded: Value = serde_json::from_str(&text)?;
    assert_eq!(encoded, json, "{}", O::NAME);
    let mut found = BTreeSet::new();
    paths(&encoded, "", &names, &mut found);
    let listed: BTreeSet<_> = names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(found, listed, "{}", O::NAME);

    for field in fields {
        let item = || acceptable(O::NAME, fields);
        let is_alternative = alternatives(O::NAME).contains(&field.name);
        let with = |value: Value| {
            let mut item = item();
            for name in alternatives(O::NAME).iter().filter(|_| is_alternative) {
                item.remove(*name);
            }
            set(&mut item, field.name, value);
            Value::Object(item).to_string()
        };
        if field.required {
            let mut without = item();
            without.remove(field.name);
            let without = Value::Object(without).to_string();
            let message = shop.refuses::<O>(&without, codes::MISSING, field.name);
            assert_eq!(message, format!("{} is required and missing", field.name));
            let message = shop.refuses::<O>(&with(Value::Null), codes::NULL, field.name);
            assert_eq!(
                message,
                format!("{} is null, a value is required", field.name)
            );
        }
        for value in bad(field.kind) {
            let code = match field.kind {
                FieldKind::Time => codes::INVALID_TIME,
                _ => codes::INVALID_VALUE,
            };
            let message = shop.refuses::<O>(&with(value.clone()), code, field.name);
            let expected = field.kind.expected();
            assert!(
                message.ends_with(&format!("expected {expected}")),
                "{message}"
            );
        }
        if !field.required && !is_alternative {
            let json = format!("[{}]", with(Value::Null));
            let accepted = shop.queue.submit_json(O::NAME, json);
            assert!(accepted.is_ok(), "{} {}: {accepted:?}", O::NAME, field.name);
        }
    }
    Ok(())
}

#[test]
fn the_fields_inside_of_others_are_those_of_their_types() {
    assert_eq!(
        listed(CashbackItem::FIELDS, "configurations"),
        known::<CashbackConfigurations>()
    );
    assert_eq!(
        listed(OrderItem::FIELDS, "cashbackConfigurations"),
        known::<CashbackConfigurations>()
    );
    assert_eq!(
        listed(OrderItem::FIELDS, "redemption"),
        known::<OrderRedemption>()
    );
    assert_eq!(
        listed(CustomerItem::FIELDS, "customerAttributes"),
        known::<CustomerAttributes>()
    );
}

#[test]
fn the_fields_of_customers_are_those_of_the_type() -> Tested {
    agrees::<Customers>(&Shop::open()?)
}

#[test]
fn the_fields_of_orders_are_those_of_the_type() -> Tested {
    agrees::<Orders>(&Shop::open()?)
}

#[test]
fn the_fields_of_balance_are_those_of_the_type() -> Tested {
    agrees::<Balance>(&Shop::open()?)
}

#[test]
fn the_fields_of_adjustment_are_those_of_the_type() -> Tested {
    agrees::<Adjustment>(&Shop::open()?)
}

#[test]
fn the_fields_of_cashback_are_those_of_the_type() -> Tested {
    agrees::<Cashback>(&Shop::open()?)
}

#[test]
fn the_fields_of_redeem_are_those_of_the_type() -> Tested {
    agrees::<Redeem>(&Shop::open()?)
}

#[test]
fn the_fields_of_events_are_those_of_the_type() -> Tested {
    agrees::<Events>(&Shop::open()?)
}

#[test]
fn the_fields_of_hold_are_those_of_the_type() -> Tested {
    agrees::<Hold>(&Shop::open()?)
}

#[test]
fn the_fields_of_refund_are_those_of_the_type() -> Tested {
    agrees::<Refund>(&Shop::open()?)
}

/// The contract's table, row by row: `*` after what is required.
#[test]
fn the_fields_are_those_of_the_contract() {
    fn names<T: Fields>() -> String {
        let names = T::FIELDS.iter().map(|field| {
            let star = if field.required { "*" } else { "" };
            format!("{}{star}", field.name)
        });
        names.collect::<Vec<_>>().join(" ")
    }
    assert_eq!(
        names::<CashbackItem>(),
        "customerId* transactionId* transactionTime* amount* email mobile merchant configurations configurations.returnWindow"
    );
    assert_eq!(
        names::<RedeemItem>(),
        "customerId* transactionId* transactionTime* amount points holdReference reason"
    );
    assert_eq!(names::<BalanceItem>(), "customerId*");
    assert_eq!(
        names::<AdjustmentItem>(),
        "customerId* amount points reason transactionId expiryAfter"
    );
    assert_eq!(names::<EventsItem>(), "customerId* events* transactionId");
    assert_eq!(
        names::<HoldItem>(),
        "customerId* transactionTime* amountToHold pointsToHold transactionId holdDuration"
    );
    assert_eq!(
        names::<RefundItem>(),
        "customerId* refundTransactionId* reverseTransactionId* transactionTime* refundAmount"
    );
    assert_eq!(
        names::<OrderItem>(),
        "customerId* orderId* orderDate* totalPaid* totalPrice totalDiscount totalShipping totalTax lineItems merchant channel guest cartId extra redemption redemption.pointsHoldReference cashbackConfigurations cashbackConfigurations.returnWindow"
    );
    let inner = [
        "displayName",
        "firstName",
        "lastName",
        "email",
        "gender",
        "mobile",
        "dateOfBirth",
        "joinDate",
        "country",
        "city",
        "zip",
        "preferredLanguage",
        "source",
        "utms",
        "devices",
        "paymentMethods",
        "totalSpent",
        "lastOrderDate",
        "totalOrders",
        "avgOrderAmount",
        "channel",
        "custom",
    ];
    let inner: Vec<_> = inner
        .iter()
        .map(|name| format!("customerAttributes.{name}"))
        .collect();
    assert_eq!(
        names::<CustomerItem>(),
        format!(
            "customerId* email mobile deviceToken osType referrerCode guest name gender dateOfBirth joinDate tags custom customerAttributes {}",
            inner.join(" ")
        )
    );
    assert_eq!(names::<OrderId>(), "");
}

#[test]
fn whole_numbers_that_are_too_large_or_below_zero_name_their_field() -> Tested {
    let shop = Shop::open()?;
    for value in ["-1", "99999999999"] {
        let item = format!(
            r#"{{"customerId":"ada","transactionId":"t","transactionTime":"{NOW}","amount":1,"configurations":{{"returnWindow":{value}}}}}"#
        );
        let field = "configurations.returnWindow";
        shop.refuses::<Cashback>(&item, codes::INVALID_VALUE, field);
    }
    let item = r#"{"customerId":"ada","customerAttributes":{"totalOrders":-1}}"#;
    let field = "customerAttributes.totalOrders";
    shop.refuses::<Customers>(item, codes::INVALID_VALUE, field);
    Ok(())
}

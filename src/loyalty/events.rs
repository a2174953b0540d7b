//! Events: what customers did, kept with them.

use super::codes;
use super::document::Document;
use super::fields::{Field, Fields, Kind};
use super::item::{self, Check, ledger_operation};
use super::object::object;
use super::posting::{refuse_duplicate, require_customer};
use super::tables::{EVENTS, TRANSACTIONS, events_key, events_prefix, transaction_key};
use super::time::Time;
use super::transaction::{Content, Number, Terms, Transaction};
use crate::{Context, ExactlyOnce, Failure, KeyRange, Operation, Queue, ReadError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

ledger_operation! {
    /// Appends events to a customer.
    ///
    /// Fails with [`DUPLICATE`](codes::DUPLICATE), [`CUSTOMER_NOT_FOUND`](codes::CUSTOMER_NOT_FOUND),
    /// [`LIMIT_EXCEEDED`](codes::LIMIT_EXCEEDED).
    Events, "events", EventsItem => EventsOutput
}

/// Largest `events` of an item, in bytes of JSON.
pub const EVENTS_BYTES: usize = 56 << 10;

/// Events of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
#[non_exhaustive]
pub struct EventsItem {
    /// Whose events they are.
    pub customer_id: String,
    /// Metadata by the event's name, one or more, kept as they are; at most [`EVENTS_BYTES`] together.
    pub events: BTreeMap<String, Document>,
    /// An id: with one that was used before the item fails. Without one events are appended as often as they are
    /// submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
}

object!(EventsItem);

/// What was appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EventsOutput {
    /// The customer.
    pub customer_id: String,
    /// How many events.
    pub accepted: usize,
}

/// Events that a customer has: from [`events`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct StoredEvents {
    /// When they were appended.
    pub at: Time,
    /// Metadata by the event's name.
    pub events: BTreeMap<String, Document>,
}

impl EventsItem {
    /// Events of this customer.
    pub fn new(
        customer_id: impl Into<String>,
        events: impl IntoIterator<Item = (String, Document)>,
    ) -> Self {
        Self {
            customer_id: customer_id.into(),
            events: events.into_iter().collect(),
            transaction_id: None,
        }
    }
}

impl Fields for EventsItem {
    const FIELDS: &'static [Field] = &[
        Field::required("customerId", Kind::Text),
        Field::required("events", Kind::Object),
        Field::optional("transactionId", Kind::Text),
    ];
}

impl Check for EventsItem {
    fn check(&self) -> Result<(), Failure> {
        item::check_id("customerId", &self.customer_id)?;
        item::check_optional_id("transactionId", &self.transaction_id)?;
        if self.events.is_empty() {
            return Err(codes::invalid("events", "empty", "one event or more"));
        }
        if self.events.contains_key("") {
            return Err(codes::invalid("events", "an event without a name", "names"));
        }
        if let Some((name, _)) = self
            .events
            .iter()
            .find(|(_, metadata)| !metadata.as_str().starts_with('{'))
        {
            let field = format!("events.{}", codes::shown(name));
            return Err(codes::invalid(
                &field,
                "no object",
                "an object with the event's metadata",
            ));
        }
        Document::of(&self.events)?.check("events", EVENTS_BYTES)
    }
}

impl Events {
    fn post(
        &self,
        item: &EventsItem,
        cx: &mut Context<ExactlyOnce>,
    ) -> Result<EventsOutput, Failure> {
        let number = Number::of(cx);
        let now = Time::from(cx.now());
        if let Some(id) = &item.transaction_id {
            let key = transaction_key(id);
            let content = Content::of(Self::NAME, item)?;
            refuse_duplicate(cx, &key, "transactionId", &content)?;
            // Keeps the id. It moves no points, so it is on nobody's chain.
            let transaction = Transaction {
                customer: item.customer_id.clone(),
                place: 0,
                previous: None,
                number,
                at_ms: now.ms,
                content,
                entries: Vec::new(),
                terms: Terms::default(),
                refunded: None,
            };
            cx.put(&TRANSACTIONS, key.as_str(), &transaction)?;
        }
        require_customer(cx, &item.customer_id)?;
        let stored = StoredEvents {
            at: now,
            events: item.events.clone(),
        };
        let key = events_key(&item.customer_id, number.0);
        cx.put(&EVENTS, key.as_str(), &stored)?;
        Ok(EventsOutput {
            customer_id: item.customer_id.clone(),
            accepted: item.events.len(),
        })
    }
}

/// Up to `most` items' events of a customer, in the order of their batches and in these of their items; those
/// after the first `skip`. None for an unknown customer.
///
/// # Errors
/// As [`Queue::read`]. Commits wait meanwhile: read a hundred at a time.
pub fn events(
    queue: &Queue,
    customer_id: &str,
    skip: usize,
    most: usize,
) -> Result<Vec<StoredEvents>, ReadError> {
    if item::check_id("customerId", customer_id).is_err() {
        return Ok(Vec::new());
    }
    queue.read(|tables| {
        let range = KeyRange::<str>::prefix(&events_prefix(customer_id));
        let rows = tables.range(&EVENTS, range).skip(skip).take(most);
        rows.map(|row| Ok(row?.1)).collect()
    })
}

//! Customers: profiles created and updated.

use super::account::Account;
use super::codes;
use super::document::Document;
use super::fields::{Field, Fields, Kind};
use super::item::{self, Check, ledger_operation};
use super::object::object;
use super::profile::{CHANNELS, CustomerAttributes, Profile};
use super::tables::{ACCOUNTS, PROFILES};
use super::time;
use crate::limits::TABLE_VALUE_BYTES;
use crate::{Context, ExactlyOnce, Failure, Queue, ReadError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

ledger_operation! {
    /// Creates customers, or updates their profiles: what an item says replaces what is stored, what it does not
    /// say (or says with null) stays. Members of `custom` are merged by their names; null removes one.
    ///
    /// Fails with [`LIMIT_EXCEEDED`](codes::LIMIT_EXCEEDED) when the merged profile is larger than a row of a table.
    Customers, "customers", CustomerItem => CustomerOutput
}

/// A customer. Attributes are given inside `customer_attributes`, or flat beside it; inside wins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
#[non_exhaustive]
pub struct CustomerItem {
    /// The customer's id.
    pub customer_id: String,
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mobile: Option<String>,
    /// Where messages to the customer's device go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_token: Option<String>,
    /// The device's system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os_type: Option<String>,
    /// Who recommended the programme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referrer_code: Option<String>,
    /// Whether the customer has no login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<bool>,
    /// Attributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_attributes: Option<CustomerAttributes>,
    /// The display name, flat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The gender, flat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gender: Option<String>,
    /// The date of birth, flat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date_of_birth: Option<String>,
    /// The join date, flat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_date: Option<String>,
    /// Tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Anything more by its name, flat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<BTreeMap<String, Document>>,
}

object!(CustomerItem);

/// What became of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CustomerOutput {
    /// The customer.
    pub customer_id: String,
    /// [`CREATED`](Self::CREATED) or [`UPDATED`](Self::UPDATED).
    pub message: String,
}

impl CustomerOutput {
    /// The message of a customer who did not exist before.
    pub const CREATED: &str = "Customer created successfully";
    /// The message of one who did.
    pub const UPDATED: &str = "Customer updated successfully";
}

impl CustomerItem {
    /// A customer of whom nothing but the id is said.
    pub fn new(customer_id: impl Into<String>) -> Self {
        Self {
            customer_id: customer_id.into(),
            ..Self::default()
        }
    }

    /// What the item says, in one form.
    fn profile(&self) -> Profile {
        let mut attributes = CustomerAttributes {
            display_name: self.name.clone(),
            gender: self.gender.clone(),
            date_of_birth: self.date_of_birth.clone(),
            join_date: self.join_date.clone(),
            ..CustomerAttributes::default()
        };
        // Nulls in it are to remove what is stored: merging would lose them.
        let mut custom = self.custom.clone();
        if let Some(mut inner) = self.customer_attributes.clone() {
            if let Some(inner) = inner.custom.take() {
                custom.get_or_insert_default().extend(inner);
            }
            attributes.merge(inner);
        }
        attributes.custom = custom;
        Profile {
            email: self.email.clone(),
            mobile: self.mobile.clone(),
            device_token: self.device_token.clone(),
            os_type: self.os_type.clone(),
            referrer_code: self.referrer_code.clone(),
            guest: self.guest,
            tags: self.tags.clone(),
            customer_attributes: attributes,
        }
    }
}

impl Fields for CustomerItem {
    const FIELDS: &'static [Field] = &[
        Field::required("customerId", Kind::Text),
        Field::optional("email", Kind::Text),
        Field::optional("mobile", Kind::Text),
        Field::optional("deviceToken", Kind::Text),
        Field::optional("osType", Kind::Text),
        Field::optional("referrerCode", Kind::Text),
        Field::optional("guest", Kind::Bool),
        Field::optional("name", Kind::Text),
        Field::optional("gender", Kind::Text),
        Field::optional("dateOfBirth", Kind::Date),
        Field::optional("joinDate", Kind::Date),
        Field::optional("tags", Kind::Texts),
        Field::optional("custom", Kind::Object),
        Field::optional("customerAttributes", Kind::Object),
        Field::optional("customerAttributes.displayName", Kind::Text),
        Field::optional("customerAttributes.firstName", Kind::Text),
        Field::optional("customerAttributes.lastName", Kind::Text),
        Field::optional("customerAttributes.email", Kind::Text),
        Field::optional("customerAttributes.gender", Kind::Text),
        Field::optional("customerAttributes.mobile", Kind::Text),
        Field::optional("customerAttributes.dateOfBirth", Kind::Date),
        Field::optional("customerAttributes.joinDate", Kind::Date),
        Field::optional("customerAttributes.country", Kind::Text),
        Field::optional("customerAttributes.city", Kind::Text),
        Field::optional("customerAttributes.zip", Kind::Text),
        Field::optional("customerAttributes.preferredLanguage", Kind::Text),
        Field::optional("customerAttributes.source", Kind::Text),
        Field::optional("customerAttributes.utms", Kind::Array),
        Field::optional("customerAttributes.devices", Kind::Array),
        Field::optional("customerAttributes.paymentMethods", Kind::Array),
        Field::optional("customerAttributes.totalSpent", Kind::Money),
        Field::optional("customerAttributes.lastOrderDate", Kind::Date),
        Field::optional("customerAttributes.totalOrders", Kind::Integer),
        Field::optional("customerAttributes.avgOrderAmount", Kind::Money),
        Field::optional("customerAttributes.channel", Kind::Choice(CHANNELS)),
        Field::optional("customerAttributes.custom", Kind::Object),
    ];
}

impl Check for CustomerItem {
    fn check(&self) -> Result<(), Failure> {
        item::check_id("customerId", &self.customer_id)?;
        let inner = self.customer_attributes.as_ref();
        let dates = [
            ("dateOfBirth", &self.date_of_birth),
            ("joinDate", &self.join_date),
        ];
        let inner_dates = inner.map(|inner| {
            [
                ("customerAttributes.dateOfBirth", &inner.date_of_birth),
                ("customerAttributes.joinDate", &inner.join_date),
                ("customerAttributes.lastOrderDate", &inner.last_order_date),
            ]
        });
        for (field, text) in dates.into_iter().chain(inner_dates.into_iter().flatten()) {
            if let Some(text) = text.as_deref().filter(|text| !time::is_date(text)) {
                let expected = Kind::Date.expected();
                return Err(codes::invalid(field, format_args!("{text:?}"), expected));
            }
        }
        match inner {
            Some(inner) => {
                item::check_choice("customerAttributes.channel", &inner.channel, CHANNELS)
            }
            None => Ok(()),
        }
    }
}

impl Customers {
    fn post(
        &self,
        item: &CustomerItem,
        cx: &mut Context<ExactlyOnce>,
    ) -> Result<CustomerOutput, Failure> {
        let customer = item.customer_id.as_str();
        let is_new = cx.get(&ACCOUNTS, customer)?.is_none();
        let mut profile = cx.get(&PROFILES, customer)?.unwrap_or_default();
        profile.merge(item.profile());
        Document::of(&profile)?.check("customerAttributes", TABLE_VALUE_BYTES)?;
        cx.put(&PROFILES, customer, &profile)?;
        if is_new {
            cx.put(&ACCOUNTS, customer, &Account::default())?;
        }
        let message = if is_new {
            CustomerOutput::CREATED
        } else {
            CustomerOutput::UPDATED
        };
        Ok(CustomerOutput {
            customer_id: item.customer_id.clone(),
            message: message.to_owned(),
        })
    }
}

/// What is stored of a customer besides points; `None` for an unknown customer, and the default for one of whom
/// nothing is known.
///
/// # Errors
/// As [`Queue::read`].
pub fn profile(queue: &Queue, customer_id: &str) -> Result<Option<Profile>, ReadError> {
    if item::check_id("customerId", customer_id).is_err() {
        return Ok(None);
    }
    queue.read(|tables| {
        let account = tables.get(&ACCOUNTS, customer_id)?;
        let profile = tables.get(&PROFILES, customer_id)?;
        Ok(account.map(|_| profile.unwrap_or_default()))
    })
}

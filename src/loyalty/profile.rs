//! Profiles: what is known of a customer besides points.

use super::document::Document;
use super::money::Money;
use super::object::object;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a customer or an order comes from.
pub(super) const CHANNELS: &[&str] = &["mobile", "pos", "web", "callcenter"];

/// Attributes of a customer. What is `None` says nothing: it changes nothing of a stored profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
#[serde(default)]
#[non_exhaustive]
pub struct CustomerAttributes {
    /// The name to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The first name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// The last name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    /// The address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The gender, in whatever words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gender: Option<String>,
    /// The number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mobile: Option<String>,
    /// A date, or a time on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date_of_birth: Option<String>,
    /// A date, or a time on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_date: Option<String>,
    /// The country.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The city.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// The postal code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zip: Option<String>,
    /// The language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_language: Option<String>,
    /// How the customer came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Campaigns, kept as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utms: Option<Vec<Document>>,
    /// Devices, kept as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub devices: Option<Vec<Document>>,
    /// Payment methods, kept as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payment_methods: Option<Vec<Document>>,
    /// All that the customer spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_spent: Option<Money>,
    /// A date, or a time on one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_order_date: Option<String>,
    /// How many orders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_orders: Option<u64>,
    /// What an order is worth on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avg_order_amount: Option<Money>,
    /// `mobile`, `pos`, `web` or `callcenter`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// Anything more by its name, kept as it is. When merged, a member replaces the stored one of its name, and
    /// null removes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<BTreeMap<String, Document>>,
}

object!(CustomerAttributes);

/// What is stored of a customer besides points: from [`profile`](super::profile()).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(default)]
#[non_exhaustive]
pub struct Profile {
    /// The address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mobile: Option<String>,
    /// Where messages to the customer's device go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_token: Option<String>,
    /// The device's system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_type: Option<String>,
    /// Who recommended the programme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referrer_code: Option<String>,
    /// Whether the customer has no login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guest: Option<bool>,
    /// Tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// All else.
    pub customer_attributes: CustomerAttributes,
}

/// Sets each field that the other one has.
macro_rules! merge_fields {
    ($into:expr, $from:expr, [$($field:ident),+ $(,)?]) => {
        $(if $from.$field.is_some() {
            $into.$field = $from.$field;
        })+
    };
}

impl Profile {
    /// A customer of whom only this is known.
    pub(super) fn contact(email: Option<String>, mobile: Option<String>) -> Self {
        Self {
            email,
            mobile,
            ..Self::default()
        }
    }

    /// Sets what `newer` says.
    pub(super) fn merge(&mut self, newer: Self) {
        self.customer_attributes.merge(newer.customer_attributes);
        merge_fields!(
            self,
            newer,
            [
                email,
                mobile,
                device_token,
                os_type,
                referrer_code,
                guest,
                tags
            ]
        );
    }
}

impl CustomerAttributes {
    /// Sets what `newer` says.
    pub(super) fn merge(&mut self, newer: Self) {
        for (name, value) in newer.custom.into_iter().flatten() {
            let custom = self.custom.get_or_insert_default();
            if value.is_null() {
                custom.remove(&name);
            } else {
                custom.insert(name, value);
            }
        }
        merge_fields!(
            self,
            newer,
            [
                display_name,
                first_name,
                last_name,
                email,
                gender,
                mobile,
                date_of_birth,
                join_date,
                country,
                city,
                zip,
                preferred_language,
                source,
                utms,
                devices,
                payment_methods,
                total_spent,
                last_order_date,
                total_orders,
                avg_order_amount,
                channel,
            ]
        );
    }
}

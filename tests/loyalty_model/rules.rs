//! Programmes: what the runs are configured with.

use crate::decimal::Decimal;
use crate::json::{object, quoted};
use batchwright::loyalty::Program;
use proptest::prelude::*;
use proptest::sample::select;

/// A programme, as the model reads it.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) currency: &'static str,
    pub(crate) points_name: &'static str,
    pub(crate) earn_rate: Decimal,
    pub(crate) factor: Decimal,
    pub(crate) window_days: u32,
    pub(crate) expiry_days: Option<u32>,
    pub(crate) grace_days: u32,
    pub(crate) allow_negative: bool,
    pub(crate) cashback_creates: bool,
    pub(crate) orders_create: bool,
    pub(crate) hold_minutes: u32,
    pub(crate) hold_minutes_min: u32,
    pub(crate) hold_minutes_max: u32,
}

impl Rules {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let rates = (
            select(vec![1_000_000, 500_000, 1_250_000, 333_333, 10_000_000]),
            select(vec![100_000, 10_000, 1_000_000, 300_000]),
        );
        let days = (
            prop_oneof![2 => Just(0), 2 => 1..4u32, 1 => 5..40u32],
            prop_oneof![1 => Just(None), 3 => (0..40u32).prop_map(Some)],
            prop_oneof![2 => Just(0), 1 => 1..5u32],
        );
        let flags = (
            any::<bool>(),
            prop::bool::weighted(0.8),
            prop::bool::weighted(0.8),
        );
        let holds = (1..30u32, 0..30u32, 0..3000u32);
        let names = (select(vec!["USD", "EGP"]), select(vec!["Points", "Stars"]));
        (names, rates, days, flags, holds).prop_map(|(names, rates, days, flags, holds)| {
            let (shortest, more, most) = holds;
            Self {
                currency: names.0,
                points_name: names.1,
                earn_rate: Decimal(rates.0),
                factor: Decimal(rates.1),
                window_days: days.0,
                expiry_days: days.1,
                grace_days: days.2,
                allow_negative: flags.0,
                cashback_creates: flags.1,
                orders_create: flags.2,
                hold_minutes: shortest + more,
                hold_minutes_min: shortest,
                hold_minutes_max: shortest + more + most,
            }
        })
    }

    /// The programme, configured as from a file.
    pub(crate) fn program(&self) -> Result<Program, serde_json::Error> {
        let mut members = vec![
            ("currency", quoted(self.currency)),
            ("points_name", quoted(self.points_name)),
            ("earn_rate", quoted(&self.earn_rate.to_string())),
            ("redemption_factor", quoted(&self.factor.to_string())),
            ("return_window_days", self.window_days.to_string()),
            ("refund_grace_days", self.grace_days.to_string()),
            ("allow_negative", self.allow_negative.to_string()),
            (
                "cashback_creates_customers",
                self.cashback_creates.to_string(),
            ),
            ("orders_create_customers", self.orders_create.to_string()),
            ("hold_minutes", self.hold_minutes.to_string()),
            ("hold_minutes_min", self.hold_minutes_min.to_string()),
            ("hold_minutes_max", self.hold_minutes_max.to_string()),
        ];
        if let Some(days) = self.expiry_days {
            members.push(("points_expiry_days", days.to_string()));
        }
        serde_json::from_str(&object(members))
    }
}

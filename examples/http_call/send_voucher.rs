//! The operation: one HTTP request, and which answers are worth another attempt.

use batchwright::{AtLeastOnce, Context, Failure, Operation, RetryPolicy};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use ureq::Agent;

/// A voucher to be sent to a customer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Voucher {
    pub(crate) customer: u32,
    pub(crate) euros: u32,
}

/// Has the voucher service send a voucher.
pub(crate) struct SendVoucher {
    agent: Agent,
    url: String,
}

impl SendVoucher {
    pub(crate) fn to(url: String) -> Self {
        let config = Agent::config_builder()
            // Without a limit, a service that never answers would hold a worker for ever.
            .timeout_global(Some(Duration::from_secs(5)))
            .http_status_as_error(false)
            .build();
        Self {
            agent: config.into(),
            url,
        }
    }
}

impl Operation for SendVoucher {
    const NAME: &'static str = "send-voucher";
    type Item = Voucher;
    /// The number that the service gave the voucher.
    type Output = u64;
    type Guarantee = AtLeastOnce;

    fn run(&self, voucher: Voucher, cx: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
        let mut response = self
            .agent
            .post(&self.url)
            // The same in every attempt, also after a restart.
            .header("Idempotency-Key", cx.idempotency_key().to_string())
            .send_json(&voucher)
            .map_err(|error| Failure::retryable("no_answer", error.to_string()))?;
        let status = response.status();
        match status.as_u16() {
            200 => response
                .body_mut()
                .read_json()
                .map_err(|error| Failure::retryable("broken_answer", error.to_string())),
            429 | 500..=599 => Err(Failure::retryable("unavailable", status.to_string())),
            // Another attempt would be told the same.
            _ => Err(Failure::permanent("refused", status.to_string())),
        }
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::exponential(10, Duration::from_millis(20)).longest_wait(Duration::from_secs(1))
    }
}

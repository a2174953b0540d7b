//! The operations of the simulated application. A handler tells the world that it runs, and lets others go on
//! meanwhile.

use super::item::{Act, Item, Script};
use super::kind::Kind;
use super::sabotage::Sabotage;
use super::world::World;
use crate::context::Context;
use crate::failure::Failure;
use crate::kernel::{RateLimit, RetryPolicy};
use crate::operation::{AtLeastOnce, AtMostOnce, ExactlyOnce, Guarantee, Operation};
use crate::runtime::{Registration, Typed};
use crate::table::Table;
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What the items of an account add up to.
pub(super) const SUMS: Table<u64, u64> = Table::new("sums");

/// How often an item was paid, and how much: by submission and index.
pub(super) const PAID: Table<u64, (u64, u64)> = Table::new("paid");

pub(super) fn paid_key(submission: u32, index: u16) -> u64 {
    (u64::from(submission) << 16) | u64::from(index)
}

/// A handler's way to the world that it runs in.
#[derive(Clone)]
struct Hands {
    world: Weak<World>,
    opening: u64,
    kind: Kind,
}

/// A handler that is running.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) kind: Kind,
    pub(super) worker: usize,
    pub(super) batch: u64,
    pub(super) index: u16,
    pub(super) attempt: u32,
}

pub(super) struct Pay(Hands);
pub(super) struct Send(Hands);
pub(super) struct Ordered(Hands);
pub(super) struct Narrow(Hands);
pub(super) struct Once(Hands);
pub(super) struct Timed(Hands);
pub(super) struct Call(Hands);

pub(super) fn register(world: &Arc<World>, opening: u64) -> Vec<Registration> {
    let hands = |kind| Hands {
        world: Arc::downgrade(world),
        opening,
        kind,
    };
    vec![
        registration(Pay(hands(Kind::Pay))),
        registration(Send(hands(Kind::Send))),
        registration(Ordered(hands(Kind::Ordered))),
        registration(Narrow(hands(Kind::Narrow))),
        registration(Once(hands(Kind::Once))),
        registration(Timed(hands(Kind::Timed))),
        registration(Call(hands(Kind::Call))),
    ]
}

fn registration<O: Operation>(operation: O) -> Registration {
    Registration {
        name: O::NAME.to_owned(),
        aliases: O::ALIASES,
        handler: Arc::new(Typed(operation)),
    }
}

impl Hands {
    fn is(&self, sabotage: Sabotage) -> bool {
        self.world.upgrade().is_some_and(|world| world.is(sabotage))
    }

    fn retry(&self) -> RetryPolicy {
        let more = u32::from(self.is(Sabotage::MoreAttempts)) * 2;
        let attempts = self.kind.attempts() + more;
        RetryPolicy::exponential(attempts, Duration::from_millis(self.kind.first_wait_ms()))
            .after_timeouts()
    }

    fn timeout(&self) -> Option<Duration> {
        let limit_ms = self.kind.timeout_ms();
        let limit_ms = limit_ms.filter(|_| !self.is(Sabotage::NoTimeouts));
        limit_ms.map(Duration::from_millis)
    }

    fn rate_limit(&self) -> Option<RateLimit> {
        let rate = self.kind.rate();
        let rate = rate.filter(|_| !self.is(Sabotage::NoRateLimits))?;
        let period = Duration::from_millis(rate.period_ms);
        Some(RateLimit::new(rate.items, period))
    }

    fn concurrency(&self) -> Option<NonZeroU32> {
        let limit = self.kind.concurrency().and_then(NonZeroU32::new);
        limit.filter(|_| !self.is(Sabotage::NoConcurrencyLimit))
    }

    fn key(&self, item: &Item) -> Option<String> {
        let key = item.key.filter(|_| !self.is(Sabotage::NoOrder))?;
        Some(format!("key {key}"))
    }

    /// Runs an item: `effect` is what a handler does besides.
    fn run<G: Guarantee>(
        &self,
        item: &Item,
        cx: &mut Context<G>,
        effect: impl FnOnce(&mut Context<G>) -> Result<(), Failure>,
    ) -> Result<u64, Failure> {
        let gone = || Failure::permanent("gone", "the process has ended");
        let world = self.world.upgrade().ok_or_else(gone)?;
        let call = Run {
            kind: self.kind,
            worker: world.worker_at_work(),
            batch: cx.batch_id().into(),
            index: u16::try_from(cx.index()).unwrap_or(u16::MAX),
            attempt: cx.attempt(),
        };
        let again = world.began(self.opening, &call, item).ok_or_else(gone)?;
        world.meanwhile(self.opening);
        if item.script == Script::Slow {
            world.pass_ms(self.kind.timeout_ms().unwrap_or(1_000));
            world.meanwhile(self.opening);
        }
        if let Err(failure) = effect(cx) {
            world.returned(self.opening, &call, Act::GiveUp);
            return Err(failure);
        }
        let act = item.act(call.attempt, again);
        world.meanwhile(self.opening);
        if act == Act::Crash && world.lives(self.opening) {
            world.kill();
        }
        world.returned(self.opening, &call, act);
        match act {
            Act::Succeed => Ok(item.amount),
            Act::TryAgain => Err(Failure::retryable("busy", "try again")),
            Act::Fail => Err(Failure::permanent("refused", "as it was told to")),
            Act::Crash | Act::GiveUp => Err(gone()),
            // Not `panic!`: nobody is to print it.
            Act::Panic => std::panic::resume_unwind(Box::new("as it was told to")),
        }
    }
}

macro_rules! operation {
    ($name:ident, $kind:expr, $guarantee:ident, $effect:expr) => {
        impl Operation for $name {
            const NAME: &'static str = $kind.name();
            type Item = Item;
            type Output = u64;
            type Guarantee = $guarantee;

            fn run(&self, item: Item, cx: &mut Context<$guarantee>) -> Result<u64, Failure> {
                self.0.run(&item, cx, |cx| $effect(&item, cx))
            }

            fn retry(&self) -> RetryPolicy {
                self.0.retry()
            }

            fn concurrency(&self) -> Option<NonZeroU32> {
                self.0.concurrency()
            }

            fn key(&self, item: &Item) -> Option<String> {
                self.0.key(item)
            }

            fn timeout(&self) -> Option<Duration> {
                self.0.timeout()
            }

            fn rate_limit(&self) -> Option<RateLimit> {
                self.0.rate_limit()
            }

            fn crash_limit(&self) -> Option<NonZeroU32> {
                self.0.kind.crash_limit().and_then(NonZeroU32::new)
            }
        }
    };
}

operation!(Pay, Kind::Pay, ExactlyOnce, pay);
operation!(Send, Kind::Send, AtLeastOnce, nothing);
operation!(Ordered, Kind::Ordered, AtLeastOnce, nothing);
operation!(Narrow, Kind::Narrow, AtLeastOnce, nothing);
operation!(Once, Kind::Once, AtMostOnce, nothing);
operation!(Timed, Kind::Timed, AtLeastOnce, nothing);
operation!(Call, Kind::Call, AtMostOnce, nothing);

/// Pays, whatever the handler then makes of the item: what fails must leave nothing.
fn pay(item: &Item, cx: &mut Context<ExactlyOnce>) -> Result<(), Failure> {
    let key = paid_key(item.submission, item.index);
    let (times, _) = cx.get(&PAID, &key)?.unwrap_or((0, 0));
    cx.put(&PAID, &key, &(times + 1, item.amount))?;
    let account = u64::from(item.account);
    let sum = cx.get(&SUMS, &account)?.unwrap_or(0);
    cx.put(&SUMS, &account, &(sum + item.amount))?;
    Ok(())
}

fn nothing<G: Guarantee>(_item: &Item, _cx: &mut Context<G>) -> Result<(), Failure> {
    Ok(())
}

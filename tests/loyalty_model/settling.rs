//! Time alone: an account that is brought up to a moment in many steps is the same as one that is in one step.

use crate::checks::ACCOUNTS;
use crate::decimal::Decimal;
use crate::items::{Item, Operation};
use crate::plan::{Action, Jump, Start, any_points, submit};
use crate::resolve::CUSTOMERS;
use crate::rules::Rules;
use crate::run::{Held, Run, Wrong, same};
use batchwright::loyalty::{self, EntryKind};
use proptest::prelude::*;

/// What is done, and then the steps in which time passes.
#[derive(Debug, Clone)]
pub(crate) struct Course {
    rules: Rules,
    start: Vec<Start>,
    actions: Vec<Action>,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
struct Step {
    jump: Jump,
    /// An item touches the accounts, or they are only read.
    touches: bool,
}

impl Course {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let start = prop::collection::vec(any_points(), 1..8);
        let actions = prop_oneof![3 => submit(), 1 => Jump::any().prop_map(Action::Advance)];
        let actions = prop::collection::vec(actions, 1..12);
        let step = (Jump::any(), any::<bool>()).prop_map(|(jump, touches)| Step { jump, touches });
        let steps = prop::collection::vec(step, 1..12);
        (Rules::any(), start, actions, steps).prop_map(|(rules, start, actions, steps)| Self {
            rules,
            start,
            actions,
            steps,
        })
    }

    fn run(&self) -> Result<Run, Wrong> {
        let mut run = Run::new(&self.rules)?;
        run.start(&self.start)?;
        for action in &self.actions {
            run.step(action)?;
        }
        run.drain(u64::MAX)?;
        Ok(run)
    }
}

/// What a customer's account comes to, without what tells how often it was touched.
#[derive(Debug, PartialEq)]
struct Account {
    balance: String,
    row: String,
    expired: i64,
    lapsed: Vec<(String, Option<i64>)>,
}

pub(crate) fn in_steps_and_at_once(course: &Course) -> Held {
    let (mut in_steps, mut at_once) = (course.run()?, course.run()?);
    for Step { jump, touches } in &course.steps {
        in_steps.advance(jump);
        if *touches {
            in_steps.touch()?;
        }
        in_steps.check(false)?;
    }
    let passed = in_steps.now() - at_once.now();
    at_once.advance(&Jump::By(passed));
    for run in [&mut in_steps, &mut at_once] {
        let before = run.balances()?;
        run.touch()?;
        same("the balances after a touch", run.balances()?, before)?;
    }
    same("the accounts", in_steps.accounts()?, at_once.accounts()?)
}

impl Run {
    /// Purchases too small for a point bring all accounts up to now, and change nothing else.
    fn touch(&mut self) -> Held {
        let now = self.now();
        let known = self.ledger.customers.iter();
        let purchases: Vec<_> = known
            .map(|(id, customer)| Item::Cashback {
                customer: id.clone(),
                id: format!("touch-{id}-{}", customer.transactions),
                time: now,
                amount: Decimal(1),
                email: None,
                window: None,
            })
            .collect();
        if purchases.is_empty() {
            return Ok(());
        }
        self.submit(Operation::Cashback, purchases)?;
        self.drain(u64::MAX)
    }

    fn balances(&self) -> Result<Vec<Option<String>>, Wrong> {
        let balance = |id| {
            let balance = loyalty::balance(&self.queue, &self.program, id)?;
            Ok(balance.as_ref().map(serde_json::to_string).transpose()?)
        };
        CUSTOMERS.into_iter().map(balance).collect()
    }

    fn accounts(&self) -> Result<Vec<Account>, Wrong> {
        let balances = self.balances()?;
        let mut accounts = Vec::new();
        for (id, balance) in CUSTOMERS.into_iter().zip(balances) {
            let Some(balance) = balance else { continue };
            let row = self.queue.read(|tables| tables.get(&ACCOUNTS, id))?;
            let mut account = Account {
                balance,
                row: format!(
                    "{:?}",
                    row.map(|mut row| {
                        row.transactions = 0;
                        row
                    })
                ),
                expired: 0,
                lapsed: Vec::new(),
            };
            for entry in loyalty::history(&self.queue, id)?.into_iter().flatten() {
                let entry = entry?;
                match entry.kind {
                    EntryKind::Expiry => account.expired += entry.points,
                    EntryKind::HoldExpiry => {
                        let when = format!("{:?} {}", entry.hold_reference, entry.at);
                        account.lapsed.push((when, entry.held));
                    }
                    _ => {}
                }
            }
            accounts.push(account);
        }
        Ok(accounts)
    }
}

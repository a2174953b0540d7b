//! A run: the queue, and the model beside it.

use crate::account::Customer;
use crate::clock::{FusedClock, ms};
use crate::dates::MINUTE_MS;
use crate::found::{Found, outcomes};
use crate::items::{Item, Operation, Size};
use crate::json::array;
use crate::ledger::{Ledger, Place};
use crate::plan::{Action, End, Jump, Plan, Seed, Start};
use crate::resolve::{CUSTOMERS, Resolver};
use crate::rules::Rules;
use batchwright::loyalty::{self, Program};
use batchwright::testing::{CommitFault, DrainError, DrainedQueue, MemoryDisk};
use batchwright::{BatchError, BatchId, Queue, State};
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What does not hold.
pub(crate) struct Wrong(pub(crate) String);

impl Wrong {
    pub(crate) fn at(self, step: usize, action: &Action) -> Self {
        let text = self.0;
        Self(format!("at step {step}, {action:?}: {text}"))
    }
}

/// As it is to be read.
impl fmt::Debug for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Wrong> for TestCaseError {
    fn from(wrong: Wrong) -> Self {
        Self::fail(wrong.0)
    }
}

impl<E: std::error::Error> From<E> for Wrong {
    fn from(error: E) -> Self {
        Self(format!("an error that nothing explains: {error:?}"))
    }
}

pub(crate) type Held = Result<(), Wrong>;

pub(crate) fn hold(condition: bool, text: impl FnOnce() -> String) -> Held {
    if condition {
        Ok(())
    } else {
        Err(Wrong(text()))
    }
}

pub(crate) fn same<T: PartialEq + fmt::Debug>(what: &str, found: T, expected: T) -> Held {
    hold(found == expected, || {
        format!("{what}:\n   found {found:?}\nexpected {expected:?}")
    })
}

/// A batch that is stored.
#[derive(Debug)]
struct Known {
    operation: Operation,
    items: Vec<Item>,
    /// Outcomes of its first items, which the model has run, too.
    outcomes: Vec<Found>,
    stopped: bool,
    retried: bool,
}

impl Known {
    fn is_complete(&self) -> bool {
        self.outcomes.len() == self.items.len()
    }

    fn can_run(&self) -> bool {
        !self.stopped && !self.is_complete()
    }
}

pub(crate) struct Run {
    disk: MemoryDisk,
    clock: FusedClock,
    pub(crate) queue: DrainedQueue,
    pub(crate) rules: Rules,
    pub(crate) program: Program,
    pub(crate) ledger: Ledger,
    batches: BTreeMap<BatchId, Known>,
    /// All that was submitted, whatever has become of it.
    past: Vec<(Operation, Vec<Item>)>,
    pub(crate) stories: usize,
    /// Entries of each customer that were compared.
    pub(crate) seen: BTreeMap<&'static str, usize>,
}

fn open(disk: &MemoryDisk, clock: &FusedClock, program: &Program) -> Result<DrainedQueue, Wrong> {
    let builder = Queue::builder("unused").clock(clock.clone());
    Ok(loyalty::register_all(builder, program)?.open_to_drain(disk)?)
}

impl Run {
    pub(crate) fn new(rules: &Rules) -> Result<Self, Wrong> {
        let disk = MemoryDisk::new();
        let clock = FusedClock::new(&disk);
        let program = rules.program()?;
        Ok(Self {
            queue: open(&disk, &clock, &program)?,
            disk,
            clock,
            rules: rules.clone(),
            program,
            ledger: Ledger::default(),
            batches: BTreeMap::new(),
            past: Vec::new(),
            stories: 0,
            seen: BTreeMap::new(),
        })
    }

    /// Everything that is planned, with a look at everything after each step.
    pub(crate) fn all(plan: &Plan) -> Held {
        let mut run = Self::new(&plan.rules)?;
        run.start(&plan.start)?;
        for (step, action) in plan.actions.iter().enumerate() {
            run.step(action)
                .and_then(|()| run.check(action.reopens()))
                .map_err(|wrong| wrong.at(step, action))?;
        }
        run.finish()
    }

    /// Customers with points.
    pub(crate) fn start(&mut self, start: &[Start]) -> Held {
        if start.is_empty() {
            return Ok(());
        }
        let named = |start: &Start| CUSTOMERS[start.customer].to_owned();
        let customers = start.iter().map(|start| Item::Customer {
            customer: named(start),
            email: None,
            name: None,
            custom: BTreeMap::new(),
        });
        self.submit(Operation::Customers, customers.collect())?;
        let points = start.iter().map(|start| Item::Adjustment {
            customer: named(start),
            size: Size::Points(start.points),
            id: None,
            days: start.days,
            reason: None,
        });
        self.submit(Operation::Adjustment, points.collect())?;
        self.drain(u64::MAX)
    }

    /// Lets everything come to its end, and opens the queue once more.
    fn finish(&mut self) -> Held {
        for id in self.batches.keys().copied().collect::<Vec<_>>() {
            self.resume(id)?;
        }
        self.drain(u64::MAX)?;
        hold(self.batches.values().all(Known::is_complete), || {
            format!("not all have ended: {:?}", self.batches)
        })?;
        self.check(true)?;
        self.reopen(End::Shutdown, None)?;
        self.check(true)
    }

    pub(crate) fn now(&self) -> i64 {
        ms(self.queue.now())
    }

    pub(crate) fn step(&mut self, action: &Action) -> Held {
        match action {
            Action::Submit {
                operation,
                seeds,
                most,
            } => {
                let items = self.resolve(*operation, seeds);
                self.submit(*operation, items)?;
                self.drain(*most)
            }
            Action::Tell {
                story,
                customer,
                seeds,
            } => self.tell(*story, *customer, seeds),
            Action::Again { which, changed } => self.submit_again(which, *changed),
            Action::Retry { which } => self.on(which, Self::retry),
            Action::Drain { most } => self.drain(*most),
            Action::Stop { which } => self.on(which, Self::stop),
            Action::Resume { which } => self.on(which, Self::resume),
            Action::Delete { which } => self.on(which, Self::delete),
            Action::Advance(jump) => {
                self.advance(jump);
                Ok(())
            }
            Action::Reopen { end, rules } => self.reopen(*end, rules.as_ref()),
        }
    }

    fn on(&mut self, which: &Index, act: impl Fn(&mut Self, BatchId) -> Held) -> Held {
        let ids: Vec<_> = self.batches.keys().copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        act(self, *which.get(&ids))
    }

    fn resolver(&self) -> Resolver<'_> {
        Resolver {
            ledger: &self.ledger,
            rules: &self.rules,
            now: self.now(),
        }
    }

    pub(crate) fn resolve(&self, operation: Operation, seeds: &[Seed]) -> Vec<Item> {
        let resolver = self.resolver();
        let items = seeds.iter().map(|seed| resolver.item(operation, seed));
        items.collect()
    }

    pub(crate) fn submit(&mut self, operation: Operation, items: Vec<Item>) -> Held {
        let json = array(items.iter().map(Item::json));
        let batch = self.queue.submit_json(operation.name(), &json);
        let batch = batch.map_err(|error| Wrong(format!("{error:?} of {json}")))?;
        self.past.push((operation, items.clone()));
        self.note(batch.id(), operation, items)
    }

    fn note(&mut self, id: BatchId, operation: Operation, items: Vec<Item>) -> Held {
        let known = Known {
            operation,
            items,
            outcomes: Vec::new(),
            stopped: false,
            retried: false,
        };
        let before = self.batches.insert(id, known);
        hold(before.is_none(), || {
            format!("{id} is the id of two batches")
        })
    }

    fn submit_again(&mut self, which: &Index, changed: bool) -> Held {
        if self.past.is_empty() {
            return Ok(());
        }
        let (operation, mut items) = which.get(&self.past).clone();
        if changed {
            items = items.iter().map(Item::changed).collect();
        }
        self.submit(operation, items)
    }

    /// Failed items in a batch of their own.
    fn retry(&mut self, id: BatchId) -> Held {
        let known = &self.batches[&id];
        let (operation, results) = (known.operation, known.items.iter().zip(&known.outcomes));
        let failed: Vec<_> = results
            .filter(|(_, found)| !found.is_success())
            .map(|(item, _)| item.clone())
            .collect();
        if failed.is_empty() || !known.is_complete() || known.retried {
            return Ok(());
        }
        let again = self.queue.batch(id)?.retry_failed()?.id();
        self.known(id)?.retried = true;
        self.note(again, operation, failed)
    }

    fn known(&mut self, id: BatchId) -> Result<&mut Known, Wrong> {
        let missing = || Wrong(format!("batch {id} came from nowhere"));
        self.batches.get_mut(&id).ok_or_else(missing)
    }

    fn stop(&mut self, id: BatchId) -> Held {
        let state = self.queue.batch(id)?.stop()?.state;
        let known = self.known(id)?;
        known.stopped = !known.is_complete();
        let expected = if known.stopped {
            State::Stopped
        } else {
            State::Completed
        };
        same("the state after a stop", state, expected)
    }

    fn resume(&mut self, id: BatchId) -> Held {
        if self.known(id)?.stopped {
            self.queue.batch(id)?.resume()?;
            self.known(id)?.stopped = false;
        }
        Ok(())
    }

    fn delete(&mut self, id: BatchId) -> Held {
        let can_run = self.known(id)?.can_run();
        match self.queue.batch(id)?.delete() {
            Ok(()) => {
                self.batches.remove(&id);
                hold(!can_run, || format!("batch {id} was deleted unfinished"))
            }
            Err(BatchError::NotEnded { .. }) if can_run => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn advance(&mut self, jump: &Jump) {
        let now = self.now();
        let by = match jump {
            Jump::By(ms) => *ms,
            Jump::Moment { which, beside_ms } => self.next_moment(which) - now + beside_ms,
            Jump::HoldBefore { which } => {
                let hold_ms = i64::from(self.rules.hold_minutes) * MINUTE_MS;
                self.next_moment(which) - now - hold_ms
            }
        };
        self.clock.advance(by.max(0));
    }

    /// One of the next moments at which time changes an account by itself.
    fn next_moment(&self, which: &Index) -> i64 {
        let now = self.now();
        let customers = self.ledger.customers.values();
        let moments = customers.flat_map(|own| own.moments());
        let mut moments: Vec<_> = moments.filter(|moment| *moment > now).collect();
        moments.sort_unstable();
        moments.truncate(6);
        if moments.is_empty() {
            return now;
        }
        *which.get(&moments)
    }

    pub(crate) fn settled(&self, customer: &str) -> Customer {
        self.ledger.settled(customer, self.now())
    }

    /// One attempt after the other where several batches take turns: so it is seen what runs when.
    pub(crate) fn drain(&mut self, most: u64) -> Held {
        let mut left = most;
        while left > 0 {
            let (ran, expected) = match self.attempts_at_once(left) {
                0 => break,
                most => (self.queue.drain_at_most(most)?, most),
            };
            same("attempts", ran, expected)?;
            same("items that ended", self.catch_up()?, ran)?;
            left -= ran;
        }
        Ok(())
    }

    /// How many attempts can be made whose order is known.
    fn attempts_at_once(&self, most: u64) -> u64 {
        let runnable: Vec<_> = self
            .batches
            .values()
            .filter(|known| known.can_run())
            .collect();
        match runnable.as_slice() {
            [] => 0,
            [only] => most.min((only.items.len() - only.outcomes.len()) as u64),
            _ => 1,
        }
    }

    /// Runs in the model what has run in the queue; how many items.
    fn catch_up(&mut self) -> Result<u64, Wrong> {
        let mut news = Vec::new();
        for (id, known) in &self.batches {
            let batch = self.queue.batch(*id)?;
            if batch.status()?.processed() > known.outcomes.len() as u64 {
                news.push((*id, outcomes(&self.queue, *id, known.operation)?));
            }
        }
        hold(news.len() <= 1, || {
            format!("what has run first of {news:?}?")
        })?;
        let Some((id, found)) = news.pop() else {
            return Ok(0);
        };
        let now = self.now();
        let rules = self.rules.clone();
        let known = self.batches.get_mut(&id);
        let known = known.ok_or_else(|| Wrong(format!("batch {id} came from nowhere")))?;
        let seen = known.outcomes.len();
        for (index, found) in found.iter().enumerate() {
            same("the next item", found.index, index)?;
            if let Some(before) = known.outcomes.get(index) {
                hold(before == found, || {
                    format!("an outcome changed: {before:?}, {found:?}")
                })?;
                continue;
            }
            let at = Place {
                rules: &rules,
                batch: id.into(),
                index,
                now,
            };
            let item = &known.items[index];
            let expected = self.ledger.run(item, at);
            found.compare(&expected).map_err(|Wrong(text)| {
                Wrong(format!("item {index} of batch {id}, {item:?}: {text}"))
            })?;
            known.outcomes.push(found.clone());
        }
        Ok((known.outcomes.len() - seen) as u64)
    }

    pub(crate) fn reopen(&mut self, end: End, rules: Option<&Rules>) -> Held {
        match end {
            End::Shutdown => self.queue.shutdown(Duration::from_secs(30))?,
            End::PowerCut => {}
            End::FailedCommit { done, most } => {
                self.disk.fail_next_commit(if done {
                    CommitFault::Done
                } else {
                    CommitFault::NotDone
                });
                self.drain_into_failure(most)?;
            }
            End::CutAtReading { reading, most } => {
                self.clock.cut_at_reading(reading);
                self.drain_into_failure(most)?;
                self.clock.remove_fuse();
            }
        }
        // Whatever the queue still has to store is lost.
        self.disk.cut_power();
        self.queue = open(&self.disk, &self.clock, &self.program)?;
        // What was stored before was done under the old programme.
        self.catch_up()?;
        if let Some(rules) = rules {
            self.queue.shutdown(Duration::from_secs(30))?;
            self.rules = rules.clone();
            self.program = rules.program()?;
            self.queue = open(&self.disk, &self.clock, &self.program)?;
        }
        self.check_outcomes()
    }

    fn drain_into_failure(&mut self, most: u64) -> Held {
        match self.queue.drain_at_most(self.attempts_at_once(most)) {
            Ok(_) | Err(DrainError::Failed { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What was seen once stays.
    fn check_outcomes(&self) -> Held {
        for (id, known) in &self.batches {
            let found = outcomes(&self.queue, *id, known.operation)?;
            same("outcomes after an open", &found, &known.outcomes)?;
        }
        Ok(())
    }
}

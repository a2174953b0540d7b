//! A run: a rough time, then a calm one in which everything must come to its end.

use super::checker::{Ask, Death, Final, Look, Payments, Rule, Seen, Violation};
use super::dice::Dice;
use super::item::Item;
use super::kind::Kind;
use super::operations::{PAID, SUMS};
use super::sabotage::Sabotage;
use super::trace::{Event, Trace};
use super::world::{World, id};
use crate::error::{BatchError, ReadError};
use crate::outcome::Outcome;
use crate::queue::Queue;
use crate::runtime::Live;
use crate::status::{BatchFilter, Blocked, Status};
use crate::store::{StoreError, vault};
use crate::table::TableError;
use std::sync::Arc;

/// Steps of the rough time: at least, and by how many it varies.
const STEPS: (u64, u64) = (30, 60);

/// After so long in all with nothing to do, a batch that has not ended never will: rate limits make many wait.
const PATIENCE_MS: u64 = 120_000;

/// Runs what the dice say; the store is the seed's.
pub(super) fn run(
    seed: u64,
    dice: Dice,
    sabotage: Option<Sabotage>,
    with_text: bool,
) -> (Trace, Option<Violation>) {
    let world = Arc::new(World::new(dice, sabotage, with_text));
    match vault::initial_rows(u128::from(seed)) {
        Ok(initial) => world.disk.format(initial),
        Err(StoreError(what)) => world.fail(Rule::StoreIsSound, what),
    }
    world.open();
    let steps = STEPS.0 + world.roll(STEPS.1);
    for _ in 0..steps {
        if world.is_over() {
            break;
        }
        world.step();
        world.restart_if_ended();
    }
    world.come_to_an_end();
    if !world.is_over() {
        // What has ended, has ended for good.
        world.crash();
        world.open();
        let held = world.checker().all_have_ended();
        world.judge(held);
    }
    world.end_process(Death::Killed);
    (world.trace(), world.violation())
}

impl World {
    /// Somebody goes on.
    pub(super) fn step(&self) {
        // There are more when some took the place of others, whose handlers hang.
        let workers = self.workers().max(4) as u64;
        let worker = usize::try_from(self.roll(workers)).unwrap_or(0);
        if !self.is_rough() {
            match self.roll(10) {
                0..3 => drop(self.step_writer()),
                3..7 => drop(self.step_worker(worker)),
                _ => drop(self.deliver_from(worker)),
            }
            return;
        }
        match self.roll(400) {
            0..70 => self.ask_something(),
            70..110 => drop(self.poll()),
            110..200 => drop(self.step_writer()),
            200..290 => drop(self.step_worker(worker)),
            290..340 => drop(self.deliver_from(worker)),
            340..365 => self.pass_time(),
            365..385 => self.look_around(),
            385..395 => self.hurry_if_there(worker),
            395..398 => self.crash(),
            _ => self.close(),
        }
    }

    fn deliver_from(&self, worker: usize) -> bool {
        worker < self.workers() && self.deliver(worker)
    }

    fn hurry_if_there(&self, worker: usize) {
        if worker < self.workers() {
            self.hurry(worker);
        }
    }

    fn pass_time(&self) {
        let ms = match self.roll(4) {
            0 => 1 + self.roll(2_000),
            _ => 1 + self.roll(150),
        };
        self.pass_ms(ms);
        // Forward it is not set: waits that end with it are no fault.
        if self.once_in(10) {
            let by_ms = 1 + self.roll(6_000);
            self.clock.set_back(by_ms);
            self.note(&Event::ClockSetBack { by_ms });
        }
    }

    fn look_around(&self) {
        if self.is_committing() {
            return;
        }
        if self.once_in(4) {
            return self.audit(false);
        }
        let batches = self.checker().batches();
        if let (Some(queue), Some(batch)) = (self.queue(), self.pick(&batches)) {
            self.look(&queue, batch, false);
        }
    }

    /// Opens the queue again, when the process or the queue has ended.
    fn restart_if_ended(self: &Arc<Self>) {
        let has_ended = self
            .process()
            .as_ref()
            .is_none_or(|process| process.end.is_some());
        if has_ended && !self.is_over() {
            if self.process().is_some() {
                self.bury();
            }
            self.open();
        }
    }

    /// Nothing fails any more and nobody asks for anything but that it all ends.
    fn come_to_an_end(self: &Arc<Self>) {
        self.calm_down();
        let batches = self.checker().batches();
        for batch in batches {
            if self.once_in(2) {
                self.steer(Ask::Resume(batch));
            }
        }
        let mut quiet_ms = 0;
        while !self.is_over() {
            if self.go_on() {
                continue;
            }
            let left = self.unfinished();
            if left.is_empty() || quiet_ms > PATIENCE_MS {
                break;
            }
            self.free_what_is_held(&left);
            quiet_ms += 1_000;
            self.clock.advance(1_000);
        }
        self.audit(false);
        let held = self.checker().all_have_ended();
        self.judge(held);
    }

    /// The batches that have not ended, in order.
    fn unfinished(&self) -> Vec<Arc<Live>> {
        let lives = self.queue().map(|queue| queue.shared().registry.all());
        let mut lives = lives.unwrap_or_default();
        lives.retain(|live| !live.progress().state.has_ended());
        lives.sort_by_key(|live| live.id);
        lives
    }

    /// Everybody goes on by a step; false when nobody has anything to do.
    fn go_on(self: &Arc<Self>) -> bool {
        let mut went = self.step_writer();
        for worker in 0..self.workers() {
            went |= self.step_worker(worker);
            went |= self.deliver_from(worker);
        }
        went |= self.poll();
        self.restart_if_ended();
        went
    }

    /// Asks for what is held up to go on.
    fn free_what_is_held(&self, left: &[Arc<Live>]) {
        let Some(queue) = self.queue() else { return };
        let mut unpaused = Vec::new();
        for live in left {
            let is_it = |kind: &Kind| kind.name() == &*live.operation_name;
            match (
                queue.shared().blocked(live),
                Kind::ALL.into_iter().find(is_it),
            ) {
                (Some(Blocked::Undecodable { .. }), _) => {
                    self.steer(Ask::FailUndecodable(live.id.into()));
                }
                (Some(Blocked::Paused { .. }), Some(kind)) if !unpaused.contains(&kind) => {
                    self.steer(Ask::Unpause(kind));
                    unpaused.push(kind);
                }
                _ => {}
            }
        }
    }

    /// Looks at everything; with `first`, right after the process began.
    pub(super) fn audit(&self, first: bool) {
        let Some(queue) = self.queue().filter(|_| !self.is_over()) else {
            return;
        };
        if let Err(error) = self.audit_batches(&queue, first) {
            self.fail(Rule::StoreIsSound, error.to_string());
        }
        if first {
            self.find_paused(&queue);
        }
        match read_payments(&queue) {
            Ok(payments) => {
                let held = self.checker().payments_are_outcomes(&payments);
                self.judge(held);
            }
            Err(error) => self.fail(Rule::StoreIsSound, error.to_string()),
        }
    }

    fn audit_batches(&self, queue: &Queue, first: bool) -> Result<(), BatchError> {
        let listed: Result<Vec<Status>, _> = queue.batches(BatchFilter::all()).collect();
        let mut listed = listed?;
        listed.reverse();
        for status in &listed {
            if !self.checker().knows(status.id.into()) {
                let items = items(queue, status)?;
                let held = self.checker().found(status, &items);
                self.judge(held);
            }
        }
        let ids: Vec<u64> = listed.iter().map(|status| status.id.into()).collect();
        let held = self.checker().listed(&ids, first);
        self.judge(held);
        for id in ids {
            self.look(queue, id, first);
        }
        Ok(())
    }

    fn look(&self, queue: &Queue, batch: u64, first: bool) {
        let look = match look(queue, batch, self.clock.now_ms()) {
            Ok(look) => look,
            Err(BatchError::NotFound { .. }) => {
                // It may have been deleted; the next audit tells.
                return;
            }
            Err(error) => return self.fail(Rule::StoreIsSound, error.to_string()),
        };
        let state = look.status.state.to_string();
        self.note(&Event::Looked {
            batch,
            state: &state,
            succeeded: look.status.succeeded,
            failed: look.status.failed,
            in_doubt: look.status.in_doubt,
        });
        let held = self.checker().looked(&look, first);
        self.judge(held);
    }

    fn find_paused(&self, queue: &Queue) {
        for kind in Kind::ALL {
            let shared = queue.shared();
            let operation = shared.operation_named(kind.name());
            let paused = operation.is_some_and(|at| shared.operation(at).paused.load().is_some());
            let held = self.checker().found_paused(kind, paused);
            self.judge(held);
        }
    }
}

fn look(queue: &Queue, batch: u64, now_ms: u64) -> Result<Look, BatchError> {
    let handle = queue.batch(id(batch))?;
    let status = handle.status()?;
    let mut outcomes = Vec::new();
    for outcome in handle.outcomes()? {
        let outcome = outcome?;
        let seen = Seen {
            attempts: outcome.attempts,
            ended_at: outcome.ended_at,
            end: match outcome.outcome {
                Outcome::Succeeded(output) => Final::Succeeded(output.as_u64().unwrap_or(u64::MAX)),
                Outcome::Failed(failure) => Final::Failed(failure.code),
                Outcome::InDoubt { .. } => Final::InDoubt,
            },
        };
        outcomes.push((u16::try_from(outcome.index).unwrap_or(u16::MAX), seen));
    }
    Ok(Look {
        status,
        now_ms,
        outcomes,
    })
}

fn items(queue: &Queue, status: &Status) -> Result<Vec<Option<Item>>, BatchError> {
    let items = queue.batch(status.id)?.items()?;
    items.map(|item| Ok(Item::from_stored(item?))).collect()
}

fn read_payments(queue: &Queue) -> Result<Payments, ReadError> {
    queue.read(|tables| {
        let paid: Result<_, TableError> = tables.range(&PAID, ..).collect();
        let sums: Result<_, TableError> = tables.range(&SUMS, ..).collect();
        Ok(Payments {
            paid: paid?,
            sums: sums?,
        })
    })
}

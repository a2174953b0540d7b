//! The clients: they submit and steer, and do not wait.

use super::checker::{Ask, Content, Final};
use super::item::{Item, Script};
use super::kind::Kind;
use super::operations::{Call, Narrow, Once, Ordered, Pay, Send, Timed};
use super::process::{Pending, Process, Reply};
use super::sabotage::Sabotage;
use super::trace::Event;
use super::world::{World, id};
use crate::batch;
use crate::failure::Failure;
use crate::operation::Operation;
use crate::queue::Queue;
use crate::retry_failed;
use crate::runtime::{Command, Deletion, Live, Submission};
use crate::submission::{self, SubmitOptions};
use crate::target::Target;
use crossbeam_channel::bounded;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Items of a submission, mostly.
const ITEMS: u64 = 8;

/// How many different idempotency keys there are.
const IDEMPOTENCY_KEYS: u64 = 2;

/// How many different ordering keys.
const ORDERING_KEYS: u64 = 3;

/// Longest delay before a batch may start.
const DELAY_MS: u64 = 3_000;

impl World {
    /// Somebody asks for something.
    pub(super) fn ask_something(&self) {
        // First of all, because there are few.
        let doubts = self.checker().doubts();
        if let Some(doubt) = self.pick(&doubts).filter(|_| self.once_in(6)) {
            return self.resolve(doubt);
        }
        let batches = self.checker().batches();
        let batch = self.pick(&batches);
        let Some(kind) = self.pick(&self.kinds) else {
            return;
        };
        match (self.roll(100), batch) {
            (0..45, _) => self.submit(kind),
            (45..57, Some(batch)) => self.steer(Ask::Stop(batch)),
            (57..65, Some(batch)) => self.steer(Ask::Resume(batch)),
            (65..80, Some(batch)) => self.retry(batch),
            (80..87, Some(batch)) => self.steer(Ask::Delete(batch)),
            (87..89, Some(batch)) => self.steer(Ask::FailUndecodable(batch)),
            (89..93, _) => self.steer(Ask::Pause(kind)),
            _ => self.steer(Ask::Unpause(kind)),
        }
    }

    fn submit(&self, kind: Kind) {
        let content = self.draw_content(kind);
        let Some(queue) = self.queue() else { return };
        let mut given = content.clone();
        if let Some(item) = given
            .items
            .first_mut()
            .filter(|_| self.is(Sabotage::WrongItems))
        {
            item.amount += 1;
        }
        if let Some(prepared) = prepare(&queue, &given) {
            self.send_submission(content, prepared);
        }
        if self.is(Sabotage::TwiceSubmitted)
            && let Some(again) = prepare(&queue, &given)
        {
            let command = Command::Submit(Box::new(again), bounded(1).0);
            let _ = queue.shared().commands.try_send(command);
        }
    }

    fn send_submission(&self, content: Content, prepared: Submission) {
        let (reply, answer) = bounded(1);
        let command = Command::Submit(Box::new(prepared), reply);
        self.send(Ask::Submit(content), command, Reply::Submitted(answer));
    }

    fn draw_content(&self, kind: Kind) -> Content {
        let key = self.once_in(3).then(|| self.roll(IDEMPOTENCY_KEYS));
        let key = key.and_then(|key| u8::try_from(key).ok());
        let repeated = key.filter(|_| !self.once_in(4));
        let repeated = repeated.and_then(|key| self.checker().submitted_under(kind, key).cloned());
        if let Some(content) = repeated {
            return content;
        }
        let submission = u32::try_from(self.checker().next_submission()).unwrap_or(u32::MAX);
        let count = if self.once_in(12) {
            30
        } else {
            1 + self.roll(ITEMS)
        };
        let count = u16::try_from(count).unwrap_or(1);
        let ordered = match kind {
            Kind::Ordered => true,
            Kind::Pay | Kind::Once | Kind::Timed => self.once_in(3),
            Kind::Send | Kind::Narrow | Kind::Call => false,
        };
        let items = (0..count).map(|index| self.draw_item(kind, submission, index, ordered));
        let items = items.collect();
        let now_ms = self.clock.now_ms();
        let not_before_ms = self.once_in(6).then(|| now_ms + self.roll(DELAY_MS));
        Content {
            kind,
            items,
            priority: i8::try_from(self.roll(6)).unwrap_or(0) / 4,
            not_before_ms,
            key,
            retry_of: None,
        }
    }

    fn draw_item(&self, kind: Kind, submission: u32, index: u16, ordered: bool) -> Item {
        let script = match self.roll(54) {
            0..38 => Script::Succeed,
            38..42 => Script::Fail,
            42..46 => Script::FailOnce,
            46..49 => Script::Panic,
            49..52 => Script::Slow,
            // One that may end the process as often as it runs does so for ever.
            52 if kind.crash_limit().is_some() => Script::Crash,
            _ if self.once_in(4) => Script::Unreadable,
            _ => Script::Succeed,
        };
        let at = if self.once_in(5) { 2 + self.roll(4) } else { 1 };
        let has_key = ordered && !self.once_in(4);
        let key = has_key.then(|| self.roll(ORDERING_KEYS));
        Item {
            submission,
            index,
            script,
            at: u32::try_from(at).unwrap_or(1),
            key: key.and_then(|key| u8::try_from(key).ok()),
            account: u8::try_from(self.roll(3)).unwrap_or(0),
            amount: 1 + self.roll(100),
        }
    }

    /// Asks for the failed items of a batch to be run again. One at a time of each batch: which of two it is
    /// that came in could not be told from outside.
    fn retry(&self, batch: u64) {
        if self.is_committing() || self.checker().is_being_retried(batch) {
            return;
        }
        let Some(queue) = self.queue() else { return };
        let Some(kind) = self.checker().kind_of(batch) else {
            return;
        };
        let Ok(handle) = queue.batch(id(batch)) else {
            return;
        };
        let shared = queue.shared();
        let live = shared.registry.find(handle.id());
        let Some((live, operation)) = live.and_then(|live| {
            let operation = live.operation?;
            Some((live, operation))
        }) else {
            return;
        };
        // Nothing has failed, or all of it is being run again.
        let Ok(prepared) = retry_failed::prepare(shared, &live, operation) else {
            return;
        };
        let Some(origin) = &prepared.origin else {
            return;
        };
        let content = Content {
            kind,
            items: self.checker().items_at(batch, &origin.parent_indexes),
            priority: live.priority,
            not_before_ms: None,
            key: None,
            retry_of: Some(batch),
        };
        self.send_submission(content, prepared);
    }

    /// Says what became of an item in doubt.
    fn resolve(&self, (batch, index): (u64, u16)) {
        let end = if self.once_in(2) {
            Final::Succeeded(1_000 + self.roll(1_000))
        } else {
            Final::Failed(format!("looked up {}", self.roll(1_000)))
        };
        self.steer(Ask::Resolve(batch, index, end));
    }

    pub(super) fn steer(&self, ask: Ask) {
        let Some(queue) = self.queue() else { return };
        let (reply, answer) = bounded(1);
        let operation = |kind: Kind| queue.shared().operation_named(kind.name());
        let command = match &ask {
            Ask::Stop(batch) => Some(Command::Stop(id(*batch), reply)),
            Ask::Resume(batch) => {
                if self.is_committing() {
                    return;
                }
                find(&queue, *batch).map(|live| Command::Resume(live, reply))
            }
            Ask::Resolve(batch, index, end) => {
                if self.is_committing() {
                    return;
                }
                let outcome = match end {
                    Final::Succeeded(output) => Ok(*output),
                    Final::Failed(code) => Err(Failure::permanent(code, "somebody looked it up")),
                    Final::InDoubt => return,
                };
                let resolution = batch::resolution(*index, outcome).ok();
                let live = find(&queue, *batch);
                live.zip(resolution)
                    .map(|(live, known)| Command::Resolve(live, Box::new(known), reply))
            }
            Ask::Delete(batch) => Some(Command::Delete(Deletion::One(id(*batch)), reply)),
            Ask::FailUndecodable(batch) => Some(Command::FailUndecodable(id(*batch), reply)),
            Ask::Pause(kind) => {
                let reason = "somebody asked for it".to_owned();
                operation(*kind).map(|operation| Command::Pause(operation, reason, reply))
            }
            Ask::Unpause(kind) => {
                operation(*kind).map(|operation| Command::Unpause(operation, reply))
            }
            Ask::Submit(_) => None,
        };
        let Some(command) = command else { return };
        self.send(ask, command, Reply::Steered(answer));
    }

    fn send(&self, ask: Ask, command: Command, reply: Reply) {
        let request = self.checker().next_request();
        self.note(&Event::Asked {
            request,
            what: &ask,
        });
        self.checker().asked(ask);
        if let Some(process) = self.process().as_mut() {
            // The channel holds more than is ever sent between two steps of the writer; if it did not, there
            // would be no answer, as when the queue has failed.
            let _ = process.shared().commands.try_send(command);
            process.pending.push(Pending { request, reply });
        }
    }

    /// The queue, while it is open.
    pub(super) fn queue(&self) -> Option<Queue> {
        let process = self.process();
        let open = |process: &&Process| process.end.is_none() && !process.shared().is_closed();
        Some(process.as_ref().filter(open)?.queue.clone())
    }
}

/// A batch in memory, though it may have ended.
fn find(queue: &Queue, batch: u64) -> Option<Arc<Live>> {
    // While the handle lives, the batch can be found.
    let handle = queue.batch(id(batch)).ok()?;
    queue.shared().registry.find(handle.id())
}

/// As [`Queue::submit_with`] does, up to where it would wait for the writer.
fn prepare(queue: &Queue, content: &Content) -> Option<Submission> {
    match content.kind {
        Kind::Pay => prepare_for::<Pay>(queue, content),
        Kind::Send => prepare_for::<Send>(queue, content),
        Kind::Ordered => prepare_for::<Ordered>(queue, content),
        Kind::Narrow => prepare_for::<Narrow>(queue, content),
        Kind::Once => prepare_for::<Once>(queue, content),
        Kind::Timed => prepare_for::<Timed>(queue, content),
        Kind::Call => prepare_for::<Call>(queue, content),
    }
}

fn prepare_for<O: Operation<Item = Item>>(queue: &Queue, content: &Content) -> Option<Submission> {
    let shared = queue.shared();
    let mut options = SubmitOptions::new().priority(content.priority);
    if let Some(ms) = content.not_before_ms {
        options = options.not_before(UNIX_EPOCH + Duration::from_millis(ms));
    }
    if let Some(key) = content.key {
        options = options.idempotency_key(format!("key {key}"));
    }
    // Fails when the queue closes.
    let target = Target::of_type::<O>(shared, O::NAME).ok()?;
    let items = content.items.iter().copied();
    submission::prepare(target, items, &options, &shared.limits).ok()
}

//! One batch as its events made it: the fold that live processing and recovery share.

use super::event::{Event, Fate, ItemEvent};
use super::input::Terms;
use super::items::Items;
use super::lifecycle::{IllegalTransition, Phase, transition};
use super::{BatchId, OperationIndex, Timestamp};

/// An event that does not fit what happened before. Live it is a defect, in a journal it is damage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadEvent {
    #[error(transparent)]
    Transition(#[from] IllegalTransition),
    #[error("item {index} of {total} ends a second time or does not exist")]
    Item { index: u16, total: u32 },
    #[error("item {index} is resolved and was not in doubt")]
    NoDoubt { index: u16 },
}

/// What the events of one batch add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchState {
    pub(crate) phase: Phase,
    pub(crate) total: u32,
    pub(crate) succeeded: u32,
    pub(crate) failed: u32,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
    /// Items that cannot be decoded fail, and do not hold up their operation.
    pub(crate) fails_undecodable: bool,
    /// Absent until something happened to an item: a queued batch costs its record only.
    items: Option<Box<Items>>,
}

impl BatchState {
    pub(crate) fn queued(total: u32) -> Self {
        Self {
            phase: Phase::Queued,
            total,
            succeeded: 0,
            failed: 0,
            started_at: None,
            ended_at: None,
            fails_undecodable: false,
            items: None,
        }
    }

    pub(crate) fn items(&self) -> Option<&Items> {
        self.items.as_deref()
    }

    pub(crate) fn items_mut(&mut self) -> &mut Items {
        self.items
            .get_or_insert_with(|| Box::new(Items::new(self.total)))
    }

    /// Settled items of which nobody knows whether they ran.
    pub(crate) fn in_doubt(&self) -> u32 {
        self.items().map_or(0, Items::doubted_count)
    }

    pub(crate) fn taken_count(&self) -> u32 {
        self.items().map_or(0, Items::taken_count)
    }

    pub(crate) fn waiting_count(&self) -> u32 {
        self.items().map_or(0, Items::waiting_count)
    }

    pub(crate) fn pending_count(&self) -> u32 {
        self.items().map_or(self.total, Items::pending_count)
    }

    pub(crate) fn apply(&mut self, event: &Event) -> Result<(), BadEvent> {
        let phase = transition(self.phase, event.kind())?;
        match event {
            Event::Started { at } => {
                self.started_at.get_or_insert(*at);
            }
            Event::ItemsEnded { items, .. } | Event::ItemsLost { items, .. } => {
                for item in items {
                    self.end_item(*item)?;
                }
            }
            Event::ItemsStarted { indexes, .. } => {
                for index in indexes {
                    let fits = self.items_mut().note_started(*index);
                    self.must_fit(fits, *index)?;
                }
            }
            Event::ItemsReturned { indexes, .. } => {
                for index in indexes {
                    self.items_mut().note_returned(*index);
                }
            }
            Event::Suspected { indexes, .. } => {
                for index in indexes {
                    // In a journal that was rewritten in item order it may have ended before.
                    self.items_mut().suspect(*index);
                }
            }
            Event::Charged { index, crashes, .. } => self.items_mut().charge(*index, *crashes),
            Event::Resolved { item, .. } => self.resolve(*item)?,
            Event::StopRequested { at } if phase == Phase::Stopped => self.ended_at = Some(*at),
            Event::StopRequested { .. } => {}
            Event::Completed { at } | Event::Stopped { at } => self.ended_at = Some(*at),
            Event::Resumed { .. } => self.ended_at = None,
            Event::FailUndecodableRequested { .. } => self.fails_undecodable = true,
        }
        self.phase = phase;
        Ok(())
    }

    fn end_item(&mut self, item: ItemEvent) -> Result<(), BadEvent> {
        let ItemEvent {
            index,
            attempt,
            fate,
        } = item;
        let items = self.items_mut();
        let fits = match fate {
            Fate::Succeeded | Fate::Failed => items.settle(index),
            Fate::InDoubt => items.doubt(index),
            Fate::Retry { due } => items.wait(index, attempt, due),
        };
        self.must_fit(fits, index)?;
        self.count(fate);
        Ok(())
    }

    fn resolve(&mut self, item: ItemEvent) -> Result<(), BadEvent> {
        let ItemEvent { index, fate, .. } = item;
        if !self.items_mut().resolve(index) {
            return Err(BadEvent::NoDoubt { index });
        }
        self.count(fate);
        Ok(())
    }

    fn count(&mut self, fate: Fate) {
        match fate {
            Fate::Succeeded => self.succeeded += 1,
            Fate::Failed => self.failed += 1,
            Fate::InDoubt | Fate::Retry { .. } => {}
        }
    }

    fn must_fit(&self, fits: bool, index: u16) -> Result<(), BadEvent> {
        let total = self.total;
        fits.then_some(()).ok_or(BadEvent::Item { index, total })
    }
}

/// A batch read back from the store.
#[derive(Debug, Clone)]
pub(crate) struct Recovered {
    pub(crate) batch: BatchId,
    pub(crate) operation: OperationIndex,
    /// Where it stands in its operation's order.
    pub(crate) position: u64,
    pub(crate) terms: Terms,
    pub(crate) state: BatchState,
}

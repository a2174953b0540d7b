//! Judges how attempts end: by a verdict, by a time-out, by a crash; and what is noted of items meanwhile.

use super::book::Outcome;
use super::checker::Checker;
use crate::kernel::{BatchId, Fate, ItemEvent, Loss, Mark, SliceId, Verdict};

/// What the kernel must record without a verdict.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// These items, as if this had been their verdict.
    Lost {
        indexes: Vec<u16>,
        verdict: Verdict,
        loss: Loss,
    },
    Suspected(Vec<u16>),
    Charged {
        index: u16,
        crashes: u32,
    },
}

impl Checker {
    pub(super) fn is_in_doubt(&self, batch: BatchId, index: u16) -> bool {
        let book = &self.books[&batch];
        book.present && book.items[usize::from(index)].outcome == Some(Outcome::InDoubt)
    }

    pub(super) fn items_ended(&mut self, batch: BatchId, items: &[ItemEvent], now: u64) {
        let given = std::mem::take(&mut self.given);
        assert_eq!(given.len(), items.len());
        for (event, (given, verdict)) in items.iter().zip(given) {
            assert_eq!((event.index, event.attempt), (given.index, given.attempt));
            let started = self.books[&batch].items[usize::from(event.index)].started;
            assert_eq!(started, self.runs_at_most_once(batch), "{event:?}");
            self.end_item(batch, event, verdict, now);
        }
    }

    pub(super) fn items_lost(&mut self, batch: BatchId, items: &[ItemEvent], loss: Loss, now: u64) {
        self.announced.take_if(|announced| *announced == batch);
        let verdict = match self.next_note(batch) {
            Some(Note::Lost {
                indexes,
                verdict,
                loss: expected,
            }) => {
                assert_eq!(loss, expected);
                assert!(items.iter().map(|item| item.index).eq(indexes));
                verdict
            }
            other => unreachable!("{other:?} was to be recorded, not {items:?}"),
        };
        for event in items {
            self.end_item(batch, event, verdict, now);
        }
    }

    fn end_item(&mut self, batch: BatchId, event: &ItemEvent, verdict: Verdict, now: u64) {
        let retry = self.specs[self.books[&batch].operation].retry.clone();
        let again = verdict == Verdict::Retryable
            && !self.runs_at_most_once(batch)
            && event.attempt < retry.max_attempts();
        let item = &mut self.book(batch).items[usize::from(event.index)];
        assert!(item.outcome.is_none(), "a second outcome");
        assert_eq!(event.attempt, item.attempts + 1);
        assert!(event.attempt <= retry.max_attempts());
        item.attempts = event.attempt;
        (item.due, item.until) = (None, None);
        item.outcome = match event.fate {
            Fate::Succeeded => Some(Outcome::Succeeded),
            Fate::Failed => Some(Outcome::Failed),
            Fate::InDoubt => Some(Outcome::InDoubt),
            Fate::Retry { due } => {
                assert!((now..=now + retry.longest_wait_ms()).contains(&due.0));
                item.due = Some(due.0);
                // The kernel fires what is due right after.
                item.until = item.due.filter(|due| *due > now);
                None
            }
        };
        let expected = match verdict {
            Verdict::Succeeded => Some(Outcome::Succeeded),
            Verdict::InDoubt => Some(Outcome::InDoubt),
            Verdict::Failed | Verdict::Retryable => (!again).then_some(Outcome::Failed),
        };
        assert_eq!(item.outcome, expected, "{event:?} after {verdict:?}");
        item.started = false;
        item.suspect &= item.outcome.is_none();
    }

    pub(super) fn timed_out(
        &mut self,
        slice: SliceId,
        place: usize,
        after_ms: u64,
        replaced: bool,
    ) {
        let Some(out) = self.slices.get_mut(&slice) else {
            return;
        };
        if out.hangs.is_some() || !(out.ended..out.slice.items.len()).contains(&place) {
            return;
        }
        let batch = out.slice.batch;
        let spec = &self.specs[out.slice.operation.0];
        let verdict = if spec.is_at_most_once() {
            Verdict::InDoubt
        } else if spec.retry.is_after_timeouts() {
            Verdict::Retryable
        } else {
            Verdict::Failed
        };
        let lost = Note::Lost {
            indexes: vec![out.slice.items[place].index],
            verdict,
            loss: Loss::Timeout { after_ms },
        };
        out.hangs = Some(replaced);
        if spec.is_exactly_once() {
            self.slices.remove(&slice);
        }
        self.notes.entry(batch).or_default().push_back(lost);
    }

    /// What a crash means: it is to be recorded batch by batch, first of what runs at most once, then of
    /// each mark.
    pub(super) fn expect_losses(&mut self, marks: &[Mark]) {
        for (batch, book) in self.books.iter().filter(|(_, book)| book.present) {
            let crashes = self.specs[book.operation].crashes;
            let notes = self.notes.entry(*batch).or_default();
            let mut items = book.items.clone();
            let started = (0u16..).zip(&items).filter(|(_, item)| item.started);
            let lost: Vec<u16> = started.map(|(index, _)| index).collect();
            for index in &lost {
                items[usize::from(*index)].outcome = Some(Outcome::InDoubt);
            }
            if !lost.is_empty() {
                notes.push_back(Note::Lost {
                    indexes: lost,
                    verdict: Verdict::InDoubt,
                    loss: Loss::Crash { alone: 0 },
                });
            }
            for mark in marks.iter().filter(|mark| mark.batch == *batch) {
                let mut open = mark.indexes.clone();
                open.retain(|index| items[usize::from(*index)].outcome.is_none());
                let first = open.first().copied();
                open.retain(|index| !items[usize::from(*index)].suspect);
                for index in &open {
                    items[usize::from(*index)].suspect = true;
                }
                if !open.is_empty() {
                    notes.push_back(Note::Suspected(open));
                }
                let (Some(index), Some(charged)) = (first, mark.alone) else {
                    continue;
                };
                notes.push_back(Note::Charged {
                    index,
                    crashes: charged,
                });
                if crashes.is_some_and(|limit| charged >= limit) {
                    items[usize::from(index)].outcome = Some(Outcome::Failed);
                    notes.push_back(Note::Lost {
                        indexes: vec![index],
                        verdict: Verdict::Failed,
                        loss: Loss::Crash { alone: charged },
                    });
                }
            }
        }
        self.notes.retain(|_, notes| !notes.is_empty());
    }

    fn next_note(&mut self, batch: BatchId) -> Option<Note> {
        let notes = self.notes.get_mut(&batch)?;
        let next = notes.pop_front();
        if notes.is_empty() {
            self.notes.remove(&batch);
        }
        next
    }

    pub(super) fn suspected(&mut self, batch: BatchId, indexes: &[u16]) {
        let expected = self.next_note(batch);
        assert_eq!(expected, Some(Note::Suspected(indexes.to_vec())));
        for index in indexes {
            self.book(batch).items[usize::from(*index)].suspect = true;
        }
    }

    pub(super) fn charged(&mut self, batch: BatchId, index: u16, crashes: u32) {
        let expected = self.next_note(batch);
        assert_eq!(expected, Some(Note::Charged { index, crashes }));
        self.book(batch).items[usize::from(index)].crashes = crashes;
    }

    pub(super) fn resolved(&mut self, batch: BatchId, event: ItemEvent) {
        let (resolving, index, succeeded) = self.resolving.take().expect("nobody asked for it");
        assert_eq!((batch, event.index, event.attempt), (resolving, index, 1));
        let (fate, outcome) = match succeeded {
            true => (Fate::Succeeded, Outcome::Succeeded),
            false => (Fate::Failed, Outcome::Failed),
        };
        assert_eq!(event.fate, fate);
        self.book(batch).items[usize::from(index)].outcome = Some(outcome);
    }
}

//! Journals of ended batches, rewritten: few full segments in the place of many small ones.

use super::codec::Unsealed;
use super::journal::{Entry, Segment, SegmentBuilder};
use super::{StoreError, Value};
use crate::kernel::{BatchId, Timestamp};

/// Rewrites a journal of many small segments as few full ones: the lifecycle up to the first start,
/// then the items in their order, then the rest of the lifecycle. It adds up to the same; what is
/// dropped is retries that a later attempt has overtaken, and which items were handed out: when a batch ends none is.
pub(crate) fn compact(
    batch: BatchId,
    segments: &[(Vec<u8>, Value)],
) -> Result<Vec<Unsealed>, StoreError> {
    let mut until_started = Vec::new();
    let mut after_started = Vec::new();
    let mut started = false;
    let mut items: Vec<Kept<'_>> = Vec::new();
    for (key, value) in segments {
        let mut clock = Timestamp::default();
        let mut segment = Segment::open(batch, key, value)?;
        loop {
            let before = segment.remaining();
            let Some(entry) = segment.next().transpose()? else {
                break;
            };
            let encoded = &before[..before.len() - segment.remaining().len()];
            match entry {
                Entry::Clock { at } => clock = at,
                Entry::Item(item) => items.push(Kept {
                    index: item.index,
                    at: clock,
                    encoded,
                    resolves: false,
                }),
                Entry::Resolved(item) => items.push(Kept {
                    index: item.index,
                    at: clock,
                    encoded,
                    resolves: true,
                }),
                Entry::ItemsStarted { .. } | Entry::ItemsReturned { .. } => {}
                _ if started => after_started.push(encoded),
                other => {
                    started = matches!(other, Entry::Started { .. });
                    until_started.push(encoded);
                }
            }
        }
    }
    // Stable: of an item's entries the last one is the newest.
    items.sort_by_key(|item| item.index);
    let mut out = SegmentBuilder::new();
    for first in until_started {
        out.raw(first);
    }
    for (n, item) in items.iter().enumerate() {
        let next = items.get(n + 1).filter(|next| next.index == item.index);
        // What is resolved has to have been in doubt.
        if next.is_none_or(|next| next.resolves) {
            out.item(item.at, item.encoded)?;
        }
    }
    for rest in after_started {
        out.raw(rest);
    }
    Ok(out.finish())
}

/// An entry of an item, while a journal is rewritten.
struct Kept<'a> {
    index: u16,
    at: Timestamp,
    encoded: &'a [u8],
    resolves: bool,
}

#[cfg(test)]
mod tests {
    use super::super::journal::tests::{BATCH, events_of, failed};
    use super::super::journal::{Block, End, ItemEntry, number};
    use super::*;
    use crate::kernel::{BatchState, Event, Fate, ItemEvent, Loss};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn fold(total: u32, events: &[Event]) -> BatchState {
        let mut state = BatchState::queued(total);
        for event in events {
            state.apply(event).unwrap();
        }
        state
    }

    #[test]
    fn that_undecodable_items_are_to_fail_is_kept_where_it_was_asked_for() {
        let at = Timestamp(7);
        let mark = Event::FailUndecodableRequested { at };
        let started = Event::Started { at: Timestamp(8) };
        for events in [[mark.clone(), started.clone()], [started, mark]] {
            let mut rows = Vec::new();
            for event in &events {
                let mut builder = SegmentBuilder::new();
                builder.event(event, &Block::default()).unwrap();
                let first = u32::try_from(rows.len()).unwrap();
                rows.extend(number(BATCH, first, builder.finish()));
            }
            assert_eq!(events_of(&rows), events);
            let compacted: Vec<_> = number(BATCH, 0, compact(BATCH, &rows).unwrap()).collect();
            assert_eq!(events_of(&compacted), events);
            assert!(fold(1, &events_of(&compacted)).fails_undecodable);
        }
    }

    /// What happens to a batch between two stops.
    #[derive(Debug, Clone)]
    struct Run {
        /// Attempts that end, and how.
        attempts: Vec<(u16, Left)>,
        /// Items that are noted as started.
        starts: Vec<u16>,
        suspects: Vec<u16>,
        charged: u16,
        resolves: bool,
        /// Before which event somebody asks that undecodable items fail, if so.
        mark: Option<usize>,
        /// The journal is compacted after the stop.
        compacts: bool,
    }

    /// How an attempt leaves its item.
    #[derive(Debug, Clone, Copy)]
    enum Left {
        ToRetry,
        Failed,
        InDoubt,
    }

    const ITEMS: u16 = 20;

    fn runs() -> impl Strategy<Value = Vec<Run>> {
        let left = prop_oneof![
            2 => Just(Left::ToRetry),
            2 => Just(Left::Failed),
            1 => Just(Left::InDoubt)
        ];
        let some = || prop::collection::vec(0..ITEMS, 0..4);
        let run = (
            prop::collection::vec((0..ITEMS, left), 0..6),
            some(),
            some(),
            0..ITEMS,
            any::<bool>(),
            prop_oneof![5 => Just(None), 1 => (0..4usize).prop_map(Some)],
            prop::bool::weighted(0.3),
        );
        let run = run.prop_map(
            |(attempts, starts, suspects, charged, resolves, mark, compacts)| Run {
                attempts,
                starts,
                suspects,
                charged,
                resolves,
                mark,
                compacts,
            },
        );
        prop::collection::vec(run, 1..12)
    }

    fn is_open(state: &BatchState, index: u16) -> bool {
        state.items().is_none_or(|items| items.is_open(index))
    }

    /// The attempts that can end now: items that have ended before, or twice in the run, are left out.
    fn possible(state: &BatchState, run: &Run, now: u64) -> Vec<ItemEvent> {
        let mut seen = std::collections::BTreeSet::new();
        let may_end = |(index, _): &&(u16, Left)| is_open(state, *index) && seen.insert(*index);
        let attempts = run.attempts.iter().filter(may_end);
        let ended = attempts.map(|(index, left)| ItemEvent {
            index: *index,
            attempt: u32::try_from(now).unwrap(),
            fate: match left {
                // What is noted as started runs at most once.
                Left::ToRetry if run.starts.contains(index) => Fate::Failed,
                Left::ToRetry => Fate::Retry {
                    due: Timestamp(now * 100),
                },
                Left::Failed => Fate::Failed,
                Left::InDoubt => Fate::InDoubt,
            },
        });
        ended.collect()
    }

    /// What a run does to a batch that stands like this, up to the stop.
    fn events_of_run(state: &BatchState, run: &Run, now: u64) -> Vec<(Event, Block)> {
        let at = Timestamp(now);
        let ended = possible(state, run, now);
        let ends = |index: &u16| ended.iter().any(|item| item.index == *index);
        let open = |indexes: &[u16]| -> Vec<u16> {
            let open = indexes.iter().filter(|index| is_open(state, **index));
            open.copied().collect()
        };
        let starts = open(&run.starts);
        // Of those that are not heard of, some have not run and some may have.
        let mut unheard = starts.clone();
        unheard.retain(|index| !ends(index));
        unheard.sort_unstable();
        unheard.dedup();
        let (lost, returned): (Vec<u16>, Vec<u16>) =
            unheard.into_iter().partition(|index| index % 2 == 0);
        let lost: Vec<_> = lost
            .into_iter()
            .map(|index| ItemEvent {
                index,
                attempt: 1,
                fate: Fate::InDoubt,
            })
            .collect();
        let loss = Loss::Crash { alone: 0 };
        let lost_block = Block::of_lost(&lost, loss).unwrap();
        let mut ended_block = Block::default();
        for item in &ended {
            let entry = match item.fate {
                Fate::InDoubt => ItemEntry {
                    index: item.index,
                    attempt: item.attempt,
                    end: End::InDoubt("who knows".into()),
                },
                _ => failed(item.index, item.attempt, "m"),
            };
            ended_block.push(entry).unwrap();
        }
        let none = Block::default;
        let suspects = open(&run.suspects);
        let mut events = vec![
            (Event::Started { at }, none()),
            (
                Event::ItemsStarted {
                    at,
                    indexes: starts,
                },
                none(),
            ),
            (
                Event::Suspected {
                    at,
                    indexes: suspects,
                },
                none(),
            ),
            (Event::ItemsEnded { at, items: ended }, ended_block),
            (
                Event::ItemsReturned {
                    at,
                    indexes: returned,
                },
                none(),
            ),
            (
                Event::ItemsLost {
                    at,
                    items: lost,
                    loss,
                },
                lost_block,
            ),
            (Event::StopRequested { at }, none()),
            (Event::Stopped { at }, none()),
        ];
        if is_open(state, run.charged) {
            let charge = Event::Charged {
                at,
                index: run.charged,
                crashes: u32::try_from(now).unwrap(),
            };
            events.insert(3, (charge, none()));
        }
        let doubted = (0..ITEMS).find(|index| {
            let items = state.items();
            items.is_some_and(|items| items.is_doubted(*index))
        });
        if let Some(index) = doubted.filter(|_| run.resolves) {
            let block = Block::resolution(failed(index, 1, "m")).unwrap();
            let item = ItemEvent {
                index,
                attempt: 1,
                fate: Fate::Failed,
            };
            events.insert(1, (Event::Resolved { at, item }, block));
        }
        if let Some(before) = run.mark {
            events.insert(before, (Event::FailUndecodableRequested { at }, none()));
        }
        events
    }

    fn append(rows: &mut Vec<(Vec<u8>, Value)>, state: &mut BatchState, events: &[(Event, Block)]) {
        let mut builder = SegmentBuilder::new();
        for (event, block) in events {
            state.apply(event).unwrap();
            builder.event(event, block).unwrap();
        }
        let first = u32::try_from(rows.len()).unwrap();
        rows.extend(number(BATCH, first, builder.finish()));
    }

    /// What became of each item at last, and when.
    fn ends(events: &[Event]) -> BTreeMap<u16, (Timestamp, ItemEvent)> {
        let mut ends = BTreeMap::new();
        for event in events {
            let (at, items) = match event {
                Event::ItemsEnded { at, items } | Event::ItemsLost { at, items, .. } => (at, items),
                Event::Resolved { at, item } => (at, &vec![*item]),
                _ => continue,
            };
            ends.extend(items.iter().map(|item| (item.index, (*at, *item))));
        }
        ends
    }

    proptest! {
        #[test]
        fn a_compacted_journal_adds_up_to_the_same(runs in runs()) {
            let mut state = BatchState::queued(u32::from(ITEMS));
            let mut rows = Vec::new();
            for (now, run) in (1..).zip(&runs) {
                let events = events_of_run(&state, run, now);
                append(&mut rows, &mut state, &events);
                prop_assert_eq!(&fold(u32::from(ITEMS), &events_of(&rows)), &state);
                let compacted: Vec<_> = number(BATCH, 0, compact(BATCH, &rows).unwrap()).collect();
                prop_assert!(compacted.len() <= rows.len());
                prop_assert_eq!(&fold(u32::from(ITEMS), &events_of(&compacted)), &state);
                prop_assert_eq!(ends(&events_of(&compacted)), ends(&events_of(&rows)));
                if run.compacts {
                    rows = compacted;
                }
                let resumed = Event::Resumed { at: Timestamp(now) };
                append(&mut rows, &mut state, &[(resumed, Block::default())]);
            }
        }
    }
}

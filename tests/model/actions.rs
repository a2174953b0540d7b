//! What can happen in a run.

use crate::operations::{ATTEMPTS, Fate, Item};
use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Free,
    Ordered,
    Adding,
    Once,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Free, Self::Ordered, Self::Adding, Self::Once];
}

/// How a batch is submitted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// One of a few keys.
    pub(crate) key: Option<u8>,
    /// As JSON, and not as values.
    pub(crate) json: bool,
    pub(crate) priority: i8,
    pub(crate) delay_s: Option<u64>,
}

/// What is asked while the queue ends, as far as it can be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Amid {
    Stop,
    Delete,
    Retry,
    Pause(Kind),
}

/// How the queue comes to an end before it is opened again.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Shutdown,
    PowerCut,
    /// As a power cut, but what was written without a sync stays: notes of what was running.
    Kill,
    /// A commit that fails, and is on the disk or not, whoever asks for it.
    FailedCommit {
        done: bool,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Action {
    Submit {
        kind: Kind,
        items: Vec<Item>,
        terms: Terms,
    },
    /// Submits what was submitted before under its key, as it was or changed.
    Repeat {
        which: Index,
        changed: bool,
    },
    Stop {
        which: Index,
    },
    Resume {
        which: Index,
    },
    RetryFailed {
        which: Index,
    },
    Delete {
        which: Index,
    },
    /// Somebody finds out what became of an item in doubt.
    Resolve {
        which: Index,
        succeeded: bool,
    },
    Prune {
        seconds: u64,
    },
    Pause {
        kind: Kind,
    },
    Unpause {
        kind: Kind,
    },
    Advance {
        seconds: u64,
    },
    /// Waits a moment for a batch.
    Wait {
        which: Index,
    },
    /// Looks at everything.
    Check,
    /// A submission and a request while the queue ends.
    EndAmid {
        end: End,
        kind: Kind,
        items: Vec<Item>,
        which: Index,
        amid: Amid,
    },
    End(End),
}

impl Action {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let which = any::<Index>();
        let submit = (kind(), items(), terms());
        let amid = (end(), kind(), items(), which.clone(), amid());
        prop_oneof![
            8 => submit.prop_map(|(kind, items, terms)| Self::Submit { kind, items, terms }),
            2 => (which.clone(), any::<bool>())
                .prop_map(|(which, changed)| Self::Repeat { which, changed }),
            4 => which.clone().prop_map(|which| Self::Stop { which }),
            4 => which.clone().prop_map(|which| Self::Resume { which }),
            3 => which.clone().prop_map(|which| Self::RetryFailed { which }),
            2 => which.clone().prop_map(|which| Self::Delete { which }),
            3 => (which.clone(), any::<bool>())
                .prop_map(|(which, succeeded)| Self::Resolve { which, succeeded }),
            1 => (0..300u64).prop_map(|seconds| Self::Prune { seconds }),
            1 => kind().prop_map(|kind| Self::Pause { kind }),
            2 => kind().prop_map(|kind| Self::Unpause { kind }),
            4 => (0..200u64).prop_map(|seconds| Self::Advance { seconds }),
            2 => which.prop_map(|which| Self::Wait { which }),
            3 => Just(Self::Check),
            2 => amid.prop_map(|(end, kind, items, which, amid)| {
                Self::EndAmid { end, kind, items, which, amid }
            }),
            2 => end().prop_map(Self::End),
        ]
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        1 => Just(Kind::Free),
        1 => Just(Kind::Ordered),
        2 => Just(Kind::Adding),
        1 => Just(Kind::Once),
    ]
}

fn terms() -> impl Strategy<Value = Terms> {
    let delay_s = prop_oneof![4 => Just(None), 1 => (0..200u64).prop_map(Some)];
    let key = prop::option::of(0..4u8);
    (key, any::<bool>(), -1..=1i8, delay_s).prop_map(|(key, json, priority, delay_s)| Terms {
        key,
        json,
        priority,
        delay_s,
    })
}

fn amid() -> impl Strategy<Value = Amid> {
    prop_oneof![
        3 => Just(Amid::Stop),
        2 => Just(Amid::Delete),
        2 => Just(Amid::Retry),
        1 => kind().prop_map(Amid::Pause),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        2 => Just(End::Shutdown),
        2 => Just(End::PowerCut),
        2 => Just(End::Kill),
        2 => any::<bool>().prop_map(|done| End::FailedCommit { done }),
    ]
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    prop_oneof![
        4 => prop::collection::vec(item(), 1..12),
        1 => prop::collection::vec(item(), 30..120),
    ]
}

fn item() -> impl Strategy<Value = Item> {
    let fate = prop_oneof![
        10 => Just(Fate::Succeeds),
        1 => Just(Fate::Fails),
        1 => Just(Fate::Panics),
        2 => (1..=ATTEMPTS).prop_map(Fate::Recovers),
    ];
    (fate, 0..3u64, 1..100u64).prop_map(|(fate, place, amount)| Item {
        fate,
        place,
        amount,
    })
}

//! A disk that fails, and a store on it that says what everybody else does while it commits.
//!
//! What is durable and what a process sees are two images: while a commit is under way its writes show, whole or
//! half, before they are durable, as the contract of [`Store`] allows; and after a failed commit they may go on to.

use super::sabotage::Sabotage;
use super::trace::Event;
use super::world::World;
use crate::store::{Scan, Store, StoreError, Value, Writes, keys};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use twox_hash::XxHash3_64;

type Rows = BTreeMap<Vec<u8>, Value>;

/// What the disk does with a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    /// An error, and nothing of it is on the disk.
    FailedNotDone,
    /// An error, and all of it is.
    FailedDone,
    /// The process ends, and nothing of it is on the disk.
    CrashNotDone,
    /// The process ends, and all of it is.
    CrashDone,
}

/// What survives.
#[derive(Default)]
pub(super) struct Disk(Mutex<Durable>);

#[derive(Default)]
struct Durable {
    rows: Rows,
    /// Of the last commit.
    sequence: u64,
    /// Under sabotage: said to be durable.
    late: Option<(u64, Writes)>,
}

impl Durable {
    fn apply(&mut self, sequence: u64, writes: Writes) {
        apply(&mut self.rows, writes.0);
        self.sequence = sequence;
    }
}

fn apply(rows: &mut Rows, writes: Vec<(Vec<u8>, Option<Value>)>) {
    for (key, value) in writes {
        match value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
    }
}

impl Disk {
    /// Writes the rows of a new store.
    pub(super) fn format(&self, initial: Writes) {
        self.durable().apply(1, initial);
    }

    pub(super) fn open(&self, world: &Arc<World>, opening: u64) -> SimulatedStore {
        let mut durable = self.durable();
        durable.late = None;
        SimulatedStore {
            opening,
            sequence: durable.sequence,
            live: Mutex::new(durable.rows.clone()),
            failed: AtomicBool::new(false),
            overlooks: AtomicBool::new(world.is(Sabotage::OverlookedBatch)),
            world: Arc::downgrade(world),
        }
    }

    fn durable(&self) -> MutexGuard<'_, Durable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, sequence: u64, writes: Writes, is_late: bool) {
        let mut durable = self.durable();
        if let Some((sequence, late)) = durable.late.take() {
            durable.apply(sequence, late);
        }
        if is_late {
            durable.late = Some((sequence, writes));
        } else {
            durable.apply(sequence, writes);
        }
    }
}

/// One opening of the disk.
pub(super) struct SimulatedStore {
    opening: u64,
    /// Of the last commit before this opening.
    sequence: u64,
    live: Mutex<Rows>,
    failed: AtomicBool,
    /// Under sabotage: does not show the first unfinished batch, once.
    overlooks: AtomicBool,
    world: Weak<World>,
}

impl SimulatedStore {
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world, while the process lives that opened this.
    fn world(&self) -> Result<Arc<World>, StoreError> {
        let world = self.world.upgrade();
        world
            .filter(|world| world.lives(self.opening))
            .ok_or_else(|| StoreError("the process has ended".to_owned()))
    }

    fn commit_once(
        &self,
        world: &Arc<World>,
        sequence: u64,
        mut writes: Writes,
    ) -> Result<(), StoreError> {
        let failed = || StoreError("the disk has failed".to_owned());
        world.meanwhile(self.opening);
        self.world()?;
        let fate = world.draw_fate();
        world.note(&Event::Committed {
            sequence,
            rows: writes.0.len(),
            hash: hash(&writes),
            fault: fate.name(),
        });
        if fate == Fate::CrashNotDone {
            if world.is(Sabotage::HalfCommits) {
                let half = writes.0.split_off(writes.0.len() / 2);
                world.disk.keep(sequence, Writes(half), false);
            }
            world.crash();
            return Err(failed());
        }
        let half = writes.0.len() / 2;
        apply(&mut self.rows(), writes.0[..half].to_vec());
        world.meanwhile(self.opening);
        self.world()?;
        apply(&mut self.rows(), writes.0[half..].to_vec());
        world.meanwhile(self.opening);
        self.world()?;
        if fate == Fate::FailedNotDone {
            return Err(failed());
        }
        let is_late = world.is_late(&writes);
        world.disk.keep(sequence, writes, is_late);
        match fate {
            Fate::FailedDone => Err(failed()),
            Fate::CrashDone => {
                world.crash();
                Err(failed())
            }
            _ => {
                world.meanwhile(self.opening);
                self.world().map(drop)
            }
        }
    }
}

impl Fate {
    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::FailedNotDone => "failed, not done",
            Self::FailedDone => "failed, done",
            Self::CrashNotDone => "crash, not done",
            Self::CrashDone => "crash, done",
        }
    }
}

impl Store for SimulatedStore {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        let world = self.world()?;
        if world.is(Sabotage::ForgottenKeys) && key.first() == Some(&b'k') {
            return Ok(None);
        }
        Ok(self.rows().get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        if let Err(error) = self.world() {
            return Box::new(std::iter::once(Err(error)));
        }
        let mut found: Vec<_> = self
            .rows()
            .range(from.to_vec()..to.to_vec())
            .map(|(key, value)| Ok((Value::from(key.as_slice()), value.clone())))
            .collect();
        let all = keys::all_unfinished();
        if from == all.start && !found.is_empty() && self.overlooks.swap(false, Ordering::Relaxed) {
            drop(found.remove(0));
        }
        Box::new(found.into_iter())
    }

    fn commit(&self, sequence: u64, writes: Writes) -> Result<(), StoreError> {
        let world = self.world()?;
        if self.failed.load(Ordering::Relaxed) {
            return Err(StoreError("the store has failed before".to_owned()));
        }
        if world.is(Sabotage::PanickingDisk) && world.once_in(10) {
            // Not `panic!`: nobody is to print it.
            std::panic::resume_unwind(Box::new("as it was told to"));
        }
        let committed = world.committing(|| self.commit_once(&world, sequence, writes));
        self.failed.store(committed.is_err(), Ordering::Relaxed);
        committed
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.world()?;
        Ok(self.rows().len() as u64)
    }
}

fn hash(writes: &Writes) -> u64 {
    writes.0.iter().fold(0, |sum: u64, (key, value)| {
        let value = value.as_ref().map_or(0, |value| XxHash3_64::oneshot(value));
        let row = XxHash3_64::oneshot_with_seed(value, key);
        XxHash3_64::oneshot_with_seed(sum, &row.to_le_bytes())
    })
}

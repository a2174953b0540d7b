//! What workers have written of what they are at and nobody has synced: it outlives a process, and no power cut.

use super::sabotage::Sabotage;
use super::world::World;
use crate::kernel::Mark;
use crate::store::marks::{self, Marks};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// By worker.
#[derive(Default)]
pub(super) struct PageCache(Mutex<BTreeMap<usize, Vec<u8>>>);

impl PageCache {
    pub(super) fn open(world: &Arc<World>, opening: u64) -> SimulatedMarks {
        let world = Arc::downgrade(world);
        SimulatedMarks { world, opening }
    }

    pub(super) fn lose(&self) {
        self.slots().clear();
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<usize, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One process's way to them.
pub(super) struct SimulatedMarks {
    world: Weak<World>,
    opening: u64,
}

impl SimulatedMarks {
    /// Unless the process has ended.
    fn in_slots<T: Default>(&self, act: impl FnOnce(&mut BTreeMap<usize, Vec<u8>>) -> T) -> T {
        let world = self.world.upgrade();
        let world = world.filter(|world| world.lives(self.opening));
        world.map_or_else(T::default, |world| act(&mut world.page_cache.slots()))
    }
}

impl Marks for SimulatedMarks {
    fn set(&self, slot: usize, bytes: &[u8]) {
        self.in_slots(|slots| drop(slots.insert(slot, bytes.to_vec())));
    }

    fn clear(&self, slot: usize) {
        self.in_slots(|slots| drop(slots.remove(&slot)));
    }

    fn noted(&self) -> Vec<Mark> {
        let decode = |bytes: &Vec<u8>| marks::decode(bytes);
        let mut noted: Vec<Mark> =
            self.in_slots(|slots| slots.values().filter_map(decode).collect());
        let world = self.world.upgrade();
        match world.and_then(|world| world.sabotage()) {
            Some(Sabotage::LostMarks) => noted.clear(),
            Some(Sabotage::EagerCharges) => {
                for mark in &mut noted {
                    mark.alone = Some(u32::MAX);
                }
            }
            _ => {}
        }
        noted
    }

    fn clear_all(&self) {
        self.in_slots(BTreeMap::clear);
    }
}

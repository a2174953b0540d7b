//! What is claimed of the tables, of the lease to them, and of their way to the disk, in every order.

use crate::beat::{Attempt, Beat, Ended};
use crate::kernel::{OperationIndex, SliceId};
use crate::store::vault::Before;
use crate::store::{Scan, Store, StoreError, Value};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};
use crate::table::Table;
use crate::tables::{Lessor, SliceWrites, Tables};
use loom::thread;
use std::collections::BTreeSet;
use std::time::Duration;

const ROWS: Table<u64, u64> = Table::new("rows");

/// The key of the row that is written over and over.
const ROW: u64 = 0;

/// One atomic per row; 0 where there is none.
#[derive(Clone)]
struct Disk(Arc<[AtomicU64; 2]>);

impl Disk {
    fn row(&self, key: &[u8]) -> Option<&AtomicU64> {
        let places = 0_u64..;
        let mut rows = places.zip(self.0.iter());
        let found = rows.find(|(place, _)| ROWS.row_key(place).is_ok_and(|row| row == key));
        found.map(|(_, row)| row)
    }

    fn write(&self, key: &[u8], value: Option<&Value>) {
        let row = self.row(key).expect("a model writes no other rows");
        row.store(value.map_or(0, number), Ordering::Release);
    }
}

fn number(value: &Value) -> u64 {
    serde_json::from_slice(value).expect("a model writes numbers")
}

impl Store for Disk {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        let number = self.row(key).map_or(0, |row| row.load(Ordering::Acquire));
        Ok((number > 0).then(|| Value(number.to_string().into_bytes())))
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        let keys = (0..2).filter_map(|place| ROWS.row_key(&place).ok());
        let keys: Vec<_> = keys.filter(|key| from <= &**key && &**key < to).collect();
        let rows = keys.into_iter().filter_map(|key| {
            let value = self.get(&key).ok()??;
            Some(Ok((Value(key), value)))
        });
        Box::new(rows)
    }
}

/// What workers have sent to the writer.
type Finished = Arc<Mutex<Vec<SliceWrites>>>;

fn send(finished: &Finished, writes: impl IntoIterator<Item = SliceWrites>) {
    finished.lock().expect("no thread panics").extend(writes);
}

/// How `durable` is moved: when the commit is through, or otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durable {
    Afterwards,
    TooEarly,
    Unordered,
}

/// The writer's part.
struct Writer {
    disk: Disk,
    durable: Arc<AtomicU64>,
    lessor: Lessor,
    finished: Finished,
    /// The last version that was committed.
    version: u64,
    /// The slice that has timed out.
    timed_out: Option<u64>,
    how: Durable,
}

impl Writer {
    fn new() -> Self {
        let disk = Disk(Arc::new([AtomicU64::new(0), AtomicU64::new(0)]));
        let durable = Arc::new(AtomicU64::new(0));
        Self {
            lessor: lessor(&disk, &durable),
            disk,
            durable,
            finished: Arc::default(),
            version: 0,
            timed_out: None,
            how: Durable::Afterwards,
        }
    }

    /// Makes durable what has come in, as one commit.
    fn commit_round(&mut self) {
        let round = std::mem::take(&mut *self.finished.lock().expect("no thread panics"));
        let Some(last) = round.last().map(|writes| writes.version) else {
            return;
        };
        if self.how == Durable::TooEarly {
            self.durable.store(last, Ordering::Release);
        }
        for writes in round {
            assert_eq!(writes.version, self.version + 1, "versions out of order");
            self.version = writes.version;
            for (key, value, before) in writes.rows {
                let value = value.as_ref();
                assert_ne!(value.map(number), self.timed_out, "it was revoked");
                let stored = self.disk.get(&key).expect("it can be read");
                match before {
                    Before::Unknown => {}
                    Before::Absent => assert_eq!(stored, None, "the row before"),
                    Before::Is(known) => assert_eq!(stored, Some(known), "the row before"),
                }
                self.disk.write(&key, value);
            }
        }
        match self.how {
            Durable::Afterwards => self.durable.store(last, Ordering::Release),
            Durable::TooEarly => {}
            Durable::Unordered => self.durable.store(last, Ordering::Relaxed),
        }
    }
}

fn lessor(disk: &Disk, durable: &Arc<AtomicU64>) -> Lessor {
    let store = Arc::new(disk.clone());
    let names = BTreeSet::from([ROWS.name().to_owned()]);
    Lessor::new(store, Arc::clone(durable), names)
}

const LIMIT: Duration = Duration::from_secs(1);

fn attempt(slice: u64) -> Attempt {
    Attempt {
        slice: SliceId(slice),
        place: 0,
        operation: OperationIndex(0),
        since: Duration::ZERO,
        limit: LIMIT,
    }
}

/// What a worker does with a slice of one item without a time-out, which writes rows.
fn write_in_a_slice(tables: &mut Tables, rows: &[(u64, u64)]) -> SliceWrites {
    for (key, value) in rows {
        tables.put(&ROWS, key, value).expect("it is granted");
    }
    tables.keep_item();
    tables.end_slice().expect("it has written")
}

/// The holder writes a row in two slices, and reads it in the slices that follow, while it is made durable.
fn a_row_on_its_way_to_the_disk(how: Durable) {
    loom::model(move || {
        let mut writer = Writer::new();
        writer.how = how;
        let mut tables = writer.lessor.grant();
        let finished = Arc::clone(&writer.finished);
        let committing = thread::spawn(move || {
            for _ in 0..2 {
                writer.commit_round();
            }
        });
        tables.begin_slice();
        send(&finished, [write_in_a_slice(&mut tables, &[(0, 7)])]);
        tables.begin_slice();
        let seen = tables.get(&ROWS, &0).expect("it can be read");
        assert_eq!(seen, Some(7), "a row vanished");
        // Tables remember what an item reads and then writes: this one reads only.
        tables.drop_item();
        let rows = [(0, 8), (1, 9)];
        send(&finished, [write_in_a_slice(&mut tables, &rows)]);
        tables.begin_slice();
        let seen = tables.range(&ROWS, (..).into()).expect("it can be read");
        let seen: Vec<_> = seen.map(|row| row.expect("it can be read")).collect();
        assert_eq!(seen, rows, "a row vanished");
        let seen = tables.get(&ROWS, &0).expect("it can be read");
        assert_eq!(seen, Some(8), "a row vanished");
        committing.join().expect("no thread panics");
    });
}

/// A row must not vanish between leaving the overlay and being in the store.
pub fn a_row_is_in_the_overlay_or_in_the_store() {
    a_row_on_its_way_to_the_disk(Durable::Afterwards);
}

/// What is otherwise than it should be when an attempt times out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// The worker does not look whether its attempt ended in time. Another one has the tables by then, or none.
    Late {
        followed: bool,
    },
    /// It sends what a slice wrote when the next one is through.
    KeptBack,
    /// The writer begins anew instead of granting the next lease.
    Anew,
}

/// A slice of one item that writes its own number; `None` when its time was up.
fn run_slice(tables: &mut Tables, beat: &Beat, slice: u64, wrong: Wrong) -> Option<SliceWrites> {
    tables.begin_slice();
    beat.begin(attempt(slice));
    let written = tables.put(&ROWS, &ROW, &slice);
    if beat.end(Duration::ZERO) == Ended::InTime {
        written.expect("nothing is refused whose time is not up");
    } else if !matches!(wrong, Wrong::Late { .. }) || written.is_err() {
        return None;
    }
    tables.keep_item();
    tables.end_slice()
}

/// Two slices of the one who holds the tables first.
fn hold(mut tables: Tables, beat: &Beat, finished: &Finished, wrong: Wrong) {
    let mut kept_back = None;
    for slice in 1..=2 {
        let Some(writes) = run_slice(&mut tables, beat, slice, wrong) else {
            break;
        };
        if wrong == Wrong::KeptBack && slice == 1 {
            kept_back = Some(writes);
        } else {
            send(finished, kept_back.take().into_iter().chain([writes]));
        }
    }
    if kept_back.is_some() {
        send(finished, kept_back);
    }
}

/// A slice of the next holder, which reads and writes. Slices before `after` have ended.
fn hold_next(mut tables: Tables, after: u64, finished: &Finished) {
    tables.begin_slice();
    let seen = tables.get(&ROWS, &ROW).expect("it is granted");
    let ended = after - 1;
    assert_eq!(seen.unwrap_or(0), ended, "what the next holder sees");
    let writes = write_in_a_slice(&mut tables, &[(ROW, 10 + after)]);
    assert_eq!(writes.version, after, "the next version");
    send(finished, [writes]);
}

/// The first holder's time is up at any moment: the tables go on to another worker.
fn tables_are_taken(wrong: Wrong) {
    loom::model(move || {
        let mut writer = Writer::new();
        let beat = Arc::new(Beat::default());
        let first = thread::spawn({
            let (tables, beat) = (writer.lessor.grant(), Arc::clone(&beat));
            let finished = Arc::clone(&writer.finished);
            move || hold(tables, &beat, &finished, wrong)
        });
        let next = beat.time_out(LIMIT, || true).map(|(attempt, _)| {
            let SliceId(after) = attempt.slice;
            writer.timed_out = Some(after);
            if wrong == Wrong::Anew {
                writer.lessor = lessor(&writer.disk, &writer.durable);
            }
            let tables = writer.lessor.grant();
            let finished = Arc::clone(&writer.finished);
            let followed = wrong != Wrong::Late { followed: false };
            followed.then(|| thread::spawn(move || hold_next(tables, after, &finished)))
        });
        writer.commit_round();
        first.join().expect("no thread panics");
        if let Some(next) = next.flatten() {
            next.join().expect("no thread panics");
        }
        writer.commit_round();
        let mut tables = writer.lessor.grant();
        tables.begin_slice();
        let seen = tables.get(&ROWS, &ROW).expect("it is granted");
        let last = writer.timed_out.map_or(2, |after| 10 + after);
        assert_eq!(seen, Some(last), "what was written last");
    });
}

/// It sees all of what they wrote, whether that is durable by then or not; nothing of the slice that was not through;
/// and its own writes come next, in the next version.
pub fn the_next_holder_sees_the_slices_that_ended_in_time_and_nothing_else() {
    tables_are_taken(Wrong::Nothing);
}

/// As its name says.
pub fn nothing_is_read_or_written_through_tables_that_were_said_to_be_revoked() {
    revoked_tables(true);
}

fn revoked_tables(rightly: bool) {
    loom::model(move || {
        let writer = Writer::new();
        let mut tables = writer.lessor.grant();
        let said = Arc::new(AtomicBool::new(false));
        let handler = thread::spawn({
            let said = Arc::clone(&said);
            move || {
                let was_said = said.load(Ordering::SeqCst);
                let read = tables.get(&ROWS, &ROW);
                let written = tables.put(&ROWS, &ROW, &1);
                let did = read.is_ok() || written.is_ok();
                assert!(!(was_said && did), "it was said to be revoked");
            }
        });
        if rightly {
            let next = writer.lessor.grant();
            said.store(true, Ordering::SeqCst);
            assert!(writer.lessor.granted(&next));
        } else {
            said.store(true, Ordering::SeqCst);
            writer.lessor.grant();
        }
        handler.join().expect("no thread panics");
    });
}

/// The model checker finds what is wrong: a version that is said to be durable before its commit.
pub fn durable_before_the_commit_is_found() {
    a_row_on_its_way_to_the_disk(Durable::TooEarly);
}

/// And one that is said to be durable in no order with its commit.
pub fn durable_in_no_order_with_the_commit_is_found() {
    a_row_on_its_way_to_the_disk(Durable::Unordered);
}

/// And a worker that does not look whether its attempt ended in time: by who holds the tables next.
pub fn a_worker_that_does_not_look_at_the_time_is_found() {
    tables_are_taken(Wrong::Late { followed: true });
}

/// And where nobody does, by the writer.
pub fn writes_of_an_attempt_whose_time_was_up_are_found() {
    tables_are_taken(Wrong::Late { followed: false });
}

/// And writes that are sent when another may have sent later ones.
pub fn writes_that_are_kept_back_are_found() {
    tables_are_taken(Wrong::KeptBack);
}

/// And a successor that knows nothing of slices on their way to the disk.
pub fn a_successor_that_begins_anew_is_found() {
    tables_are_taken(Wrong::Anew);
}

/// And a lease that is revoked when it was said to be.
pub fn a_lease_that_is_revoked_too_late_is_found() {
    revoked_tables(false);
}

//! Puts a queue together: reads the store, starts the threads, and ends them.

use super::command::Command;
use super::handler::Registration;
use super::recovery::{self, Found};
use super::retention;
use super::shared::{Engagement, Registered, Role, Shared, Threads, would_wait_for_itself};
use super::tables::Lessor;
use super::watchdog;
use super::worker::{Bench, Worker};
use super::writer::{Outlets, Writer};
use crate::clock::{Clock, Timeline, Wake};
use crate::error::OpenError;
use crate::kernel::{BatchId, Kernel, OperationSpec};
use crate::limits::{self, Limits};
use crate::observe;
use crate::process;
#[cfg(feature = "testing")]
use crate::store::key_kind::KeyKind;
use crate::store::marks::Marks;
use crate::store::record::{FORMAT, Meta};
use crate::store::row_sums;
use crate::store::vault::{Committer, Vault};
use crate::store::{Store, StoreError, codec, keys};
use crate::verification::{self, Verify};
use crossbeam_channel::{Receiver, bounded, unbounded};
#[cfg(feature = "testing")]
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// What a queue is made of.
pub(crate) struct Setup {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) marks: Arc<dyn Marks>,
    /// Where the store is, for messages.
    pub(crate) dir: PathBuf,
    /// The last sequence that is known to have been acknowledged.
    pub(crate) sealed_sequence: u64,
    /// The rows must be counted before the store is trusted.
    pub(crate) recount: bool,
    /// With none, nothing is handed out but to somebody who asks for it.
    pub(crate) workers: usize,
    pub(crate) limits: Limits,
    pub(crate) keep_ended: Option<Duration>,
    pub(crate) verify: Verify,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) operations: Vec<Registration>,
}

/// A running queue. Who drops it shuts it down.
pub(crate) struct Engine {
    pub(crate) shared: Arc<Shared>,
}

impl Engine {
    /// Without workers the bench goes away here, and so would what is put on it: nobody asks for any.
    pub(crate) fn start(setup: Setup) -> Result<Arc<Self>, OpenError> {
        Self::start_at_bench(setup).map(|(engine, _)| engine)
    }

    /// With the bench, for whoever runs what is handed out when there are no worker threads.
    pub(super) fn start_at_bench(setup: Setup) -> Result<(Arc<Self>, Bench), OpenError> {
        let threads = Threaded {
            store: Arc::clone(&setup.store),
            marks: Arc::clone(&setup.marks),
            workers: setup.workers,
            keep_ended: setup.keep_ended,
        };
        let (engine, writer, bench) = Self::assemble(setup)?;
        threads.start(&engine.shared, writer, &bench)?;
        listen_to_clock(&engine.shared);
        Ok((engine, bench))
    }

    /// Reads the store and makes durable what follows from it; no thread is started.
    pub(super) fn assemble(setup: Setup) -> Result<(Arc<Self>, Writer, Bench), OpenError> {
        let dir = setup.dir.clone();
        let damaged = |StoreError(what): StoreError| OpenError::Damaged {
            dir: dir.clone(),
            what,
            touched: true,
        };
        let meta = read_meta(&setup)?;
        if setup.recount {
            row_sums::recount(&*setup.store, &meta).map_err(damaged)?;
        }
        if setup.verify == Verify::Full {
            let found = verification::check_opened(&*setup.store, setup.sealed_sequence);
            if !found.is_clean() {
                return Err(damaged(StoreError(found.first_findings())));
            }
        }
        let vault = Arc::new(Vault::new(Arc::clone(&setup.store)));
        let next_batch = BatchId(meta.next_batch);
        let store_id = meta.store_id;
        let names = meta.spaces.iter().map(|space| space.name.clone());
        let table_names = names.filter(|name| !name.is_empty()).collect();
        let committer = Committer::new(Arc::clone(&vault), Arc::clone(&setup.store), meta);
        let found = recovery::find_unfinished(&committer).map_err(damaged)?;
        let paused = recovery::find_paused(&committer).map_err(damaged)?;
        observe::describe();
        let operations = table_of_operations(setup.operations, &found, paused);
        let specs = operations.iter().map(spec).collect();
        let workers = u32::try_from(setup.workers).unwrap_or(u32::MAX);
        let unfinished = setup.limits.unfinished_batches;
        let kernel = Kernel::new(specs, workers, unfinished, next_batch);

        let first_new_batch = next_batch;
        let (commands, inbox) = bounded(limits::WRITER_CHANNEL);
        let timeline = Arc::new(Timeline::new(setup.clock));
        let mut shared = Shared::new(
            commands,
            vault,
            timeline,
            operations,
            setup.limits,
            store_id,
            first_new_batch,
        );
        shared.has_workers = setup.workers > 0;
        let shared = Arc::new(shared);
        // Before any handler runs. After an error further down it ends the threads that were started.
        let engine = Arc::new(Self {
            shared: Arc::clone(&shared),
        });
        shared.set_engine(&engine);
        let loaded = recovery::load_unfinished(&committer, found, &shared).map_err(damaged)?;
        let marks = Arc::clone(&setup.marks);
        let (outlets, bench) = channels();
        let durable_writes = Arc::new(AtomicU64::new(0));
        let lessor = Lessor::new(
            Arc::clone(&setup.store),
            Arc::clone(&durable_writes),
            table_names,
        );
        let mut writer = Writer::new(
            Arc::clone(&shared),
            inbox,
            kernel,
            committer,
            outlets,
            lessor,
            durable_writes,
        );
        let unfinished = loaded.active.len();
        writer
            .recover(loaded, &marks.noted())
            .map_err(|StoreError(reason)| OpenError::Failed {
                dir: setup.dir,
                reason,
            })?;

        // What they say is in the journals by now.
        marks.clear_all();

        observe::opened(&dir, setup.workers, shared.operations.len());
        observe::recovered(unfinished);
        Ok((engine, writer, bench))
    }

    /// Starts nothing more and waits until what runs has ended; false when `limit` came first.
    pub(crate) fn shut_down(&self, limit: Duration) -> bool {
        self.ask_to_close();
        // A limit past the end of time is no limit.
        let deadline = Instant::now().checked_add(limit);
        let in_time =
            self.shared.threads().wait(deadline) && self.shared.vault.wait_for_views(deadline);
        observe::shut_down(in_time);
        in_time
    }

    /// Starts nothing more.
    pub(crate) fn ask_to_close(&self) {
        let first = !self.shared.closed.swap(true, Ordering::SeqCst);
        // When the channel is full the writer is awake and sees the flag.
        let _ = self.shared.commands.try_send(Command::Close);
        if first {
            observe::closing();
            for live in self.shared.registry.all() {
                live.wake();
            }
            self.shared.made_room();
            self.shared.clock_jumped();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let shared = &self.shared;
        if process::is_forked() {
            // The threads that would close the queue are the parent's, and so is the queue.
            return;
        }
        if would_wait_for_itself(Arc::as_ptr(shared)) {
            // On a thread that the queue waits for: it must not wait for the queue.
            self.ask_to_close();
        } else {
            self.shut_down(limits::DROP_WAIT);
        }
    }
}

/// Counts every row and compares with what the store says of itself; gives the batches that have rows.
#[cfg(feature = "testing")]
pub(crate) fn recount(setup: &Setup) -> Result<BTreeSet<BatchId>, OpenError> {
    let damaged = |StoreError(what): StoreError| OpenError::Damaged {
        dir: setup.dir.clone(),
        what,
        touched: true,
    };
    let meta = read_meta(setup)?;
    row_sums::recount(&*setup.store, &meta).map_err(damaged)?;
    let rows = setup.store.scan(&[], &keys::successor(&[u8::MAX]));
    let batches = rows.filter_map(|row| row.map(|(key, _)| KeyKind::of(&key)?.batch()).transpose());
    batches.collect::<Result<_, _>>().map_err(damaged)
}

/// The channels between the writer and whoever runs what it hands out.
fn channels() -> (Outlets, Bench) {
    let (work, work_queue) = unbounded();
    let (leased, leased_queue) = unbounded();
    let (lease_home, lease_returns) = unbounded();
    let outlets = Outlets {
        work,
        leased,
        lease_home: lease_returns,
        leased_queue: leased_queue.clone(),
    };
    let bench = Bench {
        work: work_queue,
        leased: leased_queue,
        lease_home,
    };
    (outlets, bench)
}

/// What a [`Setup`] says of the threads.
struct Threaded {
    store: Arc<dyn Store>,
    marks: Arc<dyn Marks>,
    workers: usize,
    keep_ended: Option<Duration>,
}

impl Threaded {
    fn start(
        self,
        shared: &Arc<Shared>,
        mut writer: Writer,
        bench: &Bench,
    ) -> Result<(), OpenError> {
        if self.workers > 0 {
            let crew = Crew {
                shared: Arc::downgrade(shared),
                store: Arc::clone(&self.store),
                marks: Arc::clone(&self.marks),
                bench: bench.clone(),
            };
            writer.replace_with(move || crew.replace());
        }
        let (lives, writer_lives) = bounded(0);
        start_watchdog(shared, writer_lives)?;
        for _ in 0..self.workers {
            let store = Arc::clone(&self.store);
            let marks = Arc::clone(&self.marks);
            let worker = Worker::new(Arc::clone(shared), store, marks, bench.clone());
            start_worker(shared, worker)?;
        }
        let name = "batchwright-writer".to_owned();
        spawn(shared, name, Role::Writer, move || {
            writer.run();
            drop(lives);
        })?;
        if let Some(keep) = self.keep_ended {
            let queue = Arc::clone(shared);
            let name = "batchwright-retention".to_owned();
            spawn(shared, name, Role::Worker, move || {
                retention::keep_for(&queue, keep);
            })?;
        }
        Ok(())
    }
}

/// Starts workers in the place of those that hang.
struct Crew {
    shared: Weak<Shared>,
    store: Arc<dyn Store>,
    marks: Arc<dyn Marks>,
    bench: Bench,
}

impl Crew {
    /// False when the system gives no thread.
    fn replace(&self) -> bool {
        let Some(shared) = self.shared.upgrade() else {
            return false;
        };
        let (store, marks) = (Arc::clone(&self.store), Arc::clone(&self.marks));
        let worker = Worker::new(Arc::clone(&shared), store, marks, self.bench.clone());
        start_worker(&shared, worker).is_ok()
    }
}

fn read_meta(setup: &Setup) -> Result<Meta, OpenError> {
    let damaged = |what: String| OpenError::Damaged {
        dir: setup.dir.clone(),
        what,
        touched: true,
    };
    let value = setup
        .store
        .get(keys::META)
        .map_err(|StoreError(what)| damaged(what))?
        .ok_or_else(|| damaged("the meta record is missing".to_owned()))?;
    let content = codec::open(keys::META, &value).map_err(|StoreError(what)| damaged(what))?;
    let (format, _) =
        codec::decode_part::<u16>(content).map_err(|StoreError(what)| damaged(what))?;
    if format > FORMAT {
        return Err(OpenError::NewerFormat {
            dir: setup.dir.clone(),
            found: format,
            supported: FORMAT,
        });
    }
    let meta: Meta = codec::decode(keys::META, &value).map_err(|StoreError(what)| damaged(what))?;
    if meta.sequence < setup.sealed_sequence {
        let (found, sealed) = (meta.sequence, setup.sealed_sequence);
        return Err(damaged(format!(
            "commit {sealed} was acknowledged, the store only reaches commit {found}"
        )));
    }
    Ok(meta)
}

/// The registered operations, and those that only the store names.
fn table_of_operations(
    operations: Vec<Registration>,
    found: &[Found],
    paused: Vec<(String, String)>,
) -> Vec<Registered> {
    let mut table: Vec<Registered> = operations
        .into_iter()
        .map(|known| Registered::new(&known.name, known.aliases, Some(known.handler)))
        .collect();
    let mut place = |name: &str| {
        let place = table.iter().position(|known| known.answers_to(name));
        place.unwrap_or_else(|| {
            table.push(Registered::new(name, &[], None));
            table.len() - 1
        })
    };
    for found in found {
        place(found.operation());
    }
    let paused: Vec<_> = paused
        .into_iter()
        .map(|(name, reason)| (place(&name), reason))
        .collect();
    for (place, reason) in paused {
        table[place].close_gate();
        table[place].show_paused(reason);
    }
    table
}

fn spec(registered: &Registered) -> OperationSpec {
    let paused = registered.paused.load().is_some();
    match &registered.handler {
        Some(handler) => OperationSpec {
            paused,
            ..handler.spec()
        },
        None => OperationSpec {
            paused,
            ..OperationSpec::unregistered()
        },
    }
}

fn start_watchdog(shared: &Arc<Shared>, writer_lives: Receiver<()>) -> Result<(), OpenError> {
    let watched = Arc::clone(shared);
    let name = "batchwright-watchdog".to_owned();
    spawn(shared, name, Role::Worker, move || {
        watchdog::watch(&watched, &writer_lives, watched.limits.commit);
    })
}

fn start_worker(shared: &Arc<Shared>, worker: Worker) -> Result<(), OpenError> {
    let name = format!("batchwright-worker-{}", worker.number());
    spawn(shared, name, Role::Worker, move || worker.run())
}

/// Starts a thread of the queue. A panic in it is a defect of the engine and fails the queue.
fn spawn(
    shared: &Arc<Shared>,
    name: String,
    role: Role,
    run: impl FnOnce() + Send + 'static,
) -> Result<(), OpenError> {
    let presence = Threads::enter(shared);
    let queue = Arc::clone(shared);
    thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            // Last to be dropped: by then everything that the thread held is.
            let _presence = presence;
            // Also for the wakers that a failure calls.
            let _engaged = Engagement::begin(&queue, role);
            if catch_unwind(AssertUnwindSafe(run)).is_err() {
                queue.fail(format!("a defect of batchwright: {name} panicked"));
            }
        })
        .map(drop)
        .map_err(|source| OpenError::Thread { source })
}

fn listen_to_clock(shared: &Arc<Shared>) {
    let queue: Weak<Shared> = Arc::downgrade(shared);
    let wake = Wake(Arc::new(move || {
        // A forked child has nobody to take it.
        if let Some(shared) = queue.upgrade().filter(|_| !process::is_forked()) {
            // When the channel is full the writer looks at the clock anyway; it may be waiting for whoever
            // moves the clock.
            let _ = shared.commands.try_send(Command::Tick);
            shared.clock_jumped();
        }
    }));
    shared.timeline.clock().on_jump(wake);
}

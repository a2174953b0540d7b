//! What becomes of stored batches when the program that is deployed next defines their operation in
//! another way. Each on a disk in memory and in a real directory.

use crate::harness::{
    AMPLE, Bystander, Door, Ends, Log, Mail, Tested, eventually, fresh, never, outputs, queue_in,
};
use batchwright::testing::{ManualClock, MemoryDisk};
use batchwright::{
    AtLeastOnce, BatchFilter, BatchId, Blocked, Builder, Context, Failure, OpenError, Operation,
    Queue, ShutdownError, State, SubmitError, SubmitOptions, WaitError,
};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::time::Duration;
use tempfile::TempDir;

/// Where a queue is, from one deploy to the next.
struct Site {
    disk: Option<MemoryDisk>,
    dir: TempDir,
    clock: ManualClock,
}

impl Site {
    fn open(&self, with: impl FnOnce(Builder) -> Builder) -> Result<Queue, OpenError> {
        let builder = with(queue_in(self.dir.path(), &self.clock));
        match &self.disk {
            Some(disk) => builder.open_in_memory(disk),
            None => builder.open(),
        }
    }
}

fn on_every_site(test: impl Fn(&Site) -> Tested) -> Tested {
    for in_memory in [true, false] {
        let (disk, clock) = fresh();
        test(&Site {
            disk: in_memory.then_some(disk),
            dir: tempfile::tempdir()?,
            clock,
        })?;
    }
    Ok(())
}

/// A queue whose only worker is kept busy, so that what is submitted stays queued.
struct Busy {
    queue: Queue,
    door: Door,
}

impl Busy {
    /// Keeps the worker of a queue busy, in which [`waiting`] is registered.
    fn make(queue: Queue, door: Door) -> Result<Self, Box<dyn Error>> {
        queue.submit::<Mail>([0])?;
        door.wait_for(1);
        Ok(Self { queue, door })
    }

    fn close(self) -> Tested {
        let closing = self.queue.shutdown(Duration::ZERO);
        let running = matches!(closing, Err(ShutdownError::StillRunning { .. }));
        assert!(running, "{closing:?}");
        self.door.open();
        Ok(self.queue.shutdown(AMPLE)?)
    }
}

/// An operation that waits at the door.
fn waiting(door: &Door) -> Mail {
    let at = door.clone();
    Mail::new(move |n, _| {
        at.pass();
        Ok(n)
    })
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Guest {
    name: String,
}

/// A later version of [`Guest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct GuestWithRoom {
    name: String,
    #[serde(default)]
    room: Option<u32>,
}

/// One that reads none of the earlier ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct GuestByNumber {
    number: u64,
}

type Body<I> = Box<dyn Fn(I) -> Result<String, Failure> + Send + Sync>;

/// Has an ordering key.
trait Keyed {
    fn key(&self) -> Option<String>;
}

impl Keyed for Guest {
    /// Who has the same initial is greeted one after the other.
    fn key(&self) -> Option<String> {
        self.name.get(..1).map(str::to_owned)
    }
}

impl Keyed for GuestWithRoom {
    fn key(&self) -> Option<String> {
        None
    }
}

impl Keyed for GuestByNumber {
    fn key(&self) -> Option<String> {
        None
    }
}

/// Defines a version of an operation.
macro_rules! version {
    ($type:ident, $name:literal, $aliases:expr, $item:ty) => {
        struct $type(Body<$item>);

        impl Operation for $type {
            const NAME: &'static str = $name;
            const ALIASES: &'static [&'static str] = $aliases;
            type Item = $item;
            type Output = String;
            type Guarantee = AtLeastOnce;

            fn run(&self, item: $item, _: &mut Context<AtLeastOnce>) -> Result<String, Failure> {
                (self.0)(item)
            }

            fn key(&self, item: &$item) -> Option<String> {
                item.key()
            }
        }
    };
}

version!(Greet, "greet", &[], Guest);
version!(GreetInRoom, "greet", &[], GuestWithRoom);
version!(GreetByNumber, "greet", &[], GuestByNumber);
version!(Welcome, "welcome", &["greet", "never used"], Guest);

fn greet() -> Greet {
    Greet(Box::new(|guest| Ok(guest.name)))
}

fn guests(names: &[&str]) -> Vec<Guest> {
    let guest = |name: &&str| Guest {
        name: (*name).to_owned(),
    };
    names.iter().map(guest).collect()
}

/// Leaves a queued batch of [`Greet`] and a bystander behind.
fn leave_queued(site: &Site, names: &[&str]) -> Result<(BatchId, Bystander), Box<dyn Error>> {
    let door = Door::new();
    let with = |builder: Builder| {
        builder
            .workers(1)
            .register(greet())
            .register(waiting(&door))
    };
    let queue = site.open(with)?;
    let bystander = Bystander::enter(&queue)?;
    let busy = Busy::make(queue, door.clone())?;
    let id = busy.queue.submit::<Greet>(guests(names))?.id();
    busy.close()?;
    Ok((id, bystander))
}

#[test]
fn items_from_before_a_field_was_added_are_read_without_it() -> Tested {
    on_every_site(|site| {
        let (id, bystander) = leave_queued(site, &["ada", "bob"])?;
        let in_room = || {
            GreetInRoom(Box::new(|guest| {
                Ok(format!("{} {:?}", guest.name, guest.room))
            }))
        };
        let queue = site.open(|builder| builder.register(in_room()).register(Mail::echo()))?;
        let batch = queue.batch(id)?.typed::<GreetInRoom>()?;
        assert_eq!(batch.ends()?.status.succeeded, 2);
        assert_eq!(outputs(&batch)?, ["ada None", "bob None"]);
        let next = queue.submit_json("greet", r#"[{"name": "cy", "room": 7}]"#)?;
        next.ends()?;
        assert_eq!(outputs(&next)?, ["cy Some(7)"]);
        bystander.assert_unchanged(&queue);
        queue.shutdown(AMPLE)?;
        Ok(())
    })
}

#[test]
fn an_idempotency_key_knows_its_items_after_a_field_was_added() -> Tested {
    on_every_site(|site| {
        let options = || SubmitOptions::new().idempotency_key("list");
        let queue = site.open(|builder| builder.register(greet()))?;
        let bystander = Bystander::enter(&queue)?;
        let batch = queue.submit_with::<Greet>(guests(&["ada", "bob"]), options())?;
        let import = queue.import::<Greet>("file", guests(&["cy"]))?;
        batch.ends()?;
        queue.shutdown(AMPLE)?;

        let roomy = GreetInRoom(Box::new(|guest| Ok(guest.name)));
        let queue = site.open(|builder| builder.register(roomy))?;
        let in_rooms = |names: &[&str], room| {
            let guest = |name: &&str| GuestWithRoom {
                name: (*name).to_owned(),
                room,
            };
            names.iter().map(guest).collect::<Vec<_>>()
        };
        let items = in_rooms(&["ada", "bob"], None);
        let again = queue.submit_with::<GreetInRoom>(items, options())?;
        assert_eq!(again.id(), batch.id());
        let again = queue.import::<GreetInRoom>("file", in_rooms(&["cy"], None))?;
        assert_eq!(again.batches[0].id(), import.batches[0].id());
        let other = in_rooms(&["ada", "bob"], Some(7));
        let other = queue.submit_with::<GreetInRoom>(other, options());
        let conflict = SubmitError::KeyConflict { batch: batch.id() };
        assert_eq!(other.map(|batch| batch.id()), Err(conflict));
        bystander.assert_unchanged(&queue);
        queue.shutdown(AMPLE)?;
        Ok(())
    })
}

struct Renaming {
    ended: BatchId,
    stopped: BatchId,
    queued: BatchId,
    imported: Vec<BatchId>,
    bystander: Bystander,
}

fn key() -> SubmitOptions {
    SubmitOptions::new().idempotency_key("monday")
}

/// Batches of the operation under its old name, in every state.
fn before_renaming(site: &Site) -> Result<Renaming, Box<dyn Error>> {
    let door = Door::new();
    let with = |builder: Builder| {
        builder
            .workers(1)
            .register(greet())
            .register(waiting(&door))
    };
    let queue = site.open(with)?;
    let bystander = Bystander::enter(&queue)?;
    let ended = queue.submit_with::<Greet>(guests(&["ada", "bob"]), key())?;
    ended.ends()?;
    let busy = Busy::make(queue, door.clone())?;
    let stopped = busy.queue.submit::<Greet>(guests(&["dan"]))?;
    stopped.stop()?;
    stopped.ends()?;
    let queued = busy.queue.submit::<Greet>(guests(&["xeno", "xaver"]))?.id();
    let imported = busy.queue.import::<Greet>("file", guests(&["zoe"]))?;
    let imported = imported.batches.iter().map(|batch| batch.id()).collect();
    let (ended, stopped) = (ended.id(), stopped.id());
    busy.close()?;
    Ok(Renaming {
        ended,
        stopped,
        queued,
        imported,
        bystander,
    })
}

#[test]
fn what_was_stored_under_an_old_name_is_the_renamed_operations() -> Tested {
    on_every_site(|site| {
        let Renaming {
            ended,
            stopped,
            queued,
            imported,
            bystander,
        } = before_renaming(site)?;
        let (door, log) = (Door::new(), Log::new());
        let (at, met) = (door.clone(), log.clone());
        let welcome = Welcome(Box::new(move |guest| {
            met.push(guest.name.clone());
            if guest.name == "xeno" {
                at.pass();
            }
            Ok(guest.name)
        }));
        let queue = site.open(|builder| builder.register(welcome).register(Mail::echo()))?;
        door.wait_for(1);
        let batch = queue.batch(queued)?.typed::<Welcome>()?;
        let status = batch.status()?;
        assert_eq!((&*status.operation, status.blocked), ("welcome", None));

        // The order of a key goes across the names; other keys go by.
        let behind = queue.submit::<Welcome>(guests(&["xenia"]))?;
        let beside = queue.submit::<Welcome>(guests(&["yves"]))?;
        beside.ends()?;
        never(|| behind.status().is_ok_and(|status| status.processed() > 0));
        door.open();
        batch.ends()?;
        behind.ends()?;
        let met: Vec<_> = log
            .entries()
            .into_iter()
            .filter(|n| n.starts_with('x'))
            .collect();
        assert_eq!(met, ["xeno", "xaver", "xenia"]);

        // What had ended is there, and what was stopped goes on.
        let ended = queue.batch(ended)?.typed::<Welcome>()?;
        assert_eq!(ended.status()?.operation, "welcome");
        assert_eq!(outputs(&ended)?, ["ada", "bob"]);
        let stopped = queue.batch(stopped)?;
        assert_eq!(stopped.status()?.state, State::Stopped);
        stopped.resume()?;
        assert_eq!(stopped.ends()?.status.succeeded, 1);

        // Idempotency keys are known, of batches and of imports.
        let again = queue.submit_with::<Welcome>(guests(&["ada", "bob"]), key())?;
        assert_eq!(again.id(), ended.id());
        let other = queue.submit_with::<Welcome>(guests(&["ada"]), key());
        let conflict = Some(SubmitError::KeyConflict { batch: ended.id() });
        assert_eq!(other.err(), conflict);
        let import = queue.import::<Welcome>("file", guests(&["zoe"]))?;
        let ids: Vec<_> = import.batches.iter().map(|batch| batch.id()).collect();
        assert_eq!(ids, imported);
        import.batches[0].ends()?;

        // The old name still leads there, and is shown nowhere.
        let by_old_name = queue.submit_json("greet", r#"[{"name": "eve"}]"#)?;
        by_old_name.ends()?;
        assert_eq!(by_old_name.status()?.operation, "welcome");
        let listed = |name: &str| queue.batches(BatchFilter::all().operation(name)).count();
        assert_eq!((listed("welcome"), listed("greet")), (7, 7));
        let stats = queue.stats()?;
        let names: Vec<_> = stats.operations.iter().map(|o| &*o.name).collect();
        assert_eq!(names, ["bystander", "welcome", "mail"]);
        bystander.assert_unchanged(&queue);
        queue.shutdown(AMPLE)?;
        Ok(())
    })
}

#[test]
fn a_pause_under_an_old_name_holds_the_renamed_operation_until_it_is_lifted() -> Tested {
    on_every_site(|site| {
        let queue = site.open(|builder| builder.register(greet()).register(Mail::echo()))?;
        let bystander = Bystander::enter(&queue)?;
        queue.pause("greet", "before")?;
        queue.shutdown(AMPLE)?;
        let open = || {
            let welcome = Welcome(Box::new(|guest| Ok(guest.name)));
            site.open(|builder| builder.register(welcome).register(Mail::echo()))
        };
        let blocked = |queue: &Queue, id| -> Result<_, Box<dyn Error>> {
            queue.submit::<Mail>([1])?.ends()?;
            Ok(queue.batch(id)?.status()?.blocked)
        };
        let paused = |reason: &str| {
            let reason = reason.to_owned();
            Some(Blocked::Paused { reason })
        };
        let queue = open()?;
        let id = queue.submit::<Welcome>(guests(&["ada"]))?.id();
        assert_eq!(blocked(&queue, id)?, paused("before"));
        // Paused once more it has one reason, the later one.
        queue.pause("welcome", "after")?;
        queue.shutdown(AMPLE)?;
        let queue = open()?;
        assert_eq!(blocked(&queue, id)?, paused("after"));
        queue.unpause("welcome")?;
        queue.batch(id)?.ends()?;
        queue.shutdown(AMPLE)?;
        let queue = open()?;
        assert_eq!(
            queue
                .submit::<Welcome>(guests(&["bob"]))?
                .ends()?
                .status
                .succeeded,
            1
        );
        bystander.assert_unchanged(&queue);
        queue.shutdown(AMPLE)?;
        Ok(())
    })
}

#[test]
fn items_that_failed_under_an_old_name_are_run_again_under_the_new_one() -> Tested {
    on_every_site(|site| {
        let refuse = |_: Guest| Err(Failure::permanent("closed", "no guests today"));
        let greet = Greet(Box::new(refuse));
        let queue = site.open(|builder| builder.register(greet).register(Mail::echo()))?;
        let bystander = Bystander::enter(&queue)?;
        let id = queue.submit::<Greet>(guests(&["ada", "bob"]))?.id();
        assert_eq!(queue.batch(id)?.ends()?.status.failed, 2);
        queue.shutdown(AMPLE)?;
        let welcome = Welcome(Box::new(|guest| Ok(guest.name)));
        let queue = site.open(|builder| builder.register(welcome).register(Mail::echo()))?;
        let again = queue.batch(id)?.typed::<Welcome>()?.retry_failed()?;
        again.ends()?;
        assert_eq!(outputs(&again)?, ["ada", "bob"]);
        assert_eq!(again.status()?.operation, "welcome");
        bystander.assert_unchanged(&queue);
        queue.shutdown(AMPLE)?;
        Ok(())
    })
}

#[test]
fn a_renamed_operation_that_names_no_alias_finds_nothing_of_before() -> Tested {
    on_every_site(|site| {
        let before = before_renaming(site)?;
        let welcome = Welcome(Box::new(|guest| Ok(guest.name)));
        let open = |builder: Builder| {
            builder
                .register_as("welcome", welcome)
                .register(Mail::echo())
        };
        let queue = site.open(open)?;
        let queued = queue.batch(before.queued)?.status()?;
        assert_eq!(queued.operation, "greet");
        assert_eq!(queued.blocked, Some(Blocked::Unregistered));
        let again = queue.submit_with::<Welcome>(guests(&["ada", "bob"]), key())?;
        assert_ne!(again.id(), before.ended);
        again.ends()?;
        before.bystander.assert_unchanged(&queue);
        queue.shutdown(AMPLE)?;
        Ok(())
    })
}

#[test]
fn batches_of_a_removed_operation_stay_queued_until_it_is_back() -> Tested {
    on_every_site(|site| {
        let (id, bystander) = leave_queued(site, &["ada", "bob"])?;
        for _ in 0..2 {
            let queue = site.open(|builder| builder.register(Mail::echo()))?;
            let batch = queue.batch(id)?;
            let status = batch.status()?;
            assert_eq!((status.state, status.processed()), (State::Queued, 0));
            assert_eq!(status.blocked, Some(Blocked::Unregistered));
            let operation = "greet".to_owned();
            assert_eq!(batch.wait(), Err(WaitError::Unregistered { operation }));
            assert!(batch.typed::<Greet>().is_ok());
            queue.submit::<Mail>([1])?.ends()?;
            assert_eq!(batch.status()?, status);
            bystander.assert_unchanged(&queue);
            queue.shutdown(AMPLE)?;
        }
        let queue = site.open(|builder| builder.register(greet()).register(Mail::echo()))?;
        let batch = queue.batch(id)?.typed::<Greet>()?;
        assert_eq!(batch.ends()?.status.succeeded, 2);
        assert_eq!(outputs(&batch)?, ["ada", "bob"]);
        bystander.assert_unchanged(&queue);
        queue.shutdown(AMPLE)?;
        Ok(())
    })
}

#[test]
fn items_of_a_type_that_is_gone_wait_for_it_and_hold_up_nobody_else() -> Tested {
    on_every_site(|site| {
        let (id, bystander) = leave_queued(site, &["ada", "bob"])?;
        let by_number = GreetByNumber(Box::new(|guest| Ok(guest.number.to_string())));
        let queue = site.open(|builder| builder.register(by_number).register(Mail::echo()))?;
        let batch = queue.batch(id)?;
        eventually(|| batch.status().is_ok_and(|status| status.blocked.is_some()));
        let status = batch.status()?;
        let reason = status.to_string();
        assert!(reason.contains("`number`"), "{reason}");
        assert!(batch.wait().is_err());
        // What comes now waits with it; other operations do not.
        let next = queue.submit::<GreetByNumber>([GuestByNumber { number: 7 }])?;
        for n in 0..20 {
            queue.submit::<Mail>([n])?.ends()?;
        }
        assert_eq!(batch.status()?.processed(), 0);
        assert_eq!(next.status()?.processed(), 0);
        next.stop()?;
        bystander.assert_unchanged(&queue);
        queue.shutdown(AMPLE)?;

        let queue = site.open(|builder| builder.register(greet()).register(Mail::echo()))?;
        let batch = queue.batch(id)?.typed::<Greet>()?;
        assert_eq!(batch.ends()?.status.succeeded, 2);
        assert_eq!(outputs(&batch)?, ["ada", "bob"]);
        assert_eq!(queue.batch(next.id())?.status()?.state, State::Stopped);
        bystander.assert_unchanged(&queue);
        queue.shutdown(AMPLE)?;
        Ok(())
    })
}

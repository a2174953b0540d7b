//! Imports: any number of items, as batches under one key.

use crate::harness::{
    AMPLE, Bystander, Door, Ends, Log, Mail, Post, Tested, add, eventually, fresh, never, queue_on,
    sum,
};
use batchwright::limits::{ITEMS_PER_BATCH, Limits};
use batchwright::{
    AtLeastOnce, BatchFilter, BatchId, Context, Failure, Import, Operation, SubmitError,
    SubmitOptions,
};
use std::thread;

fn ids<O: Operation>(import: &Import<O>) -> Vec<BatchId> {
    import.batches.iter().map(|batch| batch.id()).collect()
}

fn limits(items_per_batch: usize, unfinished_batches: usize) -> Limits {
    let mut limits = Limits::default();
    limits.items_per_batch = items_per_batch;
    limits.unfinished_batches = unfinished_batches;
    limits
}

/// Refuses multiples of 1,000.
struct Checked;

impl Operation for Checked {
    const NAME: &'static str = "checked";
    type Item = u64;
    type Output = ();
    type Guarantee = AtLeastOnce;

    fn run(&self, _: u64, _: &mut Context<AtLeastOnce>) -> Result<(), Failure> {
        Ok(())
    }

    fn validate(&self, n: &u64) -> Result<(), Failure> {
        match n % 1_000 {
            0 if *n > 0 => Err(Failure::permanent("round", n.to_string()).field("n")),
            _ => Ok(()),
        }
    }
}

#[test]
fn items_become_full_batches_and_a_rest_in_order() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Post::new(|n, cx| add(cx, "all", n)))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let import = queue.import::<Post>("numbers", 0..2_500)?;
    assert_eq!(import.items, 2_500);
    let totals: Vec<_> = import
        .batches
        .iter()
        .map(|batch| batch.status().map(|status| status.total))
        .collect::<Result<_, _>>()?;
    assert_eq!(totals, [ITEMS_PER_BATCH as u64, 1_000, 500]);
    assert!(ids(&import).is_sorted());
    for batch in &import.batches {
        batch.ends()?;
    }
    assert_eq!(sum(&queue, "all")?, (0..2_500).sum::<u64>());
    assert!(queue.import::<Post>("nothing", [])?.batches.is_empty());
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn an_import_made_again_is_the_same_batches_and_goes_on_where_it_stopped() -> Tested {
    let (disk, clock) = fresh();
    let open = || {
        queue_on(&clock)
            .limits(limits(10, 100))
            .register(Post::new(|n, cx| add(cx, "all", n)))
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    let part = queue.import::<Post>("file", 0..20)?;
    disk.cut_power();
    let queue = open()?;
    let whole = queue.import::<Post>("file", 0..45)?;
    assert_eq!(ids(&whole)[..2], ids(&part));
    assert_eq!(ids(&whole).len(), 5);
    let again = queue.import::<Post>("file", 0..45)?;
    assert_eq!(ids(&again), ids(&whole));
    for batch in &again.batches {
        batch.ends()?;
    }
    assert_eq!(sum(&queue, "all")?, (0..45).sum::<u64>());
    let other = queue.import::<Post>("another file", 0..45)?;
    assert!(ids(&other).iter().all(|id| !ids(&whole).contains(id)));
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn the_same_key_with_other_content_stops_at_the_first_chunk_that_differs() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .limits(limits(10, 100))
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let first = queue.import::<Mail>("file", 0..30)?;
    let changed = (0..30).map(|n| if n == 15 { 1_500 } else { n });
    let error = queue
        .import::<Mail>("file", changed)
        .err()
        .ok_or("it was accepted")?;
    assert_eq!(error.accepted, 10);
    let batch = ids(&first)[1];
    assert_eq!(error.source, SubmitError::KeyConflict { batch });
    assert_eq!(queue.batches(BatchFilter::all()).count(), 5);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn under_another_limit_of_items_an_import_is_another_one_and_the_key_is_taken() -> Tested {
    let (disk, clock) = fresh();
    let open = |items| {
        let queue = queue_on(&clock).limits(limits(items, 100));
        queue.register(Mail::echo()).open_in_memory(&disk)
    };
    let queue = open(10)?;
    let bystander = Bystander::enter(&queue)?;
    let first = queue.import::<Mail>("file", 0..30)?;
    queue.shutdown(AMPLE)?;
    let queue = open(15)?;
    let error = queue.import::<Mail>("file", 0..30).err();
    let error = error.ok_or("it was accepted")?;
    let batch = ids(&first)[0];
    assert_eq!(error.source, SubmitError::KeyConflict { batch });
    assert_eq!(error.accepted, 0);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn options_out_of_range_are_refused_before_an_item_is_drawn() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let refused = |key: &str, items: &mut dyn Iterator<Item = u64>| {
        let error = queue.import::<Mail>(key, items).err();
        error.is_some_and(|error| matches!(error.source, SubmitError::InvalidOption { .. }))
    };
    let mut items = 0..5;
    assert!(refused("", &mut items));
    assert_eq!(items, 0..5);
    assert!(refused("", &mut std::iter::empty()));
    assert!(!refused("file", &mut std::iter::empty()));
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_refused_chunk_ends_the_import_with_all_its_bad_items_numbered_through() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .limits(limits(10, 100))
        .register(Checked)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let items = (1..=40).map(|n| {
        if [23, 27, 31].contains(&n) {
            n * 1_000
        } else {
            n
        }
    });
    let error = queue
        .import::<Checked>("file", items)
        .err()
        .ok_or("it was accepted")?;
    assert_eq!(error.accepted, 20);
    let SubmitError::Invalid { items } = error.source else {
        return Err(format!("{error}").into());
    };
    let bad: Vec<_> = items
        .iter()
        .map(|i| (i.index, i.failure.code.as_str()))
        .collect();
    assert_eq!(bad, [(22, "round"), (26, "round")]);
    assert_eq!(items[0].failure.field.as_deref(), Some("n"));
    assert_eq!(
        queue
            .batches(BatchFilter::all().operation("checked"))
            .count(),
        2
    );
    // Mended, it goes on behind what was accepted.
    let import = queue.import::<Checked>("file", 1..=40)?;
    assert_eq!(import.batches.len(), 4);
    assert_eq!(
        queue
            .batches(BatchFilter::all().operation("checked"))
            .count(),
        4
    );
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn an_import_waits_while_the_queue_is_full() -> Tested {
    for unfinished in [2, 3] {
        let (disk, clock) = fresh();
        let door = Door::new();
        let at = door.clone();
        let mail = Mail::new(move |n, _| {
            at.pass();
            Ok(n)
        });
        // The bystander takes one place.
        let queue = queue_on(&clock)
            .limits(limits(3, unfinished))
            .register(mail)
            .open_in_memory(&disk)?;
        let bystander = Bystander::enter(&queue)?;
        thread::scope(|scope| -> Tested {
            let importing = scope.spawn(|| queue.import::<Mail>("file", 0..30));
            let full = |n| {
                queue
                    .stats()
                    .is_ok_and(|stats| stats.unfinished_batches == n)
            };
            eventually(|| full(unfinished as u64));
            assert_eq!(
                queue.submit::<Mail>([1]).map(|b| b.id()),
                Err(SubmitError::Full { limit: unfinished })
            );
            never(|| importing.is_finished());
            door.open();
            let import = importing.join().map_err(|_| "the import panicked")??;
            assert_eq!(import.batches.len(), 10);
            for batch in &import.batches {
                assert_eq!(batch.ends()?.status.succeeded, 3);
            }
            Ok(())
        })?;
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn an_import_that_waits_for_room_ends_when_the_queue_closes() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let mail = Mail::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .limits(limits(3, 3))
        .register(mail)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let at_work = queue.submit::<Mail>([1])?;
    door.wait_for(1);
    thread::scope(|scope| -> Tested {
        let log = Log::new();
        let drawn = log.clone();
        let queue = &queue;
        let items = (0..30).inspect(move |n| drawn.push(*n));
        let importing = scope.spawn(move || queue.import::<Mail>("file", items));
        eventually(|| log.len() == 6);
        door.open();
        queue.shutdown(crate::harness::AMPLE)?;
        let imported = importing.join().map_err(|_| "the import panicked")?;
        match imported {
            Err(error) => assert_eq!(error.source, SubmitError::Closed),
            Ok(import) => assert_eq!(import.items, 30),
        }
        Ok(())
    })?;
    let queue = queue_on(&clock)
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    assert_eq!(queue.batch(at_work.id())?.ends()?.status.succeeded, 1);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// On a worker it would wait for batches that may wait for this worker.
#[test]
fn an_import_in_a_handler_does_not_wait_for_room() -> Tested {
    let (disk, clock) = fresh();
    let own = std::sync::Arc::new(std::sync::OnceLock::<batchwright::Queue>::new());
    let of = std::sync::Arc::clone(&own);
    let mail = Mail::new(move |n, _| {
        let queue = of
            .get()
            .ok_or_else(|| Failure::permanent("no_queue", "not set"))?;
        match queue.import::<Checked>("file", 1..=30) {
            Ok(_) => Err(Failure::permanent("accepted", "there was room")),
            Err(error) => match error.source {
                SubmitError::Full { .. } => Ok(n + error.accepted),
                error => Err(Failure::permanent("other", error.to_string())),
            },
        }
    });
    let queue = queue_on(&clock)
        .workers(1)
        .limits(limits(10, 3))
        .register(mail)
        .register(Checked)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    assert!(own.set(queue.clone()).is_ok());
    let batch = queue.submit::<Mail>([1])?;
    batch.ends()?;
    assert_eq!(crate::harness::outputs(&batch)?, [11]);
    bystander.assert_unchanged(&queue);
    queue.shutdown(crate::harness::AMPLE)?;
    Ok(())
}

#[test]
fn every_batch_of_an_import_gets_its_options_and_another_owner_makes_another_import() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let options = |owner: &str| {
        let options = SubmitOptions::new().owner(owner).label("file");
        // The key of the import is what counts.
        options.priority(-7).idempotency_key(owner)
    };
    let ada = queue.import_with::<Mail>("numbers", 0..1_500, options("ada"))?;
    assert_eq!(ada.batches.len(), 2);
    for batch in &ada.batches {
        let status = batch.status()?;
        let shown = (status.owner, status.label, status.priority);
        assert_eq!(shown, (Some("ada".to_owned()), Some("file".to_owned()), -7));
    }
    let again = queue.import_with::<Mail>("numbers", 0..1_500, options("ada"))?;
    assert_eq!(ids(&again), ids(&ada));
    let bob = queue.import_with::<Mail>("numbers", 0..1_500, options("bob"))?;
    assert!(ids(&bob).iter().all(|id| !ids(&ada).contains(id)));
    assert_eq!(bob.batches.len(), 2);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn an_import_keeps_to_the_limit_of_bytes() -> Tested {
    let (disk, clock) = fresh();
    let mut limits = Limits::default();
    limits.batch_bytes = 10;
    let queue = queue_on(&clock)
        .limits(limits)
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    // Two of these fit a batch, one of those does not.
    let import = queue.import::<Mail>("file", [10_000, 10_000, 10_000])?;
    assert_eq!(import.batches.len(), 2);
    let large = 100_000_000_000;
    let refused = queue.submit::<Mail>([large]).map(|b| b.id());
    assert_eq!(refused, Err(SubmitError::BatchTooLarge { limit: 10 }));
    let error = queue
        .import::<Mail>("another file", [1, large, 1])
        .err()
        .ok_or("it was accepted")?;
    assert_eq!(error.accepted, 1);
    assert_eq!(error.source, SubmitError::BatchTooLarge { limit: 10 });
    Ok(())
}

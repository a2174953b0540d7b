//! Reading back what was submitted.

use crate::harness::{Bystander, Call, Ends, Mail, Tested, fresh, queue_on};
use batchwright::{
    AtLeastOnce, Batch, BatchError, Context, Failure, Json, Operation, Queue, SubmitOptions,
};
use std::time::{Duration, UNIX_EPOCH};

/// Items of up to 39 KB, so that they lie in many chunks.
struct Large;

impl Operation for Large {
    const NAME: &'static str = "large";
    type Item = (u64, String);
    type Output = ();
    type Guarantee = AtLeastOnce;

    fn run(&self, _: Self::Item, _: &mut Context<AtLeastOnce>) -> Result<(), Failure> {
        Ok(())
    }
}

fn large() -> Vec<(u64, String)> {
    (0..40).map(|n| (n, "é".repeat(500 * n as usize))).collect()
}

fn all<O: batchwright::BatchType>(batch: &Batch<O>) -> Result<Vec<O::Item>, BatchError> {
    batch.items()?.collect()
}

#[test]
fn items_are_what_was_submitted_before_they_run_and_after() -> Tested {
    let (disk, clock) = fresh();
    let open = || {
        let queue = Queue::builder("unused").clock(clock.clone());
        queue.register(Large).open_in_memory(&disk)
    };
    let queue = open()?;
    let later = SubmitOptions::new().not_before(UNIX_EPOCH + Duration::from_secs(4_000_000_000));
    let queued = queue.submit_with::<Large>(large(), later)?;
    let ended = queue.submit::<Large>(large())?;
    ended.ends()?;
    assert_eq!(all(&queued)?, large());
    assert_eq!(all(&ended)?, large());
    disk.cut_power();
    let queue = open()?;
    for id in [queued.id(), ended.id()] {
        let batch = queue.batch(id)?;
        assert_eq!(all(&batch.typed::<Large>()?)?, large());
        assert_eq!(all(&batch)?[1], serde_json::json!([1, "é".repeat(500)]));
    }
    Ok(())
}

/// Has the name of [`Call`] and other items.
struct CallText;

impl Operation for CallText {
    const NAME: &'static str = "call";
    type Item = Option<bool>;
    type Output = ();
    type Guarantee = AtLeastOnce;

    fn run(&self, _: Self::Item, _: &mut Context<AtLeastOnce>) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn an_item_of_another_type_is_an_error_and_the_others_follow() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Mail::echo())
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit_json("call", "[1, 2]")?;
    batch.ends()?;
    drop(queue);
    let queue = queue_on(&clock).register(CallText).open_in_memory(&disk)?;
    let batch: Batch<Json> = queue.batch(batch.id())?;
    assert_eq!(all(&batch)?, [1, 2]);
    let read: Vec<_> = batch.typed::<CallText>()?.items()?.collect();
    for (at, item) in read.iter().enumerate() {
        let told = matches!(item, Err(BatchError::UndecodableItem { index, .. }) if *index == at);
        assert!(told, "{item:?}");
    }
    assert_eq!(read.len(), 2);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn the_items_of_a_batch_that_is_deleted_meanwhile_end_with_an_error() -> Tested {
    let (disk, clock) = fresh();
    let queue = Queue::builder("unused")
        .clock(clock)
        .register(Large)
        .open_in_memory(&disk)?;
    let batch = queue.submit::<Large>(large())?;
    batch.ends()?;
    let mut items = batch.items()?;
    assert!(items.next().is_some_and(|item| item.is_ok()));
    batch.delete()?;
    let id = batch.id();
    let rest: Vec<_> = items.collect();
    let last = rest.last().map(|last| last.as_ref().map(drop));
    assert_eq!(last, Some(Err(&BatchError::NotFound { id })));
    assert!(rest.len() < 40);
    assert_eq!(batch.items().map(drop), Err(BatchError::NotFound { id }));
    Ok(())
}

/// Submits large texts, and reads them as numbers.
struct LargeNumbers;

impl Operation for LargeNumbers {
    const NAME: &'static str = "large";
    type Item = (u64, u64);
    type Output = ();
    type Guarantee = AtLeastOnce;

    fn run(&self, _: Self::Item, _: &mut Context<AtLeastOnce>) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn items_of_another_type_do_not_hide_those_that_are_stored_apart_from_them() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock).register(Large).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Large>(large())?;
    batch.ends()?;
    drop(queue);
    let queue = queue_on(&clock)
        .register(LargeNumbers)
        .open_in_memory(&disk)?;
    let batch = queue.batch(batch.id())?.typed::<LargeNumbers>()?;
    let told: Vec<_> = batch
        .items()?
        .filter_map(|item| match item {
            Err(BatchError::UndecodableItem { index, .. }) => Some(index),
            _ => None,
        })
        .collect();
    assert_eq!(told, (0..40).collect::<Vec<_>>());
    bystander.assert_unchanged(&queue);
    Ok(())
}

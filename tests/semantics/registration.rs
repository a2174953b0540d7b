//! Batches whose operation is not there, or is another than when they were submitted.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Mail, Post, Tested, add, fresh, outcomes, queue_on, sum,
};
use batchwright::{
    AtLeastOnce, BatchError, Blocked, Context, ExactlyOnce, Failure, Operation, State, SubmitError,
    WaitError,
};

#[test]
fn a_batch_of_an_unregistered_operation_stays_queued_says_so_and_runs_later() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let mail = Mail::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(1)
        .register(mail)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let ended = queue.submit::<Call>([9])?;
    ended.ends()?;
    queue.submit::<Mail>([1])?;
    door.wait_for(1);
    let id = queue.submit::<Call>([1, 2])?.id();
    disk.cut_power();
    door.open();

    let queue = queue_on(&clock)
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let batch = queue.batch(id)?;
    let status = batch.status()?;
    assert_eq!(status.state, State::Queued);
    assert_eq!(status.blocked, Some(Blocked::Unregistered));
    let operation = "call".to_owned();
    assert_eq!(batch.wait(), Err(WaitError::Unregistered { operation }));
    let refused = queue.submit::<Call>([1]).map(|b| b.id());
    assert!(
        matches!(refused, Err(SubmitError::UnknownOperation { name, known })
        if name == "call" && known == ["bystander", "mail"])
    );
    let stats = queue.stats()?;
    let call = stats.operations.iter().find(|o| o.name == "call");
    assert_eq!(
        call.map(|o| (o.registered, o.batches, o.queued)),
        Some((false, 1, 2))
    );
    // What has ended is readable, and not blocked.
    let ended = queue.batch(ended.id())?;
    assert_eq!(ended.status()?.blocked, None);
    assert_eq!(outcomes(&ended)?.len(), 1);
    assert!(queue.submit::<Mail>([1])?.wait().is_ok());
    bystander.assert_unchanged(&queue);
    queue.shutdown(AMPLE)?;

    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    assert_eq!(queue.batch(id)?.ends()?.status.succeeded, 2);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// The same name as [`Call`], after a deploy that made items texts.
struct CallText;

impl Operation for CallText {
    const NAME: &'static str = "call";
    type Item = String;
    type Output = u64;
    type Guarantee = AtLeastOnce;

    fn run(&self, text: String, _: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
        text.parse()
            .map_err(|_| Failure::permanent("not_a_number", text))
    }
}

/// The same name as [`Post`], with smaller numbers: some items decode.
struct PostSmall;

impl Operation for PostSmall {
    const NAME: &'static str = "post";
    type Item = u8;
    type Output = u64;
    type Guarantee = ExactlyOnce;

    fn run(&self, n: u8, cx: &mut Context<ExactlyOnce>) -> Result<u64, Failure> {
        add(cx, "all", n.into())
    }
}

#[test]
fn an_item_that_no_longer_decodes_pauses_its_operation_and_no_other() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let mail = Mail::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(1)
        .register(mail)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    queue.submit::<Mail>([1])?;
    door.wait_for(1);
    let id = queue.submit::<Call>([1, 2])?.id();
    let behind = queue.submit::<Call>([3])?.id();
    disk.cut_power();
    door.open();

    let queue = queue_on(&clock)
        .register(CallText)
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let batch = queue.batch(id)?;
    // Told at once or when the first item is met.
    let told = batch.wait();
    let Err(WaitError::Undecodable { operation, reason }) = told else {
        return Err(format!("{told:?}").into());
    };
    assert_eq!(operation, "call");
    assert!(reason.contains("item 0"), "{reason}");
    let blocked = Some(Blocked::Undecodable {
        reason: reason.clone(),
    });
    assert_eq!(batch.status()?.blocked, blocked);
    assert_eq!(queue.batch(behind)?.status()?.blocked, blocked);
    assert_eq!(batch.status()?.processed(), 0);
    let stats = queue.stats()?;
    let call = stats.operations.iter().find(|o| o.name == "call");
    assert_eq!(call.and_then(|o| o.blocked.clone()), blocked);
    assert!(queue.submit::<Mail>([1])?.wait().is_ok());
    bystander.assert_unchanged(&queue);
    queue.shutdown(AMPLE)?;

    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    assert_eq!(queue.batch(id)?.ends()?.status.succeeded, 2);
    assert_eq!(queue.batch(behind)?.ends()?.status.succeeded, 1);
    assert_eq!(queue.batch(id)?.status()?.blocked, None);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn what_ran_before_the_undecodable_item_counts_and_the_rest_waits() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let mail = Mail::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(1)
        .register(mail)
        .register(Post::new(|n, cx| add(cx, "all", n)))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    queue.submit::<Mail>([1])?;
    door.wait_for(1);
    let id = queue.submit::<Post>([1, 2, 1_000, 4])?.id();
    disk.cut_power();
    door.open();
    let queue = queue_on(&clock).register(PostSmall).open_in_memory(&disk)?;
    let batch = queue.batch(id)?;
    assert!(matches!(batch.wait(), Err(WaitError::Undecodable { .. })));
    crate::harness::eventually(|| batch.status().is_ok_and(|status| status.succeeded == 2));
    assert_eq!(sum(&queue, "all")?, 3);
    // Another batch of it is accepted, and waits with it.
    let next = queue.submit::<PostSmall>([5])?;
    assert!(matches!(next.wait(), Err(WaitError::Undecodable { .. })));
    assert_eq!(next.stop()?.state, State::Stopped);
    next.resume()?;
    queue.shutdown(AMPLE)?;
    let queue = queue_on(&clock)
        .register(Post::new(|n, cx| add(cx, "all", n)))
        .open_in_memory(&disk)?;
    assert_eq!(queue.batch(id)?.ends()?.status.succeeded, 4);
    assert_eq!(queue.batch(next.id())?.ends()?.status.succeeded, 1);
    assert_eq!(sum(&queue, "all")?, 1_012);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_handle_is_typed_only_as_the_operation_it_is_of() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let id = queue.submit::<Call>([1])?.id();
    let batch = queue.batch(id)?;
    assert!(batch.typed::<Call>().is_ok());
    let wrong = batch.typed::<Mail>().err();
    let expected = BatchError::WrongOperation {
        id,
        found: "call".to_owned(),
        expected: "mail".to_owned(),
    };
    assert_eq!(wrong, Some(expected));
    Ok(())
}

//! Submitting by name, to closures, and from handlers.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Log, Mail, Tested, add, eventually, fresh, outcomes,
    outputs, queue_on, sum,
};
use batchwright::limits::NAME_BYTES;
use batchwright::{
    AtLeastOnce, BatchError, BatchFilter, Builder, Context, ExactlyOnce, Failure, OpenError,
    Operation, Outcome, Queue, SubmitError, SubmitOptions,
};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

fn stored(queue: &Queue, operation: &str) -> usize {
    queue
        .batches(BatchFilter::all().operation(operation))
        .count()
}

#[test]
fn one_type_under_two_names_is_two_operations() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register_as("plus one", Call::new(|n, _| Ok(n + 1)))
        .register_as("plus ten", Call::new(|n, _| Ok(n + 10)))
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let one = queue.submit_as::<Call>("plus one", [1, 2])?;
    let options = SubmitOptions::new().owner("ann");
    let ten = queue.submit_as_with::<Call>("plus ten", [1], options)?;
    one.ends()?;
    ten.ends()?;
    assert_eq!((outputs(&one)?, outputs(&ten)?), (vec![2, 3], vec![11]));
    assert_eq!(one.status()?.operation, "plus one");
    assert_eq!(ten.status()?.owner.as_deref(), Some("ann"));
    assert_eq!(outputs(&queue.batch(ten.id())?.typed::<Call>()?)?, [11]);
    let stats = queue.stats()?;
    let succeeded = |name: &str| {
        let operation = stats.operations.iter().find(|o| o.name == name);
        operation.map(|operation| operation.succeeded)
    };
    assert_eq!(
        (succeeded("plus one"), succeeded("plus ten")),
        (Some(2), Some(1))
    );

    let known = ["bystander", "plus one", "plus ten", "mail"].map(str::to_owned);
    let unknown = |name: &str| SubmitError::UnknownOperation {
        name: name.to_owned(),
        known: known.to_vec(),
    };
    let refused = queue.submit::<Call>([1]).map(|batch| batch.id());
    assert_eq!(refused, Err(unknown("call")));
    // There is one, and it is of another type.
    let refused = queue.submit_as::<Call>("mail", [1]).map(|batch| batch.id());
    assert_eq!(refused, Err(unknown("mail")));
    assert_eq!(stored(&queue, "mail"), 0);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// Another type under the name of [`Call`].
struct NewCall;

impl Operation for NewCall {
    const NAME: &'static str = "call";
    type Item = u64;
    type Output = String;
    type Guarantee = AtLeastOnce;

    fn run(&self, n: u64, _: &mut Context<AtLeastOnce>) -> Result<String, Failure> {
        Ok(n.to_string())
    }
}

#[test]
fn a_handle_is_typed_as_what_is_registered_or_by_name_where_nothing_is() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .register_as("other", Call::echo())
        .open_in_memory(&disk)?;
    let own = queue.submit::<Call>([1])?;
    let other = queue.submit_as::<Call>("other", [2])?;
    own.ends()?;
    other.ends()?;
    queue.shutdown(AMPLE)?;
    let wrong = |batch: &batchwright::Batch, found: &str, expected: &str| {
        Some(BatchError::WrongOperation {
            id: batch.id(),
            found: found.to_owned(),
            expected: expected.to_owned(),
        })
    };

    let queue = queue_on(&clock).open_in_memory(&disk)?;
    let (own, other) = (queue.batch(own.id())?, queue.batch(other.id())?);
    assert_eq!(outputs(&own.typed::<Call>()?)?, [1]);
    assert_eq!(outputs(&other)?, [json!(2)]);
    assert_eq!(other.typed::<Call>().err(), wrong(&other, "other", "call"));
    queue.shutdown(AMPLE)?;

    let queue = queue_on(&clock).register(NewCall).open_in_memory(&disk)?;
    let own = queue.batch(own.id())?;
    assert!(own.typed::<NewCall>().is_ok());
    let expected = std::any::type_name::<Call>();
    assert_eq!(own.typed::<Call>().err(), wrong(&own, "call", expected));
    Ok(())
}

fn closures(builder: Builder) -> Builder {
    builder
        .register_fn(
            "shout",
            |text: String, cx: &mut Context<AtLeastOnce>| match text.as_str() {
                "panic" => panic!("as it was told"),
                "fail" => Err(Failure::permanent("told", "as it was told")),
                _ => Ok(format!("{} {}", text.to_uppercase(), cx.attempt())),
            },
        )
        .register_fn("sum", |n: u64, cx: &mut Context<ExactlyOnce>| {
            add(cx, "all", n)
        })
}

#[test]
fn closures_are_operations_of_either_guarantee() -> Tested {
    let (disk, clock) = fresh();
    let queue = closures(queue_on(&clock)).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let sums = queue.submit_named("sum", [1_u64, 2, 3])?;
    let shouts = queue.submit_named("shout", ["a", "panic", "fail"].map(str::to_owned))?;
    sums.ends()?;
    shouts.ends()?;
    assert_eq!(outputs(&sums)?, [json!(1), json!(3), json!(6)]);
    let ends: Vec<_> = outcomes(&shouts)?.into_iter().map(|o| o.outcome).collect();
    let codes: Vec<_> = ends
        .iter()
        .map(|end| end.failure().map(|f| &*f.code))
        .collect();
    assert_eq!(codes, [None, Some(Failure::PANICKED), Some("told")]);
    assert_eq!(ends[0], Outcome::Succeeded(json!("A 1")));
    disk.cut_power();
    let queue = closures(queue_on(&clock)).open_in_memory(&disk)?;
    assert_eq!(sum(&queue, "all")?, 6);
    assert_eq!(outputs(&queue.batch(sums.id())?)?.len(), 3);
    let key = || SubmitOptions::new().idempotency_key("k");
    let first = queue.submit_named_with("sum", [4_u64], key())?;
    first.ends()?;
    assert_eq!(
        queue.submit_named_with("sum", [4_u64], key())?.id(),
        first.id()
    );
    assert_eq!(sum(&queue, "all")?, 10);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn items_of_another_type_are_refused_with_both_types_before_any_is_drawn() -> Tested {
    let (disk, clock) = fresh();
    let queue = closures(queue_on(&clock))
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let commits = disk.commits();
    let drawn = AtomicUsize::new(0);
    let items = (0..3_u32).inspect(|_| {
        drawn.fetch_add(1, Ordering::Relaxed);
    });
    let refused = queue.submit_named("sum", items).map(|batch| batch.id());
    let wrong = SubmitError::WrongItemType {
        operation: "sum".to_owned(),
        expected: "u64",
        found: "u32",
    };
    assert_eq!(refused, Err(wrong));
    assert_eq!(drawn.load(Ordering::Relaxed), 0);
    let unknown = queue.submit_named("nothing", [1_u64]);
    assert!(
        matches!(unknown, Err(SubmitError::UnknownOperation { name, known })
        if name == "nothing" && known == ["bystander", "shout", "sum", "call"])
    );
    assert_eq!((disk.commits(), stored(&queue, "sum")), (commits, 0));
    // Of the right type they may go to any operation.
    let batch = queue.submit_named("call", [7_u64])?;
    batch.ends()?;
    assert_eq!(outputs(&batch.typed::<Call>()?)?, [7]);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// [`Call`] under a name of its own, with old ones.
macro_rules! aliased {
    ($type:ident, $name:expr, $aliases:expr) => {
        struct $type;

        impl Operation for $type {
            const NAME: &'static str = $name;
            const ALIASES: &'static [&'static str] = $aliases;
            type Item = u64;
            type Output = u64;
            type Guarantee = AtLeastOnce;

            fn run(&self, n: u64, _: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
                Ok(n)
            }
        }
    };
}

aliased!(Renamed, "renamed", &["first name", "second name"]);
aliased!(AlsoSecond, "another", &["second name"]);
aliased!(Itself, "itself", &["itself"]);
aliased!(Nameless, "with a nameless past", &[""]);

#[test]
fn every_name_is_taken_once_and_within_the_limit() -> Tested {
    let (disk, clock) = fresh();
    let taken = |builder: Builder| match builder.open_in_memory(&disk) {
        Err(OpenError::DuplicateOperation { name }) => name,
        other => format!("{other:?}"),
    };
    let new = || queue_on(&clock).register(Renamed);
    assert_eq!(taken(new().register(AlsoSecond)), "second name");
    assert_eq!(taken(new().register_as("renamed", Call::echo())), "renamed");
    let by_alias = new().register_as("first name", Call::echo());
    assert_eq!(taken(by_alias), "first name");
    let before = queue_on(&clock).register_as("first name", Call::echo());
    assert_eq!(taken(before.register(Renamed)), "first name");
    assert_eq!(taken(queue_on(&clock).register(Itself)), "itself");
    let long = "n".repeat(NAME_BYTES + 1);
    for builder in [
        new().register_as("", Call::echo()),
        new().register_as(&*long, Call::echo()),
        new().register_fn("", |n: u64, _: &mut Context<AtLeastOnce>| Ok(n)),
        new().register(Nameless),
    ] {
        let opened = builder.open_in_memory(&disk);
        assert!(matches!(opened, Err(OpenError::InvalidConfig { .. })));
    }
    assert_eq!(disk.commits(), 0);
    // Under another name the old ones do not count.
    let queue = new()
        .register_as(&long[1..], AlsoSecond)
        .open_in_memory(&disk)?;
    queue.submit_as::<AlsoSecond>(&long[1..], [1])?.ends()?;
    Ok(())
}

/// Submits what it is given to [`Mail`], under its own key.
fn forwarding() -> Call {
    Call::new(|n, cx| {
        let queue = cx
            .queue()
            .ok_or_else(|| Failure::permanent("no_queue", "there is none"))?;
        let options = SubmitOptions::new().idempotency_key(cx.idempotency_key().to_string());
        let batch = queue.submit_with::<Mail>([n, n], options);
        let batch = batch.map_err(|error| Failure::permanent("refused", error.to_string()))?;
        Ok(u64::from(batch.id()))
    })
}

#[test]
fn a_handler_submits_further_batches() -> Tested {
    let (disk, clock) = fresh();
    let open = || {
        queue_on(&clock)
            .register(forwarding())
            .register(Mail::echo())
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([5, 6])?;
    assert_eq!(batch.ends()?.status.succeeded, 2);
    for (n, id) in [5, 6].into_iter().zip(outputs(&batch)?) {
        let follow_up = queue.batch(id)?.typed::<Mail>()?;
        follow_up.ends()?;
        assert_eq!(outputs(&follow_up)?, [n, n]);
    }
    assert_eq!(stored(&queue, "mail"), 2);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// It may run before `open` has returned.
#[test]
fn a_handler_of_a_batch_from_before_has_the_queue_from_its_first_line() -> Tested {
    for _ in 0..50 {
        let (disk, clock) = fresh();
        let door = Door::new();
        let at = door.clone();
        let waiting = Call::new(move |n, _| {
            at.pass();
            Ok(n)
        });
        let queue = queue_on(&clock).register(waiting).open_in_memory(&disk)?;
        let bystander = Bystander::enter(&queue)?;
        let id = queue.submit::<Call>([1])?.id();
        door.wait_for(1);
        disk.cut_power();
        door.open();
        let queue = queue_on(&clock)
            .register(forwarding())
            .register(Mail::echo())
            .open_in_memory(&disk)?;
        assert_eq!(queue.batch(id)?.ends()?.status.succeeded, 1);
        assert_eq!(stored(&queue, "mail"), 1);
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn a_handler_has_no_queue_once_the_last_handle_is_dropped_or_the_queue_closes() -> Tested {
    for by_shutdown in [false, true] {
        let (disk, clock) = fresh();
        let (door, log) = (Door::new(), Log::new());
        let (at, seen) = (door.clone(), log.clone());
        let call = Call::new(move |n, cx| {
            seen.push(cx.queue().is_some());
            at.pass();
            seen.push(cx.queue().is_some());
            Ok(n)
        });
        let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
        let bystander = Bystander::enter(&queue)?;
        let batch = queue.submit::<Call>([1])?;
        door.wait_for(1);
        let kept = by_shutdown.then(|| queue.clone());
        // Either waits for the handler.
        let closing = thread::spawn(move || match by_shutdown {
            true => queue.shutdown(AMPLE),
            false => {
                drop(queue);
                Ok(())
            }
        });
        eventually(|| batch.status() == Err(BatchError::Closed));
        door.open();
        closing.join().map_err(|_| "closing panicked")??;
        assert_eq!(log.entries(), [true, false]);
        drop(kept);
        let queue = queue_on(&clock)
            .register(Call::echo())
            .open_in_memory(&disk)?;
        assert_eq!(queue.batch(batch.id())?.ends()?.status.succeeded, 1);
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn a_handle_that_a_handler_holds_keeps_the_queue_open_until_it_lets_go() -> Tested {
    let (disk, clock) = fresh();
    let (holding, go_on) = (Door::new(), Door::new());
    let (held_at, go_at) = (holding.clone(), go_on.clone());
    let follow_up = Log::new();
    let submitted = follow_up.clone();
    let call = Call::new(move |n, cx| {
        let queue = cx
            .queue()
            .ok_or_else(|| Failure::permanent("no_queue", "there is none"))?;
        held_at.pass();
        go_at.pass();
        let batch = queue.submit::<Mail>([n]);
        submitted.push(batch.map(|batch| batch.id()));
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(1)
        .register(call)
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([1])?;
    holding.open();
    go_on.wait_for(1);
    drop(queue);
    assert_eq!(batch.status()?.in_flight, 1);
    go_on.open();
    eventually(|| batch.status() == Err(BatchError::Closed));
    let mut opened = None;
    eventually(|| {
        let builder = queue_on(&clock)
            .register(Call::echo())
            .register(Mail::echo());
        opened = builder.open_in_memory(&disk).ok();
        opened.is_some()
    });
    let queue = opened.ok_or("not open")?;
    assert_eq!(queue.batch(batch.id())?.ends()?.status.succeeded, 1);
    let follow_up = follow_up.entries();
    let [Ok(follow_up)] = &follow_up[..] else {
        return Err(format!("{follow_up:?}").into());
    };
    assert_eq!(queue.batch(*follow_up)?.ends()?.status.succeeded, 1);
    bystander.assert_unchanged(&queue);
    Ok(())
}

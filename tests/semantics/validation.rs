//! What is refused at submit, and that nothing of it is stored.

use crate::harness::{Bystander, Call, Ends, Tested, fresh, outputs, queue_on};
use batchwright::limits::{
    ITEMS_PER_BATCH, ITEMS_PER_BATCH_MAX, Limits, NAME_BYTES, PAYLOAD_BYTES,
};
use batchwright::{
    AtLeastOnce, BatchFilter, Context, Failure, InvalidItem, OpenError, Operation, Queue,
    SubmitError,
};
use std::time::Duration;

/// Texts, some of which are refused in one way or another.
struct Text;

impl Operation for Text {
    const NAME: &'static str = "text";
    type Item = String;
    type Output = usize;
    type Guarantee = AtLeastOnce;

    fn run(&self, text: String, _: &mut Context<AtLeastOnce>) -> Result<usize, Failure> {
        Ok(text.len())
    }

    fn validate(&self, text: &String) -> Result<(), Failure> {
        match text.as_str() {
            "bad" => Err(Failure::permanent("bad_text", "it is bad").field("text")),
            "panic" => panic!("cannot validate"),
            _ => Ok(()),
        }
    }

    fn key(&self, text: &String) -> Option<String> {
        assert!(text != "bad key", "there is no key");
        None
    }
}

fn stored(queue: &Queue, operation: &str) -> usize {
    queue
        .batches(BatchFilter::all().operation(operation))
        .count()
}

#[test]
fn an_empty_batch_and_too_many_items_are_refused() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let commits = disk.commits();
    let most = ITEMS_PER_BATCH as u64;
    assert_eq!(
        queue.submit::<Call>([]).map(|b| b.id()),
        Err(SubmitError::Empty)
    );
    let limit = ITEMS_PER_BATCH;
    let too_many = queue.submit::<Call>(0..=most).map(|b| b.id());
    assert_eq!(too_many, Err(SubmitError::TooManyItems { limit }));
    // Endless items are not drawn for ever.
    let endless = queue.submit::<Call>(0..).map(|b| b.id());
    assert_eq!(endless, Err(SubmitError::TooManyItems { limit }));
    assert_eq!((disk.commits(), stored(&queue, "call")), (commits, 0));
    assert_eq!(
        queue.submit::<Call>(0..most)?.ends()?.status.succeeded,
        most
    );
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn all_invalid_items_are_listed_and_nothing_is_stored() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock).register(Text).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let commits = disk.commits();
    let large = "x".repeat(PAYLOAD_BYTES - 1);
    let texts = ["good", "bad", "good", &large, "panic", "bad key", "bad"];
    let refused = queue.submit::<Text>(texts.map(str::to_owned));
    let Err(SubmitError::Invalid { items }) = refused else {
        return Err("it was accepted".into());
    };
    let found: Vec<_> = items
        .iter()
        .map(|item| {
            (
                item.index,
                item.failure.code.as_str(),
                item.failure.field.as_deref(),
            )
        })
        .collect();
    let expected = [
        (1, "bad_text", Some("text")),
        (3, InvalidItem::TOO_LARGE, None),
        (4, InvalidItem::PANICKED, None),
        (5, InvalidItem::PANICKED, None),
        (6, "bad_text", Some("text")),
    ];
    assert_eq!(found, expected);
    assert_eq!((disk.commits(), stored(&queue, "text")), (commits, 0));
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn an_item_of_the_largest_size_goes_through_and_one_byte_more_does_not() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock).register(Text).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let text = |bytes: usize| "x".repeat(bytes - 2);
    let batch = queue.submit::<Text>([text(PAYLOAD_BYTES), text(2), text(PAYLOAD_BYTES)])?;
    batch.ends()?;
    assert_eq!(outputs(&batch)?, [PAYLOAD_BYTES - 2, 0, PAYLOAD_BYTES - 2]);
    let refused = queue.submit::<Text>([text(PAYLOAD_BYTES + 1)]);
    assert!(matches!(refused, Err(SubmitError::Invalid { .. })));
    assert_eq!(stored(&queue, "text"), 1);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_batch_over_the_limit_of_bytes_is_refused() -> Tested {
    let (disk, clock) = fresh();
    let mut limits = Limits::default();
    limits.batch_bytes = 100;
    let queue = queue_on(&clock)
        .limits(limits)
        .register(Text)
        .open_in_memory(&disk)?;
    let text = |bytes: usize| "x".repeat(bytes - 2);
    let refused = queue.submit::<Text>([text(50), text(51)]).map(|b| b.id());
    assert_eq!(refused, Err(SubmitError::BatchTooLarge { limit: 100 }));
    assert_eq!(stored(&queue, "text"), 0);
    assert_eq!(
        queue
            .submit::<Text>([text(50), text(50)])?
            .ends()?
            .status
            .succeeded,
        2
    );
    Ok(())
}

#[test]
fn the_largest_batch_that_can_be_configured_runs() -> Tested {
    let (disk, clock) = fresh();
    let mut limits = Limits::default();
    limits.items_per_batch = ITEMS_PER_BATCH_MAX;
    let queue = queue_on(&clock)
        .limits(limits)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let most = ITEMS_PER_BATCH_MAX as u64;
    let batch = queue.submit::<Call>(0..most)?;
    assert_eq!(batch.ends()?.status.succeeded, most);
    assert!(outputs(&batch)?.into_iter().eq(0..most));
    Ok(())
}

#[test]
fn an_unknown_operation_is_refused_with_the_names_that_are_known() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let refused = queue.submit::<Text>(["x".to_owned()]).map(|b| b.id());
    let expected = SubmitError::UnknownOperation {
        name: "text".to_owned(),
        known: vec!["bystander".to_owned(), "call".to_owned()],
    };
    assert_eq!(refused, Err(expected.clone()));
    let refused = queue.import::<Text>("key", ["x".to_owned()]).err();
    assert_eq!(refused.map(|error| error.source), Some(expected));
    assert_eq!(stored(&queue, "text"), 0);
    Ok(())
}

#[test]
fn settings_out_of_range_are_refused_at_open() {
    let (disk, clock) = fresh();
    let refused = |limits: Limits| {
        let opened = queue_on(&clock).limits(limits).open_in_memory(&disk);
        matches!(opened, Err(OpenError::InvalidConfig { .. }))
    };
    let with = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    };
    assert!(refused(with(|l| l.items_per_batch = 0)));
    assert!(refused(with(
        |l| l.items_per_batch = ITEMS_PER_BATCH_MAX + 1
    )));
    assert!(refused(with(|l| l.batch_bytes = 0)));
    assert!(refused(with(|l| l.unfinished_batches = 0)));
    let brief = with(|l| l.commit = Duration::from_micros(999));
    let opened = queue_on(&clock).limits(brief).open_in_memory(&disk);
    let error = opened.err().map(|error| error.to_string());
    let said = "invalid configuration: limits.commit is 999µs, allowed is 1ms or more";
    assert_eq!(error.as_deref(), Some(said));
    let name = "n".repeat(NAME_BYTES) + "!";
    let opened = queue_on(&clock)
        .register_as(name, Call::echo())
        .open_in_memory(&disk);
    let error = opened.err().map(|error| error.to_string());
    // Which of many names it is.
    assert!(error.is_some_and(|said| said.contains("nnn") && said.contains("256 bytes")));
    for workers in [0, 1_025] {
        let opened = queue_on(&clock).workers(workers).open_in_memory(&disk);
        assert!(
            matches!(opened, Err(OpenError::InvalidConfig { .. })),
            "{workers}"
        );
    }
    let twice = queue_on(&clock)
        .register(Call::echo())
        .register(Call::echo());
    let twice = twice.open_in_memory(&disk);
    assert!(matches!(twice, Err(OpenError::DuplicateOperation { .. })));
    // None of them has touched the disk.
    assert_eq!(disk.commits(), 0);
}

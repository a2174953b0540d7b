//! Exactly-once items: their writes and their outcome are one.

use crate::harness::{
    Bystander, Call, Door, Ends, Log, Post, SUMS, Tested, add, eventually, fresh, never, outcomes,
    outputs, queue_on, sum,
};
use batchwright::limits::{PAYLOAD_BYTES, TABLE_KEY_BYTES, TABLE_VALUE_BYTES};
use batchwright::{
    Context, ExactlyOnce, Failure, KeyRange, Operation, Outcome, ReadError, RetryPolicy, State,
    Table, TableError,
};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

#[test]
fn no_update_is_lost_between_batches_that_run_at_once() -> Tested {
    let (disk, clock) = fresh();
    let post = Post::new(|n, cx| add(cx, if n % 2 == 0 { "even" } else { "odd" }, n));
    let queue = queue_on(&clock)
        .workers(4)
        .register(post)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    thread::scope(|scope| -> Tested {
        let submitters: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| -> Result<(), String> {
                    for _ in 0..3 {
                        let batch = queue.submit::<Post>(0..500).map_err(|e| e.to_string())?;
                        queue.submit::<Call>(0..50).map_err(|e| e.to_string())?;
                        batch.wait().map_err(|e| e.to_string())?;
                    }
                    Ok(())
                })
            })
            .collect();
        for submitter in submitters {
            submitter.join().map_err(|_| "a submitter panicked")??;
        }
        Ok(())
    })?;
    assert_eq!(
        sum(&queue, "even")?,
        12 * (0..500).filter(|n| n % 2 == 0).sum::<u64>()
    );
    assert_eq!(
        sum(&queue, "odd")?,
        12 * (0..500).filter(|n| n % 2 == 1).sum::<u64>()
    );
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn an_item_that_fails_or_panics_leaves_no_write_and_its_neighbours_do() -> Tested {
    let (disk, clock) = fresh();
    let post = Post::new(|n, cx| {
        let sum = add(cx, "all", n)?;
        match n {
            10 => Err(Failure::permanent("no", "refused after writing")),
            100 => panic!("after writing"),
            _ => Ok(sum),
        }
    });
    let queue = queue_on(&clock).register(post).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Post>([1, 10, 2, 100, 4])?;
    let status = batch.ends()?.status;
    assert_eq!((status.succeeded, status.failed), (3, 2));
    let sums: Vec<_> = outcomes(&batch)?
        .into_iter()
        .filter_map(|o| o.outcome.into_output())
        .collect();
    assert_eq!(sums, [1, 3, 7]);
    assert_eq!(sum(&queue, "all")?, 7);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn items_start_in_item_order_and_see_what_those_before_them_wrote() -> Tested {
    let (disk, clock) = fresh();
    let log = Log::new();
    let ran = log.clone();
    let post = Post::new(move |n, cx| {
        ran.push(n);
        add(cx, "all", n)
    });
    let queue = queue_on(&clock)
        .workers(4)
        .register(post)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Post>(0..1_000)?;
    batch.ends()?;
    assert_eq!(log.entries(), (0..1_000).collect::<Vec<_>>());
    let running: Vec<u64> = (0..1_000).map(|n| (0..=n).sum()).collect();
    assert_eq!(outputs(&batch)?, running);
    bystander.assert_unchanged(&queue);
    Ok(())
}

const NAMES: Table<str, u64> = Table::new("names");
const NUMBERS: Table<i64, String> = Table::new("numbers");

/// Sees a table as a whole, and changes some of it.
struct Survey;

impl Operation for Survey {
    const NAME: &'static str = "survey";
    type Item = u64;
    type Output = Vec<(String, u64)>;
    type Guarantee = ExactlyOnce;

    fn run(&self, n: u64, cx: &mut Context<ExactlyOnce>) -> Result<Self::Output, Failure> {
        match n {
            0 => {
                for (name, value) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
                    cx.put(&NAMES, name, &value)?;
                }
            }
            1 => {
                cx.remove(&NAMES, "b")?;
                cx.put(&NAMES, "c", &33)?;
                cx.put(&NAMES, "bb", &22)?;
            }
            2 => {
                cx.remove(&NAMES, "a")?;
                cx.put(&NAMES, "b", &222)?;
                cx.put(&NUMBERS, &-5, &"minus five".to_owned())?;
                let seen: Vec<_> = cx.range(&NAMES, "b".."c")?.collect::<Result<_, _>>()?;
                return if seen == [("b".to_owned(), 222), ("bb".to_owned(), 22)] {
                    Err(Failure::permanent("seen", "as it should be"))
                } else {
                    Err(Failure::permanent("unseen", format!("{seen:?}")))
                };
            }
            _ => {}
        }
        Ok(cx.range(&NAMES, ..)?.collect::<Result<_, _>>()?)
    }
}

#[test]
fn a_range_shows_pending_writes_over_stored_rows() -> Tested {
    // In one batch all is pending, as long as it is one slice; in batches of one all is stored.
    for together in [true, false] {
        let (disk, clock) = fresh();
        let queue = queue_on(&clock).register(Survey).open_to_drain(&disk)?;
        let bystander = Bystander::enter_drained(&queue)?;
        let mut seen = Vec::new();
        let batches = if together {
            vec![vec![0, 1, 2, 3]]
        } else {
            (0..4).map(|n| vec![n]).collect()
        };
        for items in batches {
            let batch = queue.submit::<Survey>(items)?;
            queue.drain()?;
            seen.extend(outcomes(&batch)?.into_iter().map(|o| o.outcome));
        }
        let rows = |rows: &[(&str, u64)]| {
            let rows = rows.iter().map(|(name, n)| ((*name).to_owned(), *n));
            rows.collect::<Vec<_>>()
        };
        let first = rows(&[("a", 1), ("b", 2), ("c", 3), ("d", 4)]);
        let second = rows(&[("a", 1), ("bb", 22), ("c", 33), ("d", 4)]);
        assert_eq!(seen[0], Outcome::Succeeded(first));
        assert_eq!(seen[1], Outcome::Succeeded(second.clone()));
        let failure = seen[2].failure().ok_or("it did not fail")?;
        assert_eq!(failure.code, "seen", "{}", failure.message);
        assert_eq!(seen[3], Outcome::Succeeded(second.clone()));
        let stored = queue.read(|t| t.range(&NAMES, ..).collect::<Result<Vec<_>, _>>())?;
        assert_eq!(stored, second);
        let prefixed = queue.read(|t| {
            let rows = t.range(&NAMES, KeyRange::<str>::prefix("b"));
            rows.collect::<Result<Vec<_>, _>>()
        })?;
        assert_eq!(prefixed, rows(&[("bb", 22)]));
        assert_eq!(queue.read(|t| t.get(&NUMBERS, &-5))?, None);
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn nobody_sees_a_write_or_an_outcome_before_it_is_durable() -> Tested {
    for cut in [false, true] {
        let (disk, clock) = fresh();
        let door = Door::new();
        let at = door.clone();
        let post = Post::new(move |n, cx| {
            at.pass();
            add(cx, "all", n)
        });
        let queue = queue_on(&clock).register(post).open_in_memory(&disk)?;
        let bystander = Bystander::enter(&queue)?;
        let batch = queue.submit::<Post>([7])?;
        door.wait_for(1);
        let held = disk.hold_commits();
        door.open();
        assert!(held.wait_for_commit());
        let status = batch.status()?;
        assert_eq!((status.state, status.succeeded), (State::Running, 0));
        let (sender, read) = mpsc::channel();
        let reader = queue.clone();
        let reading = thread::spawn(move || {
            let _ = sender.send(reader.read(|t| t.get(&SUMS, "all")));
        });
        if cut {
            disk.cut_power();
            let seen = read.recv()?;
            assert!(matches!(seen, Err(ReadError::Failed { .. })), "{seen:?}");
            reading.join().map_err(|_| "the reader panicked")?;
            drop(held);
            let queue = queue_on(&clock).open_in_memory(&disk)?;
            assert_eq!(sum(&queue, "all")?, 0);
            assert_eq!(outcomes(&queue.batch(batch.id())?)?, []);
            bystander.assert_unchanged(&queue);
        } else {
            never(|| read.try_recv().is_ok());
            drop(held);
            assert_eq!(read.recv()??, Some(7));
            assert_eq!(batch.ends()?.status.succeeded, 1);
            bystander.assert_unchanged(&queue);
        }
    }
    Ok(())
}

#[test]
fn after_a_crash_at_any_commit_every_success_counts_once() -> Tested {
    for crash_at in 0..12 {
        let (disk, clock) = fresh();
        let post = || {
            let post = Post::new(|n, cx| {
                let sum = add(cx, "all", n)?;
                if n % 3 == 0 && cx.attempt() == 1 {
                    return Err(Failure::retryable("third", "again"));
                }
                Ok(sum)
            });
            post.retry(RetryPolicy::exponential(2, Duration::ZERO))
        };
        let queue = queue_on(&clock).register(post()).open_in_memory(&disk)?;
        let bystander = Bystander::enter(&queue)?;
        let before = disk.commits();
        let submitter = queue.clone();
        let submitted = thread::spawn(move || {
            (0..3)
                .map(|_| submitter.submit::<Post>(0..100).map(|b| b.id()))
                .collect::<Vec<_>>()
        });
        // Wherever it is by then: the disk sees to it that it is between two commits.
        eventually(|| disk.commits() >= before + crash_at || submitted.is_finished());
        disk.cut_power();
        let submitted = submitted.join().map_err(|_| "the submitter panicked")?;
        let queue = queue_on(&clock).register(post()).open_in_memory(&disk)?;
        let mut succeeded = 0;
        for status in queue.batches(Default::default()) {
            let id = status?.id;
            if bystander.ids().contains(&id) {
                continue;
            }
            assert_eq!(queue.batch(id)?.ends()?.status.succeeded, 100);
            succeeded += 1;
        }
        let acknowledged = submitted.iter().filter(|answer| answer.is_ok()).count() as u64;
        assert!(succeeded >= acknowledged, "{succeeded} of {acknowledged}");
        assert_eq!(sum(&queue, "all")?, succeeded * (0..100).sum::<u64>());
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

struct Large;

impl Operation for Large {
    const NAME: &'static str = "sized";
    type Item = usize;
    type Output = String;
    type Guarantee = ExactlyOnce;

    /// An output of so many bytes of JSON.
    fn run(&self, bytes: usize, cx: &mut Context<ExactlyOnce>) -> Result<String, Failure> {
        add(cx, "all", 1)?;
        Ok("x".repeat(bytes - 2))
    }
}

#[test]
fn an_output_over_the_limit_fails_its_item_and_undoes_its_writes() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock).register(Large).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Large>([PAYLOAD_BYTES, PAYLOAD_BYTES + 1, 2])?;
    let report = batch.ends()?;
    assert_eq!(report.failures.get(Failure::INVALID_OUTPUT), Some(&1));
    let outcomes = outcomes(&batch)?;
    assert_eq!(
        outcomes[0]
            .outcome
            .clone()
            .into_output()
            .map(|text| text.len() + 2),
        Some(PAYLOAD_BYTES)
    );
    assert!(!outcomes[1].outcome.is_success());
    assert_eq!(sum(&queue, "all")?, 2);
    bystander.assert_unchanged(&queue);
    Ok(())
}

const TEXTS: Table<str, String> = Table::new("texts");

#[test]
fn a_row_over_the_limits_is_the_items_failure_and_the_queue_goes_on() -> Tested {
    let (disk, clock) = fresh();
    let post = Post::new(|n, cx| {
        add(cx, "all", 1)?;
        let long = |bytes: usize| "k".repeat(bytes);
        match n {
            0 => cx.put(&TEXTS, &long(TABLE_KEY_BYTES + 1), &String::new())?,
            1 => cx.put(&TEXTS, "v", &long(TABLE_VALUE_BYTES - 1))?,
            2 => drop(cx.get(&TEXTS, &long(TABLE_KEY_BYTES + 1))?),
            3 => cx.remove(&TEXTS, &long(TABLE_KEY_BYTES + 1))?,
            // What fits.
            4 => cx.put(&TEXTS, &long(TABLE_KEY_BYTES), &long(TABLE_VALUE_BYTES - 2))?,
            // The handler may make nothing of it.
            _ => {
                let refused = cx.put(&TEXTS, "v", &long(TABLE_VALUE_BYTES - 1));
                let large = matches!(refused, Err(TableError::ValueTooLarge { .. }));
                return Ok(u64::from(large));
            }
        }
        Ok(n)
    });
    let queue = queue_on(&clock).register(post).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Post>(0..6)?;
    let report = batch.ends()?;
    assert_eq!(report.failures.get("table_error"), Some(&4));
    assert_eq!(report.status.succeeded, 2);
    let last = outcomes(&batch)?.pop().ok_or("no outcomes")?;
    assert_eq!(last.outcome, Outcome::Succeeded(1));
    assert_eq!(sum(&queue, "all")?, 2);
    let rows = queue.read(|t| t.range(&TEXTS, ..).collect::<Result<Vec<_>, _>>())?;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].1.len(), TABLE_VALUE_BYTES - 2);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_read_sees_all_of_a_commit_or_nothing_of_it() -> Tested {
    let (disk, clock) = fresh();
    let post = Post::new(|n, cx| {
        // Two rows that are always equal.
        add(cx, "left", n)?;
        add(cx, "right", n)
    });
    let queue = queue_on(&clock).register(post).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Post>((0..1_000).map(|_| 1))?;
    let mut last = 0;
    while !batch.status()?.state.has_ended() {
        let (left, right) = queue.read(|t| Ok((t.get(&SUMS, "left")?, t.get(&SUMS, "right")?)))?;
        assert_eq!(left, right);
        let left = left.unwrap_or(0);
        assert!(left >= last, "{left} after {last}");
        last = left;
    }
    assert_eq!(sum(&queue, "left")?, 1_000);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_row_is_read_as_it_is_however_it_was_written_last() -> Tested {
    let (disk, clock) = fresh();
    // What an item does: reads and adds 1, sets without reading, removes without reading, or reads.
    let post = Post::new(|n, cx| match n {
        1 => add(cx, "all", 1),
        0 => {
            cx.remove(&SUMS, "all")?;
            Ok(0)
        }
        2 => Ok(cx.get(&SUMS, "all")?.unwrap_or(0)),
        _ => {
            cx.put(&SUMS, "all", &n)?;
            Ok(n)
        }
    });
    let queue = queue_on(&clock).register(post).open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let mut expected = 0;
    // Each a slice and a commit of its own; and every pair of neighbours.
    for n in [
        1, 1, 100, 1, 2, 0, 2, 1, 0, 1, 1, 0, 100, 2, 100, 0, 0, 2, 100, 100, 1, 2, 2, 1,
    ] {
        expected = match n {
            1 => expected + 1,
            2 => expected,
            _ => n,
        };
        let batch = queue.submit::<Post>([n])?;
        queue.drain()?;
        assert_eq!(outputs(&batch)?, [expected], "after {n}");
        assert_eq!(sum(&queue, "all")?, expected);
    }
    bystander.assert_unchanged(&queue);
    drop(queue);
    // Every row is counted here, and compared with the sums that the commits kept.
    disk.cut_power();
    queue_on(&clock).open_in_memory(&disk)?;
    Ok(())
}

//! Items, outputs and rows that JSON makes trouble with, and handlers that overdo it.

use crate::harness::{AMPLE, Bystander, Call, Tested, fresh, outcomes, outputs, queue_on};
use batchwright::limits::{ITEM_WRITES_BYTES, TABLE_VALUE_BYTES, TABLES};
use batchwright::{
    AtLeastOnce, Context, ExactlyOnce, Failure, Operation, ReadError, State, SubmitError,
    SubmitOptions, Table, TableError,
};
use std::collections::HashMap;

/// Gives every item back.
struct Echo<T>(std::marker::PhantomData<fn() -> T>);

fn echo<T>() -> Echo<T> {
    Echo(std::marker::PhantomData)
}

impl<T> Operation for Echo<T>
where
    T: serde::Serialize + serde::de::DeserializeOwned + 'static,
{
    const NAME: &'static str = "echo";
    type Item = T;
    type Output = T;
    type Guarantee = AtLeastOnce;

    fn run(&self, item: T, _: &mut Context<AtLeastOnce>) -> Result<T, Failure> {
        Ok(item)
    }
}

#[test]
fn floats_come_back_as_they_went_in() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(echo::<f64>())
        .open_in_memory(&disk)?;
    // Spread over the exponents, with all bits of the mantissa in use.
    let items: Vec<f64> = (1..1_000u64)
        .map(|n| f64::from_bits(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 1))
        .filter(|float| float.is_finite())
        .collect();
    let batch = queue.submit::<Echo<f64>>(items.clone())?;
    batch.wait()?;
    assert_eq!(outputs(&batch)?, items);
    Ok(())
}

#[test]
fn an_item_that_cannot_be_read_back_fails_and_holds_up_nobody() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(echo::<f64>())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Echo<f64>>([1.5, f64::NAN, 2.5])?;
    let report = batch.wait()?;
    assert_eq!(report.status.state, State::Completed);
    assert_eq!(report.failures.get(Failure::UNREADABLE_ITEM), Some(&1));
    assert!(outcomes(&batch)?[2].outcome.is_success());
    assert_eq!(
        queue.submit::<Echo<f64>>([1.0])?.wait()?.status.succeeded,
        1
    );
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn large_integers_that_differ_are_different_items_under_one_key() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(echo::<u128>())
        .open_in_memory(&disk)?;
    let options = || SubmitOptions::new().idempotency_key("k");
    let first = queue.submit_with::<Echo<u128>>([1 << 100], options())?;
    let other = queue.submit_with::<Echo<u128>>([(1 << 100) + 1], options());
    let batch = first.id();
    assert_eq!(
        other.map(|b| b.id()),
        Err(SubmitError::KeyConflict { batch })
    );
    Ok(())
}

#[test]
fn the_order_of_a_hash_map_does_not_make_other_items() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(echo::<HashMap<String, u32>>())
        .open_in_memory(&disk)?;
    // Every map has its own random order.
    let map = || (0..50).map(|n| (format!("member {n}"), n)).collect();
    let submit = || {
        let options = SubmitOptions::new().idempotency_key("k");
        queue.submit_with::<Echo<HashMap<String, u32>>>([map()], options)
    };
    assert_eq!(submit()?.id(), submit()?.id());
    Ok(())
}

/// A panic's payload that panics when it is dropped.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("and again");
    }
}

#[test]
fn a_panic_whose_payload_panics_costs_one_item() -> Tested {
    let (disk, clock) = fresh();
    let call = Call::new(|n, _| match n {
        13 => std::panic::panic_any(Grenade),
        n => Ok(n),
    });
    let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let report = queue.submit::<Call>(0..100)?.wait()?;
    assert_eq!((report.status.succeeded, report.status.failed), (99, 1));
    bystander.assert_unchanged(&queue);
    queue.shutdown(AMPLE)?;
    Ok(())
}

const LARGE: Table<u64, String> = Table::new("large");

/// Writes as many rows as the item says.
struct Hoard;

impl Operation for Hoard {
    const NAME: &'static str = "hoard";
    type Item = u64;
    type Output = ();
    type Guarantee = ExactlyOnce;

    fn run(&self, rows: u64, cx: &mut Context<ExactlyOnce>) -> Result<(), Failure> {
        let value = "x".repeat(TABLE_VALUE_BYTES - 2);
        for row in 0..rows {
            cx.put(&LARGE, &row, &value)?;
        }
        Ok(())
    }
}

#[test]
fn an_item_that_writes_too_much_fails_and_writes_nothing() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock).register(Hoard).open_in_memory(&disk)?;
    let too_many = (ITEM_WRITES_BYTES / TABLE_VALUE_BYTES) as u64 + 1;
    let report = queue.submit::<Hoard>([too_many])?.wait()?;
    assert_eq!(report.failures.get(Failure::TABLE_ERROR), Some(&1));
    assert_eq!(
        queue.read(|tables| Ok(tables.range(&LARGE, ..).count()))?,
        0
    );
    let report = queue.submit::<Hoard>([3])?.wait()?;
    assert_eq!(report.status.succeeded, 1);
    assert_eq!(
        queue.read(|tables| Ok(tables.range(&LARGE, ..).count()))?,
        3
    );
    Ok(())
}

const RATES: Table<str, f64> = Table::new("rates");

#[test]
fn a_row_with_a_float_that_is_no_number_cannot_be_read_and_can_be_replaced() -> Tested {
    let (disk, clock) = fresh();
    let set = |rate: Option<f64>, cx: &mut Context<ExactlyOnce>| {
        cx.put(&RATES, "eur", &rate.unwrap_or(f64::NAN))?;
        Ok(())
    };
    let queue = queue_on(&clock)
        .register_fn("set", set)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let report = queue.submit_named("set", [None::<f64>])?.wait()?;
    assert_eq!(report.status.succeeded, 1);
    let read = queue.read(|tables| tables.get(&RATES, "eur"));
    let undecodable = |error| matches!(error, ReadError::Table(TableError::Undecodable { table, .. }) if table == "rates");
    assert!(read.is_err_and(undecodable));
    queue.submit_named("set", [Some(1.5)])?.wait()?;
    assert_eq!(queue.read(|tables| tables.get(&RATES, "eur"))?, Some(1.5));
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// Writes to the table that the item names, and fails after that when it is asked to.
struct Spread(Vec<Table<u64, u64>>);

impl Operation for Spread {
    const NAME: &'static str = "spread";
    type Item = (usize, bool);
    type Output = ();
    type Guarantee = ExactlyOnce;

    fn run(
        &self,
        (table, fails): (usize, bool),
        cx: &mut Context<ExactlyOnce>,
    ) -> Result<(), Failure> {
        cx.put(&self.0[table], &0, &0)?;
        if fails {
            return Err(Failure::permanent("asked", "it was asked to fail"));
        }
        Ok(())
    }
}

#[test]
fn a_table_too_many_is_an_items_failure() -> Tested {
    let (disk, clock) = fresh();
    let tables = || {
        (0..=TABLES)
            .map(|n| Table::new(Box::leak(format!("table {n}").into_boxed_str())))
            .collect()
    };
    let open = || {
        queue_on(&clock)
            .register(Spread(tables()))
            .open_in_memory(&disk)
    };
    let queue = open()?;
    // Tables of items that fail do not come to be.
    let report = queue
        .submit::<Spread>((0..=TABLES).map(|n| (n, true)))?
        .wait()?;
    assert_eq!(report.failures.get("asked"), Some(&(TABLES as u64 + 1)));
    let report = queue
        .submit::<Spread>((0..=TABLES).map(|n| (n, false)))?
        .wait()?;
    assert_eq!(
        (report.status.succeeded, report.status.failed),
        (TABLES as u64, 1)
    );
    queue.shutdown(AMPLE)?;
    // The store's tables count after a reopen too.
    let report = open()?
        .submit::<Spread>([(0, false), (TABLES, false)])?
        .wait()?;
    assert_eq!((report.status.succeeded, report.status.failed), (1, 1));
    Ok(())
}

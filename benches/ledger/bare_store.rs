//! The same rows into the storage engine alone, in as many groups, each synced as the engine does.
//!
//! The rows are read from the store that the ledger left: transactions and accounts, keys and values as they are.
//! An account is written once for each group with a transaction of it. (Its value is the last one; the
//! earlier ones were a few bytes shorter.) The batches' own rows are left out: their items and outcomes are what the
//! ledger's run has to do besides.

use crate::Measured;
use crate::cashbacks::Run;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::time::Instant;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What is read of a transaction: whose it is, and its number.
#[derive(Deserialize)]
struct Transaction {
    c: String,
    g: u64,
}

/// A row's JSON comes after a version and a checksum.
const FRAMING_BYTES: usize = 9;

fn open(dir: &Path) -> Measured<sled::Db> {
    // As the engine does.
    Ok(sled::Config::new()
        .path(dir)
        .segment_size(8 << 20)
        .mode(sled::Mode::LowSpace)
        .flush_every_ms(Some(500))
        .cache_capacity(64 << 20)
        .open()?)
}

/// Items per second.
pub(crate) fn run(dir: &Path, run: &Run) -> Measured<f64> {
    let (transactions, accounts) = rows(&dir.join("store"))?;
    if transactions.len() as u64 != run.items {
        return Err(format!("{} transactions are stored", transactions.len()).into());
    }
    let groups = run.commits.max(1);
    let per_group = run.items.div_ceil(groups).max(1);

    let bare = dir.join("bare");
    let db = open(&bare)?;
    let data = File::open(bare.join("db"))?;
    let started = Instant::now();
    for group in transactions.chunks(usize::try_from(per_group)?) {
        let mut batch = sled::Batch::default();
        let mut touched = BTreeSet::new();
        for (customer, key, value) in group {
            batch.insert(key.as_slice(), value.as_slice());
            touched.insert(customer);
        }
        for customer in touched {
            let (key, value) = accounts
                .get_key_value(customer)
                .ok_or("an account is missing")?;
            batch.insert(key.as_slice(), value.as_slice());
        }
        db.apply_batch(batch)?;
        db.flush()?;
        data.sync_data()?;
    }
    Ok(run.items as f64 / started.elapsed().as_secs_f64())
}

type Sorted = Vec<(Vec<u8>, Vec<u8>, Vec<u8>)>;

/// Transactions in their order, each with its account's key; and the accounts.
fn rows(store: &Path) -> Measured<(Sorted, Rows)> {
    let db = open(store)?;
    let table = |name: &str| {
        let mut prefix = vec![b't', u8::try_from(name.len()).unwrap_or(u8::MAX)];
        prefix.extend(name.as_bytes());
        prefix
    };
    let account_prefix = table("loyalty.accounts");
    let mut accounts = Rows::new();
    for row in db.scan_prefix(&account_prefix) {
        let (key, value) = row?;
        accounts.insert(key.to_vec(), value.to_vec());
    }
    let mut transactions = Vec::new();
    for row in db.scan_prefix(table("loyalty.transactions")) {
        let (key, value) = row?;
        let transaction: Transaction = serde_json::from_slice(&value[FRAMING_BYTES..])?;
        let customer = [&account_prefix[..], transaction.c.as_bytes()].concat();
        transactions.push((transaction.g, (customer, key.to_vec(), value.to_vec())));
    }
    transactions.sort_by_key(|(number, _)| *number);
    Ok((
        transactions.into_iter().map(|(_, row)| row).collect(),
        accounts,
    ))
}

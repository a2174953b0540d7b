//! `demo`: a made-up data set through all ten operations, and an audit at the end.

mod data_set;
mod report;

use crate::arguments::Global;
use crate::ending::Ending;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::operation_kind::LedgerOperation;
use crate::progress::{Progress, say};
use crate::store::Store;
use crate::summary::Summary;
use crate::work::{wait_for_all, work};
use batchwright::loyalty::{
    self, Adjustment, Balance, BalanceOutput, Cashback, Customers, Events, Hold, OrderTransactions,
    Orders, Redeem, Refund,
};
use batchwright::{Batch, Queue};
use data_set::DataSet;
use report::{Expected, Report, Step};
use std::env;
use std::io::Write;
use std::time::{Instant, SystemTime};

pub(crate) fn demo(global: &Global, customers: u32, out: &mut dyn Write) -> Result<Ending, Error> {
    let interrupt = Interrupt::listen()?;
    // Removed when it is dropped, also when the demo is interrupted.
    let temporary = match &global.store {
        Some(_) => None,
        None => Some(tempfile::tempdir().map_err(|source| Error::Unwritable {
            path: env::temp_dir(),
            source,
        })?),
    };
    let store = match &temporary {
        Some(dir) => Store::in_dir(dir.path().to_owned(), global)?,
        None => Store::of(global)?,
    };
    let data = DataSet::new(customers);
    let began = SystemTime::now();
    let queue = store.work_or_create()?;
    let worked = work(&queue, &interrupt, |queue| {
        Demo {
            queue,
            data: &data,
            progress: Progress::of(data.items(), "working"),
            began,
            steps: Vec::new(),
        }
        .run(&store)
    })?;
    drop(queue);
    let Some(report) = worked else {
        say(if temporary.is_some() {
            "interrupted; the temporary store is removed"
        } else {
            "interrupted; the same command goes on"
        });
        return Ok(Ending::Interrupted);
    };
    if report.is_nothing_new() {
        say("this data set was in the store before, and nothing was changed");
    }
    report.write(global.json, out)?;
    Ok(report.ending())
}

struct Demo<'a> {
    queue: &'a Queue,
    data: &'a DataSet,
    progress: Progress,
    began: SystemTime,
    steps: Vec<Step>,
}

impl Demo<'_> {
    /// Each step uses what the steps before have left.
    fn run(mut self, store: &Store) -> Result<Report, Error> {
        let data = self.data;
        self.step::<Customers>(data.customers(), Expected::NOTHING)?;
        self.step::<Cashback>(data.purchases(), Expected::NOTHING)?;
        self.step::<Adjustment>(data.adjustments(), Expected::NOTHING)?;
        let holds = self.step::<Hold>(data.holds(), Expected::NOTHING)?;
        let references = hold_references(&holds)?;
        self.step::<Orders>(data.orders(&references), Expected::NOTHING)?;
        self.step::<Redeem>(data.redemptions(), data.expected_of_redemptions())?;
        self.step::<Refund>(data.refunds(), Expected::NOTHING)?;
        self.step::<Events>(data.events(), Expected::NOTHING)?;
        self.step::<OrderTransactions>(data.order_ids(), Expected::NOTHING)?;
        self.step::<Balance>(data.balances(), Expected::NOTHING)?;
        self.progress.finish();
        let balances = self.balances(store)?;
        let audit = loyalty::audit(self.queue)?;
        Ok(Report {
            steps: self.steps,
            balances,
            audit,
        })
    }

    fn step<O: LedgerOperation>(
        &mut self,
        items: impl Iterator<Item = O::Item>,
        expected: Expected,
    ) -> Result<Vec<Batch<O>>, Error> {
        let clock = Instant::now();
        let mut count = 0;
        let items = items.inspect(|_| {
            count += 1;
            self.progress.advance();
        });
        let import = self.queue.import::<O>(&self.data.import_key(), items)?;
        if !import.deleted.is_empty() {
            // What came of them, on which the next steps depend, is no longer known.
            return Err(Error::DemoPruned);
        }
        // The bar has counted them when they were stored.
        let unseen = Progress::hidden();
        let reports = wait_for_all(&import.batches, &unseen)?;
        let summary = Summary::new(O::NAME, count, &import.batches, &reports, self.began)?;
        self.steps.push(Step {
            summary: summary.took(clock.elapsed()),
            expected,
        });
        Ok(import.batches)
    }

    fn balances(&self, store: &Store) -> Result<Vec<BalanceOutput>, Error> {
        let mut balances = Vec::new();
        for customer in self.data.shown_customers() {
            balances.extend(loyalty::balance(self.queue, &store.program, &customer)?);
        }
        Ok(balances)
    }
}

/// What the holds are called; empty for those that were not made.
fn hold_references(holds: &[Batch<Hold>]) -> Result<Vec<String>, Error> {
    let mut references = Vec::new();
    for batch in holds {
        for outcome in batch.outcomes()? {
            let output = outcome?.outcome.into_output();
            references.push(output.map_or_else(String::new, |hold| hold.hold_reference));
        }
    }
    Ok(references)
}

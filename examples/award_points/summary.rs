//! What is printed in the end.

use crate::award_points::{AwardPoints, BALANCES};
use crate::error::Error;
use batchwright::{Operation, Queue, Report};
use indicatif::HumanCount;
use serde::Serialize;
use std::cmp::Reverse;
use std::io::{self, Write};
use std::time::Duration;

#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// Batches, items and how they ended: of this file, in whichever run that was.
    batches: u64,
    items: u64,
    succeeded: u64,
    pub(crate) failed: u64,
    /// What this run took, and how many items it ran in each of them.
    seconds: f64,
    items_per_second: f64,
    /// All that is in the store, from other files, too.
    points_total: u128,
    customers: u64,
    #[serde(skip)]
    items_this_run: u64,
    #[serde(skip)]
    largest_balances: Vec<(String, u64)>,
}

impl Summary {
    pub(crate) fn new(queue: &Queue, reports: &[Report], took: Duration) -> Result<Self, Error> {
        let items_this_run = items_this_run(queue)?;
        let seconds = took.as_secs_f64();

        let mut balances: Vec<(String, u64)> =
            queue.read(|tables| tables.range(&BALANCES, ..).collect())?;
        let points_total = balances.iter().map(|(_, points)| u128::from(*points)).sum();
        let customers = balances.len() as u64;
        balances.sort_by_key(|(_, points)| Reverse(*points));
        balances.truncate(5);

        Ok(Self {
            batches: reports.len() as u64,
            items: reports.iter().map(|report| report.status.total).sum(),
            succeeded: reports.iter().map(|report| report.status.succeeded).sum(),
            failed: reports.iter().map(|report| report.status.failed).sum(),
            seconds,
            items_per_second: items_this_run as f64 / seconds,
            points_total,
            customers,
            items_this_run,
            largest_balances: balances,
        })
    }

    pub(crate) fn write_json(&self, mut out: impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut out, self)?;
        writeln!(out)
    }

    pub(crate) fn write_text(&self, mut out: impl Write) -> io::Result<()> {
        let n = HumanCount;
        let (items, batches) = (n(self.items), n(self.batches));
        writeln!(out, "{items} purchases in {batches} batches")?;
        writeln!(
            out,
            "  {} succeeded, {} failed",
            n(self.succeeded),
            n(self.failed)
        )?;
        let (ran, seconds) = (n(self.items_this_run), self.seconds);
        let per_second = n(self.items_per_second as u64);
        writeln!(
            out,
            "  {ran} of them in this run, in {seconds:.2} s ({per_second} a second)"
        )?;
        let (points, customers) = (grouped(self.points_total), n(self.customers));
        writeln!(
            out,
            "{points} points for {customers} customers; the largest balances:"
        )?;
        for (customer, points) in &self.largest_balances {
            writeln!(out, "  {customer:<12} {:>12}", n(*points).to_string())?;
        }
        Ok(())
    }
}

/// Items that ran since the queue was opened. The others had their outcome from an earlier run.
fn items_this_run(queue: &Queue) -> Result<u64, Error> {
    let stats = queue.stats()?;
    let ours = stats
        .operations
        .iter()
        .find(|ours| ours.name == AwardPoints::NAME);
    Ok(ours.map_or(0, |ours| ours.succeeded + ours.failed))
}

fn grouped(points: u128) -> String {
    u64::try_from(points).map_or_else(|_| points.to_string(), |n| HumanCount(n).to_string())
}

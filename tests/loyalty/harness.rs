//! What the tests of the contract share: a shop with its programme, a clock and a disk, and short words for what is
//! done there.

use batchwright::loyalty::{
    self, Adjustment, AdjustmentItem, BalanceOutput, Cashback, CashbackConfigurations,
    CashbackItem, Entry, Money, Original, Program, Redeem, RedeemItem, Time,
};
use batchwright::testing::{Assertions, DrainedQueue, ManualClock, MemoryDisk};
use batchwright::{
    Batch, Builder, Context, ExactlyOnce, Failure, InvalidItem, Operation, Queue, SubmitError,
    Table,
};
use serde::Serialize;
use serde_json::Value;
use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) type Tested = Result<(), Box<dyn Error>>;

/// Where the clock of a new shop stands.
pub(crate) const NOW: &str = "2025-03-14T10:00:00Z";
const NOW_S: u64 = 1_741_946_400;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The ledger's rows as they are stored.
pub(crate) const ACCOUNTS: Table<str, Value> = Table::new("loyalty.accounts");
pub(crate) const TRANSACTIONS: Table<str, Value> = Table::new("loyalty.transactions");

/// An entry's kind, points, balance before and after.
pub(crate) type Move = (String, i64, i64, i64);

/// The number of the item `index` of batch `batch` in the ledger.
pub(crate) fn number(batch: u64, index: u64) -> u64 {
    batch * 65_536 + index
}

pub(crate) fn time(text: &str) -> Time {
    text.parse()
        .unwrap_or_else(|_| unreachable!("{text} is a time"))
}

/// When the clock of a new shop starts.
pub(crate) fn now() -> Time {
    time(NOW)
}

/// The instant `text` as the clock has it.
pub(crate) fn instant(text: &str) -> SystemTime {
    let instant: Option<jiff::Timestamp> = text.parse().ok();
    let ms = instant.and_then(|instant| u64::try_from(instant.as_millisecond()).ok());
    let ms = ms.unwrap_or_else(|| unreachable!("{text} is a time after 1970"));
    UNIX_EPOCH + Duration::from_millis(ms)
}

pub(crate) fn money(text: &str) -> Money {
    text.parse()
        .unwrap_or_else(|_| unreachable!("{text} is an amount"))
}

/// A queue with the ten operations, in memory, that runs when the test says so.
pub(crate) struct Shop {
    pub(crate) disk: MemoryDisk,
    pub(crate) clock: ManualClock,
    pub(crate) program: Program,
    pub(crate) queue: DrainedQueue,
}

impl Shop {
    /// With the default programme: a point a unit, worth a tenth of it, at once and for ever.
    pub(crate) fn open() -> Result<Self, Box<dyn Error>> {
        Self::with(|_| {})
    }

    /// With the default programme, changed.
    pub(crate) fn with(change: impl FnOnce(&mut Program)) -> Result<Self, Box<dyn Error>> {
        let mut program = Program::default();
        change(&mut program);
        let disk = MemoryDisk::new();
        let clock = ManualClock::at(UNIX_EPOCH + Duration::from_secs(NOW_S));
        let queue = queue_of(&disk, &clock, &program)?;
        Ok(Self {
            disk,
            clock,
            program,
            queue,
        })
    }

    /// Cuts the power, and opens what is on the disk.
    pub(crate) fn restart(&mut self) -> Tested {
        self.disk.cut_power();
        self.queue = queue_of(&self.disk, &self.clock, &self.program)?;
        Ok(())
    }

    /// Goes on with a changed programme.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Program)) -> Tested {
        change(&mut self.program);
        self.restart()
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    pub(crate) fn at(&self, text: &str) {
        self.clock.set(instant(text));
    }

    /// Submits items in JSON and runs them.
    pub(crate) fn json<O: Operation>(&self, items: &str) -> Result<Batch<O>, Box<dyn Error>> {
        let batch = self.queue.submit_json(O::NAME, items)?.typed::<O>()?;
        self.queue.drain()?;
        Ok(batch)
    }

    /// Submits items and runs them.
    pub(crate) fn run<O: Operation>(
        &self,
        items: impl IntoIterator<Item = O::Item>,
    ) -> Result<Batch<O>, Box<dyn Error>> {
        let batch = self.queue.submit::<O>(items)?;
        self.queue.drain()?;
        Ok(batch)
    }

    /// The output of the one item in JSON, as JSON.
    #[track_caller]
    pub(crate) fn output<O: Operation>(&self, item: &str) -> String
    where
        O::Output: Serialize,
    {
        let batch = self.json::<O>(&format!("[{item}]"));
        let batch = batch.unwrap_or_else(|error| unreachable!("{item}: {error}"));
        to_json(&batch.assert_succeeded(0))
    }

    /// The one item in JSON is accepted, and fails with this code and field; nothing of the ledger changes.
    #[track_caller]
    pub(crate) fn fails<O: Operation>(&self, item: &str, code: &str, field: &str) -> Failure {
        let before = self.rows();
        let batch = self.json::<O>(&format!("[{item}]"));
        let batch = batch.unwrap_or_else(|error| unreachable!("{item}: {error}"));
        let failure = batch.assert_failed(0, code);
        assert_eq!(failure.field.as_deref(), Some(field), "{failure}");
        assert!(!failure.retryable, "{failure}");
        assert_eq!(self.rows(), before, "a failed item has changed the ledger");
        failure
    }

    /// The items in JSON are refused, and nothing is stored.
    #[track_caller]
    pub(crate) fn refused<O: Operation>(&self, items: &str) -> Vec<InvalidItem> {
        let commits = self.disk.commits();
        let answer = self.queue.submit_json(O::NAME, items);
        let refused = match answer.map(|batch| batch.id()) {
            Err(SubmitError::Invalid { items }) => items,
            other => unreachable!("{items} was answered with {other:?}"),
        };
        assert_eq!(self.disk.commits(), commits, "something was stored");
        refused
    }

    /// The one item in JSON is refused with this code and field; the message is returned.
    #[track_caller]
    pub(crate) fn refuses<O: Operation>(&self, item: &str, code: &str, field: &str) -> String {
        let refused = self.refused::<O>(&format!("[{item}]"));
        assert_eq!(refused.len(), 1, "{refused:?}");
        let failure = &refused[0].failure;
        let found = (failure.code.as_str(), failure.field.as_deref());
        assert_eq!(found, (code, Some(field)), "{item}: {failure}");
        failure.message.clone()
    }

    pub(crate) fn balance(&self, customer: &str) -> Option<BalanceOutput> {
        let balance = loyalty::balance(&self.queue, &self.program, customer);
        balance.unwrap_or_else(|error| unreachable!("{error}"))
    }

    /// Total, available and pending points.
    #[track_caller]
    pub(crate) fn points(&self, customer: &str) -> (i64, i64, i64) {
        let balance = self.balance(customer);
        let balance = balance.unwrap_or_else(|| unreachable!("there is no customer {customer}"));
        (
            balance.total_points_balance,
            balance.available_points_balance,
            balance.pending_points,
        )
    }

    /// The customer's entries, oldest first.
    pub(crate) fn entries(&self, customer: &str) -> Result<Vec<Entry>, Box<dyn Error>> {
        let history =
            loyalty::history(&self.queue, customer)?.ok_or("there is no such customer")?;
        let mut entries = history.collect::<Result<Vec<_>, _>>()?;
        entries.reverse();
        Ok(entries)
    }

    /// What moved the customer's points, oldest first.
    pub(crate) fn moves(&self, customer: &str) -> Result<Vec<Move>, Box<dyn Error>> {
        let entries = self.entries(customer)?.into_iter();
        let shown = |e: Entry| {
            let kind = e.kind.to_string();
            (kind, e.points, e.balance_before, e.balance_after)
        };
        Ok(entries.map(shown).collect())
    }

    /// Every row of the ledger.
    pub(crate) fn rows(&self) -> Vec<(String, Value)> {
        rows_of(&self.queue).unwrap_or_else(|error| unreachable!("{error}"))
    }

    #[track_caller]
    pub(crate) fn assert_audited(&self) {
        let audit = loyalty::audit(&self.queue).unwrap_or_else(|error| unreachable!("{error}"));
        assert!(audit.is_clean() && audit.strays_counted, "{audit}");
    }

    /// Awards points: a unit of money for each, available at once.
    #[track_caller]
    pub(crate) fn earn(&self, customer: &str, id: &str, amount: &str) {
        let now = Time::from(self.queue.now());
        let item = CashbackItem::new(customer, id, now, money(amount));
        self.succeeds::<Cashback>(item);
    }

    /// Awards points that stay pending for so many days.
    #[track_caller]
    pub(crate) fn earn_later(&self, customer: &str, id: &str, amount: &str, days: u32) {
        let now = Time::from(self.queue.now());
        let mut item = CashbackItem::new(customer, id, now, money(amount));
        item.configurations = Some(CashbackConfigurations::return_window(days));
        self.succeeds::<Cashback>(item);
    }

    /// Adds points that expire with the end of the day so many days from now.
    #[track_caller]
    pub(crate) fn add(&self, customer: &str, points: i64, expiry_after: Option<u32>) {
        let mut item = AdjustmentItem::points(customer, points);
        item.expiry_after = expiry_after;
        self.succeeds::<Adjustment>(item);
    }

    #[track_caller]
    pub(crate) fn redeem(&self, customer: &str, id: &str, points: i64) {
        let now = Time::from(self.queue.now());
        self.succeeds::<Redeem>(RedeemItem::points(customer, id, now, points));
    }

    /// The output of the item.
    #[track_caller]
    pub(crate) fn succeeds<O: Operation>(&self, item: O::Item) -> O::Output {
        let batch = self.run::<O>([item]);
        let batch = batch.unwrap_or_else(|error| unreachable!("{error}"));
        batch.assert_succeeded(0)
    }
}

fn queue_of(
    disk: &MemoryDisk,
    clock: &ManualClock,
    program: &Program,
) -> Result<DrainedQueue, Box<dyn Error>> {
    Ok(builder(clock, program)?.open_to_drain(disk)?)
}

/// All ten operations, and [`Write`].
pub(crate) fn builder(clock: &ManualClock, program: &Program) -> Result<Builder, Box<dyn Error>> {
    let builder = Queue::builder("unused")
        .clock(clock.clone())
        .register(Write);
    Ok(loyalty::register_all(builder, program)?)
}

fn rows_of(queue: &Queue) -> Result<Vec<(String, Value)>, Box<dyn Error>> {
    let mut rows = Vec::new();
    for table in ["accounts", "transactions", "profiles", "events", "orders"] {
        let name = format!("loyalty.{table}");
        let table: Table<str, Value> = Table::new(match table {
            "accounts" => "loyalty.accounts",
            "transactions" => "loyalty.transactions",
            "profiles" => "loyalty.profiles",
            "events" => "loyalty.events",
            _ => "loyalty.orders",
        });
        let stored =
            queue.read(|tables| tables.range(&table, ..).collect::<Result<Vec<_>, _>>())?;
        rows.extend(
            stored
                .into_iter()
                .map(|(key, row)| (format!("{name} {key}"), row)),
        );
    }
    Ok(rows)
}

/// Writes a row, or removes one: what nobody but the ledger should do to its tables.
pub(crate) struct Write;

impl Operation for Write {
    const NAME: &'static str = "write";
    /// `accounts` or `transactions`, the key, and the row.
    type Item = (String, String, Option<Value>);
    type Output = ();
    type Guarantee = ExactlyOnce;

    fn run(
        &self,
        (table, key, row): Self::Item,
        cx: &mut Context<ExactlyOnce>,
    ) -> Result<(), Failure> {
        let table = match table.as_str() {
            "accounts" => &ACCOUNTS,
            _ => &TRANSACTIONS,
        };
        match row {
            Some(row) => cx.put(table, key.as_str(), &row)?,
            None => cx.remove(table, key.as_str())?,
        }
        Ok(())
    }
}

pub(crate) fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| unreachable!("{error}"))
}

/// Where the failure of a duplicate says that the id was used: batch, index, number, and whether for the same.
#[track_caller]
pub(crate) fn original(failure: &Failure) -> (u64, u64, u64, bool) {
    let original = Original::of(failure);
    let original = original.unwrap_or_else(|| unreachable!("{failure:?} is of no duplicate"));
    (
        original.job_id,
        original.index,
        original.gameball_transaction_id,
        original.same_content,
    )
}

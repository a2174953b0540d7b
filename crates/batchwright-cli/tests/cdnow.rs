//! Real purchases through customers, cashback, redeem and balance, with the program killed again and again: at the
//! end every customer has what a few lines of arithmetic outside of the engine say, to the point.
//!
//! The data is not in the repository: without it (`../shared/data/cdnow_purchases.txt`) the test says that it skips.
//! It takes the first purchases only, `BATCHWRIGHT_PURCHASES` as many as it says: there are 69,659.

use batchwright::loyalty::{self, Balance, Program};
use batchwright::{BatchFilter, Operation, Queue};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

type Tested<T = ()> = Result<T, Box<dyn Error>>;

/// So many purchases, unless more are asked for.
const PURCHASES: usize = 20_000;

/// How often the program is killed, over all four files.
const KILLS: u32 = 20;

/// What `batchwright` exits with when items failed.
const ITEMS_FAILED: i32 = 4;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/cdnow_purchases.txt")
}

/// The purchases to take, a line each.
fn purchases() -> Tested<String> {
    let count = match std::env::var("BATCHWRIGHT_PURCHASES") {
        Ok(count) => count.parse()?,
        Err(_) => PURCHASES,
    };
    let all = fs::read_to_string(data())?;
    Ok(all.split_inclusive('\n').take(count).collect())
}

/// What a customer must have in the end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Expected {
    earned: i64,
    available: i64,
}

/// A point for each whole unit, purchase by purchase; a hundred are taken where there are as many.
fn expected(purchases: &str) -> Tested<BTreeMap<String, Expected>> {
    let mut customers: BTreeMap<String, Expected> = BTreeMap::new();
    for line in purchases.lines() {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let [customer, _, _, amount] = fields[..] else {
            return Err(format!("no purchase: {line:?}").into());
        };
        let units: i64 = amount.split('.').next().unwrap_or(amount).parse()?;
        customers.entry(customer.to_owned()).or_default().earned += units;
    }
    for customer in customers.values_mut() {
        let taken = if customer.earned >= 100 { 100 } else { 0 };
        customer.available = customer.earned - taken;
    }
    Ok(customers)
}

/// A file for `operation`, made of the purchases by the example's script; `None` where there is no awk.
fn convert(operation: &str, purchases: &Path, dir: &Path) -> Tested<Option<PathBuf>> {
    let path = dir.join(format!("{operation}.csv"));
    let converted = Command::new("awk")
        .args(["-v", &format!("operation={operation}"), "-f"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cdnow.awk"))
        .arg(purchases)
        .stdout(File::create(&path)?)
        .status();
    match converted {
        Ok(status) if status.success() => Ok(Some(path)),
        Ok(status) => Err(format!("awk ended with {status}").into()),
        Err(_) => Ok(None),
    }
}

fn program(store: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batchwright"));
    command.arg("--store").arg(store).stdin(Stdio::null());
    command
}

/// Runs the file to its end; the program's exit code.
fn run(store: &Path, operation: &str, file: &Path) -> Tested<i32> {
    let output = program(store).args(["run", operation]).arg(file).output()?;
    let code = output.status.code();
    code.ok_or_else(|| format!("{operation}: {}", output.status).into())
}

/// Runs the file and kills the program after `life`; its exit code when it came to an end before.
fn run_and_kill(store: &Path, operation: &str, file: &Path, life: Duration) -> Tested<Option<i32>> {
    let mut child = program(store)
        .args(["run", operation])
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // Nothing to wait for: the kill is to come at any moment.
    thread::sleep(life);
    child.kill()?;
    Ok(child.wait()?.code())
}

#[test]
fn real_purchases_come_to_the_point_though_the_program_is_killed_twenty_times() -> Tested {
    if !data().exists() {
        writeln!(stderr(), "skipped: the data set is not here")?;
        return Ok(());
    }
    let purchases = purchases()?;
    let expected = expected(&purchases)?;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let file = dir.path().join("purchases.txt");
    fs::write(&file, purchases)?;
    let purchases = file;
    let store = dir.path().join("store");
    let few = expected.values().any(|customer| customer.earned < 100);
    assert!(few, "some redemptions are to fail");

    let mut killed = 0;
    for (operation, share, code) in [
        ("customers", 4, 0),
        ("cashback", 10, 0),
        ("redeem", 4, ITEMS_FAILED),
        ("balance", 2, 0),
    ] {
        let Some(file) = convert(operation, &purchases, dir.path())? else {
            writeln!(stderr(), "skipped: there is no awk")?;
            return Ok(());
        };
        for n in 1..=share {
            // From the first reading of the file to far into the work.
            let mut life = Duration::from_millis(25 + 150 * n * n / share);
            // A fast machine may have come to the end before: killed while it looks whether there is more to do.
            while let Some(ended) = run_and_kill(&store, operation, &file, life)? {
                assert_eq!(ended, code, "{operation}");
                life /= 2;
            }
            killed += 1;
        }
        // The same command goes on, and once more changes nothing.
        assert_eq!(run(&store, operation, &file)?, code, "{operation}");
        assert_eq!(
            run(&store, operation, &file)?,
            code,
            "{operation} once more"
        );
    }
    assert_eq!(killed, KILLS);

    let audit = program(&store).arg("audit").output()?;
    assert!(
        audit.status.success(),
        "{}",
        String::from_utf8_lossy(&audit.stdout)
    );
    assert_balances(&store, &expected)
}

/// Balances as the ledger has them, and as the batches of `balance` said.
fn assert_balances(store: &Path, expected: &BTreeMap<String, Expected>) -> Tested {
    let program = Program::default();
    let builder = Queue::builder(store).without_workers();
    let queue = loyalty::register_all(builder, &program)?.open()?;
    for (customer, expected) in expected {
        let balance =
            loyalty::balance(&queue, &program, customer)?.ok_or("a customer is missing")?;
        let found = Expected {
            earned: balance.total_earned_points,
            available: balance.available_points_balance,
        };
        assert_eq!(found, *expected, "customer {customer}");
    }
    let mut told = 0;
    for status in queue.batches(BatchFilter::all().operation(Balance::NAME)) {
        for item in queue.batch(status?.id)?.typed::<Balance>()?.outcomes()? {
            let balance = item?.outcome.into_output().ok_or("a balance failed")?;
            let expected = &expected[&balance.customer_id];
            assert_eq!(balance.available_points_balance, expected.available);
            told += 1;
        }
    }
    assert_eq!(told, expected.len());
    Ok(())
}

use batchwright::{Context, ExactlyOnce, Failure, Operation, Table};

const TOTALS: Table<str, u64> = Table::new("totals");

struct Count;

impl Operation for Count {
    const NAME: &'static str = "count";
    type Item = String;
    type Output = u64;
    type Guarantee = ExactlyOnce;

    fn run(&self, name: String, cx: &mut Context<ExactlyOnce>) -> Result<u64, Failure> {
        let total = cx.get(&TOTALS, name.as_str())?.unwrap_or(0) + 1;
        cx.put(&TOTALS, &name, &total)?;
        Ok(total)
    }
}

fn main() {}

use batchwright::{AtLeastOnce, Context, Failure, Operation};

struct Announce;

impl Operation for Announce {
    const NAME: &'static str = "announce";
    type Item = String;
    type Output = String;
    type Guarantee = AtLeastOnce;

    fn run(&self, text: String, cx: &mut Context<AtLeastOnce>) -> Result<String, Failure> {
        Ok(format!("{}: {text}", cx.queue().is_some()))
    }
}

fn main() {}

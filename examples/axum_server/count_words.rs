//! The operation that the server offers.

use batchwright::{AtLeastOnce, Context, Failure, Operation};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Text {
    text: String,
}

pub(crate) struct CountWords;

impl Operation for CountWords {
    const NAME: &'static str = "count-words";
    type Item = Text;
    type Output = usize;
    type Guarantee = AtLeastOnce;

    fn run(&self, item: Text, _cx: &mut Context<AtLeastOnce>) -> Result<usize, Failure> {
        Ok(item.text.split_whitespace().count())
    }

    fn validate(&self, item: &Text) -> Result<(), Failure> {
        if item.text.trim().is_empty() {
            return Err(Failure::permanent("empty", "there is no text").field("text"));
        }
        Ok(())
    }
}

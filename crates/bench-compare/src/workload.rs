//! The load that every engine gets: what an item is, what its handler does, how many there are.
//!
//! Every engine does the same work around its store: it encodes an item when it is submitted, decodes it in a worker,
//! and encodes the output there.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) batches: usize,
    pub(crate) items_per_batch: usize,
    pub(crate) workers: usize,
    /// Threads that submit; each waits for one submission to be durable before it starts its next.
    pub(crate) submitters: usize,
}

impl Load {
    pub(crate) fn items(&self) -> usize {
        self.batches * self.items_per_batch
    }

    /// Every batch of the load, dealt out to the submitters in turn.
    pub(crate) fn batches_by_submitter(&self) -> Vec<Vec<Vec<Purchase>>> {
        let mut dealt = vec![Vec::new(); self.submitters];
        for batch in 0..self.batches {
            let first = batch * self.items_per_batch;
            let items = (first..first + self.items_per_batch)
                .map(Purchase::numbered)
                .collect();
            dealt[batch % self.submitters].push(items);
        }
        dealt
    }
}

/// An item: 120 bytes of JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Purchase {
    customer: String,
    receipt: String,
    amount_cents: u32,
    day: u32,
    shop: String,
}

/// An output: 60 bytes of JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Award {
    receipt: String,
    points: u32,
}

impl Purchase {
    fn numbered(number: usize) -> Self {
        Self {
            customer: format!("C{:07}", number % 10_000),
            receipt: format!("R{number:030}"),
            amount_cents: 10_000 + (number % 90_000) as u32,
            day: 20_260_101,
            shop: format!("S{:06}", number % 500),
        }
    }

    /// The handler: as good as nothing, so that the engines are what is measured.
    pub(crate) fn award(self) -> Award {
        Award {
            receipt: self.receipt,
            points: self.amount_cents,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_120_bytes_and_outputs_60() -> Result<(), serde_json::Error> {
        for number in [0, 1, 99_999, 999_999_999] {
            let item = Purchase::numbered(number);
            assert_eq!(serde_json::to_vec(&item)?.len(), 120);
            assert_eq!(serde_json::to_vec(&item.award())?.len(), 60);
        }
        Ok(())
    }

    #[test]
    fn every_batch_is_dealt_to_exactly_one_submitter() {
        let load = Load {
            batches: 7,
            items_per_batch: 3,
            workers: 1,
            submitters: 2,
        };
        let dealt = load.batches_by_submitter();
        assert_eq!(dealt.iter().map(Vec::len).collect::<Vec<_>>(), [4, 3]);
        let mut receipts: Vec<_> = dealt
            .into_iter()
            .flatten()
            .flatten()
            .map(|item| item.receipt)
            .collect();
        receipts.sort();
        receipts.dedup();
        assert_eq!(receipts.len(), load.items());
    }
}

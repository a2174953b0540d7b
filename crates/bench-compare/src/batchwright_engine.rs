//! batchwright itself, through its public API as an application uses it.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use batchwright::{AtLeastOnce, Context, Failure, Operation, Queue};

use crate::engine::{Engine, Measurement, RoundError};
use crate::workload::{Award, Load, Purchase};

pub(crate) struct Batchwright;

struct AwardPoints;

impl Operation for AwardPoints {
    const NAME: &'static str = "award-points";
    type Item = Purchase;
    type Output = Award;
    type Guarantee = AtLeastOnce;

    fn run(&self, item: Purchase, _: &mut Context<AtLeastOnce>) -> Result<Award, Failure> {
        Ok(item.award())
    }
}

impl Engine for Batchwright {
    fn name(&self) -> &'static str {
        "batchwright"
    }

    fn run(&self, dir: &Path, load: &Load) -> Result<Measurement, RoundError> {
        let queue = Queue::builder(dir.join("store"))
            .workers(load.workers)
            .register(AwardPoints)
            .open()?;
        let queue = &queue;
        let batches = load.batches_by_submitter();

        let start = Instant::now();
        let submitted = thread::scope(|scope| {
            let submitters: Vec<_> = batches
                .into_iter()
                .map(|batches| {
                    scope.spawn(move || {
                        let submit = |items| queue.submit::<AwardPoints>(items);
                        batches
                            .into_iter()
                            .map(submit)
                            .collect::<Result<Vec<_>, _>>()
                    })
                })
                .collect();
            let mut submitted = Vec::with_capacity(load.batches);
            for submitter in submitters {
                submitted.extend(submitter.join().map_err(|_| "a submitter panicked")??);
            }
            Ok::<_, RoundError>(submitted)
        })?;
        for batch in &submitted {
            batch.wait()?;
        }
        let elapsed = start.elapsed();

        let mut succeeded = 0;
        for batch in &submitted {
            for outcome in batch.outcomes()? {
                succeeded += usize::from(outcome?.outcome.is_success());
            }
        }
        if succeeded != load.items() {
            return Err(format!("{succeeded} items succeeded instead of {}", load.items()).into());
        }
        queue.shutdown(Duration::from_secs(30))?;
        Ok(Measurement {
            items: load.items(),
            elapsed,
        })
    }
}

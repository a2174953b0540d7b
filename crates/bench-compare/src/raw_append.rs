//! Not a competitor but the machine's own speed: the same bytes appended to one file, synced once for each batch's
//! items and once for its outcomes. Absolute numbers differ several-fold between machines, and on one machine between
//! days; this line says what a result is to be held against.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use crate::engine::{Engine, Measurement, RoundError};
use crate::workload::Load;

pub(crate) struct RawAppend;

impl Engine for RawAppend {
    fn name(&self) -> &'static str {
        "raw append (the disk)"
    }

    fn run(&self, dir: &Path, load: &Load) -> Result<Measurement, RoundError> {
        let batches = load.batches_by_submitter();
        let path = dir.join("appended");
        let mut file = File::create_new(&path)?;
        let mut written = 0;
        let start = Instant::now();
        for items in batches.into_iter().flatten() {
            let (mut payloads, mut outputs) = (Vec::new(), Vec::new());
            for item in items {
                serde_json::to_writer(&mut payloads, &item)?;
                serde_json::to_writer(&mut outputs, &item.award())?;
            }
            for bytes in [payloads, outputs] {
                file.write_all(&bytes)?;
                file.sync_data()?;
                written += bytes.len();
            }
        }
        let elapsed = start.elapsed();
        let stored = path.metadata()?.len();
        if stored != written as u64 {
            return Err(format!("the file holds {stored} bytes, {written} were written").into());
        }
        Ok(Measurement {
            items: load.items(),
            elapsed,
        })
    }
}

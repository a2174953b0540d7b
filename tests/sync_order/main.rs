//! Watches the system calls of a process with strace: nothing is acknowledged before it is synced, and a
//! new store is on the disk before it has its name.
//!
//! Linux only. Where strace is missing or may not trace, the test says so and proves nothing.
#![cfg(target_os = "linux")]
#![allow(
    clippy::print_stdout,
    reason = "the evidence of a run is read by people"
)]

mod trace;

use batchwright::{AtLeastOnce, Context, ExactlyOnce, Failure, Operation, Queue, Table};
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use trace::Call;

type Tested<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const DIR: &str = "BATCHWRIGHT_SYNC_ORDER_DIR";

/// What the child says when it was told that `what` is durable. A line is one `write` in the trace.
fn say(what: &str) -> Tested {
    let line = format!("said: {what}\n");
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Waits in its handler until it may go on, then returns its item with another beginning.
struct Hold(Arc<(Mutex<bool>, Condvar)>);

impl Operation for Hold {
    const NAME: &'static str = "hold";
    type Item = String;
    type Output = String;
    type Guarantee = AtLeastOnce;

    fn run(&self, item: String, _cx: &mut Context<AtLeastOnce>) -> Result<String, Failure> {
        let (may_go, changed) = &*self.0;
        let held = may_go.lock().unwrap_or_else(PoisonError::into_inner);
        let held = changed.wait_while(held, |may_go| !*may_go);
        drop(held);
        Ok(item.replace("submitted", "succeeded"))
    }
}

const ROWS: Table<str, String> = Table::new("rows");

/// Writes its item to a table, with another beginning, under another one still.
struct Store;

impl Operation for Store {
    const NAME: &'static str = "store";
    type Item = String;
    type Output = ();
    type Guarantee = ExactlyOnce;

    fn run(&self, item: String, cx: &mut Context<ExactlyOnce>) -> Result<(), Failure> {
        let (key, row) = (row_key(&item), item.replace("submitted", "stored"));
        Ok(cx.put(&ROWS, &key, &row)?)
    }
}

fn row_key(item: &str) -> String {
    item.replace("submitted", "row of what was submitted")
}

/// The process that is watched; nothing when run as a test.
#[test]
fn child() -> Tested {
    let Some(dir) = std::env::var_os(DIR) else {
        return Ok(());
    };
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let queue = Queue::builder(PathBuf::from(dir))
        .workers(2)
        .register(Hold(Arc::clone(&gate)))
        .register(Store)
        .open()?;
    say("opened")?;

    // Alone: handlers wait, so that each request is a commit of its own, and the only one.
    let mut held = Vec::new();
    for number in 0..4 {
        let item = format!("<submitted alone {number}>");
        held.push(queue.submit::<Hold>([item.clone()])?);
        say(&item)?;
    }
    held[3].stop()?;
    say("stopped")?;
    held[3].resume()?;
    say("resumed")?;

    // Together: commits of several submitters and workers overlap with what is said.
    *gate.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    gate.1.notify_all();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                scope.spawn({
                    let queue = &queue;
                    move || submit_and_wait(queue, thread)
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Tested::Ok(())
    })?;
    queue.shutdown(Duration::from_secs(30))?;
    say("shut down")
}

fn submit_and_wait(queue: &Queue, thread: usize) -> Tested {
    for round in 0..8 {
        let name = format!("by {thread} in round {round}");
        let item = format!("<submitted {name}>");
        if round % 2 == 0 {
            let batch = queue.submit::<Hold>([item.clone()])?;
            say(&item)?;
            batch.wait()?;
            for outcome in batch.outcomes()? {
                say(&outcome?.outcome.into_output().unwrap_or_default())?;
            }
        } else {
            let batch = queue.submit::<Store>([item.clone()])?;
            say(&item)?;
            batch.wait()?;
            let row = queue.read(|tables| tables.get(&ROWS, &row_key(&item)))?;
            say(&row.unwrap_or_default())?;
        }
    }
    Ok(())
}

/// What the child should have said: its requests alone, two things for each batch together, and four more.
const SAID: usize = 4 + 2 * 3 * 8 + 4;

/// The calls of the child in `dir`; none where strace does not work.
fn watch_child(dir: &Path, output: &Path) -> Tested<Option<Vec<Call>>> {
    let strace = |arguments: &[&str], program: &Path| {
        let mut command = Command::new("strace");
        command.args(["-f", "-y"]).args(arguments).arg(program);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    let works = strace(&["-o", "/dev/null"], Path::new("true"))
        .stderr(Stdio::null())
        .status();
    if !works.is_ok_and(|status| status.success()) {
        println!("skipped: strace is not installed, or may not trace here");
        return Ok(None);
    }
    let calls = "trace=write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,fsync,fdatasync,\
                 sync_file_range,?rename,renameat,renameat2,?open,openat,?creat,?mkdir,mkdirat";
    let output_name = output.to_string_lossy();
    // Whole writes: what was written tells which commit it belongs to.
    let options = ["-s", "100000000", "-e", calls, "-o", &output_name];
    let status = strace(&options, &std::env::current_exe()?)
        .args(["--exact", "child", "--nocapture"])
        .env(DIR, dir)
        .status()?;
    if !status.success() {
        return Err(format!("the child ended with {status}").into());
    }
    let text = std::fs::read(output)?;
    Ok(Some(trace::parse(&String::from_utf8_lossy(&text))))
}

#[test]
fn nothing_is_acknowledged_before_it_is_synced() -> Tested {
    let scratch = tempfile::tempdir()?;
    let parent = scratch.path().canonicalize()?;
    let dir = parent.join("created/store-dir");
    let Some(calls) = watch_child(&dir, &parent.join("trace"))? else {
        return Ok(());
    };
    let trace = Trace {
        dir: dir.to_string_lossy().into_owned(),
        calls,
    };
    trace.check().map_err(|error| {
        let trace = scratch.keep().join("trace");
        format!("{error}; the trace is {}", trace.display()).into()
    })
}

struct Trace {
    dir: String,
    calls: Vec<Call>,
}

impl Trace {
    fn check(&self) -> Tested {
        self.check_creation()?;
        self.check_acknowledgements()?;
        self.check_seal()?;
        self.check_side_files()
    }

    fn data(&self) -> String {
        format!("{}/store/db", self.dir)
    }

    fn said(&self) -> Vec<&Call> {
        let said = self.calls.iter().filter(|call| call.is_write());
        said.filter(|call| call.contains("\"said: ")).collect()
    }

    fn said_what(&self, what: &str) -> Tested<&Call> {
        let text = format!("\"said: {what}\\n\"");
        let mut said = self.said().into_iter();
        Ok(said
            .find(|call| call.contains(&text))
            .ok_or_else(|| format!("{what:?} was not said"))?)
    }

    /// Whether `path` was synced after line `after` and before line `before`.
    fn is_synced(&self, path: &str, after: usize, before: usize) -> bool {
        self.calls.iter().any(|call| {
            call.is_sync() && call.path() == path && call.begun > after && call.ended < before
        })
    }

    /// That everything written to `path` before line `before` was synced by then.
    fn check_synced(&self, path: &str, before: usize, why: &str) -> Tested {
        let writes = self
            .calls
            .iter()
            .filter(|call| call.is_write() && call.path() == path && call.begun < before);
        let last = writes.map(|call| call.ended).max().unwrap_or(0);
        if last < before && self.is_synced(path, last, before) {
            return Ok(());
        }
        Err(format!(
            "{path} is not synced before {why} (line {}), last written in line {}",
            before + 1,
            last + 1
        )
        .into())
    }

    /// The store, its files and the seal are on the disk before they have their names, and the names
    /// before anybody is told.
    fn check_creation(&self) -> Tested {
        let dir = &self.dir;
        let at = |name: &str| format!("{dir}/{name}");
        let opened = self.said_what("opened")?.begun;
        for (new, name) in [("store.new", "store"), ("seal.new", "seal")] {
            let (new, name) = (at(new), at(name));
            let rename = self.calls.iter().find(|call| call.is_rename(&new, &name));
            let rename = rename.ok_or_else(|| format!("{new} was not renamed"))?;
            if !self.is_synced(dir, rename.ended, opened) {
                return Err(format!("{dir} is not synced after {name} got its name").into());
            }
            if name == at("seal") {
                self.check_synced(&new, rename.begun, "it is renamed")?;
                continue;
            }
            for file in ["db", "conf"] {
                self.check_synced(&format!("{new}/{file}"), rename.begun, "the rename")?;
            }
            for directory in [new.clone(), format!("{new}/blobs")] {
                let created = self
                    .calls
                    .iter()
                    .filter(|call| call.begun < rename.begun && call.creates_below(&directory));
                let last = created.map(|call| call.ended).max().unwrap_or(0);
                if !self.is_synced(&directory, last, rename.begun) {
                    return Err(format!("{directory} is not synced before the rename").into());
                }
            }
        }
        // The directory was created with its parent.
        let parents = Path::new(dir).ancestors().skip(1).take(2);
        for parent in parents.map(|parent| parent.to_string_lossy()) {
            if !self.is_synced(&parent, 0, opened) {
                return Err(format!("{parent} is not synced").into());
            }
        }
        Ok(())
    }

    fn check_acknowledgements(&self) -> Tested {
        let data = self.data();
        let together = self.said_what("resumed")?.ended;
        let said = self.said();
        if said.len() != SAID {
            return Err(format!("{} things were said, not {SAID}", said.len()).into());
        }
        for ack in &said {
            if ack.begun <= together && !ack.contains("opened") {
                self.check_synced(&data, ack.begun, &format!("{ack:?}"))?;
            }
            if ack.contains("<") && ack.contains(">\\n\"") {
                self.check_content_synced(ack)?;
            }
        }
        let count = |kind: fn(&Call) -> bool| {
            let calls = self.calls.iter();
            calls
                .filter(|call| kind(call) && call.path() == data)
                .count()
        };
        let (writes, syncs) = (count(Call::is_write), count(Call::is_sync));
        println!("{SAID} acknowledgements, {writes} writes and {syncs} syncs of store/db");
        Ok(())
    }

    /// That what is acknowledged was written and synced, whatever else was being written meanwhile. The
    /// first write of it is the commit's; later ones move it.
    fn check_content_synced(&self, ack: &Call) -> Tested {
        let data = self.data();
        let Some(what) = ack.text_between("said: ", "\\n") else {
            return Err(format!("nothing is said: {ack:?}").into());
        };
        let writes = self.calls.iter().filter(|call| {
            call.is_write() && call.path() == data && call.begun < ack.begun && call.contains(what)
        });
        let written = writes.map(|call| call.ended).min();
        let written = written.ok_or_else(|| format!("{what} was acknowledged and not written"))?;
        if written < ack.begun && self.is_synced(&data, written, ack.begun) {
            return Ok(());
        }
        Err(format!(
            "{what} was written in line {} and acknowledged in line {} without a sync between them",
            written + 1,
            ack.begun + 1
        )
        .into())
    }

    /// The seal must never know of more than the store has.
    fn check_seal(&self) -> Tested {
        let (data, seal) = (self.data(), format!("{}/seal", self.dir));
        let together = self.said_what("resumed")?.ended;
        let writes = self
            .calls
            .iter()
            .filter(|call| call.is_write() && call.path() == seal && call.begun < together);
        let mut sealed = 0;
        for write in writes {
            self.check_synced(&data, write.begun, "the seal is written")?;
            sealed += 1;
        }
        // Four submissions, a stop and a resume.
        if sealed < 6 {
            return Err(format!("the seal was written {sealed} times").into());
        }
        Ok(())
    }

    fn check_side_files(&self) -> Tested {
        for store in ["store.new", "store"] {
            let side_files = format!("{}/{store}/blobs", self.dir);
            for call in &self.calls {
                let below = call.path().starts_with(&format!("{side_files}/"));
                if (call.is_write() && below) || call.creates_below(&side_files) {
                    return Err(format!("something is written under blobs/: {call:?}").into());
                }
            }
        }
        Ok(())
    }
}

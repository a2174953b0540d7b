//! Starting the script with the recorder in it.

use crate::script;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

pub(crate) type Tested<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// After this long a process hangs. Nothing in it waits for anything longer than a commit that never ends.
const PATIENCE: Duration = Duration::from_secs(90);

/// How the script is to be run. Everything is below `scratch`: `watched/` with the store, logs, what was said.
#[derive(Debug, Clone)]
pub(crate) struct Run<'a> {
    pub(crate) scratch: &'a Path,
    /// Of the first batch.
    pub(crate) seed: u64,
    /// How often the queue is opened.
    pub(crate) sessions: u64,
    /// As the recorder takes it.
    pub(crate) fault: String,
    /// What the recorder pretends to do.
    pub(crate) lie: &'static str,
    pub(crate) hasty: bool,
    /// The fault ends with the first session.
    pub(crate) mended: bool,
    /// Address space that the process gets, in KiB.
    pub(crate) memory_kib: Option<u64>,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
    pub(crate) log: Vec<u8>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(scratch: &'a Path, seed: u64) -> Self {
        Self {
            scratch,
            seed,
            sessions: 2,
            fault: String::new(),
            lie: "",
            hasty: false,
            mended: false,
            memory_kib: None,
        }
    }

    pub(crate) fn watched(&self) -> PathBuf {
        self.scratch.join("watched")
    }

    pub(crate) fn store(&self) -> PathBuf {
        script::store_dir(&self.watched())
    }

    /// The variables that the process needs.
    pub(crate) fn variables(&self, log: &Path) -> Tested<Vec<(&'static str, String)>> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut variables = vec![
            ("LD_PRELOAD", text(&recorder()?)),
            ("DISK_FAULTS_DIR", text(&self.watched())),
            ("DISK_FAULTS_LOG", text(log)),
            ("DISK_FAULTS_FAULT", self.fault.clone()),
            ("DISK_FAULTS_LIE", self.lie.to_owned()),
            (script::SAID, text(&self.scratch.join("said"))),
            (script::DIR, text(&self.store())),
            (script::SEED, self.seed.to_string()),
            (script::SESSIONS, self.sessions.to_string()),
        ];
        let flags = [(self.hasty, script::HASTY), (self.mended, script::MENDED)];
        let set = flags.into_iter().filter(|(set, _)| *set);
        variables.extend(set.map(|(_, name)| (name, "1".to_owned())));
        Ok(variables)
    }

    /// Where the recorder writes.
    pub(crate) fn log(&self) -> PathBuf {
        self.scratch.join("log")
    }

    pub(crate) fn spawn(&self) -> Tested<Child> {
        std::fs::create_dir_all(self.watched())?;
        let program = std::env::current_exe()?;
        let mut command = match self.memory_kib {
            None => Command::new(program),
            Some(limit) => {
                let mut shell = Command::new("sh");
                let limited = format!("ulimit -v {limit} && exec \"$0\" \"$@\"");
                shell.arg("-c").arg(limited).arg(program);
                // The standard library hangs when it runs out of memory in the middle of a backtrace.
                shell.env("RUST_BACKTRACE", "0");
                shell
            }
        };
        let child = command
            .args(["--exact", "script", "--nocapture"])
            .envs(self.variables(&self.log())?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.scratch.join("stderr"))?)
            .spawn()?;
        Ok(child)
    }

    /// Runs the script to its end, whatever that is; an error when it hangs.
    pub(crate) fn run(&self) -> Tested<Ended> {
        let mut child = self.spawn()?;
        let since = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if since.elapsed() > PATIENCE {
                child.kill()?;
                child.wait()?;
                return Err(format!("the script hangs: {self:?}").into());
            }
            // Nobody can be waited for with a time limit.
            std::thread::sleep(Duration::from_millis(2));
        };
        let ended = Ended {
            status,
            stderr: String::from_utf8_lossy(&std::fs::read(self.scratch.join("stderr"))?)
                .into_owned(),
            log: std::fs::read(self.log())?,
        };
        std::fs::remove_file(self.log())?;
        Ok(ended)
    }
}

/// The library that cargo has built beside this program.
fn recorder() -> Tested<PathBuf> {
    let program = std::env::current_exe()?;
    let candidates = program.ancestors().skip(1).take(2);
    candidates
        .map(|directory| directory.join("libdisk_faults.so"))
        .find(|library| library.is_file())
        .ok_or_else(|| "the recorder is not beside this program".into())
}

/// A directory for stores and images, in memory where there is room: what is on a disk does not matter here.
pub(crate) fn scratch() -> Tested<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let named = |parent: &Path| {
        tempfile::Builder::new()
            .prefix("batchwright-faults-")
            .tempdir_in(parent)
    };
    if memory.is_dir()
        && let Ok(directory) = named(memory)
    {
        return Ok(directory);
    }
    Ok(named(&std::env::temp_dir())?)
}

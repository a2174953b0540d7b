//! What is watched, and the log of it.
//!
//! Invariants: the log is written with system calls only, never through a function that is stood in for; nothing
//! is called with the lock held that could come back here.

use crate::fault::{Action, Fault, Shape};
use crate::format::{Entry, Kind};
use libc::{c_int, c_long};
use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

static RECORDER: OnceLock<Option<Recorder>> = OnceLock::new();

/// The recorder of this process, if it was asked for one.
pub(crate) fn recorder() -> Option<&'static Recorder> {
    RECORDER.get_or_init(Recorder::from_environment).as_ref()
}

pub(crate) struct Recorder {
    directory: Vec<u8>,
    said: Vec<u8>,
    lies_about_data: bool,
    lies_about_directories: bool,
    counts_threads: bool,
    state: Mutex<State>,
}

struct State {
    log: c_int,
    buffer: Vec<u8>,
    /// Calls that have begun.
    begun: u64,
    under_way: u64,
    fault: Option<Fault>,
    open: HashMap<c_int, Open>,
    /// Inode and number of each page that the system has in its memory, since it was read or written here.
    pages: HashSet<(u64, i64)>,
}

/// The system's memory of files is divided like this.
const PAGE_BYTES: i64 = 4096;

#[derive(Clone)]
struct Open {
    path: Vec<u8>,
    is_directory: bool,
    inode: u64,
    /// A sync of the same file failed through another descriptor, and this one has not been told.
    owes_error: bool,
}

/// A descriptor as a call finds it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    No,
    Said,
    File,
    Directory,
}

/// A call on something that is watched.
pub(crate) struct Call<'a> {
    pub(crate) kind: Kind,
    pub(crate) fd: c_int,
    pub(crate) a: i64,
    pub(crate) b: i64,
    pub(crate) path: &'a [u8],
    pub(crate) data: &'a [u8],
    pub(crate) writes: bool,
    pub(crate) creates: bool,
}

impl<'a> Call<'a> {
    pub(crate) fn on(kind: Kind, fd: c_int) -> Self {
        Self {
            kind,
            fd,
            a: 0,
            b: 0,
            path: &[],
            data: &[],
            writes: false,
            creates: false,
        }
    }

    pub(crate) fn at(kind: Kind, path: &'a [u8]) -> Self {
        Self {
            path,
            ..Self::on(kind, -1)
        }
    }
}

impl Recorder {
    fn from_environment() -> Option<Self> {
        let bytes = |name: &str| std::env::var_os(name).map(|value| value.as_bytes().to_owned());
        let directory = bytes("DISK_FAULTS_DIR")?;
        let mut log_path = bytes("DISK_FAULTS_LOG")?;
        log_path.push(0);
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
        // SAFETY: the path ends with a zero and outlives the call.
        let log = unsafe {
            libc::syscall(
                libc::SYS_openat,
                libc::AT_FDCWD,
                log_path.as_ptr(),
                flags,
                0o600,
            )
        };
        let lie = std::env::var("DISK_FAULTS_LIE").unwrap_or_default();
        let fault = std::env::var("DISK_FAULTS_FAULT").ok();
        let fault = fault.and_then(|text| Fault::parse(&text));
        Some(Self {
            directory,
            said: bytes("DISK_FAULTS_SAID").unwrap_or_default(),
            lies_about_data: lie == "data-syncs",
            lies_about_directories: lie == "directory-syncs",
            counts_threads: fault.is_some_and(|fault| fault.is_of_threads()),
            state: Mutex::new(State {
                log: c_int::try_from(log).ok().filter(|log| *log >= 0)?,
                buffer: Vec::new(),
                begun: 0,
                under_way: 0,
                fault,
                open: HashMap::new(),
                pages: HashSet::new(),
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `fd` is.
    pub(crate) fn watched(&self, fd: c_int) -> Watched {
        match self.state().open.get(&fd) {
            None => Watched::No,
            Some(open) if open.path == self.said => Watched::Said,
            Some(open) if open.is_directory => Watched::Directory,
            Some(_) => Watched::File,
        }
    }

    /// The absolute path that a call means, if it is watched.
    pub(crate) fn resolve(&self, directory: c_int, path: &CStr) -> Option<Vec<u8>> {
        let path = path.to_bytes();
        let absolute = if path.starts_with(b"/") {
            path.to_owned()
        } else {
            let state = self.state();
            let directory = state.open.get(&directory)?;
            [&directory.path[..], b"/", path].concat()
        };
        let below = absolute
            .strip_prefix(&self.directory[..])
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
        (below || absolute == self.said).then_some(absolute)
    }

    /// Whether the path is not a file but the process's way of saying things.
    pub(crate) fn is_said(&self, path: &[u8]) -> bool {
        path == self.said
    }

    pub(crate) fn lies_about(&self, kind: Kind, watched: Watched) -> bool {
        (self.lies_about_data && kind == Kind::SyncData)
            || (self.lies_about_directories && watched == Watched::Directory)
    }

    /// Whether starts of threads are calls that may fail.
    pub(crate) fn counts_threads(&self) -> bool {
        self.counts_threads
    }

    pub(crate) fn opened(&self, fd: c_int, path: Vec<u8>, is_directory: bool, inode: u64) {
        let open = Open {
            path,
            is_directory,
            inode,
            owes_error: false,
        };
        self.state().open.insert(fd, open);
    }

    fn duplicated(state: &mut State, fd: c_int, second: c_int) {
        if let Some(open) = state.open.get(&fd).cloned() {
            state.open.insert(second, open);
        }
    }

    /// Puts into the log what the process says. `mended` ends the fault.
    pub(crate) fn say(&self, text: &[u8]) {
        let mut state = self.state();
        let call = Call {
            data: text,
            ..Call::on(Kind::Said, -1)
        };
        state.write(&call, 0);
        if text.starts_with(b"mended") {
            state.fault = None;
        }
    }

    /// Makes a call: `perform` does it, wholly or, when told `true`, half. Gives what the system gave, as a
    /// negative error number when it failed.
    pub(crate) fn make(&self, call: &Call, perform: impl FnOnce(bool) -> c_long) -> c_long {
        let (number, action) = self.begin(call);
        let (result, injected) = match action {
            Some(Action::Fail(errno) | Action::FailSync(errno) | Action::FailThread(errno)) => {
                (-c_long::from(errno), 1)
            }
            Some(Action::Shorten) => (perform(true), 1),
            _ => (perform(false), 0),
        };
        let mut state = self.state();
        state.under_way -= 1;
        state.remember(call, result);
        let ended = Call {
            a: result,
            b: injected,
            ..Call::on(Kind::Ended, call.fd)
        };
        state.write(&ended, number);
        if action == Some(Action::KillAfter) {
            die();
        }
        if call.kind == Kind::Duplicate
            && let Ok(second) = c_int::try_from(result)
            && second >= 0
        {
            Self::duplicated(&mut state, call.fd, second);
        }
        result
    }

    fn begin(&self, call: &Call) -> (u64, Option<Action>) {
        let mut state = self.state();
        let number = state.begun;
        let shape = Shape {
            kind: call.kind,
            bytes: call
                .data
                .len()
                .max(usize::try_from(call.b).unwrap_or_default()),
            writes: call.writes,
            creates: call.creates,
            remembered: call.kind == Kind::Read && state.remembers(call),
            under_way: state.under_way,
        };
        let mut action = Fault::strike(&mut state.fault, shape);
        if matches!(action, Some(Action::KillBefore | Action::KillQuiet)) {
            die();
        }
        state.begun += 1;
        state.under_way += 1;
        state.write(call, number);
        if call.kind == Kind::Close {
            // Before the system can give the number to somebody else.
            state.open.remove(&call.fd);
        }
        if matches!(call.kind, Kind::Sync | Kind::SyncData) {
            action = state.sync_errors(call.fd, action);
        }
        (number, action)
    }
}

impl State {
    fn remembers(&self, call: &Call) -> bool {
        let Some(open) = self.open.get(&call.fd) else {
            return false;
        };
        // `b` is the length, up to the end of the file.
        pages(call.a, call.b).all(|page| self.pages.contains(&(open.inode, page)))
    }

    fn remember(&mut self, call: &Call, result: c_long) {
        let bytes = match call.kind {
            Kind::Read | Kind::Write => result,
            _ => return,
        };
        if let Some(open) = self.open.get(&call.fd) {
            let inode = open.inode;
            self.pages
                .extend(pages(call.a, bytes).map(|page| (inode, page)));
        }
    }

    /// Linux tells each descriptor of a file once that a sync of it failed, whoever asked for that sync.
    fn sync_errors(&mut self, fd: c_int, mut action: Option<Action>) -> Option<Action> {
        let Some(open) = self.open.get_mut(&fd) else {
            return action;
        };
        let path = open.path.clone();
        if std::mem::take(&mut open.owes_error) && action.is_none() {
            action = Some(Action::Fail(libc::EIO));
        } else if matches!(action, Some(Action::Fail(_) | Action::FailSync(_))) {
            for (other, open) in &mut self.open {
                open.owes_error |= *other != fd && open.path == path;
            }
        }
        action
    }

    fn write(&mut self, call: &Call, number: u64) {
        self.buffer.clear();
        let entry = Entry {
            kind: call.kind,
            number,
            fd: call.fd,
            a: call.a,
            b: call.b,
            path: call.path,
            data: call.data,
        };
        entry.encode(&mut self.buffer);
        let mut rest = &self.buffer[..];
        while !rest.is_empty() {
            // SAFETY: the buffer outlives the call and is as long as said.
            let written =
                unsafe { libc::syscall(libc::SYS_write, self.log, rest.as_ptr(), rest.len()) };
            match usize::try_from(written) {
                Ok(written) if written > 0 => rest = &rest[written.min(rest.len())..],
                // Without a log there is nothing to test.
                _ => die(),
            }
        }
    }
}

/// The pages that so many bytes from `offset` on are on.
fn pages(offset: i64, bytes: i64) -> Range<i64> {
    if bytes <= 0 {
        return 0..0;
    }
    offset / PAGE_BYTES..(offset.saturating_add(bytes) - 1) / PAGE_BYTES + 1
}

/// As a kill from outside: nothing is unwound, flushed or closed.
fn die() -> ! {
    // SAFETY: no pointers are passed; neither call touches memory of ours.
    unsafe {
        libc::syscall(libc::SYS_kill, libc::getpid(), libc::SIGKILL);
        loop {
            libc::pause();
        }
    }
}

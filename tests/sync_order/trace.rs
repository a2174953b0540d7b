//! What strace wrote down: which system calls there were, and which of them were over before which began.

use std::collections::HashMap;

/// A system call.
#[derive(Debug)]
pub(crate) struct Call {
    name: String,
    arguments: String,
    /// Negative when it failed, none when it never returned.
    result: Option<i64>,
    /// Line numbers of the trace: calls of several threads may overlap.
    pub(crate) begun: usize,
    pub(crate) ended: usize,
}

impl Call {
    /// The file or directory that its first argument, a descriptor, is open on.
    pub(crate) fn path(&self) -> &str {
        let descriptor = self.arguments.split(", ").next().unwrap_or_default();
        let path = descriptor.split_once('<').map(|(_, path)| path);
        path.and_then(|path| path.strip_suffix('>'))
            .unwrap_or_default()
    }

    pub(crate) fn is_write(&self) -> bool {
        matches!(
            self.name.as_str(),
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" | "ftruncate" | "fallocate"
        )
    }

    /// Whether it made what was written durable.
    pub(crate) fn is_sync(&self) -> bool {
        matches!(self.name.as_str(), "fsync" | "fdatasync") && self.succeeded()
    }

    /// Whether it gave the file or directory `to` its name, which was `from`.
    pub(crate) fn is_rename(&self, from: &str, to: &str) -> bool {
        self.name.starts_with("rename")
            && self.succeeded()
            && self.arguments.contains(&format!("\"{from}\""))
            && self.arguments.contains(&format!("\"{to}\""))
    }

    /// Whether it may have made a new entry in a directory whose path begins with `path`.
    pub(crate) fn creates_below(&self, path: &str) -> bool {
        let creates = match self.name.as_str() {
            "openat" | "open" => self.arguments.contains("O_CREAT"),
            name => name.starts_with("rename") || name.starts_with("mkdir") || name == "creat",
        };
        creates && self.arguments.contains(&format!("\"{path}/"))
    }

    pub(crate) fn contains(&self, text: &str) -> bool {
        self.arguments.contains(text)
    }

    /// What stands between two texts in its arguments.
    pub(crate) fn text_between(&self, start: &str, end: &str) -> Option<&str> {
        let (_, rest) = self.arguments.split_once(start)?;
        rest.split_once(end).map(|(text, _)| text)
    }

    fn succeeded(&self) -> bool {
        self.result.is_some_and(|result| result >= 0)
    }
}

/// The calls in the output of `strace -f -y`, in the order of their beginnings.
pub(crate) fn parse(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: HashMap<&str, usize> = HashMap::new();
    for (line_number, line) in trace.lines().enumerate() {
        let Some((thread, what)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let what = what.trim_start();
        if let Some(resumed) = what.strip_prefix("<... ") {
            let Some((_, rest)) = resumed.split_once(" resumed>") else {
                continue;
            };
            if let Some(call) = unfinished.remove(thread).and_then(|at| calls.get_mut(at)) {
                let (arguments, result) = split_result(rest);
                call.arguments += arguments;
                call.result = result;
                call.ended = line_number;
            }
            continue;
        }
        // Signals and exits have no parenthesis after a name.
        let Some((name, rest)) = what.split_once('(') else {
            continue;
        };
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            continue;
        }
        let mut call = Call {
            name: name.to_owned(),
            arguments: String::new(),
            result: None,
            begun: line_number,
            ended: usize::MAX,
        };
        if let Some(arguments) = rest.strip_suffix(" <unfinished ...>") {
            call.arguments = arguments.to_owned();
            unfinished.insert(thread, calls.len());
        } else {
            let (arguments, result) = split_result(rest);
            call.arguments = arguments.to_owned();
            call.result = result;
            call.ended = line_number;
        }
        calls.push(call);
    }
    calls
}

/// `ARGUMENTS) = RESULT`, with whatever strace says of the result.
fn split_result(rest: &str) -> (&str, Option<i64>) {
    let Some((arguments, result)) = rest.rsplit_once(" = ") else {
        return (rest, None);
    };
    let digits = result.split(|c: char| c != '-' && !c.is_ascii_digit());
    let result = digits.into_iter().next().and_then(|d| d.parse().ok());
    (arguments.trim_end().trim_end_matches(')'), result)
}

#[test]
fn calls_of_several_threads_are_told_apart() {
    let calls = parse(concat!(
        "10  pwrite64(4</d/store/db>, \"a = b\"..., 5, 0 <unfinished ...>\n",
        "11  fdatasync(5</d/store/db>) = 0\n",
        "10  <... pwrite64 resumed>) = 5\n",
        "11  --- SIGCHLD {si_signo=SIGCHLD} ---\n",
        "11  rename(\"/d/store.new\", \"/d/store\") = -1 ENOENT (No such file or directory)\n",
        "11  openat(AT_FDCWD</>, \"/d/store/blobs/1\", O_RDWR|O_CREAT, 0666) = 7</d/store/blobs/1>\n",
        "11  fsync(5</d> <unfinished ...>\n",
        "11  +++ killed by SIGKILL +++\n",
    ));
    let [write, sync, rename, open, cut_off] = &calls[..] else {
        unreachable!("five calls and not {calls:#?}");
    };
    assert!(write.is_write() && write.path() == "/d/store/db" && write.contains("a = b"));
    assert!(sync.is_sync() && sync.path() == "/d/store/db");
    assert!(write.begun < sync.begun && sync.ended < write.ended);
    assert!(!rename.is_rename("/d/store.new", "/d/store"));
    assert!(open.creates_below("/d/store/blobs"));
    assert!(!cut_off.is_sync());
}

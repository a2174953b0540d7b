//! What the library leaves to the application: signals, panics, logs, the network, its standard streams.

use crate::child;
use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Mail, Post, Tested, add, eventually, queue_in,
};
use batchwright::testing::ManualClock;
use batchwright::{Failure, Queue};
use std::panic;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Does a bit of everything and shuts the queue down: items that succeed, fail, panic and are stopped,
/// tables, a reopen.
fn live_through(dir: &Path) -> Tested {
    let clock = ManualClock::new();
    let open = || {
        let call = Call::new(|n, _| match n {
            0 => Err(Failure::permanent("no", "not this one")),
            n => Ok(n),
        });
        queue_in(dir, &clock)
            .register(call)
            .register(Mail::new(|_, _| panic!("this one panics")))
            .register(Post::new(|n, cx| add(cx, "sum", n)))
            .open()
    };
    let queue: Queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>(0..100)?;
    let report = batch.ends()?;
    assert_eq!((report.status.succeeded, report.status.failed), (99, 1));
    assert_eq!(queue.submit::<Mail>([1])?.ends()?.status.failed, 1);
    assert_eq!(queue.submit::<Post>([1, 2])?.ends()?.status.succeeded, 2);
    assert!(queue.submit::<Post>([]).is_err());
    queue.shutdown(AMPLE)?;
    let queue = open()?;
    assert_eq!(queue.batch(batch.id())?.outcomes()?.count(), 100);
    bystander.assert_unchanged(&queue);
    drop(queue);
    Ok(())
}

/// The lines of a `status` file in `/proc` that are about signals, but for those that wait.
#[cfg(target_os = "linux")]
fn signal_masks(of: &str) -> Result<Vec<String>, std::io::Error> {
    let status = std::fs::read_to_string(format!("/proc/{of}/status"))?;
    let kinds = ["SigBlk:", "SigIgn:", "SigCgt:"];
    let lines = status
        .lines()
        .filter(|line| kinds.iter().any(|kind| line.starts_with(kind)));
    Ok(lines.map(str::to_owned).collect())
}

#[test]
#[cfg(target_os = "linux")]
fn signals_are_handled_ignored_and_blocked_as_before() -> Tested {
    child::plays("quiet::signals").map(drop)
}

pub(crate) fn signals(dir: &Path) -> Tested {
    #[cfg(target_os = "linux")]
    {
        let before = signal_masks("thread-self")?;
        assert_eq!(before.len(), 3);
        live_through(&dir.join("first"))?;
        assert_eq!(signal_masks("thread-self")?, before);
        let clock = ManualClock::new();
        let queue = queue_in(&dir.join("second"), &clock).open()?;
        // The queue's threads, like any others of the application, block what the opener blocks.
        // A thread that is just starting or ending blocks everything for a moment.
        let all_as_before = || -> std::io::Result<bool> {
            for thread in std::fs::read_dir("/proc/self/task")? {
                let id = thread?.file_name().to_string_lossy().into_owned();
                if signal_masks(&format!("self/task/{id}"))? != before {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        eventually(|| all_as_before().unwrap_or(false));
        drop(queue);
        assert_eq!(signal_masks("thread-self")?, before);
    }
    let _ = dir;
    Ok(())
}

#[test]
fn a_handlers_panic_reaches_the_applications_own_hook_once_and_the_hook_stays() -> Tested {
    child::plays("quiet::panic_hook").map(drop)
}

pub(crate) fn panic_hook(dir: &Path) -> Tested {
    static ONES: AtomicU32 = AtomicU32::new(0);
    static OTHERS: AtomicU32 = AtomicU32::new(0);
    panic::set_hook(Box::new(|info| {
        let text = info.payload().downcast_ref::<&str>();
        let known = text.is_some_and(|text| *text == "this one panics");
        let seen = if known { &ONES } else { &OTHERS };
        seen.fetch_add(1, Ordering::SeqCst);
    }));
    let seen = || (ONES.load(Ordering::SeqCst), OTHERS.load(Ordering::SeqCst));
    live_through(dir)?;
    let at_work = seen();
    let caught = panic::catch_unwind(|| panic!("this one panics"));
    let hook_is_ours = seen().0 == at_work.0 + 1;
    // The default hook prints; whatever goes wrong from here on should be seen.
    drop(panic::take_hook());
    assert_eq!(at_work, (1, 0));
    assert!(caught.is_err() && hook_is_ours);
    Ok(())
}

#[test]
fn the_place_of_the_global_logger_is_free() -> Tested {
    child::plays("quiet::logger").map(drop)
}

pub(crate) fn logger(dir: &Path) -> Tested {
    struct Silent;
    impl log::Log for Silent {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            false
        }
        fn log(&self, _: &log::Record<'_>) {}
        fn flush(&self) {}
    }
    let before = log::max_level();
    live_through(dir)?;
    assert_eq!(log::max_level(), before);
    // Works once in a process, for whoever is first.
    Ok(log::set_logger(&Silent).map_err(|error| error.to_string())?)
}

#[test]
#[cfg(target_os = "linux")]
fn no_socket_is_made() -> Tested {
    child::plays("quiet::sockets")?;
    let works = std::process::Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .stderr(std::process::Stdio::null())
        .status();
    if !works.is_ok_and(|status| status.success()) {
        println!("skipped in part: strace is not installed, or may not trace here");
        return Ok(());
    }
    let scratch = tempfile::tempdir()?;
    let trace = scratch.path().join("trace");
    let mut strace = std::process::Command::new("strace");
    strace
        .args(["-f", "-e", "trace=%network,openat", "-o"])
        .arg(&trace);
    strace.arg(std::env::current_exe()?);
    let dir = scratch.path().join("queue");
    child::finish(child::start(strace, "quiet::sockets", &dir, "")?)?;
    let trace = std::fs::read_to_string(trace)?;
    // It has seen the threads that work.
    assert!(trace.contains("store/db"));
    let calls: Vec<_> = trace
        .lines()
        .filter(|line| !line.contains("openat(") && !line.contains("openat resumed"))
        .filter(|line| line.contains('('))
        .collect();
    assert!(calls.is_empty(), "{calls:?}");
    Ok(())
}

pub(crate) fn sockets(dir: &Path) -> Tested {
    let found = || {
        let targets = child::descriptors("self").into_iter();
        targets
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count()
    };
    let before = found();
    let clock = ManualClock::new();
    let queue = queue_in(dir, &clock).register(Call::echo()).open()?;
    assert_eq!(queue.submit::<Call>([1])?.ends()?.status.succeeded, 1);
    assert_eq!(found(), before);
    Ok(())
}

/// Around what the library does, in both streams.
const BEGIN: &str = "<the library begins>";
const END: &str = "<the library has ended>";

#[test]
fn nothing_is_printed_and_standard_input_is_the_applications() -> Tested {
    let scratch = tempfile::tempdir()?;
    let program = std::process::Command::new(std::env::current_exe()?);
    let child = child::start(
        program,
        "quiet::output",
        scratch.path(),
        "for the application\n",
    )?;
    let printed = child::finish(child)?;
    for stream in [&printed.stdout, &printed.stderr] {
        let text = stream
            .split_once(BEGIN)
            .and_then(|(_, rest)| rest.split_once(END))
            .map(|(text, _)| text);
        assert_eq!(text, Some(""), "{stream}");
    }
    Ok(())
}

pub(crate) fn output(dir: &Path) -> Tested {
    // The default hook prints panics; that is the standard library's word, not ours.
    panic::set_hook(Box::new(|_| {}));
    print!("{BEGIN}");
    eprint!("{BEGIN}");
    let lived = live_through(dir);
    print!("{END}");
    eprint!("{END}");
    drop(panic::take_hook());
    lived?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    assert_eq!(line, "for the application\n");
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn threads_say_whose_they_are_and_end_with_the_queue() -> Tested {
    child::plays("quiet::threads").map(drop)
}

pub(crate) fn threads(dir: &Path) -> Tested {
    let before = child::threads();
    let clock = ManualClock::new();
    let door = Door::new();
    let at = door.clone();
    let waits = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_in(dir, &clock).register(waits).open()?;
    let batch = queue.submit::<Call>([1, 2])?;
    door.wait_for(2);
    let new = || {
        let mut names = child::threads();
        for name in &before {
            if let Some(at) = names.iter().position(|other| other == name) {
                names.remove(at);
            }
        }
        names
    };
    let ours = |name: &&String| name.starts_with("batchwright-");
    // The storage engine names its own: one for each store, the others once in a process.
    let for_good = |name: &&String| name.starts_with("sled-io-");
    let strange: Vec<_> = new()
        .into_iter()
        .filter(|name| !ours(&name) && !for_good(&name) && name != "log flusher")
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
    // A writer, a watchdog, and two workers.
    assert_eq!(new().iter().filter(ours).count(), 4);
    door.open();
    batch.ends()?;
    queue.shutdown(AMPLE)?;
    eventually(|| new().iter().all(|name| for_good(&name)));
    assert_eq!(new().len(), 7);
    Ok(())
}

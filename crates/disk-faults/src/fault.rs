//! Which call goes wrong, and how.
//!
//! In words: a number, `once` or `ever`, and what happens: `errno:5`, `sync-errno:5` (of syncs
//! only), `thread-errno:11` (of starts of threads only), `short` (half of a read or write), `kill-before`, `kill-after`, `kill-quiet` (before a call, when no other is under way). Only calls that it can
//! happen to are counted: from 0, so that no two numbers are the same fault.

use crate::format::Kind;
use libc::c_int;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Fail(c_int),
    FailSync(c_int),
    FailThread(c_int),
    Shorten,
    KillBefore,
    KillAfter,
    KillQuiet,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// Calls that are spared.
    spared: u64,
    ever: bool,
    action: Action,
}

/// What is known of a call before it is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    /// Bytes to be read or written.
    pub(crate) bytes: usize,
    /// An open that may write.
    pub(crate) writes: bool,
    /// An open that makes a new file.
    pub(crate) creates: bool,
    /// A read of what was read or written before, which is in the system's memory.
    pub(crate) remembered: bool,
    /// Calls that have begun and not ended.
    pub(crate) under_way: u64,
}

impl Fault {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let spared = words.next()?.parse().ok()?;
        let ever = match words.next()? {
            "once" => false,
            "ever" => true,
            _ => return None,
        };
        let action = match words.next()? {
            "short" => Action::Shorten,
            "kill-before" => Action::KillBefore,
            "kill-after" => Action::KillAfter,
            "kill-quiet" => Action::KillQuiet,
            other => match other.split_once(':')? {
                ("errno", errno) => Action::Fail(errno.parse().ok()?),
                ("sync-errno", errno) => Action::FailSync(errno.parse().ok()?),
                ("thread-errno", errno) => Action::FailThread(errno.parse().ok()?),
                _ => return None,
            },
        };
        Some(Self {
            spared,
            ever,
            action,
        })
    }

    /// Whether it is a thread that does not start.
    pub(crate) fn is_of_threads(&self) -> bool {
        matches!(self.action, Action::FailThread(_))
    }

    /// What becomes of a call. `fault` is none afterwards when it was for once.
    pub(crate) fn strike(fault: &mut Option<Self>, shape: Shape) -> Option<Action> {
        let here = fault.as_mut()?;
        let action = here.action;
        if !action.can_happen_to(shape) {
            return None;
        }
        if here.spared > 0 {
            here.spared -= 1;
            return None;
        }
        if !here.ever {
            *fault = None;
        }
        Some(action)
    }
}

impl Action {
    fn can_happen_to(self, shape: Shape) -> bool {
        let changes_names = matches!(
            shape.kind,
            Kind::Rename | Kind::MakeDirectory | Kind::Unlink | Kind::RemoveDirectory
        );
        match self {
            Self::KillBefore | Self::KillAfter => true,
            Self::KillQuiet => shape.under_way == 0,
            Self::Shorten => matches!(shape.kind, Kind::Read | Kind::Write) && shape.bytes > 1,
            Self::FailThread(_) => shape.kind == Kind::Thread,
            Self::FailSync(_) => matches!(shape.kind, Kind::Sync | Kind::SyncData),
            // A full disk. A sync may be the first to notice, where space is not taken when it is written to.
            Self::Fail(libc::ENOSPC) => {
                shape.creates
                    || matches!(
                        shape.kind,
                        Kind::Write
                            | Kind::Rename
                            | Kind::MakeDirectory
                            | Kind::Sync
                            | Kind::SyncData
                    )
            }
            Self::Fail(libc::EMFILE) => matches!(shape.kind, Kind::Open | Kind::Duplicate),
            Self::Fail(libc::EROFS) => {
                shape.writes || changes_names || matches!(shape.kind, Kind::Write | Kind::Truncate)
            }
            Self::Fail(_) => shape.kind != Kind::Close && !shape.remembered,
        }
    }
}

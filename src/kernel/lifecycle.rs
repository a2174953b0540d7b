//! The life of a batch: its phases, and the one function that changes them.
//!
//! | from \ event | Started | ItemsEnded | ItemsNoted | Resolved | StopRequested | Completed | Stopped | Resumed | FailUndecodableRequested |
//! |---|---|---|---|---|---|---|---|---|---|
//! | Queued | Running | - | Queued | Queued | Stopped | - | - | - | Queued |
//! | Running | - | Running | Running | Running | Stopping | Completed | - | - | Running |
//! | Stopping | - | Stopping | Stopping | Stopping | - | Completed | Stopped | - | Stopping |
//! | Completed | - | - | - | Completed | - | - | - | - | - |
//! | Stopped | - | - | - | Stopped | - | - | - | Queued | - |
//!
//! A queued batch has nothing in flight, so a stop request ends it at once. A stopping batch whose
//! last items all end is completed: every item has its outcome.

use super::event::EventKind;
use std::fmt;

/// Where a batch stands, as shown to callers.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum State {
    /// Accepted and durable; no item has started.
    Queued,
    /// Items have started. With a stop request it stays so until the last running handler ends.
    Running,
    /// Every item has its outcome.
    Completed,
    /// Ended on request; some items have no outcome. `resume` runs those.
    Stopped,
}

impl State {
    /// Whether the batch has ended: nothing more happens to it unless a stopped one is resumed.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Stopped)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Stopped => "stopped",
        })
    }
}

/// Where a batch stands, as the kernel sees it: [`State`] with the stop request told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Queued,
    Running,
    Stopping,
    Completed,
    Stopped,
}

impl Phase {
    pub(crate) fn state(self) -> State {
        match self {
            Self::Queued => State::Queued,
            Self::Running | Self::Stopping => State::Running,
            Self::Completed => State::Completed,
            Self::Stopped => State::Stopped,
        }
    }

    /// Whether items of the batch may start.
    pub(crate) fn may_start(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }
}

/// An event that cannot happen to a batch where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a batch that is {phase:?} cannot take the event {event:?}")]
pub(crate) struct IllegalTransition {
    pub(crate) phase: Phase,
    pub(crate) event: EventKind,
}

/// Where `event` takes a batch that stands at `phase`: the only place where phases change.
pub(crate) fn transition(phase: Phase, event: EventKind) -> Result<Phase, IllegalTransition> {
    use EventKind as E;
    match (phase, event) {
        (Phase::Queued, E::Started) => Ok(Phase::Running),
        (Phase::Queued, E::StopRequested) => Ok(Phase::Stopped),
        (Phase::Running, E::ItemsEnded) => Ok(Phase::Running),
        (Phase::Running, E::StopRequested) => Ok(Phase::Stopping),
        (Phase::Stopping, E::ItemsEnded) => Ok(Phase::Stopping),
        (Phase::Running | Phase::Stopping, E::Completed) => Ok(Phase::Completed),
        (Phase::Stopping, E::Stopped) => Ok(Phase::Stopped),
        (Phase::Stopped, E::Resumed) => Ok(Phase::Queued),
        (
            Phase::Queued | Phase::Running | Phase::Stopping,
            E::FailUndecodableRequested | E::ItemsNoted,
        )
        | (_, E::Resolved) => Ok(phase),
        (phase, event) => Err(IllegalTransition { phase, event }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EventKind as E;

    const PHASES: [Phase; 5] = [
        Phase::Queued,
        Phase::Running,
        Phase::Stopping,
        Phase::Completed,
        Phase::Stopped,
    ];
    const EVENTS: [E; 9] = [
        E::Started,
        E::ItemsEnded,
        E::ItemsNoted,
        E::Resolved,
        E::StopRequested,
        E::Completed,
        E::Stopped,
        E::Resumed,
        E::FailUndecodableRequested,
    ];

    #[test]
    fn every_phase_and_event_does_what_the_table_says() {
        let legal = [
            (Phase::Queued, E::Started, Phase::Running),
            (Phase::Queued, E::StopRequested, Phase::Stopped),
            (Phase::Running, E::ItemsEnded, Phase::Running),
            (Phase::Running, E::StopRequested, Phase::Stopping),
            (Phase::Running, E::Completed, Phase::Completed),
            (Phase::Stopping, E::ItemsEnded, Phase::Stopping),
            (Phase::Stopping, E::Completed, Phase::Completed),
            (Phase::Stopping, E::Stopped, Phase::Stopped),
            (Phase::Stopped, E::Resumed, Phase::Queued),
            (Phase::Queued, E::FailUndecodableRequested, Phase::Queued),
            (Phase::Running, E::FailUndecodableRequested, Phase::Running),
            (
                Phase::Stopping,
                E::FailUndecodableRequested,
                Phase::Stopping,
            ),
            (Phase::Queued, E::ItemsNoted, Phase::Queued),
            (Phase::Running, E::ItemsNoted, Phase::Running),
            (Phase::Stopping, E::ItemsNoted, Phase::Stopping),
            (Phase::Queued, E::Resolved, Phase::Queued),
            (Phase::Running, E::Resolved, Phase::Running),
            (Phase::Stopping, E::Resolved, Phase::Stopping),
            (Phase::Completed, E::Resolved, Phase::Completed),
            (Phase::Stopped, E::Resolved, Phase::Stopped),
        ];
        for phase in PHASES {
            for event in EVENTS {
                let expected = legal
                    .iter()
                    .find(|(p, e, _)| (*p, *e) == (phase, event))
                    .map(|(_, _, to)| *to)
                    .ok_or(IllegalTransition { phase, event });
                assert_eq!(transition(phase, event), expected);
            }
        }
    }

    #[test]
    fn the_guide_shows_what_transition_does() {
        let page = include_str!("../guide/lifecycle.md");
        let mut table = page
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        let row =
            |head: &str, cells: [String; EVENTS.len()]| format!("{head} | {}", cells.join(" | "));
        let head = row("from \\ event", EVENTS.map(|event| format!("{event:?}")));
        assert_eq!(table.next(), Some(&*head));
        for phase in PHASES {
            let to = EVENTS.map(|event| match transition(phase, event) {
                Ok(to) => format!("{to:?}"),
                Err(_) => "-".to_owned(),
            });
            assert_eq!(table.next(), Some(&*row(&format!("{phase:?}"), to)));
        }
        assert_eq!(table.next(), None);
    }

    #[test]
    fn only_queued_and_running_batches_start_items() {
        let starting: Vec<_> = PHASES.into_iter().filter(|p| p.may_start()).collect();
        assert_eq!(starting, [Phase::Queued, Phase::Running]);
    }
}

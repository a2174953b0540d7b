//! That the checks of power cuts notice: what the library does against them is taken away, and images must fail for
//! that reason. A check that cannot fail proves nothing.

use crate::books::Reason;
use crate::cuts::{judge, record};
use crate::run::{Run, Tested};

/// Images of a run that is tampered with. Enough that each of the reasons comes, in every schedule of threads.
const IMAGES: usize = 60;

/// Asserts that images fail, and only for `reasons`; `says` is in the text of one of them.
fn assert_noticed(change: impl Fn(&mut Run<'_>), reasons: &[Reason], says: &str) -> Tested {
    let recording = record(3, change)?;
    let tally = judge(&recording, 3, IMAGES)?;
    let others = tally
        .findings
        .keys()
        .filter(|reason| !reasons.contains(reason));
    assert_eq!(
        others.count(),
        0,
        "for another reason: {:#?}",
        tally.findings
    );
    let named = tally.findings.values().any(|(_, text)| text.contains(says));
    assert!(named, "{says:?} is not among {:#?}", tally.findings);
    Ok(())
}

/// `flush` of the storage engine syncs nothing; the library's own sync after it does.
#[test]
fn without_the_sync_after_a_flush_acknowledged_batches_are_lost() -> Tested {
    // Lost outcomes are made again, and are others then.
    let reasons = [
        Reason::LostBatch,
        Reason::LostOutcome,
        Reason::ChangedOutcome,
        Reason::WrongTables,
        Reason::Undeleted,
        Reason::Invented,
        Reason::Refused,
    ];
    assert_noticed(|run| run.lie = "data-syncs", &reasons, "was acknowledged")
}

#[test]
fn without_syncs_of_directories_a_new_store_is_lost() -> Tested {
    let reasons = [Reason::LostBatch, Reason::Refused];
    assert_noticed(
        |run| run.lie = "directory-syncs",
        &reasons,
        "was acknowledged",
    )
}

#[test]
fn an_acknowledgement_before_the_commit_is_noticed() -> Tested {
    assert_noticed(
        |run| run.hasty = true,
        &[Reason::LostBatch],
        "was acknowledged",
    )
}

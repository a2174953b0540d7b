//! Nothing that depends on a commit comes out before the commit is durable.

use super::rig::{ENDLESS, OP, Rig, acks, admitted, at_least_once, ended, records, starts};
use crate::kernel::{Event, Input, Output, Phase, Refusal, State, Verdict};

#[test]
fn a_batch_is_acknowledged_and_starts_only_after_its_commit() {
    let mut rig = Rig::new(&[at_least_once()], 2);
    let out = rig.ask_submit(OP, 3, None);
    let batch = admitted(&out);
    assert_eq!((acks(&out).len(), starts(&out).len()), (0, 0));
    assert!(starts(&rig.advance(60_000)).is_empty());

    let out = rig.commit();
    assert_eq!(acks(&out), [rig.last_ticket()]);
    assert!(starts(&out).iter().all(|slice| slice.batch == batch));
    assert_eq!(rig.running(batch).len(), 3);
}

#[test]
fn one_commit_answers_every_request_before_it_in_their_order() {
    let mut rig = Rig::new(&[at_least_once()], 2);
    let first = rig.submit(OP, 1);
    let submit = rig.last_ticket();
    rig.submit(OP, 1);
    let second_submit = rig.last_ticket();
    assert!(acks(&rig.stop(first)).is_empty());
    let stop = rig.last_ticket();
    assert_eq!(acks(&rig.commit()), [submit, second_submit, stop]);
    assert_eq!(acks(&rig.commit()), []);
}

#[test]
fn an_end_is_announced_only_after_its_commit() {
    let mut rig = Rig::new(&[at_least_once()], 2);
    let batch = rig.submit(OP, 1);
    rig.commit();
    let slice = rig.out()[0].id;
    let out = rig.end_all(slice, Verdict::Succeeded);
    let kinds: Vec<_> = records(&out).into_iter().map(|(_, event)| event).collect();
    assert!(matches!(
        kinds[..],
        [
            Event::Started { .. },
            Event::ItemsEnded { .. },
            Event::Completed { .. }
        ]
    ));
    assert_eq!(ended(&out), []);
    assert_eq!(rig.view(batch).phase, Phase::Completed);

    let out = rig.commit();
    assert_eq!(ended(&out), [batch]);
    assert_eq!(rig.kernel.view(batch), None);
}

#[test]
fn nothing_comes_out_after_a_failed_commit() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let running = rig.submit(OP, 2);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.submit(OP, 2);
    assert_eq!(rig.feed(Input::CommitFailed), []);
    assert_eq!(rig.commit(), []);
    assert_eq!(rig.ask_submit(OP, 1, None), []);
    assert_eq!(rig.stop(running), []);
    assert_eq!(rig.end_all(slice, Verdict::Succeeded), []);
    assert_eq!(rig.advance(1_000_000), []);
    assert_eq!(rig.feed(Input::Closing), []);
}

#[test]
fn a_full_queue_refuses_at_once_and_takes_again_when_a_batch_ends() {
    const LIMIT: usize = 4;
    let mut rig = Rig::with_limit(&[at_least_once()], 4, LIMIT);
    let batch = rig.submit(OP, 1);
    rig.submit(OP, 1);
    rig.commit();
    let out = rig.ask_submit(OP, 1, None);
    let refused = Output::Refused {
        ticket: rig.last_ticket(),
        refusal: Refusal::Full { limit: LIMIT },
    };
    assert_eq!(out, [refused]);
    assert_eq!(acks(&rig.commit()), []);
    assert_eq!(rig.kernel.unfinished(), LIMIT);

    let slice = rig.slices_of(batch)[0].id;
    rig.end_all(slice, Verdict::Succeeded);
    assert!(
        rig.ask_submit(OP, 1, None).len() == 1,
        "the end is not durable"
    );
    rig.commit();
    admitted(&rig.ask_submit(OP, 1, None));
}

#[test]
fn a_full_queue_refuses_to_resume() {
    let mut rig = Rig::with_limit(&[at_least_once()], 1, 4);
    let batch = rig.submit(OP, 1);
    rig.stop(batch);
    rig.commit();
    rig.submit(OP, 1);
    rig.submit(OP, 1);
    let out = rig.resume(batch);
    assert!(matches!(
        out[..],
        [Output::Refused {
            refusal: Refusal::Full { .. },
            ..
        }]
    ));
}

#[test]
fn a_closing_queue_finishes_what_runs_and_starts_nothing_more() {
    let mut rig = Rig::with_limit(&[at_least_once()], 1, ENDLESS);
    let batch = rig.submit(OP, 40);
    let stopped = rig.submit(OP, 1);
    rig.stop(stopped);
    rig.commit();
    let slice = rig.out()[0].clone();
    let out = rig.feed(Input::Closing);
    assert!(out.contains(&Output::Recall { slice: slice.id }));

    for out in [rig.ask_submit(OP, 1, None), rig.resume(stopped)] {
        assert!(matches!(
            out[..],
            [Output::Refused {
                refusal: Refusal::Closing,
                ..
            }]
        ));
    }
    let out = rig.end_all(slice.id, Verdict::Succeeded);
    assert_eq!(records(&out).len(), 2, "started and ended items");
    assert_eq!(rig.running(batch), []);
    assert!(starts(&rig.commit()).is_empty());
    assert!(starts(&rig.advance(60_000)).is_empty());
    let view = rig.view(batch);
    assert_eq!((view.phase, view.in_flight), (Phase::Running, 0));
    assert_eq!(view.succeeded as usize, slice.items.len());

    rig.crash();
    rig.run_all();
    assert_eq!(rig.disk.durable[&batch].state().succeeded, 40);
}

#[test]
fn a_closing_queue_still_stops_batches() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    let queued = rig.submit(OP, 1);
    rig.commit();
    let waiting = rig.submit(OP, 1);
    rig.commit();
    rig.feed(Input::Closing);
    rig.stop(waiting);
    let stop = rig.last_ticket();
    let out = rig.commit();
    assert_eq!((ended(&out), acks(&out)), (vec![waiting], vec![stop]));
    assert_eq!(rig.view(queued).phase.state(), State::Running);
}

#[test]
fn only_changed_batches_are_shown_and_each_once() {
    let mut rig = Rig::new(&[at_least_once()], 2);
    let batch = rig.submit(OP, 2);
    rig.commit();
    let changed = rig.kernel.take_changed();
    assert_eq!(changed, [(batch, rig.view(batch))]);
    assert_eq!(rig.kernel.take_changed(), []);

    let slice = rig.out()[0].id;
    rig.end(slice, &[Verdict::Failed], false);
    let changed = rig.kernel.take_changed();
    assert_eq!(changed.len(), 1);
    assert_eq!((changed[0].1.failed, changed[0].1.in_flight), (1, 1));
}

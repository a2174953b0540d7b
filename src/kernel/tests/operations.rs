//! Operations that cannot run: not registered, or paused.

use super::rig::{OP, Rig, SECOND_OP, at_least_once, ended, recalls, starts};
use crate::kernel::{Input, OperationSpec, Phase, Verdict};

#[test]
fn an_item_that_cannot_be_decoded_pauses_only_its_operation() {
    for keyed in [false, true] {
        let mut rig = Rig::new(&[at_least_once(), at_least_once()], 2);
        let batch = if keyed {
            rig.submit_keyed(OP, &[1; 40])
        } else {
            rig.submit(OP, 40)
        };
        rig.commit();
        let out = rig.feed(Input::Undecodable {
            operation: OP,
            batch,
        });
        let slices = rig.slices_of(batch);
        assert_eq!(
            recalls(&out),
            slices.iter().map(|s| s.id).collect::<Vec<_>>()
        );
        for slice in slices {
            rig.end(slice.id, &[Verdict::Succeeded], true);
        }
        rig.commit();
        let later = rig.submit(OP, 1);
        let other = rig.submit(SECOND_OP, 3);
        rig.commit();
        assert_eq!((rig.running(batch).len(), rig.running(later).len()), (0, 0));
        assert_eq!(rig.view(later).phase, Phase::Queued);
        rig.run_all();
        assert_eq!(rig.disk.durable[&other].state().phase, Phase::Completed);

        rig.crash();
        assert!(!rig.running(batch).is_empty(), "the next open tries again");
    }
}

#[test]
fn a_batch_of_a_paused_operation_can_be_stopped() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    let batch = rig.submit(OP, 40);
    rig.commit();
    rig.feed(Input::Undecodable {
        operation: OP,
        batch,
    });
    let slice = rig.out()[0].id;
    rig.give_back(slice);
    rig.stop(batch);
    assert_eq!(ended(&rig.commit()), [batch]);
}

#[test]
fn a_batch_of_an_unregistered_operation_stays_queued_and_can_be_stopped() {
    let absent = OperationSpec {
        registered: false,
        ..at_least_once()
    };
    let mut rig = Rig::new(&[absent], 4);
    let plain = rig.submit(OP, 3);
    let keyed = rig.submit_keyed(OP, &[1, 2]);
    rig.commit();
    assert!(starts(&rig.advance(1_000_000)).is_empty());
    rig.crash();
    assert_eq!((rig.running(plain).len(), rig.running(keyed).len()), (0, 0));
    assert_eq!(rig.view(plain).phase, Phase::Queued);
    rig.stop(plain);
    rig.stop(keyed);
    assert_eq!(ended(&rig.commit()), [plain, keyed]);
}

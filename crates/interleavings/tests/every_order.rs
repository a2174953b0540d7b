//! The models, each in every order that its threads can run in.

use batchwright_interleavings::models;

#[test]
fn no_item_starts_after_the_gate_was_said_to_be_closed() {
    models::no_item_starts_after_the_gate_was_said_to_be_closed();
}

#[test]
fn a_gate_that_is_reopened_lets_pass_who_knows_of_it() {
    models::a_gate_that_is_reopened_lets_pass_who_knows_of_it();
}

#[test]
fn a_slice_is_begun_or_recalled_and_never_both() {
    models::a_slice_is_begun_or_recalled_and_never_both();
}

#[test]
fn an_attempt_ends_once() {
    models::an_attempt_ends_once();
}

#[test]
fn looking_at_the_posts_and_replacing_a_worker_do_not_wait_for_each_other() {
    models::looking_at_the_posts_and_replacing_a_worker_do_not_wait_for_each_other();
}

#[test]
#[should_panic(expected = "it started after the answer")]
fn a_gate_that_is_closed_too_late_is_found() {
    models::a_gate_that_is_closed_too_late_is_found();
}

#[test]
#[should_panic(expected = "taken twice")]
fn a_claim_in_two_steps_is_found() {
    models::a_claim_in_two_steps_is_found();
}

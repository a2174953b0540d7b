//! The models, each in every order that its threads can run in.

use batchwright_interleavings::models::{self, lease, status};

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

#[test]
fn a_row_is_in_the_overlay_or_in_the_store() {
    lease::a_row_is_in_the_overlay_or_in_the_store();
}

#[test]
fn the_next_holder_sees_the_slices_that_ended_in_time_and_nothing_else() {
    lease::the_next_holder_sees_the_slices_that_ended_in_time_and_nothing_else();
}

#[test]
fn nothing_is_read_or_written_through_tables_that_were_said_to_be_revoked() {
    lease::nothing_is_read_or_written_through_tables_that_were_said_to_be_revoked();
}

#[test]
#[should_panic(expected = "a row vanished")]
fn durable_before_the_commit_is_found() {
    lease::durable_before_the_commit_is_found();
}

#[test]
#[should_panic(expected = "a row vanished")]
fn durable_in_no_order_with_the_commit_is_found() {
    lease::durable_in_no_order_with_the_commit_is_found();
}

#[test]
#[should_panic(expected = "what the next holder sees")]
fn a_worker_that_does_not_look_at_the_time_is_found() {
    lease::a_worker_that_does_not_look_at_the_time_is_found();
}

#[test]
#[should_panic(expected = "it was revoked")]
fn writes_of_an_attempt_whose_time_was_up_are_found() {
    lease::writes_of_an_attempt_whose_time_was_up_are_found();
}

#[test]
#[should_panic(expected = "versions out of order")]
fn writes_that_are_kept_back_are_found() {
    lease::writes_that_are_kept_back_are_found();
}

#[test]
#[should_panic(expected = "what the next holder sees")]
fn a_successor_that_begins_anew_is_found() {
    lease::a_successor_that_begins_anew_is_found();
}

#[test]
#[should_panic(expected = "it was said to be revoked")]
fn a_lease_that_is_revoked_too_late_is_found() {
    lease::a_lease_that_is_revoked_too_late_is_found();
}

#[test]
fn threads_that_wait_see_the_end_or_the_deletion() {
    status::threads_that_wait_see_the_end_or_the_deletion();
}

#[test]
fn a_future_that_waits_sees_the_end_or_the_deletion() {
    status::a_future_that_waits_sees_the_end_or_the_deletion();
}

#[test]
fn a_watcher_misses_no_change() {
    status::a_watcher_misses_no_change();
}

#[test]
fn counts_never_go_back_for_a_reader() {
    status::counts_never_go_back_for_a_reader();
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_wake_before_its_news_is_found() {
    status::a_wake_before_its_news_is_found();
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_wake_before_the_deletion_is_found() {
    status::a_wake_before_the_deletion_is_found();
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_future_that_does_not_look_again_is_found() {
    status::a_future_that_does_not_look_again_is_found();
}

#[test]
#[should_panic(expected = "deadlock")]
fn watching_without_fences_is_found() {
    status::watching_without_fences_is_found();
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_moment_that_is_asked_for_too_late_is_found() {
    status::a_moment_that_is_asked_for_too_late_is_found();
}

#[test]
#[should_panic(expected = "the counts went back")]
fn a_second_publisher_is_found() {
    status::a_second_publisher_is_found();
}

#[test]
#[should_panic(expected = "of two moments")]
fn a_progress_that_is_published_in_parts_is_found() {
    status::a_progress_that_is_published_in_parts_is_found();
}

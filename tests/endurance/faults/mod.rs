//! The faults that the service must survive, and the tests of each.
//!
//! What must hold in each: a message that was accepted is durable before the first byte of its reply; every
//! reply gets to an end; a subscriber receives everything once and in order, or an error; a title is
//! written once, and never over a person's.
//!
//! Tests that need a PostgreSQL or NATS of their own, a small disk or a wrong clock report when they are skipped; with
//! `TEST_SKIP_NOTHING` set they fail instead.

mod broker;
mod clients;
mod clock;
mod commits;
mod database_gone;
mod database_refuses;
mod drain;
mod killed;
mod killed_title;
mod rolling;
mod same_post;
mod talker;
mod turns;
mod visitor;

use std::path::Path;

/// A fault, and tests that try it: functions of this binary, or of `tests/it`.
const TABLE: [(&str, &[&str]); 28] = [
    (
        "the model says 401, 403, 404, 400, or has no quota",
        &[
            "reply_faults::what_an_operator_has_to_mend_is_tried_once_and_called_misconfigured",
            "title_faults::a_refused_key_is_tried_once_and_not_for_the_next_conversation",
            "title_faults::a_used_up_quota_is_tried_once_and_not_for_the_next_conversation",
        ],
    ),
    (
        "the model says 429",
        &[
            "reply_faults::a_rate_limit_is_waited_out",
            "reply_faults::a_rate_limit_that_stays_is_called_one",
            "title_faults::a_rate_limit_that_outlasts_the_deadline_is_not_waited_out",
        ],
    ),
    (
        "the model says 500",
        &[
            "reply_faults::three_server_errors_are_the_end",
            "title_faults::two_server_errors_are_not",
        ],
    ),
    (
        "the model is unreachable",
        &["reply_faults::an_unreachable_model_fails_the_reply_and_the_title_and_keeps_the_message"],
    ),
    (
        "the model is silent",
        &[
            "reply_faults::silence_before_any_event_is_not_asked_about_again",
            "reply_faults::a_model_may_reason_in_silence_for_longer_than_between_two_events",
            "reply_faults::silence_in_the_middle_keeps_what_was_written",
            "title_faults::silence_lasts_as_long_as_the_deadline",
            "model_answers::a_title_whose_connection_freezes_is_given_up_at_its_deadline",
        ],
    ),
    (
        "the model drips",
        &[
            "model_answers::a_drip_of_tokens_is_read_to_its_end",
            "model_answers::a_drip_without_an_end_ends_with_the_deadline",
            "model_answers::an_event_whose_bytes_drip_is_silence",
        ],
    ),
    (
        "the model is cut off",
        &[
            "reply_faults::a_connection_that_breaks_in_the_middle_is_not_made_again",
            "reply_faults::an_end_without_a_reason_is_no_success",
            "model_answers::a_connection_to_the_model_that_is_cut_or_stalls_keeps_what_was_written",
            "title_faults::two_broken_connections_are_not",
        ],
    ),
    (
        "the model says nothing",
        &[
            "reply_faults::a_reply_without_anything_is_asked_for_again_and_then_incomplete",
            "title_faults::an_answer_of_reasoning_alone_is_tried_again_with_twice_the_room",
        ],
    ),
    (
        "the model reaches its limit before it says anything",
        &[
            "model_answers::a_token_limit_before_any_text_is_incomplete_and_not_asked_again",
            "title_faults::half_a_title_is_none",
        ],
    ),
    (
        "the model refuses",
        &[
            "model_answers::a_refusal_is_what_the_model_has_to_say",
            "title_faults::two_rejected_answers_are_the_end",
        ],
    ),
    (
        "the model says ten megabytes",
        &[
            "model_answers::of_ten_megabytes_half_a_megabyte_is_stored_and_the_rest_is_not_read",
            "model_answers::ten_megabytes_in_one_piece_are_no_answer",
            "title_faults::ten_megabytes_in_place_of_an_answer_are_no_title",
        ],
    ),
    (
        "the database is down at the POST",
        &[
            "faults::database_gone::a_message_that_finds_the_database_gone_is_refused_and_taken_when_it_is_back",
            "faults::database_gone::a_database_that_says_nothing_is_not_waited_for_for_ever",
        ],
    ),
    (
        "connections to the database freeze, or it vanishes for a while",
        &[
            "freezes::a_database_that_freezes_is_noticed_by_its_node_alone_and_not_for_long",
            "freezes::a_database_that_vanishes_for_a_while_costs_no_connection_for_good",
        ],
    ),
    (
        "the database is down in the middle of a reply",
        &[
            "faults::database_gone::a_reply_is_published_complete_when_it_is_stored_and_not_while_the_database_is_gone",
        ],
    ),
    (
        "the database is lost between a commit and its answer",
        &[
            "faults::commits::a_message_whose_commit_is_done_unheard_is_stored_once",
            "faults::commits::a_message_with_a_key_whose_commit_never_arrives_is_stored_once",
            "faults::commits::a_message_into_a_conversation_is_stored_once",
            "faults::commits::a_reply_whose_commit_answer_is_lost_is_stored_and_published_once",
            "faults::commits::a_title_whose_commit_answer_is_lost_is_published_by_a_sweep",
        ],
    ),
    (
        "the database is locked",
        &[
            "faults::database_refuses::a_locked_database_refuses_messages_in_time_and_takes_them_when_it_is_free",
            "faults::database_refuses::a_reply_that_finds_the_database_locked_is_published_complete_when_it_is_stored",
        ],
    ),
    (
        "the database is read-only",
        &[
            "faults::database_refuses::a_read_only_sqlite_refuses_messages_and_can_be_read",
            "faults::database_refuses::a_read_only_postgresql_refuses_messages_until_it_is_not",
        ],
    ),
    (
        "the disk is full",
        &[
            "faults::database_refuses::a_full_disk_under_sqlite_refuses_messages_until_there_is_room",
            "faults::database_refuses::a_full_disk_under_postgresql_refuses_messages_until_there_is_room",
        ],
    ),
    (
        "the database is restarted",
        &[
            "faults::database_gone::a_database_that_is_killed_and_restarted_loses_nothing_that_was_accepted",
            "faults::database_gone::connections_that_were_cut_are_replaced_without_failed_requests",
        ],
    ),
    (
        "the broker is down, restarted, wiped",
        &[
            "nodes_outage::what_is_missed_while_nats_is_away_is_seen_when_it_is_back",
            "nodes_outage::a_node_starts_without_nats_and_connects_when_it_comes",
            "faults::broker::a_silent_broker_blocks_nothing_and_missed_updates_are_delivered",
            "faults::broker::a_connection_to_the_broker_that_is_cut_again_and_again_loses_nothing",
            "faults::broker::a_connection_to_the_broker_that_freezes_for_good_is_replaced",
        ],
    ),
    (
        "`kill -9` between two durable steps",
        &[
            "faults::killed::before_a_message_is_stored_nothing_is_and_the_retry_sends_it",
            "faults::killed::behind_the_message_the_retry_finds_it_and_its_reply_is_over",
            "faults::killed::in_the_middle_of_a_reply_the_checkpoint_is_kept_and_published",
            "faults::killed::before_the_end_is_stored_the_reply_is_incomplete_and_not_asked_for_again",
            "faults::killed::behind_the_end_the_retry_receives_it",
            "faults::killed_title::a_title_whose_process_was_killed_is_made_by_the_same_one_in_the_time_that_is_promised",
            "faults::killed_title::a_title_whose_process_was_killed_is_made_by_another_node_in_the_time_that_is_promised",
            "chaos::a_short_run_loses_nothing",
        ],
    ),
    (
        "SIGTERM under load",
        &[
            "faults::drain::a_signal_with_ten_open_streams_loses_nothing",
            "faults::rolling::two_restarts_under_load_lose_nothing",
            "faults::database_gone::a_server_ends_in_time_while_its_database_says_nothing",
        ],
    ),
    (
        "the client is gone",
        &[
            "faults::clients::a_client_that_leaves_at_any_token_leaves_a_whole_reply",
            "faults::clients::a_client_that_leaves_while_its_message_is_stored_gets_a_reply_in_the_rows",
        ],
    ),
    (
        "the same POST many times at once",
        &[
            "faults::same_post::a_thousand_times_the_same_is_one_turn",
            "faults::same_post::a_thousand_times_the_same_on_two_nodes_is_one_turn",
        ],
    ),
    (
        "several POSTs to one conversation at once",
        &["faults::same_post::messages_into_one_conversation_at_once_are_turns_in_an_order"],
    ),
    (
        "idle subscribers",
        &["fanout::a_thousand_subscribers_cost_one_execution_an_event_and_get_the_same_bytes"],
    ),
    (
        "everybody comes back at once",
        &["faults::clients::a_hundred_subscribers_that_come_back_at_once_see_what_is"],
    ),
    (
        "a clock is an hour off",
        &[
            "faults::clock::a_reply_is_closed_when_its_node_is_dead_and_not_before",
            "faults::clock::a_title_is_made_by_who_began_it",
            "faults::clock::lists_are_in_the_order_in_which_things_happened",
        ],
    ),
];

/// The source of a test, by its path.
fn source(path: &str) -> Option<String> {
    let (folders, _) = path.rsplit_once("::")?;
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let place = folders.replace("::", "/");
    ["it", "endurance"].iter().find_map(|target| {
        let read = |file: String| std::fs::read_to_string(tests.join(target).join(file)).ok();
        read(format!("{place}.rs")).or_else(|| read(format!("{place}/mod.rs")))
    })
}

fn is_test(path: &str) -> bool {
    let name = path.rsplit("::").next().unwrap_or_default();
    let source = source(path).unwrap_or_default();
    let Some((before, _)) = source.split_once(&format!("fn {name}()")) else {
        return false;
    };
    let attributes = before.rsplit("\n\n").next().unwrap_or_default();
    attributes.contains("#[tokio::test")
}

#[test]
fn every_fault_is_tried_by_tests_that_there_are() {
    assert!(!is_test("faults::drain::drains"), "it is none");
    assert!(!is_test("faults::drain::nothing_of_this_name"));
    for (fault, tests) in TABLE {
        assert!(!tests.is_empty(), "{fault}");
        for test in tests {
            assert!(is_test(test), "{fault}: there is no test {test}");
        }
    }
}

//! The contract of the store: what every engine must do, written as functions over a factory of
//! stores, so that each engine is one instance of the suite.

#![expect(clippy::unwrap_used, reason = "a test")]

mod carrying;
mod delivering;
mod house;
mod importing;
mod jobs;
mod listing;
mod mailboxes;
mod mending;
mod nodes;
mod objects;
mod passwords;
mod people;
mod queueing;
mod races;
mod repairing;
mod reporting;
mod retaining;
mod safety;
mod searching;
mod sending;
mod signing;
mod statements;
mod suppressing;
mod together;

use house::House;

/// One test per contract function and engine.
macro_rules! contract {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$module::$name(&super::House::sqlite()).await;
            })*
        }

        mod segments {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$module::$name(&super::House::segments()).await;
            })*
        }

        mod object_store {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$module::$name(&super::House::objects()).await;
            })*
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$module::$name(&super::House::postgres()).await;
            })*
        }
    };
}

/// Functions for an engine that nodes share: some open nodes themselves, others run beside one.
macro_rules! many_nodes {
    ($house:ident, $folder:ident: $($module:ident :: $name:ident),* $(,)?) => {
        mod $folder {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$module::$name(&super::House::$house()).await;
            })*
        }
    };
}

many_nodes! { postgres, shared:
    nodes::a_name_is_one_nodes,
    nodes::a_name_that_was_lost,
    nodes::changes_are_told,
    nodes::changes_are_found_without_being_told,
    nodes::claims_and_leases,
    nodes::a_repetition_while_its_loss_is_noted,
    nodes::deliveries_on_living_connections,
    nodes::deliveries_whose_connections_are_lost,
    nodes::deliveries_of_a_dead_node,
    nodes::nodes_start_together,
    nodes::one_node_does_a_job,
    nodes::passwords_hold_everywhere,
    nodes::quotas_hold_everywhere,
    nodes::the_directory_is_one,
}

many_nodes! { two_nodes, beside_another:
    delivering::a_repetition_after_a_lost_reply,
    safety::a_policy_is_kept_and_forgotten,
    safety::outcomes_of_tls_are_counted,
    suppressing::an_address_that_fails_again_and_again,
    reporting::outcomes_of_dmarc_are_counted,
    reporting::reports_of_others_are_kept,
    reporting::one_sender_pushes_out_only_its_own_reports,
    reporting::what_is_wrong_is_kept_until_it_is_over,
    queueing::the_queue_tells_how_far_it_is_behind,
    signing::a_key_lives,
    signing::keys_have_a_limit,
    listing::a_list_and_its_addresses,
    listing::members_of_a_list,
    listing::a_list_that_is_made_again,
    people::addresses,
    people::groups,
    people::making_and_removing,
    people::passwords,
    queueing::a_claim_is_whole,
    queueing::claims_are_disjoint,
    queueing::looks_at_the_queue,
    queueing::news_of_the_queue,
    queueing::lanes_are_claimed_apart,
    queueing::due_in_order,
    queueing::fences_and_leases,
    queueing::a_restarted_node_takes_its_work_back,
    queueing::an_operator_at_work,
    together::each_verb_from_many_tasks,
}

contract! {
    carrying::a_backup_is_restored_elsewhere,
    carrying::backups_share_their_packs,
    carrying::the_collector_waits_for_a_backup,
    carrying::a_backup_cut_short,
    carrying::a_damaged_backup_is_refused,
    carrying::a_move_and_back,
    delivering::a_letter_travels,
    delivering::a_repetition_after_a_lost_reply,
    delivering::confirmations_count_even_with_a_refusal,
    delivering::confirmations_that_cannot_be_written,
    delivering::quota,
    delivering::quota_of_messages,
    delivering::a_sent_copy_counts_at_once,
    delivering::one_letter_many_recipients,
    delivering::a_large_letter,
    delivering::blobs_are_shared_and_collected,
    delivering::threads,
    jobs::a_job_and_its_period,
    jobs::a_restarted_node_takes_its_jobs_back,
    importing::letters_with_all_they_have,
    importing::as_far_as_the_quota,
    importing::what_is_refused,
    suppressing::an_address_that_fails_again_and_again,
    suppressing::the_operators_rows,
    mailboxes::the_tree,
    mailboxes::renaming_inbox,
    mailboxes::deleting_a_full_mailbox,
    mailboxes::deleting_a_mailbox_with_a_past,
    mailboxes::the_number_of_mailboxes,
    mailboxes::flags_of_messages,
    mailboxes::copying_and_moving,
    mailboxes::expunging_and_changes,
    mailboxes::bad_appends,
    listing::a_list_and_its_addresses,
    listing::members_of_a_list,
    listing::a_list_that_is_made_again,
    people::addresses,
    people::groups,
    people::who_may_send,
    people::rights_to_send,
    passwords::app_passwords,
    sending::limits,
    sending::a_burst_is_held,
    sending::refusals_hold,
    passwords::app_passwords_by_scram,
    people::making_and_removing,
    people::passwords,
    people::scram,
    people::scram_keys_are_those_of_the_rfc,
    people::one_process_at_a_time,
    repairing::damages_are_found_and_repaired,
    repairing::lost_bytes_come_back_from_a_backup,
    queueing::a_claim_is_whole,
    queueing::claims_of_many_recipients,
    queueing::due_in_order,
    queueing::fences_and_leases,
    queueing::a_restarted_node_takes_its_work_back,
    queueing::retries,
    queueing::a_settlement_is_one_commit,
    queueing::an_operator_at_work,
    queueing::a_drop_under_a_claim,
    queueing::claims_are_disjoint,
    queueing::looks_at_the_queue,
    queueing::news_of_the_queue,
    queueing::lanes_are_claimed_apart,
    queueing::submissions,
    races::a_reader_follows_many_writers,
    races::the_last_recipients_together,
    races::claims_without_a_lease,
    races::a_blob_at_the_collector,
    races::one_letter_in_many_deliveries,
    races::a_quota_from_many_tasks,
    races::names_from_many_tasks,
    searching::words_phrases_and_beginnings,
    searching::pages,
    searching::the_index_follows,
    searching::letters_come_back,
    searching::a_log_that_was_cut,
    searching::catching_up,
    searching::long_letters,
    searching::pieces_are_put_together,
    searching::highlights,
    retaining::deleted_mail_comes_back_as_it_was,
    retaining::many_come_back_in_pieces,
    retaining::where_deleted_mail_goes,
    retaining::recovering_keeps_to_the_quota,
    retaining::the_time_is_over,
    retaining::what_is_broken_holds_nothing_up,
    retaining::without_retention,
    retaining::trash_and_junk_are_emptied,
    retaining::an_account_goes_after_a_grace,
    retaining::an_account_is_renamed,
    retaining::what_is_taken,
    together::each_verb_from_many_tasks,
    together::wake_ups,
    together::random_sequences,
    statements::statements_keep_to_their_account,
    statements::statements_use_their_indexes,
}

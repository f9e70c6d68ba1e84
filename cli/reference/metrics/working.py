"""The metrics of what is worked on, of the whole database, and of every process."""

from collections.abc import Mapping, Sequence
from typing import Final

from cli.reference.metrics.exposed import ALL, Exposed

WORKING: Final[Mapping[str, Sequence[Exposed]]] = {
    "Consumers: read models and reactions": [
        Exposed(
            "weir_apply_batches_total",
            "counter",
            ("consumer",),
            ("projections", "tasks"),
            "sum",
            "Steps that moved a checkpoint.",
        ),
        Exposed(
            "weir_apply_delay_seconds",
            "histogram",
            ("consumer",),
            ("projections", "tasks"),
            "sum",
            "From the append of the oldest event of a batch to the batch's commit.",
        ),
        Exposed(
            "weir_checkpoints_spoiled_total",
            "counter",
            ("consumer",),
            ("projections", "tasks"),
            "sum",
            "Checkpoints whose last event the log no longer holds.",
        ),
        Exposed(
            "weir_events_applied_total", "counter", ("consumer",), ("projections", "tasks"), "sum", "Events applied."
        ),
        Exposed(
            "weir_events_from_postgres_total",
            "counter",
            ("consumer",),
            ("projections", "tasks"),
            "sum",
            "Events that no stream had brought.",
        ),
        Exposed(
            "weir_leases_fenced_total",
            "counter",
            ("consumer",),
            ("projections", "tasks"),
            "sum",
            "Leases found lost to another owner.",
        ),
        Exposed(
            "weir_projection_lag_events",
            "gauge",
            ("projection",),
            ("projections", "tasks"),
            "max",
            "How far the log has gone on beyond the shard that is furthest behind, whoever owns it.",
        ),
        Exposed(
            "weir_projection_lag_seconds",
            "gauge",
            ("projection",),
            ("projections", "tasks"),
            "max",
            "Since when the read model is not known to be complete. It grows while Postgres cannot be asked.",
        ),
        Exposed(
            "weir_shards_owned", "gauge", ("consumer",), ("projections", "tasks"), "sum", "Leases held by this process."
        ),
        Exposed(
            "weir_steps_of_another_log_total",
            "counter",
            ("consumer",),
            ("projections", "tasks"),
            "sum",
            "Steps whose events the streams had, and the log not.",
        ),
        Exposed(
            "weir_streams_held_total",
            "counter",
            ("consumer",),
            ("projections", "tasks"),
            "sum",
            "Streams held because only a newer release knows an event.",
        ),
        Exposed(
            "weir_streams_parked_total",
            "counter",
            ("consumer",),
            ("projections", "tasks"),
            "sum",
            "Streams set aside by a poison event.",
        ),
    ],
    "Work: mails, refunds, webhooks, timers, imports, jobs": [
        Exposed("weir_import_rows_total", "counter", ("outcome",), ("tasks",), "sum", "Rows of imports by outcome."),
        Exposed("weir_imports_put_off_total", "counter", (), ("tasks",), "sum", "Turns at imports that were put off."),
        Exposed(
            "weir_job_duration_seconds", "histogram", ("name",), ("projections", "tasks"), "sum", "How long jobs take."
        ),
        Exposed("weir_jobs_total", "counter", ("name", "outcome"), ("projections", "tasks"), "sum", "Jobs by outcome."),
        Exposed("weir_mail_attempts_total", "counter", ("kind", "outcome"), ("tasks",), "sum", "Attempts by outcome."),
        Exposed("weir_mail_send_duration_seconds", "histogram", (), ("tasks",), "sum", "Conversations with servers."),
        Exposed("weir_payment_circuit", "gauge", ("state",), ("tasks",), "max", "1 for how it stands."),
        Exposed("weir_refund_attempts_total", "counter", ("outcome",), ("tasks",), "sum", "Attempts by outcome."),
        Exposed("weir_refund_call_duration_seconds", "histogram", (), ("tasks",), "sum", "Calls of the provider."),
        Exposed("weir_timers_failed_total", "counter", ("process", "kind"), ("tasks",), "sum", "Timers put off."),
        Exposed("weir_timers_rung_total", "counter", ("process", "kind"), ("tasks",), "sum", "Timers that rang."),
        Exposed("weir_webhook_attempts_total", "counter", ("outcome",), ("tasks",), "sum", "Attempts by outcome."),
        Exposed("weir_webhook_call_duration_seconds", "histogram", (), ("tasks",), "sum", "Calls of subscribers."),
    ],
    "Of the whole database, told by one process": [
        Exposed(
            "weir_database_connections",
            "gauge",
            ("state",),
            ("tasks",),
            "max",
            "Connections to the database, but this one.",
        ),
        Exposed(
            "weir_database_connections_limit", "gauge", (), ("tasks",), "max", "How many connections there may be."
        ),
        Exposed("weir_database_dead_rows", "gauge", ("table",), ("tasks",), "max", "Rows to clean up."),
        Exposed("weir_database_live_rows", "gauge", ("table",), ("tasks",), "max", "Rows, about."),
        Exposed(
            "weir_database_longest_query_seconds", "gauge", (), ("tasks",), "max", "Since when the longest query runs."
        ),
        Exposed(
            "weir_database_longest_transaction_seconds",
            "gauge",
            (),
            ("tasks",),
            "max",
            "Since when the longest is open.",
        ),
        Exposed(
            "weir_database_replication_lag_bytes", "gauge", ("replica",), ("tasks",), "max", "What a replica lacks."
        ),
        Exposed(
            "weir_database_replication_lag_seconds", "gauge", ("replica",), ("tasks",), "max", "How late a replica is."
        ),
        Exposed(
            "weir_database_replication_slot_bytes",
            "gauge",
            ("slot",),
            ("tasks",),
            "max",
            "What a slot keeps of the log.",
        ),
        Exposed("weir_database_size_bytes", "gauge", (), ("tasks",), "max", "The database on the disk."),
        Exposed("weir_database_table_size_bytes", "gauge", ("table",), ("tasks",), "max", "With indexes."),
        Exposed(
            "weir_database_xid_age", "gauge", (), ("tasks",), "max", "Transactions since the oldest row was frozen."
        ),
        Exposed(
            "weir_due_work", "gauge", ("work",), ("tasks",), "max", "Pieces that are due and nobody's, 500 at most."
        ),
        Exposed(
            "weir_due_work_late_seconds",
            "gauge",
            ("work",),
            ("tasks",),
            "max",
            "How long ago the first of them became due.",
        ),
        Exposed(
            "weir_held_streams", "gauge", ("consumer",), ("tasks",), "max", "Streams that wait for a newer release."
        ),
        Exposed("weir_log_position", "gauge", (), ("tasks",), "max", "The last position of the log."),
        Exposed("weir_observed_timestamp_seconds", "gauge", (), ("tasks",), "max", "When these figures were seen."),
        Exposed(
            "weir_outbox_given_up",
            "gauge",
            ("outbox",),
            ("tasks",),
            "max",
            "Rows that nobody will try again by itself.",
        ),
        Exposed(
            "weir_outbox_oldest_seconds",
            "gauge",
            ("outbox",),
            ("tasks",),
            "max",
            "Age of the oldest that is owed, tried or not.",
        ),
        Exposed(
            "weir_parked_streams",
            "gauge",
            ("consumer",),
            ("tasks",),
            "max",
            "Streams that a poison event has set aside.",
        ),
        Exposed(
            "weir_signing_key_age_seconds",
            "gauge",
            (),
            ("tasks",),
            "max",
            "For how long the newest key has signed tokens.",
        ),
        Exposed("weir_webhooks_paused", "gauge", (), ("tasks",), "max", "Subscribers left alone after failures."),
    ],
    "Of every process": [
        Exposed(
            "process_cpu_seconds_total", "counter", (), ALL, "sum", "Total user and system CPU time spent in seconds."
        ),
        Exposed("process_max_fds", "gauge", (), ALL, "min", "Maximum number of open file descriptors."),
        Exposed("process_open_fds", "gauge", (), ALL, "sum", "Number of open file descriptors."),
        Exposed("process_resident_memory_bytes", "gauge", (), ALL, "sum", "Resident memory size in bytes."),
        Exposed(
            "process_start_time_seconds",
            "gauge",
            (),
            ALL,
            "min",
            "Start time of the process since unix epoch in seconds.",
        ),
        Exposed("process_virtual_memory_bytes", "gauge", (), ALL, "sum", "Virtual memory size in bytes."),
        Exposed(
            "python_gc_collections_total",
            "counter",
            ("generation",),
            ALL,
            "sum",
            "Number of times this generation was collected",
        ),
        Exposed(
            "python_gc_objects_collected_total", "counter", ("generation",), ALL, "sum", "Objects collected during gc"
        ),
        Exposed(
            "python_gc_objects_uncollectable_total",
            "counter",
            ("generation",),
            ALL,
            "sum",
            "Uncollectable objects found during GC",
        ),
        Exposed(
            "python_info",
            "gauge",
            ("implementation", "major", "minor", "patchlevel", "version"),
            ALL,
            "max",
            "Python platform information",
        ),
        Exposed("weir_database_pool_connections", "gauge", ("pool", "state"), ALL, "sum", "Connections that are open."),
        Exposed("weir_database_pool_exhausted_total", "counter", ("pool",), ALL, "sum", "Who waited in vain."),
        Exposed("weir_database_pool_limit", "gauge", ("pool",), ALL, "sum", "How many there may be."),
        Exposed("weir_database_pool_waiting", "gauge", ("pool",), ALL, "sum", "Who waits for one."),
    ],
}

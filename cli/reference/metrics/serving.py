"""The metrics of what is served and stored: requests, writes, reads, the relay."""

from collections.abc import Mapping, Sequence
from typing import Final

from cli.reference.metrics.exposed import Exposed

SERVING: Final[Mapping[str, Sequence[Exposed]]] = {
    "Requests": [
        Exposed(
            "http_request_duration_seconds",
            "histogram",
            ("method", "route", "status_class"),
            ("api",),
            "sum",
            "From a request's head to the end of its answer; to its beginning, where the answer comes in parts.",
        ),
        Exposed(
            "http_requests_in_progress",
            "gauge",
            ("method", "route"),
            ("api",),
            "sum",
            "Requests that are being answered; event streams are not.",
        ),
        Exposed(
            "http_requests_total",
            "counter",
            ("method", "route", "status"),
            ("api",),
            "sum",
            "Requests answered, by route and status.",
        ),
        Exposed("weir_event_streams_open", "gauge", (), ("api",), "sum", "Event streams that are open."),
        Exposed("weir_followed_streams", "gauge", (), ("api",), "sum", "Streams that are followed here."),
        Exposed("weir_followers", "gauge", (), ("api",), "sum", "Followers of a stream, or of the log."),
        Exposed(
            "weir_followers_too_slow_total",
            "counter",
            (),
            ("api",),
            "sum",
            "Followers that were ended as they were too slow.",
        ),
        Exposed("weir_room_sockets_open", "gauge", (), ("api",), "sum", "Sockets that are open in rooms."),
        Exposed("weir_websockets_open", "gauge", ("route",), ("api",), "sum", "WebSockets that are open."),
        Exposed(
            "weir_websockets_total",
            "counter",
            ("route", "outcome"),
            ("api",),
            "sum",
            "WebSockets asked for: taken to their route, or refused before it.",
        ),
    ],
    "Writes: commands and the log": [
        Exposed("weir_append_batch_size", "histogram", (), ("api", "tasks"), "sum", "Requests of a batch."),
        Exposed(
            "weir_append_duration_seconds",
            "histogram",
            (),
            ("api", "tasks"),
            "sum",
            "From a batch's sending to its commit.",
        ),
        Exposed("weir_appended_events_total", "counter", (), ("api", "tasks"), "sum", "Events stored."),
        Exposed(
            "weir_appends_total",
            "counter",
            ("outcome",),
            ("api", "tasks"),
            "sum",
            "Requests to append, by what came of them.",
        ),
        Exposed(
            "weir_command_conflicts_total", "counter", (), ("api", "tasks"), "sum", "Decisions that were made in vain."
        ),
        Exposed("weir_command_decisions_total", "counter", (), ("api", "tasks"), "sum", "Decisions on commands."),
        Exposed(
            "weir_command_turns_total", "counter", (), ("api", "tasks"), "sum", "Turns taken on contested streams."
        ),
    ],
    "Reads and caches": [
        Exposed("weir_announcements_up", "gauge", (), ("api",), "min", "1 while consumers are heard."),
        Exposed("weir_cache_up", "gauge", (), ("api",), "min", "1 while Redis answers."),
        Exposed("weir_local_cache_documents", "gauge", ("projection",), ("api",), "sum", "Documents in this process."),
        Exposed(
            "weir_reads_past_caches", "gauge", ("projection",), ("api",), "max", "1 while commits stay unannounced."
        ),
        Exposed(
            "weir_reads_total",
            "counter",
            ("projection", "source"),
            ("api",),
            "sum",
            "Documents served, by where they came from.",
        ),
    ],
    "The relay, and Redis": [
        Exposed("weir_redis_memory_limit_bytes", "gauge", (), ("relay",), "max", "Its maxmemory; 0 if it has none."),
        Exposed("weir_redis_memory_used_bytes", "gauge", (), ("relay",), "max", "Memory that Redis uses."),
        Exposed(
            "weir_relay_lag_events", "gauge", (), ("relay",), "max", "Events of the log that are not in the streams."
        ),
        Exposed(
            "weir_relay_lag_seconds",
            "gauge",
            (),
            ("relay",),
            "max",
            "Since when the leader has not had all of the log in the streams. It grows while either server is away.",
        ),
        Exposed("weir_relay_leading", "gauge", (), ("relay",), "sum", "1 where this process is the leader."),
        Exposed(
            "weir_relay_out_of_memory_total",
            "counter",
            (),
            ("relay",),
            "sum",
            "Times that Redis had no memory for what was to be written.",
        ),
        Exposed("weir_relay_published_events_total", "counter", (), ("relay",), "sum", "Events written into streams."),
        Exposed("weir_relay_stream_budget_bytes", "gauge", (), ("relay",), "max", "Memory that they may take."),
        Exposed("weir_relay_stream_bytes", "gauge", (), ("relay",), "max", "Memory that the streams take, about."),
    ],
}

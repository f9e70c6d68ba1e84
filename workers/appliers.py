"""How parked streams of mails and process managers are taken up again; read models have a table of their own."""

from infra.eventsourcing.event_log import EventLog
from infra.eventsourcing.process_managers import consumer as process_consumer
from infra.eventsourcing.projections.parked_streams import Apply
from infra.identity.one_time_links import Lives
from workers.mail import consumer
from workers.mail.consumer import NAME
from workers.order_deadlines import PROCESSES, effects_of
from workers.webhooks import consumer as webhooks


def appliers(log: EventLog, domain: str, lives: Lives) -> dict[str, Apply]:
    """How parked streams are taken up again, by consumer, for all that are no read models."""
    effects = effects_of(log, domain)
    processes = {name: process_consumer.applier(process, effects) for name, process in PROCESSES.items()}
    return {
        NAME: consumer.applier(log, domain, lives),
        webhooks.NAME: webhooks.applier(log),
        **processes,
    }

"""The Python ``eventsourcing`` library: ``app.save`` of one new order per call, one thread per writer."""

from benchmarks.figures import Figures
from benchmarks.load import workload
from benchmarks.load.loops import race_threads
from benchmarks.peers.shop import Order, Shop, environment
from benchmarks.task import Task, received


def _run(task: Task) -> Figures:
    deal = workload.orders()
    functions = bool(task.extra.get("functions"))
    app = Shop(env=environment(task.database, pool=task.writers, functions=functions))
    try:
        return race_threads(
            lambda _writer: app.save(Order(deal())),
            writers=task.writers,
            seconds=task.seconds,
        )
    finally:
        app.close()


if __name__ == "__main__":
    _run(received()).tell()

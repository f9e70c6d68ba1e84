"""What the load generator itself costs, measured against a server that does nothing."""

from benchmarks.bench import Bench
from benchmarks.figures import Figures
from benchmarks.load.generator import MARK, Load
from benchmarks.load.http_client import request


async def calibrate(bench: Bench) -> Figures:
    """One lap of the generator with requests of the size that the measures send."""
    text = request("GET", "/", {"Authorization": "Bearer " + "x" * 400, "Idempotency-Key": MARK}).decode()
    async with bench.responder() as port:
        load = Load(ports=[port], requests=[text], expect=[200], seconds=bench.options.seconds)
        return await bench.client("benchmarks.load.generator", load)

"""What the load generator itself costs, measured against a server that does nothing."""

from benchmarks.bench import Bench
from benchmarks.figures import Figures
from benchmarks.http_client import request
from benchmarks.load import MARK, Load
from benchmarks.processes import serving
from infra.embedded import free_port


async def calibrate(bench: Bench) -> Figures:
    """One lap of the generator with requests of the size that the measures send."""
    port = free_port()
    command = (str(bench.python), "-m", "benchmarks.responder", str(port))
    text = request("GET", "/", {"Authorization": "Bearer " + "x" * 400, "Idempotency-Key": MARK}).decode()
    async with serving(command, {}, bench.scratch / "responder.log", port=port, path="/"):
        return await bench.load(Load(port=port, requests=[text], expect=200, seconds=bench.options.seconds))

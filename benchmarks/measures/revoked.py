"""How long access that one API process has ended still opens anything at another one."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import cycle
from time import perf_counter

from benchmarks.bench import Bench
from benchmarks.figures import Figures, summed_up
from benchmarks.load.http_client import Client, request
from benchmarks.measure import WEIR, Bar, Lap, Measure
from benchmarks.setting.shop import account_of, customer, signed_in, signed_in_again


@asynccontextmanager
async def _opened(bench: Bench) -> AsyncIterator[Mapping[str, Lap]]:
    async with (
        bench.databases.fresh(migrated=True) as database,
        bench.weir_server(database) as here,
        bench.weir_server(database) as there,
    ):
        admin, first = await signed_in(here), await customer(here)
        path = f"/v1/accounts/{account_of(first)}/roles"
        ending, asking = [await Client.connect("127.0.0.1", port) for port in (here, there)]
        changes = [_change(path, admin, roles) for roles in (["customer", "staff"], ["customer"])]
        turns = cycle(changes)

        async def lap(_number: int) -> Figures:
            latencies: list[float] = []
            start = perf_counter()
            while perf_counter() - start < bench.options.seconds:
                token = await signed_in_again(there)
                question = request("GET", "/v1/me/api-keys", {"Authorization": f"Bearer {token}"})
                assert (await asking.ask(question))[0] == 200
                assert (await ending.ask(next(turns)))[0] == 200
                ended = perf_counter()
                while (await asking.ask(question))[0] != 401:
                    pass
                latencies.append(perf_counter() - ended)
            return summed_up(latencies, perf_counter() - start)

        try:
            yield {WEIR: lap}
        finally:
            ending.close()
            asking.close()


def _change(path: str, admin: str, roles: list[str]) -> bytes:
    headers = {"Authorization": f"Bearer {admin}", "Content-Type": "application/json"}
    return request("PUT", path, headers, json.dumps({"roles": roles}).encode())


ENDING = Measure(
    name="revoked",
    unit="ends/s",
    open=_opened,
    bars=(Bar(what="a role is taken away at one API process → the token is refused at another", p99_ms=200),),
)

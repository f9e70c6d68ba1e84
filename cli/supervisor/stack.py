"""The whole system on one machine: servers, mail sink, schema, API and workers, in that order; and back."""

import asyncio
import secrets
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from cli.supervisor.child import Backoff, Child, Startable
from cli.supervisor.console import Level, Report, silent
from cli.supervisor.credentials import another_admin, credentials, remember
from cli.supervisor.lock import DirectoryLock
from cli.supervisor.logs import Judge, LogTail, judge_nothing, judge_postgres, judge_program
from cli.supervisor.ports import KeptPorts
from cli.supervisor.programs import (
    MARK,
    WITH_DATABASE,
    WITH_REDIS,
    Program,
    Stage,
    Wiring,
    weir_programs,
    worker_names,
)
from cli.supervisor.runner import Runner
from cli.target.run_file import RunFile
from infra.embedded import Postgres, StartFailed, Valkey, end_marked, write_private
from infra.settings import DRAIN_SECONDS
from infra.settings.urls import address_of

_FOLLOW_SECONDS = 0.25
_GRACE = 5.0
"""Seconds that a program may take beyond its own bounded drain."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a stack is made of. ``programs`` makes the table of processes.

    ``port`` is the API's, as :class:`~cli.supervisor.ports.KeptPorts` takes it; ``database_url`` and ``redis_url`` are
    servers that run already, and are used instead of our own.
    ``drain_seconds`` is what each program is told to drain within. It is killed only later: a conversation with a mail
    server would be cut off, and the mail sent again.
    ``durable=False`` gives up fsync, for tests that claim nothing about power cuts.
    ``reload``: a process starts anew when its code changes.
    """

    directory: Path
    host: str = "127.0.0.1"
    port: int | None = 0
    database_url: str | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)
    workers: int = 1
    programs: Callable[[Wiring], Sequence[Program]] = weir_programs
    postgres_settings: Mapping[str, str] = field(default_factory=dict)
    durable: bool = True
    backoff: Backoff = field(default_factory=Backoff)
    ready_seconds: float = 60.0
    drain_seconds: float = DRAIN_SECONDS
    reload: bool = False


class Stack:
    """Everything running, between entry and exit. Entry waits until all are ready; exit until all are gone.

    Raises StartFailed from entry, with nothing left running. Its children die with the thread that entered it.
    """

    def __init__(self, options: Options, report: Report = silent) -> None:
        self._options = options
        self._report = report
        self._directory = options.directory.resolve()
        self._lock = DirectoryLock(self._directory)
        self._run_file = RunFile(self._directory)
        self._ports = KeptPorts(self._directory, options.port, options.host)
        self._groups: list[Sequence[Child]] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._tails: list[LogTail] = []
        self._wiring: Wiring | None = None

    async def __aenter__(self) -> "Stack":
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self._stop()

    @property
    def wiring(self) -> Wiring:
        """Who listens where: URLs, the mail directory, and the environment for further processes of this stack."""
        if self._wiring is None:
            raise StartFailed("weir", "the stack has not been entered")
        return self._wiring

    @property
    def api_url(self) -> str:
        return self.wiring.api_url

    @property
    def mail_dir(self) -> Path:
        return self.wiring.mail_dir

    @property
    def database_url(self) -> str:
        return self.wiring.database_url

    @property
    def direct_url(self) -> str:
        """Postgres without a pooler between."""
        return self.wiring.told.get("DATABASE_DIRECT_URL", self.database_url)

    @property
    def redis_url(self) -> str:
        return self.wiring.redis_url

    @property
    def environment(self) -> dict[str, str]:
        return self.wiring.environment

    def child(self, name: str) -> Child:
        """A kept process by its name: ``postgres``, ``valkey``, or one of the table. Raises KeyError."""
        return {child.name: child for group in self._groups for child in group}[name]

    async def kill(self, name: str, sign: signal.Signals = signal.SIGKILL) -> None:
        """Signal one child's process. It is restarted, like after any other end."""
        await self.child(name).kill(sign)

    async def restarted(self, name: str, timeout: float = 30.0) -> None:
        """Wait until the successor of a killed child is ready. Raises TimeoutError."""
        await self.child(name).restarted(timeout)

    def down(self, name: str) -> AbstractAsyncContextManager[None]:
        """One child killed and kept down, until the exit, which waits until it is ready again."""
        return self.child(name).down()

    async def watch(self) -> None:
        """Wait for as long as all goes its way. Raises what keeps a keeper from its work."""
        await asyncio.gather(*self._keepers)

    async def _start(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        self._lock.take()
        await end_marked(MARK, self._mark())
        self._ports.recall()
        api_port = self._ports.take("api")
        self._keepers.append(asyncio.create_task(self._follow_logs()))
        self._wiring = self._wired(api_port, *await self._start_servers())
        self._ports.keep()
        self._say_what_differs()
        programs = self._options.programs(self.wiring)
        pages = {program.name: program.ready_url for program in programs if program.ready_url}
        self._run_file.write(api_url=self.api_url, health=pages, environment=self.wiring.told)
        await self._start_programs(programs)
        if self._options.reload:
            self._keepers.append(asyncio.create_task(self._reload()))
        remember(self._directory, self.wiring.secrets)

    def _mark(self) -> str:
        """What the environment of every process of this directory carries, so that none is ever overlooked."""
        path = self._directory / "mark"
        if not path.exists():
            write_private(path, secrets.token_hex(16))
        return path.read_text(encoding="utf-8")

    async def _start_servers(self) -> tuple[str, str]:
        """The URLs of Postgres and Redis: of those that were named, or of our own, which are started."""
        database_url = self._named("postgres", self._options.database_url)
        redis_url = self._named("valkey", self._options.redis_url)
        postgres = Postgres(
            self._directory,
            preferred_port=self._ports.wanted("postgres"),
            settings=self._options.postgres_settings,
            durable=self._options.durable,
        )
        valkey = Valkey(self._directory, preferred_port=self._ports.wanted("valkey"))
        await self._keep(
            [self._child(postgres, judge_postgres)] if database_url is None else [],
            [self._child(valkey, judge_nothing)] if redis_url is None else [],
        )
        for server in (postgres, valkey):
            if server.port:
                self._ports.note(server.name, server.port)
        return database_url or postgres.url, redis_url or valkey.url

    def _named(self, name: str, url: str | None) -> str | None:
        """The server that the caller has named, unless it is this directory's own."""
        if url is None or self._ports.leads_here(name, url):
            return None
        self._report(name, f"none is started: {address_of(url)} is used, as the environment says", Level.INFO)
        return url

    def _wired(self, api_port: int, database_url: str, redis_url: str) -> Wiring:
        named = (self._options.database_url, WITH_DATABASE), (self._options.redis_url, WITH_REDIS)
        return Wiring(
            directory=self._directory,
            database_url=database_url,
            redis_url=redis_url,
            host=self._options.host,
            api_port=api_port,
            smtp_port=self._ports.take("smtp"),
            mailbox_port=self._ports.take("mailbox"),
            provider_port=self._ports.take("provider"),
            worker_ports={name: self._ports.take(name) for name in worker_names(self._options.workers)},
            drain_seconds=self._options.drain_seconds,
            mark=self._mark(),
            secrets=credentials(self._directory),
            inherited=[name for url, names in named if url in (database_url, redis_url) for name in names],
        )

    def _say_what_differs(self) -> None:
        """What a caller may not expect: a port that was taken, settings that are of no use here, a second admin."""
        if self._options.port is None and self.wiring.api_port != self._ports.wanted("api"):
            self._report(
                "api", f"port {self._ports.wanted('api')} is taken: {self.wiring.api_port} instead", Level.WARNING
            )
        if unused := self.wiring.unused:
            told = f"not used, as this stack has its own: {', '.join(unused)}"
            self._report("weir", told, Level.WARNING)
        if another := another_admin(self._directory, self.wiring.secrets):
            self._report("weir", another, Level.WARNING)

    async def _start_programs(self, programs: Sequence[Program]) -> None:
        def staged(stage: Stage) -> list[Runner]:
            return [self._runner(program) for program in programs if program.stage is stage]

        await self._keep([self._child(runner, judge_program) for runner in staged(Stage.BESIDE)])
        for runner in staged(Stage.BEFORE):
            await runner.run()
        await self._keep([self._child(runner, judge_program) for runner in staged(Stage.MAIN)])

    def _runner(self, program: Program) -> Runner:
        return Runner(
            program,
            self._directory,
            self.environment,
            ready_seconds=self._options.ready_seconds,
            drain_seconds=self._options.drain_seconds + _GRACE,
        )

    def _child(self, subject: Startable, judge: Judge) -> Child:
        log = self._directory / "log" / f"{subject.name}.log"
        self._tails.append(LogTail(subject.name, log, judge, self._report))
        return Child(subject, self._options.backoff, self._report)

    async def _keep(self, *groups: Sequence[Child]) -> None:
        """Start those children side by side, and keep them from then on. Groups are stopped in the opposite order."""
        self._groups.extend(groups)
        children = [child for group in groups for child in group]
        await _start_all(children)
        for child in children:
            self._report(child.name, f"ready, pid {child.pid}", Level.INFO)
            self._keepers.append(asyncio.create_task(child.keep(), name=child.name))

    async def _reload(self) -> None:
        from cli.supervisor.reload import reloading  # what watches files is loaded where somebody works on them

        await reloading([child for group in self._groups for child in group], self._report)

    async def _follow_logs(self) -> None:
        while True:
            self._show_logs()
            await asyncio.sleep(_FOLLOW_SECONDS)

    def _show_logs(self) -> None:
        for tail in self._tails:
            tail.follow()

    async def _stop(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._keepers.clear()
        failures: list[BaseException] = []
        for group in reversed(self._groups):
            outcomes = await asyncio.gather(*(child.stop() for child in group), return_exceptions=True)
            failures += [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        self._show_logs()
        self._run_file.remove()
        self._lock.release()
        if failures:
            raise failures[0]


async def _start_all(children: Iterable[Child]) -> None:
    """Start them side by side; the first that fails ends the attempt."""
    try:
        async with asyncio.TaskGroup() as starting:
            for child in children:
                starting.create_task(child.start())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None

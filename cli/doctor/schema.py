"""The schema of the database against this release's."""

from collections.abc import Sequence
from typing import Final

from cli.doctor.finding import Finding, advice, problem
from cli.doctor.patient import Patient
from infra.errors import BACK, UnknownSchema
from infra.eventsourcing.projections.generations import outdated
from infra.postgres import schema_drift, schema_version
from projections.registry import PROJECTIONS

MOST_TOLD: Final = 5
_REFUSED: Final = "every process of this release refuses to start"


async def revision(patient: Patient) -> Sequence[Finding]:
    """Older, newer, or none."""
    async with patient.database() as database:
        try:
            await schema_version.check(database)
        except UnknownSchema as unknown:
            wrong = unknown
        else:
            return await _read_models(patient)
    if wrong.newer:
        told = f"the schema is at {wrong.found}, which a newer release has made; this one knows {wrong.expected}"
        return [problem(told, _REFUSED, BACK)]
    told = f"the schema is at {wrong.found or 'nothing'}, this release needs {wrong.expected}"
    return [problem(told, _REFUSED, "`weir backup`, then `weir migrate`")]


async def _read_models(patient: Patient) -> Sequence[Finding]:
    async with patient.postgres() as connection:
        old = [each.name for each in await outdated(connection, PROJECTIONS)]
    if not old:
        return []
    told = f"read models that this release folds otherwise: {', '.join(old)}"
    return [problem(told, "their workers wait for them to be built anew", "`weir migrate`")]


async def drift(patient: Patient) -> Sequence[Finding]:
    """What somebody has changed by hand."""
    async with patient.database() as database:
        try:
            await schema_version.check(database)
        except UnknownSchema:
            return []  # told by another check
    found = await schema_drift.drift(patient.settings.direct_url)
    means = "the tables are not what statements are written over"
    return [
        advice(" ".join(line.split()), means, "`weir migrate --check` says all of it") for line in found[:MOST_TOLD]
    ]

"""This machine: the disks that files are kept on, and secrets that are weak."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from cli.doctor.finding import Finding, advice, problem
from cli.doctor.patient import Limits, Patient
from infra.settings import Settings
from infra.settings.report import faults_of


async def disks(patient: Patient) -> Sequence[Finding]:
    """Of the data directory and of files that are kept in a folder."""
    settings = patient.settings
    places = {settings.data_dir.absolute()}
    if (settings.storage_url or "").startswith("file:"):
        places.add(Path(unquote(urlsplit(settings.storage_url or "").path)))
    return await asyncio.to_thread(_full, places, patient.limits)


def _full(places: set[Path], limits: Limits) -> Sequence[Finding]:
    found = []
    for place in sorted(places):
        there = next(each for each in (place, *place.parents) if each.exists())
        usage = shutil.disk_usage(there)
        taken = usage.used / (usage.used + usage.free)
        if taken > limits.disk:
            told = f"the disk of {place} is {100 * taken:.0f} % full"
            means = "uploads are refused, and a server of `weir up` stops, when it is full"
            found.append(
                (problem if taken > limits.disk_full else advice)(told, means, f"df -h {there}; move it, or make room")
            )
    return found


async def secrets(patient: Patient) -> Sequence[Finding]:
    """Those that only development lets through, and other things that only development should have."""
    if patient.settings.environment == "production":
        return []
    means = "it lets weak and published secrets through, and shows pages that are for developers"
    found = [advice("WEIR_ENVIRONMENT is development", means, "WEIR_ENVIRONMENT=production, on a server")]
    given = {name: getattr(patient.settings, name) for name in patient.settings.model_fields_set}
    try:
        Settings(**{**given, "environment": "production"})
    except ValidationError as error:
        found += [
            advice(str(fault), "in production it is refused", f"another value of {fault.name}")
            for fault in faults_of(error) or []
        ]
    return found

"""The table of all metrics: what is exposed under which name, with which labels, by which processes.

Names follow Prometheus' conventions. A test holds the table against what real processes expose, and each rule and panel
in deploy/ against the table.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from cli.reference.metrics.exposed import Exposed
from cli.reference.metrics.serving import SERVING
from cli.reference.metrics.working import WORKING

METRICS: Final[Mapping[str, Sequence[Exposed]]] = {**SERVING, **WORKING}
"""By what they tell of."""
BY_NAME: Final[Mapping[str, Exposed]] = {each.name: each for group in METRICS.values() for each in group}

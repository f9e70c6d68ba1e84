"""What a process of the load is told, in a file: more than an argument holds."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Orders:
    """One run's orders, as the fields of a kind say."""

    def write(self, path: Path) -> None:
        """Save for another process."""
        path.write_text(json.dumps(asdict(self)))

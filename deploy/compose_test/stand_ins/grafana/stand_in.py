"""What stands for Grafana: it says that it is well if the data sources and dashboards given to it can be read."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

PROVISIONING = Path("/etc/grafana/provisioning")


def faults() -> list[str]:
    """What is missing: a data source, or a dashboard in a folder that a provider names."""
    sources = [_read(file) for file in PROVISIONING.glob("datasources/*.y*ml")]
    providers = [each for file in PROVISIONING.glob("dashboards/*.y*ml") for each in _read(file)["providers"]]
    boards = [file for each in providers for file in Path(each["options"]["path"]).rglob("*.json")]
    titles = [json.loads(file.read_text())["title"] for file in boards]
    return [*([] if sources else ["no data source"]), *([] if titles else ["no dashboard"])]


def _read(file: Path) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(file.read_text())
    return read


class Answer(BaseHTTPRequestHandler):
    """The one page."""

    def do_GET(self) -> None:
        found = faults()
        self.send_response(503 if found else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"database": "none: a stand-in", "faults": found}).encode())


ThreadingHTTPServer(("", 3000), Answer).serve_forever()

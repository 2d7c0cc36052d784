"""Results that are kept, so that documents can cite them: ``benchmarks/<name>/<time>.json``, with host and commit."""

import json
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.processes import ROOT
from costlab.lab.environment import describe


def save(result: dict, name: str, folder: Path = ROOT / "benchmarks") -> Path:
    """Write ``result``, with this machine, its versions and the commit unless it has them already."""
    where = result.get("environment") or describe(None).model_dump(mode="json")
    file = folder / name / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(result | {"environment": where}, indent=1) + "\n")
    return file

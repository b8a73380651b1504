"""Run programs one after the other in the process that a launcher starts, which takes longer than most of them.

``LAUNCHER tests/in_one_process.py RECORD.json '[["examples/saxpy.py", "--size", "1000"], ...]'``

The record has by program what it printed, the traceback of one that failed, and where several
processes run the programs how many tiles ran in this one; each writes its own record: RECORD.0.json, RECORD.1.json.
"""

from __future__ import annotations

import io
import json
import os
import runpy
import sys
import traceback
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import xpdispatch

RANK = os.environ.get("OMPI_COMM_WORLD_RANK")


def count_tiles() -> Any:
    """Note the tiles of this process from now on."""
    xpdispatch.array_module()
    from xpdispatch.legate import leaf

    class Counted(leaf.Recorder):
        ran = 0

        def note(self, definition: Any, tile: Any) -> None:
            self.ran += 1

    leaf.recorder = Counted()
    return leaf.recorder


def outcome(program: list[str]) -> dict[str, str]:
    printed, failed = io.StringIO(), ""
    sys.argv[:] = program
    tiles = None if RANK is None else count_tiles()
    try:
        with redirect_stdout(printed):
            runpy.run_path(program[0], run_name="__main__")
            xpdispatch.synchronize()  # so that what fails late fails here, and not in the next program
    except (Exception, SystemExit):
        failed = traceback.format_exc()
    told = {} if tiles is None else {"tiles": str(tiles.ran)}
    return {"printed": printed.getvalue(), "failed": failed, **told}


def main(record: str, programs: str) -> None:
    found = {Path(program[0]).stem: outcome(program) for program in json.loads(programs)}
    path = Path(record)
    (path if RANK is None else path.with_suffix(f".{RANK}.json")).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

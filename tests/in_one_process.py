"""Run programs one after the other in the process that a launcher starts, which takes longer than most of them.

``LAUNCHER tests/in_one_process.py RECORD.json '[["examples/saxpy.py", "--size", "1000"], ...]'``

The record has by program what it printed, and the traceback of one that failed.
"""

from __future__ import annotations

import io
import json
import runpy
import sys
import traceback
from contextlib import redirect_stdout
from pathlib import Path

import xpdispatch


def outcome(program: list[str]) -> dict[str, str]:
    printed, failed = io.StringIO(), ""
    sys.argv[:] = program
    try:
        with redirect_stdout(printed):
            runpy.run_path(program[0], run_name="__main__")
            xpdispatch.synchronize()  # so that what fails late fails here, and not in the next program
    except (Exception, SystemExit):
        failed = traceback.format_exc()
    return {"printed": printed.getvalue(), "failed": failed}


def main(record: str, programs: str) -> None:
    found = {Path(program[0]).stem: outcome(program) for program in json.loads(programs)}
    Path(record).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

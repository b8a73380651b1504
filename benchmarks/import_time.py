"""How long ``import xpdispatch`` and a first call take, against ``import array_api_compat.numpy``.

    python benchmarks/import_time.py [--runs 30] [--before a/checkout/src]

All are whole processes, started in turn so that a machine that speeds up or slows down does so for all; the start of
an empty interpreter is measured in the same turn and subtracted. Modules are compiled before. With ``--before``
another version of the library is measured in the same turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

CALL = "import numpy as np; from xpdispatch import kernel; x = np.arange(5.0); kernel('x[i], y[i] -> z[i]')({})(x, x)"
STATEMENTS = {
    "nothing": "pass",
    "numpy": "import numpy",
    "array_api_compat.numpy": "import array_api_compat.numpy",
    "xpdispatch": "import xpdispatch",
    "first call": CALL.format("lambda xp, x, y: 2.0 * xp.exp(x) + y"),
    "first call, xp.asarray": CALL.format("lambda xp, x, y: 2.0 * xp.asarray(x) + y"),
}


def seconds(statement: str, source: str | None, compiled: str) -> float:
    options = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": compiled}
    environment = {**os.environ, **options, **({} if source is None else {"PYTHONPATH": source})}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, env=environment)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--before")
    arguments = parser.parse_args()
    jobs = [(name, None) for name in STATEMENTS]
    if arguments.before:
        jobs += [(name, arguments.before) for name in STATEMENTS if "call" in name or name == "xpdispatch"]
    times = {job: [] for job in jobs}
    with tempfile.TemporaryDirectory() as compiled:
        for run in range(arguments.runs + 1):
            for name, source in jobs:
                took = seconds(STATEMENTS[name], source, compiled)
                if run:
                    times[name, source].append(took)
    medians = {job: statistics.median(values) for job, values in times.items()}
    net = {
        name + (", before" if source else ""): 1e3 * (median - medians["nothing", None])
        for (name, source), median in medians.items()
        if name != "nothing"
    }
    for name, milliseconds in net.items():
        print(f"{name:32} {milliseconds:7.1f} ms")
    ratio = net["xpdispatch"] / net["array_api_compat.numpy"]
    print(f"ratio of imports                 {ratio:7.2f}      (target: below 1.5)")
    runs = arguments.runs
    print(json.dumps({"python": platform.python_version(), "runs": runs, "milliseconds": net, "ratio": ratio}))


if __name__ == "__main__":
    main()

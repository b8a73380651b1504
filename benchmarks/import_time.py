"""How long ``import xpdispatch`` takes, against ``import array_api_compat.numpy``.

    python benchmarks/import_time.py [--runs 30]

Both are whole processes, started in turn so that a machine that speeds up or slows down does so for both; the
start of an empty interpreter is measured in the same turn and subtracted.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time

STATEMENTS = {
    "nothing": "pass",
    "array_api_compat.numpy": "import array_api_compat.numpy",
    "xpdispatch": "import xpdispatch",
}


def seconds(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    runs = parser.parse_args().runs
    for statement in STATEMENTS.values():
        seconds(statement)
    times = {name: [] for name in STATEMENTS}
    for _ in range(runs):
        for name, statement in STATEMENTS.items():
            times[name].append(seconds(statement))
    medians = {name: statistics.median(values) for name, values in times.items()}
    net = {name: 1e3 * (medians[name] - medians["nothing"]) for name in STATEMENTS if name != "nothing"}
    for name, milliseconds in net.items():
        print(f"import {name:24} {milliseconds:7.1f} ms")
    ratio = net["xpdispatch"] / net["array_api_compat.numpy"]
    print(f"ratio                           {ratio:7.2f}      (target: below 1.5)")
    print(json.dumps({"python": platform.python_version(), "runs": runs, "milliseconds": net, "ratio": ratio}))


if __name__ == "__main__":
    main()

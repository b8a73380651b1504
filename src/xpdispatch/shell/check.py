"""``xpdispatch check``: a kernel's answer does not depend on how its arrays are cut."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence

from xpdispatch.errors import PartitionWarning
from xpdispatch.shell.arguments import call_parser, load_kernel, make_arguments
from xpdispatch.testing import check_kernel, checking


def main(words: Sequence[str]) -> int:
    """Check one kernel, and print what was done; a check that fails is an exception."""
    parser = call_parser(
        "check",
        "Check a kernel: xpdispatch check package.module:kernel x=1000,3:float32 data=50:int64:0..8 bins=9",
    )
    parser.add_argument("--engines", metavar="IDS", help="numpy (the default), array_api_strict, torch, ..., legate")
    parser.add_argument("--seed", type=int, default=0, help="of the data and the tilings (default: 0)")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to look (default: 10)")
    parser.add_argument("--tiling", help='try this tiling alone, such as "i: 5 11; backward"')
    parser.add_argument("--data", help="'small integers', 'the arguments' or 'a NaN' alone")
    options = parser.parse_args(words)
    kernel = load_kernel(options.kernel)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PartitionWarning)
        with checking(
            seed=options.seed,
            seconds=options.seconds,
            tiling=options.tiling,
            data=options.data,
            engines=tuple((options.engines or "numpy").split(",")),
        ):
            done = check_kernel(kernel, **make_arguments(kernel, options.arguments, options.seed))
    for warning in caught:
        print(f"xpdispatch: {warning.message}", file=sys.stderr)
    print(f"{kernel!r}:", *(repr(result) for result in done), sep="\n  ")
    return 0

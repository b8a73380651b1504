"""``xpdispatch explain``: how a kernel's arrays would be cut, from their shapes alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from xpdispatch.legate.alignment import THRESHOLDS
from xpdispatch.shell.arguments import call_parser, load_kernel, make_arguments


def main(words: Sequence[str]) -> int:
    """Explain one call, and print or write what is asked for."""
    parser = call_parser(
        "explain",
        "Explain a call: xpdispatch explain package.module:kernel x=10000,1000:float32 bins=9 --processors 8. "
        "No array is made. Without --processors it is a call on NumPy arrays, in a process like this one.",
    )
    parser.add_argument("--processors", type=int, metavar="N", help="on Legate, on so many processors in all")
    parser.add_argument("--kind", choices=tuple(THRESHOLDS), help="of processor (default: cpu)")
    parser.add_argument("--html", metavar="FILE", help="write a page")
    parser.add_argument("--plot", metavar="FILE", help="write a picture, as PNG, SVG or PDF; needs matplotlib")
    options = parser.parse_args(words)
    kernel = load_kernel(options.kernel)
    explanation = kernel.explain(**make_arguments(kernel, options.arguments, None))
    if options.processors is not None or options.kind is not None:
        processors = 1 if options.processors is None else options.processors
        explanation = explanation.on(processors, options.kind or "cpu")
    if sys.stdout.isatty() and find_spec("rich") is not None:
        from rich.console import Console

        Console().print(explanation)
    else:
        print(explanation)
    if options.html:
        explanation.to_html(options.html)
    if options.plot:
        explanation.plot(options.plot)
    return 0

"""The parser of the notation under a coverage-guided fuzzer: whatever the text, no exception but xpdispatch's own.

It needs atheris (``pip install atheris``, CPython up to 3.13 on Linux), which no test does::

    python tests/fuzz_notation.py 5000000            # so many inputs; further flags are libFuzzer's

Inputs start from the notations of the tests and the documentation, with a dictionary of tokens. One that fails is
printed, and belongs into test_fuzzed.py.
"""

from __future__ import annotations

import re
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

if __name__ == "__main__":
    import atheris

    instrumented = atheris.instrument_imports(include=["xpdispatch"])
else:
    instrumented = nullcontext()
with instrumented:
    from xpdispatch.errors import NotationError, XPDispatchError
    from xpdispatch.language.signature import Signature
    from xpdispatch.planning.patterns import Patterns

HERE = Path(__file__).resolve().parent
TOKENS = [
    *("->", "...", "..", "//", "[", "]", ",", ":", "?", "=", "+", "-", "*", "%", "(", ")", "@", " ", "\n"),
    *("sum ", "prod ", "max ", "min ", "any ", "all ", "xor ", "fold "),
    *(
        "x[i]",
        "y[i]",
        " -> ",
        "i-1..i+1",
        "i..i+2",
        "2*i",
        "2*i-1..2*i+2",
        "i..i+w-1",
        "b*i",
        "i,i",
        ":n",
        ":3",
        ":n//2+1",
        "i=n",
        "[i=n]",
        "*xs[...]",
        "[...]",
        "[?]",
        "g[i]",
        "[@g]",
        "sum y[@g=n]",
    ),
    *("0", "9" * 18, "9" * 19, "-n", "n%0", "n//0", "((", "))", "\u00b2", "\u0663", "\u00b5", "\ufb01"),
]
VALUES = (0, 1, 3, 7, -1, 10**18, 10**5000)


def check(text: str) -> Signature | None:
    """Parse a text; what is read is printed, read again and planned for, and what is not is told about in full."""
    try:
        signature = Signature.parse(text)
    except NotationError as error:
        assert error.problem and error.hint is not None and str(error)
        assert error.column is None or 0 <= error.column <= len(error.notation), (text, error.column)
        return None
    canonical = Signature(signature.operands, signature.results)
    assert Signature.parse(str(canonical)) == signature, (text, str(canonical))
    assert Signature.parse(str(signature)) == signature
    for value in VALUES:
        _plan(signature, value)
    return signature


def _plan(signature: Signature, value: int) -> None:
    """Settle the extents for operands whose axes all have 3 cells, or as many as must be, and scalars of one value."""
    shapes = []
    for term in signature.operands:
        if term.name:
            fixed = [
                a.extent.value({}) if a.extent and not a.extent.names else 3 * (a.scale if type(a.scale) is int else 1)
                for a in term.named
            ]
            shapes.append(tuple(min(n, 1000) for n in fixed))
    try:
        made = Patterns(signature).plan(
            shapes, dict.fromkeys(signature.free_names, value), [None] * len(signature.results)
        )
    except XPDispatchError as error:
        assert str(error)
    else:
        assert all(n is None or 0 <= n < 2**63 for layout in made.results for n in layout.shape)


def corpus() -> list[str]:
    """Every text in the tests and the documentation that looks like a notation."""
    found: dict[str, None] = {}
    for path in sorted([*HERE.glob("*.py"), *HERE.parent.glob("docs/*.rst"), *HERE.parent.glob("examples/*.py")]):
        for line in path.read_text().splitlines():
            if "->" in line:
                found.update(dict.fromkeys(re.findall(r'"([^"]*->[^"]*)"', line)))
    return list(found)


def main() -> None:
    """Run the fuzzer."""
    runs, *flags = sys.argv[1:] or ["5000000"]
    with tempfile.TemporaryDirectory() as folder:
        seeds, words = Path(folder, "seeds"), Path(folder, "words")
        seeds.mkdir()
        for number, text in enumerate(corpus()):
            Path(seeds, str(number)).write_bytes(text.encode())
        quoted = ["".join(f"\\x{byte:02x}" for byte in token.encode()) for token in TOKENS]
        words.write_text("".join(f'"{token}"\n' for token in quoted))
        limits = [f"-runs={runs}", "-max_len=400", "-timeout=5", f"-dict={words}", "-print_final_stats=1"]
        atheris.Setup(
            [sys.argv[0], *limits, *flags, str(seeds)], lambda data: check(data.decode("utf-8", "surrogateescape"))
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()

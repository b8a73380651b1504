"""The table of what to write for functions, methods and attributes that only NumPy has, from the checker's own."""

from pathlib import Path

import numpy as np
from gallery import replace

from xpdispatch.testing.portable_spellings import EXTRA, FUNCTIONS, METHODS


def rows():
    """NumPy's name, and what to write; both marked as code where they are. Names of other libraries are left out."""
    names = FUNCTIONS | {name: f"array_api_extra.{name}" for name in EXTRA}
    linalg = {name: names[name] for name in ("lstsq", "norm")}
    for owner, there, found in (("np", np, names), ("np.linalg", np.linalg, linalg), ("x", np.ndarray, METHODS)):
        for name, text in sorted(found.items()):
            if hasattr(there, name):
                code = text.startswith(("xp.", "array_api_extra.", "x", "int("))
                yield f"`{owner}.{name}`", f"`{text}`" if code else text


def main():
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 34 66", "", "   * - NumPy", "     - write"]
    for name, text in rows():
        lines += [f"   * - {name}", f"     - {text}"]
    replace(Path(__file__).with_name("spellings.rst.inc"), ("\n".join(lines) + "\n").encode())


def setup(app):
    """For Sphinx."""
    app.connect("builder-inited", lambda app: main())
    return {"parallel_read_safe": True}

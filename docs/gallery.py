"""A page for every program in examples/: what it is, its picture and its output, by running it, and its source.

Sphinx loads this as an extension and writes docs/gallery/ before it reads the pages. By hand:

    python docs/gallery.py
"""

import ast
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

DOCS = Path(__file__).resolve().parent
EXAMPLES = DOCS.parent / "examples"
PAGES = DOCS / "gallery"

# The title of each program, in the order of the gallery.
SECTIONS = {
    "First programs": {
        "quick": "Quick copy",
        "saxpy": "SAXPY",
        "histogram": "Histogram",
        "matmul": "Matrix product",
        "fft": "Batched FFT",
    },
    "Photographs, maps and digits": {
        "terrain": "A map in five kernels",
        "edges": "Edges of a photograph",
        "palette": "A photograph in few colors",
        "pooling": "A pyramid of a photograph",
        "digits": "Digits by nearest neighbor",
        "eigendigits": "Principal components of digits",
    },
    "Simulation and statistics": {
        "jacobi": "Poisson's equation",
        "multigrid": "Poisson's equation by multigrid",
        "waves": "The wave equation",
        "tridiagonal": "Heat in layered rods",
        "life": "Game of Life",
        "conjugate_gradients": "Conjugate gradients",
        "kmeans": "K-means",
        "black_scholes": "Black-Scholes",
        "monte_carlo_pi": "Pi from random points",
        "compaction": "Pulses in a signal",
        "filters": "Brain waves in bands",
        "groupby": "A table by groups",
    },
}
TITLES = {name: title for section in SECTIONS.values() for name, title in section.items()}

PAGE = """\
{title}
{underline}

{summary}

.. image:: {name}.png
   :alt: What {name}.py draws
   :class: gallery-picture

{more}

.. code-block:: sh

   python examples/{name}.py --check --output {name}.png

.. code-block:: text

{output}

With Legate, put `xpdispatch run --cpus 2 --gpus 0` in the place of `python`.

:download:`{name}.py <../../examples/{name}.py>`:

.. literalinclude:: ../../examples/{name}.py
   :language: python
   :start-at: import argparse
"""

CARD = """\
   .. grid-item-card:: {title}
      :img-top: {name}.png
      :link: {name}
      :link-type: doc
      :class-card: gallery-card

      {summary}
"""

INDEX = """\
Gallery
=======

Every program in ``examples/``, with the picture and the output that it made when these pages were built, on NumPy. The
same files run on Legate. Sizes are small, and flags make them large.

{sections}

.. toctree::
   :hidden:

   {names}
"""


def main() -> None:
    """Run the programs that are newer than their pages, in two processes, and write the pages."""
    PAGES.mkdir(exist_ok=True)
    programs = sorted(path.stem for path in EXAMPLES.glob("*.py"))
    if programs != sorted(TITLES):
        raise SystemExit(f"docs/gallery.py has a title for {sorted(TITLES)}, and examples/ has {programs}")
    stale = [name for name in TITLES if not is_up_to_date(name)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        for outcomes in pool.map(lambda names: run(names, Path(folder)), (stale[::2], stale[1::2])):
            for name, outcome in outcomes.items():
                write_page(name, outcome["printed"], Path(folder) / f"{name}.png")
    sections = []
    for section, names in SECTIONS.items():
        cards = (CARD.format(name=name, title=names[name], summary=summary_of(name)) for name in names)
        sections += [section, "-" * len(section), "", ".. grid:: 1 2 3 3", "   :gutter: 3", "", *cards]
    replace(PAGES / "index.rst", INDEX.format(sections="\n".join(sections), names="\n   ".join(TITLES)).encode())


def is_up_to_date(name: str) -> bool:
    """Whether page and picture are newer than all that they are made of."""
    sources = (EXAMPLES / f"{name}.py", Path(__file__), DOCS / "matplotlibrc", *(DOCS.parent / "src").rglob("*.py"))
    made = (PAGES / f"{name}.rst", PAGES / f"{name}.png")
    return all(path.exists() for path in made) and min(path.stat().st_mtime for path in made) > max(
        source.stat().st_mtime for source in sources
    )


def paragraphs_of(name: str) -> list[str]:
    """Of the program's text, but for its commands."""
    text = ast.get_docstring(ast.parse((EXAMPLES / f"{name}.py").read_text()))
    return [p for p in text.split("\n\n") if not p.lstrip().startswith("python ")]


def summary_of(name: str) -> str:
    return paragraphs_of(name)[0].replace("\n", " ")


def write_page(name: str, printed: str, drawn: Path) -> None:
    """The picture and the page."""
    replace(PAGES / f"{name}.png", drawn.read_bytes())
    summary, *more = paragraphs_of(name)
    content = PAGE.format(
        name=name,
        title=TITLES[name],
        underline="=" * len(TITLES[name]),
        summary=summary,
        more="\n\n".join(more),
        output="\n".join(f"   {line}" for line in printed.splitlines() if not line.startswith("wrote ")),
    )
    replace(PAGES / f"{name}.rst", content.encode())


def run(names: list[str], folder: Path) -> dict[str, dict[str, str]]:
    """What programs print on NumPy, drawn as the pages want it; one that fails stops the build.

    They run in one process: most are done before Python has imported what they need.
    """
    if not names:
        return {}
    environment = {k: v for k, v in os.environ.items() if k != "LEGATE_CONFIG"}
    environment["MATPLOTLIBRC"] = str(DOCS / "matplotlibrc")
    programs = [[str(EXAMPLES / f"{n}.py"), "--check", "--output", str(folder / f"{n}.png")] for n in names]
    record = folder / f"{names[0]}.json"
    command = [sys.executable, str(DOCS.parent / "tests" / "in_one_process.py"), str(record), json.dumps(programs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    outcomes = json.loads(record.read_text())
    for name, outcome in outcomes.items():
        if outcome["failed"]:
            raise RuntimeError(f"{name}.py failed:\n{outcome['printed']}{outcome['failed']}")
    return outcomes


def replace(path: Path, content: bytes) -> None:
    """Write a file in one step, since two builders may do so at the same time."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)


def setup(app):
    """For Sphinx."""
    app.connect("builder-inited", lambda app: main())
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    main()

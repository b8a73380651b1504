"""The documentation names all that is public, and its code runs."""

import ast
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import xpdispatch.testing

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OTHERS = {
    "from-dask": {"dask"},
    "from-shard-map": {"jax"},
    "from-guvectorize": {"numba"},
    "neighbors": {"dask", "xarray"},
    "recipes": {"dask", "jax", "numba"},
}
DIRECTIVE = re.compile(r"^\.\. (?:py:data|auto(?:function|class|exception|data)):: (\w+)(?![\w.])", re.MULTILINE)


def test_api_page_documents_every_public_name_once():
    package, checks = (DOCS / "api.rst").read_text().split(".. currentmodule:: xpdispatch.testing")
    assert sorted(DIRECTIVE.findall(package)) == sorted(xpdispatch.__all__)
    assert sorted(DIRECTIVE.findall(checks)) == sorted(xpdispatch.testing.__all__)


def caches():
    """The names of all in the source that keeps what was found out, and of what grows with the process."""
    grows = re.compile(r"\b(BoundedCache|Weak\w+Dictionary)\b| = (\[\]|\{\}|set\(\))$")
    for path in (ROOT / "src").rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                if re.search(r"\bcache\b|\blru_cache\b", " ".join(map(ast.unparse, node.decorator_list))):
                    yield node.name
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                found = grows.search(ast.unparse(node))
                if found and (found[1] or node in tree.body):
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    yield from re.findall(r"\w+", " ".join(map(ast.unparse, targets)).replace("self.", ""))


def test_every_cache_is_in_the_table_with_its_bound():
    found = set(caches())
    assert len(found) > 20
    section = (DOCS / "how-it-works.rst").read_text().split("What is kept\n")[1]
    table = re.split(r"^-{3,}$", section, flags=re.MULTILINE)[1]
    assert not found - {name.split(".")[-1] for name in re.findall(r"``(\S+?)``", table)}


def test_every_page_is_in_the_table_of_contents():
    trees = [tree for page in DOCS.glob("*.rst") for tree in page.read_text().split(".. toctree::")[1:]]
    contents = " ".join(tree.split("\n\n")[1] for tree in trees).split()
    assert {page.stem for page in DOCS.glob("*.rst")} - {"index"} <= set(contents)
    assert len(contents) == len(set(contents))


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.rst")), ids=lambda page: page.stem)
def test_python_on_a_page_is_in_blocks_that_the_builder_runs(page):
    text = page.read_text()
    assert set(re.findall(r"code-block:: ?(\w*)", text)) <= {"sh", "text"}
    assert not re.findall(r"^(?! *\.\. ).*::$|^ *\.\. (?:code|parsed-literal|literalinclude)::", text, re.MULTILINE)
    assert not re.findall(r"SKIP|:options:", text)
    # At Python's prompt an empty line ends a function or a loop, so that a block can be pasted there.
    assert not re.findall(r">>> (?:@|(?:def|class|with|for|while|if|try)\b).*\n(?: *\.\.\..*\n)+ *>>>", text)
    # Only the code of those with whom a page compares may wait for its library.
    waits = set(re.findall(r":skipif:(.*)", text))
    assert waits == {f' find_spec("{library}") is None' for library in OTHERS.get(page.stem, ())}


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """What Sphinx read of the pages, once for both builders."""
    return tmp_path_factory.mktemp("doctrees")


def build(builder, folder, read):
    line = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", builder, "-d", read, DOCS, folder]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_code_of_the_documentation_runs(tmp_path, read):
    build("doctest", tmp_path, read)


@pytest.fixture(scope="module")
def site(tmp_path_factory, read):
    folder = tmp_path_factory.mktemp("html")
    build("html", folder, read)
    return folder


class Page(HTMLParser):
    """What a page links to, and what of it can be linked to."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("href", "src"):
                self.links.add(value)
            elif name in ("id", "name"):
                self.anchors.add(value)


def test_every_link_inside_the_site_leads_somewhere(site):
    pages = {path: Page(path.read_text()) for path in site.rglob("*.html") if "_static" not in path.parts}
    assert len(pages) > 40
    broken = []
    for path, page in pages.items():
        for link in page.links:
            to = urlsplit(link or "")
            if to.scheme or to.netloc or (path.name in ("search.html", "genindex.html") and not to.path):
                continue
            target = (path.parent / unquote(to.path)).resolve() if to.path else path
            anchors = pages[target].anchors if target in pages else set()
            if not target.is_file() or (to.fragment and unquote(to.fragment) not in anchors):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken


def test_every_program_is_in_the_gallery_with_its_picture_and_its_output(site):
    programs = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
    assert sorted(path.stem for path in (site / "gallery").glob("*.html")) == sorted([*programs, "index"])
    for program in programs:
        assert (site / "_images" / f"{program}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert re.search("equal to (NumPy|scipy)\n", (site / "gallery" / f"{program}.html").read_text())

"""The documentation names all that is public, and its code runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import xpdispatch.testing

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
DIRECTIVE = re.compile(r"^\.\. (?:py:data|auto(?:function|class|exception)):: (\w+)", re.MULTILINE)


def test_api_page_documents_every_public_name_once():
    package, checks = (DOCS / "api.rst").read_text().split(".. currentmodule:: xpdispatch.testing")
    assert sorted(DIRECTIVE.findall(package)) == sorted(xpdispatch.__all__)
    assert sorted(DIRECTIVE.findall(checks)) == sorted(xpdispatch.testing.__all__)


def test_every_page_is_in_the_table_of_contents():
    contents = (DOCS / "index.rst").read_text().split(".. toctree::")[1].split()
    assert {page.stem for page in DOCS.glob("*.rst")} - {"index"} <= set(contents)


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.rst")), ids=lambda page: page.stem)
def test_python_on_a_page_is_in_blocks_that_the_builder_runs(page):
    text = page.read_text()
    assert set(re.findall(r"code-block:: ?(\w*)", text)) <= {"sh", "text"}
    assert not re.findall(r"^(?!\.\. ).*::$|^\.\. (?:code|parsed-literal|literalinclude)::", text, re.MULTILINE)
    assert not re.findall(r"SKIP|skipif|:options:", text)


@pytest.mark.parametrize("builder", ["doctest", "html"])
def test_documentation_builds_without_a_warning(builder, tmp_path):
    line = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", builder, str(DOCS), str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr

"""Sphinx reads this: sphinx-build -W -b html docs docs/_build/html."""

import doctest
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # gallery.py, figures.py, spellings.py
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")  # for from-shard-map.rst

import xpdispatch

project = "xpdispatch"
author = "The xpdispatch developers"
copyright = author  # noqa: A001  Sphinx's own name
version = release = xpdispatch.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "myst_parser",
    "sphinx_design",
    "gallery",
    "figures",
    "spellings",
]
exclude_patterns = ["_build"]
source_suffix = {".rst": "restructuredtext"}  # Markdown is only included
default_role = "code"
highlight_language = "python3"

napoleon_google_docstring = False
napoleon_use_rtype = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
add_module_names = False

# The examples in docstrings lean on the public names; every page imports what it shows. How quick a machine is, is not
# what examples with hypothesis are about.
doctest_global_setup = """
from importlib.util import find_spec
from xpdispatch import *
from xpdispatch.testing import *
if find_spec("hypothesis"):
    import hypothesis
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("examples", deadline=None, suppress_health_check=slow)
    hypothesis.settings.load_profile("examples")
"""
# Without IGNORE_EXCEPTION_DETAIL, which is on by default: the texts of errors are part of what is documented.
doctest_default_flags = doctest.ELLIPSIS | doctest.DONT_ACCEPT_TRUE_FOR_1

html_theme = "pydata_sphinx_theme"
html_title = "xpdispatch"
html_static_path = ["_static"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navigation_with_keys": False,
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": [],
    "footer_end": [],
}
html_css_files = ["site.css"]
# Two columns of code need the whole width.
html_sidebars = {"index": [], "from-*": [], "tutorial": [], "api": [], "gallery/index": []}

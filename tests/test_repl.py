"""Kernels in the hands of someone at a prompt: what they show, and that they live wherever Python code does."""

from __future__ import annotations

import code
import copy
import doctest
import inspect
import linecache
import multiprocessing
import os
import pickle
import pydoc
import rlcompleter
import subprocess
import sys
from functools import partial, wraps
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import get_type_hints

import numpy as np
import pytest

import xpdispatch as xd
from conftest import run_python
from xpdispatch import In, InOut, Out, Reduce, Signature, align, broadcast, image, kernel, min_extents
from xpdispatch.language.boundaries import boundaries_of
from xpdispatch.language.words import in_words
from xpdispatch.testing import check_kernel, checking, suggest

SOURCE = Path(xd.__file__).parent.parent


@kernel("u[i-1..i+1], data[i] -> v[i], sum hist[:bins]", boundary=0)
def both(xp, tile, u, data, bins, *, scale: float = 1.0):
    """Smooth, and count.

    >>> both.name
    'both'
    """
    return scale * (u[:-2] + u[2:]), xp.zeros(bins, dtype=xp.int64) + data.shape[0]


HERE = f"{__file__}:{inspect.unwrap(both).__code__.co_firstlineno}"

# -- what a kernel shows -------------------------------------------------------------------------------------------


def test_repr_says_notation_variants_and_place() -> None:
    notation = "u[i-1..i+1], data[i] -> v[i], sum hist[:bins]"
    assert repr(both) == f"<kernel both: {notation}; parallel along i; CPU, OMP, GPU; {HERE}>"
    some = kernel("x[i] -> y[i]", variants=("CPU", "GPU"))(lambda xp, x: x)
    some.gpu_variant(lambda xp, x: x)
    assert repr(some).startswith("<kernel <lambda>: x[i] -> y[i]; parallel along i; CPU, GPU (own body); ")


def test_help_is_the_own_doc_and_the_notation_in_words() -> None:
    assert both.__doc__ == (
        "both(u, data, bins, *, scale: float = 1.0, out=None)\n\n"
        "Smooth, and count.\n\n>>> both.name\n'both'\n\n"
        "    u[i-1..i+1], data[i] -> v[i], sum hist[:bins]\n\n"
        "It runs parallel along i.\n"
        "u and data are cut along i, at the same places.\n"
        "Along i a tile of u also has the element below and the element above its own.\n"
        "Outside u is 0.\n"
        "v is put together from the tiles along i.\n"
        "hist is whole in every tile, and the tiles' hist are summed. It has bins elements.\n"
        "bins and scale are the same in every tile."
    ).replace("float = 1.0", "'float' = 1.0")
    shown = pydoc.render_doc(both, renderer=pydoc.plaintext)
    assert "\nboth = <kernel both: u[i-1..i+1], data[i] ->" in shown, "the rest of the line is cut where it is long"
    assert "Along i a tile of u also has the element below and the element above its own." in shown
    assert kernel("x[i] -> y[i]")(lambda xp, x: x).__doc__ == (
        "<lambda>(x, *, out=None)\n\n    x[i] -> y[i]\n\n"
        "It runs parallel along i.\nx is cut along i.\ny is put together from the tiles along i."
    )


@pytest.mark.parametrize(
    ("notation", "words"),
    [
        (
            "x[i], y[i] -> z[i]",
            "x and y are cut along i, at the same places. z is put together from the tiles along i.",
        ),
        (
            "x[:3], y[:] -> z[:]",
            "An axis of x has 3 elements. z is what the body returns.",
        ),
        (
            "A[m,k], B[k,n] -> sum C[m,n]",
            "A is cut along m. A and B are cut along k, at the same places. B is cut along n. "
            "C is cut along m and n, and the tiles' C are summed.",
        ),
        (
            "src[b,:,:], w[:k] -> dst[b,:,:k]",
            "src is cut along b. w is whole in every tile. Along axes 1 and 2 every tile has all of src. "
            "dst is put together from the tiles along b. Its whole axis has k elements.",
        ),
        (
            "x[..., :3], y[...] -> max z[:3]",
            "x and y are cut along their leading axes, at the same places, and broadcast as in NumPy. "
            "Along axis -1 every tile has all of x. An axis of x has 3 elements. "
            "z is whole in every tile, and the tiles' z are combined by their maximum. It has 3 elements.",
        ),
        (
            "x[i], y[...] -> any s[...]",
            "x is cut along i. y is cut along all its axes. "
            "s is cut along all its axes, and the tiles' s are combined by or.",
        ),
        ("*xs[i] -> y[i]", "all of xs are cut along i, at the same places. y is put together from the tiles along i."),
        (
            "x[i] -> y[?]",
            "x is cut along i. y has as many elements as the bodies return, joined in the order of the tiles.",
        ),
        (
            "[i=n] -> sum hits[]",
            "i runs over n elements, of which no array is needed. "
            "hits is whole in every tile, and the tiles' hits are summed.",
        ),
        (
            "x[i] -> y[i=n], z[2*i]",
            "x is cut along i. i has n elements. y is put together from the tiles along i. "
            "z is put together from the tiles along i. It has a block of 2 elements for each element of i.",
        ),
        (
            "u[2*i, j..j+2] -> v[i, j]",
            "u is cut along i and j. Each element of i goes with a block of 2 elements of u. "
            "Along j a tile of u also has the 2 elements above its own. "
            "{outside}v is put together from the tiles along i and j.",
        ),
        ("u[i] -> u[i]", "u is cut along i. u is read and written."),
        (
            "x[i] -> fold top[:3]",
            "x is cut along i. top is whole in every tile, and the tiles' top are merged by the kernel's own fold=, "
            "in the order of the tiles. It has 3 elements.",
        ),
    ],
)
def test_notation_in_words(notation: str, words: str) -> None:
    first, *others = in_words(Signature.parse(notation))
    assert first.startswith("It runs ")
    assert " ".join(others) == words.format(outside="")
    if "{outside}" in words:
        for mode, said in [
            ("clip", "Nothing lies outside u: the tiles at its ends are smaller. "),
            ("valid", "u is longer than its index by the elements around it. "),
            ("wrap", "Outside u are the elements that numpy.pad puts there with mode 'wrap'. "),
        ]:
            signature = Signature.parse(notation)
            _, *others = in_words(signature, boundaries_of(signature, {"u": mode}))
            assert " ".join(others) == words.format(outside=said)


def test_words_begin_with_what_is_parallel() -> None:
    for notation, said in [
        ("A[m,k], B[k,n] -> sum C[m,n]", "It runs parallel along m, k and n."),
        ("x[..., i] -> y[..., i]", "It runs parallel along the axes under '...' and i."),
        ("x[:] -> y[:]", "It runs in one piece."),
    ]:
        assert in_words(Signature.parse(notation))[0] == said


def test_constraints_in_words() -> None:
    @kernel(constraints=[align("x", "y"), broadcast("w"), broadcast("v", (1,)), broadcast("s")])
    def body(xp, x: In, w: In, v: In, y: InOut, s: Reduce["sum"]):
        return y, xp.sum(x)

    words = in_words(body.signature)
    assert "w is whole in every tile." in words
    assert "x and y are cut at the same places." in words
    assert "Along axis 1 every tile has all of v." in words
    assert "s is whole in every tile, and the tiles' s are summed, with what it held before the call." in words
    both = [image("p", "x"), min_extents("p", (3,))]
    words = in_words(kernel("p[i], x[:] -> y[i]", constraints=both)(lambda xp, p, x: x[p]).signature)
    assert words == (
        "It runs parallel along i.",
        "p is cut along i.",
        "y is put together from the tiles along i.",
        "A tile has the part of x that its part of p points to.",
        "Legate makes tiles of p of at least (3,) elements, where it can.",
    )


def test_signature_hides_what_callers_do_not_pass() -> None:
    assert str(inspect.signature(both)) == "(u, data, bins, *, scale: 'float' = 1.0, out=None)"
    assert get_type_hints(both) == {"scale": float}
    assert inspect.unwrap(both).__name__ == both.__name__
    assert inspect.getsource(both).startswith('@kernel("u[i-1..i+1]')

    def body(xp, x: In, z: Out, a, w: Out):
        z[...], w[...] = x, x

    assert str(inspect.signature(kernel(constraints=[align("x", "z", "w")])(body))).replace("'", "") == (
        "(x: In, z: Out, a, w: Out = None, *, out=None)"
    ), "a result that may be left out, where Python can say so"
    copied = kernel("x[i] -> z[i]", dtype="x")(lambda xp, x, z: x)
    assert str(inspect.signature(copied)) == "(x, z=None, *, out=None)"
    x = np.ones(2)
    assert copied(x).tolist() == copied(x, None).tolist() == copied(x, z=np.empty(2)).tolist() == [1.0, 1.0]


def test_tab_completion() -> None:
    complete = rlcompleter.Completer({"both": both}).complete
    assert complete("both.gpu", 0) == "both.gpu_variant("
    assert complete("both.nota", 0) == "both.notation"
    assert not {n for n in dir(both) if n in ("xp", "tile")}


def test_doctests_of_kernels_are_found() -> None:
    found = doctest.DocTestFinder().find(sys.modules[__name__], globs=globals())
    assert [t.name for t in found if t.examples] == [f"{__name__}.both"]
    assert doctest.DocTestRunner().run(next(t for t in found if t.examples)).failed == 0


def test_bodies_that_are_partial_have_the_function_s_name_doc_and_place() -> None:
    made = kernel("u[i], data[i] -> v[i], sum hist[:bins]")(partial(inspect.unwrap(both), scale=2.0))
    assert made.__name__ == "both"
    assert made.__module__ == __name__
    assert "Smooth, and count." in str(made.__doc__)
    assert repr(made).endswith(f"{HERE}>")


def test_a_body_that_is_wrapped_shows_where_it_was_written() -> None:
    @wraps(inspect.unwrap(both))
    def wrapper(*args):
        return inspect.unwrap(both)(*args)

    made = kernel("u[i-1..i+1], data[i] -> v[i], sum hist[:bins]", boundary=0)(wrapper)
    assert repr(made).endswith(f"{HERE}>")


def test_in_a_notebook_the_cell_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("IPython")
    names = {__file__: ("Cell", "In[7]")}
    module.get_ipython = lambda: SimpleNamespace(compile=SimpleNamespace(format_code_name=names.get))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)
    assert "; Cell In[7]:" in repr(both)
    names.clear()
    assert HERE in repr(both)
    module.get_ipython = lambda: None  # type: ignore[attr-defined]
    assert HERE in repr(both)


def test_in_real_ipython() -> None:
    done = run_python(
        "from IPython.core.completer import provisionalcompleter\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance(colors='nocolor')\n"
        "cell = '''from xpdispatch import kernel\n@kernel('xs[i] -> y[i]')\ndef f(xp, xs):\n    return xp.sin(xs)'''\n"
        "shell.run_cell(cell, store_history=True)\n"
        "print(repr(shell.user_ns['f']))\n"
        "shell.run_cell(cell.replace('sin', 'cos'), store_history=True)\n"
        "shell.run_cell('import numpy as np; print(f(np.zeros(2))); print(repr(f))', store_history=True)\n"
        "with provisionalcompleter():\n"
        "    found = {c.text for text in ('f.gpu', 'f(x') for c in shell.Completer.completions(text, len(text))}\n"
        "    print(found >= {'gpu_variant', 'xs='})\n"
        "shell.run_cell('f??')\n"
    )
    assert done.stdout.startswith(
        "<kernel f: xs[i] -> y[i]; parallel along i; CPU, OMP, GPU; Cell In[1]:2>\n"
        "[1. 1.]\n"
        "<kernel f: xs[i] -> y[i]; parallel along i; CPU, OMP, GPU; Cell In[2]:2>\n"
        "True\n"
        "Signature:       f(xs, *, out=None)\n"
    ), done.stderr
    assert "return xp.cos(xs)" in done.stdout


CELLS = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(colors="nocolor")
def cell(text):
    done = shell.run_cell(text, store_history=True)
    print("ended with", type(done.error_in_exec).__name__, flush=True)
cell('''import time, numpy as np, xpdispatch as xd, cupynumeric as cn
@xd.kernel("x[i] -> y[i]", dtype="x")
def body(xp, x, bad):
    time.sleep(0.05)
    if bad:
        raise ValueError("bad")
    return x
''')
"""


@pytest.mark.parametrize(
    ("cells", "ends", "told"),
    [
        (["y = body(cn.ones(3), 1)", "print(xd.to_numpy(y))"], ["ValueError", "NoneType"], 1),
        (["y = body(cn.ones(3), 1); y = body(cn.ones(3), 0)", "y = body(cn.ones(3), 1)"], ["ValueError"] * 2, 2),
        (["y = body(cn.ones(3), 0); y", "1 + 1"], ["NoneType"] * 2, 0),
        (["y = body(cn.ones(3), 1); xd.synchronize()", "1 + 1"], ["ValueError", "NoneType"], 1),
        (["y = body(cn.ones(3), 1)\n1 / 0", "1 + 1"], ["ZeroDivisionError", "NoneType"], 1),
        (["y = body(cn.ones(3), 1)\nraise KeyboardInterrupt", "1 + 1"], ["KeyboardInterrupt", "ValueError"], 1),
        (["y = body(np.ones(3), 1)"], ["ValueError"], 1),
    ],
)
def test_a_cell_ends_with_the_failures_it_left_behind(cells: list[str], ends: list[str], told: int) -> None:
    done = run_python(CELLS + "".join(f"cell({text!r})\n" for text in cells))
    assert [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("ended with")] == [
        "NoneType",
        *ends,
    ], done.stdout + done.stderr
    assert done.stdout.count("\nValueError: bad\n") == told
    assert done.stdout.count("in kernel 'body', tile i = 0:3 of 3, variant CPU") == told
    assert "Error in callback" not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


def test_a_failure_in_ipython_s_only_cell_ends_it_with_status_1() -> None:
    code = (
        "import xpdispatch as xd, cupynumeric as cn\n"
        "y = xd.kernel('x[i] -> y[i]', dtype='x')(lambda xp, x: 1 / 0)(cn.ones(3))\n"
    )
    done = run_python(
        "import sys\nfrom IPython import start_ipython\n"
        f"start_ipython(['--quick', '--no-banner', '--colors=NoColor', '-c', {code!r}])\n"
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("ZeroDivisionError: division by zero") == 1


def test_ipython_that_is_imported_and_runs_no_shell() -> None:
    done = run_python(
        "import IPython, xpdispatch as xd, cupynumeric as cn\n"
        "y = xd.kernel('x[i] -> y[i]', dtype='x')(lambda xp, x: 1 / 0)(cn.ones(3))\n"
    )
    assert done.returncode == 1
    assert "ZeroDivisionError: division by zero" in done.stderr


# -- copies and pickles --------------------------------------------------------------------------------------------


class Holder:
    @kernel("x[i] -> y[i]")
    def step(xp, x):
        return x + 1

    @staticmethod
    @kernel("x[i] -> y[i]")
    def outer(xp, x):
        return x + 2

    @kernel("x[i] -> y[i]")
    @staticmethod
    def inner(xp, x):
        return x + 3


@kernel("*xs[...] -> y[...]")
def mean(xp, *xs):
    return sum(xs) / len(xs)


def test_copies_and_pickles_are_the_kernel_itself() -> None:
    for made in (both, mean, Holder.step, Holder.outer, Holder.inner):
        assert copy.copy(made) is copy.deepcopy([made])[0] is made
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(made, protocol)) is made


def test_what_no_name_leads_to_is_refused_by_pickle() -> None:
    double = kernel("x[i] -> y[i]")(lambda xp, x: 2 * x)
    with pytest.raises((pickle.PicklingError, AttributeError), match="<lambda>._remake"):
        pickle.dumps(double)
    twin = kernel("u[i], data[i] -> v[i], sum hist[:bins]")(inspect.unwrap(both))
    with pytest.raises(pickle.PicklingError, match="it's not the same object as .*both._remake"):
        pickle.dumps(twin)


def test_kernels_in_classes_are_static_methods() -> None:
    x = np.zeros(2)
    for holder in (Holder, Holder()):
        assert holder.step(x)[0] == 1
        assert holder.outer(x)[0] == 2
        assert holder.inner(x)[0] == 3
    for wrong in (lambda self, xp, x: x, lambda cls, xp, x: x):
        with pytest.raises(
            TypeError, match="expected 'xp'\n.*\nHint: a kernel in a class is a static method: write def"
        ):
            kernel("x[i] -> y[i]")(wrong)
    with pytest.raises(TypeError, match="got a classmethod, expected a function\n.*\nHint: a kernel in a class is a"):
        kernel("x[i] -> y[i]")(classmethod(lambda cls, xp, x: x))


MAIN = """
import multiprocessing, sys
import numpy as np
from xpdispatch import kernel, threads

@kernel("x[i] -> y[i]")
def shifted(xp, x, by=1.0):
    return xp.sin(x) + by

def run(n):
    return float(shifted(np.zeros(n))[-1])

if __name__ == "__main__":
    with threads(2):
        shifted(np.zeros(3_000_000))
        with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
            print(pool.map(run, [3_000_000, 3]), pool.apply(shifted, (np.zeros(1), 4.0)), pool.apply(repr, (shifted,)))
            print(pool.apply(list, ([shifted],))[0] is shifted)
"""


@pytest.mark.parametrize("start", multiprocessing.get_all_start_methods())
def test_kernels_of_a_script_go_to_other_processes(start: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(MAIN)
    done = subprocess.run(
        [sys.executable, str(script), start], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    shown = f"<kernel shifted: x[i] -> y[i]; parallel along i; CPU, OMP, GPU; {script}:6>"
    assert done.stdout == f"[1.0, 1.0] [4.] {shown}\nTrue\n", done.stderr


def test_cloudpickle_takes_kernels_of_main_and_closures_along(tmp_path: Path) -> None:
    pytest.importorskip("cloudpickle", reason="cloudpickle is not installed: pip install cloudpickle")
    made = tmp_path / "kernels.pickle"
    done = run_python(
        "import cloudpickle, numpy as np\n"
        "from xpdispatch import kernel\n"
        "@kernel('u[i-1..i+1] -> v[i]', boundary='edge')\n"
        "def f(xp, u): return u[2:] - u[:-2]\n"
        "@kernel('*xs[...] -> y[...]')\n"
        "def g(xp, *xs): return f(sum(xs))\n"
        "def factory(a):\n"
        "    @kernel('x[i] -> fold y[]', fold=lambda xp, p, q: p + q)\n"
        "    def h(xp, x): return a * xp.sum(x)\n"
        "    h.cpu_variant(lambda xp, x: -a * xp.sum(x))\n"
        "    return h\n"
        f"cloudpickle.dump([f, g, factory(3)], open({str(made)!r}, 'wb'))\n"
    )
    assert done.returncode == 0, done.stderr
    f, g, h = pickle.loads(made.read_bytes())
    x = np.arange(4.0)
    assert f(x).tolist() == [1, 2, 2, 1]
    assert g(x, x).tolist() == [2, 4, 4, 2]
    assert h(x) == -18
    assert f.notation == "u[i-1..i+1] -> v[i]"


# -- wherever code is typed ----------------------------------------------------------------------------------------

TYPED = """
import numpy as np
from xpdispatch import kernel
@kernel("x[i] -> sum s[]")
def total(xp, x):
    return xp.sum(x)

print(total(np.arange(4.0)), repr(total).rsplit("; ")[-1])
try:
    kernel("x[i] -> y[]")(total.__wrapped__)
except ValueError as error:
    print(str(error).splitlines()[0])
"""
TOLD = "6.0 {place}>\nkernel 'total': result 'y' leaves out 'i' and does not say how to combine the tiles\n"


def test_python_c_and_standard_input() -> None:
    assert run_python(TYPED).stdout == TOLD.format(place="<string>:4")
    done = subprocess.run(
        [sys.executable, "-"], input=TYPED, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert done.stdout == TOLD.format(place="<stdin>:4"), done.stderr


def test_legate_runs_kernels_of_standard_input() -> None:
    run = TYPED.replace("total(np.arange(4.0))", "float(total(cpn.arange(4.0)))")
    run = run.replace("import numpy as np", "import cupynumeric as cpn")
    again = run.split("import kernel")[1].replace("return xp.sum(x)", "return -xp.sum(x)")
    done = subprocess.run(
        [sys.executable, "-"], input="import xpdispatch\n" + run + again, capture_output=True, text=True,
        timeout=120, check=False, env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    told = [line for line in done.stdout.splitlines() if "total" in line or "stdin" in line]
    assert told == [
        "6.0 <stdin>:5>", TOLD.splitlines()[1], "-6.0 <stdin>:15>", TOLD.splitlines()[1],
    ], done.stdout + done.stderr  # fmt: skip


def test_a_body_without_source_can_be_checked() -> None:
    names: dict = {}
    exec(
        compile(
            "from xpdispatch import kernel\n"
            "@kernel('x[i] -> y[i]')\n"
            "def scaled(xp, x):\n"
            "    return x / xp.max(x)\n"
            "@kernel('x[i] -> y[i]')\n"
            "def nan(xp, x):\n"
            "    return xp.nan_to_num(x)\n",
            "<none>",
            "exec",
        ),
        names,
    )
    assert linecache.getline("<none>", 3) == ""
    with pytest.raises(OSError):
        inspect.getsource(names["scaled"])
    with pytest.raises(xd.PartitionError, match="keep i whole: x\\[:i\\] -> y\\[:i\\] \\(checked: then it is right\\)"):
        check_kernel(names["scaled"], np.asarray([1.0, 2.0, 4.0, 3.0]))
    with pytest.raises(xd.PortabilityError, match="nan_to_num"), checking(engines=("array_api_strict",)):
        check_kernel(names["nan"], np.ones(3))
    assert suggest(names["scaled"], np.asarray([1.0, 2.0, 4.0, 3.0])) == "x[:] -> y[:]"


def test_the_same_cell_again() -> None:
    # As a notebook does: the same name, in the same namespace, from the same place.
    shell = code.InteractiveInterpreter({"__name__": "__main__", "np": np, "kernel": kernel})
    cell = 'made = kernel("x[i] -> y[i]")(lambda xp, x: {} * x)\nshown = made(np.ones(2))'
    for factor in (2, 3):
        shell.runcode(compile(cell.format(factor), "<cell>", "exec"))
        assert shell.locals["shown"].tolist() == [factor, factor]

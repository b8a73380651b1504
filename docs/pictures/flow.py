"""Draw docs/_static/flow.svg: how one line of text becomes tiles, and how a matrix product is cut.

python docs/pictures/flow.py [FILE ...]
"""

import sys
from itertools import product
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon

INK, FAINT, RULE = "#22272e", "#666e78", "#c9cfd6"
FIRST, SECOND, TOTAL = "#4c86b8", "#e39a3b", "#5d9b6b"  # the two halves of k, and what they add up to
WIDTH, HEIGHT = 13.0, 7.3
MONO = "DejaVu Sans Mono"

STEPS = (
    ("text", "you write it", ('"A[m,k], B[k,n] -> sum C[m,n]"',)),
    ("Signature", "read once, at decoration", ("operands  A[m,k]  B[k,n]", "result    sum C[m,n]")),
    ("Plan", "settled by the shapes of a call", ("m = 600   k = 400   n = 800", "C is (600, 800), summed over k")),
    (
        "tiles",
        "cut by the engine",
        ("m = 0:300     k = 0:200   n = 0:400", "m = 0:300     k = 0:200   n = 400:800   ..."),
    ),
    ("body", "runs on each tile, with xp", ("return A @ B",)),
)


def draw_flow(axes):
    left, width, top, step = 0.45, 5.0, 6.35, 1.27
    axes.text(left, HEIGHT - 0.45, "One value flows one way", fontsize=14, fontweight="bold", va="center")
    for row, (name, when, lines) in enumerate(STEPS):
        y = top - row * step
        own = row in (0, len(STEPS) - 1)  # what the user writes
        axes.add_patch(
            FancyBboxPatch(
                (left, y - 0.88), width, 0.88, boxstyle="round,pad=0,rounding_size=0.09",
                facecolor="#fdf6ea" if own else "#f3f6f9", edgecolor=SECOND if own else RULE, linewidth=1.1,
            )
        )  # fmt: skip
        axes.text(left + 0.18, y - 0.21, name, fontsize=11.5, fontweight="bold", va="center")
        axes.text(left + width - 0.18, y - 0.21, when, fontsize=9.5, color=FAINT, ha="right", va="center")
        for n, line in enumerate(lines):
            middle = y - (0.59 if len(lines) == 1 else 0.49 + 0.22 * n)
            axes.text(left + 0.18, middle, line, fontsize=9.2, family=MONO, va="center")
        if row:
            arrow(axes, (left + 0.55, y + step - 0.88), (left + 0.55, y))


def arrow(axes, start, end, **how):
    how = {"color": INK, "linewidth": 1.3, "mutation_scale": 13, **how}
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", shrinkA=1, shrinkB=1, **how))


SCALE, CENTRE = 0.66, (9.33, 3.38)


def at(m, k, n):
    """Isometric: m goes down, k to the lower right, n to the lower left."""
    return CENTRE[0] + SCALE * 0.866 * (k - n), CENTRE[1] - SCALE * (m + 0.5 * (k + n))


def face(axes, corners, color, light=1.0):
    red, green, blue = matplotlib.colors.to_rgb(color)
    shade = [1 - (1 - c) * light for c in (red, green, blue)]
    shape = [at(*c) for c in corners]
    axes.add_patch(Polygon(shape, closed=True, facecolor=shade, edgecolor="white", linewidth=1.4, zorder=2))


def spans(gap):
    """Two halves of an axis that is two units long, a gap apart, about zero."""
    return ((-1 - gap / 2, -gap / 2), (gap / 2, 1 + gap / 2))


def draw_cube(axes):
    """The eight tiles, those at the back first."""
    cut = spans(0.16)
    for (_, m), (half, k), (_, n) in product(reversed(list(enumerate(cut))), enumerate(cut), enumerate(cut)):
        color = (FIRST, SECOND)[half]
        (m0, m1), (k0, k1), (n0, n1) = m, k, n
        face(axes, [(m0, k0, n0), (m0, k1, n0), (m0, k1, n1), (m0, k0, n1)], color, 0.62)  # top: k, n
        face(axes, [(m0, k0, n1), (m0, k1, n1), (m1, k1, n1), (m1, k0, n1)], color, 0.85)  # towards A: m, k
        face(axes, [(m0, k1, n0), (m0, k1, n1), (m1, k1, n1), (m1, k1, n0)], color, 1.0)  # towards C: m, n


FAR = 3.75


def beam(axes, start, end, color):
    """A band between two edges of the cube and of a plate, with an arrow along each side."""
    axes.add_patch(Polygon([at(*c) for c in (*start, *reversed(end))], closed=True, facecolor=color, alpha=0.13))
    for a, b in zip(start, end, strict=True):
        arrow(axes, at(*a), at(*b), color=color, linewidth=1.1, mutation_scale=11)


def draw_beams(axes):
    beam(axes, ((-1, -1, FAR), (1, 1, FAR)), ((-1, -1, 1.2), (1, 1, 1.2)), FAINT)
    beam(axes, ((-FAR, -1, 1), (-FAR, 1, -1)), ((-1.2, -1, 1), (-1.2, 1, -1)), FAINT)
    beam(axes, ((-1, 1, -1), (1, 1, 1)), ((-1, FAR, -1), (1, FAR, 1)), TOTAL)


def draw_plates(axes):
    cut = spans(0.06)
    for (i, a), (j, b) in product(enumerate(cut), enumerate(cut)):
        color = (FIRST, SECOND)[j]
        face(axes, [(a[0], b[0], FAR), (a[0], b[1], FAR), (a[1], b[1], FAR), (a[1], b[0], FAR)], color, 0.85)
        label(axes, (sum(a) / 2, sum(b) / 2, FAR), f"$A_{{{i}{j}}}$")
        color = (FIRST, SECOND)[i]
        face(axes, [(-FAR, a[0], b[0]), (-FAR, a[0], b[1]), (-FAR, a[1], b[1]), (-FAR, a[1], b[0])], color, 0.62)
        label(axes, (-FAR, sum(a) / 2, sum(b) / 2), f"$B_{{{i}{j}}}$")
        face(axes, [(a[0], FAR, b[0]), (a[0], FAR, b[1]), (a[1], FAR, b[1]), (a[1], FAR, b[0])], TOTAL, 0.8)
        label(axes, (sum(a) / 2, FAR, sum(b) / 2), f"$C_{{{i}{j}}}$")


def label(axes, place, text):
    axes.text(*at(*place), text, ha="center", va="center", fontsize=12, zorder=3)


def draw_product(axes):
    left = 6.0
    title = "A matrix product in 2 \N{MULTIPLICATION SIGN} 2 \N{MULTIPLICATION SIGN} 2 tiles"
    axes.text(left, HEIGHT - 0.45, title, fontsize=14, fontweight="bold", va="center")
    draw_beams(axes)
    draw_cube(axes)
    draw_plates(axes)
    axes.text(left + 0.15, 4.05, "A[m, k]", fontsize=11.5, family=MONO, fontweight="bold")
    axes.text(left + 0.15, 3.8, "repeated along n", fontsize=9.5, color=FAINT)
    x, y = at(-FAR, 0, -1)
    axes.text(x + 0.35, y + 0.12, "B[k, n]", fontsize=11.5, family=MONO, fontweight="bold")
    axes.text(x + 0.35, y - 0.13, "repeated along m", fontsize=9.5, color=FAINT)
    axes.text(WIDTH - 0.45, 4.05, "C[m, n]", fontsize=11.5, family=MONO, fontweight="bold", ha="right")
    axes.text(WIDTH - 0.45, 3.8, "summed along k", fontsize=9.5, color=TOTAL, ha="right", fontweight="bold")
    for x, color, text in ((left + 0.05, FIRST, "first half of k"), (left + 1.65, SECOND, "second half of k")):
        axes.add_patch(Polygon([(x, 0.62), (x + 0.16, 0.62), (x + 0.16, 0.78), (x, 0.78)], facecolor=color))
        axes.text(x + 0.24, 0.7, text, fontsize=9.5, va="center", color=FAINT)
    axes.text(WIDTH - 0.45, 0.7, r"$C_{ij} = A_{i0}B_{0j} + A_{i1}B_{1j}$", fontsize=13, ha="right", va="center")


def main(paths):
    plt.rcParams.update({"font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans", "text.color": INK})
    plt.rcParams["svg.hashsalt"] = "flow"  # the same file from every run
    figure = plt.figure(figsize=(WIDTH, HEIGHT))
    figure.patch.set_alpha(0)  # the panel below is white and rounded, in a light and in a dark page
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect="equal")
    axes.axis("off")
    axes.add_patch(
        FancyBboxPatch(
            (0.04, 0.04), WIDTH - 0.08, HEIGHT - 0.08, boxstyle="round,pad=0,rounding_size=0.16",
            facecolor="white", edgecolor=RULE, linewidth=1,
        )
    )  # fmt: skip
    axes.plot((5.72, 5.72), (0.4, HEIGHT - 0.4), color=RULE, linewidth=1)
    draw_flow(axes)
    draw_product(axes)
    for path in paths:
        metadata = {"Date": None} if Path(path).suffix == ".svg" else {}
        figure.savefig(path, metadata=metadata, dpi=110)


if __name__ == "__main__":
    main(sys.argv[1:] or [Path(__file__).parents[1] / "_static" / "flow.svg"])

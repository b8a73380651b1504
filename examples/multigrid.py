"""Poisson's equation by multigrid: the error that a few sweeps leave is smooth, so that a coarser grid finds it.

A cycle goes down to a single cell and up again. On its way down a cell of the coarser grid sees four by four of the
finer one: blocks with a halo. How much a cycle leaves hardly depends on the size. No heat leaves the square, so that
the solution is known up to a constant; here its mean is zero.

python examples/multigrid.py --levels 9 --cycles 10
xpdispatch run --cpus 2 --gpus 0 examples/multigrid.py --levels 11 --cycles 10
"""

import argparse
import itertools
import math

import numpy

from xpdispatch import array_module, kernel, timed

SWEEPS = 2  # on each grid, on the way down and on the way up
DAMPING = 0.8  # of Jacobi's method, so that it smooths


def around(u):
    """The sum of the four neighbors."""
    return u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]


@kernel("u[i-1..i+1, j-1..j+1], f[i, j] -> v[i, j]", boundary={"u": "edge"})
def sweep(xp, u, f, damping):
    here = u[1:-1, 1:-1]
    return here + damping / 4 * (around(u) - 4 * here + f)


@kernel("u[i-1..i+1, j-1..j+1], f[i, j] -> left[i, j]", boundary={"u": "edge"})
def residual(xp, u, f):
    return f + around(u) - 4 * u[1:-1, 1:-1]


def halved(fine):
    """Along the first axis, each coarse cell from two fine ones and one more on each side."""
    return (fine[:-3:2, :] + 3 * fine[1:-2:2, :] + 3 * fine[2:-1:2, :] + fine[3::2, :]) / 8


# The equation times the area of a cell, which is four times as large on the coarse grid.
@kernel("fine[2*i-1..2*i+2, 2*j-1..2*j+2] -> coarse[i, j]", boundary="edge")
def restrict(xp, fine):
    return 4 * halved(halved(fine).T).T


def doubled(xp, coarse):
    """Along the first axis, between neighbors: the transpose of what halves, but for a factor."""
    low, here, high = coarse[:-2, :], coarse[1:-1, :], coarse[2:, :]
    pairs = xp.stack([low + 3 * here, 3 * here + high], axis=1) / 4
    return xp.reshape(pairs, (-1, coarse.shape[1]))


@kernel("coarse[i-1..i+1, j-1..j+1], u[2*i, 2*j] -> v[2*i, 2*j]", boundary={"coarse": "edge"})
def corrected(xp, coarse, u):
    return u + doubled(xp, doubled(xp, coarse).T).T


@kernel("x[i, j], y[i, j] -> sum total[]")
def dot(xp, x, y):
    return xp.sum(x * y)


def cycle(np, u, f):
    """One V: sweeps, the same for what they leave on a grid half as fine, and sweeps again."""
    for _ in range(SWEEPS):
        u = sweep(u, f, DAMPING)
    if f.shape[0] > 1:
        coarse = restrict(residual(u, f))
        u = corrected(cycle(np, np.zeros(coarse.shape), coarse), u)
    for _ in range(SWEEPS):
        u = sweep(u, f, DAMPING)
    return u


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", type=int, default=7, help="grids below the finest, which has 2**levels rows")
    parser.add_argument("--cycles", type=int, default=10, help="times down and up")
    parser.add_argument("--output", metavar="PNG", help="draw the solution and what is left by cycle to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    # Sources of heat and as many sinks, each in a cell.
    size = 2**args.levels
    sources = numpy.zeros((size, size))
    places = numpy.random.default_rng(1977).integers(0, size, (12, 2))
    numpy.add.at(sources, tuple(places.T), (1, -1) * 6)

    np = array_module()
    f = np.asarray(sources)
    cycle(np, np.zeros(f.shape), f)  # the first calls set things up
    with timed() as t:
        u, squares = np.zeros(f.shape), [dot(f, f)]
        for _ in range(args.cycles):
            u = cycle(np, u, f)
            left = residual(u, f)
            squares.append(dot(left, left))
    norms = [float(square) ** 0.5 for square in squares]
    solution = numpy.asarray(u)
    solution = solution - solution.mean()
    factor = (norms[-1] / norms[0]) ** (1 / args.cycles)
    print(f"grid      {size} x {size} cells, {args.cycles} cycles")
    print(f"residual  {norms[0]:.6e} at first, {norms[-1]:.6e} at last: a cycle leaves {factor:.3f} of it")
    print(f"Time elapsed for multigrid: {t.milliseconds:.6f} milliseconds")

    if args.check:
        check(np, sources, solution, norms)
        print("equal to NumPy")
    if args.output:
        draw(args.output, solution, norms)


def check(np, sources, solution, norms):
    """The solution is known by its cosines; and coarse grids are what they should be."""
    size = len(sources)
    place = numpy.arange(size)
    modes = numpy.cos(math.pi / size * numpy.outer(place + 0.5, place)) * (2 / size) ** 0.5
    modes[:, 0] /= 2**0.5
    eigenvalues = 2 - 2 * numpy.cos(math.pi / size * place)
    both = eigenvalues[:, None] + eigenvalues[None, :]
    both[0, 0] = math.inf
    known = modes @ (modes.T @ sources @ modes / both) @ modes.T
    padded = numpy.pad(solution, 1, mode="edge")
    left = sources + numpy.diff(padded[:, 1:-1], n=2, axis=0) + numpy.diff(padded[1:-1], n=2, axis=1)
    numpy.testing.assert_allclose(numpy.linalg.norm(left), norms[-1], rtol=1e-3, atol=1e-12)
    # An error of the lowest mode leaves the least, its eigenvalue's part.
    assert numpy.linalg.norm(solution - known) <= norms[-1] / eigenvalues[1] + 1e-9
    assert all(after < before / 2 or after < 1e-10 for before, after in itertools.pairwise(norms))
    # Down and up again: a constant stays, no heat is lost, and up is down turned around.
    fine, coarse = numpy.random.default_rng(0).random((2, size, size))
    coarse = coarse[: size // 2, : size // 2].copy()
    down = numpy.asarray(restrict(np.asarray(fine)))
    up = numpy.asarray(corrected(np.asarray(coarse), np.zeros(fine.shape)))
    numpy.testing.assert_allclose(restrict(np.ones(fine.shape)), 4.0)
    numpy.testing.assert_allclose(corrected(np.ones(coarse.shape), np.zeros(fine.shape)), 1.0)
    numpy.testing.assert_allclose(down.sum(), fine.sum())
    numpy.testing.assert_allclose((down * coarse).sum(), (fine * up).sum())


def draw(path, solution, norms):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    most = numpy.quantile(abs(solution), 0.99)
    left.imshow(solution, cmap="PuOr", vmin=-most, vmax=most)
    left.contour(solution, numpy.linspace(-most, most, 13), colors="black", linewidths=0.4)
    left.set(title="Solution", xticks=[], yticks=[])
    right.semilogy(norms, "o-", markersize=4)
    right.set(title="What is left of the equation", xlabel="cycle")
    figure.savefig(path)


if __name__ == "__main__":
    main()

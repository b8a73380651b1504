"""Conjugate gradients on a sparse matrix in compressed rows: Poisson's equation on a grid, as a system of equations.

python examples/conjugate_gradients.py --size 300
xpdispatch run --cpus 2 --gpus 0 examples/conjugate_gradients.py --size 300

The method is Hestenes' and Stiefel's (https://doi.org/10.6028/jres.049.044). Each tile of the product gets its own rows
of the matrix, and of the vector the part that these rows point to.
"""

import argparse

import numpy

from xpdispatch import array_module, image, kernel, timed


@kernel(
    "starts[i..i+1], columns[:], values[:], x[:] -> y[i]",
    boundary="valid",  # one border more than there are rows
    constraints=[image("starts", "columns", "values"), image("columns", "x")],
)
def product(xp, starts, columns, values, x):
    terms = xp.concat([xp.zeros(1, dtype=values.dtype), values * xp.take(x, columns)])
    sums = xp.cumulative_sum(terms)
    return xp.take(sums, starts[1:]) - xp.take(sums, starts[:-1])


@kernel("x[i], y[i] -> sum dot[]")
def dot(xp, x, y):
    return xp.sum(x * y)


@kernel("x[i], y[i], a[] -> z[i]")
def axpy(xp, x, y, a):
    return y + a * x


@kernel("a[], b[] -> ratio[]")
def divide(xp, a, b):
    return a / b


def poisson(size: int) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """The matrix of the five-point Laplacian on a square grid, zero outside: borders of rows, columns and values."""
    row = numpy.arange(size**2).reshape(size, size)
    columns = numpy.stack([row - size, row - 1, row, row + 1, row + size], axis=-1)
    values = numpy.broadcast_to([-1.0, -1.0, 4.0, -1.0, -1.0], columns.shape)
    there = numpy.ones(columns.shape, bool)
    there[0, :, 0] = there[-1, :, 4] = there[:, 0, 1] = there[:, -1, 3] = False
    starts = numpy.concatenate([[0], numpy.cumsum(there.sum(axis=-1))])
    return starts, columns[there], values[there]


def solve(np, matrix, b, steps: int):
    """Steps of the method from zero; the solution, and the square of what is left of `b`."""
    x, r, p = np.zeros(b.shape), b, b
    left = dot(r, r)
    for _ in range(steps):
        q = product(*matrix, p)
        step = divide(left, dot(p, q))
        x, r = axpy(p, x, step), axpy(q, r, -step)
        before, left = left, dot(r, r)
        p = axpy(p, r, divide(left, before))
    return x, left


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=60, help="rows and columns of the grid")
    parser.add_argument("--steps", type=int, default=60, help="steps of the method")
    parser.add_argument("--output", metavar="PNG", help="draw both sides of the equation to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    matrix = poisson(args.size)
    b = numpy.random.default_rng(1952).normal(size=args.size**2)
    np = array_module()
    on_engine = [np.asarray(part) for part in matrix]
    solve(np, on_engine, np.asarray(b), 1)  # the first calls set things up
    with timed() as clock:
        x, left = solve(np, on_engine, np.asarray(b), args.steps)
    x, left = numpy.asarray(x), float(left)
    print(f"unknowns  {len(b)}, entries {len(matrix[1])}")
    print(f"left      {left**0.5 / numpy.linalg.norm(b):.6e} of the right side, after {args.steps} steps")
    print(f"Time elapsed for conjugate_gradients: {clock.milliseconds:.6f} milliseconds")

    if args.check:
        rows = numpy.repeat(numpy.arange(len(b)), numpy.diff(matrix[0]))
        missing = b - numpy.bincount(rows, weights=matrix[2] * x[matrix[1]], minlength=len(b))
        numpy.testing.assert_allclose(numpy.linalg.norm(missing), left**0.5, rtol=1e-6, atol=1e-12)
        assert left < b @ b
        print("equal to NumPy")
    if args.output:
        draw(args.output, b.reshape(args.size, -1), x.reshape(args.size, -1))


def draw(path, b, x):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axes, side, title in zip(figure.subplots(1, 2), (b, x), ("Right side", "Solution"), strict=True):
        axes.imshow(side, cmap="PuOr")
        axes.set(title=title, xticks=[], yticks=[])
    figure.savefig(path)


if __name__ == "__main__":
    main()

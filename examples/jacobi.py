"""Poisson's equation on the unit square by Jacobi's method: every sweep reads the four neighbors of each cell.

python examples/jacobi.py --size 1000 --sweeps 200
xpdispatch run --cpus 2 --gpus 0 examples/jacobi.py --size 1000 --sweeps 200
"""

import argparse
import math

import numpy

from xpdispatch import array_module, kernel, timed


# The solution is zero on the boundary, one step outside of the grid.
@kernel("u[i-1..i+1, j-1..j+1], f[i, j] -> v[i, j]", boundary={"u": 0.0})
def sweep(xp, u, f, h):
    return (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] + h**2 * f) / 4


@kernel("u[i, j], v[i, j] -> max change[]")
def largest_change(xp, u, v):
    return xp.max(xp.abs(v - u))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=50, help="rows and columns inside of the boundary")
    parser.add_argument("--sweeps", type=int, default=1000, help="passes over the grid")
    parser.add_argument("--output", metavar="PNG", help="draw the solution and its error to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    h = 1 / (args.size + 1)
    t = numpy.arange(1, args.size + 1) * h
    mode = numpy.outer(numpy.sin(math.pi * t), numpy.sin(2 * math.pi * t))

    np = array_module()
    f = np.asarray(5 * math.pi**2 * mode)  # minus the Laplacian of the mode
    u, v = np.zeros(f.shape), np.zeros(f.shape)
    largest_change(u, sweep(u, f, h))  # the first calls set things up
    with timed() as clock:
        for _ in range(args.sweeps):
            sweep(u, f, h, out=v)
            u, v = v, u
    before, solution = numpy.asarray(v), numpy.asarray(u)
    # A cell moves by a quarter of h**2 times what its equation lacks.
    print(f"sweeps         {args.sweeps} on {args.size} x {args.size} cells")
    print(f"residual       {4 / h**2 * float(largest_change(u, v)):.6e} before the last sweep")
    print(f"largest error  {abs(solution - mode).max():.6e}")
    print(f"Time elapsed for jacobi: {clock.milliseconds:.6f} milliseconds")

    if args.check:
        # The mode is an eigenvector of the sweep: each takes the same part of the error, here by the closed form.
        cosines = math.cos(math.pi * h), math.cos(2 * math.pi * h)
        limit = 5 * math.pi**2 * h**2 / (4 - 2 * sum(cosines))
        for n, found in ((args.sweeps - 1, before), (args.sweeps, solution)):
            numpy.testing.assert_allclose(found, limit * (1 - (sum(cosines) / 2) ** n) * mode, rtol=0, atol=1e-12)
        print("equal to NumPy")
    if args.output:
        draw(args.output, solution, solution - mode)


def draw(path, solution, error):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axes, array, title in zip(figure.subplots(1, 2), (solution, error), ("Solution", "Error"), strict=True):
        most = abs(array).max()
        image = axes.imshow(array, cmap="PuOr", vmin=-most, vmax=most)
        axes.set(title=title, xticks=[], yticks=[])
        figure.colorbar(image, ax=axes)
    figure.savefig(path)


if __name__ == "__main__":
    main()

"""Heat in rods of several layers by Crank-Nicolson: a tridiagonal solve is two scans, one along the rods and one back.

All rods have the same layers and differ in where they are hot, so that one factorization does for all steps of all
rods; it is a scan as well, of a continued fraction. So the work is parallel along the rods. Where there are many more
rods than processors it is better to cut between them, and to keep each whole.

python examples/tridiagonal.py --size 200 --steps 200
xpdispatch run --cpus 2 --gpus 0 examples/tridiagonal.py --size 100000 --steps 20
"""

import argparse

import numpy

from xpdispatch import array_module, folds, kernel, timed

LAYERS = (1.0, 0.05, 0.4, 1.0)  # conductivities, each of an equal part of the rod
STEP = 2e-4  # time


# Maps x -> factor * x + value, the second after the first, and the first after the second.
def along(xp, a, b):
    (factor, value), (then, added) = a, b
    return then * factor, then * value + added


def back(xp, a, b):
    return along(xp, b, a)


def scaled(xp, matrix):
    return matrix / xp.max(xp.abs(matrix), axis=(1, 2), keepdims=True)


# A continued fraction is the ratio of two numbers in a product of matrices, whose scale does not matter.
def fraction(xp, a, b):
    return scaled(xp, xp.matmul(b, a))


@kernel("low[i], middle[i], high[i-1..i] -> fold minors[..i, :2, :2]", fold=fraction, boundary={"high": 0.0})
def continued(xp, low, middle, high):
    above = xp.stack([middle, -low * high[:-1]], axis=1)
    below = xp.stack([xp.ones_like(middle), xp.zeros_like(middle)], axis=1)
    return folds.scan(xp, fraction, scaled(xp, xp.stack([above, below], axis=1)))


@kernel("heat[i-1..i+1, s], left[i], right[i] -> b[i, s]", boundary={"heat": "edge"})
def half_step(xp, heat, left, right):
    here = heat[1:-1, :]
    return here + left[:, None] * (heat[:-2, :] - here) + right[:, None] * (heat[2:, :] - here)


@kernel("b[i, :s], low[i], pivot[i] -> fold factor[..i, :1], fold y[..i, :s]", fold=along)
def forward(xp, b, low, pivot):
    return folds.scan(xp, along, (-(low / pivot)[:, None], b / pivot[:, None]))


@kernel("y[i, :s], high[i], pivot[i] -> fold factor[i.., :1], fold x[i.., :s]", fold=back)
def backward(xp, y, high, pivot):
    return folds.scan(xp, back, (-(high / pivot)[:, None], y), backward=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=200, help="cells along a rod")
    parser.add_argument("--rods", type=int, default=3, help="right-hand sides")
    parser.add_argument("--steps", type=int, default=200, help="time steps")
    parser.add_argument("--output", metavar="PNG", help="draw the rods over time to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    x = (numpy.arange(args.size) + 0.5) / args.size
    at = (numpy.arange(args.rods) + 0.5) / args.rods
    hot = numpy.exp(-(((x[:, None] - at) / 0.05) ** 2))
    conductivity = numpy.asarray(LAYERS)[numpy.arange(args.size) * len(LAYERS) // args.size]
    # Half a step's exchange with the next cell: the conductivities of the two in a row. The ends are insulated.
    beside = STEP * args.size**2 / (1 / conductivity[1:] + 1 / conductivity[:-1])
    toward = numpy.concatenate([[0], beside]), numpy.concatenate([beside, [0]])

    np = array_module()
    left, right = map(np.asarray, toward)
    low, middle, high = -left, 1 + left + right, -right

    def solve(b):
        return backward(forward(b, low, pivot)[1], high, pivot)[1]

    with timed() as t:
        minors = continued(low, middle, high)
        pivot = minors[:, 0, 0] / minors[:, 1, 0]
        history = [np.asarray(hot)]
        for _ in range(args.steps):
            history.append(solve(half_step(history[-1], left, right)))
    first, last = numpy.asarray(history[0]), numpy.asarray(history[-1])
    print(f"rods         {args.rods} of {args.size} cells, {args.steps} steps")
    print(f"heat         {first.mean():.9f} at first, {last.mean():.9f} at last")
    print(f"temperature  at most {first.max():.6f} at first, {last.max():.6f} at last")
    print(f"Time elapsed for tridiagonal: {t.milliseconds:.6f} milliseconds")

    if args.check:
        expected = hot
        for _ in range(args.steps):
            expected = crank_nicolson(*toward, expected)
        rounding = 1e-13 * (1 + toward[0] + toward[1]).max()  # of a one, where it is added to what is exchanged
        numpy.testing.assert_allclose(last, expected, rtol=0, atol=rounding)
        numpy.testing.assert_allclose(last.mean(axis=0), hot.mean(axis=0), rtol=0, atol=rounding)
        print("equal to NumPy")
    if args.output:
        draw(args.output, numpy.stack([numpy.asarray(step) for step in history]))


def crank_nicolson(left, right, heat):
    """One step with Gauss's elimination by cells, one after the other."""
    padded = numpy.pad(heat, ((1, 1), (0, 0)), mode="edge")
    b = heat + left[:, None] * (padded[:-2] - heat) + right[:, None] * (padded[2:] - heat)
    pivot = 1 + left + right
    for i in range(1, len(b)):
        part = -left[i] / pivot[i - 1]
        pivot[i] += part * right[i - 1]
        b[i] -= part * b[i - 1]
    b[-1] /= pivot[-1]
    for i in range(len(b) - 2, -1, -1):
        b[i] = (b[i] + right[i] * b[i + 1]) / pivot[i]
    return b


def draw(path, history):
    from matplotlib.figure import Figure

    steps, _, rods = history.shape
    figure = Figure(figsize=(8, 3), layout="constrained")
    panels = figure.subplots(1, rods, sharey=True, squeeze=False)[0]
    for k, axes in enumerate(panels):
        image = axes.imshow(
            history[:, :, k] ** 0.5, cmap="magma", vmin=0, vmax=1, aspect="auto", extent=(0, 1, (steps - 1) * STEP, 0)
        )
        for border in range(1, len(LAYERS)):
            axes.axvline(border / len(LAYERS), color="white", linewidth=0.5, linestyle=":")
        axes.set(title=f"Rod {k + 1}", xlabel="place")
    panels[0].set_ylabel("time")
    figure.colorbar(image, ax=panels, label="square root of temperature")
    figure.savefig(path)


if __name__ == "__main__":
    main()

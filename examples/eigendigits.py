"""Principal components of handwritten digits: one pass sums up the digits and their products, another projects them.

The 1,797 digits of 8 x 8 pixels come with scikit-learn.

python examples/eigendigits.py --check
xpdispatch run --cpus 2 --gpus 0 examples/eigendigits.py --check
"""

import argparse

import numpy
from sklearn.datasets import load_digits

from xpdispatch import array_module, kernel, timed


# Gray values are small integers, so these sums are exact in any order.
@kernel("x[i, :p] -> sum total[:p], sum products[:p, :p]")
def moments(xp, x):
    return xp.sum(x, axis=0), x.T @ x


@kernel("x[i, :p], mean[:p], axes[:p, :k] -> y[i, :k]")
def project(xp, x, mean, axes):
    return (x - mean) @ axes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--components", type=int, default=12, help="principal components to keep")
    parser.add_argument("--output", metavar="PNG", help="draw the components to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    digits, labels = load_digits(return_X_y=True)
    np = array_module()
    x = np.asarray(digits)
    moments(x)  # the first call sets things up
    with timed() as t:
        total, products = map(numpy.asarray, moments(x))
        # 64 x 64 numbers, however many digits there are: small enough for one processor.
        mean = total / len(digits)
        variance, axes = numpy.linalg.eigh(products / len(digits) - numpy.outer(mean, mean))
        variance, axes = variance[::-1], axes[:, ::-1][:, : args.components].copy()
        y = project(x, np.asarray(mean), np.asarray(axes))
    y = numpy.asarray(y)
    kept = variance[: args.components].sum() / variance.sum()
    print(f"digits    {len(digits)} of {digits.shape[1]} pixels")
    print(f"variance  {100 * variance[0] / variance.sum():.4f} % in the first component")
    print(f"kept      {100 * kept:.4f} % in {args.components} components")
    print(f"Time elapsed for eigendigits: {t.milliseconds:.6f} milliseconds")

    if args.check:
        # By singular values instead of a covariance.
        centered = digits - digits.mean(axis=0)
        u, s, vt = numpy.linalg.svd(centered, full_matrices=False)
        numpy.testing.assert_allclose(variance, s**2 / len(digits), atol=1e-10)
        signs = numpy.sign((vt[: args.components] * axes.T).sum(axis=1))
        numpy.testing.assert_allclose(y, (u * s)[:, : args.components] * signs, atol=1e-9)
        print("equal to NumPy")
    if args.output:
        draw(args.output, axes, variance, y, labels)


def draw(path, axes, variance, y, labels):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1))
    left.suptitle("The first components", fontsize=11)
    for n, (panel, component) in enumerate(zip(left.subplots(3, 4).flat, axes.T, strict=False)):
        panel.imshow(component.reshape(8, 8), cmap="PuOr", vmin=-0.4, vmax=0.4)
        panel.set_title(f"{100 * variance[n] / variance.sum():.1f} %", fontsize=9, pad=2)
    for panel in left.axes:
        panel.set_axis_off()
    panel = right.subplots()
    panel.scatter(y[:, 0], y[:, 1], c=labels, cmap="tab10", s=3, alpha=0.5)
    for digit in range(10):
        middle = y[labels == digit, :2].mean(axis=0)
        panel.text(*middle, digit, fontsize=14, fontweight="bold", ha="center", va="center")
    panel.set(title="All digits, by the first two", xticks=[], yticks=[])
    figure.savefig(path)


if __name__ == "__main__":
    main()

"""Histogram of small integers: every tile counts, and the counts are summed.

python examples/histogram.py --size 10000000
xpdispatch run --cpus 2 --gpus 0 examples/histogram.py --size 10000000
"""

import argparse

import numpy

from xpdispatch import array_module, kernel, timed


@kernel("data[i] -> sum hist[:bins]")
def histogram(xp, data, bins):
    return xp.stack([xp.count_nonzero(data == b) for b in range(bins)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1000, help="elements to count")
    parser.add_argument("--output", metavar="PNG", help="draw the counts to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    np = array_module()
    bins = 10
    data = np.random.default_rng(1).integers(0, bins, size=args.size)
    hist = np.zeros(bins, dtype=np.int64)
    histogram(data, bins, out=hist)  # the first call sets things up
    with timed() as t:
        histogram(data, bins, out=hist)
    print(f"Time elapsed for histogram: {t.milliseconds:.6f} milliseconds")

    if args.check:
        numpy.testing.assert_array_equal(numpy.asarray(hist), numpy.bincount(numpy.asarray(data), minlength=bins))
        print("equal to NumPy")
    if args.output:
        draw(args.output, numpy.asarray(hist))


def draw(path, hist):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.8), layout="constrained")
    axes = figure.subplots()
    axes.bar_label(axes.bar(range(len(hist)), hist), fontsize=8)
    axes.set(xticks=range(len(hist)), xlabel="value", ylabel="how often")
    figure.savefig(path)


if __name__ == "__main__":
    main()

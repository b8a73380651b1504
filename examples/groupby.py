"""Group by, on a table: rows find their groups by key, and each group its rows' mean and spread.

178 wines of three growers, by thirteen measurements of a chemist. The table comes with scikit-learn. How much of a
measurement's spread lies between the growers says how well it tells them apart.

python examples/groupby.py --check
xpdispatch run --cpus 2 --gpus 0 examples/groupby.py --check
"""

import argparse

import numpy
from sklearn.datasets import load_wine

from xpdispatch import array_module, kernel, timed


# Each row goes to the row of the results that its key names.
@kernel("x[i, :d], group[i] -> sum total[@group=n, :d], sum count[@group=n]")
def totals(xp, x, group, n):
    return x, xp.ones(x.shape[0], dtype=xp.int64)


# And gets its group's row back: what is left of it is its distance from its own mean.
@kernel("x[i, j], group[i], mean[@group, j] -> apart[i, j]")
def deviations(xp, x, group, mean):
    return x - mean


@kernel("apart[i, j], group[i] -> sum squares[@group=n, j], max most[@group=n, j]")
def spread(xp, apart, group, n):
    return apart**2, xp.abs(apart)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", metavar="PNG", help="draw the means of the groups to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    wine = load_wine()
    n = len(wine.target_names)

    np = array_module()
    x, group = np.asarray(wine.data), np.asarray(wine.target)
    totals(x, group, n)  # the first call sets things up
    with timed() as t:
        total, count = totals(x, group, n)
        mean = total / count[:, None]
        squares, most = spread(deviations(x, group, mean), group, n)
    count, mean, squares, most = map(numpy.asarray, (count, mean, squares, most))
    deviation = numpy.sqrt(squares / count[:, None])
    within = squares.sum(axis=0) / ((wine.data - wine.data.mean(axis=0)) ** 2).sum(axis=0)
    order = numpy.argsort(within)
    print(f"groups         {', '.join(str(k) for k in count)} of {len(wine.data)} rows")
    for j in order[:3]:
        means = ", ".join(f"{m:.2f} +- {s:.2f}" for m, s in zip(mean[:, j], deviation[:, j], strict=True))
        print(f"{wine.feature_names[j]:29}{means}: {100 * (1 - within[j]):.1f} % between groups")
    print(f"Time elapsed for groupby: {t.milliseconds:.6f} milliseconds")

    if args.check:
        for k in range(n):
            rows = wine.data[wine.target == k]
            assert count[k] == len(rows)
            numpy.testing.assert_allclose(mean[k], rows.mean(axis=0), rtol=1e-12)
            numpy.testing.assert_allclose(deviation[k], rows.std(axis=0), rtol=1e-9)
            numpy.testing.assert_allclose(most[k], abs(rows - rows.mean(axis=0)).max(axis=0), rtol=1e-9)
        print("equal to NumPy")
    if args.output:
        draw(args.output, wine, mean, deviation, order)


def draw(path, wine, mean, deviation, order):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.8), layout="constrained")
    axes = figure.subplots()
    middle, scale = wine.data.mean(axis=0), wine.data.std(axis=0)
    for k, name in enumerate(wine.target_names):
        at, bar = ((mean[k] - middle) / scale)[order], (deviation[k] / scale)[order]
        places = numpy.arange(len(order)) + 0.2 * (k - 1)
        axes.errorbar(at, places, xerr=bar, fmt="o", markersize=4, linewidth=1, label=f"grower {name[-1]}")
    labels = [wine.feature_names[j].split("/")[0].replace("_", " ") for j in order]
    axes.set(yticks=range(len(order)), yticklabels=labels, xlabel="standard deviations from the mean of all wines")
    axes.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=len(wine.target_names))
    figure.savefig(path)


if __name__ == "__main__":
    main()

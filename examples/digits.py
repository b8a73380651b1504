"""Handwritten digits by their nearest neighbor: images and known images are both cut, the nearer one is kept.

The 1,797 digits come with scikit-learn. Every other one is known, the rest are read.

python examples/digits.py --check
xpdispatch run --cpus 2 --gpus 0 examples/digits.py --check
"""

import argparse

import numpy
from sklearn.datasets import load_digits

from xpdispatch import array_module, kernel, timed


# The known images before those of `b` win a tie, so the answer does not depend on how they are cut.
def nearer(xp, a, b):
    (distance, digit), (other, read) = a, b
    closer = other < distance
    return xp.where(closer, other, distance), xp.where(closer, read, digit)


@kernel("images[i, :p], known[j, :p], labels[j] -> fold distance[i], fold digit[i]", fold=nearer)
def nearest(xp, images, known, labels):
    squares = xp.sum(images**2, axis=1)[:, None] + xp.sum(known**2, axis=1)[None, :]
    distance = squares - 2 * (images @ known.T)
    return xp.min(distance, axis=1), xp.take(labels, xp.argmin(distance, axis=1))


@kernel("truth[i], digit[i] -> sum counts[:n, :n]")
def confusion(xp, truth, digit, n):
    every = xp.arange(n, dtype=truth.dtype)
    return xp.stack([xp.count_nonzero((truth == d)[:, None] & (digit[:, None] == every), axis=0) for d in range(n)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", metavar="PNG", help="draw the misread digits to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    data = load_digits()
    asked, truth = data.data[1::2].copy(), data.target[1::2].copy()

    np = array_module()
    images, known, labels = map(np.asarray, (asked, data.data[::2].copy(), data.target[::2].copy()))
    nearest(images, known, labels)  # the first call sets things up
    with timed() as t:
        distance, digit = nearest(images, known, labels)
        counts = confusion(np.asarray(truth), digit, 10)
    distance, digit, counts = map(numpy.asarray, (distance, digit, counts))
    wrong = numpy.flatnonzero(digit != truth)
    most = numpy.unravel_index(numpy.argmax(counts - numpy.diag(numpy.diag(counts))), counts.shape)
    print(f"digits   {len(asked)} read, {len(labels)} known")
    print(f"misread  {len(wrong)}, most often {most[0]} as {most[1]}: {counts[most]} times")
    print(f"Time elapsed for digits: {t.milliseconds:.6f} milliseconds")

    if args.check:
        for start in range(0, len(asked), 100):  # in pieces, for memory
            part = slice(start, start + 100)
            gaps = ((asked[part, None, :] - data.data[None, ::2, :]) ** 2).sum(axis=2)
            numpy.testing.assert_array_equal(distance[part], gaps.min(axis=1))
            numpy.testing.assert_array_equal(digit[part], data.target[::2][gaps.argmin(axis=1)])
        expected = numpy.zeros((10, 10), int)
        numpy.add.at(expected, (truth, digit), 1)
        numpy.testing.assert_array_equal(counts, expected)
        print("equal to NumPy")
    if args.output:
        draw(args.output, asked[wrong], truth[wrong], digit[wrong], counts)


def draw(path, images, truth, digit, counts):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(5, 3))
    left.suptitle("What was misread", fontsize=11)
    for axes, *misread in zip(left.subplots(2, 6).flat, images, truth, digit, strict=False):
        axes.imshow(misread[0].reshape(8, 8), cmap="gray_r")
        axes.set_title(f"{misread[1]} as {misread[2]}", fontsize=9, pad=2)
    for axes in left.axes:
        axes.set_axis_off()
    axes = right.subplots()
    axes.imshow(numpy.log1p(counts), cmap="Blues")
    for (row, column), count in numpy.ndenumerate(counts):
        color = "white" if count > 9 else "black"
        axes.text(column, row, count or "", ha="center", va="center", fontsize=7, color=color)
    axes.set(xticks=range(10), yticks=range(10), xlabel="read", ylabel="is", title="How often")
    figure.savefig(path)


if __name__ == "__main__":
    main()

"""Matrix product in three-dimensional tiles: m and n are cut, and the tiles along k are summed.

python examples/matmul.py -m 1000 -k 1000 -n 1000
xpdispatch run --cpus 2 --gpus 0 examples/matmul.py -m 1000 -k 1000 -n 1000
"""

import argparse

import numpy

from xpdispatch import array_module, kernel, timed


@kernel("A[m,k], B[k,n] -> sum C[m,n]")
def matmul(xp, A, B):
    # Integers are multiplied as floats: a BLAS does it some hundred times faster, and exactly up to 2**53.
    return xp.astype(A, xp.float64) @ xp.astype(B, xp.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", type=int, default=50, help="rows of A and C")
    parser.add_argument("-k", type=int, default=75, help="columns of A, rows of B")
    parser.add_argument("-n", type=int, default=100, help="columns of B and C")
    parser.add_argument("--output", metavar="PNG", help="draw the three matrices to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    np = array_module()
    random = np.random.default_rng(1)
    A = random.integers(1, 101, size=(args.m, args.k))
    B = random.integers(1, 101, size=(args.k, args.n))
    C = np.zeros((args.m, args.n))
    matmul(A, B, out=C)  # the first call sets things up
    with timed() as t:
        matmul(A, B, out=C)
    print(f"Time elapsed for matmul: {t.milliseconds:.6f} milliseconds")

    if args.check:
        expected = numpy.asarray(A).astype(float) @ numpy.asarray(B).astype(float)
        numpy.testing.assert_array_equal(numpy.asarray(C), expected)
        print("equal to NumPy")
    if args.output:
        draw(args.output, *map(numpy.asarray, (A, B, C)))


def draw(path, A, B, C):
    from matplotlib.figure import Figure

    (m, k), n = A.shape, B.shape[1]
    figure = Figure(figsize=(5.6, 4.6), layout="constrained")
    panels = figure.subplots(2, 2, width_ratios=(k, n), height_ratios=(k, m))
    panels[0, 0].set_axis_off()
    places, titles = (panels[0, 1], panels[1, 0], panels[1, 1]), ("B[k, n]", "A[m, k]", "C[m, n]")
    for axes, matrix, name in zip(places, (B, A, C), titles, strict=True):
        axes.imshow(matrix, aspect="auto")
        axes.set(title=name, xticks=[], yticks=[])
    figure.savefig(path)


if __name__ == "__main__":
    main()

"""Conway's Game of Life on a torus: eight neighbors of each cell, and the edges wrap around.

python examples/life.py --size 1000 --steps 100
xpdispatch run --cpus 2 --gpus 0 examples/life.py --size 1000 --steps 100
"""

import argparse

import numpy

from xpdispatch import array_module, kernel, timed

GLIDER = numpy.asarray([[0, 1, 0], [0, 0, 1], [1, 1, 1]], dtype=numpy.int8)


@kernel("board[i-1..i+1, j-1..j+1] -> alive[i, j]", boundary="wrap", dtype="board")
def generation(xp, board):
    here = board[1:-1, 1:-1]
    rows = board[:-2, :] + board[1:-1, :] + board[2:, :]
    near = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] - here
    return (near == 3) | ((near == 2) & (here == 1))


@kernel("board[i, j] -> sum cells[]")
def population(xp, board):
    return xp.count_nonzero(board)


def play(board, steps):
    following = board.copy()
    for _ in range(steps):
        generation(board, out=following)
        board, following = following, board
    return board


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=50, help="rows and columns")
    parser.add_argument("--steps", type=int, default=100, help="generations")
    parser.add_argument("--output", metavar="PNG", help="draw the board at first and at last to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    soup = numpy.random.default_rng(0).integers(0, 2, (args.size, args.size), dtype=numpy.int8)
    pond = numpy.pad(GLIDER, ((2, 11), (5, 8)))

    np = array_module()
    board = play(np.asarray(soup), 1)  # the first call sets things up
    with timed() as t:
        board = play(board, args.steps - 1)
    # A glider moves by one cell along both axes in four generations, and around 16 cells in 64.
    glider = numpy.asarray(play(np.asarray(pond), 4 * 16))
    print(f"population  {numpy.count_nonzero(soup)} at first, {int(population(board))} after {args.steps} generations")
    print(f"glider      {'is back' if (glider == pond).all() else 'is lost'} after 64 generations on 16 x 16 cells")
    print(f"Time elapsed for life: {t.milliseconds:.6f} milliseconds")

    if args.check:
        expected = soup
        for _ in range(args.steps):
            shifts = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]
            near = sum(numpy.roll(expected, shift, axis=(0, 1)) for shift in shifts)
            expected = numpy.where(near == 3, 1, numpy.where(near == 2, expected, 0))
        numpy.testing.assert_array_equal(numpy.asarray(board), expected)
        numpy.testing.assert_array_equal(glider, pond)
        print("equal to NumPy")
    if args.output:
        draw(args.output, soup, numpy.asarray(board), args.steps)


def draw(path, first, last, steps):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    titles = "At first", f"After {steps} generations"
    for axes, board, title in zip(figure.subplots(1, 2), (first, last), titles, strict=True):
        axes.imshow(board, cmap="gray_r")
        axes.set(title=title, xticks=[], yticks=[])
    figure.savefig(path)


if __name__ == "__main__":
    main()

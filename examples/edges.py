"""Edges of a photograph: blur, gradient and thinning, each of which looks at the neighbors of a pixel.

The photograph of a palace in China comes with scikit-learn.

python examples/edges.py --check
xpdispatch run --cpus 2 --gpus 0 examples/edges.py --check
"""

import argparse
import math

import numpy
from sklearn.datasets import load_sample_image

from xpdispatch import array_module, kernel, timed

RADIUS = 4  # pixels: as in the notation of blur


# Luma of Recommendation ITU-R BT.601.
@kernel("photo[i, j, :3] -> gray[i, j]")
def luma(xp, photo):
    red, green, blue = (xp.astype(photo[:, :, channel], xp.float64) for channel in range(3))
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255


# A Gaussian is a product of two, so rows and columns are blurred one after the other.
@kernel("gray[i-4..i+4, j-4..j+4], weights[:9] -> soft[i, j]", boundary="reflect")
def blur(xp, gray, weights):
    rows, columns = gray.shape[0] - 2 * RADIUS, gray.shape[1] - 2 * RADIUS
    down = sum(weights[n] * gray[n : n + rows, :] for n in range(2 * RADIUS + 1))
    return sum(weights[n] * down[:, n : n + columns] for n in range(2 * RADIUS + 1))


# Sobel's weights: a difference along one axis, smoothed along the other.
@kernel("soft[i-1..i+1, j-1..j+1] -> south[i, j], east[i, j], max steepest[]", boundary="edge")
def gradient(xp, soft):
    down = soft[2:, :] - soft[:-2, :]
    right = soft[:, 2:] - soft[:, :-2]
    south = (down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]) / 8
    east = (right[:-2, :] + 2 * right[1:-1, :] + right[2:, :]) / 8
    return south, east, xp.sqrt(xp.max(south**2 + east**2))


# An edge is where the gradient is larger than on both sides, along that of four directions which is nearest to its own.
@kernel("south[i-1..i+1, j-1..j+1], east[i-1..i+1, j-1..j+1] -> edge[i, j]", boundary=0.0)
def thin(xp, south, east, threshold):
    size = xp.sqrt(south**2 + east**2)
    here, south, east = size[1:-1, 1:-1], south[1:-1, 1:-1], east[1:-1, 1:-1]
    flat, steep = xp.abs(south) < 0.414 * xp.abs(east), xp.abs(east) < 0.414 * xp.abs(south)
    falling = south * east > 0
    before = xp.where(falling, size[:-2, :-2], size[2:, :-2])
    after = xp.where(falling, size[2:, 2:], size[:-2, 2:])
    before = xp.where(flat, size[1:-1, :-2], xp.where(steep, size[:-2, 1:-1], before))
    after = xp.where(flat, size[1:-1, 2:], xp.where(steep, size[2:, 1:-1], after))
    return (here > threshold) & (here > before) & (here >= after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sigma", type=float, default=1.4, help="width of the blur in pixels")
    parser.add_argument(
        "--threshold", type=float, default=0.02, help="the least difference of gray from pixel to pixel"
    )
    parser.add_argument("--output", metavar="PNG", help="draw the edges to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    image = load_sample_image("china.jpg")
    bell = numpy.exp(-(numpy.arange(-RADIUS, RADIUS + 1) ** 2) / (2 * args.sigma**2))

    np = array_module()
    photo, weights = np.asarray(image), np.asarray(bell / bell.sum())
    thin(*gradient(blur(luma(photo), weights))[:2], args.threshold)  # the first calls set things up
    with timed() as t:
        gray = luma(photo)
        soft = blur(gray, weights)
        south, east, steepest = gradient(soft)
        edge = thin(south, east, args.threshold)
    gray, soft, south, east, edge = map(numpy.asarray, (gray, soft, south, east, edge))
    print(f"photograph  {image.shape[0]} x {image.shape[1]} pixels")
    print(f"steepest    {float(steepest):.6f} of gray from pixel to pixel")
    print(f"edges       {edge.sum()} pixels above {args.threshold}")
    print(f"Time elapsed for edges: {t.milliseconds:.6f} milliseconds")

    if args.check:
        check(image, bell / bell.sum(), args.threshold, (gray, soft, south, east, float(steepest), edge))
        print("equal to NumPy")
    if args.output:
        draw(args.output, image, soft, numpy.hypot(south, east), edge)


def check(image, weights, threshold, found):
    """Compare with windows of the padded photograph, and with directions as angles."""
    from numpy.lib.stride_tricks import sliding_window_view

    gray, soft, south, east, steepest, edge = found
    expected = image @ numpy.asarray((0.299, 0.587, 0.114)) / 255
    numpy.testing.assert_allclose(gray, expected, atol=1e-12)
    windows = sliding_window_view(numpy.pad(expected, RADIUS, mode="reflect"), (9, 9))
    expected = numpy.einsum("ijab,a,b->ij", windows, weights, weights)
    numpy.testing.assert_allclose(soft, expected, atol=1e-12)
    sobel = numpy.outer((1, 2, 1), (-1, 0, 1)) / 8
    windows = sliding_window_view(numpy.pad(soft, 1, mode="edge"), (3, 3))
    numpy.testing.assert_allclose(east, numpy.einsum("ijab,ab->ij", windows, sobel), atol=1e-12)
    numpy.testing.assert_allclose(south, numpy.einsum("ijab,ba->ij", windows, sobel), atol=1e-12)
    size = numpy.sqrt(south**2 + east**2)
    assert math.isclose(steepest, size.max(), rel_tol=1e-12)
    angle = numpy.degrees(numpy.arctan2(south, east)) % 180
    padded = numpy.pad(size, 1)
    rows, columns = numpy.indices(size.shape) + 1
    sector = numpy.digitize(angle, (22.5, 67.5, 112.5, 157.5)) % 4
    a, b = numpy.asarray((0, 1, 1, 1))[sector], numpy.asarray((1, 1, 0, -1))[sector]
    one, other = padded[rows - a, columns - b], padded[rows + a, columns + b]
    # Equal neighbors, and 0.414 for the tangent of 22.5 degrees, may tell on a pixel here and there.
    expected = (size > threshold) & (size > one) & (size >= other)
    assert (edge != expected).mean() < 1e-3


def draw(path, image, soft, size, edge):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.8), layout="constrained")
    titles, maps = ("Photograph", "Blurred", "Gradient", "Edges"), (None, "gray", "magma", "gray_r")
    panels = zip(figure.subplots(2, 2).flat, (image, soft, size, edge), titles, maps, strict=True)
    for axes, picture, title, colors in panels:
        axes.imshow(picture, cmap=colors)
        axes.set_title(title, fontsize=11, loc="left")
        axes.set_axis_off()
    figure.savefig(path)


if __name__ == "__main__":
    main()

"""A photograph in a few colors: k-means finds them among its pixels, and every pixel takes the nearest.

The photograph of a flower comes with scikit-learn.

python examples/palette.py --colors 8 --check
xpdispatch run --cpus 2 --gpus 0 examples/palette.py --colors 8 --check
"""

import argparse
import math

import numpy
from sklearn.datasets import load_sample_image

from xpdispatch import array_module, kernel, timed


def nearest(xp, photo, colors):
    """The place of the nearest color for each pixel."""
    apart = xp.astype(photo, colors.dtype)[:, :, None, :] - colors
    return xp.argmin(xp.sum(apart**2, axis=3), axis=2)


# Integers are summed, so the colors are the same on every engine, however the photograph is cut.
@kernel("photo[i, j, :c], colors[:k, :c] -> sum sums[:k, :c], sum counts[:k]")
def gather(xp, photo, colors):
    place = nearest(xp, photo, colors)[:, :, None] == xp.arange(colors.shape[0])
    flat = xp.astype(xp.reshape(place, (-1, colors.shape[0])), xp.float64)
    pixels = xp.astype(xp.reshape(photo, (-1, photo.shape[2])), xp.float64)
    return flat.T @ pixels, xp.sum(flat, axis=0)


@kernel("photo[i, j, :c], colors[:k, :c] -> painted[i, j, :c], sum squares[]")
def paint(xp, photo, colors):
    place = nearest(xp, photo, colors)
    painted = xp.reshape(xp.take(colors, xp.reshape(place, (-1,)), axis=0), photo.shape)
    return painted, xp.sum((painted - xp.astype(photo, colors.dtype)) ** 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--colors", type=int, default=8, help="colors to keep")
    parser.add_argument("--steps", type=int, default=10, help="times that the colors move")
    parser.add_argument("--output", metavar="PNG", help="draw the photograph and its colors to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    image = load_sample_image("flower.jpg")
    # The first colors: pixels from dark to bright.
    order = numpy.argsort(image.sum(axis=2).ravel(), kind="stable")
    places = order[numpy.linspace(0, order.size - 1, args.colors).astype(int)]
    first = image.reshape(-1, 3)[places].astype(float)

    np = array_module()
    photo, colors = np.asarray(image), np.asarray(first)
    gather(photo, colors)  # the first call sets things up
    with timed() as t:
        for _ in range(args.steps):
            sums, counts = gather(photo, colors)
            # A color that no pixel is near to stays where it was.
            colors = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], colors)
        painted, squares = paint(photo, colors)
    colors, counts, painted = map(numpy.asarray, (colors, counts, painted))
    psnr = 10 * math.log10(255**2 * image.size / float(squares))
    print(f"photograph  {image.shape[0]} x {image.shape[1]} pixels")
    print(f"colors      {' '.join('#' + bytes(color).hex() for color in colors.round().astype(numpy.uint8))}")
    print(f"PSNR        {psnr:.4f} dB")
    print(f"Time elapsed for palette: {t.milliseconds:.6f} milliseconds")

    if args.check:
        pixels, expected = image.reshape(-1, 3).astype(float), first
        for _ in range(args.steps):
            label = numpy.stack([((pixels - color) ** 2).sum(axis=1) for color in expected]).argmin(axis=0)
            near = [pixels[label == k] for k in range(args.colors)]
            expected = numpy.stack([part.mean(axis=0) if len(part) else expected[k] for k, part in enumerate(near)])
        numpy.testing.assert_allclose(colors, expected, rtol=1e-12)
        label = numpy.stack([((pixels - color) ** 2).sum(axis=1) for color in colors]).argmin(axis=0)
        numpy.testing.assert_array_equal(painted, colors[label].reshape(image.shape))
        assert math.isclose(psnr, 10 * math.log10(255**2 / ((painted - image) ** 2).mean()), rel_tol=1e-12)
        print("equal to NumPy")
    if args.output:
        draw(args.output, image, painted, colors, counts)


def draw(path, image, painted, colors, counts):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    *panels, bar = figure.subplots(1, 3, width_ratios=(15, 15, 1))
    titles = "Photograph", f"In {len(colors)} colors"
    for axes, picture, title in zip(panels, (image, painted.round().astype(numpy.uint8)), titles, strict=True):
        axes.imshow(picture)
        axes.set_title(title, fontsize=11, loc="left")
        axes.set_axis_off()
    order = numpy.argsort(colors.sum(axis=1))
    parts = counts[order] / counts.sum()
    bar.bar(0, parts, bottom=numpy.cumsum(parts) - parts, color=colors[order] / 255, width=1)
    bar.set(xlim=(-0.5, 0.5), ylim=(0, 1))
    bar.set_axis_off()
    figure.savefig(path)


if __name__ == "__main__":
    main()

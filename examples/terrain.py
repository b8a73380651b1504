"""A real map in five kernels: extremes, a histogram, low-pass filters, the relief that they leave, slope and shade.

The map is the digital elevation model of the Jacksboro fault in Tennessee that comes with matplotlib.

    python examples/terrain.py --output terrain.png --check
    xpdispatch run --cpus 2 --gpus 0 examples/terrain.py --output terrain.png --check
"""

import argparse
import math
from typing import NamedTuple

import matplotlib
import numpy
from matplotlib.cbook import get_sample_data

from xpdispatch import array_module, kernel, timed

BIN = 20  # meters
CUTOFFS = (1_000.0, 3_000.0, 8_000.0)  # meters
DEGREE = math.radians(1) * 6_371_000  # meters of a degree on the mean sphere
AZIMUTH, ALTITUDE = 315, 45  # degrees: the sun in the north-west, half-way up


@kernel("height[i, j] -> min lowest[], max highest[]")
def extremes(xp, height):
    return xp.min(height), xp.max(height)


# The edges are an argument: each tile counts into the same bins, so the counts may be added.
@kernel("height[i, j], edges[:n] -> sum counts[:n-1]")
def histogram(xp, height, edges):
    below = xp.searchsorted(xp.sort(xp.reshape(height, (-1,))), edges)
    return below[1:] - below[:-1]


# The wavelengths are cut, the map is whole in every tile: a Fourier transform needs all of it.
@kernel("height[:r, :c], cutoff[b] -> low[b, :r, :c]")
def lowpass(xp, height, cutoff, dy, dx):
    rows, columns = height.shape
    # Mirrored at two sides the map is periodic without a step at its edges.
    tall = xp.concat([height, xp.flip(height, axis=0)], axis=0)
    mirrored = xp.concat([tall, xp.flip(tall, axis=1)], axis=1)
    fy = xp.fft.fftfreq(2 * rows, d=dy, dtype=height.dtype)[None, :, None]
    fx = xp.fft.rfftfreq(2 * columns, d=dx, dtype=height.dtype)[None, None, :]
    # A Gaussian that halves a wave as long as the cut-off.
    gain = xp.exp(-math.log(2) * (fy**2 + fx**2) * cutoff[:, None, None] ** 2)
    waves = xp.fft.rfftn(mirrored)[None, :, :] * gain
    return xp.fft.irfftn(waves, s=mirrored.shape, axes=(1, 2))[:, :rows, :columns]


@kernel("height[i, j], low[b, i, j] -> relief[b, i, j], sum squares[b]")
def remainder(xp, height, low):
    relief = height[None, :, :] - low
    return relief, xp.sum(relief**2, axis=(1, 2))


# B. K. P. Horn, Hill shading and the reflectance map, Proceedings of the IEEE 69 (1), 1981: a gradient from all eight
# neighbors. Rows go south. Beyond its edges the map goes on level.
@kernel("height[i-1..i+1, j-1..j+1] -> slope[i, j], shade[i, j]", boundary="edge")
def light(xp, height, dy, dx, azimuth, altitude):
    down = height[2:, :] - height[:-2, :]
    right = height[:, 2:] - height[:, :-2]
    south = (down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]) / (8 * dy)
    east = (right[:-2, :] + 2 * right[1:-1, :] + right[2:, :]) / (8 * dx)
    steepness = south**2 + east**2
    # The cosine between the sun and the normal of the ground, (-east, south, 1) in the axes east, north, up.
    level = math.cos(altitude) * (math.cos(azimuth) * south - math.sin(azimuth) * east)
    cosine = (math.sin(altitude) + level) / xp.sqrt(1 + steepness)
    return xp.atan(xp.sqrt(steepness)), xp.where(cosine > 0, cosine, xp.zeros_like(cosine))


class Sheet(NamedTuple):
    """The map and what the kernels made of it, as NumPy arrays; lengths in meters, slopes in radians."""

    elevation: numpy.ndarray
    dy: float
    dx: float
    lowest: float
    highest: float
    edges: numpy.ndarray
    counts: numpy.ndarray
    low: numpy.ndarray
    relief: numpy.ndarray
    rms: numpy.ndarray
    slope: numpy.ndarray
    shade: numpy.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", metavar="PNG", help="draw the maps to this file")
    parser.add_argument("--check", action="store_true", help="compare with NumPy")
    args = parser.parse_args()

    with get_sample_data("jacksboro_fault_dem.npz") as dem:
        elevation = dem["elevation"]
        dy = float(dem["dy"]) * DEGREE
        dx = float(dem["dx"]) * DEGREE * math.cos(math.radians(float(dem["ymin"] + dem["ymax"]) / 2))

    np = array_module()
    height = np.asarray(elevation.astype(float))
    cutoff = np.asarray(CUTOFFS)

    with timed() as t:
        lowest, highest = (float(extreme) for extreme in extremes(height))
        edges = np.arange(lowest // BIN * BIN, highest + BIN + 1, BIN)
        counts = histogram(height, edges)
        low = lowpass(height, cutoff, dy, dx)
        relief, squares = remainder(height, low)
        slope, shade = light(height, dy, dx, math.radians(AZIMUTH), math.radians(ALTITUDE))

    edges, counts, low, relief, squares = map(numpy.asarray, (edges, counts, low, relief, squares))
    slope, shade = numpy.asarray(slope), numpy.asarray(shade)
    rms = numpy.sqrt(squares / elevation.size)
    sheet = Sheet(elevation, dy, dx, lowest, highest, edges, counts, low, relief, rms, slope, shade)
    full = int(numpy.argmax(counts))
    print(f"map                  {elevation.shape[0]} x {elevation.shape[1]} cells of {dy:.1f} m x {dx:.1f} m")
    print(f"lowest, highest      {lowest:.0f} m, {highest:.0f} m")
    print(f"fullest bin          {counts[full]} of {counts.sum()} cells, {edges[full]:.0f} to {edges[full + 1]:.0f} m")
    for length, rest in zip(CUTOFFS, rms, strict=True):
        print(f"relief below {length / 1000:.0f} km    {rest:.3f} m rms")
    steepest, middle = numpy.degrees(slope.max()), numpy.degrees(numpy.median(slope))
    print(f"slopes               {steepest:.2f} degrees at most, {middle:.2f} degrees or less on half of the map")
    print(f"Time elapsed for terrain: {t.milliseconds:.6f} milliseconds")

    if args.check:
        check(sheet)
        print("equal to NumPy")
    if args.output:
        draw(sheet, args.output)
        print(f"wrote {args.output}")


def check(sheet):
    """Compare with other means: NumPy alone, and complex transforms of the whole mirrored map."""
    elevation = sheet.elevation
    assert (sheet.lowest, sheet.highest) == (elevation.min(), elevation.max())
    assert sheet.counts.sum() == elevation.size
    numpy.testing.assert_array_equal(sheet.counts, numpy.histogram(elevation, sheet.edges)[0])
    rows, columns = elevation.shape
    waves = numpy.fft.fft2(numpy.pad(elevation.astype(float), ((0, rows), (0, columns)), mode="symmetric"))
    frequencies = numpy.fft.fftfreq(2 * rows, sheet.dy), numpy.fft.fftfreq(2 * columns, sheet.dx)
    fy, fx = numpy.meshgrid(*frequencies, indexing="ij")
    for b, length in enumerate(CUTOFFS):
        smooth = numpy.fft.ifft2(waves * 0.5 ** ((fy**2 + fx**2) * length**2)).real[:rows, :columns]
        numpy.testing.assert_allclose(sheet.low[b], smooth, rtol=1e-10)
        numpy.testing.assert_allclose(sheet.relief[b], elevation - smooth, atol=1e-7)
        numpy.testing.assert_allclose(sheet.rms[b] ** 2, ((elevation - smooth) ** 2).mean(), rtol=1e-9)
    # Horn's weights as numbers, and the shade from the angles of slope and aspect instead of from a normal.
    weights = numpy.outer((1, 2, 1), (-1, 0, 1)) / 8
    around = numpy.lib.stride_tricks.sliding_window_view(numpy.pad(elevation.astype(float), 1, mode="edge"), (3, 3))
    east = numpy.einsum("ijab,ab->ij", around, weights) / sheet.dx
    south = numpy.einsum("ijab,ba->ij", around, weights) / sheet.dy
    slope, downhill = numpy.arctan(numpy.hypot(south, east)), numpy.arctan2(-east, south)
    turn = numpy.cos(math.radians(AZIMUTH) - downhill)
    shade = (
        math.sin(math.radians(ALTITUDE)) * numpy.cos(slope) + math.cos(math.radians(ALTITUDE)) * numpy.sin(slope) * turn
    )
    numpy.testing.assert_allclose(sheet.slope, slope, atol=1e-12)
    numpy.testing.assert_allclose(sheet.shade, numpy.maximum(shade, 0), atol=1e-12)


INK, FAINT = "#2b2b2b", "#6f6a62"
LAND = ("#41674f", "#6b8f5e", "#a9b878", "#ddd3a0", "#c9a271", "#9c6f4e", "#7d5a4a", "#f2ece4")
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "axes.linewidth": 0.6,
}


def draw(sheet, path):
    """Draw the map, what three filters keep, what the middle one leaves, slope, shade, and the histogram."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.colors import LightSource, LinearSegmentedColormap, Normalize

    land = LinearSegmentedColormap.from_list("land", LAND)
    norm = Normalize(sheet.edges[0], sheet.edges[-1])
    sun = LightSource(azdeg=AZIMUTH, altdeg=ALTITUDE)
    rows, columns = sheet.elevation.shape
    east, north = columns * sheet.dx / 1000, rows * sheet.dy / 1000  # km
    aspect = east / north

    # Inches: two columns of small maps; beside their two upper rows the large map, beside the lowest the histogram.
    width, margin, gap, head, foot, bar = 14.0, 0.55, 0.35, 0.45, 0.62, 0.42
    small = (width - 2 * margin - 2 * gap - aspect * head) / (4 * aspect)
    large = 2 * small + head
    second, third = margin + aspect * large + gap, width - margin - aspect * small
    middle = foot + small + head + bar
    upper = middle + small + head
    height = middle + large + 1.35

    def place(corner, size, title, note):
        axes = figure.add_axes((corner[0] / width, corner[1] / height, size[0] / width, size[1] / height))
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=6)
        axes.set_title(note, loc="right", fontsize=9, color=FAINT, pad=6)
        return axes

    def show(corner, tall, image, titles, **how):
        axes = place(corner, (aspect * tall, tall), *titles)
        axes.imshow(image, extent=(0, east, 0, north), interpolation="antialiased", **how)
        axes.set(xticks=[], yticks=[])
        return axes

    def shaded(surface):
        return sun.shade(surface, land, norm=norm, blend_mode="soft", vert_exag=4, dx=sheet.dx, dy=sheet.dy)

    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(width, height), facecolor="white")
        extent = f"{sheet.lowest:.0f} to {sheet.highest:.0f} m above the sea, north up"
        figure.text(margin / width, 1 - 0.62 / height, "The Jacksboro fault, Tennessee", fontsize=20, fontweight="bold")
        figure.text(
            margin / width, 1 - 0.9 / height, f"{east:.0f} km by {north:.0f} km, {extent}", fontsize=11, color=FAINT
        )
        titles = ("Elevation", "lit from the north-west")
        draw_scale(show((margin, middle), large, shaded(sheet.elevation.astype(float)), titles))
        for b, corner in enumerate(((second, upper), (third, upper), (second, middle))):
            titles = (f"Longer than {CUTOFFS[b] / 1000:.0f} km", f"leaves out {sheet.rms[b]:.0f} m rms")
            show(corner, small, shaded(sheet.low[b]), titles)
        top = float(numpy.ceil(numpy.percentile(numpy.abs(sheet.relief[1]), 99) / 50) * 50)
        titles = (f"Shorter than {CUTOFFS[1] / 1000:.0f} km", "what is left out")
        axes = show((third, middle), small, sheet.relief[1], titles, cmap="PuOr_r", vmin=-top, vmax=top)
        draw_bar(figure, axes, [-top, 0, top], [f"\N{MINUS SIGN}{top:.0f} m", "0", f"+{top:.0f} m"])
        titles = ("Shade", "heights as they are")
        show((second, foot), small, sheet.shade, titles, cmap="gray", vmin=0, vmax=1)
        steep = float(numpy.ceil(numpy.degrees(numpy.percentile(sheet.slope, 99.5)) / 5) * 5)
        titles = ("Slope", f"half is below {numpy.degrees(numpy.median(sheet.slope)):.0f}°")
        axes = show((third, foot), small, numpy.degrees(sheet.slope), titles, cmap="YlOrBr", vmin=0, vmax=steep)
        draw_bar(figure, axes, [0, steep / 2, steep], ["0°", f"{steep / 2:g}°", f"{steep:.0f}° or more"])
        note = f"{sheet.elevation.size:,} cells in bins of {BIN} m, in the colors of the maps"
        axes = place((margin, foot), (aspect * large, small), "Cells by elevation", note)
        draw_histogram(axes, sheet, land(norm(sheet.edges[:-1] + BIN / 2)))
        figure.savefig(path, dpi=150)
        plt.close(figure)


def draw_scale(axes):
    from matplotlib.patheffects import withStroke

    frame = axes.axis()
    axes.plot((1, 6), (1, 1), color="white", linewidth=3, path_effects=[withStroke(linewidth=5, foreground=INK)])
    halo = [withStroke(linewidth=3, foreground=INK)]
    axes.text(3.5, 1.4, "5 km", color="white", ha="center", fontsize=10, fontweight="bold", path_effects=halo)
    axes.axis(frame)


def draw_bar(figure, axes, ticks, labels):
    bar = figure.colorbar(axes.images[0], cax=axes.inset_axes((0, -0.055, 1, 0.026)), orientation="horizontal")
    bar.set_ticks(ticks, labels=labels)
    for label, side in zip(bar.ax.get_xticklabels(), ("left", "center", "right"), strict=True):
        label.set_horizontalalignment(side)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, pad=3)


def draw_histogram(axes, sheet, colors):
    axes.bar(sheet.edges[:-1], sheet.counts, BIN, align="edge", color=colors, edgecolor="white", linewidth=0.6)
    axes.set_xlim(sheet.edges[0] - 2 * BIN, sheet.edges[-1] + BIN)
    axes.set_xlabel("elevation (m)")
    axes.set_yticks(range(2000, int(sheet.counts.max()), 2000))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="y", color="#e4e0d8", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0, pad=0)
    for label in axes.get_yticklabels():
        label.set(ha="left", va="bottom")


if __name__ == "__main__":
    main()

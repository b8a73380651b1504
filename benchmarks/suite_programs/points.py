"""Points and bodies in space, each with every other."""

import numpy as np

from ablations import kmeans as assign
from suite_programs import loops
from suite_programs.program import program
from table import distances as between_points
from xpdispatch import kernel


def draw(*shapes):
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=shape) for shape in shapes)


@kernel("places[i,:3], others[:n,:3], masses[:n] -> pull[i,:3]")
def gravity(xp, places, others, masses):
    away = others[None, :, :] - places[:, None, :]
    square = xp.sum(away * away, axis=2) + 1e-2
    weight = masses[None, :] / (square * xp.sqrt(square))
    return xp.sum(away * weight[:, :, None], axis=1)


@kernel("x[i,:], rate[i,:] -> moved[i,:]")
def moved_on(xp, x, rate, dt):
    return x + dt * rate


@program(
    gravity,
    moved_on,
    arguments=lambda n, steps: (*draw((n, 3), (n, 3)), np.full(n, 1 / n), 1e-2, steps),
    small=(50, 2),
    middle=(200, 2),
    large=(800, 2),
    loop=loops.nbody,
)
def nbody(call, places, speeds, masses, dt, steps):
    for _ in range(steps):
        speeds = call.moved_on(speeds, call.gravity(places, places, masses), dt)
        places = call.moved_on(places, speeds, dt)
    return places, speeds


@program(
    between_points,
    arguments=lambda m, n: draw((m, 3), (n, 3)),
    small=(40, 40),
    middle=(250, 250),
    large=(1700, 1700),
    loop=loops.distances,
)
def distances(call, x, y):
    return call.distances(x, y)


@program(
    assign,
    arguments=lambda n, k: draw((n, 2), (k, 2)),
    small=(500, 8),
    middle=(20_000, 8),
    large=(200_000, 8),
    blas=True,
    on_legate=False,  # which has no astype in its namespace
)
def kmeans_step(call, points, centers):
    sums, counts, inertia = call.kmeans(points, centers)
    return sums / np.maximum(counts, 1)[:, None], inertia

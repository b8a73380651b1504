"""Grids whose cells follow from their neighbors, many times over."""

import numpy as np

from suite_programs import loops
from suite_programs.program import assigned, program
from table import stencil as neighbors_mean
from xpdispatch import kernel


def grid(*shape):
    return np.random.default_rng(0).random(shape)


# -- Jacobi and heat ------------------------------------------------------------------------------------------------


@kernel("u[i-1..i+1] -> v[i]", boundary="valid")
def mean_of_three(xp, u):
    return (u[:-2] + u[1:-1] + u[2:]) / 3


@program(
    mean_of_three,
    by_hand={"mean_of_three": assigned(mean_of_three)},
    arguments=lambda n, steps: (grid(n), steps),
    small=(2000, 20),
    middle=(30_000, 100),
    large=(2_000_000, 20),
    loop=loops.jacobi_1d,
)
def jacobi_1d(call, u, steps):
    u, v = u.copy(), u.copy()
    for _ in range(steps):
        call.mean_of_three(u, out=v[1:-1])
        u, v = v, u
    return u


@program(
    neighbors_mean,
    by_hand={"stencil": assigned(neighbors_mean)},
    arguments=lambda n, steps: (grid(n, n), steps),
    small=(50, 10),
    middle=(300, 20),
    large=(1500, 8),
    loop=loops.jacobi_2d,
)
def jacobi_2d(call, u, steps):
    u, v = u.copy(), u.copy()
    for _ in range(steps):
        call.stencil(u, out=v[1:-1, 1:-1])
        u, v = v, u
    return u


@kernel("u[i-1..i+1,j-1..j+1,k-1..k+1] -> v[i,j,k]", boundary="valid")
def heat_step(xp, u):
    here = u[1:-1, 1:-1, 1:-1]
    along_i = u[2:, 1:-1, 1:-1] - 2 * here + u[:-2, 1:-1, 1:-1]
    along_j = u[1:-1, 2:, 1:-1] - 2 * here + u[1:-1, :-2, 1:-1]
    along_k = u[1:-1, 1:-1, 2:] - 2 * here + u[1:-1, 1:-1, :-2]
    return here + 0.125 * (along_i + along_j + along_k)


@program(
    heat_step,
    by_hand={"heat_step": assigned(heat_step)},
    arguments=lambda n, steps: (grid(n, n, n), steps),
    small=(20, 4),
    middle=(40, 10),
    large=(140, 3),
    loop=loops.heat_3d,
)
def heat_3d(call, u, steps):
    u, v = u.copy(), u.copy()
    for _ in range(steps):
        call.heat_step(u, out=v[1:-1, 1:-1, 1:-1])
        u, v = v, u
    return u


@kernel("u[i-1..i+1,j-1..j+1] -> v[i,j]", boundary="edge")
def insulated_step(xp, u):
    return u[1:-1, 1:-1] + 0.2 * (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:] - 4 * u[1:-1, 1:-1])


def plain_insulated_step(xp, u):
    return insulated_step.__wrapped__(xp, xp.pad(u, 1, mode="edge"))


@program(
    insulated_step,
    by_hand={"insulated_step": plain_insulated_step},
    arguments=lambda n, steps: (grid(n, n), steps),
    small=(50, 10),
    middle=(300, 10),
    large=(1500, 6),
)
def heat_insulated(call, u, steps):
    for _ in range(steps):
        u = call.insulated_step(u)
    return u


# -- waves and flows ------------------------------------------------------------------------------------------------


@kernel("e[i,j], h[i..i+1,j] -> e[i,j]", boundary="valid")
def electric_along_i(xp, e, h):
    e -= 0.5 * (h[1:, :] - h[:-1, :])


@kernel("e[i,j], h[i,j..j+1] -> e[i,j]", boundary="valid")
def electric_along_j(xp, e, h):
    e -= 0.5 * (h[:, 1:] - h[:, :-1])


@kernel("h[i,j], ex[i,j..j+1], ey[i..i+1,j] -> h[i,j]", boundary="valid")
def magnetic(xp, h, ex, ey):
    h -= 0.7 * (ex[:, 1:] - ex[:, :-1] + ey[1:, :] - ey[:-1, :])


@program(
    electric_along_i,
    electric_along_j,
    magnetic,
    arguments=lambda n, steps: (grid(n, n), grid(n, n) / 2, grid(n, n) / 3, steps),
    small=(40, 5),
    middle=(250, 10),
    large=(1200, 6),
    loop=loops.fdtd_2d,
)
def fdtd_2d(call, ex, ey, hz, steps):
    ex, ey, hz = ex.copy(), ey.copy(), hz.copy()
    for step in range(steps):
        ey[0, :] = float(step)
        call.electric_along_i(ey[1:, :], hz)
        call.electric_along_j(ex[:, 1:], hz)
        call.magnetic(hz[:-1, :-1], ex[:-1, :], ey[:, :-1])
    return ex, ey, hz


@kernel("u[i-1..i] -> v[i]", boundary="wrap")
def upwind(xp, u, courant):
    return u[1:] - courant * (u[1:] - u[:-1])


def plain_upwind(xp, u, courant):
    return u - courant * (u - xp.roll(u, 1))


@program(
    upwind,
    by_hand={"upwind": plain_upwind},
    arguments=lambda n, steps: (grid(n), 0.5, steps),
    small=(1000, 10),
    middle=(30_000, 50),
    large=(1_000_000, 30),
    loop=loops.advection,
)
def advection(call, u, courant, steps):
    for _ in range(steps):
        u = call.upwind(u, courant)
    return u


@kernel(
    "h[i-1..i+1,j-1..j+1], u[i-1..i+1,j-1..j+1], v[i-1..i+1,j-1..j+1] -> height[i,j], flow_i[i,j], flow_j[i,j]",
    boundary="wrap",
)
def shallow_step(xp, h, u, v, ratio):
    """Lax's and Friedrichs' step of height and velocities, about a layer at rest."""
    mean_h = (h[:-2, 1:-1] + h[2:, 1:-1] + h[1:-1, :-2] + h[1:-1, 2:]) / 4
    mean_u = (u[:-2, 1:-1] + u[2:, 1:-1] + u[1:-1, :-2] + u[1:-1, 2:]) / 4
    mean_v = (v[:-2, 1:-1] + v[2:, 1:-1] + v[1:-1, :-2] + v[1:-1, 2:]) / 4
    depth = 1 + h[1:-1, 1:-1]
    spread = u[2:, 1:-1] - u[:-2, 1:-1] + v[1:-1, 2:] - v[1:-1, :-2]
    return (
        mean_h - ratio * depth * spread,
        mean_u - ratio * (h[2:, 1:-1] - h[:-2, 1:-1]),
        mean_v - ratio * (h[1:-1, 2:] - h[1:-1, :-2]),
    )


def plain_shallow_step(xp, h, u, v, ratio):
    h, u, v = (xp.pad(field, 1, mode="wrap") for field in (h, u, v))
    return shallow_step.__wrapped__(xp, h, u, v, ratio)


@program(
    shallow_step,
    by_hand={"shallow_step": plain_shallow_step},
    arguments=lambda n, steps: (0.1 * grid(n, n), np.zeros((n, n)), np.zeros((n, n)), 0.2, steps),
    small=(30, 2),
    middle=(200, 5),
    large=(800, 5),
)
def shallow_water(call, h, u, v, ratio, steps):
    for _ in range(steps):
        h, u, v = call.shallow_step(h, u, v, ratio)
    return h, u, v


@kernel("board[i-1..i+1,j-1..j+1] -> alive[i,j]", boundary="wrap", dtype="board")
def generation(xp, board):
    here = board[1:-1, 1:-1]
    rows = board[:-2, :] + board[1:-1, :] + board[2:, :]
    near = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] - here
    return (near == 3) | ((near == 2) & (here == 1))


def plain_generation(xp, board):
    return generation.__wrapped__(xp, xp.pad(board, 1, mode="wrap")).astype(board.dtype)


@program(
    generation,
    by_hand={"generation": plain_generation},
    arguments=lambda n, steps: ((grid(n, n) < 0.4).astype(np.int8), steps),
    small=(60, 2),
    middle=(400, 20),
    large=(2000, 15),
    loop=loops.life,
)
def life(call, board, steps):
    for _ in range(steps):
        board = call.generation(board)
    return board


# -- flow in a cavity -------------------------------------------------------------------------------------------------


@kernel("u[i-1..i+1,j-1..j+1], v[i-1..i+1,j-1..j+1] -> b[i,j]", boundary="valid")
def divergence(xp, u, v, dx, dt):
    du_dx, dv_dy = (u[1:-1, 2:] - u[1:-1, :-2]) / (2 * dx), (v[2:, 1:-1] - v[:-2, 1:-1]) / (2 * dx)
    du_dy, dv_dx = (u[2:, 1:-1] - u[:-2, 1:-1]) / (2 * dx), (v[1:-1, 2:] - v[1:-1, :-2]) / (2 * dx)
    return (du_dx + dv_dy) / dt - du_dx * du_dx - 2 * du_dy * dv_dx - dv_dy * dv_dy


@kernel("p[i-1..i+1,j-1..j+1], b[i,j] -> q[i,j]", boundary={"p": "valid"})
def pressure_step(xp, p, b, dx):
    return (p[1:-1, 2:] + p[1:-1, :-2] + p[2:, 1:-1] + p[:-2, 1:-1] - dx * dx * b) / 4


@kernel("w[i-1..i+1,j-1..j+1], u[i,j], v[i,j], slope[i,j] -> new[i,j]", boundary={"w": "valid"})
def momentum(xp, w, u, v, slope, dx, dt, viscosity):
    here = w[1:-1, 1:-1]
    carried = u * (here - w[1:-1, :-2]) + v * (here - w[:-2, 1:-1])
    spread = w[1:-1, 2:] + w[1:-1, :-2] + w[2:, 1:-1] + w[:-2, 1:-1] - 4 * here
    return here - dt / dx * carried - slope * dt / (2 * dx) + viscosity * dt / (dx * dx) * spread


@kernel("low[i,j], high[i,j] -> d[i,j]")
def difference(xp, low, high):
    return high - low


@program(
    divergence,
    pressure_step,
    momentum,
    difference,
    by_hand={"pressure_step": assigned(pressure_step), "momentum": assigned(momentum)},
    arguments=lambda n, steps, sweeps: (n, steps, sweeps, 2 / (n - 1), 1e-4),
    small=(30, 1, 5),
    middle=(150, 2, 20),
    large=(500, 2, 30),
    on_legate=False,  # its driver makes arrays of NumPy's
)
def cavity_flow(call, n, steps, sweeps, dx, dt):
    u, v, p = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n))
    u[-1, :] = 1
    for _ in range(steps):
        b = call.divergence(u, v, dx, dt)
        for _ in range(sweeps):
            before = p.copy()
            call.pressure_step(before, b, dx, out=p[1:-1, 1:-1])
            p[:, -1], p[0, :], p[:, 0], p[-1, :] = p[:, -2], p[1, :], p[:, 1], 0
        old_u, old_v = u.copy(), v.copy()
        inside = old_u[1:-1, 1:-1], old_v[1:-1, 1:-1]
        call.momentum(old_u, *inside, call.difference(p[1:-1, :-2], p[1:-1, 2:]), dx, dt, 0.1, out=u[1:-1, 1:-1])
        call.momentum(old_v, *inside, call.difference(p[:-2, 1:-1], p[2:, 1:-1]), dx, dt, 0.1, out=v[1:-1, 1:-1])
    return u, v, p

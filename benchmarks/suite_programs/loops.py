"""The programs as plain loops over elements, for numba to compile."""

import math

import numpy as np

# -- linear algebra -------------------------------------------------------------------------------------------------


def cholesky(a):
    n = a.shape[0]
    low = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            rest = a[i, j]
            for k in range(j):
                rest -= low[i, k] * low[j, k]
            low[i, j] = math.sqrt(rest) if i == j else rest / low[j, j]
    return low


def durbin(r):
    y, before = np.empty(r.size), np.empty(r.size)
    y[0] = alpha = -r[0]
    beta = 1.0
    for k in range(1, r.size):
        beta *= 1 - alpha**2
        total = 0.0
        for i in range(k):
            total += r[i] * y[k - 1 - i]
            before[i] = y[i]
        alpha = -(r[k] + total) / beta
        for i in range(k):
            y[i] = before[i] + alpha * before[k - 1 - i]
        y[k] = alpha
    return y


# -- grids ----------------------------------------------------------------------------------------------------------


def jacobi_1d(u, steps):
    u, v = u.copy(), u.copy()
    for _ in range(steps):
        for i in range(1, u.size - 1):
            v[i] = (u[i - 1] + u[i] + u[i + 1]) / 3
        u, v = v, u
    return u


def jacobi_2d(u, steps):
    u, v = u.copy(), u.copy()
    for _ in range(steps):
        for i in range(1, u.shape[0] - 1):
            for j in range(1, u.shape[1] - 1):
                v[i, j] = 0.25 * (u[i - 1, j] + u[i + 1, j] + u[i, j - 1] + u[i, j + 1])
        u, v = v, u
    return u


def heat_3d(u, steps):
    u, v = u.copy(), u.copy()
    for _ in range(steps):
        for i in range(1, u.shape[0] - 1):
            for j in range(1, u.shape[1] - 1):
                for k in range(1, u.shape[2] - 1):
                    here = u[i, j, k]
                    along_i = u[i + 1, j, k] - 2 * here + u[i - 1, j, k]
                    along_j = u[i, j + 1, k] - 2 * here + u[i, j - 1, k]
                    along_k = u[i, j, k + 1] - 2 * here + u[i, j, k - 1]
                    v[i, j, k] = here + 0.125 * (along_i + along_j + along_k)
        u, v = v, u
    return u


def fdtd_2d(ex, ey, hz, steps):
    ex, ey, hz = ex.copy(), ey.copy(), hz.copy()
    m, n = hz.shape
    for step in range(steps):
        for j in range(n):
            ey[0, j] = step
        for i in range(1, m):
            for j in range(n):
                ey[i, j] -= 0.5 * (hz[i, j] - hz[i - 1, j])
        for i in range(m):
            for j in range(1, n):
                ex[i, j] -= 0.5 * (hz[i, j] - hz[i, j - 1])
        for i in range(m - 1):
            for j in range(n - 1):
                hz[i, j] -= 0.7 * (ex[i, j + 1] - ex[i, j] + ey[i + 1, j] - ey[i, j])
    return ex, ey, hz


def advection(u, courant, steps):
    u, v = u.copy(), np.empty(u.size)
    for _ in range(steps):
        before = u[u.size - 1]
        for i in range(u.size):
            v[i] = u[i] - courant * (u[i] - before)
            before = u[i]
        u, v = v, u
    return u


def life(board, steps):
    board, following = board.copy(), board.copy()
    m, n = board.shape
    for _ in range(steps):
        for i in range(m):
            above, below = i - 1 if i else m - 1, i + 1 if i < m - 1 else 0
            for j in range(n):
                left, right = j - 1 if j else n - 1, j + 1 if j < n - 1 else 0
                near = board[above, left] + board[above, j] + board[above, right] + board[i, left]
                near += board[i, right] + board[below, left] + board[below, j] + board[below, right]
                following[i, j] = near == 3 or (near == 2 and board[i, j] == 1)
        board, following = following, board
    return board


# -- elements, points and counts ------------------------------------------------------------------------------------


def clipped(x, y, low, high, a, b, c):
    z = np.empty(x.shape, x.dtype)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            z[i, j] = min(max(x[i, j], low), high) * a + y[i, j] * b + c
    return z


def histogram(data, bins):
    counts = np.zeros(bins, np.int64)
    for value in data:
        counts[value] += 1
    return counts


def trace(a):
    total = 0.0
    for i in range(a.shape[0]):
        total += math.tanh(a[i, i])
    b = np.empty(a.shape)
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            b[i, j] = a[i, j] + total
    return b


def great_circle(latitude, longitude, other_latitude, other_longitude):
    distance = np.empty(latitude.size)
    for i in range(latitude.size):
        up = math.sin((other_latitude[i] - latitude[i]) / 2)
        across = math.sin((other_longitude[i] - longitude[i]) / 2)
        chord = up**2 + math.cos(latitude[i]) * math.cos(other_latitude[i]) * across**2
        distance[i] = 2 * 6371.0 * math.asin(math.sqrt(chord))
    return distance


def distances(x, y):
    found = np.empty((x.shape[0], y.shape[0]))
    for i in range(x.shape[0]):
        for j in range(y.shape[0]):
            total = 0.0
            for k in range(x.shape[1]):
                total += (x[i, k] - y[j, k]) ** 2
            found[i, j] = math.sqrt(total)
    return found


def nbody(places, speeds, masses, dt, steps):
    places, speeds = places.copy(), speeds.copy()
    pull = np.empty(places.shape)
    for _ in range(steps):
        for i in range(places.shape[0]):
            pull_x = pull_y = pull_z = 0.0
            for j in range(places.shape[0]):
                x, y, z = places[j, 0] - places[i, 0], places[j, 1] - places[i, 1], places[j, 2] - places[i, 2]
                square = x * x + y * y + z * z + 1e-2
                weight = masses[j] / (square * math.sqrt(square))
                pull_x, pull_y, pull_z = pull_x + weight * x, pull_y + weight * y, pull_z + weight * z
            pull[i, 0], pull[i, 1], pull[i, 2] = pull_x, pull_y, pull_z
        for i in range(places.shape[0]):
            for axis in range(3):
                speeds[i, axis] += dt * pull[i, axis]
                places[i, axis] += dt * speeds[i, axis]
    return places, speeds


# -- recurrences and iterations -------------------------------------------------------------------------------------


def iir(x, b, a1, a2):
    y = np.empty(x.shape)
    for n in range(x.shape[0]):
        for channel in range(x.shape[1]):
            value = b * x[n, channel]
            if n > 0:
                value += a1 * y[n - 1, channel]
            if n > 1:
                value += a2 * y[n - 2, channel]
            y[n, channel] = value
    return y


def thomas(a, b, c, d):
    n, columns = d.shape
    ratio, x = np.empty((n, columns)), np.empty((n, columns))
    for j in range(columns):
        ratio[0, j], x[0, j] = c[0, j] / b[0, j], d[0, j] / b[0, j]
    for k in range(1, n):
        for j in range(columns):
            left = b[k, j] - a[k, j] * ratio[k - 1, j]
            ratio[k, j], x[k, j] = c[k, j] / left, (d[k, j] - a[k, j] * x[k - 1, j]) / left
    for k in range(n - 2, -1, -1):
        for j in range(columns):
            x[k, j] -= ratio[k, j] * x[k + 1, j]
    return x


def floyd_warshall(d):
    d = d.copy()
    n = d.shape[0]
    for k in range(n):
        for i in range(n):
            for j in range(n):
                d[i, j] = min(d[i, j], d[i, k] + d[k, j])
    return d


def mandelbrot(c, steps):
    counts = np.zeros(c.shape, np.int64)
    for i in range(c.shape[0]):
        for j in range(c.shape[1]):
            z = c[i, j]
            for _ in range(steps):
                if z.real * z.real + z.imag * z.imag >= 4:
                    break
                counts[i, j] += 1
                z = z * z + c[i, j]
    return counts

"""Float64 definitions, written from the papers and as slow as they please, and data to try them on."""

from __future__ import annotations

import numpy as np


def linear(X):
    X = np.asarray(X, dtype=np.float64)
    return X @ X.T


def rbf(X, bandwidth=1.0):
    X = np.asarray(X, dtype=np.float64)
    squares = ((X[:, None] - X[None]) ** 2).sum(-1)
    pairs = np.sort(np.sqrt(squares[np.triu_indices(len(X), 1)]))
    sigma = bandwidth * pairs[(len(pairs) - 1) // 2]
    return np.exp(-squares / (2 * sigma**2))


def rbf_demo(X, bandwidth=1.0):
    """The convention of the public demo of Kornblith et al.: the median of the whole matrix of squared distances."""
    squares = ((np.asarray(X)[:, None] - np.asarray(X)[None]) ** 2).sum(-1)
    return np.exp(-squares / (2 * bandwidth**2 * np.median(squares)))


def distance(X):
    return -np.sqrt(((np.asarray(X)[:, None] - np.asarray(X)[None]) ** 2).sum(-1))


def polynomial(X, degree=3):
    K = linear(X - X.mean(0))
    return (1 + K / np.trace(K) * len(K)) ** degree


def plain_hsic(K, L):
    H = np.eye(len(K)) - 1 / len(K)
    return np.trace((H @ K @ H).T @ (H @ L @ H))


def debiased_hsic(K, L):
    """Song et al. 2012, equation 5."""
    n = len(K)
    K, L, one = K - np.diag(np.diag(K)), L - np.diag(np.diag(L)), np.ones(n)
    middle = (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2))
    return (np.trace(K @ L) + middle - 2 / (n - 2) * (one @ K @ L @ one)) / (n * (n - 3))


def u_centred(K):
    """Szekely and Rizzo 2014, definition 2, of a kernel matrix: <u_centred(K), u_centred(L)> is n (n - 3) HSIC."""
    n = len(K)
    K = K - np.diag(np.diag(K))
    rows = K.sum(1) / (n - 2)
    U = K - rows[:, None] - rows[None] + K.sum() / ((n - 1) * (n - 2))
    return U - np.diag(np.diag(U))


def ratio(hsic, K, L):
    return hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L))


def cka(Y, Z, debiased=False, kernel=linear):
    return ratio(debiased_hsic if debiased else plain_hsic, kernel(Y), kernel(Z))


def within(X, groups):
    X = np.array(X, dtype=np.float64)
    for group in set(groups):
        rows = [i for i, g in enumerate(groups) if g == group]
        X[rows] -= X[rows].mean(0)
    return X


def within_hsic(Y, Z, groups, debiased):
    """The squared norm of the summed scatter matrices of the groups; debiased, its unbiased estimate."""
    scatters, unbiased = [], 0.0
    for group in sorted(set(groups)):
        rows = [i for i, g in enumerate(groups) if g == group]
        y, z = (np.asarray(X, dtype=np.float64)[rows] for X in (Y, Z))
        scatters.append((y - y.mean(0)).T @ (z - z.mean(0)))
        if len(rows) >= 4:
            unbiased += (len(rows) - 1) ** 2 * debiased_hsic(linear(y), linear(z))
    if not debiased:
        return (sum(scatters) ** 2).sum()
    between = (sum(scatters) ** 2).sum() - sum((scatter**2).sum() for scatter in scatters)
    return between + unbiased


def within_cka(Y, Z, groups, debiased=False):
    hsic = [within_hsic(A, B, groups, debiased) for A, B in ((Y, Z), (Y, Y), (Z, Z))]
    return hsic[0] / np.sqrt(hsic[1] * hsic[2])


def left_out(statistic, *arrays):
    """The statistic without each row in turn."""
    return np.array([statistic(*(np.delete(a, i, 0) for a in arrays)) for i in range(len(arrays[0]))])


def jackknife(values):
    n = len(values)
    return np.sqrt((n - 1) / n * ((values - values.mean()) ** 2).sum())


def variance_within(left_out, value):
    """What one group adds to the variance if its mean was removed, from its m leave-one-out values."""
    m, squares = len(left_out), ((left_out - left_out.mean()) ** 2).sum()
    if m == 2:
        return (left_out.mean() - value) ** 2
    return (m - 1) / m * squares * ((m - 1) / (m - 2) if m > 2 else 0)


def related(n, d, seed, mix=0.6, layers=None):
    """Two sides that share part of what they hold, [n, d] or [n, layers, d]."""
    random = np.random.default_rng(seed)
    shape = (n, d) if layers is None else (n, layers, d)
    Y = random.normal(size=shape)
    return Y, mix * Y + (1 - mix) * random.normal(size=shape)


def like_a_language_model(n, d, seed, largest=1000.0):
    """Two sides with a few dimensions 100 to 1000 times larger than the others, and a common offset."""
    random = np.random.default_rng(seed)
    scales = np.exp(random.normal(size=d) * 0.5)
    scales[random.choice(d, 3, replace=False)] *= np.array([100.0, 300.0, largest])
    shared = random.normal(size=(n, d))
    Y = (shared + random.normal(size=(n, d))) * scales + 5 * random.normal(size=d) * scales
    Z = (shared + random.normal(size=(n, d))) * scales + 5 * random.normal(size=d) * scales
    return Y.astype(np.float32), Z.astype(np.float32)

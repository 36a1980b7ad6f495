"""How often the 95 % intervals of debiased linear CKA cover what they claim to, before and after the rules in use now.

    python benchmarks/coverage.py [--draws 1000] [--only within fixed sampled agreement]

Every row is a world with a known answer: Gaussian prompts (or Student's t with 6 degrees of freedom, for heavy tails)
whose dimensions have variances 1, 1/2, 1/3 ..., template means with standard deviation `between` in each, and a second
side that holds half of both. Printed are Markdown tables, which docs/reference/similarity.md shows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from mossa.similarity import cka, share_of_agreement
from mossa.similarity.features import Groups
from mossa.similarity.registry import View
from mossa.similarity.uncertainty import Value, estimate
from mossa.similarity.views import view_values

WIDTH = 8


@dataclass(frozen=True)
class World:
    """n prompts of g templates; the second side holds `mix` of the first, and `shared` of its template means."""

    n: int
    groups: int
    between: float = 0.0
    mix: float = 0.5
    shared: float = 0.5
    heavy: bool = False
    fixed: bool = True  # the templates are the same in all draws

    def draws(self, count: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield Y and Z [n, d] and the template of each prompt."""
        random = np.random.default_rng(seed)
        labels = np.arange(self.n) % self.groups
        scales = 1 / np.sqrt(np.arange(1, WIDTH + 1))
        means = self._means(random)
        for _ in range(count):
            means = means if self.fixed else self._means(random)
            y, e = (self._noise(random) * scales for _ in range(2))
            yield y + means[0][labels], self.mix * y + (1 - self.mix) * e + means[1][labels], labels

    def truth(self, grouping: str, seed: int = 0) -> float:
        """CKA of all prompts of these templates or, where they are a sample, of all templates."""
        y, z = self._means(np.random.default_rng(seed))
        within = np.diag(1 / np.arange(1, WIDTH + 1)) / (self.n // self.groups if grouping == "means" else 1)
        if grouping == "within":
            B = [np.zeros((WIDTH, WIDTH))] * 3
        elif self.fixed:
            B = [np.cov(np.hstack([y, z]).T, bias=True)[rows, cols] for rows, cols in _BLOCKS]
        else:
            size = self.between**2 * np.eye(WIDTH)
            B = [self.shared * size, size, (self.shared**2 + (1 - self.shared) ** 2) * size]
        yz, yy, zz = B[0] + self.mix * within, B[1] + within, B[2] + (self.mix**2 + (1 - self.mix) ** 2) * within
        return float((yz**2).sum() / np.sqrt((yy**2).sum() * (zz**2).sum()))

    def _means(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        y, e = (random.normal(size=(self.groups, WIDTH)) * self.between for _ in range(2))
        return y, self.shared * y + (1 - self.shared) * e

    def _noise(self, random: np.random.Generator) -> np.ndarray:
        shape = (self.n, WIDTH)
        return random.standard_t(6, shape) / np.sqrt(1.5) if self.heavy else random.normal(size=shape)


_LEFT, _RIGHT = slice(0, WIDTH), slice(WIDTH, None)
_BLOCKS = ((_LEFT, _RIGHT), (_LEFT, _LEFT), (_RIGHT, _RIGHT))


@dataclass(frozen=True)
class Measured:
    """What an interval did over many draws."""

    covered: float
    error: float  # mean standard error
    spread: float  # standard deviation of the values
    value: float  # mean
    missing: int = 0  # draws without an interval


def measure(world: World, grouping: str, count: int, before: Callable[[Value], Value] | None = None) -> Measured:
    """Return how the interval of debiased linear CKA did; `before` takes a value back to the rules of before."""
    truth, rows = world.truth(grouping), []
    for Y, Z, labels in world.draws(count):
        groups = Groups.of(labels.tolist(), world.n)
        here = {"control": torch.from_numpy(Z), "Y": torch.from_numpy(Y)}
        value = view_values(View(grouping=grouping), here, [("control", "Y")], groups, {True})[("control", "Y"), True]
        if value.value is None or value.left_out is None:
            continue
        value = before(value) if before else value
        found = estimate(value, 0.95)
        rows.append((found.low <= truth <= found.high, found.standard_error, found.value))
    covered, errors, values = np.array(rows, dtype=float).reshape(-1, 3).T
    return Measured(covered.mean(), errors.mean(), values.std(), values.mean(), count - len(rows))


def within(count: int) -> Iterator[list[str]]:
    """Yield the rows of small groups whose means are removed."""
    yield ["prompts", "per group", "tails", "real spread", "mean error before", "covered", "mean error now", "covered"]
    for n in (40, 120):
        for size in (2, 3, 4, 5, 8, 20):
            for heavy in (False, True):
                world = World(n, n // size, between=2, shared=0, heavy=heavy)
                old = measure(world, "within", count, lambda value: replace(value, within=False))
                now = measure(world, "within", count)
                row = [n, size, "heavy" if heavy else "normal", f"{now.spread:.4f}", f"{old.error:.4f}"]
                yield [*map(str, row), f"{old.covered:.1%}", f"{now.error:.4f}", f"{now.covered:.1%}"]


def fixed(count: int) -> Iterator[list[str]]:
    """Yield the rows of balanced templates that are always the same."""
    yield ["prompts", "templates", "between", "bias", "real spread", "mean error before", "covered", "now", "covered"]
    for n, groups in ((100, 5), (100, 10), (200, 10), (400, 20), (60, 20)):
        for between in (0.5, 1.0, 2.0):
            world = World(n, groups, between)
            old = measure(world, "fixed", count, lambda value: replace(value, strata=None, middle=None))
            now = measure(world, "fixed", count)
            row = [
                n,
                groups,
                between,
                f"{now.value - world.truth('fixed'):+.4f}",
                f"{now.spread:.4f}",
                f"{old.error:.4f}",
            ]
            yield [*map(str, row), f"{old.covered:.1%}", f"{now.error:.4f}", f"{now.covered:.1%}"]


def sampled(count: int) -> Iterator[list[str]]:
    """Yield the rows of templates that are a sample of all templates."""
    yield ["templates", "shared", "truth", "debiased", "covered", "`-sampled` covered", "`-means`", "truth", "covered"]
    for shared in (0.0, 0.5):
        for groups in (10, 20, 40):
            world = World(10 * groups, groups, 1.0, shared=shared, mix=shared, fixed=False)
            plain = measure(world, "fixed", count, lambda value: replace(value, strata=None, middle=None))
            over, means = measure(world, "sampled", count), measure(world, "means", count)
            row = [groups, shared, f"{world.truth('sampled'):.2f}", f"{plain.value:.2f}", f"{plain.covered:.1%}"]
            row += [f"{over.covered:.1%}", f"{means.value:.2f}", f"{world.truth('means'):.2f}", f"{means.covered:.1%}"]
            yield [*map(str, row)]


def agreement(count: int) -> Iterator[list[str]]:
    """Yield the rows of a perfect model read against the agreement of two controls, old share and new."""
    yield ["noise", "prompts", "agreement", "value / agreement", "share, median", "share, 95 % of draws", "without"]
    random = np.random.default_rng(0)
    for noise in (0.3, 1.0, 1.4, 2.0, 3.0):
        for n in (100, 400):
            agreed, values = [], []
            for _ in range(count):
                S = random.normal(size=(n, WIDTH))
                C = [S + noise * random.normal(size=S.shape) for _ in range(2)]
                agreed.append(float(cka(*C, debiased=True).value))
                values.append(float(cka(S, C[0], debiased=True).value))
            shares = share_of_agreement(np.array(values), np.array(agreed))
            old = f"{np.median(np.array(values) / np.array(agreed)):.2f}"
            row = [str(noise), str(n), f"{np.mean(agreed):.2f}", old]
            if np.isnan(shares).all():
                yield [*row, "none", "", "100.0%"]
                continue
            low, middle, high = np.nanquantile(shares, [0.025, 0.5, 0.975])
            yield [*row, f"{middle:.2f}", f"{low:.2f} to {high:.2f}", f"{np.isnan(shares).mean():.1%}"]


TABLES = {table.__name__: table for table in (within, fixed, sampled, agreement)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--only", nargs="*", choices=TABLES, default=list(TABLES))
    arguments = parser.parse_args()
    for name in arguments.only:
        print(f"\n{name}\n")
        for number, row in enumerate(TABLES[name](arguments.draws)):
            print("| " + " | ".join(row) + " |", flush=True)
            if number == 0:
                print("|" + " --- |" * len(row))


if __name__ == "__main__":
    main()

"""Few for many: the published choice row by row, the O(m^2) form, rivals by their own promises, exact transport."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import rivals
from benchmarks.transport import cover_radius, exact_w2, gaussian_w2
from policy.subset.greedy import (
    PUBLISHED_GAMMA,
    distances,
    effective_dimension,
    greedy,
    nearest,
    otprune,
    scale_free,
    shares,
    squared,
)
from policy.subset.medoids import k_medoids
from policy.subset.stream import Running
from sim.errors import LunarError

HERE = Path(__file__).parent
OTPRUNE = np.load(HERE / "otprune.npz")
W2 = np.load(HERE / "w2.npz")


def case(number: int) -> dict[str, np.ndarray]:
    return {name: OTPRUNE[f"c{number}_{name}"] for name in ("features", "ratio", "gamma", "order", "logdet")}


def by_cholesky(kernel: np.ndarray, k: int) -> list[int]:
    """The same search as it is known: a row of K's Cholesky factor per step (Chen and others 2018)."""
    factor = np.zeros((k, len(kernel)))
    gains, order = np.diag(kernel).copy(), []
    for step in range(k):
        row = int(np.argmax(np.where(np.isin(np.arange(len(kernel)), order), -np.inf, gains)))
        order.append(row)
        factor[step] = (kernel[row] - factor[:step, row] @ factor[:step]) / math.sqrt(gains[row])
        gains = gains - factor[step] ** 2
    return order


def clusters(seed: int, m: int = 300, d: int = 6, of: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0.0, 4.0, (of, d))[rng.integers(of, size=m)] + rng.normal(0.0, 0.3, (m, d))


# ---- the greedy search ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(19))
def test_the_published_choice_is_reproduced(number: int) -> None:
    c = case(number)
    values = c["features"].astype(float)
    found = otprune(values, float(c["ratio"]), float(c["gamma"]))
    as_rows = lambda rows: sorted(map(tuple, values[rows]))  # noqa: E731  c7 holds every row twice
    assert as_rows(found.order) == as_rows(c["order"])
    tolerance = 1e-5 if c["features"].dtype == np.float32 else 1e-6
    assert found.logdet == pytest.approx(float(c["logdet"]), rel=tolerance)


@pytest.mark.parametrize("number", [k for k in range(19) if k != 7])  # c7 is all ties
def test_the_short_form_takes_what_the_long_form_takes(number: int) -> None:
    c = case(number)
    phi, gamma, k = squared(c["features"]), float(c["gamma"]), len(c["order"])
    assert greedy(phi, k, gamma).order.tolist() == by_cholesky(np.eye(len(phi)) + gamma * phi @ phi.T, k)


def test_logdet_is_the_determinant_s() -> None:
    phi = clusters(0)
    found = greedy(phi, 40, 0.7)
    kept = phi[found.order]
    assert found.logdet == pytest.approx(np.linalg.slogdet(np.eye(40) + 0.7 * kept @ kept.T)[1], rel=1e-10)
    assert (np.diff(found.gains) <= 1e-9).all()


def test_what_is_given_is_not_looked_for_again() -> None:
    phi = clusters(1)
    first = greedy(phi, 8, 5.0)
    rest = greedy(phi, 6, 5.0, given=first.order[:2])
    assert rest.order.tolist() == first.order[2:].tolist()


def test_scale_free_means_scale_free() -> None:
    phi = clusters(2)
    order = greedy(phi, 20, scale_free(phi)).order
    assert greedy(1e6 * phi, 20, scale_free(1e6 * phi)).order.tolist() == order.tolist()


def test_the_published_gamma_ranks_by_energy_at_small_d() -> None:
    """And the scale-free one does not: the reason for it."""
    phi = clusters(3, m=400, d=8, of=12)
    energy = np.argsort(-np.square(squared(phi)).sum(1))[:40]
    assert len(np.intersect1d(otprune(phi, 0.1, PUBLISHED_GAMMA).order, energy)) >= 37
    assert len(np.intersect1d(greedy(phi, 40, scale_free(phi)).order, energy)) <= 30


def test_a_rare_kind_is_found() -> None:
    rng = np.random.default_rng(4)
    phi = rng.standard_normal((2000, 12))
    phi[777] = 0.0
    phi[777, 5] = 7.0
    assert 777 in greedy(phi, 12, scale_free(phi)).order


def test_effective_dimension_counts_directions() -> None:
    phi = np.zeros((10, 4))
    phi[:, :2] = np.random.default_rng(5).standard_normal((10, 2))
    assert effective_dimension(phi, 1e9) == pytest.approx(2.0, abs=1e-6)
    assert effective_dimension(phi, 1e-12) == pytest.approx(0.0, abs=1e-6)


def test_weights_are_shares_of_the_nearest() -> None:
    phi = np.array([[0.0], [0.1], [0.2], [10.0], [10.1]])
    assert nearest(phi, [1, 3]).tolist() == [0, 0, 0, 1, 1]
    assert shares(phi, [1, 3]) == pytest.approx([0.6, 0.4])


@pytest.mark.parametrize(
    ("features", "k", "gamma", "says"),
    [
        (np.ones((3, 2)), 4, 1.0, "4 rows cannot be taken of 3"),
        (np.ones((3, 2)), 0, 1.0, "0 rows"),
        (np.ones((3, 2)), 1, 0.0, "gamma"),
        (np.ones((3, 2)), 1, math.nan, "gamma"),
        (np.array([[1.0], [np.nan]]), 1, 1.0, "NaN"),
        (np.zeros((0, 3)), 1, 1.0, "shape"),
        (np.ones(3), 1, 1.0, "shape"),
    ],
)
def test_nonsense_is_refused(features: np.ndarray, k: int, gamma: float, says: str) -> None:
    with pytest.raises(LunarError, match=says):
        greedy(features, k, gamma)


def test_rows_without_any_difference_are_refused() -> None:
    with pytest.raises(LunarError, match="all rows are the same"):
        scale_free(np.zeros((5, 3)))


def test_a_column_of_zeros_is_no_nan() -> None:
    phi = clusters(6)
    phi[:, 2] = 0.0
    assert np.isfinite(squared(phi)).all()


# ---- rivals ---------------------------------------------------------------------------------------------------------


def every_rival(features: np.ndarray, k: int) -> dict[str, np.ndarray]:
    m = len(features)
    return {
        "random": rivals.random(m, k, np.random.default_rng(0)),
        "every n-th": rivals.every_nth(m, k),
        "k-centre": rivals.k_centre(features, k),
        "DivPrune": rivals.divprune(features, k),
        "k-medoids": k_medoids(features, k, np.random.default_rng(0)),
        "herding": rivals.herding(features, k),
    }


@pytest.mark.parametrize("k", [1, 7, 40])
@pytest.mark.parametrize("features", [clusters(7, m=40), np.ones((40, 3))], ids=["clusters", "all alike"])
def test_each_rival_takes_k_different_rows(features: np.ndarray, k: int) -> None:
    for name, rows in every_rival(features, k).items():
        assert len(rows) == k and len(set(rows.tolist())) == k, name
        assert set(rows.tolist()) <= set(range(40)), name


def test_rivals_keep_their_own_promises() -> None:
    phi = clusters(8, of=5)
    found = every_rival(phi, 5)
    chance = [rivals.random(len(phi), 5, np.random.default_rng(s)) for s in range(20)]
    radius = np.median([cover_radius(phi, rows) for rows in chance])
    w2 = np.median([exact_w2(phi, rows, shares(phi, rows)) for rows in chance])
    off = np.median([np.linalg.norm(phi[rows].mean(0) - phi.mean(0)) for rows in chance])
    assert cover_radius(phi, found["k-centre"]) < 0.5 * radius
    assert exact_w2(phi, found["k-medoids"], shares(phi, found["k-medoids"])) < 0.5 * w2
    assert np.linalg.norm(phi[found["herding"]].mean(0) - phi.mean(0)) < off
    unit = phi / np.linalg.norm(phi, axis=1, keepdims=True)
    least = lambda rows: (1.0 - unit[rows] @ unit[rows].T + 9.0 * np.eye(5)).min()  # noqa: E731
    assert least(found["DivPrune"]) > max(map(least, chance))


# ---- transport ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(6))
def test_transport_agrees_with_pot_s(number: int) -> None:
    points, kept = W2[f"c{number}_points"], W2[f"c{number}_subset"]
    expected = {name: float(W2[f"c{number}_{name}"]) for name in ("w2_squared", "gaussian_w2_squared", "cover_radius")}
    assert exact_w2(points, kept) == pytest.approx(expected["w2_squared"], rel=1e-9, abs=1e-9)
    assert gaussian_w2(points, kept) == pytest.approx(expected["gaussian_w2_squared"], rel=1e-9, abs=1e-9)
    assert cover_radius(points, kept) == pytest.approx(expected["cover_radius"], rel=1e-9, abs=1e-6)


def test_shares_are_the_best_weights() -> None:
    """With them nobody travels farther than to the nearest kept row."""
    points = clusters(9)
    kept = rivals.random(len(points), 12, np.random.default_rng(1))
    weights = shares(points, kept)
    assert exact_w2(points, kept, weights) <= exact_w2(points, kept) + 1e-9
    near = np.square(points - points[kept[nearest(points, kept)]]).sum(1).mean()
    assert exact_w2(points, kept, weights) == pytest.approx(near, rel=1e-6)


# ---- the stream -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_a_stream_comes_near_to_the_choice_in_hindsight(seed: int) -> None:
    """In any order, the largest first and last among them."""
    phi = clusters(seed, m=500, d=10, of=20)
    if seed % 3:
        phi = phi[np.argsort(np.square(phi).sum(1))[:: 3 - 2 * (seed % 3)]]
    gamma = scale_free(phi)
    running = Running(12, gamma)
    values, let_go = [], []
    for row, features in enumerate(phi):
        let_go.append(running.offer(row, features))
        kept = phi[running.kept]
        values.append(np.linalg.slogdet(np.eye(len(kept)) + gamma * kept @ kept.T)[1])
    assert (np.diff(values) >= -1e-9).all()
    assert sorted([*running.kept, *(row for row in let_go if row is not None)]) == list(range(500))
    assert len(running.kept) == 12 and values[-1] >= 0.9 * greedy(phi, 12, gamma).logdet


def test_of_equal_rows_a_stream_keeps_the_first() -> None:
    running = Running(2, 1.0)
    assert [running.offer(row, np.ones(3)) for row in range(4)] == [None, None, 2, 3]


def test_a_stream_of_nothing_keeps_nothing() -> None:
    assert Running(3, 1.0).kept == []
    for k, gamma in ((0, 1.0), (3, 0.0), (3, math.nan)):
        with pytest.raises(LunarError):
            Running(k, gamma)


def test_no_single_swap_makes_medoids_better() -> None:
    rng = np.random.default_rng(4)
    features = rng.standard_t(3.0, (60, 5))
    chosen = k_medoids(features, 6, np.random.default_rng(0))
    everywhere = distances(features, features)
    cost = everywhere[:, chosen].min(1).sum()
    for place in range(6):
        others = np.delete(chosen, place)
        for row in range(60):
            assert everywhere[:, [*others, row]].min(1).sum() >= 0.97 * cost

from __future__ import annotations

import numpy as np

from federation.related.noised import solve_noised_rows
from federation.related.result import RelatedRules
from tests.federation.liked import count_likes, make_households

CONTENTS = 24
NAMES = [f"film:{number}" for number in range(CONTENTS)]
RULES = RelatedRules(regularisation=20.0, min_households=50, neighbour_limit=5)


def make_counts(count: int = 4000) -> tuple[dict[str, int], np.ndarray]:
    households = make_households(count, 3, CONTENTS)
    matrix = np.array([[each in household for each in NAMES] for household in households], float)
    gram = matrix.T @ matrix
    np.fill_diagonal(gram, 0)
    likes = count_likes(households)
    return dict(zip(likes.content_ids, likes.devices.tolist(), strict=True)), gram


def test_neighbours_are_those_of_the_same_taste_in_spite_of_noise() -> None:
    likes, gram = make_counts()
    random = np.random.default_rng(1)
    noise = np.triu(np.rint(random.normal(0, 30, gram.shape)), 1)

    rows = solve_noised_rows(NAMES, likes, gram + noise + noise.T, 30.0, (), RULES)

    assert len(rows) == CONTENTS
    for row in rows:
        taste = int(row.content_id.partition(":")[2]) % 4
        assert {int(each.partition(":")[2]) % 4 for each in row.neighbours[:3]} == {taste}


def test_what_may_be_noise_alone_is_not_published() -> None:
    random = np.random.default_rng(1)
    noise = np.triu(np.rint(random.normal(0, 100, (CONTENTS, CONTENTS))), 1)
    likes = dict.fromkeys(NAMES, 1000)

    rows = solve_noised_rows(NAMES, likes, noise + noise.T, 100.0, (), RULES)

    assert len(rows) <= 4  # one pair in 740 is above 3 standard deviations


def test_a_matrix_that_noise_made_indefinite_is_solved_all_the_same() -> None:
    likes, gram = make_counts()
    few = dict.fromkeys(likes, 1)  # a diagonal far below its row

    rows = solve_noised_rows(NAMES, few, gram, 0.01, (), RULES)

    assert len(rows) == CONTENTS
    assert all(abs(code) <= 127 for row in rows for code in row.codes)

"""Each manuscript that went wrong is built for real. The score of all is printed at the end of the tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cases.score import Case, can_try, read_cases, run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("case", read_cases(), ids=lambda case: case.name)
def test_what_comes_of_a_manuscript_that_went_wrong(case: Case, record_property: Callable[[str, object], None]) -> None:
    if not can_try(case):
        pytest.skip(f"{case.needs} is not installed")
    score = run(case)
    record_property("case", (score.right, score.silent))
    assert score.wrong == list(case.misses), score.told

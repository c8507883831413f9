"""``python -m tests.cases [NAME …]``: builds the cases, two at a time, and prints what is wrong, what was told, and the score."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from tests.cases.score import can_try, read_cases, run, summary


def main(names: list[str]) -> None:
    cases = [case for case in read_cases() if can_try(case) and (not names or case.name in names)]
    scores = []
    with ThreadPoolExecutor(2) as pool:
        for score in pool.map(run, cases):
            scores.append(score)
            if score.wrong or names:
                sys.stdout.write(f"{', '.join(score.wrong) or 'right'}: {score.told}\n\n")
    sys.stdout.write(summary((score.right, score.silent) for score in scores) + "\n")


main(sys.argv[1:])

"""Outside reference for the program `logit`: the same regression by statsmodels.

Owns which rows are in which run and what the coefficients are. Knows nothing of the collective: it reads
data/anes96.csv and nothing else, so that agreement with a job's output says something.

    python reference.py            write reference.json beside this file
    python reference.py --check    recompute and compare with reference.json; exit code 1 if they differ
"""

import argparse
import csv
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import numpy
import statsmodels.api as sm

HERE = Path(__file__).resolve().parent
TABLE = HERE.parents[2] / "data" / "anes96.csv"
RESULT = HERE / "reference.json"

OUTCOME = "vote"

# Newton's method ends when the parameters move by less than this; it converges quadratically, so the last step
# is at the rounding error of a double.
TOLERANCE = 1e-14
# Eight steps are enough on this table; the bound only keeps a mistake from looping.
MAX_STEPS = 100
# What two machines may differ by: their linear algebra adds in another order.
AGREEMENT = 1e-10


def purposes(row):
    """Purposes that the contributor of row `row` (from 0) agrees to: the published function of the row number."""
    return {
        name
        for name, agrees in (
            ("statistics", row % 10 != 9),
            ("training", row % 3 == 0),
            ("transfer", row % 7 == 0),
        )
        if agrees
    }


def revokes(row):
    """The twelve contributors who revoke before the second run: 3, 83, … 883."""
    return row % 80 == 3


def fit(columns, table):
    """Maximum-likelihood logit of the outcome on all other columns, intercept first."""
    outcome = table[:, columns.index(OUTCOME)]
    kept = [index for index, name in enumerate(columns) if name != OUTCOME]
    design = sm.add_constant(table[:, kept], prepend=True, has_constant="raise")
    model = sm.Logit(outcome, design)
    result = model.fit(method="newton", tol=TOLERANCE, maxiter=MAX_STEPS, disp=False)
    if not result.mle_retvals["converged"]:
        raise SystemExit("logit did not converge")
    # The score is a sum over all rows; at the optimum it is rounding error beside its own terms.
    slope = numpy.abs(model.score(result.params)) / numpy.abs(design).sum(axis=0)
    if slope.max() > 1e-13:
        raise SystemExit(f"score is not zero at the optimum: {slope.max():.1e} of its terms")
    return {
        "rows": len(outcome),
        "columns": ["const"] + [columns[index] for index in kept],
        "coefficients": [float(value) for value in result.params],
    }


def compute():
    """Both runs over the committed table, as the document that reference.json holds."""
    with open(TABLE, newline="", encoding="utf-8") as file:
        columns, *rows = csv.reader(file, delimiter="\t", quotechar="'")
    table = numpy.array(rows, dtype=float)
    first = [row for row in range(len(table)) if "statistics" in purposes(row)]
    second = [row for row in first if not revokes(row)]
    return {
        "origin": "jobs/logit/reference/reference.py: statsmodels Logit, Newton's method, on data/anes96.csv",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("statsmodels", "numpy", "scipy")},
        },
        "runs": {
            "first": fit(columns, table[first]),
            "second": fit(columns, table[second]),
        },
    }


def check(expected, found):
    """Differences between two documents, as lines of text; none if they agree."""
    for name in ("first", "second"):
        before, after = expected["runs"][name], found["runs"][name]
        for key in ("rows", "columns"):
            if before[key] != after[key]:
                yield f"{name}: {key} {before[key]} in the file, {after[key]} now"
        for column, old, new in zip(before["columns"], before["coefficients"], after["coefficients"], strict=True):
            # "not within" rather than "beyond", so that a NaN is a difference.
            if not abs(old - new) <= AGREEMENT * max(1.0, abs(old)):
                yield f"{name}: {column} {old!r} in the file, {new!r} now"


def main():
    parser = argparse.ArgumentParser(description="Outside reference for the program `logit`.")
    parser.add_argument("--check", action="store_true", help="compare with reference.json instead of writing it")
    found = compute()
    if not parser.parse_args().check:
        # Python writes the shortest digits that bring each double back bit for bit (17 at most).
        RESULT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        return 0
    differences = list(check(json.loads(RESULT.read_text(encoding="utf-8")), found))
    for line in differences:
        print(line, file=sys.stderr)
    if not differences:
        runs = ", ".join(f"{name} {run['rows']} rows" for name, run in found["runs"].items())
        print(f"reference.json holds ({runs})")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())

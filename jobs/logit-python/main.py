"""logit: logistic regression with an intercept, by Newton's method to convergence.

Arguments: names of the columns, joined by commas, as selected. The last is the outcome (0 or 1).
Output: {"n":N,"columns":["intercept",names…],"coefficients":[numbers],"iterations":N}
"""

import json

import collective
from newton import improve

STEPS = 50
CLOSE = 1e-10  # relative change of every coefficient in the last step


def run(arguments):
    *names, _outcome = arguments.split(",")
    # Sorted, so that the order in which floats are added is that of the rows and not of the input set.
    rows = sorted([1.0, *map(float, record)] for record in collective.records())
    if any(row[-1] not in (0, 1) for row in rows):
        raise ValueError("the outcome is neither 0 nor 1")
    coefficients = [0.0] * (len(names) + 1)
    for iterations in range(1, STEPS + 1):
        change = improve(coefficients, rows)
        if change <= CLOSE:
            break
    else:
        raise ValueError("no single answer: columns depend on each other, or separate the outcomes")
    result = {
        "n": len(rows),
        "columns": ["intercept", *names],
        "coefficients": coefficients,
        "iterations": iterations,
    }
    collective.write(json.dumps(result, separators=(",", ":")) + "\n")

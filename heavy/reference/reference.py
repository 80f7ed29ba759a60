#!/usr/bin/env python3
"""Logistic regressions of statsmodels and scikit-learn on randhie.csv, as JSON: `reference.py TABLE`.

Whether somebody saw a doctor at all (mdvis at least 1) by all other columns, the intercept first. Knows nothing of the
project: it reads the table and nothing else, so that agreement says something."""
import csv
import json
import sys

import numpy
import statsmodels.api as sm
from sklearn.linear_model import LogisticRegression

with open(sys.argv[1], newline="", encoding="utf-8") as file:
    names, *rows = csv.reader(file)
table = numpy.array(rows, dtype=float)
outcome = (table[:, 0] >= 1).astype(float)
columns = table[:, 1:]

one = sm.Logit(outcome, sm.add_constant(columns)).fit(method="newton", tol=1e-12, maxiter=100, disp=False)
if not one.mle_retvals["converged"]:
    sys.exit("statsmodels did not converge")

# Standardised, as its solver stops early on columns of very different sizes; nothing is taken off for large coefficients.
mean, deviation = columns.mean(axis=0), columns.std(axis=0)
other = LogisticRegression(C=numpy.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000).fit((columns - mean) / deviation, outcome)
slopes = other.coef_[0] / deviation
theirs = [other.intercept_[0] - (slopes * mean).sum(), *slopes]

print(json.dumps({
    "logLikelihood": float(one.llf),
    "columns": [
        {"name": name, "statsmodels": float(a), "standardError": float(error), "scikitLearn": float(b)}
        for name, a, error, b in zip(["intercept", *names[1:]], one.params, one.bse, theirs, strict=True)
    ],
}))

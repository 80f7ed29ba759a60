"""Counts, and sums of ages, in groups by two columns."""

import collections

import collective


def run(arguments):
    names = arguments.split(",")
    party, educ, age = (names.index(name) for name in ("PID", "educ", "age"))
    counts, ages = collections.Counter(), collections.Counter()
    for record in collective.records():
        group = record[party], record[educ]
        counts[group] += 1
        ages[group] += int(record[age])
    for group in sorted(counts):
        collective.write(f"{','.join(group)},{counts[group]},{ages[group] / counts[group]!r}\n")

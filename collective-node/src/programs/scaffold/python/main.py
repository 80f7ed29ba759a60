"""How many people each group has, and the mean of their scores. Groups of fewer than SMALLEST are left out."""
import json

import collective

SMALLEST = 3


def run(arguments):
    scores = {}
    for group, score in collective.records():
        scores.setdefault(int(group), []).append(int(score))
    groups = [
        {"group": group, "n": len(some), "mean": sum(some) / len(some)}
        for group, some in sorted(scores.items())
        if len(some) >= SMALLEST
    ]
    collective.write(json.dumps({"groups": groups}))

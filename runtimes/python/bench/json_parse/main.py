"""Every record as a line of JSON, and back."""

import json

import collective


def run(arguments):
    names = arguments.split(",")
    total = 0
    for record in collective.records():
        line = json.dumps(dict(zip(names, record)))
        total += int(json.loads(line)["age"])
    collective.write(f"{total}\n")

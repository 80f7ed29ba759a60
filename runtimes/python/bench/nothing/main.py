"""What the others are measured against: every record is read, and nothing is done with it."""

import collective


def run(arguments):
    count = 0
    for _ in collective.records():
        count += 1
    collective.write(f"{count}\n")

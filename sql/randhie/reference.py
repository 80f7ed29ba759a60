#!/usr/bin/env python3
"""Answers of DuckDB to queries.sql, as JSON: `reference.py TABLE`. With a number after it, the seconds that so many rounds of
all queries took in the mean, reading the table's file included.

The table is randhie.csv of shared/data, or a file of the same columns in which decimals are whole numbers of ten millionths
already, as in the records of the contributors."""
import json
import sys
import time
from pathlib import Path

import duckdb

SCALED = {"lncoins", "lpi", "fmde", "physlm", "disea"}
QUERIES = Path(__file__).with_name("queries.sql")


def load(table):
    database = duckdb.connect()
    names = Path(table).read_text().split("\n", 1)[0].split(",")
    columns = [
        f"CAST(CAST({name} AS DECIMAL(18, 7)) * 10000000 AS BIGINT) AS {name}" if name in SCALED else f"CAST({name} AS BIGINT) AS {name}"
        for name in names
    ]
    # All text first: a decimal that went through a double would not be the same one.
    database.execute(f"CREATE TABLE randhie AS SELECT {', '.join(columns)} FROM read_csv('{table}', all_varchar = true)")
    return database


def answers(database):
    for query in QUERIES.read_text().split(";"):
        asked = database.execute(query)
        names = [column[0] for column in asked.description]
        yield [dict(zip(names, map(number, row))) for row in asked.fetchall()]


def number(value):
    return value if isinstance(value, (int, float, str, type(None))) else float(value)


if len(sys.argv) == 3:
    rounds = int(sys.argv[2])
    began = time.perf_counter()
    for _ in range(rounds):
        list(answers(load(sys.argv[1])))
    print((time.perf_counter() - began) / rounds)
else:
    print(json.dumps(list(answers(load(sys.argv[1])))))

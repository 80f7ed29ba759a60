//! What a query may not be: each is refused by name before a record is read.

mod support;

use support::refused;

/// Queries, and a part of what is said of each.
fn all_refused(queries: &[(&str, &str)]) {
    for (query, told) in queries {
        let said = refused(query);
        println!("{query}: {said}");
        assert!(said.contains(told), "{query}: {said}");
    }
}

#[test]
fn one_select_over_one_table() {
    all_refused(&[
        ("DELETE FROM survey", "one SELECT"),
        (
            "SELECT count(*) FROM survey; SELECT count(*) FROM survey",
            "one SELECT",
        ),
        ("COPY survey TO '/tmp/x'", "one SELECT"),
        (
            "CREATE TABLE t AS SELECT count(*) FROM survey",
            "one SELECT",
        ),
        ("EXPLAIN SELECT count(*) FROM survey", "one SELECT"),
        ("SET a = 1", "one SELECT"),
        ("VALUES (1)", "one SELECT"),
        (
            "SELECT count(*) FROM survey UNION ALL SELECT count(*) FROM survey",
            "UNION",
        ),
        ("SELECT count(*) FROM survey EXCEPT SELECT 1", "EXCEPT"),
        (
            "WITH t AS (SELECT * FROM survey) SELECT count(*) FROM t",
            "WITH",
        ),
        ("SELECT count(*) FROM survey, survey", "a join"),
        (
            "SELECT count(*) FROM survey a JOIN survey b ON a.age = b.age",
            "a join",
        ),
        ("SELECT count(*) FROM (SELECT * FROM survey)", "after FROM"),
        ("SELECT count(*) FROM survey AS s", "after FROM"),
        (
            "SELECT count(*) FROM survey TABLESAMPLE (1 ROWS)",
            "after FROM",
        ),
        ("SELECT count(*) FROM generate_series(1, 9)", "after FROM"),
        ("SELECT count(*) FROM information_schema.tables", "a schema"),
        ("SELECT count(*) FROM '/etc/passwd'", "/etc/passwd"),
        ("SELECT count(*) FROM others", "others"),
        ("SELECT count(*)", "a join"),
    ]);
}

#[test]
fn figures_of_groups_and_no_rows() {
    all_refused(&[
        ("SELECT * FROM survey", "figures of groups"),
        ("SELECT age FROM survey WHERE age > 99", "figures of groups"),
        ("SELECT DISTINCT age FROM survey", "DISTINCT"),
        ("SELECT age, row_number() OVER () FROM survey", "row_number"),
        (
            "SELECT sum(earns) OVER (PARTITION BY town) FROM survey",
            "window",
        ),
        ("SELECT count(*) FROM survey LIMIT 1 OFFSET 1", "OFFSET"),
        (
            "SELECT count(*) FROM survey FETCH FIRST 1 ROW ONLY",
            "FETCH",
        ),
        (
            "SELECT town, count(*) FROM survey GROUP BY ALL",
            "GROUP BY ALL",
        ),
        (
            "SELECT town, count(*) FROM survey GROUP BY CUBE (town, age)",
            "set of groupings",
        ),
        (
            "SELECT town, count(*) FROM survey GROUP BY ROLLUP (town)",
            "set of groupings",
        ),
        ("SELECT count(*) FROM survey QUALIFY true", "QUALIFY"),
        (
            "SELECT town, count(*) AS n, sum(age) AS n FROM survey GROUP BY town",
            "unique expression names",
        ),
        (
            "SELECT town, count(*) FROM survey GROUP BY town ORDER BY ALL",
            "ALL",
        ),
    ]);
}

#[test]
fn conditions_stay_outside_of_aggregate_functions() {
    all_refused(&[
        (
            "SELECT sum(CASE WHEN age = 97 THEN earns ELSE 0 END) FROM survey",
            "takes a column",
        ),
        (
            "SELECT sum(earns * (age / 97)) FROM survey",
            "takes a column",
        ),
        ("SELECT sum(abs(earns)) FROM survey", "takes a column"),
        ("SELECT avg(CAST(earns AS DOUBLE)) FROM survey", "avg"),
        (
            "SELECT sum(earns) FILTER (WHERE age = 97) FROM survey",
            "FILTER",
        ),
        (
            "SELECT sum(DISTINCT earns) FROM survey",
            "DISTINCT in another",
        ),
        ("SELECT count(nullif(age, 97)) FROM survey", "nullif"),
        (
            "SELECT count(CASE WHEN age = 97 THEN 1 END) FROM survey",
            "takes a column",
        ),
        ("SELECT sum(town) FROM survey", "sum"),
        ("SELECT stddev(town) FROM survey", "stddev"),
        ("SELECT sum(sum(age)) FROM survey", ""),
    ]);
}

#[test]
fn functions_of_the_list_and_no_others() {
    for (function, arguments) in [
        ("min", "age"),
        ("max", "earns"),
        ("first_value", "earns"),
        ("nth_value", "earns, 2"),
        ("array_agg", "earns"),
        ("string_agg", "town, ','"),
        ("median", "earns"),
        // DataFusion's other name of avg.
        ("mean", "earns"),
        ("approx_distinct", "age"),
        ("corr", "age, earns"),
        ("covar_samp", "age, earns"),
        ("bit_xor", "age"),
    ] {
        let said = refused(&format!("SELECT {function}({arguments}) FROM survey"));
        assert!(said.contains(function), "{function}: {said}");
    }
    for expression in [
        "random()",
        "now()",
        "current_date",
        "uuid()",
        "version()",
        "md5(town)",
        "upper(town)",
        "sqrt(age)",
        "arrow_typeof(age)",
        "nullif(age, 1)",
        "age::int",
        "CAST(age AS VARCHAR)",
        "CAST(town AS DATE)",
        "TRY_CAST(town AS BIGINT)",
        "town || town",
        "town LIKE 'A%'",
        "age & 1",
        "age IN (SELECT age FROM survey)",
        "EXISTS (SELECT 1 FROM survey)",
        "(SELECT 1)",
        "age IS DISTINCT FROM 1",
        "[age]",
        "DATE '2026-01-01'",
        "@@version",
        "$1",
    ] {
        let said = refused(&format!(
            "SELECT count(*) FROM survey GROUP BY {expression}"
        ));
        println!("{expression}: {said}");
        assert!(!said.is_empty(), "{expression}");
    }
}

#[test]
fn integers_that_may_leave_their_range_are_refused_before_they_do() {
    all_refused(&[
        (
            "SELECT count(*) FROM survey WHERE earns * earns > 5",
            "may leave the range",
        ),
        (
            "SELECT count(*) FROM survey GROUP BY earns * 1025",
            "may leave the range",
        ),
        (
            "SELECT sum(earns) + sum(earns) FROM survey",
            "may leave the range",
        ),
        (
            "SELECT count(*) FROM survey HAVING sum(earns) * 2 > 1",
            "may leave the range",
        ),
        (
            "SELECT town, count(*) FROM survey GROUP BY town ORDER BY sum(earns) + 1",
            "may leave",
        ),
        (
            "SELECT -(CAST(CAST(age AS DOUBLE) AS BIGINT)) FROM survey GROUP BY age",
            "may leave",
        ),
    ]);
    for good in [
        "SELECT count(*) FROM survey WHERE age * age * 1000 > 5",
        "SELECT sum(age) + sum(age) AS twice FROM survey",
        "SELECT CAST(sum(earns) AS DOUBLE) * 2 AS twice FROM survey",
    ] {
        support::sandbox()
            .check_query(&support::task(good))
            .expect(good);
    }
}

#[test]
fn the_hidden_column_is_nobodys() {
    all_refused(&[
        (r##"SELECT sum("#place") FROM survey"##, "#place"),
        (r##"SELECT "#members"("#place") FROM survey"##, "#"),
    ]);
}

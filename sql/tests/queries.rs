//! Queries that run: what they give, what of it is not told, and what ends them.

mod support;

use collective_node::sandbox::{Failure, Fault, Sandbox, Trap};
use collective_node::told::screen_alone;
use serde_json::{Value, json};
use support::{limits, records, rows, run, sandbox, stopped, task, worker};

/// Thirty people, ten of each town; one of Ce is 97 and alone in that.
fn people() -> Vec<String> {
    let person = |n: usize| {
        let (age, town) = match n {
            29 => (97, "Ce"),
            n => (20 + n % 3 * 10, ["Ar", "Be", "Ce"][n / 10]),
        };
        format!("{age},{town},{}", 100 * n as i64 - 500)
    };
    (0..30).map(person).collect()
}

#[test]
fn a_query_gives_its_rows_in_one_order() {
    let all = people();
    let by_town = "SELECT town, count(*) AS n, sum(earns) AS total, avg(earns) AS mean,
        round(stddev(earns), 3) AS spread, count(DISTINCT age) AS ages FROM survey GROUP BY town";
    let expected = json!([
        {"town": "Ar", "n": 10, "total": -500, "mean": -50.0, "spread": 302.765, "ages": 3},
        {"town": "Be", "n": 10, "total": 9500, "mean": 950.0, "spread": 302.765, "ages": 3},
        {"town": "Ce", "n": 10, "total": 19500, "mean": 1950.0, "spread": 302.765, "ages": 4},
    ]);
    assert_eq!(rows(by_town, &all, 3), expected);
    let run = run(by_town, &all, 3).expect("it runs");
    assert!(
        run.output
            .starts_with(br#"[{"ages":3,"mean":-50.0,"n":10,"#)
    );
    assert_eq!((run.accepted, run.rejected.count), (30, 0));

    let ordered = "SELECT count(*) AS n, town FROM survey WHERE age < 90 GROUP BY town
        HAVING count(*) > 8 ORDER BY n DESC LIMIT 2";
    let expected = json!([{"n": 10, "town": "Ar"}, {"n": 10, "town": "Be"}]);
    assert_eq!(rows(ordered, &all, 0), expected);
    let buckets =
        "SELECT CASE WHEN age < 30 THEN 'young' ELSE 'old' END AS who, floor(age / 10) AS tens,
        count(*) AS n FROM survey WHERE town IN ('Ar', 'Be') AND age BETWEEN 20 AND 49
        GROUP BY CASE WHEN age < 30 THEN 'young' ELSE 'old' END, floor(age / 10)";
    let expected = json!([
        {"who": "old", "tens": 3.0, "n": 7},
        {"who": "old", "tens": 4.0, "n": 6},
        {"who": "young", "tens": 2.0, "n": 7},
    ]);
    assert_eq!(rows(buckets, &all, 3), expected);
    assert_eq!(
        rows("SELECT age FROM survey GROUP BY 1", &all, 2),
        json!([{"age": 20}, {"age": 30}])
    );
}

#[test]
fn who_is_singled_out_is_not_told_of() {
    let all = people();
    let by_age = "SELECT age, count(*) AS n, sum(earns) AS total FROM survey GROUP BY age";
    let ages = |minimum| {
        let rows = rows(by_age, &all, minimum);
        let rows = rows.as_array().expect("rows").clone();
        rows.into_iter()
            .map(|row| row["age"].clone())
            .collect::<Vec<Value>>()
    };
    assert_eq!(ages(1), [20, 30, 40, 97]);
    // The one of 97, and the smallest group with them: or a total would tell.
    assert_eq!(ages(3), [20, 30]);
    let alone = "SELECT sum(earns) AS total FROM survey WHERE age = 97";
    assert_eq!(stopped(run(alone, &all, 3)).trap, Trap::Suppressed);
    let all_but_one = "SELECT sum(earns) AS total FROM survey WHERE age < 97";
    assert_eq!(stopped(run(all_but_one, &all, 3)).trap, Trap::Suppressed);
    assert_eq!(rows(alone, &all, 1), json!([{"total": 2400}]));
    // HAVING, ORDER BY and LIMIT see the groups that are told and no others.
    let oldest = format!("{by_age} ORDER BY age DESC LIMIT 1");
    assert_eq!(rows(&oldest, &all, 3)[0]["age"], 30);
    let small = format!("{by_age} HAVING count(*) < 3");
    assert_eq!(rows(&small, &all, 3), json!([]));
    let nobody = "SELECT count(*) AS n FROM survey WHERE age = 99";
    assert_eq!(stopped(run(nobody, &all, 3)).trap, Trap::Suppressed);
}

#[test]
fn a_condition_that_never_holds_reads_its_records_and_has_no_output() {
    let all = people();
    for condition in ["age IS NULL", "1 = 0", "age = NULL"] {
        let whole = format!("SELECT count(*) AS n FROM survey WHERE {condition}");
        assert_eq!(
            stopped(run(&whole, &all, 3)).trap,
            Trap::Suppressed,
            "{condition}"
        );
        let grouped =
            format!("SELECT town, count(*) AS n FROM survey WHERE {condition} GROUP BY town");
        let run = run(&grouped, &all, 3).expect("it runs");
        assert_eq!(
            (&run.output[..], run.accepted),
            (&b"[]\n"[..], 30),
            "{condition}"
        );
    }
}

#[test]
fn sums_are_exact_or_there_is_none() {
    let most = 9_007_199_254_740_991_i64;
    let many: Vec<String> = (0..1_000).map(|n| format!("{},Ar,{most}", n % 5)).collect();
    let total = rows(
        "SELECT sum(earns) AS total, avg(earns) AS mean FROM survey",
        &many,
        3,
    );
    assert_eq!(total, json!([{"total": most * 1_000, "mean": most as f64}]));
    let more: Vec<String> = (0..1_100).map(|_| format!("1,Ar,{most}")).collect();
    let stop = stopped(run("SELECT sum(earns) AS total FROM survey", &more, 3));
    assert_eq!(stop.trap, Trap::IntegerOverflow);
    let mean = rows("SELECT avg(earns) AS mean FROM survey", &more, 3);
    assert_eq!(mean, json!([{"mean": most as f64}]));
}

#[test]
fn what_fails_over_the_records_says_nothing_of_them() {
    let all = people();
    let ended = |query: &str| stopped(run(query, &all, 0)).trap;
    assert_eq!(
        ended("SELECT count(*) FROM survey WHERE 1 / (age - 97) > 0"),
        Trap::DivisionByZero
    );
    assert_eq!(
        ended("SELECT count(*) FROM survey WHERE age % (age - 97) > 0"),
        Trap::DivisionByZero
    );
    assert_eq!(
        ended("SELECT count(*) FROM survey WHERE CAST(town AS BIGINT) = 1"),
        Trap::BadConversion
    );
    let far = "SELECT count(*) FROM survey WHERE CAST(CAST(earns AS DOUBLE) * 1e300 AS BIGINT) = 1";
    assert_eq!(ended(far), Trap::BadConversion);
}

#[test]
fn limits_hold() {
    let lines: Vec<String> = (0..200_000).map(|n| format!("1,Ar,{n}")).collect();
    let limited = |query: &str, change: fn(&mut collective_node::sandbox::Limits)| {
        let mut task = task(query);
        change(&mut task.limits);
        let screen = |grouping| screen_alone(lines.len(), 0, grouping);
        stopped(sandbox().try_query(&task, records(&lines), screen)).trap
    };
    let each = "SELECT earns, count(*) AS n FROM survey GROUP BY earns";
    let thousand = "SELECT earns % 1000 AS k, count(*) AS n FROM survey GROUP BY earns % 1000";
    assert_eq!(
        limited(each, |limits| limits.memory_bytes = 1 << 20),
        Trap::Memory
    );
    assert_eq!(
        limited(thousand, |limits| limits.output_bytes = 1_000),
        Trap::OutputLimit
    );
    // The records are there one after another, so that one group of any number of them takes little.
    let mut small = task("SELECT count(*) AS n, sum(earns) AS total FROM survey");
    small.limits.memory_bytes = 4 << 20;
    let screen = |grouping| screen_alone(lines.len(), 3, grouping);
    let run = sandbox().try_query(&small, records(&lines), screen);
    let run = run.unwrap_or_else(|failure: Failure| panic!("{failure:?}"));
    assert_eq!(
        run.output.as_slice(),
        b"[{\"n\":200000,\"total\":19999900000}]\n"
    );
    println!("{:?}", run.usage);
    // A run that takes too long is ended wherever it is.
    let mut slow = task("SELECT count(*) AS n FROM survey");
    slow.limits = collective_node::sandbox::Limits {
        seconds: 1,
        ..limits()
    };
    let stalled =
        records(&lines[..2]).inspect(|_| std::thread::sleep(std::time::Duration::from_secs(2)));
    let stalled = sandbox().try_query(&slow, stalled, |grouping| screen_alone(2, 0, grouping));
    assert!(matches!(
        stalled,
        Err(Failure::Operator(Fault::InputStalled))
    ));
}

#[test]
fn bad_records_are_left_out_and_counted() {
    let lines = ["1,Ar,1", "2,Zz,1", "x", "3,Be,2", "4,Ar,2", "5,Ar,9"];
    let run = run(
        "SELECT count(*) AS n, sum(earns) AS total FROM survey",
        &lines,
        3,
    )
    .expect("runs");
    assert_eq!(run.output.as_slice(), b"[{\"n\":4,\"total\":14}]\n");
    assert_eq!((run.accepted, run.rejected.count), (4, 2));
    assert_eq!(run.rejected.first[0].0, 1);
}

#[test]
fn only_the_approved_columns_are_there() {
    let mut narrow = task("SELECT avg(earns) AS mean FROM survey");
    narrow.columns = vec![1, 0];
    let stop = match sandbox().check_query(&narrow) {
        Err(Failure::Program(stop)) => stop,
        other => panic!("{other:?}"),
    };
    assert!(
        matches!(&stop.trap, Trap::Query(what) if what.contains("earns")),
        "{:?}",
        stop.trap
    );
    narrow.code = task("SELECT town, sum(age) AS years FROM survey GROUP BY town").code;
    let all = people();
    let screen = |grouping| screen_alone(30, 3, grouping);
    let run = sandbox().try_query(&narrow, records(&all), screen);
    let run = run.unwrap_or_else(|failure: Failure| panic!("{failure:?}"));
    assert!(
        run.output.starts_with(br#"[{"town":"Ar","years":290}"#),
        "{:?}",
        String::from_utf8_lossy(&run.output)
    );
}

#[test]
fn the_worker_is_the_one_that_was_voted_for() {
    let engine = sandbox().sql_engine().expect("a worker");
    sandbox().check_engine(&engine).expect("the same");
    assert!(matches!(
        sandbox().check_engine("datafusion/55.2.0"),
        Err(Fault::AnotherSqlEngine(_))
    ));
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = Sandbox::new(folder.path().join("collective"), vec![], None);
    let Err(fault @ Fault::NoSqlWorker(_)) = nowhere.sql_engine() else {
        panic!("a worker in an empty folder");
    };
    assert!(fault.to_string().contains("just sql"), "{fault}");
    assert!(worker().is_file());
}

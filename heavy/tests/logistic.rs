//! The regression against what is known exactly, and against other people's.

mod support;

use serde_json::{Value, json};
use support::Job;

fn source(columns: &[&str]) -> Value {
    let column = |name: &&str| json!({"name": name, "type": {"integer": {"min": -1_000_000_000, "max": 1_000_000_000}}});
    let columns: Vec<Value> = columns.iter().map(column).collect();
    json!({"name": "table", "columns": columns})
}

fn job(columns: &[&str], records: &[String]) -> Job {
    let lines: Vec<Vec<u8>> = records
        .iter()
        .map(|line| format!("{line}\n").into_bytes())
        .collect();
    Job::new(&source(columns), &columns.join(","), &lines)
}

/// So many of each record.
fn repeated(of: &[(usize, &str)]) -> Vec<String> {
    of.iter()
        .flat_map(|(count, line)| vec![(*line).to_owned(); *count])
        .collect()
}

fn close(found: &Value, expected: f64) {
    let found = found.as_f64().expect("a number");
    assert!(
        (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
        "{found} is not {expected}"
    );
}

fn happened() -> Value {
    json!({"column": "y", "atLeast": 1})
}

/// Of a table of four counts the coefficients are logarithms of odds, and their variances sums of inverse counts.
#[test]
fn four_counts_give_what_is_known_exactly() {
    let job = job(
        &["y", "x"],
        &repeated(&[(30, "0,0"), (10, "1,0"), (20, "0,1"), (50, "7,1")]),
    );
    let metrics = job.train(&json!({"recipe": "logistic", "target": happened()}));
    let model = job.json("output/model.json");
    close(&model["intercept"]["coefficient"], (10.0_f64 / 30.0).ln());
    close(
        &model["intercept"]["standardError"],
        (1.0_f64 / 10.0 + 1.0 / 30.0).sqrt(),
    );
    let x = &model["columns"][0];
    assert_eq!(x["name"], "x");
    close(&x["coefficient"], (50.0_f64 / 20.0 / (10.0 / 30.0)).ln());
    close(
        &x["standardError"],
        (1.0_f64 / 10.0 + 1.0 / 30.0 + 1.0 / 20.0 + 1.0 / 50.0).sqrt(),
    );
    let part = |n: f64, of: f64| n * (n / of).ln();
    close(
        &metrics["logLikelihood"],
        part(30.0, 40.0) + part(10.0, 40.0) + part(20.0, 70.0) + part(50.0, 70.0),
    );
    close(
        &metrics["nullLogLikelihood"],
        part(50.0, 110.0) + part(60.0, 110.0),
    );
    assert_eq!(
        (&metrics["records"], &metrics["events"]),
        (&json!(110), &json!(60))
    );
}

#[test]
fn words_are_columns_against_the_first_that_somebody_has() {
    let side = json!({"choice": ["unused", "left", "right"]});
    let declaration = json!({"name": "t", "columns": [{"name": "side", "type": side}, {"name": "vote", "type": {"choice": ["no", "yes"]}}]});
    let counts = [
        (30, "left,no"),
        (10, "left,yes"),
        (20, "right,no"),
        (50, "right,yes"),
    ];
    let lines: Vec<Vec<u8>> = repeated(&counts)
        .iter()
        .map(|line| format!("{line}\n").into_bytes())
        .collect();
    let job = Job::new(&declaration, "vote,side", &lines);
    job.train(&json!({"recipe": "logistic", "target": {"column": "vote", "equals": "yes"}}));
    let model = job.json("output/model.json");
    assert_eq!(model["columns"].as_array().expect("a list").len(), 1);
    assert_eq!(model["columns"][0]["name"], "side=right");
    close(
        &model["columns"][0]["coefficient"],
        (50.0_f64 / 20.0 / (10.0 / 30.0)).ln(),
    );
}

#[test]
fn a_standardised_coefficient_is_one_of_a_deviation() {
    let records = repeated(&[(30, "0,-3"), (10, "1,-3"), (20, "0,999"), (50, "1,999")]);
    let job = job(&["y", "x"], &records);
    let ask = |standardise: bool| {
        job.train(&json!({"recipe": "logistic", "target": happened(), "standardise": standardise}));
        job.json("output/model.json")["columns"][0].clone()
    };
    let (plain, standard) = (ask(false), ask(true));
    let deviation = plain["deviation"].as_f64().expect("a number");
    let times = |value: &Value| value.as_f64().expect("a number") * deviation;
    close(&standard["coefficient"], times(&plain["coefficient"]));
    close(&standard["standardError"], times(&plain["standardError"]));
}

/// At the optimum with a ridge the slope of the log-likelihood is the ridge times the coefficient.
#[test]
fn a_ridge_draws_to_zero_by_what_was_asked() {
    let job = job(
        &["y", "x"],
        &repeated(&[(30, "0,0"), (10, "1,0"), (20, "0,1"), (50, "1,1")]),
    );
    job.train(&json!({"recipe": "logistic", "target": happened(), "ridge": 3}));
    let model = job.json("output/model.json");
    let number = |value: &Value| value.as_f64().expect("a number");
    let (zero, slope) = (
        number(&model["intercept"]["coefficient"]),
        number(&model["columns"][0]["coefficient"]),
    );
    let likely = |odds: f64| 1.0 / (1.0 + (-odds).exp());
    assert!((50.0 - 70.0 * likely(zero + slope) - 3.0 * slope).abs() < 1e-9);
    assert!((60.0 - 70.0 * likely(zero + slope) - 40.0 * likely(zero)).abs() < 1e-9);
    assert_eq!(model["columns"][0]["standardError"], Value::Null);
}

#[test]
fn what_has_no_likeliest_coefficients_is_refused_with_its_reason() {
    let fine = repeated(&[(3, "0,0,0"), (1, "1,0,0"), (2, "0,1,2"), (5, "1,1,2")]);
    let asked = json!({"recipe": "logistic", "target": happened()});
    let refused =
        |columns: &[&str], records: &[String], asked: &Value| job(columns, records).refused(asked);
    // z is twice x.
    let said = refused(&["y", "x", "z"], &fine, &asked);
    assert!(
        said.contains("the column 'z' follows from those before it"),
        "{said}"
    );
    let said = refused(&["y", "x"], &repeated(&[(3, "0,4"), (3, "1,4")]), &asked);
    assert!(
        said.contains("the column 'x' has one value in all records"),
        "{said}"
    );
    let said = refused(&["y", "x"], &repeated(&[(3, "0,4"), (3, "0,5")]), &asked);
    assert!(said.contains("happened in none of the 6 records"), "{said}");
    // All of one side, and all of one side but for some in the middle.
    for counts in [
        &[(3, "0,4"), (3, "1,5")][..],
        &[(3, "0,4"), (2, "0,5"), (2, "1,5"), (3, "1,6")],
    ] {
        let said = refused(&["y", "x"], &repeated(counts), &asked);
        assert!(
            said.contains("tell of some records exactly") && said.contains("'x'"),
            "{said}"
        );
        let ridge = json!({"recipe": "logistic", "target": happened(), "ridge": 1});
        job(&["y", "x"], &repeated(counts)).train(&ridge);
    }
}

#[test]
fn arguments_that_ask_for_something_else_are_refused() {
    let job = job(
        &["y", "x"],
        &repeated(&[(3, "0,0"), (1, "1,0"), (2, "0,1"), (5, "1,1")]),
    );
    let with = |more: Value| {
        let mut asked = json!({"recipe": "logistic", "target": happened()});
        asked
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        asked
    };
    for (asked, said) in [
        (with(json!({"recipe": "oracle"})), "unknown variant"),
        (with(json!({"penalty": 1})), "unknown field"),
        (with(json!({"ridge": -1})), "ridge is -1"),
        (
            with(json!({"target": {"column": "w", "atLeast": 1}})),
            "'w' is none of those",
        ),
        (
            with(json!({"target": {"column": "y"}})),
            "one of 'atLeast' and 'equals'",
        ),
        (
            with(json!({"target": {"column": "y", "equals": "1"}})),
            "needs 'atLeast'",
        ),
        (
            with(json!({"columns": ["x", "y"]})),
            "cannot explain itself",
        ),
        (json!([]), "no recipe"),
    ] {
        let refused = job.refused(&asked);
        assert!(
            refused.contains(said) && refused.ends_with("has to ask for something else\n"),
            "{refused}"
        );
    }
}

#[test]
fn a_machine_that_lacks_a_folder_or_a_table_is_its_operators_fault() {
    let asked = json!({"recipe": "logistic", "target": happened()});
    for (missing, said) in [
        ("output", "model.json"),
        ("input/records.parquet", "records.parquet"),
        ("input/input.json", "input.json"),
    ] {
        let job = job(
            &["y", "x"],
            &repeated(&[(3, "0,0"), (1, "1,0"), (2, "0,1"), (5, "1,1")]),
        );
        let mut training = job.training(&asked);
        std::fs::rename(job.folder(missing), job.folder("elsewhere")).expect("moved");
        let output = training.output().expect("it starts");
        let told = support::error(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(
            told.contains(said) && told.contains("the operator of this machine"),
            "{told}"
        );
        assert!(
            !told.contains(&*job.root.path().to_string_lossy()),
            "{told}"
        );
    }
}

/// statsmodels' and scikit-learn's figures, made by `heavy/reference/reference.py` from the same table.
#[test]
fn visits_to_doctors_are_explained_as_others_do() {
    let Some(reference) = std::env::var_os("COLLECTIVE_HEAVY_REFERENCE") else {
        println!("skipped: no COLLECTIVE_HEAVY_REFERENCE; `.ci/run heavy` makes one");
        return;
    };
    let reference = std::fs::read(reference).expect("COLLECTIVE_HEAVY_REFERENCE names a file");
    let reference: Value = serde_json::from_slice(&reference).expect("JSON");
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/randhie.csv");
    let table = std::fs::read_to_string(table).expect("the table that the reference was made from");
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next().expect("names").split(',').collect();
    let records: Vec<String> = lines.map(scaled).collect();
    let job = job(&names, &records);
    let metrics =
        job.train(&json!({"recipe": "logistic", "target": {"column": "mdvis", "atLeast": 1}}));
    let model = job.json("output/model.json");
    let (mut largest, mut largest_error) = (0.0, 0.0);
    for (place, theirs) in reference["columns"]
        .as_array()
        .expect("a list")
        .iter()
        .enumerate()
    {
        let ours = match place {
            0 => &model["intercept"],
            place => &model["columns"][place - 1],
        };
        let scale = if place == 0 { 1.0 } else { SCALE };
        let ours = |what: &str| ours[what].as_f64().expect("a number") * scale;
        let theirs = |what: &str| theirs[what].as_f64().expect("a number");
        largest = f64::max(largest, (ours("coefficient") - theirs("statsmodels")).abs());
        largest_error = f64::max(
            largest_error,
            (ours("standardError") - theirs("standardError")).abs(),
        );
        assert!(
            (ours("coefficient") - theirs("scikitLearn")).abs() <= 1e-3,
            "{place}"
        );
    }
    let likelihood = metrics["logLikelihood"].as_f64().expect("a number")
        - reference["logLikelihood"].as_f64().expect("a number");
    println!(
        "{} records: coefficients within {largest:.1e}, standard errors within {largest_error:.1e} of statsmodels'",
        records.len()
    );
    assert!(largest <= 1e-3 && largest_error <= 1e-3 && likelihood.abs() <= 1e-3);
}

/// Decimals are whole numbers of ten millionths, as records have integers.
const SCALE: f64 = 1e7;

fn scaled(line: &str) -> String {
    let fields = line
        .split(',')
        .enumerate()
        .map(|(place, field)| match place {
            0 => field.to_owned(),
            _ => ((field.parse::<f64>().expect("a number") * SCALE).round() as i64).to_string(),
        });
    fields.collect::<Vec<_>>().join(",")
}

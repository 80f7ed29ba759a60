//! A query out of a repository: what is looked at before its proposal is open, before the vote, and before a node says that it is
//! ready; with the worker that plans it, and without. `program_stories.rs` and `programs.rs` take one on to its output.

use crate::by_hand;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::by_hand::{World, refusal, start_node_by, without_worker};
use crate::educ::{edit, groups, of_mock, read_the_study, recipient, until};
use crate::forge::Forge;
use collective_node::sandbox::SQL_WORKER;
use serde_json::Value;

/// What the worker of this release says that it is.
const ENGINE: &str = "datafusion/55.2.0/rules/1";

/// Rows of people, which no query gives.
const ROWS: &str = "SELECT educ, selfLR FROM anes96\n";

/// A forge with a query of the scaffold's, and a world whose node is stopped.
struct Place {
    forge: Forge,
    world: World,
    folder: PathBuf,
    temporary: tempfile::TempDir,
}

impl Place {
    fn start() -> Option<Self> {
        let temporary = tempfile::tempdir().expect("a folder");
        let forge = Forge::start(&temporary.path().join("forge"))?;
        let world = World::start(temporary.path().join("world"));
        let folder = forge.clone().join("means");
        let name = folder.display();
        world.json(&format!("program new {name} --lang sql --engine {ENGINE}"));
        read_the_study(&folder);
        Some(Self {
            forge,
            world,
            folder,
            temporary,
        })
    }

    /// The line that proposes what the folder has now, as this branch.
    fn propose(&self, branch: &str) -> String {
        self.forge.push(branch);
        let (world, file) = (&self.world, self.forge.file());
        format!(
            "propose --branch {branch} --repository {file} --recipient {} --save {} --key {} --json",
            recipient(world),
            world.path(&format!("{branch}.json")),
            world.key("founder-0")
        )
    }

    fn query(&self, text: &str) {
        edit(&self.folder.join("src/query.sql"), |_| text.into());
    }

    /// Runs a line where no worker is.
    fn blind(&self, line: &str) -> Output {
        let binary = without_worker(self.temporary.path());
        self.world.run_by(binary, line, b"")
    }
}

fn json(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{error}"))
}

fn says(output: &Output, words: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.contains(words), "{error}");
}

fn id(opened: &Value) -> &str {
    opened["proposal"].as_str().expect("an id")
}

fn risks(review: &Value) -> Vec<&str> {
    let risks = review["approvals"][0]["risks"].as_array().expect("risks");
    risks.iter().filter_map(Value::as_str).collect()
}

fn warns(review: &Value, words: &str) -> bool {
    risks(review).iter().any(|risk| risk.contains(words))
}

fn has_worker() -> bool {
    let worker = Path::new(env!("CARGO_BIN_EXE_collective")).with_file_name(SQL_WORKER);
    if !worker.is_file() {
        println!("skipped: no {SQL_WORKER} beside the binary; `just sql` makes one");
    }
    worker.is_file()
}

#[test]
fn without_a_worker_it_is_said_what_was_not_looked_at() {
    let Some(place) = Place::start() else {
        return;
    };
    let world = &place.world;
    let config = world.path("node.toml");
    let (_node, _) = start_node_by(without_worker(place.temporary.path()), &config);
    let proposed = place.blind(&place.propose("means"));
    says(&proposed, "only the text of the query was checked here");
    says(&proposed, "build it with `just sql`");
    let opened = json(&proposed);

    let review = json(&place.blind(&format!("review {} --json", id(&opened))));
    let approval = &review["approvals"][0];
    // The text is the program, whoever reads it.
    assert_eq!(approval["sameBytes"], "yes", "{review}");
    assert_eq!(approval["trial"]["ended"], "notTried");
    let reason = approval["trial"]["reason"].as_str().expect("words");
    assert!(reason.contains("build it with `just sql`"), "{reason}");
    assert!(
        warns(
            &review,
            "whether a node would run the query was not checked here: no worker for SQL"
        ),
        "{review}"
    );
    world.decide(&[id(&opened)]);
    let missing = until(world, &opened["manifest"], "missing");
    let detail = missing["detail"].as_str().expect("words");
    assert!(detail.contains("build it with `just sql`"), "{detail}");
}

#[test]
fn a_query_that_no_node_runs_is_found_out_at_every_step() {
    let Some(place) = Place::start().filter(|_| has_worker()) else {
        return;
    };
    let world = &place.world;
    let (_node, _) = by_hand::start_node(&world.path("node.toml"));
    let good = std::fs::read_to_string(place.folder.join("src/query.sql")).expect("a query");
    place.query(ROWS);
    let line = place.propose("rows");
    let words = "a query gives figures of groups: it needs GROUP BY or an aggregate function";
    refusal(world.run(&line), &line, words);
    let built = world.json(&format!("program build {}", place.folder.display()));
    let saved = world.path("rows.json");
    let manifest = world.json(&format!("manifest check {saved}"))["digest"].clone();
    for blob in [&built["sha256"], &built["source"], &manifest] {
        let url = format!(
            "{}/blobs/{}",
            world.told("node"),
            blob.as_str().expect("a name")
        );
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let found =
            runtime.block_on(async { reqwest::get(url).await.expect("an answer").status() });
        assert_eq!(found, reqwest::StatusCode::NOT_FOUND, "{blob} was kept");
    }
    let (query, founder) = (place.folder.join("src/query.sql"), world.key("founder-0"));
    let by_manifest = format!(
        "--manifest {saved} --program {} --key {founder}",
        query.display()
    );
    world.refused(&format!("propose {by_manifest}"), words);

    // Somebody proposes it without looking: reviewers and nodes find it.
    let unseen = json(&place.blind(&line));
    let told = world.run(&format!("review {} --json", id(&unseen)));
    assert_eq!(told.status.code(), Some(1));
    let review = json(&told);
    assert!(
        warns(&review, "it would be refused at every run"),
        "{review}"
    );
    assert!(warns(&review, words), "{review}");
    assert_eq!(review["approvals"][0]["trial"]["ended"], "notTried");

    // One for an engine that is not here.
    place.query(&good);
    edit(&place.folder.join("program.toml"), |text| {
        text.replace(ENGINE, "datafusion/1.0.0")
    });
    let other = world.run(&place.propose("other"));
    says(&other, "the query was approved for datafusion/1.0.0");
    let other = json(&other);
    let review = world.json(&format!("review {}", id(&other)));
    assert!(
        warns(
            &review,
            "whether a node would run the query was not checked here"
        ),
        "{review}"
    );
    let tried = world.run(&format!("program test {}", place.folder.display()));
    says(
        &tried,
        "the query is for datafusion/1.0.0, the worker for SQL here is",
    );
    // The same over records that nobody declared: there is nothing to plan over.
    let saved = std::fs::read(world.path("other.json")).expect("saved");
    let mut adrift: Value = serde_json::from_slice(&saved).expect("JSON");
    adrift["dataset"]["source"] = "poll".into();
    let path = world.path("adrift.json");
    std::fs::write(&path, adrift.to_string()).expect("written");
    let adrift = world.run(&format!("propose --manifest {path} --key {founder} --json"));
    says(&adrift, "no charter in force declares its records");
    let adrift = json(&adrift);
    world.decide(&[id(&unseen), id(&other), id(&adrift)]);
    let detail = |opened: &Value, state: &str| {
        let said = until(world, &opened["manifest"], state);
        said["detail"].as_str().expect("words").to_owned()
    };
    assert!(detail(&unseen, "unusable").contains(words));
    for opened in [&other, &adrift] {
        let detail = detail(opened, "missing");
        assert!(detail.contains("approved for datafusion/1.0.0"), "{detail}");
    }
}

#[test]
fn a_second_version_of_a_query_is_compared_with_the_first() {
    let Some(place) = Place::start().filter(|_| has_worker()) else {
        return;
    };
    let world = &place.world;
    let (_node, _) = by_hand::start_node(&world.path("node.toml"));
    let first = json(&world.run(&place.propose("first")));
    let review = world.json(&format!("review {}", id(&first)));
    let approval = &review["approvals"][0];
    assert_eq!(approval["sameBytes"], "yes", "{review}");
    let told = approval["trial"]["output"].as_str().expect("an output");
    assert_eq!(groups(told), of_mock("sql", 3));
    let runs = approval["statements"].as_array().expect("statements");
    let runs = runs
        .iter()
        .find(|it| it["topic"] == "runs")
        .expect("what runs");
    let words = format!("by the engine {ENGINE}");
    assert!(
        runs["says"].as_str().expect("words").ends_with(&words),
        "{runs}"
    );
    for words in ["source", "group", "not checked", "mock data"] {
        assert!(!warns(&review, words), "{words}: {:?}", risks(&review));
    }
    world.decide(&[id(&first)]);
    let ready = until(world, &first["manifest"], "ready");
    let detail = ready["detail"].as_str().expect("words");
    assert!(detail.contains("its source was not looked at"), "{detail}");

    edit(&place.folder.join("src/query.sql"), |text| {
        text.replace("GROUP BY", "WHERE age < 80\nGROUP BY")
    });
    edit(&place.folder.join("program.toml"), |text| {
        text.replace("minimumGroup = 3", "minimumGroup = 1")
            .replace("\"selfLR\"]", "\"selfLR\", \"age\"]")
    });
    let second = json(&world.run(&place.propose("second")));
    let review = world.json(&format!("review {}", id(&second)));
    assert_eq!(review["approvals"][0]["earlier"], first["manifest"]);
    assert!(warns(&review, "no minimum group"), "{:?}", risks(&review));
    let page = world.run(&format!("review {}", id(&second)));
    let page = String::from_utf8(page.stdout).expect("text");
    assert!(page.contains("\n| +WHERE age < 80\n"), "{page}");
    assert!(page.contains("output.minimumGroup: 3 → 1\n"), "{page}");
    assert!(page.contains("same bytes: yes\n"), "{page}");

    // A manifest that names another query than the folder has: what is shown is what would run.
    let saved = std::fs::read(world.path("second.json")).expect("saved");
    let mut lying: Value = serde_json::from_slice(&saved).expect("JSON");
    let other = world.path("other.sql");
    std::fs::write(&other, "SELECT count(*) AS n FROM anes96\n").expect("written");
    lying["program"]["sha256"] = world.json(&format!("program hash {other}"))["sha256"].clone();
    let path = world.path("lying.json");
    std::fs::write(&path, lying.to_string()).expect("written");
    let founder = world.key("founder-0");
    let opened = world.json(&format!(
        "propose --manifest {path} --program {other} --key {founder}"
    ));
    let told = world.run(&format!("review {} --json", id(&opened)));
    assert_eq!(told.status.code(), Some(1));
    let review = json(&told);
    assert_eq!(review["approvals"][0]["sameBytes"], "no");
    assert!(warns(&review, "does not make the bytes that would run"));
    let changes = review["approvals"][0]["changes"].to_string();
    assert!(
        changes.contains("+SELECT count(*) AS n FROM anes96"),
        "{changes}"
    );
}

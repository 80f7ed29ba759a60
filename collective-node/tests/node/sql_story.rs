//! Queries from text to opened output, by the verbs that a person types: tried out on mock data, voted, run; and what a second
//! job is not told, because a first one was.
//!
//! Needs the worker that `just sql` builds, beside the binary; without it the test says so and ends.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::by_hand::World;
use collective::contribution::SignedContribution;
use collective::terms::Purpose;
use collective_node::demo::election;
use collective_node::ledger::Ledger;
use collective_node::sandbox::SQL_WORKER;
use serde_json::{Value, json};

const BY_VOTE: &str =
    "SELECT vote, count(*) AS n, sum(age) AS years, avg(educ) AS educ FROM anes96 GROUP BY vote";

#[test]
fn a_query_is_tried_out_voted_on_and_run() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let Some(world) = world(temporary.path()) else {
        return;
    };
    let first = Job::new(&world, "by-vote", BY_VOTE);
    let people = contributed();
    assert_eq!(first.try_out(&world, &people), by_vote(&people));
    first.propose_and_vote(&world);
    assert_eq!(first.run(&world, 1), Some(by_vote(&people)));

    // All but a few of each group: what it differs by from the first one is theirs.
    let youngest =
        "SELECT vote, count(*) AS n, sum(age) AS years FROM anes96 WHERE age < 86 GROUP BY vote";
    for vote in [0, 1] {
        let old = people
            .iter()
            .filter(|person| person[6] >= 86 && person[9] == vote);
        assert!((1..10).contains(&old.count()));
    }
    let second = Job::new(&world, "youngest", youngest);
    // Where nothing was told before, it would be told.
    let alone: Value = serde_json::from_str(&second.try_out(&world, &people)).expect("JSON");
    assert_eq!(alone.as_array().map(Vec::len), Some(2));
    second.propose_and_vote(&world);
    assert_eq!(second.run(&world, 2).as_deref(), Some("[]\n"));

    // The same once more differs by nobody.
    assert_eq!(first.run(&world, 3), Some(by_vote(&people)));
}

#[test]
fn without_all_files_at_hand_nothing_is_leased_and_nothing_counts_as_told() {
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let Some(world) = world(temporary.path()) else {
        return;
    };
    let job = Job::new(&world, "by-vote", BY_VOTE);
    job.propose_and_vote(&world);
    let ledger = found(temporary.path(), "ledger.sqlite").expect("the node's ledger");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // A record that the query reads: without it the groups differ from the whole ones by one.
    let file = runtime.block_on(async {
        let ledger = format!("sqlite:{}", ledger.display());
        let ledger = sqlx::SqlitePool::connect(&ledger);
        let query = "SELECT lower(hex(file)), entry FROM held";
        let held = sqlx::query_as::<_, (String, String)>(query);
        let held = held.fetch_all(&ledger.await.expect("a database")).await;
        let read = held.expect("rows").into_iter().find(|(_, entry)| {
            let entry: SignedContribution = serde_json::from_str(entry).expect("an entry");
            entry.terms.purposes.contains(Purpose::Statistics)
        });
        read.expect("a record for statistics").0
    });
    let blob = found(temporary.path(), &file[2..]).expect("a blob");
    let beside = temporary.path().join("beside");
    std::fs::rename(&blob, &beside).expect("moved away");

    job.request(&world, 1);
    // Some tries, whose pauses grow.
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(world.json("job show 1")["state"], "requested");
    let told = runtime.block_on(async {
        let ledger = Ledger::open(&ledger).await.expect("the ledger");
        ledger.told_size("anes96").await.expect("a size")
    });
    assert_eq!((told.runs, told.bytes), (0, 0));

    std::fs::rename(&beside, &blob).expect("moved back");
    job.wait_for(&world, 1, "completed");
    assert_eq!(job.output(&world, 1), Some(by_vote(&contributed())));
}

/// The world of `dev`, where there is a worker for queries.
fn world(temporary: &Path) -> Option<World> {
    let worker = Path::new(env!("CARGO_BIN_EXE_collective")).with_file_name(SQL_WORKER);
    if !worker.is_file() {
        println!("skipped: no {SQL_WORKER} beside the binary; `just sql` makes one");
        return None;
    }
    Some(World::start_with(temporary.join("world"), &[]))
}

/// The file of this name, however deep it lies.
fn found(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| entry.expect("an entry"))
        .find_map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                return found(&path, name);
            }
            path.ends_with(name).then_some(path)
        })
}

/// A manifest with its query.
struct Job {
    query: String,
    manifest: String,
}

impl Job {
    /// The demo's manifest for a program in C, with the query in its place.
    fn new(world: &World, name: &str, query: &str) -> Self {
        let text = std::fs::read(world.path("manifests/logit.json")).expect("a manifest");
        let mut manifest: Value = serde_json::from_slice(&text).expect("JSON");
        let file = world.path(&format!("{name}.sql"));
        std::fs::write(&file, query).expect("written");
        let hash = world.json(&format!("program hash {file}"));
        manifest["program"] =
            json!({"kind": "sql", "sha256": hash["sha256"], "engine": "datafusion/55.2.0/rules/1"});
        manifest["arguments"] = "".into();
        manifest["limits"] = json!({"fuel": "0", "memoryBytes": 64 << 20, "seconds": 10});
        manifest["output"] = json!({"kind": "aggregate", "maxBytes": 4096, "minimumGroup": 10,
            "schema": {"type": "array", "items": {"type": "object"}}});
        let path = world.path(&format!("manifests/{name}.json"));
        std::fs::write(&path, manifest.to_string()).expect("written");
        world.json(&format!("manifest check {path}"));
        Self {
            query: file,
            manifest: path,
        }
    }

    fn try_out(&self, world: &World, people: &[Vec<i64>]) -> String {
        let (records, source) = (world.path("mock.csv"), world.path("source.json"));
        let lines = people.iter().map(|person| {
            let fields: Vec<String> = person.iter().map(i64::to_string).collect();
            fields.join(",") + "\n"
        });
        std::fs::write(&records, lines.collect::<String>()).expect("written");
        let declared = serde_json::to_vec(&election::source()).expect("JSON");
        std::fs::write(&source, declared).expect("written");
        let (query, manifest) = (&self.query, &self.manifest);
        let tried = world.json(&format!(
            "program test {query} --source {source} --records {records} --manifest {manifest}"
        ));
        assert_eq!(tried["accepted"], people.len());
        assert!(tried["refused"].is_null(), "{tried}");
        tried["output"].as_str().expect("text").to_owned()
    }

    fn propose_and_vote(&self, world: &World) {
        let founder = world.key("founder-0");
        let (query, manifest) = (&self.query, &self.manifest);
        let opened = world.json(&format!(
            "propose --manifest {manifest} --program {query} --key {founder}"
        ));
        let id = opened["proposal"].as_str().expect("an id");
        world.decide(&[id]);
    }

    /// Requests a run, waits for its end, and opens its output, if there is one.
    fn run(&self, world: &World, job: u64) -> Option<String> {
        self.request(world, job);
        self.wait_for(world, job, "completed");
        self.output(world, job)
    }

    fn request(&self, world: &World, job: u64) {
        let requester = world.key("requester");
        let request = format!("job request --manifest {} --key {requester}", self.manifest);
        assert_eq!(world.json(&request)["job"], job);
    }

    fn wait_for(&self, world: &World, job: u64, state: &str) {
        let began = Instant::now();
        let shown = format!("job show {job}");
        while world.json(&shown)["state"] != state {
            let waited = began.elapsed() < Duration::from_secs(90);
            assert!(waited, "{}", world.json(&shown));
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    fn output(&self, world: &World, job: u64) -> Option<String> {
        let identity = world.told("identity");
        let output = world.run(&format!("job output {job} --identity {identity}"));
        let error = String::from_utf8_lossy(&output.stderr);
        println!("job {job}: {} {error}", output.status);
        let verdict = world.json(&format!("verify receipt {job}"));
        let findings = verdict["findings"].as_array().expect("findings");
        assert!(
            findings.iter().all(|finding| finding["holds"] == true),
            "{verdict}"
        );
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Who contributed for statistics.
fn contributed() -> Vec<Vec<i64>> {
    let records = election::records().expect("the study");
    let allowed = records.iter().enumerate().filter(|(row, _)| row % 10 != 9);
    let fields = |record: &Vec<u8>| {
        let line = String::from_utf8_lossy(record).into_owned();
        let fields = line.trim_end().split(',');
        fields
            .map(|field| field.parse().expect("an integer"))
            .collect()
    };
    allowed.map(|(_, record)| fields(record)).collect()
}

/// What [`BY_VOTE`] is, worked out here.
fn by_vote(people: &[Vec<i64>]) -> String {
    let rows = [0, 1].map(|vote| {
        let group: Vec<_> = people.iter().filter(|person| person[9] == vote).collect();
        let sum = |column: usize| group.iter().map(|person| person[column]).sum::<i64>();
        let (whole, rest) = (sum(7) / group.len() as i64, sum(7) % group.len() as i64);
        let educ = whole as f64 + rest as f64 / group.len() as f64;
        json!({"vote": vote, "n": group.len(), "years": sum(6), "educ": educ})
    });
    format!("{}\n", json!(rows))
}

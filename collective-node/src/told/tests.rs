use super::*;

/// A node's memory in a folder of its own.
struct World {
    _folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    memory: Memory,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let passphrase = Zeroizing::new("words".to_owned());
        let keys = Keystore::create(
            &folder.path().join("keys.age"),
            passphrase,
            Some(10),
            &mut rand::rng(),
        );
        let ledger = runtime.block_on(Ledger::open(&folder.path().join("ledger.sqlite")));
        let memory = Memory {
            ledger: ledger.expect("a ledger"),
            keys: Arc::new(keys.expect("keys")),
            deciding: Arc::default(),
        };
        Self {
            _folder: folder,
            runtime,
            memory,
        }
    }

    /// Asks for groups of the first people of a hundred, as a job of its own.
    fn ask(&self, job: u64, source: &str, groups: &[&[u32]]) -> Result<Vec<bool>, TellError> {
        let telling = Telling {
            job,
            attempt: 1,
            source: source.into(),
            minimum: 3,
        };
        let groups = groups.iter().map(|group| group.to_vec()).collect();
        let grouping = Grouping {
            readable: 100,
            groups,
        };
        let runtime = self.runtime.handle();
        self.memory.screen(runtime, &telling, &people(), grouping)
    }

    fn rows(&self, source: &str) -> u64 {
        let count = self.memory.ledger.count_told(source);
        self.runtime.block_on(count).expect("a count")
    }
}

fn people() -> Vec<Member> {
    let member = |n: u8| Member {
        contributor: ContributorId([n; 32].into()),
        leaf: Leaf([n; 32].into()),
    };
    (0..100).map(member).collect()
}

#[test]
fn a_later_job_is_not_told_what_differs_by_few() {
    let world = World::new();
    let ten: Vec<u32> = (0..10).collect();
    let kept = |job, group: &[u32]| world.ask(job, "survey", &[group]).expect("an answer")[0];
    assert!(kept(1, &ten));
    assert!(!kept(2, &ten[..9]));
    assert!(kept(3, &ten), "the same again");
    assert_eq!(world.rows("survey"), 1);
    // Another source has other people's records.
    assert!(world.ask(4, "poll", &[&ten[..9]]).expect("an answer")[0]);
    assert!(kept(5, &ten[..7]));
    assert!(!kept(6, &ten[..6]));
    assert_eq!(world.rows("survey"), 2);
}

#[test]
fn an_attempt_that_is_made_again_is_told_the_same() {
    let world = World::new();
    let groups: [&[u32]; 2] = [&[0, 1, 2, 3], &[4, 5, 6]];
    for _ in 0..2 {
        assert_eq!(
            world.ask(1, "survey", &groups).expect("an answer"),
            [true, true]
        );
    }
    assert_eq!(world.rows("survey"), 1);
}

#[test]
fn of_two_jobs_at_once_one_is_told() {
    let world = World::new();
    let ten: Vec<u32> = (0..10).collect();
    let answers: Vec<bool> = std::thread::scope(|scope| {
        let ask = |n: u32| {
            let (world, group) = (&world, &ten[..9 + n as usize]);
            scope.spawn(move || world.ask(n.into(), "survey", &[group]).expect("an answer")[0])
        };
        let both = [ask(0), ask(1)];
        both.map(|asked| asked.join().expect("no panic")).to_vec()
    });
    assert_eq!(answers.iter().filter(|told| **told).count(), 1);
}

#[test]
fn what_was_told_is_sealed_and_nothing_is_told_where_it_does_not_open() {
    let world = World::new();
    let ten: Vec<u32> = (0..10).collect();
    world.ask(1, "survey", &[&ten]).expect("an answer");
    let row = world.memory.ledger.told_after("survey", 0);
    let row = world
        .runtime
        .block_on(row)
        .expect("the ledger")
        .expect("a row");
    let shown = row.groups.windows(32).any(|window| window == [7; 32]);
    assert!(!shown, "a contributor in the clear");

    let other = World::new();
    let moved = other
        .memory
        .ledger
        .keep_told(1, 1, "survey".into(), row.groups);
    other.runtime.block_on(moved).expect("kept");
    let refused = other.ask(2, "survey", &[&ten]);
    assert!(matches!(refused, Err(TellError::Unreadable)));
}

#[test]
fn a_full_memory_tells_nothing_new() {
    let world = World::new();
    let ten: Vec<u32> = (0..10).collect();
    world.ask(1, "survey", &[&ten]).expect("an answer");
    let row = world.memory.ledger.told_after("survey", 0);
    let row = world
        .runtime
        .block_on(row)
        .expect("the ledger")
        .expect("a row");
    world.runtime.block_on(async {
        for job in 2..=MAX_TOLD_RUNS {
            let kept = world
                .memory
                .ledger
                .keep_told(job, 1, "survey".into(), row.groups.clone());
            kept.await.expect("kept");
        }
    });
    assert!(world.ask(5_000, "survey", &[&ten]).expect("what it knows")[0]);
    let twenty: Vec<u32> = (20..40).collect();
    let refused = world.ask(5_001, "survey", &[&twenty]);
    assert!(matches!(refused, Err(TellError::Full)));
}

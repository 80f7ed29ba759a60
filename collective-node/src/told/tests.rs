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
        self.ask_of(&telling, 100, groups)
    }

    /// The same where so many files of the hundred were read.
    fn ask_of(
        &self,
        telling: &Telling,
        read: usize,
        groups: &[&[u32]],
    ) -> Result<Vec<bool>, TellError> {
        let groups = groups.iter().map(|group| group.to_vec()).collect();
        let grouping = Grouping {
            readable: 100,
            groups,
        };
        let runtime = self.runtime.handle();
        let handed = Handed {
            expected: 100,
            read,
            members: people(),
        };
        self.memory.screen(runtime, telling, &handed, grouping)
    }

    fn rows(&self, source: &str) -> u64 {
        let size = self.memory.ledger.told_size(source);
        self.runtime.block_on(size).expect("a size").runs
    }

    /// The rows of a source, in their order.
    fn kept(&self, source: &str) -> Vec<ToldRow> {
        self.runtime.block_on(async {
            let mut rows: Vec<ToldRow> = vec![];
            let ledger = &self.memory.ledger;
            while let Some(row) = {
                let after = rows.last().map_or(0, |row| row.id);
                ledger.told_after(source, after).await.expect("the ledger")
            } {
                rows.push(row);
            }
            rows
        })
    }

    /// Another world of the same keys, whose ledger has these rows.
    fn with_rows<'a>(&self, source: &str, rows: impl IntoIterator<Item = &'a ToldRow>) -> Self {
        let mut other = Self::new();
        other.memory.keys = self.memory.keys.clone();
        for row in rows {
            let (source, groups) = (source.into(), row.groups.clone());
            let kept = other
                .memory
                .ledger
                .keep_told(row.job, row.attempt, source, groups);
            other.runtime.block_on(kept).expect("kept");
        }
        other
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
fn of_an_input_that_was_not_read_whole_nothing_is_told() {
    let world = World::new();
    let telling = Telling {
        job: 1,
        attempt: 1,
        source: "survey".into(),
        minimum: 3,
    };
    let ten: Vec<u32> = (0..10).collect();
    for read in [0, 99] {
        let refused = world.ask_of(&telling, read, &[&ten[..9]]);
        assert!(matches!(refused, Err(TellError::CutShort)), "{read}");
    }
    assert_eq!(world.rows("survey"), 0);
    // Nor does it count against the whole.
    let told = world.ask_of(&telling, 100, &[&ten]);
    assert_eq!(told.expect("an answer"), [true]);
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
    let rows = world.kept("survey");
    let shown = rows[0].groups.windows(32).any(|window| window == [7; 32]);
    assert!(!shown, "a contributor in the clear");

    let other = World::new();
    let groups = rows[0].groups.clone();
    let moved = other.memory.ledger.keep_told(1, 1, "survey".into(), groups);
    other.runtime.block_on(moved).expect("kept");
    let refused = other.ask(2, "survey", &[&ten]);
    assert!(matches!(refused, Err(TellError::Unreadable)));
}

#[test]
fn a_row_counts_where_it_was_kept_and_nowhere_else() {
    let world = World::new();
    let tens: Vec<Vec<u32>> = (0..4)
        .map(|ten| (10 * ten..10 * ten + 10).collect())
        .collect();
    for (job, ten) in tens.iter().enumerate() {
        let told = world.ask(job as u64, "survey", &[ten]).expect("an answer");
        assert_eq!(told, [true]);
    }
    let rows = world.kept("survey");
    let nine = |rows: &[&ToldRow], source: &str| {
        let rows = rows.iter().copied();
        world
            .with_rows(source, rows)
            .ask(9, source, &[&tens[3][..9]])
    };
    let all: Vec<&ToldRow> = rows.iter().collect();
    assert_eq!(nine(&all, "survey").expect("whole"), [false]);
    let [a, b, c, d] = all[..] else {
        panic!("four rows")
    };
    let other_job = ToldRow {
        job: 7,
        groups: d.groups.clone(),
        ..*d
    };
    let other_attempt = ToldRow {
        attempt: 7,
        groups: d.groups.clone(),
        ..*d
    };
    // Who can write here can seal to this node, but makes no MAC.
    let to = Recipient::Tagged(world.memory.keys.node_recipient().clone());
    let nothing = Told {
        minimum: 3,
        members: vec![],
        groups: vec![],
    };
    let sealed = seal::seal(&[to], &nothing.to_bytes(), &mut rand::rng()).expect("sealed");
    let forged = [&d.groups[..MAC_BYTES], &sealed].concat();
    let forged = ToldRow {
        groups: forged,
        ..*d
    };
    for (what, rows) in [
        ("the first is gone", vec![b, c, d]),
        ("one is gone", vec![a, b, d]),
        ("two are swapped", vec![a, c, b, d]),
        ("one stands twice", vec![a, b, b, c, d]),
        ("the one of another job", vec![a, b, c, &other_job]),
        ("the one of another attempt", vec![a, b, c, &other_attempt]),
        ("a forged one", vec![a, b, c, &forged]),
    ] {
        let refused = nine(&rows, "survey");
        assert!(matches!(refused, Err(TellError::Unreadable)), "{what}");
    }
    assert!(
        matches!(nine(&all, "poll"), Err(TellError::Unreadable)),
        "another source's"
    );
    // What SECURITY says of an old copy: rows that are gone from the end are not missed.
    assert_eq!(nine(&all[..3], "survey").expect("an older ledger"), [true]);
}

#[test]
fn the_mac_is_that_of_the_spec() {
    let rows = Rows {
        key: hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]),
        source: "poll".into(),
        before: [0; MAC_BYTES],
    };
    let row = rows.last(1, 2, b"file");
    let (mac, sealed) = row.split_at(MAC_BYTES);
    assert_eq!(sealed, b"file");
    assert_eq!(
        alloy::hex::encode(mac),
        "3ac2e1d587516f36fb9d6d43074a12b4804a8de6cad540c2e278c1a9a04d22f5"
    );
}

#[test]
fn deciding_takes_whole_pauses() {
    let pause = Duration::from_millis(500);
    let began = Instant::now();
    let took = wait_out(pause, began);
    assert!((pause..2 * pause).contains(&took), "{took:?}");
    let began = Instant::now() - Duration::from_millis(600);
    let took = wait_out(pause, began);
    assert!((2 * pause..3 * pause).contains(&took), "{took:?}");
    let world = World::new();
    let pause = |world: &World| world.runtime.block_on(world.memory.pause("survey"));
    assert_eq!(pause(&world).expect("the ledger"), PAUSE);
    let groups = vec![0; BYTES_OF_A_PAUSE as usize];
    let kept = world.memory.ledger.keep_told(1, 1, "survey".into(), groups);
    world.runtime.block_on(kept).expect("kept");
    assert_eq!(pause(&world).expect("the ledger"), 2 * PAUSE);
}

#[test]
fn a_full_memory_tells_nothing_new() {
    let world = World::new();
    let ten: Vec<u32> = (0..10).collect();
    world.ask(1, "survey", &[&ten]).expect("an answer");
    let row = world.kept("survey").remove(0);
    let mut rows = Rows::of(&world.memory, "survey");
    let sealed = rows.next(&row).expect("the first").to_vec();
    world.runtime.block_on(async {
        for job in 2..=MAX_TOLD_RUNS {
            let groups = rows.last(job, 1, &sealed);
            let row = ToldRow {
                id: 0,
                job,
                attempt: 1,
                groups,
            };
            rows.next(&row).expect("the next");
            let kept = world
                .memory
                .ledger
                .keep_told(job, 1, "survey".into(), row.groups);
            kept.await.expect("kept");
        }
    });
    assert!(world.ask(5_000, "survey", &[&ten]).expect("what it knows")[0]);
    let twenty: Vec<u32> = (20..40).collect();
    // An answer like any other: that there is no room shows nowhere.
    assert!(!world.ask(5_001, "survey", &[&twenty]).expect("nothing new")[0]);
    assert_eq!(world.rows("survey"), MAX_TOLD_RUNS);
}

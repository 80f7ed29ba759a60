//! The language model: that it learns, that a kill changes nothing, and what it goes on with.

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::LazyLock;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};
use support::{Job, chats, error, feed, worker};

const OUTPUTS: [&str; 5] = [
    "model.safetensors",
    "config.json",
    "metrics.json",
    "loss.json",
    "loss.svg",
];

/// A model of two blocks that trains in seconds.
fn asked(steps: u32) -> Value {
    json!({
        "recipe": "transformer", "seed": 7, "text": "conversations", "splitBy": "contribution", "heldOutPercent": 20,
        "layers": 2, "heads": 2, "width": 64, "context": 32, "batch": 8, "steps": steps, "learningRate": 0.006,
        "warmup": steps / 10, "weightDecay": 0.1, "clip": 1.0, "evaluateEvery": steps.div_ceil(5), "checkpointEvery": steps.min(7),
    })
}

fn with(asked: Value, name: &str, value: Value) -> Value {
    let mut asked = asked;
    asked[name] = value;
    asked
}

fn job(contributions: &[Vec<u8>]) -> Job {
    Job::new(&chats::source(), "mapping", contributions)
}

fn number(metrics: &Value, name: &str) -> f64 {
    metrics[name]
        .as_f64()
        .unwrap_or_else(|| panic!("{name} of {metrics}"))
}

/// A job that has learnt the grammar of generated chats: it takes some seconds, and several tests look at it.
fn trained() -> &'static Job {
    static TRAINED: LazyLock<Job> = LazyLock::new(|| {
        let job = job(&chats::generated(1, 40));
        job.train(&asked(250));
        job
    });
    &TRAINED
}

#[test]
fn a_grammar_is_learnt_far_below_what_frequencies_of_bytes_tell() {
    let job = trained();
    let metrics = job.json("output/metrics.json");
    let (loss, entropy) = (
        number(&metrics, "heldOutLoss"),
        number(&metrics, "heldOutUnigramEntropy"),
    );
    println!("held out: {loss:.3} nats for each byte, unigram entropy {entropy:.3}");
    assert!(loss < 0.5 * entropy, "{metrics}");
    assert_eq!(
        (
            number(&metrics, "heldOutUnits"),
            number(&metrics, "trainingUnits")
        ),
        (8.0, 32.0)
    );
    let points = job.json("output/loss.json")["points"]
        .as_array()
        .expect("points")
        .len();
    assert_eq!(points, 5);
    let picture = job.bytes("output/loss.svg");
    assert!(picture.starts_with(b"<svg ") && picture.ends_with(b"</svg>\n"));
}

/// The three archives: one conversation, the same again, and five, one of which is the first.
#[test]
fn real_conversations_are_learnt_below_their_unigram_entropy() {
    let Some(contributions) = chats::real() else {
        println!("skipped: no shared/data/chatgpt beside the clone");
        return;
    };
    let job = job(&contributions);
    let metrics = job.train(&with(asked(300), "splitBy", json!("document")));
    let (loss, entropy) = (
        number(&metrics, "heldOutLoss"),
        number(&metrics, "heldOutUnigramEntropy"),
    );
    println!(
        "held out: {loss:.3} nats for each byte, unigram entropy {entropy:.3}, of {} bytes",
        number(&metrics, "heldOutBytes")
    );
    assert!(loss < entropy, "{metrics}");
    assert_eq!(number(&metrics, "repeatedDocuments"), 2.0);
}

#[test]
fn a_training_that_is_killed_again_and_again_ends_with_the_same_bytes() {
    let contributions = chats::generated(2, 12);
    let asked = asked(70);
    let (whole, killed) = (job(&contributions), job(&contributions));
    whole.train(&asked);
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    let mut kills = 0;
    loop {
        let mut child = killed
            .training(&asked)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        // Nothing is left to do where the last checkpoint is of the last step.
        let Some(first) = lines.next() else {
            assert!(child.wait().expect("it ends").success());
            break;
        };
        let first: Value = serde_json::from_str(&first.expect("text")).expect("JSON");
        let step = first["step"].as_u64().expect("a step");
        assert!(
            step % 7 == 1,
            "it goes on after a checkpoint, and not at {step}"
        );
        // Some steps further than that checkpoint, mostly; what comes after the last line is under way already.
        for _ in 0..rng.next_u32() % 8 + 4 {
            lines.next();
        }
        child.kill().expect("it is there");
        child.wait().expect("it ends");
        kills += 1;
        assert!(kills < 100, "it never comes further");
    }
    println!("killed {kills} times");
    assert!(kills >= 10, "{kills}");
    for name in OUTPUTS {
        let name = format!("output/{name}");
        assert!(whole.bytes(&name) == killed.bytes(&name), "{name}");
    }
}

#[test]
fn neither_threads_nor_another_start_change_a_byte_but_the_seed_does() {
    let contributions = chats::generated(3, 6);
    let trained = |seed: u32, threads: &str| {
        let job = job(&contributions);
        let asked = with(with(asked(10), "seed", json!(seed)), "context", json!(64));
        let output = job
            .training(&asked)
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .expect("it starts");
        assert!(output.status.success(), "{}", error(&output));
        job.bytes("output/model.safetensors")
    };
    let one = trained(1, "1");
    assert!(one == trained(1, "2"));
    assert!(one == trained(1, "3"));
    assert!(one != trained(2, "1"));
}

#[test]
fn a_state_of_another_job_or_a_garbled_one_is_not_gone_on_from() {
    let job = job(&chats::generated(4, 6));
    job.train(&asked(10));
    let refused = |asked: &Value| {
        let output = job.training(asked).output().expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{}", error(&output));
        error(&output)
    };
    let said = refused(&with(asked(10), "seed", json!(8)));
    assert!(
        said.contains("the state folder is of another job"),
        "{said}"
    );
    let path = job.folder("state").join("checkpoint.safetensors");
    let whole = std::fs::read(&path).expect("a checkpoint");
    std::fs::write(&path, &whole[..whole.len() - 1]).expect("written");
    let said = refused(&asked(10));
    assert!(said.contains("checkpoint.safetensors is garbled"), "{said}");
    std::fs::write(&path, &whole).expect("written");
    job.train(&asked(10));
}

#[test]
fn no_text_stands_on_both_sides() {
    let mut contributions = chats::generated(5, 4);
    let bytes: usize = contributions.iter().map(Vec::len).sum();
    // Each contribution again, from somebody else.
    contributions.extend(contributions.clone());
    for (unit, units) in [("contribution", 4.0), ("document", 12.0)] {
        let job = Job::new(&chats::source(), "title,mapping", &contributions);
        let lines = with(asked(2), "text", json!("lines"));
        let metrics = job.train(&with(lines, "splitBy", json!(unit)));
        let both = |what: &str| {
            number(&metrics, &format!("heldOut{what}"))
                + number(&metrics, &format!("training{what}"))
        };
        assert_eq!(both("Bytes"), bytes as f64);
        assert_eq!(both("Units"), units);
        assert_eq!(number(&metrics, "repeatedDocuments"), 12.0);
    }
}

#[test]
fn what_cannot_be_trained_is_refused_with_its_reason() {
    let fine = job(&chats::generated(6, 4));
    for (name, value, said) in [
        ("heads", json!(3), "3 heads cannot share a width of 64"),
        (
            "layers",
            json!(49),
            "layers is 49, and has to be between 1 and 48",
        ),
        ("steps", json!(0), "steps is 0"),
        ("learningRate", json!(2.0), "learningRate is 2"),
        ("batch", json!(100_000), "batch is 100000"),
        ("text", json!("poems"), "unknown variant"),
        ("dropout", json!(0.1), "unknown field"),
        ("context", json!(8192), "fewer than the context's 8192"),
    ] {
        let refused = fine.refused(&with(asked(2), name, value));
        assert!(refused.contains(said), "{refused}");
    }
    let alone = job(&chats::generated(6, 1)).refused(&asked(2));
    assert!(
        alone.contains("1 units with text, and two are needed"),
        "{alone}"
    );
    let title = Job::new(&chats::source(), "title", &chats::generated(6, 4)).refused(&asked(2));
    assert!(title.contains("does not select"), "{title}");
    let records = json!({"name": "poll", "columns": [{"name": "x", "type": {"integer": {"min": 0, "max": 9}}}]});
    let records = Job::new(&records, "x", &[b"1\n".into(), b"2\n".into()]).refused(&asked(2));
    assert!(records.contains("this source has records"), "{records}");
}

#[test]
fn hostile_trees_of_messages_end() {
    let node = |parent: Value, children: Value| json!({"parent": parent, "children": children, "message": {"author": {"role": "user"}, "content": {"parts": ["said"]}}});
    let circle = json!({"mapping": {"a": node(json!(null), json!(["b", "b", 3])), "b": node(json!("a"), json!(["a", "b"]))}});
    let odd = [
        json!({"mapping": 3}),
        json!({"mapping": {"a": {"message": {"content": {"parts": "x"}}, "children": {}}}}),
        json!({"mapping": {"a": null}}),
    ];
    let mut contributions = chats::generated(7, 4);
    contributions.push(chats::contribution(&[circle]));
    contributions.push(chats::contribution(&odd));
    let metrics = job(&contributions).train(&asked(2));
    assert_eq!(
        number(&metrics, "heldOutUnits") + number(&metrics, "trainingUnits"),
        5.0
    );
}

#[test]
fn a_model_goes_on_from_a_prompt_as_its_seed_says() {
    let job = trained();
    let prompt = "assistant: the baker counts two clocks at noon. a sailor paints ";
    std::fs::write(job.folder("prompt"), prompt).expect("written");
    let generate = |seed: &str| {
        let mut command = worker();
        command
            .args(["generate", "--tokens", "200", "--seed", seed, "--model"])
            .arg(job.folder("output"));
        feed(command.arg("--prompt").arg(job.folder("prompt")), b"")
    };
    let said = generate("1");
    assert!(said.status.success(), "{}", error(&said));
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    println!("{prompt}|{text}");
    let known = chats::WORDS.join(" ").replace(',', "");
    let words: Vec<&str> = text
        .split([' ', '.', '\n'])
        .filter(|it| it.len() > 2)
        .collect();
    let right = words
        .iter()
        .filter(|word| known.split(' ').any(|it| it == **word));
    assert!(2 * right.count() > words.len(), "{text}");
    assert_eq!(said.stdout, generate("1").stdout);
    assert_ne!(said.stdout, generate("2").stdout);

    let shape = |layers: u32, heads: u32, context: u32| {
        let shape = json!({"format": "collective/heavy/transformer/v1", "layers": layers, "heads": heads, "width": 64, "context": context});
        shape.to_string().into_bytes()
    };
    for (name, bytes) in [
        ("config.json", b"{}".to_vec()),
        ("config.json", shape(3, 2, 32)),
        ("config.json", shape(2, 0, 32)),
        ("config.json", shape(2, 2, 33)),
        ("config.json", shape(2, 2, u32::MAX)),
        ("model.safetensors", b"no tensors".to_vec()),
        ("model.safetensors", vec![]),
    ] {
        let path = job.folder("output").join(name);
        let whole = std::fs::read(&path).expect("a file");
        std::fs::write(&path, bytes).expect("written");
        let refused = generate("1");
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            error(&refused).contains("no model that `train` made"),
            "{}",
            error(&refused)
        );
        std::fs::write(&path, whole).expect("written");
    }
}

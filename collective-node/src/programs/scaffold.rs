//! A folder to begin with: a program that works on its mock data, in each language.

use collective::id::BlobId;

use super::description::Language;
use super::folder::{DESCRIPTION, MOCK_RECORDS, MOCK_SOURCE};

/// The world of programs as C sees it, which the example programs share.
const PROGRAM_H: &str = include_str!("../../../jobs/program.h");

/// The files of a new program by their paths: how many people each group has, and the mean of their scores.
///
/// `runtime` names the interpreter, for a language that has one, and `engine` what runs a query, or the trainer.
pub fn files(
    language: Language,
    runtime: Option<BlobId>,
    engine: Option<&str>,
) -> Vec<(&'static str, String)> {
    let runtime = runtime.map_or(String::new(), |id| format!("runtime = \"{id}\"\n"));
    let key = match language {
        Language::Training => "trainer",
        _ => "engine",
    };
    let engine = engine.map_or(String::new(), |name| format!("{key} = {name:?}\n"));
    let (minimum, fuel, output) = match language {
        Language::Sql => (
            "fewest contributors of a group that is told",
            "\"0\"                      # a query has none",
            include_str!("scaffold/sql/output.json"),
        ),
        _ => (
            "fewest contributors that a run may read",
            "\"1000000000\"             # about one for each instruction",
            include_str!("scaffold/output.json"),
        ),
    };
    let description = match language {
        Language::Training => include_str!("scaffold/training/program.toml"),
        _ => include_str!("scaffold/program.toml"),
    };
    let description = description
        .replace("{language}", &language.to_string())
        .replace("{beneath}", &(runtime + &engine))
        .replace("{minimum}", minimum)
        .replace("{fuel}", fuel);
    let sources: &[(&str, &str)] = match language {
        Language::Python => &[("src/main.py", include_str!("scaffold/python/main.py"))],
        Language::Js => &[("src/main.js", include_str!("scaffold/js/main.js"))],
        Language::C => &[
            ("src/main.c", include_str!("scaffold/c/main.c")),
            ("src/program.h", PROGRAM_H),
        ],
        Language::Zig => &[
            ("src/main.zig", include_str!("scaffold/zig/main.zig")),
            ("src/program.zig", include_str!("scaffold/zig/program.zig")),
        ],
        Language::Rust => &[
            ("src/lib.rs", include_str!("scaffold/rust/lib.rs")),
            ("src/program.rs", include_str!("scaffold/rust/program.rs")),
        ],
        Language::Sql => &[("src/query.sql", include_str!("scaffold/sql/query.sql"))],
        Language::Training => &[(
            "src/training.json",
            include_str!("scaffold/training/training.json"),
        )],
    };
    let mut files = vec![
        (DESCRIPTION, description),
        ("output.json", output.to_owned()),
        (MOCK_SOURCE, include_str!("scaffold/source.json").to_owned()),
        (
            MOCK_RECORDS,
            include_str!("scaffold/records.csv").to_owned(),
        ),
    ];
    files.extend(
        sources
            .iter()
            .map(|(path, text)| (*path, (*text).to_owned())),
    );
    files
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;
    use clap::ValueEnum;
    use collective::bundle::Bundle;

    use super::*;
    use crate::programs::folder::Folder;

    fn bundle(language: Language) -> Bundle {
        let runtime = language
            .has_runtime()
            .then_some(BlobId(B256::repeat_byte(1)));
        let engine = match language {
            Language::Sql => Some("datafusion/1.0.0"),
            Language::Training => Some("trainer/1.0.0"),
            _ => None,
        };
        let files = files(language, runtime, engine).into_iter();
        let files = files.map(|(path, text)| (path.to_owned(), text));
        Bundle::new(files.collect()).expect("files that a bundle takes")
    }

    #[test]
    fn a_new_folder_has_all_its_parts() {
        for language in Language::value_variants() {
            let folder = Folder::parse(bundle(*language)).expect("a program's folder");
            assert_eq!(folder.description().language, *language);
            let schema = folder.output().schema.as_ref();
            let has_schema = schema.is_some_and(|schema| schema.is_object());
            assert_eq!(has_schema, *language != Language::Training);
            let hand_off = folder.description().hand_off.as_ref();
            assert_eq!(hand_off.is_some(), *language == Language::Training);
            for record in folder.records().split_inclusive('\n') {
                folder
                    .source()
                    .parse(record.as_bytes())
                    .expect("a record of the source");
            }
        }
    }

    #[test]
    fn a_folder_without_a_part_or_with_one_that_does_not_fit_is_refused() {
        let bundle = bundle(Language::C);
        let changed = |change: &dyn Fn(&str, &str) -> Option<String>| {
            let files = bundle
                .files()
                .filter_map(|(path, text)| Some((path.to_owned(), change(path, text)?)));
            let refusal = Folder::parse(Bundle::new(files.collect()).expect("a bundle"));
            refusal.expect_err("a defect").to_string()
        };
        for part in [DESCRIPTION, MOCK_SOURCE, MOCK_RECORDS, "output.json"] {
            let said = changed(&|path, text| (path != part).then(|| text.to_owned()));
            assert!(said.contains(&format!("no {part}")), "{said}");
        }
        let said = changed(&|path, text| (!path.starts_with("src/")).then(|| text.to_owned()));
        assert!(said.contains("no src/"), "{said}");
        for (was, is, says) in [
            ("purpose = ", "purposes = ", "unknown field `purposes`"),
            (
                "language = \"c\"",
                "language = \"cobol\"",
                "unknown variant `cobol`",
            ),
            ("language = \"c\"", "language = \"python\"", "`runtime`"),
            ("language = \"c\"", "language = \"sql\"", "`engine`"),
            ("arguments = ", "engine = \"e\"\narguments = ", "`engine`"),
            ("language = \"c\"", "language = \"training\"", "`trainer`"),
            ("arguments = ", "trainer = \"t\"\narguments = ", "`trainer`"),
            (
                "\"survey\"",
                "\"poll\"",
                "reads source 'poll', mock/source.json declares 'survey'",
            ),
            ("\"score\"]", "\"age\"]", "no column 'age'"),
            (
                "{ days = 90 }",
                "{ days = 90, date = 2027-12-31 }",
                "expiry",
            ),
            ("price = \"10000000\"", "price = 10000000", "price"),
        ] {
            let said = changed(&|path, text| {
                Some(if path == DESCRIPTION {
                    text.replace(was, is)
                } else {
                    text.to_owned()
                })
            });
            assert!(said.contains(says), "{is}: {said}");
        }
        let said = changed(&|path, text| {
            Some(if path == "output.json" {
                "{".into()
            } else {
                text.to_owned()
            })
        });
        assert!(
            said.contains("output.json") && said.contains("no JSON"),
            "{said}"
        );
    }
}

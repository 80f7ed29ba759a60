//! What differs from the version that the collective approved last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use collective::approval::Manifest;
use collective::bundle::Bundle;
use serde::Serialize;
use serde_json::Value;
use similar::TextDiff;

/// Lines around a change, as other tools show them.
const CONTEXT: usize = 3;
/// For how long the smallest differences of all files are looked for; greater ones are right, too.
const PATIENCE: Duration = Duration::from_secs(5);
/// The one field whose own fields are anybody's: it is compared as a whole.
const SCHEMA: &str = "output.schema";

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Field of the manifest, or path of a file.
    pub place: String,
    /// What it was and is; of a file, a unified diff.
    pub difference: String,
}

/// Fields of the manifest that differ, by name. What a first version has is told by its statements.
pub fn of_manifest(earlier: &Manifest, manifest: &Manifest) -> Vec<Change> {
    let (was, is) = (fields(earlier), fields(manifest));
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    names
        .into_iter()
        .filter(|name| was.get(*name) != is.get(*name))
        .map(|name| Change {
            place: name.clone(),
            difference: difference(name, was.get(name), is.get(name)),
        })
        .collect()
}

fn difference(name: &str, was: Option<&Value>, is: Option<&Value>) -> String {
    if name == SCHEMA {
        let pretty = |value: Option<&Value>| value.map(|value| format!("{value:#}\n"));
        let deadline = Instant::now() + PATIENCE;
        return diff(
            name,
            pretty(was).as_deref(),
            pretty(is).as_deref(),
            deadline,
        );
    }
    let shown = |value: Option<&Value>| value.map_or("nothing".into(), Value::to_string);
    format!("{} → {}", shown(was), shown(is))
}

/// Files that differ, by path; all of them where there is no earlier version.
pub fn of_sources(earlier: Option<&Bundle>, sources: &Bundle) -> Vec<Change> {
    let was = |path: &str| earlier.and_then(|earlier| earlier.text(path));
    let gone = earlier.into_iter().flat_map(Bundle::files);
    let paths = sources.files().chain(gone).map(|(path, _)| path);
    let paths: BTreeSet<&str> = paths.collect();
    let deadline = Instant::now() + PATIENCE;
    paths
        .into_iter()
        .filter(|path| was(path) != sources.text(path))
        .map(|path| Change {
            place: path.into(),
            difference: diff(path, was(path), sources.text(path), deadline),
        })
        .collect()
}

fn diff(path: &str, was: Option<&str>, is: Option<&str>, deadline: Instant) -> String {
    let name = |text: Option<&str>| match text {
        Some(_) => path,
        None => "/dev/null",
    };
    let mut config = TextDiff::configure();
    let diff = config
        .deadline(deadline)
        .diff_lines(was.unwrap_or_default(), is.unwrap_or_default());
    diff.unified_diff()
        .context_radius(CONTEXT)
        .header(name(was), name(is))
        .to_string()
}

/// The manifest's fields by their paths, each a value without fields of its own.
fn fields(manifest: &Manifest) -> BTreeMap<String, Value> {
    let value = serde_json::to_value(manifest).expect("a manifest is plain JSON values");
    let mut fields = BTreeMap::new();
    flatten(String::new(), value, &mut fields);
    fields
}

fn flatten(path: String, value: Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) if path != SCHEMA => {
            for (name, member) in members {
                let path = if path.is_empty() {
                    name
                } else {
                    format!("{path}.{name}")
                };
                flatten(path, member, into);
            }
        }
        plain => drop(into.insert(path, plain)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bundle(files: &[(&str, &str)]) -> Bundle {
        let files = files.iter();
        let files = files.map(|(path, text)| ((*path).into(), (*text).into()));
        Bundle::new(files.collect()).expect("good files")
    }

    #[test]
    fn a_schema_is_compared_as_a_whole() {
        let manifest = |schema: Value| {
            let vectors = include_str!("../../../vectors/decisions.json");
            let vectors: Value = serde_json::from_str(vectors).expect("JSON");
            let bytes = vectors["manifest"]["bytes"].as_str().expect("a manifest");
            let mut manifest: Manifest = serde_json::from_str(bytes).expect("a manifest");
            manifest.output.schema = Some(schema);
            manifest
        };
        let word = |more: Value| {
            let mut schema = json!({"properties": {"word": {"type": "string"}}});
            schema["properties"]["word"]["maxLength"] = more;
            schema
        };
        // Names with dots in them, and objects without members, are differences like any other.
        let mut dotted = json!({"properties": {"word": {"type": "string"}}});
        dotted["properties.word.maxLength"] = json!(5);
        for (was, is) in [(word(json!(5)), dotted), (json!({"not": {}}), json!({}))] {
            let changes = of_manifest(&manifest(was), &manifest(is));
            let places: Vec<_> = changes.iter().map(|it| it.place.as_str()).collect();
            assert_eq!(places, [SCHEMA]);
        }
        assert_eq!(of_manifest(&manifest(json!({})), &manifest(json!({}))), []);
    }

    #[test]
    fn files_that_came_went_and_changed_are_shown_and_others_are_not() {
        let was = bundle(&[("a.py", "one\ntwo\n"), ("b.py", "b\n"), ("same.py", "x\n")]);
        let is = bundle(&[
            ("a.py", "one\nthree\n"),
            ("c.py", "c\n"),
            ("same.py", "x\n"),
        ]);
        let changes = of_sources(Some(&was), &is);
        let places: Vec<_> = changes.iter().map(|it| it.place.as_str()).collect();
        assert_eq!(places, ["a.py", "b.py", "c.py"]);
        assert_eq!(
            changes[0].difference,
            "--- a.py\n+++ a.py\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n"
        );
        assert!(changes[1].difference.contains("+++ /dev/null\n"));
        assert!(changes[2].difference.contains("--- /dev/null\n"));
        assert_eq!(of_sources(None, &is).len(), 3);
    }
}

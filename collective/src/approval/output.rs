//! What may leave a run, checked outside the program.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::limits::{MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, MAX_SCHEMA_WORK};

/// Keywords of a schema that look at one value, or at nothing.
const PLAIN: [&str; 17] = [
    "title",
    "description",
    "type",
    "enum",
    "const",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "dependentRequired",
];

/// Keywords with one schema, with a list of them, and with one for each name.
const WITH_ONE: [&str; 6] = ["items", "additionalProperties", "not", "if", "then", "else"];
const WITH_SOME: [&str; 4] = ["prefixItems", "allOf", "anyOf", "oneOf"];
const WITH_NAMED: [&str; 1] = ["properties"];

/// The rule that an output has to pass before it is sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OutputRule {
    /// What the output says about single contributors; voters read it, the node does not guess it.
    pub kind: OutputKind,
    /// Most bytes that may leave: also the most that one run can leak.
    pub max_bytes: u64,
    /// Fewest contributors that a run may read.
    pub minimum_group: u32,
    /// JSON Schema (2020-12) that the output must satisfy; without one any bytes pass. Only keywords by which every part of the schema
    /// looks at every part of an output once at most: how long that takes tells something of the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
}

/// Kinds of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputKind {
    /// Figures over a group.
    Aggregate,
    /// A fitted model.
    Model,
    /// Records themselves.
    Records,
}

/// Why an output stays inside.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OutputRefusal {
    /// Over the manifest's limit.
    #[error("the output has {bytes} bytes, the manifest allows {limit}")]
    TooLarge {
        /// Bytes written.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Fewer contributors than the manifest's minimum.
    #[error(
        "the program read {contributors} contributors, the manifest's minimum group is {minimum}"
    )]
    GroupTooSmall {
        /// Contributors whose records passed.
        contributors: u32,
        /// Contributors required.
        minimum: u32,
    },
    /// There is a schema and the output is no JSON.
    #[error("the output is not JSON, but the manifest gives a schema")]
    NotJson,
    /// The output breaks the schema. The rule is named, which is public; what broke it is not shown.
    #[error("the output breaks the rule '{0}' of the manifest's schema")]
    BreaksSchema(String),
}

impl OutputRule {
    /// Checks an output that was made from the records of `contributors` people.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check(&self, output: &[u8], contributors: u32) -> Result<(), OutputRefusal> {
        let Some((validator, value)) = self.check_outside(output, contributors)? else {
            return Ok(());
        };
        validator
            .validate(&value)
            .map_err(|error| OutputRefusal::BreaksSchema(error.schema_path().to_string()))
    }

    /// Whether an output passes the same checks, without looking for the rule that it breaks: in a time that schema and length bound.
    pub fn lets_out(&self, output: &[u8], contributors: u32) -> bool {
        match self.check_outside(output, contributors) {
            Ok(Some((validator, value))) => validator.is_valid(&value),
            checked => checked.is_ok(),
        }
    }

    /// All but the schema, and what remains to be checked by it.
    fn check_outside(
        &self,
        output: &[u8],
        contributors: u32,
    ) -> Result<Option<(jsonschema::Validator, Value)>, OutputRefusal> {
        if contributors < self.minimum_group {
            let minimum = self.minimum_group;
            return Err(OutputRefusal::GroupTooSmall {
                contributors,
                minimum,
            });
        }
        let bytes = output.len() as u64;
        if bytes > self.max_bytes {
            return Err(OutputRefusal::TooLarge {
                bytes,
                limit: self.max_bytes,
            });
        }
        let Some(schema) = &self.schema else {
            return Ok(None);
        };
        let value = serde_json::from_slice(output).map_err(|_| OutputRefusal::NotJson)?;
        let validator = jsonschema::draft202012::new(schema)
            .expect("Manifest::parse refuses a manifest whose schema does not compile");
        Ok(Some((validator, value)))
    }

    /// What checking the longest output by the schema can take at most, in KiB of one times KiB of the other, both rounded up; none
    /// without a schema.
    pub fn schema_work(&self) -> u64 {
        let schema = self.schema_bytes().div_ceil(1024) as u64;
        self.max_bytes.div_ceil(1024).saturating_mul(schema)
    }

    fn schema_bytes(&self) -> usize {
        let bytes = |schema| serde_json_canonicalizer::to_vec(schema).expect("plain JSON values");
        self.schema.as_ref().map_or(0, |schema| bytes(schema).len())
    }

    pub(super) fn check_schema(&self) -> Result<(), String> {
        let Some(schema) = &self.schema else {
            return Ok(());
        };
        let bytes = self.schema_bytes();
        if bytes > MAX_SCHEMA_BYTES {
            return Err(format!(
                "it has {bytes} bytes, {MAX_SCHEMA_BYTES} are allowed"
            ));
        }
        if self.schema_work() > MAX_SCHEMA_WORK {
            return Err(format!(
                "for outputs of {} bytes it is too long with {bytes}: KiB of both, multiplied, are at most {MAX_SCHEMA_WORK}",
                self.max_bytes
            ));
        }
        check_keywords(schema, MAX_SCHEMA_DEPTH)?;
        jsonschema::draft202012::new(schema)
            .map(drop)
            .map_err(|error| error.to_string())
    }
}

/// Refuses keywords whose check may take any time: references, which multiply, patterns, and comparisons of all with all.
fn check_keywords(schema: &Value, depth: usize) -> Result<(), String> {
    let Value::Object(keywords) = schema else {
        // `true`, `false`, or what is no schema, which its compiler says.
        return Ok(());
    };
    let Some(depth) = depth.checked_sub(1) else {
        return Err(format!("it is more than {MAX_SCHEMA_DEPTH} schemas deep"));
    };
    for (keyword, value) in keywords {
        let keyword = keyword.as_str();
        if PLAIN.contains(&keyword) {
            continue;
        }
        let inner: Vec<&Value> = match value {
            value if WITH_ONE.contains(&keyword) => vec![value],
            Value::Array(schemas) if WITH_SOME.contains(&keyword) => schemas.iter().collect(),
            Value::Object(schemas) if WITH_NAMED.contains(&keyword) => schemas.values().collect(),
            _ => {
                let known = [&PLAIN[..], &WITH_ONE, &WITH_SOME, &WITH_NAMED].concat();
                let shown = keyword.escape_debug();
                return Err(format!(
                    "'{shown}' is none of {}, or of another type",
                    known.join(", ")
                ));
            }
        };
        for schema in inner {
            check_keywords(schema, depth)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> OutputRule {
        OutputRule {
            kind: OutputKind::Aggregate,
            max_bytes: 40,
            minimum_group: 5,
            schema: Some(serde_json::json!({
                "type": "object",
                "properties": {"n": {"type": "integer"}},
                "required": ["n"],
                "additionalProperties": false
            })),
        }
    }

    #[test]
    fn size_group_and_schema_each_hold_an_output_back() {
        assert_eq!(rule().check(br#"{"n":7}"#, 5), Ok(()));
        assert_eq!(
            rule().check(br#"{"n":7}"#, 4),
            Err(OutputRefusal::GroupTooSmall {
                contributors: 4,
                minimum: 5
            })
        );
        assert_eq!(
            rule().check(&[b' '; 41], 5),
            Err(OutputRefusal::TooLarge {
                bytes: 41,
                limit: 40
            })
        );
        assert_eq!(rule().check(b"n=7", 5), Err(OutputRefusal::NotJson));
        assert_eq!(
            rule().check(br#"{"n":"Ada"}"#, 5),
            Err(OutputRefusal::BreaksSchema("/properties/n/type".into()))
        );
        assert!(rule().check(br#"{"n":7,"who":"Ada"}"#, 5).is_err());
    }

    #[test]
    fn a_refusal_never_shows_what_the_output_held() {
        for output in [&br#"{"n":"Ada"}"#[..], br#"{"n":7,"Ada":1}"#] {
            let refusal = rule().check(output, 5).expect_err("a broken rule");
            assert!(!refusal.to_string().contains("Ada"));
        }
    }

    #[test]
    fn a_schema_whose_check_may_take_any_time_is_refused() {
        let refused = |schema: Value| {
            let rule = OutputRule {
                schema: Some(schema),
                ..rule()
            };
            rule.check_schema().expect_err("a refusal")
        };
        for keyword in [
            "$ref",
            "$dynamicRef",
            "$defs",
            "$id",
            "$schema",
            "pattern",
            "format",
            "multipleOf",
        ] {
            let said = refused(serde_json::json!({ keyword: "#" }));
            assert!(
                said.starts_with(&format!("'{keyword}' is none of")),
                "{said}"
            );
        }
        for schema in [
            serde_json::json!({"uniqueItems": true}),
            serde_json::json!({"contains": {}}),
            serde_json::json!({"patternProperties": {}}),
            serde_json::json!({"properties": {"n": {"not": {"anyOf": [{"unevaluatedItems": false}]}}}}),
            serde_json::json!({"prefixItems": [true, {"items": {"propertyNames": {}}}]}),
            serde_json::json!({"allOf": {}}),
        ] {
            assert!(refused(schema).contains("is none of"));
        }
        let long = refused(serde_json::json!({"description": "x".repeat(MAX_SCHEMA_BYTES)}));
        assert!(long.contains("bytes"), "{long}");
        let nested = |depth| {
            (1..depth).fold(
                serde_json::json!({}),
                |inner, _| serde_json::json!({"not": inner}),
            )
        };
        assert!(refused(nested(MAX_SCHEMA_DEPTH + 1)).contains("deep"));
        let deepest = OutputRule {
            schema: Some(nested(MAX_SCHEMA_DEPTH)),
            ..rule()
        };
        assert_eq!(deepest.check_schema(), Ok(()));
        let large = OutputRule {
            max_bytes: 64 << 20,
            schema: Some(serde_json::json!({"description": "x".repeat(1024)})),
            ..rule()
        };
        let said = large.check_schema().expect_err("too much work");
        assert!(said.contains("for outputs of 67108864 bytes"), "{said}");
        assert_eq!((large.schema_work(), rule().schema_work()), (1 << 17, 1));
        // What a schema has otherwise is checked as before.
        assert!(refused(serde_json::json!({"items": 7})).contains("7"));
    }

    #[test]
    fn what_is_let_out_is_what_passes() {
        for (output, people) in [
            (&br#"{"n":7}"#[..], 5),
            (br#"{"n":7}"#, 4),
            (&[b' '; 41], 5),
            (b"n=7", 5),
            (br#"{"n":"Ada"}"#, 5),
            (br#"{"n":7,"who":"Ada"}"#, 5),
        ] {
            let passes = rule().check(output, people).is_ok();
            assert_eq!(rule().lets_out(output, people), passes);
        }
        let open = OutputRule {
            schema: None,
            ..rule()
        };
        assert!(open.lets_out(b"n=7", 5));
    }
}

//! What may leave a run, checked outside the program.

use serde::{Deserialize, Serialize};
use thiserror::Error;

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
    /// JSON Schema (2020-12) that the output must satisfy; without one any bytes pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
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
            return Ok(());
        };
        let value = serde_json::from_slice(output).map_err(|_| OutputRefusal::NotJson)?;
        let validator = jsonschema::draft202012::new(schema)
            .expect("Manifest::parse refuses a manifest whose schema does not compile");
        validator
            .validate(&value)
            .map_err(|error| OutputRefusal::BreaksSchema(error.schema_path().to_string()))
    }

    pub(super) fn check_schema(&self) -> Result<(), String> {
        match &self.schema {
            Some(schema) => jsonschema::draft202012::new(schema)
                .map(drop)
                .map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }
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
}

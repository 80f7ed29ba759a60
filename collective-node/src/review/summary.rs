//! What a manifest lets a program do, in sentences made from its fields.

use collective::approval::{Manifest, OutputKind, Recipient, Return, SplitRule};
use collective::terms::Purpose;
use serde::Serialize;

use crate::governance::percent;

/// One thing that a voter has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// What it is about.
    pub topic: &'static str,
    /// A sentence.
    pub says: String,
}

/// What the manifest allows, at the time `now` of the chain (Unix seconds). Every field that limits or pays is in it.
pub fn statements(manifest: &Manifest, now: u64) -> Vec<Statement> {
    let say = |topic, says| Statement { topic, says };
    vec![
        say("reads", reads(manifest)),
        say("for", purpose(manifest.purpose).into()),
        say("where", place(manifest)),
        say("runs", runs(manifest)),
        say("source", source(manifest)),
        say("sends", sends(manifest)),
        say("to", recipient(&manifest.recipient)),
        say("price", price(manifest)),
        say("how often", how_often(manifest, now)),
        say("may use", limits(manifest)),
        say("can tell", format!("at most {}", manifest.leak())),
    ]
}

fn reads(manifest: &Manifest) -> String {
    let selector = &manifest.dataset;
    let columns = selector.columns.join(", ");
    let window = match (selector.since, selector.until) {
        (None, None) => "whenever they were contributed".into(),
        (Some(since), None) => format!("anchored at {since} or later"),
        (None, Some(until)) => format!("anchored before {until}"),
        (Some(since), Some(until)) => format!("anchored from {since} to before {until}"),
    };
    format!(
        "the columns {columns} of the records of source {}, {window}; one record a contributor, and only of those whose terms \
         allow {}",
        selector.source,
        manifest.purposes()
    )
}

fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Statistics => "statistics: figures over many contributors leave the node",
        Purpose::Training => "training: a model fitted to the records leaves the node",
        Purpose::Transfer => {
            "transfer: the records themselves leave the collective's own nodes, readable to whoever runs the other node"
        }
    }
}

fn place(manifest: &Manifest) -> String {
    let Some(hand_off) = &manifest.hand_off else {
        return "on the collective's own nodes".into();
    };
    let returns: Vec<_> = hand_off.returns.iter().map(Return::to_string).collect();
    format!(
        "on heavy node {}, a requester's own machine, under the keys {}, to which the data is handed readable; within {} it has to \
         return {}, or loses its bond",
        hand_off.node,
        hand_off.keys,
        span(hand_off.seconds.into()),
        returns.join(", ")
    )
}

fn runs(manifest: &Manifest) -> String {
    let program = &manifest.program;
    if let Some(trainer) = program.trainer() {
        return format!("the training {}, by {trainer}", program.sha256());
    }
    if let Some(engine) = program.engine() {
        return format!("the query {}, by the engine {engine}", program.sha256());
    }
    let runtime = program.runtime();
    let runtime = runtime.map_or_else(String::new, |id| format!(" in the runtime {id}"));
    let arguments = match manifest.arguments.as_str() {
        "" => "without arguments".into(),
        text => format!("with the arguments '{}'", text.escape_debug()),
    };
    format!("program {}{runtime}, {arguments}", program.sha256())
}

fn source(manifest: &Manifest) -> String {
    let Some(origin) = manifest.program.origin() else {
        return "none is published".into();
    };
    format!(
        "the manifest says that it is folder {} of {} at commit {}, built as '{}'; the files below are those that it names by \
         their hash, and whether that commit has them was not looked up",
        origin.path, origin.repository, origin.commit, origin.build
    )
}

fn sends(manifest: &Manifest) -> String {
    let rule = &manifest.output;
    let kind = match rule.kind {
        OutputKind::Aggregate => "figures over a group",
        OutputKind::Model => "a fitted model",
        OutputKind::Records => "records themselves",
    };
    let schema = match &rule.schema {
        Some(schema) => format!("of the form {schema}"),
        None => "in any form".into(),
    };
    let minimum = rule.minimum_group;
    let nothing = match manifest.program.engine() {
        None => format!("where fewer than {minimum} contributors were read"),
        // The node counts them.
        Some(_) => format!("of a group of fewer than {minimum} contributors"),
    };
    format!(
        "{kind}, at most {} bytes a run, {schema}, and nothing {nothing}",
        rule.max_bytes
    )
}

fn recipient(recipient: &Recipient) -> String {
    match recipient {
        Recipient::Age(text) => format!("whoever holds the key of {text}, and nobody else"),
        Recipient::Node { id, keys } => format!("node {id} with keys {keys}"),
    }
}

fn price(manifest: &Manifest) -> String {
    let payment = &manifest.payment;
    let treasury = 10_000 - payment.contributors_bps - payment.node_bps;
    let rule = match payment.rule {
        SplitRule::Equal => "the same to each",
        SplitRule::Bytes => "to each by the bytes of the record as it is sealed",
    };
    let equals = match payment.distinct {
        true => ", of equal contents to the first alone",
        false => "",
    };
    format!(
        "{} a run in the smallest unit of token {}: {} % to the contributors, {rule}{equals}, {} % to the node, {} % to the \
         treasury; the node stakes {}",
        payment.price,
        payment.token,
        percent(payment.contributors_bps),
        percent(payment.node_bps),
        percent(treasury),
        payment.bond,
    )
}

fn how_often(manifest: &Manifest, now: u64) -> String {
    let runs = match manifest.max_runs {
        1 => "once".into(),
        runs => format!("{runs} times"),
    };
    match manifest.expiry.checked_sub(now) {
        None | Some(0) => format!("{runs}, but its time is over: it cannot run any more"),
        Some(left) => format!("{runs}, for {} more, until {}", span(left), manifest.expiry),
    }
}

fn limits(manifest: &Manifest) -> String {
    let limits = &manifest.limits;
    let program = &manifest.program;
    let fuel = match program.engine().or(program.trainer()) {
        None => format!("{} fuel, ", limits.fuel),
        // A query or a training has none.
        Some(_) => String::new(),
    };
    format!(
        "{fuel}{} MiB of memory and {} a run, whose end shows at multiples of {}",
        limits.memory_bytes.div_ceil(1 << 20),
        span(limits.seconds.into()),
        span(limits.bucket().into())
    )
}

/// Seconds in the greatest unit of which there are at least two.
fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "days"), (3_600, "hours"), (60, "minutes")];
    let unit = UNITS.into_iter().find(|(unit, _)| seconds >= 2 * unit);
    match unit {
        Some((unit, name)) => format!("{} {name}", seconds / unit),
        None if seconds == 1 => "1 second".into(),
        None => format!("{seconds} seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_units_that_people_count() {
        let told = [1, 59, 119, 120, 7_199, 7_200, 172_800].map(span);
        let expected = [
            "1 second",
            "59 seconds",
            "119 seconds",
            "2 minutes",
            "119 minutes",
            "2 hours",
            "2 days",
        ];
        assert_eq!(told, expected);
    }
}

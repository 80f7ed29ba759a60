//! How many people each group has, and the mean of their scores. Groups of fewer than SMALLEST are left out.

mod program;

use std::collections::BTreeMap;

const SMALLEST: usize = 3;

fn run(_arguments: &str) -> Result<(), String> {
    let mut scores: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
    while let Some(record) = program::next_record() {
        let (group, score) = record.split_once(',').ok_or("a record has two fields")?;
        let group = group.parse().map_err(|_| "a group is a number")?;
        let score = score.parse().map_err(|_| "a score is a number")?;
        scores.entry(group).or_default().push(score);
    }
    let groups = scores.iter().filter(|(_, some)| some.len() >= SMALLEST);
    let groups: Vec<String> = groups
        .map(|(group, some)| {
            let (n, mean) = (some.len(), some.iter().sum::<f64>() / some.len() as f64);
            format!("{{\"group\":{group},\"n\":{n},\"mean\":{mean}}}")
        })
        .collect();
    program::write(&format!("{{\"groups\":[{}]}}\n", groups.join(",")));
    Ok(())
}

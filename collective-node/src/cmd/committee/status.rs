//! `collective committee status`.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::Convener;
use crate::cmd::show::show;
use crate::convening::Standing;
use crate::holder::RenewalStatus;

/// Show the accepted committee, and how each member says that it stands.
///
/// Exit code 1 where fewer members than t could open a file now.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  collective committee status --keys keys.age\n  collective committee status --keys keys.age --json"
)]
pub struct Status {
    #[command(flatten)]
    convener: Convener,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub async fn run(self) -> Result<bool> {
        let convening = self.convener.convening().await?;
        let finalized = convening.chain.finalized().await?;
        let convened = convening.chain.convened(&finalized).await?;
        let (accepted, members) = convening.standing().await?;
        let able = members
            .iter()
            .filter(|member| member.is_able(accepted.epoch));
        let able = able.count();
        let each: Vec<_> = members.iter().map(value).collect();
        let value = json!({
            "epoch": accepted.epoch,
            "threshold": accepted.threshold,
            "committee": accepted.hash,
            "certificate": accepted.certificate,
            "convened": convened.map(|plan| plan.0),
            "finalized": finalized.number,
            "able": able,
            "renewal": members.iter().find_map(renewal).map(|renewal| json!({
                "epoch": renewal.epoch,
                "until": renewal.until,
                "over": finalized.time >= renewal.until,
            })),
            "members": each,
        });
        let mut rows = vec![
            ("epoch", accepted.epoch.to_string()),
            (
                "committee",
                format!("{}-of-{}", accepted.threshold, members.len()),
            ),
            ("hash", accepted.hash.to_string()),
            ("newest finalized block", finalized.number.to_string()),
        ];
        rows.extend(convened.map(|plan| ("convened plan", plan.0.to_string())));
        if let Some(renewal) = members.iter().find_map(renewal) {
            let phase = match finalized.time < renewal.until {
                true => format!("contributions to the old key count until {}", renewal.until),
                false => "contributions to the old key count no more".into(),
            };
            let renewed = format!("epoch {}: {phase}", renewal.epoch);
            rows.push(("ML-KEM half renewed", renewed));
        }
        rows.extend(members.iter().map(|member| ("member", line(member))));
        rows.push(("could open a file now", format!("{able} members")));
        show(self.json, &value, &rows)?;
        Ok(accepted.epoch > 0 && able >= usize::from(accepted.threshold))
    }
}

fn value(member: &Standing) -> serde_json::Value {
    json!({
        "number": member.fact.member.number(),
        "node": member.fact.id,
        "accepted": member.fact.is_accepted(),
        "status": member.status.as_ref().ok(),
        "unreachable": member.status.as_ref().err(),
    })
}

fn renewal(member: &Standing) -> Option<RenewalStatus> {
    member.status.as_ref().ok()?.renewal
}

/// How a renewal stands with one member, as the end of its line.
fn phase(renewal: &RenewalStatus) -> &'static str {
    match (renewal.record, renewal.old_seed) {
        (None, true) => ", old ML-KEM seed in use",
        (Some(_), true) => ", wrapped anew, old ML-KEM seed kept for jobs under way",
        (Some(_), false) => ", wrapped anew, old ML-KEM seed erased",
        (None, false) => ", lacks the record of what was wrapped anew: hold a ceremony with it",
    }
}

fn line(member: &Standing) -> String {
    let (number, node) = (member.fact.member.number(), member.fact.id);
    let accepted = match member.fact.is_accepted() {
        true => "accepted",
        false => "not accepted with its present keys",
    };
    let says = match &member.status {
        Ok(status) => {
            let halted = status.halted.as_ref();
            let halted = halted.map_or(String::new(), |why| format!(", halted: {why}"));
            format!(
                "share of epoch {}, log {} {}, block {}{}{halted}",
                status.epoch,
                status.log.index,
                status.log.hash,
                status.finalized,
                status.renewal.as_ref().map_or("", phase)
            )
        }
        Err(why) => format!("unreachable: {why}"),
    };
    format!("{number} {node}: {accepted}, {says}")
}

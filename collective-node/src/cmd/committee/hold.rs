//! The verbs that hold a ceremony: `new`, `refresh`, `reshare`, `replace`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use collective::committee::ceremony::plan::{Kind, Plan};
use collective::id::NodeId;
use serde_json::json;

use super::Convener;
use crate::cmd::show::show;
use crate::convening::Convening;
use crate::keystore::write_new;

/// Make a key that nobody ever knew, held by t of these members.
///
/// All members must be key holders that the collective accepts, and be up. The committee is published with every member's
/// signature; it counts once the collective accepts it by vote.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  collective committee new --threshold 2 --members 0x5f…c1,0x77…0a,0x9b…e4 --keys keys.age"
)]
pub struct New {
    /// How many members open a file together: 2 or more.
    #[arg(long, value_name = "T")]
    threshold: u16,
    /// The members in the order of their shares.
    #[arg(long, value_name = "NODE,…", value_delimiter = ',', required = true)]
    members: Vec<NodeId>,
    #[command(flatten)]
    ceremony: Ceremony,
}

/// Deal the key anew to the same members: shares that were stolen before are worth nothing afterwards.
///
/// It needs no vote before, for nobody else gets a share; the new epoch counts once the collective accepts it by vote.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  collective committee refresh --keys keys.age\n  collective committee refresh --renew-ml-kem --keys keys.age"
)]
pub struct Refresh {
    #[command(flatten)]
    renewal: RenewalOption,
    #[command(flatten)]
    ceremony: Ceremony,
}

/// Hand the key on to other members, or to the same under another threshold; the recipient stays, unless it is renewed.
///
/// Two steps: the first call writes a plan, which the collective must vote for before any member deals. The second call,
/// with the same plan, holds the ceremony. A committee of one can hand its key on, too, if its node listens for other nodes
/// (`wire` in its configuration); contributions without a sender proof, which it may have taken, count no more afterwards,
/// and the first call says how many they are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  collective committee reshare --plan 3-of-5.plan --threshold 3 --members 0x5f…c1,0x77…0a,0x9b…e4,0x21…7d,0xc0…55 --keys keys.age
  collective propose --convene 0x3b…90 --key member.key      # as the first call prints it; vote, queue, execute
  collective committee reshare --plan 3-of-5.plan --keys keys.age")]
pub struct Reshare {
    /// Where the plan is kept; one that is there is carried out.
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    /// How many members open a file together: 2 or more; as it is unless given.
    #[arg(long, value_name = "T")]
    threshold: Option<u16>,
    /// The new members in the order of their shares; needed to make a plan.
    #[arg(long, value_name = "NODE,…", value_delimiter = ',')]
    members: Vec<NodeId>,
    #[command(flatten)]
    renewal: RenewalOption,
    #[command(flatten)]
    ceremony: Ceremony,
}

/// Put another node in the place of one that is lost; the recipient, t and n stay.
///
/// Two steps as with `reshare`: a plan that the collective votes for, then the ceremony.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  collective committee replace --lost 0x77…0a --by 0x21…7d --plan replace.plan --keys keys.age
  collective propose --convene 0x3b…90 --key member.key      # as the first call prints it; vote, queue, execute
  collective committee replace --lost 0x77…0a --by 0x21…7d --plan replace.plan --keys keys.age")]
pub struct Replace {
    /// The member that is lost.
    #[arg(long, value_name = "NODE")]
    lost: NodeId,
    /// A key holder that the collective accepts.
    #[arg(long, value_name = "NODE")]
    by: NodeId,
    /// Where the plan is kept; one that is there is carried out.
    #[arg(long, value_name = "FILE")]
    plan: PathBuf,
    #[command(flatten)]
    renewal: RenewalOption,
    #[command(flatten)]
    ceremony: Ceremony,
}

#[derive(Debug, Args)]
struct RenewalOption {
    /// Give the key a new ML-KEM half, too, which changes its recipient: what is sealed from then on is out of reach of who
    /// has left. For an hour after the acceptance files to the old recipient still count; then members wrap what counts anew
    /// and erase the old half. No other ceremony is held in between.
    #[arg(long)]
    renew_ml_kem: bool,
}

impl RenewalOption {
    async fn plan(
        &self,
        convening: &Convening,
        members: &[NodeId],
        threshold: u16,
        attempt: u32,
    ) -> Result<Plan> {
        Ok(match self.renew_ml_kem {
            true => convening.plan_renewal(members, threshold, attempt).await?,
            false => convening.plan_reshare(members, threshold, attempt).await?,
        })
    }

    /// Whether a kept plan is what is asked for: it need not be said again.
    fn fits(&self, plan: &Plan) -> bool {
        !self.renew_ml_kem || plan.makes_ml_kem_key()
    }
}

#[derive(Debug, Args)]
struct Ceremony {
    /// Tells a new start from one that ended in a complaint.
    #[arg(long, value_name = "N", default_value_t = 0)]
    attempt: u32,
    #[command(flatten)]
    convener: Convener,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl New {
    pub async fn run(self) -> Result<bool> {
        let convening = self.ceremony.convener.convening().await?;
        let attempt = self.ceremony.attempt;
        let plan = convening.plan_new(&self.members, self.threshold, attempt);
        self.ceremony.hold(&convening, plan.await?).await
    }
}

impl Refresh {
    pub async fn run(self) -> Result<bool> {
        let convening = self.ceremony.convener.convening().await?;
        let (members, threshold) = present(&convening).await?;
        let attempt = self.ceremony.attempt;
        let plan = self.renewal.plan(&convening, &members, threshold, attempt);
        self.ceremony.hold(&convening, plan.await?).await
    }
}

impl Reshare {
    pub async fn run(self) -> Result<bool> {
        let convening = self.ceremony.convener.convening().await?;
        if let Some(plan) = read(&self.plan)? {
            let planned: Vec<NodeId> = plan.members().map(|(_, party)| party.node).collect();
            let threshold = plan.proposal().threshold;
            let same = (self.members.is_empty() || self.members == planned)
                && self.threshold.is_none_or(|given| given == threshold)
                && self.renewal.fits(&plan);
            check_same(same, &self.plan)?;
            return self.ceremony.carry_out(&convening, plan).await;
        }
        ensure!(
            !self.members.is_empty(),
            "there is no plan at {}: name --members, and --threshold if it changes, to make one",
            self.plan.display()
        );
        let (_, threshold) = present(&convening).await?;
        let threshold = self.threshold.unwrap_or(threshold);
        let attempt = self.ceremony.attempt;
        let members = &self.members;
        let plan = self.renewal.plan(&convening, members, threshold, attempt);
        let plan = plan.await?;
        self.ceremony.planned(&convening, &plan, &self.plan).await
    }
}

impl Replace {
    pub async fn run(self) -> Result<bool> {
        let convening = self.ceremony.convener.convening().await?;
        let (mut members, threshold) = present(&convening).await?;
        let place = members.iter_mut().find(|member| **member == self.lost);
        *place.with_context(|| format!("node {} is no member of the committee", self.lost))? =
            self.by;
        if let Some(plan) = read(&self.plan)? {
            let planned = plan.members().map(|(_, party)| party.node);
            check_same(planned.eq(members) && self.renewal.fits(&plan), &self.plan)?;
            return self.ceremony.carry_out(&convening, plan).await;
        }
        let attempt = self.ceremony.attempt;
        let plan = self.renewal.plan(&convening, &members, threshold, attempt);
        let plan = plan.await?;
        self.ceremony.planned(&convening, &plan, &self.plan).await
    }
}

impl Ceremony {
    /// Keeps a plan that has to be voted for, and says what comes next and, by the node's word, what it costs.
    async fn planned(&self, convening: &Convening, plan: &Plan, path: &Path) -> Result<bool> {
        let unproven = convening.archive.status().await?.unproven;
        write_new(path, &plan.to_bytes())?;
        self.told(plan, None, Some(unproven), "planned", vote_for(plan))
    }

    /// Holds the ceremony of a kept plan, once the collective has convened it.
    async fn carry_out(&self, convening: &Convening, plan: Plan) -> Result<bool> {
        let finalized = convening.chain.finalized().await?;
        if convening.chain.convened(&finalized).await? != Some(plan.id()) {
            bail!(
                "in the newest finalized block the collective has not convened this plan: `{}`, and wait until the vote is \
                 executed and final",
                vote_for(&plan)
            );
        }
        self.hold(convening, plan).await
    }

    async fn hold(&self, convening: &Convening, plan: Plan) -> Result<bool> {
        eprintln!(
            "ceremony {}: {} deal to {} members, epoch {}",
            plan.id().0,
            plan.dealers().len(),
            plan.members().len(),
            plan.proposal().epoch
        );
        let certified = convening.hold(plan).await?;
        eprintln!("every member has signed and keeps its share");
        let hash = convening
            .publish(convening.chain.provider(), &certified)
            .await
            .context("publishing the committee")?;
        let next = format!("collective propose --accept-committee {hash} --key member.key");
        let hash = Some(hash.to_string());
        self.told(&certified.plan, hash, None, "published", next)
    }

    fn told(
        &self,
        plan: &Plan,
        committee: Option<String>,
        unproven: Option<u64>,
        state: &str,
        next: String,
    ) -> Result<bool> {
        let proposal = plan.proposal();
        let members: Vec<NodeId> = plan.members().map(|(_, party)| party.node).collect();
        let dealers: Vec<NodeId> = plan.dealers().iter().map(|dealer| dealer.node).collect();
        let value = json!({
            "state": state,
            "plan": plan.id().0,
            "kind": kind(plan),
            "epoch": proposal.epoch,
            "threshold": proposal.threshold,
            "members": members,
            "dealers": dealers,
            "committee": committee,
            "unproven": unproven,
            "next": next,
        });
        let mut rows = vec![
            ("state", state.to_owned()),
            ("plan", plan.id().0.to_string()),
            ("epoch", proposal.epoch.to_string()),
            (
                "committee",
                format!("{}-of-{}", proposal.threshold, members.len()),
            ),
        ];
        rows.extend(members.iter().map(|node| ("member", node.to_string())));
        rows.extend(committee.map(|hash| ("committee hash", hash)));
        if let Some(unproven @ 1..) = unproven {
            let lost = format!(
                "{unproven} contributions without a sender proof, when this committee is accepted"
            );
            rows.push(("will not count", lost));
        }
        rows.push(("next", next));
        show(self.json, &value, &rows)?;
        Ok(true)
    }
}

/// Members and threshold of the accepted committee.
async fn present(convening: &Convening) -> Result<(Vec<NodeId>, u16)> {
    let chain = &convening.chain;
    let block = chain.finalized().await?;
    let accepted = chain.committee(&block).await?;
    ensure!(
        accepted.epoch > 0,
        "the collective has accepted no committee yet: `collective committee new` makes one"
    );
    let members = chain.members(&block, &accepted).await?;
    let members = members.iter().map(|member| member.id).collect();
    Ok((members, accepted.threshold))
}

fn read(path: &Path) -> Result<Option<Plan>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let plan = Plan::parse(&bytes);
    Ok(Some(plan.with_context(|| {
        format!("{} holds no plan", path.display())
    })?))
}

fn check_same(same: bool, path: &Path) -> Result<()> {
    ensure!(
        same,
        "{} holds a plan for other members or another threshold, or one that keeps the ML-KEM half: give the same again to carry it out, or name another file \
         to make a new plan",
        path.display()
    );
    Ok(())
}

fn vote_for(plan: &Plan) -> String {
    format!(
        "collective propose --convene {} --key member.key",
        plan.id().0
    )
}

fn kind(plan: &Plan) -> &'static str {
    match plan.proposal().kind {
        Kind::Generate { .. } => "generate",
        Kind::Reshare { renew: false, .. } => "reshare",
        Kind::Reshare { renew: true, .. } => "renew",
    }
}

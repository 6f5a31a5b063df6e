//! Placing holds that wait for other jobs, and listing holds. Both look over all partitions.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{Engine, Error, Origin, Target, Views, ids::digest};
use crate::{
    domain::{Circle, Dependency, PerformJobAction},
    proto::v1::{Hold, HoldKind, HoldState, JobActionType, PerformJobActionResponse},
    store::{Dependent, JobKey, Records},
};

/// How many placements of dependencies can be under way at once, each in another organization.
pub(super) const PLACEMENTS: usize = 64;

/// How many waiting steps are looked at before a dependency is refused as too entangled.
const WAITING_MAX: usize = 10_000;

/// How many holds one page looks at before it ends short.
const HOLDS_PER_PAGE_MAX: usize = 5_000;

const HOLDS_PER_READ: usize = 256;

/// Which holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HoldQuery {
    /// Only on steps of this job; empty: of any.
    pub job_id: String,
    /// Only on this step of it; empty: on any.
    pub step_id: String,
    /// In which state.
    pub state: HoldState,
    /// Of which kinds; empty: of any.
    pub kinds: Vec<HoldKind>,
    /// Only standing ones that wait for this.
    pub dependency: Option<Dependency>,
}

/// A place in a list of holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldPlace {
    /// The partition.
    pub partition: u16,
    /// The job; empty: before the first of the partition.
    pub job_id: String,
    /// The hold in it.
    pub hold_id: String,
    /// The step that it waits for, where the list is by what is waited for.
    pub dependent_step_id: String,
}

/// Some of the holds that match.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HoldPage {
    /// In order.
    pub holds: Vec<Hold>,
    /// Where to go on; `None`: there are no more.
    pub next: Option<HoldPlace>,
}

/// A job, or a step of it.
type Node = (String, Option<String>);

impl Engine {
    /// Has an action on steps decided. Where it places a hold that waits for another job, no other such hold is placed in
    /// the organization meanwhile, so that no circle can close unseen.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn perform(
        &self,
        origin: Origin,
        mut action: PerformJobAction,
    ) -> Result<PerformJobActionResponse, Error> {
        let dependency = match action.action {
            JobActionType::Hold => action.terms.dependency.clone(),
            _ => None,
        };
        let Some(dependency) = dependency else { return self.execute(origin, action).await };
        // Apart from the caller, who may go away while the hold is on its way into the store.
        let engine = self.clone();
        let placing = self.shared.tasks.spawn(async move {
            let [first, ..] = digest(&["placements", &origin.org]);
            let alone = Arc::clone(&engine.shared.placements[usize::from(first) % PLACEMENTS]);
            let _alone = alone.lock_owned().await;
            engine.choose_steps(&origin.org, &mut action).await?;
            action.circle = engine.circle(&origin.org, &action.job_id, &action.step_ids, &dependency).await?;
            engine.execute(origin, action).await
        });
        placing.await.unwrap_or_else(|broken| Err(Error::BrokeDown(broken.to_string())))
    }

    /// Names the steps that are meant where the action names none: those that are current now.
    async fn choose_steps(&self, org: &str, action: &mut PerformJobAction) -> Result<(), Error> {
        if action.step_ids.is_empty() {
            let job = self.job(org, Target::Job(&action.job_id), &Views::default()).await?;
            action.step_ids = job.map(|parts| parts.job.current_step_ids).unwrap_or_default();
            action.is_chosen = true;
        }
        Ok(())
    }

    /// The way by which what steps of a job are to wait for waits for one of them already, and back to it.
    async fn circle(
        &self,
        org: &str,
        job_id: &str,
        step_ids: &[String],
        dependency: &Dependency,
    ) -> Result<Circle, Error> {
        let is_target = |(node_job_id, node_step_id): &Node| {
            dependency.job_id == *node_job_id
                && (dependency.step_id.is_none() || dependency.step_id == *node_step_id)
        };
        let held: Vec<Node> = step_ids.iter().map(|id| (job_id.to_owned(), Some(id.clone()))).collect();
        if let Some(node) = held.iter().find(|node| is_target(node)) {
            let mut way = vec![words(node), words(&of(dependency))];
            way.extend(dependency.step_id.is_none().then(|| words(node)));
            return Ok(Circle::Way(way));
        }
        // From the steps that are to be held to those that wait for them, and so on.
        let mut waits_for: HashMap<Node, Node> = HashMap::new();
        let mut looked_at = 0;
        let mut open: VecDeque<Node> = held.iter().cloned().collect();
        while let Some((on_job, on_step)) = open.pop_front() {
            let waiting = self.waiting_for(org, &on_job, on_step.as_deref()).await?;
            looked_at += waiting.len();
            if looked_at > WAITING_MAX {
                return Ok(Circle::Unknown { looked_at_max: WAITING_MAX as u64 });
            }
            for dependent in waiting {
                let node = (dependent.job_id, Some(dependent.step_id));
                if held.contains(&node) || waits_for.contains_key(&node) {
                    continue;
                }
                let on = of(&dependent.dependency);
                if on.1.is_none() {
                    waits_for.entry(on.clone()).or_insert_with(|| (on_job.clone(), on_step.clone()));
                }
                waits_for.insert(node.clone(), on);
                if is_target(&node) {
                    return Ok(Circle::Way(way(&held, dependency, node, &waits_for)));
                }
                open.push_back(node);
            }
        }
        Ok(Circle::None)
    }

    /// All that waits for a step, or for the whole of its job.
    async fn waiting_for(
        &self,
        org: &str,
        job_id: &str,
        step_id: Option<&str>,
    ) -> Result<Vec<Dependent>, Error> {
        let mut waiting = Vec::new();
        for partition in self.partitions() {
            let records = self.records(partition);
            for step_id in
                ["", step_id.unwrap_or_default()].into_iter().take(1 + usize::from(step_id.is_some()))
            {
                waiting.extend(records.dependents(org, job_id, Some(step_id), None, WAITING_MAX + 1).await?);
            }
        }
        Ok(waiting)
    }

    /// Lists holds that match, after a place.
    ///
    /// # Errors
    /// The store's.
    pub async fn holds(
        &self,
        org: &str,
        query: &HoldQuery,
        after: Option<HoldPlace>,
        limit: usize,
    ) -> Result<HoldPage, Error> {
        let mut place = after.unwrap_or_default();
        let mut page = HoldPage::default();
        let mut looked_at = 0;
        let of_job = (!query.job_id.is_empty()).then(|| self.partition_of(org, Target::Job(&query.job_id)));
        let partitions = self.partitions().filter(|partition| {
            partition.0 >= place.partition && of_job.is_none_or(|of_job| of_job == *partition)
        });
        for partition in partitions.collect::<Vec<_>>() {
            if place.partition != partition.0 {
                place = HoldPlace { partition: partition.0, ..HoldPlace::default() };
            }
            loop {
                let found = holds_after(&self.records(partition), org, query, &place).await?;
                let is_last = found.len() < HOLDS_PER_READ;
                for (next, hold) in found {
                    if page.holds.len() == limit || looked_at == HOLDS_PER_PAGE_MAX {
                        page.next = Some(place);
                        self.settle().await?;
                        return Ok(page);
                    }
                    looked_at += 1;
                    place = next;
                    page.holds.extend(hold.filter(|hold| query.matches(hold)));
                }
                if is_last {
                    break;
                }
            }
        }
        self.settle().await?;
        Ok(page)
    }
}

impl HoldQuery {
    fn matches(&self, hold: &Hold) -> bool {
        let state = match self.state {
            HoldState::Unspecified => true,
            HoldState::Standing => hold.is_standing(),
            HoldState::Released => !hold.is_standing(),
            HoldState::Orphaned => hold.is_standing() && hold.orphaned,
        };
        state
            && (self.step_id.is_empty() || hold.step_id == self.step_id)
            && (self.kinds.is_empty() || self.kinds.contains(&hold.kind()))
    }
}

/// The next holds of a partition, matching or not, each with its place.
async fn holds_after(
    records: &Records,
    org: &str,
    query: &HoldQuery,
    place: &HoldPlace,
) -> Result<Vec<(HoldPlace, Option<Hold>)>, Error> {
    let at = |job_id: &str, hold_id: &str, dependent_step_id: &str| HoldPlace {
        partition: place.partition,
        job_id: job_id.to_owned(),
        hold_id: hold_id.to_owned(),
        dependent_step_id: dependent_step_id.to_owned(),
    };
    let Some(dependency) = &query.dependency else {
        let after = (!place.job_id.is_empty()).then_some((place.job_id.as_str(), place.hold_id.as_str()));
        let found = records.holds_after(org, &query.job_id, after, HOLDS_PER_READ).await?;
        return Ok(found.into_iter().map(|hold| (at(&hold.job_id, &hold.hold_id, ""), Some(hold))).collect());
    };
    let after = (!place.job_id.is_empty()).then(|| Dependent {
        dependency: Dependency {
            job_id: dependency.job_id.clone(),
            step_id: Some(place.dependent_step_id.clone()).filter(|step_id| !step_id.is_empty()),
        },
        job_id: place.job_id.clone(),
        hold_id: place.hold_id.clone(),
        step_id: String::new(),
    });
    let found = records
        .dependents(org, &dependency.job_id, dependency.step_id.as_deref(), after.as_ref(), HOLDS_PER_READ)
        .await?;
    let mut holds = Vec::new();
    for dependent in found {
        let job = JobKey { org: org.to_owned(), job_id: dependent.job_id.clone() };
        let hold = records.hold(&job, &dependent.hold_id).await?;
        let on_step = dependent.dependency.step_id.as_deref().unwrap_or_default();
        holds.push((at(&dependent.job_id, &dependent.hold_id, on_step), hold));
    }
    Ok(holds)
}

fn of(dependency: &Dependency) -> Node {
    (dependency.job_id.clone(), dependency.step_id.clone())
}

/// The circle in words: from the step that is to be held by what it is to wait for back to it.
fn way(held: &[Node], dependency: &Dependency, found: Node, waits_for: &HashMap<Node, Node>) -> Vec<String> {
    let mut way = Vec::new();
    if dependency.step_id.is_none() {
        way.push(words(&of(dependency)));
    }
    let mut at = found;
    way.push(words(&at));
    // A whole job leads on by the step of it that waits; a held step ends the way.
    while !held.contains(&at)
        && let Some(next) = waits_for.get(&at)
    {
        at = next.clone();
        way.push(words(&at));
    }
    way.insert(0, words(&at));
    way
}

fn words((job_id, step_id): &Node) -> String {
    match step_id {
        Some(step_id) => format!("{job_id}/{step_id}"),
        None => job_id.clone(),
    }
}

//! "My work": the jobs whose assignee, or that of a current step, is the caller or a group of the caller's. Lists, counts
//! and watches follow the steps as they go on.

use std::collections::BTreeMap;

use expect_test::expect;
use holdpoint::proto::v1::{
    Assignee, CountJobsRequest, Job,
    JobActionType::{self, Finish, Run, SetCurrentStep, Stop},
    JobEvent, JobFilter, JobOrder, JobStatus, JobSummary, StepDefinition, StepKind, UpdateJobRequest,
    WatchJobsRequest, WatchStart, Workflow,
    watch_message::Kind,
};
use prost_types::FieldMask;

use super::harness::{
    Call, Caller, Client, TestServer, Watch, abort, assign, chain, delete, device_body_of, following, group,
    reopen, step, update, user,
};

/// `a` is Ann's, `b` the crew's, and `c` nobody's in particular.
fn flow() -> Workflow {
    let assigned = |id: &str, default_assignee: Option<Assignee>| StepDefinition {
        default_assignee,
        ..step(id, StepKind::Manual)
    };
    let steps =
        vec![assigned("a", Some(user("ann"))), assigned("b", Some(group("crew"))), assigned("c", None)];
    chain("flow", steps)
}

/// Who works: Ann, Ben of the crew, and Cid, who is of the crew as well.
struct Workers {
    clients: Vec<(&'static str, Client)>,
    /// Makes the jobs.
    boss: Client,
}

impl Workers {
    async fn start() -> (TestServer, Self) {
        let server = TestServer::memory().await;
        let boss = server.client_as(Caller::new("boss")).await;
        boss.publish(flow()).await;
        let mut clients = Vec::new();
        for (name, groups) in [("ann", ""), ("ben", "crew"), ("cid", "crew,ann")] {
            clients.push((name, server.client_as(Caller::new(name).in_groups(groups)).await));
        }
        (server, Self { clients, boss })
    }

    /// Who has the job in their work, by the list, the count, and the filter of the same meaning.
    async fn of(&self, job_id: &str) -> String {
        let mut names = Vec::new();
        for (name, client) in &self.clients {
            let mine = JobFilter { assigned_to_me: true, ..JobFilter::default() };
            let assignees = match *name {
                "ann" => vec![user("ann")],
                "ben" => vec![user("ben"), group("crew")],
                _ => vec![user("cid"), group("crew"), group("ann")],
            };
            let said = JobFilter { assignees, ..JobFilter::default() };
            let listed = client.list(mine.clone(), JobOrder::OldestFirst, 2).await;
            assert_eq!(listed, self.boss.list(said, JobOrder::OldestFirst, 0).await);
            let request = CountJobsRequest { filter: Some(mine) };
            let count = client.jobs.clone().count_jobs(request).await.unwrap().into_inner().count;
            assert_eq!(usize::try_from(count).unwrap(), listed.len());
            names.extend(listed.iter().any(|job| job.job_id == job_id).then_some(*name));
        }
        if names.is_empty() { "nobody".to_owned() } else { names.join(" ") }
    }
}

/// Something that may move a job from one's work to another's.
enum Move {
    /// Somebody acts on a step of it.
    Act(&'static str, JobActionType, &'static str),
    /// A step of it is given to somebody, or to nobody.
    Give(&'static str, Option<Assignee>),
    /// The whole of it is.
    GiveJob(Option<Assignee>),
    /// The boss calls.
    Boss(Box<Call>),
}

impl Workers {
    async fn make(&self, step: Move) {
        let call = match step {
            Move::Act(who, action, step_id) => {
                let client = self.clients.iter().find(|(name, _)| *name == who);
                return client.unwrap().1.done(action, "job", &[step_id]).await;
            }
            Move::Give(step_id, to) => assign("job", step_id, to).into(),
            Move::GiveJob(assignee) => {
                let update_mask = Some(FieldMask { paths: vec!["assignee".to_owned()] });
                let job = Job { assignee, ..Job::default() };
                UpdateJobRequest { update_mask, ..update("job", job) }.into()
            }
            Move::Boss(call) => *call,
        };
        self.boss.call(call).await.unwrap();
    }
}

/// Everything that moves a job, one after the other.
fn moves() -> Vec<(&'static str, Vec<Move>)> {
    use Move::{Act, Give, GiveJob};

    let boss = |call: Call| Move::Boss(Box::new(call));
    vec![
        ("a is run", vec![Act("ann", Run, "a")]),
        ("a is given to ben", vec![Give("a", Some(user("ben")))]),
        ("a is given to a group that is named as ann", vec![Give("a", Some(group("ann")))]),
        ("a is given to anyone", vec![Give("a", None)]),
        ("a is given to ann again", vec![Give("a", Some(user("ann")))]),
        ("c, which is not current, is given to ben", vec![Give("c", Some(user("ben")))]),
        ("a is finished, and b is the crew's", vec![Act("ann", Finish, "a")]),
        ("b is run by one of the crew", vec![Act("cid", Run, "b")]),
        ("b is given to ann", vec![Give("b", Some(user("ann")))]),
        ("b rests", vec![Act("ann", Stop, "b")]),
        ("c is made current", vec![Act("ben", SetCurrentStep, "c")]),
        ("c is given to anyone", vec![Give("c", None)]),
        ("the job is given to ann", vec![GiveJob(Some(user("ann")))]),
        ("c is given to the crew", vec![Give("c", Some(group("crew")))]),
        ("the job is given to anyone", vec![GiveJob(None)]),
        ("a is made current", vec![Act("ann", SetCurrentStep, "a")]),
        ("c is made current again", vec![Act("cid", SetCurrentStep, "c")]),
        ("the last step is done", vec![Act("cid", Run, "c"), Act("ben", Finish, "c")]),
        ("c is given to ben, when it is done", vec![Give("c", Some(user("ben")))]),
        ("the job is taken up again at c", vec![boss(reopen("job", &["c"]).into())]),
        ("the job is aborted, with c where it was", vec![boss(abort("job").into())]),
        ("the job is taken up again at a", vec![boss(reopen("job", &["a"]).into())]),
        ("the job is deleted", vec![boss(delete("job").into())]),
    ]
}

#[tokio::test]
async fn lists_and_counts_follow_the_assignees_of_the_current_steps() {
    let (_server, workers) = Workers::start().await;
    workers.boss.create("job", following("flow")).await;
    for n in 0..3 {
        workers.boss.create(&format!("other-{n}"), following("flow")).await;
    }
    let mut table = format!("at first: {}\n", workers.of("job").await);
    for (name, moves) in moves() {
        for step in moves {
            workers.make(step).await;
        }
        table.push_str(&format!("{name}: {}\n", workers.of("job").await));
    }
    expect![[r#"
        at first: ann
        a is run: ann
        a is given to ben: ben
        a is given to a group that is named as ann: cid
        a is given to anyone: nobody
        a is given to ann again: ann
        c, which is not current, is given to ben: ann
        a is finished, and b is the crew's: ben cid
        b is run by one of the crew: ben cid
        b is given to ann: ann
        b rests: ann
        c is made current: ben
        c is given to anyone: nobody
        the job is given to ann: ann
        c is given to the crew: ann ben cid
        the job is given to anyone: ben cid
        a is made current: ann
        c is made current again: ben cid
        the last step is done: nobody
        c is given to ben, when it is done: nobody
        the job is taken up again at c: ben
        the job is aborted, with c where it was: ben
        the job is taken up again at a: ann
        the job is deleted: nobody
    "#]]
    .assert_eq(&table);
}

/// What one worker's watch is told, up to an event of another job that is everybody's.
async fn told(watch: &mut Watch) -> String {
    let mut words = Vec::new();
    loop {
        let event = watch.event().await;
        if event.job_id != "job" {
            return if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
        }
        words.push(described(&event));
    }
}

fn described(event: &JobEvent) -> String {
    let kind = event.r#type().as_str_name().trim_start_matches("JOB_EVENT_TYPE_");
    let whose = |summary: &JobSummary| {
        let ids: Vec<_> = summary.assignees.iter().map(|assignee| assignee.id.as_str()).collect();
        if ids.is_empty() { "-".to_owned() } else { ids.join("+") }
    };
    let after = whose(event.summary.as_ref().unwrap());
    match event.previous_summary.as_ref().map(whose).filter(|before| *before != after) {
        Some(before) => format!("{kind} ({before} to {after})"),
        None => format!("{kind} ({after})"),
    }
}

/// A watcher is told of a job for as long as it is in their work, and of its coming and going.
#[tokio::test]
async fn a_watcher_sees_a_job_enter_and_leave() {
    let (_server, workers) = Workers::start().await;
    let everybody: Vec<_> = ["ann", "ben", "cid"].map(user).into();
    let mut watches = BTreeMap::new();
    for (name, client) in &workers.clients {
        let filter = JobFilter { assigned_to_me: true, ..JobFilter::default() };
        let request =
            WatchJobsRequest { filter: Some(filter), start: WatchStart::Now.into(), ..Default::default() };
        watches.insert(*name, client.watch(request).await);
    }
    workers.boss.create("job", following("flow")).await;
    let mut table = String::new();
    let mut told_of = async |name: &str, n: usize| {
        // Each watch is told of this one, once it was told of all before.
        for assignee in &everybody {
            let marker = Job { assignee: Some(assignee.clone()), ..Job::default() };
            workers.boss.create(&format!("marker-{n}-{}", assignee.id), marker).await;
        }
        table.push_str(&format!("{name}:\n"));
        for (worker, watch) in &mut watches {
            table.push_str(&format!("    {worker}: {}\n", told(watch).await));
        }
    };
    told_of("at first", 0).await;
    for (n, (name, moves)) in (1..).zip(moves()) {
        for step in moves {
            workers.make(step).await;
        }
        told_of(name, n).await;
    }
    expect![[r#"
        at first:
            ann: JOB_CREATED (ann), STEP_ACTIVATED (ann)
            ben: nothing
            cid: nothing
        a is run:
            ann: JOB_UPDATED (ann), STEP_STARTED (ann)
            ben: nothing
            cid: nothing
        a is given to ben:
            ann: STEP_REASSIGNED (ann to ben)
            ben: STEP_REASSIGNED (ann to ben)
            cid: nothing
        a is given to a group that is named as ann:
            ann: nothing
            ben: STEP_REASSIGNED (ben to ann)
            cid: STEP_REASSIGNED (ben to ann)
        a is given to anyone:
            ann: nothing
            ben: nothing
            cid: STEP_REASSIGNED (ann to -)
        a is given to ann again:
            ann: STEP_REASSIGNED (- to ann)
            ben: nothing
            cid: nothing
        c, which is not current, is given to ben:
            ann: STEP_REASSIGNED (ann)
            ben: nothing
            cid: nothing
        a is finished, and b is the crew's:
            ann: STEP_FINISHED (ann to crew)
            ben: STEP_FINISHED (ann to crew), STEP_ACTIVATED (crew)
            cid: STEP_FINISHED (ann to crew), STEP_ACTIVATED (crew)
        b is run by one of the crew:
            ann: nothing
            ben: STEP_STARTED (crew)
            cid: STEP_STARTED (crew)
        b is given to ann:
            ann: STEP_REASSIGNED (crew to ann)
            ben: STEP_REASSIGNED (crew to ann)
            cid: STEP_REASSIGNED (crew to ann)
        b rests:
            ann: STEP_PAUSED (ann)
            ben: nothing
            cid: nothing
        c is made current:
            ann: STEP_ACTIVATED (ann to ben)
            ben: STEP_ACTIVATED (ann to ben)
            cid: nothing
        c is given to anyone:
            ann: nothing
            ben: STEP_REASSIGNED (ben to -)
            cid: nothing
        the job is given to ann:
            ann: JOB_UPDATED (- to ann)
            ben: nothing
            cid: nothing
        c is given to the crew:
            ann: STEP_REASSIGNED (ann to ann+crew)
            ben: STEP_REASSIGNED (ann to ann+crew)
            cid: STEP_REASSIGNED (ann to ann+crew)
        the job is given to anyone:
            ann: JOB_UPDATED (ann+crew to crew)
            ben: JOB_UPDATED (ann+crew to crew)
            cid: JOB_UPDATED (ann+crew to crew)
        a is made current:
            ann: STEP_ACTIVATED (crew to ann)
            ben: STEP_ACTIVATED (crew to ann)
            cid: STEP_ACTIVATED (crew to ann)
        c is made current again:
            ann: STEP_ACTIVATED (ann to crew)
            ben: STEP_ACTIVATED (ann to crew)
            cid: STEP_ACTIVATED (ann to crew)
        the last step is done:
            ann: nothing
            ben: STEP_STARTED (crew), STEP_FINISHED (crew to -)
            cid: STEP_STARTED (crew), STEP_FINISHED (crew to -)
        c is given to ben, when it is done:
            ann: nothing
            ben: nothing
            cid: nothing
        the job is taken up again at c:
            ann: nothing
            ben: STEP_ACTIVATED (- to ben)
            cid: nothing
        the job is aborted, with c where it was:
            ann: nothing
            ben: JOB_ABORTED (ben)
            cid: nothing
        the job is taken up again at a:
            ann: STEP_ACTIVATED (- to ann)
            ben: JOB_REOPENED (ben to -)
            cid: nothing
        the job is deleted:
            ann: JOB_DELETED (ann)
            ben: nothing
            cid: nothing
    "#]]
    .assert_eq(&table);
}

/// The snapshot of a watch holds what the list does, and a job that comes into one's work later comes as an event.
#[tokio::test]
async fn a_watch_begins_with_the_work_there_is() {
    let (_server, workers) = Workers::start().await;
    for n in 0..4 {
        workers.boss.create(&format!("job-{n}"), following("flow")).await;
    }
    workers.boss.call(assign("job-1", "a", Some(group("crew")))).await.unwrap();
    let (_, ben) = &workers.clients[1];
    ben.done(SetCurrentStep, "job-2", &["b"]).await;
    workers.boss.call(assign("job-2", "b", Some(user("ann")))).await.unwrap();
    workers.boss.call(assign("job-3", "b", Some(user("ben")))).await.unwrap();
    let filter = JobFilter { assigned_to_me: true, ..JobFilter::default() };
    let mut watch = ben.watch(WatchJobsRequest { filter: Some(filter.clone()), ..Default::default() }).await;
    let mut jobs = Vec::new();
    loop {
        match watch.message().await {
            Kind::Batch(batch) => jobs.extend(batch.decode_snapshots().unwrap()),
            Kind::Checkpoint(checkpoint) if checkpoint.snapshot_complete => break,
            other => panic!("{other:?}"),
        }
    }
    let mut jobs: Vec<_> = jobs.into_iter().map(|details| details.job.unwrap()).collect();
    jobs.sort_by(|left, right| left.job_id.cmp(&right.job_id));
    assert_eq!(jobs, ben.list(filter, JobOrder::OldestFirst, 0).await);
    assert_eq!(jobs.iter().map(|job| job.job_id.as_str()).collect::<Vec<_>>(), ["job-1"]);

    workers.boss.call(assign("job-2", "b", Some(user("ben")))).await.unwrap();
    let event = watch.event().await;
    assert_eq!(described(&event), "STEP_REASSIGNED (ann to ben)");
    let job = event.job.unwrap();
    assert_eq!((job.job_id.as_str(), job.current_assignees), ("job-2", vec![user("ben")]));
}

/// A device moves a job from one's work to another's as well.
#[tokio::test]
async fn a_devices_report_moves_the_work() {
    let (_server, workers) = Workers::start().await;
    workers.boss.create("job", following("flow")).await;
    assert_eq!(workers.of("job").await, "ann");
    let mut body = device_body_of("job");
    let metadata = body.metadata.as_mut().unwrap();
    (metadata.workflow_id, metadata.workflow_version_id) = (Some("flow".to_owned()), None);
    metadata.set_status(JobStatus::Active);
    metadata.current_step = Some("b".to_owned());
    body.completed_steps[0].single_step.as_mut().unwrap().step_id = Some("a".to_owned());
    workers.boss.sync(body).await;
    assert_eq!(workers.of("job").await, "ben cid");
}

//! `ListJobs` and `CountJobs` against a model that looks at every job.

use std::collections::BTreeSet;

use holdpoint::proto::{
    ListJobsResponse,
    v1::{
        BasicSyncRequest, CountJobsRequest, ErrorReason, GetJobRequest, Job, JobFilter, JobOrder, JobStatus,
        ListJobEventsRequest, ListJobsRequest, SyncMetadata, UpdateJobRequest,
    },
};
use prost::Message as _;
use prost_types::{FieldMask, Timestamp, Value};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::harness::{
    Caller, Client, Dice, TestServer, abort, close, delete, device_body_of, events, fields, get, group, line,
    refused, titled, update, user, within,
};

const JOBS: usize = 300;
const TEAMS: [&str; 3] = ["red", "blue", "green"];
const USERS: [&str; 3] = ["ann", "ben", "cid"];
const WORKFLOWS: [&str; 2] = ["inspect", "repair"];

#[expect(clippy::unnecessary_wraps, reason = "it makes the optional members of messages")]
fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// The caller of the lists, to whom some jobs are assigned.
fn lister() -> Caller {
    Caller::new("ann").in_groups("fitters,welders")
}

/// Makes a job in one of the ways there are, and puts it in some state.
async fn make(client: &Client, dice: &mut Dice, n: usize) -> String {
    let team = Some(dice.pick(&TEAMS)).filter(|_| dice.roll(4) > 0);
    let user_id = Some(dice.pick(&USERS)).filter(|_| dice.roll(4) > 0);
    let assignees = [user("ann"), user("ben"), group("fitters"), group("welders"), group("ann")];
    let assignee = Some(dice.pick(&assignees)).filter(|_| dice.roll(3) > 0);
    let priority = i32::try_from(dice.roll(4)).unwrap();
    let team = team.map(str::to_owned);
    let user_id = user_id.map(str::to_owned);
    if dice.roll(2) == 0 {
        let job = Job { team, user_id, assignee, priority, ..titled(&format!("{n}")) };
        let job_id = client.create(&format!("own-{n}"), job).await.job_id;
        match dice.roll(4) {
            0 => client.call(abort(&job_id)).await.unwrap(),
            1 => client.call(close(&job_id)).await.unwrap(),
            _ => {}
        }
        return job_id;
    }
    let statuses = [
        JobStatus::NotStarted,
        JobStatus::Active,
        JobStatus::Paused,
        JobStatus::Completed,
        JobStatus::Aborted,
    ];
    let metadata = SyncMetadata {
        client_job_id: Some(format!("device {n}")),
        workflow_id: text(dice.pick(&WORKFLOWS)),
        user_id,
        metadata: Some(fields([("shelf", f64::from(priority).into())])),
        status: dice.pick(&statuses).into(),
        ..SyncMetadata::default()
    };
    let sync = BasicSyncRequest { metadata: Some(metadata), team, ..BasicSyncRequest::default() };
    let job_id = client.sync(sync).await.job_id;
    let job = client.job(&job_id).await;
    if !job.closed && assignee.is_some() {
        client.call(update(&job_id, Job { assignee, priority, ..Job::default() })).await.unwrap();
    }
    if job.status() == JobStatus::Completed && dice.roll(2) == 0 {
        client.call(close(&job_id)).await.unwrap();
    }
    job_id
}

fn time_of(job: &Job) -> (i64, i32) {
    let time = job.create_time.unwrap();
    (time.seconds, time.nanos)
}

fn place(job: &Job) -> ((i64, i32), &str) {
    (time_of(job), &job.job_id)
}

type Matches = Box<dyn Fn(&Job) -> bool>;

/// One filter on each field or kind of value, and what it should mean. Two of the same field come one after the other.
fn filters(jobs: &[Job]) -> Vec<(&'static str, JobFilter, Matches)> {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let none = JobFilter::default;
    let ids: Vec<_> = jobs.iter().step_by(3).map(|job| job.job_id.clone()).chain(texts(&["none"])).collect();
    let wanted_ids = ids.clone();
    let early = jobs[jobs.len() / 4].create_time.unwrap();
    let late = jobs[3 * jobs.len() / 4].create_time.unwrap();
    let moment = |time: Timestamp| (time.seconds, time.nanos);
    let statuses = |statuses: &[JobStatus]| statuses.iter().map(|&status| status.into()).collect();
    let expression = |text: &str| JobFilter { expression: text.to_owned(), ..none() };
    let mine = [user("ann"), group("fitters"), group("welders")];
    vec![
        (
            "job_ids",
            JobFilter { job_ids: ids, ..none() },
            Box::new(move |job| wanted_ids.contains(&job.job_id)),
        ),
        (
            "statuses",
            JobFilter { statuses: statuses(&[JobStatus::Active]), ..none() },
            Box::new(|job| job.status() == JobStatus::Active),
        ),
        (
            "statuses",
            JobFilter { statuses: statuses(&[JobStatus::Aborted, JobStatus::NotStarted]), ..none() },
            Box::new(|job| matches!(job.status(), JobStatus::Aborted | JobStatus::NotStarted)),
        ),
        ("closed", JobFilter { closed: Some(true), ..none() }, Box::new(|job| job.closed)),
        ("closed", JobFilter { closed: Some(false), ..none() }, Box::new(|job| !job.closed)),
        ("teams", JobFilter { teams: texts(&["red"]), ..none() }, Box::new(|job| job.team() == "red")),
        (
            "teams",
            JobFilter { teams: texts(&["blue", "green", "blue", "none"]), ..none() },
            Box::new(|job| ["blue", "green"].contains(&job.team())),
        ),
        (
            "user_ids",
            JobFilter { user_ids: texts(&["ben"]), ..none() },
            Box::new(|job| job.user_id() == "ben"),
        ),
        (
            "workflow_ids",
            JobFilter { workflow_ids: texts(&["repair"]), ..none() },
            Box::new(|job| job.workflow.as_ref().is_some_and(|workflow| workflow.workflow_id == "repair")),
        ),
        (
            "assignees",
            JobFilter { assignees: vec![user("ben"), group("ann")], ..none() },
            Box::new(|job| job.assignee == Some(user("ben")) || job.assignee == Some(group("ann"))),
        ),
        (
            "assignees",
            JobFilter { assigned_to_me: true, ..none() },
            Box::new(move |job| job.assignee.as_ref().is_some_and(|assignee| mine.contains(assignee))),
        ),
        (
            "create_time_from",
            JobFilter { create_time_from: Some(early), ..none() },
            Box::new(move |job| time_of(job) >= moment(early)),
        ),
        (
            "create_time_before",
            JobFilter { create_time_before: Some(late), ..none() },
            Box::new(move |job| time_of(job) < moment(late)),
        ),
        (
            "expression",
            expression("job.priority >= 2 && job.status != 'PAUSED'"),
            Box::new(|job| job.priority >= 2 && job.status() != JobStatus::Paused),
        ),
        (
            "expression",
            expression("has(job.metadata) && job.metadata.shelf == 1.0"),
            Box::new(|job| job.metadata == Some(fields([("shelf", 1.0.into())]))),
        ),
    ]
}

async fn count(client: &Client, filter: JobFilter) -> usize {
    let request = CountJobsRequest { filter: Some(filter) };
    let count = client.jobs.clone().count_jobs(request).await.unwrap().into_inner().count;
    usize::try_from(count).unwrap()
}

async fn check(client: &Client, name: &str, filter: JobFilter, expected: &[&Job], page_size: i32) {
    for order in [JobOrder::OldestFirst, JobOrder::NewestFirst] {
        let listed = client.list(filter.clone(), order, page_size).await;
        let mut listed: Vec<_> = listed.iter().collect();
        if order == JobOrder::NewestFirst {
            listed.reverse();
        }
        assert!(listed == expected, "{name}, {order:?}: {} of {} jobs", listed.len(), expected.len());
    }
    assert_eq!(count(client, filter).await, expected.len(), "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_filter_and_every_two_of_them_list_what_they_say() {
    let server = TestServer::memory().await;
    let client = server.client_as(lister()).await;
    let stranger = server.client_as(lister().of("umbra")).await;
    let mut dice = Dice::new(1);
    let mut jobs = Vec::new();
    for n in 0..JOBS {
        let job_id = make(&client, &mut dice, n).await;
        if n % 10 == 0 {
            make(&stranger, &mut dice, n).await;
        }
        match dice.roll(10) {
            0 => client.call(delete(&job_id)).await.unwrap(),
            _ => jobs.push(client.job(&job_id).await),
        }
    }
    jobs.sort_by(|left, right| place(left).cmp(&place(right)));

    let all: Vec<_> = jobs.iter().collect();
    check(&client, "no filter", JobFilter::default(), &all, 0).await;
    let filters = filters(&jobs);
    for (index, (name, filter, matches)) in filters.iter().enumerate() {
        let expected: Vec<_> = jobs.iter().filter(|job| matches(job)).collect();
        assert!((1..jobs.len()).contains(&expected.len()), "{name} tells jobs apart");
        check(&client, name, filter.clone(), &expected, 7).await;
        for (other, second, also_matches) in &filters[index + 1..] {
            if name == other {
                continue;
            }
            let mut both = filter.clone();
            both.merge(second.encode_to_vec().as_slice()).unwrap();
            let expected: Vec<_> = jobs.iter().filter(|job| matches(job) && also_matches(job)).collect();
            check(&client, &format!("{name} and {other}"), both, &expected, 40).await;
        }
    }
}

/// Expressions read a job's fields by their names, and what fails to evaluate does not match.
#[tokio::test]
async fn expressions_read_jobs() {
    let server = TestServer::memory().await;
    let client = server.client().await;
    let due_time = Some(Timestamp { seconds: 86_400, nanos: 0 });
    let metadata = Some(fields([(
        "tags",
        vec!["hot", "wet"].into_iter().map(Into::into).collect::<Vec<Value>>().into(),
    )]));
    let job = Job {
        team: text("red"),
        priority: 7,
        due_time,
        metadata,
        assignee: Some(user("ann")),
        ..titled("Pump 9")
    };
    client.create("a", job).await;
    client.create("b", Job::default()).await;
    client.sync(device_body_of("c")).await;
    for (expression, expected) in [
        ("true", "abc"),
        ("false", ""),
        ("job.priority", ""),
        ("job.priority > 6", "a"),
        ("job.priority in [0, 1]", "bc"),
        ("job.title.startsWith('Pump')", "a"),
        ("!has(job.title)", "b"),
        ("job.no_such_field == 1", ""),
        ("job.due_time == '1970-01-02T00:00:00Z'", "a"),
        ("job.created == '2021-10-01T12:48:12.215Z'", "c"),
        ("job.status == 'NOT_STARTED' && !job.closed", "ab"),
        ("job.team == 'red' || job.team == 'apiteam'", "ac"),
        ("job.metadata.tags.exists(tag, tag == 'wet')", "a"),
        ("job.metadata['Key1'] == 'V1'", "c"),
        ("job.assignees.exists(one, one.kind == 'USER' && one.id == 'ann')", "a"),
        ("job.client_job_id == 'c' && job.job_id.startsWith('job_') && job.revision == 3", "c"),
        ("job.workflow_name == 'Example Workflow'", "c"),
        ("1 / job.priority == 0", "a"),
    ] {
        let filter = JobFilter { expression: expression.to_owned(), ..JobFilter::default() };
        let listed = client.list(filter.clone(), JobOrder::OldestFirst, 0).await;
        let ids: String = listed.iter().map(|job| job.client_job_id.as_str()).collect();
        assert_eq!(ids, expected, "{expression}");
        assert_eq!(count(&client, filter).await, expected.len(), "{expression}");
    }
}

async fn page(client: &Client, request: ListJobsRequest) -> ListJobsResponse {
    client.jobs.clone().list_jobs(request).await.unwrap().into_inner()
}

/// Lists a page at a time; before each further page `between` may change what it likes.
async fn list_while(
    client: &Client,
    mut request: ListJobsRequest,
    mut between: impl AsyncFnMut(&[Job]),
) -> Vec<Job> {
    let mut listed: Vec<Job> = Vec::new();
    loop {
        let page = page(client, request.clone()).await;
        listed.extend(page.decode_jobs().unwrap());
        if page.next_page_token.is_empty() {
            return listed;
        }
        request.page_token = page.next_page_token;
        between(&listed).await;
    }
}

/// Jobs are added, deleted and changed between pages. One that matches all the time is listed exactly once, in its order,
/// and no job twice.
#[tokio::test]
async fn pages_stay_right_while_jobs_come_go_and_change() {
    let red_or_blue = JobFilter { teams: vec!["red".to_owned(), "blue".to_owned()], ..JobFilter::default() };
    let open = JobFilter { closed: Some(false), ..JobFilter::default() };
    let mut dice = Dice::new(2);
    for filter in [JobFilter::default(), red_or_blue, open] {
        for order in [JobOrder::OldestFirst, JobOrder::NewestFirst] {
            let client = TestServer::memory().await.client().await;
            let team = |dice: &mut Dice| Job { team: text(dice.pick(&TEAMS[..2])), ..Job::default() };
            let mut steady = BTreeSet::new();
            for n in 0..60 {
                let job = client.create(&format!("steady-{n:02}"), team(&mut dice)).await;
                client.create(&format!("fleeting-{n:02}"), team(&mut dice)).await;
                steady.insert(job.job_id);
            }
            let request = ListJobsRequest {
                filter: Some(filter.clone()),
                order: order.into(),
                page_size: 7,
                ..ListJobsRequest::default()
            };
            let mut added = 0;
            let mut fleeting: Vec<_> = (0..60).map(|n| format!("fleeting-{n:02}")).collect();
            let listed = list_while(&client, request, async |listed| {
                // The newest first sees none of these, the oldest first all.
                if added < 20 {
                    client.create(&format!("added-{added}"), team(&mut dice)).await;
                    added += 1;
                }
                for _ in 0..2 {
                    let gone = fleeting.swap_remove(dice.roll(fleeting.len()));
                    match dice.roll(3) {
                        0 => client.call(delete(&gone)).await.unwrap(),
                        1 => client.call(close(&gone)).await.unwrap(),
                        _ => {
                            client
                                .call(update(&gone, Job { team: text("green"), ..Job::default() }))
                                .await
                                .unwrap();
                        }
                    }
                }
                // The last that was listed and others move from run to run of the index and match all the time.
                let last = listed.last().map(|job| job.job_id.clone()).filter(|id| steady.contains(id));
                let any = steady.iter().nth(dice.roll(steady.len())).cloned();
                for job_id in last.into_iter().chain(any) {
                    client.call(update(&job_id, team(&mut dice))).await.unwrap();
                }
            })
            .await;

            let ids: Vec<_> = listed.iter().map(|job| job.job_id.as_str()).collect();
            let distinct: BTreeSet<_> = ids.iter().copied().collect();
            assert_eq!(ids.len(), distinct.len(), "no job twice: {filter:?}");
            assert!(steady.iter().all(|id| distinct.contains(id.as_str())), "{filter:?} {order:?}");
            let in_order = match order {
                JobOrder::NewestFirst => listed.iter().rev().is_sorted_by_key(place),
                _ => listed.iter().is_sorted_by_key(place),
            };
            assert!(in_order);
        }
    }
}

/// A writer that moves jobs between two teams as fast as it can, until it is dropped.
struct Mover {
    stop: CancellationToken,
    moving: JoinHandle<usize>,
}

impl Mover {
    fn start(client: Client, job_ids: Vec<String>) -> Self {
        let stop = CancellationToken::new();
        let moving = tokio::spawn({
            let stop = stop.clone();
            async move {
                let mut moves = 0;
                let mut dice = Dice::new(3);
                while !stop.is_cancelled() {
                    let job = Job { team: text(dice.pick(&TEAMS[..2])), ..Job::default() };
                    client.call(update(&dice.pick(&job_ids), job)).await.unwrap();
                    moves += 1;
                }
                moves
            }
        });
        Self { stop, moving }
    }

    async fn stop(self) -> usize {
        self.stop.cancel();
        within(self.moving).await.unwrap()
    }
}

/// A job that moves from one run of an index to another while both are read is still listed, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_on_the_move_is_listed_once() {
    for server in [TestServer::memory().await, TestServer::sled().await] {
        let client = server.client().await;
        let mut job_ids = Vec::new();
        for n in 0..40 {
            let job = Job { team: text(TEAMS[n % 2]), ..Job::default() };
            job_ids.push(client.create(&format!("{n:02}"), job).await.job_id);
        }
        let mover = Mover::start(client.clone(), job_ids.clone());
        let filter = JobFilter { teams: vec!["red".to_owned(), "blue".to_owned()], ..JobFilter::default() };
        for _ in 0..20 {
            let listed = client.list(filter.clone(), JobOrder::OldestFirst, 15).await;
            let ids: Vec<_> = listed.into_iter().map(|job| job.job_id).collect();
            assert_eq!(ids, job_ids);
            assert_eq!(count(&client, filter.clone()).await, job_ids.len());
        }
        assert!(mover.stop().await > 0);
        server.stop().await;
    }
}

/// Pages end early where they would be larger than a client takes.
#[tokio::test]
async fn a_page_of_large_jobs_is_short() {
    let client = TestServer::memory().await.client().await;
    for n in 0..30 {
        let metadata = Some(fields([("text", "x".repeat(200 << 10).into())]));
        client.create(&format!("{n:02}"), Job { metadata, ..Job::default() }).await;
    }
    let request = ListJobsRequest { page_size: 1000, ..ListJobsRequest::default() };
    let mut pages = 1;
    let listed = list_while(&client, request, async |_| pages += 1).await;
    let ids: BTreeSet<_> = listed.iter().map(|job| &job.job_id).collect();
    assert_eq!((listed.len(), ids.len(), pages), (30, 30, 6));
}

#[tokio::test]
async fn a_token_is_good_for_its_query_and_no_other() {
    let server = TestServer::memory().await;
    let client = server.client_as(lister()).await;
    for n in 0..5 {
        client.create(&format!("{n}"), Job { assignee: Some(user("ann")), ..Job::default() }).await;
        client
            .call(UpdateJobRequest {
                update_mask: Some(FieldMask { paths: vec!["title".to_owned()] }),
                ..update(&format!("{n}"), titled("b"))
            })
            .await
            .unwrap();
    }
    let query = ListJobsRequest {
        filter: Some(JobFilter { assigned_to_me: true, ..JobFilter::default() }),
        page_size: 2,
        ..ListJobsRequest::default()
    };
    let token = page(&client, query.clone()).await.next_page_token;
    let with = |token: &str| ListJobsRequest { page_token: token.to_owned(), ..query.clone() };
    assert_eq!(page(&client, with(&token)).await.jobs.len(), 2);
    // The size of a page is not part of the query, and the same filter can be said in two ways.
    assert_eq!(page(&client, ListJobsRequest { page_size: 1, ..with(&token) }).await.jobs.len(), 1);

    let invalid = |outcome: Result<(), Status>| {
        let status = refused(outcome, Code::InvalidArgument, ErrorReason::PageTokenInvalid);
        assert_eq!(line(&status), "InvalidArgument PAGE_TOKEN_INVALID");
    };
    let other_filter = Some(JobFilter { closed: Some(false), assigned_to_me: true, ..JobFilter::default() });
    let of_events = {
        let request = ListJobEventsRequest { page_size: 1, ..events("0") };
        client.jobs.clone().list_job_events(request).await.unwrap().into_inner().next_page_token
    };
    assert_ne!(of_events, "");
    for request in [
        with("x"),
        with("????"),
        with(&"A".repeat(100_000)),
        with(&token[..token.len() - 1]),
        with(&format!("{token}A")),
        with(&of_events),
        ListJobsRequest { filter: other_filter, ..with(&token) },
        ListJobsRequest { filter: None, ..with(&token) },
        ListJobsRequest { order: JobOrder::OldestFirst.into(), ..with(&token) },
    ] {
        invalid(client.call(request).await);
    }
    let reports = GetJobRequest { reports_page_token: token.clone(), ..get("0") };
    invalid(client.call(reports).await);
    let events = |job_id: &str, page_token: &str| ListJobEventsRequest {
        page_token: page_token.to_owned(),
        ..events(job_id)
    };
    client.call(events("0", &of_events)).await.unwrap();
    invalid(client.call(events("0", &token)).await);
    invalid(client.call(events("1", &of_events)).await);

    // Another organization, another user, and the same user in other groups, ask for something else.
    for caller in [lister().of("umbra"), Caller::new("ben"), lister().in_groups("welders")] {
        let other = server.client_as(caller).await;
        invalid(other.call(with(&token)).await);
    }
    let stranger = server.client_as(lister().of("umbra")).await;
    stranger.create("0", titled("a")).await;
    invalid(stranger.call(events("0", &of_events)).await);
}

//! A data directory that something happened to: the server starts right, or refuses and says what to do, or answers with
//! errors what it cannot read. It never gives a wrong answer, and it ends.
//!
//! `HOLDPOINT_CORRUPTION_CASES=200 cargo test --test faults corruption` does it for longer, from `HOLDPOINT_CORRUPTION_SEED`
//! on. Far more cases are run beneath the server, in `src/store/sled/tests/damage.rs`.

use std::{collections::BTreeMap, fs, path::Path};

use holdpoint::proto::{
    GetJobResponse,
    v1::{GetJobRequest, JobEvent, JobFilter, JobView, ListJobEventsRequest, ListJobsRequest},
};
use tonic::Code;

use super::{
    chance::Chance,
    damage::{self, Damage},
    kit::{Client, Ended, Server, soon, sync},
};

const CASES: u64 = 6;
const JOBS: usize = 24;
/// How a server ended before something happened to its files.
const ENDS: [&str; 2] = ["stopped", "killed"];

/// What the server knew of its jobs when it ended, by their ids.
type Known = BTreeMap<String, (GetJobResponse, Vec<JobEvent>)>;

async fn write(client: &mut Client, chance: &mut Chance, rounds: i64) {
    for round in 0..rounds {
        for job in 0..JOBS {
            let reports: Vec<_> = (0..chance.below(4)).map(|_| format!("r{}", chance.below(20))).collect();
            let note_bytes = if chance.one_in(10) { 9000 } else { 300 };
            client.sync(sync(&format!("job-{job}"), round + 1, &reports, note_bytes)).await;
        }
    }
}

async fn job(client: &mut Client, job_id: &str) -> Result<GetJobResponse, tonic::Status> {
    let views =
        vec![JobView::Steps.into(), JobView::Reports.into(), JobView::Tasks.into(), JobView::Holds.into()];
    let request = GetJobRequest { job_id: job_id.to_owned(), views, ..GetJobRequest::default() };
    soon(client.jobs.get_job(request)).await.map(tonic::Response::into_inner)
}

async fn history(client: &mut Client, job_id: &str) -> Result<Vec<JobEvent>, tonic::Status> {
    let request = ListJobEventsRequest {
        job_id: job_id.to_owned(),
        page_size: 1000,
        ..ListJobEventsRequest::default()
    };
    soon(client.jobs.list_job_events(request)).await.map(|reply| reply.into_inner().events)
}

async fn job_ids(client: &mut Client) -> Result<Vec<String>, tonic::Status> {
    let request =
        ListJobsRequest { filter: Some(JobFilter::default()), page_size: 1000, ..ListJobsRequest::default() };
    let reply = soon(client.jobs.list_jobs(request)).await?.into_inner();
    let mut ids: Vec<_> = reply.decode_jobs().unwrap().into_iter().map(|job| job.job_id).collect();
    ids.sort();
    Ok(ids)
}

/// Runs a server twice over a directory, and says what it knew when it ended. An older copy of its files is left beside.
async fn build(place: &Path, end: &str) -> Known {
    let mut chance = Chance::new(1);
    let server = Server::start(place, &[]).await;
    write(&mut Client::connect(server.address).await, &mut chance, 4).await;
    server.tell_to_stop();
    assert!(server.exit().await.success());
    damage::copy(&place.join("data"), &place.join("older"));

    let mut server = Server::start(place, &[]).await;
    let mut client = Client::connect(server.address).await;
    write(&mut client, &mut chance, 8).await;
    let mut known = Known::new();
    for job_id in job_ids(&mut client).await.unwrap() {
        let about = (job(&mut client, &job_id).await.unwrap(), history(&mut client, &job_id).await.unwrap());
        known.insert(job_id, about);
    }
    assert_eq!(known.len(), JOBS);
    if end == "stopped" {
        server.tell_to_stop();
        assert!(server.exit().await.success());
    } else {
        server.kill();
    }
    known
}

/// How an answer compares with what was known; the number of errors grows by those there are.
fn compare<T: PartialEq>(
    what: &str,
    answer: Result<T, tonic::Status>,
    known: &T,
    errors: &mut u64,
) -> Result<(), String> {
    match answer {
        Ok(answer) if answer == *known => Ok(()),
        Ok(_) => Err(format!("{what} is not what it was")),
        Err(status) if [Code::Internal, Code::Unavailable].contains(&status.code()) => {
            *errors += 1;
            Ok(())
        }
        Err(status) => Err(format!("{what}: {status:?}")),
    }
}

/// Asks for all that was known, and stops the server.
async fn question(place: &Path, server: Server, known: &Known) -> Result<&'static str, String> {
    let mut client = Client::connect(server.address).await;
    let mut errors = 0;
    compare("the list", job_ids(&mut client).await, &known.keys().cloned().collect(), &mut errors)?;
    for (job_id, (details, events)) in known {
        compare(job_id, job(&mut client, job_id).await, details, &mut errors)?;
        compare(
            &format!("the history of {job_id}"),
            history(&mut client, job_id).await,
            events,
            &mut errors,
        )?;
    }
    server.tell_to_stop();
    server.exit().await;
    if errors == 0 {
        return Ok("right");
    }
    let log = fs::read_to_string(place.join("log.txt")).unwrap();
    if log.contains("restore a backup with holdpoint restore") { Ok("unreadable") } else { Err(log) }
}

/// What came of a case.
async fn run_case(place: &Path, known: &Known) -> Result<&'static str, String> {
    match Server::attempt(place, &[]).await {
        Ok(server) => question(place, server, known).await,
        Err(Ended { status, log }) => {
            let last = log.lines().last().unwrap_or_default();
            // A format that is another number is taken for a newer one.
            let advice =
                ["restore a backup with holdpoint restore", "run the version that wrote it, or a newer one"];
            let is_clear = last.starts_with("error: ") && advice.iter().any(|advice| last.contains(advice));
            let is_short = !log.contains("stack backtrace");
            if status.code() == Some(1) && is_clear && is_short {
                Ok("refused")
            } else {
                Err(format!("{status}: {log}"))
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_refused_or_told_and_never_a_wrong_answer() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("HOLDPOINT_CORRUPTION_SEED").unwrap_or(0);
    let cases = seed..seed + number("HOLDPOINT_CORRUPTION_CASES").unwrap_or(CASES);
    let mut stores = Vec::new();
    for end in ENDS {
        let place = tempfile::tempdir().unwrap();
        let known = build(place.path(), end).await;
        stores.push((end, place, known));
    }
    for case in cases {
        let mut chance = Chance::new(case << 20);
        let (end, store, known) = &stores[chance.below(stores.len())];
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("data");
        damage::copy(&store.path().join("data"), &directory);
        let mut below = |bound| chance.below(usize::try_from(bound).unwrap()) as u64;
        let (file, damage) = Damage::choose(&mut below, &directory, true);
        damage.apply(&directory, &store.path().join("older"), &file);
        let done = format!("case {case}: {end}, {} {damage:?}", file.display());
        match run_case(place.path(), known).await {
            Ok(outcome) => println!("{done}: {outcome}"),
            Err(wrong) => panic!(
                "{done}: {wrong}\n  HOLDPOINT_CORRUPTION_SEED={case} HOLDPOINT_CORRUPTION_CASES=1 \
                 cargo test --test faults corruption -- --nocapture"
            ),
        }
    }
}

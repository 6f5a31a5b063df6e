//! A wall clock that jumps under load, by an hour and by weeks, forwards and back: the time of what happens never falls,
//! nothing is lost or done twice, and what falls due is done.

use std::time::{Duration, SystemTime};

use holdpoint::proto::v1::{
    GetJobRequest, HoldState, JobActionType, ListHoldsRequest, PerformJobActionRequest,
    job_service_client::JobServiceClient,
};
use tokio::process::Command;
use tonic::{Code, Request, transport::Endpoint};

use super::{
    chance::Chance,
    changes::{self, Reply},
    kit::{Client, Server, reason, soon},
    load::{Clients, Truth},
    machine::Machine,
    shim::Control,
};

const HOUR: i64 = 3_600;
/// More than the day for which the replies to request ids are kept, and less than the 30 for which the log is.
const WEEKS: i64 = 20 * 24 * HOUR;
/// How many changes are acknowledged between two jumps.
const CHANGES: usize = 60;

/// Sets the clock so many seconds from where it should be.
fn jump(machine: &Machine, seconds: i64) {
    machine.shim.set(Control::ClockNanoseconds, seconds * 1_000_000_000);
}

async fn work_while_it_jumps(
    machine: &Machine,
    server: &Server,
    clients: &mut Clients,
    seed: u64,
    jumps: [i64; 3],
) {
    let mut acknowledged = clients.work(server.address, seed);
    for seconds in jumps {
        jump(machine, seconds);
        let until = *acknowledged.borrow() + CHANGES;
        soon(acknowledged.wait_for(|count| *count >= until)).await.unwrap();
    }
    clients.stop_working().await;
}

fn check_times(truth: &Truth) {
    for events in truth.events.values() {
        let times = events.iter().map(|event| event.time.map(|time| (time.seconds, time.nanos)));
        assert!(times.clone().all(|time| time.is_some()));
        assert!(times.is_sorted(), "the time of a job falls: {events:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_takes_nothing_with_it() {
    let Some(machine) = Machine::new() else { return };
    let mut chance = Chance::new(1);
    let mut clients = Clients::new();
    let server = machine.start().await.unwrap();
    clients.meet(server.address, &mut chance).await;
    work_while_it_jumps(&machine, &server, &mut clients, 1, [HOUR, -HOUR, 0]).await;
    check_times(&clients.meet(server.address, &mut chance).await);

    // By weeks: what was answered before is forgotten, as it is after a day.
    clients.forget_answers();
    work_while_it_jumps(&machine, &server, &mut clients, 2, [WEEKS, -WEEKS, 0]).await;
    clients.forget_answers();
    check_times(&clients.meet(server.address, &mut chance).await);

    // The time it had come to is known after a start, and what is answered from now on is kept.
    server.tell_to_stop();
    assert!(soon(server.exit()).await.success());
    clients.leave().await;
    let server = machine.start().await.unwrap();
    check_times(&clients.meet(server.address, &mut chance).await);
    work_while_it_jumps(&machine, &server, &mut clients, 3, [-HOUR, HOUR, 0]).await;
    check_times(&clients.meet(server.address, &mut chance).await);
}

/// Places a hold until so many seconds from now, by the clock as it should be.
async fn hold_until(client: &mut Client, job_id: &str, step_id: &str, seconds: u64) {
    let time = SystemTime::now() + Duration::from_secs(seconds);
    let request = PerformJobActionRequest {
        job_id: job_id.to_owned(),
        r#type: JobActionType::Hold.into(),
        step_ids: vec![step_id.to_owned()],
        hold_scheduled_release: Some(time.into()),
        ..PerformJobActionRequest::default()
    };
    assert!(soon(client.jobs.perform_job_action(request)).await.unwrap().into_inner().success);
}

async fn standing_holds(client: &mut Client, job_id: &str) -> Vec<String> {
    let request = ListHoldsRequest {
        job_id: job_id.to_owned(),
        state: HoldState::Standing.into(),
        ..ListHoldsRequest::default()
    };
    let holds = soon(client.jobs.list_holds(request)).await.unwrap().into_inner().holds;
    holds.into_iter().map(|hold| hold.step_id).collect()
}

async fn until_released(client: &mut Client, job_id: &str, left: &[&str]) {
    soon(async {
        while standing_holds(client, job_id).await != left {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_is_released_when_the_clock_says_so() {
    let Some(machine) = Machine::new() else { return };
    let server = machine.start().await.unwrap();
    let mut client = Client::connect(server.address).await;
    changes::publish().ask(&mut client).await.unwrap();
    let made = changes::create("job", "request".to_owned()).ask(&mut client).await.unwrap();
    let Reply::Create(made) = made else { panic!("{made:?}") };
    let job_id = made.job.unwrap().job_id;
    hold_until(&mut client, &job_id, "a", 30 * 60).await;
    hold_until(&mut client, &job_id, "b", 10 * 3_600).await;
    hold_until(&mut client, &job_id, "c", 30 * 24 * 3_600).await;
    jump(&machine, -HOUR);
    assert_eq!(standing_holds(&mut client, &job_id).await, ["a", "b", "c"]);
    jump(&machine, HOUR);
    until_released(&mut client, &job_id, &["b", "c"]).await;
    jump(&machine, WEEKS);
    until_released(&mut client, &job_id, &["c"]).await;
    // What was done stays done.
    jump(&machine, 0);
    assert_eq!(standing_holds(&mut client, &job_id).await, ["c"]);
}

/// A token is good until its time, whatever was thought of it before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_good_while_the_clock_says_so() {
    let Some(machine) = Machine::new() else { return };
    let key = machine.root.join("secret");
    std::fs::write(&key, "a secret that is longer than thirty-two bytes").unwrap();
    let minted = Command::new(env!("CARGO_BIN_EXE_holdpoint"))
        .args(["token", "mint", "--privileges", "all", "--expires-in", "30m", "--key"])
        .arg(&key)
        .output();
    let minted = soon(minted).await.unwrap();
    assert!(minted.status.success());
    let bearer = format!("Bearer {}", String::from_utf8(minted.stdout).unwrap().trim());
    let keys = format!("auth.key_files=[\"{}\"]", key.display());
    let settings = ["--store", "memory", "--set", &keys];
    let server = Server::launch(&machine.root, &settings, machine.shim.environment(&machine.root));
    let server = server.await.unwrap();
    let channel = Endpoint::from_shared(format!("http://{}", server.address)).unwrap().connect_lazy();
    let mut jobs = JobServiceClient::new(channel);
    let rows = [
        (0, Code::NotFound, "JOB_NOT_FOUND"),
        (HOUR, Code::Unauthenticated, "CREDENTIALS_EXPIRED"),
        (0, Code::NotFound, "JOB_NOT_FOUND"),
        (WEEKS, Code::Unauthenticated, "CREDENTIALS_EXPIRED"),
        (0, Code::NotFound, "JOB_NOT_FOUND"),
    ];
    for (seconds, code, why) in rows {
        jump(&machine, seconds);
        let get = GetJobRequest { job_id: "none".to_owned(), ..GetJobRequest::default() };
        let mut request = Request::new(get);
        request.metadata_mut().insert("authorization", bearer.parse().unwrap());
        let status = soon(jobs.get_job(request)).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (code, why),
            "{seconds} seconds off: {status:?}"
        );
    }
}

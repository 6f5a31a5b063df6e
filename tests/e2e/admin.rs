//! Those who run a server: its status, backups and what is restored from them, and a disk that is nearly full.

use std::{fs, path::Path};

use holdpoint::store::{Batch, Partition, Scan, SledOptions, SledStore, Store as _};
use holdpoint::{
    config::{Config, StoreKind},
    proto::v1::{
        BackupRequest, GetServerStatusRequest, GetServerStatusResponse, JobActionType, JobDetails, JobEvent,
        PublishWorkflowRequest, StepKind, WatchJobsRequest, admin_service_client::AdminServiceClient,
    },
};
use tempfile::TempDir;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{
    harness::{
        Caller, Client, Ended, Process, TestServer, Transport, chain, config, create, delete, following, get,
        next, perform, reason, run, step, titled, update, within,
    },
    tokens::{self, Token},
};

fn admin(client: &Client) -> AdminServiceClient<Transport> {
    AdminServiceClient::new(client.transport.clone())
}

async fn status(client: &Client) -> GetServerStatusResponse {
    within(admin(client).get_server_status(GetServerStatusRequest {})).await.unwrap().into_inner()
}

/// Over a directory that outlives it.
async fn over(directory: &Path, free_bytes_min: u64) -> TestServer {
    let mut config = Config { data_dir: directory.to_owned(), ..config() };
    config.store.kind = StoreKind::Sled;
    config.store.free_bytes_min = free_bytes_min;
    TestServer::start(config).await
}

#[tokio::test]
async fn the_status_tells_how_the_server_is() {
    let server = TestServer::sled().await;
    let client = server.client().await;
    let before = status(&client).await;
    let store = before.store.unwrap();
    assert_eq!((store.kind.as_str(), store.full), ("sled", false));
    assert!(store.disk_bytes > 0 && store.free_bytes.is_some());
    assert_eq!((before.partitions[0].head, before.partitions[0].oldest), (0, 1));
    assert_eq!(before.watches.unwrap().open, 0);

    let mut watch = client.watch_on().await;
    for job_id in ["a", "b"] {
        client.create(job_id, titled("new")).await;
    }
    let mut request = update("a", titled("newer"));
    request.request_id = "once".to_owned();
    client.call(request).await.unwrap();
    for _ in 0..3 {
        watch.event().await;
    }
    let after = status(&client).await;
    let partition = &after.partitions[0];
    assert_eq!((partition.head, partition.oldest, partition.request_ids), (3, 1, 1));
    assert_eq!((partition.commands_waiting, partition.commands_waiting_max), (0, 4_096));
    assert_eq!(after.watches.unwrap().open, 1);
    let requests = after.requests.unwrap();
    assert_eq!((requests.bytes, requests.bytes_max), (5, 64 << 20), "its own request, which is empty");
    assert!(after.uptime.unwrap().seconds >= 0 && after.time.is_some());
    drop(watch);
    within(async { while status(&client).await.watches.unwrap().open > 0 {} }).await;
}

/// A watch that is not read is behind by what has happened since, also by what is not for it.
#[tokio::test]
async fn the_status_tells_how_far_watches_are_behind() {
    let server = TestServer::memory().await;
    let client = server.client().await;
    client.create("a", titled("new")).await;
    let mut watch = client.watch_on().await;
    // It has something before it once it is asked for more than the window of its stream holds.
    let long = "x".repeat(4_000);
    let mut lag = 0;
    for number in 0..2_000 {
        client.call(update("a", titled(&format!("{number} {long}")))).await.unwrap();
        lag = status(&client).await.watches.unwrap().lag_events_max;
        if lag > 5 {
            break;
        }
    }
    assert!(lag > 5, "{lag}");
    let behind = status(&client).await.watches.unwrap();
    assert_eq!((behind.open, behind.behind), (1, 1));
    // Read to its end, it is not.
    let head = client.job("a").await.revision;
    while watch.event().await.revision < head {}
    within(async { while status(&client).await.watches.unwrap().lag_events_max > 0 {} }).await;
}

async fn holdpoint(arguments: &[&str]) -> Ended {
    within(run(arguments)).await
}

/// Every job with its history, and what only histories that are told again can show.
async fn told(client: &Client) -> Vec<(JobDetails, Vec<JobEvent>)> {
    client.everything().await
}

/// Runs of steps, holds, syncs, deletions and a value in chunks.
async fn with_jobs(client: &Client) {
    let steps = ["a", "b"].map(|id| step(id, StepKind::Manual));
    client.publish(chain("flow", steps.into())).await;
    for number in 0..40 {
        let job_id = format!("job-{number}");
        client.create(&job_id, following("flow")).await;
        let action = [JobActionType::Run, JobActionType::Hold, JobActionType::Finish][number % 3];
        client.call(perform(action, &job_id, &["a"])).await.unwrap();
        let title = "long ".repeat(if number % 10 == 0 { 800 } else { 1 });
        client.call(update(&job_id, titled(&title))).await.unwrap();
        if number % 7 == 0 {
            client.call(delete(&job_id)).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_made_while_the_server_works_and_restored_elsewhere() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let server = Process::serve(directory.path().join("data").as_path(), &[]).await;
    let url = format!("http://{}", server.address);
    let client = server.client().await;
    with_jobs(&client).await;
    let mut watch = client.watch_on().await;
    client.create("last", titled("before the backup")).await;
    watch.event().await;
    let before = told(&client).await;

    // What happens meanwhile is in it as far as the moment at which it ends.
    let busy = async {
        for number in 0_u64.. {
            let job_id = format!("job-{}", 1 + number % 6);
            let changed = update(&job_id, titled(&format!("meanwhile {number}")));
            client.call(changed).await.unwrap();
            if number % 5 == 0 {
                client.create(&format!("meanwhile-{number}"), following("flow")).await;
            }
        }
    };
    let backup = at("monday.backup");
    let arguments = ["backup", &backup, "--server", &url];
    let made = tokio::select! {
        () = busy => unreachable!(),
        made = holdpoint(&arguments) => made,
    };
    assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""));
    assert!(made.stdout.starts_with("backed up store "), "{}", made.stdout);
    assert!(!Path::new(&format!("{backup}.partial")).exists());
    let again = holdpoint(&["backup", &backup, "--server", &url]).await;
    assert_eq!(again.code, Some(1), "what is there is not written over: {}", again.stderr);
    let in_use = holdpoint(&["check", "--data-dir", &at("data")]).await;
    assert!(in_use.stderr.contains("in use by another process"), "{}", in_use.stderr);
    server.kill().await;

    let checked = holdpoint(&["check", "--backup", &backup]).await;
    assert!(checked.code == Some(0) && checked.stdout.starts_with("OK: "), "{checked:?}");
    let made = holdpoint(&["restore", &backup, "--data-dir", &at("restored")]).await;
    assert!(made.code == Some(0) && made.stdout.starts_with("restored store "), "{made:?}");
    let checked = holdpoint(&["check", "--data-dir", &at("restored")]).await;
    assert!(checked.code == Some(0) && checked.stdout.starts_with("OK: "), "{checked:?}");
    let original = holdpoint(&["check", "--data-dir", &at("data")]).await;
    assert!(original.code == Some(0) && original.stdout.starts_with("OK: "), "{original:?}");
    let twice = holdpoint(&["restore", &backup, "--data-dir", &at("restored")]).await;
    assert!(twice.code == Some(1) && twice.stderr.contains("is not empty"), "{twice:?}");

    let restored = Process::serve(directory.path().join("restored").as_path(), &[]).await;
    let client = restored.client().await;
    let after = told(&client).await;
    for (details, history) in before {
        let job_id = details.job.as_ref().unwrap().job_id.clone();
        let found = after.iter().find(|(details, _)| details.job.as_ref().unwrap().job_id == job_id);
        let (restored, told) = found.unwrap_or_else(|| panic!("{job_id} is not there"));
        assert_eq!(told[..history.len()], history, "{job_id}");
        if told.len() == history.len() {
            assert_eq!(*restored, details);
        }
    }
    for (details, history) in &after {
        let job = details.job.as_ref().unwrap();
        assert_eq!(history.last().unwrap().revision, job.revision);
    }
    // It is another store: what was said of places in the first means nothing here.
    let resumed = client.call(WatchJobsRequest { resume_token: watch.token.clone(), ..Default::default() });
    assert_eq!(reason(&resumed.await.unwrap_err()), "RESUME_TOKEN_FOREIGN");
    client.call(update("last", titled("after the restore"))).await.unwrap();
}

/// What may be damaged is looked at as a whole before anything is served. A store in which something does not fit stays refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_may_be_damaged_is_looked_at_before_it_serves() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let server = Process::serve(&data, &[]).await;
    with_jobs(&server.client().await).await;
    let before = told(&server.client().await).await;
    server.terminate().await;
    assert_eq!(server.ended().await.code, Some(0));

    let suspect = data.join("suspect");
    fs::write(&suspect, "").unwrap();
    let server = Process::serve(&data, &[]).await;
    assert!(!suspect.exists(), "it was looked at");
    assert_eq!(told(&server.client().await).await, before);
    server.terminate().await;
    assert_eq!(server.ended().await.code, Some(0));

    // One step of one job goes missing.
    let store = SledStore::open(&data, &SledOptions::default()).unwrap();
    let steps = Scan { start: b"S".to_vec(), end: b"T".to_vec(), reverse: false, limit: 1 };
    let (step, _) = store.scan(Partition(0), steps).await.unwrap().remove(0);
    let first = store.head(Partition(0)).borrow().next();
    let removal = Batch { first, entries: Vec::new(), writes: vec![(step, None)] };
    store.commit(Partition(0), removal).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    fs::write(&suspect, "").unwrap();
    for _ in 0..2 {
        let data_dir = data.to_str().unwrap();
        let refused = holdpoint(&["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir]).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        let told = refused.stderr.lines().last().unwrap();
        assert!(
            told.starts_with("error: the store is damaged: step ")
                && told.ends_with("restore a backup with holdpoint restore"),
            "{told}"
        );
    }
}

/// A backup that is cut, or changed anywhere, is not restored, and leaves nothing that a server would open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_backup_is_refused() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let server = Process::serve(directory.path().join("data").as_path(), &[]).await;
    with_jobs(&server.client().await).await;
    let whole = at("whole");
    let made = holdpoint(&["backup", &whole, "--server", &format!("http://{}", server.address)]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    server.kill().await;
    let whole = fs::read(whole).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    let cut = &whole[..whole.len() - 40];
    let rows =
        [("changed", &changed[..], "damaged"), ("cut", cut, "cut short"), ("other", b"x", "not a backup")];
    for (name, bytes, told) in rows {
        fs::write(at(name), bytes).unwrap();
        let restored = at(&format!("{name}-restored"));
        for ended in [
            holdpoint(&["check", "--backup", &at(name)]).await,
            holdpoint(&["restore", &at(name), "--data-dir", &restored]).await,
        ] {
            assert!(ended.code == Some(1) && ended.stderr.contains(told), "{name}: {ended:?}");
        }
    }
    let half = ["serve", "--listen", "127.0.0.1:0", "--data-dir", &at("cut-restored")];
    let refused = holdpoint(&half).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("no FORMAT file"), "{refused:?}");
    let nowhere = holdpoint(&["check", "--data-dir", &at("nowhere")]).await;
    assert!(nowhere.code == Some(1) && !Path::new(&at("nowhere")).exists(), "{nowhere:?}");
}

#[tokio::test]
async fn one_backup_is_made_at_a_time() {
    let server = TestServer::sled().await;
    let client = server.client().await;
    // More than a stream that is not read has room for.
    for number in 0..500 {
        client.create(&format!("job-{number}"), titled(&"long ".repeat(800))).await;
    }
    let begin = async || admin(&client).backup(BackupRequest {}).await;
    let first = begin().await.unwrap().into_inner();
    let refused = begin().await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let info = refused.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.metadata["limit"].as_str()), ("LIMIT_EXCEEDED", "backups"));
    drop(first);
    // One that is given up makes room.
    let mut second = within(async {
        loop {
            if let Ok(begun) = begin().await {
                return begun.into_inner();
            }
        }
    })
    .await;
    let mut bytes = 0;
    let summary = loop {
        let message = next(&mut second).await.unwrap().unwrap();
        bytes += message.data.len();
        if let Some(summary) = message.summary {
            break summary;
        }
    };
    assert_eq!(summary.bytes, i64::try_from(bytes).unwrap());
    assert_eq!(summary.heads, [500]);
    assert!(next(&mut second).await.unwrap().is_none());
    server.shutdown.cancel();
}

/// A privilege in an organization is not one over all of them.
#[tokio::test]
async fn only_admin_organizations_may_act_on_the_server_as_a_whole() {
    let server = TestServer::start(tokens::config()).await;
    let of = |org: &str| Token { org: org.to_owned(), ..Token::who_may(["adminAdvanced"]) }.caller();
    let ask = async |caller: Caller| {
        let client = server.client_as(caller).await;
        let asked = admin(&client).get_server_status(GetServerStatusRequest {}).await.map(|_| ());
        let copied = admin(&client).backup(BackupRequest {}).await.map(|_| ());
        assert_eq!(asked.is_ok(), copied.is_ok());
        asked
    };
    ask(of("acme")).await.unwrap();
    let refused = ask(of("umbra")).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "PRIVILEGE_MISSING"));
    assert!(refused.message().contains("auth.admin_organizations"), "{refused:?}");
}

#[tokio::test]
async fn with_too_little_room_nothing_is_added_and_all_else_goes_on() {
    const MORE_THAN_THERE_IS: u64 = 1 << 60;
    let directory = TempDir::new().unwrap();
    let server = over(directory.path(), 0).await;
    let client = server.client().await;
    client.create("a", titled("a")).await;
    client.create("b", titled("b")).await;
    server.stop().await;

    let server = over(directory.path(), MORE_THAN_THERE_IS).await;
    let client = server.client().await;
    let mut watch = client.watch_on().await;
    let refused = client.call(update("a", titled("c"))).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "STORE_FULL"));
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(info.metadata["freeBytesMin"], MORE_THAN_THERE_IS.to_string());
    assert!(refused.get_details_retry_info().is_some());
    for refused in [
        client.call(create("c", titled("c"))).await,
        client
            .call(PublishWorkflowRequest {
                workflow: Some(chain("flow", vec![step("a", StepKind::Manual)])),
                ..Default::default()
            })
            .await,
    ] {
        assert_eq!(reason(&refused.unwrap_err()), "STORE_FULL");
    }
    assert!(status(&client).await.store.unwrap().full);
    client.call(get("a")).await.unwrap();
    client.call(delete("b")).await.unwrap();
    assert_eq!(watch.event().await.job_id, "b");
    server.stop().await;

    let server = over(directory.path(), 0).await;
    server.client().await.call(update("a", titled("c"))).await.unwrap();
}

//! The audit of the real binary: who changed what, apart from the log, and nothing that is not for it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
};

use expect_test::expect;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    task::JoinSet,
};

use super::{
    bearer::{Key, Transport, connect, now, token},
    harness::{next, within},
    wire,
};

/// Stands wherever a caller can put text that is not for the audit, nor for the log.
const SECRET: &str = "not-for-any-log";

/// The real binary, which logs all it can and keeps an audit.
struct Audited {
    address: SocketAddr,
    child: Child,
    directory: TempDir,
    _key: Key,
}

impl Audited {
    async fn start() -> Self {
        let key = Key::new();
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let audit = format!("audit.file={}", at("audit").display());
        let keys = format!("auth.key_files=[{:?}]", key.file.display().to_string());
        let data_dir = at("data").display().to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_holdpoint"))
            .args(["serve", "--listen", "127.0.0.1:0", "--store", "memory", "--data-dir", &data_dir])
            .args(["--log-filter", "trace", "--log-format", "json", "--set", &audit, "--set", &keys])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(at("log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        within(BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line)).await.unwrap();
        let address =
            line.trim_end().strip_prefix("holdpoint is listening on ").expect(&line).parse().unwrap();
        Self { address, child, directory, _key: key }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Stops it. Returns the lines of the audit, and the log.
    async fn stop(mut self) -> (Vec<BTreeMap<String, Json>>, String) {
        let pid = self.child.id().unwrap();
        let kill = Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status();
        assert!(within(kill).await.unwrap().success());
        assert!(within(self.child.wait()).await.unwrap().success());
        let audit = fs::read_to_string(self.path("audit")).unwrap();
        let line =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        assert!(audit.is_empty() || audit.ends_with('\n'));
        (audit.lines().map(line).collect(), fs::read_to_string(self.path("log")).unwrap())
    }
}

/// Makes a call and reads it to its end, or up to the first message of a watch.
async fn call(transport: &Transport, path: &str, requests: &[Json]) {
    let path = format!("/holdpoint.v1.{path}");
    let requests = requests.iter().map(|request| wire::encode(&path, request)).collect();
    let Ok(mut stream) = wire::call(transport.clone(), &path, requests).await else { return };
    while let Ok(Some(_)) = next(&mut stream).await {
        if path.contains("Watch") {
            return;
        }
    }
}

fn sync_of(client_job_id: &str) -> Json {
    json!({
        "metadata": {"clientJobId": client_job_id, "workflowId": "flow", "status": "JOB_STATUS_ACTIVE", "jobTitle": SECRET},
        "completedSteps": [{"singleStep": {"uniqueStepId": "one", "stepId": "one", "note": SECRET}}],
        "team": SECRET,
    })
}

fn with(mut request: Json, member: &str, value: impl Into<Json>) -> Json {
    request[member] = value.into();
    request
}

const EVERYTHING: [&str; 11] = [
    "jobRead",
    "jobCreate",
    "jobUpdate",
    "jobExecute",
    "jobDelete",
    "workflowExecute",
    "workflowManage",
    "taskRead",
    "taskWrite",
    "executionReport",
    "jobAssign",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_has_its_line_and_nobody_finds_there_what_is_not_for_it() {
    let server = Audited::start().await;
    let good = token("ann", &EVERYTHING, now() + 3_600.0);
    let reader = token("rob", &["jobRead"], now() + 3_600.0);
    let stale = token("ann", &EVERYTHING, now() - 3_600.0);
    let ann = connect(server.address, Some(&good)).await;
    let rob = connect(server.address, Some(&reader)).await;

    let job = json!({"jobId": "a", "job": {"title": SECRET, "metadata": {"text": SECRET}}});
    call(&ann, "JobService/CreateJob", &[with(job.clone(), "requestId", "r-1")]).await;
    call(&ann, "JobService/CreateJob", std::slice::from_ref(&job)).await;
    call(&ann, "JobService/CreateJob", &[with(with(job.clone(), "jobId", "b"), "validateOnly", true)]).await;
    call(&ann, "JobService/CreateJob", &[with(job.clone(), "jobId", SECRET.repeat(9))]).await;
    call(&ann, "JobService/CreateJob", &[with(job.clone(), "requestId", SECRET.repeat(9))]).await;
    call(&rob, "JobService/CreateJob", std::slice::from_ref(&job)).await;
    for bad in [None, Some(SECRET), Some(stale.as_str())] {
        let stranger = connect(server.address, bad).await;
        call(&stranger, "JobService/DeleteJob", &[json!({"jobId": "a"})]).await;
    }
    call(&ann, "JobService/AbortJob", &[json!({"jobId": "a", "reason": SECRET})]).await;
    let act = |action: &str| json!({"jobId": "a", "type": format!("JOB_ACTION_TYPE_{action}"), "answer": SECRET, "stepIds": ["one"]});
    call(&ann, "JobService/PerformJobAction", &[act("RUN")]).await;
    call(&ann, "JobService/PerformJobAction", &[act("HOLD")]).await;
    let hold = json!({"jobId": "a", "type": "JOB_ACTION_TYPE_HOLD"});
    call(&ann, "JobService/PerformJobAction", &[hold]).await;
    call(&ann, "SyncService/BasicSync", &[with(sync_of("dev"), "requestId", "r-2")]).await;
    call(
        &ann,
        "SyncService/StreamSync",
        &[
            json!({"tag": SECRET, "sync": sync_of("dev-1")}),
            json!({"tag": SECRET, "sync": with(sync_of("dev-2"), "validateOnly", true)}),
            json!({"tag": SECRET, "sync": sync_of(&SECRET.repeat(9))}),
            json!({"tag": SECRET, "sync": with(sync_of("dev-3"), "requestId", SECRET.repeat(9))}),
        ],
    )
    .await;
    let steps = json!([{"stepId": "one", "kind": "STEP_KIND_MANUAL", "title": SECRET,
        "paths": [{"nextStepId": "one", "condition": format!("{SECRET:?} == 1 +")}]}]);
    let flow =
        json!({"workflow": {"workflowId": "flow", "name": SECRET, "startStepIds": ["one"], "steps": steps}});
    call(&ann, "WorkflowService/PublishWorkflow", &[flow]).await;
    let patch = json!({"op": "PATCH_OP_REPLACE", "path": format!("/{SECRET}"), "value": SECRET});
    call(&ann, "TaskService/UpdateTaskStatus", &[json!({"id": "t", "operations": [patch]})]).await;

    // What only reads has no line.
    call(&ann, "JobService/GetJob", &[json!({"jobId": "a"})]).await;
    call(&ann, "JobService/ListJobs", &[json!({"filter": {"teams": [SECRET]}})]).await;
    call(&ann, "JobService/ListJobs", &[json!({"filter": {"expression": format!("{SECRET:?} ==")}})]).await;
    call(&ann, "JobService/ListJobs", &[json!({"pageToken": SECRET})]).await;
    call(&ann, "JobService/WatchJobs", &[json!({"filter": {"userIds": [SECRET]}})]).await;
    call(&ann, "JobService/WatchJobs", &[json!({"resumeToken": SECRET})]).await;
    call(&rob, "TaskService/ListTaskStatuses", &[json!({})]).await;

    let (lines, log) = server.stop().await;
    let mut table = Vec::new();
    for mut line in lines.clone() {
        assert!(line.remove("timestamp").is_some_and(|time| time.as_str().unwrap().ends_with('Z')));
        let mut text = |name: &str| line.remove(name).unwrap().as_str().unwrap().to_owned();
        let rpc = text("rpc");
        let [org, user, resource, request_id, code, reason] =
            ["org", "user", "resource", "request_id", "code", "reason"].map(&mut text);
        let rpc = rpc.strip_prefix("/holdpoint.v1.").unwrap();
        let only_asks = if line.remove("validate_only").unwrap() == true { " (only asks)" } else { "" };
        table.push(format!("{user}@{org} {rpc} {resource:?} {request_id:?}{only_asks}: {code} {reason}"));
        assert!(line.is_empty(), "{line:?}");
    }
    // An entry that is refused may overtake one before it that is decided.
    table.sort();
    expect![[r#"
        @ JobService/DeleteJob "" "": UNAUTHENTICATED CREDENTIALS_EXPIRED
        @ JobService/DeleteJob "" "": UNAUTHENTICATED CREDENTIALS_INVALID
        @ JobService/DeleteJob "" "": UNAUTHENTICATED CREDENTIALS_MISSING
        ann@acme JobService/AbortJob "" "": PERMISSION_DENIED PRIVILEGE_MISSING
        ann@acme JobService/CreateJob "" "": INVALID_ARGUMENT FIELD_INVALID
        ann@acme JobService/CreateJob "" "": INVALID_ARGUMENT FIELD_INVALID
        ann@acme JobService/CreateJob "a" "": ALREADY_EXISTS JOB_ALREADY_EXISTS
        ann@acme JobService/CreateJob "a" "r-1": OK 
        ann@acme JobService/CreateJob "b" "" (only asks): OK 
        ann@acme JobService/PerformJobAction "" "": INVALID_ARGUMENT FIELD_INVALID
        ann@acme JobService/PerformJobAction "a" "": OK 
        ann@acme JobService/PerformJobAction "a" "": PERMISSION_DENIED PRIVILEGE_MISSING
        ann@acme SyncService/BasicSync "dev" "r-2": OK 
        ann@acme SyncService/StreamSync "" "": INVALID_ARGUMENT FIELD_INVALID
        ann@acme SyncService/StreamSync "" "": INVALID_ARGUMENT FIELD_INVALID
        ann@acme SyncService/StreamSync "" "": OK 
        ann@acme SyncService/StreamSync "dev-1" "": OK 
        ann@acme SyncService/StreamSync "dev-2" "" (only asks): OK 
        ann@acme TaskService/UpdateTaskStatus "" "": INVALID_ARGUMENT IMMUTABLE_FIELD
        ann@acme WorkflowService/PublishWorkflow "" "": INVALID_ARGUMENT FIELD_INVALID
        rob@acme JobService/CreateJob "" "": PERMISSION_DENIED PRIVILEGE_MISSING
    "#]]
    .assert_eq(&(table.join("\n") + "\n"));

    assert!(log.lines().count() > lines.len(), "it logs all it can");
    for text in [log, format!("{lines:?}")] {
        for secret in [SECRET, &good, &reader, &stale] {
            assert!(!text.contains(secret), "{:?}", text.lines().find(|line| line.contains(secret)));
        }
    }
}

/// Lines do not run into each other, and none is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_line_is_whole_also_where_many_change_something_at_once() {
    const CALLERS: usize = 8;
    const CALLS: usize = 50;
    let server = Audited::start().await;
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let token = token(&format!("user-{caller}"), &EVERYTHING, now() + 3_600.0);
        let transport = connect(server.address, Some(&token)).await;
        callers.spawn(async move {
            for n in 0..CALLS {
                let job_id = format!("job-{caller}-{n}");
                let request = json!({"jobId": job_id, "job": {"title": "a"}, "requestId": format!("r-{n}")});
                call(&transport, "JobService/CreateJob", &[request]).await;
            }
        });
    }
    within(callers.join_all()).await;
    let (lines, log) = server.stop().await;
    let mut made: Vec<_> = lines
        .iter()
        .map(|line| {
            assert_eq!(line["code"], "OK");
            [&line["user"], &line["resource"], &line["request_id"]]
                .map(|text| text.as_str().unwrap().to_owned())
        })
        .collect();
    made.sort();
    let mut expected: Vec<_> = (0..CALLERS)
        .flat_map(|caller| {
            (0..CALLS).map(move |n| [format!("user-{caller}"), format!("job-{caller}-{n}"), format!("r-{n}")])
        })
        .collect();
    expected.sort();
    assert_eq!(made, expected);
    assert!(!log.contains(r#""target":"audit""#), "the log is apart");
}

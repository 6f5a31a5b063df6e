//! Who gets in, with real tokens: every RPC and every kind of token that is none, and what the binary does about keys.

use std::{collections::BTreeSet, fs, path::Path};

use bytes::Bytes;
use expect_test::{expect, expect_file};
use holdpoint::{
    auth::Privilege,
    cli::bench::wire::Raw,
    config::Config,
    proto::v1::{
        CountJobsRequest, CreateTaskStatusRequest, ErrorReason,
        ExecutionStatus::{Closed, Started},
        GetTaskStatusRequest, GetWorkflowRequest,
        JobActionType::{self, Finish, Hold, RefreshStatus, ReleaseHold, Run, SetCurrentStep, Stop},
        JobFilter, ListJobsRequest, ListTaskStatusesRequest, ListWorkflowsRequest, StepKind,
        StreamSyncRequest, StreamSyncResponse, TaskStatus, WatchJobRequest, WatchJobsRequest,
        WatchJobsResponse, WatchStart,
        job_service_client::JobServiceClient,
        stream_sync_response,
        watch_message::Kind,
    },
    rpc::access,
};
use prost::Message;
use tonic::{
    Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery, metadata::AsciiMetadataValue,
    transport::Channel,
};
use tonic_health::pb::HealthCheckRequest;
use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_request::MessageRequest};
use tonic_types::StatusExt as _;

use super::{
    harness::{
        Client, Ended, Process, TestServer, abort, assign, chain, close, create, delete, device_body_of,
        events, exclude, following, get, get_instance, holds_of, instances_of, next, perform, project,
        publish, reason, refused, reopen, replace, report_task, report_workflow, run, step, titled, update,
        user, within,
    },
    tokens::{self, Key, TRUSTED, Token},
};

const HEALTH: &str = "/grpc.health.v1.Health/Check";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const OLDER_REFLECTION: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

/// A call that whoever may is not refused, on a job of its own.
struct Row {
    /// The RPC, and of several the kind of call.
    name: String,
    path: &'static str,
    body: Bytes,
    needs: Vec<&'static str>,
    changes: bool,
}

/// Sends bytes as a message, and returns all that come; of a watch, until its snapshot is complete.
async fn ask(channel: &Channel, path: &str, token: Option<&str>, body: &Bytes) -> Result<Vec<Bytes>, Status> {
    let mut request = Request::new(tokio_stream::once(body.clone()));
    if let Some(token) = token {
        let value: AsciiMetadataValue = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let mut grpc = Grpc::new(channel.clone());
    within(grpc.ready()).await.unwrap();
    let path_and_query = PathAndQuery::try_from(path).unwrap();
    let mut stream = within(grpc.streaming(request, path_and_query, Raw)).await?.into_inner();
    let mut messages = Vec::new();
    while let Some(message) = next(&mut stream).await? {
        if path.contains("/Watch") && is_checkpoint(&message) {
            break;
        }
        messages.push(message);
    }
    Ok(messages)
}

/// The two kinds of watches answer with the same.
fn is_checkpoint(message: &Bytes) -> bool {
    matches!(watched(message), Kind::Checkpoint(_))
}

fn watched(message: &Bytes) -> Kind {
    WatchJobsResponse::decode(message.clone()).unwrap().message.unwrap().kind.unwrap()
}

/// What came of a call, in a cell.
fn cell(row: &Row, outcome: &Result<Vec<Bytes>, Status>) -> String {
    let messages = match outcome {
        Ok(messages) => messages,
        Err(status) => return name_of(status.code()),
    };
    if row.path.ends_with("/StreamSync") {
        let reply = StreamSyncResponse::decode(messages[0].clone()).unwrap();
        assert!(matches!(reply.result, Some(stream_sync_response::Result::Response(_))), "{reply:?}");
    }
    let says_nothing = |message: &Bytes| {
        if row.path.contains("/Watch") {
            matches!(watched(message), Kind::Created(_))
        } else {
            message.is_empty()
        }
    };
    if messages.iter().all(says_nothing) { "OK, nothing".to_owned() } else { "OK".to_owned() }
}

/// `PERMISSION_DENIED`, as the documents of gRPC have it.
fn name_of(code: Code) -> String {
    if code == Code::Ok {
        return "OK".to_owned();
    }
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// A request of every RPC, and what it is about.
async fn rows(admin: &Client) -> Vec<Row> {
    let steps = ["a", "b"].map(|id| step(id, StepKind::Manual));
    admin.publish(chain("flow", steps.into())).await;
    let mut rows = Vec::new();
    for (path, access) in access::RPCS {
        let rpc = path.rsplit('/').next().unwrap();
        let mut row = |name: String, body: Vec<u8>, further: &[Privilege]| {
            let needs = access.needs.iter().chain(further).map(|privilege| privilege.name()).collect();
            rows.push(Row { name, path, body: body.into(), needs, changes: access.changes });
        };
        if rpc == "PerformJobAction" {
            for action in [Run, Finish, Stop, SetCurrentStep, Hold, ReleaseHold, RefreshStatus] {
                let name = format!("{rpc}, {}", action.as_str_name().trim_start_matches("JOB_ACTION_TYPE_"));
                admin.create(&name.replace(", ", "-"), following("flow")).await;
                let body = perform(action, &name.replace(", ", "-"), &["a"]).encode_to_vec();
                row(name, body, privileges_of(action));
            }
        } else {
            admin.create(rpc, following("flow")).await;
            row(rpc.to_owned(), request(admin, rpc).await, &[]);
        }
    }
    rows
}

/// Refreshing takes one of two; this one will do.
fn privileges_of(action: JobActionType) -> &'static [Privilege] {
    match action {
        Run | Finish | Stop => &[Privilege::JobExecute],
        SetCurrentStep => &[Privilege::JobExecute, Privilege::WorkflowSetStepCurrent],
        Hold | ReleaseHold => &[Privilege::JobUpdateHolds],
        RefreshStatus => &[Privilege::AdminBasic],
        JobActionType::Unspecified => &[],
    }
}

/// A request about the job that is called like the RPC.
async fn request(admin: &Client, rpc: &str) -> Vec<u8> {
    let task = async || {
        let reply = admin.report_task(report_task(rpc, "t", 0, Started, 1)).await;
        reply.task.unwrap().id
    };
    let about_it = JobFilter { job_ids: vec![rpc.to_owned()], ..JobFilter::default() };
    match rpc {
        "BasicSync" => device_body_of("a-device's").encode_to_vec(),
        "StreamSync" => {
            let sync = Some(device_body_of("another-device's"));
            StreamSyncRequest { sync, ..StreamSyncRequest::default() }.encode_to_vec()
        }
        "WatchJob" => WatchJobRequest { job_id: rpc.to_owned(), ..Default::default() }.encode_to_vec(),
        "WatchJobs" => WatchJobsRequest::default().encode_to_vec(),
        "CreateJob" => create("a-new-one", titled("new")).encode_to_vec(),
        "GetJob" => get(rpc).encode_to_vec(),
        "ListJobs" => ListJobsRequest::default().encode_to_vec(),
        "CountJobs" => CountJobsRequest { filter: Some(about_it) }.encode_to_vec(),
        "UpdateJob" => update(rpc, titled("new")).encode_to_vec(),
        "AssignStep" => assign(rpc, "a", Some(user("bob"))).encode_to_vec(),
        "AbortJob" => abort(rpc).encode_to_vec(),
        "CloseJob" => close(rpc).encode_to_vec(),
        "ReopenJob" => {
            admin.call(close(rpc)).await.unwrap();
            reopen(rpc, &["a"]).encode_to_vec()
        }
        "ExcludeJob" => exclude(rpc, true).encode_to_vec(),
        "DeleteJob" => delete(rpc).encode_to_vec(),
        "ListJobEvents" => events(rpc).encode_to_vec(),
        "ListHolds" => {
            admin.done(Hold, rpc, &["a"]).await;
            holds_of(rpc).encode_to_vec()
        }
        "UpdateExecutionTaskStatus" => report_task(rpc, "t", 0, Closed, 1).encode_to_vec(),
        "CreateTaskStatus" => {
            let task = TaskStatus {
                job_id: rpc.to_owned(),
                unique_name: Some("a-new-one".to_owned()),
                ..TaskStatus::default()
            };
            CreateTaskStatusRequest { task: Some(task), ..Default::default() }.encode_to_vec()
        }
        "GetTaskStatus" => GetTaskStatusRequest { id: task().await }.encode_to_vec(),
        "ListTaskStatuses" => {
            task().await;
            ListTaskStatusesRequest::default().encode_to_vec()
        }
        "UpdateTaskStatus" => replace(&task().await, "description", "new".to_owned()).encode_to_vec(),
        "UpdateExecutionWorkflowStatus" => report_workflow(rpc, Closed, 1).encode_to_vec(),
        "GetWorkflowInstance" => {
            task().await;
            get_instance(rpc, "run").encode_to_vec()
        }
        "ListWorkflowInstances" => {
            task().await;
            instances_of(rpc).encode_to_vec()
        }
        "PublishWorkflow" => publish(chain("new", vec![step("a", StepKind::Manual)])).encode_to_vec(),
        "GetWorkflow" => {
            GetWorkflowRequest { workflow_id: "flow".to_owned(), ..Default::default() }.encode_to_vec()
        }
        "GetServerStatus" | "Backup" => Vec::new(),
        "ListWorkflows" => ListWorkflowsRequest::default().encode_to_vec(),
        other => panic!("there is no request of {other} here"),
    }
}

fn all_privileges() -> impl Iterator<Item = &'static str> {
    Privilege::ALL.iter().map(|privilege| privilege.name())
}

/// The columns in which nobody gets in, and what the token is in words.
const STRANGERS: [(&str, &str); 6] = [
    ("no token", "There is no `authorization` metadata."),
    ("expired", "Its `exp` has passed."),
    ("wrong key", "It is signed by a key of the right kind that the server does not have."),
    ("wrong audience", "Its `aud` names somebody else."),
    ("alg: none", "Its header has `alg: none`, and it has no signature."),
    ("HS/RS confusion", "It is signed with HS256, the secret being the text of the server's public RSA key."),
];

/// A token that is right but for what the column says.
fn stranger(column: &str, right: &Token, other: &Key) -> Option<String> {
    match column {
        "no token" => None,
        "expired" => Some(Token { expires_in: -1.0, ..right.clone() }.signed()),
        "wrong key" => Some(other.sign(right)),
        "wrong audience" => Some(Token { audience: "elsewhere".to_owned(), ..right.clone() }.signed()),
        "alg: none" => Some(right.unsigned()),
        "HS/RS confusion" => Some(right.confused()),
        unknown => panic!("{unknown} is no column"),
    }
}

/// The one reason of all refusals in a column.
fn the_reason(reasons: &BTreeSet<String>) -> String {
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    format!("`{}`", reasons.first().unwrap())
}

/// Every RPC there is, over a real server with keys. `docs/access.md` is what this writes.
#[tokio::test]
async fn every_rpc_meets_every_token() {
    let server = TestServer::start(tokens::config()).await;
    let admin = server.client_as(Token::who_may(all_privileges()).caller()).await;
    let rows = rows(&admin).await;
    let channel = channel(&server).await;
    let (empty, other_key) = (TestServer::start(tokens::config()).await, Key::ed25519());
    let empty = self::channel(&empty).await;
    let before = admin.everything().await;

    // First everybody who is refused, then those who are not: whoever comes first finds all as it was.
    let mut reasons = vec![BTreeSet::new(); STRANGERS.len() + 1];
    let mut cells: Vec<Vec<String>> = Vec::new();
    for row in &rows {
        let right = Token::who_may(row.needs.iter().copied());
        let mut line = Vec::new();
        for ((column, _), reasons) in STRANGERS.iter().zip(&mut reasons) {
            let token = stranger(column, &right, &other_key);
            let outcome = ask(&channel, row.path, token.as_deref(), &row.body).await;
            reasons.insert(outcome.as_ref().err().map(reason).unwrap_or_default());
            line.push(cell(row, &outcome));
        }
        // Everything but what it takes.
        let lacking = if row.name.ends_with("REFRESH_STATUS") {
            &["adminBasic", "adminAdvanced"][..]
        } else {
            &row.needs
        };
        let others = Token::who_may(all_privileges().filter(|privilege| !lacking.contains(privilege)));
        let outcome = ask(&channel, row.path, Some(&others.signed()), &row.body).await;
        let status = outcome.as_ref().unwrap_err();
        let info = status.get_details_error_info().unwrap();
        assert!(info.metadata["privilege"].starts_with(lacking[0]), "{}: {info:?}", row.name);
        reasons[STRANGERS.len()].insert(info.reason);
        line.push(cell(row, &outcome));
        // The same privileges, in an organization that has nothing.
        let elsewhere = Token { org: format!("other than {}", row.name), ..right };
        let outcome = ask(&channel, row.path, Some(&elsewhere.signed()), &row.body).await;
        if let Err(status) = &outcome {
            let told =
                |status: &Status| (status.code(), status.message().to_owned(), status.details().to_owned());
            let nothing = ask(&empty, row.path, Some(&elsewhere.signed()), &row.body).await.unwrap_err();
            assert_eq!(told(status), told(&nothing), "{}: as where there is nothing at all", row.name);
        }
        let cell = cell(row, &outcome);
        line.push(if cell == "OK" && row.changes { "OK, its own".to_owned() } else { cell });
        cells.push(line);
    }
    assert!(admin.everything().await == before, "a refusal changes nothing");

    for (row, line) in rows.iter().zip(&mut cells) {
        let right = Token::who_may(row.needs.iter().copied());
        let outcome = ask(&channel, row.path, Some(&right.signed()), &row.body).await;
        line.push(cell(row, &outcome));
        assert!(outcome.is_ok(), "{}: {outcome:?}", row.name);
    }

    let mut text = INTRODUCTION.to_owned();
    text.push_str("| column | the token | reason |\n|---|---|---|\n");
    for ((column, token), reasons) in STRANGERS.iter().zip(&reasons) {
        text.push_str(&format!("| {column} | {token} | {} |\n", the_reason(reasons)));
    }
    let lacking = the_reason(&reasons[STRANGERS.len()]);
    text.push_str(&format!(
        "| no privilege | It has all privileges but those that the RPC takes. | {lacking} |\n"
    ));
    text.push_str("| other org | It has the right privileges, in an organization that has nothing. The request is about \
                   a resource of the first one. | |\n");
    text.push_str("| right | It has exactly the privileges that the RPC takes. | |\n\n");

    let columns: Vec<_> = STRANGERS.iter().map(|(column, _)| *column).collect();
    let columns = [&columns[..], &["no privilege", "other org", "right"]].concat();
    text.push_str(&format!("| RPC | privileges | {} |\n", columns.join(" | ")));
    text.push_str(&format!("|---|---|{}\n", "---|".repeat(columns.len())));
    for (row, line) in rows.iter().zip(&cells) {
        let needs: Vec<_> = row.needs.iter().map(|privilege| format!("`{privilege}`")).collect();
        text.push_str(&format!("| {} | {} | {} |\n", row.name, needs.join(", "), line.join(" | ")));
    }
    text.push_str(CONCLUSION);
    expect_file![project().join("docs/access.md")].assert_eq(&text);
}

const INTRODUCTION: &str = "\
# Who gets in

Every RPC takes a bearer token, in `authorization` metadata, and the privileges that the token gives its holder in its
organization. What comes of each RPC with each kind of token is below, as a test finds it over a real server with an
Ed25519 and an RSA key. The test writes this page: `UPDATE_EXPECT=1 cargo test --test e2e every_rpc_meets_every_token`.

A token that is not believed is UNAUTHENTICATED, and the reason says whether a new one would help. A token that is
believed and not enough is PERMISSION_DENIED, and the privilege is named. What another organization has is NOT_FOUND, as
if it did not exist; lists, counts and watches show nothing of it (`OK, nothing`), and what makes something makes it in the
caller's own organization (`OK, its own`), where the same id is free.

";

const CONCLUSION: &str = "
PerformJobAction takes what its action takes; `adminAdvanced` does for REFRESH_STATUS as well as `adminBasic`, and so does
being the assignee of a step of the job.

What AdminService tells is about every organization: where callers prove who they are, it also takes an organization that is
named in `auth.admin_organizations`, here the first one.

Health checks (`grpc.health.v1.Health`) take no token, and a token that is not believed does not matter to them. Nor to
reflection (`grpc.reflection.v1` and `v1alpha`), which tells what the API is and nothing that is in it; with
`reflection = false` it is UNIMPLEMENTED. Any other path takes a token before it is told that there is nothing.
";

async fn channel(server: &TestServer) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", server.address)).unwrap();
    within(endpoint.connect()).await.unwrap()
}

/// What is open is open to everybody, and nothing else is, however its path is written.
#[tokio::test]
async fn without_a_token_there_is_health_and_reflection() {
    let services = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let services = Bytes::from(services.encode_to_vec());
    let health = Bytes::from(HealthCheckRequest::default().encode_to_vec());
    let job = Bytes::from(get("a").encode_to_vec());
    let rows: [(&str, &Bytes); 12] = [
        (HEALTH, &health),
        (REFLECTION, &services),
        (OLDER_REFLECTION, &services),
        ("/grpc.health.v1.Health/None", &health),
        ("/grpc.reflection.v2.ServerReflection/ServerReflectionInfo", &services),
        ("/grpc.health.v1.Health/../../holdpoint.v1.JobService/GetJob", &job),
        ("/grpc.reflection./../holdpoint.v1.JobService/GetJob", &job),
        ("/holdpoint.v1.JobService/GetJob", &job),
        ("/holdpoint.v1.JobService/GetJob/", &job),
        ("/holdpoint.v1.JobService/%47etJob", &job),
        ("//holdpoint.v1.JobService/GetJob", &job),
        ("/none.Service/None", &job),
    ];
    let on = TestServer::start(tokens::config()).await;
    let off = TestServer::start(Config { reflection: false, ..tokens::config() }).await;
    let right = Token::who_may(["jobRead"]).signed();
    on.client_as(Token::who_may(["jobCreate"]).caller()).await.create("a", titled("a")).await;
    off.client_as(Token::who_may(["jobCreate"]).caller()).await.create("a", titled("a")).await;
    let mut table = String::new();
    for (path, body) in rows {
        table.push_str(path);
        table.push_str("\n   ");
        for server in [&on, &off] {
            let channel = channel(server).await;
            for token in [None, Some("no token"), Some(right.as_str())] {
                let outcome = ask(&channel, path, token, body).await;
                table.push(' ');
                table.push_str(&name_of(outcome.err().map_or(Code::Ok, |status| status.code())));
            }
        }
        table.push('\n');
    }
    expect![[r#"
        /grpc.health.v1.Health/Check
            OK OK OK OK OK OK
        /grpc.reflection.v1.ServerReflection/ServerReflectionInfo
            OK OK OK UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED
        /grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo
            OK OK OK UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED
        /grpc.health.v1.Health/None
            UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED
        /grpc.reflection.v2.ServerReflection/ServerReflectionInfo
            UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED
        /grpc.health.v1.Health/../../holdpoint.v1.JobService/GetJob
            UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED
        /grpc.reflection./../holdpoint.v1.JobService/GetJob
            UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED UNIMPLEMENTED
        /holdpoint.v1.JobService/GetJob
            UNAUTHENTICATED UNAUTHENTICATED OK UNAUTHENTICATED UNAUTHENTICATED OK
        /holdpoint.v1.JobService/GetJob/
            UNAUTHENTICATED UNAUTHENTICATED UNIMPLEMENTED UNAUTHENTICATED UNAUTHENTICATED UNIMPLEMENTED
        /holdpoint.v1.JobService/%47etJob
            UNAUTHENTICATED UNAUTHENTICATED UNIMPLEMENTED UNAUTHENTICATED UNAUTHENTICATED UNIMPLEMENTED
        //holdpoint.v1.JobService/GetJob
            UNAUTHENTICATED UNAUTHENTICATED UNIMPLEMENTED UNAUTHENTICATED UNAUTHENTICATED UNIMPLEMENTED
        /none.Service/None
            UNAUTHENTICATED UNAUTHENTICATED UNIMPLEMENTED UNAUTHENTICATED UNAUTHENTICATED UNIMPLEMENTED
    "#]]
    .assert_eq(&table);
}

#[tokio::test]
async fn streams_end_when_their_token_expires() {
    let server = TestServer::start(tokens::config()).await;
    let brief = Token { expires_in: 2.0, ..Token::who_may(["jobRead", "workflowExecute"]) };
    let client = server.client_as(brief.caller()).await;
    let request = WatchJobsRequest { start: WatchStart::Now.into(), ..Default::default() };
    let mut watch = client.jobs.clone().watch_jobs(request).await.unwrap().into_inner();
    let first = next(&mut watch).await.unwrap().unwrap().message.unwrap();
    assert!(matches!(first.kind, Some(Kind::Created(_))));
    let outbox = tokio_stream::pending::<StreamSyncRequest>();
    let mut syncs = client.syncs.clone().stream_sync(outbox).await.unwrap().into_inner();

    let end = loop {
        match next(&mut watch).await {
            Ok(message) => assert!(message.is_some(), "a watch ends with a status"),
            Err(status) => break status,
        }
    };
    refused(Err::<(), _>(end), Code::Unauthenticated, ErrorReason::CredentialsExpired);
    refused(next(&mut syncs).await, Code::Unauthenticated, ErrorReason::CredentialsExpired);
    refused(client.call(get("a")).await, Code::Unauthenticated, ErrorReason::CredentialsExpired);
}

/// A server that runs finds new keys by itself, and then refuses tokens that it had let in.
#[tokio::test]
async fn keys_are_replaced_while_the_server_runs() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key.pem");
    fs::write(&file, &TRUSTED.public_pem).unwrap();
    let mut config = tokens::config();
    config.auth.key_files = vec![file.clone()];
    let server = TestServer::start(config).await;
    let token = Token::who_may(["jobRead"]);
    let old = server.client_as(token.caller()).await;
    old.call(ListJobsRequest::default()).await.unwrap();

    let key = Key::ed25519();
    fs::write(&file, &key.public_pem).unwrap();
    let refusal = within(async {
        loop {
            if let Err(status) = old.call(ListJobsRequest::default()).await {
                break status;
            }
        }
    });
    refused(Err::<(), _>(refusal.await), Code::Unauthenticated, ErrorReason::CredentialsInvalid);
    let new = server.client_as(super::harness::Caller::bearing(&key.sign(&token))).await;
    new.call(ListJobsRequest::default()).await.unwrap();
}

/// What development mode believes is not looked at once there are keys.
#[tokio::test]
async fn metadata_is_not_believed_beside_keys() {
    let server = TestServer::start(tokens::config()).await;
    let owner = server.client_as(Token::who_may(["jobCreate", "jobRead"]).caller()).await;
    owner.create("a", titled("a")).await;
    // The metadata says `alice` of `acme`, who may do everything; the token says somebody else.
    let token = Token { org: "other".to_owned(), ..Token::who_may(["jobRead"]) };
    let client = server.client_as(token.caller()).await;
    refused(client.call(get("a")).await, Code::NotFound, ErrorReason::JobNotFound);
    refused(client.call(delete("a")).await, Code::PermissionDenied, ErrorReason::PrivilegeMissing);
}

/// As it comes over the wire, where a header can be there twice, and be long.
#[tokio::test]
async fn a_token_comes_once_and_is_not_too_long() {
    let server = TestServer::start(tokens::config()).await;
    let right = Token::who_may(["jobRead"]);
    let bearer = |token: &Token| AsciiMetadataValue::try_from(format!("Bearer {}", token.signed())).unwrap();
    let of = |count: usize| Token { privileges: vec!["jobRead".to_owned(); count], ..right.clone() };
    let (long, longer) = ((1..1_000).find(|count| of(*count).signed().len() > 8_000).unwrap(), 1_000);
    let rows: [(&str, Vec<AsciiMetadataValue>); 7] = [
        ("one", vec![bearer(&right)]),
        ("two", vec![bearer(&right), bearer(&right)]),
        ("two, the first of somebody else", vec![bearer(&Token::default()), bearer(&right)]),
        ("one and a password", vec![bearer(&right), "Basic YTpi".parse().unwrap()]),
        ("a password", vec!["Basic YTpi".parse().unwrap()]),
        ("a long one", vec![bearer(&of(long))]),
        ("one that is too long", vec![bearer(&of(longer))]),
    ];
    let mut table = String::new();
    for (name, values) in rows {
        let mut request = Request::new(ListJobsRequest::default());
        for value in values {
            request.metadata_mut().append("authorization", value);
        }
        let mut jobs = JobServiceClient::new(channel(&server).await);
        let outcome = match within(jobs.list_jobs(request)).await {
            Ok(_) => "OK".to_owned(),
            Err(status) => format!("{} {}: {}", name_of(status.code()), reason(&status), status.message()),
        };
        table.push_str(&format!("{name}: {outcome}\n"));
    }
    expect![[r#"
        one: OK
        two: UNAUTHENTICATED CREDENTIALS_INVALID: the bearer token must be given once
        two, the first of somebody else: UNAUTHENTICATED CREDENTIALS_INVALID: the bearer token must be given once
        one and a password: UNAUTHENTICATED CREDENTIALS_INVALID: the bearer token must be given once
        a password: UNAUTHENTICATED CREDENTIALS_MISSING: the call has no bearer token in its authorization metadata
        a long one: OK
        one that is too long: UNAUTHENTICATED CREDENTIALS_INVALID: the bearer token is longer than 8 KiB
    "#]].assert_eq(&table);
}

/// Neither the log, at its loudest, nor the audit has a token, whether it lets in or not.
#[tokio::test]
async fn tokens_are_not_written_down() {
    let directory = tempfile::tempdir().unwrap();
    let key = write(directory.path(), "key", TRUSTED.public_pem.as_bytes());
    let (keys, audit) = (format!("auth.key_files=[{key:?}]"), directory.path().join("audit"));
    let audited = format!("audit.file={}", audit.display());
    let common = ["serve", "--listen", "127.0.0.1:0", "--store", "memory", "--log-filter", "trace"];
    let log = directory.path().join("log");
    let arguments = [&common[..], &["--set", &keys, "--set", &audited]].concat();
    let process = Process::logging_to(&arguments, fs::File::create(&log).unwrap()).await;
    let right = Token::who_may(["jobCreate"]);
    let tokens = [right.signed(), Key::ed25519().sign(&right), Token { expires_in: -1.0, ..right }.signed()];
    for (n, token) in tokens.iter().enumerate() {
        let outcome = process.client_bearing(token).await.call(create("a", titled("a"))).await;
        assert_eq!(outcome.is_ok(), n == 0, "{outcome:?}");
    }
    process.terminate().await;
    assert_eq!(process.ended().await.code, Some(0));
    let (log, audit) = (fs::read_to_string(log).unwrap(), fs::read_to_string(audit).unwrap());
    assert!(log.contains("TRACE") && audit.lines().count() == tokens.len(), "{audit}");
    for token in &tokens {
        for part in token.split('.').skip(1) {
            let found = [&log, &audit].iter().find_map(|text| text.lines().find(|line| line.contains(part)));
            assert_eq!(found, None, "a part of a token");
        }
    }
}

/// A key file of the binary's, and a data directory.
fn write(directory: &Path, name: &str, content: &[u8]) -> String {
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn mint(key: &str, flags: &[&str]) -> Ended {
    run(&[&["token", "mint", "--key", key], flags].concat()).await
}

/// What it said why it does not, in one line.
#[track_caller]
fn not_minted(ended: &Ended) -> &str {
    assert_eq!(
        (ended.code, ended.stdout.as_str(), ended.stderr.lines().count()),
        (Some(2), "", 1),
        "{ended:?}"
    );
    ended.stderr.trim_end()
}

#[tokio::test]
async fn minted_tokens_are_taken_by_who_has_the_public_key() {
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};

    let directory = tempfile::tempdir().unwrap();
    let secret = "a secret of 32 bytes and no more".to_owned();
    let pairs = [
        ("ed25519", KeyPair::generate_for(&PKCS_ED25519)),
        ("p256", KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)),
        ("rsa", KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)),
    ];
    let pairs = pairs.map(|(name, pair)| {
        let pair = pair.unwrap();
        (name, pair.serialize_pem(), pair.public_key_pem())
    });
    for (name, private, public) in pairs.into_iter().chain([("secret", secret.clone(), secret)]) {
        let private = write(directory.path(), &format!("{name}-private"), private.as_bytes());
        let public = write(directory.path(), &format!("{name}-public"), public.as_bytes());
        let keys = format!("auth.key_files=[{public:?}]");
        let process = Process::serve(&directory.path().join(name), &["--set", &keys]).await;

        let flags = ["--org", "acme", "--sub", "ann", "--name", "Ann Lee", "--privileges", "all"];
        let minted = mint(&private, &flags).await;
        assert_eq!((minted.code, minted.stderr.as_str()), (Some(0), ""), "{name}");
        let client = process.client_bearing(minted.stdout.trim_end()).await;
        client.create("a", titled("a")).await;
        let actor = client.history("a").await[0].actor.clone().unwrap();
        assert_eq!((actor.id.as_str(), actor.name.as_str()), ("ann", "Ann Lee"), "{name}");
        client.call(delete("a")).await.unwrap();

        let flags = ["--org", "acme", "--privileges", "jobRead,jobCreate"];
        let client = process.client_bearing(mint(&private, &flags).await.stdout.trim_end()).await;
        client.create("b", titled("b")).await;
        refused(client.call(delete("b")).await, Code::PermissionDenied, ErrorReason::PrivilegeMissing);

        // Without flags the holder may do nothing; for another audience it is nobody.
        let client = process.client_bearing(mint(&private, &[]).await.stdout.trim_end()).await;
        refused(client.call(get("b")).await, Code::PermissionDenied, ErrorReason::PrivilegeMissing);
        let minted = mint(&private, &["--audience", "elsewhere"]).await.stdout;
        let client = process.client_bearing(minted.trim_end()).await;
        refused(client.call(get("b")).await, Code::Unauthenticated, ErrorReason::CredentialsInvalid);
        refused(
            process.client().await.call(get("b")).await,
            Code::Unauthenticated,
            ErrorReason::CredentialsMissing,
        );
        process.terminate().await;
        assert_eq!(process.ended().await.code, Some(0));
    }
}

#[tokio::test]
async fn minted_tokens_are_good_for_as_long_as_was_asked() {
    let directory = tempfile::tempdir().unwrap();
    let secret = write(directory.path(), "secret", b"a secret of 32 bytes and no more");
    for (flags, seconds) in [
        (&[][..], 3_600),
        (&["--expires-in", "1s"], 1),
        (&["--expires-in", "90s"], 90),
        (&["--expires-in", "15m"], 900),
        (&["--expires-in", "2h"], 7_200),
        (&["--expires-in", "7d"], 604_800),
    ] {
        let minted = mint(&secret, flags).await.stdout;
        let claims = jsonwebtoken::dangerous::insecure_decode_claims::<serde_json::Value>(minted.trim_end());
        let claims = claims.unwrap();
        let lasts = claims["exp"].as_f64().unwrap() - claims["iat"].as_f64().unwrap();
        assert!((lasts - f64::from(seconds)).abs() < 0.5, "{flags:?}: {claims}");
    }
}

#[tokio::test]
async fn what_cannot_be_minted_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let at = |text: &str| text.replace(directory.path().to_str().unwrap(), "DIR");
    let secret = write(directory.path(), "secret", b"a secret of 32 bytes and no more");
    let short = write(directory.path(), "short", b"too short");
    let public = write(directory.path(), "public", TRUSTED.public_pem.as_bytes());
    let nowhere = directory.path().join("nowhere").to_str().unwrap().to_owned();
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
    let p384 = write(directory.path(), "p384", p384.as_bytes());
    let mut table = String::new();
    for (key, flags) in [
        (&nowhere, &[][..]),
        (&short, &[]),
        (&public, &[]),
        (&p384, &[]),
        (&secret, &["--privileges", "jobRead,fly"]),
        (&secret, &["--privileges", "jobread"]),
    ] {
        table.push_str(&at(not_minted(&mint(key, flags).await)));
        table.push('\n');
    }
    expect![[r#"
        error: cannot read DIR/nowhere: No such file or directory (os error 2)
        error: DIR/short: is neither PEM nor a secret: one line of printable ASCII, of 32 bytes or more
        error: DIR/public: is not a private key in PEM (PKCS #8): RSA, P-256 or Ed25519
        error: the key does not sign: an RSA key must have 2048 bits or more, and an EC key be on P-256: InvalidEcdsaKey
        error: no privilege is called "fly"; there are: all, jobRead, jobCreate, jobUpdate, jobAssign, jobExecute, jobClose, jobReopenClosed, jobDelete, jobForceStop, jobUpdateHolds, workflowSetStepCurrent, workflowExecute, workflowManage, executionReport, taskRead, taskWrite, adminBasic, adminAdvanced
        error: no privilege is called "jobread"; there are: all, jobRead, jobCreate, jobUpdate, jobAssign, jobExecute, jobClose, jobReopenClosed, jobDelete, jobForceStop, jobUpdateHolds, workflowSetStepCurrent, workflowExecute, workflowManage, executionReport, taskRead, taskWrite, adminBasic, adminAdvanced
    "#]].assert_eq(&table);
}

/// The binary says loudly that it believes everybody, and does not where it does not.
#[tokio::test]
async fn development_mode_is_said_aloud() {
    let directory = tempfile::tempdir().unwrap();
    let secret = write(directory.path(), "secret", b"a secret of 32 bytes and no more");
    let keys = format!("auth.key_files=[{secret:?}]");
    for (flags, is_said) in [(&[][..], true), (&["--set", &keys], false)] {
        let common = ["serve", "--listen", "127.0.0.1:0", "--store", "memory", "--log-filter", "warn"];
        let process = Process::start(&[&common, flags].concat()).await;
        process.terminate().await;
        let ended = process.ended().await;
        assert_eq!(ended.code, Some(0));
        let said =
            ended.stderr.lines().filter(|line| line.contains("WARN") && line.contains("DEVELOPMENT MODE"));
        assert_eq!(said.count(), usize::from(is_said), "{ended:?}");
    }
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_told_at_start() {
    let directory = tempfile::tempdir().unwrap();
    let at = |text: &str| text.replace(directory.path().to_str().unwrap(), "DIR");
    let private = write(directory.path(), "private", TRUSTED.private_pem.as_bytes());
    let secret = write(directory.path(), "secret", b"a secret of 32 bytes and no more");
    let nowhere = directory.path().join("nowhere").to_str().unwrap().to_owned();
    let data = directory.path().join("data").to_str().unwrap().to_owned();
    let good = format!("auth.key_files=[{secret:?}]");
    let mut table = String::new();
    for flags in [
        &["--set", &format!("auth.key_files=[{nowhere:?}]")][..],
        &["--set", &format!("auth.jwks_file={nowhere}")],
        &["--set", &format!("auth.key_files=[{secret:?}, {private:?}]")],
        &["--set", &format!("auth.jwks_file={secret}")],
        &["--set", &good, "--set", "auth.roles.pilot=[\"jobRead\", \"fly\"]"],
        &["--set", &good, "--set", "auth.audiences=[]"],
        &["--set", &good, "--listen", "0.0.0.0:0"],
    ] {
        let common = ["serve", "--listen", "127.0.0.1:0", "--data-dir", &data, "--log-filter", "off"];
        // Of a flag that is given twice the second would be an error of its own.
        let common = if flags.contains(&"--listen") { &common[..1] } else { &common[..] };
        let ended = run(&[common, flags].concat()).await;
        assert_eq!((ended.stdout.as_str(), ended.stderr.lines().count()), ("", 1), "{ended:?}");
        table.push_str(&format!("{:?} {}", ended.code.unwrap(), at(&ended.stderr)));
    }
    expect![[r#"
        1 error: cannot tell callers: cannot read DIR/nowhere: No such file or directory (os error 2)
        1 error: cannot tell callers: cannot read DIR/nowhere: No such file or directory (os error 2)
        1 error: cannot tell callers: DIR/private: has a private key: whoever checks tokens needs the public one, and should have no other
        1 error: cannot tell callers: DIR/secret: is not JSON: expected value at line 1 column 1
        1 error: cannot tell callers: auth.roles.pilot: there is no privilege "fly"
        2 error: invalid configuration: auth.audiences: a token must be meant for somebody
        2 error: invalid configuration: listen: 0.0.0.0:0 is not a loopback address, and tokens sent there in plaintext are for everybody to read: set tls.cert_file and tls.key_file, or tls.allow_plaintext where something else keeps them from others
    "#]].assert_eq(&table);
}

//! Two organizations on one server, with the same ids, at the same time: neither learns of the other, and neither fares
//! otherwise than alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use bytes::Bytes;
use holdpoint::{
    proto::storage::v1::{PageToken, ResumeToken},
    rpc::access,
};
use proptest::{
    prelude::{Just, ProptestConfig, Strategy as _},
    test_runner::TestRunner,
};
use prost::Message as _;
use serde_json::{Value as Json, json};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use super::{
    harness::{Caller, Client, Dice, TestServer, next},
    wire,
};

const ORGS: [&str; 2] = ["acme", "umbra"];

/// Stands in every text of an organization that is its own to choose.
fn mark(org: &str) -> String {
    format!("[only {org} may read this]")
}

/// A request of every RPC. A word that begins with `$` stands for something that chance picks, each time anew, out of what
/// both organizations pick from.
const REQUESTS: &[(&str, &str)] = &[
    (
        "SyncService/BasicSync",
        r#"{"metadata": {"clientJobId": "$client", "workflowId": "$flow", "status": "$status", "jobTitle": "$mark",
            "updated": "2021-10-01T12:00:0$nZ", "metadata": {"text": "$mark"}, "username": "$mark", "userId": "$user"},
            "completedSteps": [{"singleStep": {"uniqueStepId": "report-$n", "stepId": "$step", "note": "$mark",
            "updated": "2021-10-01T12:00:0$nZ", "values": ["$mark"], "stepTitle": "$mark"}}],
            "team": "$mark", "requestId": "$request", "validateOnly": $dry}"#,
    ),
    (
        "SyncService/StreamSync",
        r#"{"tag": "$mark", "sync": {"metadata": {"clientJobId": "$client", "workflowId": "$flow",
            "status": "$status", "abandonReason": "$mark", "updated": "2021-10-01T12:00:0$nZ"},
            "cancelledSteps": [{"reportStep": {"uniqueStepId": "report-$n", "stepId": "$step", "note": "$mark"}}],
            "requestId": "$request"}}"#,
    ),
    (
        "JobService/CreateJob",
        r#"{"jobId": "$own", "job": {"title": "$mark", "team": "$mark", "metadata": {"text": "$mark"},
            "workflow": {"workflowId": "$flow"}, "assignee": {"kind": "KIND_USER", "id": "$user"}},
            "requestId": "$request", "validateOnly": $dry}"#,
    ),
    (
        "JobService/CreateJob",
        r#"{"job": {"title": "$mark", "workflow": {"workflowId": "$flow"}}, "requestId": "$request"}"#,
    ),
    ("JobService/GetJob", r#"{"jobId": "$job", "reportsPageSize": 1, "views": [$views]}"#),
    ("JobService/GetJob", r#"{"clientJobId": "$client", "reportsPageSize": 1, "views": [$views]}"#),
    ("JobService/ListJobs", r#"{"pageSize": 1}"#),
    ("JobService/ListJobs", r#"{"filter": {"teams": ["$mark"], "workflowIds": ["$flow"]}, "pageSize": 1}"#),
    ("JobService/ListJobs", r#"{"filter": {"jobIds": ["$job", "$own"], "assignedToMe": $dry}}"#),
    ("JobService/ListJobs", r#"{"filter": {"expression": "job.title != ''", "statuses": ["$status"]}}"#),
    ("JobService/CountJobs", r#"{"filter": {"closed": $dry}}"#),
    ("JobService/CountJobs", r#"{"filter": {"jobIds": ["$job"], "userIds": ["$user"]}}"#),
    (
        "JobService/UpdateJob",
        r#"{"jobId": "$job", "job": {"title": "$mark", "packetIds": ["$mark"], "priority": $n}, "etag": "$etag",
            "updateMask": "title,packetIds,priority", "requestId": "$request", "validateOnly": $dry}"#,
    ),
    (
        "JobService/PerformJobAction",
        r#"{"jobId": "$job", "type": "$action", "stepIds": ["$step"], "answer": "$mark", "itemId": "item",
            "requestId": "$request", "validateOnly": $dry}"#,
    ),
    ("JobService/PerformJobAction", r#"{"jobId": "$job", "type": "$action"}"#),
    (
        "JobService/PerformJobAction",
        r#"{"jobId": "holder", "type": "JOB_ACTION_TYPE_HOLD", "stepIds": ["$step"], "dependentJobId": "gate"}"#,
    ),
    (
        "JobService/PerformJobAction",
        r#"{"jobId": "$job", "type": "JOB_ACTION_TYPE_HOLD", "stepIds": ["$step"], "dependentJobId": "$job",
            "dependentStepId": "$step", "validateOnly": true}"#,
    ),
    ("JobService/PerformJobAction", r#"{"jobId": "$job", "type": "$action", "orgId": "$org"}"#),
    (
        "JobService/AssignStep",
        r#"{"jobId": "$job", "stepId": "$step", "assignee": {"kind": "KIND_USER", "id": "$user"},
            "requestId": "$request"}"#,
    ),
    (
        "JobService/AbortJob",
        r#"{"jobId": "$job", "reason": "$mark", "requestId": "$request", "validateOnly": $dry}"#,
    ),
    ("JobService/CloseJob", r#"{"jobId": "$job", "requestId": "$request", "validateOnly": $dry}"#),
    ("JobService/ReopenJob", r#"{"jobId": "$job", "stepIds": ["$step"], "requestId": "$request"}"#),
    ("JobService/ExcludeJob", r#"{"jobId": "$job", "excluded": $dry, "jobExclusion": ["$mark"]}"#),
    (
        "JobService/DeleteJob",
        r#"{"jobId": "$job", "etag": "$etag", "requestId": "$request", "validateOnly": $dry}"#,
    ),
    ("JobService/ListJobEvents", r#"{"jobId": "$job", "pageSize": 2}"#),
    ("JobService/ListHolds", r#"{"jobId": "$job"}"#),
    ("JobService/ListHolds", r#"{"dependentJobId": "gate"}"#),
    (
        "JobService/WatchJob",
        r#"{"jobId": "$job", "views": ["JOB_VIEW_STEPS", "JOB_VIEW_HOLDS", "JOB_VIEW_TASKS"]}"#,
    ),
    ("JobService/WatchJobs", r#"{"views": ["JOB_VIEW_STEPS"], "filter": {"workflowIds": ["$flow"]}}"#),
    (
        "TaskService/UpdateExecutionTaskStatus",
        r#"{"workflowInstanceId": "$run", "taskId": "$weld", "jobId": "$own", "dispatchId": "dispatch",
            "attemptId": "0", "status": "$end", "sequenceId": "$n", "stateName": "$mark", "timestamp": "1633000000$n00",
            "data": {"text": "$mark"}, "meta": {}, "updatedBy": {"id": "$user", "name": "$mark", "appId": "app"},
            "requestId": "$request", "validateOnly": $dry}"#,
    ),
    (
        "TaskService/CreateTaskStatus",
        r#"{"task": {"jobId": "$job", "type": "TASK_TYPE_QPOC", "uniqueName": "$mark", "description": "$mark",
            "attributes": {"text": "$mark"}}, "requestId": "$request", "validateOnly": $dry}"#,
    ),
    ("TaskService/GetTaskStatus", r#"{"id": "$task"}"#),
    ("TaskService/ListTaskStatuses", r#"{"pageSize": 1, "count": true}"#),
    ("TaskService/ListTaskStatuses", r#"{"filter": {"jobId": "$job"}, "pageSize": 1}"#),
    (
        "TaskService/UpdateTaskStatus",
        r#"{"id": "$task", "operations": [{"op": "PATCH_OP_REPLACE", "path": "/progress", "value": "$mark"}],
            "requestId": "$request", "validateOnly": $dry}"#,
    ),
    (
        "WorkflowService/UpdateExecutionWorkflowStatus",
        r#"{"workflowInstanceId": "$run", "status": "$end", "timestamp": "1633000001$n00", "dispatchId": "dispatch",
            "jobId": "$own", "attemptId": "0", "data": {"text": "$mark"}, "meta": {}, "code": "$mark",
            "updatedBy": {"id": "$user", "name": "$mark", "appId": "app"}, "requestId": "$request"}"#,
    ),
    ("WorkflowService/GetWorkflowInstance", r#"{"jobId": "$job", "workflowInstanceId": "$run"}"#),
    ("WorkflowService/ListWorkflowInstances", r#"{"pageSize": 1}"#),
    ("WorkflowService/ListWorkflowInstances", r#"{"jobId": "$job"}"#),
    ("WorkflowService/PublishWorkflow", FLOW),
    ("WorkflowService/GetWorkflow", r#"{"workflowId": "$flow"}"#),
    ("WorkflowService/ListWorkflows", r#"{"pageSize": 1}"#),
    ("WorkflowService/ListWorkflows", r#"{"workflowId": "$flow", "pageSize": 1}"#),
];

const FLOW: &str = r#"{"workflow": {"workflowId": "$flow", "name": "$mark", "description": "$mark", "startStepIds": ["one"],
    "steps": [{"stepId": "one", "kind": "STEP_KIND_MANUAL", "title": "$mark", "canSkip": true,
    "paths": [{"nextStepId": "two", "label": "$mark"}, {"nextStepId": "three"}]},
    {"stepId": "two", "kind": "STEP_KIND_QUESTION", "proceedToNext": true}, {"stepId": "three",
    "kind": "STEP_KIND_AUTOMATIC"}]}, "requestId": "$request"}"#;

/// What both organizations begin with.
const BEGINNING: [(&str, &str); 8] = [
    ("WorkflowService/PublishWorkflow", FLOW_A),
    (
        "JobService/CreateJob",
        r#"{"jobId": "gate", "job": {"title": "$mark", "workflow": {"workflowId": "flow-a"}}}"#,
    ),
    (
        "JobService/CreateJob",
        r#"{"jobId": "holder", "job": {"title": "$mark", "workflow": {"workflowId": "flow-a"}}}"#,
    ),
    (
        "JobService/CreateJob",
        r#"{"jobId": "job-a", "job": {"title": "$mark", "workflow": {"workflowId": "flow-a"}}}"#,
    ),
    ("JobService/CreateJob", r#"{"job": {"title": "$mark", "workflow": {"workflowId": "flow-a"}}}"#),
    (
        "SyncService/BasicSync",
        r#"{"metadata": {"clientJobId": "dev-a", "workflowId": "flow-a", "status": "JOB_STATUS_ACTIVE"},
            "completedSteps": [{"singleStep": {"uniqueStepId": "first", "stepId": "one", "note": "$mark"}}]}"#,
    ),
    (
        "TaskService/CreateTaskStatus",
        r#"{"task": {"jobId": "job-a", "type": "TASK_TYPE_QPOC", "uniqueName": "$mark"}}"#,
    ),
    (
        "JobService/PerformJobAction",
        r#"{"jobId": "job-a", "type": "JOB_ACTION_TYPE_HOLD", "stepIds": ["one"]}"#,
    ),
];

const FLOW_A: &str = r#"{"workflow": {"workflowId": "flow-a", "name": "$mark", "startStepIds": ["one"], "steps": [
    {"stepId": "one", "kind": "STEP_KIND_MANUAL", "title": "$mark", "paths": [{"nextStepId": "two"}]},
    {"stepId": "two", "kind": "STEP_KIND_AUTOMATIC"}]}}"#;

/// So that each list has more than a page; they are asked for by pages of one.
const PAGES: [(&str, &str); 17] = [
    (
        "JobService/CreateJob",
        r#"{"jobId": "job-z", "job": {"title": "$mark", "workflow": {"workflowId": "flow-a"}}}"#,
    ),
    (
        "JobService/PerformJobAction",
        r#"{"jobId": "job-z", "type": "JOB_ACTION_TYPE_HOLD", "stepIds": ["one", "two"]}"#,
    ),
    ("JobService/ListHolds", r#"{"jobId": "job-z", "pageSize": 1}"#),
    (
        "SyncService/BasicSync",
        r#"{"metadata": {"clientJobId": "dev-z", "workflowId": "flow-a", "status": "JOB_STATUS_ACTIVE"},
            "completedSteps": [{"singleStep": {"uniqueStepId": "first", "stepId": "one", "note": "$mark"}},
            {"singleStep": {"uniqueStepId": "second", "stepId": "two", "note": "$mark"}}]}"#,
    ),
    ("JobService/GetJob", r#"{"clientJobId": "dev-z", "views": ["JOB_VIEW_REPORTS"], "reportsPageSize": 1}"#),
    ("JobService/ListJobs", r#"{"pageSize": 1}"#),
    ("JobService/ListJobEvents", r#"{"jobId": "job-z", "pageSize": 1}"#),
    (
        "WorkflowService/PublishWorkflow",
        r#"{"workflow": {"workflowId": "flow-z", "startStepIds": ["one"],
        "steps": [{"stepId": "one", "kind": "STEP_KIND_MANUAL"}]}}"#,
    ),
    ("WorkflowService/ListWorkflows", r#"{"pageSize": 1}"#),
    ("WorkflowService/UpdateExecutionWorkflowStatus", RUN_Y),
    ("WorkflowService/UpdateExecutionWorkflowStatus", RUN_Z),
    ("WorkflowService/ListWorkflowInstances", r#"{"jobId": "job-z", "pageSize": 1}"#),
    (
        "TaskService/CreateTaskStatus",
        r#"{"task": {"jobId": "job-z", "type": "TASK_TYPE_QPOC", "uniqueName": "y"}}"#,
    ),
    (
        "TaskService/CreateTaskStatus",
        r#"{"task": {"jobId": "job-z", "type": "TASK_TYPE_QPOC", "uniqueName": "z"}}"#,
    ),
    ("TaskService/ListTaskStatuses", r#"{"pageSize": 1}"#),
    ("JobService/WatchJob", r#"{"jobId": "job-z"}"#),
    ("JobService/WatchJobs", "{}"),
];

const RUN_Y: &str = r#"{"workflowInstanceId": "run-y", "status": "EXECUTION_STATUS_STARTED", "timestamp": "1633000001000",
    "dispatchId": "dispatch", "jobId": "job-z", "attemptId": "0", "data": {}, "meta": {"text": "$mark"}, "code": "",
    "updatedBy": {"id": "robot", "name": "$mark", "appId": "app"}}"#;

const RUN_Z: &str = r#"{"workflowInstanceId": "run-z", "status": "EXECUTION_STATUS_STARTED", "timestamp": "1633000001000",
    "dispatchId": "dispatch", "jobId": "job-z", "attemptId": "0", "data": {}, "meta": {"text": "$mark"}, "code": "",
    "updatedBy": {"id": "robot", "name": "$mark", "appId": "app"}}"#;

/// All that an organization can read, beside its jobs one by one.
const LISTS: [(&str, &str); 5] = [
    ("JobService/ListJobs", r#"{"order": "JOB_ORDER_OLDEST_FIRST"}"#),
    ("JobService/ListHolds", "{}"),
    ("TaskService/ListTaskStatuses", r#"{"count": true}"#),
    ("WorkflowService/ListWorkflowInstances", "{}"),
    ("WorkflowService/ListWorkflows", "{}"),
];

/// One call: which of [`REQUESTS`], and what its words stand for.
type Op = (usize, u64);

/// A call that gave a token: the path, the request, the member that takes the token, and the token.
type Given = (String, Json, &'static str, String);

/// One organization on one server, and what it has seen.
struct Tenant {
    org: &'static str,
    clients: [Client; 2],
    /// Ids that the server made, in the order in which they were first seen.
    ids: Vec<String>,
    given: Vec<Given>,
    own_marks: usize,
}

/// What became of a call, and what is in it that is not the same in every run left out.
type Outcome = String;

impl Tenant {
    async fn of(server: &TestServer, org: &'static str) -> Self {
        let client = async |user: &str| server.client_as(Caller::new(user).of(org)).await;
        let clients = [client("alice").await, client("bob").await];
        Self { org, clients, ids: Vec::new(), given: Vec::new(), own_marks: 0 }
    }

    fn learnt(&self, prefix: &str) -> Vec<String> {
        self.ids.iter().filter(|id| id.starts_with(prefix)).cloned().collect()
    }

    /// A request with its words filled in.
    fn fill(&self, template: &str, dice: &mut Dice) -> Json {
        let (mut text, mut rest) = (String::new(), template);
        while let Some(at) = rest.find('$') {
            text.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let word: String = rest.chars().take_while(char::is_ascii_lowercase).collect();
            // After a number, a letter of the text may follow at once.
            let word = if word.starts_with('n') { "n".to_owned() } else { word };
            rest = &rest[word.len()..];
            text.push_str(&self.pick(&word, dice));
        }
        serde_json::from_str(&(text + rest)).unwrap_or_else(|error| panic!("{template}: {error}"))
    }

    fn pick(&self, word: &str, dice: &mut Dice) -> String {
        let chosen = ["job-a", "job-b", "job-c"];
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let texts = match word {
            "mark" => vec![mark(self.org)],
            "own" => owned(&chosen),
            "job" => [owned(&chosen), self.learnt("job_")].concat(),
            "task" => [owned(&["none"]), self.learnt("task_")].concat(),
            "client" => owned(&["dev-a", "dev-b", "job-b"]),
            "flow" => owned(&["flow-a", "flow-b"]),
            "step" => owned(&["one", "two", "three"]),
            "user" => owned(&["alice", "bob"]),
            "run" => owned(&["run-a", "run-b"]),
            "weld" => owned(&["weld", "cut"]),
            "org" => ORGS.map(str::to_owned).to_vec(),
            "end" => owned(&["EXECUTION_STATUS_STARTED", "EXECUTION_STATUS_CLOSED"]),
            "etag" => owned(&["", "", "r1"]),
            "request" => owned(&["", "", "r-a", "r-b", "r-c"]),
            "dry" => owned(&["false", "false", "false", "true"]),
            "n" => owned(&["1", "2", "3", "4"]),
            "views" => {
                owned(&[r#""JOB_VIEW_STEPS", "JOB_VIEW_REPORTS", "JOB_VIEW_HOLDS", "JOB_VIEW_TASKS""#])
            }
            "status" => {
                let status = |status: &&str| format!("JOB_STATUS_{status}");
                ["ACTIVE", "ACTIVE", "PAUSED", "COMPLETED", "ABORTED"].iter().map(status).collect()
            }
            "action" => {
                let action = |action: &&str| format!("JOB_ACTION_TYPE_{action}");
                let actions = [
                    "RUN",
                    "RUN",
                    "FINISH",
                    "FINISH",
                    "STOP",
                    "SET_CURRENT_STEP",
                    "HOLD",
                    "RELEASE_HOLD",
                    "REFRESH_STATUS",
                ];
                actions.iter().map(action).collect()
            }
            other => panic!("${other} stands for nothing"),
        };
        dice.pick(&texts)
    }

    async fn make(&mut self, (which, seed): Op) -> Vec<Outcome> {
        let (path, template) = REQUESTS[which];
        let mut dice = Dice::new(seed);
        let request = self.fill(template, &mut dice);
        let user = dice.roll(2);
        self.call(user, path, request).await
    }

    /// Makes a call, and where there is another page those that ask for it.
    async fn call(&mut self, user: usize, path: &str, mut request: Json) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        loop {
            let (outcome, answers) = self.call_once(user, path, &request).await;
            outcomes.push(format!("{path} {} {outcome}", told(&request)));
            let tokens = [("pageToken", "nextPageToken"), ("reportsPageToken", "nextReportsPageToken")];
            let next = tokens.iter().find_map(|(member, next)| {
                let token = answers.last()?.get(next)?.as_str()?.to_owned();
                Some((*member, token))
            });
            let Some((member, token)) = next else { return outcomes };
            self.given.push((path.to_owned(), request.clone(), member, token.clone()));
            request[member] = token.into();
        }
    }

    async fn call_once(&mut self, user: usize, path: &str, request: &Json) -> (Outcome, Vec<Json>) {
        let path = format!("/holdpoint.v1.{path}");
        let transport = self.clients[user].transport.clone();
        let stream = wire::call(transport, &path, vec![wire::encode(&path, request)]).await;
        let mut answers = Vec::new();
        let end = match stream {
            Err(status) => Err(status),
            Ok(mut stream) => loop {
                match next(&mut stream).await {
                    Ok(None) => break Ok(()),
                    Err(status) => break Err(status),
                    Ok(Some(bytes)) => {
                        self.see(&bytes);
                        let answer = wire::decode(&path, &bytes);
                        self.learn(&answer);
                        let is_complete = answer.pointer("/message/checkpoint/snapshotComplete").is_some();
                        answers.push(answer);
                        if is_complete {
                            break Ok(());
                        }
                    }
                }
            },
        };
        if let Some(token) = answers.last().and_then(|answer| answer.pointer("/message/resumeToken")) {
            let token = token.as_str().unwrap().to_owned();
            self.given.push((
                path.trim_start_matches("/holdpoint.v1.").to_owned(),
                request.clone(),
                "resumeToken",
                token,
            ));
        }
        let end = match end {
            Ok(()) => "OK".to_owned(),
            Err(status) => {
                self.see(&wire::bytes_of(&status));
                said(&status)
            }
        };
        let told: Vec<_> = answers.iter().map(|answer| told(answer).to_string()).collect();
        (format!("{} {end}", told.join(" ")), answers)
    }

    /// No other organization's text is in what came.
    fn see(&mut self, bytes: &[u8]) {
        self.own_marks += usize::from(wire::holds(bytes, &mark(self.org)));
        for other in ORGS.iter().filter(|other| **other != self.org) {
            // The name of the other is what a caller may have asked with.
            assert!(!wire::holds(bytes, &mark(other)), "{}: {}", self.org, String::from_utf8_lossy(bytes));
            assert!(!wire::holds(bytes, other), "{}: {}", self.org, String::from_utf8_lossy(bytes));
        }
    }

    /// Remembers ids, and looks into tokens.
    fn learn(&mut self, answer: &Json) {
        match answer {
            Json::String(text) => {
                for id in made_ids(text) {
                    if !self.ids.contains(&id) {
                        self.ids.push(id);
                    }
                }
            }
            Json::Array(items) => items.iter().for_each(|item| self.learn(item)),
            Json::Object(members) => {
                for (name, member) in members {
                    if name.ends_with("Token") {
                        let token = wire::opened(member.as_str().unwrap());
                        self.see(&token);
                        assert!(!wire::holds(&token, self.org), "who it is for is in it as a hash");
                    }
                    self.learn(member);
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }

    /// The beginning, then the calls, then the job that others wait for comes to its end. What became of each, what a watch
    /// told meanwhile, and what there is at the end.
    async fn live(&mut self, server: &TestServer, ops: &[Op]) -> Vec<Outcome> {
        let start = json!({"start": "WATCH_START_NOW", "heartbeat": "1s"});
        let path = "/holdpoint.v1.JobService/WatchJobs";
        let transport = self.clients[0].transport.clone();
        let mut watch = wire::call(transport, path, vec![wire::encode(path, &start)]).await.unwrap();
        let mut outcomes = Vec::new();
        for (path, template) in BEGINNING {
            let request = self.fill(template, &mut Dice::new(0));
            outcomes.extend(self.call(0, path, request).await);
        }
        for op in ops {
            outcomes.extend(self.make(*op).await);
        }
        let gate = json!({"metadata": {"clientJobId": "gate", "workflowId": "flow-a", "status": "JOB_STATUS_COMPLETED"}});
        outcomes.extend(self.call(0, "SyncService/BasicSync", gate).await);
        self.wait_for_releases().await;
        outcomes.extend(self.everything().await);
        outcomes.extend(self.watched(server, &mut watch).await);
        outcomes
    }

    /// Returns when nothing waits for `gate` any more.
    async fn wait_for_releases(&mut self) {
        let mut watch = self.clients[0].watch(holdpoint::proto::v1::WatchJobsRequest::default()).await;
        let waiting = json!({"dependentJobId": "gate"});
        loop {
            let (_, answers) = self.call_once(0, "JobService/ListHolds", &waiting).await;
            let holds = answers[0].get("holds").and_then(Json::as_array).cloned().unwrap_or_default();
            if holds.iter().all(|hold| hold.get("releaseTime").is_some() || hold["jobId"] != "holder") {
                return;
            }
            watch.message().await;
        }
    }

    async fn everything(&mut self) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for (path, request) in LISTS {
            let request: Json = serde_json::from_str(request).unwrap();
            outcomes.extend(self.call(0, path, request).await);
        }
        let chosen = ["gate", "holder", "job-a", "job-b", "job-c"].map(str::to_owned);
        for job_id in [chosen.to_vec(), self.learnt("job_")].concat() {
            let views = ["JOB_VIEW_STEPS", "JOB_VIEW_REPORTS", "JOB_VIEW_HOLDS", "JOB_VIEW_TASKS"];
            outcomes
                .extend(self.call(0, "JobService/GetJob", json!({"jobId": job_id, "views": views})).await);
            outcomes.extend(self.call(0, "JobService/ListJobEvents", json!({"jobId": job_id})).await);
        }
        outcomes
    }

    /// The events that a watch has had up to now: of each job those in order.
    async fn watched(&mut self, server: &TestServer, watch: &mut Streaming<Bytes>) -> Vec<Outcome> {
        let path = "/holdpoint.v1.JobService/WatchJobs";
        let until = server.engine.durable_position().sequences;
        let mut jobs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        loop {
            let bytes = next(watch).await.unwrap().expect("the watch goes on");
            self.see(&bytes);
            let answer = wire::decode(path, &bytes);
            self.learn(&answer);
            for event in
                answer.pointer("/message/batch/events").and_then(Json::as_array).into_iter().flatten()
            {
                let job_id = event["jobId"].as_str().unwrap().to_owned();
                jobs.entry(job_id).or_default().push(told(event).to_string());
            }
            let token = wire::opened(answer.pointer("/message/resumeToken").and_then(Json::as_str).unwrap());
            let token = ResumeToken::decode(&token[..token.len() - 8]).unwrap();
            let is_past = token.positions.iter().zip(&until).all(|(place, until)| place.sequence >= until.0);
            if is_past && answer.pointer("/message/checkpoint").is_some() {
                let mut told: Vec<_> =
                    jobs.iter().map(|(id, events)| format!("{} {}", same(id), events.join("\n"))).collect();
                told.sort();
                return told;
            }
        }
    }
}

/// A refusal, whole.
fn said(status: &Status) -> String {
    let details = status.get_error_details();
    let metadata: BTreeMap<_, _> =
        details.error_info().map(|info| info.metadata.clone()).unwrap_or_default().into_iter().collect();
    let info = details.error_info().map(|info| info.reason.clone());
    let bad = details.bad_request().map(|bad| bad.field_violations.clone());
    let resource = details.resource_info();
    let unmet = details.precondition_failure().map(|failure| failure.violations.clone());
    let text = format!(
        "{:?} {:?} {info:?} {metadata:?} {bad:?} {resource:?} {unmet:?} {}",
        status.code(),
        status.message(),
        status.details().len()
    );
    same(&text)
}

/// An answer, less what no two runs have in common.
fn told(answer: &Json) -> Json {
    match answer {
        Json::String(text) => same(text).into(),
        Json::Array(items) => items.iter().map(told).collect::<Vec<_>>().into(),
        Json::Object(members) => {
            let member = |(name, member): (&String, &Json)| {
                let told = match (name.as_str(), told(member)) {
                    (name, _) if name.ends_with("Token") => "a token".into(),
                    // They are in the order of ids.
                    ("holds" | "holdIds" | "snapshots", Json::Array(mut items)) => {
                        items.sort_by_key(Json::to_string);
                        items.into()
                    }
                    (_, told) => told,
                };
                (name.clone(), told)
            };
            Json::Object(members.iter().map(member).collect())
        }
        other => other.clone(),
    }
}

/// A text, less the ids and the times that the server makes.
fn same(text: &str) -> String {
    let mut text = text.to_owned();
    for id in made_ids(&text) {
        let (kind, _) = id.split_once('_').unwrap();
        text = text.replace(&id, &format!("{kind}_*"));
    }
    let is_time = |text: &str| text.len() > 19 && text.as_bytes()[10] == b'T' && text.ends_with('Z');
    if is_time(&text) && text.as_str() > "2024" { "now".to_owned() } else { text }
}

/// The ids in a text that the server made.
fn made_ids(text: &str) -> Vec<String> {
    const TAIL: usize = "0000_".len() + 32;
    let mut ids = Vec::new();
    for prefix in ["job_", "task_", "hold_"] {
        for (at, _) in text.match_indices(prefix) {
            let tail = text[at + prefix.len()..].get(..TAIL).unwrap_or_default();
            if tail.len() == TAIL && tail.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'_') {
                ids.push(format!("{prefix}{tail}"));
            }
        }
    }
    ids
}

/// An id of the same form, in the same partition, that there is not.
fn never_made(id: &str) -> String {
    let (kept, last) = id.split_at(id.len() - 8);
    let turned: String = last.chars().map(|digit| if digit == 'f' { '0' } else { 'f' }).collect();
    format!("{kept}{turned}")
}

/// A tenant asks with what it learnt from the other: for the other's jobs, tasks and holds, and with its tokens.
async fn pry(tenant: &mut Tenant, other: &Tenant) {
    let ids = |prefix: &str| other.learnt(prefix).into_iter().take(2).collect::<Vec<_>>();
    let ids = [ids("job_"), ids("task_"), ids("hold_"), vec!["only-there".to_owned()]].concat();
    for (path, template) in REQUESTS {
        for word in ["$job", "$own", "$task"].iter().filter(|word| template.contains(*word)) {
            for id in &ids {
                // This would make the job.
                if *path == "JobService/CreateJob" && id == "only-there" {
                    continue;
                }
                let missing = if id == "only-there" { "never-made".to_owned() } else { never_made(id) };
                let mut answers = Vec::new();
                for asked in [&missing, id] {
                    let template =
                        template.replace(word, asked).replace("$request", "").replace("$org", tenant.org);
                    let request = tenant.fill(&template, &mut Dice::new(7));
                    let (outcome, answer) = tenant.call_once(0, path, &request).await;
                    let whole = answer.iter().map(Json::to_string).collect::<String>();
                    assert!(!wire::holds(whole.as_bytes(), &mark(other.org)));
                    answers.push(outcome.replace(asked.as_str(), "that").replace(&same(asked), "that"));
                }
                assert_eq!(answers[0], answers[1], "{path} {template} {id}");
            }
        }
    }
    let mut kinds = BTreeSet::new();
    for (path, request, member, token) in &other.given {
        if kinds.insert((path, *member)) {
            let ask = async |tenant: &mut Tenant, token: String| {
                let mut request = request.clone();
                request[*member] = token.into();
                tenant.call_once(0, path, &request).await.0
            };
            let refused = ask(tenant, token.clone()).await;
            assert_eq!(refused, ask(tenant, wire::damaged(token)).await, "{path} {request}");
            let expected =
                if *member == "resumeToken" { "RESUME_TOKEN_INVALID" } else { "PAGE_TOKEN_INVALID" };
            assert!(refused.contains("InvalidArgument") && refused.contains(expected), "{path}: {refused}");
        }
    }
    assert_eq!(kinds.len(), 9, "seven lists and two watches: {kinds:?}");
}

/// The ops of one organization: every request once, and some again.
fn ops(order: &[usize], seeds: u64) -> Vec<Op> {
    let mut dice = Dice::new(seeds);
    let seed = |dice: &mut Dice| dice.roll(usize::MAX) as u64;
    order.iter().map(|which| (*which % REQUESTS.len(), seed(&mut dice))).collect()
}

#[track_caller]
fn assert_same(org: &str, beside: &[Outcome], alone: &[Outcome]) {
    for (beside, alone) in beside.iter().zip(alone) {
        assert_eq!(beside, alone, "{org} fares otherwise beside another");
    }
    assert_eq!(beside.len(), alone.len());
}

async fn two_at_once(first: Vec<Op>, second: Vec<Op>) {
    let (shared, alone) =
        (TestServer::memory().await, [TestServer::memory().await, TestServer::memory().await]);
    let mut tenants = [Tenant::of(&shared, ORGS[0]).await, Tenant::of(&shared, ORGS[1]).await];
    let mut twins = [Tenant::of(&alone[0], ORGS[0]).await, Tenant::of(&alone[1], ORGS[1]).await];
    let [one, other] = &mut tenants;
    let [twin_one, twin_other] = &mut twins;
    let (beside_one, beside_other, alone_one, alone_other) = tokio::join!(
        Box::pin(one.live(&shared, &first)),
        Box::pin(other.live(&shared, &second)),
        Box::pin(twin_one.live(&alone[0], &first)),
        Box::pin(twin_other.live(&alone[1], &second)),
    );
    assert_same(ORGS[0], &beside_one, &alone_one);
    assert_same(ORGS[1], &beside_other, &alone_other);
    assert!(one.own_marks > 50 && other.own_marks > 50, "{} {}", one.own_marks, other.own_marks);
    let ids: [BTreeSet<_>; 2] = [&one.ids, &other.ids].map(|ids| ids.iter().collect());
    assert!(ids[0].is_disjoint(&ids[1]), "{ids:?}");
    assert!(["job_", "task_", "hold_"].iter().all(|prefix| !one.learnt(prefix).is_empty()), "{ids:?}");

    for tenant in [&mut *one, &mut *other] {
        let only = if tenant.org == ORGS[0] { "only-there" } else { "only-here" };
        tenant
            .call(0, "JobService/CreateJob", json!({"jobId": only, "job": {"title": mark(tenant.org)}}))
            .await;
    }
    for (path, template) in PAGES {
        let outcomes = one.call(0, path, one.fill(template, &mut Dice::new(0))).await;
        assert!(outcomes.iter().all(|outcome| outcome.ends_with("OK")), "{outcomes:?}");
    }
    let before = one.everything().await;
    pry(other, one).await;
    assert_eq!(one.everything().await, before, "nothing of it was touched");
}

/// Random calls of two organizations over all RPCs, with the same ids, at once.
#[test]
fn two_organizations_at_once_never_meet() {
    let paths: BTreeSet<_> = REQUESTS.iter().map(|(path, _)| format!("/holdpoint.v1.{path}")).collect();
    assert_eq!(
        paths,
        // What is about the server as a whole is not for organizations.
        access::RPCS
            .iter()
            .filter(|(_, access)| !access.server_wide)
            .map(|(path, _)| (*path).to_owned())
            .collect(),
        "every RPC is driven"
    );

    let all: Vec<usize> = (0..REQUESTS.len()).cycle().take(3 * REQUESTS.len()).collect();
    let strategy = (
        Just(all.clone()).prop_shuffle(),
        Just(all).prop_shuffle(),
        proptest::num::u64::ANY,
        proptest::num::u64::ANY,
    );
    let config = ProptestConfig {
        cases: 6,
        failure_persistence: None,
        max_shrink_iters: 4,
        ..ProptestConfig::default()
    };
    let runtime = LazyLock::new(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    });
    let run = TestRunner::new(config).run(&strategy, |(first, second, seed, other_seed)| {
        runtime.block_on(two_at_once(ops(&first, seed), ops(&second, other_seed)));
        Ok(())
    });
    run.unwrap();
}

/// A token's content names no organization, and the bytes of its page are those of its own.
#[tokio::test]
async fn a_page_token_holds_only_a_place_in_what_is_the_callers() {
    let server = TestServer::memory().await;
    let client = server.client_as(Caller::new("alice").of(ORGS[0])).await;
    for n in 0..3 {
        client.create(&format!("job-{n}"), super::harness::titled("a")).await;
    }
    let request = holdpoint::proto::v1::ListJobsRequest { page_size: 1, ..Default::default() };
    let page = client.jobs.clone().list_jobs(request).await.unwrap().into_inner();
    let token = wire::opened(&page.next_page_token);
    let token = PageToken::decode(&token[..token.len() - 8]).unwrap();
    assert_eq!((token.id.as_str(), token.scope.len()), ("job-2", 16));

    let stranger = server.client_as(Caller::new("alice").of(ORGS[1])).await;
    let request = holdpoint::proto::v1::ListJobsRequest {
        page_size: 1,
        page_token: page.next_page_token,
        ..Default::default()
    };
    let refused = stranger.jobs.clone().list_jobs(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

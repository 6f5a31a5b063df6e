//! What executors report of tasks and of workflow executions: SPEC 3.2, row by row, as its clients meet it.
//!
//! Reports are written in words, so that a row reads like the rule it tests: see [`Said`].

use std::{collections::BTreeSet, sync::Arc};

use expect_test::{Expect, expect};
use holdpoint::{
    config::{Config, Limits},
    domain::form,
    proto::{
        Document,
        v1::{
            CompletionStatus, CreateTaskStatusRequest, ErrorReason,
            ExecutionStatus::{Closed, Started},
            GetWorkflowInstanceRequest, JobActionType, JobEvent, JobEventType, JobStatus,
            ListWorkflowInstancesRequest, ReportOutcome, Reporter, SequenceRange, StepKind, StepStatus,
            TaskExecution, TaskFilter, TaskStatus, TaskType, UpdateExecutionTaskStatusRequest,
            UpdateExecutionTaskStatusResponse, UpdateExecutionWorkflowStatusRequest,
            UpdateExecutionWorkflowStatusResponse, WorkflowAttempt, WorkflowInstance,
        },
    },
};
use prost_types::{Timestamp, Value};
use tokio::{sync::Barrier, task::JoinSet};
use tonic::{Code, Status};

use super::harness::{
    Call, Caller, Client, Process, TestServer, Watch, chain, close, config, delete, fields, following,
    from_json, get_instance, instances_of, line, perform, refused, reopen, replace, report_task,
    report_workflow, reporter, stable, step, titled, to_json, within,
};

const TASK_REQUEST: &str = "holdpoint.v1.UpdateExecutionTaskStatusRequest";
const WORKFLOW_REQUEST: &str = "holdpoint.v1.UpdateExecutionWorkflowStatusRequest";

/// What somebody says, in words.
///
/// `a STARTED 10` and `workflow CLOSED 20` are reports, with the executor's clock in milliseconds. The task `a` has the
/// sequence id 0, `b` 1 and so on, and the name of its state is its letter in upper case; `@a` is the task `a` called by
/// the id that it has with us. Words that follow change the rest of the report: `by=bob`, `data=x`, `close_job`.
/// `job closes`, `job reopens` and `a is Success` are what others do.
#[derive(Clone, Debug)]
enum Said {
    Task(UpdateExecutionTaskStatusRequest),
    Workflow(UpdateExecutionWorkflowStatusRequest),
    Other(Box<Call>),
}

/// What a report is answered.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    outcome: ReportOutcome,
    revision: i64,
    task: Option<TaskStatus>,
    instance: Option<WorkflowInstance>,
    missing: (Vec<SequenceRange>, i64),
    terminated: Vec<String>,
}

impl From<UpdateExecutionTaskStatusResponse> for Answer {
    fn from(reply: UpdateExecutionTaskStatusResponse) -> Self {
        Self {
            outcome: reply.outcome(),
            revision: reply.revision,
            missing: (reply.missing_sequences, reply.missing_sequence_count),
            task: reply.task,
            instance: None,
            terminated: Vec::new(),
        }
    }
}

impl From<UpdateExecutionWorkflowStatusResponse> for Answer {
    fn from(reply: UpdateExecutionWorkflowStatusResponse) -> Self {
        Self {
            outcome: reply.outcome(),
            revision: reply.revision,
            missing: (Vec::new(), 0),
            task: None,
            instance: reply.workflow_instance,
            terminated: reply.terminated_task_ids,
        }
    }
}

impl Said {
    fn trial(mut self) -> Self {
        match &mut self {
            Self::Task(request) => request.validate_only = true,
            Self::Workflow(request) => request.validate_only = true,
            Self::Other(_) => {}
        }
        self
    }

    fn stamped(mut self, request_id: &str) -> Self {
        match &mut self {
            Self::Task(request) => request_id.clone_into(&mut request.request_id),
            Self::Workflow(request) => request_id.clone_into(&mut request.request_id),
            Self::Other(_) => {}
        }
        self
    }

    async fn ask(self, client: &Client) -> Result<Answer, Status> {
        match self {
            Self::Task(request) => {
                let reply = client.tasks.clone().update_execution_task_status(request).await?;
                Ok(reply.into_inner().into())
            }
            Self::Workflow(request) => {
                let reply = client.workflows.clone().update_execution_workflow_status(request).await?;
                Ok(reply.into_inner().into())
            }
            Self::Other(call) => panic!("{call:?} is no report"),
        }
    }
}

/// Free data with one member.
#[expect(clippy::unnecessary_wraps, reason = "it makes the optional members of messages")]
fn gave(what: &str) -> Option<Document> {
    Some(fields([("gave", what.to_owned().into())]))
}

/// A job, and what is said of it.
struct Story<'c> {
    client: &'c Client,
    watch: &'c mut Watch,
    job_id: String,
    /// How much was said.
    count: usize,
}

impl Story<'_> {
    /// The id of a task that an executor calls so; the newest attempt's where several have one.
    async fn id_of(&self, task_id: &str) -> String {
        let tasks = self.tasks().await;
        let is_it = |task: &&TaskStatus| task.execution.as_ref().unwrap().task_id == task_id;
        tasks.iter().rfind(is_it).unwrap_or_else(|| panic!("there is no {task_id}")).id.clone()
    }

    /// The tasks of the job, by attempt and sequence id.
    async fn tasks(&self) -> Vec<TaskStatus> {
        let filter = TaskFilter { job_id: self.job_id.clone(), ..TaskFilter::default() };
        let mut tasks = self.client.list_tasks(filter).await;
        tasks.sort_by_key(|task| {
            let execution = task.execution.clone().unwrap();
            (execution.workflow_instance_id, execution.attempt_id, execution.sequence_id)
        });
        tasks
    }

    async fn parse(&self, words: &str) -> Said {
        let job_id = self.job_id.as_str();
        let parts: Vec<&str> = words.split(' ').collect();
        let (status, time, rest) = match parts[..] {
            ["job", "closes"] => return Said::Other(Box::new(close(job_id).into())),
            ["job", "reopens"] => return Said::Other(Box::new(reopen(job_id, &[]).into())),
            [task, "is", word] => {
                let word = word.to_owned();
                let patch = replace(&self.id_of(task).await, "completionStatus", word);
                return Said::Other(Box::new(patch.into()));
            }
            [_, "STARTED", time, ref rest @ ..] => (Started, time, rest),
            [_, "CLOSED", time, ref rest @ ..] => (Closed, time, rest),
            _ => panic!("what is {words:?}"),
        };
        let time = time.parse().unwrap();
        if parts[0] == "workflow" {
            let mut request = report_workflow(job_id, status, time);
            for word in rest {
                match word.split_once('=') {
                    None if *word == "close_job" => request.close_job = true,
                    Some(("attempt", id)) => request.attempt_id = Some(id.parse().unwrap()),
                    Some(("run", id)) => request.workflow_instance_id = Some(id.to_owned()),
                    Some(("dispatch", id)) => request.dispatch_id = Some(id.to_owned()),
                    Some(("code", code)) => request.code = Some(code.to_owned()),
                    Some(("data", what)) => request.data = gave(what),
                    Some(("meta", what)) => request.meta = gave(what),
                    Some(("by", id)) => request.updated_by = Some(reporter(id)),
                    _ => panic!("what is {word:?} of {words:?}"),
                }
            }
            return Said::Workflow(request);
        }
        let name = parts[0].trim_start_matches('@');
        let task_id = if name == parts[0] { name.to_owned() } else { self.id_of(name).await };
        let sequence_id = i64::from(name.as_bytes()[0] - b'a');
        let mut request = report_task(job_id, &task_id, sequence_id, status, time);
        request.state_name = Some(name.to_uppercase());
        for word in rest {
            match word.split_once('=') {
                Some(("attempt", id)) => request.attempt_id = Some(id.parse().unwrap()),
                Some(("run", id)) => request.workflow_instance_id = Some(id.to_owned()),
                Some(("dispatch", id)) => request.dispatch_id = Some(id.to_owned()),
                Some(("sequence", id)) => request.sequence_id = Some(id.parse().unwrap()),
                Some(("state", name)) => request.state_name = Some(name.to_owned()),
                Some(("data", what)) => request.data = gave(what),
                Some(("meta", what)) => request.meta = gave(what),
                Some(("by", id)) => request.updated_by = Some(reporter(id)),
                Some(("app", id)) => {
                    request.updated_by.as_mut().unwrap().app_id = Some(id.to_owned());
                }
                Some(("name", name)) => {
                    request.updated_by.as_mut().unwrap().name = Some(name.to_owned());
                }
                Some(("ends", word)) => {
                    let name = format!("COMPLETION_STATUS_{word}");
                    request.set_completion_status(CompletionStatus::from_str_name(&name).unwrap());
                }
                _ => panic!("what is {word:?} of {words:?}"),
            }
        }
        Said::Task(request)
    }

    /// What becomes of it, and which events a watcher is told. A report is tried first, which changes nothing; sent twice
    /// under one request id, which counts once; and, if it is accepted, sent once more, which says what is known.
    async fn tell(&mut self, words: &str) -> String {
        let said = self.parse(words).await;
        let before = self.client.job(&self.job_id).await.revision;
        if let Said::Other(call) = said {
            self.client.call(*call).await.unwrap();
            return self.told(before, "").await.0;
        }
        let trial = said.clone().trial().ask(self.client).await;
        assert_eq!(
            self.client.job(&self.job_id).await.revision,
            before,
            "a trial of {words:?} changes nothing"
        );
        self.count += 1;
        let request_id = format!("{} {}", self.job_id, self.count);
        let stamped = said.clone().stamped(&request_id);
        let answer = stamped.clone().ask(self.client).await;
        let (events, last) = self.told(before, &request_id).await;
        let again = stamped.ask(self.client).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(status) => {
                let refusal = line(&status);
                for other in [trial, again] {
                    assert_eq!(line(&other.unwrap_err()), refusal, "{words:?}");
                }
                assert_eq!(events, "", "{words:?} is refused");
                return format!(" ! {refusal}");
            }
        };
        let trial = trial.unwrap();
        assert_eq!(
            (trial.outcome, trial.revision, &trial.missing, &trial.terminated),
            (answer.outcome, answer.revision, &answer.missing, &answer.terminated),
            "{words:?}"
        );
        assert_eq!(again.unwrap(), answer, "{words:?} is answered as before");
        let repeat = said.ask(self.client).await.unwrap();
        assert_eq!(
            repeat,
            Answer { outcome: ReportOutcome::Unchanged, terminated: Vec::new(), ..answer.clone() }
        );
        assert_eq!(
            self.client.job(&self.job_id).await.revision,
            answer.revision,
            "{words:?} says what is known"
        );
        if let Some(task) = &answer.task {
            assert_eq!(self.client.task(&task.id).await, *task, "{words:?}");
            if let Some(event) = last.iter().rev().find(|event| event.task.is_some()) {
                assert_eq!(event.task.as_deref(), answer.task.as_ref(), "{words:?}");
            }
        }
        if let Some(instance) = &answer.instance {
            self.check_instance(instance).await;
        }
        let mut told =
            format!("{}{events}", answer.outcome.as_str_name().trim_start_matches("REPORT_OUTCOME_"));
        let (missing, count) = &answer.missing;
        if *count > 0 {
            told.push_str(&format!(", missing {}", ranges(missing, *count)));
        }
        if !answer.terminated.is_empty() {
            let tasks = self.tasks().await;
            let names =
                answer.terminated.iter().map(|id| name_of(tasks.iter().find(|task| task.id == *id).unwrap()));
            told.push_str(&format!(", terminated {}", names.collect::<Vec<_>>().join(" ")));
        }
        format!(" {told}")
    }

    /// The events that follow a revision, as a watcher is told them, and as text.
    async fn told(&mut self, revision: i64, request_id: &str) -> (String, Vec<JobEvent>) {
        let mut text = String::new();
        let mut events = Vec::new();
        for revision in revision + 1..=self.client.job(&self.job_id).await.revision {
            let event = self.watch.event().await;
            assert_eq!((event.job_id.as_str(), event.revision), (self.job_id.as_str(), revision));
            assert_eq!(event.request_id, request_id);
            let kind = event.r#type().as_str_name().trim_start_matches("JOB_EVENT_TYPE_");
            text.push_str(&format!(" {kind}"));
            let instance = event.workflow_instance.as_ref().filter(|_| !kind.starts_with("WORKFLOW_"));
            for attempt in instance.iter().flat_map(|instance| &instance.attempts) {
                text.push_str(&format!(
                    "({}/{})",
                    instance.unwrap().workflow_instance_id,
                    attempt.attempt_id
                ));
            }
            events.push(event);
        }
        (text, events)
    }

    /// What a report is answered is the instance, with no more than the attempt, and that without its tasks.
    async fn check_instance(&self, told: &WorkflowInstance) {
        let attempt_id = told.attempts[0].attempt_id;
        let request = GetWorkflowInstanceRequest {
            attempt_id: Some(attempt_id),
            ..get_instance(&self.job_id, &told.workflow_instance_id)
        };
        let reply = self.client.workflows.clone().get_workflow_instance(request).await.unwrap();
        let mut instance = reply.into_inner().workflow_instance.unwrap();
        let newest = instance.attempts.last().unwrap().attempt_id;
        instance.attempts.retain(|attempt| attempt.attempt_id == attempt_id);
        instance.attempts[0].task_ids.clear();
        if attempt_id != newest {
            instance.attempts[0].missing_sequences.clear();
            instance.attempts[0].missing_sequence_count = 0;
        }
        assert_eq!(instance, *told);
    }

    /// How it ends: the job, its instances with all their attempts, and its tasks.
    async fn end(&self) -> String {
        let job = self.client.job(&self.job_id).await;
        let mut text = format!("    job {}", job.status().as_str_name().trim_start_matches("JOB_STATUS_"));
        if job.closed {
            text.push_str(" closed");
        }
        if let Some(code) = &job.objective_code {
            text.push_str(&format!(" {code}"));
        }
        text.push('\n');
        let tasks = self.tasks().await;
        for listed in self.client.instances(instances_of(&self.job_id)).await {
            let id = &listed.workflow_instance_id;
            assert_eq!(self.client.instance(&self.job_id, id).await, listed);
            assert_eq!(usize::try_from(listed.attempt_count).unwrap(), listed.attempts.len());
            for attempt in &listed.attempts {
                let request = GetWorkflowInstanceRequest {
                    attempt_id: Some(attempt.attempt_id),
                    ..get_instance(&self.job_id, id)
                };
                let reply = self.client.workflows.clone().get_workflow_instance(request).await.unwrap();
                let instance = reply.into_inner().workflow_instance.unwrap();
                let whole = instance.attempts.iter().find(|whole| whole.attempt_id == attempt.attempt_id);
                text.push_str(&format!("    {id}/{}\n", attempt_text(whole.unwrap(), &tasks)));
            }
        }
        for task in &tasks {
            text.push_str(&format!("    {}\n", task_text(task)));
        }
        text
    }
}

/// The executor's id of a task.
fn name_of(task: &TaskStatus) -> String {
    task.execution.as_ref().unwrap().task_id.clone()
}

fn ranges(ranges: &[SequenceRange], count: i64) -> String {
    let ranges = ranges.iter().map(|range| format!("{}-{}", range.first, range.last));
    format!("{} ({count})", ranges.collect::<Vec<_>>().join(" "))
}

/// A time by an executor's clock, in milliseconds.
fn millis(time: Option<Timestamp>) -> String {
    time.map_or("?".to_owned(), |time| (time.seconds * 1_000 + i64::from(time.nanos / 1_000_000)).to_string())
}

/// Free data as JSON; nothing where there is none.
fn json(what: &str, data: Option<&Document>) -> String {
    let Some(data) = data.filter(|data| !data.is_empty()) else { return String::new() };
    let value = prost_types::value::Kind::StructValue(data.members());
    format!(" {what}={}", form::of_value(&Value { kind: Some(value) }))
}

fn attempt_text(attempt: &WorkflowAttempt, tasks: &[TaskStatus]) -> String {
    let status = attempt.status().as_str_name().trim_start_matches("EXECUTION_STATUS_");
    let mut text = format!("{} {status}", attempt.attempt_id);
    if attempt.launched.is_some() || attempt.completed.is_some() {
        text.push_str(&format!(" {}-{}", millis(attempt.launched), millis(attempt.completed)));
    }
    if let Some(by) = &attempt.updated_by {
        text.push_str(&format!(" by={} at={}", by.id(), millis(attempt.report_time)));
    }
    if let Some(code) = &attempt.code {
        text.push_str(&format!(" code={code}"));
    }
    text.push_str(&json("data", attempt.data.as_ref()));
    text.push_str(&json("meta", attempt.meta.as_ref()));
    let flags = [(attempt.collated, "collated"), (attempt.close_job, "close_job"), (attempt.late, "late")];
    for (_, flag) in flags.iter().filter(|(is_set, _)| *is_set) {
        text.push_str(&format!(" {flag}"));
    }
    let names = attempt.task_ids.iter().map(|id| name_of(tasks.iter().find(|task| task.id == *id).unwrap()));
    text.push_str(&format!(" [{}]", names.collect::<Vec<_>>().join(" ")));
    if attempt.missing_sequence_count > 0 {
        let missing = ranges(&attempt.missing_sequences, attempt.missing_sequence_count);
        text.push_str(&format!(" missing {missing}"));
    }
    text
}

fn task_text(task: &TaskStatus) -> String {
    let execution = task.execution.as_ref().unwrap();
    let word = |name: &'static str, prefix: &str| name.trim_start_matches(prefix).to_owned();
    let status = word(execution.status().as_str_name(), "EXECUTION_STATUS_");
    let ended = word(task.completion_status().as_str_name(), "COMPLETION_STATUS_");
    let completed = match (task.completed, execution.status()) {
        (Some(time), _) if time.seconds > 1_000_000_000 => "now".to_owned(),
        (time, _) => millis(time),
    };
    let place =
        format!("{}/{}#{}", execution.workflow_instance_id, execution.attempt_id, execution.sequence_id);
    let mut text = format!("{} {place} {status} {}-{completed}", execution.task_id, millis(task.launched));
    if task.completion_status() != CompletionStatus::Unspecified {
        text.push_str(&format!(" {ended}"));
    }
    if execution.completion_status() != task.completion_status() {
        let reported = word(execution.completion_status().as_str_name(), "COMPLETION_STATUS_");
        text.push_str(&format!(" (reported {reported})"));
    }
    if let Some(by) = &execution.started_by {
        text.push_str(&format!(" started_by={}", by.id()));
    }
    if let Some(by) = &task.updated_by {
        text.push_str(&format!(" by={} at={}", by.id(), millis(execution.report_time)));
    }
    text.push_str(&json("data", task.data.as_ref()));
    text.push_str(&json("meta", task.meta.as_ref()));
    if execution.late {
        text.push_str(" late");
    }
    text
}

/// Each row is a job of its own, and what is said of it, one thing after another.
async fn check(rows: &[(&str, &[&str])], expected: Expect) {
    let server = TestServer::memory().await;
    let client = server.client().await;
    let mut watch = client.watch_on().await;
    let mut text = String::new();
    for (n, (title, said)) in rows.iter().enumerate() {
        let job_id = format!("job-{n}");
        client.create(&job_id, titled(title)).await;
        watch.find(JobEventType::JobCreated).await;
        text.push_str(&format!("{title}\n"));
        let mut story = Story { client: &client, watch: &mut watch, job_id, count: 0 };
        for words in *said {
            let told = story.tell(words).await;
            text.push_str(&format!("  {words}:{told}\n"));
        }
        text.push_str(&story.end().await);
    }
    expected.assert_eq(&stable(&text));
}

#[tokio::test]
async fn a_task_starts_and_is_closed() {
    check(
        &[
            ("started, then closed", &["a STARTED 10 data=x meta=u", "a CLOSED 20 data=y meta=v"]),
            ("what CLOSED says stands", &["a STARTED 10 data=x meta=u", "a CLOSED 20 by=bob"]),
            ("closed first", &["a CLOSED 20 data=y", "a STARTED 10 data=x"]),
            ("closed first, by another", &["a CLOSED 20 by=bob", "a STARTED 10"]),
            ("only closed", &["a CLOSED 20"]),
            ("at the same moment", &["a STARTED 10", "a CLOSED 10"]),
            ("how it ended", &["a CLOSED 20 ends=SUCCESS", "b CLOSED 20 ends=WARNING", "c CLOSED 20 ends=ERROR"]),
            ("other ends", &["a CLOSED 20 ends=TERMINATED", "b STARTED 1", "b CLOSED 20 ends=TEMP_ERROR"]),
        ],
        expect![[r#"
            started, then closed
              a STARTED 10 data=x meta=u: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a CLOSED 20 data=y meta=v: RECORDED TASK_COMPLETED
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 CLOSED 10-20 SUCCESS started_by=robot by=robot at=20 data={"gave":"y"} meta={"gave":"v"}
            what CLOSED says stands
              a STARTED 10 data=x meta=u: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a CLOSED 20 by=bob: RECORDED TASK_COMPLETED
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 CLOSED 10-20 SUCCESS started_by=robot by=bob at=20
            closed first
              a CLOSED 20 data=y: RECORDED JOB_UPDATED TASK_CREATED(run/0) TASK_COMPLETED
              a STARTED 10 data=x: RECORDED TASK_UPDATED
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 CLOSED 10-20 SUCCESS started_by=robot by=robot at=20 data={"gave":"y"}
            closed first, by another
              a CLOSED 20 by=bob: RECORDED JOB_UPDATED TASK_CREATED(run/0) TASK_COMPLETED
              a STARTED 10: RECORDED TASK_UPDATED
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 CLOSED 10-20 SUCCESS started_by=robot by=bob at=20
            only closed
              a CLOSED 20: RECORDED JOB_UPDATED TASK_CREATED(run/0) TASK_COMPLETED
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 CLOSED ?-20 SUCCESS by=robot at=20
            at the same moment
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a CLOSED 10: RECORDED TASK_COMPLETED
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 CLOSED 10-10 SUCCESS started_by=robot by=robot at=10
            how it ended
              a CLOSED 20 ends=SUCCESS: RECORDED JOB_UPDATED TASK_CREATED(run/0) TASK_COMPLETED
              b CLOSED 20 ends=WARNING: RECORDED TASK_CREATED TASK_COMPLETED
              c CLOSED 20 ends=ERROR: RECORDED TASK_CREATED TASK_COMPLETED
                job ACTIVE
                run/0 UNSPECIFIED [a b c]
                a run/0#0 CLOSED ?-20 SUCCESS by=robot at=20
                b run/0#1 CLOSED ?-20 WARNING by=robot at=20
                c run/0#2 CLOSED ?-20 ERROR by=robot at=20
            other ends
              a CLOSED 20 ends=TERMINATED: RECORDED JOB_UPDATED TASK_CREATED(run/0) TASK_COMPLETED
              b STARTED 1: RECORDED TASK_CREATED
              b CLOSED 20 ends=TEMP_ERROR: RECORDED TASK_COMPLETED
                job ACTIVE
                run/0 UNSPECIFIED [a b]
                a run/0#0 CLOSED ?-20 TERMINATED by=robot at=20
                b run/0#1 CLOSED 1-20 TEMP_ERROR started_by=robot by=robot at=20
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_task_is_started_again() {
    check(
        &[
            ("later", &["a STARTED 10 data=x", "a STARTED 15 data=y", "a CLOSED 20"]),
            ("earlier", &["a STARTED 10 data=x", "a STARTED 5 data=y", "a STARTED 1 data=z"]),
            ("after it was closed", &["a STARTED 10", "a CLOSED 20 data=y", "a STARTED 5 data=x"]),
            ("between", &["a STARTED 10", "a CLOSED 20 data=y", "a STARTED 15 data=x"]),
            ("under another name", &["a STARTED 10", "a STARTED 15 name=Robbie"]),
            ("by another", &["a STARTED 10", "a STARTED 15 by=bob", "a STARTED 5 by=bob", "a CLOSED 20 by=bob"]),
            ("by another application", &["a STARTED 10", "a STARTED 15 app=other"]),
            ("by another, later", &["a STARTED 10", "a CLOSED 20", "a STARTED 12 by=bob"]),
            ("two claim what is closed", &["a CLOSED 20", "a STARTED 10 by=bob", "a STARTED 11"]),
        ],
        expect![[r#"
            later
              a STARTED 10 data=x: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a STARTED 15 data=y: RECORDED TASK_UPDATED
              a CLOSED 20: RECORDED TASK_COMPLETED
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 CLOSED 10-20 SUCCESS started_by=robot by=robot at=20
            earlier
              a STARTED 10 data=x: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a STARTED 5 data=y: RECORDED TASK_UPDATED
              a STARTED 1 data=z: RECORDED TASK_UPDATED
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 STARTED 1-? started_by=robot by=robot at=10 data={"gave":"x"}
            after it was closed
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a CLOSED 20 data=y: RECORDED TASK_COMPLETED
              a STARTED 5 data=x: RECORDED TASK_UPDATED
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 CLOSED 5-20 SUCCESS started_by=robot by=robot at=20 data={"gave":"y"}
            between
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a CLOSED 20 data=y: RECORDED TASK_COMPLETED
              a STARTED 15 data=x: UNCHANGED
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 CLOSED 10-20 SUCCESS started_by=robot by=robot at=20 data={"gave":"y"}
            under another name
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a STARTED 15 name=Robbie: RECORDED TASK_UPDATED
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 STARTED 10-? started_by=robot by=robot at=15
            by another
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a STARTED 15 by=bob: ! FailedPrecondition TASK_ALREADY_STARTED {"startedBy": "robot", "taskId": "task_*"}
              a STARTED 5 by=bob: ! FailedPrecondition TASK_ALREADY_STARTED {"startedBy": "robot", "taskId": "task_*"}
              a CLOSED 20 by=bob: RECORDED TASK_COMPLETED
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 CLOSED 10-20 SUCCESS started_by=robot by=bob at=20
            by another application
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a STARTED 15 app=other: ! FailedPrecondition TASK_ALREADY_STARTED {"startedBy": "robot", "taskId": "task_*"}
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 STARTED 10-? started_by=robot by=robot at=10
            by another, later
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a CLOSED 20: RECORDED TASK_COMPLETED
              a STARTED 12 by=bob: ! FailedPrecondition TASK_ALREADY_STARTED {"startedBy": "robot", "taskId": "task_*"}
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 CLOSED 10-20 SUCCESS started_by=robot by=robot at=20
            two claim what is closed
              a CLOSED 20: RECORDED JOB_UPDATED TASK_CREATED(run/0) TASK_COMPLETED
              a STARTED 10 by=bob: RECORDED TASK_UPDATED
              a STARTED 11: ! FailedPrecondition TASK_ALREADY_STARTED {"startedBy": "bob", "taskId": "task_*"}
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 CLOSED 10-20 SUCCESS started_by=bob by=robot at=20
        "#]],
    )
    .await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    check(
        &[
            (
                "closed again, otherwise",
                &[
                    "a STARTED 10",
                    "a CLOSED 20 data=x",
                    "a CLOSED 21 data=x",
                    "a CLOSED 20",
                    "a CLOSED 20 data=x meta=x",
                    "a CLOSED 20 data=x by=bob",
                    "a CLOSED 20 data=x ends=ERROR",
                ],
            ),
            ("it ended before it started", &["a STARTED 20", "a CLOSED 19", "a CLOSED 20"]),
            ("it started after it ended", &["a CLOSED 10", "a STARTED 11", "a STARTED 10"]),
            ("a sequence id that is taken", &["a STARTED 10", "b STARTED 10 sequence=0", "b STARTED 10"]),
            (
                "known otherwise",
                &[
                    "a STARTED 10",
                    "a CLOSED 20 state=Z",
                    "a CLOSED 20 sequence=7",
                    "a CLOSED 20 dispatch=other",
                    "b STARTED 10 dispatch=other",
                    "workflow CLOSED 20 dispatch=other",
                    "@a CLOSED 20 run=other",
                ],
            ),
            ("known all the same", &["a STARTED 10", "@a CLOSED 20", "a STARTED 9"]),
            ("others of the same name", &["a STARTED 10", "a STARTED 10 run=other by=bob", "a CLOSED 20 run=other"]),
        ],
        expect![[r#"
            closed again, otherwise
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a CLOSED 20 data=x: RECORDED TASK_COMPLETED
              a CLOSED 21 data=x: ! FailedPrecondition TASK_ALREADY_CLOSED {"taskId": "task_*"}
              a CLOSED 20: ! FailedPrecondition TASK_ALREADY_CLOSED {"taskId": "task_*"}
              a CLOSED 20 data=x meta=x: ! FailedPrecondition TASK_ALREADY_CLOSED {"taskId": "task_*"}
              a CLOSED 20 data=x by=bob: ! FailedPrecondition TASK_ALREADY_CLOSED {"taskId": "task_*"}
              a CLOSED 20 data=x ends=ERROR: ! FailedPrecondition TASK_ALREADY_CLOSED {"taskId": "task_*"}
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 CLOSED 10-20 SUCCESS started_by=robot by=robot at=20 data={"gave":"x"}
            it ended before it started
              a STARTED 20: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a CLOSED 19: ! FailedPrecondition TIMESTAMP_REGRESSION {"completed": "1970-01-01T00:00:00.019Z", "launched": "1970-01-01T00:00:00.020Z"}
              a CLOSED 20: RECORDED TASK_COMPLETED
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 CLOSED 20-20 SUCCESS started_by=robot by=robot at=20
            it started after it ended
              a CLOSED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0) TASK_COMPLETED
              a STARTED 11: ! FailedPrecondition TIMESTAMP_REGRESSION {"completed": "1970-01-01T00:00:00.010Z", "launched": "1970-01-01T00:00:00.011Z"}
              a STARTED 10: RECORDED TASK_UPDATED
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 CLOSED 10-10 SUCCESS started_by=robot by=robot at=10
            a sequence id that is taken
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              b STARTED 10 sequence=0: ! FailedPrecondition SEQUENCE_CONFLICT {"sequenceId": "0"}
              b STARTED 10: RECORDED TASK_CREATED
                job ACTIVE
                run/0 UNSPECIFIED [a b]
                a run/0#0 STARTED 10-? started_by=robot by=robot at=10
                b run/0#1 STARTED 10-? started_by=robot by=robot at=10
            known otherwise
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a CLOSED 20 state=Z: ! FailedPrecondition EXECUTION_MISMATCH {"field": "state_name", "known": "A"}
              a CLOSED 20 sequence=7: ! FailedPrecondition EXECUTION_MISMATCH {"field": "sequence_id", "known": "0"}
              a CLOSED 20 dispatch=other: ! FailedPrecondition EXECUTION_MISMATCH {"field": "dispatch_id", "known": "dispatch"}
              b STARTED 10 dispatch=other: ! FailedPrecondition EXECUTION_MISMATCH {"field": "dispatch_id", "known": "dispatch"}
              workflow CLOSED 20 dispatch=other: ! FailedPrecondition EXECUTION_MISMATCH {"field": "dispatch_id", "known": "dispatch"}
              @a CLOSED 20 run=other: ! FailedPrecondition EXECUTION_MISMATCH {"field": "workflow_instance_id", "known": "run"}
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 STARTED 10-? started_by=robot by=robot at=10
            known all the same
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              @a CLOSED 20: RECORDED TASK_COMPLETED
              a STARTED 9: RECORDED TASK_UPDATED
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 CLOSED 9-20 SUCCESS started_by=robot by=robot at=20
            others of the same name
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a STARTED 10 run=other by=bob: RECORDED TASK_CREATED(other/0)
              a CLOSED 20 run=other: RECORDED TASK_COMPLETED
                job ACTIVE
                other/0 UNSPECIFIED [a]
                run/0 UNSPECIFIED [a]
                a other/0#0 CLOSED 10-20 SUCCESS started_by=bob by=robot at=20
                a run/0#0 STARTED 10-? started_by=robot by=robot at=10
        "#]],
    )
    .await;
}

#[tokio::test]
async fn sequence_ids_that_are_missing_are_told() {
    check(
        &[
            ("a gap", &["a STARTED 10", "e STARTED 10", "c STARTED 10", "b STARTED 10", "d STARTED 10"]),
            ("not from 0", &["f STARTED 10", "h STARTED 10", "d STARTED 10", "workflow CLOSED 20"]),
            ("none is missing of a new attempt", &["a STARTED 10", "c STARTED 10", "d STARTED 10 attempt=1"]),
            (
                "the greatest there is",
                &["a STARTED 10", "b STARTED 10 sequence=9223372036854775807", "c CLOSED 20 sequence=9223372036854775806"],
            ),
        ],
        expect![[r#"
            a gap
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              e STARTED 10: RECORDED TASK_CREATED, missing 1-3 (3)
              c STARTED 10: RECORDED TASK_CREATED, missing 1-1 3-3 (2)
              b STARTED 10: RECORDED TASK_CREATED, missing 3-3 (1)
              d STARTED 10: RECORDED TASK_CREATED
                job ACTIVE
                run/0 UNSPECIFIED [a b c d e]
                a run/0#0 STARTED 10-? started_by=robot by=robot at=10
                b run/0#1 STARTED 10-? started_by=robot by=robot at=10
                c run/0#2 STARTED 10-? started_by=robot by=robot at=10
                d run/0#3 STARTED 10-? started_by=robot by=robot at=10
                e run/0#4 STARTED 10-? started_by=robot by=robot at=10
            not from 0
              f STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              h STARTED 10: RECORDED TASK_CREATED, missing 6-6 (1)
              d STARTED 10: RECORDED TASK_CREATED, missing 4-4 6-6 (2)
              workflow CLOSED 20: RECORDED TASK_COMPLETED TASK_COMPLETED TASK_COMPLETED WORKFLOW_CLOSED, terminated d f h
                job ACTIVE
                run/0 CLOSED ?-20 by=robot at=20 code=done collated [d f h] missing 4-4 6-6 (2)
                d run/0#3 STARTED 10-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=10
                f run/0#5 STARTED 10-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=10
                h run/0#7 STARTED 10-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=10
            none is missing of a new attempt
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              c STARTED 10: RECORDED TASK_CREATED, missing 1-1 (1)
              d STARTED 10 attempt=1: RECORDED TASK_COMPLETED TASK_COMPLETED TASK_CREATED(run/1)
                job ACTIVE
                run/0 UNSPECIFIED [a c] missing 1-1 (1)
                run/1 UNSPECIFIED [d]
                a run/0#0 STARTED 10-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=10
                c run/0#2 STARTED 10-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=10
                d run/1#3 STARTED 10-? started_by=robot by=robot at=10
            the greatest there is
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              b STARTED 10 sequence=9223372036854775807: RECORDED TASK_CREATED, missing 1-9223372036854775806 (9223372036854775806)
              c CLOSED 20 sequence=9223372036854775806: RECORDED TASK_CREATED TASK_COMPLETED, missing 1-9223372036854775805 (9223372036854775805)
                job ACTIVE
                run/0 UNSPECIFIED [a c b] missing 1-9223372036854775805 (9223372036854775805)
                a run/0#0 STARTED 10-? started_by=robot by=robot at=10
                c run/0#9223372036854775806 CLOSED ?-20 SUCCESS by=robot at=20
                b run/0#9223372036854775807 STARTED 10-? started_by=robot by=robot at=10
        "#]],
    )
    .await;
}

#[tokio::test]
async fn attempts_follow_one_another() {
    check(
        &[
            (
                "a higher one ends what is open",
                &[
                    "a STARTED 10",
                    "b CLOSED 20",
                    "c STARTED 10",
                    "a STARTED 30 attempt=1 data=x",
                    "a CLOSED 40 attempt=1",
                ],
            ),
            (
                "by a report of the workflow",
                &["workflow STARTED 5", "a STARTED 10", "workflow STARTED 30 attempt=7"],
            ),
            (
                "a lower one is stale",
                &[
                    "workflow STARTED 5 attempt=3",
                    "a STARTED 10 attempt=3",
                    "workflow STARTED 30 attempt=7",
                    "a CLOSED 20 attempt=3",
                    "b STARTED 20 attempt=3",
                    "b STARTED 20 attempt=5",
                    "workflow CLOSED 20 attempt=3",
                    "workflow STARTED 20 attempt=5",
                ],
            ),
            (
                "what is known of an older one",
                &[
                    "workflow STARTED 5",
                    "a STARTED 10",
                    "workflow STARTED 30 attempt=1",
                    "a STARTED 10",
                    "workflow STARTED 5",
                ],
            ),
            (
                "of another dispatch",
                &["a STARTED 10", "a STARTED 30 attempt=1 dispatch=other", "a CLOSED 20"],
            ),
            ("after the workflow was closed", &["workflow CLOSED 20", "workflow STARTED 30 attempt=1"]),
            (
                "other instances go on",
                &[
                    "a STARTED 10",
                    "a STARTED 10 run=other",
                    "a STARTED 30 attempt=1",
                    "a CLOSED 20 run=other",
                ],
            ),
        ],
        expect![[r#"
            a higher one ends what is open
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              b CLOSED 20: RECORDED TASK_CREATED TASK_COMPLETED
              c STARTED 10: RECORDED TASK_CREATED
              a STARTED 30 attempt=1 data=x: RECORDED TASK_COMPLETED TASK_COMPLETED TASK_CREATED(run/1)
              a CLOSED 40 attempt=1: RECORDED TASK_COMPLETED
                job ACTIVE
                run/0 UNSPECIFIED [a b c]
                run/1 UNSPECIFIED [a]
                a run/0#0 STARTED 10-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=10
                b run/0#1 CLOSED ?-20 SUCCESS by=robot at=20
                c run/0#2 STARTED 10-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=10
                a run/1#0 CLOSED 30-40 SUCCESS started_by=robot by=robot at=40
            by a report of the workflow
              workflow STARTED 5: RECORDED JOB_UPDATED WORKFLOW_STARTED
              a STARTED 10: RECORDED TASK_CREATED
              workflow STARTED 30 attempt=7: RECORDED TASK_COMPLETED WORKFLOW_STARTED, terminated a
                job ACTIVE
                run/0 STARTED 5-? by=robot at=5 [a]
                run/7 STARTED 30-? by=robot at=30 []
                a run/0#0 STARTED 10-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=10
            a lower one is stale
              workflow STARTED 5 attempt=3: RECORDED JOB_UPDATED WORKFLOW_STARTED
              a STARTED 10 attempt=3: RECORDED TASK_CREATED
              workflow STARTED 30 attempt=7: RECORDED TASK_COMPLETED WORKFLOW_STARTED, terminated a
              a CLOSED 20 attempt=3: ! FailedPrecondition STALE_ATTEMPT {"newest": "7"}
              b STARTED 20 attempt=3: ! FailedPrecondition STALE_ATTEMPT {"newest": "7"}
              b STARTED 20 attempt=5: ! FailedPrecondition STALE_ATTEMPT {"newest": "7"}
              workflow CLOSED 20 attempt=3: ! FailedPrecondition STALE_ATTEMPT {"newest": "7"}
              workflow STARTED 20 attempt=5: ! FailedPrecondition STALE_ATTEMPT {"newest": "7"}
                job ACTIVE
                run/3 STARTED 5-? by=robot at=5 [a]
                run/7 STARTED 30-? by=robot at=30 []
                a run/3#0 STARTED 10-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=10
            what is known of an older one
              workflow STARTED 5: RECORDED JOB_UPDATED WORKFLOW_STARTED
              a STARTED 10: RECORDED TASK_CREATED
              workflow STARTED 30 attempt=1: RECORDED TASK_COMPLETED WORKFLOW_STARTED, terminated a
              a STARTED 10: UNCHANGED
              workflow STARTED 5: UNCHANGED
                job ACTIVE
                run/0 STARTED 5-? by=robot at=5 [a]
                run/1 STARTED 30-? by=robot at=30 []
                a run/0#0 STARTED 10-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=10
            of another dispatch
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a STARTED 30 attempt=1 dispatch=other: RECORDED TASK_COMPLETED TASK_CREATED(run/1)
              a CLOSED 20: ! FailedPrecondition STALE_ATTEMPT {"newest": "1"}
                job ACTIVE
                run/0 UNSPECIFIED [a]
                run/1 UNSPECIFIED [a]
                a run/0#0 STARTED 10-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=10
                a run/1#0 STARTED 30-? started_by=robot by=robot at=30
            after the workflow was closed
              workflow CLOSED 20: RECORDED JOB_UPDATED WORKFLOW_CLOSED
              workflow STARTED 30 attempt=1: RECORDED WORKFLOW_STARTED
                job ACTIVE
                run/0 CLOSED ?-20 by=robot at=20 code=done collated []
                run/1 STARTED 30-? by=robot at=30 []
            other instances go on
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a STARTED 10 run=other: RECORDED TASK_CREATED(other/0)
              a STARTED 30 attempt=1: RECORDED TASK_COMPLETED TASK_CREATED(run/1)
              a CLOSED 20 run=other: RECORDED TASK_COMPLETED
                job ACTIVE
                other/0 UNSPECIFIED [a]
                run/0 UNSPECIFIED [a]
                run/1 UNSPECIFIED [a]
                a other/0#0 CLOSED 10-20 SUCCESS started_by=robot by=robot at=20
                a run/0#0 STARTED 10-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=10
                a run/1#0 STARTED 30-? started_by=robot by=robot at=30
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_workflow_starts_and_is_closed() {
    check(
        &[
            ("started, then closed", &["workflow STARTED 10 data=x meta=u", "workflow CLOSED 20 data=y meta=v"]),
            ("closed first", &["workflow CLOSED 20 data=y code=good", "workflow STARTED 10 data=x code=bad"]),
            (
                "started again, by anyone",
                &[
                    "workflow STARTED 10 data=x",
                    "workflow STARTED 15 data=y by=bob",
                    "workflow STARTED 5 data=z",
                    "workflow CLOSED 20",
                    "workflow STARTED 3 by=cid",
                ],
            ),
            (
                "closed again, otherwise",
                &[
                    "workflow CLOSED 20 data=x",
                    "workflow CLOSED 21 data=x",
                    "workflow CLOSED 20",
                    "workflow CLOSED 20 data=x meta=x",
                    "workflow CLOSED 20 data=x code=other",
                    "workflow CLOSED 20 data=x by=bob",
                    "workflow CLOSED 20 data=x close_job",
                ],
            ),
            ("it ended before it started", &["workflow STARTED 20", "workflow CLOSED 19", "workflow CLOSED 20"]),
            ("it started after it ended", &["workflow CLOSED 10", "workflow STARTED 11", "workflow STARTED 10"]),
            ("a start closes no job", &["workflow STARTED 10 close_job", "a STARTED 11"]),
        ],
        expect![[r#"
            started, then closed
              workflow STARTED 10 data=x meta=u: RECORDED JOB_UPDATED WORKFLOW_STARTED
              workflow CLOSED 20 data=y meta=v: RECORDED WORKFLOW_CLOSED
                job ACTIVE
                run/0 CLOSED 10-20 by=robot at=20 code=done data={"gave":"y"} meta={"gave":"v"} []
            closed first
              workflow CLOSED 20 data=y code=good: RECORDED JOB_UPDATED WORKFLOW_CLOSED
              workflow STARTED 10 data=x code=bad: RECORDED WORKFLOW_STARTED
                job ACTIVE
                run/0 CLOSED 10-20 by=robot at=20 code=good data={"gave":"y"} []
            started again, by anyone
              workflow STARTED 10 data=x: RECORDED JOB_UPDATED WORKFLOW_STARTED
              workflow STARTED 15 data=y by=bob: RECORDED WORKFLOW_STARTED
              workflow STARTED 5 data=z: RECORDED WORKFLOW_STARTED
              workflow CLOSED 20: RECORDED WORKFLOW_CLOSED
              workflow STARTED 3 by=cid: RECORDED WORKFLOW_STARTED
                job ACTIVE
                run/0 CLOSED 3-20 by=robot at=20 code=done collated []
            closed again, otherwise
              workflow CLOSED 20 data=x: RECORDED JOB_UPDATED WORKFLOW_CLOSED
              workflow CLOSED 21 data=x: ! FailedPrecondition WORKFLOW_ALREADY_CLOSED {"attemptId": "0", "workflowInstanceId": "run"}
              workflow CLOSED 20: ! FailedPrecondition WORKFLOW_ALREADY_CLOSED {"attemptId": "0", "workflowInstanceId": "run"}
              workflow CLOSED 20 data=x meta=x: ! FailedPrecondition WORKFLOW_ALREADY_CLOSED {"attemptId": "0", "workflowInstanceId": "run"}
              workflow CLOSED 20 data=x code=other: ! FailedPrecondition WORKFLOW_ALREADY_CLOSED {"attemptId": "0", "workflowInstanceId": "run"}
              workflow CLOSED 20 data=x by=bob: ! FailedPrecondition WORKFLOW_ALREADY_CLOSED {"attemptId": "0", "workflowInstanceId": "run"}
              workflow CLOSED 20 data=x close_job: ! FailedPrecondition WORKFLOW_ALREADY_CLOSED {"attemptId": "0", "workflowInstanceId": "run"}
                job ACTIVE
                run/0 CLOSED ?-20 by=robot at=20 code=done data={"gave":"x"} []
            it ended before it started
              workflow STARTED 20: RECORDED JOB_UPDATED WORKFLOW_STARTED
              workflow CLOSED 19: ! FailedPrecondition TIMESTAMP_REGRESSION {"completed": "1970-01-01T00:00:00.019Z", "launched": "1970-01-01T00:00:00.020Z"}
              workflow CLOSED 20: RECORDED WORKFLOW_CLOSED
                job ACTIVE
                run/0 CLOSED 20-20 by=robot at=20 code=done collated []
            it started after it ended
              workflow CLOSED 10: RECORDED JOB_UPDATED WORKFLOW_CLOSED
              workflow STARTED 11: ! FailedPrecondition TIMESTAMP_REGRESSION {"completed": "1970-01-01T00:00:00.010Z", "launched": "1970-01-01T00:00:00.011Z"}
              workflow STARTED 10: RECORDED WORKFLOW_STARTED
                job ACTIVE
                run/0 CLOSED 10-10 by=robot at=10 code=done collated []
            a start closes no job
              workflow STARTED 10 close_job: RECORDED JOB_UPDATED WORKFLOW_STARTED
              a STARTED 11: RECORDED TASK_CREATED
                job ACTIVE
                run/0 STARTED 10-? by=robot at=10 [a]
                a run/0#0 STARTED 11-? started_by=robot by=robot at=11
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_workflow_that_is_closed_ends_its_tasks() {
    check(
        &[
            (
                "tasks that are open",
                &["c STARTED 10", "a STARTED 11", "b CLOSED 12 data=x", "a STARTED 13 run=other", "workflow CLOSED 20 data=y"],
            ),
            (
                "a report of what it ended",
                &[
                    "a STARTED 10",
                    "workflow CLOSED 20 data=y",
                    "a CLOSED 15 data=x ends=ERROR",
                    "a CLOSED 16 data=x",
                    "a STARTED 5",
                ],
            ),
            (
                "new tasks of what is closed",
                &["workflow CLOSED 20 data=y", "b STARTED 10", "a CLOSED 15 data=x", "a STARTED 10", "b CLOSED 15"],
            ),
            (
                "a start of what was closed in time",
                &["a CLOSED 15", "workflow CLOSED 20", "a STARTED 10"],
            ),
            (
                "without data, what its tasks gave",
                &[
                    "b CLOSED 12 data=b",
                    "a CLOSED 11 data=a",
                    "d CLOSED 14 data=open state=B",
                    "c STARTED 13 data=c",
                    "e CLOSED 13 run=other data=e",
                    "f CLOSED 13",
                    "workflow CLOSED 20 meta=m",
                ],
            ),
            ("without data and without tasks", &["workflow CLOSED 20"]),
            ("what comes later is not put in", &["a CLOSED 1 data=a", "workflow CLOSED 20", "b CLOSED 2 data=b", "workflow STARTED 1"]),
            ("of the attempt alone", &["a CLOSED 1 data=a", "b CLOSED 2 data=b attempt=1", "workflow CLOSED 20 attempt=1"]),
        ],
        expect![[r#"
            tasks that are open
              c STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a STARTED 11: RECORDED TASK_CREATED, missing 1-1 (1)
              b CLOSED 12 data=x: RECORDED TASK_CREATED TASK_COMPLETED
              a STARTED 13 run=other: RECORDED TASK_CREATED(other/0)
              workflow CLOSED 20 data=y: RECORDED TASK_COMPLETED TASK_COMPLETED WORKFLOW_CLOSED, terminated a c
                job ACTIVE
                other/0 UNSPECIFIED [a]
                run/0 CLOSED ?-20 by=robot at=20 code=done data={"gave":"y"} [a b c]
                a other/0#0 STARTED 13-? started_by=robot by=robot at=13
                a run/0#0 STARTED 11-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=11
                b run/0#1 CLOSED ?-12 SUCCESS by=robot at=12 data={"gave":"x"}
                c run/0#2 STARTED 10-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=10
            a report of what it ended
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              workflow CLOSED 20 data=y: RECORDED TASK_COMPLETED WORKFLOW_CLOSED, terminated a
              a CLOSED 15 data=x ends=ERROR: RECORDED_LATE TASK_UPDATED
              a CLOSED 16 data=x: ! FailedPrecondition TASK_ALREADY_CLOSED {"taskId": "task_*"}
              a STARTED 5: RECORDED_LATE TASK_UPDATED
                job ACTIVE
                run/0 CLOSED ?-20 by=robot at=20 code=done data={"gave":"y"} [a]
                a run/0#0 CLOSED 5-now TERMINATED (reported ERROR) started_by=robot by=robot at=15 data={"gave":"x"} late
            new tasks of what is closed
              workflow CLOSED 20 data=y: RECORDED JOB_UPDATED WORKFLOW_CLOSED
              b STARTED 10: RECORDED_LATE TASK_CREATED TASK_COMPLETED
              a CLOSED 15 data=x: RECORDED_LATE TASK_CREATED TASK_COMPLETED
              a STARTED 10: RECORDED_LATE TASK_UPDATED
              b CLOSED 15: RECORDED_LATE TASK_UPDATED
                job ACTIVE
                run/0 CLOSED ?-20 by=robot at=20 code=done data={"gave":"y"} [a b]
                a run/0#0 CLOSED 10-15 SUCCESS started_by=robot by=robot at=15 data={"gave":"x"} late
                b run/0#1 CLOSED 10-now TERMINATED (reported SUCCESS) started_by=robot by=robot at=15 late
            a start of what was closed in time
              a CLOSED 15: RECORDED JOB_UPDATED TASK_CREATED(run/0) TASK_COMPLETED
              workflow CLOSED 20: RECORDED WORKFLOW_CLOSED
              a STARTED 10: RECORDED TASK_UPDATED
                job ACTIVE
                run/0 CLOSED ?-20 by=robot at=20 code=done data={"A":{}} collated [a]
                a run/0#0 CLOSED 10-15 SUCCESS started_by=robot by=robot at=15
            without data, what its tasks gave
              b CLOSED 12 data=b: RECORDED JOB_UPDATED TASK_CREATED(run/0) TASK_COMPLETED
              a CLOSED 11 data=a: RECORDED TASK_CREATED TASK_COMPLETED
              d CLOSED 14 data=open state=B: RECORDED TASK_CREATED TASK_COMPLETED, missing 2-2 (1)
              c STARTED 13 data=c: RECORDED TASK_CREATED
              e CLOSED 13 run=other data=e: RECORDED TASK_CREATED(other/0) TASK_COMPLETED
              f CLOSED 13: RECORDED TASK_CREATED TASK_COMPLETED, missing 4-4 (1)
              workflow CLOSED 20 meta=m: RECORDED TASK_COMPLETED WORKFLOW_CLOSED, terminated c
                job ACTIVE
                other/0 UNSPECIFIED [e]
                run/0 CLOSED ?-20 by=robot at=20 code=done data={"A":{"gave":"a"},"B":{"gave":"open"},"F":{}} meta={"gave":"m"} collated [a b c d f] missing 4-4 (1)
                e other/0#4 CLOSED ?-13 SUCCESS by=robot at=13 data={"gave":"e"}
                a run/0#0 CLOSED ?-11 SUCCESS by=robot at=11 data={"gave":"a"}
                b run/0#1 CLOSED ?-12 SUCCESS by=robot at=12 data={"gave":"b"}
                c run/0#2 STARTED 13-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=13 data={"gave":"c"}
                d run/0#3 CLOSED ?-14 SUCCESS by=robot at=14 data={"gave":"open"}
                f run/0#5 CLOSED ?-13 SUCCESS by=robot at=13
            without data and without tasks
              workflow CLOSED 20: RECORDED JOB_UPDATED WORKFLOW_CLOSED
                job ACTIVE
                run/0 CLOSED ?-20 by=robot at=20 code=done collated []
            what comes later is not put in
              a CLOSED 1 data=a: RECORDED JOB_UPDATED TASK_CREATED(run/0) TASK_COMPLETED
              workflow CLOSED 20: RECORDED WORKFLOW_CLOSED
              b CLOSED 2 data=b: RECORDED_LATE TASK_CREATED TASK_COMPLETED
              workflow STARTED 1: RECORDED WORKFLOW_STARTED
                job ACTIVE
                run/0 CLOSED 1-20 by=robot at=20 code=done data={"A":{"gave":"a"}} collated [a b]
                a run/0#0 CLOSED ?-1 SUCCESS by=robot at=1 data={"gave":"a"}
                b run/0#1 CLOSED ?-2 SUCCESS by=robot at=2 data={"gave":"b"} late
            of the attempt alone
              a CLOSED 1 data=a: RECORDED JOB_UPDATED TASK_CREATED(run/0) TASK_COMPLETED
              b CLOSED 2 data=b attempt=1: RECORDED TASK_CREATED(run/1) TASK_COMPLETED
              workflow CLOSED 20 attempt=1: RECORDED WORKFLOW_CLOSED
                job ACTIVE
                run/0 UNSPECIFIED [a]
                run/1 CLOSED ?-20 by=robot at=20 code=done data={"B":{"gave":"b"}} collated [b]
                a run/0#0 CLOSED ?-1 SUCCESS by=robot at=1 data={"gave":"a"}
                b run/1#1 CLOSED ?-2 SUCCESS by=robot at=2 data={"gave":"b"}
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_workflow_that_is_closed_may_close_its_job() {
    check(
        &[
            (
                "the job, and all that is open",
                &["a STARTED 10", "b CLOSED 12", "a STARTED 13 run=other by=bob", "workflow CLOSED 20 close_job code=good"],
            ),
            ("again", &["workflow CLOSED 20 close_job", "workflow CLOSED 20 close_job code=other", "workflow STARTED 10 close_job"]),
            ("an empty code", &["workflow CLOSED 20 close_job code="]),
            ("a closed one", &["job closes", "workflow CLOSED 20 close_job code=good"]),
            (
                "another instance of the closed job",
                &["workflow CLOSED 20 close_job code=good", "workflow CLOSED 20 close_job code=bad run=other"],
            ),
        ],
        expect![[r#"
            the job, and all that is open
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              b CLOSED 12: RECORDED TASK_CREATED TASK_COMPLETED
              a STARTED 13 run=other by=bob: RECORDED TASK_CREATED(other/0)
              workflow CLOSED 20 close_job code=good: RECORDED TASK_COMPLETED TASK_COMPLETED WORKFLOW_CLOSED JOB_COMPLETED JOB_CLOSED, terminated a a
                job COMPLETED closed good
                other/0 UNSPECIFIED [a]
                run/0 CLOSED ?-20 by=robot at=20 code=good data={"B":{}} collated close_job [a b]
                a other/0#0 STARTED 13-now TERMINATED (reported UNSPECIFIED) started_by=bob by=bob at=13
                a run/0#0 STARTED 10-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=10
                b run/0#1 CLOSED ?-12 SUCCESS by=robot at=12
            again
              workflow CLOSED 20 close_job: RECORDED JOB_UPDATED WORKFLOW_CLOSED JOB_COMPLETED JOB_CLOSED
              workflow CLOSED 20 close_job code=other: ! FailedPrecondition WORKFLOW_ALREADY_CLOSED {"attemptId": "0", "workflowInstanceId": "run"}
              workflow STARTED 10 close_job: RECORDED_LATE WORKFLOW_STARTED
                job COMPLETED closed done
                run/0 CLOSED 10-20 by=robot at=20 code=done collated close_job late []
            an empty code
              workflow CLOSED 20 close_job code=: RECORDED JOB_UPDATED WORKFLOW_CLOSED JOB_COMPLETED JOB_CLOSED
                job COMPLETED closed 
                run/0 CLOSED ?-20 by=robot at=20 code= collated close_job []
            a closed one
              job closes: JOB_ABORTED JOB_CLOSED
              workflow CLOSED 20 close_job code=good: RECORDED_LATE WORKFLOW_CLOSED
                job ABORTED closed
                run/0 CLOSED ?-20 by=robot at=20 code=good collated close_job late []
            another instance of the closed job
              workflow CLOSED 20 close_job code=good: RECORDED JOB_UPDATED WORKFLOW_CLOSED JOB_COMPLETED JOB_CLOSED
              workflow CLOSED 20 close_job code=bad run=other: RECORDED_LATE WORKFLOW_CLOSED
                job COMPLETED closed good
                other/0 CLOSED ?-20 by=robot at=20 code=bad collated close_job late []
                run/0 CLOSED ?-20 by=robot at=20 code=good collated close_job []
        "#]],
    )
    .await;
}

#[tokio::test]
async fn what_is_said_of_a_closed_job_is_kept() {
    check(
        &[
            (
                "tasks",
                &[
                    "a STARTED 10",
                    "job closes",
                    "a CLOSED 20 data=x ends=WARNING",
                    "a STARTED 5",
                    "b STARTED 10",
                    "b CLOSED 20",
                    "c CLOSED 20 data=x",
                    "a CLOSED 21",
                    "a STARTED 10 run=other",
                    "a STARTED 30 attempt=1",
                ],
            ),
            (
                "workflows",
                &[
                    "workflow STARTED 10",
                    "a STARTED 10",
                    "job closes",
                    "workflow CLOSED 20 data=x",
                    "workflow STARTED 5",
                    "workflow STARTED 30 attempt=1",
                    "workflow CLOSED 30 run=other",
                ],
            ),
            ("until it is opened again", &["job closes", "a STARTED 10", "job reopens", "b STARTED 10", "a CLOSED 20"]),
        ],
        expect![[r#"
            tasks
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              job closes: JOB_ABORTED JOB_CLOSED
              a CLOSED 20 data=x ends=WARNING: RECORDED_LATE TASK_COMPLETED
              a STARTED 5: RECORDED_LATE TASK_UPDATED
              b STARTED 10: RECORDED_LATE TASK_CREATED TASK_COMPLETED
              b CLOSED 20: RECORDED_LATE TASK_UPDATED
              c CLOSED 20 data=x: RECORDED_LATE TASK_CREATED TASK_COMPLETED
              a CLOSED 21: ! FailedPrecondition TASK_ALREADY_CLOSED {"taskId": "task_*"}
              a STARTED 10 run=other: RECORDED_LATE TASK_CREATED(other/0) TASK_COMPLETED
              a STARTED 30 attempt=1: RECORDED_LATE TASK_CREATED(run/1) TASK_COMPLETED
                job ABORTED closed
                other/0 UNSPECIFIED [a]
                run/0 UNSPECIFIED [a b c]
                run/1 UNSPECIFIED [a]
                a other/0#0 STARTED 10-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=10 late
                a run/0#0 CLOSED 5-20 WARNING started_by=robot by=robot at=20 data={"gave":"x"} late
                b run/0#1 CLOSED 10-now TERMINATED (reported SUCCESS) started_by=robot by=robot at=20 late
                c run/0#2 CLOSED ?-20 SUCCESS by=robot at=20 data={"gave":"x"} late
                a run/1#0 STARTED 30-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=30 late
            workflows
              workflow STARTED 10: RECORDED JOB_UPDATED WORKFLOW_STARTED
              a STARTED 10: RECORDED TASK_CREATED
              job closes: JOB_ABORTED JOB_CLOSED
              workflow CLOSED 20 data=x: RECORDED_LATE TASK_COMPLETED WORKFLOW_CLOSED, terminated a
              workflow STARTED 5: RECORDED_LATE WORKFLOW_STARTED
              workflow STARTED 30 attempt=1: RECORDED_LATE WORKFLOW_STARTED
              workflow CLOSED 30 run=other: RECORDED_LATE WORKFLOW_CLOSED
                job ABORTED closed
                other/0 CLOSED ?-30 by=robot at=30 code=done collated late []
                run/0 CLOSED 5-20 by=robot at=20 code=done data={"gave":"x"} late [a]
                run/1 STARTED 30-? by=robot at=30 late []
                a run/0#0 STARTED 10-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=10
            until it is opened again
              job closes: JOB_ABORTED JOB_CLOSED
              a STARTED 10: RECORDED_LATE TASK_CREATED(run/0) TASK_COMPLETED
              job reopens: JOB_REOPENED
              b STARTED 10: RECORDED TASK_CREATED
              a CLOSED 20: RECORDED_LATE TASK_UPDATED
                job ACTIVE
                run/0 UNSPECIFIED [a b]
                a run/0#0 CLOSED 10-now TERMINATED (reported SUCCESS) started_by=robot by=robot at=20 late
                b run/0#1 STARTED 10-? started_by=robot by=robot at=10
        "#]],
    )
    .await;
}

/// There is one task, whoever changes it, and however.
#[tokio::test]
async fn a_task_is_patched_between_reports() {
    check(
        &[
            ("ended by a patch", &["a STARTED 10 data=x", "a is Warning", "a CLOSED 20 data=y", "a STARTED 5"]),
            ("ended by a patch, and with its workflow", &["a STARTED 10", "a is Error", "workflow CLOSED 20"]),
        ],
        expect![[r#"
            ended by a patch
              a STARTED 10 data=x: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a is Warning: TASK_COMPLETED
              a CLOSED 20 data=y: RECORDED_LATE TASK_UPDATED
              a STARTED 5: RECORDED_LATE TASK_UPDATED
                job ACTIVE
                run/0 UNSPECIFIED [a]
                a run/0#0 CLOSED 5-now WARNING (reported SUCCESS) started_by=robot by=robot at=20 data={"gave":"y"} late
            ended by a patch, and with its workflow
              a STARTED 10: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a is Error: TASK_COMPLETED
              workflow CLOSED 20: RECORDED WORKFLOW_CLOSED
                job ACTIVE
                run/0 CLOSED ?-20 by=robot at=20 code=done collated [a]
                a run/0#0 STARTED 10-now ERROR (reported UNSPECIFIED) started_by=robot by=robot at=10
        "#]],
    )
    .await;
}

/// What was said before is known, whatever came between.
#[tokio::test]
async fn old_reports_that_come_again_change_nothing() {
    check(
        &[
            (
                "of a task",
                &[
                    "a STARTED 10 data=x",
                    "a STARTED 15 data=y",
                    "a STARTED 10 data=x",
                    "a CLOSED 20 data=z",
                    "a STARTED 15 data=y",
                    "a STARTED 5",
                    "a CLOSED 20 data=z",
                    "workflow CLOSED 30",
                    "a CLOSED 20 data=z",
                    "job closes",
                    "a STARTED 10 data=x",
                    "a CLOSED 20 data=z",
                    "a STARTED 10 attempt=1",
                    "a CLOSED 20 data=z",
                    "a STARTED 15 data=y",
                ],
            ),
            (
                "of a workflow",
                &[
                    "workflow STARTED 10 data=x",
                    "workflow STARTED 15 data=y",
                    "workflow STARTED 10 data=x",
                    "workflow CLOSED 20",
                    "workflow STARTED 15 data=y",
                    "workflow CLOSED 20",
                    "a CLOSED 12 data=late",
                    "workflow CLOSED 20",
                    "job closes",
                    "workflow CLOSED 20",
                    "workflow STARTED 30 attempt=1",
                    "workflow CLOSED 20",
                    "workflow STARTED 10 data=x",
                ],
            ),
        ],
        expect![[r#"
            of a task
              a STARTED 10 data=x: RECORDED JOB_UPDATED TASK_CREATED(run/0)
              a STARTED 15 data=y: RECORDED TASK_UPDATED
              a STARTED 10 data=x: UNCHANGED
              a CLOSED 20 data=z: RECORDED TASK_COMPLETED
              a STARTED 15 data=y: UNCHANGED
              a STARTED 5: RECORDED TASK_UPDATED
              a CLOSED 20 data=z: UNCHANGED
              workflow CLOSED 30: RECORDED WORKFLOW_CLOSED
              a CLOSED 20 data=z: UNCHANGED
              job closes: JOB_ABORTED JOB_CLOSED
              a STARTED 10 data=x: UNCHANGED
              a CLOSED 20 data=z: UNCHANGED
              a STARTED 10 attempt=1: RECORDED_LATE TASK_CREATED(run/1) TASK_COMPLETED
              a CLOSED 20 data=z: UNCHANGED
              a STARTED 15 data=y: UNCHANGED
                job ABORTED closed
                run/0 CLOSED ?-30 by=robot at=30 code=done data={"A":{"gave":"z"}} collated [a]
                run/1 UNSPECIFIED [a]
                a run/0#0 CLOSED 5-20 SUCCESS started_by=robot by=robot at=20 data={"gave":"z"}
                a run/1#0 STARTED 10-now TERMINATED (reported UNSPECIFIED) started_by=robot by=robot at=10 late
            of a workflow
              workflow STARTED 10 data=x: RECORDED JOB_UPDATED WORKFLOW_STARTED
              workflow STARTED 15 data=y: RECORDED WORKFLOW_STARTED
              workflow STARTED 10 data=x: UNCHANGED
              workflow CLOSED 20: RECORDED WORKFLOW_CLOSED
              workflow STARTED 15 data=y: UNCHANGED
              workflow CLOSED 20: UNCHANGED
              a CLOSED 12 data=late: RECORDED_LATE TASK_CREATED TASK_COMPLETED
              workflow CLOSED 20: UNCHANGED
              job closes: JOB_ABORTED JOB_CLOSED
              workflow CLOSED 20: UNCHANGED
              workflow STARTED 30 attempt=1: RECORDED_LATE WORKFLOW_STARTED
              workflow CLOSED 20: UNCHANGED
              workflow STARTED 10 data=x: UNCHANGED
                job ABORTED closed
                run/0 CLOSED 10-20 by=robot at=20 code=done collated [a]
                run/1 STARTED 30-? by=robot at=30 late []
                a run/0#0 CLOSED ?-12 SUCCESS by=robot at=12 data={"gave":"late"} late
        "#]],
    )
    .await;
}

// The bodies of the seed, as it prints them: with the words of our enums, and with the members of the path.

const TASK_BODY: &str = r#"{
  "jobId": "string",
  "dispatchId": "string",
  "attemptId": 0,
  "status": "STARTED",
  "sequenceId": 0,
  "stateName": "string",
  "timestamp": 1,
  "data": {},
  "meta": {},
  "updatedBy": {
    "id": "string",
    "name": "string",
    "appId": "string"
  },
  "_event_meta": {}
}"#;

const WORKFLOW_BODY: &str = r#"{
  "status": "STARTED",
  "timestamp": 1,
  "dispatchId": "string",
  "jobId": "string",
  "attemptId": 0,
  "closeJob": true,
  "data": {},
  "meta": {},
  "code": "string",
  "updatedBy": {
    "id": "string",
    "name": "string",
    "appId": "string"
  },
  "_event_meta": {}
}"#;

/// A body with the members of its path, and with a status in the word of our enum.
fn body(printed: &str, path: &str, status: &str) -> String {
    let with_path = printed.replacen('{', &format!("{{{path},"), 1);
    with_path.replace("\"STARTED\"", &format!("\"EXECUTION_STATUS_{status}\""))
}

/// Whole numbers of 64 bits are written as texts in proto3 JSON, and read as either.
fn numbers_as_texts(body: &str) -> serde_json::Value {
    let mut json: serde_json::Value = serde_json::from_str(body).unwrap();
    for member in json.as_object_mut().unwrap().values_mut().filter(|member| member.is_number()) {
        *member = member.to_string().into();
    }
    json
}

#[tokio::test]
async fn the_bodies_of_the_seed_are_accepted() {
    let client = TestServer::memory().await.client().await;
    client.create("string", titled("a job")).await;
    let mut watch = client.watch_on().await;
    let by = Reporter {
        id: Some("string".to_owned()),
        name: Some("string".to_owned()),
        app_id: Some("string".to_owned()),
    };

    for (status, kind) in [("STARTED", JobEventType::TaskCreated), ("CLOSED", JobEventType::TaskCompleted)] {
        let json = body(TASK_BODY, r#""workflowInstanceId": "i", "taskId": "t""#, status);
        let request: UpdateExecutionTaskStatusRequest = from_json(TASK_REQUEST, &json);
        let again: serde_json::Value = serde_json::from_str(&to_json(TASK_REQUEST, &request)).unwrap();
        assert_eq!(again, numbers_as_texts(&json), "no member is lost");
        let reply = client.report_task(request).await;
        assert_eq!(reply.outcome(), ReportOutcome::Recorded);
        let event = watch.find(kind).await;
        assert_eq!(
            (event.event_meta, event.task.as_deref()),
            (Some(Document::default()), reply.task.as_ref())
        );
        let task = reply.task.unwrap();
        assert_eq!((task.unique_name(), task.parent_name(), task.launcher()), ("string", "i", "string"));
        assert_eq!(task.updated_by, Some(by.clone()));
    }
    for (status, kind) in
        [("STARTED", JobEventType::WorkflowStarted), ("CLOSED", JobEventType::WorkflowClosed)]
    {
        let json = body(WORKFLOW_BODY, r#""workflowInstanceId": "i""#, status);
        let request: UpdateExecutionWorkflowStatusRequest = from_json(WORKFLOW_REQUEST, &json);
        let again: serde_json::Value = serde_json::from_str(&to_json(WORKFLOW_REQUEST, &request)).unwrap();
        assert_eq!(again, numbers_as_texts(&json), "no member is lost");
        let reply = client.report_workflow(request).await;
        assert_eq!(reply.outcome(), ReportOutcome::Recorded);
        let event = watch.find(kind).await;
        assert_eq!(event.event_meta, Some(Document::default()));
        // `closeJob` has no effect with STARTED.
        assert_eq!(client.job("string").await.closed, status == "CLOSED");
    }
    let job = client.job("string").await;
    assert_eq!((job.status(), job.objective_code()), (JobStatus::Completed, "string"));
    let attempt = client.instance("string", "i").await.attempts.pop().unwrap();
    let start = Some(Timestamp { seconds: 0, nanos: 1_000_000 });
    assert_eq!((attempt.launched, attempt.completed, attempt.updated_by), (start, start, Some(by)));
}

/// It is on the event of the report, and on no other that follows from it.
#[tokio::test]
async fn what_is_sent_for_the_event_is_on_the_event() {
    let client = TestServer::memory().await.client().await;
    client.create("job", titled("a job")).await;
    let meta = |what: &str| Some(fields([("trace", what.to_owned().into())]));
    let mut request = report_task("job", "a", 0, Closed, 10);
    request.event_meta = meta("task");
    client.report_task(request).await;
    client.report_task(report_task("job", "b", 1, Started, 10)).await;
    let mut request = report_workflow("job", Closed, 20);
    (request.event_meta, request.close_job) = (meta("workflow"), true);
    client.report_workflow(request).await;
    let mut told = String::new();
    for event in client.history("job").await {
        let kind = event.r#type().as_str_name().trim_start_matches("JOB_EVENT_TYPE_");
        told.push_str(&format!("{kind}{}\n", json("", event.event_meta.as_ref())));
    }
    expect![[r#"
        JOB_CREATED
        JOB_UPDATED
        TASK_CREATED
        TASK_COMPLETED ={"trace":"task"}
        TASK_CREATED
        TASK_COMPLETED
        WORKFLOW_CLOSED ={"trace":"workflow"}
        JOB_COMPLETED
        JOB_CLOSED
    "#]]
    .assert_eq(&told);
}

/// An execution task is a task like any other.
#[tokio::test]
async fn a_reported_task_is_listed_and_patched_as_any_other() {
    let client = TestServer::memory().await.client().await;
    for job_id in ["job", "other"] {
        client.create(job_id, titled(job_id)).await;
    }
    let plain = TaskStatus {
        job_id: "job".to_owned(),
        r#type: TaskType::Quartz.into(),
        unique_name: Some("plain".to_owned()),
        ..TaskStatus::default()
    };
    client.call(CreateTaskStatusRequest { task: Some(plain), ..Default::default() }).await.unwrap();
    let data = Some(fields([("torque", 12.5.into())]));
    let started =
        UpdateExecutionTaskStatusRequest { data: data.clone(), ..report_task("job", "a", 0, Started, 1_500) };
    let task = client.report_task(started).await.task.unwrap();
    let time = Some(Timestamp { seconds: 1, nanos: 500_000_000 });
    let expected = TaskStatus {
        id: task.id.clone(),
        r#type: TaskType::QueuedTask.into(),
        unique_name: Some("Weld".to_owned()),
        description: Some("Weld".to_owned()),
        parent_name: Some("run".to_owned()),
        launcher: Some("robot-app".to_owned()),
        created: task.created,
        modified: task.created,
        launched: time,
        job_id: "job".to_owned(),
        execution: Some(TaskExecution {
            workflow_instance_id: "run".to_owned(),
            task_id: "a".to_owned(),
            state_name: "Weld".to_owned(),
            dispatch_id: "dispatch".to_owned(),
            status: Started.into(),
            started_by: Some(reporter("robot")),
            report_time: time,
            ..Default::default()
        }),
        data,
        meta: Some(Document::default()),
        updated_by: Some(reporter("robot")),
        etag: task.etag.clone(),
        ..TaskStatus::default()
    };
    assert_eq!(task, expected);
    assert!(task.id.starts_with("task_") && task.created.is_some() && !task.etag.is_empty());

    // Who has no application is the launcher.
    let mut by_hand = report_task("other", "a", 0, Started, 1_500);
    by_hand.updated_by = Some(Reporter { app_id: Some(String::new()), ..reporter("ann") });
    let by_hand = client.report_task(by_hand).await.task.unwrap();
    assert_eq!(by_hand.launcher(), "ann");
    assert_ne!(by_hand.id, task.id, "of another job");

    let list = async |filter: TaskFilter| {
        client.list_tasks(filter).await.into_iter().map(|task| task.id).collect::<Vec<_>>()
    };
    let of_job = |filter: TaskFilter| TaskFilter { job_id: "job".to_owned(), ..filter };
    let ours = [task.id.clone()];
    let launchers = vec!["robot-app".to_owned()];
    let both = [task.id.clone(), by_hand.id.clone()];
    let queued = TaskFilter { types: vec![TaskType::QueuedTask.into()], ..TaskFilter::default() };
    let open = TaskFilter { completed: Some(false), ..queued.clone() };
    let ended = TaskFilter { completed: Some(true), ..TaskFilter::default() };
    assert_eq!(list(TaskFilter { launchers, ..TaskFilter::default() }).await, ours);
    assert_eq!(list(queued.clone()).await, both);
    assert_eq!(list(of_job(queued)).await, ours);
    assert_eq!(list(open.clone()).await, both);
    assert_eq!(list(ended.clone()).await, [""; 0]);

    client.call(replace(&task.id, "percentComplete", 40.0)).await.unwrap();
    client.call(replace(&task.id, "description", "the long seam".to_owned())).await.unwrap();
    let closed = client.report_task(report_task("job", "a", 0, Closed, 2_500)).await.task.unwrap();
    assert_eq!(
        (closed.percent_complete(), closed.description()),
        (40, "the long seam"),
        "what was patched stays"
    );
    assert_eq!(client.task(&task.id).await, closed);
    assert_eq!((list(open).await, list(ended).await), (vec![by_hand.id], ours.to_vec()));
}

/// `request_id` stands for one body.
#[tokio::test]
async fn another_body_under_the_same_request_id_is_refused() {
    let client = TestServer::memory().await.client().await;
    client.create("job", titled("a job")).await;
    let task = UpdateExecutionTaskStatusRequest {
        request_id: "one".to_owned(),
        ..report_task("job", "a", 0, Started, 10)
    };
    let workflow = UpdateExecutionWorkflowStatusRequest {
        request_id: "two".to_owned(),
        ..report_workflow("job", Started, 10)
    };
    client.report_task(task.clone()).await;
    client.report_workflow(workflow.clone()).await;
    let everything = client.everything().await;
    let rows: Vec<Call> = vec![
        UpdateExecutionTaskStatusRequest { timestamp: Some(11), ..task.clone() }.into(),
        UpdateExecutionTaskStatusRequest { event_meta: gave("x"), ..task }.into(),
        UpdateExecutionWorkflowStatusRequest { code: Some("x".to_owned()), ..workflow.clone() }.into(),
        UpdateExecutionWorkflowStatusRequest { request_id: "one".to_owned(), ..workflow }.into(),
    ];
    for call in rows {
        refused(client.call(call).await, Code::FailedPrecondition, ErrorReason::RequestIdReused);
    }
    assert_eq!(client.everything().await, everything);
}

fn deep(levels: usize) -> Document {
    let inside = |inner| Value { kind: Some(prost_types::value::Kind::StructValue(inner)) };
    let around = |inner| prost_types::Struct { fields: [("in".to_owned(), inside(inner))].into() };
    (1..levels).fold(prost_types::Struct::default(), |inner, _| around(inner)).into()
}

#[tokio::test]
async fn every_bad_field_is_named_at_once() {
    let server = TestServer::memory().await;
    let client = server.client().await;
    client.create("job", titled("a job")).await;
    client.create("deleted", titled("a job")).await;
    client.report_task(report_task("deleted", "a", 0, Started, 10)).await;
    client.call(delete("deleted")).await.unwrap();
    let elsewhere = server.client_as(Caller::default().of("umbra")).await;
    let long = |len| Some("x".repeat(len));
    let bad_by = Reporter { id: long(65), name: long(257), app_id: long(65) };
    let no_by = Reporter { id: Some(String::new()), name: None, app_id: None };
    let large = Some(fields([("large", "x".repeat(256 << 10).into())]));
    let nan = Some(fields([("nan", f64::NAN.into())]));
    let full = || report_task("job", "a", 0, Started, 10);
    let rows: Vec<(&str, &Client, Call)> = vec![
        ("nothing of a task", &client, UpdateExecutionTaskStatusRequest::default().into()),
        ("nothing of a workflow", &client, UpdateExecutionWorkflowStatusRequest::default().into()),
        (
            "a task",
            &client,
            UpdateExecutionTaskStatusRequest {
                workflow_instance_id: Some(String::new()),
                task_id: long(65),
                job_id: Some("a\u{7f}".to_owned()),
                dispatch_id: long(65),
                attempt_id: Some(-1),
                status: 9,
                sequence_id: Some(-1),
                state_name: Some(String::new()),
                timestamp: Some(0),
                data: large.clone(),
                meta: nan.clone(),
                updated_by: Some(bad_by.clone()),
                event_meta: Some(deep(25)),
                completion_status: 9,
                request_id: "x".repeat(65),
                validate_only: false,
            }
            .into(),
        ),
        (
            "a workflow",
            &client,
            UpdateExecutionWorkflowStatusRequest {
                workflow_instance_id: Some(String::new()),
                job_id: long(65),
                dispatch_id: Some(String::new()),
                attempt_id: Some(i64::MIN),
                status: 3,
                timestamp: Some(i64::MAX),
                close_job: true,
                data: nan,
                meta: Some(deep(25)),
                code: long(4097),
                updated_by: Some(no_by),
                event_meta: large,
                request_id: "x".repeat(65),
                validate_only: true,
            }
            .into(),
        ),
        (
            "words",
            &client,
            UpdateExecutionTaskStatusRequest {
                state_name: long(4097),
                timestamp: Some(253_402_300_800_000),
                completion_status: CompletionStatus::Success.into(),
                ..full()
            }
            .into(),
        ),
        ("no such job", &client, report_task("none", "a", 0, Started, 10).into()),
        ("a workflow of no job", &client, report_workflow("none", Closed, 10).into()),
        ("a deleted job", &client, report_task("deleted", "a", 0, Closed, 20).into()),
        ("a workflow of a deleted job", &client, report_workflow("deleted", Closed, 20).into()),
        ("another organization's job", &elsewhere, full().into()),
        ("a workflow of another's job", &elsewhere, report_workflow("job", Started, 10).into()),
        ("no task of ours", &client, {
            let task_id = Some(format!("task_0000_{}", "0".repeat(32)));
            UpdateExecutionTaskStatusRequest { task_id, ..full() }.into()
        }),
    ];
    let everything = client.everything().await;
    let mut table = String::new();
    for (name, client, call) in rows {
        let status = client.call(call).await.unwrap_err();
        table.push_str(&format!("{name}: {}\n", line(&status)));
    }
    expect![[r#"
        nothing of a task: InvalidArgument FIELD_INVALID
            workflow_instance_id is required
            task_id is required
            job_id is required
            dispatch_id is required
            attempt_id is required
            status is required
            sequence_id is required
            state_name is required
            timestamp is required
            data is required
            meta is required
            updated_by is required
        nothing of a workflow: InvalidArgument FIELD_INVALID
            workflow_instance_id is required
            job_id is required
            dispatch_id is required
            attempt_id is required
            status is required
            code is required
            timestamp is required
            data is required
            meta is required
            updated_by is required
        a task: InvalidArgument FIELD_INVALID
            workflow_instance_id is empty
            task_id is longer than 64 characters
            job_id has a control character
            dispatch_id is longer than 64 characters
            attempt_id is less than 0
            status is not a value of ExecutionStatus
            sequence_id is less than 0
            state_name is empty
            timestamp is less than 1
            data is larger than 262144 bytes
            meta has a number that is not finite
            _event_meta is more than 24 levels deep
            updated_by.id is longer than 64 characters
            updated_by.name is longer than 256 characters
            updated_by.app_id is longer than 64 characters
            completion_status is not a value of CompletionStatus
            request_id is longer than 64 characters
        a workflow: InvalidArgument FIELD_INVALID
            workflow_instance_id is empty
            job_id is longer than 64 characters
            dispatch_id is empty
            attempt_id is less than 0
            status is not a value of ExecutionStatus
            code is longer than 4096 characters
            timestamp is not a time before the year 10000
            data has a number that is not finite
            meta is more than 24 levels deep
            _event_meta is larger than 262144 bytes
            updated_by.id is empty
            updated_by.name is required
            updated_by.app_id is required
            request_id is longer than 64 characters
        words: InvalidArgument FIELD_INVALID
            state_name is longer than 4096 characters
            timestamp is not a time before the year 10000
            completion_status is for CLOSED only
        no such job: NotFound JOB_NOT_FOUND {"jobId": "none"}
        a workflow of no job: NotFound JOB_NOT_FOUND {"jobId": "none"}
        a deleted job: NotFound JOB_NOT_FOUND {"jobId": "deleted"}
        a workflow of a deleted job: NotFound JOB_NOT_FOUND {"jobId": "deleted"}
        another organization's job: NotFound JOB_NOT_FOUND {"jobId": "job"}
        a workflow of another's job: NotFound JOB_NOT_FOUND {"jobId": "job"}
        no task of ours: NotFound TASK_NOT_FOUND {"taskId": "task_*"}
    "#]]
    .assert_eq(&table);
    assert_eq!(client.everything().await, everything);

    // At their bounds.
    let request = UpdateExecutionTaskStatusRequest {
        workflow_instance_id: Some("é".repeat(64)),
        task_id: long(64),
        dispatch_id: long(64),
        attempt_id: Some(i64::MAX),
        sequence_id: Some(i64::MAX),
        state_name: long(4096),
        timestamp: Some(253_402_300_799_999),
        data: Some(fields([("large", "x".repeat((256 << 10) - 23).into())])),
        meta: Some(deep(24)),
        event_meta: Some(deep(24)),
        updated_by: Some(Reporter { id: long(64), name: long(256), app_id: long(64) }),
        ..full()
    };
    let task = client.report_task(request.clone()).await.task.unwrap();
    assert_eq!((task.data, task.meta), (request.data, request.meta));
    let instance = client.instance("job", &"é".repeat(64)).await;
    assert_eq!((instance.attempts[0].attempt_id, &instance.attempts[0].task_ids), (i64::MAX, &vec![task.id]));
    let request = UpdateExecutionWorkflowStatusRequest {
        code: long(4096),
        timestamp: Some(1),
        updated_by: Some(Reporter {
            name: Some(String::new()),
            app_id: Some(String::new()),
            ..reporter("r")
        }),
        ..report_workflow("job", Closed, 1)
    };
    client.report_workflow(request).await;
}

/// What tasks gave is put together as far as it fits, and as deep as it is.
#[tokio::test]
async fn what_is_put_together_has_its_bound() {
    let client = TestServer::memory().await.client().await;
    client.create("job", titled("a job")).await;
    let mut watch = client.watch_on().await;
    for n in 0..6 {
        let mut request = report_task("job", &n.to_string(), n, Closed, 10);
        request.state_name = Some(format!("state {n}"));
        request.data = match n {
            // One that fits where a larger one did not.
            1 => Some(deep(24)),
            _ => Some(fields([("large", "x".repeat(100 << 10).into())])),
        };
        client.report_task(request).await;
    }
    client.report_workflow(report_workflow("job", Closed, 20)).await;
    let attempt = client.instance("job", "run").await.attempts.pop().unwrap();
    let data = attempt.data.unwrap();
    assert!(prost::Message::encoded_len(&data) <= 256 << 10);
    let members = data.members();
    let names: BTreeSet<_> = members.fields.keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["state 1", "state 4", "state 5"]));
    let event = watch.find(JobEventType::WorkflowClosed).await;
    assert_eq!(event.workflow_instance.unwrap().attempts[0].data, Some(data));
}

/// The limit and its value are named, whoever would pass it; what is there goes on.
#[tokio::test]
async fn limits_are_named() {
    let limits = Limits { tasks_per_job: 2, attempts_per_job: 2, ..Limits::default() };
    let server = TestServer::start(Config { limits, ..config() }).await;
    let client = server.client().await;
    client.publish(chain("flow", vec![step("one", StepKind::Automatic)])).await;
    for job_id in ["job", "other", "third"] {
        client.create(job_id, following("flow")).await;
    }
    client.report_task(report_task("job", "a", 0, Started, 10)).await;
    client.report_task(report_task("job", "b", 1, Closed, 10)).await;
    let of = |attempt_id| UpdateExecutionWorkflowStatusRequest {
        attempt_id: Some(attempt_id),
        ..report_workflow("job", Started, 30)
    };
    let named = |job_id: &str| TaskStatus {
        job_id: job_id.to_owned(),
        unique_name: Some("x".to_owned()),
        ..TaskStatus::default()
    };
    let elsewhere = |report: UpdateExecutionWorkflowStatusRequest| UpdateExecutionWorkflowStatusRequest {
        workflow_instance_id: Some("elsewhere".to_owned()),
        ..report
    };
    let full_of_tasks: Vec<(&str, Call)> = vec![
        ("a new task", report_task("job", "c", 2, Started, 10).into()),
        ("a new task of a new attempt", {
            let report = report_task("job", "a", 0, Started, 10);
            UpdateExecutionTaskStatusRequest { attempt_id: Some(1), ..report }.into()
        }),
        ("a task that is closed at once", report_task("job", "c", 2, Closed, 10).into()),
        ("Run", perform(JobActionType::Run, "job", &["one"]).into()),
        (
            "CreateTaskStatus",
            CreateTaskStatusRequest { task: Some(named("job")), ..Default::default() }.into(),
        ),
    ];
    let full_of_attempts: Vec<(&str, Call)> = vec![
        ("a new attempt", of(7).into()),
        ("a new instance", elsewhere(of(0)).into()),
        ("a new attempt by a task", {
            let report = report_task("third", "a", 0, Started, 10);
            UpdateExecutionTaskStatusRequest { attempt_id: Some(7), ..report }.into()
        }),
    ];
    let mut table = String::new();
    for (name, call) in full_of_tasks {
        let status = client.call(call).await.unwrap_err();
        table.push_str(&format!("{name}: {}\n", line(&status)));
    }
    // Another job has a count of its own, and what is there goes on.
    client.report_task(report_task("other", "a", 0, Started, 10)).await;
    client.done(JobActionType::Run, "other", &["one"]).await;
    client.report_task(report_task("job", "a", 0, Closed, 20)).await;
    client.report_workflow(of(5)).await;
    let linked = client.step("other", "one").await.task_id;
    let taken = UpdateExecutionTaskStatusRequest {
        attempt_id: Some(4),
        ..report_task("other", &linked, 0, Started, 9)
    };
    client.report_task(taken).await;
    let in_job = |job_id: &str, report: UpdateExecutionWorkflowStatusRequest| {
        UpdateExecutionWorkflowStatusRequest { job_id: Some(job_id.to_owned()), ..report }
    };
    client.report_workflow(in_job("third", of(0))).await;
    client.report_workflow(in_job("third", elsewhere(of(0)))).await;
    for (name, call) in full_of_attempts {
        let status = client.call(call).await.unwrap_err();
        table.push_str(&format!("{name}: {}\n", line(&status)));
    }
    expect![[r#"
        a new task: ResourceExhausted LIMIT_EXCEEDED {"limit": "tasks_per_job", "maximum": "2"}
        a new task of a new attempt: ResourceExhausted LIMIT_EXCEEDED {"limit": "tasks_per_job", "maximum": "2"}
        a task that is closed at once: ResourceExhausted LIMIT_EXCEEDED {"limit": "tasks_per_job", "maximum": "2"}
        Run: ResourceExhausted LIMIT_EXCEEDED {"limit": "tasks_per_job", "maximum": "2"}
        CreateTaskStatus: ResourceExhausted LIMIT_EXCEEDED {"limit": "tasks_per_job", "maximum": "2"}
        a new attempt: ResourceExhausted LIMIT_EXCEEDED {"limit": "attempts_per_job", "maximum": "2"}
        a new instance: ResourceExhausted LIMIT_EXCEEDED {"limit": "attempts_per_job", "maximum": "2"}
        a new attempt by a task: ResourceExhausted LIMIT_EXCEEDED {"limit": "attempts_per_job", "maximum": "2"}
    "#]].assert_eq(&table);
    let closed =
        UpdateExecutionWorkflowStatusRequest { attempt_id: Some(5), ..report_workflow("job", Closed, 40) };
    client.report_workflow(closed).await;
    assert_eq!(client.step("job", "one").await.status(), StepStatus::Ready);
}

/// Many executors take the same task at once, each on a connection of its own: one of them has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_start_a_task_at_once_one_has_claimed_it() {
    const EXECUTORS: usize = 16;
    let server = TestServer::memory().await;
    let client = server.client().await;
    let mut watch = client.watch_on().await;
    for round in 0..8 {
        let job_id = format!("job-{round}");
        client.create(&job_id, titled("a job")).await;
        let gate = Arc::new(Barrier::new(EXECUTORS));
        let mut reports = JoinSet::new();
        for n in 0..EXECUTORS {
            let executor = server.client_as(Caller::new(&format!("executor-{n}"))).await;
            let request = UpdateExecutionTaskStatusRequest {
                updated_by: Some(reporter(&n.to_string())),
                ..report_task(&job_id, "a", 0, Started, 10 + i64::try_from(n).unwrap())
            };
            let gate = Arc::clone(&gate);
            reports.spawn(async move {
                gate.wait().await;
                executor.tasks.clone().update_execution_task_status(request).await
            });
        }
        let mut claims = Vec::new();
        let mut told = BTreeSet::new();
        for outcome in within(reports.join_all()).await {
            match outcome {
                Ok(reply) => claims.push(reply.into_inner().task.unwrap()),
                Err(status) => {
                    let status = refused(
                        Err::<(), _>(status),
                        Code::FailedPrecondition,
                        ErrorReason::TaskAlreadyStarted,
                    );
                    told.insert(line(&status));
                }
            }
        }
        let [task] = claims.try_into().unwrap();
        let by = task.execution.as_ref().unwrap().started_by.as_ref().unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told.first().unwrap().contains(&format!("\"startedBy\": \"{}\"", by.id())), "{told:?}");
        assert_eq!(client.task(&task.id).await, task);
        let kinds = client.event_types(&job_id).await;
        assert_eq!(kinds, [JobEventType::JobCreated, JobEventType::JobUpdated, JobEventType::TaskCreated]);
        assert_eq!(watch.find(JobEventType::TaskCreated).await.task, Some(task.into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_close_a_workflow_at_once_one_does() {
    let server = TestServer::memory().await;
    let client = server.client().await;
    let executors = [server.client().await, server.client_as(Caller::new("bob")).await];
    for round in 0..24 {
        let job_id = format!("job-{round}");
        client.create(&job_id, titled("a job")).await;
        client.report_task(report_task(&job_id, "a", 0, Started, 10)).await;
        let gate = Arc::new(Barrier::new(2));
        let mut reports = JoinSet::new();
        for (n, executor) in executors.iter().cloned().enumerate() {
            let gate = Arc::clone(&gate);
            let request = UpdateExecutionWorkflowStatusRequest {
                code: Some(format!("code {n}")),
                close_job: true,
                ..report_workflow(&job_id, Closed, 20)
            };
            reports.spawn(async move {
                gate.wait().await;
                executor.workflows.clone().update_execution_workflow_status(request).await
            });
        }
        let (won, lost): (Vec<_>, Vec<_>) =
            within(reports.join_all()).await.into_iter().partition(Result::is_ok);
        let ([won], [lost]) = (<[_; 1]>::try_from(won).unwrap(), <[_; 1]>::try_from(lost).unwrap());
        refused(lost, Code::FailedPrecondition, ErrorReason::WorkflowAlreadyClosed);
        let won = won.unwrap().into_inner().workflow_instance.unwrap();
        assert_eq!(client.job(&job_id).await.objective_code, won.attempts[0].code);
        let kinds = client.event_types(&job_id).await;
        assert_eq!(kinds.iter().filter(|kind| **kind == JobEventType::WorkflowClosed).count(), 1);
    }
}

/// Everything that can be read of executions.
async fn all_of(client: &Client) -> (Vec<WorkflowInstance>, Vec<TaskStatus>, Vec<JobEvent>) {
    let instances = client.instances(ListWorkflowInstancesRequest::default()).await;
    let tasks = client.list_tasks(TaskFilter::default()).await;
    (instances, tasks, client.history("job").await)
}

/// Reports of two attempts, with gaps, so that there is something of everything.
async fn report_much(client: &Client) {
    client.publish(chain("flow", vec![step("one", StepKind::Automatic)])).await;
    client.create("job", following("flow")).await;
    client.done(JobActionType::Run, "job", &["one"]).await;
    let linked = client.step("job", "one").await.task_id;
    client.report_task(report_task("job", &linked, 3, Started, 10)).await;
    client.report_task(report_task("job", "a", 0, Closed, 10)).await;
    client.report_task(report_task("job", "b", 1, Started, 10)).await;
    let newer = |request| UpdateExecutionWorkflowStatusRequest { attempt_id: Some(1), ..request };
    client.report_workflow(newer(report_workflow("job", Started, 20))).await;
    let task = |request| UpdateExecutionTaskStatusRequest { attempt_id: Some(1), ..request };
    client.report_task(task(report_task("job", "c", 7, Started, 30))).await;
    client.report_task(task(report_task("job", "d", 5, Closed, 30))).await;
}

/// What goes on after the restart: the counts, the sequence ids and the claims are known as before.
async fn go_on(client: &Client) {
    let of_second = |request| UpdateExecutionTaskStatusRequest { attempt_id: Some(1), ..request };
    let ask = async |request| client.tasks.clone().update_execution_task_status(request).await;
    let taken = of_second(report_task("job", "e", 7, Started, 30));
    refused(ask(taken).await, Code::FailedPrecondition, ErrorReason::SequenceConflict);
    let claimed = UpdateExecutionTaskStatusRequest {
        updated_by: Some(reporter("bob")),
        ..of_second(report_task("job", "c", 7, Started, 31))
    };
    refused(ask(claimed).await, Code::FailedPrecondition, ErrorReason::TaskAlreadyStarted);
    let stale = report_task("job", "b", 1, Closed, 30);
    refused(ask(stale).await, Code::FailedPrecondition, ErrorReason::StaleAttempt);
    let repeat = of_second(report_task("job", "d", 5, Closed, 30));
    assert_eq!(client.report_task(repeat).await.outcome(), ReportOutcome::Unchanged);
    let reply = client.report_task(of_second(report_task("job", "f", 9, Started, 30))).await;
    assert_eq!(reply.missing_sequence_count, 2);
    let linked = client.step("job", "one").await.task_id;
    client.report_task(of_second(report_task("job", &linked, 6, Closed, 40))).await;
    assert_eq!(client.step("job", "one").await.status(), StepStatus::Executed);
    let closed = UpdateExecutionWorkflowStatusRequest {
        attempt_id: Some(1),
        close_job: true,
        ..report_workflow("job", Closed, 50)
    };
    assert_eq!(client.report_workflow(closed).await.terminated_task_ids.len(), 2);
    assert!(client.job("job").await.closed);
}

#[tokio::test]
async fn executions_survive_a_restart() {
    let server = TestServer::sled().await;
    let client = server.client().await;
    report_much(&client).await;
    let before = all_of(&client).await;
    let server = server.restart().await;
    let client = server.client().await;
    assert_eq!(all_of(&client).await, before);
    go_on(&client).await;
    server.stop().await;
}

/// The real binary, killed: what was answered is there.
#[tokio::test]
async fn executions_survive_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::serve(directory.path(), &[]).await;
    let client = process.client().await;
    report_much(&client).await;
    let before = all_of(&client).await;
    process.kill().await;
    let process = Process::serve(directory.path(), &[]).await;
    let client = process.client().await;
    assert_eq!(all_of(&client).await, before);
    go_on(&client).await;
    let before = all_of(&client).await;
    process.kill().await;
    let process = Process::serve(directory.path(), &[]).await;
    assert_eq!(all_of(&process.client().await).await, before);
}

//! Servers to test against, and clients of them.
//!
//! A [`TestServer`] runs in this process, a [`Process`] is the real binary. Both listen on any free port. Nothing here
//! sleeps: what is waited for tells when it is there, and every wait is bounded by [`PATIENCE`].

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Debug,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use holdpoint::{
    config::{Config, StoreKind},
    engine::{Engine, System},
    proto::{
        API_DESCRIPTORS, Document,
        v1::{
            AbortJobRequest, AssignStepRequest, Assignee, BasicSyncRequest, BasicSyncResponse,
            CloseJobRequest, CountJobsRequest, CreateJobRequest, CreateTaskStatusRequest, DeleteJobRequest,
            ErrorReason, ExcludeJobRequest, ExecutionStatus, GetJobRequest, GetTaskStatusRequest,
            GetWorkflowInstanceRequest, GetWorkflowRequest, Hold, Job, JobActionType, JobDetails, JobEvent,
            JobEventType, JobFilter, JobOrder, JobView, ListHoldsRequest, ListJobEventsRequest,
            ListJobsRequest, ListTaskStatusesRequest, ListWorkflowInstancesRequest, ListWorkflowsRequest,
            PatchOp, PatchOperation, Path as StepPath, PerformJobActionRequest, PerformJobActionResponse,
            PublishWorkflowRequest, ReopenJobRequest, Reporter, Step, StepActionStatus, StepDefinition,
            StepKind, StepResponse, StepStatus, TaskFilter, TaskOrder, TaskStatus,
            UpdateExecutionTaskStatusRequest, UpdateExecutionTaskStatusResponse,
            UpdateExecutionWorkflowStatusRequest, UpdateExecutionWorkflowStatusResponse, UpdateJobRequest,
            UpdateTaskStatusRequest, WatchJobRequest, WatchJobsRequest, WatchJobsResponse, WatchStart,
            Workflow, WorkflowInstance, WorkflowReference, assignee, job_service_client::JobServiceClient,
            sync_service_client::SyncServiceClient, task_service_client::TaskServiceClient,
            watch_message::Kind, workflow_service_client::WorkflowServiceClient,
        },
    },
    server,
    store::{OpenError, Store},
};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use prost_types::{Struct, Timestamp, Value};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status, Streaming,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

/// How long anything may take before a test has failed. Far more than it takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits, but not for ever.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("what is waited for comes in time")
}

/// The next message of a stream; `None` where it ends.
pub async fn next<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Status> {
    within(stream.message()).await
}

/// A configuration to start a [`TestServer`] with: any free port, the memory store, the default limits.
pub fn config() -> Config {
    let mut config =
        Config { listen: (Ipv4Addr::LOCALHOST, 0).into(), drain_seconds: 5, ..Config::default() };
    config.store.kind = StoreKind::Memory;
    // A machine that is busy with other tests is no overload.
    config.limits.waiting_milliseconds = 60_000;
    config
}

/// A server in this process. Dropped with its test's runtime, it ends without a drain.
pub struct TestServer {
    pub address: SocketAddr,
    pub engine: Engine,
    /// Cancelled, the server drains.
    pub shutdown: CancellationToken,
    config: Config,
    serving: JoinHandle<Result<(), server::Error>>,
    directory: Option<TempDir>,
}

impl TestServer {
    /// Over a memory store.
    pub async fn memory() -> Self {
        Self::start(config()).await
    }

    /// Over a sled store in a directory of its own.
    pub async fn sled() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: directory.path().to_owned(), ..config() };
        config.store.kind = StoreKind::Sled;
        Self { directory: Some(directory), ..Self::start(config).await }
    }

    /// As configured.
    pub async fn start(config: Config) -> Self {
        let store = within(open_store(&config)).await;
        let engine = Engine::start(store, Arc::new(System), server::options(&config)).await.unwrap();
        let shutdown = CancellationToken::new();
        let services = server::services(&config, &engine, shutdown.clone()).unwrap();
        let (listener, address) = server::listen(config.listen).await.unwrap();
        let serving = tokio::spawn({
            let (config, shutdown) = (config.clone(), shutdown.clone());
            async move { server::serve(listener, services, &config, shutdown).await }
        });
        Self { address, engine, shutdown, config, serving, directory: None }
    }

    /// Stops in good order. What is left is the directory, if it has one.
    pub async fn stop(self) -> Option<TempDir> {
        self.shutdown.cancel();
        within(self.serving).await.unwrap().unwrap();
        within(self.engine.stop()).await.unwrap();
        self.directory
    }

    /// Stops, and starts again over the same directory.
    pub async fn restart(self) -> Self {
        let config = self.config.clone();
        let directory = self.stop().await;
        Self { directory, ..Self::start(config).await }
    }

    /// A client of the default caller, on a connection of its own.
    pub async fn client(&self) -> Client {
        self.client_as(Caller::default()).await
    }

    pub async fn client_as(&self, caller: Caller) -> Client {
        Client::connect(self.address, caller).await
    }
}

/// Opens the store, once nobody holds its directory any more. The connections of a server that has stopped may be a
/// moment from letting go of it, and so may a child of another test, between its fork and its exec.
async fn open_store(config: &Config) -> Arc<dyn Store> {
    loop {
        match server::open_store(config) {
            Err(server::Error::Open(OpenError::Held { .. })) => tokio::task::yield_now().await,
            opened => return opened.unwrap(),
        }
    }
}

/// The real binary, running.
pub struct Process {
    pub address: SocketAddr,
    child: Child,
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    /// Serves a data directory, on any free port, until told to stop; returns once it listens. Its log is off.
    pub async fn serve(data_dir: &Path, flags: &[&str]) -> Self {
        let data_dir = data_dir.to_str().unwrap();
        let common = ["serve", "--listen", "127.0.0.1:0", "--log-filter", "off", "--data-dir", data_dir];
        Self::start(&[&common, flags].concat()).await
    }

    /// Runs the binary, which is to serve; returns once it listens.
    pub async fn start(arguments: &[&str]) -> Self {
        Self::logging_to(arguments, Stdio::piped()).await
    }

    /// Likewise, with a log that may be longer than a pipe holds.
    pub async fn logging_to(arguments: &[&str], log: impl Into<Stdio>) -> Self {
        let mut child = command(arguments).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.as_mut().unwrap());
        let mut line = String::new();
        within(stdout.read_line(&mut line)).await.unwrap();
        let Some(address) = line.trim_end().strip_prefix("holdpoint is listening on ") else {
            panic!("it said {line:?}: {:?}", within(child.wait_with_output()).await);
        };
        Self { address: address.parse().unwrap(), child }
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address, Caller::default()).await
    }

    /// A client of whoever holds the token.
    pub async fn client_bearing(&self, token: &str) -> Client {
        Client::connect(self.address, Caller::bearing(token)).await
    }

    /// Sends SIGTERM.
    pub async fn terminate(&self) {
        let pid = self.child.id().expect("it is running");
        // The shell's own: no other program is needed.
        let status = within(Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status()).await;
        assert!(status.unwrap().success());
    }

    /// Sends SIGKILL, and returns when the process is gone.
    pub async fn kill(mut self) {
        within(self.child.kill()).await.unwrap();
    }

    /// Waits for its end.
    pub async fn ended(self) -> Ended {
        end_of(self.child).await
    }
}

/// Runs the binary until it ends by itself.
pub async fn run(arguments: &[&str]) -> Ended {
    end_of(command(arguments).spawn().unwrap()).await
}

async fn end_of(child: Child) -> Ended {
    let output = within(child.wait_with_output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdpoint"));
    command
        .args(arguments)
        // Nothing that whoever runs the tests has set reaches it.
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Who calls, as development mode takes it: from metadata. With a token, whom that names, where the server has keys.
#[derive(Clone, Debug)]
pub struct Caller {
    user: AsciiMetadataValue,
    org: AsciiMetadataValue,
    groups: AsciiMetadataValue,
    /// Unset: everything.
    privileges: Option<AsciiMetadataValue>,
    authorization: Option<AsciiMetadataValue>,
}

impl Default for Caller {
    fn default() -> Self {
        Self::new("alice")
    }
}

impl Caller {
    /// A user of the organization `acme`, in no group.
    pub fn new(user: &str) -> Self {
        let value = |text: &str| text.parse().unwrap();
        Self {
            user: value(user),
            org: value("acme"),
            groups: value(""),
            privileges: None,
            authorization: None,
        }
    }

    /// The holder of a token.
    pub fn bearing(token: &str) -> Self {
        Self { authorization: Some(format!("Bearer {token}").parse().unwrap()), ..Self::default() }
    }

    /// The same user in another organization.
    pub fn of(self, org: &str) -> Self {
        Self { org: org.parse().unwrap(), ..self }
    }

    /// The same user in these groups, separated by commas.
    pub fn in_groups(self, groups: &str) -> Self {
        Self { groups: groups.parse().unwrap(), ..self }
    }

    /// The same user, who may do no more than this: names of privileges, separated by commas.
    pub fn who_may(self, privileges: &str) -> Self {
        Self { privileges: Some(privileges.parse().unwrap()), ..self }
    }
}

impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("holdpoint-user", self.user.clone());
        metadata.insert("holdpoint-org", self.org.clone());
        metadata.insert("holdpoint-groups", self.groups.clone());
        if let Some(privileges) = &self.privileges {
            metadata.insert("holdpoint-privileges", privileges.clone());
        }
        if let Some(authorization) = &self.authorization {
            metadata.insert("authorization", authorization.clone());
        }
        Ok(request)
    }
}

/// What all calls of a client go through.
pub type Transport = InterceptedService<Channel, Caller>;

/// A connection, and the generated clients on it. Its calls are bounded; the messages of a stream are by [`next`].
#[derive(Clone, Debug)]
pub struct Client {
    pub transport: Transport,
    pub jobs: JobServiceClient<Transport>,
    pub syncs: SyncServiceClient<Transport>,
    pub tasks: TaskServiceClient<Transport>,
    pub workflows: WorkflowServiceClient<Transport>,
}

impl Client {
    pub async fn connect(address: SocketAddr, caller: Caller) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap().timeout(PATIENCE);
        let channel = within(endpoint.connect()).await.unwrap();
        let transport = InterceptedService::new(channel, caller);
        Self {
            jobs: JobServiceClient::new(transport.clone()),
            syncs: SyncServiceClient::new(transport.clone()),
            tasks: TaskServiceClient::new(transport.clone()),
            workflows: WorkflowServiceClient::new(transport.clone()),
            transport,
        }
    }

    /// The answer of an accepted sync.
    pub async fn sync(&self, request: BasicSyncRequest) -> BasicSyncResponse {
        self.syncs.clone().basic_sync(request).await.unwrap().into_inner()
    }

    /// A new job.
    pub async fn create(&self, job_id: &str, job: Job) -> Job {
        let request = create(job_id, job);
        self.jobs.clone().create_job(request).await.unwrap().into_inner().job.unwrap()
    }

    /// A job, as it is now.
    pub async fn job(&self, job_id: &str) -> Job {
        self.details(job_id).await.job.unwrap()
    }

    /// A job with all that GetJob has of it; it has fewer reports than a page.
    pub async fn details(&self, job_id: &str) -> JobDetails {
        let views = [JobView::Steps, JobView::Reports, JobView::Holds, JobView::Tasks];
        let request = GetJobRequest { views: views.map(Into::into).to_vec(), ..get(job_id) };
        let reply = self.jobs.clone().get_job(request).await.unwrap().into_inner();
        assert_eq!(reply.next_reports_page_token, "");
        reply.decode_details().unwrap()
    }

    /// A step of a job, as it is now.
    pub async fn step(&self, job_id: &str, step_id: &str) -> Step {
        let steps = self.details(job_id).await.steps;
        steps.into_iter().find(|step| step.step_id == step_id).unwrap()
    }

    /// A new version of a workflow.
    pub async fn publish(&self, workflow: Workflow) -> Workflow {
        let request = publish(workflow);
        self.workflows.clone().publish_workflow(request).await.unwrap().into_inner().workflow.unwrap()
    }

    /// What an accepted action is answered.
    pub async fn perform(&self, request: PerformJobActionRequest) -> PerformJobActionResponse {
        self.jobs.clone().perform_job_action(request).await.unwrap().into_inner()
    }

    /// Acts on steps, and tells what became of each.
    pub async fn act(&self, action: JobActionType, job_id: &str, step_ids: &[&str]) -> Vec<StepActionStatus> {
        let reply = self.perform(perform(action, job_id, step_ids)).await;
        reply.step_responses.iter().map(StepResponse::status).collect()
    }

    /// Acts on steps, each of which the action can be done on.
    pub async fn done(&self, action: JobActionType, job_id: &str, step_ids: &[&str]) {
        let reply = self.perform(perform(action, job_id, step_ids)).await;
        assert!(reply.success && reply.applied, "{action:?} {job_id} {step_ids:?}: {reply:?}");
    }

    /// The answer to an accepted report of a task.
    pub async fn report_task(
        &self,
        request: UpdateExecutionTaskStatusRequest,
    ) -> UpdateExecutionTaskStatusResponse {
        self.tasks.clone().update_execution_task_status(request).await.unwrap().into_inner()
    }

    /// The answer to an accepted report of an attempt at a workflow.
    pub async fn report_workflow(
        &self,
        request: UpdateExecutionWorkflowStatusRequest,
    ) -> UpdateExecutionWorkflowStatusResponse {
        self.workflows.clone().update_execution_workflow_status(request).await.unwrap().into_inner()
    }

    /// A workflow instance, as it is now, with its newest attempt whole.
    pub async fn instance(&self, job_id: &str, workflow_instance_id: &str) -> WorkflowInstance {
        let request = get_instance(job_id, workflow_instance_id);
        let reply = self.workflows.clone().get_workflow_instance(request).await.unwrap().into_inner();
        reply.workflow_instance.unwrap()
    }

    /// All workflow instances that match, from as many pages as it takes, none of which is too long.
    pub async fn instances(&self, mut request: ListWorkflowInstancesRequest) -> Vec<WorkflowInstance> {
        let mut instances = Vec::new();
        loop {
            let reply = self.workflows.clone().list_workflow_instances(request.clone()).await;
            let page = reply.unwrap().into_inner();
            let page_size = if request.page_size == 0 { 50 } else { request.page_size };
            assert!(page.workflow_instances.len() <= usize::try_from(page_size).unwrap());
            instances.extend(page.workflow_instances);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return instances;
            }
        }
    }

    /// A task, as it is now.
    pub async fn task(&self, id: &str) -> TaskStatus {
        let request = GetTaskStatusRequest { id: id.to_owned() };
        self.tasks.clone().get_task_status(request).await.unwrap().into_inner().task.unwrap()
    }

    /// All tasks that match, the oldest first, from as many pages as it takes.
    pub async fn list_tasks(&self, filter: TaskFilter) -> Vec<TaskStatus> {
        let mut request = ListTaskStatusesRequest {
            filter: Some(filter),
            order: TaskOrder::OldestFirst.into(),
            ..ListTaskStatusesRequest::default()
        };
        let mut tasks = Vec::new();
        loop {
            let page = self.tasks.clone().list_task_statuses(request.clone()).await.unwrap().into_inner();
            tasks.extend(page.tasks);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return tasks;
            }
        }
    }

    /// All holds that match, from as many pages as it takes.
    pub async fn holds(&self, mut request: ListHoldsRequest) -> Vec<Hold> {
        let mut holds = Vec::new();
        loop {
            let page = self.jobs.clone().list_holds(request.clone()).await.unwrap().into_inner();
            holds.extend(page.holds);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return holds;
            }
        }
    }

    /// A watch that stands.
    pub async fn watch(&self, request: WatchJobsRequest) -> Watch {
        let stream = self.jobs.clone().watch_jobs(request).await.unwrap().into_inner();
        let mut watch = Watch { stream, token: String::new(), waiting: VecDeque::new() };
        assert!(matches!(watch.message().await, Kind::Created(_)));
        watch
    }

    /// A watch of what follows.
    pub async fn watch_on(&self) -> Watch {
        self.watch(WatchJobsRequest { start: WatchStart::Now.into(), ..Default::default() }).await
    }

    /// A watch of what follows a token.
    pub async fn watch_from(&self, resume_token: &str) -> Watch {
        let resume_token = resume_token.to_owned();
        self.watch(WatchJobsRequest { resume_token, ..Default::default() }).await
    }

    /// The whole history of a job.
    pub async fn history(&self, job_id: &str) -> Vec<JobEvent> {
        let mut jobs = self.jobs.clone();
        let mut events = Vec::new();
        let mut page_token = String::new();
        loop {
            let job_id = job_id.to_owned();
            let request = ListJobEventsRequest { job_id, page_token, ..Default::default() };
            let page = jobs.list_job_events(request).await.unwrap().into_inner();
            events.extend(page.events);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return events;
            }
        }
    }

    /// What happened to a job, in order. Its revisions are dense.
    pub async fn event_types(&self, job_id: &str) -> Vec<JobEventType> {
        let history = self.history(job_id).await;
        assert!((1..).zip(&history).all(|(revision, event)| event.revision == revision), "{history:?}");
        history.iter().map(JobEvent::r#type).collect()
    }

    /// All jobs that match, from as many pages as it takes.
    pub async fn list(&self, filter: JobFilter, order: JobOrder, page_size: i32) -> Vec<Job> {
        let mut clients = self.jobs.clone();
        let (mut jobs, mut page_token) = (Vec::new(), String::new());
        loop {
            let filter = Some(filter.clone());
            let request = ListJobsRequest { filter, order: order.into(), page_size, page_token };
            let page = clients.list_jobs(request).await.unwrap().into_inner();
            jobs.extend(page.decode_jobs().unwrap());
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return jobs;
            }
        }
    }

    /// Everything that the caller's organization has, as far as it can be read.
    pub async fn everything(&self) -> Vec<(JobDetails, Vec<JobEvent>)> {
        let mut all = Vec::new();
        for job in self.list(JobFilter::default(), JobOrder::OldestFirst, 0).await {
            all.push((self.details(&job.job_id).await, self.history(&job.job_id).await));
        }
        all
    }

    /// Makes a call, and keeps of it whether it was refused. Of a watch the messages are read until it ends, and it must
    /// be one that does.
    pub async fn call(&self, call: impl Into<Call>) -> Result<(), Status> {
        // It has room for a call of every kind.
        Box::pin(self.clone().make(call.into())).await
    }

    async fn make(self, call: Call) -> Result<(), Status> {
        let Self { mut jobs, mut syncs, mut tasks, mut workflows, .. } = self;
        match call {
            Call::Sync(request) => syncs.basic_sync(request).await.map(drop),
            Call::Create(request) => jobs.create_job(request).await.map(drop),
            Call::Get(request) => jobs.get_job(request).await.map(drop),
            Call::List(request) => jobs.list_jobs(request).await.map(drop),
            Call::Count(request) => jobs.count_jobs(request).await.map(drop),
            Call::Update(request) => jobs.update_job(request).await.map(drop),
            Call::Abort(request) => jobs.abort_job(request).await.map(drop),
            Call::Close(request) => jobs.close_job(request).await.map(drop),
            Call::Delete(request) => jobs.delete_job(request).await.map(drop),
            Call::Events(request) => jobs.list_job_events(request).await.map(drop),
            Call::Perform(request) => jobs.perform_job_action(request).await.map(drop),
            Call::Assign(request) => jobs.assign_step(request).await.map(drop),
            Call::Reopen(request) => jobs.reopen_job(request).await.map(drop),
            Call::Exclude(request) => jobs.exclude_job(request).await.map(drop),
            Call::Holds(request) => jobs.list_holds(request).await.map(drop),
            Call::Publish(request) => workflows.publish_workflow(request).await.map(drop),
            Call::Workflow(request) => workflows.get_workflow(request).await.map(drop),
            Call::Workflows(request) => workflows.list_workflows(request).await.map(drop),
            Call::ReportWorkflow(request) => {
                workflows.update_execution_workflow_status(request).await.map(drop)
            }
            Call::Instance(request) => workflows.get_workflow_instance(request).await.map(drop),
            Call::Instances(request) => workflows.list_workflow_instances(request).await.map(drop),
            Call::ReportTask(request) => tasks.update_execution_task_status(request).await.map(drop),
            Call::CreateTask(request) => tasks.create_task_status(request).await.map(drop),
            Call::Task(request) => tasks.get_task_status(request).await.map(drop),
            Call::Tasks(request) => tasks.list_task_statuses(request).await.map(drop),
            Call::PatchTask(request) => tasks.update_task_status(request).await.map(drop),
            Call::WatchJob(request) => drained(jobs.watch_job(request).await?.into_inner()).await,
            Call::WatchJobs(request) => drained(jobs.watch_jobs(request).await?.into_inner()).await,
        }
    }
}

async fn drained<T>(mut stream: Streaming<T>) -> Result<(), Status> {
    while next(&mut stream).await?.is_some() {}
    Ok(())
}

/// Messages of `WatchJobs`.
pub struct Watch {
    stream: Streaming<WatchJobsResponse>,
    /// That of the last message.
    pub token: String,
    /// Events that have come and were not asked for yet.
    waiting: VecDeque<JobEvent>,
}

impl Watch {
    /// The next message.
    pub async fn message(&mut self) -> Kind {
        let message = next(&mut self.stream).await.unwrap().expect("the watch goes on").message.unwrap();
        self.token = message.resume_token;
        message.kind.unwrap()
    }

    /// The next event.
    pub async fn event(&mut self) -> JobEvent {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return event;
            }
            match self.message().await {
                Kind::Batch(batch) => self.waiting.extend(batch.decode_events().unwrap()),
                Kind::Checkpoint(_) => {}
                other => panic!("{other:?} is no event"),
            }
        }
    }

    /// The next event of that type; those before it are passed over.
    pub async fn find(&mut self, kind: JobEventType) -> JobEvent {
        loop {
            let event = self.event().await;
            if event.r#type() == kind {
                return event;
            }
        }
    }
}

/// Any request, so that tables can hold them.
macro_rules! calls {
    ($($call:ident($request:ident),)*) => {
        #[derive(Clone, Debug)]
        pub enum Call {
            $($call($request),)*
        }

        $(
            impl From<$request> for Call {
                fn from(request: $request) -> Self {
                    Self::$call(request)
                }
            }
        )*
    };
}

calls! {
    Sync(BasicSyncRequest),
    Create(CreateJobRequest),
    Get(GetJobRequest),
    List(ListJobsRequest),
    Count(CountJobsRequest),
    Update(UpdateJobRequest),
    Abort(AbortJobRequest),
    Close(CloseJobRequest),
    Delete(DeleteJobRequest),
    Events(ListJobEventsRequest),
    Perform(PerformJobActionRequest),
    Assign(AssignStepRequest),
    Reopen(ReopenJobRequest),
    Exclude(ExcludeJobRequest),
    Holds(ListHoldsRequest),
    Publish(PublishWorkflowRequest),
    Workflow(GetWorkflowRequest),
    Workflows(ListWorkflowsRequest),
    ReportWorkflow(UpdateExecutionWorkflowStatusRequest),
    Instance(GetWorkflowInstanceRequest),
    Instances(ListWorkflowInstancesRequest),
    ReportTask(UpdateExecutionTaskStatusRequest),
    CreateTask(CreateTaskStatusRequest),
    Task(GetTaskStatusRequest),
    Tasks(ListTaskStatusesRequest),
    PatchTask(UpdateTaskStatusRequest),
    WatchJob(WatchJobRequest),
    WatchJobs(WatchJobsRequest),
}

pub fn create(job_id: &str, job: Job) -> CreateJobRequest {
    CreateJobRequest { job_id: job_id.to_owned(), job: Some(job), ..Default::default() }
}

pub fn get(job_id: &str) -> GetJobRequest {
    GetJobRequest { job_id: job_id.to_owned(), ..Default::default() }
}

/// An update of the fields that are set in `job`.
pub fn update(job_id: &str, job: Job) -> UpdateJobRequest {
    UpdateJobRequest { job_id: job_id.to_owned(), job: Some(job), ..Default::default() }
}

pub fn abort(job_id: &str) -> AbortJobRequest {
    AbortJobRequest { job_id: job_id.to_owned(), ..Default::default() }
}

pub fn close(job_id: &str) -> CloseJobRequest {
    CloseJobRequest { job_id: job_id.to_owned(), ..Default::default() }
}

pub fn delete(job_id: &str) -> DeleteJobRequest {
    DeleteJobRequest { job_id: job_id.to_owned(), ..Default::default() }
}

pub fn events(job_id: &str) -> ListJobEventsRequest {
    ListJobEventsRequest { job_id: job_id.to_owned(), ..Default::default() }
}

/// An action on steps; without any, on those that it finds.
pub fn perform(action: JobActionType, job_id: &str, step_ids: &[&str]) -> PerformJobActionRequest {
    let step_ids = step_ids.iter().map(|&id| id.to_owned()).collect();
    let job_id = job_id.to_owned();
    PerformJobActionRequest { job_id, r#type: action.into(), step_ids, ..Default::default() }
}

pub fn assign(job_id: &str, step_id: &str, assignee: Option<Assignee>) -> AssignStepRequest {
    AssignStepRequest {
        job_id: job_id.to_owned(),
        step_id: step_id.to_owned(),
        assignee,
        ..Default::default()
    }
}

pub fn reopen(job_id: &str, step_ids: &[&str]) -> ReopenJobRequest {
    let step_ids = step_ids.iter().map(|&id| id.to_owned()).collect();
    ReopenJobRequest { job_id: job_id.to_owned(), step_ids, ..Default::default() }
}

pub fn exclude(job_id: &str, excluded: bool) -> ExcludeJobRequest {
    ExcludeJobRequest { job_id: job_id.to_owned(), excluded: Some(excluded), ..Default::default() }
}

/// The holds on the steps of a job.
pub fn holds_of(job_id: &str) -> ListHoldsRequest {
    ListHoldsRequest { job_id: job_id.to_owned(), ..Default::default() }
}

pub fn publish(workflow: Workflow) -> PublishWorkflowRequest {
    PublishWorkflowRequest { workflow: Some(workflow), ..Default::default() }
}

/// A report of a task: of the first attempt at the instance `run`, by the executor `robot`. It gave nothing.
pub fn report_task(
    job_id: &str,
    task_id: &str,
    sequence_id: i64,
    status: ExecutionStatus,
    timestamp: i64,
) -> UpdateExecutionTaskStatusRequest {
    UpdateExecutionTaskStatusRequest {
        workflow_instance_id: Some("run".to_owned()),
        task_id: Some(task_id.to_owned()),
        job_id: Some(job_id.to_owned()),
        dispatch_id: Some("dispatch".to_owned()),
        attempt_id: Some(0),
        status: status.into(),
        sequence_id: Some(sequence_id),
        state_name: Some("Weld".to_owned()),
        timestamp: Some(timestamp),
        data: Some(Document::default()),
        meta: Some(Document::default()),
        updated_by: Some(reporter("robot")),
        ..UpdateExecutionTaskStatusRequest::default()
    }
}

/// A report of the first attempt at the instance `run`, by the executor `robot`. It gave nothing.
pub fn report_workflow(
    job_id: &str,
    status: ExecutionStatus,
    timestamp: i64,
) -> UpdateExecutionWorkflowStatusRequest {
    UpdateExecutionWorkflowStatusRequest {
        workflow_instance_id: Some("run".to_owned()),
        status: status.into(),
        timestamp: Some(timestamp),
        dispatch_id: Some("dispatch".to_owned()),
        job_id: Some(job_id.to_owned()),
        attempt_id: Some(0),
        data: Some(Document::default()),
        meta: Some(Document::default()),
        code: Some("done".to_owned()),
        updated_by: Some(reporter("robot")),
        ..UpdateExecutionWorkflowStatusRequest::default()
    }
}

/// An executor, which is an application of its own.
pub fn reporter(id: &str) -> Reporter {
    Reporter { id: Some(id.to_owned()), name: Some(format!("the {id}")), app_id: Some(format!("{id}-app")) }
}

pub fn get_instance(job_id: &str, workflow_instance_id: &str) -> GetWorkflowInstanceRequest {
    GetWorkflowInstanceRequest {
        job_id: job_id.to_owned(),
        workflow_instance_id: workflow_instance_id.to_owned(),
        attempt_id: None,
    }
}

/// The workflow instances of a job.
pub fn instances_of(job_id: &str) -> ListWorkflowInstancesRequest {
    ListWorkflowInstancesRequest { job_id: job_id.to_owned(), ..Default::default() }
}

/// A patch that replaces a member of a task's JSON form.
pub fn replace(id: &str, member: &str, value: impl Into<Value>) -> UpdateTaskStatusRequest {
    let operation = PatchOperation {
        op: PatchOp::Replace.into(),
        path: Some(format!("/{member}")),
        value: Some(value.into()),
        ..PatchOperation::default()
    };
    UpdateTaskStatusRequest { id: id.to_owned(), operations: vec![operation], ..Default::default() }
}

/// A workflow; jobs begin with these of its steps.
pub fn workflow(workflow_id: &str, start_step_ids: &[&str], steps: Vec<StepDefinition>) -> Workflow {
    let start_step_ids = start_step_ids.iter().map(|&id| id.to_owned()).collect();
    Workflow { workflow_id: workflow_id.to_owned(), start_step_ids, steps, ..Default::default() }
}

/// A workflow of steps one after another.
pub fn chain(workflow_id: &str, mut steps: Vec<StepDefinition>) -> Workflow {
    let ids: Vec<_> = steps.iter().map(|step| step.step_id.clone()).collect();
    for (step, next) in steps.iter_mut().zip(&ids[1..]) {
        step.paths = leads_to(&[next]);
    }
    workflow(workflow_id, &[&ids[0]], steps)
}

/// Paths that are always followed.
pub fn leads_to(step_ids: &[&str]) -> Vec<StepPath> {
    step_ids.iter().map(|&id| StepPath { next_step_id: id.to_owned(), ..Default::default() }).collect()
}

/// A step that leads nowhere.
pub fn step(step_id: &str, kind: StepKind) -> StepDefinition {
    StepDefinition { step_id: step_id.to_owned(), kind: kind.into(), ..Default::default() }
}

/// A job that follows the newest version of a workflow.
pub fn following(workflow_id: &str) -> Job {
    let workflow = WorkflowReference { workflow_id: workflow_id.to_owned(), ..Default::default() };
    Job { workflow: Some(workflow), ..Job::default() }
}

pub fn user(id: &str) -> Assignee {
    Assignee { kind: assignee::Kind::User.into(), id: id.to_owned() }
}

pub fn group(id: &str) -> Assignee {
    Assignee { kind: assignee::Kind::Group.into(), id: id.to_owned() }
}

/// The time so many milliseconds from now, by this machine's clock, which is the server's too.
pub fn in_millis(milliseconds: u64) -> Timestamp {
    (SystemTime::now() + Duration::from_millis(milliseconds)).into()
}

/// A time, to be compared.
pub fn moment(time: Option<Timestamp>) -> (i64, i32) {
    let time = time.unwrap();
    (time.seconds, time.nanos)
}

/// The statuses of a job's steps, by id.
pub fn statuses(details: &JobDetails) -> BTreeMap<&str, StepStatus> {
    details.steps.iter().map(|step| (step.step_id.as_str(), step.status())).collect()
}

/// A job with a title.
pub fn titled(title: &str) -> Job {
    Job { title: Some(title.to_owned()), ..Job::default() }
}

/// Free properties.
pub fn fields<const N: usize>(fields: [(&str, Value); N]) -> Document {
    Struct { fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }.into()
}

/// The body of a sync as a device sends it: a completed job with one report.
pub fn device_body() -> BasicSyncRequest {
    from_json("holdpoint.v1.BasicSyncRequest", include_str!("../../examples/basic-sync.json"))
}

/// The same of another job.
pub fn device_body_of(client_job_id: &str) -> BasicSyncRequest {
    let mut body = device_body();
    body.metadata.as_mut().unwrap().client_job_id = Some(client_job_id.to_owned());
    body
}

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| DescriptorPool::decode(API_DESCRIPTORS).unwrap());

/// The descriptor of a message of the API.
pub fn descriptor(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(name).unwrap()
}

/// A message out of its proto3 JSON.
pub fn from_json<M: Message + Default>(name: &str, json: &str) -> M {
    let mut json = serde_json::Deserializer::from_str(json);
    let message = DynamicMessage::deserialize(descriptor(name), &mut json).unwrap();
    json.end().unwrap();
    message.transcode_to().unwrap()
}

/// A message as proto3 JSON.
pub fn to_json(name: &str, message: &impl Message) -> String {
    let mut dynamic = DynamicMessage::new(descriptor(name));
    dynamic.transcode_from(message).unwrap();
    serde_json::to_string(&dynamic).unwrap()
}

/// The words of an enum of the API, less its prefix.
pub fn words(name: &str) -> Vec<String> {
    let values = POOL.get_enum_by_name(name).unwrap();
    values.values().map(|value| value.name().to_owned()).collect()
}

/// The files of the project, wherever it is.
pub fn project() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// The reason in a status; empty where it has none.
pub fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The word that stands for a reason in a status.
pub fn word(reason: ErrorReason) -> &'static str {
    reason.as_str_name().trim_start_matches("ERROR_REASON_")
}

/// A refusal as one line: code, reason, metadata, and the fields that are wrong, each with what is wrong with it.
pub fn line(status: &Status) -> String {
    let details = status.get_error_details();
    let metadata: BTreeMap<_, _> =
        details.error_info().map(|info| info.metadata.clone()).unwrap_or_default().into_iter().collect();
    let metadata = if metadata.is_empty() { String::new() } else { format!(" {metadata:?}") };
    let mut line = format!("{:?} {}{metadata}", status.code(), reason(status));
    for violation in details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default() {
        line.push_str(&format!("\n    {} {}", violation.field, violation.description));
    }
    stable(&line)
}

/// A text with `job_*` or `task_*` in the place of every id that the server made: those are others in every run.
pub fn stable(text: &str) -> String {
    ["job_", "task_"].iter().fold(text.to_owned(), |text, prefix| without_made_ids(&text, prefix))
}

fn without_made_ids(text: &str, prefix: &str) -> String {
    const ID_BYTES: usize = "0000_".len() + 32;
    let mut parts = text.split(prefix);
    let mut stable = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_made = part.len() >= ID_BYTES
            && part[..ID_BYTES].bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'_');
        stable.push_str(prefix);
        stable.push_str(if is_made { "*" } else { "" });
        stable.push_str(if is_made { &part[ID_BYTES..] } else { part });
    }
    stable
}

/// The call was refused, with this code and for this reason.
#[track_caller]
pub fn refused<T: Debug>(outcome: Result<T, Status>, code: Code, expected: ErrorReason) -> Status {
    let status = outcome.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (code, word(expected)), "{status:?}");
    status
}

/// Chance that is the same in every run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `sides`: SplitMix64.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).unwrap()
    }

    pub fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.roll(items.len())].clone()
    }
}

//! `TaskService`.

use prost::Message;
use tonic::{Request, Response, Status};

use super::{
    call,
    parse::{self, Violations},
    status, token,
};
use crate::{
    config::Limits,
    domain::Rejection,
    engine::{self, Engine, ListOrder, Target, Views},
    proto::{
        storage::v1::PageToken,
        v1::{
            CreateTaskStatusRequest, CreateTaskStatusResponse, GetTaskStatusRequest, GetTaskStatusResponse,
            ListTaskStatusesRequest, ListTaskStatusesResponse, TaskOrder, UpdateExecutionTaskStatusRequest,
            UpdateExecutionTaskStatusResponse, UpdateTaskStatusRequest, UpdateTaskStatusResponse,
            task_service_server,
        },
    },
    store::IndexPlace,
};

/// Tasks on a page where the request does not say.
const PAGE_SIZE: usize = 50;

/// Serves integrators and executors.
pub struct TaskService {
    engine: Engine,
    limits: Limits,
}

impl TaskService {
    /// A service over an engine.
    #[must_use]
    pub fn new(engine: Engine, limits: Limits) -> Self {
        Self { engine, limits }
    }
}

#[tonic::async_trait]
impl task_service_server::TaskService for TaskService {
    async fn update_execution_task_status(
        &self,
        request: Request<UpdateExecutionTaskStatusRequest>,
    ) -> Result<Response<UpdateExecutionTaskStatusResponse>, Status> {
        let (caller, message) = call::open(request);
        let (request_id, validate_only) = (&message.request_id, message.validate_only);
        let origin = call::origin(&caller, "UpdateExecutionTaskStatus", &message, request_id, validate_only);
        let command = parse::report_task(&self.limits, message, |job_id, place, task_id| {
            self.engine.derived_task_id(&caller.org, job_id, place, task_id)
        })?;
        call::trace(&origin, &command.job_id);
        let (job_id, task_id) = (command.job_id.clone(), command.task_id.clone());
        let reply = self.engine.execute(origin, command).await;
        reply.map(Response::new).map_err(|error| match error {
            engine::Error::Rejected(Rejection::TaskNotFound) => status::task_not_found(&task_id),
            error => status::from_engine(&job_id, error),
        })
    }

    async fn create_task_status(
        &self,
        request: Request<CreateTaskStatusRequest>,
    ) -> Result<Response<CreateTaskStatusResponse>, Status> {
        let (caller, message) = call::open(request);
        let origin =
            call::origin(&caller, "CreateTaskStatus", &message, &message.request_id, message.validate_only);
        let command = parse::create_task(&self.limits, message)?;
        call::trace(&origin, &command.job_id);
        let job_id = command.job_id.clone();
        let reply = self.engine.execute(origin, command).await;
        reply.map(Response::new).map_err(|error| status::from_engine(&job_id, error))
    }

    async fn get_task_status(
        &self,
        request: Request<GetTaskStatusRequest>,
    ) -> Result<Response<GetTaskStatusResponse>, Status> {
        let (caller, GetTaskStatusRequest { id }) = call::open(request);
        let mut violations = Violations::new(&self.limits);
        violations.id("id", &id);
        violations.check()?;
        let found = self.engine.task(&caller.org, &id).await;
        match found.map_err(|error| status::from_engine(&id, error))? {
            Some(task) => Ok(Response::new(GetTaskStatusResponse { task: Some(task) })),
            None => Err(status::task_not_found(&id)),
        }
    }

    async fn list_task_statuses(
        &self,
        request: Request<ListTaskStatusesRequest>,
    ) -> Result<Response<ListTaskStatusesResponse>, Status> {
        let (caller, message) = call::open(request);
        let mut violations = Violations::new(&self.limits);
        let filter = parse::task_filter(&mut violations, message.filter);
        let limit = violations.page_size("page_size", message.page_size, PAGE_SIZE);
        let order = match TaskOrder::try_from(message.order) {
            Ok(TaskOrder::OldestFirst) => ListOrder::OldestFirst,
            Ok(TaskOrder::Unspecified | TaskOrder::NewestFirst) => ListOrder::NewestFirst,
            Err(_) => {
                violations.add("order", "is not a value of TaskOrder");
                ListOrder::NewestFirst
            }
        };
        violations.check()?;
        let newest_first = [u8::from(order == ListOrder::NewestFirst)];
        let scope = token::scope(&[b"tasks", caller.org.as_bytes(), &filter.encode_to_vec(), &newest_first]);
        let after = token::open_page(&message.page_token, &scope)?.map(|token| IndexPlace {
            create_time: token.create_time.map(|time| (time.seconds, time.nanos)).unwrap_or_default(),
            id: token.id,
        });

        let failed = |error| status::from_engine(&filter.job_id, error);
        if !filter.job_id.is_empty() {
            let job = self.engine.job(&caller.org, Target::Job(&filter.job_id), &Views::default()).await;
            if job.map_err(failed)?.is_none() {
                return Err(status::job_not_found("jobId", &filter.job_id));
            }
        }
        let page = self.engine.tasks(&caller.org, &filter, order, after, limit).await.map_err(failed)?;
        let count = if message.count {
            let count = self.engine.count_tasks(&caller.org, &filter).await.map_err(failed)?;
            Some(i64::try_from(count).unwrap_or(i64::MAX))
        } else {
            None
        };
        let next = page.next.map(|place| PageToken {
            scope: scope.into(),
            create_time: Some(place.time()),
            id: place.id,
            ..PageToken::default()
        });
        let next_page_token = next.as_ref().map(token::seal).unwrap_or_default();
        Ok(Response::new(ListTaskStatusesResponse { tasks: page.tasks, next_page_token, count }))
    }

    async fn update_task_status(
        &self,
        request: Request<UpdateTaskStatusRequest>,
    ) -> Result<Response<UpdateTaskStatusResponse>, Status> {
        let (caller, message) = call::open(request);
        let origin =
            call::origin(&caller, "UpdateTaskStatus", &message, &message.request_id, message.validate_only);
        let command = parse::update_task(&self.limits, message)?;
        call::trace(&origin, &command.task_id);
        let task_id = command.task_id.clone();
        let reply = self.engine.execute(origin, command).await;
        reply.map(Response::new).map_err(|error| status::from_engine(&task_id, error))
    }
}

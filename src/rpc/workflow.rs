//! `WorkflowService`.

use tonic::{Request, Response, Status};

use super::{
    call,
    parse::{self, Violations},
    status, token,
};
use crate::{
    config::Limits,
    domain::version_number,
    engine::{Engine, InstancePlace, InstanceQuery, Target, Views, WorkflowList},
    proto::{
        storage::v1::PageToken,
        v1::{
            GetWorkflowInstanceRequest, GetWorkflowInstanceResponse, GetWorkflowRequest, GetWorkflowResponse,
            ListWorkflowInstancesRequest, ListWorkflowInstancesResponse, ListWorkflowsRequest,
            ListWorkflowsResponse, PublishWorkflowRequest, PublishWorkflowResponse,
            UpdateExecutionWorkflowStatusRequest, UpdateExecutionWorkflowStatusResponse,
            workflow_service_server,
        },
    },
};

/// Workflows on a page where the request does not say.
const PAGE_SIZE: usize = 50;

/// Serves those who say how jobs go on, and who tell how far they have come.
pub struct WorkflowService {
    engine: Engine,
    limits: Limits,
}

impl WorkflowService {
    /// A service over an engine.
    #[must_use]
    pub fn new(engine: Engine, limits: Limits) -> Self {
        Self { engine, limits }
    }
}

#[tonic::async_trait]
impl workflow_service_server::WorkflowService for WorkflowService {
    async fn publish_workflow(
        &self,
        request: Request<PublishWorkflowRequest>,
    ) -> Result<Response<PublishWorkflowResponse>, Status> {
        let (caller, message) = call::open(request);
        let origin =
            call::origin(&caller, "PublishWorkflow", &message, &message.request_id, message.validate_only);
        let limits = self.limits.clone();
        // Many conditions take long enough to check that others should not wait for this thread.
        let parsed = tokio::task::spawn_blocking(move || parse::publish_workflow(&limits, message)).await;
        let command = parsed.map_err(|error| status::internal(&error))??;
        call::trace(&origin, &command.workflow.workflow_id);
        let workflow_id = command.workflow.workflow_id.clone();
        let reply = self.engine.publish(origin, command).await;
        reply.map(Response::new).map_err(|error| status::from_engine(&workflow_id, error))
    }

    async fn get_workflow(
        &self,
        request: Request<GetWorkflowRequest>,
    ) -> Result<Response<GetWorkflowResponse>, Status> {
        let (caller, GetWorkflowRequest { workflow_id, version_id }) = call::open(request);
        let mut violations = Violations::new(&self.limits);
        violations.id("workflow_id", &workflow_id);
        violations.optional_id("version_id", Some(&version_id));
        violations.check()?;
        let wanted = Some(version_id.as_str()).filter(|version_id| !version_id.is_empty());
        let found = self.engine.workflow(&caller.org, &workflow_id, wanted).await;
        let found = found.map_err(|error| status::from_engine(&workflow_id, error))?;
        match found {
            Some(workflow) => Ok(Response::new(GetWorkflowResponse { workflow: Some(workflow) })),
            None => Err(status::workflow_not_found(&workflow_id, &version_id)),
        }
    }

    async fn list_workflows(
        &self,
        request: Request<ListWorkflowsRequest>,
    ) -> Result<Response<ListWorkflowsResponse>, Status> {
        let (caller, ListWorkflowsRequest { workflow_id, page_size, page_token }) = call::open(request);
        let mut violations = Violations::new(&self.limits);
        violations.optional_id("workflow_id", Some(&workflow_id));
        let limit = violations.page_size("page_size", page_size, PAGE_SIZE);
        violations.check()?;
        let scope = token::scope(&[b"workflows", caller.org.as_bytes(), workflow_id.as_bytes()]);
        let after = token::open_page(&page_token, &scope)?;
        let list = if workflow_id.is_empty() {
            WorkflowList::All { after: after.as_ref().map_or("", |token| &token.id) }
        } else {
            let before = after.as_ref().map(|token| token.sequence);
            WorkflowList::Versions { workflow_id: &workflow_id, before }
        };
        let found = self.engine.workflows(&caller.org, list, limit).await;
        let (workflows, has_more) = found.map_err(|error| status::from_engine(&workflow_id, error))?;
        let next = workflows.last().filter(|_| has_more).map(|last| PageToken {
            scope: scope.into(),
            id: last.workflow_id.clone(),
            sequence: version_number(last),
            ..PageToken::default()
        });
        let next_page_token = next.as_ref().map(token::seal).unwrap_or_default();
        Ok(Response::new(ListWorkflowsResponse { workflows, next_page_token }))
    }

    async fn update_execution_workflow_status(
        &self,
        request: Request<UpdateExecutionWorkflowStatusRequest>,
    ) -> Result<Response<UpdateExecutionWorkflowStatusResponse>, Status> {
        let (caller, message) = call::open(request);
        let (request_id, validate_only) = (&message.request_id, message.validate_only);
        let origin =
            call::origin(&caller, "UpdateExecutionWorkflowStatus", &message, request_id, validate_only);
        let command = parse::report_workflow(&self.limits, message)?;
        call::trace(&origin, &command.job_id);
        let job_id = command.job_id.clone();
        let reply = self.engine.execute(origin, command).await;
        reply.map(Response::new).map_err(|error| status::from_engine(&job_id, error))
    }

    async fn get_workflow_instance(
        &self,
        request: Request<GetWorkflowInstanceRequest>,
    ) -> Result<Response<GetWorkflowInstanceResponse>, Status> {
        let (caller, message) = call::open(request);
        let GetWorkflowInstanceRequest { job_id, workflow_instance_id, attempt_id } = message;
        let mut violations = Violations::new(&self.limits);
        violations.id("job_id", &job_id);
        violations.id("workflow_instance_id", &workflow_instance_id);
        if attempt_id.is_some_and(i64::is_negative) {
            violations.add("attempt_id", "is less than 0");
        }
        violations.check()?;
        let found =
            self.engine.workflow_instance(&caller.org, &job_id, &workflow_instance_id, attempt_id).await;
        match found.map_err(|error| status::from_engine(&job_id, error))? {
            None => Err(status::workflow_instance_not_found(&workflow_instance_id, attempt_id)),
            found => Ok(Response::new(GetWorkflowInstanceResponse { workflow_instance: found })),
        }
    }

    async fn list_workflow_instances(
        &self,
        request: Request<ListWorkflowInstancesRequest>,
    ) -> Result<Response<ListWorkflowInstancesResponse>, Status> {
        let (caller, message) = call::open(request);
        let ListWorkflowInstancesRequest { job_id, closed, page_size, page_token } = message;
        let mut violations = Violations::new(&self.limits);
        violations.optional_id("job_id", Some(&job_id));
        let limit = violations.page_size("page_size", page_size, PAGE_SIZE);
        violations.check()?;
        let which = [closed.map_or(2, u8::from)];
        let scope = token::scope(&[b"workflow_instances", caller.org.as_bytes(), job_id.as_bytes(), &which]);
        let after = token::open_page(&page_token, &scope)?.map(|token| InstancePlace {
            partition: u16::try_from(token.partition).unwrap_or(u16::MAX),
            job_id: token.job_id,
            workflow_instance_id: token.id,
        });

        let failed = |error| status::from_engine(&job_id, error);
        if !job_id.is_empty() {
            let job = self.engine.job(&caller.org, Target::Job(&job_id), &Views::default()).await;
            if job.map_err(failed)?.is_none() {
                return Err(status::job_not_found("jobId", &job_id));
            }
        }
        let query = InstanceQuery { job_id: job_id.clone(), closed };
        let page = self.engine.workflow_instances(&caller.org, &query, after, limit).await.map_err(failed)?;
        let next = page.next.map(|place| PageToken {
            scope: scope.into(),
            partition: place.partition.into(),
            job_id: place.job_id,
            id: place.workflow_instance_id,
            ..PageToken::default()
        });
        let next_page_token = next.as_ref().map(token::seal).unwrap_or_default();
        Ok(Response::new(ListWorkflowInstancesResponse {
            workflow_instances: page.instances,
            next_page_token,
        }))
    }
}

//! `WorkflowService`.

use tonic::{Request, Response, Status};

use super::{
    call,
    parse::{self, Violations},
    status, token,
};
use crate::{
    auth::Privilege,
    config::Limits,
    domain::version_number,
    engine::{Engine, WorkflowList},
    proto::{
        storage::v1::PageToken,
        v1::{
            GetWorkflowRequest, GetWorkflowResponse, ListWorkflowsRequest, ListWorkflowsResponse,
            PublishWorkflowRequest, PublishWorkflowResponse, workflow_service_server,
        },
    },
};

/// Workflows on a page where the request does not say.
const PAGE_SIZE: usize = 50;

/// Serves those who say how jobs go on.
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
        let (caller, message) = call::open(request, &[Privilege::WorkflowManage])?;
        let origin =
            call::origin(&caller, "PublishWorkflow", &message, &message.request_id, message.validate_only);
        let limits = self.limits.clone();
        // Many conditions take long enough to check that others should not wait for this thread.
        let parsed = tokio::task::spawn_blocking(move || parse::publish_workflow(&limits, message)).await;
        let command = parsed.map_err(|error| status::internal(&error))??;
        call::trace(&origin);
        let workflow_id = command.workflow.workflow_id.clone();
        let reply = self.engine.publish(origin, command).await;
        reply.map(Response::new).map_err(|error| status::from_engine(&workflow_id, error))
    }

    async fn get_workflow(
        &self,
        request: Request<GetWorkflowRequest>,
    ) -> Result<Response<GetWorkflowResponse>, Status> {
        let (caller, GetWorkflowRequest { workflow_id, version_id }) =
            call::open(request, &[Privilege::JobRead])?;
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
        let (caller, ListWorkflowsRequest { workflow_id, page_size, page_token }) =
            call::open(request, &[Privilege::JobRead])?;
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
}

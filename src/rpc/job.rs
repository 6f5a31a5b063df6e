//! `JobService`.

use std::sync::Arc;

use prost::Message;
use tonic::{Request, Response, Status};

use super::{
    call,
    expiry::Expiry,
    parse::{self, Violations},
    slots::Slots,
    status, token,
    watch::{self, WatchJobStream, WatchJobsStream},
};
use crate::{
    auth::Privilege,
    config::Limits,
    domain::{AbortJob, CloseJob, DeleteJob, Filter},
    engine::{Command, Engine, HoldPlace, ListOrder, Origin, Target, Views},
    proto::{
        EncodedHead, GetJobResponse, ListJobsResponse,
        storage::v1::PageToken,
        v1::{
            AbortJobRequest, AbortJobResponse, AssignStepRequest, AssignStepResponse, CloseJobRequest,
            CloseJobResponse, CountJobsRequest, CountJobsResponse, CreateJobRequest, CreateJobResponse,
            DeleteJobRequest, DeleteJobResponse, ExcludeJobRequest, ExcludeJobResponse, GetJobRequest,
            JobActionType, JobDetails, JobEvent, JobOrder, ListHoldsRequest, ListHoldsResponse,
            ListJobEventsRequest, ListJobEventsResponse, ListJobsRequest, PerformJobActionRequest,
            PerformJobActionResponse, ReopenJobRequest, ReopenJobResponse, UpdateJobRequest,
            UpdateJobResponse, WatchJobRequest, WatchJobsRequest, job_service_server,
        },
    },
    store::{IndexPlace, Sequence},
};

/// Jobs on a page where the request does not say.
const PAGE_SIZE: usize = 50;
/// A page of events ends before it would be larger.
const EVENTS_BYTES_MAX: usize = 1 << 20;

/// Serves operators, integrators and watchers.
pub struct JobService {
    engine: Engine,
    limits: Limits,
    slots: Slots,
    drain: watch::Drain,
}

impl JobService {
    /// A service over an engine. Its watches say goodbye and end once `drain` is cancelled.
    #[must_use]
    pub fn new(engine: Engine, limits: Limits, drain: watch::Drain) -> Self {
        let slots = Slots::watches(&limits);
        Self { engine, limits, slots, drain }
    }

    async fn execute<C>(&self, origin: Origin, command: C) -> Result<Response<C::Reply>, Status>
    where
        C: Command + Sync,
    {
        let (Target::Job(id) | Target::Client(id) | Target::Task(id)) = command.target();
        let id = id.to_owned();
        call::trace(&origin, &id);
        let reply = self.engine.execute(origin, command).await;
        reply.map(Response::new).map_err(|error| status::from_engine(&id, error))
    }
}

/// A method that names a job and changes it: origin, command, engine.
macro_rules! mutation {
    ($self:ident, $request:ident, $method:literal, |$message:ident, $caller:ident| $command:expr) => {{
        let ($caller, $message) = call::open($request);
        let origin = call::origin(&$caller, $method, &$message, &$message.request_id, $message.validate_only);
        let command = $command;
        $self.execute(origin, command).await
    }};
}

#[tonic::async_trait]
impl job_service_server::JobService for JobService {
    type WatchJobStream = WatchJobStream;
    type WatchJobsStream = WatchJobsStream;

    async fn create_job(
        &self,
        request: Request<CreateJobRequest>,
    ) -> Result<Response<CreateJobResponse>, Status> {
        mutation!(self, request, "CreateJob", |message, caller| {
            parse::create_job(&self.limits, &self.engine, &caller, message)?
        })
    }

    async fn update_job(
        &self,
        request: Request<UpdateJobRequest>,
    ) -> Result<Response<UpdateJobResponse>, Status> {
        mutation!(self, request, "UpdateJob", |message, caller| parse::update_job(&self.limits, message)?)
    }

    async fn abort_job(
        &self,
        request: Request<AbortJobRequest>,
    ) -> Result<Response<AbortJobResponse>, Status> {
        mutation!(self, request, "AbortJob", |message, caller| {
            let mut violations = Violations::new(&self.limits);
            violations.text("reason", message.reason.as_deref());
            let (job_id, etag) =
                parse::named_job(violations, message.job_id, message.etag, &message.request_id)?;
            AbortJob { job_id, reason: message.reason, etag }
        })
    }

    async fn close_job(
        &self,
        request: Request<CloseJobRequest>,
    ) -> Result<Response<CloseJobResponse>, Status> {
        mutation!(self, request, "CloseJob", |message, caller| {
            let violations = Violations::new(&self.limits);
            let (job_id, etag) =
                parse::named_job(violations, message.job_id, message.etag, &message.request_id)?;
            CloseJob { job_id, etag }
        })
    }

    async fn perform_job_action(
        &self,
        request: Request<PerformJobActionRequest>,
    ) -> Result<Response<PerformJobActionResponse>, Status> {
        let (caller, message) = call::open(request);
        let origin =
            call::origin(&caller, "PerformJobAction", &message, &message.request_id, message.validate_only);
        let org_id = message.org_id.clone();
        let action = parse::perform_job_action(&self.limits, &caller, message)?;
        call::trace(&origin, &action.job_id);
        call::check(&caller, privileges(action.action))?;
        if org_id.is_some_and(|org_id| org_id != caller.org) {
            return Err(status::job_not_found("jobId", &action.job_id));
        }
        let job_id = action.job_id.clone();
        let reply = self.engine.perform(origin, action).await;
        reply.map(Response::new).map_err(|error| status::from_engine(&job_id, error))
    }

    async fn assign_step(
        &self,
        request: Request<AssignStepRequest>,
    ) -> Result<Response<AssignStepResponse>, Status> {
        mutation!(self, request, "AssignStep", |message, caller| parse::assign_step(&self.limits, message)?)
    }

    async fn reopen_job(
        &self,
        request: Request<ReopenJobRequest>,
    ) -> Result<Response<ReopenJobResponse>, Status> {
        mutation!(self, request, "ReopenJob", |message, caller| parse::reopen_job(&self.limits, message)?)
    }

    async fn exclude_job(
        &self,
        request: Request<ExcludeJobRequest>,
    ) -> Result<Response<ExcludeJobResponse>, Status> {
        mutation!(self, request, "ExcludeJob", |message, caller| parse::exclude_job(&self.limits, message)?)
    }

    async fn list_holds(
        &self,
        request: Request<ListHoldsRequest>,
    ) -> Result<Response<ListHoldsResponse>, Status> {
        let (caller, message) = call::open(request);
        let mut violations = Violations::new(&self.limits);
        let query = parse::hold_query(&mut violations, &message);
        let limit = violations.page_size("page_size", message.page_size, PAGE_SIZE);
        violations.check()?;
        let asked = ListHoldsRequest { page_size: 0, page_token: String::new(), ..message.clone() };
        let scope = token::scope(&[b"holds", caller.org.as_bytes(), &asked.encode_to_vec()]);
        let after = token::open_page(&message.page_token, &scope)?.map(hold_place);

        let failed = |error| status::from_engine(&message.job_id, error);
        if !query.job_id.is_empty() {
            let job = self.engine.job(&caller.org, Target::Job(&query.job_id), &Views::default()).await;
            if job.map_err(failed)?.is_none() {
                return Err(status::job_not_found("jobId", &query.job_id));
            }
        }
        let page = self.engine.holds(&caller.org, &query, after, limit).await.map_err(failed)?;
        let next = page.next.map(|place| PageToken {
            scope: scope.into(),
            partition: place.partition.into(),
            job_id: place.job_id,
            id: place.hold_id,
            step_id: place.dependent_step_id,
            ..PageToken::default()
        });
        let next_page_token = next.as_ref().map(token::seal).unwrap_or_default();
        Ok(Response::new(ListHoldsResponse { holds: page.holds, next_page_token }))
    }

    async fn delete_job(
        &self,
        request: Request<DeleteJobRequest>,
    ) -> Result<Response<DeleteJobResponse>, Status> {
        mutation!(self, request, "DeleteJob", |message, caller| {
            let violations = Violations::new(&self.limits);
            let (job_id, etag) =
                parse::named_job(violations, message.job_id, message.etag, &message.request_id)?;
            DeleteJob { job_id, etag }
        })
    }

    async fn get_job(&self, request: Request<GetJobRequest>) -> Result<Response<GetJobResponse>, Status> {
        let (caller, message) = call::open(request);
        let mut violations = Violations::new(&self.limits);
        let (target, key, id) = match (message.job_id.as_str(), message.client_job_id.as_str()) {
            ("", "") => {
                violations.add("job_id", "or client_job_id is required");
                (Target::Job(""), "jobId", "")
            }
            (id, "") => (Target::Job(id), "jobId", id),
            ("", id) => (Target::Client(id), "clientJobId", id),
            (id, _) => {
                violations.add("client_job_id", "must not be set together with job_id");
                (Target::Job(id), "jobId", id)
            }
        };
        violations.optional_id("job_id", Some(&message.job_id));
        violations.optional_id("client_job_id", Some(&message.client_job_id));
        let scope = token::scope(&[b"reports", caller.org.as_bytes(), key.as_bytes(), id.as_bytes()]);
        let token = token::open_page(&message.reports_page_token, &scope);
        let after = token.as_ref().ok().and_then(Option::as_ref).map_or("", |token| token.id.as_str());
        let views = parse::details_views(&mut violations, &message, after);
        violations.check()?;
        token?;

        let (engine, not_found) = (&self.engine, || status::job_not_found(key, id));
        if views == Views::default() {
            let head = engine.encoded_job(&caller.org, target).await;
            let job = head.map_err(|error| status::from_engine(id, error))?.ok_or_else(not_found)?;
            let details = Some(EncodedHead { job }.encode_to_vec().into());
            return Ok(Response::new(GetJobResponse { details, ..GetJobResponse::default() }));
        }
        let parts = engine.job(&caller.org, target, &views).await;
        let parts = parts.map_err(|error| status::from_engine(id, error))?.ok_or_else(not_found)?;
        let last = parts.reports.last().filter(|_| parts.more_reports);
        let next = last.map(|report| report.unique_step_id().to_owned());
        let next_reports_page_token =
            next.map(|id| token::seal(&PageToken { scope: scope.into(), id, ..PageToken::default() }));
        Ok(Response::new(GetJobResponse {
            details: Some(JobDetails::from(parts).encode_to_vec().into()),
            next_reports_page_token: next_reports_page_token.unwrap_or_default(),
        }))
    }

    async fn list_jobs(
        &self,
        request: Request<ListJobsRequest>,
    ) -> Result<Response<ListJobsResponse>, Status> {
        let (caller, message) = call::open(request);
        let mut violations = Violations::new(&self.limits);
        let filter = parse::filter(&mut violations, &caller, message.filter, &["job"]);
        let limit = violations.page_size("page_size", message.page_size, PAGE_SIZE);
        let order = match JobOrder::try_from(message.order) {
            Ok(JobOrder::OldestFirst) => ListOrder::OldestFirst,
            Ok(JobOrder::Unspecified | JobOrder::NewestFirst) => ListOrder::NewestFirst,
            Err(_) => {
                violations.add("order", "is not a value of JobOrder");
                ListOrder::NewestFirst
            }
        };
        violations.check()?;
        let scope = list_scope(&caller.org, &filter, order);
        let after = token::open_page(&message.page_token, &scope)?.map(|token| IndexPlace {
            create_time: token.create_time.map(|time| (time.seconds, time.nanos)).unwrap_or_default(),
            id: token.id,
        });

        let page = self.engine.list(&caller.org, &filter, order, after, limit).await;
        let page = page.map_err(|error| status::from_engine("", error))?;
        let next = page.next.map(|place| PageToken {
            scope: scope.into(),
            create_time: Some(place.time()),
            id: place.id,
            ..PageToken::default()
        });
        let next_page_token = next.as_ref().map(token::seal).unwrap_or_default();
        Ok(Response::new(ListJobsResponse { jobs: page.jobs, next_page_token }))
    }

    async fn count_jobs(
        &self,
        request: Request<CountJobsRequest>,
    ) -> Result<Response<CountJobsResponse>, Status> {
        let (caller, message) = call::open(request);
        let mut violations = Violations::new(&self.limits);
        let filter = parse::filter(&mut violations, &caller, message.filter, &["job"]);
        violations.check()?;
        let count = self.engine.count(&caller.org, &filter).await;
        let count = count.map_err(|error| status::from_engine("", error))?;
        Ok(Response::new(CountJobsResponse { count: i64::try_from(count).unwrap_or(i64::MAX) }))
    }

    async fn list_job_events(
        &self,
        request: Request<ListJobEventsRequest>,
    ) -> Result<Response<ListJobEventsResponse>, Status> {
        let (caller, message) = call::open(request);
        let mut violations = Violations::new(&self.limits);
        violations.id("job_id", &message.job_id);
        if message.after_revision < 0 {
            violations.add("after_revision", "is negative");
        }
        let limit = violations.page_size("page_size", message.page_size, PAGE_SIZE);
        violations.check()?;
        let scope = token::scope(&[b"events", caller.org.as_bytes(), message.job_id.as_bytes()]);
        let token = token::open_page(&message.page_token, &scope)?.unwrap_or_default();
        let after_revision = message.after_revision.max(token.revision);

        let failed = |error| status::from_engine(&message.job_id, error);
        let job = self.engine.job(&caller.org, Target::Job(&message.job_id), &Views::default()).await;
        if job.map_err(failed)?.is_none() {
            return Err(status::job_not_found("jobId", &message.job_id));
        }
        let mut page = EventPage { events: Vec::new(), bytes: 0, limit };
        let mut after = Sequence(token.sequence);
        loop {
            let history = self.engine.history(&caller.org, &message.job_id, after).await.map_err(failed)?;
            if history.is_empty() {
                return Ok(Response::new(page.reply(None)));
            }
            for command in history {
                for event in command.events {
                    if event.event.revision > after_revision && !page.add(Arc::unwrap_or_clone(event.event)) {
                        let next = |revision| PageToken {
                            scope: scope.clone().into(),
                            revision,
                            sequence: after.0,
                            ..PageToken::default()
                        };
                        return Ok(Response::new(page.reply(Some(&next))));
                    }
                }
                after = command.sequence;
            }
            // A long history is no reason to keep others from this thread, nor to miss the call's deadline.
            tokio::task::yield_now().await;
        }
    }

    async fn watch_job(&self, request: Request<WatchJobRequest>) -> Result<Response<WatchJobStream>, Status> {
        let (caller, message) = call::open(request);
        let wish = parse::watch_job(&self.limits, &caller, message)?;
        let slot = self.slots.take(&caller)?;
        let expiry = Expiry::of(&caller, &self.engine.now());
        watch::job_stream(&self.engine, wish, slot, self.drain.clone(), expiry).await.map(Response::new)
    }

    async fn watch_jobs(
        &self,
        request: Request<WatchJobsRequest>,
    ) -> Result<Response<WatchJobsStream>, Status> {
        let (caller, message) = call::open(request);
        let wish = parse::watch_jobs(&self.limits, &caller, message)?;
        let slot = self.slots.take(&caller)?;
        let expiry = Expiry::of(&caller, &self.engine.now());
        watch::jobs_stream(&self.engine, wish, slot, self.drain.clone(), expiry).await.map(Response::new)
    }
}

/// What an action takes. Refreshing takes one of several, or an assignment, which the job knows.
fn privileges(action: JobActionType) -> &'static [Privilege] {
    match action {
        JobActionType::Run | JobActionType::Finish | JobActionType::Stop => &[Privilege::JobExecute],
        JobActionType::SetCurrentStep => &[Privilege::JobExecute, Privilege::WorkflowSetStepCurrent],
        JobActionType::Hold | JobActionType::ReleaseHold => &[Privilege::JobUpdateHolds],
        JobActionType::RefreshStatus | JobActionType::Unspecified => &[],
    }
}

fn hold_place(token: PageToken) -> HoldPlace {
    HoldPlace {
        partition: u16::try_from(token.partition).unwrap_or(u16::MAX),
        job_id: token.job_id,
        hold_id: token.id,
        dependent_step_id: token.step_id,
    }
}

/// Events for one reply.
struct EventPage {
    events: Vec<JobEvent>,
    bytes: usize,
    limit: usize,
}

impl EventPage {
    /// Takes an event, if there is room.
    fn add(&mut self, event: JobEvent) -> bool {
        let bytes = event.encoded_len();
        let is_full = self.events.len() == self.limit || self.bytes + bytes > EVENTS_BYTES_MAX;
        if is_full && !self.events.is_empty() {
            return false;
        }
        self.bytes += bytes;
        self.events.push(event);
        true
    }

    /// `next` makes the token of the page after the last revision of this one.
    fn reply(self, next: Option<&dyn Fn(i64) -> PageToken>) -> ListJobEventsResponse {
        let last = self.events.last().map_or(0, |event| event.revision);
        let next_page_token = next.map(|next| token::seal(&next(last))).unwrap_or_default();
        ListJobEventsResponse { events: self.events, next_page_token }
    }
}

fn list_scope(org: &str, filter: &Filter, order: ListOrder) -> Vec<u8> {
    let newest_first = [u8::from(order == ListOrder::NewestFirst)];
    token::scope(&[b"jobs", org.as_bytes(), &filter.identity(), &newest_first])
}

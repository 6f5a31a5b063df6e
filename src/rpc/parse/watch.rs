//! `WatchJobRequest` and `WatchJobsRequest`.

use std::time::Duration;

use tonic::Status;

use super::{Violations, filter};
use crate::{
    auth::Caller,
    config::Limits,
    domain::Filter,
    engine::{Views, WatchScope},
    proto::v1::{JobEventType, JobFilter, JobView, WatchJobRequest, WatchJobsRequest, WatchStart},
    rpc::token,
};

const HEARTBEAT: Duration = Duration::from_secs(15);
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);
const HEARTBEAT_MAX: Duration = Duration::from_secs(60);

/// A well-formed wish to watch.
pub(in crate::rpc) struct WatchWish {
    /// What to watch.
    pub(in crate::rpc) scope: WatchScope,
    /// A hash of what to watch, which resume tokens are bound to.
    pub(in crate::rpc) token_scope: Vec<u8>,
    /// Where to begin, without a token.
    pub(in crate::rpc) start: WatchStart,
    /// Where to go on; empty: `start` says.
    pub(in crate::rpc) resume_token: String,
    /// The silence after which a checkpoint is sent.
    pub(in crate::rpc) heartbeat: Duration,
    /// The one job that is watched.
    pub(in crate::rpc) job_id: Option<String>,
    /// End when that job is done with.
    pub(in crate::rpc) end_on_terminal: bool,
}

/// # Errors
/// INVALID_ARGUMENT with every bad field.
pub(in crate::rpc) fn watch_jobs(
    limits: &Limits,
    caller: &Caller,
    request: WatchJobsRequest,
) -> Result<WatchWish, Status> {
    let mut violations = Violations::new(limits);
    let filter = filter(&mut violations, caller, request.filter, &["job", "event"]);
    let rest = Rest {
        event_types: request.event_types,
        views: request.views,
        start: request.start,
        resume_token: request.resume_token,
        heartbeat: request.heartbeat,
    };
    rest.wish(violations, caller, filter)
}

/// # Errors
/// INVALID_ARGUMENT with every bad field.
pub(in crate::rpc) fn watch_job(
    limits: &Limits,
    caller: &Caller,
    request: WatchJobRequest,
) -> Result<WatchWish, Status> {
    let mut violations = Violations::new(limits);
    violations.id("job_id", &request.job_id);
    let wanted = JobFilter { job_ids: vec![request.job_id.clone()], ..JobFilter::default() };
    let rest = Rest {
        event_types: request.event_types,
        views: request.views,
        start: request.start,
        resume_token: request.resume_token,
        heartbeat: request.heartbeat,
    };
    let wish = rest.wish(violations, caller, Filter::new(wanted, Vec::new(), None))?;
    Ok(WatchWish { job_id: Some(request.job_id), end_on_terminal: request.end_on_terminal, ..wish })
}

/// What both requests have.
struct Rest {
    event_types: Vec<i32>,
    views: Vec<i32>,
    start: i32,
    resume_token: String,
    heartbeat: Option<prost_types::Duration>,
}

impl Rest {
    fn wish(
        self,
        mut violations: Violations<'_>,
        caller: &Caller,
        filter: Filter,
    ) -> Result<WatchWish, Status> {
        let event_types = violations.words("event_types", &self.event_types, "JobEventType", |number| {
            JobEventType::try_from(number).ok().filter(|kind| *kind != JobEventType::Unspecified)
        });
        let views = views(&mut violations, &self.views);
        let start = WatchStart::try_from(self.start).unwrap_or_else(|_| {
            violations.add("start", "is not a value of WatchStart");
            WatchStart::Unspecified
        });
        if !self.resume_token.is_empty() && start != WatchStart::Unspecified {
            violations.add("start", "must not be set together with resume_token");
        }
        let heartbeat = match self.heartbeat {
            None => HEARTBEAT,
            Some(asked) => duration(asked).unwrap_or_else(|| {
                violations.add("heartbeat", "is not between 1 and 60 seconds");
                HEARTBEAT
            }),
        };
        violations.check()?;

        let kinds: Vec<u8> = event_types.iter().flat_map(|kind| (*kind as i32).to_be_bytes()).collect();
        let token_scope = token::scope(&[
            b"watch",
            caller.org.as_bytes(),
            &filter.identity(),
            &kinds,
            &[u8::from(views.steps), u8::from(views.holds), u8::from(views.tasks)],
        ]);
        let scope = WatchScope { org: caller.org.clone(), filter, event_types, views };
        Ok(WatchWish {
            scope,
            token_scope,
            start,
            resume_token: self.resume_token,
            heartbeat,
            job_id: None,
            end_on_terminal: false,
        })
    }
}

/// A heartbeat, if it is one. Checked by hand: converting an extreme `Duration` of the wire overflows.
fn duration(asked: prost_types::Duration) -> Option<Duration> {
    let nanos = u32::try_from(asked.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    let seconds = u64::try_from(asked.seconds).ok().filter(|seconds| *seconds <= HEARTBEAT_MAX.as_secs())?;
    Some(Duration::new(seconds, nanos)).filter(|asked| (HEARTBEAT_MIN..=HEARTBEAT_MAX).contains(asked))
}

fn views(violations: &mut Violations<'_>, asked: &[i32]) -> Views {
    let asked =
        violations.words("views", asked, "JobView that watches have: STEPS, HOLDS, TASKS", |number| {
            let has = |view: &JobView| matches!(view, JobView::Steps | JobView::Holds | JobView::Tasks);
            JobView::try_from(number).ok().filter(has)
        });
    Views {
        steps: asked.contains(&JobView::Steps),
        holds: asked.contains(&JobView::Holds),
        tasks: asked.contains(&JobView::Tasks),
        reports: None,
    }
}

//! What the tests of this module share.

use prost_types::Timestamp;

use super::{Context, Decision, Dependencies, Existing, JobState, Limits, NewIds, evolve, summary};
use crate::proto::v1::{Actor, JobEvent, JobStatus};

/// So many seconds after the epoch.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

/// The id of the first job that is made.
pub(super) const JOB_1: &str = "job_0000_00000000000000000000000000000001";

/// The context of a decision at that second.
pub(super) fn context(now: i64) -> Context {
    Context {
        now: at(now),
        actor: Actor { id: "ann".to_owned(), ..Actor::default() },
        request_id: format!("request-{now}"),
        new_ids: NewIds { partition: 0, unique: 1 },
        limits: Limits::default(),
        workflow: None,
        dependencies: Dependencies::new(),
    }
}

/// The statuses that a job can have.
pub(super) const STATUSES: [JobStatus; 5] =
    [JobStatus::NotStarted, JobStatus::Active, JobStatus::Paused, JobStatus::Completed, JobStatus::Aborted];

/// A status as the tables have it.
pub(super) fn status_word(status: JobStatus) -> &'static str {
    status.as_str_name().trim_start_matches("JOB_STATUS_")
}

/// The types of events, as the tables have them; `-` for none.
pub(super) fn event_words(events: &[JobEvent]) -> String {
    let word =
        |event: &JobEvent| event.r#type().as_str_name().trim_start_matches("JOB_EVENT_TYPE_").to_owned();
    match events {
        [] => "-".to_owned(),
        events => events.iter().map(word).collect::<Vec<_>>().join(" "),
    }
}

/// What must hold of every decision: its events are numbered without a gap, rebuild its state from the one before, and
/// tell what filters read before and after each.
#[track_caller]
pub(super) fn check_events<R>(before: &Existing, decision: &Decision<R>, context: &Context) {
    let mut state = match before {
        Existing::Nothing | Existing::Deleted { .. } => JobState::default(),
        Existing::Job(state) => JobState::clone(state),
    };
    let is_new = state.job.revision == 0;
    for (index, event) in decision.events.iter().enumerate() {
        let before = summary(&state.job);
        assert_eq!(event.revision, state.job.revision + 1, "revisions are dense");
        assert_eq!(event.job_id, decision.state.job.job_id);
        assert_eq!(event.time, Some(context.now));
        assert_eq!(event.actor.as_ref(), Some(&context.actor));
        assert_eq!(event.request_id, context.request_id);
        evolve(&mut state, event);

        let after = summary(&state.job);
        assert_eq!(event.summary.as_ref(), Some(&after), "the summary is of the state after the event");
        let is_first_of_job = is_new && index == 0;
        let previous = (!is_first_of_job && before != after).then_some(&before);
        assert_eq!(event.previous_summary.as_ref(), previous, "the summary before, where it was another");
    }
    if decision.sync.is_some() {
        state.sync.clone_from(&decision.sync);
    }
    assert_eq!(state, decision.state, "the events rebuild the state");
}

//! A job's life as text: SPEC 3.6. Change it, run with `UPDATE_EXPECT=1`, and review the diff.

use expect_test::expect;
use prost_types::{Struct, Value};

use super::{AbortJob, CloseJob, CreateJob, DeleteJob, JobField, UpdateJob};
use crate::{
    domain::{
        Decision, Existing, JobState, Rejection,
        fixtures::{JOB_1, at, check_events, context, event_words, status_word},
    },
    proto::v1::{Assignee, Job, JobEvent, JobStatus, Step, StepStatus, WorkflowReference, assignee::Kind},
};

/// The commands of this module, by the names the tables have for them.
const COMMANDS: [&str; 5] = ["create", "update", "abort", "close", "delete"];

/// What came of a command, whichever it was.
type Outcome = Result<(JobState, Vec<JobEvent>), Rejection>;

/// The only place where the tables decide.
#[track_caller]
fn decide(command: &str, existing: &Existing, etag: Option<&str>) -> Outcome {
    fn outcome<R>(existing: &Existing, decision: Result<Decision<R>, Rejection>) -> Outcome {
        let decision = decision?;
        check_events(existing, &decision, &context(100));
        Ok((decision.state, decision.events))
    }
    let (context, now) = (context(100), existing.clone());
    let (job_id, etag) = (JOB_1.to_owned(), etag.map(str::to_owned));
    match command {
        "create" => outcome(existing, CreateJob { job_id: None, job: Job::default() }.decide(now, &context)),
        "update" => {
            let job = Job { title: Some("new".to_owned()), ..Job::default() };
            let command = UpdateJob { job_id, fields: vec![JobField::Title], job, etag };
            outcome(existing, command.decide(now, &context))
        }
        "abort" => {
            let reason = Some("rain".to_owned());
            outcome(existing, AbortJob { job_id, reason, etag }.decide(now, &context))
        }
        "close" => outcome(existing, CloseJob { job_id, etag }.decide(now, &context)),
        "delete" => outcome(existing, DeleteJob { job_id, etag }.decide(now, &context)),
        other => panic!("no command {other}"),
    }
}

/// A job at revision 7.
fn job(status: JobStatus, closed: bool, steps: &[StepStatus]) -> Existing {
    let mut job = Job {
        job_id: JOB_1.to_owned(),
        client_job_id: "client".to_owned(),
        closed,
        close_time: closed.then_some(at(50)),
        revision: 7,
        etag: "r7".to_owned(),
        update_time: Some(at(50)),
        ..Job::default()
    };
    job.set_status(status);
    let step = |(number, status): (i32, &StepStatus)| {
        let mut step = Step { step_id: format!("s{number}"), number: Some(number), ..Step::default() };
        step.set_status(*status);
        (step.step_id.clone(), step)
    };
    let steps = (1..).zip(steps).map(step).collect();
    Existing::Job(Box::new(JobState { job, steps, ..JobState::default() }))
}

fn situations() -> Vec<(String, Existing)> {
    use JobStatus::{Aborted, Active, Completed, NotStarted, Paused};

    const STILL: &[StepStatus] =
        &[StepStatus::Finished, StepStatus::Ready, StepStatus::Paused, StepStatus::Executed];
    const RUNNING: &[StepStatus] = &[StepStatus::Running, StepStatus::Finished, StepStatus::WaitingForInfo];

    let deleted = Existing::Deleted { job_id: JOB_1.to_owned() };
    let mut situations = vec![("none".to_owned(), Existing::Nothing), ("deleted".to_owned(), deleted)];
    for status in [NotStarted, Active, Paused, Completed, Aborted] {
        // A job that is closed is terminal, and none but a closed one is aborted; the tables are of all of them.
        for closed in [false, true] {
            for (word, steps) in [("", STILL), (", running", RUNNING)] {
                let name = format!("{}{}{word}", status_word(status), if closed { "!" } else { "" });
                situations.push((name, job(status, closed, steps)));
            }
        }
    }
    situations
}

fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Err(rejection) => format!("! {rejection}"),
        Ok((state, events)) => {
            let head =
                format!("{}{}", status_word(state.job.status()), if state.job.closed { "!" } else { "" });
            let cancelled = state.steps.values().filter(|step| step.status() == StepStatus::Cancelled);
            let steps = cancelled.map(|step| step.step_id.as_str()).collect::<Vec<_>>().join(" ");
            let steps = if steps.is_empty() { steps } else { format!("; cancelled {steps}") };
            format!("{head:<13}{}{steps}", event_words(events))
        }
    }
}

/// Each command in each situation: the status after it (`!`: closed) and its events (`-`: none), or why it is refused.
#[test]
fn every_situation_meets_every_command() {
    let mut table = String::new();
    for (name, existing) in situations() {
        table.push_str(&format!("{name}\n"));
        for command in COMMANDS {
            let outcome = outcome_words(&decide(command, &existing, None));
            table.push_str(&format!("  {command:<8}{outcome}\n"));
        }
    }
    expect![[r#"
        none
          create  NOT_STARTED  JOB_CREATED
          update  ! no such job
          abort   ! no such job
          close   ! no such job
          delete  ! no such job
        deleted
          create  ! the job with this id was deleted, and its id is never used again
          update  ! no such job
          abort   ! no such job
          close   ! no such job
          delete  ! no such job
        NOT_STARTED
          create  ! a job with this id exists already
          update  NOT_STARTED  JOB_UPDATED
          abort   ABORTED!     JOB_ABORTED
          close   ABORTED!     JOB_ABORTED JOB_CLOSED
          delete  NOT_STARTED  JOB_DELETED
        NOT_STARTED, running
          create  ! a job with this id exists already
          update  NOT_STARTED  JOB_UPDATED
          abort   ABORTED!     STEP_CANCELLED STEP_CANCELLED JOB_ABORTED; cancelled s1 s3
          close   ! 2 of the job's steps are running; stop or finish them first
          delete  NOT_STARTED  JOB_DELETED
        NOT_STARTED!
          create  ! a job with this id exists already
          update  ! the job is closed
          abort   ABORTED!     JOB_ABORTED
          close   NOT_STARTED! -
          delete  NOT_STARTED! JOB_DELETED
        NOT_STARTED!, running
          create  ! a job with this id exists already
          update  ! the job is closed
          abort   ABORTED!     STEP_CANCELLED STEP_CANCELLED JOB_ABORTED; cancelled s1 s3
          close   NOT_STARTED! -
          delete  NOT_STARTED! JOB_DELETED
        ACTIVE
          create  ! a job with this id exists already
          update  ACTIVE       JOB_UPDATED
          abort   ABORTED!     JOB_ABORTED
          close   ABORTED!     JOB_ABORTED JOB_CLOSED
          delete  ACTIVE       JOB_DELETED
        ACTIVE, running
          create  ! a job with this id exists already
          update  ACTIVE       JOB_UPDATED
          abort   ABORTED!     STEP_CANCELLED STEP_CANCELLED JOB_ABORTED; cancelled s1 s3
          close   ! 2 of the job's steps are running; stop or finish them first
          delete  ACTIVE       JOB_DELETED
        ACTIVE!
          create  ! a job with this id exists already
          update  ! the job is closed
          abort   ABORTED!     JOB_ABORTED
          close   ACTIVE!      -
          delete  ACTIVE!      JOB_DELETED
        ACTIVE!, running
          create  ! a job with this id exists already
          update  ! the job is closed
          abort   ABORTED!     STEP_CANCELLED STEP_CANCELLED JOB_ABORTED; cancelled s1 s3
          close   ACTIVE!      -
          delete  ACTIVE!      JOB_DELETED
        PAUSED
          create  ! a job with this id exists already
          update  PAUSED       JOB_UPDATED
          abort   ABORTED!     JOB_ABORTED
          close   ABORTED!     JOB_ABORTED JOB_CLOSED
          delete  PAUSED       JOB_DELETED
        PAUSED, running
          create  ! a job with this id exists already
          update  PAUSED       JOB_UPDATED
          abort   ABORTED!     STEP_CANCELLED STEP_CANCELLED JOB_ABORTED; cancelled s1 s3
          close   ! 2 of the job's steps are running; stop or finish them first
          delete  PAUSED       JOB_DELETED
        PAUSED!
          create  ! a job with this id exists already
          update  ! the job is closed
          abort   ABORTED!     JOB_ABORTED
          close   PAUSED!      -
          delete  PAUSED!      JOB_DELETED
        PAUSED!, running
          create  ! a job with this id exists already
          update  ! the job is closed
          abort   ABORTED!     STEP_CANCELLED STEP_CANCELLED JOB_ABORTED; cancelled s1 s3
          close   PAUSED!      -
          delete  PAUSED!      JOB_DELETED
        COMPLETED
          create  ! a job with this id exists already
          update  COMPLETED    JOB_UPDATED
          abort   ! the job is completed, and a completed job is not aborted
          close   COMPLETED!   JOB_CLOSED
          delete  COMPLETED    JOB_DELETED
        COMPLETED, running
          create  ! a job with this id exists already
          update  COMPLETED    JOB_UPDATED
          abort   ! the job is completed, and a completed job is not aborted
          close   ! 2 of the job's steps are running; stop or finish them first
          delete  COMPLETED    JOB_DELETED
        COMPLETED!
          create  ! a job with this id exists already
          update  ! the job is closed
          abort   ! the job is completed, and a completed job is not aborted
          close   COMPLETED!   -
          delete  COMPLETED!   JOB_DELETED
        COMPLETED!, running
          create  ! a job with this id exists already
          update  ! the job is closed
          abort   ! the job is completed, and a completed job is not aborted
          close   COMPLETED!   -
          delete  COMPLETED!   JOB_DELETED
        ABORTED
          create  ! a job with this id exists already
          update  ABORTED      JOB_UPDATED
          abort   ABORTED!     JOB_CLOSED
          close   ABORTED!     JOB_ABORTED JOB_CLOSED
          delete  ABORTED      JOB_DELETED
        ABORTED, running
          create  ! a job with this id exists already
          update  ABORTED      JOB_UPDATED
          abort   ABORTED!     JOB_CLOSED
          close   ! 2 of the job's steps are running; stop or finish them first
          delete  ABORTED      JOB_DELETED
        ABORTED!
          create  ! a job with this id exists already
          update  ! the job is closed
          abort   ABORTED!     -
          close   ABORTED!     -
          delete  ABORTED!     JOB_DELETED
        ABORTED!, running
          create  ! a job with this id exists already
          update  ! the job is closed
          abort   ABORTED!     -
          close   ABORTED!     -
          delete  ABORTED!     JOB_DELETED
    "#]]
    .assert_eq(&table);
}

/// The right etag changes nothing; a wrong one is the first thing that a job which is there refuses.
#[test]
fn a_wrong_etag_is_refused_before_all_else() {
    for (name, existing) in situations() {
        for command in COMMANDS {
            let without = decide(command, &existing, None);
            assert_eq!(decide(command, &existing, Some("r7")), without, "{command} of {name}");

            let wrong = decide(command, &existing, Some("r6"));
            match &existing {
                Existing::Job(_) if command != "create" => {
                    assert_eq!(
                        wrong,
                        Err(Rejection::EtagMismatch { etag: "r7".to_owned() }),
                        "{command} of {name}"
                    );
                }
                Existing::Job(_) | Existing::Nothing | Existing::Deleted { .. } => {
                    assert_eq!(wrong, without, "{command} of {name}");
                }
            }
        }
    }
}

/// A command that was carried out finds nothing left to do, and says so without an event.
#[test]
fn a_repeat_changes_nothing() {
    for (name, existing) in situations() {
        for command in ["update", "abort", "close"] {
            let Ok((state, _)) = decide(command, &existing, None) else { continue };
            let after = Existing::Job(Box::new(state.clone()));
            match decide(command, &after, None) {
                Ok(outcome) => assert_eq!(outcome, (state, vec![]), "{command} of {name}, again"),
                Err(rejection) => panic!("{command} of {name}, again: {rejection}"),
            }
        }
    }
}

#[test]
fn an_abort_and_a_close_say_when_and_why() {
    let (state, events) = decide("abort", &job(JobStatus::Active, false, &[]), None).unwrap();
    assert_eq!(state.job.abandon_reason.as_deref(), Some("rain"));
    assert_eq!((state.job.close_time, state.job.update_time), (Some(at(100)), Some(at(100))));
    assert_eq!((state.job.revision, state.job.etag.as_str(), events.len()), (8, "r8", 1));

    let command = AbortJob { job_id: JOB_1.to_owned(), reason: None, etag: None };
    let Existing::Job(mut before) = job(JobStatus::Active, false, &[]) else { unreachable!() };
    before.job.abandon_reason = Some("said before".to_owned());
    let aborted = command.decide(Existing::Job(before), &context(100)).unwrap().state.job;
    assert_eq!(aborted.abandon_reason.as_deref(), Some("said before"));

    let (state, _) = decide("close", &job(JobStatus::Completed, false, &[]), None).unwrap();
    assert_eq!((state.job.status(), state.job.close_time), (JobStatus::Completed, Some(at(100))));
    let (state, _) = decide("close", &job(JobStatus::Completed, true, &[]), None).unwrap();
    assert_eq!(state.job.close_time, Some(at(50)), "a job is closed once");
}

/// A value for every field that can be set.
fn full() -> Job {
    Job {
        title: Some("Weld".to_owned()),
        team: Some("red".to_owned()),
        user_id: Some("ann".to_owned()),
        username: Some("Ann".to_owned()),
        metadata: Some(Struct { fields: [("k".to_owned(), Value::from(true))].into() }.into()),
        assignee: Some(Assignee { kind: Kind::User.into(), id: "bob".to_owned() }),
        parent_job_id: Some("parent".to_owned()),
        priority: 7,
        due_time: Some(at(9)),
        ..Job::default()
    }
}

/// The fields that differ, by their names in a mask.
fn differing(one: &Job, other: &Job) -> Vec<&'static str> {
    let differs = |field: JobField| {
        let mut copy = other.clone();
        field.copy(one, &mut copy);
        copy != *other
    };
    JobField::ALL.into_iter().filter(|(_, field)| differs(*field)).map(|(name, _)| name).collect()
}

#[test]
fn an_update_sets_and_clears_the_fields_it_names() {
    let update = |existing: &Existing, fields: Vec<JobField>, job: Job| {
        let command = UpdateJob { job_id: JOB_1.to_owned(), fields, job, etag: None };
        let decision = command.decide(existing.clone(), &context(100)).unwrap();
        check_events(existing, &decision, &context(100));
        decision
    };
    let existing = job(JobStatus::Active, false, &[]);
    let Existing::Job(before) = &existing else { unreachable!() };
    let all: Vec<_> = JobField::ALL.into_iter().map(|(_, field)| field).collect();
    let names: Vec<_> = JobField::ALL.into_iter().map(|(name, _)| name).collect();

    let set = update(&existing, all.clone(), full());
    assert_eq!(event_words(&set.events), "JOB_UPDATED");
    assert_eq!(differing(&before.job, &set.state.job), names);
    assert_eq!(differing(&full(), &set.state.job), Vec::<&str>::new());
    let full_job = Existing::Job(Box::new(set.state.clone()));

    for (name, field) in JobField::ALL {
        assert!(!field.is_set(&Job::default()) && field.is_set(&full()), "{name}");

        let set = update(&existing, vec![field], full());
        assert_eq!(event_words(&set.events), "JOB_UPDATED", "{name} is set");
        assert_eq!(differing(&before.job, &set.state.job), [name]);

        let again = update(&Existing::Job(Box::new(set.state.clone())), vec![field], full());
        assert_eq!((again.events, again.state), (vec![], set.state), "{name} is set to what it is");

        let cleared = update(&full_job, vec![field], Job::default());
        assert_eq!(event_words(&cleared.events), "JOB_UPDATED", "{name} is cleared");
        assert_eq!(differing(&full(), &cleared.state.job), [name]);
        assert!(!field.is_set(&cleared.state.job), "{name}");
    }

    let nothing = update(&full_job, Vec::new(), Job::default());
    assert_eq!((nothing.events.len(), nothing.state.job), (0, set.state.job), "an update of no field");
}

/// A filter sees a job leave when the update of a field takes it out.
#[test]
fn an_update_tells_what_filters_read_before_and_after() {
    let existing = job(JobStatus::Active, false, &[]);
    let seen = [JobField::Team, JobField::UserId, JobField::Assignee];
    for (name, field) in JobField::ALL {
        let command = UpdateJob { job_id: JOB_1.to_owned(), fields: vec![field], job: full(), etag: None };
        let decision = command.decide(existing.clone(), &context(100)).unwrap();
        assert_eq!(decision.events[0].previous_summary.is_some(), seen.contains(&field), "{name}");
    }
}

#[test]
fn a_new_job_has_the_ids_it_was_given() {
    let create = |job_id: Option<&str>, job: Job| {
        let command = CreateJob { job_id: job_id.map(str::to_owned), job };
        let decision = command.decide(Existing::Nothing, &context(100));
        decision.inspect(|decision| check_events(&Existing::Nothing, decision, &context(100)))
    };
    let ids = |job_id, client_job_id: &str| {
        let job = Job { client_job_id: client_job_id.to_owned(), ..Job::default() };
        let job = create(job_id, job).unwrap().reply.job.unwrap();
        (job.job_id, job.client_job_id)
    };
    let of = |job_id: &str, client_job_id: &str| (job_id.to_owned(), client_job_id.to_owned());
    assert_eq!(ids(None, ""), of(JOB_1, JOB_1));
    assert_eq!(ids(None, "client"), of(JOB_1, "client"));
    assert_eq!(ids(Some("mine"), ""), of("mine", "mine"));

    // What is the server's to say, a caller does not.
    let stray = Job {
        closed: true,
        revision: 9,
        objective_code: Some("x".to_owned()),
        excluded: Some(true),
        ..full()
    };
    let made = create(None, stray).unwrap().reply.job.unwrap();
    let expected = Job {
        job_id: JOB_1.to_owned(),
        client_job_id: JOB_1.to_owned(),
        status: JobStatus::NotStarted.into(),
        create_time: Some(at(100)),
        update_time: Some(at(100)),
        revision: 1,
        etag: "r1".to_owned(),
        ..full()
    };
    assert_eq!(made, expected);

    let workflow = WorkflowReference { workflow_id: "weld".to_owned(), ..WorkflowReference::default() };
    let unknown = create(None, Job { workflow: Some(workflow), ..Job::default() });
    assert_eq!(
        unknown.unwrap_err(),
        Rejection::WorkflowNotFound { workflow_id: "weld".to_owned(), version_id: None }
    );
}

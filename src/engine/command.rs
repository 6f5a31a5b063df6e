//! The commands: what each is about, what it reads, and the rule that decides it.

use prost::Message;

use crate::{
    domain::{
        AbortJob, AssignStep, CloseJob, Context, CreateJob, CreateTask, Decision, DeleteJob, Dependency,
        ExcludeJob, Existing, PerformJobAction, Place, Rejection, ReopenJob, ReportTask, ReportWorkflow,
        ReviewJob, ReviewTask, Sync, UpdateJob, UpdateTask, is_task_id_of_ours,
    },
    proto::v1::{
        AbortJobResponse, Actor, AssignStepResponse, BasicSyncResponse, CloseJobResponse, CreateJobResponse,
        CreateTaskStatusResponse, DeleteJobResponse, ExcludeJobResponse, Job, JobActionType,
        PerformJobActionResponse, ReopenJobResponse, UpdateExecutionTaskStatusResponse,
        UpdateExecutionWorkflowStatusResponse, UpdateJobResponse, UpdateTaskStatusResponse,
    },
};

/// A change that somebody asks for.
pub trait Command: Send + 'static {
    /// What is answered. It is stored beside the request's id, so it is a message.
    type Reply: Message + Default + 'static;

    /// The most that its events may take. The writer does nothing else while it makes them.
    const EVENT_BYTES_MAX: usize = 16 << 20;

    /// It is done also where there is hardly room: it frees some, or only the server asks for it.
    const GOES_ON_WHEN_FULL: bool = false;

    /// The job it is about.
    fn target(&self) -> Target<'_>;

    /// What the decision reads beside the job's head.
    fn reads(&self) -> Reads;

    /// The workflow that the job is to follow, where it follows none.
    fn workflow(&self) -> Option<WorkflowWish<'_>> {
        None
    }

    /// The steps whose holds the decision looks at; `None`: all.
    fn looks_at<'c>(&'c self, _job: &'c Job) -> Option<&'c [String]> {
        None
    }

    /// What a hold is to wait for.
    fn dependency(&self) -> Option<&Dependency> {
        None
    }

    /// The workflow execution that is reported of.
    fn execution(&self) -> Option<Execution<'_>> {
        None
    }

    /// The rule.
    ///
    /// # Errors
    /// The state forbids the change.
    fn decide(&self, existing: Existing, context: &Context) -> Result<Decision<Self::Reply>, Rejection>;
}

/// How a job is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// By its own id.
    Job(&'a str),
    /// By the id that clients know it under.
    Client(&'a str),
    /// By the id of a task of it.
    Task(&'a str),
}

/// A workflow that a job is to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkflowWish<'a> {
    /// Its id.
    pub workflow_id: &'a str,
    /// The version; `None`: the newest.
    pub version_id: Option<&'a str>,
    /// Where that version is not published, the newest will do.
    pub or_newest: bool,
}

/// What a report of a workflow execution is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execution<'a> {
    /// The attempt.
    pub place: &'a Place,
    /// The task of it, by each id that it can have here.
    pub task_ids: [Option<&'a str>; 2],
    /// The attempt ends.
    pub closes: bool,
    /// The job ends with it.
    pub closes_job: bool,
}

/// Parts of a job beside its head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each stands for a part of its own, and any may be set")]
pub struct Reads {
    /// Its steps.
    pub steps: bool,
    /// The holds that stand on the steps, and the tasks that do their work.
    pub live: bool,
    /// How far it is with what those holds wait for.
    pub dependencies: bool,
    /// What the merge of syncs keeps.
    pub sync: bool,
    /// Its reports.
    pub reports: bool,
    /// Its holds and tasks, all of them.
    pub past: bool,
}

impl Reads {
    const HEAD: Self =
        Self { steps: false, live: false, dependencies: false, sync: false, reports: false, past: false };
    const STEPS: Self = Self { steps: true, ..Self::HEAD };
    /// What actions look at.
    pub(super) const LIVE: Self = Self { live: true, ..Self::STEPS };
    const REVIEW: Self = Self { dependencies: true, ..Self::LIVE };
    const REGISTERS: Self = Self { sync: true, ..Self::LIVE };
    const REPORTS: Self = Self { sync: true, reports: true, ..Self::REVIEW };
    /// What indexes tell of.
    const INDEXED: Self = Self { past: true, ..Self::HEAD };
}

/// Who asks for a change, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The organization that the job is in.
    pub org: String,
    /// Who asks.
    pub actor: Actor,
    /// The request's id, which makes it safe to repeat.
    pub request: Option<RequestStamp>,
    /// Decide and answer, and write nothing.
    pub validate_only: bool,
}

/// What tells a repeated request from another one under the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestStamp {
    /// The caller's id of it.
    pub id: String,
    /// A hash of the method and the body.
    pub body: [u8; 16],
}

/// What is open when an attempt ends is told whole, and an attempt must be able to end.
const EXECUTION_BYTES_MAX: usize = 64 << 20;

macro_rules! commands {
    ($($command:ident, $reply:ty, $reads:expr, $target:expr $(, $also:item)*;)*) => { $(
        impl Command for $command {
            type Reply = $reply;

            fn target(&self) -> Target<'_> {
                let target: for<'c> fn(&'c Self) -> Target<'c> = $target;
                target(self)
            }

            fn reads(&self) -> Reads {
                let reads: fn(&Self) -> Reads = $reads;
                reads(self)
            }

            $($also)*

            fn decide(&self, existing: Existing, context: &Context) -> Result<Decision<$reply>, Rejection> {
                Self::decide(self, existing, context)
            }
        }
    )* };
}

commands! {
    AbortJob, AbortJobResponse, |_| Reads::LIVE, |command| Target::Job(&command.job_id);
    AssignStep, AssignStepResponse, |_| Reads::STEPS, |command| Target::Job(&command.job_id);
    CloseJob, CloseJobResponse, |_| Reads::STEPS, |command| Target::Job(&command.job_id);
    CreateJob, CreateJobResponse, |_| Reads::HEAD, |command| match &command.job_id {
        Some(job_id) if command.job.client_job_id.is_empty() => Target::Client(job_id),
        _ => Target::Client(&command.job.client_job_id),
    }, fn workflow(&self) -> Option<WorkflowWish<'_>> {
        let workflow = self.job.workflow.as_ref()?;
        let (workflow_id, version_id) = (workflow.workflow_id.as_str(), workflow.version_id.as_deref());
        Some(WorkflowWish { workflow_id, version_id, or_newest: false })
    };
    CreateTask, CreateTaskStatusResponse, |_| Reads::HEAD, |command| Target::Job(&command.job_id);
    DeleteJob, DeleteJobResponse, |_| Reads::INDEXED, |command| Target::Job(&command.job_id),
    const GOES_ON_WHEN_FULL: bool = true;;
    ExcludeJob, ExcludeJobResponse, |_| Reads::HEAD, |command| Target::Job(&command.job_id);
    PerformJobAction, PerformJobActionResponse, |command| match command.action {
        // These look at holds that others may have lifted.
        JobActionType::Run | JobActionType::Finish | JobActionType::Hold => Reads::REVIEW,
        _ => Reads::LIVE,
    }, |command| Target::Job(&command.job_id), fn dependency(&self) -> Option<&Dependency> {
        self.terms.dependency.as_ref()
    }, fn looks_at<'c>(&'c self, job: &'c Job) -> Option<&'c [String]> {
        self.chosen_in(job)
    };
    ReopenJob, ReopenJobResponse, |_| Reads::REGISTERS, |command| Target::Job(&command.job_id);
    // The steps come with a task that does the work of one.
    ReportTask, UpdateExecutionTaskStatusResponse, |_| Reads::HEAD, |command| Target::Job(&command.job_id),
    fn execution(&self) -> Option<Execution<'_>> {
        let own = Some(self.task_id.as_str()).filter(|id| is_task_id_of_ours(id));
        let task_ids = [own, Some(&*self.derived_id)];
        Some(Execution { place: &self.place, task_ids, closes: false, closes_job: false })
    }, const EVENT_BYTES_MAX: usize = EXECUTION_BYTES_MAX;;
    ReportWorkflow, UpdateExecutionWorkflowStatusResponse, |command| {
        // Tasks that do the work of steps may end with the attempt.
        if command.closes() { Reads::LIVE } else { Reads::HEAD }
    }, |command| Target::Job(&command.job_id), fn execution(&self) -> Option<Execution<'_>> {
        let (closes, closes_job) = (self.closes(), self.closes_job());
        Some(Execution { place: &self.place, task_ids: [None; 2], closes, closes_job })
    }, const EVENT_BYTES_MAX: usize = EXECUTION_BYTES_MAX;;
    ReviewJob, (), |_| Reads::REVIEW, |command| Target::Job(&command.job_id), const GOES_ON_WHEN_FULL: bool = true;;
    // The steps come with a task that does the work of one; so they do for UpdateTask.
    ReviewTask, (), |_| Reads::HEAD, |command| Target::Task(&command.task_id), const GOES_ON_WHEN_FULL: bool = true;;
    Sync, BasicSyncResponse, |_| Reads::REPORTS, |command| Target::Client(command.client_job_id()),
    fn workflow(&self) -> Option<WorkflowWish<'_>> {
        let (workflow_id, version_id) = self.workflow();
        Some(WorkflowWish { workflow_id, version_id, or_newest: true })
    // The request itself bounds what it makes.
    }, const EVENT_BYTES_MAX: usize = usize::MAX;;
    UpdateJob, UpdateJobResponse, |_| Reads::HEAD, |command| Target::Job(&command.job_id);
    UpdateTask, UpdateTaskStatusResponse, |_| Reads::HEAD, |command| Target::Task(&command.task_id);
}

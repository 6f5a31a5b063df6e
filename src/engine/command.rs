//! The commands: what each is about, what it reads, and the rule that decides it.

use prost::Message;

use crate::{
    domain::{
        AbortJob, CloseJob, Context, CreateJob, Decision, DeleteJob, Existing, Rejection, Sync, UpdateJob,
    },
    proto::v1::{
        AbortJobResponse, Actor, BasicSyncResponse, CloseJobResponse, CreateJobResponse, DeleteJobResponse,
        UpdateJobResponse,
    },
};

/// A change that somebody asks for.
pub trait Command: Send + 'static {
    /// What is answered. It is stored beside the request's id, so it is a message.
    type Reply: Message + Default + 'static;

    /// What the decision reads beside the job's head.
    const READS: Reads;

    /// The job it is about.
    fn target(&self) -> Target<'_>;

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
}

/// Parts of a job beside its head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
#[expect(clippy::struct_excessive_bools, reason = "each stands for a part of its own, and any may be set")]
pub struct Reads {
    pub steps: bool,
    pub reports: bool,
    pub holds: bool,
    /// What the merge of syncs keeps.
    pub sync: bool,
}

impl Reads {
    const HEAD: Self = Self { steps: false, reports: false, holds: false, sync: false };
    const STEPS: Self = Self { steps: true, ..Self::HEAD };
    const ALL: Self = Self { steps: true, reports: true, holds: true, sync: true };
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

macro_rules! commands {
    ($($command:ident, $reply:ident, $reads:ident, $target:expr;)*) => { $(
        impl Command for $command {
            type Reply = $reply;
            const READS: Reads = Reads::$reads;

            fn target(&self) -> Target<'_> {
                let target: for<'c> fn(&'c Self) -> Target<'c> = $target;
                target(self)
            }

            fn decide(&self, existing: Existing, context: &Context) -> Result<Decision<$reply>, Rejection> {
                Self::decide(self, existing, context)
            }
        }
    )* };
}

commands! {
    AbortJob, AbortJobResponse, STEPS, |command| Target::Job(&command.job_id);
    CloseJob, CloseJobResponse, STEPS, |command| Target::Job(&command.job_id);
    CreateJob, CreateJobResponse, HEAD, |command| match &command.job_id {
        Some(job_id) if command.job.client_job_id.is_empty() => Target::Client(job_id),
        _ => Target::Client(&command.job.client_job_id),
    };
    DeleteJob, DeleteJobResponse, ALL, |command| Target::Job(&command.job_id);
    Sync, BasicSyncResponse, ALL, |command| Target::Client(command.client_job_id());
    UpdateJob, UpdateJobResponse, HEAD, |command| Target::Job(&command.job_id);
}

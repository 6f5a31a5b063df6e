//! What callers do: which jobs, in which order, and with which messages.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;

use super::{
    load::Caller,
    messages::{self, SYNC_STEPS},
    template::Template,
};
use crate::proto::v1::{JobActionType, ReportOutcome, SyncOutcome};

/// Makes the message for a job, and a change of it.
type Fill = Arc<dyn Fn(u64, u64) -> Bytes + Send + Sync>;

/// Jobs are not taken one after another as they stand in the store, but each is so many further than the one before.
const STRIDE: u64 = 7_919;

/// A kind of call, on many jobs.
#[derive(Clone)]
pub struct Work {
    /// The call.
    pub path: &'static str,
    /// How many jobs.
    pub jobs: u64,
    /// Numbers changes, in all rounds and of all work on a server: of two, the later has the higher number.
    changes: Arc<AtomicU64>,
    fill: Fill,
    /// What a reply begins with.
    reply: Vec<u8>,
}

impl Work {
    fn new(path: &'static str, jobs: u64, changes: &Arc<AtomicU64>, reply: [u8; 2], fill: Fill) -> Self {
        Self { path, jobs, changes: Arc::clone(changes), fill, reply: reply.to_vec() }
    }

    fn of(
        path: &'static str,
        jobs: u64,
        changes: &Arc<AtomicU64>,
        reply: [u8; 2],
        template: Template,
    ) -> Self {
        Self::new(path, jobs, changes, reply, Arc::new(move |job, change| template.fill(job, change)))
    }

    /// One caller of several that share the jobs. With `once` each of them once, and otherwise again and again.
    #[must_use]
    pub fn caller(&self, number: usize, callers: usize, once: bool) -> Box<dyn Caller> {
        let done = self.changes.load(Ordering::Relaxed);
        let turns = Turns::new(self.jobs, number as u64, callers as u64, if once { 0 } else { done });
        Box::new(Worker { work: self.clone(), turns, once })
    }

    /// All of several callers.
    #[must_use]
    pub fn callers(&self, callers: usize, once: bool) -> Vec<Box<dyn Caller>> {
        (0..callers).map(|number| self.caller(number, callers, once)).collect()
    }
}

/// What a message begins with whose first field is a number.
fn first_number(number: i32) -> [u8; 2] {
    [0x08, u8::try_from(number).unwrap_or_default()]
}

/// All work on the jobs of one server. A job is only ever one caller's at a time, so that its changes come in order.
#[derive(Clone, Debug)]
pub struct World {
    /// How many jobs there are.
    pub jobs: u64,
    changes: Arc<AtomicU64>,
    running: Arc<Vec<AtomicBool>>,
}

impl World {
    /// Of a server with so many jobs.
    #[must_use]
    pub fn new(jobs: u64) -> Self {
        let running = (0..jobs).map(|_| AtomicBool::new(false)).collect();
        Self { jobs, changes: Arc::default(), running: Arc::new(running) }
    }

    /// CreateJob.
    #[must_use]
    pub fn create(&self) -> Work {
        // The job has an id, which comes first in it.
        let path = "/holdpoint.v1.JobService/CreateJob";
        let mut work = Work::of(path, self.jobs, &self.changes, [0x0a, 0], messages::create());
        work.reply.truncate(1);
        work
    }

    /// UpdateExecutionTaskStatus of the task of a job.
    #[must_use]
    pub fn report(&self) -> Work {
        Work::of(REPORT, self.jobs, &self.changes, recorded(), messages::report(false))
    }

    /// The same, validated only.
    #[must_use]
    pub fn validate_report(&self) -> Work {
        Work::of(REPORT, self.jobs, &self.changes, recorded(), messages::report(true))
    }

    /// The same of the first jobs alone.
    #[must_use]
    pub fn report_of_first(&self, jobs: u64) -> Work {
        Work { jobs, ..self.report() }
    }

    /// UpdateExecutionTaskStatus of one job, a task of it for each caller.
    ///
    /// # Panics
    /// Never: there are no more tasks than templates of them.
    #[must_use]
    pub fn report_of_one_job(&self, job_id: &str, tasks: u32) -> Work {
        let template = |task| messages::report_of_one_job(job_id, task);
        let templates: Vec<_> = (0..tasks).map(template).collect();
        let fill = move |task: u64, change| {
            let place = usize::try_from(task).expect("it is one of a few");
            templates[place].fill(0, change)
        };
        Work::new(REPORT, tasks.into(), &self.changes, recorded(), Arc::new(fill))
    }

    /// PerformJobAction: a step is run, and stopped the next time.
    ///
    /// # Panics
    /// Never: there are no more jobs than are noted.
    #[must_use]
    pub fn act(&self) -> Work {
        self.act_with(false)
    }

    /// The same, validated only.
    ///
    /// # Panics
    /// As for [`act`](Self::act).
    #[must_use]
    pub fn validate_act(&self) -> Work {
        self.act_with(true)
    }

    fn act_with(&self, validate_only: bool) -> Work {
        let [run, stop] =
            [JobActionType::Run, JobActionType::Stop].map(|action| messages::action(action, validate_only));
        let running = Arc::clone(&self.running);
        let fill = move |job: u64, change| {
            let place = usize::try_from(job).expect("it is in memory");
            let was_running = running[place].fetch_xor(!validate_only, Ordering::Relaxed);
            if was_running { stop.fill(job, change) } else { run.fill(job, change) }
        };
        let path = "/holdpoint.v1.JobService/PerformJobAction";
        Work::new(path, self.jobs, &self.changes, first_number(1), Arc::new(fill))
    }

    /// BasicSync that makes the jobs of devices: others than those of CreateJob, and so many.
    #[must_use]
    pub fn sync_first(&self, jobs: u64) -> Work {
        let outcome = first_number(SyncOutcome::Created.into());
        Work::of(SYNC, jobs, &self.changes, outcome, messages::sync(SYNC_STEPS, false))
    }

    /// BasicSync of those jobs, with a newer header and so many newer steps.
    #[must_use]
    pub fn sync(&self, jobs: u64, newer: i32) -> Work {
        let outcome = first_number(SyncOutcome::Updated.into());
        Work::of(SYNC, jobs, &self.changes, outcome, messages::sync(newer, false))
    }

    /// The same, validated only.
    #[must_use]
    pub fn validate_sync(&self, jobs: u64, newer: i32) -> Work {
        let outcome = first_number(SyncOutcome::Updated.into());
        Work::of(SYNC, jobs, &self.changes, outcome, messages::sync(newer, true))
    }

    /// GetJob.
    #[must_use]
    pub fn get(&self) -> Work {
        let path = "/holdpoint.v1.JobService/GetJob";
        let mut work = Work::of(path, self.jobs, &self.changes, [0x0a, 0], messages::get());
        work.reply.truncate(1);
        work
    }

    /// ListJobs.
    #[must_use]
    pub fn list(&self) -> Work {
        let path = "/holdpoint.v1.JobService/ListJobs";
        let mut work = Work::of(path, self.jobs, &self.changes, [0x0a, 0], messages::list());
        work.reply.truncate(1);
        work
    }
}

/// The call of an executor's report.
pub const REPORT: &str = "/holdpoint.v1.TaskService/UpdateExecutionTaskStatus";
const SYNC: &str = "/holdpoint.v1.SyncService/BasicSync";

fn recorded() -> [u8; 2] {
    first_number(ReportOutcome::Recorded.into())
}

/// A caller at work.
struct Worker {
    work: Work,
    turns: Turns,
    once: bool,
}

impl Caller for Worker {
    fn next(&mut self) -> Option<Bytes> {
        let job = self.turns.next(self.once)?;
        Some((self.work.fill)(job, self.work.changes.fetch_add(1, Ordering::Relaxed)))
    }

    fn check(&mut self, reply: &Bytes) -> Result<(), String> {
        if reply.starts_with(&self.work.reply) {
            return Ok(());
        }
        let begin = &reply[..reply.len().min(2)];
        Err(format!("its reply begins with {begin:02x?}, and not with {:02x?}", self.work.reply))
    }
}

/// The jobs of one caller, each in its turn: every so many'th of all, beginning with its own number.
#[derive(Debug)]
struct Turns {
    first: u64,
    step: u64,
    count: u64,
    taken: u64,
    begin: u64,
    stride: u64,
}

impl Turns {
    fn new(jobs: u64, number: u64, callers: u64, done: u64) -> Self {
        let count = jobs.saturating_sub(number).div_ceil(callers);
        let stride = if count.is_multiple_of(STRIDE) { 1 } else { STRIDE };
        Self { first: number, step: callers, count, taken: 0, begin: done / callers, stride }
    }

    fn next(&mut self, once: bool) -> Option<u64> {
        if self.count == 0 || once && self.taken >= self.count {
            return None;
        }
        let at = (self.begin + self.taken) % self.count * self.stride % self.count;
        self.taken += 1;
        Some(self.first + at * self.step)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn callers_share_the_jobs_and_leave_none_out() {
        for (jobs, callers) in [(1, 1), (20, 2), (20, 3), (7_919, 1), (1_000, 64), (3, 8)] {
            let mut seen = BTreeSet::new();
            for number in 0..callers {
                let mut turns = Turns::new(jobs, number, callers, 12_345);
                while let Some(job) = turns.next(true) {
                    assert!(job < jobs && seen.insert(job), "{job} of {jobs}, {callers} callers");
                }
            }
            assert_eq!(seen.len() as u64, jobs, "{callers} callers");
        }
    }

    #[test]
    fn a_caller_without_jobs_has_nothing_to_do() {
        let mut turns = Turns::new(3, 5, 8, 0);
        assert_eq!(turns.next(false), None);
        let mut turns = Turns::new(1, 0, 8, 0);
        assert_eq!([turns.next(false), turns.next(false), turns.next(true)], [Some(0), Some(0), None]);
    }

    #[test]
    fn a_step_is_run_and_stopped_in_turn() {
        use prost::Message as _;

        use crate::proto::v1::PerformJobActionRequest;

        let work = World::new(1).act();
        let mut caller = work.caller(0, 1, false);
        let mut action = || PerformJobActionRequest::decode(caller.next().unwrap()).unwrap().r#type();
        assert_eq!(
            [action(), action(), action()],
            [JobActionType::Run, JobActionType::Stop, JobActionType::Run]
        );
        assert!(caller.check(&Bytes::from_static(&[8, 1, 2])).is_ok());
        assert!(caller.check(&Bytes::from_static(&[16, 1])).is_err());
        assert!(caller.check(&Bytes::new()).is_err());
    }
}

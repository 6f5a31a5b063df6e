//! Whether one order explains what clients saw of a job: linearizability, by the search of Wing and Gong with Lowe's memory
//! of what was tried.
//!
//! The model of a job is no code of the server's: what each revision of it did, and what that comes to. What a change gives
//! is never given twice, so a read names the change that it saw.

use std::collections::{BTreeMap, HashSet};

/// More than any history here needs; a search that takes more has lost its way.
const STATES_MAX: usize = 2_000_000;

/// What was asked. With a `request`, an update, a patch, a hold or a release is done once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Gives the job another title: where it is at a revision, if one is named.
    Update { title: u64, at_revision: Option<usize>, request: Option<u64> },
    /// Gives a task of it another progress: where it has one, if that is named.
    Patch { progress: u64, at: Option<u64>, request: Option<u64> },
    /// Places a hold on a step of it.
    Hold { request: Option<u64> },
    /// Releases the holds of that step.
    Release { request: Option<u64> },
    /// Begins a task. A second time, nothing.
    Begin { task: u64 },
    /// Closes a task that was begun. A second time, nothing; with another code it is refused.
    Close { task: u64, code: u64 },
    /// Reads the job.
    Get,
    /// Reads the task that is patched.
    Progress,
    /// Reads its history.
    Events,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answered {
    /// The revision that the change made.
    Made(usize),
    /// The task was patched.
    Patched,
    /// It was so already.
    Unchanged,
    /// The job was at another revision, the task had another progress or was closed, or there was no hold.
    Refused,
    /// The revision, the title, and how many holds stood.
    Job { revision: usize, title: u64, holds: usize },
    /// The progress of the task.
    Progress(u64),
    /// What each revision did.
    Events(Vec<Mark>),
    /// Nothing: it was done by the end of the interval, or never will be.
    Unknown,
}

/// What a revision did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    Title(u64),
    Held,
    Released,
    Patched(u64),
    Begun(u64),
    Closed(u64, u64),
    /// By its kind.
    Other(i32),
}

impl Asked {
    /// Whether it is done once, however often it is asked.
    pub fn can_be_repeated(&self) -> bool {
        match self {
            Self::Update { request, .. }
            | Self::Patch { request, .. }
            | Self::Hold { request }
            | Self::Release { request } => request.is_some(),
            Self::Begin { .. } | Self::Close { .. } => true,
            Self::Get | Self::Progress | Self::Events => false,
        }
    }

    fn request(&self) -> Option<u64> {
        match self {
            Self::Update { request, .. }
            | Self::Patch { request, .. }
            | Self::Hold { request }
            | Self::Release { request } => *request,
            Self::Begin { .. } | Self::Close { .. } | Self::Get | Self::Progress | Self::Events => None,
        }
    }
}

/// An operation, with the times between which it was done.
#[derive(Clone, Debug)]
pub struct Operation {
    pub asked: Asked,
    pub answered: Answered,
    pub from: u64,
    pub to: u64,
}

/// A job as the model has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Job {
    marks: Vec<Mark>,
    title: u64,
    progress: u64,
    holds: usize,
    /// The tasks that were begun, and the codes of those that were closed.
    tasks: BTreeMap<u64, Option<u64>>,
    /// What requests with an id were answered.
    done: BTreeMap<u64, Answered>,
}

impl Job {
    fn new(first: &[Mark]) -> Self {
        let mut job = Self::default();
        for mark in first {
            job.make(mark.clone());
        }
        job
    }

    /// Makes a revision.
    fn make(&mut self, mark: Mark) {
        match mark {
            Mark::Title(title) => self.title = title,
            Mark::Held => self.holds += 1,
            Mark::Released => self.holds -= 1,
            Mark::Patched(progress) => self.progress = progress,
            Mark::Begun(task) => drop(self.tasks.insert(task, None)),
            Mark::Closed(task, code) => drop(self.tasks.insert(task, Some(code))),
            Mark::Other(_) => {}
        }
        self.marks.push(mark);
    }

    /// Does what is asked.
    fn perform(&mut self, asked: &Asked) -> Answered {
        if let Some(done) = asked.request().and_then(|request| self.done.get(&request)) {
            return done.clone();
        }
        let answered = self.decide(asked);
        // What was refused with an error can be asked again. An action is refused in a reply, which is kept.
        let is_reply = answered != Answered::Refused || matches!(asked, Asked::Release { .. });
        if let Some(request) = asked.request().filter(|_| is_reply) {
            self.done.insert(request, answered.clone());
        }
        answered
    }

    fn decide(&mut self, asked: &Asked) -> Answered {
        let revision = self.marks.len();
        match *asked {
            Asked::Get => return Answered::Job { revision, title: self.title, holds: self.holds },
            Asked::Progress => return Answered::Progress(self.progress),
            Asked::Events => return Answered::Events(self.marks.clone()),
            Asked::Update { at_revision: Some(at), .. } if at != revision => return Answered::Refused,
            Asked::Update { title, .. } => self.make(Mark::Title(title)),
            Asked::Patch { at: Some(at), .. } if at != self.progress => return Answered::Refused,
            Asked::Patch { progress, .. } => {
                self.make(Mark::Patched(progress));
                return Answered::Patched;
            }
            Asked::Hold { .. } => self.make(Mark::Held),
            Asked::Release { .. } if self.holds == 0 => return Answered::Refused,
            Asked::Release { .. } => (0..self.holds).for_each(|_| self.make(Mark::Released)),
            Asked::Begin { task } if self.tasks.contains_key(&task) => return Answered::Unchanged,
            Asked::Begin { task } => self.make(Mark::Begun(task)),
            Asked::Close { task, code } => match self.tasks.get(&task).copied().flatten() {
                Some(closed) if closed == code => return Answered::Unchanged,
                Some(_) => return Answered::Refused,
                None => self.make(Mark::Closed(task, code)),
            },
        }
        Answered::Made(self.marks.len())
    }
}

/// A part of an order that holds so far.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Partial {
    /// Which operations are in it.
    taken: Vec<bool>,
    job: Job,
    /// The latest beginning of any of them: what had ended before must be in the order before.
    latest_from: u64,
}

/// Whether an order of the operations explains all answers: each between its times, on a job that begins so.
pub fn is_linearizable(first: &[Mark], operations: &[Operation]) -> bool {
    let start = Partial { taken: vec![false; operations.len()], job: Job::new(first), latest_from: 0 };
    let mut seen = HashSet::from([start.clone()]);
    let mut open = vec![start];
    while let Some(partial) = open.pop() {
        let left = |index: &usize| !partial.taken[*index];
        let must = (0..operations.len()).filter(left).filter(|index| !is_unknown(&operations[*index]));
        let Some(earliest_to) = must.map(|index| operations[index].to).min() else { return true };
        for index in (0..operations.len()).filter(left) {
            let operation = &operations[index];
            if operation.from > earliest_to || operation.to < partial.latest_from {
                continue;
            }
            let mut next = partial.clone();
            let answered = next.job.perform(&operation.asked);
            if answered != operation.answered && !is_unknown(operation) {
                continue;
            }
            next.taken[index] = true;
            next.latest_from = next.latest_from.max(operation.from);
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
        assert!(seen.len() < STATES_MAX, "the search has lost its way among {} operations", operations.len());
    }
    false
}

fn is_unknown(operation: &Operation) -> bool {
    operation.answered == Answered::Unknown
}

/// Histories by hand: each operation with its times and its answer.
#[cfg(test)]
mod tests {
    use super::*;

    fn update(title: u64, from: u64, to: u64, answered: Answered) -> Operation {
        Operation { asked: Asked::Update { title, at_revision: None, request: None }, answered, from, to }
    }

    fn update_at(revision: usize, title: u64, from: u64, to: u64, answered: Answered) -> Operation {
        let asked = Asked::Update { title, at_revision: Some(revision), request: None };
        Operation { asked, answered, from, to }
    }

    fn request(id: u64, title: u64, from: u64, to: u64, answered: Answered) -> Operation {
        let asked = Asked::Update { title, at_revision: None, request: Some(id) };
        Operation { asked, answered, from, to }
    }

    fn get(from: u64, to: u64, revision: usize, title: u64) -> Operation {
        Operation { asked: Asked::Get, answered: Answered::Job { revision, title, holds: 0 }, from, to }
    }

    fn events(from: u64, to: u64, titles: &[u64]) -> Operation {
        Operation {
            asked: Asked::Events,
            answered: Answered::Events(titles.iter().copied().map(Mark::Title).collect()),
            from,
            to,
        }
    }

    fn of(asked: Asked, from: u64, to: u64, answered: Answered) -> Operation {
        Operation { asked, answered, from, to }
    }

    const HOLD: Asked = Asked::Hold { request: None };
    const RELEASE: Asked = Asked::Release { request: None };

    fn holds(from: u64, to: u64, revision: usize, holds: usize) -> Operation {
        of(Asked::Get, from, to, Answered::Job { revision, title: 0, holds })
    }

    fn patch(at: Option<u64>, progress: u64) -> Asked {
        Asked::Patch { progress, at, request: None }
    }

    #[test]
    fn right_histories_are_told_from_wrong_ones() {
        use Answered::{Made, Patched, Progress, Refused, Unchanged, Unknown};
        let rows = [
            ("nothing", true, vec![]),
            ("one after another", true, vec![update(7, 1, 2, Made(2)), get(3, 4, 2, 7)]),
            ("a read beside an update, before it", true, vec![update(7, 1, 4, Made(2)), get(2, 3, 1, 0)]),
            ("a read beside an update, after it", true, vec![update(7, 1, 4, Made(2)), get(2, 3, 2, 7)]),
            ("a stale read", false, vec![update(7, 1, 2, Made(2)), get(3, 4, 1, 0)]),
            ("a read ahead", false, vec![get(1, 2, 2, 7), update(7, 3, 4, Made(2))]),
            (
                "a read that goes back",
                false,
                vec![update(7, 1, 8, Made(2)), get(2, 3, 2, 7), get(4, 5, 1, 0)],
            ),
            (
                "a lost update",
                false,
                vec![update(7, 1, 2, Made(2)), update(8, 3, 4, Made(2)), get(5, 6, 2, 8)],
            ),
            (
                "two updates of one revision, both accepted",
                false,
                vec![update_at(1, 7, 1, 4, Made(2)), update_at(1, 8, 2, 3, Made(3))],
            ),
            (
                "two updates of one revision, one refused",
                true,
                vec![update_at(1, 7, 1, 4, Made(2)), update_at(1, 8, 2, 3, Refused)],
            ),
            ("refused without a reason", false, vec![update_at(1, 7, 1, 2, Refused)]),
            (
                "a request that is repeated",
                true,
                vec![request(1, 7, 1, 2, Made(2)), update(8, 3, 4, Made(3)), request(1, 7, 5, 6, Made(2))],
            ),
            (
                "a repeated request that is done twice",
                false,
                vec![request(1, 7, 1, 2, Made(2)), request(1, 7, 3, 4, Made(3))],
            ),
            (
                "a repeated request that is answered once and done twice",
                false,
                vec![request(1, 7, 1, 2, Unknown), request(1, 7, 3, 4, Made(2)), events(5, 6, &[0, 7, 7])],
            ),
            (
                "a release that was refused before there was a hold, and is repeated",
                true,
                vec![
                    of(Asked::Release { request: Some(1) }, 1, 4, Unknown),
                    of(HOLD, 2, 4, Made(2)),
                    of(Asked::Release { request: Some(1) }, 5, 6, Refused),
                    holds(7, 8, 2, 1),
                ],
            ),
            ("in doubt, and done", true, vec![update(7, 1, 2, Unknown), get(3, 4, 2, 7)]),
            ("in doubt, and not done", true, vec![update(7, 1, 2, Unknown), get(3, 4, 1, 0)]),
            (
                "in doubt, and done after all",
                false,
                vec![update(7, 1, 2, Unknown), get(3, 4, 1, 0), get(5, 6, 2, 7)],
            ),
            (
                "in doubt, seen, and taken back",
                false,
                vec![update(7, 1, 4, Unknown), get(2, 3, 2, 7), get(5, 6, 1, 0)],
            ),
            (
                "an acknowledged update that a crash took back",
                false,
                vec![update(7, 1, 2, Made(2)), events(3, 4, &[0])],
            ),
            (
                "a history in another order than the updates",
                false,
                vec![update(7, 1, 2, Made(2)), update(8, 3, 4, Made(3)), events(5, 6, &[0, 8, 7])],
            ),
            (
                "two holds, released at once",
                true,
                vec![
                    of(HOLD, 1, 4, Made(2)),
                    of(HOLD, 2, 3, Made(3)),
                    of(RELEASE, 5, 6, Made(5)),
                    holds(7, 8, 5, 0),
                ],
            ),
            (
                "a hold that is released twice",
                false,
                vec![of(HOLD, 1, 2, Made(2)), of(RELEASE, 3, 6, Made(3)), of(RELEASE, 4, 5, Made(3))],
            ),
            (
                "no hold to release, while one stands",
                false,
                vec![of(HOLD, 1, 2, Made(2)), of(RELEASE, 3, 4, Refused)],
            ),
            (
                "a release that leaves a hold",
                false,
                vec![of(HOLD, 1, 2, Made(2)), of(RELEASE, 3, 4, Made(3)), holds(5, 6, 3, 1)],
            ),
            ("a hold that is lost", false, vec![of(HOLD, 1, 2, Made(2)), holds(3, 4, 2, 0)]),
            (
                "a repeated hold that is placed twice",
                false,
                vec![
                    of(Asked::Hold { request: Some(1) }, 1, 2, Unknown),
                    of(Asked::Hold { request: Some(1) }, 3, 4, Made(2)),
                    holds(5, 6, 3, 2),
                ],
            ),
            (
                "two close a task, one is refused",
                true,
                vec![
                    of(Asked::Begin { task: 7 }, 1, 2, Made(2)),
                    of(Asked::Close { task: 7, code: 8 }, 3, 6, Refused),
                    of(Asked::Close { task: 7, code: 9 }, 4, 5, Made(3)),
                ],
            ),
            (
                "two close a task, both accepted",
                false,
                vec![
                    of(Asked::Begin { task: 7 }, 1, 2, Made(2)),
                    of(Asked::Close { task: 7, code: 8 }, 3, 6, Made(4)),
                    of(Asked::Close { task: 7, code: 9 }, 4, 5, Made(3)),
                ],
            ),
            (
                "refused, and nobody else closed it",
                false,
                vec![
                    of(Asked::Begin { task: 7 }, 1, 2, Made(2)),
                    of(Asked::Close { task: 7, code: 8 }, 3, 4, Refused),
                ],
            ),
            (
                "reports that are repeated",
                true,
                vec![
                    of(Asked::Begin { task: 7 }, 1, 2, Unknown),
                    of(Asked::Begin { task: 7 }, 3, 4, Unchanged),
                    of(Asked::Close { task: 7, code: 8 }, 5, 6, Made(3)),
                    of(Asked::Close { task: 7, code: 8 }, 7, 8, Unchanged),
                ],
            ),
            (
                "a task that is begun twice",
                false,
                vec![
                    of(Asked::Begin { task: 7 }, 1, 2, Made(2)),
                    of(Asked::Begin { task: 7 }, 3, 4, Made(3)),
                ],
            ),
            (
                "two patches one after another",
                true,
                vec![
                    of(patch(Some(0), 7), 1, 2, Patched),
                    of(patch(Some(7), 8), 3, 4, Patched),
                    of(Asked::Progress, 5, 6, Progress(8)),
                ],
            ),
            (
                "two patches that test the same, both accepted",
                false,
                vec![of(patch(Some(0), 7), 1, 4, Patched), of(patch(Some(0), 8), 2, 3, Patched)],
            ),
            ("a test that fails without a reason", false, vec![of(patch(Some(0), 7), 1, 2, Refused)]),
            (
                "a lost patch",
                false,
                vec![of(patch(None, 7), 1, 2, Patched), of(Asked::Progress, 3, 4, Progress(0))],
            ),
            (
                "patches in another order than the history",
                false,
                vec![
                    of(patch(None, 7), 1, 2, Patched),
                    of(patch(None, 8), 3, 4, Patched),
                    of(
                        Asked::Events,
                        5,
                        6,
                        Answered::Events(vec![Mark::Title(0), Mark::Patched(8), Mark::Patched(7)]),
                    ),
                ],
            ),
        ];
        for (name, expected, operations) in rows {
            assert_eq!(is_linearizable(&[Mark::Title(0)], &operations), expected, "{name}");
        }
    }
}

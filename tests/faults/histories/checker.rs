//! Whether one order explains what clients saw of a job: linearizability, by the search of Wing and Gong with Lowe's memory
//! of what was tried.
//!
//! The model of a job is no code of the server's: a list of titles, one for each revision. Titles are never given twice, so
//! a read names the update that it saw.

use std::collections::{BTreeMap, HashSet};

/// More than any history here needs; a search that takes more has lost its way.
const STATES_MAX: usize = 2_000_000;

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Gives the job another title: where it is at a revision, if one is named; once, if the request has an id.
    Update { title: u64, at_revision: Option<usize>, request: Option<u64> },
    /// Reads the job.
    Get,
    /// Reads its history.
    Events,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The revision that the update made.
    Updated(usize),
    /// The job was at another revision.
    Mismatch,
    /// The revision, and the title.
    Job(usize, u64),
    /// The titles, by revision.
    Events(Vec<u64>),
    /// Nothing: it was done by the end of the interval, or never will be.
    Unknown,
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
    titles: Vec<u64>,
    /// The revisions that requests with an id made.
    done: BTreeMap<u64, usize>,
}

impl Job {
    /// Does what is asked.
    fn perform(&mut self, asked: &Asked) -> Answered {
        let revision = self.titles.len();
        match asked {
            Asked::Get => Answered::Job(revision, self.titles.last().copied().unwrap_or_default()),
            Asked::Events => Answered::Events(self.titles.clone()),
            Asked::Update { title, at_revision, request } => {
                if let Some(made) = request.and_then(|request| self.done.get(&request)) {
                    return Answered::Updated(*made);
                }
                if at_revision.is_some_and(|at| at != revision) {
                    return Answered::Mismatch;
                }
                self.titles.push(*title);
                self.done.extend(request.map(|request| (request, revision + 1)));
                Answered::Updated(revision + 1)
            }
        }
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

/// Whether an order of the operations explains all answers: each between its times, on a job that begins with one title.
pub fn is_linearizable(first_title: u64, operations: &[Operation]) -> bool {
    let job = Job { titles: vec![first_title], done: BTreeMap::new() };
    let start = Partial { taken: vec![false; operations.len()], job, latest_from: 0 };
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
        Operation { asked: Asked::Get, answered: Answered::Job(revision, title), from, to }
    }

    fn events(from: u64, to: u64, titles: &[u64]) -> Operation {
        Operation { asked: Asked::Events, answered: Answered::Events(titles.to_vec()), from, to }
    }

    #[test]
    fn right_histories_are_told_from_wrong_ones() {
        use Answered::{Mismatch, Unknown, Updated};
        let rows = [
            ("nothing", true, vec![]),
            ("one after another", true, vec![update(7, 1, 2, Updated(2)), get(3, 4, 2, 7)]),
            ("a read beside an update, before it", true, vec![update(7, 1, 4, Updated(2)), get(2, 3, 1, 0)]),
            ("a read beside an update, after it", true, vec![update(7, 1, 4, Updated(2)), get(2, 3, 2, 7)]),
            ("a stale read", false, vec![update(7, 1, 2, Updated(2)), get(3, 4, 1, 0)]),
            ("a read ahead", false, vec![get(1, 2, 2, 7), update(7, 3, 4, Updated(2))]),
            (
                "a read that goes back",
                false,
                vec![update(7, 1, 8, Updated(2)), get(2, 3, 2, 7), get(4, 5, 1, 0)],
            ),
            (
                "a lost update",
                false,
                vec![update(7, 1, 2, Updated(2)), update(8, 3, 4, Updated(2)), get(5, 6, 2, 8)],
            ),
            (
                "two updates of one revision, both accepted",
                false,
                vec![update_at(1, 7, 1, 4, Updated(2)), update_at(1, 8, 2, 3, Updated(3))],
            ),
            (
                "two updates of one revision, one refused",
                true,
                vec![update_at(1, 7, 1, 4, Updated(2)), update_at(1, 8, 2, 3, Mismatch)],
            ),
            ("refused without a reason", false, vec![update_at(1, 7, 1, 2, Mismatch)]),
            (
                "a request that is repeated",
                true,
                vec![
                    request(1, 7, 1, 2, Updated(2)),
                    update(8, 3, 4, Updated(3)),
                    request(1, 7, 5, 6, Updated(2)),
                ],
            ),
            (
                "a repeated request that is done twice",
                false,
                vec![request(1, 7, 1, 2, Updated(2)), request(1, 7, 3, 4, Updated(3))],
            ),
            (
                "a repeated request that is answered once and done twice",
                false,
                vec![request(1, 7, 1, 2, Unknown), request(1, 7, 3, 4, Updated(2)), events(5, 6, &[0, 7, 7])],
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
                vec![update(7, 1, 2, Updated(2)), events(3, 4, &[0])],
            ),
            (
                "a history in another order than the updates",
                false,
                vec![update(7, 1, 2, Updated(2)), update(8, 3, 4, Updated(3)), events(5, 6, &[0, 8, 7])],
            ),
        ];
        for (name, expected, operations) in rows {
            assert_eq!(is_linearizable(0, &operations), expected, "{name}");
        }
    }
}

//! Clients: they ask, read, go away before they are answered, and ask again after a restart for what they have no answer to.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::join;
use tokio::time;

use crate::{
    chance::Chance,
    domain::Filter,
    engine::{Engine, Error, ListOrder, Target, Views},
    store::Sequence,
};

use super::{
    super::kit::{ORG, decoded, random_filter},
    asks::{self, Ask, answer, of_sync},
    book::{Book, Next, Request, check_failure},
};

/// How often something is asked that is not decided.
const TRIES: usize = 4;

pub(super) struct Client {
    name: String,
    chance: Chance,
    /// How much it still has to do.
    left: usize,
    number: usize,
    /// What it has no answer to yet.
    open: Option<Request>,
    /// What it has an answer to.
    answered: Vec<Request>,
}

/// A client, and those it works with, as long as a process lives.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) client: Arc<Mutex<Client>>,
    pub(super) engine: Engine,
    pub(super) book: Arc<Mutex<Book>>,
}

impl Client {
    pub(super) fn new(name: String, chance: Chance, left: usize) -> Arc<Mutex<Self>> {
        let client = Self { name, chance, left, number: 0, open: None, answered: Vec::new() };
        Arc::new(Mutex::new(client))
    }

    fn request(&mut self, ask: Ask) -> Request {
        self.number += 1;
        let validate_only = self.chance.one_in(16);
        Request {
            caller: self.name.clone(),
            number: self.number,
            ask,
            has_id: !self.chance.one_in(4),
            validate_only,
            attempts: 0,
            answer: None,
        }
    }
}

impl Work {
    /// Works until there is nothing left to do, or the engine goes away.
    pub(super) async fn run(self) {
        loop {
            let is_open = self.client.lock().unwrap().open.is_some();
            let next = if is_open {
                self.ask_again().await
            } else if self.is_done() {
                return;
            } else {
                match self.below(16) {
                    0 => self.pipeline().await,
                    1 => self.repeat().await,
                    2 => self.misuse().await,
                    3 => self.list().await,
                    4 | 5 => self.read().await,
                    6 | 7 => self.entangle().await,
                    _ => self.ask().await,
                }
            };
            if next == Next::Over {
                return;
            }
            let pause = self.below(60) as u64;
            if pause > 20 {
                time::sleep(Duration::from_millis(pause - 20)).await;
            }
        }
    }

    fn is_done(&self) -> bool {
        let mut client = self.client.lock().unwrap();
        client.left = client.left.saturating_sub(1);
        client.left == 0
    }

    fn below(&self, bound: usize) -> usize {
        self.client.lock().unwrap().chance.below(bound)
    }

    /// Asks for something new.
    async fn ask(&self) -> Next {
        {
            let mut client = self.client.lock().unwrap();
            let ask = asks::random(&self.engine, &mut client.chance, &self.book.lock().unwrap().known);
            let request = client.request(ask);
            client.open = Some(request);
        }
        self.ask_again().await
    }

    /// Asks for what is open, until it is decided.
    async fn ask_again(&self) -> Next {
        for _ in 0..TRIES {
            let Some(mut request) = self.client.lock().unwrap().open.clone() else { return Next::Done };
            if request.attempts > 0 && !request.has_id {
                // Nobody can tell whether it was done.
                break;
            }
            let next = self.attempt(&mut request).await;
            match next {
                Some(Next::Done) => {
                    self.client.lock().unwrap().answered.push(request);
                    break;
                }
                Some(Next::Over) => return Next::Over,
                Some(Next::AskAgain) => time::sleep(Duration::from_millis(20)).await,
                None => {}
            }
        }
        self.client.lock().unwrap().open = None;
        Next::Done
    }

    /// `None`: the client did not wait for the answer.
    async fn attempt(&self, request: &mut Request) -> Option<Next> {
        let attempt = request.attempt(&self.book.lock().unwrap().disk);
        // Known as asked, should the process die.
        self.client.lock().unwrap().open = Some(request.clone());
        let ask = request.ask.clone();
        let asked = ask.put(&self.engine, attempt.origin.clone());
        if self.below(12) == 0 {
            let patience = Duration::from_millis(self.below(30) as u64);
            let outcome = time::timeout(patience, asked).await.ok()?;
            return Some(self.book.lock().unwrap().answer(request, &attempt, outcome));
        }
        if request.has_id && self.below(16) == 0 {
            // Twice at once.
            let again = request.attempt(&self.book.lock().unwrap().disk);
            self.client.lock().unwrap().open = Some(request.clone());
            let second = ask.put(&self.engine, again.origin.clone());
            let (first, second) = join(asked, second).await;
            let mut book = self.book.lock().unwrap();
            let next = book.answer(request, &attempt, first);
            let last = book.answer(request, &again, second);
            return Some(if last == Next::Over { last } else { next });
        }
        let outcome = asked.await;
        Some(self.book.lock().unwrap().answer(request, &attempt, outcome))
    }

    /// Asks once more for what was answered, as whoever did not hear the answer does.
    async fn repeat(&self) -> Next {
        let Some(mut request) = self.answered() else { return Next::Done };
        let attempt = request.attempt(&self.book.lock().unwrap().disk);
        self.keep(&request);
        let outcome = request.ask.put(&self.engine, attempt.origin.clone()).await;
        let next = self.book.lock().unwrap().answer(&mut request, &attempt, outcome);
        self.keep(&request);
        next
    }

    /// Asks for something else under an id that was used.
    async fn misuse(&self) -> Next {
        let Some(mut request) =
            self.answered().filter(|request| request.answer.is_some() && !request.validate_only)
        else {
            return Next::Done;
        };
        if self.book.lock().unwrap().may_forget {
            return Next::Done;
        }
        let attempt = request.attempt(&self.book.lock().unwrap().disk);
        self.keep(&request);
        let outcome = request.ask.put(&self.engine, request.misuse(attempt.origin.clone())).await;
        self.book.lock().unwrap().misused(&attempt, outcome)
    }

    /// A request with an id that was answered.
    fn answered(&self) -> Option<Request> {
        let mut client = self.client.lock().unwrap();
        let answered: Vec<_> = client.answered.iter().filter(|request| request.has_id).cloned().collect();
        (!answered.is_empty()).then(|| client.chance.pick(&answered).clone())
    }

    /// Remembers how often something was asked, and what was answered.
    fn keep(&self, request: &Request) {
        let mut client = self.client.lock().unwrap();
        let kept = client.answered.iter_mut().find(|kept| kept.number == request.number);
        *kept.expect("it was answered") = request.clone();
    }

    /// Sends several syncs of one job without waiting for answers, as an outbox does.
    async fn pipeline(&self) -> Next {
        let requests: Vec<Request> = {
            let mut client = self.client.lock().unwrap();
            let name = asks::random_name(&mut client.chance);
            let count = 2 + client.chance.below(3);
            (0..count)
                .map(|_| {
                    let ask = asks::synced(&mut client.chance, &name);
                    Request { validate_only: false, ..client.request(ask) }
                })
                .collect()
        };
        self.engine.room().await;
        let mut submitted = Vec::new();
        for mut request in requests {
            let attempt = request.attempt(&self.book.lock().unwrap().disk);
            let Ask::Sync(sync) = request.ask.clone() else { unreachable!("they are all syncs") };
            let answer = self.engine.submit(attempt.origin.clone(), sync);
            submitted.push((request, attempt, answer));
        }
        let (mut next, mut last) = (Next::Done, 0);
        for (mut request, attempt, submitted) in submitted {
            let outcome = match submitted {
                Ok(answered) => answered.await,
                Err(error) => Err(error),
            };
            if let Ok(reply) = &outcome {
                assert!(reply.revision >= last, "what was submitted first is decided first");
                last = reply.revision;
            }
            let outcome = outcome.map(|reply| answer(&reply, Some(of_sync(&reply))));
            let outcome = self.book.lock().unwrap().answer(&mut request, &attempt, outcome);
            if outcome == Next::Over {
                next = Next::Over;
            }
        }
        next
    }

    /// Has two jobs wait for each other, side by side.
    async fn entangle(&self) -> Next {
        let requests = {
            let mut client = self.client.lock().unwrap();
            let asks = asks::entangled(&mut client.chance, &self.book.lock().unwrap().known);
            asks.map(|asks| asks.map(|ask| Request { validate_only: false, ..client.request(ask) }))
        };
        let Some([mut one, mut other]) = requests else { return Next::Done };
        let first = one.attempt(&self.book.lock().unwrap().disk);
        let second = other.attempt(&self.book.lock().unwrap().disk);
        let outcomes = join(
            one.ask.put(&self.engine, first.origin.clone()),
            other.ask.put(&self.engine, second.origin.clone()),
        );
        let outcomes = outcomes.await;
        let mut book = self.book.lock().unwrap();
        let next = book.answer(&mut one, &first, outcomes.0);
        let last = book.answer(&mut other, &second, outcomes.1);
        if last == Next::Over { last } else { next }
    }

    /// Reads a job, or its history.
    async fn read(&self) -> Next {
        let (job_id, told) = {
            let book = self.book.lock().unwrap();
            let job_ids: Vec<_> = book.known.job_ids().cloned().collect();
            if job_ids.is_empty() {
                return Next::Done;
            }
            let job_id = self.client.lock().unwrap().chance.pick(&job_ids).clone();
            let told = book.told(&job_id);
            (job_id, told)
        };
        if self.below(3) == 0 {
            let history = self.engine.history(ORG, &job_id, Sequence::default()).await;
            return read(history, |history| {
                self.book.lock().unwrap().check_history(&job_id, told, &history);
            });
        }
        let views = Views { steps: true, holds: true, ..Views::default() };
        let parts = self.engine.job(ORG, Target::Job(&job_id), &views).await;
        read(parts, |parts| self.book.lock().unwrap().check_job(&job_id, told, parts.as_ref()))
    }

    async fn list(&self) -> Next {
        let wanted = random_filter(&mut self.client.lock().unwrap().chance);
        let filter = Filter::new(wanted.clone(), Vec::new(), None);
        let before = self.book.lock().unwrap().disk.heads();
        let page = self.engine.list(ORG, &filter, ListOrder::OldestFirst, None, usize::MAX).await;
        read(page, |page| self.book.lock().unwrap().check_list(&wanted, &before, &decoded(&page)))
    }
}

/// Looks at what was read; what cannot be read now can be later.
fn read<T>(outcome: Result<T, Error>, check: impl FnOnce(T)) -> Next {
    match outcome {
        Ok(found) => check(found),
        Err(Error::Failed(_) | Error::Stopping) => return Next::Over,
        Err(Error::Overloaded { .. }) => {}
        Err(error) => check_failure(&error),
    }
    Next::Done
}

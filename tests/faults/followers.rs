//! Watchers that resume whenever the server is back, and what they must have heard by then.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use holdpoint::proto::v1::{
    JobEvent, JobEventType, JobFilter, WatchJobsRequest, WatchStart, watch_message::Kind,
};
use tokio::sync::watch;

use super::{
    chance::Chance,
    kit::{Watch, key, soon},
    load::Truth,
};

const TOKENS_REMEMBERED: usize = 20;

/// What a watcher that resumes knows.
pub struct Follower {
    request: WatchJobsRequest,
    /// Those of the last messages, the newest last.
    tokens: Vec<String>,
    /// It does not always remember the last.
    is_forgetful: bool,
    /// Each event heard, once.
    heard: BTreeMap<(String, i64), JobEvent>,
    /// How far it knows each job, by a snapshot or by events without a gap.
    known: HashMap<String, i64>,
    /// How many came again after a resume.
    pub again: usize,
    messages: u64,
}

impl Follower {
    pub fn new(filter: Option<JobFilter>, start: WatchStart, is_forgetful: bool) -> Arc<Mutex<Self>> {
        let request = WatchJobsRequest { filter, start: start.into(), ..WatchJobsRequest::default() };
        let (tokens, heard, known) = (Vec::new(), BTreeMap::new(), HashMap::new());
        Arc::new(Mutex::new(Self { request, tokens, is_forgetful, heard, known, again: 0, messages: 0 }))
    }

    pub fn request(&self, chance: &mut Chance) -> WatchJobsRequest {
        let forgotten = if self.is_forgetful { chance.below(self.tokens.len().max(1)) } else { 0 };
        match self.tokens.iter().rev().nth(forgotten) {
            None => self.request.clone(),
            Some(token) => WatchJobsRequest {
                start: WatchStart::Unspecified.into(),
                resume_token: token.clone(),
                ..self.request.clone()
            },
        }
    }

    pub fn note_token(&mut self, token: String) {
        if self.tokens.len() == TOKENS_REMEMBERED {
            self.tokens.remove(0);
        }
        self.tokens.push(token);
    }

    /// `stream` holds what this stream has said of each job.
    fn take(&mut self, token: String, kind: &Kind, stream: &mut HashMap<String, i64>) {
        if let Kind::Batch(batch) = kind {
            for details in batch.decode_snapshots().unwrap() {
                let job = details.job.unwrap();
                let before = stream.insert(job.job_id.clone(), job.revision);
                assert!(before.is_none_or(|before| before < job.revision), "{} came twice", job.job_id);
                self.known.insert(job.job_id, job.revision);
            }
            for event in batch.decode_events().unwrap() {
                let before = stream.insert(event.job_id.clone(), event.revision).unwrap_or_default();
                assert!(before < event.revision, "{:?} after {before}", key(&event));
                let known = self.known.entry(event.job_id.clone()).or_default();
                if event.revision > *known {
                    assert!(
                        self.request.filter.is_some() || event.revision == *known + 1,
                        "a gap: {:?} after {known}",
                        key(&event)
                    );
                    *known = event.revision;
                }
                let again = self.heard.insert(key(&event), event.clone());
                self.again += usize::from(again.is_some());
                assert!(again.is_none_or(|again| again == event), "{:?} came otherwise", key(&event));
            }
        }
        self.note_token(token);
        self.messages += 1;
    }
}

/// Follows until the server is gone.
pub async fn follow(mut watch: Watch, follower: Arc<Mutex<Follower>>, progress: watch::Sender<u64>) {
    let mut stream = HashMap::new();
    while let Some(Ok((token, kind))) = watch.next().await {
        let mut follower = follower.lock().unwrap();
        follower.take(token, &kind, &mut stream);
        progress.send_replace(follower.messages);
    }
}

/// Returns when the follower knows all there is, and checks that it knows nothing else.
pub async fn check_follower(follower: &Mutex<Follower>, progress: &mut watch::Receiver<u64>, truth: &Truth) {
    soon(progress.wait_for(|_| follower.lock().unwrap().has_heard_all(truth))).await.unwrap();
    follower.lock().unwrap().check(truth);
}

impl Follower {
    fn wants(&self, event: &JobEvent) -> bool {
        let wanted = self.request.filter.as_ref().map_or(&[][..], |filter| &filter.teams);
        let mut summaries = event.summary.iter().chain(&event.previous_summary);
        wanted.is_empty() || summaries.any(|summary| wanted.contains(&summary.team))
    }

    fn begins_with_a_snapshot(&self) -> bool {
        self.request.start() == WatchStart::Snapshot
    }

    fn has_heard_all(&self, truth: &Truth) -> bool {
        let has_job = |(job_id, events): (&String, &Vec<JobEvent>)| {
            let last = events.iter().rev().find(|event| self.wants(event)).map_or(0, |event| event.revision);
            last <= self.known.get(job_id).copied().unwrap_or_default()
        };
        let is_gone = |job_id: &String| {
            let known = self.known.get(job_id).copied();
            let last = known.and_then(|revision| self.heard.get(&(job_id.clone(), revision)));
            last.is_some_and(|event| event.r#type() == JobEventType::JobDeleted)
        };
        // Who has a snapshot may have one without them, and who has a filter was never told of them.
        let hears_of_all = !self.begins_with_a_snapshot() && self.request.filter.is_none();
        truth.events.iter().all(has_job) && (!hears_of_all || truth.deleted.iter().all(is_gone))
    }

    /// It may have heard more than is true at the time of asking, since the server does some things by itself.
    fn check(&self, truth: &Truth) {
        for ((job_id, revision), event) in &self.heard {
            let Some(events) = truth.events.get(job_id) else {
                assert!(truth.deleted.contains(job_id), "heard of {job_id}, which is not there");
                continue;
            };
            let last = events.last().map_or(0, |event| event.revision);
            // Revisions are dense.
            let index = usize::try_from(*revision - 1).unwrap();
            let expected = events.get(index);
            assert!(
                *revision > last || expected == Some(event),
                "{job_id}: heard {event:?}, not {expected:?}"
            );
        }
        if self.begins_with_a_snapshot() {
            return;
        }
        for event in truth.events.values().flatten().filter(|event| self.wants(event)) {
            assert!(self.heard.contains_key(&key(event)), "{:?} was left out", key(event));
        }
        assert!(self.again == 0 || self.is_forgetful, "who resumes with the last token hears nothing again");
    }
}

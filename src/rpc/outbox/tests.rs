//! The stream as its client pulls it, answer by answer. The writer runs on the same thread, so that nothing is decided
//! while a test does not wait.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::FutureExt as _;
use prost::Message as _;
use tonic::Code;
use tonic_types::{RpcStatusExt as _, StatusExt as _};

use super::*;
use crate::{
    engine::{ListOrder, Options, System},
    proto::v1::{JobStatus, SyncMetadata, SyncOutcome},
    rpc::{intake::Intake, slots::Slots},
    store::MemoryStore,
};

type Requests = Pin<Box<dyn Stream<Item = Result<StreamSyncRequest, Status>> + Send>>;

/// Opens streams over an engine.
struct Subject {
    engine: Engine,
    slots: Slots,
    drain: Drain,
    /// How many requests were read.
    read: Arc<AtomicUsize>,
}

fn caller() -> Caller {
    let user = || "tester".to_owned();
    Caller {
        user: user(),
        name: user(),
        org: "acme".to_owned(),
        groups: Vec::new(),
        privileges: crate::auth::Privileges::All,
        expires: None,
    }
}

fn received() -> Arc<Share> {
    Arc::new(Intake::new(&Limits::default()).call())
}

/// A sync of a job of its own, tagged with the job's id.
fn request(client_job_id: &str) -> StreamSyncRequest {
    let metadata = SyncMetadata {
        client_job_id: Some(client_job_id.to_owned()),
        workflow_id: Some("flow".to_owned()),
        status: JobStatus::Active.into(),
        ..SyncMetadata::default()
    };
    let sync = BasicSyncRequest { metadata: Some(metadata), ..BasicSyncRequest::default() };
    StreamSyncRequest { tag: client_job_id.to_owned(), sync: Some(sync) }
}

/// So many syncs, `0`, `1` and so on, that are all there at once.
fn requests(count: usize) -> impl Stream<Item = Result<StreamSyncRequest, Status>> + Send {
    stream::iter((0..count).map(|n| Ok(request(&n.to_string()))))
}

impl Subject {
    async fn with(commands_waiting_max: usize) -> Self {
        let options = Options { commands_waiting_max, ..Options::default() };
        let engine = Engine::start(Arc::new(MemoryStore::new()), Arc::new(System), options).await.unwrap();
        let slots = Slots::sync_streams(&Limits { sync_streams: 1, ..Limits::default() });
        Self { engine, slots, drain: Drain::new(), read: Arc::default() }
    }

    async fn new() -> Self {
        Self::with(Options::default().commands_waiting_max).await
    }

    fn open(
        &self,
        requests: impl Stream<Item = Result<StreamSyncRequest, Status>> + Send + 'static,
    ) -> Outbox<Requests> {
        let read = Arc::clone(&self.read);
        let requests: Requests = Box::pin(requests.inspect(move |_| {
            read.fetch_add(1, Ordering::Relaxed);
        }));
        let slot = self.slots.take(&caller()).unwrap();
        let (engine, drain) = (self.engine.clone(), self.drain.clone());
        Outbox::open(engine, Limits::default(), caller(), requests, received(), slot, drain).unwrap()
    }

    /// A stream by credentials that are good for so many seconds.
    fn open_for(
        &self,
        seconds: i64,
        requests: impl Stream<Item = Result<StreamSyncRequest, Status>> + Send + 'static,
    ) -> Outbox<Requests> {
        let now = self.engine.now();
        let expires = Some(prost_types::Timestamp { seconds: now.seconds + seconds, ..now });
        let expiry = Expiry::of(&Caller { expires, ..caller() }, &now);
        Outbox { expiry, ..self.open(requests) }
    }

    fn read(&self) -> usize {
        self.read.load(Ordering::Relaxed)
    }

    async fn jobs(&self) -> usize {
        let all = crate::domain::Filter::default();
        self.engine.list("acme", &all, ListOrder::OldestFirst, None, usize::MAX).await.unwrap().jobs.len()
    }
}

/// The next answer is to this tag, and made a job.
async fn expect_created(outbox: &mut Outbox<Requests>, tag: &str) {
    let answer = outbox.next().await.unwrap().unwrap();
    let Some(Outcome::Response(response)) = answer.result else { panic!("{answer:?}") };
    assert_eq!((answer.tag.as_str(), response.outcome()), (tag, SyncOutcome::Created));
}

/// Reads what can be read now, and nothing is answered.
fn read_on(outbox: &mut Outbox<Requests>) {
    assert_eq!(outbox.next().now_or_never().map(|answer| answer.unwrap().unwrap()), None);
}

#[tokio::test]
async fn only_so_much_is_in_hand() {
    const COUNT: usize = 100;
    let subject = Subject::new().await;
    let mut outbox = subject.open(requests(COUNT));
    assert_eq!(subject.read(), 0, "who does not pull has nothing read");
    read_on(&mut outbox);
    assert_eq!(subject.read(), IN_HAND_MAX);
    for answered in 0..COUNT {
        expect_created(&mut outbox, &answered.to_string()).await;
        assert!(subject.read() <= answered + IN_HAND_MAX);
        // Time enough for the writer: what is decided and not pulled is in hand as well.
        tokio::task::yield_now().await;
    }
    assert!(outbox.next().await.is_none());
    assert_eq!(subject.jobs().await, COUNT);
}

#[tokio::test]
async fn nothing_is_read_while_the_writers_are_busy() {
    let subject = Subject::with(4).await;
    let mut outbox = subject.open(requests(10));
    read_on(&mut outbox);
    assert_eq!(subject.read(), 3, "with these, more than half of the places are taken");
    for n in 0..10 {
        expect_created(&mut outbox, &n.to_string()).await;
    }
    assert!(outbox.next().await.is_none());
}

#[tokio::test]
async fn told_to_drain_it_answers_what_is_in_hand() {
    let subject = Subject::new().await;
    // The client would send on for ever, or has sent all that it has for now.
    let sources: [(Requests, usize); 2] =
        [(Box::pin(requests(1_000)), IN_HAND_MAX), (Box::pin(requests(3).chain(stream::pending())), 3)];
    for (source, count) in sources {
        let subject = Subject { drain: Drain::new(), read: Arc::default(), ..Subject::new().await };
        let mut outbox = subject.open(source);
        read_on(&mut outbox);
        subject.drain.cancel();
        for n in 0..count {
            expect_created(&mut outbox, &n.to_string()).await;
        }
        let status = outbox.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.get_details_error_info().unwrap().reason, "SHUTTING_DOWN");
        assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
        assert!(outbox.next().await.is_none());
        assert_eq!((subject.read(), subject.jobs().await), (count, count));
    }

    subject.drain.cancel();
    let slot = subject.slots.take(&caller()).unwrap();
    let requests: Requests = Box::pin(requests(1));
    let refused = Outbox::open(
        subject.engine.clone(),
        Limits::default(),
        caller(),
        requests,
        received(),
        slot,
        subject.drain.clone(),
    );
    assert_eq!(refused.err().map(|status| status.code()), Some(Code::Unavailable));
}

#[tokio::test]
async fn requests_that_break_off_are_answered_up_to_there() {
    let subject = Subject::new().await;
    let broken = stream::iter([Err(status::malformed("at the fourth"))]);
    let mut outbox = subject.open(requests(3).chain(broken).chain(requests(1)));
    for n in 0..3 {
        expect_created(&mut outbox, &n.to_string()).await;
    }
    assert_eq!(outbox.next().await.unwrap().unwrap_err().code(), Code::InvalidArgument);
    assert!(outbox.next().await.is_none());
    assert_eq!(subject.read(), 4, "nothing is read after it");
}

#[tokio::test]
async fn a_client_that_goes_leaves_nothing_behind() {
    let subject = Subject::new().await;
    let mut outbox = subject.open(requests(100));
    read_on(&mut outbox);
    assert!(subject.slots.take(&caller()).is_err());
    drop(outbox);
    assert!(subject.slots.take(&caller()).is_ok());
    subject.engine.stop().await.unwrap();
    assert_eq!(subject.jobs().await, 0, "what had not been decided is left undone");
}

#[tokio::test]
async fn a_refusal_is_answered_in_its_turn_and_so_much_of_a_tag_comes_back() {
    let subject = Subject::new().await;
    let fits = "\u{e9}".repeat(parse::TAG_CHARACTERS_MAX);
    let rows = [
        (StreamSyncRequest { tag: fits.clone(), ..request("a") }, fits.clone(), ""),
        (StreamSyncRequest { tag: format!("{fits}!"), ..request("b") }, fits, "tag"),
        (StreamSyncRequest { tag: String::new(), ..request("c") }, String::new(), ""),
        (
            StreamSyncRequest { tag: "none".to_owned(), sync: None },
            "none".to_owned(),
            "metadata.client_job_id metadata.workflow_id metadata.status",
        ),
        (request("d"), "d".to_owned(), ""),
    ];
    let (sent, expected): (Vec<_>, Vec<_>) =
        rows.into_iter().map(|(request, tag, fields)| (Ok(request), (tag, fields.to_owned()))).unzip();
    let mut outbox = subject.open(stream::iter(sent));
    let mut answers = Vec::new();
    while let Some(answer) = outbox.next().await {
        let answer = answer.unwrap();
        let fields = match answer.result.unwrap() {
            Outcome::Response(response) => {
                assert_eq!(response.outcome(), SyncOutcome::Created);
                String::new()
            }
            Outcome::Error(error) => {
                assert_eq!(error.code, i32::from(Code::InvalidArgument));
                let details = error.get_error_details();
                assert_eq!(details.error_info().unwrap().reason, "FIELD_INVALID");
                let violations = &details.bad_request().unwrap().field_violations;
                let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
                fields.join(" ")
            }
        };
        answers.push((answer.tag, fields));
    }
    assert_eq!(answers, expected);
}

#[tokio::test(start_paused = true)]
async fn when_its_credentials_end_it_answers_what_is_in_hand() {
    // The client would send on for ever, has sent all that it has for now, or has sent nothing.
    let sources: [(Requests, usize); 3] = [
        (Box::pin(requests(1_000)), IN_HAND_MAX),
        (Box::pin(requests(3).chain(stream::pending())), 3),
        (Box::pin(stream::pending()), 0),
    ];
    for (source, count) in sources {
        let subject = Subject::new().await;
        let mut outbox = subject.open_for(2, source);
        assert!(outbox.next().now_or_never().is_none());
        tokio::time::advance(std::time::Duration::from_secs(3)).await;
        for n in 0..count {
            expect_created(&mut outbox, &n.to_string()).await;
        }
        let status = outbox.next().await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(status.get_details_error_info().unwrap().reason, "CREDENTIALS_EXPIRED");
        assert!(outbox.next().await.is_none());
        assert_eq!((subject.read(), subject.jobs().await), (count, count), "nothing is read after it");
    }
}

/// A client that says nothing more is told in time, and so is one that never stops.
#[tokio::test(start_paused = true)]
async fn it_ends_at_the_moment_and_not_later() {
    let subject = Subject::new().await;
    let mut outbox = subject.open_for(5, requests(1).chain(stream::pending()));
    let started = tokio::time::Instant::now();
    expect_created(&mut outbox, "0").await;
    assert_eq!(outbox.next().await.unwrap().unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(started.elapsed().as_secs(), 5);
    drop(outbox);

    let mut outbox = subject.open_for(5, stream::iter((1..).map(|n| Ok(request(&n.to_string())))));
    let mut answered = 0;
    while let Ok(_answer) = outbox.next().await.unwrap() {
        answered += 1;
        tokio::time::advance(std::time::Duration::from_millis(100)).await;
    }
    assert!((50..=50 + IN_HAND_MAX).contains(&answered), "{answered}");
    assert!(outbox.next().await.is_none());
}

/// Where the lines of the audit go.
#[derive(Clone, Default)]
struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A stream of an entry of each kind, read to the end, and then one that its client leaves.
async fn entries_of_every_kind() {
    let subject = Subject::new().await;
    let with = |change: fn(&mut BasicSyncRequest)| {
        let mut request = request("job");
        change(request.sync.as_mut().unwrap());
        Ok(request)
    };
    let entries = [
        with(|sync| sync.request_id = "first".to_owned()),
        with(|sync| sync.validate_only = true),
        with(|sync| sync.metadata.as_mut().unwrap().workflow_id = Some("other".to_owned())),
        with(|sync| sync.metadata.as_mut().unwrap().client_job_id = Some("secret ".repeat(100))),
        with(|sync| sync.request_id = "secret ".repeat(100)),
        Ok(StreamSyncRequest { tag: "secret".to_owned(), sync: None }),
    ];
    let mut outbox = subject.open(stream::iter(entries));
    while outbox.next().await.is_some() {}
    drop(outbox);

    let mut left = subject.open(requests(2).chain(stream::pending()));
    read_on(&mut left);
    drop(left);
}

#[tokio::test]
async fn each_entry_has_a_line_in_the_audit_that_says_only_what_is_well_formed() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let _log = tracing::subscriber::set_default(log);
    entries_of_every_kind().await;
    tracing::callsite::rebuild_interest_cache();
    lines.0.lock().unwrap().clear();

    entries_of_every_kind().await;
    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut audit: Vec<String> = lines
        .filter(|line| line["target"] == "audit")
        .map(|line| {
            let text = |name: &str| line["fields"][name].as_str().unwrap().to_owned();
            let only_asks = if line["fields"]["validate_only"] == true { " only asks" } else { "" };
            let [code, reason] = [text("code"), text("reason")];
            format!("{:?} {:?}{only_asks}: {code} {reason}\n", text("resource"), text("request_id"))
        })
        .collect();
    // A refusal does not wait for what comes before it to be decided.
    audit.sort();
    expect_test::expect![[r#"
        "" "": INVALID_ARGUMENT FIELD_INVALID
        "" "": INVALID_ARGUMENT FIELD_INVALID
        "" "": INVALID_ARGUMENT FIELD_INVALID
        "0" "": CANCELLED 
        "1" "": CANCELLED 
        "job" "" only asks: OK 
        "job" "": FAILED_PRECONDITION WORKFLOW_MISMATCH
        "job" "first": OK 
    "#]]
    .assert_eq(&audit.concat());
}

/// What a message has that this version does not know is longer on the wire than it is afterwards.
#[tokio::test]
async fn what_came_of_a_sync_is_given_back_with_it() {
    let subject = Subject::new().await;
    let intake = Intake::new(&Limits::default());
    let received = Arc::new(intake.call());
    let wire = Arc::clone(&received);
    let syncs = stream::iter((0..10).map(move |n| {
        let mut message = request(&n.to_string()).encode_to_vec();
        prost::encoding::bytes::encode(1_000, &vec![7_u8; 100_000], &mut message);
        wire.add(message.len()).unwrap();
        Ok(StreamSyncRequest::decode(&*message).unwrap())
    }));
    // Afterwards the client says nothing, and stays.
    let requests: Requests = Box::pin(syncs.chain(stream::pending()));
    let slot = subject.slots.take(&caller()).unwrap();
    let (engine, drain) = (subject.engine.clone(), subject.drain.clone());
    let mut outbox =
        Outbox::open(engine, Limits::default(), caller(), requests, received, slot, drain).unwrap();
    for n in 0..10 {
        expect_created(&mut outbox, &n.to_string()).await;
    }
    assert!(outbox.next().now_or_never().is_none(), "it is open");
    assert_eq!(intake.bytes().0, 0, "and nothing is in hand");
}

//! The writer: nothing shows before it is durable, a failure is the end, and a repeated request gets the first reply.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use prost_types::Timestamp;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::{
    domain::{CreateTask, Rejection, UpdateJob},
    engine::{Command, Engine, Environment, Error, ListOrder, Options, Origin, Start, Target, Views},
    proto::v1::{CreateJobResponse, Job, JobFilter, JobStatus, TaskStatus, UpdateJobResponse},
    store::{MemoryStore, Sequence, Store as _},
};

use super::kit::{
    Device, FIRST, ORG, Valve, ValvePosition, World, create, delete, engine, events_now, listed, move_to,
    of_job, origin, request, retitle, scope, soon, start, sync, watch_jobs,
};

/// Lets everything that can go on do so.
async fn idle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

fn ask<C: Command + Sync>(
    engine: &Engine,
    origin: Origin,
    command: C,
) -> JoinHandle<Result<C::Reply, Error>> {
    let engine = engine.clone();
    tokio::spawn(async move { engine.execute(origin, command).await })
}

async fn job(engine: &Engine, job_id: &str) -> Option<Job> {
    let parts = soon(engine.job(ORG, Target::Job(job_id), &Views::default())).await.unwrap();
    parts.map(|parts| parts.job)
}

#[tokio::test]
async fn nothing_shows_before_it_is_durable() {
    let store = Valve::new();
    let engine = start(&store, &World::at(1_000), Options::default()).await;
    soon(engine.execute(origin(), create("a", "red"))).await.unwrap();
    let mut watch = watch_jobs(&engine, &JobFilter::default(), Start::Now);
    let mut snapshot = watch_jobs(&engine, &JobFilter::default(), Start::Snapshot);

    store.turn(ValvePosition::Shut);
    let moved = ask(&engine, origin(), move_to("a", "green"));
    let made = ask(&engine, origin(), create("b", "green"));
    store.reached().await;
    let reads = |job_id: &'static str| {
        let engine = engine.clone();
        tokio::spawn(async move { engine.job(ORG, Target::Client(job_id), &Views::default()).await })
    };
    let lists = tokio::spawn({
        let engine = engine.clone();
        async move {
            listed(&engine, &JobFilter { teams: vec!["green".to_owned()], ..JobFilter::default() }).await
        }
    });
    let (read_a, read_b) = (reads("a"), reads("b"));
    let taken = tokio::spawn(async move {
        let delivery = snapshot.next().await;
        (snapshot, delivery)
    });
    idle().await;
    let unanswered = [
        moved.is_finished(),
        made.is_finished(),
        read_a.is_finished(),
        read_b.is_finished(),
        lists.is_finished(),
        taken.is_finished(),
    ];
    assert_eq!(unanswered, [false; 6], "the store shows it, and it may be taken back");
    assert_eq!(events_now(&mut watch).await, []);
    assert!(tokio::time::timeout(Duration::ZERO, watch.changed()).await.is_err(), "no bell");
    watch.pass_on();
    assert_eq!(watch.position().sequences, [Sequence(1)]);
    assert_eq!(watch_jobs(&engine, &JobFilter::default(), Start::Now).position().sequences, [Sequence(1)]);
    assert!(
        engine
            .watch(
                scope(&JobFilter::default()),
                Start::At(crate::engine::Position { sequences: vec![Sequence(2)], snapshot: None })
            )
            .is_err()
    );

    store.turn(ValvePosition::Open);
    soon(moved).await.unwrap().unwrap();
    soon(made).await.unwrap().unwrap();
    let team = |parts: Option<crate::engine::JobParts>| parts.unwrap().job.team.unwrap();
    assert_eq!(team(soon(read_a).await.unwrap().unwrap()), "green");
    assert_eq!(team(soon(read_b).await.unwrap().unwrap()), "green");
    assert!(soon(lists).await.unwrap().contains_key("a"));
    let (_, delivery) = soon(taken).await.unwrap();
    assert!(delivery.unwrap().is_some());
    assert_eq!(events_now(&mut watch).await.len(), 2);
}

#[tokio::test]
async fn a_history_ends_with_what_is_durable() {
    let store = Valve::new();
    let engine = start(&store, &World::at(1_000), Options::default()).await;
    soon(engine.execute(origin(), create("a", "red"))).await.unwrap();
    store.turn(ValvePosition::Shut);
    let moved = ask(&engine, origin(), move_to("a", "green"));
    store.reached().await;
    let history = tokio::spawn({
        let engine = engine.clone();
        async move { engine.history(ORG, "a", Sequence(0)).await.unwrap().len() }
    });
    idle().await;
    store.turn(ValvePosition::Open);
    assert_eq!(soon(history).await.unwrap(), 1, "asked for before the change was durable");
    soon(moved).await.unwrap().unwrap();
    assert_eq!(engine.history(ORG, "a", Sequence(0)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_failed_commit_is_the_end() {
    let store = Valve::new();
    let engine = start(&store, &World::at(1_000), Options::default()).await;
    soon(engine.execute(origin(), create("a", "red"))).await.unwrap();
    let mut watch = watch_jobs(&engine, &JobFilter::default(), Start::Now);
    let failed = tokio::spawn({
        let engine = engine.clone();
        async move { engine.failed().await }
    });

    store.turn(ValvePosition::Shut);
    let under_way = ask(&engine, origin(), move_to("a", "green"));
    store.reached().await;
    // More than one round of them.
    let waiting: Vec<_> =
        (0..400).map(|n| ask(&engine, origin(), create(&format!("b-{n}"), "red"))).collect();
    let refused = ask(&engine, origin(), create("a", "red"));
    idle().await;
    assert!(!failed.is_finished());
    store.turn(ValvePosition::Broken);

    for one in waiting {
        assert!(matches!(soon(one).await.unwrap(), Err(Error::Failed(_))));
    }
    assert!(matches!(soon(under_way).await.unwrap(), Err(Error::Failed(_))), "it may have happened or not");
    assert!(matches!(soon(refused).await.unwrap(), Err(Error::Failed(_))), "nothing is decided any more");
    let later = soon(engine.execute(origin(), create("c", "red"))).await;
    assert!(matches!(later, Err(Error::Failed(_))), "{later:?}");
    assert_eq!(soon(failed).await.unwrap().to_string(), "the store failed: broken by the test");
    assert_eq!(store.batches.lock().unwrap().len(), 2, "it does not go on over a store that failed");
    assert_eq!(events_now(&mut watch).await, [], "what did not become durable is not told");
    let read = soon(engine.job(ORG, Target::Job("a"), &Views::default())).await;
    assert!(read.is_err(), "what is read now may be taken back");
    soon(engine.stop()).await.unwrap();
}

/// Callers that come while the writer gives up are answered as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_waits_for_a_writer_that_gave_up() {
    for _ in 0..30 {
        let store = Valve::new();
        let engine = start(&store, &World::at(1_000), Options::default()).await;
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let engine = engine.clone();
                tokio::spawn(async move {
                    for n in 0.. {
                        match engine.execute(origin(), create(&format!("{caller}-{n}"), "red")).await {
                            Ok(_) => {}
                            Err(Error::Failed(_)) => return,
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        store.reached().await;
        store.turn(ValvePosition::Broken);
        for caller in callers {
            soon(caller).await.unwrap();
        }
    }
}

/// Has the round that is decided while another is on its way take in all that it may.
async fn fill(engine: &Engine, job_id: &str) {
    ask(engine, origin(), create(job_id, &"x".repeat(200_000)));
    idle().await;
}

/// An engine that makes the job `a`, as soon as its store lets it, and takes in no more until then.
async fn held_up() -> (Arc<Valve>, Engine, JoinHandle<Result<CreateJobResponse, Error>>) {
    let store = Valve::new();
    let engine = start(&store, &World::at(1_000), Options::default()).await;
    store.turn(ValvePosition::Shut);
    let first = ask(&engine, origin(), create("a", "red"));
    store.reached().await;
    fill(&engine, "filling").await;
    (store, engine, first)
}

/// While one round is on its way, the next is decided over what it writes, and waits for it with every answer.
#[tokio::test]
async fn commands_are_decided_while_others_are_made_durable() {
    let store = Valve::new();
    let world = World::at(1_000);
    let engine = start(&store, &world, Options::default()).await;
    store.turn(ValvePosition::Shut);
    let first = ask(&engine, request("first", 1), create("a", "red"));
    store.reached().await;
    let repeated = ask(&engine, request("first", 1), create("a", "red"));
    let reused = ask(&engine, request("first", 2), create("b", "red"));
    let renamed = ask(&engine, origin(), create("a", "blue"));
    let deleted = ask(&engine, origin(), delete("a"));
    idle().await;
    world.set(2_000);
    let later = ask(&engine, origin(), create("later", "red"));
    idle().await;
    let told = [repeated.is_finished(), reused.is_finished(), renamed.is_finished(), deleted.is_finished()];
    assert_eq!(told, [false; 4], "nothing is told that may still be lost");
    store.turn(ValvePosition::Open);
    let made = soon(first).await.unwrap().unwrap();
    assert_eq!(soon(repeated).await.unwrap().unwrap(), made);
    assert!(matches!(soon(reused).await.unwrap(), Err(Error::RequestIdReused)));
    assert!(matches!(soon(renamed).await.unwrap(), Err(Error::Rejected(_))));
    soon(deleted).await.unwrap().unwrap();
    assert_eq!(job(&engine, "a").await, None);
    let later = soon(later).await.unwrap().unwrap().job.unwrap();
    assert_eq!(later.create_time.unwrap().seconds, 2_000, "it is decided when it came");
    assert_eq!(*store.batches.lock().unwrap(), [1, 2]);
}

#[tokio::test]
async fn an_abandoned_command_is_not_decided() {
    let (store, engine, first) = held_up().await;
    let abandoned = ask(&engine, request("again", 1), create("b", "red"));
    let kept = ask(&engine, origin(), create("c", "red"));
    idle().await;
    abandoned.abort();
    assert!(soon(abandoned).await.unwrap_err().is_cancelled());
    // This one is past its turn: it happens all the same.
    first.abort();
    store.turn(ValvePosition::Open);
    soon(kept).await.unwrap().unwrap();
    assert!(job(&engine, "a").await.is_some());
    assert_eq!(job(&engine, "b").await, None);
    assert_eq!(*store.batches.lock().unwrap(), [1, 1, 1]);
    soon(engine.execute(request("again", 2), create("b", "red"))).await.unwrap();
}

#[tokio::test]
async fn what_waits_is_committed_together() {
    let store = Valve::new();
    let engine = start(&store, &World::at(1_000), Options::default()).await;
    store.turn(ValvePosition::Shut);
    let mut asked = vec![ask(&engine, origin(), create("first", "red"))];
    store.reached().await;
    asked.extend((0..300).map(|n| ask(&engine, origin(), create(&format!("job-{n}"), "red"))));
    idle().await;
    store.turn(ValvePosition::Open);
    for one in asked {
        soon(one).await.unwrap().unwrap();
    }
    assert_eq!(*store.batches.lock().unwrap(), [1, 256, 44], "one flush for all, up to a limit");

    // Large ones make a round shorter: a commit stays small.
    store.turn(ValvePosition::Shut);
    let mut asked = vec![ask(&engine, origin(), create("last", "red"))];
    store.reached().await;
    let large = "x".repeat(20_000);
    asked.extend((0..8).map(|n| ask(&engine, origin(), create(&format!("large-{n}"), &large))));
    idle().await;
    store.turn(ValvePosition::Open);
    for one in asked {
        soon(one).await.unwrap().unwrap();
    }
    let batches = store.batches.lock().unwrap();
    assert_eq!(batches[3], 1);
    assert!(batches[4..].iter().all(|&commands| commands <= 4), "{batches:?}");
    assert_eq!(batches[4..].iter().sum::<usize>(), 8);
}

/// A round that could be committed has those in it who are ready to ask by then.
#[tokio::test]
async fn who_asks_while_a_round_is_decided_is_in_it() {
    let store = Valve::new();
    let engine = start(&store, &World::at(1_000), Options::default()).await;
    let asks_meanwhile = async {
        store.read().await;
        engine.execute(origin(), create("b", "red")).await
    };
    let (second, first) = tokio::join!(asks_meanwhile, engine.execute(origin(), create("a", "red")));
    first.unwrap();
    second.unwrap();
    assert_eq!(*store.batches.lock().unwrap(), [2]);
}

#[tokio::test]
async fn more_than_may_wait_is_turned_away() {
    let store = Valve::new();
    let options = Options { commands_waiting_max: 3, ..Options::default() };
    let engine = start(&store, &World::at(1_000), options).await;
    store.turn(ValvePosition::Shut);
    let mut asked = vec![ask(&engine, origin(), create("first", "red"))];
    store.reached().await;
    fill(&engine, "filling").await;
    asked.extend((0..3).map(|n| ask(&engine, origin(), create(&format!("job-{n}"), "red"))));
    idle().await;
    let turned_away = soon(engine.execute(origin(), create("one-more", "red"))).await;
    assert!(
        matches!(turned_away, Err(Error::Overloaded { limit: "commands_waiting", maximum: 3 })),
        "{turned_away:?}"
    );
    store.turn(ValvePosition::Open);
    for one in asked {
        soon(one).await.unwrap().unwrap();
    }
}

/// A store that stalls keeps nobody waiting who could ask again: what waits too long for its turn is not decided.
#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_turned_away() {
    let store = Valve::new();
    let options = Options { waiting_max: Duration::from_millis(500), ..Options::default() };
    let engine = start(&store, &World::at(1_000), options).await;
    store.turn(ValvePosition::Shut);
    let first = ask(&engine, origin(), create("first", "red"));
    store.reached().await;
    fill(&engine, "filling").await;
    let old = ask(&engine, origin(), create("old", "red"));
    idle().await;
    tokio::time::advance(Duration::from_millis(400)).await;
    let new = ask(&engine, origin(), create("new", "red"));
    idle().await;
    tokio::time::advance(Duration::from_millis(200)).await;
    store.turn(ValvePosition::Open);
    soon(first).await.unwrap().unwrap();
    let turned_away = soon(old).await.unwrap();
    let is_overload =
        matches!(turned_away, Err(Error::Overloaded { limit: "waiting_milliseconds", maximum: 500 }));
    assert!(is_overload, "{turned_away:?}");
    soon(new).await.unwrap().unwrap();
    assert_eq!(*store.batches.lock().unwrap(), [1, 1, 1], "it was not decided");
}

/// Whoever can wait leaves half of the places to those who cannot.
#[tokio::test]
async fn there_is_room_while_half_of_the_places_are_free() {
    let store = Valve::new();
    let options = Options { commands_waiting_max: 4, ..Options::default() };
    let engine = start(&store, &World::at(1_000), options).await;
    soon(engine.room()).await;
    store.turn(ValvePosition::Shut);
    let mut asked = vec![ask(&engine, origin(), create("first", "red"))];
    store.reached().await;
    fill(&engine, "filling").await;
    let mut rooms = Vec::new();
    for n in 0..4 {
        let room = engine.room();
        rooms.push(tokio::time::timeout(Duration::ZERO, room).await.is_ok());
        asked.push(ask(&engine, origin(), create(&format!("job-{n}"), "red")));
        idle().await;
    }
    assert_eq!(rooms, [true, true, true, false]);

    let waits = tokio::spawn({
        let engine = engine.clone();
        async move { engine.room().await }
    });
    idle().await;
    assert!(!waits.is_finished());
    store.turn(ValvePosition::Open);
    soon(waits).await.unwrap();
    for one in asked {
        soon(one).await.unwrap().unwrap();
    }
    // It is not waited for where nothing is taken any more, so that whoever submits hears why.
    store.turn(ValvePosition::Shut);
    let mut asked = vec![ask(&engine, origin(), create("last", "red"))];
    store.reached().await;
    fill(&engine, "filling too").await;
    asked.extend((0..4).map(|n| ask(&engine, origin(), create(&format!("late-{n}"), "red"))));
    idle().await;
    store.turn(ValvePosition::Broken);
    soon(engine.room()).await;
    assert!(matches!(engine.submit(origin(), create("a", "red")).err(), Some(Error::Failed(_))));
}

/// Nobody needs to wait for an answer before the next command, nor in the order of the commands.
#[tokio::test]
async fn commands_are_decided_in_the_order_in_which_they_were_submitted() {
    let engine = engine(Options::default()).await;
    soon(engine.execute(origin(), create("a", "red"))).await.unwrap();
    let mut answers = Vec::new();
    for revision in 2..22 {
        answers.push((revision, engine.submit(origin(), retitle("a", &revision.to_string())).unwrap()));
    }
    for (revision, answer) in answers.into_iter().rev() {
        assert_eq!(soon(answer).await.unwrap().job.unwrap().revision, revision);
    }
}

#[tokio::test]
async fn what_was_queued_before_the_stop_is_done() {
    let store = Valve::new();
    let engine = start(&store, &World::at(1_000), Options::default()).await;
    store.turn(ValvePosition::Shut);
    let mut asked = vec![ask(&engine, origin(), create("first", "red"))];
    store.reached().await;
    asked.extend((0..300).map(|n| ask(&engine, origin(), create(&format!("job-{n}"), "red"))));
    idle().await;
    let stopped = tokio::spawn({
        let engine = engine.clone();
        async move { engine.stop().await }
    });
    idle().await;
    store.turn(ValvePosition::Open);
    for one in asked {
        soon(one).await.unwrap().unwrap();
    }
    soon(stopped).await.unwrap().unwrap();
    let late = soon(engine.execute(origin(), create("late", "red"))).await;
    assert!(matches!(late, Err(Error::Stopping)), "{late:?}");
}

/// Ids whose making panics: a stand-in for what no rule is to blame for.
struct Trap {
    world: Arc<World>,
    is_set: AtomicBool,
}

impl Environment for Trap {
    fn now(&self) -> Timestamp {
        self.world.now()
    }

    fn new_uuid(&self, now: &Timestamp) -> Uuid {
        assert!(!self.is_set.load(Ordering::SeqCst), "the trap is set");
        self.world.new_uuid(now)
    }
}

#[tokio::test]
async fn a_writer_that_breaks_down_ends_the_engine() {
    let trap = Arc::new(Trap { world: World::at(1_000), is_set: AtomicBool::new(false) });
    let store = Arc::new(MemoryStore::new());
    let engine = Engine::start(store, Arc::clone(&trap) as _, Options::default()).await.unwrap();
    soon(engine.execute(origin(), create("a", "red"))).await.unwrap();
    trap.is_set.store(true, Ordering::SeqCst);
    let trapped = soon(engine.execute(origin(), create("b", "red"))).await;
    assert!(trapped.is_err());
    let failure = soon(engine.failed()).await.to_string();
    assert!(failure.contains("the trap is set"), "{failure}");
    let later = soon(engine.execute(origin(), create("c", "red"))).await;
    assert!(matches!(later, Err(Error::Failed(_))), "{later:?}");
}

#[tokio::test]
async fn time_never_falls() {
    let store = Arc::new(MemoryStore::new());
    let world = World::at(1_000);
    let engine = start(&store, &world, Options::default()).await;
    soon(engine.execute(origin(), create("a", "red"))).await.unwrap();
    let mut times = Vec::new();
    let mut note = |reply: UpdateJobResponse| times.push(reply.job.unwrap().update_time.unwrap().seconds);
    for (n, now) in [1_005, 900, 1_004, 1_006].into_iter().enumerate() {
        world.set(now);
        note(soon(engine.execute(origin(), retitle("a", &n.to_string()))).await.unwrap());
    }
    soon(engine.stop()).await.unwrap();
    // Nor does it over a restart on a machine whose clock is behind.
    let engine = start(&store, &World::at(10), Options::default()).await;
    note(soon(engine.execute(origin(), retitle("a", "restarted"))).await.unwrap());
    assert_eq!(times, [1_005, 1_005, 1_005, 1_006, 1_006]);
}

const REMEMBERS: Options = Options {
    limits: crate::domain::Limits::DEFAULT,
    commands_waiting_max: 64,
    waiting_max: Duration::from_secs(1),
    tail_bytes: 1 << 20,
    request_window: Duration::from_secs(100),
    requests_max: 1_000,
    log_age_max: Duration::from_secs(1_000_000),
    log_events_max: 1_000_000,
    free_bytes_min: 0,
};

async fn update(engine: &Engine, origin: Origin, command: UpdateJob) -> Result<i64, String> {
    let reply = soon(engine.execute(origin, command)).await;
    reply.map(|reply| reply.job.unwrap().revision).map_err(|error| error.to_string())
}

const REUSED: &str = "this request id was used for another request";

/// A reply that is no longer in the log is no longer remembered either: what stands for it would be there for nothing, and takes
/// memory.
#[tokio::test]
async fn requests_are_forgotten_with_the_log() {
    let store = Arc::new(MemoryStore::new());
    let options = Options { log_events_max: 2, ..REMEMBERS };
    let engine = start(&store, &World::at(1_000), options).await;
    let remembered = |engine: &Engine| engine.status().partitions[0].request_ids;
    soon(engine.execute(origin(), create("a", "red"))).await.unwrap();
    for (n, place) in (2..).zip(["one", "two", "three", "four"]) {
        assert_eq!(update(&engine, request(place, 1), move_to("a", place)).await, Ok(n));
    }
    assert_eq!(remembered(&engine), 4);
    soon(engine.forget_old()).await.unwrap();
    assert_eq!(update(&engine, request("four", 1), move_to("a", "four")).await, Ok(5), "the first reply");
    assert_eq!(remembered(&engine), 2);
    assert_eq!(update(&engine, request("one", 1), move_to("a", "one")).await, Ok(6), "another change");
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_reply_also_after_a_restart() {
    let store = Arc::new(MemoryStore::new());
    let world = World::at(1_000);
    let mut engine = start(&store, &world, REMEMBERS).await;
    soon(engine.execute(origin(), create("a", "red"))).await.unwrap();
    assert_eq!(update(&engine, request("one", 1), move_to("a", "green")).await, Ok(2));
    assert_eq!(update(&engine, origin(), move_to("a", "blue")).await, Ok(3));
    // A request that changes nothing is answered alike, though the job moves on.
    assert_eq!(update(&engine, request("nothing", 1), move_to("a", "blue")).await, Ok(3));
    assert_eq!(update(&engine, origin(), move_to("a", "green")).await, Ok(4));
    // One that is refused leaves nothing behind.
    let refused = Err(Rejection::JobNotFound.to_string());
    assert_eq!(update(&engine, request("refused", 1), move_to("b", "green")).await, refused);
    assert_eq!(update(&engine, request("refused", 2), move_to("a", "yellow")).await, Ok(5));
    // Nor does one that is only tried.
    let tried = Origin { validate_only: true, ..request("tried", 1) };
    assert_eq!(update(&engine, tried, move_to("a", "red")).await, Ok(6));
    assert_eq!(update(&engine, request("tried", 2), move_to("a", "pink")).await, Ok(6));

    for _ in 0..2 {
        let head = *store.head(FIRST).borrow();
        assert_eq!(update(&engine, request("one", 1), move_to("a", "green")).await, Ok(2));
        assert_eq!(update(&engine, request("nothing", 1), move_to("a", "blue")).await, Ok(3));
        assert_eq!(update(&engine, request("refused", 2), move_to("a", "yellow")).await, Ok(5));
        assert_eq!(update(&engine, request("one", 2), move_to("a", "green")).await, Err(REUSED.to_owned()));
        let other = Origin { actor: crate::proto::v1::Actor::default(), ..request("one", 2) };
        let tried = Origin { validate_only: true, ..other };
        assert_eq!(update(&engine, tried, move_to("a", "white")).await, Ok(7), "another caller's");
        assert_eq!(*store.head(FIRST).borrow(), head, "nothing was written");
        soon(engine.stop()).await.unwrap();
        engine = start(&store, &world, REMEMBERS).await;
    }
}

#[tokio::test]
async fn the_same_request_twice_in_one_round_is_done_once() {
    let store = Valve::new();
    let engine = start(&store, &World::at(1_000), Options::default()).await;
    soon(engine.execute(origin(), create("a", "red"))).await.unwrap();
    store.turn(ValvePosition::Shut);
    let first = ask(&engine, origin(), retitle("a", "first"));
    store.reached().await;
    let twice = [1, 1, 2].map(|body| ask(&engine, request("twice", body), retitle("a", "second")));
    idle().await;
    store.turn(ValvePosition::Open);
    soon(first).await.unwrap().unwrap();
    let [one, two, other] = twice;
    let (one, two) = (soon(one).await.unwrap().unwrap(), soon(two).await.unwrap().unwrap());
    assert_eq!(one, two);
    assert_eq!(one.job.unwrap().revision, 3);
    assert!(matches!(soon(other).await.unwrap(), Err(Error::RequestIdReused)));
}

#[tokio::test]
async fn a_reply_is_kept_for_its_window() {
    let store = Arc::new(MemoryStore::new());
    let world = World::at(1_000);
    let mut engine = start(&store, &world, REMEMBERS).await;
    soon(engine.execute(origin(), create("a", "red"))).await.unwrap();
    assert_eq!(update(&engine, request("one", 1), retitle("a", "1")).await, Ok(2));
    world.set(1_100);
    for _ in 0..2 {
        assert_eq!(update(&engine, request("one", 1), retitle("a", "1")).await, Ok(2), "it is 100 s old");
        soon(engine.stop()).await.unwrap();
        engine = start(&store, &world, REMEMBERS).await;
    }
    world.set(1_101);
    // The same on a server that ran on and on one that was started again.
    assert_eq!(
        update(&engine, request("one", 2), retitle("a", "2")).await,
        Ok(3),
        "it is older, and forgotten"
    );
    soon(engine.stop()).await.unwrap();
    engine = start(&store, &world, REMEMBERS).await;
    assert_eq!(update(&engine, request("one", 2), retitle("a", "2")).await, Ok(3));
    assert_eq!(update(&engine, request("one", 1), retitle("a", "1")).await, Err(REUSED.to_owned()));
    world.set(1_202);
    engine = start(&store, &world, REMEMBERS).await;
    assert_eq!(update(&engine, request("one", 3), retitle("a", "3")).await, Ok(4));
}

#[tokio::test]
async fn so_many_replies_are_kept() {
    let store = Arc::new(MemoryStore::new());
    let world = World::at(1_000);
    let options = Options { requests_max: 3, ..REMEMBERS };
    let mut engine = start(&store, &world, options).await;
    soon(engine.execute(origin(), create("a", "red"))).await.unwrap();
    for n in 0..5_u8 {
        let id = format!("request-{n}");
        assert_eq!(update(&engine, request(&id, 1), retitle("a", &id)).await, Ok(i64::from(n) + 2));
    }
    for _ in 0..2 {
        for n in 2..5_u8 {
            let reply = update(&engine, request(&format!("request-{n}"), 1), retitle("a", "")).await;
            assert_eq!(reply, Ok(i64::from(n) + 2));
        }
        soon(engine.stop()).await.unwrap();
        engine = start(&store, &world, options).await;
    }
    assert_eq!(update(&engine, request("request-0", 9), retitle("a", "again")).await, Ok(7));
}

/// The reply went with the log's old end, so the request was done anew: its new reply is kept as long as any.
#[tokio::test]
async fn a_reply_that_was_made_anew_is_not_forgotten_with_the_old_one() {
    let store = Arc::new(MemoryStore::new());
    let world = World::at(1_000);
    let options = Options { log_events_max: 1, ..REMEMBERS };
    let engine = start(&store, &world, options).await;
    soon(engine.execute(origin(), create("a", "red"))).await.unwrap();
    assert_eq!(update(&engine, request("one", 1), retitle("a", "1")).await, Ok(2));
    assert_eq!(update(&engine, origin(), retitle("a", "2")).await, Ok(3));
    soon(engine.forget_old()).await.unwrap();
    world.set(1_090);
    assert_eq!(update(&engine, request("one", 1), retitle("a", "1")).await, Ok(4));
    // The old one would be forgotten by now, the new one is 20 s old.
    world.set(1_110);
    assert_eq!(update(&engine, request("two", 1), retitle("a", "3")).await, Ok(5));
    assert_eq!(update(&engine, request("one", 1), retitle("a", "1")).await, Ok(4));
}

/// Reads that meet the job in motion every time end all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn reads_of_a_busy_job_are_of_one_revision() {
    let store = Arc::new(MemoryStore::new());
    let engine = start(&store, &World::at(1_000), Options::default()).await;
    let report = |n: i64| {
        let reports = vec![(format!("report-{}", n % 50), format!("step-{}", n % 7), false)];
        sync("busy", JobStatus::Active, Device { updated: n, team: None, reports })
    };
    let job_id = soon(engine.execute(origin(), report(0))).await.unwrap().job_id;
    let writer = tokio::spawn({
        let engine = engine.clone();
        async move {
            for n in 1..1_500 {
                soon(engine.execute(origin(), report(n))).await.unwrap();
            }
        }
    });
    let views = Views { steps: true, ..Views::default() };
    let mut reads = 0;
    while !writer.is_finished() {
        let parts = soon(engine.job(ORG, Target::Job(&job_id), &views)).await.unwrap().unwrap();
        let newest = parts.steps.iter().filter_map(|step| step.update_time).map(|time| time.seconds).max();
        assert!(newest <= parts.job.update_time.map(|time| time.seconds));
        let reported = parts.steps.iter().map(|step| step.visit).sum::<i32>();
        let expected = i32::try_from(parts.job.revision / 2).unwrap().min(50);
        assert_eq!(reported, expected, "at revision {}", parts.job.revision);
        reads += 1;
    }
    soon(writer).await.unwrap();
    assert!(reads > 0);
    let all =
        engine.list(ORG, &crate::domain::Filter::default(), ListOrder::NewestFirst, None, 10).await.unwrap();
    assert_eq!(all.jobs.len(), 1);
}

/// A deleted job is gone for every reader at once.
#[tokio::test]
async fn a_deletion_shows_once_it_is_durable() {
    let store = Valve::new();
    let engine = start(&store, &World::at(1_000), Options::default()).await;
    soon(engine.execute(origin(), create("a", "red"))).await.unwrap();
    store.turn(ValvePosition::Shut);
    let deleted = ask(&engine, origin(), delete("a"));
    store.reached().await;
    let read = tokio::spawn({
        let engine = engine.clone();
        async move { engine.job(ORG, Target::Job("a"), &Views::default()).await }
    });
    idle().await;
    assert!(!read.is_finished());
    store.turn(ValvePosition::Open);
    soon(deleted).await.unwrap().unwrap();
    assert_eq!(soon(read).await.unwrap().unwrap(), None);
    let mut watch = watch_jobs(&engine, &of_job("a"), Start::Earliest);
    assert_eq!(events_now(&mut watch).await.len(), 2);
}

#[tokio::test]
async fn a_deleted_task_is_gone_once_that_is_durable() {
    let store = Valve::new();
    let engine = start(&store, &World::at(1_000), Options::default()).await;
    soon(engine.execute(origin(), create("a", "red"))).await.unwrap();
    let task = TaskStatus { unique_name: Some("made".to_owned()), ..TaskStatus::default() };
    let made = CreateTask { job_id: "a".to_owned(), task };
    let id = soon(engine.execute(origin(), made)).await.unwrap().task.unwrap().id;
    assert!(soon(engine.task(ORG, &id)).await.unwrap().is_some());
    store.turn(ValvePosition::Shut);
    let deleted = ask(&engine, origin(), delete("a"));
    store.reached().await;
    let read = tokio::spawn({
        let engine = engine.clone();
        async move { engine.task(ORG, &id).await }
    });
    idle().await;
    assert!(!read.is_finished(), "it may still come back");
    store.turn(ValvePosition::Open);
    soon(deleted).await.unwrap().unwrap();
    assert_eq!(soon(read).await.unwrap().unwrap(), None);
}

/// The writer stands still for nobody who has gone.
#[tokio::test]
async fn an_abandoned_read_at_rest_is_not_done() {
    let (store, engine, first) = held_up().await;
    let done = Arc::new(AtomicUsize::new(0));
    let read = || {
        let (engine, done) = (engine.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let read = move |_| async move { done.fetch_add(1, Ordering::SeqCst) };
            engine.at_rest(FIRST, read).await
        })
    };
    let (left, kept) = (read(), read());
    idle().await;
    left.abort();
    assert!(soon(left).await.unwrap_err().is_cancelled());
    store.turn(ValvePosition::Open);
    soon(kept).await.unwrap().unwrap();
    soon(first).await.unwrap().unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

/// What is only tried is refused for what it would be refused for.
#[tokio::test]
async fn what_is_too_large_is_refused_also_where_it_is_only_tried() {
    let engine = start(&Valve::new(), &World::at(1_000), Options::default()).await;
    for validate_only in [false, true] {
        let large = create("a", &"x".repeat(17 << 20));
        let refused = soon(engine.execute(Origin { validate_only, ..origin() }, large)).await;
        let is_expected =
            matches!(&refused, Err(Error::Rejected(Rejection::LimitExceeded { limit: "command_bytes", .. })));
        assert!(is_expected, "{validate_only}: {refused:?}");
    }
}

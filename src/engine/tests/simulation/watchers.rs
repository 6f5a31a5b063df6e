//! Watchers: they begin anyhow, read slowly, come and go, and go on from the last place or an older one. What each is told
//! is held against the log: no more, no less, and in order.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use prost::Message as _;
use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::{
    chance::Chance,
    domain::Filter,
    engine::{Delivered, Delivery, Engine, Position, Start, Watch, WatchError},
    proto::v1::{JobEvent, JobFilter},
    store::{Partition, Sequence},
};

use super::{
    super::kit::{Picture, random_filter, watch_jobs_from},
    book::{Book, check_failure},
    disk::Disk,
};

/// How many places a watcher remembers.
const PLACES: usize = 4;

pub(super) struct Watcher {
    name: String,
    chance: Chance,
    wanted: JobFilter,
    filter: Arc<Filter>,
    /// Where it was, the newest last, with what it knew there.
    places: Vec<Place>,
}

#[derive(Clone)]
struct Place {
    position: Position,
    /// The jobs as it knows them; `None`: it hears events only.
    picture: Option<Picture>,
}

/// A watcher, and what it needs as long as a process lives.
#[derive(Clone)]
pub(super) struct Watching {
    pub(super) watcher: Arc<Mutex<Watcher>>,
    pub(super) engine: Engine,
    pub(super) disk: Arc<Disk>,
    pub(super) book: Arc<Mutex<Book>>,
    /// Everything has been done that will be.
    pub(super) finish: CancellationToken,
}

/// One stream.
struct Stream {
    watch: Watch,
    picture: Option<Picture>,
    /// Up to where what was told is what the log has. Only of a stream of events.
    checked: Vec<Sequence>,
}

/// How a stream ended.
#[derive(PartialEq, Eq)]
enum End {
    /// The watcher went away, or its place is no longer kept.
    Left,
    /// The engine is gone, or all is done.
    Over,
}

impl Watcher {
    pub(super) fn new(name: String, mut chance: Chance) -> Arc<Mutex<Self>> {
        let wanted = random_filter(&mut chance);
        let filter = Arc::new(Filter::new(wanted.clone(), Vec::new(), None));
        Arc::new(Mutex::new(Self { name, chance, wanted, filter, places: Vec::new() }))
    }

    fn keep(&mut self, position: &Position, picture: Option<&Picture>) {
        self.places.push(Place { position: position.clone(), picture: picture.cloned() });
        if self.places.len() > PLACES {
            self.places.remove(0);
        }
    }

    /// Where the next stream begins.
    fn start(&mut self) -> (Start, Option<Picture>) {
        if self.places.is_empty() || self.chance.one_in(12) {
            self.places.clear();
            return match self.chance.below(4) {
                0 => (Start::Now, None),
                1 => (Start::Earliest, None),
                _ => (Start::Snapshot, Some(Picture::new(&self.wanted))),
            };
        }
        let newest = self.places.len() - 1;
        let back = if self.chance.one_in(3) { self.chance.below(self.places.len()) } else { 0 };
        let Place { position, picture } = self.places[newest - back].clone();
        (Start::At(position), picture.map(|picture| picture.resumed()))
    }
}

impl Watching {
    pub(super) async fn run(self) {
        loop {
            let Some(stream) = self.open() else { continue };
            if self.follow(stream).await == End::Over {
                return;
            }
            let pause = self.below(80) as u64;
            time::sleep(Duration::from_millis(1 + pause)).await;
        }
    }

    /// `None`: the place is no longer kept, and the watcher begins anew.
    fn open(&self) -> Option<Stream> {
        let mut watcher = self.watcher.lock().unwrap();
        let (start, picture) = watcher.start();
        self.disk.note((&watcher.name, format!("{start:?}")));
        match watch_jobs_from(&self.engine, &watcher.wanted, start.clone()) {
            Ok(watch) => {
                let checked = watch.position().sequences.clone();
                Some(Stream { watch, picture, checked })
            }
            Err(WatchError::Expired { partition, .. }) => {
                let Start::At(position) = start else { panic!("{}: {start:?} is expired", watcher.name) };
                self.check_expired(&position, partition);
                watcher.places.clear();
                None
            }
            Err(error) => panic!("{}: {start:?}: {error}", watcher.name),
        }
    }

    fn check_expired(&self, position: &Position, partition: Partition) {
        let (place, oldest) = (position.sequences[usize::from(partition.0)], self.disk.oldest(partition));
        assert!(place.next() < oldest, "everything after {place} is kept, from {oldest} on");
    }

    fn below(&self, bound: usize) -> usize {
        self.watcher.lock().unwrap().chance.below(bound)
    }

    async fn follow(&self, mut stream: Stream) -> End {
        loop {
            let is_last = self.finish.is_cancelled();
            match stream.watch.next().await {
                Ok(Some(delivery)) => self.take(&mut stream, delivery),
                Ok(None) => {
                    self.caught_up(&mut stream);
                    if is_last {
                        self.check_all(&stream);
                        return End::Over;
                    }
                    if self.below(6) == 0 {
                        return End::Left;
                    }
                    self.wait(&mut stream).await;
                }
                Err(WatchError::Expired { partition, .. }) => {
                    self.check_expired(stream.watch.position(), partition);
                    self.watcher.lock().unwrap().places.clear();
                    return End::Left;
                }
                Err(WatchError::Failed(error)) => {
                    check_failure(&error);
                    // One that could not read comes again.
                    return if self.engine.shared.failed.borrow().is_some() { End::Over } else { End::Left };
                }
                Err(error @ WatchError::Unknown) => panic!("{error}"),
            }
            if self.below(5) == 0 {
                // Now and then for so long that others do much meanwhile.
                let longest = if self.below(3) == 0 { 600 } else { 60 };
                time::sleep(Duration::from_millis(1 + self.below(longest) as u64)).await;
            }
        }
    }

    /// Waits for more: until a bell rings, or for a heartbeat.
    async fn wait(&self, stream: &mut Stream) {
        let heartbeat = Duration::from_millis(200 + 100 * self.below(10) as u64);
        tokio::select! {
            biased;
            () = self.finish.cancelled() => {
                let rest = self.expected(&stream.watch.position().sequences, &self.disk.heads());
                assert_eq!(rest, [], "no bell rang for it");
            }
            () = stream.watch.changed() => {}
            () = time::sleep(heartbeat) => {
                stream.watch.pass_on();
                self.caught_up(stream);
            }
        }
    }

    fn take(&self, stream: &mut Stream, delivery: Delivery) {
        let mut watcher = self.watcher.lock().unwrap();
        match delivery {
            Delivery::Snapshot(jobs) => {
                self.disk.note((&watcher.name, &jobs));
                let picture = stream.picture.as_mut().expect("only who asked gets a snapshot");
                for job in &jobs {
                    picture.snapshot(job);
                }
            }
            Delivery::SnapshotComplete => {
                stream.picture.as_mut().expect("only who asked gets a snapshot").complete();
            }
            Delivery::Events(commands) => {
                for command in commands {
                    for event in &command.events {
                        self.disk.note((&watcher.name, &event.bytes));
                        if let Some(picture) = &mut stream.picture {
                            picture.event(&event.event);
                        }
                    }
                    if stream.picture.is_none() {
                        self.check_command(&watcher.filter, &mut stream.checked, &command);
                    }
                    if watcher.chance.one_in(3) {
                        watcher.keep(&command.position, stream.picture.as_ref());
                    }
                }
            }
        }
        watcher.keep(stream.watch.position(), stream.picture.as_ref());
    }

    /// A stream of events has, up to a place, exactly what the log has.
    fn check_command(&self, filter: &Filter, checked: &mut Vec<Sequence>, command: &Delivered) {
        let place = &command.position.sequences;
        let expected = expected(&self.disk, filter, checked, place);
        let told: Vec<_> = command.events.iter().map(|event| JobEvent::clone(&event.event)).collect();
        assert_eq!(told, expected, "between {checked:?} and {place:?}");
        for event in &command.events {
            assert_eq!(event.bytes, event.event.encode_to_vec(), "what is sent is what is filtered");
        }
        checked.clone_from(place);
    }

    /// Up to where it is there is nothing more.
    fn caught_up(&self, stream: &mut Stream) {
        let position = stream.watch.position();
        if stream.picture.is_none() {
            let rest = self.expected(&stream.checked, &position.sequences);
            assert_eq!(rest, [], "between {:?} and {position:?}", stream.checked);
            stream.checked.clone_from(&position.sequences);
        }
        self.watcher.lock().unwrap().keep(position, stream.picture.as_ref());
    }

    /// At the end everything has been told.
    fn check_all(&self, stream: &Stream) {
        let rest = self.expected(&stream.watch.position().sequences, &self.disk.heads());
        assert_eq!(rest, [], "it was not told");
        let mut book = self.book.lock().unwrap();
        book.truth.catch_up();
        let watcher = self.watcher.lock().unwrap();
        if let Some(picture) = &stream.picture {
            assert_eq!(picture.jobs, book.truth.matching(&watcher.wanted), "{} by its watch", watcher.name);
        }
    }

    fn expected(&self, after: &[Sequence], to: &[Sequence]) -> Vec<JobEvent> {
        expected(&self.disk, &self.watcher.lock().unwrap().filter, after, to)
    }
}

/// The events of the log between two places that a filter lets through.
fn expected(disk: &Disk, filter: &Filter, after: &[Sequence], to: &[Sequence]) -> Vec<JobEvent> {
    let mut events = Vec::new();
    for (partition, (after, to)) in disk.partitions().zip(after.iter().zip(to)) {
        let commands = disk.between(partition, *after, *to);
        let of = commands.iter().flat_map(|command| &command.logged.events);
        let matching = of.filter(|event| filter.matches_event(&event.event));
        events.extend(matching.map(|event| JobEvent::clone(&event.event)));
    }
    events
}

//! A server that is stopped for seconds in the middle of its work, as by a debugger or a machine that moves: clients whose
//! calls are not answered in time ask again, and nothing is done twice.

use std::time::{Duration, Instant};

use tokio::{sync::watch, time};

use super::{
    chance::Chance,
    kit::{Server, soon},
    load::{self, Clients},
};

const PAUSES: u64 = 2;
const PAUSE: Duration = Duration::from_millis(1_500);
/// How long a client waits for an answer: a part of the pause.
const TIMEOUT: Duration = Duration::from_millis(400);
/// How many changes are acknowledged between the pauses.
const CHANGES: usize = 100;

async fn until_more(acknowledged: &mut watch::Receiver<usize>) {
    let until = *acknowledged.borrow() + CHANGES;
    soon(acknowledged.wait_for(|count| *count >= until)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_not_answered_in_a_pause_asks_again() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &load::SETTINGS).await;
    let mut clients = Clients::new();
    clients.meet(server.address, &mut Chance::new(1)).await;
    for pause in 1..=PAUSES {
        let mut acknowledged = clients.insist(server.address, pause, TIMEOUT);
        until_more(&mut acknowledged).await;
        let stopped = Instant::now();
        server.signal("-STOP");
        let before = *acknowledged.borrow_and_update();
        // This is no waiting for something to happen: it is the fault.
        time::sleep(PAUSE).await;
        // What had been answered before was on its way.
        let after = *acknowledged.borrow();
        server.signal("-CONT");
        println!("stopped for {:?}: {} answers were on their way", stopped.elapsed(), after - before);
        until_more(&mut acknowledged).await;
        clients.stop_working().await;
        // The watchers of before go on, and others begin.
        clients.meet(server.address, &mut Chance::new(pause)).await;
    }
    server.tell_to_stop();
    assert!(server.exit().await.success());
    clients.leave().await;
}

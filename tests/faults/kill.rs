//! `kill -9` under load: what was acknowledged is there, revisions are dense, and a watcher that resumes misses nothing.
//!
//! `HOLDPOINT_KILL_ROUNDS=200 cargo test --test faults kill` does it for longer, `HOLDPOINT_KILL_SEED` otherwise.

use super::{
    kit::{Chance, Server, setting, soon},
    load::{self, Clients},
};

const ROUNDS: u64 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills() {
    let rounds = setting("HOLDPOINT_KILL_ROUNDS", ROUNDS);
    let first_seed = setting("HOLDPOINT_KILL_SEED", 1);
    let directory = tempfile::tempdir().unwrap();
    let mut clients = Clients::new();
    let mut events = 0;
    for round in 0..=rounds {
        let seed = first_seed * 1_000_003 + round;
        // Shown where a check fails.
        println!("round {round}, HOLDPOINT_KILL_SEED={first_seed}");
        let mut chance = Chance::new(seed);
        let mut server = Server::start(directory.path(), &load::SETTINGS).await;
        events = clients.meet(server.address, &mut chance).await.events_count();
        if round == rounds {
            break;
        }
        let until = clients.count() + 1 + chance.below(400);
        let mut acknowledged = clients.work(server.address, seed);
        soon(acknowledged.wait_for(|count| *count >= until)).await.unwrap();
        server.kill();
        clients.leave().await;
    }
    let again = clients.heard_again();
    assert!(again > 0, "who resumes with an older token hears some again");
    println!(
        "{rounds} kills, {} acknowledged, {events} events, all checked after each kill; {again} came again to the one \
         that resumed with older tokens",
        clients.count()
    );
}

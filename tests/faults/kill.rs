//! `kill -9` under load: what was acknowledged is there, revisions are dense, and a watcher that resumes misses nothing.
//!
//! `HOLDPOINT_KILL_ROUNDS=200 cargo test --test faults kill` does it for longer, `HOLDPOINT_KILL_SEED` otherwise.

use super::{
    chance::Chance,
    kit::{Server, check_doubted_starts, doubted_starts, setting, soon},
    load::{self, Clients},
};

const ROUNDS: u64 = 6;
/// So many kills one after another go into the same store: all of it is read after each.
const ROUNDS_PER_STORE: u64 = 20;
/// At most one start in so many takes the store for damaged, and one: what was seen to do so is noted within a second, and
/// comes seldom.
const DOUBTED_ONE_IN: u64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills() {
    let rounds = setting("HOLDPOINT_KILL_ROUNDS", ROUNDS);
    let mut seed = setting("HOLDPOINT_KILL_SEED", 1);
    let (mut kills, mut acknowledged, mut again, mut doubted) = (0, 0, 0, 0);
    while kills < rounds {
        let here = ROUNDS_PER_STORE.min(rounds - kills);
        // Shown where a check fails: a store is one seed's.
        println!("HOLDPOINT_KILL_SEED={seed} HOLDPOINT_KILL_ROUNDS={here} cargo test --test faults kill");
        let (clients, doubted_here) = kill_again_and_again(seed, here).await;
        acknowledged += clients.count();
        again += clients.heard_again();
        kills += here;
        doubted += doubted_here;
        seed += 1;
    }
    assert!(again > 0, "who resumes with an older token hears some again");
    println!(
        "{kills} kills, {acknowledged} acknowledged, all checked after each kill; {again} came again to the one that \
         resumed with older tokens; {doubted} starts took the store for damaged"
    );
    check_doubted_starts(doubted, kills, DOUBTED_ONE_IN);
}

async fn kill_again_and_again(first_seed: u64, rounds: u64) -> (Clients, u64) {
    let directory = tempfile::tempdir().unwrap();
    let mut clients = Clients::new();
    for round in 0..=rounds {
        let seed = first_seed * 1_000_003 + round;
        let mut chance = Chance::new(seed);
        let mut server = Server::start(directory.path(), &load::SETTINGS).await;
        let truth = clients.meet(server.address, &mut chance).await;
        println!("  kill {round}: {} acknowledged, {} events", clients.count(), truth.events_count());
        if round == rounds {
            break;
        }
        let until = clients.count() + 1 + chance.below(400);
        let mut acknowledged = clients.work(server.address, seed);
        soon(acknowledged.wait_for(|count| *count >= until)).await.unwrap();
        server.kill();
        clients.leave().await;
    }
    (clients, doubted_starts(directory.path()))
}

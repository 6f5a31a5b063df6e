//! Power cuts: the server ends at any point of what it does to its disk, and the disk keeps no more than it must.
//! Sometimes only the server ends, and the power is cut while the next one works, or one after that.
//!
//! `HOLDPOINT_POWER_CUTS=200 cargo test --test faults power` does it for longer, `HOLDPOINT_POWER_SEED` otherwise. What a
//! disk may keep is said in `disk_image.rs`.

use super::{
    chance::Chance,
    disk_image::{Disk, Image, Lies, Unsynced},
    kit::{Ended, Server, check_doubted_starts, doubted_starts, setting, soon},
    load::Clients,
    machine::Machine,
    shim::Control,
};

const CUTS: u64 = 4;
/// In so many stores a disk that lies is given a chance to be found out.
const LYING_STORES_MAX: u64 = 10;
/// So many cuts one after another go into the same store.
const CUTS_PER_STORE_MAX: usize = 12;
/// At most one start in so many takes the store for damaged, and one. Zeros may be all that is left where the file had grown
/// and nothing was synced yet, and nothing tells those from damage: 4 of 340 cuts were taken for it.
const DOUBTED_ONE_IN: u64 = 25;
/// A commit is so many calls.
const KILLED_AT_MAX: i64 = 4;
/// How many calls that change its disk a server makes, about, while it opens a store, and while clients work.
const OPENING_CALLS: usize = 60;
const WORKING_CALLS: usize = 700;

/// Opens the store, ending that at some point as often as chance has it. Returns how often the power was cut.
async fn open(machine: &Machine, disk: &mut Disk, chance: &mut Chance) -> (Server, u64) {
    let mut cuts = 0;
    loop {
        let at = if chance.one_in(2) { 1 + chance.below(OPENING_CALLS) } else { 0 };
        machine.shim.set(Control::OpeningCallsUntilCut, i64::try_from(at).unwrap());
        let ended = match machine.start().await {
            Ok(server) => return (server, cuts),
            Err(ended) => ended,
        };
        assert!(is_killed(&ended), "the store is not opened after a cut: {}\n{}", ended.status, ended.log);
        print!("  at call {at} while it opens, ");
        cuts += end(machine, disk, chance);
    }
}

/// The server has ended: in a power cut, or alone. Returns how often the power was cut.
fn end(machine: &Machine, disk: &mut Disk, chance: &mut Chance) -> u64 {
    if chance.one_in(3) {
        println!("killed");
        disk.outlives(machine.journal());
        return 0;
    }
    let unsynced = Unsynced::any(chance);
    println!("cut, unsynced: {unsynced:?}");
    machine.cut(disk, unsynced, Lies::None, chance);
    *disk = Disk::read(&machine.root);
    1
}

fn is_killed(ended: &Ended) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    ended.status.signal() == Some(9)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_power_cuts() {
    let wanted = setting("HOLDPOINT_POWER_CUTS", CUTS);
    let mut seed = setting("HOLDPOINT_POWER_SEED", 1);
    let (mut cuts, mut acknowledged, mut stores, mut doubted) = (0, 0, 0, 0);
    while cuts < wanted {
        let Some(machine) = Machine::new() else { return };
        // Shown where a check fails: a store is one seed's.
        println!("HOLDPOINT_POWER_SEED={seed} HOLDPOINT_POWER_CUTS=1 cargo test --test faults power");
        let (done, count) = cut_again_and_again(&machine, seed).await;
        cuts += done;
        acknowledged += count;
        stores += 1;
        doubted += doubted_starts(&machine.root);
        seed += 1;
    }
    println!(
        "{cuts} power cuts in {stores} stores, {acknowledged} acknowledged, all checked after each cut; {doubted} starts \
         took the store for damaged"
    );
    check_doubted_starts(doubted, cuts, DOUBTED_ONE_IN);
}

/// Cuts the power of one machine. Returns how often, and how many changes were acknowledged.
async fn cut_again_and_again(machine: &Machine, seed: u64) -> (u64, usize) {
    let mut chance = Chance::new(seed);
    let mut clients = Clients::new();
    let mut disk = Disk::read(&machine.root);
    let mut cuts = 0;
    let in_store = 1 + chance.below(CUTS_PER_STORE_MAX) as u64;
    for round in 0.. {
        let (server, while_opening) = open(machine, &mut disk, &mut chance).await;
        cuts += while_opening;
        let truth = clients.meet(server.address, &mut chance).await;
        println!("  cut {cuts}: {} acknowledged, {} events", clients.count(), truth.events_count());
        if cuts >= in_store {
            break;
        }
        let at = 1 + chance.below(WORKING_CALLS);
        clients.work(server.address, seed * 1_000 + round);
        machine.shim.set(Control::CallsUntilCut, i64::try_from(at).unwrap());
        clients.leave().await;
        drop(server);
        print!("  at call {at} of the work, ");
        cuts += end(machine, &mut disk, &mut chance);
    }
    (cuts, clients.count())
}

/// What a server finds that another wrote and did not sync counts, and so it is durable from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_server_left_survives_a_power_cut() {
    let mut chance = Chance::new(1);
    for at in 1..=KILLED_AT_MAX {
        let Some(machine) = Machine::new() else { return };
        let mut disk = Disk::read(&machine.root);
        let mut clients = Clients::new();
        for round in 0..2 {
            let server = machine.start().await.unwrap();
            clients.meet(server.address, &mut chance).await;
            let until = clients.count() + 20;
            let mut acknowledged = clients.work(server.address, round);
            soon(acknowledged.wait_for(|count| *count >= until)).await.unwrap();
            machine.shim.set(Control::CallsUntilCut, at);
            clients.leave().await;
            if round == 0 {
                disk.outlives(machine.journal());
            }
        }
        machine.cut(&disk, Unsynced::Lost, Lies::None, &mut chance);
        let server = machine.start().await.unwrap();
        clients.meet(server.address, &mut chance).await;
    }
}

/// A store that was opened once, and clients that work on it until the power is cut.
async fn work_until_a_cut(machine: &Machine) -> (Disk, Clients) {
    let server = machine.start().await.unwrap();
    server.tell_to_stop();
    assert!(server.exit().await.success());

    let disk = Disk::read(&machine.root);
    let server = machine.start().await.unwrap();
    let mut chance = Chance::new(1);
    let mut clients = Clients::new();
    clients.meet(server.address, &mut chance).await;
    let mut acknowledged = clients.work(server.address, 1);
    soon(acknowledged.wait_for(|count| *count >= 300)).await.unwrap();
    machine.shim.set(Control::CallsUntilCut, 1);
    clients.leave().await;
    (disk, clients)
}

/// The test above can find something: where the disk does not do what it says, acknowledged changes are lost, or the
/// store says that they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_lies_is_seen_to_lose_what_was_acknowledged() {
    assert!(loses_after_lies(Lies::All, 1).await.is_none_or(|lost| lost));
    // Now and then sled's flusher ends with an fsync, which may have come just before the cut.
    for seed in 1..=LYING_STORES_MAX {
        if loses_after_lies(Lies::DataSyncs, seed).await.is_none_or(|lost| lost) {
            return;
        }
    }
    panic!("nothing was lost in {LYING_STORES_MAX} stores");
}

/// Whether it is noticed that something is lost. None where there is nothing to find it with.
async fn loses_after_lies(lies: Lies, seed: u64) -> Option<bool> {
    let machine = Machine::new()?;
    let (disk, clients) = work_until_a_cut(&machine).await;
    machine.shim.reset();
    machine.cut(&disk, Unsynced::Lost, lies, &mut Chance::new(seed));
    match machine.start().await {
        Ok(server) => {
            let missing = clients.missing(server.address).await.len();
            println!("{lies:?}: {missing} parts of {} changes are missing", clients.count());
            Some(missing > 0)
        }
        Err(ended) => {
            println!("{lies:?}: the store is not opened");
            let is_told = ["acknowledged changes are lost", "is damaged: restore a backup"]
                .iter()
                .any(|told| ended.log.contains(told));
            assert!(is_told, "{}", ended.log);
            assert!(lies == Lies::DataSyncs, "nothing is left that could tell");
            Some(true)
        }
    }
}

/// What the recorder writes down is all that the server does to its disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_recorder_sees_everything() {
    let Some(machine) = Machine::new() else { return };
    let mut clients = Clients::new();
    for round in 1..=2 {
        let disk = Disk::read(&machine.root);
        let server = machine.start().await.unwrap();
        clients.meet(server.address, &mut Chance::new(round)).await;
        let until = clients.count() + 200;
        let mut acknowledged = clients.work(server.address, round);
        soon(acknowledged.wait_for(|count| *count >= until)).await.unwrap();
        server.tell_to_stop();
        assert!(server.exit().await.success());
        clients.leave().await;
        let operations = machine.journal();
        let recorded = disk.after(&operations, Unsynced::Kept, Lies::None, &mut Chance::new(round));
        assert_eq!(recorded.differs_from(&Image::read(&machine.root)), None);
        println!("{} calls recorded", operations.len());
    }
}

//! A disk that is full or fails: nothing is acknowledged that is not durable, the server says why and ends, and on a disk
//! that works all that was acknowledged is there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    chance::Chance,
    disk_image::{Disk, Image, Lies, Unsynced},
    kit::{log_of, soon},
    load::Clients,
    machine::Machine,
    shim::Control,
};

const EIO: i64 = 5;
/// What Linux says of data that was not written: it hands on what the device or the file server answered. ENOSPC, ENODATA,
/// ENOLINK, ETIMEDOUT, EREMOTEIO.
const UNWRITTEN: [i64; 6] = [EIO, 28, 61, 67, 110, 121];

/// What goes wrong, and what the server's log says of it.
struct Fault {
    name: &'static str,
    set: Vec<(Control, i64)>,
    says: String,
}

/// The fault comes under load. The power is cut after it, so that nothing counts but what is durable.
async fn the_server_ends_and_nothing_is_lost(fault: Fault, seed: u64) {
    let Some(machine) = Machine::new() else { return };
    let mut chance = Chance::new(seed);
    let mut clients = Clients::new();
    let disk = Disk::read(&machine.root);
    let server = machine.start().await.unwrap();
    clients.meet(server.address, &mut chance).await;
    let mut acknowledged = clients.work(server.address, seed);
    soon(acknowledged.wait_for(|count| *count >= 100)).await.unwrap();
    for (control, value) in fault.set {
        machine.shim.set(control, value);
    }
    let status = soon(server.exit()).await;
    clients.leave().await;
    let failed = machine.shim.get(Control::Failed);
    println!("{}: {failed} calls failed, {} changes were acknowledged", fault.name, clients.count());
    assert!(failed > 0, "{}: nothing failed", fault.name);
    assert_eq!(status.code(), Some(1), "{}: {status}", fault.name);
    let log = log_of(&machine.root);
    assert!(log.contains(&fault.says), "{}: {log}", fault.name);

    machine.shim.reset();
    machine.cut(&disk, Unsynced::any(&mut chance), Lies::None, &mut chance);
    serves(&machine, &mut clients, &mut chance).await;
}

/// The server starts, has all that was acknowledged, and takes more.
async fn serves(machine: &Machine, clients: &mut Clients, chance: &mut Chance) {
    let server = machine.start().await.unwrap_or_else(|ended| panic!("{}", ended.log));
    clients.meet(server.address, chance).await;
    let until = clients.count() + 50;
    let mut acknowledged = clients.work(server.address, 1_000 + until as u64);
    soon(acknowledged.wait_for(|count| *count >= until)).await.unwrap();
    clients.stop_working().await;
    clients.meet(server.address, chance).await;
    server.tell_to_stop();
    assert!(soon(server.exit()).await.success());
    clients.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_the_end_until_there_is_room() {
    let set = vec![(Control::BytesFree, 30_000)];
    let fault = Fault { name: "full", set, says: "No space left on device".to_owned() };
    the_server_ends_and_nothing_is_lost(fault, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_fails_is_the_end() {
    let set = vec![(Control::CallsUntilErrors, 20), (Control::ErrorsLeft, 1), (Control::WriteErrno, EIO)];
    let fault = Fault { name: "a write", set, says: text_of(EIO) };
    the_server_ends_and_nothing_is_lost(fault, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_fails_is_the_end() {
    let set = vec![(Control::CallsUntilErrors, 10), (Control::ErrorsLeft, 1), (Control::DataSyncErrno, EIO)];
    let fault = Fault { name: "a sync", set, says: text_of(EIO) };
    the_server_ends_and_nothing_is_lost(fault, 3).await;
}

/// sled syncs now and then by itself, and only logs it where that fails. The system tells of a failure once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_fails_behind_our_back_is_the_end() {
    for (errno, seed) in UNWRITTEN.into_iter().zip(40..) {
        let set = vec![(Control::ErrorsLeft, 1), (Control::SyncErrno, errno)];
        // Others than the flusher are told what all syncs after a failed one fail with.
        let fault = Fault { name: "a sync of the flusher", set, says: text_of(EIO) };
        the_server_ends_and_nothing_is_lost(fault, seed).await;
    }
}

/// A checkpoint whose sync fails: what is in sled's file looks written to the next server, which goes on from there and lets go of
/// the journal. When the power is cut after that, all of it is on the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failed_sync_left_is_made_durable() {
    for (errno, seed) in UNWRITTEN.into_iter().zip(6..) {
        a_sync_of_sled_fails(errno, seed).await;
    }
}

async fn a_sync_of_sled_fails(errno: i64, seed: u64) {
    let Some(machine) = Machine::new() else { return };
    let mut chance = Chance::new(seed);
    let mut clients = Clients::new();
    serves(&machine, &mut clients, &mut chance).await;
    let mut disk = Disk::read(&machine.root);

    let server = machine.start().await.unwrap();
    clients.meet(server.address, &mut chance).await;
    clients.work(server.address, seed);
    machine.shim.set(Control::SyncInode, inode_of(&database(&machine.root)));
    machine.shim.set(Control::ErrorsLeft, 1);
    machine.shim.set(Control::DataSyncErrno, errno);
    let status = soon(server.exit()).await;
    clients.leave().await;
    assert_eq!((machine.shim.get(Control::Failed), status.code()), (1, Some(1)), "{}", text_of(errno));
    disk.outlives(machine.journal());

    machine.shim.reset();
    serves(&machine, &mut clients, &mut chance).await;
    let log = log_of(&machine.root);
    assert!(log.contains("a sync may have failed"), "{log}");
    machine.cut(&disk, Unsynced::Lost, Lies::None, &mut chance);
    serves(&machine, &mut clients, &mut chance).await;
}

/// As the system words it.
fn text_of(errno: i64) -> String {
    let text = std::io::Error::from_raw_os_error(errno.try_into().unwrap()).to_string();
    text.split(" (os error").next().unwrap().to_owned()
}

/// sled's file, which has another place where it was written anew.
fn database(root: &Path) -> PathBuf {
    let paths = fs::read_dir(root.join("data")).unwrap().map(|entry| entry.unwrap().path().join("db"));
    paths.into_iter().find(|path| path.exists()).unwrap()
}

fn inode_of(path: &Path) -> i64 {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).unwrap().ino().try_into().unwrap()
}

/// A disk that has a place which cannot be read: the store is not opened, and nothing is changed by that. A disk can be
/// copied to another then, and often the place comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_cannot_be_read_is_left_as_it_is() {
    let Some(machine) = Machine::new() else { return };
    let mut chance = Chance::new(5);
    let mut clients = Clients::new();
    serves(&machine, &mut clients, &mut chance).await;
    let before = Image::read(&machine.root);
    machine.shim.set(Control::ReadErrno, EIO);
    for place in [0, 5_000, 100_000] {
        machine.shim.set(Control::ReadPlace, place);
        let ended = machine.start().await.expect_err("a place cannot be read");
        assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
        assert!(ended.log.contains("Input/output error"), "{}", ended.log);
        assert_eq!(before.differs_from(&Image::read(&machine.root)), None, "at {place}");
    }
    machine.shim.reset();
    serves(&machine, &mut clients, &mut chance).await;
}

//! A data directory that is copied, file by file, while the server works on it. That is no backup, and nobody is to think it
//! one: the copy is either refused, with a word about what to do, or is what the server had at some time.

use std::{fs, path::Path};

use super::{
    chance::Chance,
    kit::{Server, soon},
    load::{self, Clients},
};

const COPIES: u64 = 4;
/// How many changes are acknowledged before each copy.
const CHANGES: usize = 150;

/// As `cp -r` does it: one file after another, each from its beginning to its end.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if let Err(error) = fs::copy(&path, &target) {
            // It was renamed or removed since the directory was read: `cp` says so, and goes on.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_directory_at_work_is_a_past_of_it_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &load::SETTINGS).await;
    let mut clients = Clients::new();
    let mut chance = Chance::new(1);
    clients.meet(server.address, &mut chance).await;
    let mut acknowledged = clients.work(server.address, 1);
    let mut copies = Vec::new();
    for _ in 0..COPIES {
        let until = *acknowledged.borrow() + CHANGES;
        soon(acknowledged.wait_for(|count| *count >= until)).await.unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let before = clients.acknowledged();
        copy(&directory.path().join("data"), &elsewhere.path().join("data"));
        copies.push((elsewhere, before));
    }
    clients.stop_working().await;
    let truth = clients.meet(server.address, &mut chance).await;

    let mut refused = 0;
    for (elsewhere, before) in copies {
        match Server::launch(elsewhere.path(), &load::SETTINGS, Vec::new()).await {
            Ok(server) => load::check_past(server.address, &truth, &before).await,
            Err(ended) => {
                refused += 1;
                assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
                assert!(ended.log.contains("restore"), "it does not say what to do: {}", ended.log);
            }
        }
    }
    println!("{refused} of {COPIES} copies were refused");
    server.tell_to_stop();
    assert!(soon(server.exit()).await.success());
}

//! What goes wrong in the field: kills, power cuts, disks that are full or fail, clocks that jump, clients that do not read or do
//! not begin, shutdowns, tokens that are too old. A real server on a real socket, and the generated clients.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may say so with a panic")]

#[path = "../shared/certificates.rs"]
#[allow(dead_code, reason = "the tests here do not need all of it")]
mod certificates;
#[path = "../shared/chance.rs"]
#[allow(dead_code, reason = "the tests here do not need all of it")]
mod chance;
mod changes;
#[path = "../shared/channels.rs"]
mod channels;
mod clock;
mod connections;
mod copied;
mod corruption;
#[path = "../shared/damage.rs"]
mod damage;
mod disk;
mod disk_image;
mod drain;
mod expiry;
mod followers;
mod histories;
mod journal;
mod kill;
mod kit;
mod large;
mod load;
mod machine;
mod one_job;
mod overload;
mod pause;
mod power;
mod shim;
mod slow;

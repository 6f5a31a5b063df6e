//! Where the binary's memory comes from.
//!
//! A command is taken from the network on one thread, decided on another and made durable on a third, and what is kept of it is
//! dropped on a fourth. glibc's allocator takes a third of the server's time with that; jemalloc a small part of it, and it gives
//! back what is not used (`docs/performance.md`).

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// What is freed goes back to the system after a second. By itself jemalloc keeps it for ten, which under overload is more than
/// what the configuration allows.
#[expect(
    unsafe_code,
    reason = "jemalloc looks for its options under this name, as C text; nothing else has it"
)]
#[unsafe(export_name = "_rjem_malloc_conf")]
static OPTIONS: Option<&'static [u8; 37]> = Some(b"dirty_decay_ms:1000,muzzy_decay_ms:0\0");

# What is typed often. `just --list` shows it.

# All that CI does.
check:
    .ci/run

# Serves on 127.0.0.1:7070; flags as for `holdpoint serve`.
serve *flags:
    cargo run --release -- serve {{ flags }}

# The tests; a part of a name runs those.
test *names:
    cargo test --locked {{ names }}

# Everything that reads the code and does not run it.
lint:
    .ci/run format licenses protos lint docs

# The example clients against a release.
clients:
    .ci/run clients

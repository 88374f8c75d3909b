# The recipes; `just` alone lists them.
default:
    @just --list --unsorted

# Serve on 127.0.0.1:8080
dev *arguments:
    cargo run -- serve {{arguments}}

# All tests, on SQLite; with TEST_DATABASE_URL set, on that PostgreSQL server
test *arguments:
    cargo test --workspace {{arguments}}

# All tests on a PostgreSQL server: just test-postgres postgres://postgres@127.0.0.1/postgres
test-postgres url *arguments:
    TEST_DATABASE_URL={{url}} cargo test --test it {{arguments}}

# Kill servers at random, 200 times and more, and look for what is lost: on SQLite, and on PostgreSQL where
# TEST_DATABASE_URL names a server
chaos seed="":
    TEST_DATABASE_URL= TITLECAST_CHAOS_SEED={{seed}} cargo test --test it -- --ignored --nocapture --test-threads 1 chaos::a_long_run
    [ -z "${TEST_DATABASE_URL:-}" ] || TITLECAST_CHAOS_SEED={{seed}} cargo test --test it -- --ignored --nocapture --test-threads 1 chaos::a_long_run

# Read 1,000 replies through cuts, on two processes by turns, and others while their broker is killed 20 times; needs
# nats-server, and TEST_DATABASE_URL for PostgreSQL
cuts:
    cargo test --test it -- --ignored --nocapture --test-threads 1 cuts::

# Attack a release build, and measure what that costs and what others notice
attack:
    cargo build --release --bin titlecast
    TEST_DATABASE_URL= TITLECAST_BINARY={{justfile_directory()}}/target/release/titlecast cargo test --test it -- --ignored --nocapture --test-threads 1 attack

# Two nodes on a PostgreSQL and a NATS of their own, behind nginx where it is installed; Ctrl-C stops everything
cluster *arguments:
    cargo build
    tools/cluster/run {{arguments}}

# Take the pictures of docs/images anew, in Chromium; GraphiQL has to be built in
pictures:
    cargo build
    cd tests/browser && npm ci --silent && node pictures.mjs ../../docs/images

# GraphQL that is made up, against a server; on PostgreSQL where TEST_DATABASE_URL names one
fuzz:
    cargo build
    tests/fuzz/run

# Measure a release build, all of it or one scenario: just bench fanout --only titlecast (docs/performance.md)
bench *arguments:
    cargo build --release
    cargo run --release --quiet --manifest-path bench/Cargo.toml -- {{arguments}}

# Licences, bans and sources of what is built in; needs cargo-deny
deny:
    cargo fetch --locked
    cargo deny --offline check --hide-inclusion-graph licenses bans sources

# Restart two nodes under load, end a server with a hundred open streams, send the same a thousand times at once:
# on SQLite, and on PostgreSQL where TEST_DATABASE_URL names a server, which restarting nodes needs
shows:
    TEST_DATABASE_URL= cargo test --test it -- --ignored --nocapture --test-threads 1 faults::
    [ -z "${TEST_DATABASE_URL:-}" ] || cargo test --test it -- --ignored --nocapture --test-threads 1 faults::

# Format, lints and documentation, as CI checks them
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Write schema.graphql anew
schema:
    cargo run --quiet -- schema > schema.graphql

# Apply pending migrations to the database that DATABASE_URL names
migrate:
    cargo run --quiet -- migrate up

# Begin a migration: just new-migration add_tags
new-migration name:
    tools/new-migration {{quote(name)}}

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

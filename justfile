# The recipes; `just` alone lists them.
[private]
default:
    @just --list --unsorted

# Serve on 127.0.0.1:8080
[group("run")]
dev *arguments:
    cargo run -- serve {{arguments}}

# Two nodes on a PostgreSQL and a NATS of their own, behind nginx where it is installed; Ctrl-C stops everything
[group("run")]
cluster *arguments:
    cargo build
    tools/cluster/run {{arguments}}

# Apply pending migrations to the database that DATABASE_URL names
[group("run")]
migrate:
    cargo run --quiet -- migrate up

# All tests but endurance, on SQLite; with TEST_DATABASE_URL set, on that PostgreSQL server
[group("check")]
test *arguments:
    cargo test --workspace {{arguments}}

# All tests, endurance too, on a PostgreSQL server: just test-postgres postgres://postgres@127.0.0.1/postgres
[group("check")]
test-postgres url *arguments:
    TEST_DATABASE_URL={{url}} cargo test --test it --test endurance {{arguments}}

# Faults, and short runs of chaos, cuts and freezes; with TEST_DATABASE_URL set, on that PostgreSQL server
[group("check")]
endurance *arguments:
    cargo test --test endurance {{arguments}}

# Format, lints and documentation, as CI checks them
[group("check")]
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Licences, bans and sources of what is built in; needs cargo-deny
[group("check")]
deny:
    cargo fetch --locked
    cargo deny --offline check --hide-inclusion-graph licenses bans sources

# Write the digest of each base image beside its tag; needs docker and the network
[group("check")]
pin-images:
    tools/pin-images

# GraphQL that is made up, against a server; on PostgreSQL where TEST_DATABASE_URL names one
[group("check")]
fuzz:
    cargo build
    tests/fuzz/run

# Needs TEST_DATABASE_URL for PostgreSQL, besides SQLite.
[doc("Kill servers at random, 200 times and more, and look for what is lost")]
[group("check at length")]
chaos seed="":
    TEST_DATABASE_URL= TITLECAST_CHAOS_SEED={{seed}} cargo test --test endurance -- --ignored --nocapture --test-threads 1 chaos::a_long_run
    [ -z "${TEST_DATABASE_URL:-}" ] || TITLECAST_CHAOS_SEED={{seed}} cargo test --test endurance -- --ignored --nocapture --test-threads 1 chaos::a_long_run

# Kill `migrate up` at random points on 20,000 messages, on SQLite and on a PostgreSQL of its own
[group("check at length")]
migration-kills kills="200":
    TITLECAST_KILLS={{kills}} cargo test --test endurance -- --ignored --nocapture --test-threads 1 migration_kills::

# Needs nats-server, and TEST_DATABASE_URL for PostgreSQL.
[doc("Read 1,000 replies through cuts, on two processes by turns, and others while their NATS is killed 20 times")]
[group("check at length")]
cuts:
    cargo test --test endurance -- --ignored --nocapture --test-threads 1 cuts::

# Needs nats-server, and TEST_DATABASE_URL for PostgreSQL.
[doc("Keep 50 lists by the feed through 100,000 changes, cuts, kills of nodes and outages of NATS")]
[group("check at length")]
feed:
    TEST_DATABASE_URL= cargo test --test endurance -- --ignored --nocapture --test-threads 1 feed::
    [ -z "${TEST_DATABASE_URL:-}" ] || cargo test --test endurance -- --ignored --nocapture --test-threads 1 feed::

# On SQLite, and on PostgreSQL where TEST_DATABASE_URL names a server.
[doc("Export, erase and import 100,000 conversations, and prune a million messages, beside a server where people talk")]
[group("check at length")]
duties:
    TEST_DATABASE_URL= cargo test --test endurance -- --ignored --nocapture --test-threads 1 duties::
    [ -z "${TEST_DATABASE_URL:-}" ] || cargo test --test endurance -- --ignored --nocapture --test-threads 1 duties::

# Needs TEST_DATABASE_URL; the nodes are connected where TEST_NATS_URL names a NATS.
[doc("Freeze the connections of two nodes to PostgreSQL, 20 times under load, and look for what others notice and what is lost")]
[group("check at length")]
freezes:
    cargo test --test endurance -- --ignored --nocapture --test-threads 1 freezes::

# On SQLite, and on PostgreSQL where TEST_DATABASE_URL names a server, which restarting nodes needs.
[doc("Restart two nodes under load, end a server with a hundred open streams, send the same a thousand times at once")]
[group("check at length")]
shows:
    TEST_DATABASE_URL= cargo test --test endurance -- --ignored --nocapture --test-threads 1 faults::
    [ -z "${TEST_DATABASE_URL:-}" ] || cargo test --test endurance -- --ignored --nocapture --test-threads 1 faults::

# Needs PostgreSQL, nats-server and python3; starts its own.
[doc("Write 1,000 replies from outside through cut uploads, and kill their agent and two nodes: just foreign-agent --seed 7")]
[group("check at length")]
foreign-agent *arguments:
    cargo build
    clients/run --install
    clients/.cache/venv/bin/python -B tests/foreign/run {{arguments}}

# On SQLite; with --two-nodes on a PostgreSQL and a NATS of their own: just wires --two-nodes --turns 1000
[doc("Read 10,000 random turns on every wire at once, and compare with what is stored; compare one turn with its transcripts")]
[group("check at length")]
wires *arguments="--turns 10000":
    cargo build
    tests/clients/run --install
    tests/clients/.cache/venv/bin/python -B tests/wires/transcripts
    tests/clients/.cache/venv/bin/python -B tests/wires/run {{arguments}}

# Needs PostgreSQL, nats-server and python3; starts its own.
[doc("An hour of people's turns on two nodes with a deploy, a kill or a database failover every ten minutes: just soak --minutes 5 --every 75")]
[group("check at length")]
soak *arguments:
    cargo build --release --bin titlecast
    TITLECAST_BIN={{justfile_directory()}}/target/release/titlecast tests/clients/run --install
    tests/clients/.cache/venv/bin/python -B tests/soak/run --titlecast target/release/titlecast {{arguments}}

# Write the transcripts of one turn on every wire anew, and look at the difference
[group("write")]
transcripts:
    cargo build
    tests/clients/run --install
    tests/clients/.cache/venv/bin/python -B tests/wires/transcripts --write

# Measure the longest poll of an async worker under each hostile input: at most 10 ms of processor time
[group("check at length")]
polls:
    RUSTFLAGS="--cfg tokio_unstable" cargo test --profile ci --target-dir target/polls --test it -- --nocapture polls::

# Attack a release build, and measure what that costs and what others notice
[group("check at length")]
attack:
    cargo build --release --bin titlecast
    TEST_DATABASE_URL= TITLECAST_BINARY={{justfile_directory()}}/target/release/titlecast cargo test --test endurance -- --ignored --nocapture --test-threads 1 attack

# Fetches the model and its server by the names of their packages; compiling the server takes about 20 minutes, once.
[doc("Titles of ten messages by a real, very small model on llama-cpp-python's server")]
[group("check at length")]
real-model *arguments:
    cargo build
    tools/real-model/run {{arguments}}

# Measure a release build, all of it or one scenario: just bench goals (docs/performance.md)
[group("check at length")]
bench *arguments:
    cargo build --release
    cargo build --release --package titlecast-bench --bins
    cargo run --release --quiet --package titlecast-bench -- {{arguments}}

# Write schema.graphql anew
[group("write")]
schema:
    cargo run --quiet -- schema > schema.graphql

# Write openapi.json anew
[group("write")]
openapi:
    cargo run --quiet -- openapi > openapi.json

# Begin a migration: just new-migration add_tags
[group("write")]
new-migration name:
    @tools/new-migration {{quote(name)}}

# Take the pictures of docs/images anew, in Chromium; GraphiQL has to be built in
[group("write")]
pictures:
    cargo build
    cd tests/browser && npm ci --silent && node pictures.mjs ../../docs/images

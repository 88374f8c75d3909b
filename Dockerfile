# Titlecast in a container: docker build --tag titlecast .

FROM node:20-bookworm-slim AS graphiql
WORKDIR /src/tools/graphiql
COPY tools/graphiql/package.json tools/graphiql/package-lock.json tools/graphiql/.npmrc ./
RUN npm ci
COPY tools/graphiql/ ./
RUN npm run build

# rust:slim has the C compiler that SQLite and ring need.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY crates/ crates/
COPY migration/ migration/
COPY src/ src/
# Members of the workspace, which cargo wants to see; they are not built.
COPY bench/Cargo.toml bench/
COPY bench/src/ bench/src/
COPY tests/support/ tests/support/
COPY tools/graphiql/examples.js tools/graphiql/
# build.rs embeds it.
COPY --from=graphiql /src/tools/graphiql/dist/ tools/graphiql/dist/
# The caches keep dependencies, fetched and compiled, from one build to the next.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && \
    cp target/release/titlecast /usr/local/bin/

FROM debian:bookworm-slim
# Certificate authorities, for the model's provider and for published keys.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install --yes --no-install-recommends ca-certificates && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --uid 10001 --home-dir /data --create-home titlecast
COPY --from=build /usr/local/bin/titlecast /usr/local/bin/
USER 10001
# The SQLite file is here, where no DATABASE_URL says otherwise.
WORKDIR /data
VOLUME /data
# Reachable from other hosts, so it does not start without authentication, or TITLECAST_ALLOW_UNAUTHENTICATED=true.
ENV TITLECAST_LISTEN=0.0.0.0:8080
EXPOSE 8080
# Replies get 20 seconds (--drain); docker stop has to leave it 30: docker run --stop-timeout 35.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["titlecast", "health"]
ENTRYPOINT ["titlecast"]
CMD ["serve"]

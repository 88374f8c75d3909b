//! What notifying subscribers allocates: something for an event, nothing for an additional subscriber.
//!
//! Everything that the process allocates is counted, so this is the only test of its binary.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    alloc::System,
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use titlecast_testing::{Server, TestDatabase, calls::settled_conversation};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SUBSCRIPTION: &str =
    "subscription ($id: ID!) { conversationUpdated(id: $id) { id title revision } }";
const RENAME: &str = "mutation ($id: ID!, $title: String!) {
    renameConversation(input: { id: $id, displayName: $title }) { conversation { id } }
}";

/// Numbers of subscribers that are notified.
const SIZES: [usize; 3] = [0, 10, 200];

/// Events for each number of subscribers. The fewest allocations count: other tasks of the runtime only add to them.
const EVENTS: usize = 15;

#[test]
fn one_more_subscriber_costs_no_allocation() {
    counted_over_sse();
    counted_over_websocket();
}

fn counted_over_sse() {
    let body = |id: &str| json!({ "query": SUBSCRIPTION, "variables": { "id": id } });
    count(|address, id| {
        let mut socket = TcpStream::connect(address).unwrap();
        socket
            .write_all(&post(&body(id), "text/event-stream"))
            .unwrap();
        read_until(&mut socket, b"\n\n\r\n");
        socket
    });
}

fn counted_over_websocket() {
    count(|address, id| {
        let mut socket = TcpStream::connect(address).unwrap();
        let opening = "GET /graphql HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n\
            connection: upgrade\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            sec-websocket-version: 13\r\nsec-websocket-protocol: graphql-transport-ws\r\n\r\n";
        socket.write_all(opening.as_bytes()).unwrap();
        read_until(&mut socket, b"\r\n\r\n");
        socket
            .write_all(&frame(&json!({ "type": "connection_init" })))
            .unwrap();
        read_until(&mut socket, b"}");
        let payload = json!({ "query": SUBSCRIPTION, "variables": { "id": id } });
        let subscribe = json!({ "type": "subscribe", "id": "1", "payload": payload });
        socket.write_all(&frame(&subscribe)).unwrap();
        read_until(&mut socket, b"}}}}");
        socket
    });
}

/// Compares what an event allocates for few and for many subscribers.
fn count(subscribe: impl Fn(&str, &str) -> TcpStream) {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(async {
        let mut settings = vec!["--openai-base-url", "", "--openai-api-key", ""];
        settings.extend(["--connections-per-address", "0"]);
        Server::on(TestDatabase::new().await, &settings).await
    });
    // Its reply is over, which changes it as well.
    let input = json!({ "text": "Hello", "autoTitle": false });
    let id = runtime.block_on(settled_conversation(&server.url, input));
    let address = server.url.strip_prefix("http://").unwrap();
    let mut publisher = TcpStream::connect(address).unwrap();
    let mut sockets = Vec::new();
    let mut counts = Vec::new();
    for size in SIZES {
        sockets.resize_with(size, || subscribe(address, &id));
        let fewest = (0..EVENTS)
            .map(|number| {
                let title = format!("Title {size} {number:02}");
                let variables = json!({ "id": id, "title": title });
                let rename = post(
                    &json!({ "query": RENAME, "variables": variables }),
                    "application/json",
                );
                let region = Region::new(ALLOCATOR);
                publisher.write_all(&rename).unwrap();
                read_until(&mut publisher, b"}}}}");
                for socket in &mut sockets {
                    read_until(socket, title.as_bytes());
                    read_until(socket, b"}}}");
                }
                region.change().allocations
            })
            .min();
        counts.push(fewest.unwrap());
    }
    println!("allocations of a change delivered to {SIZES:?} subscribers: {counts:?}");
    let [baseline, few, many] = counts[..] else {
        panic!("{counts:?}");
    };
    assert!(
        baseline < few,
        "the execution for subscribers was not counted"
    );
    // A few are the runtime's, or another task's.
    let noise = (SIZES[2] - SIZES[1]) / 10;
    assert!(many <= few + noise, "{few} for 10, {many} for 200");
    drop(sockets);
    runtime.block_on(server.stop());
}

fn post(body: &Value, accept: &str) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into()
}

/// A text frame as a client sends it, masked with zeros (RFC 6455, section 5.2).
fn frame(message: &Value) -> Vec<u8> {
    let text = message.to_string();
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&[0x81, 0x80 | 126], &length[..], &[0; 4], text.as_bytes()].concat()
}

/// Reads up to and with `end`, and allocates nothing.
fn read_until(socket: &mut TcpStream, end: &[u8]) {
    let (mut read, mut length) = ([0; 2048], 0);
    while !read[..length].ends_with(end) {
        let count = socket.read(&mut read[length..length + 1]).unwrap();
        assert_eq!(count, 1, "{}", String::from_utf8_lossy(&read[..length]));
        length += 1;
    }
}

//! Many subscribers to one idle conversation, then one event.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{
    Result, ServerArguments, http,
    machine::check_open_files,
    running::{self, Running},
    subscriber::{Subscriber, Transport},
    usage::memory,
};

/// The number of concurrent connection attempts.
const CONNECTING: usize = 64;

/// How long the event may take to reach all subscribers.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub struct Arguments {
    /// Transport of the subscribers
    #[arg(long, value_enum, default_value = "websocket")]
    transport: Transport,

    /// Number of subscribers
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    subscribers: usize,

    /// How long to measure idle subscribers, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u64,

    /// Number of subscribers per local address (127.0.1.1, 127.0.1.2, …); servers limit connections per address
    #[arg(long, value_name = "N", default_value_t = 40,
        value_parser = clap::value_parser!(u64).range(1..=20_000))]
    per_address: u64,

    #[command(flatten)]
    server: ServerArguments,
}

/// Runs the measurement and prints the results.
pub async fn run(arguments: Arguments) -> Result<()> {
    let Arguments {
        transport,
        subscribers: count,
        seconds,
        per_address,
        server,
    } = arguments;
    check_open_files(count)?;
    let server = Running::start("titlecast", None, |port, folder| {
        let database = running::sqlite(&folder.join("bench.db"));
        let mut command = running::titlecast(&server.titlecast, port, &database, running::OFFLINE);
        command.args(&server.settings);
        Ok(command)
    })?;
    let conversation = begin(server.address).await?;
    // The first subscriber's one-time cost does not count.
    let first = connect(&server, transport, 1, per_address, &conversation).await?;
    let memory_before = memory(server.pid)?;

    let (cpu, begun) = (server.cpu()?, Instant::now());
    let subscribers = connect(&server, transport, count, per_address, &conversation).await?;
    let (connecting, connected) = (server.cpu()? - cpu, begun.elapsed());
    drop(first);
    sleep(Duration::from_secs(2)).await;
    let memory_with = memory(server.pid)?;

    let marker = "This has to reach everybody";
    let mut received = listen(subscribers, marker);
    let (cpu, begun) = (server.cpu()?, Instant::now());
    let lost = timeout(Duration::from_secs(seconds), received.recv()).await;
    let (cpu, idle) = (server.cpu()? - cpu, begun.elapsed());
    let memory_after = memory(server.pid)?;
    if let Ok(lost) = lost {
        return Err(format!("a subscriber was lost while nothing happened: {lost:?}").into());
    }

    let begun = Instant::now();
    let path = format!("/api/v1/conversations/{conversation}/title");
    http::json(
        server.address,
        "PATCH",
        &path,
        &json!({ "display_name": marker }),
    )
    .await?;
    let mut delays = Vec::with_capacity(count);
    while delays.len() < count {
        let received = timeout(PATIENCE, received.recv()).await;
        let Ok(Some(received)) = received else {
            return Err(format!("only {} of {count} received it", delays.len()).into());
        };
        delays.push(received?.duration_since(begun));
    }
    delays.sort_unstable();

    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let each = memory_with.saturating_sub(memory_before) as f64 / 1024.0 / count as f64;
    let share = 100.0 * cpu.as_secs_f64() / idle.as_secs_f64();
    let delay = |part: f64| delays[((count - 1) as f64 * part) as usize];
    println!(
        "subscribers  {count} over {transport:?}, connected in {connected:.1?}, {:.0?} of processor each",
        connecting / count as u32
    );
    println!(
        "memory       {:.1} MiB before, {:.1} MiB with them: {each:.1} KiB each; {:.1} MiB after {idle:.0?}",
        mebibytes(memory_before),
        mebibytes(memory_with),
        mebibytes(memory_after)
    );
    println!("idle         {share:.2} % of one core over {idle:.0?}");
    println!(
        "one event    first {:.1?}, half {:.1?}, 99 % {:.1?}, all {:.1?} after the request",
        delay(0.0),
        delay(0.5),
        delay(0.99),
        delay(1.0)
    );
    Ok(())
}

/// Starts a conversation that gets a title.
async fn begin(address: SocketAddr) -> Result<String> {
    let body = json!({ "message": "Plan a trip to Kyoto in April" });
    let answer = http::json(address, "POST", "/api/v1/chat", &body).await?;
    let id = answer["conversation_id"].as_str();
    Ok(id
        .ok_or_else(|| format!("no conversation: {answer}"))?
        .to_owned())
}

async fn connect(
    server: &Running,
    transport: Transport,
    count: usize,
    per_address: u64,
    conversation: &str,
) -> Result<Vec<Subscriber>> {
    let first = u32::from(Ipv4Addr::new(127, 0, 1, 1));
    let connecting = stream::iter(0..count).map(|number| {
        let from = Ipv4Addr::from(first + (number as u64 / per_address) as u32);
        Subscriber::connect(transport, from, server.address, conversation)
    });
    let mut subscribers = Vec::with_capacity(count);
    let mut connecting = connecting.buffer_unordered(CONNECTING);
    while let Some(subscriber) = connecting.next().await {
        subscribers.push(
            subscriber.map_err(|error| format!("subscriber {}: {error}", subscribers.len() + 1))?,
        );
    }
    Ok(subscribers)
}

/// Reports when each subscriber receives the event; an error if one is disconnected first.
fn listen(
    subscribers: Vec<Subscriber>,
    text: &'static str,
) -> mpsc::UnboundedReceiver<Result<Instant>> {
    let (sender, received) = mpsc::unbounded_channel();
    let sender = Arc::new(sender);
    for mut subscriber in subscribers {
        let sender = sender.clone();
        #[expect(clippy::disallowed_methods, reason = "it ends with the program")]
        tokio::spawn(async move {
            let received = subscriber.receive(text).await.map(|()| Instant::now());
            // Fails if the measurement has failed and the receiver is gone.
            let _ = sender.send(received);
        });
    }
    received
}

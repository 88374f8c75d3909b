//! A NATS server, and its traffic.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener as Blocking},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{sleep, timeout},
};

use crate::{Result, http, running::Running};

/// How long a node may take to connect.
const PATIENCE: Duration = Duration::from_secs(10);

/// A dedicated NATS server.
pub struct Nats {
    running: Running,
    monitoring: SocketAddr,
}

impl Nats {
    pub fn start(program: &Path) -> Result<Self> {
        let free = Blocking::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let running = Running::start("nats-server", None, |port, _| {
            let mut command = Command::new(program);
            command
                .args(["-a", "127.0.0.1", "-p", &port.to_string()])
                .args(["-m", &free.port().to_string()]);
            Ok(command)
        })?;
        Ok(Self {
            running,
            monitoring: free,
        })
    }

    /// The number of messages received and sent so far.
    pub async fn messages(&self) -> Result<[f64; 2]> {
        let page = http::json(self.monitoring, "GET", "/varz", &Value::Null).await?;
        let number = |name: &str| page[name].as_f64().ok_or_else(|| format!("no {name}"));
        Ok([number("in_msgs")?, number("out_msgs")?])
    }
}

/// A node's connection to NATS, which counts all bytes in both directions.
pub struct Link {
    pub url: String,
    bytes: Arc<AtomicU64>,
}

impl Link {
    pub async fn open(to: &Nats) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, to) = (listener.local_addr()?, to.running.address);
        let bytes = Arc::<AtomicU64>::default();
        let counted = bytes.clone();
        #[expect(clippy::disallowed_methods, reason = "it ends with the runtime")]
        tokio::spawn(async move {
            // A node that loses the connection logs it, and its reconnect distorts the counts.
            while let Ok((node, _)) = listener.accept().await {
                let Ok(nats) = TcpStream::connect(to).await else {
                    continue;
                };
                for socket in [&node, &nats] {
                    let _ = socket.set_nodelay(true);
                }
                let (from_node, to_node) = node.into_split();
                let (from_nats, to_nats) = nats.into_split();
                #[expect(clippy::disallowed_methods, reason = "they end with their sockets")]
                for (from, to) in [(from_node, to_nats), (from_nats, to_node)] {
                    tokio::spawn(hand_on(from, to, counted.clone()));
                }
            }
        });
        Ok(Self {
            url: format!("nats://{address}"),
            bytes,
        })
    }

    pub fn bytes(&self) -> f64 {
        self.bytes.load(Ordering::Relaxed) as f64
    }
}

async fn hand_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, counted: Arc<AtomicU64>) {
    let mut part = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut part).await {
        if to.write_all(&part[..length]).await.is_err() {
            return;
        }
        counted.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Waits until a node is connected.
pub async fn connected(node: SocketAddr) -> Result<()> {
    let asking = async {
        while http::json(node, "GET", "/readyz", &Value::Null).await?["nats"] != "ok" {
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    timeout(PATIENCE, asking).await?
}

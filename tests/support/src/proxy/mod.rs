//! A TCP proxy between two peers, which injects network faults into their connections: cuts, delays, drips, stalls,
//! freezes, and outages.

mod lost_commit;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

pub use self::lost_commit::Lost;
use self::lost_commit::{LostCommit, Watched};

/// How long a drip waits between two portions.
const TICK: Duration = Duration::from_millis(10);

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// As by a process that ends: FIN.
    Fin,
    /// As by a machine that knows of no connection: RST.
    Rst,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the connecting side.
    There,
    /// From what it has connected to.
    Back,
}

/// What is done to bytes on their way.
#[derive(Clone, Debug, Default)]
struct Weather {
    delay: Duration,
    /// So many bytes a tick.
    drip: Option<usize>,
    /// Nothing gets through: there, back.
    is_stalled: [bool; 2],
}

/// Forwards connections to one address, until it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    target: SocketAddr,
    weather: watch::Sender<Weather>,
    /// Counted up to cut what there is.
    cut: watch::Sender<(usize, Option<Cut>)>,
    /// Counted up to freeze what there is.
    frozen: watch::Sender<usize>,
    lost_commit: Mutex<Option<LostCommit>>,
    open: AtomicUsize,
}

impl Proxy {
    /// To this address.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::new(Shared {
                target,
                weather: watch::Sender::default(),
                cut: watch::Sender::default(),
                frozen: watch::Sender::default(),
                lost_commit: Mutex::default(),
                open: AtomicUsize::new(0),
            }),
            accepting: Mutex::default(),
        };
        proxy.accept(listener);
        proxy
    }

    /// To where this URL leads.
    pub async fn to_url(url: &str) -> Self {
        let url = reqwest::Url::parse(url).unwrap();
        let port = url.port_or_known_default().or(match url.scheme() {
            "postgres" | "postgresql" => Some(5432),
            "nats" => Some(4222),
            _ => None,
        });
        let host = (url.host_str().unwrap(), port.unwrap());
        let target = tokio::net::lookup_host(host).await.unwrap().next();
        Self::to(target.unwrap()).await
    }

    /// The same URL by way of this proxy.
    pub fn instead_of(&self, url: &str) -> String {
        let mut url = reqwest::Url::parse(url).unwrap();
        url.set_ip_host(self.address.ip()).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        let text = url.to_string();
        // A URL without a path gets one where its scheme is a known one.
        text.trim_end_matches('/').to_owned()
    }

    /// How many connections there are that pass something.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Cuts all connections; new ones are taken.
    pub fn cut(&self, how: Cut) {
        self.shared.cut.send_modify(|(number, last)| {
            *number += 1;
            *last = Some(how);
        });
    }

    /// Freezes all connections for good, as when a host or a NAT's table vanishes: nothing passes either way, neither FIN
    /// nor RST is sent. New connections pass. The sockets stay open until a cut, the end of the proxy, or the next freeze:
    /// PostgreSQL keeps the sessions behind them as long, and has a hundred. Returns how many were frozen.
    pub fn freeze(&self) -> usize {
        self.shared.frozen.send_modify(|number| *number += 1);
        self.shared.open.swap(0, Ordering::SeqCst)
    }

    /// Refuses connections, and cuts those that there are.
    pub async fn refuse(&self) {
        self.refuse_new().await;
        self.cut(Cut::Rst);
    }

    /// Refuses connections, and freezes those that there are: what is behind the proxy vanishes.
    pub async fn vanish(&self) {
        self.refuse_new().await;
        self.freeze();
    }

    async fn refuse_new(&self) {
        let accepting = self.accepting.lock().unwrap().take();
        if let Some(accepting) = accepting {
            accepting.abort();
            // The port is free when the task is gone.
            let _ = accepting.await;
        }
    }

    /// Takes connections again, on the same port.
    pub async fn come_back(&self) {
        self.accept(TcpListener::bind(self.address).await.unwrap());
    }

    /// Lets nothing through that way, or both, until [`Self::flow`]. Neither side is notified.
    pub fn stall(&self, ways: &[Way]) {
        self.shared.weather.send_modify(|weather| {
            weather.is_stalled = [Way::There, Way::Back].map(|way| ways.contains(&way));
        });
    }

    /// Lets everything through, at once.
    pub fn flow(&self) {
        self.shared.weather.send_replace(Weather::default());
    }

    /// Lets everything through so much later.
    pub fn delay(&self, delay: Duration) {
        self.shared
            .weather
            .send_modify(|weather| weather.delay = delay);
    }

    /// Lets so many bytes through every 10 ms.
    pub fn drip(&self, bytes: usize) {
        self.shared
            .weather
            .send_modify(|weather| weather.drip = Some(bytes));
    }

    /// Cuts the connection of a transaction of PostgreSQL at its `COMMIT`; once.
    pub fn lose_commit(&self, of: &str, at: Lost) {
        let lost = LostCommit { of: of.into(), at };
        *self.shared.lost_commit.lock().unwrap() = Some(lost);
    }

    /// Whether that has happened.
    pub fn has_lost_commit(&self) -> bool {
        self.shared.lost_commit.lock().unwrap().is_none()
    }

    fn accept(&self, listener: TcpListener) {
        let shared = self.shared.clone();
        #[expect(clippy::disallowed_methods, reason = "ends when the proxy is dropped")]
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                // They end with the test's runtime at the latest.
                #[expect(clippy::disallowed_methods, reason = "cut when the proxy is dropped")]
                tokio::spawn(shared.clone().forward(client));
            }
        });
        *self.accepting.lock().unwrap() = Some(accepting);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.get_mut().unwrap() {
            accepting.abort();
        }
        self.cut(Cut::Rst);
    }
}

impl Shared {
    async fn forward(self: Arc<Self>, mut client: TcpStream) {
        let mut cut = self.cut.subscribe();
        cut.mark_unchanged();
        let mut frozen = self.frozen.subscribe();
        frozen.mark_unchanged();
        let Ok(mut target) = TcpStream::connect(self.target).await else {
            // What is behind the proxy is not there: the same as if it had been asked itself.
            let _ = client.set_zero_linger();
            return;
        };
        self.open.fetch_add(1, Ordering::SeqCst);
        let mut is_frozen = false;
        let how = {
            let (from_client, to_client) = client.split();
            let (from_target, to_target) = target.split();
            let watched = Watched::default();
            tokio::select! {
                _ = cut.changed() => cut.borrow().1.unwrap_or(Cut::Rst),
                () = async {
                    tokio::join!(
                        self.copy(Way::There, from_client, to_target, &watched),
                        self.copy(Way::Back, from_target, to_client, &watched),
                    );
                } => Cut::Fin,
                () = watched.is_lost() => Cut::Rst,
                _ = frozen.changed() => {
                    is_frozen = true;
                    Cut::Rst
                }
            }
        };
        if is_frozen {
            tokio::select! {
                _ = cut.changed() => {}
                _ = frozen.changed() => {}
            }
        }
        if how == Cut::Rst {
            for stream in [&client, &target] {
                let _ = stream.set_zero_linger();
            }
        }
        if !is_frozen {
            self.open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Copies until the end of what comes, and passes that on.
    async fn copy(
        &self,
        way: Way,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        watched: &Watched,
    ) {
        let mut weather = self.weather.subscribe();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = from.read(&mut buffer).await.unwrap_or(0);
            let mut left = &buffer[..read];
            if !watched.lets_pass(way, left, &self.lost_commit) {
                // The other half of the connection sees to the end.
                return std::future::pending().await;
            }
            loop {
                let stalled = |now: &Weather| now.is_stalled[way as usize];
                let now = weather.wait_for(|now| !stalled(now)).await.unwrap().clone();
                sleep(now.delay).await;
                if read == 0 {
                    let _ = to.shutdown().await;
                    return;
                }
                let portion = now.drip.unwrap_or(left.len()).min(left.len());
                if to.write_all(&left[..portion]).await.is_err() {
                    return;
                }
                left = &left[portion..];
                if left.is_empty() {
                    break;
                }
                sleep(TICK).await;
            }
        }
    }
}

//! A TCP proxy that injects network faults into the connections between two peers: cuts, delays, drips, stalls,
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

/// The interval between two portions of a drip.
const TICK: Duration = Duration::from_millis(10);

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// FIN, as from a process that ends.
    Fin,
    /// RST, as from a host that does not know the connection.
    Rst,
}

/// The direction in which bytes flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the connecting peer to the target.
    There,
    /// From the target back.
    Back,
}

/// The faults that are applied to bytes.
#[derive(Clone, Debug, Default)]
struct Weather {
    delay: Duration,
    /// The number of bytes to forward per tick.
    drip: Option<usize>,
    /// Whether nothing is forwarded, in each direction: there, back.
    is_stalled: [bool; 2],
}

/// Forwards connections to one address until it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    target: SocketAddr,
    weather: watch::Sender<Weather>,
    /// Incremented to cut all current connections.
    cut: watch::Sender<(usize, Option<Cut>)>,
    /// Incremented to freeze all current connections.
    frozen: watch::Sender<usize>,
    lost_commit: Mutex<Option<LostCommit>>,
    open: AtomicUsize,
}

impl Proxy {
    /// Starts a proxy for this address.
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

    /// Starts a proxy for the host and port of this URL.
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

    /// The same URL, by way of this proxy.
    pub fn instead_of(&self, url: &str) -> String {
        let mut url = reqwest::Url::parse(url).unwrap();
        url.set_ip_host(self.address.ip()).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        let text = url.to_string();
        // For known schemes, `Url` adds a path if there is none.
        text.trim_end_matches('/').to_owned()
    }

    /// The number of open connections that are not frozen.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Cuts all connections. New ones are accepted.
    pub fn cut(&self, how: Cut) {
        self.shared.cut.send_modify(|(number, last)| {
            *number += 1;
            *last = Some(how);
        });
    }

    /// Freezes all connections for good, as when a host or a NAT table vanishes: nothing is forwarded either way, not
    /// even FIN or RST. New connections work. The sockets stay open until a cut, the next freeze, or the end of the
    /// proxy; PostgreSQL keeps their sessions just as long, and allows a hundred. Returns how many connections were
    /// frozen.
    pub fn freeze(&self) -> usize {
        self.shared.frozen.send_modify(|number| *number += 1);
        self.shared.open.swap(0, Ordering::SeqCst)
    }

    /// Refuses new connections and cuts the current ones.
    pub async fn refuse(&self) {
        self.refuse_new().await;
        self.cut(Cut::Rst);
    }

    /// Refuses new connections and freezes the current ones, as if the target had vanished.
    pub async fn vanish(&self) {
        self.refuse_new().await;
        self.freeze();
    }

    async fn refuse_new(&self) {
        let accepting = self.accepting.lock().unwrap().take();
        if let Some(accepting) = accepting {
            accepting.abort();
            // The port is only free once the task has ended.
            let _ = accepting.await;
        }
    }

    /// Accepts connections again, on the same port.
    pub async fn come_back(&self) {
        self.accept(TcpListener::bind(self.address).await.unwrap());
    }

    /// Forwards nothing in these directions until [`Self::flow`]. Neither peer notices.
    pub fn stall(&self, ways: &[Way]) {
        self.shared.weather.send_modify(|weather| {
            weather.is_stalled = [Way::There, Way::Back].map(|way| ways.contains(&way));
        });
    }

    /// Removes all faults, so that everything is forwarded at once.
    pub fn flow(&self) {
        self.shared.weather.send_replace(Weather::default());
    }

    /// Delays all bytes by this duration.
    pub fn delay(&self, delay: Duration) {
        self.shared
            .weather
            .send_modify(|weather| weather.delay = delay);
    }

    /// Forwards only this many bytes every 10 ms.
    pub fn drip(&self, bytes: usize) {
        self.shared
            .weather
            .send_modify(|weather| weather.drip = Some(bytes));
    }

    /// Cuts the connection of one PostgreSQL transaction at its `COMMIT`, once.
    pub fn lose_commit(&self, of: &str, at: Lost) {
        let lost = LostCommit { of: of.into(), at };
        *self.shared.lost_commit.lock().unwrap() = Some(lost);
    }

    /// Whether the commit has been lost.
    pub fn has_lost_commit(&self) -> bool {
        self.shared.lost_commit.lock().unwrap().is_none()
    }

    fn accept(&self, listener: TcpListener) {
        let shared = self.shared.clone();
        #[expect(clippy::disallowed_methods, reason = "ends when the proxy is dropped")]
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                // The tasks end with the test's runtime at the latest.
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
            // The target is not reachable, so behave as the target itself would.
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

    /// Copies bytes until the end of the stream, then forwards the end.
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
                // The other half ends the connection.
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

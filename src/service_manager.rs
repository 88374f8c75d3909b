//! Cooperates with a service manager (systemd): takes over its sockets and reports the service's state, using the
//! protocols of sd_listen_fds(3) and sd_notify(3).

use std::{io, time::Duration};

use titlecast::{app::App, config::ServiceManager, server::Listener};
use tokio::time::sleep;

/// The sockets that the service manager passed: the first for requests, the second for metrics.
#[derive(Default)]
pub(crate) struct Inherited {
    #[cfg(unix)]
    sockets: Option<listenfd::ListenFd>,
}

impl Inherited {
    /// Takes over the sockets. Changes the environment, so no other thread may be running yet.
    pub(crate) fn from_environment() -> Self {
        Self {
            #[cfg(unix)]
            sockets: Some(listenfd::ListenFd::from_env()),
        }
    }

    /// The socket with this index, if one was passed.
    pub(crate) fn take(&mut self, index: usize) -> io::Result<Option<Listener>> {
        #[cfg(unix)]
        if let Some(sockets) = &mut self.sockets {
            // If the kind does not match, the socket stays available for the next line.
            if let Ok(tcp) = sockets.take_tcp_listener(index) {
                return tcp.map(Listener::of_tcp).transpose();
            }
            let unix = sockets.take_unix_listener(index)?;
            return unix.map(Listener::of_unix).transpose();
        }
        Ok(None)
    }
}

/// Notifies the service manager, if there is one.
pub(crate) struct Notifier(ServiceManager);

impl Notifier {
    pub(crate) fn new() -> Self {
        Self(ServiceManager::from_environment())
    }

    /// Whether a service manager waits for notifications.
    pub(crate) fn is_on(&self) -> bool {
        self.0.socket.is_some()
    }

    /// Reports that the service answers requests.
    pub(crate) fn ready(&self) {
        self.send("READY=1\n");
    }

    /// Reports that the service is reloading its configuration; call [`Self::ready`] afterwards.
    pub(crate) fn reloading(&self) {
        #[cfg(unix)]
        let micros = {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
        };
        #[cfg(not(unix))]
        let micros = 0;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
    }

    /// Reports that the service is shutting down.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1\n");
    }

    /// Notifies the watchdog as long as the service is alive by the rule of `/healthz`. Never completes.
    pub(crate) async fn watch(&self, app: &App) {
        let Some(interval) = self.0.watchdog else {
            return std::future::pending().await;
        };
        loop {
            if app.is_alive() {
                self.send("WATCHDOG=1\n");
            }
            // Half the interval, as sd_watchdog_enabled(3) recommends.
            sleep((interval / 2).max(Duration::from_millis(10))).await;
        }
    }

    fn send(&self, state: &str) {
        if let Err(error) = self.try_send(state) {
            tracing::warn!(%error, "cannot notify the service manager (NOTIFY_SOCKET)");
        }
    }

    #[cfg(unix)]
    fn try_send(&self, state: &str) -> io::Result<()> {
        use std::os::unix::{ffi::OsStrExt, net::UnixDatagram};

        let Some(path) = &self.0.socket else {
            return Ok(());
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        #[cfg(target_os = "linux")]
        if let Some(name) = path.as_bytes().strip_prefix(b"@") {
            use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};

            let address = SocketAddr::from_abstract_name(name)?;
            return socket.send_to_addr(state.as_bytes(), &address).map(drop);
        }
        socket.send_to(state.as_bytes(), path).map(drop)
    }

    #[cfg(not(unix))]
    fn try_send(&self, _state: &str) -> io::Result<()> {
        Ok(())
    }
}

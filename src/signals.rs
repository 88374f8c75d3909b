//! The signals that stop the program or reload its configuration.

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGHUP, which requests a reload. If there is no file to reload, it ends the process, which is the default action.
pub(crate) struct Reloads {
    #[cfg(unix)]
    signal: Option<Signal>,
}

impl Reloads {
    /// Registers the handler if `has_file`.
    #[cfg_attr(not(unix), expect(unused_variables, reason = "only Unix has SIGHUP"))]
    pub(crate) fn listen(has_file: bool) -> Self {
        Self {
            #[cfg(unix)]
            signal: has_file
                .then(|| signal(SignalKind::hangup()))
                .and_then(|signal| {
                    signal
                        .inspect_err(|error| tracing::warn!(%error, "cannot listen for SIGHUP"))
                        .ok()
                }),
        }
    }

    /// Waits for the next signal. Returns false if none can come.
    pub(crate) async fn next(&mut self) -> bool {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal {
            return signal.recv().await.is_some();
        }
        false
    }
}

/// Shutdown signals: SIGINT and SIGTERM, or Ctrl-C.
pub(crate) struct Signals {
    #[cfg(unix)]
    kinds: [Option<Signal>; 2],
}

impl Signals {
    /// Registers the handlers. Signals are caught from this call on.
    pub(crate) fn listen() -> Self {
        #[cfg(unix)]
        let listen = |kind| {
            let signals = signal(kind);
            signals
                .inspect_err(|error| tracing::warn!(%error, "cannot listen for signals"))
                .ok()
        };
        Self {
            #[cfg(unix)]
            kinds: [SignalKind::interrupt(), SignalKind::terminate()].map(listen),
        }
    }

    /// Waits for the next signal.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) {
        async fn next(signals: &mut Option<Signal>) {
            match signals {
                Some(signals) => {
                    signals.recv().await;
                }
                None => std::future::pending().await,
            }
        }
        let [interrupt, terminate] = &mut self.kinds;
        tokio::select! {
            () = next(interrupt) => {}
            () = next(terminate) => {}
        }
    }

    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

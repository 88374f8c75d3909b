//! What a service manager (systemd) passes in the environment.

use std::{ffi::OsString, time::Duration};

/// How to notify the service manager.
#[derive(Clone, Debug, Default)]
pub struct ServiceManager {
    /// The socket for notifications: a path, or `@` and an abstract name. `NOTIFY_SOCKET`.
    pub socket: Option<OsString>,
    /// After this time without a notification the process is restarted. `WATCHDOG_USEC`.
    pub watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Reads the environment.
    pub fn from_environment() -> Self {
        let own = std::process::id().to_string();
        #[expect(clippy::disallowed_methods, reason = "a part of config")]
        let read = |name: &str| std::env::var(name).ok();
        // The variables may be those of the process that started this one.
        let is_watched = read("WATCHDOG_PID").is_none_or(|pid| pid == own);
        let interval = read("WATCHDOG_USEC").and_then(|text| text.parse().ok());
        Self {
            socket: std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()),
            watchdog: interval
                .filter(|micros| is_watched && *micros > 0)
                .map(Duration::from_micros),
        }
    }
}

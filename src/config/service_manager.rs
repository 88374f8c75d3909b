//! Variables that a service manager (systemd) passes in the environment.

use std::{ffi::OsString, time::Duration};

/// How to notify the service manager.
#[derive(Clone, Debug, Default)]
pub struct ServiceManager {
    /// The notification socket, from `NOTIFY_SOCKET`: a path, or `@` and an abstract name.
    pub socket: Option<OsString>,
    /// The process is restarted after this long without a notification. From `WATCHDOG_USEC`.
    pub watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Reads the environment.
    pub fn from_environment() -> Self {
        let own = std::process::id().to_string();
        #[expect(clippy::disallowed_methods, reason = "a part of config")]
        let read = |name: &str| std::env::var(name).ok();
        // The variable may be inherited from, and meant for, the parent process.
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

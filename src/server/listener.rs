//! Where the server listens: a TCP address or a Unix domain socket.

use std::{fmt, io, net::SocketAddr, str::FromStr};
#[cfg(unix)]
use std::{
    fs::Permissions,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;

use super::stream::Stream;

/// How many connections may wait to be accepted. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: u32 = 1024;

/// The default permissions of a socket file: its user and group may connect.
#[cfg(unix)]
const SOCKET_MODE: u32 = 0o660;

const EXPECTED: &str = "expected an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080";

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix domain socket, and the permissions of its file.
    #[cfg(unix)]
    Unix {
        /// The path.
        path: PathBuf,
        /// The permissions, such as 0o660.
        mode: u32,
    },
}

impl ListenAddress {
    /// Whether other hosts can reach this address.
    pub fn is_reachable(&self) -> bool {
        match self {
            Self::Tcp(address) => !address.ip().is_loopback(),
            #[cfg(unix)]
            Self::Unix { .. } => false,
        }
    }
}

/// Parses `127.0.0.1:8080`, `unix:/run/titlecast.sock` or `unix:/run/titlecast.sock?mode=666`. Host names are not
/// resolved, because a name can have several addresses.
impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        #[cfg(unix)]
        if let Some(text) = text.strip_prefix("unix:") {
            return parse_unix(text);
        }
        text.parse().map(Self::Tcp).map_err(|_| EXPECTED.to_owned())
    }
}

#[cfg(unix)]
fn parse_unix(text: &str) -> Result<ListenAddress, String> {
    let (path, mode) = match text.split_once("?mode=") {
        Some((path, mode)) => (path, u32::from_str_radix(mode, 8).ok()),
        None => (text, Some(SOCKET_MODE)),
    };
    let mode = mode.filter(|mode| *mode <= 0o777);
    let mode =
        mode.ok_or("expected permissions in octal, such as unix:/run/titlecast.sock?mode=660")?;
    match path.starts_with('/') {
        true => Ok(ListenAddress::Unix {
            path: path.into(),
            mode,
        }),
        false => Err("expected an absolute path, such as unix:/run/titlecast.sock".into()),
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            #[cfg(unix)]
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An open listener.
#[derive(Debug)]
pub enum Listener {
    /// Listens on a TCP address.
    Tcp(TcpListener),
    /// Listens on a Unix domain socket.
    #[cfg(unix)]
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl Listener {
    /// Opens a listener. Replaces the file of a Unix domain socket if no process listens on it.
    ///
    /// # Errors
    /// The operating system's error; also `AddrInUse` if the path is a file that is not a socket.
    pub async fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            #[cfg(unix)]
            ListenAddress::Unix { path, mode } => bind_unix(path, *mode).map(Self::Unix),
        }
    }

    /// Takes over a listener that another process opened.
    ///
    /// # Errors
    /// The operating system's error, or an error if the socket does not listen.
    pub fn of_tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        check_listens(&listener)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self::Tcp)
    }

    /// Like [`Self::of_tcp`], for a Unix domain socket.
    ///
    /// # Errors
    /// The operating system's error, or an error if the socket does not listen.
    #[cfg(unix)]
    pub fn of_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        check_listens(&listener)?;
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(Self::Unix)
    }

    /// The address it listens on; for port 0, with the port that the system chose.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn address(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            #[cfg(unix)]
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                // A socket without a path has only a name in the kernel.
                let path = address.as_pathname().unwrap_or(Path::new("(unnamed)"));
                Ok(ListenAddress::Unix {
                    path: path.into(),
                    mode: SOCKET_MODE,
                })
            }
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Some(peer)))
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), None))
            }
        }
    }
}

#[cfg(unix)]
fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    // Before `listen`, so that no client connects under the umask's permissions.
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.listen(BACKLOG as i32)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket.into())
}

/// Removes a socket file that no process listens on; a killed process leaves it behind.
#[cfg(unix)]
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = match path.symlink_metadata() {
        Ok(found) => found.file_type().is_socket(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !is_socket {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "the path is a file that is not a socket",
        ));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        // A process listens on it or may do so: such a socket cannot be told from a stale one.
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// Refuses a socket that does not listen, because accepting from it would keep failing. Other systems cannot tell.
#[cfg(target_os = "linux")]
fn check_listens(socket: &impl std::os::fd::AsFd) -> io::Result<()> {
    match socket2::SockRef::from(socket).is_listener()? {
        true => Ok(()),
        false => Err(io::Error::other("the socket does not listen")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_and_printed() {
        let parse = |text: &str| text.parse::<ListenAddress>();
        for text in ["127.0.0.1:8080", "[::1]:80", "unix:/run/titlecast.sock"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        let ListenAddress::Unix { path, mode } = parse("unix:/run/a b.sock?mode=600").unwrap()
        else {
            panic!("not a Unix domain socket");
        };
        assert_eq!((path, mode), (PathBuf::from("/run/a b.sock"), 0o600));
        for text in [
            "localhost:80",
            "unix:a.sock",
            "unix:",
            "unix:/a?mode=9",
            "unix:/a?mode=1777",
        ] {
            assert!(parse(text).unwrap_err().starts_with("expected "), "{text}");
        }
    }

    #[test]
    fn only_other_hosts_count_as_reaching_it() {
        for (text, expected) in [
            ("127.0.0.1:1", false),
            ("unix:/a", false),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
        ] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(address.is_reachable(), expected, "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_socket_that_does_not_listen_is_refused() {
        use socket2::{Domain, Socket, Type};

        let bound = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let anywhere: SocketAddr = "127.0.0.1:0".parse().unwrap();
        bound.bind(&anywhere.into()).unwrap();
        let error = Listener::of_tcp(bound.into()).err().unwrap();
        assert_eq!(error.to_string(), "the socket does not listen");
        let bound = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        assert!(Listener::of_unix(bound.into()).is_err());
    }
}

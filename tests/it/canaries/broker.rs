//! A NATS server that refuses each client with a text of its own.

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Refuses; until it is dropped.
pub(super) struct RefusingBroker {
    pub address: String,
    serving: JoinHandle<()>,
}

impl RefusingBroker {
    pub(super) async fn start(words: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        #[expect(clippy::disallowed_methods, reason = "ends when it is dropped")]
        let serving = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                // A refused client may disconnect in the middle.
                let _ = refuse(socket, words).await;
            }
        });
        Self { address, serving }
    }
}

impl Drop for RefusingBroker {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn refuse(socket: TcpStream, words: &str) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    let info = r#"INFO {"server_id":"X","server_name":"X","version":"2.10.23","go":"go1","host":"127.0.0.1","port":4222,"headers":true,"max_payload":1048576,"proto":1,"client_id":1}"#;
    socket.write_all(format!("{info}\r\n").as_bytes()).await?;
    let mut connect = String::new();
    socket.read_line(&mut connect).await?;
    assert!(connect.starts_with("CONNECT "), "{connect}");
    socket
        .write_all(format!("-ERR '{words}'\r\n").as_bytes())
        .await
}

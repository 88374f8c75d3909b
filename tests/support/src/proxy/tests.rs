//! Tests of the proxy itself, because other tests rely on the faults it injects.

use std::io::ErrorKind;

use super::*;
use crate::within;

/// A connection through a proxy: both ends, and the proxy.
async fn connected() -> (TcpStream, TcpStream, Proxy) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap()).await;
    let client = TcpStream::connect(proxy.address).await.unwrap();
    let (server, _) = within(listener.accept()).await.unwrap();
    (client, server, proxy)
}

async fn pass(from: &mut TcpStream, to: &mut TcpStream, text: &[u8]) {
    from.write_all(text).await.unwrap();
    let mut read = vec![0; text.len()];
    within(to.read_exact(&mut read)).await.unwrap();
    assert_eq!(read, text);
}

#[tokio::test]
async fn it_passes_on_both_ways_and_the_end() {
    let (mut client, mut server, proxy) = connected().await;
    pass(&mut client, &mut server, b"there").await;
    pass(&mut server, &mut client, b"and back").await;
    assert_eq!(proxy.open(), 1);
    drop(client);
    assert_eq!(within(server.read(&mut [0; 1])).await.unwrap(), 0);
}

#[tokio::test]
async fn it_cuts_as_configured() {
    for how in [Cut::Fin, Cut::Rst] {
        let (mut client, mut server, proxy) = connected().await;
        pass(&mut client, &mut server, b"there").await;
        proxy.cut(how);
        let read = within(client.read(&mut [0; 1])).await;
        match how {
            Cut::Fin => assert_eq!(read.unwrap(), 0),
            Cut::Rst => assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset),
        }
        // New connections are accepted.
        TcpStream::connect(proxy.address).await.unwrap();
    }
}

#[tokio::test]
async fn it_is_gone_and_back_on_the_same_port() {
    let (mut client, _server, proxy) = connected().await;
    proxy.refuse().await;
    assert!(within(client.read(&mut [0; 1])).await.is_err());
    let refused = TcpStream::connect(proxy.address).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    proxy.come_back().await;
    TcpStream::connect(proxy.address).await.unwrap();
}

#[tokio::test]
async fn it_stalls_one_way_only() {
    let (mut client, mut server, proxy) = connected().await;
    proxy.stall(&[Way::Back]);
    server.write_all(b"late").await.unwrap();
    pass(&mut client, &mut server, b"there").await;
    let mut read = [0; 4];
    let wait = Duration::from_millis(50);
    tokio::time::timeout(wait, client.read_exact(&mut read))
        .await
        .unwrap_err();
    proxy.flow();
    within(client.read_exact(&mut read)).await.unwrap();
    assert_eq!(&read, b"late");
}

#[tokio::test]
async fn it_freezes_for_good_what_there_is_and_passes_what_is_new() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap()).await;
    let connect = async || {
        let client = TcpStream::connect(proxy.address).await.unwrap();
        let (server, _) = within(listener.accept()).await.unwrap();
        (client, server)
    };
    let (mut client, mut server) = connect().await;
    pass(&mut client, &mut server, b"there").await;
    assert_eq!((proxy.freeze(), proxy.open()), (1, 0));
    // Neither bytes nor an end are forwarded, even while other connections work.
    client.write_all(b"lost").await.unwrap();
    server.write_all(b"lost").await.unwrap();
    let (mut newer, mut there) = connect().await;
    pass(&mut newer, &mut there, b"there").await;
    pass(&mut there, &mut newer, b"and back").await;
    client.shutdown().await.unwrap();
    proxy.flow();
    pass(&mut newer, &mut there, b"once more").await;
    for end in [&mut client, &mut server] {
        let read = end.try_read(&mut [0; 1]);
        assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    assert_eq!(proxy.open(), 1);
}

#[tokio::test]
async fn it_drips_and_delays() {
    let (mut client, mut server, proxy) = connected().await;
    let began = tokio::time::Instant::now();
    proxy.drip(10);
    pass(&mut client, &mut server, &[7; 100]).await;
    assert!(began.elapsed() >= TICK * 9);
    proxy.flow();
    let began = tokio::time::Instant::now();
    proxy.delay(Duration::from_millis(100));
    pass(&mut client, &mut server, b"late").await;
    assert!(began.elapsed() >= Duration::from_millis(100));
}

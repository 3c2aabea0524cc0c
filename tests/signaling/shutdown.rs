//! A server that has shut down leaves nothing behind. Alone in its file: it counts the process's open files.

use crate::support::{Raw, server, tls, within};
use harness::signaling::{Identity, Limits, Server, ServerConfig, ServerError};
use serde_json::json;
use tokio::net::TcpStream;

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test]
async fn no_socket_is_left_and_the_port_is_free() {
    // The runtime's own files are opened with its first socket.
    drop(TcpStream::connect("127.0.0.1:1").await);
    let before = open_files();
    let server = server(Limits { farewell: std::time::Duration::from_millis(100), ..Limits::default() }).await;
    let address = server.address();

    let in_use = Server::start(ServerConfig {
        listen: address,
        identity: Identity::generate(&[]).unwrap(),
        pages: Vec::new(),
        limits: Limits::default(),
    });
    assert!(matches!(in_use.await.unwrap_err(), ServerError::PortInUse(_)));

    let (mut a, b) = Raw::pair(&server).await;
    let half_open = TcpStream::connect(address).await.unwrap();
    let idle = tls(&server).await;
    a.send(&json!({"type": "ping", "nonce": 1})).await;
    // b never reads its good-bye: the deadline must take care of it.
    within("the shutdown", server.shutdown()).await;
    assert_eq!(a.close_code().await, Some(1001));
    drop((a, b, half_open, idle));
    assert_eq!(open_files(), before);
    drop(std::net::TcpListener::bind(address).unwrap());
}

//! Asks a process of ours whether it is ready: `GET /readyz`, by hand, for the request is one line
//! and the answer is short.

use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of an answer that are read; a reason is a line.
const LONGEST: u64 = 16 * 1024;

/// # Errors
/// Why it is not ready, in the process's own text where it has one.
pub(super) async fn ready(http: SocketAddr) -> Result<(), String> {
    match tokio::time::timeout(TIMEOUT, ask(http)).await {
        Ok(Ok(answer)) => judge(&answer),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err("starting".to_owned()),
        Ok(Err(error)) => Err(format!("{http} cannot be asked: {error}")),
        Err(_) => Err(format!("{http} does not answer")),
    }
}

async fn ask(http: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(http).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn judge(answer: &str) -> Result<(), String> {
    let status = answer.split_whitespace().nth(1);
    if status == Some("200") {
        return Ok(());
    }
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
    Err(if body.is_empty() { "its response is invalid".to_owned() } else { body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_processs_own_text() {
        assert_eq!(judge("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n"), Ok(()));
        let waits = "HTTP/1.1 503 Service Unavailable\r\n\r\nnot connected to the master\n";
        assert_eq!(judge(waits), Err("not connected to the master".to_owned()));
        assert!(judge("").is_err() && judge("SSH-2.0\r\n").is_err() && judge("HTTP/1.1 500 x\r\n\r\n").is_err());
    }

    #[tokio::test]
    async fn no_listener_is_starting() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(ready(address).await, Err("starting".to_owned()));
    }
}

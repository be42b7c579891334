//! A minimal HTTP client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// Returns status and body of the reply.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = say(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{path}: {head:?}")), body.to_owned())
}

/// Sends `text` and returns everything received until the server closes.
pub fn say(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A reset after the reply does not invalidate it.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// Returns status and body of the reply to a superuser's command; with a body, it is a POST. The
/// status is 0 if the server dies.
pub fn command(address: SocketAddr, path: &str, body: Option<&[u8]>) -> (u16, Vec<u8>) {
    let (method, len) = body.map_or(("GET", 0), |body| ("POST", body.len()));
    let head = format!(
        "{method} /commands/{path} HTTP/1.0\r\nHost: x\r\nAuthorization: digest super:admin\r\nContent-Length: {len}\r\n\r\n"
    );
    let Ok(mut stream) = TcpStream::connect(address) else { return (0, Vec::new()) };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(&[head.as_bytes(), body.unwrap_or_default()].concat());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return (0, answer) };
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    (status, answer.split_off(end + 4))
}

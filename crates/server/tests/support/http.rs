//! Asks over HTTP, as bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// Status and body of the answer.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = say(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{path}: {head:?}")), body.to_owned())
}

/// Everything that comes until the server closes.
pub fn say(address: SocketAddr, text: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A reset behind the answer does not undo it.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

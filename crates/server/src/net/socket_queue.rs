//! Output of a socket that the other side has not acknowledged, as counted by the kernel.

use std::ffi::c_int;
use std::os::fd::AsFd;

use rustix::ioctl::{Getter, Opcode};

/// SIOCOUTQ, which is TIOCOUTQ.
const UNACKNOWLEDGED: Opcode = 0x5411;

/// Returns the number of sent bytes that the other system has not acknowledged, or 0 if unknown.
#[expect(unsafe_code, reason = "no crate of ours offers this ioctl")]
pub(crate) fn unacknowledged(socket: impl AsFd) -> u64 {
    // SAFETY: SIOCOUTQ writes one `int` to the given address (tcp(7)), and `Getter` provides
    // exactly that.
    let unacknowledged = unsafe { rustix::ioctl::ioctl(socket, Getter::<UNACKNOWLEDGED, c_int>::new()) };
    unacknowledged.ok().and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_nobody_has_taken_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        assert_eq!(unacknowledged(&server), 0);
        server.set_nonblocking(true).unwrap();
        let chunk = vec![0; 1 << 20];
        while server.write(&chunk).is_ok() {}
        let stuck = unacknowledged(&server);
        assert!(stuck > 0, "the client's system has no room for all of it");
        let mut buffer = vec![0; 1 << 20];
        while unacknowledged(&server) >= stuck {
            client.read_exact(&mut buffer[..1]).unwrap();
            let _ = client.read(&mut buffer).unwrap();
        }
    }
}

//! The socket of a connection: plain, with TLS, or the control socket; and the handshake that makes one of the other.
//! Must never know what is said on it. Invariant: a handshake waits in its own task, under the deadline of a head.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::reply::Reply;
use super::seats::{Cut, Seat};
use super::tls::Tls;
use crate::base::error::Error;

/// First byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

/// A socket of any kind.
pub enum Wire {
    /// Of the network, in the clear.
    Net(TcpStream),
    /// Of the network, over TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// Of this machine.
    Control(UnixStream),
}

impl Wire {
    /// Is it over TLS?
    pub fn is_secure(&self) -> bool {
        matches!(self, Wire::Tls(_))
    }

    /// Has anything come? Before the handshake only.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Wire::Net(stream) => stream.poll_read_ready(cx),
            Wire::Tls(stream) => stream.get_ref().0.poll_read_ready(cx),
            Wire::Control(stream) => stream.poll_read_ready(cx),
        }
    }

    /// The same socket with TLS on it, where the door speaks TLS; `None` where that did not come about. The first bytes
    /// are there. The seat's deadline is that of a head.
    pub async fn secured(self, tls: Option<&Tls>, seat: &Arc<Seat>) -> Option<Wire> {
        let (Some(tls), Wire::Net(stream)) = (tls, &self) else { return Some(self) };
        let mut first = [0];
        let seen = std::future::poll_fn(|cx| {
            if seat.cut() != Cut::No {
                return Poll::Ready(false);
            }
            stream.poll_peek(cx, &mut ReadBuf::new(&mut first)).map(|seen| seen.is_ok_and(|count| count > 0))
        });
        if !seen.await {
            return None;
        }
        if first[0] != HANDSHAKE {
            self.say(&Error::invalid("this address speaks TLS").code("plain").remedy("use https://"));
            return None;
        }
        let Wire::Net(stream) = self else { return None };
        let mut handshake = pin!(TlsAcceptor::from(tls.config()).accept(stream));
        let done = std::future::poll_fn(|cx| {
            if seat.cut() != Cut::No {
                return Poll::Ready(None);
            }
            handshake.as_mut().poll(cx).map(Some)
        });
        match done.await {
            Some(Ok(stream)) => Some(Wire::Tls(Box::new(stream))),
            Some(Err(e)) => {
                log::debug!("a TLS handshake failed: {e}");
                None
            }
            None => None,
        }
    }

    /// Says 503 to a connection there is no room for, as far as that goes without waiting.
    pub fn turn_away(&self) {
        self.say(&Error::busy("too many connections").remedy("try again in a second"));
    }

    fn say(&self, error: &Error) {
        let Wire::Net(stream) = self else { return };
        // what the client has sent is read away: closing with unread bytes would reset the connection and lose the words
        let mut unread = [0; 4_096];
        while stream.try_read(&mut unread).is_ok_and(|count| count > 0) {}
        if let Err(e) = stream.try_write(&Reply::from_error(error).last_words()) {
            log::debug!("turning a connection away: {e}");
        }
    }

    fn reader(&mut self) -> Pin<&mut dyn AsyncRead> {
        match self {
            Wire::Net(stream) => Pin::<&mut TcpStream>::new(stream),
            Wire::Tls(stream) => Pin::<&mut TlsStream<TcpStream>>::new(stream),
            Wire::Control(stream) => Pin::<&mut UnixStream>::new(stream),
        }
    }

    fn writer(&mut self) -> Pin<&mut dyn AsyncWrite> {
        match self {
            Wire::Net(stream) => Pin::<&mut TcpStream>::new(stream),
            Wire::Tls(stream) => Pin::<&mut TlsStream<TcpStream>>::new(stream),
            Wire::Control(stream) => Pin::<&mut UnixStream>::new(stream),
        }
    }

    /// Reads what came.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match ready!(self.reader().poll_read(cx, buf)) {
            // a client that ends without the words TLS has for it has ended all the same: lengths are declared in HTTP
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }

    /// Writes.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writer().poll_write(cx, bytes)
    }

    /// Brings on its way what TLS has taken and not sent; plain sockets keep nothing back.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Wire::Tls(stream) => Pin::<&mut TlsStream<TcpStream>>::new(stream).poll_flush(cx),
            Wire::Net(_) | Wire::Control(_) => Poll::Ready(Ok(())),
        }
    }

    /// Ends our side.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_shutdown(cx)
    }
}

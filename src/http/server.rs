//! The door: accepts connections, reads requests, hands them to the service, writes replies. Besides `local` the only
//! file that names the HTTP library and the async runtime.
//! Must never decide what a request means, and never block: one thread serves every connection.
//! Invariants: an accept error never ends accepting; every wait has a deadline (`seats`); whatever a client or a
//! handler does, the next connection is served.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::runtime::Runtime;

use super::bodies::Body;
use super::desk::Desk;
use super::guard::{Guard, REFUSED_METHOD, Refusal};
use super::local;
use super::replies::Replies;
use super::reply::Reply;
use super::request::{Head, Headers, Peer};
use super::seats::{Cut, Phase, Place, Seat};
pub use super::service::{DoorOptions, Plan, Responder, Service, Way};
use super::tls::Tls;
use super::wire::Wire;
use crate::base::error::{self, Error, Result};
use crate::base::time::{Clock, Millis};

/// How long a stopping door waits for requests under way.
const DRAIN: Duration = Duration::from_secs(5);
/// How long accepting pauses after an error that will not pass by itself at once (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// For how many bytes the rest of a refused request is read away, so that its answer is not lost.
const LINGER_BYTES_MAX: usize = 16 << 20;
/// Connections the kernel keeps for us until we accept them.
const BACKLOG: u32 = 1_024;

/// A running door.
pub struct Door {
    address: SocketAddr,
    socket: Option<PathBuf>,
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// Opens the door: listens on the network and, where a path is given, on the control socket (mode 0600).
/// `Config` where it cannot listen, `Conflict` where another daemon answers on the control socket.
pub fn start(
    options: &DoorOptions,
    control_socket: Option<&Path>,
    clock: Arc<dyn Clock>,
    service: Arc<dyn Service>,
) -> Result<Door> {
    options.check()?;
    let tls = Tls::open(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|e| error::io("starting the runtime of the door", e))?;
    let entered = runtime.enter();
    let net = listen(options.address()?)?;
    let address = net.local_addr().map_err(|e| error::io("reading the address of the door", e))?;
    let control = control_socket.map(listen_control).transpose()?;
    drop(entered);
    let desk = Arc::new(Desk::open(options, tls, clock, service)?);
    let inside = Arc::clone(&desk);
    let run = move || open(&runtime, &inside, net, control);
    let thread = std::thread::Builder::new().name("door".to_owned()).spawn(run);
    let thread = thread.map_err(|e| error::io("starting the door thread", e))?;
    Ok(Door { address, socket: control_socket.map(Path::to_owned), desk, thread: Some(thread) })
}

impl Door {
    /// The address it listens on, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes certificate and key anew where their files changed.
    pub fn reload_tls(&self) {
        if let Some(tls) = self.desk.tls() {
            tls.reload();
        }
    }

    /// Closes the door: accepts no more, lets requests under way finish for up to 5 seconds, ends its threads.
    pub fn stop(mut self) {
        self.close();
    }

    fn close(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.desk.begin_stop();
        if thread.join().is_err() {
            log::error!("the door thread ended by a panic");
        }
        self.desk.end();
        if let Some(socket) = &self.socket
            && let Err(e) = std::fs::remove_file(socket)
        {
            log::warn!("removing the control socket: {e}");
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.close();
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let listener = socket.and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    });
    listener.map_err(|e| {
        Error::config(format!("cannot listen on {address}: {e}"))
            .remedy("stop the program that uses this port, or choose another `listen`")
    })
}

fn listen_control(path: &Path) -> Result<UnixListener> {
    UnixListener::from_std(local::bind(path)?).map_err(|e| error::io("listening on the control socket", e))
}

/// The door thread, from the first connection to the last.
fn open(runtime: &Runtime, desk: &Arc<Desk>, net: TcpListener, control: Option<UnixListener>) {
    let replies = Replies::here();
    runtime.block_on(async {
        let mut tasks = vec![tokio::spawn(accept(Listener::Net(net), Arc::clone(desk), Arc::clone(&replies)))];
        if let Some(control) = control {
            tasks.push(tokio::spawn(accept(Listener::Control(control), Arc::clone(desk), Arc::clone(&replies))));
        }
        tokio::spawn(sweep(Arc::clone(desk)));
        tokio::spawn(async move {
            loop {
                std::future::poll_fn(|cx| replies.poll_deliver(cx)).await;
            }
        });
        desk.stop.rung().await;
        for task in tasks {
            task.abort();
        }
        desk.seats.close_idle(desk.now());
        let empty = async {
            while desk.seats.count() > 0 {
                desk.seats.left.rung().await;
            }
        };
        if tokio::time::timeout(DRAIN, empty).await.is_err() {
            log::warn!("{} connections were dropped at the end", desk.seats.count());
        }
    });
}

/// Keeps the deadlines of all connections, while there are any.
async fn sweep(desk: Arc<Desk>) {
    loop {
        while desk.seats.count() == 0 {
            desk.seats.seated.rung().await;
        }
        tokio::time::sleep(desk.sweep_pause()).await;
        desk.sweep();
    }
}

enum Listener {
    Net(TcpListener),
    Control(UnixListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<(Wire, Peer)> {
        match self {
            Listener::Net(listener) => {
                let (stream, from) = listener.accept().await?;
                if let Err(e) = stream.set_nodelay(true) {
                    log::debug!("TCP_NODELAY: {e}"); // the client has gone already
                }
                Ok((Wire::Net(stream), Peer::Net(from.ip().to_canonical())))
            }
            Listener::Control(listener) => Ok((Wire::Control(listener.accept().await?.0), Peer::Control)),
        }
    }
}

async fn accept(listener: Listener, desk: Arc<Desk>, replies: Arc<Replies>) {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((wire, peer)) => {
                failing = false;
                match desk.welcome(peer) {
                    Some(place) => drop(tokio::spawn(attend(wire, place, Arc::clone(&desk), Arc::clone(&replies)))),
                    None => wire.turn_away(),
                }
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
            Err(e) => {
                if !failing {
                    log::warn!("accepting connections: {e}; trying again");
                }
                failing = true;
                desk.seats.make_room(desk.now());
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end; the place is given back however that comes.
async fn attend(wire: Wire, place: Place, desk: Arc<Desk>, replies: Arc<Replies>) {
    let seat = &place.seat;
    // The library's buffers are made when the first byte is there: silent connections cost next to nothing.
    let spoken = std::future::poll_fn(|cx| {
        seat.keep_waker(cx);
        if seat.cut() != Cut::No {
            return Poll::Ready(false);
        }
        wire.poll_readable(cx).map(|ready| ready.is_ok())
    });
    if !spoken.await {
        return;
    }
    if desk.tls().is_some() && seat.peer != Peer::Control {
        desk.awaits_head(seat); // a handshake has the time of a head
    }
    let Some(wire) = wire.secured(desk.tls(), seat).await else { return };
    if wire.is_secure() {
        desk.rests(seat); // from here on as without TLS
    }
    let (options, secure) = (desk.options(), wire.is_secure());
    let mut library = http1::Builder::new();
    // One plain write per reply: copying a small body is cheaper than a gathering write (measured, 2 us).
    library
        .writev(false)
        .half_close(true)
        .header_read_timeout(None)
        .max_buf_size(options.head_bytes_max.max(32_768) * 2);
    if options.headers_max >= 100 {
        library.max_headers(options.headers_max + 1);
    }
    let guarded =
        Guarded { wire, guard: desk.guard(), seat: Arc::clone(seat), desk: Arc::clone(&desk), lingered: None };
    let service = service_fn(|request| answer(&desk, &replies, seat, secure, request));
    let mut connection = pin!(library.serve_connection(TokioIo::new(guarded), service));
    std::future::poll_fn(|cx| match seat.cut() {
        Cut::Drop => Poll::Ready(()),
        _ => connection.as_mut().poll(cx).map(|end| {
            if let Err(e) = end {
                log::debug!("a connection ended early: {e}");
            }
        }),
    })
    .await;
}

/// One request, from its head to its reply.
async fn answer(
    desk: &Desk,
    replies: &Arc<Replies>,
    seat: &Arc<Seat>,
    secure: bool,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let (parts, mut incoming) = request.into_parts();
    if parts.method.as_str() == REFUSED_METHOD {
        let why = seat.refusal().unwrap_or(Refusal::Malformed("it was refused"));
        seat.lingers.store(true, Relaxed);
        return Ok(dress(desk, seat, Reply::from_error(&why.error()), true));
    }
    // After a chunked body only the library knows where the next head begins: none is accepted.
    let last = parts.headers.contains_key(TRANSFER_ENCODING);
    let head = Head { secure, ..head_of(&parts, seat.peer, desk.time()) };
    drop(parts);
    let mut unread = !incoming.is_end_stream();
    let reply = match desk.plan(&head, incoming.size_hint().exact()) {
        Err(reply) => reply,
        Ok((way, body)) => match receive(desk, seat, &mut incoming, body).await {
            Err(error) => desk.shape(&head, error),
            Ok(body) => {
                unread = false;
                desk.serve(replies, seat, way, head, body);
                std::future::poll_fn(|_| desk.poll_reply(seat)).await
            }
        },
    };
    if unread {
        seat.lingers.store(true, Relaxed);
    }
    Ok(dress(desk, seat, reply, last || unread))
}

/// Reads a body within its limit and its time.
async fn receive(desk: &Desk, seat: &Seat, incoming: &mut Incoming, mut body: Body) -> Result<Body> {
    std::future::poll_fn(|cx| {
        loop {
            if seat.cut() == Cut::Slow {
                return Poll::Ready(Err(Refusal::Slow.error()));
            }
            match Pin::new(&mut *incoming).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(Err(error)) = frame.data_ref().map(|part| body.push(part)) {
                        return Poll::Ready(Err(error));
                    }
                }
                Poll::Ready(Some(Err(e))) => {
                    return Poll::Ready(Err(Error::invalid(format!("the body was not understood: {e}"))
                        .code("bad_request")
                        .remedy("send a body as HTTP/1.1 (RFC 9112) asks for")));
                }
                Poll::Pending => {
                    desk.awaits_body(seat);
                    return Poll::Pending;
                }
            }
        }
    })
    .await?;
    Ok(body)
}

fn head_of(parts: &hyper::http::request::Parts, peer: Peer, received_at: Millis) -> Head {
    let mut headers = Headers::with_capacity(parts.headers.len());
    for (name, value) in &parts.headers {
        headers.push(name.as_str(), value.as_bytes());
    }
    Head {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or("").to_owned(),
        headers,
        peer,
        secure: false,
        received_at,
    }
}

/// The reply as the library sends it. The seat is idle from here, unless the client is slow in taking it.
fn dress(desk: &Desk, seat: &Seat, reply: Reply, close: bool) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    for (name, value) in reply.headers {
        // `HeaderValue` refuses line ends: no reply can be split in two.
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => {
                headers.append(name, value);
            }
            _ => log::error!("a reply had a header line that HTTP forbids: {name:?}"),
        }
    }
    if close || desk.stopping() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    desk.rests(seat);
    response
}

/// A socket with the guard in front, as the library reads and writes it.
struct Guarded {
    wire: Wire,
    guard: Guard,
    seat: Arc<Seat>,
    desk: Arc<Desk>,
    /// Bytes read away after our end was closed.
    lingered: Option<usize>,
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        loop {
            if !me.guard.ready().is_empty() {
                if let Some(why) = me.guard.refusal() {
                    me.seat.refuse(why); // for the request that stands in for the refused one
                }
                let count = me.guard.ready().len().min(buf.remaining());
                buf.put_slice(&me.guard.ready()[..count]);
                me.guard.sent(count);
                return Poll::Ready(Ok(()));
            }
            match me.seat.cut() {
                Cut::Close | Cut::Drop => return Poll::Ready(Ok(())), // read as the end of the stream
                Cut::Slow if me.guard.holds() => me.guard.refuse(Refusal::Slow),
                _ if me.guard.refusal().is_some() => return Poll::Ready(Ok(())),
                _ if me.guard.holds() => {
                    me.desk.awaits_head(&me.seat);
                    let mut space = [0; 2_048];
                    let mut fresh = ReadBuf::new(&mut space);
                    ready!(me.wire.poll_read(cx, &mut fresh))?;
                    if fresh.filled().is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    me.guard.feed(fresh.filled());
                }
                _ => {
                    let before = buf.filled().len();
                    ready!(me.wire.poll_read(cx, buf))?;
                    let fresh = &buf.filled()[before..];
                    if fresh.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                    let passed = me.guard.pass(fresh);
                    buf.set_filled(before + passed);
                    if passed > 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = self.wire.poll_write(cx, bytes);
        self.desk.writes(&self.seat, &outcome);
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The library comes here when it has written everything.
        ready!(self.wire.poll_flush(cx))?;
        if self.seat.phase() == Phase::Writing {
            self.desk.rests(&self.seat);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if me.lingered.is_none() {
            ready!(me.wire.poll_shutdown(cx))?;
            me.desk.lingers(&me.seat);
            me.lingered = Some(0);
        }
        // Closing a socket with unread bytes resets it, and the client may lose the answer it has not read yet.
        while me.seat.lingers.load(Relaxed) && me.lingered.is_some_and(|bytes| bytes < LINGER_BYTES_MAX) {
            let mut space = [0; 8_192];
            let mut rest = ReadBuf::new(&mut space);
            match ready!(me.wire.poll_read(cx, &mut rest)) {
                Ok(()) if !rest.filled().is_empty() => {
                    me.lingered = me.lingered.map(|bytes| bytes + rest.filled().len())
                }
                _ => break, // the client has closed or gone
            }
        }
        Poll::Ready(Ok(()))
    }
}

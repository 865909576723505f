//! Connection handling: limits in total and per address, TLS handshakes, timeouts.
//!
//! Each TLS handshake runs in its own task, so that a slow or broken client does not block others.
//!
//! A connection is closed if the client does not complete the handshake and send its first bytes in time, if it reads
//! none of the pending output for the stall timeout, or if it sends no request for the idle timeout, or if it sends none
//! while all connections are in use and another address has fewer (`open_connections.rs`). A client that
//! uses the wrong protocol (plain text to a TLS port, TLS to a plain-text port, HTTP/1 to the gRPC port) gets an
//! explanatory response.

use super::hints::{NO_TLS, TLS_REQUIRED};
use super::open_connections::{Membership, OpenConnections, OpenRequest, OpenRequests};
use super::tls::{Protocol, Tls};
use crate::auth::Reloadable;
use crate::grpc::middleware::fair_queue::Client;
use bytes::Bytes;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, BoxFuture, Service, http};
use tonic::transport::server::Connected;

/// Pause after the system refused to accept a connection (out of file descriptors).
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);
/// Time for a client to read the reason of a rejection.
const REJECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Minimum interval between warnings about refused connections.
const WARN_INTERVAL: Duration = Duration::from_secs(1);
/// The HTTP/2 connection preface.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// First byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// Response to HTTP/1 on the gRPC port.
const HTTP2_REQUIRED: &str = "this port serves gRPC over HTTP/2; the web page has another port";

/// Timeouts of connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// From accepting the connection to the end of the TLS handshake and the first bytes of HTTP.
    pub(crate) handshake: Duration,
    /// Maximum time without a request.
    pub(crate) idle: Duration,
    /// Maximum time during which the client reads none of the pending output.
    pub(crate) stall_timeout: Duration,
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

pub(crate) struct Connection {
    socket: Socket,
    /// Bytes already read to detect the protocol.
    head: Bytes,
    peer: Peer,
    timeouts: Timeouts,
    idle: Pin<Box<Sleep>>,
    /// Timeout of a write that waits for the client.
    stalled: Option<Pin<Box<Sleep>>>,
    membership: Membership,
}

/// The remote end of a connection. Attached to each request as an extension.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// DNS names in the verified client certificate.
    pub(crate) names: Arc<[String]>,
    requests: Arc<OpenRequests>,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

/// Key under which an address is counted: the address itself for IPv4, the /64 network for IPv6, since one host can own
/// a whole /64.
pub(crate) fn client_of(address: IpAddr) -> Client {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string().into(),
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            format!("{}/64", Ipv6Addr::from(network)).into()
        }
    }
}

/// A service wrapper that counts each request on its connection until the response ends.
#[derive(Clone)]
pub(crate) struct CountRequests<S>(pub(crate) S);

struct CountedBody {
    inner: Body,
    _open: Option<OpenRequest>,
}

impl<S> Service<http::Request<Body>> for CountRequests<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Self::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let requests = request.extensions().get::<Peer>().map(|peer| peer.requests.begin());
        let answer = self.0.call(request);
        Box::pin(async move { Ok(answer.await?.map(|inner| Body::new(CountedBody { inner, _open: requests }))) })
    }
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, tonic::Status>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

/// Stream of connections that are ready for HTTP.
pub(crate) type Incoming = ReceiverStream<io::Result<Connection>>;

/// Starts accepting connections; ends when the receiver is dropped. Each connection counts for its address.
pub(crate) fn accept(
    listener: TcpListener,
    tls: Option<Reloadable<Tls>>,
    protocol: Protocol,
    connections: Arc<OpenConnections>,
    timeouts: Timeouts,
) -> Incoming {
    let (ready, incoming) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut warned: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ready.closed() => return,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                    continue;
                }
            };
            let mut membership = match connections.admit(&client_of(address.ip())) {
                Ok(membership) => membership,
                Err(full) => {
                    if warned.is_none_or(|warned| warned.elapsed() >= WARN_INTERVAL) {
                        warned = Some(Instant::now());
                        tracing::warn!(peer = %address, limit = ?full, "closing new connections: the limit is reached");
                    }
                    continue;
                }
            };
            let (tls, ready) = (tls.as_ref().map(Reloadable::get), ready.clone());
            tokio::spawn(async move {
                let handshake = tokio::time::timeout(timeouts.handshake, handshake(stream, tls, protocol));
                let done = tokio::select! {
                    done = handshake => done,
                    () = membership.closed() => return,
                };
                match done {
                    Ok(Ok((socket, head, names))) => {
                        let requests = membership.requests().clone();
                        let connection = Connection {
                            socket,
                            head,
                            peer: Peer { address, names, requests },
                            timeouts,
                            idle: Box::pin(tokio::time::sleep(timeouts.idle)),
                            stalled: None,
                            membership,
                        };
                        // The receiver is dropped when the server stops.
                        let _ = ready.send(Ok(connection)).await;
                    }
                    Ok(Err(error)) => tracing::debug!(peer = %address, %error, "a handshake failed"),
                    Err(_) => tracing::debug!(peer = %address, "a handshake timed out"),
                }
            });
        }
    });
    ReceiverStream::new(incoming)
}

/// Performs the handshake. Returns the socket, the bytes already read, and the client's DNS names.
async fn handshake(
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    protocol: Protocol,
) -> io::Result<(Socket, Bytes, Arc<[String]>)> {
    stream.set_nodelay(true)?;
    let mut first = [0; 3];
    let first = {
        let found = stream.peek(&mut first).await?;
        &first[..found]
    };
    let uses_tls = match first {
        [] => return Err(io::ErrorKind::UnexpectedEof.into()),
        [first, ..] => *first == TLS_HANDSHAKE,
    };
    if uses_tls != tls.is_some() {
        let (reason, http2) = if uses_tls { (NO_TLS, false) } else { (TLS_REQUIRED, PREFACE.starts_with(first)) };
        return Err(reject(Socket::Plain(stream), reason, http2).await);
    }
    let (mut socket, names) = match tls {
        None => (Socket::Plain(stream), Vec::new()),
        Some(tls) => {
            let stream = TlsAcceptor::from(tls.config(protocol)).accept(stream).await?;
            let names =
                stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(dns_names).unwrap_or_default();
            (Socket::Tls(Box::new(stream)), names)
        }
    };
    let head = read_preface(&mut socket).await?;
    if head != PREFACE && matches!(protocol, Protocol::Grpc) {
        return Err(reject(socket, HTTP2_REQUIRED, false).await);
    }
    Ok((socket, head.into(), names.into()))
}

/// Reads the HTTP/2 preface, or whatever the client sent instead.
async fn read_preface(socket: &mut Socket) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(PREFACE.len());
    while head.len() < PREFACE.len() && PREFACE.starts_with(&head) {
        let mut buffer = [0; PREFACE.len()];
        let mut buffer = ReadBuf::new(&mut buffer[head.len()..]);
        std::future::poll_fn(|context| Pin::new(&mut *socket).poll_read(context, &mut buffer)).await?;
        if buffer.filled().is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(buffer.filled());
    }
    Ok(head)
}

/// Sends the reason for closing the connection, as HTTP/1 or HTTP/2, and waits briefly for the client to close its
/// side. Without the wait, unread input would make the system discard the reason before the client has read it.
async fn reject(mut socket: Socket, reason: &str, http2: bool) -> io::Error {
    let bytes = if http2 {
        // SETTINGS, then GOAWAY with INADEQUATE_SECURITY and the reason as debug data.
        let length = (8 + reason.len()) as u32;
        let frame: [&[u8]; 5] = [
            &[0, 0, 0, 4, 0, 0, 0, 0, 0],
            &length.to_be_bytes()[1..],
            &[7, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 0xc],
            reason.as_bytes(),
        ];
        frame.concat()
    } else {
        let length = reason.len() + 1;
        format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{reason}\n"
        )
        .into_bytes()
    };
    let send = async {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let sent = std::future::poll_fn(|context| Pin::new(&mut socket).poll_write(context, rest)).await?;
            rest = &rest[sent..];
        }
        std::future::poll_fn(|context| Pin::new(&mut socket).poll_shutdown(context)).await?;
        let mut buffer = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut buffer);
            std::future::poll_fn(|context| Pin::new(&mut socket).poll_read(context, &mut buffer)).await?;
            if buffer.filled().is_empty() {
                return Ok::<_, io::Error>(());
            }
        }
    };
    // Best effort: the client may not read it.
    let _ = tokio::time::timeout(REJECT_TIMEOUT, pin!(send)).await;
    io::Error::new(io::ErrorKind::InvalidData, format!("the client uses another protocol; {reason}"))
}

pub(crate) fn dns_names(certificate: &CertificateDer<'static>) -> Vec<String> {
    // The handshake has already verified the certificate.
    webpki::EndEntityCert::try_from(certificate)
        .map(|certificate| certificate.valid_dns_names().map(str::to_owned).collect())
        .unwrap_or_default()
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Socket::Plain(stream) => Pin::new(stream).poll_read(context, to),
            Socket::Tls(stream) => Pin::new(stream).poll_read(context, to),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Socket::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Socket::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Socket::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Socket::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Socket::Plain(stream) => stream.is_write_vectored(),
            Socket::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Socket::Plain(stream) => Pin::new(stream).poll_flush(context),
            Socket::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Socket::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Socket::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

impl Connection {
    /// Fails a write that has waited for the client for too long.
    fn check_stalled<T>(&mut self, context: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        if self.membership.poll_closed(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let stall_timeout = self.timeouts.stall_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall_timeout)));
        ready!(stalled.as_mut().poll(context));
        tracing::debug!(peer = %self.peer.address, "closed a connection: the client does not read");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.head.is_empty() {
            let some = self.head.len().min(to.remaining());
            to.put_slice(&self.head.split_to(some));
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(read) = Pin::new(&mut self.socket).poll_read(context, to) {
            return Poll::Ready(read);
        }
        if self.membership.poll_closed(context).is_ready() {
            // As below.
            return Poll::Ready(Ok(()));
        }
        while self.idle.as_mut().poll(context).is_ready() {
            let deadline = self.peer.requests.deadline(self.timeouts.idle);
            if deadline <= Instant::now() {
                tracing::debug!(peer = %self.peer.address, "closed an idle connection");
                // Simulates an end of input, so that HTTP closes the connection as if the client had.
                return Poll::Ready(Ok(()));
            }
            self.idle.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.check_stalled(context, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write_vectored(context, parts);
        self.check_stalled(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        self.check_stalled(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.socket).poll_shutdown(context);
        self.check_stalled(context, closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_counted_by_host() {
        let of = |address: &str| client_of(address.parse().unwrap()).to_string();
        assert_eq!(of("10.0.0.7"), "10.0.0.7");
        assert_eq!(of("::ffff:10.0.0.7"), "10.0.0.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }
}

//! Connections: taken up to a number, each with its TLS handshake in a task of its own, so that a slow or broken
//! client keeps no other from coming in.

use super::tls::{Speech, Tls};
use crate::guard::Live;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

/// How long a client may take to shake hands, or to send its first byte.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long nothing is accepted after the system refused to (it is out of file descriptors).
const PAUSE: Duration = Duration::from_millis(50);

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// An open connection.
pub(super) struct Connection {
    wire: Wire,
    peer: Peer,
    _place: OwnedSemaphorePermit,
}

/// Who is at its other end. Travels with each request as an extension.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// DNS names in the certificate that the client has proved to have.
    pub(super) names: Arc<[String]>,
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

/// The connections, as they are ready.
pub(super) type Incoming = ReceiverStream<io::Result<Connection>>;

/// Begins to accept; ends when the receiver is dropped. `open` has a place for each connection.
pub(super) fn accept(listener: TcpListener, tls: Option<Live<Tls>>, speech: Speech, open: Arc<Semaphore>) -> Incoming {
    let (ready, incoming) = mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ready.closed() => return,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = open.clone().try_acquire_owned() else {
                tracing::warn!(peer = %address, "closed: as many connections are open as may be");
                continue;
            };
            let (tls, ready) = (tls.as_ref().map(Live::get), ready.clone());
            tokio::spawn(async move {
                match tokio::time::timeout(HANDSHAKE, shake_hands(stream, tls, speech)).await {
                    Ok(Ok((wire, names))) => {
                        let connection = Connection { wire, peer: Peer { address, names }, _place: place };
                        // Without a receiver the server has stopped.
                        let _ = ready.send(Ok(connection)).await;
                    }
                    Ok(Err(error)) => tracing::debug!(peer = %address, %error, "a connection was not made"),
                    Err(_) => tracing::debug!(peer = %address, "a connection was not made in time"),
                }
            });
        }
    });
    ReceiverStream::new(incoming)
}

async fn shake_hands(stream: TcpStream, tls: Option<Arc<Tls>>, speech: Speech) -> io::Result<(Wire, Arc<[String]>)> {
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        stream.readable().await?;
        return Ok((Wire::Plain(stream), Arc::default()));
    };
    let stream = TlsAcceptor::from(tls.config(speech)).accept(stream).await?;
    let names = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(dns_names).unwrap_or_default();
    Ok((Wire::Tls(Box::new(stream)), names.into()))
}

pub(super) fn dns_names(certificate: &CertificateDer<'static>) -> Vec<String> {
    // The handshake has verified it.
    webpki::EndEntityCert::try_from(certificate)
        .map(|certificate| certificate.valid_dns_names().map(str::to_owned).collect())
        .unwrap_or_default()
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(context, to),
            Wire::Tls(stream) => Pin::new(stream).poll_read(context, to),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Wire::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Wire::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(context),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

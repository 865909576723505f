//! Clients that exhaust shared resources: incomplete messages, endless health watches, silent connections, unread
//! layouts. The server's use of resources is read from its metrics.

#![allow(clippy::print_stderr, reason = "prints counts of rounds")]

use crate::harness::*;
use crate::metrics::{get, http, value};
use crate::support::memory_engine::MemoryEngine;
use crate::tls::Authority;
use http_body_util::{BodyExt, StreamBody};
use nearness::auth::Reloadable;
use nearness::engine::Node;
use nearness::grpc::server::ServerError;
use nearness::grpc::{Client, Server, ServerOptions, Tls, WebOptions, pb};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::StreamExt;
use tonic::body::Body;
use tonic::codegen::{Service, http as web};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A server with all its ports.
struct Ports {
    url: String,
    grpc: SocketAddr,
    web: SocketAddr,
    metrics: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    _task: JoinHandle<Result<(), ServerError>>,
}

impl Ports {
    fn start(engine: Arc<dyn Node>, options: ServerOptions) -> Self {
        let free: SocketAddr = ([127, 0, 0, 1], 0).into();
        let web = Some(WebOptions { address: free, names: Vec::new(), optional: false });
        let server = Server::bind(engine, ServerOptions { metrics: Some(free), web, ..options }).unwrap();
        let (grpc, web, metrics) = (server.local_addr(), server.web_addr().unwrap(), server.metrics_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.serve(async { drop(stopped.await) }));
        Self { url: format!("http://{grpc}"), grpc, web, metrics, stop: Some(stop), _task: task }
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(self.url.clone()).unwrap().connect().await.unwrap()
    }

    async fn gauge(&self, name: &str) -> usize {
        value(&http(self.metrics, &get("/metrics")).await.1, &format!("nearness_{name}")) as usize
    }

    /// Waits for a gauge to have this value.
    async fn settles(&self, name: &str, expected: usize) {
        let started = Instant::now();
        loop {
            let found = self.gauge(name).await;
            if found == expected {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{name} is {found}, not {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        drop(self.stop.take());
    }
}

fn engine() -> Arc<MemoryEngine> {
    Arc::new(MemoryEngine::new(crate::registry()))
}

/// Returns the first bytes of a message of this length.
fn beginning(length: usize, sent: usize) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend((length as u32).to_be_bytes());
    bytes.resize(sent, b'x');
    bytes
}

/// Sends the beginning of a body that never ends; returns the status of the call.
async fn send_incomplete(mut channel: Channel, path: &str, bytes: Vec<u8>) -> Code {
    let frame = Ok::<_, Infallible>(http_body::Frame::data(bytes.into()));
    // The body ends when this call is dropped.
    let (_sender, rest) = tokio::sync::mpsc::channel(1);
    let body = StreamBody::new(tokio_stream::iter([frame]).chain(tokio_stream::wrappers::ReceiverStream::new(rest)));
    let request = web::Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
    let response = channel.call(request.body(Body::new(body)).unwrap()).await.unwrap();
    let headers = response.headers().clone();
    let trailers = response.into_body().collect().await.unwrap().trailers().cloned();
    let status = Status::from_header_map(&headers).or_else(|| Status::from_header_map(&trailers.unwrap_or_default()));
    status.expect("a status").code()
}

const UPSERT_STREAM: &str = "/nearness.v1.Points/UpsertStream";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn incomplete_messages_share_the_memory_limit() {
    const CLIENTS: usize = 40;
    const SENT: usize = 900 << 10;
    let limits = ServerOptions { max_message_bytes: 1 << 20, max_request_memory_bytes: 4 << 20, ..options() };
    let limit = limits.max_request_memory_bytes;
    let server = Ports::start(engine(), limits);
    for round in 1..=3 {
        // By gRPC and by gRPC-web.
        let mut clients = JoinSet::new();
        let channel = server.channel().await;
        for at in 0..CLIENTS {
            let (channel, web) = (channel.clone(), server.web);
            clients.spawn(async move {
                if at % 2 == 0 {
                    return send_incomplete(channel, UPSERT_STREAM, beginning(1 << 20, SENT)).await;
                }
                let head = format!(
                    "POST {UPSERT_STREAM} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/grpc-web+proto\r\n\
                     content-length: {}\r\n\r\n",
                    (1 << 20) + 5
                );
                let (mut read, mut write) = TcpStream::connect(web).await.unwrap().into_split();
                let sending = tokio::spawn(async move {
                    // The server stops reading when it refuses.
                    let _ = write.write_all(&[head.as_bytes(), &beginning(1 << 20, SENT)].concat()).await;
                    write
                });
                let reply = read_until(&mut read, "grpc-status:8").await;
                assert!(reply, "the reply is not RESOURCE_EXHAUSTED");
                drop(sending);
                Code::ResourceExhausted
            });
        }
        let (mut refused, mut max_used) = (0, 0);
        let started = Instant::now();
        while refused < CLIENTS - limit / SENT {
            let used = server.gauge("request_memory_bytes").await;
            assert!(used <= limit, "{used} bytes are used");
            max_used = max_used.max(used);
            while let Some(ended) = clients.try_join_next() {
                assert_eq!(ended.unwrap(), Code::ResourceExhausted);
                refused += 1;
            }
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "only {refused} of {CLIENTS} are refused; {max_used} bytes used"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        eprintln!("round {round}: {refused} of {CLIENTS} refused, at most {max_used} bytes used");
        assert!(max_used >= SENT, "{max_used}");
        clients.shutdown().await;
        server.settles("request_memory_bytes", 0).await;
    }
}

/// Reads until the text arrives; returns false if the stream ends first.
async fn read_until(from: &mut (impl AsyncRead + Unpin), text: &str) -> bool {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return false,
            Ok(found) => all.extend_from_slice(&buffer[..found]),
        }
        if String::from_utf8_lossy(&all).replace(' ', "").contains(text) {
            return true;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_keeps_the_charge_of_its_largest_message() {
    let limits = ServerOptions { max_message_bytes: 1 << 20, max_request_memory_bytes: 4 << 20, ..options() };
    let server = Ports::start(engine(), limits);
    let client = Client::connect(&server.url, &Default::default()).await.unwrap();
    client.create_collection(plain("c", 1, pb::Metric::L2)).await.unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver).map(|item| pb::UpsertStreamRequest {
        collection: "c".into(),
        item: Some(item),
        ..Default::default()
    });
    let mut acks = client.upsert_stream(requests).await.unwrap();
    let large =
        pb::Item { payload: payload(serde_json::json!({"t": "x".repeat(500_000)})), ..vector_item("a", &[1.0]) };
    for item in [large, vector_item("b", &[1.0])] {
        sender.send(item).await.unwrap();
        assert_eq!(acks.next().await.unwrap().unwrap()[0].error, "");
        // The decoder's buffer does not shrink.
        let used = server.gauge("request_memory_bytes").await;
        assert!((500_000..1_100_000).contains(&used), "{used}");
    }
    drop(sender);
    assert!(acks.next().await.unwrap().is_none());
    server.settles("request_memory_bytes", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_requests_are_limited() {
    let server = Ports::start(engine(), ServerOptions { stall_timeout: Duration::from_millis(500), ..options() });
    let channel = server.channel().await;
    for (length, sent, code) in [
        // Longer than any service name.
        (4 << 20, 60_000, Code::ResourceExhausted),
        (5_000, 4_000, Code::ResourceExhausted),
        // The rest never arrives.
        (4_000, 3_000, Code::DeadlineExceeded),
    ] {
        for call in ["Check", "Watch"] {
            let path = format!("/grpc.health.v1.Health/{call}");
            let ended = send_incomplete(channel.clone(), &path, beginning(length, sent));
            let ended = tokio::time::timeout(Duration::from_secs(9), ended).await;
            assert_eq!(ended.ok(), Some(code), "{call}: {sent} bytes of {length}");
        }
    }

    let mut rounds = 0;
    for _ in 0..2 {
        let mut health = HealthClient::new(channel.clone());
        let (mut watches, mut refused) = (Vec::new(), 0);
        for _ in 0..40 {
            match health.watch(HealthCheckRequest::default()).await {
                Ok(watch) => watches.push(watch.into_inner()),
                Err(status) => {
                    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                    refused += 1;
                }
            }
        }
        assert_eq!((watches.len(), refused), (32, 8));
        assert_eq!(server.gauge("health_watches").await, 32);
        health.check(HealthCheckRequest::default()).await.expect("checks have their own permits");
        drop(watches);
        server.settles("health_watches", 0).await;
        rounds += 1;
    }
    eprintln!("{rounds} rounds of 40 watches");
}

/// Waits for the server to close a connection.
async fn is_closed(mut stream: TcpStream, what: &str) {
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(9), stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "{what}: the connection stays open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_without_a_handshake_are_closed() {
    let plain = ServerOptions { handshake_timeout: Duration::from_millis(300), ..options() };
    let folder = tempfile::tempdir().unwrap();
    let files = Authority::new().serve_from(folder.path(), None);
    let tls = ServerOptions { tls: Some(Reloadable::new(Tls::read(&files).unwrap())), ..plain.clone() };
    let mut rounds = 0;
    for options in [plain, tls] {
        let server = Ports::start(engine(), options);
        for address in [server.grpc, server.web] {
            for sent in [&b""[..], b"P", &PREFACE[..PREFACE.len() - 1], &[0x16], &[0x16, 3, 1, 1]] {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(sent).await.unwrap();
                is_closed(stream, &format!("{sent:?}")).await;
                rounds += 1;
            }
        }
        server.settles("connections", 0).await;
    }
    eprintln!("{rounds} connections closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_without_requests_are_closed() {
    let server = Ports::start(engine(), ServerOptions { idle_timeout: Duration::from_millis(500), ..options() });
    let client = Client::connect(&server.url, &Default::default()).await.unwrap();
    let mut watching = HealthClient::new(server.channel().await);
    let mut watch = watching.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    for _ in 0..2 {
        client.list_collections(pb::ListCollectionsRequest::default()).await.expect("the client connects again");
        server.settles("connections", 1).await;
    }
    // The remaining connection has a request, and stays open.
    watching.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(server.gauge("connections").await, 1);
    // A persistent HTTP/1 connection.
    let mut persistent = TcpStream::connect(server.web).await.unwrap();
    persistent.write_all(b"GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    is_closed(persistent, "after a reply").await;
    drop((watch, watching));
    server.settles("connections", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_no_files_is_disconnected() {
    let server = Ports::start(engine(), ServerOptions { stall_timeout: Duration::from_millis(500), ..options() });
    let page = http(server.web, &get("/").replace("host: x", "host: localhost")).await.1;
    let script = page.split('"').find(|part| part.ends_with(".js")).unwrap().trim_start_matches('.');
    let requests = format!("GET {script} HTTP/1.1\r\nhost: localhost\r\n\r\n").repeat(2_000);
    let (unread, mut write) = TcpStream::connect(server.web).await.unwrap().into_split();
    // The server stops reading while its responses are unread.
    let sending = tokio::spawn(async move {
        let _ = write.write_all(requests.as_bytes()).await;
        write
    });
    server.settles("connections", 1).await;
    server.settles("connections", 0).await;
    drop((unread, sending));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_keep_out_other_addresses() {
    let limits = ServerOptions { max_connections: 10, max_connections_per_address: 6, ..options() };
    let server = Ports::start(engine(), limits);
    let connect = async |from: [u8; 4], to: SocketAddr| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut stream = socket.connect(to).await.unwrap();
        let _ = stream.write_all(PREFACE).await;
        let mut settings = [0; 9];
        // The server's SETTINGS frame, or the end.
        stream.read_exact(&mut settings).await.is_ok().then_some(stream)
    };
    let (greedy, modest) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let mut rounds = 0;
    for _ in 0..3 {
        let mut held = Vec::new();
        for at in 0..10 {
            let to = if at % 2 == 0 { server.grpc } else { server.web };
            held.extend(connect(greedy, to).await);
        }
        assert_eq!(held.len(), 6, "the two ports share the limit");
        // Four are free, and an idle one of the other address is closed for a fifth; a sixth would be more than its share.
        let mut others = Vec::new();
        for _ in 0..6 {
            others.extend(connect(modest, server.grpc).await);
        }
        assert_eq!((others.len(), server.gauge("connections").await), (5, 10));
        // A third address gets its share, though the two others use all connections.
        for _ in 0..4 {
            others.extend(connect([127, 0, 0, 3], server.web).await);
        }
        assert_eq!((others.len(), server.gauge("connections").await), (8, 10));
        is_closed(held.remove(0), "for another address").await;
        drop((held, others));
        server.settles("connections", 0).await;
        rounds += 1;
    }
    eprintln!("{rounds} rounds of 16 connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_block_the_metrics_endpoint() {
    let server = Ports::start(engine(), options());
    let mut idle = Vec::new();
    for round in 0..5 {
        for _ in 0..17 {
            let mut stream = TcpStream::connect(server.metrics).await.unwrap();
            if round % 2 == 0 {
                let _ = stream.write_all(b"GET /metr").await;
            }
            idle.push(stream);
        }
        let response = tokio::time::timeout(Duration::from_secs(9), http(server.metrics, &get("/metrics"))).await;
        let (head, _) = response.expect("a response despite idle connections");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
    eprintln!("5 answers beside {} idle connections", idle.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_layouts_hold_no_thread() {
    const UNREAD: usize = 12;
    const POINTS: usize = 3_200;
    let (engine, _folder) = crate::local();
    let server = Ports::start(engine, options());
    let client = Client::connect(&server.url, &Default::default()).await.unwrap();
    client.create_collection(plain("c", 4, pb::Metric::L2)).await.unwrap();
    let names: Vec<String> = (0..8).map(|at| format!("f{at}")).collect();
    let fields: serde_json::Map<_, _> = names.iter().map(|name| (name.clone(), "x".repeat(256).into())).collect();
    let item = |at: usize| {
        let vector = [at as f32, (at * 31 % 101) as f32, (at * 17 % 97) as f32, 1.0];
        pb::Item { payload: payload(fields.clone().into()), ..vector_item(&format!("p{at}"), &vector) }
    };
    client.upsert(upsert("c", (0..POINTS).map(item).collect())).await.unwrap();
    let request = || pb::ComputeLayoutRequest {
        collection: "c".into(),
        method: pb::MapMethod::Pca.into(),
        payload_fields: names.clone(),
        ..Default::default()
    };
    let mut unread = Vec::new();
    for _ in 0..UNREAD {
        let channel = Channel::from_shared(server.url.clone()).unwrap().initial_stream_window_size(65_535);
        let mut map = pb::map_client::MapClient::new(channel.connect().await.unwrap());
        unread.push(map.compute_layout(request()).await.unwrap());
    }
    let read = async {
        let mut parts = client.compute_layout(request()).await.unwrap();
        let mut points = 0;
        while let Some(part) = parts.next().await.unwrap() {
            if let Some(pb::compute_layout_response::Part::Points(part)) = part.part {
                points += part.ids.len();
            }
        }
        points
    };
    let read = tokio::time::timeout(Duration::from_secs(15), read).await;
    assert_eq!(read.ok(), Some(POINTS), "{UNREAD} unread layouts block another");
    // Unread parts count as request memory until their clients leave.
    assert!(server.gauge("request_memory_bytes").await > UNREAD << 20);
    drop(unread);
    server.settles("request_memory_bytes", 0).await;
    eprintln!("{UNREAD} layouts unread");
}

//! The port for browsers: its files, gRPC-web behind the same access control, and refusals.

use crate::auth::{grant, with_access};
use crate::harness::*;
use crate::registry;
use crate::support::memory_engine::MemoryEngine;
use crate::tls::Authority;
use flate2::read::GzDecoder;
use nearness::auth::{Access, Reloadable, Role};
use nearness::engine::{Database, Node};
use nearness::grpc::server::ServerError;
use nearness::grpc::{Client, ClientOptions, Server, ServerOptions, Tls, WebOptions, pb};
use prost::Message;
use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Page {
    address: SocketAddr,
    url: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServerError>>,
}

fn web() -> WebOptions {
    WebOptions { address: ([127, 0, 0, 1], 0).into(), names: vec!["Db.example.org".into()], optional: false }
}

async fn start_page(options: ServerOptions) -> Page {
    start_page_with(Arc::new(MemoryEngine::new(registry())), options)
}

fn start_page_with(engine: Arc<dyn Node>, options: ServerOptions) -> Page {
    let server = Server::bind(engine, ServerOptions { web: Some(web()), ..options }).unwrap();
    let (address, url) = (server.web_addr().unwrap(), format!("http://{}", server.local_addr()));
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(server.serve(async { drop(stopped.await) }));
    Page { address, url, stop, task }
}

struct Reply {
    code: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// Sends one request and reads the reply to its end.
async fn send(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str, body: &[u8]) -> Reply {
    let head = format!("{head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut bytes = Vec::new();
    // Some servers end TLS without close_notify.
    let _ = stream.read_to_end(&mut bytes).await;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let code = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> =
        lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.into(), value.into())).collect();
    let mut body = bytes[end + 4..].to_vec();
    if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        body = unchunked(&body);
    }
    Reply { code, headers, body }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("the size of a chunk");
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend(&rest[end + 2..][..size]);
        rest = &rest[end + 2 + size + 2..];
    }
}

async fn get(address: SocketAddr, path: &str, headers: &str) -> Reply {
    let stream = TcpStream::connect(address).await.unwrap();
    send(stream, &format!("GET {path} HTTP/1.1\r\nhost: localhost:7700{headers}"), &[]).await
}

/// Calls a method by gRPC-web; returns HTTP status, message, and `grpc-status`.
async fn call<T: Message + Default>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
    request: &impl Message,
    headers: &str,
) -> (u16, Option<T>, Option<String>) {
    let message = request.encode_to_vec();
    let body = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    let head = format!("POST /{path} HTTP/1.1\r\ncontent-type: application/grpc-web+proto\r\nx-grpc-web: 1{headers}");
    let Reply { code, headers, body } = send(stream, &head, &body).await;
    let (mut message, mut status) = (None, headers.get("grpc-status").cloned());
    let mut rest = body.as_slice();
    while rest.len() >= 5 && code == 200 {
        let (head, after) = rest.split_at(5);
        let (frame, after) = after.split_at(u32::from_be_bytes(head[1..].try_into().unwrap()) as usize);
        if head[0] & 0x80 == 0 {
            message = Some(T::decode(frame).unwrap());
        } else {
            let trailers = String::from_utf8(frame.to_vec()).unwrap();
            let found = trailers.lines().find_map(|line| line.strip_prefix("grpc-status:")).map(str::trim);
            status = found.map(str::to_owned).or(status);
        }
        rest = after;
    }
    (code, message, status)
}

async fn list(page: &Page, headers: &str) -> (u16, Option<pb::ListCollectionsResponse>, Option<String>) {
    let stream = TcpStream::connect(page.address).await.unwrap();
    call(stream, "nearness.v1.Collections/List", &pb::ListCollectionsRequest::default(), headers).await
}

const LOCAL_HOST: &str = "\r\nhost: localhost:7700";
const UNAUTHENTICATED: &str = "16";

#[tokio::test]
async fn grpc_web_responses_are_limited() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Database::options().embedders(registry()).open(folder.path()).unwrap();
    let small = ServerOptions { max_message_bytes: 64 << 10, default_response_bytes: 16 << 10, ..options() };
    let page = start_page_with(Arc::new(engine), small);
    let client = Client::connect(&page.url, &ClientOptions::default()).await.unwrap();
    client.create_collection(plain("c", 1_000, pb::Metric::L2)).await.unwrap();
    for n in 0..40 {
        client.upsert(upsert("c", vec![vector_item(&n.to_string(), &[n as f32; 1_000])])).await.unwrap();
    }
    let ids: Vec<String> = (0..40).map(|n: u32| n.to_string()).collect();
    let fields = Some(pb::Fields { payload: false, vector: true, ..Default::default() });
    let get = pb::GetPointsRequest { collection: "c".into(), ids: ids.clone(), fields, min_sequence: 0 };
    let stream = TcpStream::connect(page.address).await.unwrap();
    let (_, reply, status) = call(stream, "nearness.v1.Points/Get", &get, LOCAL_HOST).await;
    let reply: pb::GetPointsResponse = reply.unwrap();
    assert_eq!((reply.points.len(), status.as_deref()), (16, Some("0")), "of 4 KB each");
    assert_eq!(reply.remaining, ids[16..]);
    let mut search = near_vector("c", &[0.0; 1_000], 40);
    search.params.as_mut().unwrap().fields = fields;
    let stream = TcpStream::connect(page.address).await.unwrap();
    let (_, reply, _) = call(stream, "nearness.v1.Search/Search", &search, LOCAL_HOST).await;
    let reply: pb::SearchResponse = reply.unwrap();
    assert_eq!((reply.hits.len(), reply.next_offset), (16, 16));
    search.offset = 32;
    let stream = TcpStream::connect(page.address).await.unwrap();
    let (_, reply, _) = call(stream, "nearness.v1.Search/Search", &search, LOCAL_HOST).await;
    let reply: pb::SearchResponse = reply.unwrap();
    assert_eq!((hit_ids(&reply).concat(), reply.next_offset), (ids[32..].concat(), 0));
}

#[tokio::test]
async fn files_have_their_headers() {
    let page = start_page(options()).await;
    let plain = get(page.address, "/", "").await;
    assert_eq!((plain.code, plain.headers["content-type"].as_str()), (200, "text/html; charset=utf-8"));
    let packed = get(page.address, "/", "\r\naccept-encoding: gzip, br").await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    let mut unpacked = Vec::new();
    GzDecoder::new(packed.body.as_slice()).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == plain.body && !plain.headers.contains_key("content-encoding"));
    assert_ne!(plain.headers["etag"], packed.headers["etag"]);
    assert_eq!(plain.headers["cache-control"], "no-cache");

    let known = format!("\r\nif-none-match: {}", plain.headers["etag"]);
    let again = get(page.address, "/", &known).await;
    assert_eq!((again.code, again.body.len()), (304, 0));

    let text = String::from_utf8(plain.body).unwrap();
    let scripts: Vec<&str> = text.split('"').filter(|part| part.ends_with(".js")).collect();
    assert!(!scripts.is_empty());
    for script in scripts {
        let file = get(page.address, script.trim_start_matches('.'), "").await;
        assert_eq!((file.code, file.headers["content-type"].as_str()), (200, "text/javascript; charset=utf-8"));
        assert!(file.headers["cache-control"].contains("immutable"));
    }
    for reply in [get(page.address, "/nothing", "").await, plain_post(&page).await, again, packed] {
        let policy = &reply.headers["content-security-policy"];
        for part in ["default-src 'self'", "frame-ancestors 'none'", "object-src 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(reply.headers["x-content-type-options"], "nosniff");
        assert_eq!(reply.headers["referrer-policy"], "no-referrer");
        assert!(!reply.headers.keys().any(|name| name.starts_with("access-control")));
    }
    assert_eq!(get(page.address, "/nothing", "").await.code, 404);
    assert_eq!(get(page.address, "/../Cargo.toml", "").await.code, 404);
    assert_eq!(plain_post(&page).await.code, 405);
}

async fn plain_post(page: &Page) -> Reply {
    let stream = TcpStream::connect(page.address).await.unwrap();
    send(stream, &format!("POST / HTTP/1.1{LOCAL_HOST}"), b"x").await
}

#[tokio::test]
async fn the_same_services_answer_browsers() {
    let page = start_page(options()).await;
    let client = Client::connect(&page.url, &ClientOptions::default()).await.unwrap();
    client.create_collection(plain("c", 2, pb::Metric::L2)).await.unwrap();
    client.upsert(upsert("c", vec![vector_item("a", &[1.0, 2.0])])).await.unwrap();
    let (code, reply, status) = list(&page, LOCAL_HOST).await;
    assert_eq!((code, status.as_deref()), (200, Some("0")));
    assert_eq!(reply.unwrap().collections[0].points, 1);
    let stream = TcpStream::connect(page.address).await.unwrap();
    let request = near_vector("nowhere", &[1.0, 2.0], 1);
    let refused = call::<pb::SearchResponse>(stream, "nearness.v1.Search/Search", &request, LOCAL_HOST).await;
    assert_eq!((refused.0, refused.1, refused.2.as_deref()), (200, None, Some("5")));
    // An unknown method, and an unknown service.
    for path in ["nearness.v1.Search/Drop", "nearness.v1.Nothing/Do"] {
        let stream = TcpStream::connect(page.address).await.unwrap();
        let (_, reply, status) =
            call::<pb::ListCollectionsResponse>(stream, path, &pb::ListCollectionsRequest::default(), LOCAL_HOST).await;
        assert_eq!((reply, status.as_deref()), (None, Some("12")), "{path}");
    }
}

#[tokio::test]
async fn foreign_origins_and_host_names_are_refused() {
    let page = start_page(options()).await;
    for (headers, code) in [
        (LOCAL_HOST.to_owned(), 200),
        (format!("{LOCAL_HOST}\r\norigin: http://localhost:7700\r\nsec-fetch-site: same-origin"), 200),
        ("\r\nhost: db.example.org\r\norigin: https://db.example.org".to_owned(), 200),
        (format!("{LOCAL_HOST}\r\norigin: http://evil.example"), 403),
        (format!("{LOCAL_HOST}\r\norigin: null"), 403),
        (format!("{LOCAL_HOST}\r\nsec-fetch-site: cross-site"), 403),
        ("\r\nhost: evil.example\r\norigin: http://evil.example".to_owned(), 403),
        ("\r\nhost: evil.example:7700".to_owned(), 403),
    ] {
        assert_eq!(list(&page, &headers).await.0, code, "{headers}");
    }
    let stream = TcpStream::connect(page.address).await.unwrap();
    let rebound = send(stream, "GET / HTTP/1.1\r\nhost: evil.example", &[]).await;
    assert_eq!(rebound.code, 403);
    // Preflight requests of other origins are refused too.
    let stream = TcpStream::connect(page.address).await.unwrap();
    let head = format!("OPTIONS / HTTP/1.1{LOCAL_HOST}\r\norigin: http://evil.example");
    assert_eq!(send(stream, &head, &[]).await.code, 403);
}

#[tokio::test]
async fn browsers_need_a_key() {
    let (secret, reader) = grant("reader", Role::Read, &["seen"]);
    let (_, other) = grant("other", Role::Admin, &["*"]);
    let page = start_page(with_access(Access::restricted(vec![reader, other], vec![], None))).await;
    // The page itself needs no key: it prompts for one.
    assert_eq!(get(page.address, "/", "").await.code, 200);
    let with = |credential: &str| format!("{LOCAL_HOST}\r\nauthorization: Bearer {credential}");
    assert_eq!(list(&page, LOCAL_HOST).await.2.as_deref(), Some(UNAUTHENTICATED));
    let invalid = format!("{}0", &secret[..secret.len() - 1]);
    if invalid != secret {
        assert_eq!(list(&page, &with(&invalid)).await.2.as_deref(), Some(UNAUTHENTICATED));
    }
    assert_eq!(list(&page, &with("nrn_nothing")).await.2.as_deref(), Some(UNAUTHENTICATED));
    assert_eq!(list(&page, &with(&secret)).await.2.as_deref(), Some("0"));
    let stream = TcpStream::connect(page.address).await.unwrap();
    let create = plain("c", 2, pb::Metric::L2);
    let path = "nearness.v1.Collections/Create";
    let denied = call::<pb::CreateCollectionResponse>(stream, path, &create, &with(&secret)).await;
    assert_eq!((denied.1, denied.2.as_deref()), (None, Some("7")));
}

#[tokio::test]
async fn browsers_receive_more_than_the_default_of_grpc_libraries() {
    let page = start_page(ServerOptions { default_response_bytes: 300, ..options() }).await;
    let client = Client::connect(&page.url, &ClientOptions::default()).await.unwrap();
    for n in 0..10 {
        client.create_collection(plain(&format!("c{n}"), 2, pb::Metric::L2)).await.unwrap();
    }
    let (_, reply, status) = list(&page, LOCAL_HOST).await;
    assert_eq!((reply.unwrap().collections.len(), status.as_deref()), (10, Some("0")));
    // Other clients get a page.
    let is_page =
        |page: &pb::ListCollectionsResponse| (1..10).contains(&page.collections.len()) && !page.next.is_empty();
    let limited = list(&page, &format!("{LOCAL_HOST}\r\nnearness-max-response-bytes: 300")).await;
    assert!(limited.1.is_some_and(|reply| is_page(&reply)));
    let mut stock = pb::collections_client::CollectionsClient::connect(page.url.clone()).await.unwrap();
    let listed = stock.list(pb::ListCollectionsRequest::default()).await.unwrap().into_inner();
    assert!(is_page(&listed), "{listed:?}");
}

#[tokio::test]
async fn the_port_is_closed_at_shutdown() {
    let page = start_page(options()).await;
    assert_eq!(get(page.address, "/", "").await.code, 200);
    // An idle connection does not delay shutdown.
    let idle = TcpStream::connect(page.address).await.unwrap();
    page.stop.send(()).unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(9), page.task).await.expect("an end in time").unwrap().unwrap();
    let mut tries = 0;
    while TcpStream::connect(page.address).await.is_ok() {
        tries += 1;
        assert!(tries < 100, "the port is still open");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(idle);
}

#[tokio::test]
async fn a_port_in_use_is_an_error_only_if_required() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = |optional| WebOptions { address: taken.local_addr().unwrap(), optional, ..web() };
    let bind = |optional| {
        let engine = Arc::new(MemoryEngine::new(registry()));
        Server::bind(engine, ServerOptions { web: Some(at(optional)), ..options() })
    };
    assert!(matches!(bind(false), Err(ServerError::Bind { .. })));
    assert!(bind(true).unwrap().web_addr().is_none());
    let open = WebOptions { address: ([0, 0, 0, 0], 0).into(), ..web() };
    let refused = ServerOptions { web: Some(open), ..options() }.check();
    assert!(matches!(refused, Err(ServerError::Plaintext { .. })));
}

#[tokio::test]
async fn the_web_port_uses_tls() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let files = authority.serve_from(folder.path(), None);
    let page = start_page(ServerOptions { tls: Some(Reloadable::new(Tls::read(&files).unwrap())), ..options() }).await;
    let connect = async || {
        let stream = TcpStream::connect(page.address).await.unwrap();
        authority.browser().connect("127.0.0.1".try_into().unwrap(), stream).await.unwrap()
    };
    let stream = connect().await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
    let reply = send(stream, &format!("GET / HTTP/1.1{LOCAL_HOST}"), &[]).await;
    assert_eq!((reply.code, reply.headers["content-type"].as_str()), (200, "text/html; charset=utf-8"));
    let path = "nearness.v1.Collections/List";
    let (code, _, status) =
        call::<pb::ListCollectionsResponse>(connect().await, path, &pb::ListCollectionsRequest::default(), LOCAL_HOST)
            .await;
    assert_eq!((code, status.as_deref()), (200, Some("0")));
    // The response to plain text is only the reason.
    let plain = TcpStream::connect(page.address).await.unwrap();
    let reply = send(plain, &format!("GET / HTTP/1.1{LOCAL_HOST}"), &[]).await;
    assert_eq!((reply.code, reply.body.as_slice()), (400, b"this port requires TLS: use https://\n".as_slice()));
}

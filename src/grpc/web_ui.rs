//! The port for browsers: static files, and gRPC-web in front of the same services as on the gRPC port.
//!
//! A browser sends requests of any site to any reachable address, including this machine's loopback. So a request is
//! answered only if its host is a name of this server (not a name that an attacker's DNS resolves to this machine) and
//! if it comes from a page of this server. No header ever allows another origin.

use super::limits::MAX_RESPONSE_BYTES;
use crate::web::{self, File};
use bytes::Bytes;
use http_body_util::Full;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tonic::codegen::http::uri::Authority;
use tonic::codegen::http::{Method, Request, Response, StatusCode};
use tonic::codegen::{BoxFuture, Service};
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower_layer::Layer;

/// Allows scripts, styles and connections from this origin, and images that the page creates itself.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'",
);
/// Sent with every response.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), microphone=(), geolocation=()"),
    ),
];
/// For files whose name changes with their content.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// For files that are revalidated by their hash each time.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
const TEXT_PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// Header in which browsers report the site that initiated a request.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Host names of the server.
#[derive(Clone, Debug)]
pub(super) struct HostNames {
    /// Lower case, without ports. IP addresses and `localhost` are always allowed.
    pub(super) names: Arc<[String]>,
    /// With TLS, the certificate authenticates the name.
    pub(super) tls: bool,
}

impl HostNames {
    fn is_own(&self, authority: &Authority) -> bool {
        let host = authority.host().to_ascii_lowercase();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let address = bare.map_or_else(|| host.parse::<Ipv4Addr>().is_ok(), |bare| bare.parse::<Ipv6Addr>().is_ok());
        self.tls || address || host == "localhost" || self.names.contains(&host)
    }

    /// Returns the reason for refusing a request, if any.
    fn refusal<B>(&self, request: &Request<B>) -> Option<&'static str> {
        let Some(host) = host(request) else { return Some("the request names no host, or more than one") };
        if !self.is_own(&host) {
            return Some("unknown host name of this server; add it to web.names");
        }
        match only(request.headers(), header::ORIGIN.as_str()) {
            Ok(None) => {}
            Ok(Some(origin)) if same_host(origin, &host) => {}
            Ok(Some(_)) | Err(()) => return Some("the request comes from a page of another origin"),
        }
        let calls = request.method() != Method::GET && request.method() != Method::HEAD;
        match only(request.headers(), SEC_FETCH_SITE) {
            Ok(Some("cross-site" | "same-site")) if calls => Some("the request comes from a page of another origin"),
            Ok(_) => None,
            Err(()) => Some("duplicate sec-fetch-site header"),
        }
    }
}

/// Returns the value of a header that occurs at most once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(HeaderValue::to_str).transpose().map_err(drop)?;
    if values.next().is_some() { Err(()) } else { Ok(first) }
}

/// Returns the host and port that a request was sent to.
fn host<B>(request: &Request<B>) -> Option<Authority> {
    let header = only(request.headers(), header::HOST.as_str()).ok()?;
    let named = header.map(str::parse).transpose().ok()?;
    match (request.uri().authority().cloned(), named) {
        (Some(authority), Some(header)) => (authority == header).then_some(authority),
        (one, other) => one.or(other),
    }
}

/// Whether an origin has this host and port.
fn same_host(origin: &str, host: &Authority) -> bool {
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host.as_str()))
}

/// The HTTP service of the port.
#[derive(Clone)]
pub(super) struct WebUi<S> {
    services: GrpcWebService<S>,
    names: HostNames,
}

impl<S> WebUi<S> {
    pub(super) fn new(services: S, names: HostNames) -> Self {
        Self { services: GrpcWebLayer::new().layer(services), names }
    }
}

impl<S> Service<Request<Body>> for WebUi<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Self::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.services, context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let response = if let Some(why) = self.names.refusal(&request) {
            tracing::debug!(why, "refused a request of a browser");
            plain(StatusCode::FORBIDDEN, why)
        } else if is_grpc_web(request.headers()) {
            // Browsers send no limit.
            let unlimited = HeaderValue::from_static("18446744073709551615");
            request.headers_mut().entry(MAX_RESPONSE_BYTES).or_insert(unlimited);
            let answer = self.services.call(request);
            return Box::pin(async move { Ok(with_headers(answer.await?)) });
        } else {
            match *request.method() {
                Method::GET | Method::HEAD => file(&request),
                _ => plain(StatusCode::METHOD_NOT_ALLOWED, "use GET for files, and gRPC-web for services"),
            }
        };
        Box::pin(async move { Ok(with_headers(response)) })
    }
}

fn is_grpc_web(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc-web"))
}

fn with_headers(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().extend(HEADERS.map(|(name, value)| (name, value)));
    response
}

fn plain(code: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::from(format!("{text}\n"))));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, TEXT_PLAIN);
    response.headers_mut().insert(header::CACHE_CONTROL, REVALIDATE);
    response
}

fn file<B>(request: &Request<B>) -> Response<Body> {
    let Some(file) = web::find(request.uri().path()) else {
        return plain(StatusCode::NOT_FOUND, "no such file");
    };
    let gzip = accepts_gzip(request.headers());
    let Some((tag, content)) = content(&file, gzip) else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read");
    };
    let known = request.headers().get_all(header::IF_NONE_MATCH).iter().any(|tags| {
        tags.to_str().is_ok_and(|tags| tags.split(',').any(|known| known.trim().trim_start_matches("W/") == tag))
    });
    let length = content.len();
    let body = if known || request.method() == Method::HEAD { Bytes::new() } else { content };
    let mut response = Response::new(Body::new(Full::from(body)));
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::CACHE_CONTROL, if file.is_named_by_hash() { IMMUTABLE } else { REVALIDATE });
    if let Ok(tag) = tag.parse() {
        headers.insert(header::ETAG, tag);
    }
    if known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type()));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Decompressed files by the hash of their content. Cached, so that unread responses share one copy.
static DECOMPRESSED: Mutex<BTreeMap<&'static str, Bytes>> = Mutex::new(BTreeMap::new());

/// Returns the entity tag and the bytes of a file, compressed if requested.
fn content(file: &File, gzip: bool) -> Option<(String, Bytes)> {
    if gzip {
        return Some((format!("\"{}-gzip\"", file.hash), Bytes::from_static(file.gzip)));
    }
    let mut decompressed = DECOMPRESSED.lock().unwrap_or_else(PoisonError::into_inner);
    let content = match decompressed.get(file.hash) {
        Some(content) => content.clone(),
        None => {
            let content = file.content();
            let content: Bytes =
                content.inspect_err(|error| tracing::error!(%error, "a file of the web page is damaged")).ok()?.into();
            decompressed.insert(file.hash, content.clone());
            content
        }
    };
    Some((format!("\"{}\"", file.hash), content))
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|coding| {
            let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = parameters.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32));
            ["gzip", "*"].contains(&name.trim()) && !refused
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> HostNames {
        HostNames { names: ["db.example.org".to_owned()].into(), tls: false }
    }

    #[track_caller]
    fn check(method: Method, headers: &[(&str, &str)], allowed: bool) {
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let refused = names().refusal(&request.body(()).unwrap());
        assert_eq!(refused.is_none(), allowed, "{headers:?}: {refused:?}");
    }

    #[test]
    fn only_requests_to_names_of_this_server_are_answered() {
        for host in ["127.0.0.1:7700", "[::1]:7700", "localhost", "LOCALHOST:8080", "db.example.org", "10.0.0.7"] {
            check(Method::GET, &[("host", host)], true);
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:7700", "db.example.org.", "1.2"]
        {
            check(Method::GET, &[("host", host)], false);
        }
        check(Method::GET, &[], false);
        check(Method::GET, &[("host", "localhost"), ("host", "localhost")], false);
        let tls = HostNames { tls: true, ..names() };
        assert!(tls.refusal(&Request::builder().header("host", "any.example").body(()).unwrap()).is_none());
        let both = Request::builder().uri("http://evil.example/").header("host", "localhost");
        assert!(names().refusal(&both.body(()).unwrap()).is_some());
    }

    #[test]
    fn only_requests_from_pages_of_this_server_are_answered() {
        let host = ("host", "localhost:7700");
        check(Method::POST, &[host], true);
        check(Method::POST, &[host, ("origin", "http://localhost:7700"), ("sec-fetch-site", "same-origin")], true);
        check(Method::POST, &[host, ("origin", "https://localhost:7700")], true);
        for origin in ["http://localhost:7701", "http://localhost", "null", "http://evil.example", "localhost:7700", ""]
        {
            check(Method::POST, &[host, ("origin", origin)], false);
            check(Method::GET, &[host, ("origin", origin)], false);
        }
        check(Method::POST, &[host, ("origin", "http://localhost:7700"), ("origin", "http://localhost:7700")], false);
        check(Method::POST, &[host, ("sec-fetch-site", "cross-site")], false);
        check(Method::POST, &[host, ("sec-fetch-site", "same-site")], false);
        // A link on another page may open this one.
        check(Method::GET, &[host, ("sec-fetch-site", "cross-site")], true);
    }

    #[test]
    fn gzip_is_sent_only_if_accepted() {
        let accepts = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, value.parse().unwrap());
            accepts_gzip(&headers)
        };
        assert!(accepts("gzip, deflate, br") && accepts("br;q=1, gzip;q=0.5") && accepts("*"));
        assert!(!accepts("br") && !accepts("gzip;q=0") && !accepts("identity, gzip; q=0.0") && !accepts(""));
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}

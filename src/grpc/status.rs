//! Conversion of errors to status codes: the only file that names `tonic::Code`.
//!
//! The client receives the first line of an error with `google.rpc` details: `ErrorInfo` with the kind (domain
//! `nearness`), `BadRequest` with the field of the request and the limit. The log receives the whole chain of causes,
//! in the span of the request with its id. Messages to clients omit the directories of files, which only the log
//! contains.

use super::limits::MAX_RESPONSE_BYTES;
use super::middleware::concurrency_limit::LimitReached;
use super::pb;
use crate::api::{self, ErrorKind};
use crate::auth::Role;
use crate::embed;
use std::collections::HashMap;
use std::error::Error as StdError;
use std::time::Duration;
use tonic::codegen::http::HeaderMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Domain of every `ErrorInfo`.
pub(super) const DOMAIN: &str = "nearness";
/// Minimum retry delay; the delay sent is between this and twice this value.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Returns the code and the reason of a kind; exhaustive, so that every new kind is assigned explicitly.
fn code_of(kind: ErrorKind) -> (Code, &'static str) {
    match kind {
        ErrorKind::InvalidInput => (Code::InvalidArgument, "INVALID_INPUT"),
        ErrorKind::OutOfVocabulary => (Code::InvalidArgument, "OUT_OF_VOCABULARY"),
        ErrorKind::NotFound => (Code::NotFound, "NOT_FOUND"),
        ErrorKind::AlreadyExists => (Code::AlreadyExists, "ALREADY_EXISTS"),
        ErrorKind::Conflict => (Code::FailedPrecondition, "CONFLICT"),
        ErrorKind::Forbidden => (Code::PermissionDenied, "PERMISSION_DENIED"),
        ErrorKind::Corrupt => (Code::DataLoss, "CORRUPT"),
        ErrorKind::Exhausted => (Code::ResourceExhausted, "EXHAUSTED"),
        ErrorKind::Unavailable => (Code::Unavailable, "UNAVAILABLE"),
        ErrorKind::Abandoned => (Code::Cancelled, "ABANDONED"),
        ErrorKind::Internal => (Code::Internal, "INTERNAL"),
    }
}

/// Converts an error to the status for the client. (`From` cannot be implemented: both types are foreign.)
pub(super) trait IntoStatus {
    fn into_status(self) -> Status;
}

/// Converts the error of a result to a status.
pub(super) trait OrStatus<T> {
    fn or_status(self) -> Result<T, Status>;
}

impl<T, E: IntoStatus> OrStatus<T> for Result<T, E> {
    fn or_status(self) -> Result<T, Status> {
        self.map_err(IntoStatus::into_status)
    }
}

impl IntoStatus for Status {
    fn into_status(self) -> Status {
        self
    }
}

impl IntoStatus for api::Error {
    fn into_status(self) -> Status {
        let error = self;
        if let api::Error::Overloaded(why) = error {
            return retry_later(why);
        }
        let kind = error.kind();
        let source = match &error {
            api::Error::Embed { source, .. } => Some(source),
            _ => None,
        };
        let why = match &error {
            api::Error::Invalid { why, .. } => Some(why.clone()),
            _ => source.map(ToString::to_string),
        };
        let mut details = details_of(kind, source);
        if let (Some(field), Some(why)) = (error.field(), why) {
            details.add_bad_request_violation(first_line(field), first_line(&without_directories(&why)));
        }
        build(kind, &error, details)
    }
}

impl IntoStatus for embed::Error {
    fn into_status(self) -> Status {
        let error = self;
        let kind = ErrorKind::from(error.kind());
        build(kind, &error, details_of(kind, Some(&error)))
    }
}

fn details_of(kind: ErrorKind, embedding: Option<&embed::Error>) -> ErrorDetails {
    let metadata = match embedding {
        Some(embed::Error::OutOfVocabulary { embedder, words }) => {
            HashMap::from([("words".to_owned(), first_line(words)), ("embedder".to_owned(), embedder.clone())])
        }
        _ => HashMap::new(),
    };
    let mut details = ErrorDetails::new();
    details.set_error_info(code_of(kind).1, DOMAIN, metadata);
    details
}

fn build(kind: ErrorKind, error: &(dyn StdError + 'static), details: ErrorDetails) -> Status {
    let chain = chain(error);
    match kind {
        ErrorKind::Corrupt | ErrorKind::Internal => tracing::error!(error = chain, "request failed"),
        ErrorKind::Exhausted | ErrorKind::Unavailable => tracing::warn!(error = chain, "request failed"),
        ErrorKind::InvalidInput
        | ErrorKind::OutOfVocabulary
        | ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        | ErrorKind::Forbidden
        | ErrorKind::Conflict
        | ErrorKind::Abandoned => tracing::debug!(error = chain, "request refused"),
    }
    Status::with_error_details(code_of(kind).0, first_line(&without_directories(&error.to_string())), details)
}

/// Formats an error and its causes on one line. Omits a cause whose text is already contained in the text before.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Shortens absolute paths to their last component, except within double quotes, which contain client input.
pub(super) fn without_directories(text: &str) -> String {
    let mut short = String::with_capacity(text.len());
    let mut rest = text;
    let mut quoted = false;
    while let Some(c) = rest.chars().next() {
        let path = rest.strip_prefix("file://").unwrap_or(rest);
        let begins = !short.ends_with(|before: char| before.is_alphanumeric() || "/._~:%-".contains(before));
        if !quoted && begins && path.starts_with('/') && path[1..].starts_with(|c: char| !c.is_whitespace() && c != '/')
        {
            let ends = |(at, c): (usize, char)| {
                let stops = c.is_whitespace() || "\"'`,;()[]".contains(c);
                (stops || c == ':' && !path[at + 1..].starts_with(|c: char| !c.is_whitespace())).then_some(at)
            };
            let (whole, after) = path.split_at(path.char_indices().find_map(ends).unwrap_or(path.len()));
            let whole = whole.trim_end_matches('/');
            short.push_str(whole.rsplit('/').next().unwrap_or(whole));
            rest = after;
            continue;
        }
        match c {
            '\\' if quoted => {
                // An escaped character does not end the quotation.
                short.push(c);
                rest = &rest[1..];
                let Some(escaped) = rest.chars().next() else { break };
                short.push(escaped);
                rest = &rest[escaped.len_utf8()..];
                continue;
            }
            '"' => quoted = !quoted,
            _ => {}
        }
        short.push(c);
        rest = &rest[c.len_utf8()..];
    }
    short
}

/// Returns the first line of a message, truncated: it is sent in a header, in several copies, and clients accept 16 KiB
/// of headers.
fn first_line(text: &str) -> String {
    const MAX: usize = 500;
    let line = text.lines().next().unwrap_or_default();
    if line.len() <= MAX {
        return line.to_owned();
    }
    format!("{} ...", &line[..line.floor_char_boundary(MAX)])
}

fn with_reason(kind: ErrorKind, message: String) -> Status {
    tracing::debug!(message, "request refused");
    Status::with_error_details(code_of(kind).0, message, details_of(kind, None))
}

/// Returns the refusal of one item of a stream.
pub(super) fn item_refused(index: u64, id: String, error: &api::Error) -> pb::Ack {
    let (code, _) = code_of(error.kind());
    pb::Ack {
        index,
        id,
        sequence: 0,
        error: first_line(&without_directories(&error.to_string())),
        error_code: code as i32,
        outcome: pb::WriteOutcome::Unspecified.into(),
    }
}

/// Returns the acknowledgement of an item that was not written because of another one.
pub(super) fn item_not_written(index: u64, id: String, error: &api::Error) -> pb::Ack {
    let ack = item_refused(index, id, error);
    pb::Ack { error: format!("not written, because {}", ack.error), error_code: Code::Aborted as i32, ..ack }
}

/// Returns the status for a request that exceeds the server's limit.
pub(super) fn request_too_large(limit: usize) -> Status {
    with_reason(
        ErrorKind::Exhausted,
        format!("the request is larger than the limit of {limit} bytes; send smaller requests"),
    )
}

/// Returns the message for a response of more than `limit` bytes. `max_limit` is the largest limit that the client may
/// request.
pub(super) fn response_limit(limit: usize, max_limit: usize) -> String {
    let less = "request fewer points or fewer fields";
    format!("the response is too large, the limit is {limit} bytes: {less}{}", or_larger_limit(limit, max_limit))
}

/// Returns the message for the terms of a text that exceed the limit of their response.
pub(crate) fn terms_limit(limit: usize, max_limit: usize) -> String {
    format!(
        "the response is too large: the terms of \"text\" take more than {limit} bytes, which is the limit: analyze the \
         text in parts{}",
        or_larger_limit(limit, max_limit)
    )
}

/// Returns the message for a response that has no room for its first part, such as a point: `bytes` beside the `base` of
/// the rest. `less` suggests a smaller request.
pub(crate) fn part_too_large(
    part: &str,
    bytes: usize,
    base: usize,
    limit: usize,
    max_limit: usize,
    less: &str,
) -> String {
    let beside = if base == 0 { String::new() } else { format!(" beside {base} bytes for the rest of the response") };
    format!(
        "the response is too large: {part} takes {bytes} bytes{beside}, the limit is {limit} bytes: {less}{}",
        or_larger_limit(limit, max_limit)
    )
}

fn or_larger_limit(limit: usize, max_limit: usize) -> String {
    if limit >= max_limit {
        return String::new();
    }
    format!(
        ", or, if the client can receive more, send its limit in the metadata {MAX_RESPONSE_BYTES} (at most \
         {max_limit})"
    )
}

/// Returns the status for a response that exceeds its limit.
pub(super) fn response_too_large(limit: usize, max_limit: usize) -> Status {
    with_reason(ErrorKind::Exhausted, response_limit(limit, max_limit))
}

/// Returns the status for a request beyond the concurrency limit, in total or per client.
pub(super) fn overloaded(full: LimitReached) -> Status {
    retry_later(match full {
        LimitReached::Total(limit) => {
            format!("{limit} requests are in progress, which is the limit; retry later")
        }
        LimitReached::PerClient(limit) => {
            format!("{limit} requests of this client are in progress, which is the limit per client; retry later")
        }
    })
}

/// Returns the status for a request beyond the memory limit.
pub(super) fn memory_full(limit: usize) -> Status {
    retry_later(format!("the requests in progress use all {limit} bytes of request memory; retry later"))
}

/// Adds the retry delay, both as `google.rpc` detail and in the form that gRPC libraries apply automatically.
fn retry_later(why: String) -> Status {
    tracing::debug!(why, "request refused");
    // Jitter, so that clients refused together do not retry together.
    let delay = MIN_RETRY_DELAY + MIN_RETRY_DELAY.mul_f64(rand::random::<f64>());
    let mut details = details_of(ErrorKind::Exhausted, None);
    details.set_retry_info(Some(delay));
    let mut status = Status::with_error_details(Code::ResourceExhausted, why, details);
    status.metadata_mut().insert("grpc-retry-pushback-ms", (delay.as_millis() as u64).into());
    status
}

/// Returns the status for missing or invalid credentials; the message does not distinguish them.
pub(super) fn unauthenticated() -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info("UNAUTHENTICATED", DOMAIN, HashMap::new());
    Status::with_error_details(Code::Unauthenticated, "this server requires a valid credential", details)
}

/// Returns the status for a caller whose role is insufficient for a call, `package.Service/Method`.
pub(super) fn insufficient_role(call: &str, needed: Role, has: Role) -> Status {
    let call = call.rsplit_once('.').map_or(call, |(_, call)| call);
    with_reason(
        ErrorKind::Forbidden,
        format!("{call} needs the role {}; this caller has the role {}", needed.name(), has.name()),
    )
}

/// Returns the status for an unknown method.
pub(super) fn unknown_method() -> Status {
    Status::new(Code::Unimplemented, "unknown method")
}

/// Returns the name of the status in the headers of a refusal, or in trailers; none if they contain no status.
pub(super) fn code_name_in(headers: &HeaderMap) -> Option<&'static str> {
    headers.get("grpc-status").map(|value| code_name(Code::from_bytes(value.as_bytes())))
}

/// Returns the name of a status.
pub(super) fn code_name_of(status: &Status) -> &'static str {
    code_name(status.code())
}

/// Name of the status of a call cancelled by its client.
pub(super) const CANCELLED: &str = "CANCELLED";

/// Returns the status for requests during shutdown.
pub(super) fn stopping() -> Status {
    with_reason(ErrorKind::Unavailable, "the server is stopping".to_owned())
}

/// Returns the status for a read that waited too long for a sequence number.
pub(super) fn sequence_timeout(collection: &str, min: u64, reached: u64, stall_timeout: std::time::Duration) -> Status {
    let why = format!(
        "min_sequence: the collection {collection:?} has reached sequence {reached}, not {min}, within {stall_timeout:?}"
    );
    with_reason(ErrorKind::Unavailable, why)
}

/// Returns the status for a request whose deadline has passed.
pub(super) fn deadline_passed() -> Status {
    Status::new(Code::DeadlineExceeded, "the deadline passed before the response was ready")
}

/// Returns the status for a client that sends no more of a request that it has begun.
pub(super) fn client_send_timeout(stall_timeout: Duration) -> Status {
    Status::new(Code::DeadlineExceeded, format!("the client sent nothing for {stall_timeout:?} (the limit)"))
}

/// Returns the status for a client that does not read its response.
pub(super) fn client_read_timeout(stall_timeout: Duration) -> Status {
    Status::new(
        Code::DeadlineExceeded,
        format!("the client did not read its response for {stall_timeout:?} (the limit)"),
    )
}

/// Logs a panic of a request handler, which is a bug, and returns the status for it.
pub(super) fn panicked(error: &(dyn StdError + 'static)) -> Status {
    tracing::error!(error = chain(error), "a request handler panicked");
    Status::with_error_details(
        Code::Internal,
        "internal error (a bug); see the log of the server",
        details_of(ErrorKind::Internal, None),
    )
}

/// Corrects status codes produced by tonic. There, an oversize message is `OUT_OF_RANGE`, and a message that is not
/// protobuf (or is nested too deeply), ends too early, is missing or cannot be decompressed is `INTERNAL`; all these
/// are errors of the caller. Other statuses are unchanged. (A message marked as compressed without an encoding is
/// `INTERNAL` by the gRPC specification.)
pub(super) fn corrected(status: Status, limit: usize) -> Status {
    match status.code() {
        Code::OutOfRange => request_too_large(limit),
        Code::ResourceExhausted if status.message().contains("decompressing") => request_too_large(limit),
        Code::Internal if status.message().starts_with("failed to decode Protobuf message") => {
            // The text lists the names of all enclosing fields, then the problem. A long list is shortened in the
            // middle.
            let text = status.message();
            let (head, tail) = (text.floor_char_boundary(200), text.ceil_char_boundary(text.len().saturating_sub(100)));
            let text = if head < tail { format!("{} ... {}", &text[..head], &text[tail..]) } else { text.to_owned() };
            with_reason(ErrorKind::InvalidInput, first_line(&format!("the request cannot be read: {text}")))
        }
        Code::Internal if status.message().starts_with("Unexpected EOF decoding stream") => {
            with_reason(ErrorKind::InvalidInput, "the request ends within its message".to_owned())
        }
        Code::Internal if status.message().starts_with("Missing request message") => {
            with_reason(ErrorKind::InvalidInput, "the request has no message".to_owned())
        }
        Code::Internal if status.message().starts_with("Error decompressing: ") => {
            with_reason(ErrorKind::InvalidInput, "the message of the request cannot be decompressed".to_owned())
        }
        Code::Internal if status.message().contains("received message with invalid compression flag") => {
            let why = "the request cannot be read: the first byte of a message is 0, or 1 if it is compressed";
            with_reason(ErrorKind::InvalidInput, why.to_owned())
        }
        _ => status,
    }
}

/// The contents of a status, as seen by a client.
pub(super) struct StatusContents {
    /// For example `INVALID_ARGUMENT`.
    pub(super) code: &'static str,
    pub(super) message: String,
    /// Reason of the `ErrorInfo`; empty if there is none.
    pub(super) reason: String,
    /// Field and description of each violation.
    pub(super) fields: Vec<(String, String)>,
}

/// Decodes a status.
pub(super) fn decode(status: &Status) -> StatusContents {
    let details = status.check_error_details().unwrap_or_default();
    StatusContents {
        code: code_name(status.code()),
        message: if status.message().is_empty() {
            status.source().map_or_else(|| status.code().description().to_owned(), chain)
        } else {
            match status.source() {
                Some(source) => format!("{}: {}", status.message(), chain(source)),
                None => status.message().to_owned(),
            }
        },
        reason: details.error_info().map(|info| info.reason.clone()).unwrap_or_default(),
        fields: details
            .bad_request()
            .map(|bad| bad.field_violations.iter().map(|v| (v.field.clone(), v.description.clone())).collect())
            .unwrap_or_default(),
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => CANCELLED,
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_and_short() {
        assert_eq!(first_line("a\nb"), "a");
        assert_eq!(first_line(""), "");
        assert_eq!(first_line(&format!("a{}", "ä".repeat(5_000))), format!("a{} ...", "ä".repeat(249)));
    }

    #[test]
    fn files_are_named_without_their_directories() {
        for (text, short) in [
            ("/var/lib/near ness", "near ness"),
            ("/data/3/points.redb: damaged at byte 5: a/b is wrong", "points.redb: damaged at byte 5: a/b is wrong"),
            (
                "the store failed: /data/3/7.seg: cannot open (os error 2)",
                "the store failed: 7.seg: cannot open (os error 2)",
            ),
            ("cannot write \"s\" in /srv/snapshots/: full", "cannot write \"s\" in snapshots: full"),
            ("in file:///srv/snapshots, or (/a/b)", "in snapshots, or (b)"),
            ("in s3://bucket/folder/x: 3 / 4, 1/2, and/or", "in s3://bucket/folder/x: 3 / 4, 1/2, and/or"),
            ("name: \"/etc/\\\"/passwd\" is no name; see /etc/x", "name: \"/etc/\\\"/passwd\" is no name; see x"),
            ("/", "/"),
            ("", ""),
        ] {
            assert_eq!(without_directories(text), short);
        }
        let path = std::path::PathBuf::from("/secret/place/graph.bin");
        let error = crate::embed::Error::Corrupt { path, what: "is cut".into() };
        let status = api::Error::Embed { field: "embedder".into(), source: error }.into_status();
        assert_eq!(status.message(), "embedder: graph.bin: is cut");
        let details = status.get_error_details();
        assert_eq!(details.bad_request().expect("a BadRequest").field_violations[0].description, "graph.bin: is cut");
    }

    #[test]
    fn unsupported_models_and_full_disks_have_specific_codes() {
        let code = |source| api::Error::Embed { field: "file".into(), source }.into_status().code();
        let path = || "/a/b".into();
        assert_eq!(code(embed::Error::NotBuilt { path: path(), what: "BERT", feature: "x" }), Code::FailedPrecondition);
        let io = |kind: std::io::ErrorKind| embed::Error::Io { path: path(), source: kind.into() };
        assert_eq!(code(io(std::io::ErrorKind::StorageFull)), Code::ResourceExhausted);
        assert_eq!(code(io(std::io::ErrorKind::PermissionDenied)), Code::Internal);
    }

    #[test]
    fn the_status_names_unknown_words() {
        let source = embed::Error::OutOfVocabulary { embedder: "words".into(), words: "qzx, wvv".into() };
        let status = api::Error::Embed { field: "query.text".into(), source }.into_status();
        let details = status.get_error_details();
        let info = details.error_info().expect("an ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("OUT_OF_VOCABULARY", "nearness"));
        assert_eq!(info.metadata["words"], "qzx, wvv");
        assert_eq!(details.bad_request().expect("a BadRequest").field_violations[0].field, "query.text");
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}

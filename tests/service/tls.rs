//! TLS: certificates of servers and clients, their reload, and the errors for invalid ones.

use crate::auth::{count, engine, grant, names, one, principal, with_access};
use crate::harness::*;
use nearness::auth::{Access, CertificateGrant, Reloadable, Role};
use nearness::grpc::server::ServerError;
use nearness::grpc::{Client, ClientOptions, Server, ServerOptions, Tls, TlsFiles, pb};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Returns a certificate for this name and its key, PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Writes the server's files.
    pub(crate) fn serve_from(&self, folder: &Path, clients: Option<&Self>) -> TlsFiles {
        let (certificate, key) = self.issue("127.0.0.1");
        let files = TlsFiles {
            certificate: folder.join("server.pem"),
            key: folder.join("server.key"),
            client_ca: clients.map(|_| folder.join("clients.pem")),
        };
        std::fs::write(&files.certificate, certificate).unwrap();
        std::fs::write(&files.key, key).unwrap();
        if let (Some(path), Some(clients)) = (&files.client_ca, clients) {
            std::fs::write(path, &clients.pem).unwrap();
        }
        files
    }

    /// Returns a connector like that of a browser that trusts this authority.
    pub(crate) fn browser(&self) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsConnector::from(Arc::new(config))
    }
}

/// Serves in the background on a free port, and returns the URL.
async fn serve_tls(options: ServerOptions) -> String {
    let engine = engine();
    let server = Server::bind(engine, options).unwrap();
    let url = format!("https://{}", server.local_addr());
    tokio::spawn(server.serve(std::future::pending()));
    url
}

/// Connects, or returns the cause of the failure.
async fn connect(url: &str, ca: &Authority, identity: Option<(String, String)>) -> Result<Client, String> {
    let identity = identity.map(|(certificate, key)| (certificate.into_bytes(), key.into_bytes()));
    let options = ClientOptions { ca: Some(ca.pem.clone().into_bytes()), identity, ..Default::default() };
    let client = Client::connect(url, &options).await.map_err(|error| format!("{error:?}"))?;
    // With TLS 1.3, a client learns of its rejection only with its first call.
    client.serving("").await.map_err(|error| format!("{error:?}"))?;
    Ok(client)
}

#[tokio::test]
async fn certificates_are_replaced_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(), Authority::new());
    let files = old.serve_from(folder.path(), None);
    let tls = Reloadable::new(Tls::read(&files).unwrap());
    let url = serve_tls(ServerOptions { tls: Some(tls.clone()), ..options() }).await;
    let early = connect(&url, &old, None).await.unwrap();
    assert!(connect(&url, &new, None).await.is_err(), "a certificate of an unknown authority");
    let plain = Client::connect(&url.replace("https", "http"), &ClientOptions::default()).await;
    if let Ok(plain) = plain {
        assert!(plain.serving("").await.is_err(), "plain text is refused");
    }

    new.serve_from(folder.path(), None);
    tls.set(Arc::new(Tls::read(&files).unwrap()));
    assert!(connect(&url, &old, None).await.is_err(), "the server presents the new certificate");
    let late = connect(&url, &new, None).await.unwrap();
    assert!(names(&late).await.is_empty());
    assert!(names(&early).await.is_empty(), "open connections stay open");

    // A key that does not belong to the certificate is not served.
    std::fs::write(&files.key, old.issue("127.0.0.1").1).unwrap();
    assert!(Tls::read(&files).unwrap_err().to_string().contains("server.key"));
    std::fs::write(&files.certificate, "not PEM").unwrap();
    assert!(Tls::read(&files).unwrap_err().to_string().contains("server.pem"));
}

#[tokio::test]
async fn a_mismatched_scheme_or_certificate_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let read = |clients| Some(Reloadable::new(Tls::read(&authority.serve_from(folder.path(), clients)).unwrap()));
    let url = serve_tls(ServerOptions { tls: read(None), ..options() }).await;
    let failure = async |url: &str, ca: Option<&Authority>| {
        let ca = ca.map(|ca| ca.pem.clone().into_bytes());
        let options = ClientOptions { ca, ..Default::default() };
        match Client::connect(url, &options).await {
            Ok(client) => client.serving("").await.expect_err("should fail").to_string(),
            Err(error) => error.to_string(),
        }
    };
    // The client does not trust the root of the certificate.
    let error = failure(&url, Some(&Authority::new())).await;
    assert!(error.contains("the certificate has no trusted root") && error.contains("--ca"), "{error}");
    let error = failure(&url.replace("127.0.0.1", "localhost"), Some(&authority)).await;
    assert!(error.contains("the certificate is not valid for this host name"), "{error}");
    // Every time, in whatever order the transport reports its errors.
    for _ in 0..20 {
        let error = failure(&url.replace("https", "http"), None).await;
        assert_eq!(error, "the server requires TLS: use https:// (UNAVAILABLE)");
    }
    let error = failure(&serve_tls(options()).await, Some(&authority)).await;
    assert!(error.contains("use http://"), "{error}");
    let url = serve_tls(ServerOptions { tls: read(Some(&authority)), ..options() }).await;
    let hint = "the server requires a client certificate: --certificate FILE and --certificate-key FILE (UNAVAILABLE)";
    for _ in 0..20 {
        assert_eq!(failure(&url, Some(&authority)).await, hint);
        let error = failure(&url.replace("https", "http"), None).await;
        assert_eq!(error, "the server requires TLS: use https:// (UNAVAILABLE)");
        let result = connect(&url, &authority, Some(Authority::new().issue("x.example"))).await;
        let error = result.expect_err("a certificate of another authority");
        assert!(error.contains("rejected the certificate of this client") && error.contains("UNAVAILABLE"), "{error}");
    }

    // A server presents the certificate of an authority.
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    let files = authority.serve_from(folder.path(), None);
    std::fs::write(&files.certificate, &pem).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    let url = serve_tls(ServerOptions { tls: Some(Reloadable::new(Tls::read(&files).unwrap())), ..options() }).await;
    let own = Authority { pem, issuer: Authority::new().issuer };
    let error = failure(&url, Some(&own)).await;
    assert!(error.contains("CA:FALSE"), "{error}");
}

#[tokio::test]
async fn clients_authenticate_with_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, clients, other) = (Authority::new(), Authority::new(), Authority::new());
    let files = ours.serve_from(folder.path(), Some(&clients));
    let certificate = |dns_name: &str, role| CertificateGrant {
        dns_name: dns_name.into(),
        principal: principal(dns_name, role, &["films-*"]),
    };
    let (key, key_grant) = grant("key", Role::Read, &["*"]);
    let access = Access::restricted(
        vec![key_grant],
        vec![certificate("reader.example", Role::Read), certificate("boss.example", Role::Admin)],
        None,
    );
    let tls = Some(Reloadable::new(Tls::read(&files).unwrap()));
    let url = serve_tls(ServerOptions { tls, ..with_access(access) }).await;
    assert!(connect(&url, &ours, None).await.is_err(), "no certificate");
    assert!(connect(&url, &ours, Some(other.issue("boss.example"))).await.is_err(), "of another authority");
    let boss = connect(&url, &ours, Some(clients.issue("boss.example"))).await.unwrap();
    boss.create_collection(plain("films-a", 2, pb::Metric::L2)).await.unwrap();
    assert_eq!(refused(boss.create_collection(plain("words", 2, pb::Metric::L2)).await).0, "PERMISSION_DENIED");
    let reader = connect(&url, &ours, Some(clients.issue("reader.example"))).await.unwrap();
    assert_eq!(reader.count(count("films-a")).await.unwrap().count, 0);
    assert_eq!(refused(reader.upsert(one("films-a")).await).0, "PERMISSION_DENIED");
    let unlisted = connect(&url, &ours, Some(clients.issue("x.boss.example"))).await.unwrap();
    assert_eq!(refused(unlisted.count(count("films-a")).await).0, "UNAUTHENTICATED");
    let (certificate, private) = clients.issue("x.example");
    let with_key = ClientOptions {
        ca: Some(ours.pem.clone().into_bytes()),
        identity: Some((certificate.into_bytes(), private.into_bytes())),
        credential: Some(key),
        ..Default::default()
    };
    let with_key = Client::connect(&url, &with_key).await.unwrap();
    assert_eq!(with_key.count(count("films-a")).await.unwrap().count, 0);
}

#[test]
fn a_public_address_needs_tls_and_access_control() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let read = |clients| Some(Reloadable::new(Tls::read(&authority.serve_from(folder.path(), clients)).unwrap()));
    let (_, one_grant) = grant("a", Role::Read, &["*"]);
    let anywhere = || ServerOptions { address: ([0, 0, 0, 0], 0).into(), ..Default::default() };
    let bind = |options| Server::bind(engine(), options).map(|_| ());
    assert!(matches!(bind(anywhere()), Err(ServerError::Plaintext { .. })));
    let six = ServerOptions { address: "[::]:0".parse().unwrap(), ..anywhere() };
    assert!(matches!(bind(six), Err(ServerError::Plaintext { .. })));
    assert!(matches!(bind(ServerOptions { tls: read(None), ..anywhere() }), Err(ServerError::Open { .. })));
    let listed = Reloadable::new(Access::restricted(vec![one_grant], vec![], None));
    let plain = ServerOptions { access: listed.clone(), ..anywhere() };
    assert!(matches!(bind(plain), Err(ServerError::Plaintext { .. })));
    bind(ServerOptions { insecure: true, ..anywhere() }).unwrap();
    bind(ServerOptions { tls: read(Some(&authority)), ..anywhere() }).unwrap();
    bind(ServerOptions { tls: read(None), access: listed.clone(), ..anywhere() }).unwrap();

    // Nor does a reload weaken the settings of a running server.
    let guarded = ServerOptions { tls: read(Some(&authority)), access: listed.clone(), ..anywhere() };
    guarded.check_reload(&guarded).unwrap();
    for fresh in [
        ServerOptions { access: Reloadable::new(Access::open()), ..guarded.clone() },
        ServerOptions { tls: None, ..guarded.clone() },
        ServerOptions { tls: read(None), ..guarded.clone() },
        anywhere(),
    ] {
        assert!(matches!(guarded.check_reload(&fresh), Err(ServerError::WeakerSettings { .. })), "{fresh:?}");
    }
}

#[tokio::test]
async fn a_key_is_not_sent_to_another_machine_in_plain_text() {
    let options = ClientOptions { credential: Some("nrn_x".into()), ..Default::default() };
    let error = Client::connect("http://192.0.2.1:1", &options).await.unwrap_err().to_string();
    assert!(error.contains("only over https"), "{error}");
}

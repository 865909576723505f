//! The section `[access]`: hashes of API keys, names in client certificates, and token issuers.

use crate::auth::{Access, CertificateGrant, KeyGrant, KeyHash, Principal, Role, Scope, TokenVerifier};
#[cfg(feature = "jwt")]
use crate::auth::{SigningAlgorithm, TrustedIssuer, TrustedKey};
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Maximum length of a caller's name, bytes.
const MAX_NAME_BYTES: usize = 256;

/// The section.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AccessSection {
    keys: Vec<KeySection>,
    certificates: Vec<CertificateSection>,
    tokens: Option<TokensSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeySection {
    name: String,
    sha256: String,
    role: String,
    collections: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateSection {
    dns_name: String,
    role: String,
    collections: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensSection {
    issuer: String,
    audience: String,
    keys: Vec<TrustedKeySection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustedKeySection {
    id: Option<String>,
    algorithm: String,
    file: PathBuf,
}

fn principal(name: &str, role: &str, collections: &[String]) -> anyhow::Result<Principal> {
    ensure!((1..=MAX_NAME_BYTES).contains(&name.len()), "the name has 1 to {MAX_NAME_BYTES} bytes, got {}", name.len());
    let Some(known) = Role::from_name(role) else { bail!("role is {role:?}, not read, write or admin") };
    let scope = Scope::new(collections).context("collections")?;
    Ok(Principal { name: name.to_owned(), role: known, scope })
}

impl AccessSection {
    /// Returns the paths of the files that the section refers to.
    pub(super) fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.tokens.iter_mut().flat_map(|tokens| &mut tokens.keys).map(|key| &mut key.file)
    }

    /// Validates the section and reads its files.
    pub(super) fn read(&self, client_certificates: bool) -> anyhow::Result<Access> {
        let Self { keys, certificates, tokens } = self;
        if keys.is_empty() && certificates.is_empty() && tokens.is_none() {
            bail!(
                "access has no callers, so every request would be refused; add keys, certificates or tokens (or \
                 remove the section)"
            );
        }
        ensure!(
            client_certificates || certificates.is_empty(),
            "access.certificates needs tls.client_ca: without it clients send no certificate"
        );
        let (mut names, mut hashes) = (BTreeSet::new(), BTreeSet::new());
        let mut grants = Vec::with_capacity(keys.len());
        for (at, key) in keys.iter().enumerate() {
            let location = || format!("access.keys[{at}] ({})", key.name);
            let hash = KeyHash::parse(&key.sha256).context("sha256").with_context(location)?;
            ensure!(names.insert(&key.name), "{}: duplicate name", location());
            ensure!(hashes.insert(hash.to_string()), "{}: duplicate sha256", location());
            grants.push(KeyGrant {
                hash,
                principal: principal(&key.name, &key.role, &key.collections).with_context(location)?,
            });
        }
        let mut granted = Vec::with_capacity(certificates.len());
        for (at, one) in certificates.iter().enumerate() {
            let location = || format!("access.certificates[{at}] ({})", one.dns_name);
            let principal = principal(&one.dns_name, &one.role, &one.collections).with_context(location)?;
            granted.push(CertificateGrant { dns_name: one.dns_name.clone(), principal });
        }
        let trust = tokens.as_ref().map(TokensSection::read).transpose()?;
        Ok(Access::restricted(grants, granted, trust))
    }
}

#[cfg(not(feature = "jwt"))]
impl TokensSection {
    fn read(&self) -> anyhow::Result<Box<dyn TokenVerifier>> {
        let Self { issuer, audience, keys } = self;
        let key = |TrustedKeySection { id, algorithm, file }: &TrustedKeySection| {
            format!("{} {algorithm} {}", id.as_deref().unwrap_or("any"), file.display())
        };
        let keys: Vec<String> = keys.iter().map(key).collect();
        bail!(
            "access.tokens (issuer {issuer:?}, audience {audience:?}, keys {keys:?}): this program was built \
             without JSON web tokens; build it with the feature jwt (cargo build --release --features jwt)"
        )
    }
}

#[cfg(feature = "jwt")]
impl TokensSection {
    fn read(&self) -> anyhow::Result<Box<dyn TokenVerifier>> {
        ensure!(
            !self.issuer.is_empty() && !self.audience.is_empty(),
            "access.tokens: issuer and audience must not be empty"
        );
        ensure!(!self.keys.is_empty(), "access.tokens.keys is empty");
        let mut keys = Vec::with_capacity(self.keys.len());
        for (at, key) in self.keys.iter().enumerate() {
            let location = || format!("access.tokens.keys[{at}] ({})", key.file.display());
            let Some(algorithm) = SigningAlgorithm::from_name(&key.algorithm) else {
                let known = SigningAlgorithm::ALL.map(SigningAlgorithm::name).join(", ");
                bail!("{}: algorithm is {:?}, not one of {known}", location(), key.algorithm);
            };
            let pem = std::fs::read(&key.file).with_context(location)?;
            keys.push(TrustedKey::from_pem(key.id.clone(), algorithm, &pem).with_context(location)?);
        }
        Ok(Box::new(TrustedIssuer { issuer: self.issuer.clone(), audience: self.audience.clone(), keys }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::ConfigFile;

    #[test]
    fn an_error_names_the_position_of_the_invalid_grant() {
        let hash = "ab".repeat(32);
        let key = |name: &str, role: &str, collections: &str, sha256: &str| {
            format!("[[access.keys]]\nname='{name}'\nrole='{role}'\ncollections=[{collections}]\nsha256='{sha256}'\n")
        };
        let check = |text: &str| {
            let file = ConfigFile::parse(text).unwrap();
            file.access.unwrap().read(false).map(|_| ()).map_err(|error| format!("{error:#}"))
        };
        let good = key("a", "read", "'films-*'", &hash);
        assert_eq!(check(&good), Ok(()));
        for (text, named) in [
            ("[access]".into(), "access has no callers"),
            (key("", "read", "'*'", &hash), "1 to 256 bytes, got 0"),
            (key("a", "reader", "'*'", &hash), "access.keys[0] (a): role is \"reader\""),
            (key("a", "read", "'a*b'", &hash), "access.keys[0] (a): collections: \"a*b\""),
            (key("a", "read", "'*'", "00"), "access.keys[0] (a): sha256: is not the 64 hexadecimal"),
            (format!("{good}{good}"), "access.keys[1] (a): duplicate name"),
            (
                format!("{good}{}", key("b", "read", "'*'", &hash.to_uppercase())),
                "access.keys[1] (b): duplicate sha256",
            ),
            (
                "[[access.certificates]]\ndns_name='a'\nrole='read'\ncollections=[]".into(),
                "access.certificates needs tls.client_ca",
            ),
        ] {
            let error: String = check(&text).expect_err(&text);
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    fn token_error(text: &str) -> String {
        let file = ConfigFile::parse(text).unwrap();
        file.access.unwrap().read(false).map(|_| ()).map_err(|error| format!("{error:#}")).expect_err(text)
    }

    #[cfg(feature = "jwt")]
    #[test]
    fn invalid_token_issuers_are_refused() {
        let cases: [(String, &str); 4] = [
            (
                "[access.tokens]\nissuer='i'\naudience='a'\n[[access.tokens.keys]]\nalgorithm='HS256'\nfile='f'".into(),
                "access.tokens.keys[0] (f): algorithm is \"HS256\", not one of RS256, ES256, EdDSA",
            ),
            (
                "[access.tokens]\nissuer='i'\naudience=''\nkeys=[]".into(),
                "access.tokens: issuer and audience must not be empty",
            ),
            ("[access.tokens]\nissuer='i'\naudience='a'\nkeys=[]".into(), "access.tokens.keys is empty"),
            (
                "[access.tokens]\nissuer='i'\naudience='a'\n[[access.tokens.keys]]\nalgorithm='RS256'\nfile='/none'"
                    .into(),
                "access.tokens.keys[0] (/none)",
            ),
        ];
        for (text, named) in cases {
            let error = token_error(&text);
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[cfg(not(feature = "jwt"))]
    #[test]
    fn without_the_feature_token_issuers_are_refused_with_its_name() {
        let error = token_error("[access.tokens]\nissuer='i'\naudience='a'\nkeys=[]");
        assert!(error.contains("access.tokens") && error.contains("--features jwt"), "{error}");
    }
}

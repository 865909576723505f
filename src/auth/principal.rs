//! Callers: name, role, and accessible collections.

use crate::types::CollectionName;

/// Permissions of a caller. Each role includes the previous ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Search and fetch.
    Read,
    /// Write and delete points.
    Write,
    /// Create, delete, compact and measure collections.
    Admin,
}

impl Role {
    /// All roles, in ascending order.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// `read`, `write` or `admin`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }

    /// Returns the role with that [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// An invalid collection pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a collection pattern: a name, a prefix followed by *, or *")]
pub struct InvalidScope(pub String);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    One(CollectionName),
    Prefix(Box<str>),
}

/// Collections by name (`films`), by prefix (`films-*`), or all (`*`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(Vec<Pattern>);

impl Scope {
    /// Returns the scope of all collections.
    pub fn all() -> Self {
        Self(vec![Pattern::Prefix("".into())])
    }

    /// Returns the scope of the collections that match any of the patterns; of none if `patterns` is empty.
    ///
    /// # Errors
    /// [`InvalidScope`] with the first invalid pattern.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, InvalidScope> {
        let pattern = |text: &str| {
            let invalid = || InvalidScope(text.to_owned());
            match text.strip_suffix('*') {
                Some("") => Ok(Pattern::Prefix("".into())),
                // A prefix must be a valid name, so that a typing error is reported instead of covering nothing.
                Some(prefix) => {
                    CollectionName::new(prefix).map_err(|_| invalid()).map(|_| Pattern::Prefix(prefix.into()))
                }
                None => CollectionName::new(text).map_err(|_| invalid()).map(Pattern::One),
            }
        };
        patterns.iter().map(|text| pattern(text.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether it covers all collections.
    pub fn is_all(&self) -> bool {
        self.0.iter().any(|pattern| matches!(pattern, Pattern::Prefix(prefix) if prefix.is_empty()))
    }

    /// Whether it covers that collection.
    pub fn covers(&self, name: &CollectionName) -> bool {
        self.0.iter().any(|pattern| match pattern {
            Pattern::One(one) => one == name,
            Pattern::Prefix(prefix) => name.as_str().starts_with(&**prefix),
        })
    }
}

/// The authenticated sender of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Name for logs: of a key, the subject of a token, or a name in a certificate.
    pub name: String,
    /// The role.
    pub role: Role,
    /// The accessible collections.
    pub scope: Scope,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> CollectionName {
        CollectionName::new(name).unwrap()
    }

    #[test]
    fn patterns_cover_names_and_prefixes() {
        let scope = Scope::new(&["words", "films-*"]).unwrap();
        for (collection, covered) in
            [("words", true), ("words2", false), ("word", false), ("films-", true), ("films-a", true), ("films", false)]
        {
            assert_eq!(scope.covers(&name(collection)), covered, "{collection}");
        }
        assert!(Scope::new(&["*"]).unwrap().covers(&name("x")) && Scope::all().covers(&name("x")));
        assert!(!Scope::new::<&str>(&[]).unwrap().covers(&name("x")));
        assert!(Scope::new(&["words", "*"]).unwrap().is_all() && !scope.is_all());
        for invalid in ["", "a*b", "**", "../x", ".*", "a b", "-*"] {
            assert_eq!(Scope::new(&["ok", invalid]), Err(InvalidScope(invalid.into())));
        }
    }

    #[test]
    fn roles_are_ordered() {
        assert!(Role::Read < Role::Write && Role::Write < Role::Admin);
        assert!(Role::ALL.iter().all(|role| Role::from_name(role.name()) == Some(*role)));
        assert_eq!(Role::from_name("Admin"), None);
    }
}

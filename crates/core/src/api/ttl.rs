//! Expiry of points: the setting of a collection, and the clock that decides.

use super::{Bounds, Error, Filter, Payload, PayloadAction, PayloadUpdate, Scalar, Timestamp, check_path};
use crate::types::PointId;
pub use crate::types::Ttl;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Maximum lifetime of a point, seconds: 100 years.
pub const MAX_TTL_SECONDS: u64 = 3_155_760_000;

/// Microseconds of a second.
const SECOND: i64 = 1_000_000;

/// The clock that a database reads the time from, for the expiry of points. The default is that of the operating
/// system.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// A clock that calls `now`.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
        })
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Checks the setting. `at` is its position in the request.
///
/// # Errors
/// `InvalidInput` with the limit.
pub(crate) fn validate(at: &str, ttl: &Ttl) -> Result<(), Error> {
    check_path(&format!("{at}.path"), &ttl.path)?;
    if !(1..=MAX_TTL_SECONDS).contains(&ttl.seconds) {
        let why = format!("must be 1 to {MAX_TTL_SECONDS}, got {}", ttl.seconds);
        return Err(Error::invalid(format!("{at}.seconds"), why));
    }
    Ok(())
}

/// Returns the last time at which a point expires now, in whole seconds, so that filters repeat within a second.
pub(crate) fn cutoff(ttl: &Ttl, now: Timestamp) -> Timestamp {
    let lifetime = i64::try_from(ttl.seconds).unwrap_or(i64::MAX).saturating_mul(SECOND);
    let second = now.micros().div_euclid(SECOND).saturating_mul(SECOND);
    Timestamp::from_micros(second.saturating_sub(lifetime))
}

/// Returns the filter of the points whose time is `cutoff` or earlier.
pub(crate) fn expired(ttl: &Ttl, cutoff: Timestamp) -> Filter {
    let field = ttl.path.clone();
    let micros = Scalar::from(cutoff.micros());
    Filter::Or(vec![
        Filter::TimeRange { field: field.clone(), range: Bounds { lte: Some(cutoff), ..Bounds::default() } },
        Filter::Range { field, range: Bounds { lte: Some(micros), ..Bounds::default() } },
    ])
}

/// Writes the time at the path of the setting, unless the payload has a value there.
///
/// # Errors
/// The value that is in the way.
pub(crate) fn stamp(ttl: &Ttl, id: &PointId, payload: &mut Payload, now: Timestamp) -> Result<(), String> {
    if Filter::exists(ttl.path.as_str()).matches(id, payload) {
        return Ok(());
    }
    let (parent, name) = match ttl.path.rsplit_once('.') {
        Some((parent, name)) if !parent.is_empty() => (Some(parent.to_owned()), name),
        _ => (None, ttl.path.as_str()),
    };
    let fields = Payload::from_iter([(name.to_owned(), now.to_string().into())]);
    PayloadUpdate::new([PayloadAction::Set { path: parent, fields }]).apply(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object(value: Value) -> Payload {
        let Value::Object(object) = value else { panic!("{value}") };
        object
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn a_point_expires_its_lifetime_after_its_time() {
        let ttl = Ttl::new("meta.at", 60);
        let now = at("2024-05-01T12:00:00.5Z");
        let filter = expired(&ttl, cutoff(&ttl, now));
        let id = PointId::new("p").unwrap();
        let limit = at("2024-05-01T11:59:00Z").micros();
        for (time, expected) in [
            (json!("2024-05-01T11:59:00Z"), true),
            (json!("2024-05-01T13:59:00+02:00"), true),
            (json!("2024-05-01T11:59:00.000001Z"), false),
            (json!("2024-05-01T12:30:00Z"), false),
            (json!(limit), true),
            (json!(limit + 1), false),
            (json!(-1), true),
            (json!(["2025-01-01", "2023-01-01"]), true),
            (json!("soon"), false),
            (json!(true), false),
            (json!(null), false),
            (json!([]), false),
        ] {
            assert_eq!(filter.matches(&id, &object(json!({"meta": {"at": time}}))), expected, "{time}");
        }
        assert!(!filter.matches(&id, &object(json!({"at": "1999-01-01"}))));
        let longest = Ttl::new("at", MAX_TTL_SECONDS);
        assert!(cutoff(&longest, Timestamp::from_micros(i64::MIN)).micros() < 0);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for (ttl, part) in [
            (Ttl::new("", 1), "ttl.path"),
            (Ttl::new("a[0]", 1), "ttl.path"),
            (Ttl::new("a", 0), "ttl.seconds"),
            (Ttl::new("a", MAX_TTL_SECONDS + 1), "3155760000"),
        ] {
            let error = validate("ttl", &ttl).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        validate("ttl", &Ttl::new("a.b", MAX_TTL_SECONDS)).unwrap();
    }

    #[test]
    fn only_a_missing_time_is_stamped() {
        let id = PointId::new("p").unwrap();
        let (now, text) = (at("2024-05-01T12:00:00.25Z"), "2024-05-01T12:00:00.250000Z");
        for (path, before, after) in [
            ("at", json!({}), json!({"at": text})),
            ("at", json!({"at": null, "a": 1}), json!({"at": text, "a": 1})),
            ("at", json!({"at": 5}), json!({"at": 5})),
            ("a.b", json!({}), json!({"a": {"b": text}})),
            ("a.b", json!({"a": {"c": 1}}), json!({"a": {"c": 1, "b": text}})),
            ("a.b", json!({"a.b": "2020-01-01"}), json!({"a.b": "2020-01-01"})),
            ("a.b", json!({"a": [{"b": 1}]}), json!({"a": [{"b": 1}]})),
        ] {
            let mut payload = object(before);
            stamp(&Ttl::new(path, 1), &id, &mut payload, now).unwrap();
            assert_eq!(Value::Object(payload), after, "{path}");
        }
        let why = stamp(&Ttl::new("a.b", 1), &id, &mut object(json!({"a": 1})), now).unwrap_err();
        assert!(why.contains("\"a\""), "{why}");
        assert_eq!(Timestamp::parse(text), Some(now));
    }
}

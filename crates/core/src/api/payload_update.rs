//! Updates of payloads: actions that change the payload of an existing point and keep its vector.

use super::{Error, Filter, Payload, check_path, limits};
use crate::types::PointId;
use serde_json::Value;

/// Maximum actions of one update, and maximum paths of one [`PayloadAction::Unset`].
pub const MAX_UPDATE_ACTIONS: usize = 100;

/// The points that a request applies to.
#[derive(Clone, Debug, PartialEq)]
pub enum PointSelection {
    /// The points with these ids.
    Ids(Vec<PointId>),
    /// The points that match when the write is executed.
    Matching {
        /// The condition.
        filter: Filter,
        /// Accepts a filter that names a field that no point has. Otherwise such a filter is refused if it matches any
        /// point, because a misspelt field under `not` matches every point.
        allow_unknown_fields: bool,
    },
}

/// One change of a payload.
#[derive(Clone, Debug, PartialEq)]
pub enum PayloadAction {
    /// Sets fields and keeps the others.
    Set {
        /// The object that gets the fields: names separated by dots. Created where it is missing or null. `None` for
        /// the payload itself.
        path: Option<String>,
        /// The fields. A field that exists is replaced, also if both values are objects.
        fields: Payload,
    },
    /// Replaces the whole payload.
    Overwrite(Payload),
    /// Removes every field that one of these paths selects, also in the elements of lists, as a filter selects them.
    Unset(Vec<String>),
    /// Removes all fields.
    Clear,
}

/// An update of payloads: actions that are executed in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PayloadUpdate {
    /// The actions, 1 to [`MAX_UPDATE_ACTIONS`].
    pub actions: Vec<PayloadAction>,
}

impl PayloadUpdate {
    /// An update of these actions.
    pub fn new(actions: impl Into<Vec<PayloadAction>>) -> Self {
        Self { actions: actions.into() }
    }

    /// Sets fields of the payload and keeps the others.
    pub fn set(fields: Payload) -> Self {
        Self::new([PayloadAction::Set { path: None, fields }])
    }

    /// Checks the limits of an update.
    ///
    /// # Errors
    /// `InvalidInput` with the field below `at`, and the limit.
    pub(crate) fn check(&self, at: &str) -> Result<(), Error> {
        limits::batch(&format!("{at}.actions"), self.actions.len(), MAX_UPDATE_ACTIONS)?;
        for (index, action) in self.actions.iter().enumerate() {
            let at = format!("{at}.actions[{index}]");
            match action {
                PayloadAction::Set { path, fields } => {
                    path.as_ref().map_or(Ok(()), |path| check_path(&format!("{at}.set.path"), path))?;
                    if fields.is_empty() {
                        return Err(Error::invalid(format!("{at}.set.payload"), "has no field: give at least one"));
                    }
                    limits::payload(&format!("{at}.set.payload"), fields)?;
                }
                PayloadAction::Overwrite(payload) => {
                    limits::payload(&format!("{at}.overwrite"), payload)?;
                }
                PayloadAction::Unset(paths) => {
                    limits::batch(&format!("{at}.unset.paths"), paths.len(), MAX_UPDATE_ACTIONS)?;
                    for (index, path) in paths.iter().enumerate() {
                        check_path(&format!("{at}.unset.paths[{index}]"), path)?;
                    }
                }
                PayloadAction::Clear => {}
            }
        }
        Ok(())
    }

    /// Executes the actions on a payload.
    ///
    /// # Errors
    /// The path and the value that is in the way, if a path to set leads through a value that is not an object.
    pub fn apply(&self, payload: &mut Payload) -> Result<(), String> {
        for action in &self.actions {
            match action {
                PayloadAction::Set { path, fields } => {
                    let into = match path {
                        Some(path) => object_at(payload, path)?,
                        None => &mut *payload,
                    };
                    into.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
                }
                PayloadAction::Overwrite(fields) => payload.clone_from(fields),
                PayloadAction::Unset(paths) => paths.iter().for_each(|path| unset(payload, path)),
                PayloadAction::Clear => payload.clear(),
            }
        }
        Ok(())
    }
}

/// Returns the object at a path. Prefers fields that exist: first one of that whole name, then the shortest name that
/// exists before a dot. Creates missing objects, one per name.
fn object_at<'p>(payload: &'p mut Payload, path: &str) -> Result<&'p mut Payload, String> {
    let exists = |name: &str| payload.get(name).is_some_and(|value| !value.is_null());
    let dots = || path.match_indices('.').map(|(dot, _)| dot);
    let name = match (exists(path), dots().find(|dot| exists(&path[..*dot])).or_else(|| dots().next())) {
        (false, Some(dot)) => &path[..dot],
        _ => path,
    };
    let value = payload.entry(name).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Payload::new());
    }
    let kind = match value {
        Value::Object(object) => match path.get(name.len() + 1..) {
            Some(rest) => return object_at(object, rest),
            None => return Ok(object),
        },
        Value::Array(_) => "a list",
        Value::String(_) => "a text",
        _ => "a number or boolean",
    };
    Err(format!("the field {name:?} is {kind}, so no field below it can be set: overwrite or unset it first"))
}

/// Removes every field that a path selects.
fn unset(payload: &mut Payload, path: &str) {
    payload.remove(path);
    for (dot, _) in path.match_indices('.') {
        if let Some(value) = payload.get_mut(&path[..dot]) {
            unset_inside(value, &path[dot + 1..]);
        }
    }
}

fn unset_inside(value: &mut Value, path: &str) {
    match value {
        Value::Object(object) => unset(object, path),
        Value::Array(items) => items.iter_mut().for_each(|item| unset_inside(item, path)),
        _ => {}
    }
}

/// Result of an update of payloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadsUpdated {
    /// Sequence number of the write, durable by now.
    pub sequence: u64,
    /// Points whose payload changed.
    pub updated: u64,
    /// Points whose payload was equal before.
    pub unchanged: u64,
    /// Ids without a point.
    pub missing: Vec<PointId>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload;
    use crate::types::PointId;
    use proptest::prelude::*;
    use serde_json::json;

    fn object(value: Value) -> Payload {
        let Value::Object(object) = value else { panic!("{value}") };
        object
    }

    fn set(path: &str, fields: Value) -> PayloadAction {
        PayloadAction::Set { path: Some(path.into()), fields: object(fields) }
    }

    #[track_caller]
    fn check(before: Value, action: PayloadAction, after: Value) {
        let mut payload = object(before);
        PayloadUpdate::new([action]).apply(&mut payload).unwrap();
        assert_eq!(Value::Object(payload), after);
    }

    #[test]
    fn actions_change_what_their_paths_select() {
        let fields = PayloadAction::Set { path: None, fields: object(json!({"a": 2, "c": {"d": 1}})) };
        check(json!({"a": 1, "b": 1, "c": {"e": 1}}), fields, json!({"a": 2, "b": 1, "c": {"d": 1}}));
        check(json!({"a": {"b": {"x": 1}}}), set("a.b", json!({"y": 2})), json!({"a": {"b": {"x": 1, "y": 2}}}));
        check(json!({"a": null}), set("a.b", json!({"y": 2})), json!({"a": {"b": {"y": 2}}}));
        check(json!({}), set("a.b.c", json!({"y": 2})), json!({"a": {"b": {"c": {"y": 2}}}}));
        check(json!({"a.b": {"x": 1}}), set("a.b", json!({"x": 2})), json!({"a.b": {"x": 2}}));
        check(json!({"a.b": {"x": 1}}), set("a.b.c", json!({"y": 2})), json!({"a.b": {"x": 1, "c": {"y": 2}}}));
        let unset = |path: &str| PayloadAction::Unset(vec![path.into()]);
        check(json!({"a": 1, "b": 2}), unset("a"), json!({"b": 2}));
        check(json!({"a": {"b": 1, "c": 2}, "a.b": 3}), unset("a.b"), json!({"a": {"c": 2}}));
        check(json!({"a": [{"b": 1}, {"b": 2, "c": 3}, 4]}), unset("a.b"), json!({"a": [{}, {"c": 3}, 4]}));
        check(json!({"a": 1}), unset("b.c"), json!({"a": 1}));
        check(json!({"a": 1}), PayloadAction::Overwrite(object(json!({"b": 2}))), json!({"b": 2}));
        check(json!({"a": 1}), PayloadAction::Clear, json!({}));
    }

    #[test]
    fn a_value_in_the_way_is_named() {
        for (value, kind) in [(json!(1), "number"), (json!("x"), "text"), (json!([{}]), "list")] {
            let update = PayloadUpdate::new([set("a.b", json!({"y": 2}))]);
            let why = update.apply(&mut object(json!({"a": value}))).unwrap_err();
            assert!(why.contains("\"a\"") && why.contains(kind), "{why}");
        }
    }

    #[test]
    fn limits_name_the_action() {
        let refused = |action: PayloadAction| PayloadUpdate::new([action]).check("update").unwrap_err().to_string();
        assert!(PayloadUpdate::default().check("update").unwrap_err().to_string().contains("1 to 100"));
        assert!(refused(set("", json!({"a": 1}))).contains("update.actions[0].set.path"));
        assert!(refused(set("a[0]", json!({"a": 1}))).contains("list indices"));
        assert!(refused(set("a", json!({}))).contains("update.actions[0].set.payload"));
        assert!(refused(PayloadAction::Unset(Vec::new())).contains("unset.paths"));
        assert!(refused(PayloadAction::Unset(vec!["a".into(), String::new()])).contains("unset.paths[1]"));
        let large = object(json!({ "a": "x".repeat(limits::MAX_PAYLOAD_BYTES) }));
        assert!(refused(PayloadAction::Overwrite(large)).contains("update.actions[0].overwrite"));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), (0..3).prop_map(Value::from), Just(Value::from("x"))];
        leaf.prop_recursive(4, 20, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[ab](\\.[ab])?", inner, 0..3)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_set_is_found_and_what_was_unset_is_not(value in value(), path in "[ab](\\.[ab]){0,2}") {
            let before = object(json!({ "a": value }));
            let mut payload = before.clone();
            let update = PayloadUpdate::new([set(&path, json!({"new": "set"}))]);
            if update.apply(&mut payload).is_ok() {
                let filter = Filter::equals(format!("{path}.new"), "set");
                prop_assert!(filter.matches(&PointId::new("p").unwrap(), &payload), "{before:?} {path} {payload:?}");
            }
            PayloadUpdate::new([PayloadAction::Unset(vec![path.clone()])]).apply(&mut payload).unwrap();
            prop_assert!(!payload::has_field(&payload, &path), "{path} {payload:?}");
        }
    }
}

//! Conversion of changes of names from protobuf.

use super::from_proto::collection;
use crate::api::limits::MAX_ALIAS_ACTIONS;
use crate::api::{AliasAction, Error};
use crate::grpc::pb;
use pb::alias_action::Form;

/// Converts the actions of a request.
///
/// # Errors
/// [`Error::Invalid`] naming the invalid action, or the limit.
pub(crate) fn actions(actions: Vec<pb::AliasAction>) -> Result<Vec<AliasAction>, Error> {
    if actions.is_empty() || actions.len() > MAX_ALIAS_ACTIONS {
        return Err(Error::invalid("actions", format!("takes 1 to {MAX_ALIAS_ACTIONS}, got {}", actions.len())));
    }
    actions.into_iter().enumerate().map(|(index, action)| one(&format!("actions[{index}]"), action)).collect()
}

fn one(at: &str, action: pb::AliasAction) -> Result<AliasAction, Error> {
    let name = |field: &str, name: &str| collection(&format!("{at}.{field}"), name);
    Ok(match action.form {
        None => {
            let why = "is empty; give create_alias, delete_alias, rename_alias or rename_collection";
            return Err(Error::invalid(at, why));
        }
        Some(Form::CreateAlias(pb::CreateAlias { alias, collection })) => AliasAction::Create {
            alias: name("create_alias.alias", &alias)?,
            collection: name("create_alias.collection", &collection)?,
        },
        Some(Form::DeleteAlias(pb::DeleteAlias { alias })) => {
            AliasAction::Delete { alias: name("delete_alias.alias", &alias)? }
        }
        Some(Form::RenameAlias(pb::RenameAlias { alias, new_alias })) => AliasAction::Rename {
            alias: name("rename_alias.alias", &alias)?,
            new_alias: name("rename_alias.new_alias", &new_alias)?,
        },
        Some(Form::RenameCollection(pb::RenameCollection { collection, new_name })) => AliasAction::RenameCollection {
            collection: name("rename_collection.collection", &collection)?,
            new_name: name("rename_collection.new_name", &new_name)?,
        },
    })
}

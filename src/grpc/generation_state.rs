//! The state of a change of generation, as streamed by `Reembed` and `Rollback`.

use super::pb;

/// One message of the stream.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "as large as the generated message, and as short-lived")]
pub enum GenerationState {
    /// Progress of the call.
    Progress(pb::GenerationProgress),
    /// The collection, after the change.
    Collection(pb::Collection),
}

macro_rules! message {
    ($message:ident, $module:ident) => {
        impl From<GenerationState> for pb::$message {
            fn from(state: GenerationState) -> Self {
                use pb::$module::State;
                let state = match state {
                    GenerationState::Progress(progress) => State::Progress(progress),
                    GenerationState::Collection(collection) => State::Collection(collection),
                };
                Self { state: Some(state) }
            }
        }

        impl From<pb::$message> for Option<GenerationState> {
            fn from(message: pb::$message) -> Self {
                use pb::$module::State;
                message.state.map(|state| match state {
                    State::Progress(progress) => GenerationState::Progress(progress),
                    State::Collection(collection) => GenerationState::Collection(collection),
                })
            }
        }
    };
}

message!(ReembedCollectionResponse, reembed_collection_response);
message!(RollbackCollectionResponse, rollback_collection_response);

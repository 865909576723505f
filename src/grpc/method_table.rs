//! Table of all gRPC methods with the role that each requires. A method that is not listed is not served.

use crate::auth::Role;

/// A gRPC method.
#[derive(Debug)]
pub(super) struct Call {
    /// Path without the leading slash: `package.Service/Method`.
    pub(super) name: &'static str,
    /// Minimum role required; none for public methods.
    pub(super) role: Option<Role>,
}

const fn call(name: &'static str, role: Role) -> Call {
    Call { name, role: Some(role) }
}

/// Maximum message size of methods that take only a name, bytes.
pub(super) const SMALL_MESSAGE: usize = 4 << 10;

pub(super) const CALLS: &[Call] = &[
    Call { name: "grpc.health.v1.Health/Check", role: None },
    Call { name: WATCH, role: None },
    call("nearness.v1.Collections/Create", Role::Admin),
    call("nearness.v1.Collections/Get", Role::Read),
    call("nearness.v1.Collections/List", Role::Read),
    call("nearness.v1.Collections/Delete", Role::Admin),
    call("nearness.v1.Collections/Compact", Role::Admin),
    call("nearness.v1.Collections/Reembed", Role::Admin),
    call("nearness.v1.Collections/Rollback", Role::Admin),
    call("nearness.v1.Collections/DropPrevious", Role::Admin),
    call("nearness.v1.Collections/Check", Role::Admin),
    call("nearness.v1.Points/Upsert", Role::Write),
    call("nearness.v1.Points/UpsertStream", Role::Write),
    call("nearness.v1.Points/Get", Role::Read),
    call("nearness.v1.Points/Delete", Role::Write),
    call("nearness.v1.Points/Scroll", Role::Read),
    call("nearness.v1.Points/Count", Role::Read),
    call("nearness.v1.Search/Search", Role::Read),
    call("nearness.v1.Search/SearchBatch", Role::Read),
    call("nearness.v1.Search/Explain", Role::Read),
    // Takes minutes and may recalibrate graphs.
    call("nearness.v1.Quality/MeasureRecall", Role::Admin),
    call("nearness.v1.Map/Project", Role::Read),
    call("nearness.v1.Map/Place", Role::Read),
    call("nearness.v1.Map/Watch", Role::Read),
    call("nearness.v1.Snapshots/Create", Role::Admin),
    call("nearness.v1.Snapshots/List", Role::Admin),
    call("nearness.v1.Snapshots/Verify", Role::Admin),
    call("nearness.v1.Snapshots/Restore", Role::Admin),
    // Takes hours.
    call("nearness.v1.Training/TrainEmbedder", Role::Admin),
    call("nearness.v1.Training/Install", Role::Admin),
    call("nearness.v1.Training/List", Role::Read),
    call("nearness.v1.Training/Get", Role::Read),
    call("nearness.v1.Training/Delete", Role::Admin),
    call("nearness.v1.Embedders/List", Role::Read),
    call("nearness.v1.Embedders/Get", Role::Read),
    call("nearness.v1.Embedders/Embed", Role::Read),
    call("nearness.v1.Embedders/Classify", Role::Read),
    call("nearness.v1.Embedders/Activations", Role::Read),
    call("nearness.v1.Embedders/NearestWords", Role::Read),
    call("nearness.v1.Embedders/FillBlank", Role::Read),
    call("nearness.v1.Embedders/NextToken", Role::Read),
    call("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Role::Read),
    call("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Role::Read),
];

const WATCH: &str = "grpc.health.v1.Health/Watch";

impl Call {
    /// Whether this is the health watch: the only public method that does not end by itself.
    pub(super) fn is_health_watch(&self) -> bool {
        self.name == WATCH
    }

    /// Maximum message size of the method, for a server limit of `most` bytes.
    pub(super) fn largest_message(&self, most: usize) -> usize {
        if self.name.starts_with("grpc.") { SMALL_MESSAGE.min(most) } else { most }
    }

    /// Whether the request is a stream, which has separate limits.
    pub(super) fn is_stream(&self) -> bool {
        let method = self.name.rsplit('/').next().unwrap_or_default();
        ["UpsertStream", "TrainEmbedder", "Install", "ServerReflectionInfo"].contains(&method)
    }
}

/// Returns the method for a request path.
pub(super) fn find(path: &str) -> Option<&'static Call> {
    let name = path.strip_prefix('/')?;
    CALLS.iter().find(|call| call.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::pb;
    use prost::Message;
    use std::collections::BTreeSet;

    #[test]
    fn every_call_of_every_service_has_a_role() {
        let set = prost_types::FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap();
        let mut described = BTreeSet::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
                    if let Some(call) = find(&format!("/{name}")) {
                        assert_eq!(call.is_stream(), method.client_streaming(), "{name}");
                    }
                    described.insert(name);
                }
            }
        }
        let ours = |name: &&str| name.starts_with("nearness.");
        let listed: BTreeSet<String> = CALLS.iter().map(|call| call.name).filter(ours).map(str::to_owned).collect();
        assert_eq!(listed, described);
        assert_eq!(listed.len() + 4, CALLS.len(), "a call is listed twice");
        let anyone = CALLS.iter().filter(|call| call.role.is_none()).map(|call| call.name);
        assert!(anyone.eq(["grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"]));
        assert!(find("/nearness.v1.Points/Upsert").is_some_and(|call| call.role == Some(Role::Write)));
        assert!(find("nearness.v1.Points/Upsert").is_none() && find("/nearness.v1.Points/Drop").is_none());
    }
}

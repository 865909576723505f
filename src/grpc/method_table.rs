//! Table of all gRPC methods with the role that each requires. A method that is not listed is not served.

use crate::auth::Role;

/// A gRPC method.
#[derive(Debug)]
pub(super) struct Method {
    /// Path without the leading slash: `package.Service/Method`.
    pub(super) name: &'static str,
    /// Minimum role required; none for public methods.
    pub(super) role: Option<Role>,
}

const fn method(name: &'static str, role: Role) -> Method {
    Method { name, role: Some(role) }
}

/// Maximum message size of methods that take only a name, bytes.
pub(super) const SMALL_MESSAGE: usize = 4 << 10;

pub(super) const METHODS: &[Method] = &[
    Method { name: "grpc.health.v1.Health/Check", role: None },
    Method { name: WATCH, role: None },
    method("nearness.v1.Collections/Create", Role::Admin),
    method("nearness.v1.Collections/Get", Role::Read),
    method("nearness.v1.Collections/List", Role::Read),
    method("nearness.v1.Collections/Delete", Role::Admin),
    method("nearness.v1.Collections/Compact", Role::Admin),
    method("nearness.v1.Collections/Reembed", Role::Admin),
    method("nearness.v1.Collections/Rollback", Role::Admin),
    method("nearness.v1.Collections/DeletePreviousGeneration", Role::Admin),
    method("nearness.v1.Collections/AddField", Role::Admin),
    method("nearness.v1.Collections/DropField", Role::Admin),
    method("nearness.v1.Collections/Update", Role::Admin),
    method("nearness.v1.Collections/Check", Role::Admin),
    method("nearness.v1.Collections/UpdateAliases", Role::Admin),
    method("nearness.v1.Points/Upsert", Role::Write),
    method("nearness.v1.Points/UpsertStream", Role::Write),
    method("nearness.v1.Points/Get", Role::Read),
    method("nearness.v1.Points/Delete", Role::Write),
    method("nearness.v1.Points/Scroll", Role::Read),
    method("nearness.v1.Points/Count", Role::Read),
    method("nearness.v1.Points/Facet", Role::Read),
    method("nearness.v1.Points/DescribeFields", Role::Read),
    method("nearness.v1.Points/Sample", Role::Read),
    method("nearness.v1.Points/UpdatePayload", Role::Write),
    method("nearness.v1.Points/UpdateVectors", Role::Write),
    method("nearness.v1.Search/Search", Role::Read),
    method("nearness.v1.Search/SearchBatch", Role::Read),
    method("nearness.v1.Search/Explain", Role::Read),
    method("nearness.v1.Search/Analyze", Role::Read),
    // Takes minutes and may recalibrate graphs.
    method("nearness.v1.Quality/MeasureRecall", Role::Admin),
    method("nearness.v1.Map/ComputeLayout", Role::Read),
    method("nearness.v1.Map/LocateQueries", Role::Read),
    method("nearness.v1.Map/Watch", Role::Read),
    method("nearness.v1.Snapshots/Create", Role::Admin),
    method("nearness.v1.Snapshots/List", Role::Admin),
    method("nearness.v1.Snapshots/Verify", Role::Admin),
    method("nearness.v1.Snapshots/Restore", Role::Admin),
    // Takes hours.
    method("nearness.v1.Training/TrainEmbedder", Role::Admin),
    method("nearness.v1.Training/Install", Role::Admin),
    method("nearness.v1.Training/List", Role::Read),
    method("nearness.v1.Training/Get", Role::Read),
    method("nearness.v1.Training/Delete", Role::Admin),
    method("nearness.v1.Embedders/List", Role::Read),
    method("nearness.v1.Embedders/Get", Role::Read),
    method("nearness.v1.Embedders/Embed", Role::Read),
    method("nearness.v1.Embedders/Classify", Role::Read),
    method("nearness.v1.Embedders/Activations", Role::Read),
    method("nearness.v1.Embedders/NearestWords", Role::Read),
    method("nearness.v1.Embedders/FillBlank", Role::Read),
    method("nearness.v1.Embedders/NextToken", Role::Read),
    method("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Role::Read),
    method("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Role::Read),
];

const WATCH: &str = "grpc.health.v1.Health/Watch";

impl Method {
    /// Whether this is the health watch: the only public method that does not end by itself.
    pub(super) fn is_health_watch(&self) -> bool {
        self.name == WATCH
    }

    /// Maximum message size of the method, for a server limit of `server_limit` bytes.
    pub(super) fn max_message_bytes(&self, server_limit: usize) -> usize {
        if self.name.starts_with("grpc.") { SMALL_MESSAGE.min(server_limit) } else { server_limit }
    }

    /// Whether the request is a stream, which has separate limits.
    pub(super) fn is_stream(&self) -> bool {
        let method = self.name.rsplit('/').next().unwrap_or_default();
        ["UpsertStream", "TrainEmbedder", "Install", "ServerReflectionInfo"].contains(&method)
    }
}

/// Former names of methods, each with its present name. Clients that were built before the change still call them.
const RENAMED: &[(&str, &str)] = &[
    ("nearness.v1.Collections/DropPrevious", "nearness.v1.Collections/DeletePreviousGeneration"),
    ("nearness.v1.Map/Project", "nearness.v1.Map/ComputeLayout"),
    ("nearness.v1.Map/Place", "nearness.v1.Map/LocateQueries"),
];

/// Returns the method for a request path, which may have a former name.
pub(super) fn find(path: &str) -> Option<&'static Method> {
    let name = path.strip_prefix('/')?;
    let name = RENAMED.iter().find(|(former, _)| *former == name).map_or(name, |(_, present)| present);
    METHODS.iter().find(|method| method.name == name)
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
                    if let Some(listed) = find(&format!("/{name}")) {
                        assert_eq!(listed.is_stream(), method.client_streaming(), "{name}");
                    }
                    described.insert(name);
                }
            }
        }
        let ours = |name: &&str| name.starts_with("nearness.");
        let listed: BTreeSet<String> =
            METHODS.iter().map(|method| method.name).filter(ours).map(str::to_owned).collect();
        assert_eq!(listed, described);
        assert_eq!(listed.len() + 4, METHODS.len(), "a call is listed twice");
        let anyone = METHODS.iter().filter(|method| method.role.is_none()).map(|method| method.name);
        assert!(anyone.eq(["grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"]));
        assert!(find("/nearness.v1.Points/Upsert").is_some_and(|method| method.role == Some(Role::Write)));
        for (former, present) in RENAMED {
            assert_eq!(find(&format!("/{former}")).map(|method| method.name), Some(*present));
            assert!(!listed.contains(*former), "{former} is a method again");
        }
        assert!(find("nearness.v1.Points/Upsert").is_none() && find("/nearness.v1.Points/Drop").is_none());
    }
}

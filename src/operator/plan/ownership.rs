//! Field ownership: an object created with POST has its fields under an `Update` entry, which server-side apply never
//! takes fields from. Before the first apply the entry is turned into an `Apply` entry of the same manager, so that a
//! field that is no longer rendered goes away. (client-go does the same: `k8s.io/client-go/util/csaupgrade`.)

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::Value;

use super::names::FIELD_MANAGER;

const APPLY: &str = "Apply";
const UPDATE: &str = "Update";

/// The entries to write in place of these; `None` when nothing is under an `Update` entry of ours.
#[must_use]
pub fn migrated(entries: &[ManagedFieldsEntry]) -> Option<Vec<ManagedFieldsEntry>> {
    let created = entries.iter().find(|entry| is_ours(entry, UPDATE))?;
    let mut owned = created.fields_v1.as_ref().map_or(Value::Null, |fields| fields.0.clone());
    for entry in entries.iter().filter(|entry| is_ours(entry, APPLY)) {
        if let Some(FieldsV1(fields)) = &entry.fields_v1 {
            unite(&mut owned, fields);
        }
    }
    let apply =
        ManagedFieldsEntry { operation: Some(APPLY.to_owned()), fields_v1: Some(FieldsV1(owned)), ..created.clone() };
    let others = entries.iter().filter(|entry| !is_ours(entry, UPDATE) && !is_ours(entry, APPLY)).cloned();
    Some(std::iter::once(apply).chain(others).collect())
}

fn is_ours(entry: &ManagedFieldsEntry, operation: &str) -> bool {
    entry.manager.as_deref() == Some(FIELD_MANAGER)
        && entry.operation.as_deref() == Some(operation)
        && entry.subresource.as_deref().unwrap_or_default().is_empty()
}

/// Field sets are trees of maps: the union has the branches of both.
fn unite(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, branch) in from {
                unite(into.entry(name.clone()).or_insert(Value::Null), branch);
            }
        }
        (into, from) if into.is_null() => *into = from.clone(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            operation: Some(operation.to_owned()),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        }
    }

    #[test]
    fn what_a_post_created_becomes_applied() {
        let theirs = entry("kubectl-edit", UPDATE, json!({"f:spec": {"f:paused": {}}}));
        let entries = [theirs.clone(), entry(FIELD_MANAGER, UPDATE, json!({"f:spec": {"f:replicas": {}}}))];
        let migrated = migrated(&entries).expect("an entry to migrate");
        assert_eq!(migrated, [entry(FIELD_MANAGER, APPLY, json!({"f:spec": {"f:replicas": {}}})), theirs]);
    }

    #[test]
    fn both_entries_of_ours_become_one() {
        let entries = [
            entry(FIELD_MANAGER, APPLY, json!({"f:spec": {"f:a": {}}})),
            entry(FIELD_MANAGER, UPDATE, json!({"f:spec": {"f:b": {}}})),
        ];
        let migrated = migrated(&entries).expect("an entry to migrate");
        assert_eq!(migrated, [entry(FIELD_MANAGER, APPLY, json!({"f:spec": {"f:a": {}, "f:b": {}}}))]);
    }

    #[test]
    fn applied_fields_need_no_migration() {
        assert_eq!(migrated(&[entry(FIELD_MANAGER, APPLY, json!({}))]), None);
        assert_eq!(migrated(&[entry("somebody", UPDATE, json!({}))]), None);
    }

    #[test]
    fn a_status_entry_is_not_touched() {
        let status =
            ManagedFieldsEntry { subresource: Some("status".into()), ..entry(FIELD_MANAGER, UPDATE, json!({})) };
        assert_eq!(migrated(&[status]), None);
    }
}

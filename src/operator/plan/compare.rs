//! Whether a live object already is what was rendered: everything that we render must be there, and whatever others
//! added beside it is theirs. Knows how the API server rewrites what it is given, so that an object that is as wanted
//! is never written again.

use serde_json::{Map, Value};

use super::quantity::same_amount;

/// Fields that server-side apply replaces as a whole: within them nothing foreign is tolerated.
const ATOMIC: [&str; 4] = ["selector", "podSelector", "ingress", "policyTypes"];

/// Booleans that the API server leaves out when false; for all others, absent means that someone removed them.
const FALSE_WHEN_ABSENT: [&str; 3] = ["hostNetwork", "hostPID", "hostIPC"];

/// The first place (as a JSON pointer) where the live object is not as rendered.
#[must_use]
pub fn difference(rendered: &Value, live: &Value) -> Option<String> {
    let mut at = Vec::new();
    differs(rendered, live, &mut at, false).then(|| {
        at.iter().fold(String::new(), |mut pointer, segment| {
            pointer.push('/');
            pointer.push_str(segment);
            pointer
        })
    })
}

/// True = differs, and `at` is where.
fn differs(rendered: &Value, live: &Value, at: &mut Vec<String>, strict: bool) -> bool {
    match rendered {
        Value::Object(fields) => differs_in_fields(fields, live, at, strict),
        Value::Array(items) => differs_in_items(items, live, at, strict),
        Value::String(text) if is_quantity(at) => !live.as_str().is_some_and(|live| same_amount(text, live)),
        Value::String(text) if text.is_empty() => !is_empty(live) && !has_a_default(at),
        Value::Bool(false) if live.is_null() => {
            !at.last().is_some_and(|name| FALSE_WHEN_ABSENT.contains(&name.as_str()))
        }
        Value::Number(number) if number.as_f64() == Some(0.0) => !is_empty(live) && !has_a_default(at),
        Value::Null => strict && !is_empty(live),
        _ => rendered != live,
    }
}

fn differs_in_fields(rendered: &Map<String, Value>, live: &Value, at: &mut Vec<String>, strict: bool) -> bool {
    const NOTHING: Value = Value::Null;
    for (name, value) in rendered {
        let theirs = live.get(name).unwrap_or(&NOTHING);
        at.push(name.clone());
        if differs(value, theirs, at, strict || ATOMIC.contains(&name.as_str())) {
            return true;
        }
        at.pop();
    }
    let foreign = live.as_object().filter(|_| strict).and_then(|live| {
        live.iter().find(|(name, value)| !rendered.contains_key(*name) && !is_empty(value)).map(|(name, _)| name)
    });
    if let Some(name) = foreign {
        at.push(name.clone());
        return true;
    }
    false
}

fn differs_in_items(rendered: &[Value], live: &Value, at: &mut Vec<String>, strict: bool) -> bool {
    let live: &[Value] = live.as_array().map_or(&[], Vec::as_slice);
    // Headers may stand twice, and are replaced as a whole.
    let keyed = !strict && at.last().is_none_or(|name| name != "httpHeaders");
    let key = rendered.first().and_then(merge_key).filter(|_| keyed);
    if key.is_none() && live.len() != rendered.len() {
        return true;
    }
    for (index, item) in rendered.iter().enumerate() {
        let theirs = match key {
            Some(key) => live.iter().find(|other| key.iter().all(|field| other.get(field) == item.get(field))),
            None => live.get(index),
        };
        at.push(index.to_string());
        if theirs.is_none_or(|theirs| differs(item, theirs, at, strict)) {
            return true;
        }
        at.pop();
    }
    false
}

/// The fields that identify an item of a list that others may add to; `None` for lists that are replaced as a whole.
fn merge_key(item: &Value) -> Option<&'static [&'static str]> {
    const KEYS: [&[&str]; 5] =
        [&["containerPort", "protocol"], &["targetPort", "protocol"], &["mountPath"], &["uid"], &["name"]];
    KEYS.into_iter().find(|key| key.iter().all(|field| item.get(field).is_some()))
}

/// What the API server does not store.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn is_quantity(at: &[String]) -> bool {
    match at {
        [.., parent, _] if matches!(parent.as_str(), "limits" | "requests") => true,
        [.., name] => name == "divisor",
        [] => false,
    }
}

/// Where an empty text or a zero asks for the default, which the API server then fills in: in probes and field references.
fn has_a_default(at: &[String]) -> bool {
    at.iter().any(|segment| segment.ends_with("Probe") || segment == "fieldRef")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn same(rendered: &Value, live: &Value) {
        assert_eq!(difference(rendered, live), None, "{rendered} {live}");
    }

    fn other(rendered: &Value, live: &Value, pointer: &str) {
        assert_eq!(difference(rendered, live).as_deref(), Some(pointer), "{rendered} {live}");
    }

    #[test]
    fn fields_that_others_add_are_theirs() {
        same(&json!({"spec": {"replicas": 2}}), &json!({"spec": {"replicas": 2, "paused": true}, "status": {}}));
        same(
            &json!({"containers": [{"name": "app", "image": "a"}]}),
            &json!({"containers": [{"name": "theirs"}, {"name": "app", "image": "a", "tty": true}]}),
        );
    }

    #[test]
    fn a_changed_or_removed_field_of_ours_is_found() {
        other(&json!({"spec": {"replicas": 2}}), &json!({"spec": {"replicas": 3}}), "/spec/replicas");
        other(&json!({"spec": {"replicas": 2}}), &json!({"spec": {}}), "/spec/replicas");
        other(
            &json!({"initContainers": [{"name": "tollgate", "image": "a"}]}),
            &json!({"initContainers": [{"name": "tollgate", "image": "b"}]}),
            "/initContainers/0/image",
        );
        other(&json!({"containers": [{"name": "app"}]}), &json!({"containers": [{"name": "x"}]}), "/containers/0");
    }

    #[test]
    fn a_false_that_somebody_removed_is_found() {
        let hardened = json!({"securityContext": {"allowPrivilegeEscalation": false}});
        other(&hardened, &json!({"securityContext": {}}), "/securityContext/allowPrivilegeEscalation");
        same(&json!({"hostNetwork": false}), &json!({}));
        other(&json!({"hostNetwork": false}), &json!({"hostNetwork": true}), "/hostNetwork");
    }

    #[test]
    fn an_added_capability_is_found() {
        let drop_all = json!({"capabilities": {"drop": ["ALL"], "add": []}});
        same(&drop_all, &json!({"capabilities": {"drop": ["ALL"]}}));
        other(&drop_all, &json!({"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}), "/capabilities/add");
    }

    #[test]
    fn amounts_are_compared_as_amounts() {
        same(&json!({"requests": {"cpu": "1000m"}}), &json!({"requests": {"cpu": "1"}}));
        other(&json!({"requests": {"cpu": "1000m"}}), &json!({"requests": {"cpu": "2"}}), "/requests/cpu");
    }

    #[test]
    fn what_the_api_server_leaves_out_is_not_missed() {
        same(
            &json!({"env": [{"name": "A", "value": ""}], "args": [], "resources": {"limits": {}}}),
            &json!({"env": [{"name": "A"}]}),
        );
    }

    #[test]
    fn an_empty_value_that_asks_for_the_default_is_not_missed() {
        same(&json!({"readinessProbe": {"timeoutSeconds": 0}}), &json!({"readinessProbe": {"timeoutSeconds": 1}}));
        same(
            &json!({"livenessProbe": {"httpGet": {"path": "", "scheme": ""}}}),
            &json!({"livenessProbe": {"httpGet": {"path": "/", "scheme": "HTTP"}}}),
        );
        same(&json!({"fieldRef": {"apiVersion": ""}}), &json!({"fieldRef": {"apiVersion": "v1"}}));
        other(
            &json!({"env": [{"name": "A", "value": ""}]}),
            &json!({"env": [{"name": "A", "value": "x"}]}),
            "/env/0/value",
        );
    }

    #[test]
    fn nothing_foreign_is_tolerated_where_apply_replaces_the_whole() {
        let ingress = json!({"ingress": [{"ports": [{"port": 8480, "protocol": "TCP"}]}]});
        let wider = json!({"ingress": [{"ports": [{"port": 8480, "protocol": "TCP", "endPort": 9000}]}]});
        other(&ingress, &wider, "/ingress/0/ports/0/endPort");
        let more = json!({"ingress": [{"ports": [{"port": 8480, "protocol": "TCP"}, {"port": 8000}]}]});
        other(&ingress, &more, "/ingress/0/ports");
        other(&json!({"selector": {"a": "1"}}), &json!({"selector": {"a": "1", "b": "2"}}), "/selector/b");
    }

    #[test]
    fn lists_without_a_key_are_compared_in_order() {
        other(&json!({"args": ["a", "b"]}), &json!({"args": ["b", "a"]}), "/args/0");
        other(&json!({"args": ["a"]}), &json!({"args": ["a", "b"]}), "/args");
    }
}

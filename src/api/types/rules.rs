//! Rules of the schema that several fields share: CEL for what the API server checks when somebody applies a resource,
//! each with a message that says the fix. It holds only what looks at one value; `validated` has the same in Rust.

use std::time::Duration;

use kube::core::{Rule, validate};
use schemars::Schema;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::Value;

/// A DNS label; its longest length is the field's own.
pub(super) fn label(schema: &mut Schema) {
    add(
        schema,
        [(
            r"self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "use a-z, 0-9 and -, with a letter or digit at both ends",
        )],
    );
}

/// The name of a Secret or ConfigMap.
pub(super) fn object_name(schema: &mut Schema) {
    add(
        schema,
        [(
            r"self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
            "write the object's name: a-z, 0-9, - and .",
        )],
    );
}

/// A list of scopes.
pub(super) fn scopes(schema: &mut Schema) {
    add(
        schema,
        [(
            r"self.all(scope, scope.matches(r'^[!#-\[\]-~]+$'))",
            "write each scope as an item of its own, without spaces, quotes and backslashes (RFC 6749)",
        )],
    );
}

/// A whole path that a request may have.
pub(super) fn exact_path(schema: &mut Schema) {
    path(
        schema,
        "there are no wildcards; use prefix in place of exact, which covers everything below a path (/items covers /items/42)",
    );
}

/// The first segments of a path.
pub(super) fn prefix(schema: &mut Schema) {
    path(schema, "leave out the wildcard; a prefix covers everything below it (/items covers /items/42)");
}

/// The broker's one path.
pub(super) fn broker_path(schema: &mut Schema) {
    path(schema, "there are no wildcards; name one path, such as /token");
}

/// A path that every server reads in the same way.
fn path(schema: &mut Schema, without_wildcard: &str) {
    add(
        schema,
        [
            ("self.startsWith('/')", "start the path with /"),
            (r"!self.contains('..') && !self.matches(r'/\.(/|$)')", "leave out . and .. segments"),
            ("!self.contains('//')", "write one slash in place of //"),
            ("!self.matches('[*{}]')", without_wildcard),
            (
                r"self.matches(r'^[-A-Za-z0-9._~!$&\x27()+,=:@/*{}]*$')",
                r"leave out %, ;, \, ?, #, spaces and whatever else is not plain in a path",
            ),
        ],
    );
}

/// A duration within these bounds.
pub(super) fn duration(shortest: Duration, longest: Duration) -> impl Transform {
    move |schema: &mut Schema| {
        let pattern = crate::duration::PATTERN;
        let (least, most) = (crate::duration::display(shortest), crate::duration::display(longest));
        add(
            schema,
            [
                (
                    format!("self.matches('{pattern}')").as_str(),
                    "write a duration as whole numbers with the units h, m, s or ms, such as 60s or 1m30s",
                ),
                (
                    format!("!self.matches('{pattern}') || duration(self) <= duration('{most}')").as_str(),
                    format!("choose at most {most}").as_str(),
                ),
            ],
        );
        if !shortest.is_zero() {
            add(
                schema,
                [(
                    format!("!self.matches('{pattern}') || duration(self) >= duration('{least}')").as_str(),
                    format!("choose at least {least}").as_str(),
                )],
            );
        }
    }
}

/// A list of address ranges. One of every address would trust whoever asks.
pub(super) fn address_ranges(schema: &mut Schema) {
    add_to_items(
        schema,
        [
            ("isCIDR(self)", "write a range of addresses, such as 10.0.0.0/8, or 192.0.2.7/32 for one"),
            (
                "!isCIDR(self) || cidr(self).prefixLength() > 0",
                "name your proxies; this range is every address there is",
            ),
        ],
    );
}

/// A name that a certificate can have.
pub(super) fn server_name(schema: &mut Schema) {
    add(
        schema,
        [(
            r"self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
            "write a host name in lower case, such as items.internal",
        )],
    );
}

/// A list of headers' names.
pub(super) fn header_names(schema: &mut Schema) {
    add_to_items(
        schema,
        [(
            "self.matches('^[A-Za-z][-A-Za-z0-9]*$')",
            "write a header's name with letters, digits and -, such as X-Page",
        )],
    );
}

/// A number of bytes, at least one. Without fractions, for nobody means a part of a byte (`10m`).
pub(super) fn size(schema: &mut Schema) {
    add(
        schema,
        [(
            "string(self).matches('^[1-9][0-9]{0,6}(k|M|G|T|Ki|Mi|Gi|Ti)$|^[1-9][0-9]{0,17}$')",
            "write a size such as 10Mi, or a number of bytes",
        )],
    );
}

/// A probe that asks the app and nobody else.
pub(super) fn probe(schema: &mut Schema) {
    let port = |handler: &str| {
        let handler = format!("self.{handler}");
        format!("(!has({handler}) || (type({handler}.port) == int && !({handler}.port in [8480, 8481, 8482])))")
    };
    add(
        schema,
        [
            (
                "[has(self.exec), has(self.grpc), has(self.httpGet), has(self.tcpSocket)].filter(set, set).size() == 1",
                "set exactly one of exec, grpc, httpGet and tcpSocket",
            ),
            (
                [port("httpGet"), port("tcpSocket"), port("grpc")].join(" && ").as_str(),
                "give the app's own port by its number; 8480 to 8482 are the sidecar's",
            ),
        ],
    );
}

/// Amounts by resource name.
pub(super) fn amounts(schema: &mut Schema) {
    if let Some(amount) = schema.get_mut("additionalProperties").and_then(Value::as_object_mut) {
        amount.insert("description".to_owned(), "An amount such as 100m of cpu or 64Mi of memory.".into());
    }
    add(
        schema,
        [(
            "self.all(name, isQuantity(string(self[name])) && !string(self[name]).startsWith('-'))",
            "write amounts such as 100m of cpu or 64Mi of memory",
        )],
    );
}

/// Makes schemars' JSON schema what Kubernetes' API conventions ask for, on a type and all below it: an optional field
/// is left out and never null (with `nullable`, a null would pass `has()`), formats that the API server does not know
/// are dropped (it warns about them; the bounds say the same), and a description's lines are one where they are a sentence.
#[derive(Debug, Clone)]
pub(super) struct Conventions;

impl Transform for Conventions {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        if object.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
            object.remove("format");
        }
        if let Some(Value::String(description)) = object.get_mut("description") {
            *description =
                description.split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
        }
        if let Some(Value::Array(types)) = object.get_mut("type") {
            types.retain(|kind| kind != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                object.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(words)) = object.get_mut("enum") {
            words.retain(|word| !word.is_null());
        }
        let not_null = object.get("anyOf").and_then(Value::as_array).and_then(|any_of| match any_of.as_slice() {
            [Value::Object(some), Value::Object(null)] if null.get("type").is_some_and(|kind| kind == "null") => {
                Some(some.clone())
            }
            _ => None,
        });
        if let Some(inner) = not_null {
            object.remove("anyOf");
            for (key, value) in inner {
                object.entry(key).or_insert(value);
            }
        }
    }
}

/// Adds rules over one value.
pub(super) fn add<'a>(schema: &mut Schema, rules: impl IntoIterator<Item = (&'a str, &'a str)>) {
    for rule in rules {
        // The rule is two strings, so it always serializes.
        if validate(schema, Rule::from(rule)).is_err() {
            unreachable!("a rule of two strings serializes");
        }
    }
}

/// Adds rules over each item of a list: the message then names the item.
pub(super) fn add_to_items<'a>(schema: &mut Schema, rules: impl IntoIterator<Item = (&'a str, &'a str)>) {
    if let Some(items) = schema.get_mut("items").and_then(|items| <&mut Schema>::try_from(items).ok()) {
        add(items, rules);
    }
}

//! Which writes are left: what exists is compared with what was rendered. An object is touched only when its
//! controller owner reference is ours; a name that belongs to someone else stops everything before the first write.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use thiserror::Error;
use tollgate_contract::names::{ADMIN_PORT, PROXY_PORT, SIDECAR_CONTAINER};

use super::compare::difference;
use super::names::{ADMIN_PORT_NAME, Kind, policy_prefix};
use super::render::{Rendered, RenderedObject};

/// What exists of a resource's objects.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// The objects with the names that we need, whoever owns them.
    pub objects: BTreeMap<Kind, Live>,
    /// The policies of ours that are not the current one.
    pub old_policies: Vec<Live>,
}

/// An object as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Uid of its controller, if it has one.
    pub controller: Option<String>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The whole of it, as JSON.
    pub body: Value,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// POST: never touches what is there.
    Create(RenderedObject),
    /// Server-side apply with force.
    Apply {
        /// What to apply.
        object: RenderedObject,
        /// The object that is meant, in case another takes its name meanwhile.
        uid: String,
        /// Where it is not as rendered, as a JSON pointer.
        at: String,
        /// A strategic merge patch to send before, which removes ports that would lead around the sidecar.
        before: Option<Value>,
    },
    /// Delete and create anew, for what Kubernetes does not let be changed.
    Replace {
        /// What to create.
        object: RenderedObject,
        /// The object to delete.
        uid: String,
    },
    /// Delete.
    Delete {
        /// Kind of the object.
        kind: Kind,
        /// Its name.
        name: String,
        /// The object that is meant.
        uid: String,
    },
}

/// Why nothing is written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Obstacle {
    /// Names that we need and others have.
    #[error(
        "The {} {} not Tollgate's and left alone: rename or delete {}, or give this resource another name.",
        names(.0), if .0.len() == 1 { "is" } else { "are" }, if .0.len() == 1 { "it" } else { "them" }
    )]
    NameTaken(Vec<(Kind, String)>),
    /// Names that a resource of the same name had, which was deleted and made anew.
    #[error("Kubernetes has yet to remove the {} of an earlier resource of this name.", names(.0))]
    Predecessor(Vec<(Kind, String)>),
    /// The Deployment is ours, but Kubernetes does not let its selector be changed.
    #[error(
        "Deployment {0} selects other pods than it should, which cannot be changed: delete it, and it is made anew."
    )]
    Selector(String),
}

/// The writes that turn `observed` into `rendered`, in their order; none when all is as it should be.
///
/// # Errors
/// Something is in the way, and nothing may be written.
pub fn changes(rendered: &Rendered, observed: &Observed, owner: &str) -> Result<Vec<Change>, Obstacle> {
    let foreign = |live: &Live| live.controller.as_deref() != Some(owner);
    let in_the_way = rendered.objects.iter().filter_map(|object| {
        let live = observed.objects.get(&object.kind).filter(|live| foreign(live))?;
        Some((has_our_predecessor(object, live), (object.kind, object.name.clone())))
    });
    let (leaving, staying): (Vec<_>, Vec<_>) = in_the_way.partition(|(leaves, _)| *leaves);
    let names = |objects: Vec<(bool, _)>| objects.into_iter().map(|(_, name)| name).collect();
    if !staying.is_empty() {
        return Err(Obstacle::NameTaken(names(staying)));
    }
    if !leaving.is_empty() {
        return Err(Obstacle::Predecessor(names(leaving)));
    }

    let mut changes = Vec::new();
    for object in &rendered.objects {
        match observed.objects.get(&object.kind) {
            None => changes.push(Change::Create(object.clone())),
            // Its end is awaited; then it is created anew.
            Some(live) if live.terminating => {}
            Some(live) => changes.extend(change(object, live)?),
        }
    }
    let unwanted = observed.objects.iter().filter(|(kind, live)| {
        rendered.objects.iter().all(|object| object.kind != **kind) && !foreign(live) && !live.terminating
    });
    changes.extend(unwanted.map(|(kind, live)| delete(*kind, live)));
    Ok(changes)
}

/// The writes that keep what is in force as it was `rendered` while the resource, as it is now, is not acted upon. What is in
/// the way of one object keeps none of the others from being repaired.
#[must_use]
pub fn repairs(rendered: &Rendered, observed: &Observed, owner: &str) -> Vec<Change> {
    let repair = |object: &RenderedObject| match observed.objects.get(&object.kind) {
        None => Some(Change::Create(object.clone())),
        Some(live) if live.terminating || live.controller.as_deref() != Some(owner) => None,
        Some(live) => change(object, live).ok().flatten(),
    };
    rendered.objects.iter().filter_map(repair).collect()
}

/// The deletion of policies that no pod needs any more. `carried` are the hashes of the current policy, of the live
/// Deployment's template and of every pod that has not ended.
#[must_use]
pub fn unused_policies(api: &str, observed: &Observed, carried: &BTreeSet<&str>, owner: &str) -> Vec<Change> {
    let prefix = policy_prefix(api);
    observed
        .old_policies
        .iter()
        .filter(|live| live.controller.as_deref() == Some(owner) && !live.terminating)
        .filter(|live| live.name.strip_prefix(&prefix).is_some_and(|hash| !carried.contains(hash)))
        .map(|live| delete(Kind::Policy, live))
        .collect()
}

/// Whether the object's controller was a resource of our name, which is gone: garbage collection takes the object.
fn has_our_predecessor(object: &RenderedObject, live: &Live) -> bool {
    let ours = &object.body["metadata"]["ownerReferences"][0];
    live.controller.is_some()
        && items(&live.body["metadata"]["ownerReferences"]).any(|theirs| {
            theirs["controller"] == true
                && ["apiVersion", "kind", "name"].iter().all(|field| theirs[field] == ours[field])
        })
}

fn change(object: &RenderedObject, live: &Live) -> Result<Option<Change>, Obstacle> {
    let before = trespassing_ports(object, &live.body);
    let at = difference(&object.body, &live.body);
    let at = match (at, &before) {
        (Some(at), _) => at,
        (None, Some(_)) => "/spec".to_owned(),
        (None, None) => return Ok(None),
    };
    let differ = |pointer| object.body.pointer(pointer) != live.body.pointer(pointer);
    match object.kind {
        Kind::Deployment if differ("/spec/selector") => Err(Obstacle::Selector(live.name.clone())),
        Kind::Policy if differ("/data") || differ("/immutable") => {
            Ok(Some(Change::Replace { object: object.clone(), uid: live.uid.clone() }))
        }
        // Someone made it immutable, which cannot be undone.
        Kind::Hints if live.body["immutable"] == true => {
            Ok(Some(Change::Replace { object: object.clone(), uid: live.uid.clone() }))
        }
        _ => Ok(Some(Change::Apply { object: object.clone(), uid: live.uid.clone(), at, before })),
    }
}

fn delete(kind: Kind, live: &Live) -> Change {
    Change::Delete { kind, name: live.name.clone(), uid: live.uid.clone() }
}

/// Ports that someone added and that would lead around the sidecar: any other port of our Service, and a port of ours
/// by name or number in another container, which the Service would find first. Apply leaves what others added.
fn trespassing_ports(object: &RenderedObject, live: &Value) -> Option<Value> {
    match object.kind {
        Kind::Service => {
            let ours = &object.body["spec"]["ports"];
            let wanted = |port: &Value| items(ours).any(|ours| ours["port"] == port["port"]);
            let added: Vec<_> = items(&live["spec"]["ports"])
                .filter(|port| !wanted(port) || port["protocol"] != "TCP")
                .map(|port| json!({"port": port["port"], "protocol": port["protocol"], "$patch": "delete"}))
                .collect();
            // With ours at once: a Service without a port, or with two of one name, would be refused.
            (!added.is_empty())
                .then(|| json!({"spec": {"ports": added.into_iter().chain(items(ours).cloned()).collect::<Vec<_>>()}}))
        }
        Kind::Deployment => {
            let pod = &live["spec"]["template"]["spec"];
            let patches: serde_json::Map<_, _> = ["containers", "initContainers"]
                .into_iter()
                .filter_map(|list| {
                    let containers: Vec<_> = items(&pod[list]).filter_map(without_our_ports).collect();
                    (!containers.is_empty()).then(|| (list.to_owned(), Value::Array(containers)))
                })
                .collect();
            (!patches.is_empty()).then(|| json!({"spec": {"template": {"spec": patches}}}))
        }
        Kind::ServiceAccount | Kind::Policy | Kind::Hints | Kind::NetworkPolicy => None,
    }
}

fn without_our_ports(container: &Value) -> Option<Value> {
    let ours = |port: &Value| {
        [SIDECAR_CONTAINER, ADMIN_PORT_NAME].iter().any(|name| port["name"] == *name)
            || [PROXY_PORT, ADMIN_PORT].iter().any(|number| port["containerPort"] == *number)
    };
    let ports: Vec<_> = items(&container["ports"])
        .filter(|port| container["name"] != SIDECAR_CONTAINER && ours(port))
        .map(|port| json!({"containerPort": port["containerPort"], "$patch": "delete"}))
        .collect();
    (!ports.is_empty()).then(|| json!({"name": container["name"], "ports": ports}))
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn names(objects: &[(Kind, String)]) -> String {
    let names: Vec<_> = objects.iter().map(|(kind, name)| format!("{kind} {name}")).collect();
    match names.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} and the {last}", first.join(", the ")),
        _ => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::render::tests::rendered;

    const OWNER: &str = "uid-of-items";

    fn live(object: &RenderedObject) -> Live {
        Live {
            name: object.name.clone(),
            uid: format!("uid-of-{}", object.kind),
            controller: Some(OWNER.to_owned()),
            terminating: false,
            body: object.body.clone(),
        }
    }

    fn all_there() -> Observed {
        let objects = rendered().objects.iter().map(|object| (object.kind, live(object))).collect();
        Observed { objects, old_policies: Vec::new() }
    }

    fn object(kind: Kind) -> RenderedObject {
        rendered().objects.into_iter().find(|object| object.kind == kind).expect("rendered")
    }

    /// The writes after one object was edited.
    fn after(kind: Kind, edit: impl FnOnce(&mut Live)) -> Vec<Change> {
        let mut observed = all_there();
        edit(observed.objects.get_mut(&kind).expect("the object"));
        changes(&rendered(), &observed, OWNER).expect("no obstacle")
    }

    fn applied(changes: &[Change]) -> (Kind, &str, Option<&Value>) {
        match changes {
            [Change::Apply { object, at, before, .. }] => (object.kind, at, before.as_ref()),
            other => panic!("not one apply: {other:?}"),
        }
    }

    #[test]
    fn everything_is_created_in_an_order_that_never_leaves_a_pod_open() {
        let changes = changes(&rendered(), &Observed::default(), OWNER).expect("no obstacle");
        let kinds: Vec<_> = changes
            .iter()
            .map(|change| match change {
                Change::Create(object) => object.kind,
                other => panic!("not a creation: {other:?}"),
            })
            .collect();
        assert_eq!(kinds, Kind::ALL);
    }

    #[test]
    fn nothing_is_written_when_all_is_as_it_should_be() {
        assert_eq!(changes(&rendered(), &all_there(), OWNER), Ok(Vec::new()));
    }

    #[test]
    fn a_name_that_someone_else_has_stops_everything() {
        let mut observed = Observed::default();
        let service = object(Kind::Service);
        observed.objects.insert(Kind::Service, Live { controller: None, ..live(&service) });
        let obstacle = changes(&rendered(), &observed, OWNER).expect_err("a name is taken");
        assert_eq!(obstacle, Obstacle::NameTaken(vec![(Kind::Service, "items".to_owned())]));
        assert_eq!(
            obstacle.to_string(),
            "The Service items is not Tollgate's and left alone: rename or delete it, or give this resource another name."
        );
        let both = Obstacle::NameTaken(vec![(Kind::Deployment, "items".into()), (Kind::Service, "items".into())]);
        assert!(both.to_string().starts_with("The Deployment items and the Service items are not"), "{both}");
    }

    #[test]
    fn an_object_of_an_earlier_resource_of_this_name_is_not_ours() {
        let mut observed = all_there();
        let live = observed.objects.get_mut(&Kind::Deployment).expect("the Deployment");
        live.controller = Some("uid-of-its-predecessor".to_owned());
        let obstacle = changes(&rendered(), &observed, OWNER).expect_err("it is in the way");
        assert_eq!(
            obstacle.to_string(),
            "Kubernetes has yet to remove the Deployment items of an earlier resource of this name."
        );

        observed.objects.get_mut(&Kind::Service).expect("the Service").controller = None;
        let taken = Obstacle::NameTaken(vec![(Kind::Service, "items".into())]);
        assert_eq!(changes(&rendered(), &observed, OWNER), Err(taken), "only a person can mend this");
    }

    #[test]
    fn an_object_of_another_resource_is_not_about_to_leave() {
        let mut observed = all_there();
        let live = observed.objects.get_mut(&Kind::Deployment).expect("the Deployment");
        live.controller = Some("uid-of-other".to_owned());
        live.body["metadata"]["ownerReferences"][0]["name"] = "other".into();
        let taken = Obstacle::NameTaken(vec![(Kind::Deployment, "items".into())]);
        assert_eq!(changes(&rendered(), &observed, OWNER), Err(taken));
    }

    #[test]
    fn an_edited_image_is_repaired() {
        let changes = after(Kind::Deployment, |live| {
            live.body["spec"]["template"]["spec"]["initContainers"][0]["image"] = "evil".into();
        });
        let (kind, at, before) = applied(&changes);
        assert_eq!((kind, before), (Kind::Deployment, None));
        assert_eq!(at, "/spec/template/spec/initContainers/0/image");
    }

    #[test]
    fn a_port_that_leads_around_the_sidecar_is_removed_from_the_service() {
        let changes = after(Kind::Service, |live| {
            let ports = live.body["spec"]["ports"].as_array_mut().expect("ports");
            ports.push(json!({"name": "direct", "port": 8000, "protocol": "TCP", "targetPort": 8000}));
        });
        let (kind, _, before) = applied(&changes);
        assert_eq!(kind, Kind::Service);
        let ports = &before.expect("a patch")["spec"]["ports"];
        assert_eq!(ports[0], json!({"port": 8000, "protocol": "TCP", "$patch": "delete"}));
        assert_eq!(ports[1], object(Kind::Service).body["spec"]["ports"][0]);
    }

    #[test]
    fn a_port_of_the_app_that_takes_the_sidecars_name_is_removed() {
        let changes = after(Kind::Deployment, |live| {
            let ports = &mut live.body["spec"]["template"]["spec"]["containers"][0]["ports"];
            let port = json!({"name": "tollgate", "containerPort": 9000, "protocol": "TCP"});
            ports.as_array_mut().expect("ports").push(port);
        });
        let (kind, _, before) = applied(&changes);
        assert_eq!(kind, Kind::Deployment);
        let removed = json!([{"name": "app", "ports": [{"containerPort": 9000, "$patch": "delete"}]}]);
        assert_eq!(before.expect("a patch")["spec"]["template"]["spec"]["containers"], removed);
    }

    #[test]
    fn a_field_that_someone_else_set_stays() {
        let changes = after(Kind::Deployment, |live| {
            live.body["spec"]["template"]["metadata"]["annotations"]["example.com/team"] = "shop".into();
            live.body["spec"]["paused"] = true.into();
        });
        assert_eq!(changes, Vec::new());
    }

    #[test]
    fn an_edited_policy_is_replaced_for_it_cannot_be_changed() {
        let changes = after(Kind::Policy, |live| live.body["data"]["config.json"] = "{}".into());
        assert!(matches!(changes.as_slice(), [Change::Replace { .. }]), "{changes:?}");
    }

    #[test]
    fn edited_hints_are_repaired_in_place_and_replaced_only_when_they_cannot_be_changed() {
        let edit = |live: &mut Live| live.body["data"]["hints.json"] = "{}".into();
        let changes = after(Kind::Hints, edit);
        assert_eq!(applied(&changes), (Kind::Hints, "/data/hints.json", None));
        let changes = after(Kind::Hints, |live| {
            edit(live);
            live.body["immutable"] = true.into();
        });
        assert!(matches!(changes.as_slice(), [Change::Replace { .. }]), "{changes:?}");
    }

    #[test]
    fn another_selector_is_an_obstacle_and_not_an_endless_error() {
        let mut observed = all_there();
        let live = observed.objects.get_mut(&Kind::Deployment).expect("the Deployment");
        live.body["spec"]["selector"] = json!({"matchLabels": {"app": "items"}});
        assert_eq!(changes(&rendered(), &observed, OWNER), Err(Obstacle::Selector("items".to_owned())));
    }

    #[test]
    fn a_name_that_someone_else_has_keeps_no_other_object_from_being_repaired() {
        let mut observed = all_there();
        observed.objects.get_mut(&Kind::NetworkPolicy).expect("it").controller = None;
        observed.objects.remove(&Kind::ServiceAccount);
        let service = observed.objects.get_mut(&Kind::Service).expect("the Service");
        service.body["spec"]["ports"][0]["targetPort"] = 8000.into();
        let repaired: Vec<_> = repairs(&rendered(), &observed, OWNER)
            .into_iter()
            .map(|change| match change {
                Change::Create(object) | Change::Apply { object, .. } => object.kind,
                other => panic!("neither made nor mended: {other:?}"),
            })
            .collect();
        assert_eq!(repaired, [Kind::ServiceAccount, Kind::Service]);
        assert_eq!(repairs(&rendered(), &all_there(), OWNER), []);
    }

    #[test]
    fn what_is_being_deleted_is_awaited() {
        let changes = after(Kind::Service, |live| {
            live.terminating = true;
            live.body["spec"]["ports"][0]["port"] = 81.into();
        });
        assert_eq!(changes, Vec::new());
    }

    #[test]
    fn our_network_policy_is_deleted_when_it_is_not_wanted_and_a_users_is_not() {
        let mut wanted = rendered();
        wanted.objects.retain(|object| object.kind != Kind::NetworkPolicy);
        let mut observed = all_there();
        let changes_with = |observed: &Observed| changes(&wanted, observed, OWNER).expect("no obstacle");
        let deletion = Change::Delete {
            kind: Kind::NetworkPolicy,
            name: "items".to_owned(),
            uid: "uid-of-NetworkPolicy".to_owned(),
        };
        assert_eq!(changes_with(&observed), [deletion]);
        observed.objects.get_mut(&Kind::NetworkPolicy).expect("it").controller = None;
        assert_eq!(changes_with(&observed), Vec::new());
    }

    #[test]
    fn a_policy_goes_when_no_pod_carries_it() {
        let policy = |hash: &str| Live {
            name: format!("items-tollgate-{hash}"),
            uid: hash.to_owned(),
            controller: Some(OWNER.to_owned()),
            terminating: false,
            body: Value::Null,
        };
        let (carried, gone) = ("00000000000000aa", "00000000000000bb");
        let foreign = Live { controller: None, ..policy("00000000000000cc") };
        let observed = Observed { old_policies: vec![policy(carried), policy(gone), foreign], ..Observed::default() };
        let unused = unused_policies("items", &observed, &BTreeSet::from([carried]), OWNER);
        let deletion =
            Change::Delete { kind: Kind::Policy, name: format!("items-tollgate-{gone}"), uid: gone.to_owned() };
        assert_eq!(unused, [deletion]);
    }
}

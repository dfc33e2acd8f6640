//! `make demo`: the main job as a user would do it, each command shown with its result, each result checked.

mod answer;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::cluster::free_port;
use crate::shell::{Forward, Shell};
use crate::target::Target;
use crate::world::{CALLER, OKTA_HOST, World};
use crate::{console, interrupt, wait};
use answer::Answer;

/// What the items API answers to a caller with the right token.
const ITEMS: [&str; 3] = ["red ball", "blue square", "purple ellipse"];
/// examples/items-introspection.yaml lets the API remember an answer for 5 s; the rest is for a busy machine.
const REVOCATION_SHOWS: Duration = Duration::from_secs(30);

/// Runs the demo. With `keep` everything stays and the end says how to look around.
///
/// # Errors
/// When a step fails or an answer is not the one that the product promises.
pub fn run(keep: bool) -> anyhow::Result<()> {
    let started = Instant::now();
    let _reserved = Target::reserve()?;
    console::title("Getting ready");
    let mut world = World::prepare(true, keep)?;
    let result = show(&mut world);
    if result.is_err() && interrupt::check().is_ok() {
        console::title("What the cluster says");
        world.explain();
    }
    console::title("The end");
    let ended = world.end(keep);
    result?;
    ended?;
    console::line(format_args!("\nEvery answer was the expected one. {} s in all.", started.elapsed().as_secs()));
    Ok(())
}

fn show(world: &mut World) -> anyhow::Result<()> {
    let caller = world.client(CALLER)?;
    console::title("An API becomes a protected API");
    world.shell.declare("CLIENT", &format!("{}:{}", caller.id, caller.secret));
    world.shell.declare("API", &format!("http://127.0.0.1:{}", free_port()?));
    apply(&world.shell, "examples/items.yaml")?;
    let forward = forward(&world.shell, "items")?;
    without_token(&world.shell)?;
    let token = fetch_token(&mut world.shell, "items")?;
    with_token(&world.shell)?;
    fetch_token(&mut world.shell, "items:write")?;
    with_wrong_scope(&world.shell)?;
    drop(forward);

    console::title("The same API, with Okta asked about each token");
    apply(&world.shell, "examples/items-introspection.yaml")?;
    world.shell.remark("$TOKEN is again the first one, with the scope items");
    world.shell.set("TOKEN", &token);
    let _forward = self::forward(&world.shell, "items")?;
    with_token(&world.shell)?;
    revoke(&mut world.shell)?;
    with_revoked_token(&world.shell)
}

fn apply(shell: &Shell, example: &str) -> anyhow::Result<()> {
    shell.run(&format!("kubectl apply --filename {example}"))?;
    shell.run("kubectl --namespace shop wait --for=condition=Ready okapi/items --timeout=180s")?;
    let row = shell.run("kubectl --namespace shop get okapi items")?;
    if !row.contains("2/2") {
        bail!("the resource is Ready, but not both pods are protected: {row}");
    }
    Ok(())
}

fn forward(shell: &Shell, service: &str) -> anyhow::Result<Forward> {
    let url = shell.ask("echo $API")?;
    let port = url.trim().rsplit(':').next().and_then(|port| port.parse().ok()).context("API has a port")?;
    shell.forward("shop", service, port, 80)
}

fn without_token(shell: &Shell) -> anyhow::Result<()> {
    let answer = Answer::to(shell, "curl -si $API/items")?;
    answer.expect_refusal(401, "missing_token")?;
    answer.expect_challenge("Bearer realm=")
}

/// Sets `$TOKEN`, and returns it.
fn fetch_token(shell: &mut Shell, scope: &str) -> anyhow::Result<String> {
    let line = format!("curl -si $API/token --user $CLIENT --data grant_type=client_credentials --data scope={scope}");
    let answer = Answer::to(shell, &line)?;
    answer.expect_status(200)?;
    let token = answer.body()["access_token"].as_str().context("no access_token in the answer")?.to_owned();
    shell.remark("$TOKEN is that access_token");
    shell.set("TOKEN", &token);
    Ok(token)
}

fn with_token(shell: &Shell) -> anyhow::Result<()> {
    let answer = Answer::to(shell, "curl -si $API/items --oauth2-bearer $TOKEN")?;
    answer.expect_status(200)?;
    let body = answer.body();
    let names: Vec<&str> = body.as_array().into_iter().flatten().filter_map(|item| item["name"].as_str()).collect();
    if names != ITEMS {
        bail!("expected the three items {ITEMS:?}, got {names:?}");
    }
    Ok(())
}

fn with_wrong_scope(shell: &Shell) -> anyhow::Result<()> {
    let answer = Answer::to(shell, "curl -si $API/items --oauth2-bearer $TOKEN")?;
    answer.expect_refusal(403, "insufficient_scope")?;
    answer.expect_challenge(r#"error="insufficient_scope""#)
}

/// RFC 7009, by the token's own client, at the Okta-like server.
fn revoke(shell: &mut Shell) -> anyhow::Result<()> {
    shell.remark("The client takes its token back");
    let port = free_port()?;
    shell.declare("OKTA", &format!("https://{OKTA_HOST}:{port}/oauth2/default"));
    let _forward = shell.forward("okta", "okta-like", port, 443)?;
    let answer = Answer::to(
        shell,
        &format!(
            "curl -si --cacert $WORK/ca.crt --resolve {OKTA_HOST}:{port}:127.0.0.1 $OKTA/v1/revoke --user $CLIENT \
             --data token=$TOKEN"
        ),
    )?;
    answer.expect_status(200)
}

fn with_revoked_token(shell: &Shell) -> anyhow::Result<()> {
    let line = "curl -si $API/items --oauth2-bearer $TOKEN";
    shell.remark("For introspection.cache, 5 s in this example, the API may still remember Okta's last answer");
    wait::until("the revoked token to be refused", REVOCATION_SHOWS, || {
        Ok(Answer::of(&shell.ask(line)?).is_ok_and(|answer| answer.status() != 200).then_some(()))
    })?;
    let answer = Answer::to(shell, line)?;
    answer.expect_refusal(401, "inactive")?;
    answer.expect_challenge(r#"error="invalid_token""#)
}

//! The table: raw requests to the sidecar in front of real servers. Nothing that the sidecar judged as one request may
//! reach a server as another, nothing closed be reached by way of what is open, nothing bad be answered 5xx, and what is
//! only odd has to arrive byte for byte.

mod rows;
mod servers;

use serde_json::json;
use tests::issuer::FakeIssuer;
use tests::raw::Raw;
use xtask::real_servers::RealServers;

use self::rows::{Row, Want};
use self::servers::{Seen, Server};
use crate::scene::{Scene, items};

/// Comes behind each row on its connection, innocent.
const NEXT: &str = "GET /docs/next HTTP/1.1\r\nhost: api.test\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn what_the_sidecar_judged_is_what_uvicorn_gets_through_h11() {
    hold_the_table(Server::uvicorn(&installed().await, "h11").await).await;
}

#[tokio::test]
async fn what_the_sidecar_judged_is_what_uvicorn_gets_through_httptools() {
    hold_the_table(Server::uvicorn(&installed().await, "httptools").await).await;
}

#[tokio::test]
async fn what_the_sidecar_judged_is_what_nginx_gets() {
    hold_the_table(Server::nginx(&installed().await).await).await;
}

async fn installed() -> RealServers {
    tokio::task::spawn_blocking(RealServers::ensure).await.expect("no panic").expect("the servers")
}

async fn hold_the_table(server: Server) {
    let issuer = FakeIssuer::start().await;
    let mut config = items(server.port, &issuer);
    config["upstream"]["claimHeaders"] = json!([{"claim": ["sub"], "header": "x-user"}]);
    let closed = json!({"name": "secret", "path": {"prefix": "/docs/secret"}, "access": "Denied"});
    config["routes"].as_array_mut().expect("a list").push(closed);
    let strict = Scene::ready(&config).await;
    config["paths"] = json!({"encodedSlash": "Keep", "doubleSlash": "Keep"});
    let keeping = Scene::ready(&config).await;
    let rows = rows::all();
    assert!(rows.len() >= 150, "{} rows", rows.len());
    println!("{} rows against {}", rows.len(), server.name);
    let mut faults = Vec::new();
    for row in &rows {
        let before = server.seen().len();
        let scene = if row.keeps { &keeping } else { &strict };
        let statuses = exchange(scene, row).await;
        // As many as were answered 200 have arrived.
        let answered = statuses.iter().filter(|status| **status == 200).count();
        let seen = server.seen_after(before, answered).await;
        if let Err(fault) = check(row, &statuses, &seen) {
            faults.push(format!("{}: {fault}; answered {statuses:?}, and {} saw {seen:?}", row.name, server.name));
        }
    }
    assert!(faults.is_empty(), "{} rows fail:\n{}", faults.len(), faults.join("\n"));
}

/// The statuses of all answers on the row's connection.
async fn exchange(scene: &Scene, row: &Row) -> Vec<u16> {
    let mut caller = Raw::connect(scene.address()).await;
    caller.send(&row.bytes).await;
    caller.send(NEXT).await;
    let answers = String::from_utf8_lossy(&caller.rest().await).into_owned();
    // No body here holds a status line.
    let statuses =
        answers.match_indices("HTTP/1.").filter_map(|(at, _)| answers.get(at + "HTTP/1.x ".len()..)?.get(..3));
    statuses.map(|status| status.parse().expect("a status")).filter(|status| *status >= 200).collect()
}

fn check(row: &Row, statuses: &[u16], seen: &[Seen]) -> Result<(), String> {
    if let Some(failed) = statuses.iter().find(|status| **status >= 500) {
        return Err(format!("{failed}"));
    }
    seen.iter().try_for_each(check_open)?;
    let own: Vec<&Seen> = seen.iter().filter(|request| request.target != "/docs/next").collect();
    let first = statuses.first().copied();
    let is_refused = own.is_empty() && first.is_none_or(|status| (400..500).contains(&status));
    match (&row.want, own.as_slice()) {
        (Want::Refused, _) | (Want::Either(..), []) if is_refused => Ok(()),
        (Want::Arrives(target, body) | Want::Either(target, body), [only]) if first == Some(200) => {
            let method = String::from_utf8_lossy(&row.bytes).trim_start().split(' ').next().map(str::to_owned);
            if only.target != *target || only.body != *body || Some(&only.method) != method.as_ref() {
                return Err("another request arrived".into());
            }
            Ok(())
        }
        _ => Err(format!("it was to be {:?}", row.want)),
    }
}

/// What holds of every request that a server sees here: nobody has a token, so it is for what is open, and it says
/// nothing that only we may say.
fn check_open(request: &Seen) -> Result<(), String> {
    let mut meant = request.meant.to_lowercase();
    while meant.contains("//") {
        meant = meant.replace("//", "/");
    }
    let segments: Vec<&str> = meant.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    if segments.get(1) != Some(&"docs") || segments.get(2) == Some(&"secret") || segments.contains(&"..") {
        return Err(format!("it was taken for {}", request.meant));
    }
    for (name, value) in &request.headers {
        let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let hop = ["connection", "keep-alive", "proxy-connection", "upgrade", "http2-settings", "expect"];
        if value.contains("evil")
            || plain.starts_with("x-tollgate")
            || plain == "x-user"
            || hop.contains(&name.as_str())
        {
            return Err(format!("it says {name}: {value}"));
        }
    }
    let count = |name: &str| request.headers.iter().filter(|(known, _)| known == name).count();
    if count("host") != 1 || count("content-length") + count("transfer-encoding") > 1 {
        return Err("its framing or host is not one".into());
    }
    Ok(())
}

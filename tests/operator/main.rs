//! The operator against a real API server, with garbage collection and Deployments, and without nodes: the tests play
//! the kubelet (`kubelet`) and the sidecars (`sidecars`). The operator runs in this process (`scene`).

mod cel;
mod enforcement;
mod examples;
mod hints;
mod kubelet;
mod leader;
mod names;
mod objects;
mod policy;
mod rights;
mod scene;
mod seeds;
mod sidecars;
mod unreadable;
mod workload;

use tests::apiserver as api_server;

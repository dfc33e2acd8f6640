//! What users see, on a real cluster with real pods: the main job, what is repaired and what is left alone, and what
//! stands on the resource when something is wrong. `make test` prepares the cluster; any other works by `KUBECONFIG`.

mod caller;
mod faults;
mod main_job;
mod ownership;
mod repair;
mod rollout;
mod seeds;

//! Any claims of a token, or members of an introspection answer.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| tollgate_sidecar::fuzzing::claims(data));

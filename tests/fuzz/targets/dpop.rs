//! Any DPoP proof beside a token that is bound to a key.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| tollgate_sidecar::fuzzing::dpop(data));

//! Any metadata of an issuer.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| tollgate_sidecar::fuzzing::metadata(data));

//! Writes the CustomResourceDefinition to its places in the repository, for `cargo xtask crd`.

use std::path::Path;

use tollgate_api::crd::{CRD_FILES, crd_yaml};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let yaml = crd_yaml()?;
    for file in CRD_FILES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
        std::fs::write(&path, &yaml).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

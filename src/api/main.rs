//! Prints the CustomResourceDefinition, for `cargo xtask crd`.

use std::io::Write;

use tollgate_api::crd::crd_yaml;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    std::io::stdout().write_all(crd_yaml()?.as_bytes())?;
    Ok(())
}

//! The developer's loop.
fn main() {}

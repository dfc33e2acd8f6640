//! What the tests share.

pub mod wait;
